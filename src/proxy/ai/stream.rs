//! Handing on a stream: each chunk when it comes, with a word to the client where none does.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ai::lane::Stream;
use crate::ai::openai;
use crate::ai::sse;
use crate::ai::tap::SseTap;
use crate::ai::usage::Notes;
use crate::error::{Error, Fault, Kind, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::proxy::ai::account::{Timing, account, count_abort};
use crate::proxy::ai::deliver::{Served, pass, start, write};
use crate::proxy::client::{AnswerHead, Client};
use crate::proxy::engine::Engine;
use crate::proxy::exchange::{Answer, broken};
use crate::proxy::record::Record;
use crate::telemetry::labels::AbortSide;

/// Silence on a stream before the client is told that it is alive.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Read at once of a stream that is translated: what a client is told of it is longer, and waits for the client.
const PIECE_BYTES_MAX: usize = 8 * 1024;

/// What reads a stream on its way: beside its bytes, or to write others.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one a stream, and most are taps"
)]
pub(super) enum Reader {
    Tap(SseTap),
    Lane(Box<Stream>),
}

impl Reader {
    fn push(&mut self, chunk: Bytes, out: &mut Chunks) -> Result<()> {
        match self {
            Self::Tap(tap) => tap.push(chunk, out),
            Self::Lane(lane) => lane.push(chunk, out),
        }
    }

    /// Takes as much of a chunk as is read at once.
    fn piece(&self, chunk: &mut Bytes) -> Bytes {
        match self {
            Self::Tap(_) => std::mem::take(chunk),
            Self::Lane(_) => chunk.split_to(chunk.len().min(PIECE_BYTES_MAX)),
        }
    }

    fn finish(&mut self, end: End, out: &mut Chunks) -> Result<()> {
        match self {
            Self::Tap(tap) => tap.finish(end, out),
            Self::Lane(lane) => lane.finish(end, out),
        }
    }

    fn notes(&self) -> &Notes {
        match self {
            Self::Tap(tap) => tap.notes(),
            Self::Lane(lane) => lane.notes(),
        }
    }

    fn at_boundary(&self) -> bool {
        match self {
            Self::Tap(tap) => tap.at_boundary(),
            Self::Lane(lane) => lane.at_boundary(),
        }
    }
}

/// An event stream: the head goes with the first output, so that until then another resource may be asked.
pub(super) async fn stream(
    engine: &Engine,
    client: &mut Client,
    record: &mut Record,
    (mut answer, mut tap, head): (Answer, Reader, AnswerHead),
    served: &Served<'_>,
) -> Result<bool> {
    let idle_max = served.candidate.resource.timeouts.idle;
    let mut head = Some(head);
    let mut timing = Timing::new(record, true);
    let mut heard_at = Instant::now();
    let mut told_at = heard_at;
    let ended = loop {
        // Each wait that something else ends starts the connection's own timer anew: it gets what is left.
        let left = idle_max.saturating_sub(heard_at.elapsed());
        answer.link.session.set_read_timeout(Some(left));
        let chunk = tokio::select! {
            biased;
            chunk = answer.link.session.next_chunk() => chunk.map_err(|error| broken(&error)),
            idle = client.hear() => match idle {
                Ok(_) => continue,
                Err(gone) => break End::Cut(gone),
            },
            // What the resource says may be nothing that the client hears.
            () = pingora::time::sleep(KEEP_ALIVE_EVERY.saturating_sub(told_at.elapsed())) => {
                told_at = Instant::now();
                match ping(client, record, &mut head, &tap).await {
                    Ok(()) => continue,
                    Err(gone) => break End::Cut(gone),
                }
            }
        };
        let chunk = match chunk {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break End::Clean,
            Err(error) => break End::Cut(error),
        };
        let to = (&mut *client, &mut *record, &mut head, &mut timing);
        let handed = hand_on(to, &mut tap, chunk, served).await;
        // Not before: a client that reads slowly is no silence of the resource.
        heard_at = Instant::now();
        match handed {
            Ok(Handed::Something) => told_at = heard_at,
            Ok(Handed::Nothing) => {}
            Ok(Handed::FailedFirst) => return Err(failed_first()),
            Err(error) => break End::Cut(error),
        }
    };
    let gone = matches!(&ended, End::Cut(error) if error.kind() == Kind::ClientGone);
    let cut = finish_tap(client, record, &mut head, &mut timing, &mut tap, ended).await;
    account(record, served, tap.notes(), &timing, cut.as_ref());
    if let Some(error) = cut {
        let side = if gone {
            AbortSide::Client
        } else {
            AbortSide::Upstream
        };
        count_abort(record, served, side);
        return broke_off(client, record, &tap, error).await;
    }
    start(client, record, &mut head)?;
    engine.dialer.release(answer.link).await;
    Ok(true)
}

