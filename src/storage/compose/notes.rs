//! The end of an upload in parts at a store that keeps no trace of them.
//!
//! The parts' sizes are looked up while the store still has them: by them and the parts' checksums the size and the
//! checksum of the whole are judged before the object is made. When it is there, what it was made of is noted beside
//! it, with the upload's name: a client that completes once more, since it heard no answer, is told of its object.

use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::storage::canonical::hex;
use crate::storage::object::{Checksum, ETag, Extent, ObjectMeta, Revision, StoredChecksum};
use crate::storage::op::{
    ChecksumOver, CompleteUpload, CompletedPart, NoteUpload, Pieces, UploadRef,
};
use crate::storage::reply::{ListedPart, Stored};

/// Of the digest that an upload is known by; two of one key have different ones.
const MARK_BYTES: usize = 16;

/// An upload's end, judged.
#[derive(Debug)]
pub struct Judged {
    /// For the store, without what it could not compare.
    pub complete: CompleteUpload,
    part_sizes: Vec<u64>,
    checksum: Option<StoredChecksum>,
}

/// Judges what the client wants by the parts that the store has.
pub fn judge(asked: &CompleteUpload, listed: &[ListedPart]) -> Result<Judged> {
    let Pieces::Parts(named) = &asked.pieces else {
        return Err(Error::internal("pieces of another family"));
    };
    let sizes = named.iter().map(|part| size_of(part, listed));
    let part_sizes = sizes.collect::<Result<Vec<_>>>()?;
    let size = part_sizes
        .iter()
        .map(|size| u128::from(*size))
        .sum::<u128>();
    if asked.size.is_some_and(|told| u128::from(told) != size) {
        let message = "The size of the object is not the one that was told.";
        return Err(Error::new(Kind::InvalidRequest, message));
    }
    let checksum = checksum(asked, named, &part_sizes)?;
    Ok(Judged {
        complete: CompleteUpload {
            size: None,
            checksum: None,
            ..asked.clone()
        },
        part_sizes,
        checksum,
    })
}

fn size_of(named: &CompletedPart, listed: &[ListedPart]) -> Result<u64> {
    let at = listed.binary_search_by_key(&named.number, |part| part.number);
    let part = at.ok().and_then(|at| listed.get(at));
    let part = part.filter(|part| part.etag == named.etag);
    part.map(|part| part.size).ok_or_else(|| {
        let message = "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
        Error::new(Kind::InvalidPart, message)
    })
}

/// The checksum that the object is to have. One of the parts' checksums was judged when it was read.
fn checksum(
    asked: &CompleteUpload,
    named: &[CompletedPart],
    sizes: &[u64],
) -> Result<Option<StoredChecksum>> {
    let Some((of, told)) = &asked.checksum else {
        return Ok(None);
    };
    let extent = match of.over {
        ChecksumOver::Parts => Extent::Parts(u32::try_from(named.len()).map_err(Error::internal)?),
        ChecksumOver::Object => {
            let computed = of_whole(named, sizes).ok_or_else(|| {
                let message = "The checksum of the whole object can be judged only where each part comes with its own.";
                Error::new(Kind::InvalidRequest, message)
            })?;
            if computed != *told {
                let message = "The checksum you specified did not match the calculated checksum.";
                return Err(Error::new(Kind::DigestMismatch, message));
            }
            Extent::Whole
        }
    };
    Ok(Some(StoredChecksum {
        checksum: told.clone(),
        extent,
    }))
}

fn of_whole(named: &[CompletedPart], sizes: &[u64]) -> Option<Checksum> {
    let mut parts = named.iter().map(|part| part.checksum.as_ref()).zip(sizes);
    let (first, _) = parts.next()?;
    parts.try_fold(first?.clone(), |front, (rest, size)| {
        front.followed_by(rest?, *size)
    })
}

impl Judged {
    /// What is noted beside the object that was made, and is still there.
    pub fn note(&self, etag: &ETag, found: &ObjectMeta) -> Option<NoteUpload> {
        let revision: Revision = found.revision.clone()?;
        (found.etag == *etag).then(|| NoteUpload {
            key: self.complete.upload.key.clone(),
            revision,
            upload: mark(&self.complete.upload),
            part_sizes: self.part_sizes.clone(),
            checksum: self.checksum.clone(),
        })
    }

    /// Tells the client of the checksum.
    pub fn told(&self, stored: &mut Stored) {
        stored.checksums.extend(self.checksum.clone());
    }
}

