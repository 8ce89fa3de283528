//! Uploads in pieces. Clouds cut them in three ways, of which none can stand for another: numbered parts, named blocks,
//! and ranges one behind the other.

use super::{Body, Source};
use crate::storage::condition::{ByteRange, Preconditions};
use crate::storage::object::{
    Attributes, Checksum, ChecksumKind, CustomerKey, ETag, Revision, StoredChecksum,
};

/// Starts an upload in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateUpload {
    pub key: Box<str>,
    pub attributes: Attributes,
    /// One that is kept for the whole object.
    pub checksum: Option<UploadChecksum>,
    /// Checked when the upload is completed.
    pub conditions: Preconditions,
}

/// The checksum that an upload in pieces ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadChecksum {
    pub kind: ChecksumKind,
    pub over: ChecksumOver,
}

/// What the checksum of an upload in pieces is computed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumOver {
    Object,
    Parts,
}

/// An upload in pieces. The id is the upstream's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRef {
    pub key: Box<str>,
    pub id: Box<str>,
}

/// Stores one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPiece {
    pub upload: UploadRef,
    pub piece: Piece,
    pub body: Body,
    pub customer_key: Option<CustomerKey>,
}

/// The three ways in which clouds cut uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Ordered by number; stored again, the later one counts.
    Part(u16),
    /// Ordered when they are committed.
    Block(BlockId),
    /// One behind the other, from this offset on. The total is told with the last at the latest.
    Range { offset: u64, total: Option<u64> },
}

/// A block's name: opaque bytes that the client chose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockId(pub Box<[u8]>);

/// Which of these families an upload is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Parts,
    Blocks,
    Ranges,
}

impl Piece {
    pub fn family(&self) -> Family {
        match self {
            Self::Part(_) => Family::Parts,
            Self::Block(_) => Family::Blocks,
            Self::Range { .. } => Family::Ranges,
        }
    }
}

/// Makes a piece of an object's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPiece {
    pub upload: UploadRef,
    pub piece: Piece,
    pub source: Source,
    /// `None`: all of it.
    pub range: Option<ByteRange>,
    pub customer_key: Option<CustomerKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPieces {
    pub upload: UploadRef,
    pub after: Option<u16>,
    /// Never 0.
    pub max: Option<u32>,
}

/// The uploads that are under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListUploads {
    pub prefix: Box<str>,
    pub delimiter: Option<Box<str>>,
    /// Behind this key, or behind this upload of it.
    pub after: Option<(Box<str>, Option<Box<str>>)>,
    /// Never 0.
    pub max: Option<u32>,
}

/// Makes the object of its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteUpload {
    pub upload: UploadRef,
    pub pieces: Pieces,
    pub conditions: Preconditions,
    /// Of the whole object; it must have this size.
    pub size: Option<u64>,
    pub checksum: Option<(UploadChecksum, Checksum)>,
    /// For a family in which they come with the end.
    pub attributes: Option<Attributes>,
    /// What a store that makes an object of blocks would not know of it.
    pub made: Option<Made>,
}

/// What clients are to know of an object that was made of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub etag: ETag,
    /// Of the parts that it was sent in, in their order. None: it was sent in one.
    pub part_sizes: Vec<u64>,
}

/// Keeps beside an object what it was made of, for a store that forgets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteUpload {
    pub key: Box<str>,
    /// The object that was made, and no other of its key.
    pub revision: Revision,
    /// What the upload is known by, as [`ObjectMeta::upload`](crate::storage::object::ObjectMeta::upload) tells it.
    pub upload: Box<str>,
    pub part_sizes: Vec<u64>,
    pub checksum: Option<StoredChecksum>,
}

/// What an object is made of, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pieces {
    Parts(Vec<CompletedPart>),
    Blocks(Vec<(BlockId, BlockState)>),
    /// All ranges, up to this total.
    Ranges(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    pub number: u16,
    pub etag: ETag,
    pub checksum: Option<Checksum>,
}

/// Which block of a name is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    Committed,
    Uncommitted,
    Latest,
}
