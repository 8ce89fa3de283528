//! Uploads in parts at a store whose uploads are blocks.
//!
//! What such a store does not keep (what was begun, which parts there are, what clients know them by) is in a journal
//! beside the objects: a part is noted there once all its blocks were stored and verified, and completing, listing and
//! aborting go by what is noted. Nothing is kept in this process: any node serves any request of any upload.
//!
//! The point of no return is the request that makes the object: the journal goes after it, and a completion that is sent
//! again finds the object instead, which says what it was made by.

use super::stage::Incoming;
use crate::error::{Error, Kind, Result};
use crate::proxy::client::Client;
use crate::proxy::record::Record;
use crate::proxy::translate::Run;
use crate::proxy::translate::lane::Told;
use crate::proxy::translate::upload::Upload;
use crate::proxy::upload::Sender;
use crate::proxy::{clock, storage};
use crate::storage::codec::Target;
use crate::storage::compose::blocks::{UploadId, no_upload};
use crate::storage::compose::journal::{self, Journal, StoredPart};
use crate::storage::compose::parts;
use crate::storage::compose::uploads::Search;
use crate::storage::object::{
    Checksum, ChecksumKind, ETag, Encryption, Extent, ObjectMeta, StoredChecksum,
};
use crate::storage::op::{
    self, CompleteUpload, CreateJournal, CreateUpload, Operation, Piece, ReadObject, UploadPiece,
    UploadRef,
};
use crate::storage::plan::{Probe, Settled};
use crate::storage::reply::{Reply, Stored};

/// Pages of journals that one listing looks through: a million uploads at the store's page size. Stops a client from
/// keeping us busy for minutes.
const PAGES_MAX: u32 = 200;

