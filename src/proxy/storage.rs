//! The S3 front: runs what `pipeline` decides.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use smallvec::SmallVec;

use crate::error::{Error, Kind, Result};
use crate::message::body::BodyStep;
use crate::message::reply::Reply;
use crate::pipeline::{self, Hop, Identified, Listing, Plan};
use crate::policy::credential::ReadyCredential;
use crate::policy::route::S3Account;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, Body, Failed, Outgoing, exchange};
use crate::proxy::head::RequestHead;
use crate::proxy::record::Record;
use crate::proxy::upload::{self, ClientBody, Sender};
use crate::proxy::{clock, copy, cors, form, head, ids, late, relay, respond, service, tries};
use crate::sabotage::{self, Point};
use crate::storage::s3::auth::{self, Payload};
use crate::storage::s3::body::{self, UploadForm};
use crate::storage::s3::buckets::LISTING_BYTES_MAX;
use crate::storage::s3::downstream::{self, ReplyBody, ReplyHeaders};
use crate::storage::s3::error::Failure;
use crate::storage::s3::form as s3_form;
use crate::storage::s3::route::{self, RequestBody, WholeOp};
use crate::storage::s3::upstream::{self, UpstreamRequest};
use crate::storage::s3::{Arrival, wire};
use crate::telemetry::labels::{Op, Proto};

/// What is read of a refused upload so that the client sees the refusal. Above it the connection is closed.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Path that load balancers ask, without a credential.
const HEALTH: &str = "/health";

pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
pub(super) static ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");

/// Answers one request; `false`: the connection cannot be used again.
pub async fn serve(
    engine: &Engine,
    session: &mut ServerSession,
    arrived: &Arrived,
    checked: Result<()>,
) -> bool {
    let mut record = Record::new(Proto::S3, engine, arrived);
    let outcome = match checked {
        Ok(()) => run(engine, session, arrived, &mut record).await,
        Err(error) => Err(error),
    };
    let reusable = match outcome {
        Ok(()) => true,
        Err(error) => fail(session, arrived, &mut record, &error).await,
    };
    record.finish(engine, arrived, session);
    reusable
}

/// The answer to a head that could not be read.
pub fn refusal(error: &Error, resource: &str, id: &str) -> Reply {
    failure_reply(&Failure::from(error), resource, id)
}

async fn run(
    engine: &Engine,
    session: &mut ServerSession,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<()> {
    let head = session.req_header();
    if head.method == Method::OPTIONS {
        record.op = Op::Preflight;
        let reply = cors::preflight(arrived.snapshot.cors.as_ref(), &head.headers)?;
        return send(session, arrived, record, reply).await;
    }
    if is_health_check(head) {
        return send(session, arrived, record, Reply::new(StatusCode::OK)).await;
    }
    if head.method == Method::POST
        && let Some(to) = s3_form::destination(&arrival(session, arrived)?)?
    {
        record.op = Op::from_name(route::Op::PutObject.name());
        return Box::pin(form::serve(engine, session, arrived, record, &to)).await;
    }
    let identified = identify(session, arrived)?;
    record.identified(&identified.key, &identified.repository);
    record.op = Op::from_name(identified.request.row().name());
    let _entered = arrived.enter(record, identified.limiter.as_ref(), &identified.repository)?;
    sabotage::pass(Point::Request, || path(session));
    let Identified {
        key,
        repository,
        limiter: _,
        request,
        payload,
    } = identified;
    let (op, payload) = match request.row().request_body {
        RequestBody::Document { bytes_max } => {
            let asked = Instant::now();
            let raw = upload::read_whole(session, bytes_max).await?;
            record.waited(asked.elapsed());
            record.bytes_in = raw.len() as u64;
            let headers = &session.req_header().headers;
            let document = body::verify_document(&request, payload, headers, raw)?;
            (request.with_body(document)?, None)
        }
        RequestBody::None | RequestBody::Stream => (request.without_body()?, Some(payload)),
    };
    let permitted = pipeline::permit(key, repository, op)?;
    match pipeline::plan(permitted)? {
        Plan::Reply(reply) => send(session, arrived, record, *reply).await,
        Plan::Forward(hop) => forward(engine, session, arrived, record, &hop, payload).await,
        Plan::ListBuckets(listing) => {
            Box::pin(list_buckets(engine, session, arrived, record, &listing)).await
        }
        Plan::Compose(crossing) => {
            // Boxed: few requests copy across, and every one would have room for two exchanges.
            Box::pin(copy::run(engine, session, arrived, record, &crossing)).await
        }
    }
}

fn identify(session: &ServerSession, arrived: &Arrived) -> Result<Identified> {
    let arrival = arrival(session, arrived)?;
    pipeline::identify(&arrived.snapshot, &arrival, arrived.peer)
}

/// The request's head as the codecs take it.
pub(super) fn arrival<'a>(session: &'a ServerSession, arrived: &'a Arrived) -> Result<Arrival<'a>> {
    let head = session.req_header();
    let target = std::str::from_utf8(head.raw_path()).map_err(|_| {
        Error::new(
            Kind::InvalidRequest,
            "The request's target is not percent-encoded.",
        )
    })?;
    Ok(Arrival {
        method: &head.method,
        target,
        host: service::host(session).unwrap_or_default(),
        headers: &head.headers,
        secure: arrived.secure,
        now: arrived.now,
        base_domains: &arrived.snapshot.base_domains,
    })
}

pub(super) fn is_health_check(head: &RequestHeader) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
        && head.raw_path() == HEALTH.as_bytes()
        && !head.headers.contains_key(header::AUTHORIZATION)
}

