//! One change of one file, from the lock to the line of the audit log.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::error::degraded;
use super::step::{Step, reached};
use super::{Caller, KeyStore, StoreError, disk};
use crate::config::live::{Prepared, ReloadOutcome, Trigger, Writer};
use crate::config::snapshot::Snapshot;
use crate::config::source::Overlay;
use crate::keys::Family;
use crate::telemetry::audit::{Outcome, Record};

/// The right to write, against this process's reloads and writers and against other processes' writers.
pub(super) struct Held<'a> {
    pub(super) writer: Writer<'a>,
    _lock: disk::Lock,
}

/// What is to be written, and what is said of it.
pub(super) struct Change<'a> {
    /// As the loader knows the file.
    pub(super) path: &'a Path,
    /// The file itself, after all links.
    pub(super) target: &'a Path,
    /// What the file held when it was edited. `None`: there is none yet.
    pub(super) before: Option<&'a str>,
    pub(super) text: &'a str,
    pub(super) record: Record,
}

impl KeyStore {
    /// Checks, announces, writes, installs and records one change of one file.
    pub(super) fn apply(
        &self,
        held: &mut Held<'_>,
        change: &Change<'_>,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        self.noted(self.try_apply(held, change, caller))
    }

    fn try_apply(
        &self,
        held: &mut Held<'_>,
        change: &Change<'_>,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        reached(Step::Edited);
        let prepared = prepare(held, change.path, change.text)?;
        reached(Step::Checked);
        let random = u64::from_be_bytes(self.entropy()?);
        let intended = self.intend(&change.record, caller)?;
        if let Err(source) = disk::replace(change.target, change.before, change.text, random) {
            let (code, error) = if disk::is_moved(&source) {
                ("CONFIG_CONFLICT", StoreError::Busy)
            } else {
                let what = "cannot write the key's file";
                ("DEGRADED", degraded(what)(source))
            };
            self.close(&change.record, caller, intended, Outcome::Failed(code));
            return Err(error);
        }
        held.writer.install(prepared);
        reached(Step::Installed);
        self.close(&change.record, caller, intended, Outcome::Ok);
        Ok(())
    }

    /// Shows in the metrics whether changes can be written, by how one went.
    pub(super) fn noted<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        match &done {
            Ok(_) => self.live.metrics().admin_writable(true),
            Err(StoreError::Degraded { .. }) => self.live.metrics().admin_writable(false),
            // Refused before it came to writing.
            Err(
                StoreError::RepositoryNotFound
                | StoreError::KeyNotFound
                | StoreError::Invalid(_)
                | StoreError::Unsupported(_)
                | StoreError::Rejected(_)
                | StoreError::Conflict(_)
                | StoreError::Busy
                | StoreError::Stale
                | StoreError::ReadOnly(_)
                | StoreError::Internal(_),
            ) => {}
        }
        done
    }

    pub(super) fn intend(&self, record: &Record, caller: &Caller) -> Result<u64, StoreError> {
        let intended = self
            .audit
            .write(caller.now, &caller.actor, record, Outcome::Intended, None)
            .map_err(degraded("cannot write the audit log"))?;
        reached(Step::Intended);
        Ok(intended)
    }

    pub(super) fn close(
        &self,
        record: &Record,
        caller: &Caller,
        intended: u64,
        outcome: Outcome<'_>,
    ) {
        let closed = self
            .audit
            .write(caller.now, &caller.actor, record, outcome, Some(intended));
        // The change is made, and its intention is on record: failing the caller now would be a lie.
        if let Err(error) = closed {
            tracing::error!(%error, intended, "cannot close a line of the audit log");
        }
        reached(Step::Recorded);
    }

    /// First this process's turn, then the file lock: over NFS a file lock does not part threads.
    pub(super) fn hold(&self) -> Result<Held<'_>, StoreError> {
        let writer = self.live.writer();
        let lock =
            disk::Lock::take(self.live.dir()).map_err(degraded("cannot lock the config directory"));
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => return self.noted(Err(error)),
        };
        reached(Step::Locked);
        Ok(Held {
            writer,
            _lock: lock,
        })
    }

    /// The config as it is on disk now.
    pub(super) fn fresh(&self, held: &mut Held<'_>) -> Result<Arc<Snapshot>, StoreError> {
        let outcome = held.writer.reload_quiet(Trigger::Write);
        reached(Step::Loaded);
        match outcome.ok_or(StoreError::Busy)? {
            ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } => Ok(self.live.current()),
            ReloadOutcome::Failed(report) => Err(StoreError::Conflict(report)),
        }
    }
}

pub(super) fn record_of(family: Family, id: Uuid, repository: Option<Uuid>) -> Record {
    Record {
        context: match family {
            Family::Storage => "apikey",
            Family::Ai => "aillmapikey",
        },
        context_id: Some(id.to_string()),
        repository: repository.map(|id| id.to_string()),
        ..Record::default()
    }
}

/// The whole set with `text` in `path`, if it is good.
pub(super) fn prepare(
    held: &mut Held<'_>,
    path: &Path,
    text: &str,
) -> Result<Prepared, StoreError> {
    let overlay = Overlay { path, text };
    held.writer
        .prepare(&[overlay])
        .map_err(StoreError::Rejected)
}
