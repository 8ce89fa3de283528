//! Request ids and trace ids: unique, not secret, so a fast generator seeded once a thread is enough.

use std::cell::Cell;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use uuid::Uuid;

use crate::telemetry::trace::{self, TraceParent};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

pub fn request_id(now: Timestamp) -> Uuid {
    trace::request_id(now, entropy())
}

/// The caller's trace, one span further on. Without one, none is started: nobody would collect it.
pub fn trace(headers: &HeaderMap) -> Option<TraceParent> {
    let parent = headers.get(&TRACEPARENT)?;
    TraceParent::parse(parent.as_bytes()).map(|parent| parent.child(entropy()))
}

/// The value of `traceparent` for an upstream.
pub fn trace_header(trace: TraceParent) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&trace.header())).ok()
}

fn entropy<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
    }
    out
}

/// `SplitMix64`.
fn next() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        // Without the system's randomness ids are still distinct: by thread and by address.
        let here = 0_u8;
        std::ptr::from_ref(&here) as u64
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_one_millisecond_differ() {
        let ids: HashSet<Uuid> = (0..10_000)
            .map(|_| request_id(Timestamp::UNIX_EPOCH))
            .collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn a_valid_trace_is_continued_and_an_invalid_one_dropped() {
        let mut headers = HeaderMap::new();
        assert!(trace(&headers).is_none());
        headers.insert("traceparent", HeaderValue::from_static("junk"));
        assert!(trace(&headers).is_none());
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", HeaderValue::from_static(sent));
        let passed = trace(&headers).and_then(trace_header).unwrap();
        let passed = passed.to_str().unwrap();
        assert_eq!(passed[..36], sent[..36]);
        assert_ne!(passed[36..52], sent[36..52]);
        assert_eq!(passed[52..], sent[52..]);
    }
}
