//! What a client asks for, whatever it speaks and wherever it goes.
//!
//! An operation names keys as clients do; which bucket of which resource it is about, and what is put before its keys
//! there, is in the [`Target`](super::codec::Target) that stands beside it. It holds what at least two of the clouds
//! have in common, and never a protocol's way to write it: traffic that does not change its protocol does not come
//! this way, so nothing here need cover all of one provider. What cannot be said here is refused by the codec that
//! would have had to say it.
//!
//! Plain page tokens and upload ids: sealing them is done at the pipeline's edge.

mod journal;
mod upload;

pub use journal::{CreateJournal, Journal};
pub use upload::{
    BlockId, BlockState, ChecksumOver, CompleteUpload, CompletedPart, CopyPiece, CreateUpload,
    Family, ListPieces, ListUploads, Made, NoteUpload, Piece, Pieces, UploadChecksum, UploadPiece,
    UploadRef,
};

use super::condition::{ByteRange, Preconditions};
use super::object::{
    Attributes, Checksum, ChecksumKind, ContentHeaders, CustomerKey, Encryption, ObjectMeta,
    StorageClass, Tags, VersionId,
};
use super::reply::ObjectPage;

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    // Buckets.
    ListBuckets(ListBuckets),
    HeadBucket,
    CreateBucket(CreateBucket),
    DeleteBucket,
    // Objects.
    ListObjects(ListObjects),
    GetObject(Box<ReadObject>),
    HeadObject(Box<ReadObject>),
    PutObject(Box<PutObject>),
    CopyObject(Box<CopyObject>),
    SetAttributes(Box<SetAttributes>),
    DeleteObject(Box<DeleteObject>),
    DeleteObjects(DeleteObjects),
    GetTags(ObjectRef),
    /// No tags at all deletes them.
    PutTags(PutTags),
    // Uploads in pieces.
    CreateUpload(Box<CreateUpload>),
    UploadPiece(Box<UploadPiece>),
    CopyPiece(Box<CopyPiece>),
    ListPieces(ListPieces),
    ListUploads(ListUploads),
    CompleteUpload(Box<CompleteUpload>),
    AbortUpload(UploadRef),
    /// Never a client's.
    Journal(Journal),
    /// Never a client's.
    NoteUpload(Box<NoteUpload>),
}

/// The buckets that clients created at one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListBuckets {
    pub prefix: Box<str>,
    pub page: Option<Box<str>>,
    pub max: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateBucket {
    /// Where, in the provider's words. `None`: where the resource is.
    pub location: Option<Box<str>>,
}

/// A page of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListObjects {
    pub which: Which,
    pub prefix: Box<str>,
    /// Never empty.
    pub delimiter: Option<Box<str>>,
    pub start: Start,
    /// Entries and common prefixes together, at most; never 0. `None`: as many as fit.
    pub max: Option<u32>,
}

impl ListObjects {
    /// The request for the page after one that has nothing to show. `None`: it can be shown, or it is the last.
    pub fn next(&self, page: &ObjectPage) -> Option<Self> {
        let next = page.next.as_ref()?;
        let is_empty = page.entries.is_empty() && page.prefixes.is_empty();
        is_empty.then(|| Self {
            start: Start::Page(next.clone()),
            ..self.clone()
        })
    }
}

/// Which objects a listing shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    #[default]
    Current,
    /// All versions of each.
    Versions,
}

/// Where a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    First,
    /// Behind this key, or behind all keys of this common prefix.
    After(Box<str>),
    /// Behind this version of this key.
    AfterVersion(Box<str>, VersionId),
    /// With this key, if it is there.
    At(Box<str>),
    /// Where the page before it ended, in the upstream's words.
    Page(Box<str>),
}

/// One object, or one of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    pub key: Box<str>,
    pub version: Option<VersionId>,
}

/// Reads an object, or only what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadObject {
    pub object: ObjectRef,
    pub what: Selection,
    pub conditions: Preconditions,
    /// What the client sees in the place of what is stored. The upstream is not asked for it.
    pub shown: ContentHeaders,
    pub checksums: Checksums,
    pub customer_key: Option<CustomerKey>,
}

impl ReadObject {
    pub fn new(key: &str) -> Self {
        Self {
            object: ObjectRef {
                key: key.into(),
                version: None,
            },
            what: Selection::Whole,
            conditions: Preconditions::default(),
            shown: ContentHeaders::default(),
            checksums: Checksums::Unasked,
            customer_key: None,
        }
    }
}

/// Which bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    Whole,
    Range(ByteRange),
    /// Those of one of the parts that it was uploaded in.
    Part(u16),
}

/// Whether stored checksums are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    Unasked,
    Asked,
}

/// Stores an object in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutObject {
    pub key: Box<str>,
    pub attributes: Attributes,
    pub conditions: Preconditions,
    pub body: Body,
}

/// The streamed bytes of an upload, as far as the head tells of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// `None`: known only at its end.
    pub length: Option<u64>,
    /// Declared beforehand; an upstream that knows one of them is told, and refuses other bytes. Whatever is declared
    /// is verified by us as well.
    pub checksums: Vec<Checksum>,
}

impl Body {
    pub fn checksum(&self, kind: ChecksumKind) -> Option<&Checksum> {
        self.checksums
            .iter()
            .find(|checksum| checksum.kind() == kind)
    }
}

