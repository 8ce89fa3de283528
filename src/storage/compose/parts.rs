//! The parts of an upload, by its journal: what a completion may name, and what a listing shows.
//!
//! The rules are those of the one protocol whose clients send parts.

use std::ops::Bound;

use jiff::Timestamp;
use md5::{Digest, Md5};

use super::blocks::{Attempt, UploadId};
use super::journal::{Journal, StoredPart};
use crate::error::{Error, Kind, Result};
use crate::storage::object::{Checksum, ChecksumKind, ETag, Extent, ObjectMeta, StoredChecksum};
use crate::storage::op::{
    ChecksumOver, CompleteUpload, CompletedPart, ListPieces, Made, Pieces, UploadChecksum,
};
use crate::storage::reply::{ListedPart, PiecePage};

/// Smallest part, the last excepted.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// The checksum that an object has which was begun without one.
const DEFAULT_CHECKSUM: UploadChecksum = UploadChecksum {
    kind: ChecksumKind::Crc64Nvme,
    over: ChecksumOver::Object,
};

/// The request that makes the object of the parts that the client names, if they are those that it has sent.
pub fn complete(asked: &CompleteUpload, journal: &Journal) -> Result<CompleteUpload> {
    let Pieces::Parts(named) = &asked.pieces else {
        return Err(Error::internal("pieces of another family"));
    };
    let id = UploadId::parse(&asked.upload.id)?;
    let parts = named.iter().map(|part| find(part, journal));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    check_sizes(asked, &parts)?;
    let checksum = checksum(asked, named, journal, &parts)?;
    let blocks = parts.iter();
    let blocks = blocks.flat_map(|part| id.blocks(part.number, part.blocks, part.attempt));
    Ok(CompleteUpload {
        upload: asked.upload.clone(),
        pieces: Pieces::Blocks(blocks.collect()),
        conditions: asked.conditions.clone(),
        size: asked.size,
        checksum,
        attributes: Some(journal.attributes.clone()),
        made: Some(Made {
            etag: etag(&parts),
            part_sizes: parts.iter().map(|part| part.size).collect(),
        }),
    })
}

/// The part as it was stored last, if it is the one that the client means.
fn find<'a>(named: &CompletedPart, journal: &'a Journal) -> Result<&'a StoredPart> {
    let stored = journal.parts.get(&named.number);
    let meant = stored.filter(|stored| {
        let checksum = named.checksum.as_ref();
        stored.etag == named.etag
            && checksum.is_none_or(|checksum| stored.checksums.contains(checksum))
    });
    meant.ok_or_else(|| {
        let message = "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
        Error::new(Kind::InvalidPart, message)
    })
}

fn check_sizes(asked: &CompleteUpload, parts: &[&StoredPart]) -> Result<()> {
    let front = parts.split_last().map_or(&[][..], |(_, front)| front);
    if front.iter().any(|part| part.size < PART_BYTES_MIN) {
        let message = "Your proposed upload is smaller than the minimum allowed size";
        return Err(Error::new(Kind::BodyTooSmall, message));
    }
    let size = parts.iter().map(|part| u128::from(part.size)).sum::<u128>();
    if asked.size.is_some_and(|told| u128::from(told) != size) {
        let message = "The size of the object is not the one that was told.";
        return Err(Error::new(Kind::InvalidRequest, message));
    }
    Ok(())
}

