//! The OpenAI front: reads a request's body within a limit, chooses among the resources that serve its model,
//! and hands the answer on while its usage is read beside it.
//!
//! Failover is possible until the first byte of an answer went to the client: a resource that cannot be
//! reached, or answers that it is the wrong one, is followed by the next.

mod account;
mod body;
mod catalog;
mod deliver;
mod lane;
mod models;
mod sign;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashSet;
use http::{HeaderMap, Method, StatusCode, header};
use uuid::Uuid;

use crate::ai::openai::{self, downstream, upstream};
use crate::ai::plan::{self, Candidate};
use crate::ai::route::{self, AiOp, Inference, OtherPath};
use crate::ai::scan::{self, Scan};
use crate::ai::splice::{self, AskUsage};
use crate::config::snapshot::KeyEntry;
use crate::error::{Error, Fault, Kind, Result};
use crate::message::reply::Reply;
use crate::policy::authorize;
use crate::policy::route::{AiEndpoint, Resource, UsageInjection};
use crate::proxy::client::{Client, Head};
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, Body, Outgoing, exchange};
use crate::proxy::record::{AiRecord, Record};
use crate::proxy::{cors, head, ids, relay, respond, storage};
use crate::sabotage::{self, Point};
use crate::telemetry::labels::{Op, Proto};

pub use catalog::catalog;

/// Of a refusal, read to see whether it blames what we added.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What the front keeps between requests.
#[derive(Debug, Default)]
pub struct AiState {
    models: models::ModelCache,
    /// Resources that refused `stream_options`, and served the same request without it.
    without_usage: DashSet<Uuid, foldhash::fast::RandomState>,
}

/// A request's body, with what matters of it.
struct Asked<'a> {
    inference: Inference,
    scan: Scan,
    frames: &'a [Bytes],
}

impl Asked<'_> {
    /// The body in one piece: copied only if it came in several.
    fn whole(&self) -> Bytes {
        match self.frames {
            [frame] => frame.clone(),
            frames => frames.concat().into(),
        }
    }
}

/// Answers one request; `false`: the connection cannot be used again.
pub async fn serve(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    checked: Result<()>,
) -> bool {
    let mut record = Record::new(Proto::Ai, engine, arrived);
    let outcome = match checked {
        Ok(()) => run(engine, client, arrived, &mut record).await,
        Err(error) => Err(error),
    };
    let reusable = match outcome {
        Ok(reusable) => reusable,
        Err(error) => fail(client, arrived, &mut record, &error).await,
    };
    record.finish(engine, arrived, client);
    reusable
}

/// The answer to a head that could not be read.
pub fn refusal(error: &Error, id: &str) -> Reply {
    error_reply(error, id, 0)
}

