//! How an operation is carried out at a target that speaks another protocol than the client.
//!
//! Pure: from the operation and the target's [`Capability`] alone, and decided before a byte goes anywhere. Most are one
//! request. A condition that the store cannot compare, or a range that it cannot compute, needs a look at the object
//! first: [`Probe`] is that look, and [`Probe::settle`] turns what it found into the operation that is sent, pinned to
//! it. What takes several requests is named as a [`Machine`], for whoever runs it. What cannot be done is refused here.

mod probe;

pub use probe::{Probe, Settled};

use super::capability::{Capability, Native};
use super::condition::{ByteRange, Preconditions};
use super::object::VersionId;
use super::op::{ChecksumOver, CopyObject, Family, ObjectRef, Operation, ReadObject, Selection};
use crate::error::{Error, Kind, Result};

/// What is done about an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One request.
    Translate,
    /// A look, then the request that [`Probe::settle`] makes of it.
    Probe(Probe),
    Compose(Machine),
}

/// What takes several requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A bucket's deletion, after a look that it holds nothing.
    DeleteEmptyBucket,
    /// A batch delete of single deletes.
    DeleteEach,
    /// A batch delete in several batches.
    DeleteBatches,
    /// A copy whose bytes go through us: source and target have no common ground, or the store has no such copy.
    StreamCopy,
    /// An object that is larger than one request may be, in pieces.
    SplitPut,
    /// A copy that is larger than one request may be, piece by piece.
    SplitCopy,
    /// An upload in parts at a store that cuts otherwise.
    BridgeUpload,
    /// Listings of what the store does not list itself.
    SynthesizeUploads,
    /// The end of an upload at a store that forgets what its object was made of.
    NoteParts,
}

/// Decides.
///
/// `native_copy`: the store of the target can read the source of a copy by itself.
pub fn plan(op: &Operation, can: &Capability, native_copy: bool) -> Result<Plan> {
    check_sizes(op, can)?;
    match op {
        Operation::GetObject(read) | Operation::HeadObject(read) => plan_read(read, can),
        Operation::PutObject(put) => {
            let plan = plan_write(&put.conditions, can)?;
            let length = put.body.length.unwrap_or(0);
            if length > can.put_bytes_max || (can.needs_length && put.body.length.is_none()) {
                return Ok(Plan::Compose(Machine::SplitPut));
            }
            Ok(plan)
        }
        Operation::CopyObject(copy) => plan_copy(copy, can, native_copy),
        Operation::SetAttributes(set) => {
            supported(can.sets_attributes)?;
            plan_conditions(&set.conditions, can.write_if_match)
        }
        Operation::DeleteObject(delete) => {
            check_version(&delete.object, can)?;
            plan_conditions(&delete.conditions, can.delete_if_match)
        }
        // Each entry is judged for itself, also where a version of its name cannot be.
        Operation::DeleteObjects(delete) => {
            let conditional = delete.entries.iter().any(|entry| !entry.conditions.is_empty());
            Ok(if conditional || can.delete_batch_max < 2 {
                Plan::Compose(Machine::DeleteEach)
            } else if delete.entries.len() > can.delete_batch_max {
                Plan::Compose(Machine::DeleteBatches)
            } else {
                Plan::Translate
            })
        }
        Operation::GetTags(object) => {
            supported(can.tags)?;
            check_version(object, can)?;
            Ok(Plan::Translate)
        }
        Operation::PutTags(put) => {
            supported(can.sets_tags)?;
            check_version(&put.object, can)?;
            Ok(Plan::Translate)
        }
        Operation::CreateUpload(_)
        | Operation::UploadPiece(_)
        | Operation::CopyPiece(_)
        | Operation::ListPieces(_)
        | Operation::ListUploads(_)
        | Operation::CompleteUpload(_)
        | Operation::AbortUpload(_) => plan_upload(op, can, native_copy),
        Operation::DeleteBucket => {
            supported(can.keeps_full_buckets)?;
            Ok(match can.keeps_full_buckets {
                Native::Yes => Plan::Translate,
                Native::Pinned | Native::Composed | Native::No => {
                    Plan::Compose(Machine::DeleteEmptyBucket)
                }
            })
        }
        Operation::ListBuckets(_)
        | Operation::HeadBucket
        | Operation::CreateBucket(_)
        // Where no versions are kept, those that are there are all.
        | Operation::ListObjects(_) => Ok(Plan::Translate),
        Operation::NoteUpload(_) | Operation::Journal(_) => Err(Error::internal("a machine's own request")),
    }
}

/// What becomes of an operation once its source was looked at. `None`: it is sent.
pub fn plan_seen(op: &Operation, can: &Capability) -> Option<Machine> {
    let Operation::CopyObject(copy) = op else {
        return None;
    };
    let seen = copy.source.seen.as_ref()?;
    (seen.size > can.copy_bytes_max).then_some(Machine::SplitCopy)
}