async fn forward(
    engine: &Engine,
    session: &mut ServerSession,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    payload: Option<Payload>,
) -> Result<()> {
    let resource = &hop.bucket.resource;
    record.bucket = Some(Arc::clone(&hop.bucket));
    record.sending(resource);
    let account = resource
        .s3()
        .ok_or_else(|| Error::internal("not an S3 resource"))?;
    let request = hop.op.request();
    let streams = request.row().request_body == RequestBody::Stream;
    let head = session.req_header();
    let mut upload = match payload {
        Some(payload) if streams => Some(body::plan(
            request,
            payload,
            &head.headers,
            account.quirks,
            hop.object_bytes_max,
        )?),
        _ => None,
    };
    let form = upload.as_ref().map(|(form, _)| form);
    let source = hop.source.as_deref();
    let outgoing = upstream::encode(&hop.op, &head.headers, &hop.bucket, source, form)?;
    let ready = engine.credentials.ready(&engine.dialer, resource).await;
    let ready = ready.map_err(|error| record.gave_up(Failed { error, attempts: 0 }))?;
    let make_head = || signed(&outgoing, account, &ready, arrived);
    let expects_continue = expects_continue(head);
    let idempotent = may_repeat(request, &head.headers);
    let mut client_body = upload.take().map(|(form, pipe)| {
        let min_rate = arrived.snapshot.limits.min_body_rate;
        let received_max = received_max(&form);
        let length = form.content_length;
        let step = Some(Box::new(pipe) as Box<dyn BodyStep>);
        let body = ClientBody::new(step, expects_continue, min_rate, received_max, length)
            .commit_if(still_valid(engine, record));
        (body, form.verify_before_head())
    });
    if let Some((body, true)) = &mut client_body {
        // The store would commit on the head alone.
        body.read_empty(Sender::Client(session)).await?;
    }
    let documents: Option<[Bytes; 1]> = outgoing.document.clone().map(|document| [document]);
    let body = match (&mut client_body, &documents) {
        (Some((body, _)), _) => Body::Client(body),
        (None, Some(document)) => Body::Memory(document),
        (None, None) => Body::None,
    };
    let mut sending = Outgoing {
        resource,
        head: &make_head,
        body,
        idempotent,
        first_byte: resource.timeouts.first_byte,
    };
    if request.row().reply == route::Reply::Late {
        sending.first_byte = sending.first_byte.max(late::FIRST_BYTE_MIN);
        return Box::pin(late::run(engine, session, arrived, record, hop, sending)).await;
    }
    let answer = exchange(&engine.dialer, Some(session), sending).await;
    if let Some((body, _)) = &client_body {
        record.bytes_in = body.bytes_in;
    }
    let answer = answer.map_err(|failed| record.gave_up(failed))?;
    record.answered(&answer);
    deliver(engine, session, arrived, record, hop, answer).await
}