async fn run(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<bool> {
    let head = client.head();
    if head.method == Method::OPTIONS {
        record.op = Op::Preflight;
        let reply = cors::preflight(arrived.snapshot.cors.as_ref(), &head.headers)?;
        return send(client, arrived, record, reply).await;
    }
    if storage::is_health_check(head) {
        return send(client, arrived, record, Reply::new(StatusCode::OK)).await;
    }
    let (op, entry) = identify(head, arrived)?;
    record.op = Op::from_name(op.label());
    let KeyEntry {
        key,
        repository,
        limiter,
    } = &entry;
    record.identified(key, repository);
    authorize::check_use(key, arrived.peer, arrived.now)?;
    key.touch(arrived.now);
    let _entered = arrived.enter(record, limiter.as_ref(), repository)?;
    sabotage::pass(Point::Request, || client.head().path());
    let endpoint = repository
        .ai
        .as_ref()
        .ok_or_else(|| Error::internal("an AI key without an AI endpoint"))?;
    match op {
        AiOp::Infer(inference) => {
            infer(
                engine,
                client,
                arrived,
                record,
                (endpoint, &entry),
                inference,
            )
            .await
        }
        AiOp::Models => {
            let found = engine.ai.models.list(engine, endpoint, key).await;
            let body = crate::ai::models::encode_list(&found)?;
            send(client, arrived, record, json(body)).await
        }
        AiOp::Model(id) => {
            plan::check_model(key, &id)?;
            let found = engine.ai.models.list(engine, endpoint, key).await;
            let model = found.iter().find(|model| model.id == id);
            let body =
                crate::ai::models::encode_one(model.ok_or_else(|| plan::model_not_found(&id))?)?;
            send(client, arrived, record, json(body)).await
        }
        AiOp::Other(path) => {
            path.check_listed(&endpoint.passthrough)?;
            let resource = plan::passthrough(endpoint, key)?;
            pass_through(engine, client, arrived, record, &path, &resource).await
        }
    }
}

/// Decodes the head and finds the key; a key of another endpoint is unknown here.
fn identify(head: &Head, arrived: &Arrived) -> Result<(AiOp, KeyEntry)> {
    let target = head.target()?;
    let query = target.split_once('?').map(|(_, query)| query);
    let bearer = route::bearer(&head.headers, query)?;
    let entry = arrived
        .snapshot
        .ai_keys
        .get(bearer.digest())
        .ok_or_else(|| Error::new(Kind::KeyUnknown, "Incorrect API key provided."))?;
    let op = route::decode(&head.method, target)?;
    downstream::check_request(&head.headers)?;
    Ok((op, entry.clone()))
}

async fn infer(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    (endpoint, entry): (&AiEndpoint, &KeyEntry),
    inference: Inference,
) -> Result<bool> {
    let held = body::read(engine, client, arrived, record).await?;
    let scan = scan::scan(inference, &held.frames)?;
    record.ai = Some(AiRecord {
        model_requested: scan.model.name.clone(),
        stream: scan.stream,
        ..AiRecord::default()
    });
    let model = &scan.model.name;
    let mut candidates = plan::candidates(endpoint, &entry.key, inference, model)?;
    if candidates.len() > 1 && !endpoint.by_name.contains_key(&**model) {
        let models = &engine.ai.models;
        models.prefer(engine, &mut candidates, model).await;
    }
    let asked = Asked {
        inference,
        scan,
        frames: &held.frames,
    };
    let bytes = held.bytes;
    serve_first(
        engine,
        client,
        arrived,
        record,
        (endpoint, &candidates),
        &asked,
        bytes,
    )
    .await
}

/// An answer that another resource may better, kept for the case that none does.
struct Kept<'a> {
    heard: Heard,
    candidate: &'a Candidate,
    attempts: u32,
}

impl Kept<'_> {
    /// How much an answer helps its client: what it did wrong, then what went wrong there, then that our credential
    /// is not good.
    fn helps(&self) -> u8 {
        match self.heard.answer.status() {
            401..=403 => 0,
            500.. => 1,
            ..500 => 2,
        }
    }
}

/// Asks one candidate after the other until one serves. If none does, the most helpful refusal is the answer: any
/// says more than that a resource could not be reached.
async fn serve_first(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    (endpoint, candidates): (&AiEndpoint, &[Candidate]),
    asked: &Asked<'_>,
    request_bytes: u64,
) -> Result<bool> {
    let served = |candidate, attempts, has_next, hide_usage| deliver::Served {
        candidate,
        inference: asked.inference,
        attempts,
        hide_usage,
        has_next,
        request_bytes,
        model: label(endpoint, &asked.scan.model.name),
        dropped_params: None,
    };
    let mut attempts = 0;
    let mut best: Option<Kept<'_>> = None;
    let mut last: Option<Error> = None;
    for (at, candidate) in candidates.iter().enumerate() {
        attempts += 1;
        let next = candidates.get(at + 1);
        let has_next = next.is_some();
        let to = (endpoint, candidate);
        match ask_in_its_dialect(engine, client, arrived, record, to, asked).await {
            Ok(heard) if is_failover(&heard.answer) && (has_next || best.is_some()) => {
                count_fallback(record, next, asked, endpoint);
                let kept = Kept {
                    heard,
                    candidate,
                    attempts,
                };
                keep(&mut best, kept, Kept::helps);
            }
            Ok(heard) => {
                let served = served(candidate, attempts, has_next, heard.hide_usage);
                match deliver::deliver(engine, client, arrived, record, heard, &served).await {
                    Err(error) if has_next && deliver::may_fail_over(client, &error) => {
                        record.upstream_failed(&error);
                        count_fallback(record, next, asked, endpoint);
                        last = Some(error);
                    }
                    delivered => return delivered,
                }
            }
            Err(error) if error.kind() == Kind::ClientGone || lane::is_final(&error) => {
                record.attempts = attempts;
                return Err(error);
            }
            Err(error) => {
                if lane::was_asked(&error) {
                    record.upstream_failed(&error);
                    count_fallback(record, next, asked, endpoint);
                } else {
                    attempts -= 1;
                }
                keep(&mut last, error, says);
            }
        }
    }
    if let Some(kept) = best {
        record.resumed(&kept.candidate.resource, &kept.heard.answer);
        let served = served(kept.candidate, kept.attempts, false, kept.heard.hide_usage);
        return deliver::deliver(engine, client, arrived, record, kept.heard, &served).await;
    }
    record.attempts = attempts;
    Err(last.unwrap_or_else(|| Error::internal("no candidate was asked")))
}