/// Makes an object of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyObject {
    pub source: Source,
    pub key: Box<str>,
    /// Content headers, user metadata and redirect; `None` are the source's. (Its tags are told apart.)
    pub attributes: Option<Attributes>,
    /// `None` are the source's.
    pub tags: Option<Tags>,
    pub class: Option<StorageClass>,
    pub encryption: Option<Encryption>,
    pub conditions: Preconditions,
    /// One to be stored with the copy.
    pub checksum: Option<ChecksumKind>,
}

/// What a copy reads. Its bucket is the target's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub object: ObjectRef,
    pub conditions: Preconditions,
    pub customer_key: Option<CustomerKey>,
    /// What a look at it found, where there was one.
    pub seen: Option<Box<ObjectMeta>>,
}

/// Changes what is stored beside an object, and not its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAttributes {
    pub object: ObjectRef,
    /// In the place of all that was there before.
    pub attributes: Attributes,
    pub conditions: Preconditions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteObject {
    pub object: ObjectRef,
    pub conditions: Preconditions,
}

/// Deletes many objects, each for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteObjects {
    pub entries: Vec<DeleteObject>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutTags {
    pub object: ObjectRef,
    pub tags: Tags,
}

impl Operation {
    /// For the printed plans.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ListBuckets(_) => "ListBuckets",
            Self::HeadBucket => "HeadBucket",
            Self::CreateBucket(_) => "CreateBucket",
            Self::DeleteBucket => "DeleteBucket",
            Self::ListObjects(_) => "ListObjects",
            Self::GetObject(_) => "GetObject",
            Self::HeadObject(_) => "HeadObject",
            Self::PutObject(_) => "PutObject",
            Self::CopyObject(_) => "CopyObject",
            Self::SetAttributes(_) => "SetAttributes",
            Self::DeleteObject(_) => "DeleteObject",
            Self::DeleteObjects(_) => "DeleteObjects",
            Self::GetTags(_) => "GetTags",
            Self::PutTags(_) => "PutTags",
            Self::CreateUpload(_) => "CreateUpload",
            Self::UploadPiece(_) => "UploadPiece",
            Self::CopyPiece(_) => "CopyPiece",
            Self::ListPieces(_) => "ListPieces",
            Self::ListUploads(_) => "ListUploads",
            Self::CompleteUpload(_) => "CompleteUpload",
            Self::AbortUpload(_) => "AbortUpload",
            Self::NoteUpload(_) => "NoteUpload",
            Self::Journal(_) => "Journal",
        }
    }

    /// The object that it is about, by the client's name.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::ListBuckets(_)
            | Self::HeadBucket
            | Self::CreateBucket(_)
            | Self::DeleteBucket
            | Self::ListObjects(_)
            | Self::DeleteObjects(_)
            | Self::ListUploads(_) => None,
            Self::GetObject(read) | Self::HeadObject(read) => Some(&read.object.key),
            Self::PutObject(put) => Some(&put.key),
            Self::CopyObject(copy) => Some(&copy.key),
            Self::SetAttributes(set) => Some(&set.object.key),
            Self::DeleteObject(delete) => Some(&delete.object.key),
            Self::GetTags(object) => Some(&object.key),
            Self::PutTags(put) => Some(&put.object.key),
            Self::CreateUpload(create) => Some(&create.key),
            Self::UploadPiece(piece) => Some(&piece.upload.key),
            Self::CopyPiece(piece) => Some(&piece.upload.key),
            Self::ListPieces(list) => Some(&list.upload.key),
            Self::CompleteUpload(complete) => Some(&complete.upload.key),
            Self::AbortUpload(upload) => Some(&upload.key),
            Self::NoteUpload(note) => Some(&note.key),
            Self::Journal(journal) => Some(&journal.upload()?.key),
        }
    }

    /// Whether its body is streamed.
    pub fn body(&self) -> Option<&Body> {
        match self {
            Self::PutObject(put) => Some(&put.body),
            Self::UploadPiece(piece) => Some(&piece.body),
            Self::ListBuckets(_)
            | Self::HeadBucket
            | Self::CreateBucket(_)
            | Self::DeleteBucket
            | Self::ListObjects(_)
            | Self::GetObject(_)
            | Self::HeadObject(_)
            | Self::CopyObject(_)
            | Self::SetAttributes(_)
            | Self::DeleteObject(_)
            | Self::DeleteObjects(_)
            | Self::GetTags(_)
            | Self::PutTags(_)
            | Self::CreateUpload(_)
            | Self::CopyPiece(_)
            | Self::ListPieces(_)
            | Self::ListUploads(_)
            | Self::CompleteUpload(_)
            | Self::AbortUpload(_)
            | Self::NoteUpload(_)
            | Self::Journal(_) => None,
        }
    }

    pub fn is_copy(&self) -> bool {
        matches!(self, Self::CopyObject(_) | Self::CopyPiece(_))
    }

    /// May be sent again when the connection broke before an answer: it changes nothing.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::ListBuckets(_)
            | Self::HeadBucket
            | Self::ListObjects(_)
            | Self::GetObject(_)
            | Self::HeadObject(_)
            | Self::GetTags(_)
            | Self::ListPieces(_)
            | Self::ListUploads(_) => true,
            Self::CreateBucket(_)
            | Self::DeleteBucket
            | Self::PutObject(_)
            | Self::CopyObject(_)
            | Self::SetAttributes(_)
            | Self::DeleteObject(_)
            | Self::DeleteObjects(_)
            | Self::PutTags(_)
            | Self::CreateUpload(_)
            | Self::UploadPiece(_)
            | Self::CopyPiece(_)
            | Self::CompleteUpload(_)
            | Self::AbortUpload(_)
            | Self::NoteUpload(_) => false,
            Self::Journal(journal) => journal.only_reads(),
        }
    }
}
