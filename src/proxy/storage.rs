//! The S3 front: runs what `pipeline` decides.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use smallvec::SmallVec;

use crate::error::{Error, Kind, Result};
use crate::message::body::BodyStep;
use crate::message::reply::Reply;
use crate::pipeline::{self, Hop, Identified, Listing, Plan};
use crate::policy::credential::ReadyCredential;
use crate::policy::route::S3Account;
use crate::proxy::client::{AnswerHead, Client, DRAIN_MAX, Head};
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, Body, Failed, Outgoing, exchange};
use crate::proxy::head::RequestHead;
use crate::proxy::record::Record;
use crate::proxy::upload::{self, ClientBody, Sender};
use crate::proxy::{clock, copy, cors, form, head, ids, late, relay, respond, translate, tries};
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
    client: &mut Client,
    arrived: &Arrived,
    checked: Result<()>,
) -> bool {
    let mut record = Record::new(Proto::S3, engine, arrived);
    let outcome = match checked {
        Ok(()) => run(engine, client, arrived, &mut record).await,
        Err(error) => Err(error),
    };
    let reusable = match outcome {
        Ok(()) => true,
        Err(error) => fail(client, arrived, &mut record, &error).await,
    };
    record.finish(engine, arrived, client);
    reusable
}

/// The answer to a head that could not be read.
pub fn refusal(error: &Error, resource: &str, id: &str) -> Reply {
    failure_reply(&Failure::from(error), resource, id)
}

async fn run(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
) -> Result<()> {
    let head = client.head();
    if head.method == Method::OPTIONS {
        record.op = Op::Preflight;
        let reply = cors::preflight(arrived.snapshot.cors.as_ref(), &head.headers)?;
        return send(client, arrived, record, reply).await;
    }
    if is_health_check(head) {
        return send(client, arrived, record, Reply::new(StatusCode::OK)).await;
    }
    if head.method == Method::POST
        && let Some(to) = s3_form::destination(&arrival(client, arrived)?)?
    {
        record.op = Op::from_name(route::Op::PutObject.name());
        return Box::pin(form::serve(engine, client, arrived, record, &to)).await;
    }
    let identified = identify(client, arrived)?;
    record.identified(&identified.key, &identified.repository);
    record.op = Op::from_name(identified.request.row().name());
    let _entered = arrived.enter(record, identified.limiter.as_ref(), &identified.repository)?;
    sabotage::pass(Point::Request, || client.head().path());
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
            let raw = upload::read_whole(client, bytes_max).await?;
            record.waited(asked.elapsed());
            record.bytes_in = raw.len() as u64;
            let headers = &client.head().headers;
            let document = body::verify_document(&request, payload, headers, raw)?;
            (request.with_body(document)?, None)
        }
        RequestBody::None | RequestBody::Stream => (request.without_body()?, Some(payload)),
    };
    let permitted = pipeline::permit(key, repository, op)?;
    match pipeline::plan(permitted)? {
        Plan::Reply(reply) => send(client, arrived, record, *reply).await,
        Plan::Forward(hop) => forward(engine, client, arrived, record, &hop, payload).await,
        Plan::Translate(hop) => {
            Box::pin(translate::run(
                engine, client, arrived, record, &hop, payload,
            ))
            .await
        }
        Plan::ListBuckets(listing) => {
            Box::pin(list_buckets(engine, client, arrived, record, &listing)).await
        }
        Plan::Compose(crossing) => {
            // Boxed: few requests copy across, and every one would have room for two exchanges.
            Box::pin(copy::run(engine, client, arrived, record, &crossing)).await
        }
    }
}

fn identify(client: &Client, arrived: &Arrived) -> Result<Identified> {
    let arrival = arrival(client, arrived)?;
    pipeline::identify(&arrived.snapshot, &arrival, arrived.peer)
}

