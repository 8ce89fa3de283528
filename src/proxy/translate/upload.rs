//! A client's body, checked here whole: of S3's own integrity the stores of other clouds know nothing.

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
use crate::storage::s3::body::{self, Trailing};
use crate::storage::s3::route::RequestBody;

/// All of it is checked here, and framing is peeled.
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
    let most = hop.object_bytes_max;
    let (form, pipe) = body::plan(request, payload, &head.headers, ALL_CHECKS_OURS, most)?;
    let trailing = pipe.trailing();
    let step = Some(Box::new(pipe) as Box<dyn BodyStep>);
    let min_rate = arrived.snapshot.limits.min_body_rate;
    let received_max = storage::received_max(&form);
    let length = form.content_length;
    let expects_continue = head.expects_continue();
    let body = ClientBody::new(step, expects_continue, min_rate, received_max, length)
        .commit_if(storage::still_valid(engine, record));
    Ok(Some(Upload {
        body,
        length,
        verify_before_head: form.verify_before_head(),
        trailing,
    }))
}