/// The checksum that the object is to have, compared with the one that the client told.
fn checksum(
    asked: &CompleteUpload,
    named: &[CompletedPart],
    journal: &Journal,
    parts: &[&StoredPart],
) -> Result<Option<(UploadChecksum, Checksum)>> {
    let told = asked.checksum.as_ref();
    let wanted = match (journal.checksum, told) {
        (Some(begun), Some((told, _))) if begun != *told => {
            let message = "The checksum is not of the type that the upload was created with.";
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        (Some(begun), _) => Some(begun),
        (None, told) => told.map(|(told, _)| *told),
    };
    let Some(of) = wanted else {
        // Where a part's bytes did not come through here, nobody knows it.
        let computed = computed(DEFAULT_CHECKSUM, parts);
        return Ok(computed.map(|computed| (DEFAULT_CHECKSUM, computed)));
    };
    let is_named = named.iter().all(|part| part.checksum.is_some());
    let computed = computed(of, parts).filter(|_| is_named || of.over == ChecksumOver::Object);
    let computed = computed.ok_or_else(|| {
        let message = "The upload has a checksum of its parts. The complete request must include the checksum of each part, and each part must have been sent with one.";
        Error::new(Kind::InvalidRequest, message)
    })?;
    if told.is_some_and(|(_, told)| *told != computed) {
        let message = "The checksum you specified did not match the calculated checksum.";
        return Err(Error::new(Kind::DigestMismatch, message));
    }
    Ok(Some((of, computed)))
}

fn computed(of: UploadChecksum, parts: &[&StoredPart]) -> Option<Checksum> {
    let mut checksums = parts.iter().map(|part| part.checksum(of.kind));
    match of.over {
        ChecksumOver::Parts => Checksum::of_parts(of.kind, checksums),
        ChecksumOver::Object => {
            let first = checksums.next()??.clone();
            let rest = parts.iter().skip(1).zip(checksums);
            let mut rest = rest.map(|(part, checksum)| Some((part.size, checksum?)));
            rest.try_fold(first, |front, next| {
                let (size, checksum) = next?;
                front.followed_by(checksum, size)
            })
        }
    }
}

impl StoredPart {
    fn checksum(&self, kind: ChecksumKind) -> Option<&Checksum> {
        let mut all = self.checksums.iter();
        all.find(|checksum| checksum.kind() == kind)
    }
}

/// Blocks that the store made of another object's bytes, with the digests that it told of them.
#[derive(Clone, Debug)]
pub struct CopiedBlock {
    pub size: u64,
    pub told: Vec<Checksum>,
}

/// A part that was copied: nobody here has seen its bytes.
pub fn copied(
    number: u16,
    attempt: Attempt,
    blocks: &[CopiedBlock],
    source: &ObjectMeta,
    at: Timestamp,
) -> Result<StoredPart> {
    let size = blocks.iter().map(|block| block.size).sum();
    let whole = combined(ChecksumKind::Crc64Nvme, blocks);
    // The source's own, where it is all of it.
    let md5 = source.etag.md5().filter(|_| size == source.size);
    let md5 = md5.or_else(|| match blocks {
        [] => Some(Md5::digest(b"").into()),
        [one] => told(one, ChecksumKind::Md5)?.value().try_into().ok(),
        _ => None,
    });
    let etag = md5.map_or_else(|| etag_of_told(blocks), ETag::of_md5);
    Ok(StoredPart {
        number,
        size,
        attempt,
        blocks: u16::try_from(blocks.len()).map_err(Error::internal)?,
        etag,
        at,
        checksums: whole.into_iter().collect(),
    })
}

fn told(block: &CopiedBlock, kind: ChecksumKind) -> Option<&Checksum> {
    block.told.iter().find(|told| told.kind() == kind)
}

fn combined(kind: ChecksumKind, blocks: &[CopiedBlock]) -> Option<Checksum> {
    let (first, rest) = blocks.split_first()?;
    let first = told(first, kind)?.clone();
    rest.iter().try_fold(first, |front, block| {
        front.followed_by(told(block, kind)?, block.size)
    })
}

/// One that no client takes for an MD5.
fn etag_of_told(blocks: &[CopiedBlock]) -> ETag {
    let mut digest = Md5::new();
    for told in blocks.iter().flat_map(|block| &block.told) {
        digest.update(told.value());
    }
    ETag::of_parts(digest.finalize().into(), 1)
}

/// The checksum of an object that a copy of it has too.
pub fn kept_checksum(source: &ObjectMeta) -> Option<(UploadChecksum, Checksum)> {
    let stored = source.checksums.first()?;
    let over = match stored.extent {
        Extent::Whole => ChecksumOver::Object,
        Extent::Parts(parts) => {
            // Of how many parts it is, is told by their sizes.
            let known = usize::try_from(parts).ok()? == source.part_sizes.len();
            known.then_some(ChecksumOver::Parts)?
        }
    };
    let of = UploadChecksum {
        kind: stored.checksum.kind(),
        over,
    };
    Some((of, stored.checksum.clone()))
}

/// The ETag of an object of parts.
fn etag(parts: &[&StoredPart]) -> ETag {
    let mut digest = Md5::new();
    for part in parts {
        match part.etag.md5() {
            Some(md5) => digest.update(md5),
            None => digest.update(part.etag.as_str()),
        }
    }
    ETag::of_parts(digest.finalize().into(), parts.len())
}

/// A page of an upload's parts.
pub fn page(list: &ListPieces, journal: &Journal) -> PiecePage {
    let most = list.max.and_then(|max| usize::try_from(max).ok());
    let most = most.unwrap_or(usize::MAX);
    let behind = (Bound::Excluded(list.after.unwrap_or(0)), Bound::Unbounded);
    let mut rest = journal.parts.range(behind).map(|(_, part)| part);
    let parts: Vec<_> = rest
        .by_ref()
        .take(most)
        .map(|part| listed(part, journal))
        .collect();
    let more = rest.next().is_some();
    PiecePage {
        next: parts.last().map(|part| part.number).filter(|_| more),
        parts,
        class: journal.attributes.class,
    }
}

fn listed(part: &StoredPart, journal: &Journal) -> ListedPart {
    let checksum = journal.checksum.and_then(|of| part.checksum(of.kind));
    let checksums = checksum.into_iter().map(|checksum| StoredChecksum {
        checksum: checksum.clone(),
        extent: Extent::Whole,
    });
    ListedPart {
        number: part.number,
        size: part.size,
        etag: part.etag.clone(),
        last_modified: part.at,
        checksums: checksums.collect(),
    }
}

#[cfg(test)]
mod tests;
