//! What the upstream half of a protocol gives: pure functions between the model and the wire.
//!
//! A codec reads no clock and does no I/O. Objects' bytes never pass through it: it says what becomes of a body
//! ([`ReplyBody`]), and only documents that it asked for come back to it. Signing is a step of its own, done on the
//! head that [`Upstream::encode`] wrote, for each attempt anew.
//!
//! ```text
//! let request = codec.encode(&op, &target)?;             // head, and what its body is
//! ...sign, send, stream; digests as codec.digests(&op) asks...
//! match codec.reply_body(&op, status) {
//!     Forward        => decode_reply(.., None, ..), then stream the body past
//!     Document{max}  => read at most max, decode_reply(.., Some(document), ..)
//!     None           => decode_reply(.., None, ..)
//!     Failure{max}   => read at most max, decode_error(..)
//! }
//! ```

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, StatusCode};

use super::capability::Capability;
use super::condition::Span;
pub use super::head::UpstreamHead;
use super::object::{Digests, Observed};
use super::op::Operation;
use super::reply::Reply;
use crate::error::{Error, Kind, Result};
use crate::policy::route::Bucket;

/// Longest error document that is read.
pub const FAILURE_BYTES_MAX: usize = 64 * 1024;
/// Longest document that is read: a page of 5000 entries with keys of 1024 bytes, written as references.
pub const DOCUMENT_BYTES_MAX: usize = 32 << 20;

/// Where an operation goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub bucket: &'a Bucket,
    /// The bucket that a copy reads from, where the store can do it by itself.
    pub source: Option<&'a Bucket>,
}

/// A request for the upstream, to be signed and sent.
#[derive(Debug)]
pub struct UpstreamRequest {
    /// With `host`, and with `content-length` where it is known.
    pub head: UpstreamHead,
    pub body: UpstreamBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamBody {
    None,
    Document(Bytes),
    /// The client's, decoded and verified; its length is the operation's.
    Stream,
}

/// What becomes of the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// There is none.
    None,
    /// The object's bytes.
    Forward,
    /// Read whole, for [`Upstream::decode_reply`].
    Document { bytes_max: usize },
    /// Read up to here, for [`Upstream::decode_error`].
    Failure { bytes_max: usize },
}

impl ReplyBody {
    /// Of an answer that has no document of the operation's, whatever that is. `is_head`: it was asked by HEAD.
    pub fn without_document(status: StatusCode, is_head: bool) -> Option<Self> {
        if status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT {
            return Some(Self::None);
        }
        let bytes_max = if is_head { 0 } else { FAILURE_BYTES_MAX };
        (!status.is_success()).then_some(Self::Failure { bytes_max })
    }
}

/// The head of an answer.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead<'a> {
    pub status: StatusCode,
    pub headers: &'a HeaderMap,
}

/// The size of the object that an answer tells of, and which of its bytes follow where they are not all.
pub fn object_size(headers: &HeaderMap) -> Result<(u64, Option<Span>)> {
    if headers.contains_key(CONTENT_RANGE) {
        let (span, size) = content_range(headers).ok_or_else(|| broken("a range that is none"))?;
        if span.first > span.last || span.last >= size {
            return Err(broken("a range that is none"));
        }
        return Ok((size, Some(span)));
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let size = length.ok_or_else(|| broken("an object without a length"))?;
    Ok((size, None))
}

/// The range that an answer says it is, and the size of the whole; whether the one is in the other is not asked.
pub fn content_range(headers: &HeaderMap) -> Option<(Span, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    Some((Span { first, last }, size))
}

/// Of an answer that is none of the store's protocol.
pub fn broken(detail: impl std::fmt::Display) -> Error {
    Error::new(Kind::UpstreamBroken, "The store's answer is not valid.").with_detail(detail)
}

/// The upstream half of a protocol.
pub trait Upstream: Send + Sync {
    /// What this target does by itself.
    fn capability(&self, bucket: &Bucket) -> Capability;

    /// Writes the request. What it cannot express it refuses; it ignores nothing.
    fn encode(&self, op: &Operation, target: &Target<'_>) -> Result<UpstreamRequest>;

    /// Which digests of a streamed body are needed afterwards.
    fn digests(&self, op: &Operation) -> Digests;

    fn reply_body(&self, op: &Operation, status: StatusCode) -> ReplyBody;

    /// Reads an answer that is no failure. `observed` is of the body that was sent.
    fn decode_reply(
        &self,
        op: &Operation,
        target: &Target<'_>,
        head: ReplyHead<'_>,
        document: Option<&[u8]>,
        observed: &Observed,
    ) -> Result<Reply>;

    /// Reads a failure. `body` may be empty or cut.
    fn decode_error(&self, op: &Operation, head: ReplyHead<'_>, body: &[u8]) -> Error;
}
