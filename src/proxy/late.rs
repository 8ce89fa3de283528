//! Answers that may take minutes: `CompleteMultipartUpload` and copies.
//!
//! S3 sends the head of these at once and white space while it works, so that neither the client nor anything
//! between gives up; the outcome is in the document, and may be an error under a 200. We do the same, but only
//! when the work takes longer than [`FILLER_EVERY`]: a quick outcome has its own status. A late answer is never
//! repeated. [`run`] does so for one exchange, [`wait`] and [`finish`] for any other work.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::error::{Error, Kind, Result};
use crate::message::reply::Reply;
use crate::pipeline::Hop;
use crate::proxy::client::{AnswerHead, Client};
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, Outgoing, exchange};
use crate::proxy::record::Record;
use crate::proxy::{relay, respond, storage, tries};
use crate::storage::s3::downstream::{self, ReplyBody};
use crate::storage::s3::error::Failure;
use crate::storage::s3::wire;

/// Shortest wait for the resource's head: these operations do their work before it.
pub const FIRST_BYTE_MIN: Duration = Duration::from_mins(10);
/// Silence that the client is spared.
const FILLER_EVERY: Duration = Duration::from_secs(10);
const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
/// Largest document of these operations, in bytes.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// How the operation ended, as a document for the client.
pub enum Outcome {
    Done(Box<Reply>),
    Failed(Failure),
}

/// Runs the exchange, keeping the client informed.
pub async fn run(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    outgoing: Outgoing<'_>,
) -> Result<()> {
    let location = storage::location(client, arrived, &hop.op);
    // The whole request leaves at once: what the client does afterwards changes nothing.
    let committed = AtomicBool::new(true);
    let work = perform(engine, record, hop, &location, outgoing);
    let ended = wait(client, arrived, &committed, work).await?;
    finish(client, arrived, record, ended).await
}

/// What came of the work, and when the client was told to wait, if it was.
pub struct Ended {
    outcome: Result<Outcome>,
    started: Option<Instant>,
}

/// Runs `work`, keeping the client informed. A client that leaves before the work has `committed` ends it: the work is
/// dropped and its connections are reset. From then on it is waited for, whoever still listens, so that a drain waits
/// for it too.
pub async fn wait(
    client: &mut Client,
    arrived: &Arrived,
    committed: &AtomicBool,
    work: impl Future<Output = Result<Outcome>>,
) -> Result<Ended> {
    let mut work = pin!(work);
    let mut filler = pin!(pingora::time::sleep(FILLER_EVERY));
    let mut started = None;
    let mut listens = true;
    let outcome = loop {
        let watches = listens && !committed.load(Ordering::Relaxed);
        tokio::select! {
            biased;
            outcome = &mut work => break outcome,
            () = &mut filler => {
                filler.set(pingora::time::sleep(FILLER_EVERY));
                if listens && let Err(gone) = fill(client, arrived, &mut started).await {
                    listens = false;
                    give_up_unless(committed, gone)?;
                }
            }
            idle = client.hear(), if watches => {
                // What the client may still send is read and dropped.
                if let Err(gone) = idle {
                    listens = false;
                    give_up_unless(committed, gone)?;
                }
            }
        }
    };
    Ok(Ended { outcome, started })
}

fn give_up_unless(committed: &AtomicBool, gone: Error) -> Result<()> {
    if committed.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(gone)
}

/// Sends the head, the first time, and a space.
async fn fill(client: &mut Client, arrived: &Arrived, started: &mut Option<Instant>) -> Result<()> {
    if started.is_none() {
        *started = Some(Instant::now());
        start(client, arrived).await?;
    }
    let space = Bytes::from_static(b" ");
    client.write_body(space).await
}

