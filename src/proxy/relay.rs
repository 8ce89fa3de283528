//! Upstream to client: the response body.
//!
//! [`relay`] hands a body on as it is: between two HTTP/1 connections from the buffer that it was read into,
//! otherwise chunk by chunk. [`next`] gives a chunk to whoever taps it (`ai::deliver`), [`collect`] a whole
//! document within a limit. Handing on waits for the client's socket before it reads on, so one stream holds one
//! chunk, and watches for a client that leaves. None ends a message that the upstream did not end: a broken
//! upstream body breaks the client's connection.

use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Fault, Kind, Result};
use crate::proxy::client::Client;
use crate::proxy::dial::Dialer;
use crate::proxy::exchange::{Answer, broken};
use crate::proxy::http1::Broken;
use crate::proxy::upstream::Upstream;

/// Hands the body on as it is; `bytes` counts what was, however it ends. The connection is given back once it was read,
/// which may be before the client has it.
pub async fn relay(
    dialer: &Dialer,
    mut answer: Answer,
    client: &mut Client,
    idle: Duration,
    bytes: &mut u64,
) -> Result<()> {
    answer.link.session.set_read_timeout(Some(idle));
    if !answer.link.session.has_more_at_hand() {
        // Nothing to leave with: a client that waits for the head has it before the first byte.
        client.flush().await?;
    }
    let Client::H1(to) = &mut *client else {
        return relay_chunks(dialer, answer, client, bytes).await;
    };
    loop {
        let from = &mut *answer.link.session;
        let chunk = tokio::select! {
            biased;
            chunk = from.read_body() => chunk.map_err(|error| truncated(&error))?,
            idle = to.hear() => {
                // After an early answer the client may still be sending: that is read and dropped.
                idle?;
                continue;
            }
        };
        let Some(chunk) = chunk else {
            answer.release(dialer).await;
            return Ok(());
        };
        let length = chunk.len() as u64;
        if answer.link.session.is_read() {
            let last = answer.link.session.keep_lent();
            answer.release(dialer).await;
            to.write_body(&last).await?;
            *bytes += length;
            return Ok(());
        }
        to.write_body(answer.link.session.lent()).await?;
        *bytes += length;
    }
}

/// The same where the client does not take borrowed bytes.
async fn relay_chunks(
    dialer: &Dialer,
    mut answer: Answer,
    client: &mut Client,
    bytes: &mut u64,
) -> Result<()> {
    while let Some(chunk) = next(&mut answer.link.session, client).await? {
        let length = chunk.len() as u64;
        client.write_body(chunk).await?;
        *bytes += length;
    }
    answer.release(dialer).await;
    Ok(())
}

/// The next chunk of the upstream's body, or the news that the client left.
pub async fn next(upstream: &mut Upstream, client: &mut Client) -> Result<Option<Bytes>> {
    loop {
        tokio::select! {
            biased;
            chunk = upstream.next_chunk() => return chunk.map_err(|error| truncated(&error)),
            idle = client.hear() => idle?,
        };
    }
}

/// Reads a whole body of at most `bytes_max` bytes.
pub async fn collect(answer: &mut Answer, idle: Duration, bytes_max: usize) -> Result<Vec<u8>> {
    let upstream = &mut answer.link.session;
    upstream.set_read_timeout(Some(idle));
    let mut body = Vec::new();
    while let Some(chunk) = upstream
        .next_chunk()
        .await
        .map_err(|error| truncated(&error))?
    {
        if body.len() + chunk.len() > bytes_max {
            return Err(
                Error::new(Kind::UpstreamBroken, "The resource's answer is too large.")
                    .with_detail(format_args!("more than {bytes_max} bytes")),
            );
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn truncated(error: &Broken) -> Error {
    let broken = broken(error);
    if broken.kind() == Kind::UpstreamTimeout {
        return broken;
    }
    Error::new(Kind::UpstreamBroken, "The resource's answer broke off.")
        .with_fault(Fault::Truncated)
        .with_detail(error)
}