fn plan_read(read: &ReadObject, can: &Capability) -> Result<Plan> {
    check_version(&read.object, can)?;
    let range = match read.what {
        Selection::Whole | Selection::Range(ByteRange::Span { .. } | ByteRange::From(_)) => {
            Native::Yes
        }
        Selection::Range(ByteRange::Last(_)) => can.suffix_ranges,
        // Of an object in one piece, the first part is all of it; of others it depends on what the store knows.
        Selection::Part(_) if can.part_reads == Native::Yes => Native::Yes,
        Selection::Part(_) => Native::Pinned,
    };
    let conditions = if read.conditions.is_empty() {
        Native::Yes
    } else if read.conditions.if_stored_at.is_some() || read.conditions.if_size.is_some() {
        Native::Pinned
    } else {
        can.read_conditions
    };
    match (range, conditions) {
        (Native::Yes, Native::Yes) => Ok(Plan::Translate),
        (Native::No, _) | (_, Native::No) => Err(unsupported()),
        (Native::Yes | Native::Pinned | Native::Composed, _) => Ok(Plan::Probe(Probe::Object)),
    }
}

fn plan_copy(copy: &CopyObject, can: &Capability, native_copy: bool) -> Result<Plan> {
    if !native_copy || !matches!(can.copies, Native::Yes | Native::Pinned) {
        return Ok(Plan::Compose(Machine::StreamCopy));
    }
    let write = plan_write(&copy.conditions, can)?;
    let mixed = copy.attributes.is_some() != copy.tags.is_some();
    match (write, mixed || can.copies == Native::Pinned) {
        (write, false) => Ok(write),
        (Plan::Translate, true) => Ok(Plan::Probe(Probe::Source)),
        // Two looks for one request: read it and write it instead.
        (Plan::Probe(_) | Plan::Compose(_), true) => Ok(Plan::Compose(Machine::StreamCopy)),
    }
}

fn plan_write(conditions: &Preconditions, can: &Capability) -> Result<Plan> {
    if conditions.is_absent_only() {
        return plan_conditions(conditions, can.write_if_absent);
    }
    plan_conditions(conditions, can.write_if_match)
}

fn plan_conditions(conditions: &Preconditions, native: Native) -> Result<Plan> {
    if conditions.is_empty() {
        return Ok(Plan::Translate);
    }
    match native {
        Native::Yes if conditions.if_stored_at.is_none() && conditions.if_size.is_none() => {
            Ok(Plan::Translate)
        }
        Native::Yes | Native::Pinned => Ok(Plan::Probe(Probe::Object)),
        Native::Composed | Native::No => Err(unsupported()),
    }
}

/// The multipart family, and what a client of the family of parts may ask of a store of another.
fn plan_upload(op: &Operation, can: &Capability, native_copy: bool) -> Result<Plan> {
    let bridged = can.uploads != Family::Parts;
    if let Operation::CopyPiece(_) = op
        && (!native_copy || can.piece_copies != Native::Yes)
    {
        supported(can.piece_copies)?;
        return Ok(Plan::Compose(Machine::StreamCopy));
    }
    if let Operation::ListUploads(_) = op
        && can.lists_uploads != Native::Yes
    {
        supported(can.lists_uploads)?;
        return Ok(Plan::Compose(Machine::SynthesizeUploads));
    }
    if let Operation::CompleteUpload(complete) = op {
        if !complete.conditions.is_empty() {
            supported(can.complete_if)?;
        }
        let told = complete.checksum.as_ref();
        let of_whole = told.is_some_and(|(of, _)| of.over == ChecksumOver::Object);
        if !bridged && can.keeps_parts == Native::Composed {
            return Ok(Plan::Compose(Machine::NoteParts));
        }
        // Only a machine that knows the parts' sizes and CRCs could tell.
        if (of_whole || complete.size.is_some()) && !bridged {
            return Err(unsupported());
        }
    }
    Ok(if bridged {
        Plan::Compose(Machine::BridgeUpload)
    } else {
        Plan::Translate
    })
}

fn check_sizes(op: &Operation, can: &Capability) -> Result<()> {
    let Some(body) = op.body() else {
        return Ok(());
    };
    // A piece of another family may be cut again.
    let is_piece = matches!(op, Operation::UploadPiece(_)) && can.uploads == Family::Parts;
    let most = if is_piece {
        can.piece_bytes_max
    } else {
        can.object_bytes_max
    };
    if body.length.is_some_and(|length| length > most) {
        return Err(Error::new(
            Kind::BodyTooLarge,
            "Your proposed upload exceeds the maximum allowed size",
        ));
    }
    Ok(())
}

/// Where no versions are kept, the object is the only one, and any other is not there.
fn check_version(object: &ObjectRef, can: &Capability) -> Result<()> {
    let named = object
        .version
        .as_ref()
        .is_some_and(|version| !VersionId::is_null(version));
    if named && can.versions == Native::No {
        return Err(
            Error::new(Kind::InvalidArgument, "Invalid version id specified")
                .with_param("versionId"),
        );
    }
    Ok(())
}

fn supported(native: Native) -> Result<()> {
    match native {
        Native::Yes | Native::Pinned | Native::Composed => Ok(()),
        Native::No => Err(unsupported()),
    }
}

fn unsupported() -> Error {
    Error::unsupported("This request cannot be carried out at the store of this bucket.")
}

#[cfg(test)]
mod tests;