/// The request's head as the codecs take it.
pub(super) fn arrival<'a>(client: &'a Client, arrived: &'a Arrived) -> Result<Arrival<'a>> {
    let head = client.head();
    let target = head.target()?;
    Ok(Arrival {
        method: &head.method,
        target,
        host: client.head().host().unwrap_or_default(),
        headers: &head.headers,
        secure: arrived.secure,
        now: arrived.now,
        base_domains: &arrived.snapshot.base_domains,
    })
}

pub(super) fn is_health_check(head: &Head) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
        && head.target == HEALTH.as_bytes()
        && !head.headers.contains_key(header::AUTHORIZATION)
}

async fn forward(
    engine: &Engine,
    client: &mut Client,
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
    let head = client.head();
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
    let expects_continue = head.expects_continue();
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
        body.read_empty(Sender::Client(client)).await?;
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
        return Box::pin(late::run(engine, client, arrived, record, hop, sending)).await;
    }
    let answer = exchange(&engine.dialer, Some(client), sending).await;
    if let Some((body, _)) = &client_body {
        record.bytes_in = body.bytes_in;
    }
    let answer = answer.map_err(|failed| record.gave_up(failed))?;
    record.answered(&answer);
    deliver(engine, client, arrived, record, hop, answer).await
}

/// Asks the resource which buckets clients created, and answers with them and ours.
async fn list_buckets(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    listing: &Listing,
) -> Result<()> {
    let resource = listing.resource()?;
    let Some(account) = resource.s3() else {
        return translate::list_buckets(engine, client, arrived, record, listing).await;
    };
    let request = listing.request()?;
    record.sending(resource);
    let ready = engine.credentials.ready(&engine.dialer, resource).await;
    let ready = ready.map_err(|error| record.gave_up(Failed { error, attempts: 0 }))?;
    let sending = Outgoing {
        resource,
        head: &|| signed(&request, account, &ready, arrived),
        body: Body::None,
        idempotent: true,
        first_byte: resource.timeouts.first_byte,
    };
    let answer = exchange(&engine.dialer, Some(client), sending).await;
    let mut answer = answer.map_err(|failed| record.gave_up(failed))?;
    record.answered(&answer);
    let document = relay::collect(&mut answer, resource.timeouts.idle, LISTING_BYTES_MAX).await?;
    let status = answer.head()?.status;
    let reply = if status == StatusCode::OK {
        listing.answer(&document)?
    } else {
        let failure = Failure::decode(status, answer.headers()?, &document, None);
        record.failed(failure.kind, &failure.code);
        failure_reply(&failure, &client.head().path(), &arrived.id)
    };
    engine.dialer.release(answer.link).await;
    send(client, arrived, record, reply).await
}

/// Hands an answer to the client, translated where it must be. Its connection is given back before the client has the
/// last byte: whoever hears the end and asks again finds it there.
pub(super) async fn deliver(
    engine: &Engine,
    client: &mut Client,
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
            let (status, headers) = (reply.status, reply.headers);
            start(client, arrived, record, status, headers, Framing::NoBody)?;
        }
        ReplyBody::Forward => {
            let (status, headers) = (reply.status, reply.headers);
            start(client, arrived, record, status, headers, Framing::Body)?;
            let bytes = &mut record.bytes_out;
            relay::relay(&engine.dialer, answer, client, idle, bytes).await?;
        }
        ReplyBody::Translate { bytes_max } | ReplyBody::Late { bytes_max } => {
            let document = relay::collect(&mut answer, idle, bytes_max).await?;
            answer.release(&engine.dialer).await;
            let location = location(client, arrived, &hop.op);
            match wire::translate(&hop.op, &hop.bucket, &location, document.into())? {
                wire::Outcome::Document(document) => {
                    let own = with_document(reply.status, reply.headers, document);
                    send(client, arrived, record, own).await?;
                }
                wire::Outcome::Failure(failure) => {
                    record.failed(failure.kind, &failure.code);
                    let failed = failure_reply(&failure, &client.head().path(), &arrived.id);
                    send(client, arrived, record, failed).await?;
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
            let path = client.head().path();
            let mut failed = failure_reply(&failure, &path, &arrived.id);
            failed.headers.extend(reply.headers);
            send(client, arrived, record, failed).await?;
        }
    }
    Ok(())
}