impl Run<'_> {
    /// One request of an upload's life.
    pub(super) async fn bridge(
        &self,
        client: Option<&mut Client>,
        record: &mut Record,
        op: &Operation,
        upload: Option<&mut Upload>,
    ) -> Result<Told> {
        let reply = if let Operation::CreateUpload(create) = op {
            self.begin(record, create).await?
        } else if let (Operation::UploadPiece(piece), Some(client), Some(body)) =
            (op, client, upload)
        {
            self.take_part(client, record, piece, body).await?
        } else if let Operation::CopyPiece(_) = op {
            self.copy_part(record, op).await?
        } else if let Operation::ListPieces(list) = op {
            let journal = self.journal(record, &list.upload).await?;
            Reply::Pieces(parts::page(list, &journal))
        } else if let Operation::CompleteUpload(complete) = op {
            self.complete(record, complete).await?
        } else if let Operation::AbortUpload(upload) = op {
            // Blocks that no object was made of go by themselves, and the object is none of theirs.
            let delete = op::Journal::Delete(upload.clone());
            self.ask(record, delete).await?
        } else {
            return Err(Error::internal("not a request of an upload"));
        };
        Ok(Told::from(reply))
    }

    async fn begin(&self, record: &mut Record, create: &CreateUpload) -> Result<Reply> {
        if let Some(Encryption::Customer(_)) = create.attributes.encryption {
            let message =
                "Uploads in parts with a key of the client's are not implemented for this bucket.";
            return Err(Error::unsupported(message));
        }
        let records = journal::begun(create)?;
        let id = UploadId::new(getrandom::u64().map_err(Error::internal)?).text();
        let upload = UploadRef {
            key: create.key.clone(),
            id: id.clone(),
        };
        let begin = op::Journal::Create(Box::new(CreateJournal {
            upload: upload.clone(),
            attributes: create.attributes.clone(),
        }));
        self.ask(record, begin).await?;
        let note = op::Journal::Append {
            upload: upload.clone(),
            records,
        };
        if let Err(error) = self.ask(record, note).await {
            self.forget(record, &upload).await;
            return Err(error);
        }
        Ok(Reply::Upload(id))
    }

    /// Stores a part that the client sends.
    async fn take_part(
        &self,
        client: &mut Client,
        record: &mut Record,
        piece: &UploadPiece,
        upload: &mut Upload,
    ) -> Result<Reply> {
        let Piece::Part(number) = piece.piece else {
            return Err(Error::internal("a piece of another family"));
        };
        if piece.customer_key.is_some() {
            let message = "The multipart upload initiate requested no encryption. Subsequent part requests must not include the encryption parameters.";
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        let trailing = upload.trailing.clone();
        let (length, declared) = (upload.length, &piece.body.checksums);
        let from = Incoming::new(&mut upload.body, Sender::Client(client), length, declared);
        let trailing = || trailing.and_then(|trailing| trailing.checksum());
        self.store_part(record, &piece.upload, number, from, trailing)
            .await
    }

    /// Stores one part of an upload, wherever its bytes come from, and notes it. `trailing` tells a checksum that was
    /// verified with the end of the bytes.
    pub(super) async fn store_part(
        &self,
        record: &mut Record,
        upload: &UploadRef,
        number: u16,
        mut from: Incoming<'_>,
        trailing: impl FnOnce() -> Option<Checksum>,
    ) -> Result<Reply> {
        let staged = self.stage(record, upload, number, &mut from).await?;
        let observed = from.body.observed();
        let declared = from.declared.iter();
        let (md5, declared): (Vec<_>, Vec<_>) = declared
            .cloned()
            .chain(trailing())
            .partition(|checksum| checksum.kind() == ChecksumKind::Md5);
        let md5 = observed
            .md5
            .or_else(|| md5.first()?.value().try_into().ok());
        let md5 = md5.ok_or_else(|| Error::internal("a part whose MD5 nobody knows"))?;
        let taken = observed.crc64nvme;
        let taken = taken.and_then(|crc| Checksum::of_crc(ChecksumKind::Crc64Nvme, crc));
        let part = StoredPart {
            number,
            size: from.length,
            attempt: staged.attempt,
            blocks: staged.blocks,
            etag: ETag::of_md5(md5),
            at: clock::now(),
            checksums: declared
                .iter()
                .cloned()
                .chain(taken.filter(|taken| !declared.contains(taken)))
                .collect(),
        };
        self.note(record, upload, &part).await?;
        let mut stored = Stored::new(part.etag);
        stored.checksums = declared.into_iter().map(of_whole).collect();
        Ok(Reply::Stored(Box::new(stored)))
    }

    /// Writes down that a part is there. Of an upload that was aborted meanwhile, it is part of nothing.
    pub(super) async fn note(
        &self,
        record: &mut Record,
        upload: &UploadRef,
        part: &StoredPart,
    ) -> Result<()> {
        let note = op::Journal::Append {
            upload: upload.clone(),
            records: journal::part(part)?,
        };
        self.ask(record, note).await.map(|_| ())
    }

    async fn complete(&self, record: &mut Record, asked: &CompleteUpload) -> Result<Reply> {
        let upload = &asked.upload;
        let journal = match self.journal(record, upload).await {
            Ok(journal) => journal,
            // Completed before, perhaps: by a request whose answer the client did not get.
            Err(error) if error.kind() == Kind::UploadNotFound => {
                return self.made_before(record, upload).await;
            }
            Err(error) => return Err(error),
        };
        let commit = Operation::CompleteUpload(Box::new(parts::complete(asked, &journal)?));
        let commit = self.pinned(record, commit).await?;
        storage::still_valid(self.lane.engine, record)()?;
        let made = self.lane.exchange(None, record, &commit, None).await;
        let error = match made {
            Ok(told) => {
                self.forget(record, upload).await;
                return Ok(told.reply);
            }
            Err(error) => error,
        };
        // Blocks that are noted are gone once any object was made of the key: this upload's, or another.
        let is_lost = error.kind() == Kind::InvalidPart;
        if !is_lost && error.kind() != Kind::PreconditionFailed {
            return Err(error);
        }
        let made = self.made_before(record, upload).await;
        if is_lost || made.is_ok() {
            self.forget(record, upload).await;
        }
        match made {
            Err(missing) if missing.kind() == Kind::UploadNotFound && !is_lost => Err(error),
            made => made,
        }
    }

    /// The object, if it was made by this upload.
    pub(super) async fn made_before(
        &self,
        record: &mut Record,
        upload: &UploadRef,
    ) -> Result<Reply> {
        let look = ReadObject::new(&upload.key);
        let found = self.look(record, &self.lane.target(), look).await?;
        let found = found.filter(|found| found.upload.as_ref() == Some(&upload.id));
        let found = found.ok_or_else(no_upload)?;
        let mut stored = Stored::new(found.etag);
        stored.checksums = found.checksums;
        stored.revision = found.revision;
        Ok(Reply::Stored(Box::new(stored)))
    }

    /// The operation under conditions that the store can compare.
    pub(super) async fn pinned(&self, record: &mut Record, op: Operation) -> Result<Operation> {
        if let Operation::CompleteUpload(complete) = &op
            && (complete.conditions.is_empty() || complete.conditions.is_absent_only())
        {
            return Ok(op);
        }
        let look = Probe::Object.request(&op);
        let look = look.ok_or_else(|| Error::internal("a look without an object"))?;
        let found = self.look(record, &self.lane.target(), look).await?;
        match Probe::Object.settle(&op, found.as_ref())? {
            Settled::Send(op) => Ok(*op),
            Settled::NotModified(_) => Err(Error::internal("a write that was not modified")),
        }
    }

    /// What is known of an object, if there is one.
    pub(super) async fn look(
        &self,
        record: &mut Record,
        at: &Target<'_>,
        look: ReadObject,
    ) -> Result<Option<ObjectMeta>> {
        let look = Operation::HeadObject(Box::new(look));
        match self.lane.exchange_at(at, None, record, &look, None).await {
            Ok(Told {
                reply: Reply::Object(found),
                ..
            }) => Ok(Some(found.meta)),
            Ok(_) => Err(Error::internal("no answer to a look")),
            Err(error) if error.kind() == Kind::ObjectNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Uploads under way.
    pub(super) async fn list_uploads(&self, record: &mut Record, op: &Operation) -> Result<Told> {
        let Operation::ListUploads(list) = op else {
            return Err(Error::internal("not a listing of uploads"));
        };
        let mut search = Search::new(list);
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let Reply::Journals(page) = self.ask(record, op::Journal::List(next)).await? else {
                return Err(Error::internal("no answer to a listing"));
            };
            for upload in page.uploads {
                search.see(upload);
            }
            if page.next.is_none() {
                return Ok(Told::from(Reply::Uploads(search.page())));
            }
            next = page.next;
        }
        let message = "More uploads are under way in this bucket than can be listed.";
        Err(Error::unsupported(message))
    }

    async fn journal(&self, record: &mut Record, upload: &UploadRef) -> Result<Journal> {
        let read = op::Journal::Read(upload.clone());
        let Reply::Journal(records) = self.ask(record, read).await? else {
            return Err(Error::internal("no answer to a read"));
        };
        journal::read(&upload.key, &records)
    }

    /// Deletes the journal of an upload that is over. What stays is in the way of nothing, and can be aborted.
    pub(super) async fn forget(&self, record: &mut Record, upload: &UploadRef) {
        let delete = op::Journal::Delete(upload.clone());
        match self.ask(record, delete).await {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::UploadNotFound => {}
            Err(error) => {
                let resource = &self.lane.bucket.resource.name;
                tracing::warn!(%resource, %error, "the journal of an upload that is over was not deleted");
            }
        }
    }

    async fn ask(&self, record: &mut Record, journal: op::Journal) -> Result<Reply> {
        let op = Operation::Journal(journal);
        let told = self.lane.exchange(None, record, &op, None).await?;
        Ok(told.reply)
    }
}

fn of_whole(checksum: Checksum) -> StoredChecksum {
    StoredChecksum {
        checksum,
        extent: Extent::Whole,
    }
}
