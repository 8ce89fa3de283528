//! What takes several requests at the store: one function for each machine of the plan.

use super::Run;
use super::lane::Told;
use super::upload::Upload;
use crate::error::{Error, Result};
use crate::proxy::client::Client;
use crate::proxy::record::Record;
use crate::storage::op::Operation;
use crate::storage::plan::Machine;

impl Run<'_> {
    /// Runs a machine. Its parts say for themselves what they undo when they fail.
    pub(super) async fn compose(
        &self,
        _client: Option<&mut Client>,
        _record: &mut Record,
        _op: &Operation,
        machine: Machine,
        _upload: Option<&mut Upload>,
    ) -> Result<Told> {
        match machine {
            Machine::DeleteEmptyBucket
            | Machine::DeleteEach
            | Machine::DeleteBatches
            | Machine::StreamCopy
            | Machine::SplitPut
            | Machine::SplitCopy
            | Machine::BridgeUpload
            | Machine::SynthesizeUploads => Err(not_composed()),
        }
    }
}

fn not_composed() -> Error {
    Error::unsupported(
        "This request takes several at the store of this bucket, which is not implemented.",
    )
}
