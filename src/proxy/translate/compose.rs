//! What takes several requests at the store: one function for each machine of the plan.

mod copy;
mod delete;

use super::Run;
use super::lane::Told;
use super::upload::Upload;
use crate::error::{Error, Result};
use crate::proxy::client::Client;
use crate::proxy::record::Record;
use crate::storage::op::{DeleteObjects, Operation};
use crate::storage::plan::Machine;

impl Run<'_> {
    /// Runs a machine. Its parts say for themselves what they undo when they fail.
    pub(super) async fn compose(
        &self,
        client: Option<&mut Client>,
        record: &mut Record,
        op: &Operation,
        machine: Machine,
        _upload: Option<&mut Upload>,
    ) -> Result<Told> {
        match machine {
            Machine::DeleteEach => self.delete_each(client, record, batch(op)?).await,
            Machine::DeleteBatches => self.delete_batches(client, record, batch(op)?).await,
            Machine::DeleteEmptyBucket => self.delete_empty_bucket(client, record).await,
            Machine::StreamCopy => self.stream_copy(record, op).await,
            Machine::SplitPut
            | Machine::SplitCopy
            | Machine::BridgeUpload
            | Machine::SynthesizeUploads => Err(not_composed()),
        }
    }
}

fn batch(op: &Operation) -> Result<&DeleteObjects> {
    let Operation::DeleteObjects(batch) = op else {
        return Err(Error::internal("a machine for another operation"));
    };
    Ok(batch)
}

fn not_composed() -> Error {
    Error::unsupported(
        "This request takes several at the store of this bucket, which is not implemented.",
    )
}
