//! What an upstream answered, whatever it speaks.
//!
//! Keys are the client's: a codec takes the bucket's prefix off what it read. Objects' bytes are not here; they are
//! streamed past it.

use bytes::Bytes;
use jiff::Timestamp;

use super::condition::{Pin, Preconditions, Span};
use super::object::{
    Checksum, ChecksumKind, ETag, ObjectMeta, Observed, Revision, StorageClass, StoredChecksum,
    Tags, VersionId,
};
use super::op::{DeleteObject, ObjectRef, Operation};
use crate::error::{Error, Kind, Result};

/// The answer to an [`Operation`](super::op::Operation).
#[derive(Debug)]
pub enum Reply {
    /// Nothing to say but that it was done.
    Done,
    /// To a read under conditions: the client has it already. What is known of the object.
    NotModified(Box<NotModified>),
    Buckets(BucketPage),
    Bucket(BucketInfo),
    Objects(ObjectPage),
    /// To a read: what is known, and which of its bytes follow, if some do.
    Object(Box<ObjectHead>),
    /// To an upload of an object or of a piece.
    Stored(Box<Stored>),
    /// To a copy to an object or to a piece.
    Copied(Box<Copied>),
    Deleted(Deleted),
    DeletedMany(Vec<DeletedEntry>),
    Tags(Tags),
    /// The upstream's id of an upload.
    Upload(Box<str>),
    Pieces(PiecePage),
    Uploads(UploadPage),
    /// The records of a journal.
    Journal(Bytes),
    Journals(JournalPage),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotModified {
    pub etag: Option<ETag>,
    pub last_modified: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketPage {
    pub buckets: Vec<ListedBucket>,
    pub next: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBucket {
    /// At the upstream.
    pub name: Box<str>,
    pub created_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketInfo {
    /// Where it is, in the provider's words.
    pub location: Option<Box<str>>,
}

/// A page of objects. Sorted as the upstream sorts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPage {
    pub entries: Vec<ListedObject>,
    pub prefixes: Vec<Box<str>>,
    /// How the page after it is asked for, in the upstream's words. There may be one after an empty page: ours were left
    /// out of it, or the upstream looked for long and found nothing.
    pub next: Option<Box<str>>,
    /// Of versions: behind which one the page after it begins, where that is not the last of this page.
    pub resume: Option<(Box<str>, Option<VersionId>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    pub key: Box<str>,
    pub state: ListedState,
    pub last_modified: Timestamp,
    /// Where versions are listed.
    pub version: Option<VersionId>,
    pub is_latest: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedState {
    Stored {
        size: u64,
        etag: ETag,
        class: Option<StorageClass>,
    },
    /// Here a version was deleted.
    DeleteMarker,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    pub meta: ObjectMeta,
    /// The bytes that follow, where they are not all. The object's size is in `meta`.
    pub span: Option<Span>,
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub etag: ETag,
    pub version: Option<VersionId>,
    pub checksums: Vec<StoredChecksum>,
    /// Told by some.
    pub last_modified: Option<Timestamp>,
    pub encrypted_by_customer: bool,
    /// Digests that the upstream took of what it has.
    pub told: Vec<Checksum>,
    /// The mark of what was stored.
    pub revision: Option<Revision>,
    /// How this one, and no other of its key, can be deleted for good, whether or not the store keeps versions.
    pub made: Option<VersionId>,
}

impl Stored {
    pub fn new(etag: ETag) -> Self {
        Self {
            etag,
            version: None,
            checksums: Vec::new(),
            last_modified: None,
            encrypted_by_customer: false,
            told: Vec::new(),
            revision: None,
            made: None,
        }
    }

    /// Whether the upstream has the bytes that were sent to it. Where not, [`Stored::undo`].
    pub fn verify(&self, sent: &Observed) -> Result<()> {
        let same = self.told.iter().all(|told| {
            let of_sent = match told.kind() {
                ChecksumKind::Crc32c => sent.crc32c.map(|crc| crc.to_be_bytes().to_vec()),
                ChecksumKind::Crc64Nvme => sent.crc64nvme.map(|crc| crc.to_be_bytes().to_vec()),
                ChecksumKind::Md5 => sent.md5.map(|md5| md5.to_vec()),
                ChecksumKind::Crc32 | ChecksumKind::Sha1 | ChecksumKind::Sha256 => None,
            };
            of_sent.is_none_or(|of_sent| of_sent == told.value())
        });
        if same {
            return Ok(());
        }
        let message = "The store has other bytes than were sent. Please try again.";
        Err(Error::new(Kind::UpstreamBroken, message).with_detail("the digests differ"))
    }

    /// Takes back what `op` stored, and nothing that someone else has stored since. A piece needs no such thing: it is
    /// part of an object only if the client names it.
    pub fn undo(&self, op: &Operation) -> Option<Operation> {
        let (Operation::PutObject(put), Some(revision)) = (op, &self.revision) else {
            return None;
        };
        Some(Operation::DeleteObject(Box::new(DeleteObject {
            object: ObjectRef {
                key: put.key.clone(),
                version: self.made.clone(),
            },
            conditions: Preconditions {
                pin: Some(Pin::Is(revision.clone())),
                ..Preconditions::default()
            },
        })))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub stored: Stored,
    pub source_version: Option<VersionId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    pub version: Option<VersionId>,
    /// The deletion is a version itself, or one was deleted.
    pub is_marker: bool,
}

#[derive(Debug)]
pub struct DeletedEntry {
    pub key: Box<str>,
    pub version: Option<VersionId>,
    pub outcome: Result<Deleted>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PiecePage {
    pub parts: Vec<ListedPart>,
    pub next: Option<u16>,
    /// Of the upload itself, where the upstream tells it.
    pub class: Option<StorageClass>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    pub number: u16,
    pub size: u64,
    pub etag: ETag,
    pub last_modified: Timestamp,
    pub checksums: Vec<StoredChecksum>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    pub uploads: Vec<ListedUpload>,
    pub prefixes: Vec<Box<str>>,
    /// Key and id of the last, where there are more.
    pub next: Option<(Box<str>, Box<str>)>,
}

/// Uploads by their journals, unsorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalPage {
    pub uploads: Vec<ListedUpload>,
    pub next: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUpload {
    pub key: Box<str>,
    /// The upstream's.
    pub id: Box<str>,
    pub initiated: Timestamp,
    pub class: Option<StorageClass>,
}
