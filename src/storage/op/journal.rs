//! Journals of uploads, for stores whose uploads are blocks that carry nothing but a name.
//!
//! What a client began and which parts it has sent is kept beside its objects, one journal an upload: any node reads it,
//! and its records are added in one step each. What the records say is the machine's affair; see
//! [`compose::journal`](crate::storage::compose::journal).

use bytes::Bytes;

use super::UploadRef;
use crate::storage::object::Attributes;

/// What is asked of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Journal {
    /// Begins one, without a record.
    Create(Box<CreateJournal>),
    /// Adds records at its end.
    Append {
        upload: UploadRef,
        records: Bytes,
    },
    Read(UploadRef),
    Delete(UploadRef),
    /// A page of those that there are, in no order that clients know. `None`: the first.
    List(Option<Box<str>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateJournal {
    pub upload: UploadRef,
    /// What the object is to have: whether the store can keep it is told now, and not after the last part.
    pub attributes: Attributes,
}

impl Journal {
    /// The upload that it is about.
    pub fn upload(&self) -> Option<&UploadRef> {
        match self {
            Self::Create(create) => Some(&create.upload),
            Self::Append { upload, .. } | Self::Read(upload) | Self::Delete(upload) => Some(upload),
            Self::List(_) => None,
        }
    }

    pub fn only_reads(&self) -> bool {
        match self {
            Self::Read(_) | Self::List(_) => true,
            Self::Create(_) | Self::Append { .. } | Self::Delete(_) => false,
        }
    }
}