/// Keeps what is worth more, and of equals the newer.
fn keep<T>(kept: &mut Option<T>, new: T, worth: impl Fn(&T) -> u8) {
    if kept.as_ref().is_none_or(|kept| worth(&new) >= worth(kept)) {
        *kept = Some(new);
    }
}

/// How much an error says: not having been asked less than any failure, and a failure less than a refusal.
fn says(error: &Error) -> u8 {
    match openai::error::answer(error.kind()).status.as_u16() {
        _ if error.fault() == Some(Fault::BreakerOpen) => 0,
        500.. => 1,
        ..500 => 2,
    }
}

/// What one resource said.
struct Heard {
    answer: Answer,
    /// We asked for usage, and its chunk must be hidden.
    hide_usage: bool,
    /// The body, where it had to be read to understand the answer.
    body: Option<Bytes>,
    /// It speaks another dialect, and this makes the client's of it.
    translated: Option<lane::Translated>,
}

async fn ask_in_its_dialect(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    (endpoint, candidate): (&AiEndpoint, &Candidate),
    asked: &Asked<'_>,
) -> Result<Heard> {
    match lane::of(&candidate.resource) {
        Some(lane) => {
            let to = (endpoint, candidate, lane);
            lane::ask(engine, client, arrived, record, to, asked).await
        }
        None => ask(engine, client, arrived, record, candidate, asked).await,
    }
}

/// Asks one resource that speaks the client's own dialect.
async fn ask(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    candidate: &Candidate,
    asked: &Asked<'_>,
) -> Result<Heard> {
    let resource = &candidate.resource;
    let injects = resource
        .ai()
        .is_some_and(|ai| ai.usage_injection == UsageInjection::Auto);
    let known_bad = engine.ai.without_usage.contains(&resource.id);
    let mut ask_usage = if injects && !known_bad {
        AskUsage::Yes
    } else {
        AskUsage::No
    };
    let mut blamed = false;
    loop {
        let rename = candidate.rename.as_deref();
        let changes = splice::changes(&asked.scan, asked.inference, rename, ask_usage);
        let (frames, len) = splice::splice(asked.frames, &changes.edits);
        let content = upstream::Content::Json(len);
        let below_v1 = asked.inference.path();
        let mut answer = send_upstream(
            engine,
            client,
            arrived,
            record,
            resource,
            (below_v1, content, &frames),
        )
        .await?;
        let status = answer.head()?.status;
        let suspect = changes.hide_usage && matches!(status.as_u16(), 400 | 422);
        if !suspect {
            // Only now is it known that this was the reason: a refusal may merely repeat a client's words.
            if blamed && status.is_success() {
                engine.ai.without_usage.insert(resource.id);
            }
            return Ok(Heard {
                answer,
                hide_usage: changes.hide_usage,
                body: None,
                translated: None,
            });
        }
        // It may not know `stream_options`: then it is asked again without.
        let idle = resource.timeouts.idle;
        let refusal = relay::collect(&mut answer, idle, REFUSAL_BYTES_MAX).await?;
        if !upstream::blames_stream_options(status, &refusal) {
            return Ok(Heard {
                answer,
                hide_usage: false,
                body: Some(refusal.into()),
                translated: None,
            });
        }
        blamed = true;
        ask_usage = AskUsage::No;
    }
}

