//! Deletions that take several requests: of many objects, and of a bucket that must be empty.
//!
//! **Many objects.** Each entry is answered for itself, in the order of the request, and one that fails stops no other,
//! unless it failed for what all have in common: the bucket, or our own credential. An object that is not there counts as
//! deleted, as S3 has it.
//!
//! **An empty bucket.** Azure deletes a container with all that it holds; S3 does not. So its objects are listed first, and
//! one is enough to refuse. What clients cannot list does not count and goes with the container: journals of uploads
//! under way (S3 too deletes a bucket with those), snapshots, and what the account's own settings keep of deleted blobs.
//! An object that is stored between the look and the deletion is lost; the service has no condition that would tell.

use crate::error::{Error, Kind, Result};
use crate::storage::op::{DeleteObject, DeleteObjects, ListObjects};
use crate::storage::reply::{Deleted, DeletedEntry, ObjectPage, Reply};

/// Single deletions of one batch that run at once. Stops one request from taking all connections to a store.
pub const DELETES_AT_ONCE: usize = 16;

/// What the answer to the deletion of one object means for its entry. `Err`: it is the answer to all of them.
pub fn outcome(entry: &DeleteObject, told: Result<Reply>) -> Result<DeletedEntry> {
    let outcome = match told {
        Ok(Reply::Deleted(deleted)) => Ok(deleted),
        Ok(_) => return Err(Error::internal("another answer than that to a deletion")),
        Err(error) if error.kind() == Kind::ObjectNotFound => Ok(Deleted {
            version: entry.object.version.clone(),
            is_marker: false,
        }),
        Err(error) if is_of_all(&error) => return Err(error),
        Err(error) => Err(error),
    };
    Ok(of(entry, outcome))
}

/// A batch delete as several, of at most `max` entries each.
pub fn batches(delete: &DeleteObjects, max: usize) -> impl Iterator<Item = DeleteObjects> {
    let chunks = delete.entries.chunks(max.max(1));
    chunks.map(|entries| DeleteObjects {
        entries: entries.to_vec(),
    })
}

/// The same for one of the batches: where it failed, each of its entries did.
pub fn batch_outcome(batch: &DeleteObjects, told: Result<Reply>) -> Result<Vec<DeletedEntry>> {
    match told {
        Ok(Reply::DeletedMany(entries)) => Ok(entries),
        Ok(_) => Err(Error::internal("another answer than that to a batch")),
        Err(error) if is_of_all(&error) => Err(error),
        Err(error) => {
            let entries = batch.entries.iter();
            let failed = entries.map(|entry| of(entry, Err(same(&error))));
            Ok(failed.collect())
        }
    }
}

fn of(entry: &DeleteObject, outcome: Result<Deleted>) -> DeletedEntry {
    DeletedEntry {
        key: entry.object.key.clone(),
        version: entry.object.version.clone(),
        outcome,
    }
}

fn is_of_all(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::BucketNotFound | Kind::UpstreamAuth | Kind::Internal
    )
}

fn same(error: &Error) -> Error {
    let same = Error::new(error.kind(), error.message().to_owned());
    match error.detail() {
        Some(detail) => same.with_detail(detail),
        None => same,
    }
}

/// The look at a bucket that is to be deleted: whether there is one name in it. What is ours is one common prefix then,
/// however much it holds.
pub fn look() -> ListObjects {
    ListObjects {
        delimiter: Some("/".into()),
        max: Some(2),
        ..ListObjects::default()
    }
}

