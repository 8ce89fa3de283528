//! Handing an answer to the client: forwarded first, read beside.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::ai::lane::Stream;
use crate::ai::openai::downstream::UpstreamLimits;
use crate::ai::openai::{self, downstream, upstream};
use crate::ai::plan::Candidate;
use crate::ai::route::Inference;
use crate::ai::sse;
use crate::ai::tap::{SseTap, UsageChunk};
use crate::ai::usage::{JsonTap, Notes};
use crate::error::{Error, Fault, Kind, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::policy::route::Resource;
use crate::proxy::ai::Heard;
use crate::proxy::ai::account::{Timing, account, count_abort};
use crate::proxy::ai::lane::Translated;
use crate::proxy::client::{AnswerHead, Client};
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, broken};
use crate::proxy::record::Record;
use crate::proxy::{cors, relay, respond};
use crate::telemetry::labels::AbortSide;

/// Silence on a stream before the client is told that it is alive.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Read at once of a stream that is translated: what a client is told of it is longer, and waits for the client.
const PIECE_BYTES_MAX: usize = 8 * 1024;

/// Of a refusal that is handed on, kept to log its code.
const REFUSAL_KEPT_BYTES_MAX: usize = 8 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How an answer came about.
pub(super) struct Served<'a> {
    pub(super) candidate: &'a Candidate,
    pub(super) inference: Inference,
    pub(super) attempts: u32,
    pub(super) hide_usage: bool,
    /// Another resource could be asked instead.
    pub(super) has_next: bool,
    pub(super) request_bytes: u64,
    /// The `model` label.
    pub(super) model: &'a str,
    pub(super) dropped_params: Option<&'a str>,
}

/// Hands on the answer to an inference; `false`: the connection cannot be used again.
pub(super) async fn deliver(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    heard: Heard,
    served: &Served<'_>,
) -> Result<bool> {
    record.attempts = served.attempts;
    let Heard {
        answer,
        body,
        translated,
        ..
    } = heard;
    if let Some(translated) = translated {
        return translate(
            engine,
            client,
            arrived,
            record,
            (answer, &translated),
            served,
        )
        .await;
    }
    let head = answer.head()?;
    if let Some(error) = upstream::refuse(head.status) {
        record.failed(error.kind(), "upstream_auth_error");
        return Err(error);
    }
    if let Some(body) = body {
        return read_already(client, arrived, record, &answer, served, body).await;
    }
    // A body that is compressed although we asked for none is handed on unread.
    let is_events = downstream::is_event_stream(&head.headers);
    if head.status.is_success() && is_events && downstream::is_readable(&head.headers) {
        let usage_chunk = if served.hide_usage {
            UsageChunk::Hide
        } else {
            UsageChunk::Forward
        };
        let reader = Reader::Tap(SseTap::new(served.inference, usage_chunk));
        let shown = (head.status, &head.headers);
        let framing = downstream::Framing::Events;
        let head = client_head(client, arrived, record, shown, served, framing);
        let from = (answer, reader, head);
        return stream(engine, client, record, from, served).await;
    }
    whole(engine, client, arrived, record, answer, served).await
}

/// Whether another resource may still be asked after `error`.
pub(super) fn may_fail_over(client: &Client, error: &Error) -> bool {
    client.answered().is_none()
        && matches!(
            error.kind(),
            Kind::UpstreamAuth
                | Kind::UpstreamBroken
                | Kind::UpstreamTimeout
                | Kind::UpstreamUnavailable
        )
}

/// Hands on the answer of a resource of another dialect.
async fn translate(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    (mut answer, translated): (Answer, &Translated),
    served: &Served<'_>,
) -> Result<bool> {
    let (status, mut headers) = translated.head(&answer)?;
    let served = &Served {
        dropped_params: translated.dropped.as_deref(),
        ..*served
    };
    if translated.stream {
        let framing = downstream::Framing::Events;
        let head = client_head(client, arrived, record, (status, &headers), served, framing);
        let reader = Reader::Lane(Box::new(translated.reader()));
        return stream(engine, client, record, (answer, reader, head), served).await;
    }
    let timing = Timing::new(record, false);
    let (body, notes) = translated.whole(engine, client, &mut answer).await?;
    engine.dialer.release(answer.link).await;
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let framing = downstream::Framing::Exact;
    let head = client_head(client, arrived, record, (status, &headers), served, framing);
    account(record, served, &notes, &timing, None);
    start(client, record, &mut Some(head))?;
    write(client, record, body).await?;
    Ok(true)
}

