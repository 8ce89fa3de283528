//! Uploads in parts, as blocks: each part is a block, or two where it is larger than one may be.
//!
//! A block's id says which upload and part it is of, so that a part that is sent again replaces the one before, and two
//! uploads of one key stay apart until one of them is completed. The upload's id is [`NONCE_BYTES`] in hexadecimal, drawn
//! by whoever begins an upload; all ids of blocks have the same length, as the service demands. It tells no more of a
//! block than its size, so the `ETag`s of a listing's parts are not those that their upload was answered with.

use http::Method;
use jiff::Timestamp;
use md5::{Digest, Md5};

use super::draft::Draft;
use super::headers::{self, Kept, push};
use crate::error::{Error, Kind, Result};
use crate::policy::route::Bucket;
use crate::storage::azure::{names, wire};
use crate::storage::codec::{UpstreamBody, UpstreamRequest};
use crate::storage::object::{ChecksumKind, ETag, Extent};
use crate::storage::op::{
    BlockId, BlockState, ChecksumOver, CompleteUpload, CompletedPart, ListPieces, Piece, Pieces,
    UploadPiece, UploadRef,
};
use crate::storage::reply::{ListedPart, PiecePage};

/// Of an upload's id, before it is written down.
pub const NONCE_BYTES: usize = 8;
const ID_BYTES: usize = 16;
/// Ids of another layout begin anew.
const LAYOUT: u32 = 1;

/// The name of one block of a part. `slice` counts within a part that is larger than a block.
pub fn block_id(upload: &UploadRef, part: u16, slice: u16) -> Result<BlockId> {
    let mut id = Vec::with_capacity(ID_BYTES);
    id.extend_from_slice(&nonce(&upload.id)?);
    id.extend_from_slice(&part.to_be_bytes());
    id.extend_from_slice(&slice.to_be_bytes());
    id.extend_from_slice(&LAYOUT.to_be_bytes());
    Ok(BlockId(id.into()))
}

pub(super) fn nonce(id: &str) -> Result<[u8; NONCE_BYTES]> {
    let digits = id
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let nonce = (digits && id.len() == NONCE_BYTES * 2).then(|| u64::from_str_radix(id, 16));
    match nonce {
        Some(Ok(nonce)) => Ok(nonce.to_be_bytes()),
        Some(Err(_)) | None => Err(Error::new(
            Kind::UploadNotFound,
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
        )),
    }
}

/// The part and slice that a block is, if it is of this upload.
pub(super) fn part_of(block: &BlockId, upload: [u8; NONCE_BYTES]) -> Option<(u16, u16)> {
    let rest = block.0.strip_prefix(&upload)?;
    let (part, rest) = rest.split_first_chunk::<2>()?;
    let (slice, layout) = rest.split_first_chunk::<2>()?;
    (*layout == LAYOUT.to_be_bytes())
        .then(|| (u16::from_be_bytes(*part), u16::from_be_bytes(*slice)))
}

/// How many blocks a part of this size is.
pub fn slices(part_bytes: u64) -> u64 {
    part_bytes.div_ceil(names::BLOCK_BYTES_MAX)
}

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

/// A request for one block, by its number or its name.
pub(super) fn block(upload: &UploadRef, piece: &Piece, bucket: &Bucket) -> Result<Draft> {
    let numbered;
    let id = match piece {
        Piece::Part(number) => {
            numbered = block_id(upload, *number, 0)?;
            &numbered
        }
        Piece::Block(id) => id,
        Piece::Range { .. } => return Err(Error::internal("a piece of another family")),
    };
    let mut draft = Draft::blob(bucket, &upload.key)?;
    draft.query("comp", "block");
    draft.query("blockid", &wire::block_name(id));
    Ok(draft)
}

pub(super) fn list(list: &ListPieces, bucket: &Bucket) -> Result<UpstreamRequest> {
    nonce(&list.upload.id)?;
    let mut draft = Draft::blob(bucket, &list.upload.key)?;
    draft.query("comp", "blocklist");
    draft.query("blocklisttype", "uncommitted");
    Ok(draft.empty(Method::GET))
}