/// Tells the client what came of it.
pub async fn finish(
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    ended: Ended,
) -> Result<()> {
    let Ended { outcome, started } = ended;
    let Some(started) = started else {
        return finish_quick(client, arrived, record, outcome?).await;
    };
    record.head_sent_at(StatusCode::OK, started);
    let outcome = outcome.unwrap_or_else(|error| {
        record.upstream_failed(&error);
        Outcome::Failed(Failure::from(&error))
    });
    let document = match outcome {
        Outcome::Done(reply) => reply.body,
        Outcome::Failed(failure) => {
            record.failed(failure.kind, &failure.code);
            failure.encode(&client.head().path(), &arrived.id)
        }
    };
    let document = without_declaration(document);
    record.bytes_out = document.len() as u64;
    client.write_body(document).await
}

async fn perform(
    engine: &Engine,
    record: &mut Record,
    hop: &Hop,
    location: &str,
    outgoing: Outgoing<'_>,
) -> Result<Outcome> {
    let idle = outgoing.first_byte;
    let mut answer = exchange(&engine.dialer, None, outgoing)
        .await
        .map_err(|failed| record.gave_up(failed))?;
    record.answered(&answer);
    let outcome = read(&mut answer, hop, location, idle).await?;
    engine.dialer.release(answer.link).await;
    Ok(outcome)
}

async fn read(answer: &mut Answer, hop: &Hop, location: &str, idle: Duration) -> Result<Outcome> {
    let head = answer.head()?;
    let reply = downstream::reply(&hop.op, head.status, &head.headers, &hop.bucket)?;
    let document = relay::collect(answer, idle, DOCUMENT_BYTES_MAX).await?;
    if matches!(reply.body, ReplyBody::Failure { .. }) {
        let failure = Failure::decode(
            reply.status,
            answer.headers()?,
            &document,
            Some(&hop.bucket),
        );
        tries::understood(&hop.bucket.resource, reply.status, &failure);
        return Ok(Outcome::Failed(failure));
    }
    if document.is_empty() {
        let message = "The resource did not say how the operation ended.";
        return Err(Error::new(Kind::UpstreamBroken, message));
    }
    match wire::translate(&hop.op, &hop.bucket, location, document.into())? {
        wire::Outcome::Document(document) => {
            let own = storage::with_document(reply.status, reply.headers, document);
            Ok(Outcome::Done(Box::new(own)))
        }
        wire::Outcome::Failure(failure) => Ok(Outcome::Failed(failure)),
    }
}

async fn start(client: &mut Client, arrived: &Arrived) -> Result<()> {
    let xml = HeaderValue::from_static("application/xml");
    let chunked = HeaderValue::from_static("chunked");
    let mut headers = vec![
        (header::CONTENT_TYPE, xml),
        (header::TRANSFER_ENCODING, chunked),
    ];
    if let Ok(id) = HeaderValue::from_str(&arrived.id) {
        headers.push((storage::REQUEST_ID.clone(), id.clone()));
        headers.push((storage::ID_2.clone(), id));
    }
    let status = StatusCode::OK;
    respond::write_head(client, AnswerHead { status, headers })?;
    client.write_body(Bytes::from_static(DECLARATION)).await
}

async fn finish_quick(
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    outcome: Outcome,
) -> Result<()> {
    let reply = match outcome {
        Outcome::Done(reply) => *reply,
        Outcome::Failed(failure) => {
            record.failed(failure.kind, &failure.code);
            storage::failure_reply(&failure, &client.head().path(), &arrived.id)
        }
    };
    storage::send(client, arrived, record, reply).await
}

/// The declaration went out with the first filler.
fn without_declaration(document: Bytes) -> Bytes {
    let end = document
        .starts_with(b"<?xml")
        .then(|| memchr::memmem::find(&document, b"?>"))
        .flatten();
    match end {
        Some(at) => document.slice(at + 2..),
        None => document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declaration_is_dropped_once_sent() {
        let cases = [
            ("<?xml version=\"1.0\"?><A/>", "<A/>"),
            ("<?xml version='1.0' encoding='UTF-8'?>\n<A/>", "\n<A/>"),
            ("<A/>", "<A/>"),
            ("", ""),
        ];
        for (document, expected) in cases {
            assert_eq!(
                without_declaration(Bytes::from_static(document.as_bytes())),
                expected
            );
        }
    }
}
