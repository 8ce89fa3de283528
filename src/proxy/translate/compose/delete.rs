//! Runs the deletions that take several requests; [`crate::storage::compose::delete`] says what they come to.
//!
//! Nothing is undone: what is deleted stays so, and each entry says what became of it. A client that leaves ends a batch
//! between its deletions.

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};

use crate::error::{Error, Kind, Result};
use crate::proxy::client::Client;
use crate::proxy::exchange::watch;
use crate::proxy::record::{Beside, Record};
use crate::proxy::translate::lane::{Lane, Told};
use crate::proxy::translate::{EMPTY_PAGES_MAX, Run, Seen};
use crate::storage::capability::Capability;
use crate::storage::compose::delete::{self, DELETES_AT_ONCE};
use crate::storage::op::{DeleteObject, DeleteObjects, Operation};
use crate::storage::plan::{self, Plan};
use crate::storage::reply::{DeletedEntry, Reply};
use crate::telemetry::labels::Class;

impl Run<'_> {
    /// A batch as single deletions, some at once.
    pub(super) async fn delete_each(
        &self,
        mut client: Option<&mut Client>,
        record: &mut Record,
        batch: &DeleteObjects,
    ) -> Result<Told> {
        record.sending(&self.hop.bucket.resource);
        let class = record.op.class();
        let can = self.lane.codec.capability(&self.hop.bucket);
        let mut waiting = batch.entries.iter();
        let mut running = FuturesOrdered::new();
        let mut told = Vec::with_capacity(batch.entries.len());
        loop {
            while running.len() < DELETES_AT_ONCE
                && let Some(entry) = waiting.next()
            {
                let deletion = self.delete_one(entry, &can, class);
                // Boxed by hand: of a closure's futures the compiler cannot tell that they may change threads.
                running.push_back(Box::pin(deletion) as BoxFuture<'_, Result<DeletedEntry>>);
            }
            tokio::select! {
                biased;
                outcome = running.next() => match outcome {
                    Some(outcome) => told.push(outcome?),
                    None => return Ok(Told::from(Reply::DeletedMany(told))),
                },
                left = watch(client.as_deref_mut()) => { left?; }
            }
        }
    }

    async fn delete_one(
        &self,
        entry: &DeleteObject,
        can: &Capability,
        class: Class,
    ) -> Result<DeletedEntry> {
        let op = Operation::DeleteObject(Box::new(entry.clone()));
        let mut record = Beside::new(class);
        let told = match plan::plan(&op, can, false) {
            Ok(Plan::Translate) => {
                let lane = Lane {
                    // Depends on nothing.
                    may_repeat: entry.conditions.is_empty(),
                    ..self.lane
                };
                lane.exchange(None, &mut record, &op, None).await
            }
            Ok(Plan::Probe(probe)) => match self.probe(None, &mut record, &op, probe, None).await {
                Ok(Seen::Told(told)) => Ok(told),
                Ok(Seen::Machine(..)) => Err(Error::internal("a deletion of several requests")),
                Err(error) => Err(error),
            },
            Ok(Plan::Compose(_)) => Err(Error::internal("a deletion of several requests")),
            Err(error) => Err(error),
        };
        delete::outcome(entry, told.map(|told| told.reply))
    }

    /// A batch as several, one after the other.
    pub(super) async fn delete_batches(
        &self,
        mut client: Option<&mut Client>,
        record: &mut Record,
        batch: &DeleteObjects,
    ) -> Result<Told> {
        let can = self.lane.codec.capability(&self.hop.bucket);
        let mut told = Vec::with_capacity(batch.entries.len());
        for one in delete::batches(batch, can.delete_batch_max) {
            let op = Operation::DeleteObjects(one.clone());
            let client = client.as_deref_mut();
            let answer = match self.lane.exchange(client, record, &op, None).await {
                Err(error) if error.kind() == Kind::ClientGone => return Err(error),
                answer => answer.map(|told| told.reply),
            };
            told.extend(delete::batch_outcome(&one, answer)?);
        }
        Ok(Told::from(Reply::DeletedMany(told)))
    }

    /// A bucket, if it holds nothing.
    pub(super) async fn delete_empty_bucket(
        &self,
        mut client: Option<&mut Client>,
        record: &mut Record,
    ) -> Result<Told> {
        if !self.hop.bucket.prefix.is_empty() {
            // The look would be at a part of what is deleted.
            return Err(Error::internal("the deletion of a part of a bucket"));
        }
        let mut look = delete::look();
        let mut pages = 0;
        loop {
            let op = Operation::ListObjects(look.clone());
            let heard = client.as_deref_mut();
            let told = self.lane.exchange(heard, record, &op, None).await?;
            let Reply::Objects(page) = told.reply else {
                return Err(Error::internal("no answer to a listing"));
            };
            match delete::judge(&look, &page)? {
                None => break,
                Some(next) => look = next,
            }
            pages += 1;
            if pages > EMPTY_PAGES_MAX {
                let message = "The bucket's objects cannot be listed now. Please try again.";
                return Err(Error::new(Kind::Conflict, message));
            }
        }
        let op = Operation::DeleteBucket;
        self.lane.exchange(client, record, &op, None).await
    }
}