/// Asks the resource which buckets clients created, and answers with them and ours.
async fn list_buckets(
    engine: &Engine,
    session: &mut ServerSession,
    arrived: &Arrived,
    record: &mut Record,
    listing: &Listing,
) -> Result<()> {
    let (resource, request) = listing.request()?;
    record.sending(resource);
    let account = resource
        .s3()
        .ok_or_else(|| Error::internal("not an S3 resource"))?;
    let ready = engine.credentials.ready(&engine.dialer, resource).await;
    let ready = ready.map_err(|error| record.gave_up(Failed { error, attempts: 0 }))?;
    let sending = Outgoing {
        resource,
        head: &|| signed(&request, account, &ready, arrived),
        body: Body::None,
        idempotent: true,
        first_byte: resource.timeouts.first_byte,
    };
    let answer = exchange(&engine.dialer, Some(session), sending).await;
    let mut answer = answer.map_err(|failed| record.gave_up(failed))?;
    record.answered(&answer);
    let document = relay::collect(&mut answer, resource.timeouts.idle, LISTING_BYTES_MAX).await?;
    let status = answer.head()?.status;
    let reply = if status == StatusCode::OK {
        listing.answer(&document)?
    } else {
        let failure = Failure::decode(status, answer.headers()?, &document, None);
        record.failed(failure.kind, &failure.code);
        failure_reply(&failure, &path(session), &arrived.id)
    };
    engine.dialer.release(answer.link).await;
    send(session, arrived, record, reply).await
}

