//! Runs a copy whose bytes go through us; [`crate::storage::compose::copy`] says what is sent and what answers mean.
//!
//! Both exchanges run at once, with a chunk between them. The point of no return is the last piece: up to it, whatever
//! fails or is cancelled resets the target's connection, and the target keeps nothing; from there on the copy runs to its
//! end, whoever still waits for it. A source that breaks off is asked for the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;

use crate::error::{Error, Kind, Result};
use crate::message::body::BodyStep;
use crate::policy::route::{Bucket, Resource};
use crate::proxy::copy::reading::{Reading, Rest, Resumed};
use crate::proxy::record::{Beside, Record};
use crate::proxy::translate::compose::stage::Incoming;
use crate::proxy::translate::lane::{Lane, Told};
use crate::proxy::translate::{LOOKS_MAX, Run};
use crate::proxy::upload::{ClientBody, Sender};
use crate::proxy::{clock, storage};
use crate::storage as model;
use crate::storage::compose::copy::{self, Copying};
use crate::storage::object::{ObjectMeta, Tags};
use crate::storage::op::{Operation, Piece, UploadPiece};
use crate::storage::plan::{self, Machine, Plan, Settled};
use crate::storage::reply::{Reply, Stored};
use crate::telemetry::labels::Class;

impl Run<'_> {
    /// Reads at the one store and writes at the other.
    pub(super) async fn stream_copy(&self, record: &mut Record, op: &Operation) -> Result<Told> {
        let bucket = self.hop.source.as_ref();
        let bucket = bucket.ok_or_else(|| Error::internal("a copy without its source"))?;
        record.copy = Some((Arc::clone(bucket), 0));
        let from = Lane {
            bucket,
            source: None,
            codec: model::upstream(&bucket.resource)?,
            ..self.lane
        };
        let mut looks = 0;
        loop {
            looks += 1;
            let look = copy::look(op)?;
            let found = from.look(record, look).await?;
            let found = found.ok_or_else(missing)?;
            // Nothing has been read of an object that changed since the look.
            match self.copy_found(record, op, &from, &found).await? {
                Some(told) => return Ok(told),
                None if looks < LOOKS_MAX => {}
                None => return Err(copy::changed()),
            }
        }
    }

    /// Copies what was found; `None`: it is another one by now.
    async fn copy_found(
        &self,
        record: &mut Record,
        op: &Operation,
        from: &Lane<'_>,
        found: &ObjectMeta,
    ) -> Result<Option<Told>> {
        let can = self.lane.codec.capability(self.lane.bucket);
        let bytes_max = self.hop.object_bytes_max;
        let from_can = from.codec.capability(from.bucket);
        let copying = Copying::plan(op, found, &from_can, &can, bytes_max)?;
        let tags = tags(from, record, &copying).await?;
        let write = self.settled(record, copying.write(tags)?).await?;
        let to = Lane {
            source: None,
            may_repeat: copying.may_repeat(),
            ..self.lane
        };
        // What the target cannot be told is refused before the source is read.
        if let Write::One(write) = &write {
            copying.check_asked(to.codec.digests(write))?;
            to.codec.encode(write, &to.target())?;
        }
        let read = copying.read();
        let (head, answer) = match from.exchange(None, record, &read, None).await {
            Err(error) if error.kind() == Kind::PreconditionFailed => return Ok(None),
            Err(error) => return Err(error),
            Ok(Told {
                reply: Reply::Object(head),
                object: Some(answer),
            }) => (head, answer),
            Ok(_) => return Err(Error::internal("no answer to a read")),
        };
        copying.check(0, &head)?;
        let rest = RestOf {
            from,
            copying: &copying,
        };
        let reading = Reading::new(answer, record.set_aside(), &from.bucket.resource);
        let mut source = Resumed::new(&rest, reading);
        let mut body = self.body(record, &copying);
        let sent = match &write {
            Write::One(write) => {
                let told = to.exchange_from(record, write, &mut body, &mut source);
                told.await.map(|told| told.reply)
            }
            Write::Part(piece, number) => {
                let (length, declared) = (copying.length(), &piece.body.checksums);
                let from = Sender::Upstream(&mut source);
                let from = Incoming::new(&mut body, from, length, declared);
                self.store_part(record, &piece.upload, *number, from, || None)
                    .await
            }
        };
        record.copy = Some((Arc::clone(from.bucket), source.taken));
        let sent = sent.map_err(|error| copying.not_stored(error))?;
        source.end(&self.lane.engine.dialer).await;
        let Reply::Stored(stored) = sent else {
            return Err(Error::internal("no answer to an upload"));
        };
        if copying.differs(&stored) {
            if let Write::One(write) = &write {
                take_back(&to, record, write, &stored).await;
            }
            return Err(copy::mismatch());
        }
        let copied = copying.stored(*stored, clock::now());
        Ok(Some(Told::from(Reply::Copied(Box::new(copied)))))
    }

    /// A store has no minimum rate, and its length is known: silence is its idle time, and excess the step's to see.
    fn body(&self, record: &Record, copying: &Copying<'_>) -> ClientBody {
        let step: Box<dyn BodyStep> = Box::new(copying.step());
        let still_valid = storage::still_valid(self.lane.engine, record);
        let committed = Arc::clone(&self.committed);
        ClientBody::new(Some(step), false, 0, u64::MAX, copying.length()).commit_if(move || {
            still_valid()?;
            committed.store(true, Ordering::Relaxed);
            Ok(())
        })
    }

    /// The upload with its conditions as the target can compare them.
    async fn settled(&self, record: &mut Record, write: Operation) -> Result<Write> {
        let can = self.lane.codec.capability(self.lane.bucket);
        let probe = match plan::plan(&write, &can, false)? {
            Plan::Translate => return Ok(Write::One(write)),
            Plan::Probe(probe) => probe,
            Plan::Compose(Machine::BridgeUpload) => return Write::part(write),
            Plan::Compose(_) => {
                let message = "A copy to the store of this bucket is not implemented for a source of another one in this form.";
                return Err(Error::unsupported(message));
            }
        };
        let look = probe.request(&write);
        let look = look.ok_or_else(|| Error::internal("a look without an object"))?;
        let there = self.lane.look(record, look).await?;
        match probe.settle(&write, there.as_ref())? {
            Settled::Send(write) => Ok(Write::One(*write)),
            Settled::NotModified(_) => Err(Error::internal("a write that was not needed")),
        }
    }
}

