//! An object that is larger than one request of the store may be: its bytes become blocks as they come, and the object is
//! made of them at once, under the conditions and with all that is beside it. Whatever fails before leaves the object
//! that was there.

use super::stage::Incoming;
use crate::error::{Error, Kind, Result};
use crate::proxy::client::Client;
use crate::proxy::record::Record;
use crate::proxy::translate::Run;
use crate::proxy::translate::upload::Upload;
use crate::proxy::upload::Sender;
use crate::storage::compose::blocks::{UploadId, WHOLE};
use crate::storage::object::{ChecksumKind, ETag, Encryption};
use crate::storage::op::{
    ChecksumOver, CompleteUpload, Made, Operation, Pieces, PutObject, UploadChecksum, UploadRef,
};
use crate::storage::reply::Reply;

impl Run<'_> {
    pub(super) async fn split_put(
        &self,
        client: &mut Client,
        record: &mut Record,
        put: &PutObject,
        upload: &mut Upload,
    ) -> Result<Reply> {
        if let Some(Encryption::Customer(_)) = put.attributes.encryption {
            let message = "Objects of this size with a key of the client's are not implemented for this bucket.";
            return Err(Error::unsupported(message));
        }
        let id = UploadId::new(getrandom::u64().map_err(Error::internal)?);
        let made_by = UploadRef {
            key: put.key.clone(),
            id: id.text(),
        };
        // Conditions that take a look are told before the bytes are sent.
        let looked = Operation::CompleteUpload(Box::new(CompleteUpload {
            upload: made_by.clone(),
            pieces: Pieces::Blocks(Vec::new()),
            conditions: put.conditions.clone(),
            size: None,
            checksum: None,
            attributes: Some(put.attributes.clone()),
            made: None,
        }));
        let Operation::CompleteUpload(mut commit) = self.pinned(record, looked).await? else {
            return Err(Error::internal("another operation than was looked for"));
        };
        let (length, declared) = (upload.length, &put.body.checksums);
        let mut from = Incoming::new(&mut upload.body, Sender::Client(client), length, declared);
        let staged = self.stage(record, &made_by, WHOLE, &mut from).await?;
        let observed = from.body.observed();
        let trailing = upload.trailing.clone();
        let trailing = trailing.and_then(|trailing| trailing.checksum());
        let told = put.body.checksum(ChecksumKind::Md5);
        let md5 = observed.md5.or_else(|| told?.value().try_into().ok());
        let md5 = md5.ok_or_else(|| Error::internal("an object whose MD5 nobody knows"))?;
        let mut kept = declared.iter().chain(&trailing);
        let kept = kept.find(|checksum| checksum.kind() != ChecksumKind::Md5);
        commit.pieces = Pieces::Blocks(id.blocks(WHOLE, staged.blocks, staged.attempt));
        commit.checksum = kept.map(|checksum| {
            let of = UploadChecksum {
                kind: checksum.kind(),
                over: ChecksumOver::Object,
            };
            (of, checksum.clone())
        });
        commit.made = Some(Made {
            etag: ETag::of_md5(md5),
            part_sizes: Vec::new(),
        });
        self.commit(record, *commit).await
    }

    /// Makes an object of blocks that nobody else knows of.
    pub(super) async fn commit(
        &self,
        record: &mut Record,
        commit: CompleteUpload,
    ) -> Result<Reply> {
        let made_by = commit.upload.clone();
        let commit = Operation::CompleteUpload(Box::new(commit));
        let error = match self.lane.exchange(None, record, &commit, None).await {
            Ok(told) => return Ok(told.reply),
            Err(error) => error,
        };
        let is_lost = error.kind() == Kind::InvalidPart;
        if !is_lost && error.kind() != Kind::PreconditionFailed {
            return Err(error);
        }
        // It may be there already, by a request whose answer was lost.
        match self.made_before(record, &made_by).await {
            Err(missing) if missing.kind() == Kind::UploadNotFound && is_lost => {
                let message = "Another object of this key was stored meanwhile. Please try again.";
                Err(Error::new(Kind::Conflict, message))
            }
            Err(missing) if missing.kind() == Kind::UploadNotFound => Err(error),
            made => made,
        }
    }
}