/// The parts of one upload, of all blocks that wait at its key. `at`: what stands for the time of each.
pub(super) fn page(list: &ListPieces, document: &[u8], at: Timestamp) -> Result<PiecePage> {
    let upload = nonce(&list.upload.id)?;
    let blocks = wire::uncommitted(document)?;
    let mut slices: Vec<((u16, u16), u64)> = blocks
        .iter()
        .filter_map(|(block, size)| Some((part_of(block, upload)?, *size)))
        .collect();
    slices.sort_unstable();
    let mut page = PiecePage::default();
    let most = list.max.and_then(|max| usize::try_from(max).ok());
    let after = list.after.unwrap_or(0);
    for slices in slices.chunk_by(|((left, _), _), ((right, _), _)| left == right) {
        let Some(((number, _), _)) = slices.first() else {
            continue;
        };
        if *number <= after {
            continue;
        }
        if most.is_some_and(|most| page.parts.len() >= most) {
            page.next = page.parts.last().map(|part| part.number);
            break;
        }
        let mut mark = Md5::new();
        mark.update(upload);
        mark.update(number.to_be_bytes());
        page.parts.push(ListedPart {
            number: *number,
            size: slices.iter().map(|(_, size)| size).sum(),
            etag: ETag::of_parts(mark.finalize().into(), 1),
            last_modified: at,
            checksums: Vec::new(),
        });
    }
    Ok(page)
}

/// Makes the object of its blocks, with all that is stored beside it.
pub(super) fn commit(complete: &CompleteUpload, bucket: &Bucket) -> Result<UpstreamRequest> {
    let upload = &complete.upload;
    let document = match &complete.pieces {
        Pieces::Parts(parts) => {
            nonce(&upload.id)?;
            let blocks = blocks_of(complete, parts)?;
            // Not the latest: of the object that is there now, none is meant.
            wire::block_list(blocks.iter().map(|id| (id, BlockState::Uncommitted)))
        }
        Pieces::Blocks(blocks) => wire::block_list(blocks.iter().map(|(id, state)| (id, *state))),
        Pieces::Ranges(_) => return Err(Error::internal("pieces of another family")),
    };
    let size = complete.part_sizes.iter().sum::<u64>();
    if complete.size.is_some_and(|wanted| wanted != size) {
        let message = "The size of the object is not the one that was told.";
        return Err(Error::new(Kind::InvalidRequest, message));
    }
    let mut draft = Draft::blob(bucket, &upload.key)?;
    draft.query("comp", "blocklist");
    let attributes = complete.attributes.as_ref();
    let attributes = attributes.ok_or_else(|| Error::internal("an upload without attributes"))?;
    headers::push_attributes(&mut draft.head, attributes, &kept(complete))?;
    headers::push_conditions(&mut draft.head, &complete.conditions)?;
    Ok(draft.document(Method::PUT, document))
}

/// The blocks of the parts, of which empty ones have none.
fn blocks_of(complete: &CompleteUpload, parts: &[CompletedPart]) -> Result<Vec<BlockId>> {
    let sizes = &complete.part_sizes;
    if sizes.len() != parts.len() {
        return Err(Error::internal("parts whose sizes nobody looked up"));
    }
    let mut blocks = Vec::with_capacity(parts.len());
    for (part, size) in parts.iter().zip(sizes) {
        for slice in 0..slices(*size) {
            let slice = u16::try_from(slice).map_err(Error::internal)?;
            blocks.push(block_id(&complete.upload, part.number, slice)?);
        }
    }
    Ok(blocks)
}

fn kept(complete: &CompleteUpload) -> Kept {
    let checksum = complete.checksum.as_ref();
    Kept {
        etag: etag(complete).map(|etag| etag.as_str().to_owned()),
        parts: (!complete.part_sizes.is_empty()).then(|| runs(&complete.part_sizes)),
        upload: Some(complete.upload.id.to_string()),
        checksum: checksum.and_then(|(of, checksum)| {
            let parts = complete.part_sizes.len();
            let parts = (of.over == ChecksumOver::Parts).then_some(parts);
            headers::kept_text(checksum, parts)
        }),
    }
}

/// The ETag of an object of parts.
pub(super) fn etag(complete: &CompleteUpload) -> Option<ETag> {
    let Pieces::Parts(parts) = &complete.pieces else {
        return None;
    };
    let mut digest = Md5::new();
    for part in parts {
        match part.etag.md5() {
            Some(md5) => digest.update(md5),
            None => digest.update(part.etag.as_str()),
        }
    }
    Some(ETag::of_parts(digest.finalize().into(), parts.len()))
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

pub(super) fn extent(complete: &CompleteUpload, over: ChecksumOver) -> Extent {
    match over {
        ChecksumOver::Object => Extent::Whole,
        ChecksumOver::Parts => {
            Extent::Parts(u32::try_from(complete.part_sizes.len()).unwrap_or(u32::MAX))
        }
    }
}