/// How the bytes are written.
enum Write {
    /// By one request.
    One(Operation),
    /// As a part, at a store whose uploads are blocks.
    Part(Box<UploadPiece>, u16),
}

impl Write {
    fn part(write: Operation) -> Result<Self> {
        if let Operation::UploadPiece(piece) = write
            && let Piece::Part(number) = piece.piece
            && piece.customer_key.is_none()
        {
            return Ok(Self::Part(piece, number));
        }
        Err(Error::unsupported(
            "This copy is not implemented for this bucket.",
        ))
    }
}

/// The source's tags, where they are kept and not known yet.
async fn tags(from: &Lane<'_>, record: &mut Record, copying: &Copying<'_>) -> Result<Option<Tags>> {
    let Some(object) = copying.tags() else {
        return Ok(None);
    };
    let op = Operation::GetTags(object);
    let told = from.exchange(None, record, &op, None).await?;
    let Reply::Tags(tags) = told.reply else {
        return Err(Error::internal("no answer to a question for tags"));
    };
    Ok(Some(tags))
}

/// Deletes a copy that is not what it should be, and nothing that someone else has stored since.
async fn take_back(to: &Lane<'_>, record: &mut Record, write: &Operation, stored: &Stored) {
    let resource = &to.bucket.resource.name;
    let Some(undo) = stored.undo(write) else {
        return;
    };
    match to.exchange(None, record, &undo, None).await {
        Ok(_) => tracing::warn!(%resource, "a copy came out wrong and was deleted"),
        Err(error) => {
            tracing::error!(%resource, %error, "a copy came out wrong and was not deleted");
        }
    }
}

fn missing() -> Error {
    Error::new(Kind::ObjectNotFound, "The specified key does not exist.")
}

/// What is left of an object whose reading broke off.
struct RestOf<'a> {
    from: &'a Lane<'a>,
    copying: &'a Copying<'a>,
}

impl RestOf<'_> {
    async fn ask(&self, taken: u64) -> Result<Option<Reading>> {
        let Some(read) = self.copying.rest(taken) else {
            return Ok(None);
        };
        let mut record = Beside::new(Class::Read);
        let told = self.from.exchange(None, &mut record, &read, None).await;
        let told = match told {
            Ok(told) => told,
            Err(error)
                if matches!(
                    error.kind(),
                    Kind::PreconditionFailed | Kind::ObjectNotFound
                ) =>
            {
                return Err(copy::changed());
            }
            Err(error) => return Err(error),
        };
        let (Reply::Object(head), Some(answer)) = (told.reply, told.object) else {
            return Err(Error::internal("no answer to a read"));
        };
        self.copying.check(taken, &head)?;
        let resource = &self.from.bucket.resource;
        Ok(Some(Reading::new(answer, record.set_aside(), resource)))
    }
}

impl Rest for RestOf<'_> {
    fn resource(&self) -> &Arc<Resource> {
        let bucket: &Bucket = self.from.bucket;
        &bucket.resource
    }

    fn rest(&self, taken: u64) -> BoxFuture<'_, Result<Option<Reading>>> {
        Box::pin(self.ask(taken))
    }
}
