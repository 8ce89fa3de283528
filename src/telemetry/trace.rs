//! Ids that join a request's traces: W3C `traceparent`, and our own request id.
//!
//! Pure: the clock and the randomness are arguments. No spans are made and nothing is exported here; a
//! caller's context is passed on, so that the spans of both sides meet.

use jiff::Timestamp;
use uuid::{Builder, Uuid};

/// Longest `tracestate` that is passed on; the specification asks for at least this much.
pub const TRACESTATE_MAX: usize = 512;

/// Length of a `traceparent` of version 00.
const LEN: usize = 55;

const SAMPLED: u8 = 1;

/// A `traceparent`: <https://www.w3.org/TR/trace-context/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// The caller's context. `None` if it is not valid: then `tracestate` must not be passed on either.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let head = value.get(..LEN)?;
        let version = hex::<1>(&head[..2])?[0];
        // 00 has exactly these fields; a later version may add some, after a dash.
        let ends = match version {
            0 => value.len() == LEN,
            0xff => false,
            _ => value.get(LEN).is_none_or(|next| *next == b'-'),
        };
        let dashed = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
        if !ends || !dashed {
            return None;
        }
        let parsed = Self {
            trace_id: hex(&head[3..35])?,
            span_id: hex(&head[36..52])?,
            flags: hex::<1>(&head[53..])?[0],
        };
        (parsed.trace_id != [0; 16] && parsed.span_id != [0; 8]).then_some(parsed)
    }

    /// A new trace, not sampled: nobody asked for it. `entropy` is random.
    pub fn start(entropy: [u8; 24]) -> Self {
        let mut trace_id = [0; 16];
        trace_id.copy_from_slice(&entropy[..16]);
        // All zeroes would be the invalid id.
        trace_id[15] |= u8::from(trace_id == [0; 16]);
        let mut span = [0; 8];
        span.copy_from_slice(&entropy[16..]);
        Self {
            trace_id,
            span_id: span_id(span),
            flags: 0,
        }
    }

    /// The context to send upstream: the same trace and flags, a span of ours. `entropy` is random.
    #[must_use]
    pub fn child(self, entropy: [u8; 8]) -> Self {
        Self {
            span_id: span_id(entropy),
            // Only the flags that version 00 defines.
            flags: self.flags & SAMPLED,
            ..self
        }
    }

    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The header's value: always ASCII.
    pub fn header(self) -> [u8; LEN] {
        let mut out = [b'-'; LEN];
        write_hex(&[0], &mut out[..2]);
        write_hex(&self.trace_id, &mut out[3..35]);
        write_hex(&self.span_id, &mut out[36..52]);
        write_hex(&[self.flags], &mut out[53..]);
        out
    }

    /// The trace's id in hex, for the log.
    pub fn trace_id(self) -> [u8; 32] {
        let mut out = [0; 32];
        write_hex(&self.trace_id, &mut out);
        out
    }
}

/// The id of a request, told to its client under the protocol's own header: a version 7 UUID, so that ids
/// sort by time. `entropy` is random.
pub fn request_id(now: Timestamp, entropy: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &entropy).into_uuid()
}

fn span_id(mut entropy: [u8; 8]) -> [u8; 8] {
    entropy[7] |= u8::from(entropy == [0; 8]);
    entropy
}

/// Lower-case hex only, as the specification has it.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_context_keeps_its_trace_and_gets_our_span() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.header(), GOOD.as_bytes());
        assert!(parent.is_sampled());
        let child = parent.child([0; 8]);
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_eq!(
            child.header(),
            *b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01"
        );
    }

    #[test]
    fn what_the_specification_refuses_is_refused() {
        let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        for (value, good) in [
            (format!("00-{ids}-01"), true),
            (format!("00-{ids}-00"), true),
            (format!("00-{ids}-01-more"), false),
            (format!("cc-{ids}-01-more"), true),
            (format!("cc-{ids}-01.more"), false),
            (format!("ff-{ids}-01"), false),
            (format!("00-{ids}-0"), false),
            (format!("00-{ids}_01"), false),
            (format!("00-{}-01", ids.to_uppercase()), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (
                format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16)),
                false,
            ),
            (String::new(), false),
        ] {
            assert_eq!(
                TraceParent::parse(value.as_bytes()).is_some(),
                good,
                "{value}"
            );
        }
    }

    #[test]
    fn a_new_trace_is_valid_even_without_luck() {
        for entropy in [[0; 24], [255; 24]] {
            let started = TraceParent::start(entropy);
            assert_eq!(TraceParent::parse(&started.header()), Some(started));
            assert!(!started.is_sampled());
        }
    }

    #[test]
    fn request_ids_sort_by_time() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let (early, late) = (
            request_id(at(1000), [255; 10]),
            request_id(at(1001), [0; 10]),
        );
        assert!(early < late);
        assert_eq!(early.get_version_num(), 7);
    }
}
