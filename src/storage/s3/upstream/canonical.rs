//! Operations of the model as requests for S3, and what it answers: the way to an S3 resource from whatever does not
//! forward to it.
//!
//! What S3's own clients ask of S3 is not written here but forwarded, in their own words ([`super::encode`]); this is
//! smaller. It carries copies between S3 and other clouds, and what clients of other protocols ask. Bucket operations and
//! listings are not here yet, and refused.
//!
//! `ETag`s are the store's, and the marks that objects are pinned by as well. They are no MD5 where a key service's key
//! encrypts, and look like one even so: what is known of the MD5 is told among the checksums.

mod decode;
mod encode;
mod headers;

use http::StatusCode;
use http::header::CONTENT_LENGTH;
use jiff::Timestamp;

use super::NO_PAYLOAD;
use crate::error::{Error, Result};
use crate::policy::credential::ReadyCredential;
use crate::policy::route::{Bucket, S3Account};
use crate::storage::capability::{Capability, Native};
use crate::storage::codec::{
    DOCUMENT_BYTES_MAX, ReplyBody, ReplyHead, Target, Upstream, UpstreamHead, UpstreamRequest,
};
use crate::storage::object::{Digests, Observed};
use crate::storage::op::{Family, Operation};
use crate::storage::reply::Reply;
use crate::storage::s3::auth::{self, PayloadHash};
use crate::storage::s3::error;

/// Largest object or part that one request stores.
const PUT_BYTES_MAX: u64 = 5 << 30;
const PARTS_MAX: u32 = 10_000;
const PAGE_MAX: u32 = 1000;

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct S3;

pub const CAPABILITY: Capability = Capability {
    suffix_ranges: Native::Yes,
    part_reads: Native::Yes,
    read_conditions: Native::Yes,
    write_if_absent: Native::Yes,
    write_if_match: Native::Yes,
    delete_if_match: Native::Yes,
    complete_if: Native::Yes,
    copies: Native::Yes,
    piece_copies: Native::Yes,
    sets_attributes: Native::Yes,
    tags: Native::Yes,
    sets_tags: Native::Yes,
    versions: Native::Yes,
    keeps_full_buckets: Native::Yes,
    lists_uploads: Native::Yes,
    uploads: Family::Parts,
    keeps_parts: Native::Yes,
    delete_batch_max: PAGE_MAX as usize,
    put_bytes_max: PUT_BYTES_MAX,
    copy_bytes_max: PUT_BYTES_MAX,
    piece_bytes_max: PUT_BYTES_MAX,
    pieces_max: PARTS_MAX,
    object_bytes_max: PUT_BYTES_MAX * PARTS_MAX as u64,
    page_max: PAGE_MAX,
    needs_length: true,
    md5_etags: false,
};

/// Signs a request that this codec wrote. Bodies are streamed, and so not signed: the store compares what their head
/// declares of them.
pub fn sign(
    head: &mut UpstreamHead,
    account: &S3Account,
    ready: &ReadyCredential,
    now: Timestamp,
) -> Result<()> {
    let length = head.header(CONTENT_LENGTH.as_str());
    let payload = if length.is_none_or(|length| length == "0") {
        NO_PAYLOAD
    } else {
        PayloadHash::Unsigned
    };
    auth::sign(head, payload, account, ready, now)
}

impl Upstream for S3 {
    fn capability(&self, _bucket: &Bucket) -> Capability {
        CAPABILITY
    }

    fn encode(&self, op: &Operation, target: &Target<'_>) -> Result<UpstreamRequest> {
        encode::request(op, target)
    }

    /// None: S3 is told what is known of the bytes, and compares. An MD5 for the sake of its `ETag` costs more than all
    /// the rest.
    fn digests(&self, _op: &Operation) -> Digests {
        Digests::default()
    }

    fn reply_body(&self, op: &Operation, status: StatusCode) -> ReplyBody {
        let is_head = matches!(op, Operation::HeadObject(_) | Operation::HeadBucket);
        if let Some(body) = ReplyBody::without_document(status, is_head) {
            return body;
        }
        match op {
            Operation::GetObject(_) => ReplyBody::Forward,
            Operation::HeadBucket
            | Operation::HeadObject(_)
            | Operation::PutObject(_)
            | Operation::UploadPiece(_)
            | Operation::DeleteObject(_)
            | Operation::PutTags(_)
            | Operation::AbortUpload(_) => ReplyBody::None,
            Operation::ListBuckets(_)
            | Operation::CreateBucket(_)
            | Operation::DeleteBucket
            | Operation::ListObjects(_)
            | Operation::CopyObject(_)
            | Operation::SetAttributes(_)
            | Operation::DeleteObjects(_)
            | Operation::GetTags(_)
            | Operation::CreateUpload(_)
            | Operation::CopyPiece(_)
            | Operation::ListPieces(_)
            | Operation::ListUploads(_)
            | Operation::CompleteUpload(_)
            | Operation::NoteUpload(_)
            | Operation::Journal(_) => ReplyBody::Document {
                bytes_max: DOCUMENT_BYTES_MAX,
            },
        }
    }

    fn decode_reply(
        &self,
        op: &Operation,
        _target: &Target<'_>,
        head: ReplyHead<'_>,
        document: Option<&[u8]>,
        _observed: &Observed,
    ) -> Result<Reply> {
        decode::reply(op, head, document.unwrap_or_default())
    }

    fn decode_error(&self, op: &Operation, head: ReplyHead<'_>, body: &[u8]) -> Error {
        error::told(op, head, body)
    }
}

/// What this codec does not say.
fn unsaid() -> Error {
    Error::unsupported("This operation is not implemented for an S3 bucket from here.")
}

#[cfg(test)]
mod tests;
