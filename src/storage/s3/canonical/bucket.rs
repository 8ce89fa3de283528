//! Buckets as such: making them, and settings that say what holds anyway.

use std::borrow::Cow;

use super::given::Given;
use super::{document, not_implemented};
use crate::error::{Error, Result};
use crate::storage::op::{CreateBucket, Operation};
use crate::storage::s3::route::WholeOp;
use crate::storage::s3::wire::{self, Part};
use crate::storage::s3::{answer, buckets};

pub(super) fn create(op: &WholeOp, given: &mut Given<'_>) -> Result<Operation> {
    given.only_private()?;
    if given
        .text("x-amz-object-ownership")?
        .is_some_and(|rule| rule == "ObjectWriter")
    {
        return Err(not_implemented());
    }
    if given
        .text("x-amz-bucket-object-lock-enabled")?
        .is_some_and(|wanted| !wanted.eq_ignore_ascii_case("false"))
    {
        return Err(not_implemented());
    }
    let location = buckets::wanted_location(document(op, given)?)?;
    // What a client of S3 calls its first region is where we say that all buckets of other clouds are.
    let elsewhere = !location.is_empty() && location != answer::REGION;
    Ok(Operation::CreateBucket(CreateBucket {
        location: elsewhere.then(|| location.into()),
    }))
}

/// An access list that says what holds anyway.
pub(super) fn only_private(op: &WholeOp, given: &mut Given<'_>) -> Result<()> {
    if !document(op, given)?.is_empty() {
        return Err(not_implemented());
    }
    given.only_private()
}

/// An encryption of new objects that they have anyway: by the provider, with keys of its own.
pub(super) fn encrypted_by_provider(document: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(document).map_err(|_| wire::malformed())?;
    let mut algorithm = Cow::default();
    let mut unknown = false;
    wire::walk(text, |node| {
        let ["ServerSideEncryptionConfiguration", inside @ ..] = node.path else {
            return Err(wire::malformed());
        };
        match (inside, node.part) {
            (
                []
                | ["Rule"]
                | [
                    "Rule",
                    "BucketKeyEnabled" | "ApplyServerSideEncryptionByDefault",
                ],
                _,
            ) => {}
            (["Rule", "ApplyServerSideEncryptionByDefault", "SSEAlgorithm"], part) => {
                if let Part::Close(text) = part {
                    algorithm = text;
                }
            }
            _ => unknown = true,
        }
        Ok(())
    })?;
    if algorithm.is_empty() && !unknown {
        return Err(wire::malformed());
    }
    if unknown || algorithm != "AES256" {
        return Err(Error::unsupported(
            "Encryption with keys of a key service is not implemented for a bucket of another cloud.",
        ));
    }
    Ok(())
}
