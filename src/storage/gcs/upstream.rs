//! Requests for Google Cloud Storage and what it answers.

mod decode;
mod encode;
mod headers;

use http::StatusCode;

use super::{error, names};
use crate::error::{Error, Result};
use crate::policy::credential::{Credential, ReadyCredential};
use crate::policy::route::Bucket;
use crate::storage::capability::{Capability, Native};
use crate::storage::codec::{
    DOCUMENT_BYTES_MAX, ReplyBody, ReplyHead, Target, Upstream, UpstreamRequest,
};
use crate::storage::object::{Digests, Observed};
use crate::storage::op::{Family, Operation};
use crate::storage::reply::Reply;

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct Gcs;

pub const CAPABILITY: Capability = Capability {
    suffix_ranges: Native::Yes,
    part_reads: Native::No,
    read_conditions: Native::Yes,
    write_if_absent: Native::Yes,
    write_if_match: Native::Pinned,
    delete_if_match: Native::Pinned,
    // Its uploads in parts know no conditions, and their object's name is fixed when they begin.
    complete_if: Native::No,
    copies: Native::Yes,
    piece_copies: Native::Composed,
    sets_attributes: Native::Yes,
    tags: Native::Yes,
    sets_tags: Native::Yes,
    versions: Native::Yes,
    keeps_full_buckets: Native::Yes,
    lists_uploads: Native::Yes,
    uploads: Family::Parts,
    keeps_parts: Native::Composed,
    delete_batch_max: names::PAGE_MAX as usize,
    put_bytes_max: names::OBJECT_BYTES_MAX,
    copy_bytes_max: names::OBJECT_BYTES_MAX,
    piece_bytes_max: names::PART_BYTES_MAX,
    pieces_max: names::PARTS_MAX,
    object_bytes_max: names::OBJECT_BYTES_MAX,
    page_max: names::PAGE_MAX,
    needs_length: false,
    // Not of what a customer's own key service encrypts; what is one is told among the digests.
    md5_etags: false,
};

impl Upstream for Gcs {
    fn capability(&self, bucket: &Bucket) -> Capability {
        Capability {
            sets_tags: match api(bucket) {
                Api::Xml => Native::No,
                Api::Json => CAPABILITY.sets_tags,
            },
            keeps_parts: match api(bucket) {
                Api::Xml => Native::No,
                Api::Json => CAPABILITY.keeps_parts,
            },
            ..CAPABILITY
        }
    }

    fn encode(&self, op: &Operation, target: &Target<'_>) -> Result<UpstreamRequest> {
        encode::request(op, target)
    }

    /// GCS tells the CRC32C of what it stored: comparing costs next to nothing. An MD5 nobody needs.
    fn digests(&self, op: &Operation) -> Digests {
        Digests {
            crc32c: op.body().is_some(),
            ..Digests::default()
        }
    }

    fn reply_body(&self, op: &Operation, status: StatusCode) -> ReplyBody {
        let is_head = is_head(op);
        if let Some(body) = ReplyBody::without_document(status, is_head) {
            return body;
        }
        match op {
            Operation::GetObject(_) => ReplyBody::Forward,
            Operation::HeadBucket | Operation::HeadObject(_) | Operation::GetTags(_) => {
                ReplyBody::None
            }
            Operation::ListBuckets(_)
            | Operation::CreateBucket(_)
            | Operation::DeleteBucket
            | Operation::ListObjects(_)
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
            | Operation::Journal(_)
            | Operation::NoteUpload(_) => ReplyBody::Document {
                bytes_max: DOCUMENT_BYTES_MAX,
            },
        }
    }

    fn decode_reply(
        &self,
        op: &Operation,
        target: &Target<'_>,
        head: ReplyHead<'_>,
        document: Option<&[u8]>,
        _observed: &Observed,
    ) -> Result<Reply> {
        decode::reply(op, target, head, document.unwrap_or_default())
    }

    fn decode_error(&self, op: &Operation, head: ReplyHead<'_>, body: &[u8]) -> Error {
        error::decode(op, head, body)
    }
}

/// What may be asked of the store beside objects: the JSON API takes no interoperability keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    Xml,
    /// As well.
    Json,
}

fn api(bucket: &Bucket) -> Api {
    let credential = bucket.resource.credential();
    match credential.and_then(Credential::ready) {
        Some(ReadyCredential::Hmac(_)) => Api::Xml,
        Some(
            ReadyCredential::Bearer(_)
            | ReadyCredential::SharedKey(_)
            | ReadyCredential::Sas(_)
            | ReadyCredential::S3(_),
        )
        | None => Api::Json,
    }
}

/// Asked by HEAD: there is no document to a failure either.
fn is_head(op: &Operation) -> bool {
    matches!(
        op,
        Operation::HeadBucket | Operation::HeadObject(_) | Operation::GetTags(_)
    )
}

#[cfg(test)]
mod tests;
