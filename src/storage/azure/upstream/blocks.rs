//! Blocks, and the objects that are made of them.
//!
//! The service tells no more of a block than its size, and keeps blocks that no object was made of for a week. Whoever
//! makes objects of them keeps elsewhere which there are, and what clients are to know of the object.

use http::Method;

use super::draft::Draft;
use super::headers::{self, Kept, push};
use crate::error::{Error, Result};
use crate::policy::route::Bucket;
use crate::storage::azure::{names, wire};
use crate::storage::codec::{UpstreamBody, UpstreamHead, UpstreamRequest};
use crate::storage::object::{Attributes, ChecksumKind, Extent};
use crate::storage::op::{
    ChecksumOver, CompleteUpload, Made, Piece, Pieces, UploadPiece, UploadRef,
};

/// Longest list of parts' sizes that is kept with an object: its own metadata wants room too.
const PARTS_BYTES_MAX: usize = 2048;

pub(super) fn put(piece: &UploadPiece, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = block(&piece.upload, &piece.piece, bucket)?;
    let head = &mut draft.head;
    let length = headers::push_length(head, &piece.body)?;
    if length == 0 || length > names::BLOCK_BYTES_MAX {
        return Err(Error::internal("a block that is empty or too large"));
    }
    let has_md5 = headers::push_md5(head, &piece.body)?;
    // One of the two is all that the service takes.
    if let Some(crc64) = piece.body.checksum(ChecksumKind::Crc64Nvme)
        && !has_md5
    {
        push(head, names::CONTENT_CRC64, &headers::crc64(crc64))?;
    }
    headers::push_customer_key(head, piece.customer_key.as_ref())?;
    Ok(draft.finish(Method::PUT, UpstreamBody::Stream))
}

/// A request for one block.
pub(super) fn block(upload: &UploadRef, piece: &Piece, bucket: &Bucket) -> Result<Draft> {
    let Piece::Block(id) = piece else {
        return Err(Error::internal("a piece of another family"));
    };
    let mut draft = Draft::blob(bucket, &upload.key)?;
    draft.query("comp", "block");
    draft.query("blockid", &wire::block_name(id));
    Ok(draft)
}

/// Makes the object of its blocks, with all that is stored beside it.
pub(super) fn commit(complete: &CompleteUpload, bucket: &Bucket) -> Result<UpstreamRequest> {
    let Pieces::Blocks(blocks) = &complete.pieces else {
        return Err(Error::internal("pieces of another family"));
    };
    let document = wire::block_list(blocks.iter().map(|(id, state)| (id, *state)));
    let mut draft = Draft::blob(bucket, &complete.upload.key)?;
    draft.query("comp", "blocklist");
    let attributes = complete.attributes.as_ref();
    let attributes = attributes.ok_or_else(|| Error::internal("an upload without attributes"))?;
    let head = &mut draft.head;
    headers::push_attributes(head, attributes, &kept(complete))?;
    push_md5(head, complete.made.as_ref())?;
    headers::push_conditions(head, &complete.conditions)?;
    Ok(draft.document(Method::PUT, document))
}

/// Where the ETag is the MD5 of the bytes, it is kept in its own place.
fn push_md5(head: &mut UpstreamHead, made: Option<&Made>) -> Result<()> {
    match made.and_then(|made| made.etag.md5()) {
        Some(md5) => push(head, names::BLOB_CONTENT_MD5, &headers::base64(&md5)),
        None => Ok(()),
    }
}

fn kept(complete: &CompleteUpload) -> Kept {
    let Some(made) = &complete.made else {
        return Kept::default();
    };
    let is_md5 = made.etag.md5().is_some();
    let parts = Some(runs(&made.part_sizes));
    let checksum = complete.checksum.as_ref();
    Kept {
        etag: (!is_md5).then(|| made.etag.as_str().to_owned()),
        // Of an object in very many sizes, a part cannot be read by its number.
        parts: parts.filter(|parts| (1..=PARTS_BYTES_MAX).contains(&parts.len())),
        upload: Some(complete.upload.id.to_string()),
        checksum: checksum.and_then(|(of, checksum)| {
            let parts = made.part_sizes.len();
            let parts = (of.over == ChecksumOver::Parts).then_some(parts);
            headers::kept_text(checksum, parts)
        }),
    }
}

/// Whether an object that is made later can have all of this beside it.
pub(super) fn check(attributes: &Attributes, upload: &UploadRef, bucket: &Bucket) -> Result<()> {
    let longest = |bytes: usize| Some("x".repeat(bytes));
    let kept = Kept {
        etag: longest("0123456789abcdef0123456789abcdef-10000".len()),
        parts: longest(PARTS_BYTES_MAX),
        upload: Some(upload.id.to_string()),
        checksum: longest("crc64nvme:".len() + 44 + "-10000".len()),
    };
    let mut draft = Draft::blob(bucket, &upload.key)?;
    headers::push_attributes(&mut draft.head, attributes, &kept)
}

/// Sizes, equal ones counted.
fn runs(sizes: &[u64]) -> String {
    let runs = sizes.chunk_by(|left, right| left == right);
    let runs = runs.filter_map(|run| {
        let one = run.first()?;
        Some(match run.len() {
            1 => one.to_string(),
            count => format!("{one}*{count}"),
        })
    });
    runs.collect::<Vec<_>>().join(",")
}

pub(super) fn extent(made: Option<&Made>, over: ChecksumOver) -> Extent {
    match over {
        ChecksumOver::Object => Extent::Whole,
        ChecksumOver::Parts => {
            let parts = made.map_or(0, |made| made.part_sizes.len());
            Extent::Parts(u32::try_from(parts).unwrap_or(u32::MAX))
        }
    }
}
