//! Requests for the provider.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;

use super::auth::PayloadHash;
use super::body::UploadForm;
use super::route::WholeOp;
use crate::error::{Error, Result};
use crate::policy::route::Bucket;

/// A request head for the provider, ready to be signed and sent.
#[derive(Clone, Debug)]
pub struct UpstreamHead {
    pub method: Method,
    /// Path and query as they go on the wire.
    pub target: String,
    pub headers: SmallVec<[(HeaderName, HeaderValue); 16]>,
}

/// A request for the provider: the head, its payload's hash, and the whole body where it is a document.
#[derive(Debug)]
pub struct UpstreamRequest {
    pub head: UpstreamHead,
    pub payload: PayloadHash,
    /// `None`: no body, or the stream of the [`UploadForm`].
    pub document: Option<Bytes>,
}

/// Writes `op` for `bucket`. `headers` are the client's; `form` is that of a streamed upload; `source` is the bucket
/// that a copy reads from.
pub fn encode(
    _op: &WholeOp,
    _headers: &HeaderMap,
    _bucket: &Bucket,
    _source: Option<&Bucket>,
    _form: Option<&UploadForm>,
) -> Result<UpstreamRequest> {
    Err(Error::internal("not built"))
}

/// Whether a copy from `source` to `target` can be done by the provider itself.
pub fn copies_natively(source: &Bucket, target: &Bucket) -> bool {
    std::sync::Arc::ptr_eq(&source.resource, &target.resource)
}
