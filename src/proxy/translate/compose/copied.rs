//! Blocks that the store makes of another object's bytes by itself, for a part or for a copy that is too large for one
//! request. The source was looked at, and every block is pinned to what was found.

use super::stage::random;
use crate::error::{Error, Result};
use crate::proxy::clock;
use crate::proxy::record::Record;
use crate::proxy::translate::Run;
use crate::storage::codec::Target;
use crate::storage::compose::blocks::{Attempt, UploadId, WHOLE, cut, whole};
use crate::storage::compose::parts::{self, CopiedBlock};
use crate::storage::condition::{ByteRange, Span};
use crate::storage::object::{Attributes, ObjectMeta};
use crate::storage::op::{
    CompleteUpload, CopyObject, CopyPiece, Made, ObjectRef, Operation, Piece, Pieces, UploadRef,
};
use crate::storage::plan::{Probe, Settled};
use crate::storage::reply::{Copied, Reply, Stored};

impl Run<'_> {
    /// A part of another object's bytes.
    pub(super) async fn copy_part(&self, record: &mut Record, op: &Operation) -> Result<Reply> {
        let look = Probe::Source.request(op);
        let look = look.ok_or_else(|| Error::internal("a look without an object"))?;
        let found = self.look(record, &self.source()?, look).await?;
        let Settled::Send(settled) = Probe::Source.settle(op, found.as_ref())? else {
            return Err(Error::internal("a copy that was not modified"));
        };
        let (Operation::CopyPiece(copy), Some(seen)) = (&*settled, &found) else {
            return Err(Error::internal("another operation than was looked for"));
        };
        let Piece::Part(number) = copy.piece else {
            return Err(Error::internal("a piece of another family"));
        };
        let attempt = Attempt(random()?);
        let blocks = self
            .copy_blocks(record, copy, number, attempt, seen)
            .await?;
        let part = parts::copied(number, attempt, &blocks, seen, clock::now())?;
        self.note(record, &copy.upload, &part).await?;
        let mut stored = Stored::new(part.etag);
        stored.last_modified = Some(part.at);
        Ok(copied(stored))
    }

    /// A copy that is larger than one request may be.
    pub(super) async fn split_copy(&self, record: &mut Record, op: &Operation) -> Result<Reply> {
        let (Operation::CopyObject(copy), Some(seen)) = (op, seen(op)) else {
            return Err(Error::internal("a copy whose source was not looked at"));
        };
        if copy.checksum.is_some() {
            let message = "The store of this bucket computes no checksum for a copy.";
            return Err(Error::unsupported(message));
        }
        let attributes = self.attributes(record, copy, seen).await?;
        let upload = UploadRef {
            key: copy.key.clone(),
            id: UploadId::new(getrandom::u64().map_err(Error::internal)?).text(),
        };
        let piece = CopyPiece {
            upload: upload.clone(),
            piece: Piece::Part(WHOLE),
            source: copy.source.clone(),
            range: None,
            customer_key: None,
        };
        let attempt = Attempt(random()?);
        let blocks = self
            .copy_blocks(record, &piece, WHOLE, attempt, seen)
            .await?;
        let blocks = u16::try_from(blocks.len()).map_err(Error::internal)?;
        let commit = CompleteUpload {
            pieces: Pieces::Blocks(UploadId::parse(&upload.id)?.blocks(WHOLE, blocks, attempt)),
            upload,
            conditions: copy.conditions.clone(),
            size: None,
            checksum: parts::kept_checksum(seen),
            attributes: Some(attributes),
            made: Some(Made {
                etag: seen.etag.clone(),
                part_sizes: seen.part_sizes.clone(),
            }),
        };
        let reply = self.commit(record, commit).await?;
        let Reply::Stored(stored) = reply else {
            return Err(Error::internal("no answer to a completion"));
        };
        Ok(copied(*stored))
    }

    /// Makes blocks of all that is asked for.
    async fn copy_blocks(
        &self,
        record: &mut Record,
        copy: &CopyPiece,
        part: u16,
        attempt: Attempt,
        seen: &ObjectMeta,
    ) -> Result<Vec<CopiedBlock>> {
        let id = UploadId::parse(&copy.upload.id)?;
        let capability = self.lane.codec.capability(self.lane.bucket);
        let all = match copy.range {
            Some(range) => range.within(seen.size),
            None => whole(seen.size),
        };
        let mut blocks = Vec::new();
        for slice in cut(all, capability.piece_bytes_max) {
            let Span { first, last } = slice;
            let number = u16::try_from(blocks.len()).map_err(Error::internal)?;
            let block = Operation::CopyPiece(Box::new(CopyPiece {
                piece: Piece::Block(id.block(part, number, attempt)),
                range: Some(ByteRange::Span { first, last }),
                ..copy.clone()
            }));
            let told = match self.lane.exchange(None, record, &block, None).await {
                Ok(told) => told,
                Err(error) => return Err(self.not_staged(record, &copy.upload, error).await),
            };
            let Reply::Copied(copied) = told.reply else {
                return Err(Error::internal("no answer to a copy"));
            };
            blocks.push(CopiedBlock {
                size: slice.length(),
                told: copied.stored.told,
            });
        }
        Ok(blocks)
    }

    /// What the copy has beside its bytes.
    async fn attributes(
        &self,
        record: &mut Record,
        copy: &CopyObject,
        seen: &ObjectMeta,
    ) -> Result<Attributes> {
        let told = copy.attributes.clone().unwrap_or_else(|| Attributes {
            content: seen.content.clone(),
            user: seen.user.clone(),
            redirect: seen.redirect.clone(),
            ..Attributes::default()
        });
        let tags = match &copy.tags {
            Some(tags) => tags.clone(),
            None if seen.tag_count == 0 => told.tags,
            None => {
                let tags = Operation::GetTags(ObjectRef {
                    key: copy.source.object.key.clone(),
                    version: None,
                });
                let source = self.source()?;
                let told = self.lane.exchange_at(&source, None, record, &tags, None);
                let Reply::Tags(tags) = told.await?.reply else {
                    return Err(Error::internal("no answer to a question for tags"));
                };
                tags
            }
        };
        Ok(Attributes {
            class: copy.class,
            tags,
            encryption: copy.encryption.clone(),
            ..told
        })
    }

    /// Where a copy's source is.
    fn source(&self) -> Result<Target<'_>> {
        let bucket = self.hop.source.as_deref();
        let bucket = bucket.ok_or_else(|| Error::internal("a copy without its source's bucket"))?;
        Ok(Target {
            bucket,
            source: None,
        })
    }
}

fn seen(op: &Operation) -> Option<&ObjectMeta> {
    let Operation::CopyObject(copy) = op else {
        return None;
    };
    copy.source.seen.as_deref()
}

fn copied(stored: Stored) -> Reply {
    Reply::Copied(Box::new(Copied {
        stored,
        source_version: None,
    }))
}
