//! What takes several requests at the store: one function for each machine of the plan.

mod bridge;
mod copied;
mod copy;
mod delete;
mod leftovers;
mod notes;
mod split;
mod stage;

use super::Run;
use super::lane::Told;
use super::upload::Upload;
use crate::error::{Error, Result};
use crate::proxy::client::Client;
use crate::proxy::record::Record;
use crate::storage::op::{CompleteUpload, DeleteObjects, Operation};
use crate::storage::plan::Machine;

impl Run<'_> {
    /// Runs a machine. Its parts say for themselves what they undo when they fail.
    pub(super) async fn compose(
        &self,
        client: Option<&mut Client>,
        record: &mut Record,
        op: &Operation,
        machine: Machine,
        upload: Option<&mut Upload>,
    ) -> Result<Told> {
        match machine {
            Machine::DeleteEach => self.delete_each(client, record, batch(op)?).await,
            Machine::DeleteBatches => self.delete_batches(client, record, batch(op)?).await,
            Machine::DeleteEmptyBucket => self.delete_empty_bucket(client, record).await,
            Machine::StreamCopy => self.stream_copy(record, op).await,
            Machine::NoteParts => self.note_parts(record, completion(op)?).await,
            Machine::BridgeUpload => self.bridge(client, record, op, upload).await,
            Machine::SynthesizeUploads => self.list_uploads(record, op).await,
            Machine::SplitCopy => Ok(Told::from(self.split_copy(record, op).await?)),
            Machine::SplitPut => match (op, client, upload) {
                (Operation::PutObject(put), Some(client), Some(upload)) => Ok(Told::from(
                    self.split_put(client, record, put, upload).await?,
                )),
                (_, _, _) => Err(Error::internal("no upload to be split")),
            },
        }
    }
}

fn batch(op: &Operation) -> Result<&DeleteObjects> {
    let Operation::DeleteObjects(batch) = op else {
        return Err(Error::internal("a machine for another operation"));
    };
    Ok(batch)
}

fn completion(op: &Operation) -> Result<&CompleteUpload> {
    let Operation::CompleteUpload(complete) = op else {
        return Err(Error::internal("a machine for another operation"));
    };
    Ok(complete)
}