/// What an upload is known by. Its name at the store is not shown to whoever reads the object there.
fn mark(upload: &UploadRef) -> Box<str> {
    let digest = hex(&Sha256::digest(upload.id.as_bytes()).into());
    let start = digest.iter().take(2 * MARK_BYTES);
    start
        .map(|digit| char::from(*digit))
        .collect::<String>()
        .into()
}

/// What was answered when the upload was completed, if it is the one that made the object.
pub fn completed_before(asked: &CompleteUpload, found: &ObjectMeta) -> Option<Stored> {
    if found.upload.as_deref() != Some(&*mark(&asked.upload)) {
        return None;
    }
    let mut stored = Stored::new(found.etag.clone());
    stored.last_modified = Some(found.last_modified);
    stored.checksums.extend(found.checksums.first().cloned());
    Some(stored)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::storage::condition::Preconditions;
    use crate::storage::object::ChecksumKind;
    use crate::storage::op::UploadChecksum;

    fn crc(text: &[u8]) -> Checksum {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, text);
        Checksum::of_crc(ChecksumKind::Crc64Nvme, crc).unwrap()
    }

    fn etag(number: u16) -> ETag {
        ETag::parse(&format!("e{number}")).unwrap()
    }

    fn asked(parts: &[(u16, &[u8])], whole: Option<&[u8]>, size: Option<u64>) -> CompleteUpload {
        let parts = parts.iter().map(|(number, text)| CompletedPart {
            number: *number,
            etag: etag(*number),
            checksum: Some(crc(text)),
        });
        let of = UploadChecksum {
            kind: ChecksumKind::Crc64Nvme,
            over: ChecksumOver::Object,
        };
        CompleteUpload {
            upload: UploadRef {
                key: "k".into(),
                id: "up".into(),
            },
            pieces: Pieces::Parts(parts.collect()),
            conditions: Preconditions::default(),
            size,
            checksum: whole.map(|whole| (of, crc(whole))),
            attributes: None,
            made: None,
        }
    }

    fn listed(parts: &[(u16, u64)]) -> Vec<ListedPart> {
        let part = |(number, size): &(u16, u64)| ListedPart {
            number: *number,
            size: *size,
            etag: etag(*number),
            last_modified: Timestamp::UNIX_EPOCH,
            checksums: Vec::new(),
        };
        parts.iter().map(part).collect()
    }

    #[test]
    fn the_whole_is_judged_by_its_parts() {
        let store = listed(&[(1, 3), (2, 9), (4, 2)]);
        let parts: &[(u16, &[u8])] = &[(1, b"abc"), (4, b"de")];
        let judge = |whole, size| judge(&asked(parts, whole, size), &store).map_err(|e| e.kind());
        let good = judge(Some(b"abcde"), Some(5)).unwrap();
        assert_eq!(good.part_sizes, [3, 2]);
        assert_eq!((&good.complete.checksum, good.complete.size), (&None, None));
        assert_eq!(
            judge(Some(b"abcdx"), None).unwrap_err(),
            Kind::DigestMismatch
        );
        assert_eq!(judge(None, Some(6)).unwrap_err(), Kind::InvalidRequest);
        let parts: &[(u16, &[u8])] = &[(3, b"abc")];
        let missing = super::judge(&asked(parts, None, None), &store);
        assert_eq!(missing.unwrap_err().kind(), Kind::InvalidPart);
    }

    #[test]
    fn an_upload_is_told_again_of_its_own_object_and_of_no_other() {
        let asked = asked(&[(1, b"abc")], None, None);
        let judged = judge(&asked, &listed(&[(1, 3)])).unwrap();
        let made = ETag::parse("x-1").unwrap();
        let mut found = ObjectMeta::new(3, made.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!(judged.note(&made, &found), None, "nothing to hold it by");
        found.revision = Some(Revision("7".into()));
        let note = judged.note(&made, &found).unwrap();
        assert_eq!((&*note.revision.0, &*note.part_sizes), ("7", &[3][..]));
        assert_eq!(judged.note(&etag(9), &found), None, "another's");
        assert_eq!(completed_before(&asked, &found), None);
        found.upload = Some(note.upload);
        assert_eq!(completed_before(&asked, &found).unwrap().etag, made);
        found.upload = Some("other".into());
        assert_eq!(completed_before(&asked, &found), None);
    }
}
