//! Ends an upload at a store that keeps no trace of its parts; [`crate::storage::compose::notes`] says what is noted.
//!
//! The point of no return is the completion: what is noted after it is lost where it cannot be written, and the client
//! is told of its object all the same.

use crate::error::{Error, Kind, Result};
use crate::proxy::record::Record;
use crate::proxy::translate::Run;
use crate::proxy::translate::lane::Told;
use crate::storage::compose::notes::{self, Judged};
use crate::storage::object::{ETag, ObjectMeta};
use crate::storage::op::{CompleteUpload, ListPieces, Operation, ReadObject};
use crate::storage::reply::{ListedPart, Reply};

/// Pages of parts that are read: those of the most parts that there can be, with some to spare.
const PAGES_MAX: u32 = 16;

impl Run<'_> {
    pub(super) async fn note_parts(
        &self,
        record: &mut Record,
        asked: &CompleteUpload,
    ) -> Result<Told> {
        match self.complete_and_note(record, asked).await {
            Err(error) if error.kind() == Kind::UploadNotFound => {
                let found = self.look_at_made(record, &asked.upload.key).await;
                let before = found
                    .ok()
                    .and_then(|found| notes::completed_before(asked, &found));
                let stored = before.ok_or(error)?;
                Ok(Told::from(Reply::Stored(Box::new(stored))))
            }
            outcome => outcome,
        }
    }

    async fn complete_and_note(&self, record: &mut Record, asked: &CompleteUpload) -> Result<Told> {
        let listed = self.listed_parts(record, asked).await?;
        let judged = notes::judge(asked, &listed)?;
        let op = Operation::CompleteUpload(Box::new(judged.complete.clone()));
        let told = self.lane.exchange(None, record, &op, None).await?;
        let Reply::Stored(mut stored) = told.reply else {
            return Err(Error::internal("no answer to a completion"));
        };
        if let Err(error) = self.note_made(record, &judged, &stored.etag).await {
            tracing::warn!(%error, "what an object was made of was not noted");
        }
        judged.told(&mut stored);
        Ok(Told::from(Reply::Stored(stored)))
    }

    async fn listed_parts(
        &self,
        record: &mut Record,
        asked: &CompleteUpload,
    ) -> Result<Vec<ListedPart>> {
        let mut parts = Vec::new();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let op = Operation::ListPieces(ListPieces {
                upload: asked.upload.clone(),
                after,
                max: None,
            });
            let told = self.lane.exchange(None, record, &op, None).await?;
            let Reply::Pieces(page) = told.reply else {
                return Err(Error::internal("no answer to a listing of parts"));
            };
            parts.extend(page.parts);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(parts),
            }
        }
        Err(Error::new(
            Kind::UpstreamBroken,
            "The store's list of parts does not end.",
        ))
    }

    async fn note_made(&self, record: &mut Record, judged: &Judged, etag: &ETag) -> Result<()> {
        let found = self
            .look_at_made(record, &judged.complete.upload.key)
            .await?;
        // Somebody else's by now: nothing of ours belongs beside it.
        let Some(note) = judged.note(etag, &found) else {
            return Ok(());
        };
        let op = Operation::NoteUpload(Box::new(note));
        self.lane.exchange(None, record, &op, None).await.map(drop)
    }

    async fn look_at_made(&self, record: &mut Record, key: &str) -> Result<ObjectMeta> {
        let op = Operation::HeadObject(Box::new(ReadObject::new(key)));
        let told = self.lane.exchange(None, record, &op, None).await?;
        let Reply::Object(found) = told.reply else {
            return Err(Error::internal("no answer to a look"));
        };
        Ok(found.meta)
    }
}
