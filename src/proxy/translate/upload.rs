//! A client's body, checked here whole: of S3's own integrity the stores of other clouds know nothing.

use http::HeaderMap;

use crate::error::Result;
use crate::message::body::BodyStep;
use crate::pipeline::Hop;
use crate::policy::route::S3Quirks;
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::record::Record;
use crate::proxy::storage;
use crate::proxy::upload::ClientBody;
use crate::storage::s3::auth::Payload;
use crate::storage::s3::body::{self, Trailing, UploadForm, UploadPipe};
use crate::storage::s3::route::{RequestBody, S3Request};

const ALL_CHECKS_OURS: S3Quirks = S3Quirks {
    verifies_sha256: false,
    trailers: false,
};

/// A client's body, on its way through verification.
pub(super) struct Upload {
    pub body: ClientBody,
    /// Of the object or piece.
    pub length: u64,
    pub verify_before_head: bool,
    /// A checksum that comes behind the body.
    pub trailing: Option<Trailing>,
}

/// `None`: what is asked for has no body that streams.
pub(super) fn upload(
    engine: &Engine,
    client: &Client,
    arrived: &Arrived,
    record: &Record,
    hop: &Hop,
    payload: Option<Payload>,
) -> Result<Option<Upload>> {
    let request = hop.op.request();
    let streams = request.row().request_body == RequestBody::Stream;
    let Some(payload) = payload.filter(|_| streams) else {
        return Ok(None);
    };
    let head = client.head();
    let (form, pipe) = plan(request, payload, &head.headers, hop.object_bytes_max)?;
    let trailing = pipe.trailing();
    let expects_continue = head.expects_continue();
    let step = Box::new(pipe);
    let body = body(engine, arrived, record, &form, step, expects_continue);
    Ok(Some(Upload {
        body,
        length: form.content_length,
        verify_before_head: form.verify_before_head(),
        trailing,
    }))
}

/// The file of a form whose fields were read, so that nobody waits to go on.
pub(super) fn of_form(
    engine: &Engine,
    arrived: &Arrived,
    record: &Record,
    form: &UploadForm,
    step: Box<dyn BodyStep>,
) -> Upload {
    Upload {
        body: body(engine, arrived, record, form, step, false),
        length: form.content_length,
        verify_before_head: form.verify_before_head(),
        trailing: None,
    }
}

/// What a body is, and the pipe that checks it. All of it is checked here, and framing is peeled.
pub(super) fn plan(
    request: &S3Request,
    payload: Payload,
    headers: &HeaderMap,
    bytes_max: u64,
) -> Result<(UploadForm, UploadPipe)> {
    body::plan(request, payload, headers, ALL_CHECKS_OURS, bytes_max)
}

fn body(
    engine: &Engine,
    arrived: &Arrived,
    record: &Record,
    form: &UploadForm,
    step: Box<dyn BodyStep>,
    expects_continue: bool,
) -> ClientBody {
    let min_rate = arrived.snapshot.limits.min_body_rate;
    let received_max = storage::received_max(form);
    let length = form.content_length;
    ClientBody::new(Some(step), expects_continue, min_rate, received_max, length)
        .commit_if(storage::still_valid(engine, record))
}