/// Whether the bucket may go, as far as this page tells; `Some`: the page after it tells more.
pub fn judge(look: &ListObjects, page: &ObjectPage) -> Result<Option<ListObjects>> {
    if page.entries.is_empty() && page.prefixes.is_empty() {
        return Ok(look.next(page));
    }
    Err(Error::new(
        Kind::BucketNotEmpty,
        "The bucket you tried to delete is not empty",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::condition::Preconditions;
    use crate::storage::object::VersionId;
    use crate::storage::op::{ObjectRef, Start};

    fn entry(key: &str) -> DeleteObject {
        DeleteObject {
            object: ObjectRef {
                key: key.into(),
                version: None,
            },
            conditions: Preconditions::default(),
        }
    }

    fn failed(kind: Kind) -> Result<Reply> {
        Err(Error::new(kind, "told").with_detail("of the store"))
    }

    #[test]
    fn an_entry_is_answered_for_itself() {
        let mut of_version = entry("k");
        of_version.object.version = Some(VersionId("null".into()));
        let deleted = Deleted {
            version: of_version.object.version.clone(),
            is_marker: false,
        };
        let told = outcome(&of_version, Ok(Reply::Deleted(deleted.clone()))).unwrap();
        assert_eq!((&*told.key, told.outcome.unwrap()), ("k", deleted.clone()));
        let missing = outcome(&of_version, failed(Kind::ObjectNotFound)).unwrap();
        assert_eq!(missing.outcome.unwrap(), deleted);
        for kind in [
            Kind::PreconditionFailed,
            Kind::AccessDenied,
            Kind::UpstreamTimeout,
            Kind::UpstreamUnavailable,
            Kind::InvalidArgument,
        ] {
            let told = outcome(&entry("k"), failed(kind)).unwrap();
            assert_eq!(told.outcome.unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn what_all_entries_have_in_common_fails_them_all() {
        for kind in [Kind::BucketNotFound, Kind::UpstreamAuth] {
            assert_eq!(outcome(&entry("k"), failed(kind)).unwrap_err().kind(), kind);
            let batch = DeleteObjects {
                entries: vec![entry("k")],
            };
            let error = batch_outcome(&batch, failed(kind)).unwrap_err();
            assert_eq!(error.kind(), kind);
        }
        let another = outcome(&entry("k"), Ok(Reply::Done)).unwrap_err();
        assert_eq!(another.kind(), Kind::Internal);
    }

    #[test]
    fn batches_hold_every_entry_once_and_in_order() {
        let keys = ["a", "b", "c", "d", "e"];
        let delete = DeleteObjects {
            entries: keys.map(entry).to_vec(),
        };
        for (max, sizes) in [
            (0, vec![1; 5]),
            (1, vec![1; 5]),
            (2, vec![2, 2, 1]),
            (5, vec![5]),
            (9, vec![5]),
        ] {
            let batches = batches(&delete, max).map(|batch| batch.entries);
            let batches: Vec<_> = batches.collect();
            let counts: Vec<_> = batches.iter().map(Vec::len).collect();
            assert_eq!(counts, sizes, "{max}");
            assert_eq!(batches.concat(), delete.entries);
        }
    }

    #[test]
    fn a_batch_that_failed_fails_each_of_its_entries() {
        let batch = DeleteObjects {
            entries: vec![entry("a"), entry("b")],
        };
        let told = batch_outcome(&batch, failed(Kind::UpstreamTimeout)).unwrap();
        let told = told.into_iter().map(|entry| {
            let error = entry.outcome.unwrap_err();
            (entry.key, error.kind(), error.detail().map(str::to_owned))
        });
        let expected = ["a", "b"].map(|key| {
            let detail = Some("of the store".to_owned());
            (Box::from(key), Kind::UpstreamTimeout, detail)
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_bucket_is_empty_when_its_last_page_shows_nothing() {
        let look = look();
        let empty = ObjectPage::default();
        assert_eq!(judge(&look, &empty).unwrap(), None);
        let more = ObjectPage {
            next: Some("token".into()),
            ..ObjectPage::default()
        };
        let next = judge(&look, &more).unwrap().unwrap();
        assert_eq!(next.start, Start::Page("token".into()));
        assert_eq!(next.delimiter, look.delimiter);
        let full = ObjectPage {
            prefixes: vec!["a/".into()],
            ..more
        };
        let error = judge(&look, &full).unwrap_err();
        assert_eq!(error.kind(), Kind::BucketNotEmpty);
    }
}