/// Hands an answer to the client, translated where it must be. Its connection is given back before the client has the
/// last byte: whoever hears the end and asks again finds it there.
pub(super) async fn deliver(
    engine: &Engine,
    session: &mut ServerSession,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    mut answer: Answer,
) -> Result<()> {
    let idle = hop.bucket.resource.timeouts.idle;
    let reply = downstream::reply(
        &hop.op,
        answer.head()?.status,
        answer.headers()?,
        &hop.bucket,
    )?;
    match reply.body {
        ReplyBody::None => {
            // Reads nothing, and shows the connection to be at its message's end.
            relay::collect(&mut answer, idle, 0).await?;
            answer.release(&engine.dialer).await;
            let framing = Framing::NoBody;
            let head = client_head(session, arrived, reply.status, reply.headers, framing);
            record.head_sent(reply.status);
            respond::write_head(session, head).await?;
        }
        ReplyBody::Forward => {
            let head = client_head(session, arrived, reply.status, reply.headers, Framing::Body);
            record.head_sent(reply.status);
            respond::write_head(session, head).await?;
            let bytes = &mut record.bytes_out;
            relay::relay(&engine.dialer, answer, session, idle, bytes).await?;
        }
        ReplyBody::Translate { bytes_max } | ReplyBody::Late { bytes_max } => {
            let document = relay::collect(&mut answer, idle, bytes_max).await?;
            answer.release(&engine.dialer).await;
            let location = location(session, arrived, &hop.op);
            match wire::translate(&hop.op, &hop.bucket, &location, document.into())? {
                wire::Outcome::Document(document) => {
                    let own = with_document(reply.status, reply.headers, document);
                    send(session, arrived, record, own).await?;
                }
                wire::Outcome::Failure(failure) => {
                    record.failed(failure.kind, &failure.code);
                    let failed = failure_reply(&failure, &path(session), &arrived.id);
                    send(session, arrived, record, failed).await?;
                }
            }
        }
        ReplyBody::Failure { bytes_max } => {
            let document = relay::collect(&mut answer, idle, bytes_max)
                .await
                .unwrap_or_default();
            let failure = Failure::decode(
                reply.status,
                answer.headers()?,
                &document,
                Some(&hop.bucket),
            );
            answer.release(&engine.dialer).await;
            tries::understood(&hop.bucket.resource, reply.status, &failure);
            if failure.kind == Kind::UpstreamAuth {
                // The next request may do better with another token; this one's body may be gone.
                engine.credentials.refused(&hop.bucket.resource);
            }
            record.failed(failure.kind, &failure.code);
            let path = path(session);
            let mut failed = failure_reply(&failure, &path, &arrived.id);
            failed.headers.extend(reply.headers);
            send(session, arrived, record, failed).await?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Body,
    NoBody,
}

/// The head of an answer whose body, if any, follows as it comes. Not part of the writing, so that its parts are gone
/// by then.
fn client_head(
    session: &ServerSession,
    arrived: &Arrived,
    status: StatusCode,
    shown: ReplyHeaders,
    framing: Framing,
) -> ResponseHeader {
    let mut headers = HeaderMap::with_capacity(shown.len() + respond::ROOM);
    for (name, value) in shown.into_iter().chain(own_headers(session, arrived)) {
        headers.append(name, value);
    }
    if framing == Framing::Body && !headers.contains_key(header::CONTENT_LENGTH) {
        let chunked = HeaderValue::from_static("chunked");
        headers.append(header::TRANSFER_ENCODING, chunked);
    }
    head::response(status, headers)
}

/// Writes an answer of our own.
pub(super) async fn send(
    session: &mut ServerSession,
    arrived: &Arrived,
    record: &mut Record,
    mut reply: Reply,
) -> Result<()> {
    for (name, value) in own_headers(session, arrived) {
        if !reply.headers.iter().any(|(known, _)| *known == name) {
            reply.headers.push((name, value));
        }
    }
    let is_head = session.req_header().method == Method::HEAD;
    record.head_sent(reply.status);
    // Boxed: answers of our own are few, and every request would have room for one.
    record.bytes_out = Box::pin(respond::respond(session, reply, is_head)).await?;
    Ok(())
}

/// Answers a failure of ours; `false`: the connection cannot be used again.
pub(super) async fn fail(
    session: &mut ServerSession,
    arrived: &Arrived,
    record: &mut Record,
    error: &Error,
) -> bool {
    let failure = Failure::from(error);
    record.error(error, &failure.code);
    if error.kind() == Kind::ClientGone || has_answered(session) {
        record.cut(session);
        return false;
    }
    let path = path(session);
    let reply = failure_reply(&failure, &path, &arrived.id);
    if waits_for_continue(session) || lost_its_place(error) {
        session.set_keepalive(None);
        return send(session, arrived, record, reply).await.is_ok();
    }
    if send(session, arrived, record, reply).await.is_err() {
        return false;
    }
    record.ended();
    drain(session).await
}

/// Whether the head of a final answer has left.
pub(super) fn has_answered(session: &ServerSession) -> bool {
    session
        .response_written()
        .is_some_and(|head| !head.status.is_informational())
}

/// Whether the client waits for our word and will not send its body: nothing to drain, nothing to reuse.
pub(super) fn waits_for_continue(session: &mut ServerSession) -> bool {
    !session.is_body_done()
        && session.response_written().is_none()
        && expects_continue(session.req_header())
}

/// Whether the client's framing broke: what comes next may be a body or a request.
pub(super) fn lost_its_place(error: &Error) -> bool {
    matches!(error.kind(), Kind::IncompleteBody | Kind::RequestTimeout)
}

/// Reads on for a while, so that a client which is still sending sees the answer and not a reset.
pub(super) async fn drain(session: &mut ServerSession) -> bool {
    let mut drained = 0;
    let rest = async {
        while drained <= DRAIN_BYTES_MAX {
            match session.read_request_body().await {
                Ok(Some(chunk)) => drained += chunk.len(),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    };
    pingora::time::timeout(service::DRAIN_MAX, rest)
        .await
        .unwrap_or(false)
}

pub(super) fn failure_reply(failure: &Failure, resource: &str, id: &str) -> Reply {
    let reply = Reply::new(failure.status);
    let reply = match failure.retry_after {
        Some(after) => reply.with(
            header::RETRY_AFTER,
            HeaderValue::from(after.as_secs().max(1)),
        ),
        None => reply,
    };
    let reply = reply
        .with_text(REQUEST_ID.clone(), id)
        .with_text(ID_2.clone(), id);
    if failure.status == StatusCode::NOT_MODIFIED {
        return reply;
    }
    reply.with_body("application/xml", failure.encode(resource, id))
}

/// Headers that every answer carries.
fn own_headers(
    session: &ServerSession,
    arrived: &Arrived,
) -> SmallVec<[(HeaderName, HeaderValue); 2]> {
    let mut headers = SmallVec::new();
    if let Ok(id) = HeaderValue::from_str(&arrived.id) {
        headers.push((REQUEST_ID.clone(), id.clone()));
        headers.push((ID_2.clone(), id));
    }
    headers.extend(cors::headers(
        arrived.snapshot.cors.as_ref(),
        &session.req_header().headers,
    ));
    headers
}

pub(super) fn with_document(status: StatusCode, headers: ReplyHeaders, document: Bytes) -> Reply {
    let mut own = Reply::new(status);
    own.headers.extend(
        headers
            .into_iter()
            .filter(|(name, _)| *name != header::CONTENT_LENGTH),
    );
    own.body = document;
    own
}

/// `Location` of a completed upload: the URL of its object, as the client reaches it.
pub(super) fn location(session: &ServerSession, arrived: &Arrived, op: &WholeOp) -> String {
    let host = service::host(session).unwrap_or_default();
    downstream::object_url(op.request(), host, arrived.secure)
}

/// The path that the client asked for, without its query.
pub(super) fn path(session: &ServerSession) -> String {
    let target = String::from_utf8_lossy(session.req_header().raw_path());
    target.split('?').next().unwrap_or_default().to_owned()
}

/// Whether the key of a request still exists: a revocation stops what has not been committed.
pub(super) fn still_valid(
    engine: &Engine,
    record: &Record,
) -> impl Fn() -> Result<()> + Send + Sync + 'static {
    let live = Arc::clone(&engine.live);
    let key = record.key.clone();
    move || {
        let known = key
            .as_ref()
            .is_some_and(|key| live.load().s3_keys.contains_key(&key.key));
        if known {
            return Ok(());
        }
        Err(Error::new(Kind::KeyInactive, "The access key is not active.").with_detail("revoked"))
    }
}

/// Whether an attempt may be followed by another after it may have reached the resource (RFC 9110, section 9.2.2).
/// An upload may where it depends on nothing but its own bytes, a deletion where it depends on nothing; one with a
/// condition could fail on what its first attempt did.
fn may_repeat(request: &route::S3Request, headers: &HeaderMap) -> bool {
    let is_upload = matches!(request.op(), route::Op::PutObject | route::Op::UploadPart);
    let is_conditional =
        || headers.contains_key(header::IF_NONE_MATCH) || headers.contains_key(header::IF_MATCH);
    let is_deletion = request.row().method == route::Verb::Delete;
    request.row().retryable() || ((is_upload || is_deletion) && !is_conditional())
}

/// Most bytes that a client may send for an upload of this form: its framing is allowed as much as its content,
/// and a fixed part for small ones. Stops an endless message of tiny chunks.
pub(super) fn received_max(form: &UploadForm) -> u64 {
    const FRAMING_BYTES: u64 = 64 * 1024;
    form.decoded_length
        .saturating_mul(2)
        .saturating_add(FRAMING_BYTES)
}

pub(super) fn expects_continue(head: &RequestHeader) -> bool {
    head.headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The head of one attempt, signed now.
pub(super) fn signed(
    request: &UpstreamRequest,
    account: &S3Account,
    ready: &ReadyCredential,
    arrived: &Arrived,
) -> Result<RequestHead> {
    let mut head = request.head.clone();
    auth::sign(&mut head, request.payload, account, ready, clock::now())?;
    if let Some(trace) = arrived.trace.and_then(ids::trace_header) {
        head.headers
            .push((HeaderName::from_static("traceparent"), trace));
    }
    let headers = head.headers.iter().map(|(name, value)| (name, value));
    head::request_of(&head.method, &head.target, headers)
}
