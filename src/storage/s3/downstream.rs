//! Answers for the client.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use smallvec::SmallVec;

use super::route::{S3Request, WholeOp};
use crate::error::{Error, Result};
use crate::policy::route::Bucket;

pub type ReplyHeaders = SmallVec<[(HeaderName, HeaderValue); 24]>;

/// What of the provider's answer goes to the client.
#[derive(Debug)]
pub struct ReplyHead {
    pub status: StatusCode,
    /// Without `x-amz-request-id`, `x-amz-id-2`, `date`; `content-length` only where the body is forwarded.
    pub headers: ReplyHeaders,
    pub body: ReplyBody,
}

/// What happens to the provider's response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// Byte for byte.
    Forward,
    /// Read whole, at most `bytes_max`, then [`super::wire::translate`].
    Translate { bytes_max: usize },
    /// As `Translate`, but it may take minutes, be preceded by white space, and be an error under a 200.
    Late { bytes_max: usize },
    /// An error: read at most `bytes_max`, then [`super::error::Failure::decode`].
    Failure { bytes_max: usize },
}

pub fn reply(
    _op: &WholeOp,
    _status: StatusCode,
    _headers: &HeaderMap,
    _bucket: &Bucket,
) -> Result<ReplyHead> {
    Err(Error::internal("not built"))
}

/// The `ListBuckets` document of (exposed name, created), sorted by name, already filtered to what the key may see.
pub fn list_buckets<'a>(
    _request: &S3Request,
    _owner: &str,
    _region: &str,
    _buckets: impl Iterator<Item = (&'a str, Timestamp)>,
) -> Result<Bytes> {
    Err(Error::internal("not built"))
}

/// The `GetBucketLocation` document.
pub fn location(_region: &str) -> Bytes {
    Bytes::new()
}
