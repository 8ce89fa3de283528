//! Requests for Azure Blob Storage and what it answers.
//!
//! `ETag`s. Clients are to see those of S3, and not the service's own marks, which some of them cannot read: the MD5 that
//! the service keeps of a blob that was stored in one request, or the one that we keep in its metadata; see
//! [`names::ETAG`]. The marks are what operations are pinned by.

mod blocks;
mod copy;
mod decode;
mod draft;
mod encode;
mod headers;
mod journal;
mod listing;

use http::StatusCode;

use super::{error, names};
use crate::error::{Error, Result};
use crate::policy::route::Bucket;
use crate::storage::capability::{Capability, Native};
use crate::storage::codec::{
    DOCUMENT_BYTES_MAX, ReplyBody, ReplyHead, Target, Upstream, UpstreamRequest,
};
use crate::storage::compose::journal::JOURNAL_BYTES_MAX;
use crate::storage::object::{ChecksumKind, Digests, Observed};
use crate::storage::op::{Family, Journal, Operation};
use crate::storage::reply::Reply;

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct Azure;

pub const CAPABILITY: Capability = Capability {
    suffix_ranges: Native::Pinned,
    part_reads: Native::Pinned,
    read_conditions: Native::Pinned,
    write_if_absent: Native::Yes,
    write_if_match: Native::Pinned,
    delete_if_match: Native::Pinned,
    complete_if: Native::Pinned,
    copies: Native::Pinned,
    piece_copies: Native::Yes,
    // Metadata and headers are changed by two requests.
    sets_attributes: Native::No,
    tags: Native::Yes,
    sets_tags: Native::Yes,
    versions: Native::No,
    lists_uploads: Native::Composed,
    keeps_full_buckets: Native::Composed,
    uploads: Family::Blocks,
    keeps_parts: Native::Yes,
    // Each part of a batch would have to be signed for itself.
    delete_batch_max: 1,
    put_bytes_max: names::PUT_BYTES_MAX,
    copy_bytes_max: names::PUT_BYTES_MAX,
    piece_bytes_max: names::BLOCK_BYTES_MAX,
    pieces_max: names::BLOCKS_MAX,
    object_bytes_max: names::BLOB_BYTES_MAX,
    page_max: names::PAGE_MAX,
    needs_length: true,
    md5_etags: true,
};

impl Upstream for Azure {
    fn capability(&self, _bucket: &Bucket) -> Capability {
        CAPABILITY
    }

    fn encode(&self, op: &Operation, target: &Target<'_>) -> Result<UpstreamRequest> {
        encode::request(op, target)
    }

    /// The MD5 is the ETag of an object, unless the client told it: then it is the one that the service compares. The CRC64 costs next
    /// to nothing, and the service tells its own.
    fn digests(&self, op: &Operation) -> Digests {
        op.body().map_or_else(Digests::default, |body| Digests {
            crc32c: false,
            crc64nvme: true,
            md5: !matches!(op, Operation::UploadPiece(_))
                && body.checksum(ChecksumKind::Md5).is_none(),
        })
    }

    fn reply_body(&self, op: &Operation, status: StatusCode) -> ReplyBody {
        let is_head = matches!(op, Operation::HeadBucket | Operation::HeadObject(_));
        if let Some(body) = ReplyBody::without_document(status, is_head) {
            return body;
        }
        match op {
            Operation::GetObject(_) => ReplyBody::Forward,
            Operation::ListBuckets(_)
            | Operation::ListObjects(_)
            | Operation::GetTags(_)
            | Operation::Journal(Journal::List(_)) => ReplyBody::Document {
                bytes_max: DOCUMENT_BYTES_MAX,
            },
            Operation::Journal(Journal::Read(_)) => ReplyBody::Document {
                bytes_max: JOURNAL_BYTES_MAX,
            },
            Operation::HeadBucket
            | Operation::CreateBucket(_)
            | Operation::DeleteBucket
            | Operation::HeadObject(_)
            | Operation::PutObject(_)
            | Operation::CopyObject(_)
            | Operation::SetAttributes(_)
            | Operation::DeleteObject(_)
            | Operation::DeleteObjects(_)
            | Operation::PutTags(_)
            | Operation::CreateUpload(_)
            | Operation::UploadPiece(_)
            | Operation::CopyPiece(_)
            | Operation::ListPieces(_)
            | Operation::ListUploads(_)
            | Operation::CompleteUpload(_)
            | Operation::AbortUpload(_)
            | Operation::Journal(
                Journal::Create(_) | Journal::Append { .. } | Journal::Delete(_),
            )
            | Operation::NoteUpload(_) => ReplyBody::None,
        }
    }

    fn decode_reply(
        &self,
        op: &Operation,
        target: &Target<'_>,
        head: ReplyHead<'_>,
        document: Option<&[u8]>,
        observed: &Observed,
    ) -> Result<Reply> {
        decode::reply(op, target, head, document.unwrap_or_default(), observed)
    }

    fn decode_error(&self, op: &Operation, head: ReplyHead<'_>, body: &[u8]) -> Error {
        error::decode(op, head, body)
    }
}

#[cfg(test)]
mod tests;
