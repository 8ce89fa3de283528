//! The S3 front's forms: reads the fields, lets `pipeline` decide, and streams the file like any upload.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use pingora::time::timeout;

use crate::error::{Error, Kind, Result};
use crate::message::body::BodyStep;
use crate::pipeline::{self, Hop, Identified, Plan};
use crate::proxy::client::{Client, TOO_SLOW};
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, Body, Failed, Outgoing, exchange};
use crate::proxy::record::Record;
use crate::proxy::upload::{ClientBody, Sender};
use crate::proxy::{relay, storage, translate};
use crate::storage::s3::auth::Payload;
use crate::storage::s3::form::{self, Destination, Fields, FileUpload, Form, FormReader};
use crate::storage::s3::{body, downstream, upstream};

/// Longest time in which the fields of a form arrive: stops a byte now and then from holding a request for ever.
const FIELDS_TIME_MAX: Duration = Duration::from_mins(1);
/// Most of a store's answer to an upload that is read; it says nothing.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Answers one form.
pub async fn serve(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    to: &Destination,
) -> Result<()> {
    let asked = Instant::now();
    let read = timeout(FIELDS_TIME_MAX, read(client)).await;
    let form = read.unwrap_or_else(|_| Err(Error::new(Kind::RequestTimeout, TOO_SLOW)))?;
    record.waited(asked.elapsed());
    let arrival = storage::arrival(client, arrived)?;
    let (identified, headers) =
        pipeline::identify_form(&arrived.snapshot, &arrival, arrived.peer, to, &form)?;
    let Identified {
        key,
        repository,
        limiter,
        request,
        payload,
    } = identified;
    record.identified(&key, &repository);
    let _entered = arrived.enter(record, limiter.as_ref(), &repository)?;
    let permitted = pipeline::permit(key, Arc::clone(&repository), request.without_body()?)?;
    let hop = match pipeline::plan(permitted)? {
        Plan::Forward(hop) => hop,
        Plan::Translate(hop) => {
            let sent = (payload, headers);
            return translate::run_form(engine, client, arrived, record, &hop, form, sent).await;
        }
        Plan::Reply(_) | Plan::ListBuckets(_) | Plan::Compose(_) => {
            return Err(Error::internal("an upload that is not forwarded"));
        }
    };
    upload(
        engine,
        client,
        arrived,
        record,
        &hop,
        form,
        (payload, headers),
    )
    .await
}

/// Streams the file of a form that may be stored.
async fn upload(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    form: Form,
    (payload, headers): (Payload, HeaderMap),
) -> Result<()> {
    let account = hop.bucket.resource.s3();
    let account = account.ok_or_else(|| Error::internal("not an S3 resource"))?;
    let Form { fields, file } = form;
    let request = hop.op.request();
    let (plan, pipe) = body::plan(
        request,
        payload,
        &headers,
        account.quirks,
        hop.object_bytes_max,
    )?;
    let outgoing = upstream::encode(&hop.op, &headers, &hop.bucket, None, Some(&plan))?;
    let step: Box<dyn BodyStep> = Box::new(FileUpload { file, pipe });
    let min_rate = arrived.snapshot.limits.min_body_rate;
    let received_max = storage::received_max(&plan);
    let mut body = ClientBody::new(
        Some(step),
        false,
        min_rate,
        received_max,
        plan.content_length,
    )
    .commit_if(storage::still_valid(engine, record));
    if plan.verify_before_head() {
        // The store would commit on the head alone.
        body.read_empty(Sender::Client(client)).await?;
    }
    record.bucket = Some(Arc::clone(&hop.bucket));
    record.sending(&hop.bucket.resource);
    let ready = engine
        .credentials
        .ready(&engine.dialer, &hop.bucket.resource);
    let ready = ready
        .await
        .map_err(|error| record.gave_up(Failed { error, attempts: 0 }))?;
    let sending = Outgoing {
        resource: &hop.bucket.resource,
        head: &|| storage::signed(&outgoing, account, &ready, arrived),
        body: Body::Client(&mut body),
        // A browser does not know what became of a form, and repeats it by itself.
        idempotent: false,
        first_byte: hop.bucket.resource.timeouts.first_byte,
    };
    let answer = exchange(&engine.dialer, Some(client), sending).await;
    record.bytes_in += body.bytes_in;
    let answer = answer.map_err(|failed| record.gave_up(failed))?;
    record.answered(&answer);
    if !answer.head()?.status.is_success() {
        return storage::deliver(engine, client, arrived, record, hop, answer).await;
    }
    stored(engine, client, arrived, record, hop, &fields, answer).await
}

/// Reads a form up to its file, and the file as far as its end may be near.
async fn read(client: &mut Client) -> Result<Form> {
    let head = client.head();
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let Some(length) = length else {
        let message = "You must provide the Content-Length HTTP header.";
        return Err(Error::new(Kind::LengthRequired, message));
    };
    let content_type = head.headers.get(CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], |value| value.as_bytes());
    let mut reader = FormReader::new(content_type, length)?;
    if head.expects_continue() {
        client.say_continue().await?;
    }
    loop {
        let Some(chunk) = client.read_body().await? else {
            return reader.finish(true);
        };
        if reader.push(&chunk)? {
            return reader.finish(false);
        }
    }
}

/// Tells the browser that its file was stored, in the way that it asked for.
async fn stored(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    fields: &Fields,
    mut answer: Answer,
) -> Result<()> {
    let status: StatusCode = answer.head()?.status;
    let shown = downstream::reply(&hop.op, status, answer.headers()?, &hop.bucket)?.headers;
    relay::collect(
        &mut answer,
        hop.bucket.resource.timeouts.idle,
        ANSWER_BYTES_MAX,
    )
    .await?;
    engine.dialer.release(answer.link).await;
    let host = client.head().host().unwrap_or_default();
    let reply = form::reply(fields, hop.op.request(), shown, host, arrived.secure);
    storage::send(client, arrived, record, reply).await
}