/// Runs one exchange with an AI resource.
async fn send_upstream(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    resource: &Arc<Resource>,
    (below_v1, content, frames): (&str, upstream::Content<'_>, &[Bytes]),
) -> Result<Answer> {
    record.sending(resource);
    let asked = client.head();
    let mut head = upstream::request_head(resource, below_v1, &asked.headers, content)?;
    if let Some(trace) = arrived.trace.and_then(ids::trace_header) {
        head.headers.insert("traceparent", trace);
    }
    let method = asked.method.clone();
    let first_byte = first_byte(&asked.headers, resource);
    let make_head = || head::request(&method, &head.target, &head.headers);
    let outgoing = Outgoing {
        resource,
        head: &make_head,
        body: if frames.is_empty() {
            Body::None
        } else {
            Body::Memory(frames)
        },
        // A model's answer costs money and may differ: only what surely never arrived is sent again.
        idempotent: false,
        first_byte,
    };
    let answer = exchange(&engine.dialer, Some(client), outgoing)
        .await
        .map_err(|failed| record.gave_up(failed))?;
    record.answered(&answer);
    Ok(answer)
}

/// A path outside the table that the config lists: unchanged, with the resource's credential.
async fn pass_through(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    path: &OtherPath,
    resource: &Arc<Resource>,
) -> Result<bool> {
    let held = body::read(engine, client, arrived, record).await?;
    let content_type = client.head().headers.get(header::CONTENT_TYPE).cloned();
    let content = if held.frames.is_empty() {
        upstream::Content::Empty
    } else {
        upstream::Content::Opaque {
            content_type: content_type.as_ref(),
            len: Some(held.bytes),
        }
    };
    let below_v1 = path.below_v1();
    let parts = (below_v1.as_str(), content, held.frames.as_slice());
    let answer = send_upstream(engine, client, arrived, record, resource, parts).await?;
    deliver::forward(engine, client, arrived, record, answer, resource).await
}

/// The wait for the first byte: the resource's, but no longer than the client itself waits.
fn first_byte(client: &HeaderMap, resource: &Resource) -> Duration {
    let own = resource.timeouts.first_byte;
    downstream::client_deadline(client).map_or(own, |deadline| own.min(deadline))
}

fn is_failover(answer: &Answer) -> bool {
    answer
        .head()
        .is_ok_and(|head| upstream::is_failover(head.status, &head.headers))
}

fn count_fallback(
    record: &Record,
    next: Option<&Candidate>,
    asked: &Asked<'_>,
    endpoint: &AiEndpoint,
) {
    let (Some(repository), Some(from), Some(to)) = (&record.repository, &record.resource, next)
    else {
        return;
    };
    let model = label(endpoint, &asked.scan.model.name);
    repository
        .meters
        .model(&from.meters, model)
        .fallback(&to.resource.meters);
}

/// The `model` label: configured names only, so that clients cannot make series.
pub(super) fn label<'a>(endpoint: &AiEndpoint, model: &'a str) -> &'a str {
    if endpoint.by_name.contains_key(model) {
        model
    } else {
        crate::telemetry::meters::OTHER_MODEL
    }
}

fn json(body: Bytes) -> Reply {
    Reply::new(StatusCode::OK).with_body("application/json", body)
}

async fn send(
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    reply: Reply,
) -> Result<bool> {
    let mut reply = reply.with_text(header::HeaderName::from_static("x-request-id"), &arrived.id);
    let cors = cors::headers(arrived.snapshot.cors.as_ref(), &client.head().headers);
    reply.headers.extend(cors);
    record.head_sent(reply.status);
    record.bytes_out = respond::respond(client, reply).await?;
    Ok(true)
}

async fn fail(client: &mut Client, arrived: &Arrived, record: &mut Record, error: &Error) -> bool {
    let answer = openai::error::answer(error.kind());
    record.error(error, answer.code.unwrap_or(answer.kind));
    if error.kind() == Kind::ClientGone || client.answered().is_some() {
        record.cut(client);
        return false;
    }
    let mut reply = error_reply(error, &arrived.id, record.attempts);
    let cors = cors::headers(arrived.snapshot.cors.as_ref(), &client.head().headers);
    reply.headers.extend(cors);
    record.head_sent(reply.status);
    let waits = client.waits_for_continue() || storage::lost_its_place(error);
    if waits {
        client.close_after();
    }
    match respond::respond(client, reply).await {
        Ok(bytes) => record.bytes_out = bytes,
        Err(_) => return false,
    }
    record.ended();
    // A client that waits for our word sends nothing that could be drained.
    !waits && storage::drain(client).await
}

fn error_reply(error: &Error, id: &str, attempts: u32) -> Reply {
    let (status, body) = openai::error::encode(error);
    let mut reply = Reply::new(status);
    for (name, value) in &downstream::error_head(error, id, attempts) {
        reply.headers.push((name.clone(), value.clone()));
    }
    reply.body = body;
    reply
}
