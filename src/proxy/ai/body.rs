//! Reading a request's body: the stated exception to streaming, because the model that routes it may be its
//! last member. Frames are kept as they came, uncopied, within a limit for one and a budget for all.

use std::time::Instant;

use bytes::Bytes;
use http::header;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Kind, Result};
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::record::Record;
use crate::telemetry::labels::LimitScope;

/// A body and its share of the budget, freed together.
pub(super) struct Held {
    pub(super) frames: Vec<Bytes>,
    pub(super) bytes: u64,
    _share: Option<OwnedSemaphorePermit>,
}

pub(super) async fn read(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<Held> {
    let bytes_max = arrived.snapshot.limits.ai_body_bytes;
    let declared = client.head().headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared > bytes_max) {
        return Err(too_large(bytes_max));
    }
    if client.head().expects_continue() {
        client.say_continue().await?;
    }
    let mut frames = Vec::new();
    let mut bytes = 0;
    let asked = Instant::now();
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = client.read_body().await? {
        bytes += frame.len();
        if bytes > bytes_max {
            return Err(too_large(bytes_max));
        }
        record.bytes_in = bytes as u64;
        let more = take(engine, frame.len())
            .inspect_err(|_| record.limit = Some(LimitScope::BodyMemory))?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        frames.push(frame);
    }
    record.waited(asked.elapsed());
    Ok(Held {
        frames,
        bytes: bytes as u64,
        _share: share,
    })
}

/// A share of the budget for all bodies.
pub(super) fn take(engine: &Engine, bytes: usize) -> Result<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes).map_err(Error::internal)?;
    std::sync::Arc::clone(&engine.ai_bytes)
        .try_acquire_many_owned(bytes)
        .map_err(|_| {
            Error::new(
                Kind::Overloaded,
                "Too many large requests at once; try again shortly.",
            )
            .with_retry_after(std::time::Duration::from_secs(1))
        })
}

fn too_large(bytes_max: usize) -> Error {
    Error::new(
        Kind::BodyTooLarge,
        format!("The request's body is larger than the {bytes_max} bytes allowed."),
    )
}
