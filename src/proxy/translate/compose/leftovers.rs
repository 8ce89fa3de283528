//! Blocks that another tool left at a key, whose names have another length: the store refuses ours beside them.
//!
//! They go when any object is made of the key, or after a week. Where there is no object, an empty one is made and deleted
//! again, which no client sees unless it looks at just that moment. An object that is there is left alone: to make it anew
//! of itself could lose what we do not know of it, and of one that was stored whole there are no blocks to make it of.

use crate::error::{Error, Kind, Result};
use crate::proxy::record::Record;
use crate::proxy::translate::Run;
use crate::storage::condition::{Pin, Preconditions, TagMatch};
use crate::storage::object::Attributes;
use crate::storage::op::{
    CompleteUpload, DeleteObject, ObjectRef, Operation, Pieces, ReadObject, UploadRef,
};
use crate::storage::reply::Reply;

impl Run<'_> {
    /// What a block's refusal means to the client, once what can be done about it was.
    pub(super) async fn not_staged(
        &self,
        record: &mut Record,
        upload: &UploadRef,
        error: Error,
    ) -> Error {
        if error.kind() != Kind::Conflict {
            return error;
        }
        match self.clear(record, upload).await {
            // The bytes are gone: the client has them.
            Ok(()) => Error::new(Kind::Overloaded, "Please try again."),
            Err(error) => error,
        }
        .with_detail(error)
    }

    async fn clear(&self, record: &mut Record, upload: &UploadRef) -> Result<()> {
        let key = &upload.key;
        let look = ReadObject::new(key);
        if self
            .look(record, &self.lane.target(), look)
            .await?
            .is_some()
        {
            let message = "Another tool has left an unfinished upload at this key. Store the object in one piece, delete it, or wait until the store has cleared the upload away.";
            return Err(Error::new(Kind::Conflict, message));
        }
        let empty = Operation::CompleteUpload(Box::new(CompleteUpload {
            upload: upload.clone(),
            pieces: Pieces::Blocks(Vec::new()),
            conditions: Preconditions {
                if_none_match: Some(TagMatch::Any),
                ..Preconditions::default()
            },
            size: None,
            checksum: None,
            attributes: Some(Attributes::default()),
            made: None,
        }));
        let made = self.lane.exchange(None, record, &empty, None).await?;
        let Reply::Stored(made) = made.reply else {
            return Err(Error::internal("no answer to a completion"));
        };
        let delete = Operation::DeleteObject(Box::new(DeleteObject {
            object: ObjectRef {
                key: key.clone(),
                version: None,
            },
            conditions: Preconditions {
                pin: made.revision.map(Pin::Is),
                ..Preconditions::default()
            },
        }));
        match self.lane.exchange(None, record, &delete, None).await {
            Ok(_) => Ok(()),
            // Another object is there by now, and the blocks are gone with the one before.
            Err(error) if error.kind() == Kind::PreconditionFailed => Ok(()),
            Err(error) => Err(error),
        }
    }
}