/// What became of a chunk.
enum Handed {
    Something,
    Nothing,
    /// It says that the stream failed, and nothing was handed on before.
    FailedFirst,
}

/// Reads a chunk and hands on what it gives, piece by piece.
async fn hand_on(
    (client, record, head, timing): (
        &mut Client,
        &mut Record,
        &mut Option<AnswerHead>,
        &mut Timing,
    ),
    tap: &mut Reader,
    mut chunk: Bytes,
    served: &Served<'_>,
) -> Result<Handed> {
    let mut handed = Handed::Nothing;
    while !chunk.is_empty() {
        let mut out = Chunks::new();
        let read = tap.push(tap.piece(&mut chunk), &mut out);
        if served.has_next && head.is_some() && tap.notes().failed {
            return Ok(Handed::FailedFirst);
        }
        if !out.is_empty() {
            handed = Handed::Something;
        }
        pass(client, record, head, timing, out).await?;
        // What the provider said before it failed was said.
        read?;
    }
    Ok(handed)
}

/// A stream that starts with an error: until a byte of it is handed on, the next resource may do better.
fn failed_first() -> Error {
    Error::new(
        Kind::UpstreamUnavailable,
        "The model's answer started with an error.",
    )
}

/// Tells the client of a silent stream that it is alive.
async fn ping(
    client: &mut Client,
    record: &mut Record,
    head: &mut Option<AnswerHead>,
    tap: &Reader,
) -> Result<()> {
    if tap.at_boundary() {
        start(client, record, head)?;
        write(client, record, Bytes::from_static(sse::PING)).await?;
    }
    Ok(())
}

/// Ends the tap; the error of a stream that was cut, by the upstream, the client, or by its own missing end.
async fn finish_tap(
    client: &mut Client,
    record: &mut Record,
    head: &mut Option<AnswerHead>,
    timing: &mut Timing,
    tap: &mut Reader,
    ended: End,
) -> Option<Error> {
    let mut out = Chunks::new();
    let (end, cut) = match ended {
        End::Clean => (End::Clean, None),
        End::Cut(error) => (End::Cut(Error::internal("cut")), Some(error)),
    };
    if let Err(error) = tap.finish(end, &mut out) {
        return Some(error);
    }
    if let Err(gone) = pass(client, record, head, timing, out).await {
        return Some(gone);
    }
    cut.or_else(|| {
        (!tap.notes().is_complete()).then(|| {
            Error::new(
                Kind::UpstreamBroken,
                "The model's answer broke off before its end.",
            )
            .with_fault(Fault::Truncated)
        })
    })
}

/// Tells the client of a stream that broke: as a status while that is possible, else in the stream.
async fn broke_off(
    client: &mut Client,
    record: &mut Record,
    tap: &Reader,
    error: Error,
) -> Result<bool> {
    if error.kind() == Kind::ClientGone || client.answered().is_none() {
        return Err(error);
    }
    let code = openai::error::answer(error.kind()).code;
    record.error(&error, code.unwrap_or("upstream_error"));
    if !tap.at_boundary() {
        write(client, record, Bytes::from_static(sse::BREAK)).await?;
    }
    write(client, record, openai::error::encode_event(&error)).await?;
    // Over HTTP/1 the missing last chunk says it once more; an HTTP/2 reset could overtake the event.
    Ok(client.is_http2())
}
