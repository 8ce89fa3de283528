//! Handing an answer to the client: forwarded first, read beside.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::ai::openai::downstream::UpstreamLimits;
use crate::ai::openai::{self, downstream, upstream};
use crate::ai::plan::Candidate;
use crate::ai::route::Inference;
use crate::ai::tap::{SseTap, UsageChunk};
use crate::ai::usage::JsonTap;
use crate::error::{Error, Kind, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::policy::route::Resource;
use crate::proxy::ai::Heard;
use crate::proxy::ai::account::{Timing, account};
use crate::proxy::ai::lane::Translated;
use crate::proxy::ai::stream::{Reader, stream};
use crate::proxy::client::{AnswerHead, Client};
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::Answer;
use crate::proxy::record::Record;
use crate::proxy::{cors, relay, respond};

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

/// Writes what a chunk gave, the head before the first of it.
pub(super) async fn pass(
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

pub(super) fn start(
    client: &mut Client,
    record: &mut Record,
    head: &mut Option<AnswerHead>,
) -> Result<()> {
    let Some(head) = head.take() else {
        return Ok(());
    };
    record.head_sent(head.status);
    respond::write_head(client, head)
}

pub(super) async fn write(client: &mut Client, record: &mut Record, chunk: Bytes) -> Result<()> {
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
