//! Uploads: from the form in which a client sent a body to the form in which the store gets it, verified before
//! its last byte is released.

use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;

use super::auth::{Payload, PayloadHash};
use super::route::S3Request;
use crate::error::{Error, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::policy::route::S3Quirks;

/// What leaves for the store, decided before the first byte of the body was read.
#[derive(Debug)]
pub struct UploadForm {
    /// Exact length of what [`UploadPipe`] hands on.
    pub content_length: u64,
    /// Length of the object or part itself.
    pub decoded_length: u64,
    pub payload: PayloadHash,
    /// Headers that go upstream because of the form (`x-amz-trailer`, `x-amz-decoded-content-length`, checksums).
    pub headers: SmallVec<[(http::HeaderName, http::HeaderValue); 4]>,
    /// `Content-Encoding` for the store, `aws-chunked` taken out or put in.
    pub content_encoding: Option<http::HeaderValue>,
}

/// Decides form and pipe of a `RequestBody::Stream` operation. `content_length` is that of the client's message.
pub fn plan(
    _request: &S3Request,
    _payload: Payload,
    _headers: &HeaderMap,
    _quirks: S3Quirks,
) -> Result<(UploadForm, UploadPipe)> {
    Err(Error::internal("not built"))
}

/// The step between the client's body and the store's. Nothing of the held tail leaves before all is verified.
#[derive(Debug)]
pub struct UploadPipe(());

impl BodyStep for UploadPipe {
    fn push(&mut self, _input: Bytes, _out: &mut Chunks) -> Result<()> {
        Err(Error::internal("not built"))
    }

    fn finish(&mut self, _end: End, _out: &mut Chunks) -> Result<()> {
        Err(Error::internal("not built"))
    }
}

/// Checks a `RequestBody::Document` that was read whole: payload hash, `Content-MD5`, checksums, framing.
/// Returns the document itself.
pub fn verify_document(
    _request: &S3Request,
    _payload: Payload,
    _headers: &HeaderMap,
    _raw: Bytes,
) -> Result<Bytes> {
    Err(Error::internal("not built"))
}