/// What reads a stream on its way: beside its bytes, or to write others.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one a stream, and most are taps"
)]
enum Reader {
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
async fn stream(
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

/// Writes what a chunk gave, the head before the first of it.
async fn pass(
    client: &mut Client,
    record: &mut Record,
    head: &mut Option<AnswerHead>,
    timing: &mut Timing,
    out: Chunks,
) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    start(client, record, head)?;
    timing.output();
    for chunk in out {
        write(client, record, chunk).await?;
    }
    Ok(())
}

fn start(client: &mut Client, record: &mut Record, head: &mut Option<AnswerHead>) -> Result<()> {
    let Some(head) = head.take() else {
        return Ok(());
    };
    record.head_sent(head.status);
    respond::write_head(client, head)
}

async fn write(client: &mut Client, record: &mut Record, chunk: Bytes) -> Result<()> {
    record.bytes_out += chunk.len() as u64;
    client.write_body(chunk).await
}

/// An answer that is not a stream, errors of the resource included: byte for byte.
async fn whole(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    mut answer: Answer,
    served: &Served<'_>,
) -> Result<bool> {
    let resource = &served.candidate.resource;
    answer
        .link
        .session
        .set_read_timeout(Some(resource.timeouts.idle));
    let upstream_head = answer.head()?;
    let counts = upstream_head.status.is_success();
    let mut refusal = (!upstream_head.status.is_success()).then(Vec::new);
    let shown = (upstream_head.status, &upstream_head.headers);
    let framing = downstream::Framing::Exact;
    let mut head = Some(client_head(client, arrived, record, shown, served, framing));
    let mut tap = JsonTap::new(served.inference);
    let mut timing = Timing::new(record, false);
    let cut = loop {
        let chunk = match relay::next(&mut answer.link.session, client).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        if let Some(kept) = &mut refusal {
            let room = REFUSAL_KEPT_BYTES_MAX.saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        let mut out = Chunks::new();
        tap.push(chunk, &mut out)?;
        if let Err(gone) = pass(client, record, &mut head, &mut timing, out).await {
            break Some(gone);
        }
    };
    if let Some(refusal) = refusal {
        record.failed(Kind::InvalidRequest, &openai::error::code_of(&refusal));
    }
    let end = if cut.is_some() {
        End::Cut(Error::internal("cut"))
    } else {
        End::Clean
    };
    tap.finish(end, &mut Chunks::new())?;
    if counts {
        account(record, served, tap.notes(), &timing, cut.as_ref());
    }
    if let Some(error) = cut {
        return Err(error);
    }
    start(client, record, &mut head)?;
    engine.dialer.release(answer.link).await;
    Ok(true)
}

/// A refusal whose body was read to understand it.
async fn read_already(
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    answer: &Answer,
    served: &Served<'_>,
    body: Bytes,
) -> Result<bool> {
    record.failed(Kind::InvalidRequest, &openai::error::code_of(&body));
    let upstream_head = answer.head()?;
    let shown = (upstream_head.status, &upstream_head.headers);
    let framing = downstream::Framing::Exact;
    let mut head = Some(client_head(client, arrived, record, shown, served, framing));
    start(client, record, &mut head)?;
    write(client, record, body).await?;
    Ok(true)
}

/// Hands on whatever a passed-through path answered.
pub(super) async fn forward(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    answer: Answer,
    resource: &Resource,
) -> Result<bool> {
    let head = answer.head()?;
    if let Some(error) = upstream::refuse(head.status) {
        return Err(error);
    }
    let served = downstream::Served {
        request_id: &arrived.id,
        resource: &resource.name,
        attempts: answer.attempts,
        alias_of: None,
        upstream_limits: upstream_limits(record),
        dropped_params: None,
    };
    let events = downstream::is_event_stream(&head.headers);
    let framing = if events {
        downstream::Framing::Events
    } else {
        downstream::Framing::Exact
    };
    let headers = downstream::response_head(&head.headers, served, framing);
    let head = build(client, arrived, head.status, &headers);
    record.head_sent(head.status);
    respond::write_head(client, head)?;
    let idle = resource.timeouts.idle;
    relay::relay(&engine.dialer, answer, client, idle, &mut record.bytes_out).await?;
    Ok(true)
}

fn client_head(
    client: &Client,
    arrived: &Arrived,
    record: &Record,
    (status, shown): (StatusCode, &HeaderMap),
    served: &Served<'_>,
    framing: downstream::Framing,
) -> AnswerHead {
    let told = downstream::Served {
        request_id: &arrived.id,
        resource: &served.candidate.resource.name,
        attempts: served.attempts,
        alias_of: served.candidate.rename.as_deref(),
        upstream_limits: upstream_limits(record),
        dropped_params: served.dropped_params,
    };
    let headers = downstream::response_head(shown, told, framing);
    build(client, arrived, status, &headers)
}

/// A repository with limits of its own takes the headers that tell of limits.
fn upstream_limits(record: &Record) -> UpstreamLimits {
    let has_own = record
        .repository
        .as_ref()
        .is_some_and(|repository| repository.limiter.has_rules());
    if has_own {
        UpstreamLimits::Renamed
    } else {
        UpstreamLimits::AsTheyAre
    }
}

fn build(client: &Client, arrived: &Arrived, status: StatusCode, shown: &HeaderMap) -> AnswerHead {
    let mut headers = Vec::with_capacity(shown.len() + respond::ROOM);
    let shown_pairs = shown.iter();
    headers.extend(shown_pairs.map(|(name, value)| (name.clone(), value.clone())));
    headers.extend(cors::headers(
        arrived.snapshot.cors.as_ref(),
        &client.head().headers,
    ));
    let has_body = !matches!(status.as_u16(), 204 | 304);
    if has_body && !shown.contains_key(header::CONTENT_LENGTH) {
        let chunked = http::HeaderValue::from_static("chunked");
        headers.push((header::TRANSFER_ENCODING, chunked));
    }
    AnswerHead { status, headers }
}