/// Whether an answer's head is followed by a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Body,
    NoBody,
}

/// Starts an answer whose body, if any, follows as it comes.
pub(super) fn start(
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    status: StatusCode,
    shown: ReplyHeaders,
    framing: Framing,
) -> Result<()> {
    let head = client_head(client, arrived, status, shown, framing);
    record.head_sent(status);
    respond::write_head(client, head)
}

/// The head of an answer whose body, if any, follows as it comes. Not part of the writing, so that its parts are gone
/// by then.
fn client_head(
    client: &Client,
    arrived: &Arrived,
    status: StatusCode,
    shown: ReplyHeaders,
    framing: Framing,
) -> AnswerHead {
    let mut headers = Vec::with_capacity(shown.len() + respond::ROOM);
    headers.extend(shown);
    headers.extend(own_headers(client, arrived));
    let is_sized = || {
        headers
            .iter()
            .any(|(name, _)| *name == header::CONTENT_LENGTH)
    };
    if framing == Framing::Body && !is_sized() {
        let chunked = HeaderValue::from_static("chunked");
        headers.push((header::TRANSFER_ENCODING, chunked));
    }
    AnswerHead { status, headers }
}

/// Writes an answer of our own.
pub(super) async fn send(
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    mut reply: Reply,
) -> Result<()> {
    for (name, value) in own_headers(client, arrived) {
        if !reply.headers.iter().any(|(known, _)| *known == name) {
            reply.headers.push((name, value));
        }
    }
    record.head_sent(reply.status);
    // Boxed: answers of our own are few, and every request would have room for one.
    record.bytes_out = Box::pin(respond::respond(client, reply)).await?;
    Ok(())
}

/// Answers a failure of ours; `false`: the connection cannot be used again.
pub(super) async fn fail(
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    error: &Error,
) -> bool {
    let failure = Failure::from(error);
    record.error(error, &failure.code);
    if error.kind() == Kind::ClientGone || client.answered().is_some() {
        record.cut(client);
        return false;
    }
    let path = client.head().path();
    let reply = failure_reply(&failure, &path, &arrived.id);
    if client.waits_for_continue() || lost_its_place(error) {
        client.close_after();
        return send(client, arrived, record, reply).await.is_ok();
    }
    if send(client, arrived, record, reply).await.is_err() {
        return false;
    }
    record.ended();
    drain(client).await
}

/// Whether the client's framing broke: what comes next may be a body or a request.
pub(super) fn lost_its_place(error: &Error) -> bool {
    matches!(error.kind(), Kind::IncompleteBody | Kind::RequestTimeout)
}

/// Reads on for a while, so that a client which is still sending sees the answer and not a reset.
pub(super) async fn drain(client: &mut Client) -> bool {
    let mut drained = 0;
    let rest = async {
        while drained <= DRAIN_BYTES_MAX {
            match client.read_body().await {
                Ok(Some(chunk)) => drained += chunk.len(),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    };
    pingora::time::timeout(DRAIN_MAX, rest)
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
fn own_headers(client: &Client, arrived: &Arrived) -> SmallVec<[(HeaderName, HeaderValue); 2]> {
    let mut headers = SmallVec::new();
    if let Ok(id) = HeaderValue::from_str(&arrived.id) {
        headers.push((REQUEST_ID.clone(), id.clone()));
        headers.push((ID_2.clone(), id));
    }
    headers.extend(cors::headers(
        arrived.snapshot.cors.as_ref(),
        &client.head().headers,
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
pub(super) fn location(client: &Client, arrived: &Arrived, op: &WholeOp) -> String {
    let host = client.head().host().unwrap_or_default();
    downstream::object_url(op.request(), host, arrived.secure)
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
pub(super) fn may_repeat(request: &route::S3Request, headers: &HeaderMap) -> bool {
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
