//! The running config: one snapshot, replaced whole.
//!
//! A load is single-flight and happens on the caller's thread, which must not be one that serves requests. What
//! does not check is not applied: the running snapshot stays, and the report says why.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;

use super::diagnostic::Report;
use super::snapshot::Snapshot;

/// The clock, handed in.
pub type Now = fn() -> Timestamp;

/// How a config directory is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub secrets: SecretsMode,
    pub fallback: Fallback,
}

/// Whether secrets are resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretsMode {
    #[default]
    Resolve,
    /// Check everything else: for machines without the master key. Such a snapshot cannot serve.
    Skip,
}

/// What to do at start when the config does not check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    #[default]
    Refuse,
    /// Load the copy of the last good one in `state_dir`.
    LastGood,
}

/// What asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Files may have changed.
    Watch,
    /// The regular look.
    Poll,
    /// SIGHUP.
    Signal,
    /// `POST /-/reload`.
    Admin,
    /// A key is about to be written.
    Write,
}

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The files hold what is running.
    Unchanged,
    Applied {
        generation: u64,
    },
    /// The running snapshot stays.
    Failed(Report),
}

/// Told of each reload, for metrics and logs.
pub trait ReloadObserver: Send + Sync {
    fn reloaded(&self, trigger: Trigger, outcome: &ReloadOutcome, now: Timestamp);
    fn restart_required(&self, settings: &[&'static str]);
    fn watcher_failed(&self, error: &str);
}

/// See the module's documentation.
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
}

impl Live {
    /// The running snapshot, to be held for a request's life.
    pub fn current(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The running snapshot for a short look.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }
}
