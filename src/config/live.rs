//! The running config: one snapshot, replaced whole.
//!
//! A load is single-flight and happens on the caller's thread, which must not be one that serves requests. What
//! does not check is not applied: the running snapshot stays, and the report says why. Listeners and process
//! settings are those of the start for as long as the process lives; that they differ is only reported.
//!
//! A revocation waits for nothing: it is on disk and out of the running snapshot without looking at any config,
//! and a load that was under way cannot bring the key back.

mod build;
mod offline;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
#[expect(
    clippy::disallowed_types,
    reason = "loads are rare, single-flight and never on a request's thread"
)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use uuid::Uuid;

use super::compile::{Inputs, Memory};
use super::diagnostic::{Place, Problem, Report, Severity};
use super::last_good::{self, Copied};
use super::revoked::Revoked;
use super::secrets::{Env, process_env};
use super::snapshot::{Listen, ProcessSettings, Snapshot};
use super::source::{Loader, Watched};
use crate::keys::seal::MasterRing;
use crate::telemetry::metrics::Metrics;
use build::{Base, build};
pub use offline::{check_dir, check_dir_with, masters, revoke_in, state_dir_of};
use offline::{credentials, state_dir};
pub(super) use writer::Patience;
pub use writer::{Prepared, Writer};

/// The clock, handed in.
pub type Now = fn() -> Timestamp;

/// How a config directory is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub fallback: Fallback,
}

/// Whether secrets are resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretsMode {
    #[default]
    Resolve,
    /// Check everything else: for machines without the master key.
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

/// When a reload began, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub began: Timestamp,
    pub took: Duration,
}

/// Told of each reload, for metrics and logs.
pub trait ReloadObserver: Send + Sync {
    /// `report` holds the warnings of a reload that was applied, too.
    fn reloaded(&self, trigger: Trigger, outcome: &ReloadOutcome, report: &Report, at: Taken);
    /// Settings that differ from those the process was started with; empty for none.
    fn restart_required(&self, settings: &[&'static str]);
    fn watcher_failed(&self, error: &str);
    /// Events come again, after [`ReloadObserver::watcher_failed`].
    fn watcher_recovered(&self);
}

/// See the module's documentation.
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
    masters: ArcSwap<MasterRing>,
    report: ArcSwap<Report>,
    restart_required: ArcSwap<Vec<&'static str>>,
    generation: AtomicU64,
    revoked: Revoked,
    started: Started,
    metrics: Arc<Metrics>,
    env: Env,
    now: Now,
    observer: OnceLock<Arc<dyn ReloadObserver>>,
    dir: PathBuf,
    #[expect(clippy::disallowed_types, reason = "see the import")]
    state: Mutex<State>,
}

/// What is only read at start.
struct Started {
    listen: Vec<Listen>,
    process: ProcessSettings,
}

/// What one load leaves for the next.
struct State {
    loader: Loader,
    memory: Memory,
    /// What the next set can be built on.
    base: Option<Base>,
    /// The newest set that was refused, by its hash.
    refused: Option<(Box<str>, Report)>,
    /// The last good copy, where one is kept.
    copied: Option<Copied>,
    /// The snapshot before this one. Held until the next, so that no request's thread has to take it apart.
    retired: Option<Arc<Snapshot>>,
}

impl Live {
    /// Loads `dir` for serving.
    pub fn start(
        dir: &Path,
        options: Options,
        metrics: Arc<Metrics>,
        now: Now,
    ) -> Result<Arc<Self>, Report> {
        Self::start_with(dir, options, metrics, now, process_env)
    }

    /// As [`Live::start`], with the environment handed in.
    pub fn start_with(
        dir: &Path,
        options: Options,
        metrics: Arc<Metrics>,
        now: Now,
        env: Env,
    ) -> Result<Arc<Self>, Report> {
        let mut loader = Loader::new(dir, credentials(env));
        let memory = Memory::default();
        let mut set = loader.read(now());
        let state_dir = state_dir(&set);
        let revoked = Revoked::open(&state_dir).map_err(|error| {
            let path = state_dir.join("revoked.ids");
            let message = format!("cannot be read, so revoked keys might work: {error}");
            let place = Place::file(&path);
            Report::new(vec![Problem::new(Severity::Error, "E060", place, message)])
        })?;
        let inputs = Inputs {
            metrics: &metrics,
            env,
            revoked: &revoked.ids(),
            memory: &memory,
            now: now(),
        };
        let mut built = build(&set, None, inputs);
        let is_original = built.is_ok();
        if let (Err(report), Fallback::LastGood) = (&built, options.fallback) {
            let report = report.clone();
            set = last_good::load(&state_dir, dir, credentials(env), now()).ok_or(report)?;
            built = build(&set, None, inputs);
        }
        let Prepared {
            mut compiled,
            report,
            base,
            ahead: _,
        } = built?;
        compiled.snapshot.generation = 1;
        for (limiter, rules) in &compiled.rules {
            limiter.set_rules(*rules);
        }
        let snapshot = Arc::new(compiled.snapshot);
        let live = Arc::new(Self {
            started: Started {
                listen: snapshot.listen.clone(),
                process: snapshot.process.clone(),
            },
            snapshot: ArcSwap::new(snapshot),
            masters: ArcSwap::new(compiled.masters),
            report: ArcSwap::from_pointee(report),
            restart_required: ArcSwap::default(),
            generation: AtomicU64::new(1),
            revoked,
            metrics,
            env,
            now,
            observer: OnceLock::new(),
            dir: dir.to_owned(),
            #[expect(clippy::disallowed_types, reason = "see the import")]
            state: Mutex::new(State {
                loader,
                memory: compiled.memory,
                base,
                refused: None,
                copied: (options.fallback == Fallback::LastGood).then(Copied::default),
                retired: None,
            }),
        });
        if is_original {
            live.writer().keep_copy(&set);
        }
        Ok(live)
    }

    /// The running snapshot, to be held for a request's life.
    pub fn current(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The running snapshot for a short look.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The master keys of the running config.
    pub fn masters(&self) -> Arc<MasterRing> {
        self.masters.load_full()
    }

    /// What the newest load found. It [`blocks`](Report::blocks) if that load was not applied.
    pub fn last_report(&self) -> Arc<Report> {
        self.report.load_full()
    }

    /// Settings in the files that differ from those the process runs with, such as `listen`.
    pub fn restart_required(&self) -> Arc<Vec<&'static str>> {
        self.restart_required.load_full()
    }

    /// Sets who is told of reloads. Only the first call counts; `false` for the others.
    pub fn observe(&self, observer: Arc<dyn ReloadObserver>) -> bool {
        self.observer.set(observer).is_ok()
    }

    /// Loads the files if they changed. Blocks; a second caller waits for the first. Files that are being changed are
    /// waited for a moment, and then loaded as they are.
    pub fn reload(&self, trigger: Trigger) -> ReloadOutcome {
        let mut writer = self.writer();
        match writer.attempt(trigger, Patience::Quiet) {
            Some(outcome) => outcome,
            None => writer.reload(trigger),
        }
    }

    /// Makes a key useless, now and for good, whatever the files say.
    pub fn revoke(&self, id: Uuid) -> io::Result<()> {
        self.revoked.add(id)?;
        self.drop_revoked();
        Ok(())
    }

    /// Whether a key was revoked, as far as is known here.
    pub fn is_revoked(&self, id: Uuid) -> bool {
        self.revoked.ids().contains(&id)
    }

    /// The file that [`Live::revoke`] appends to.
    pub fn revoked_path(&self) -> &Path {
        self.revoked.path()
    }

    /// Waits for the right to change the config.
    pub fn writer(&self) -> Writer<'_> {
        // A panic in a load leaves nothing half done: what it would have changed is set at its end.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Writer::new(self, state)
    }

    /// Reloads, unless somebody is changing the files in a way that `patience` does not bear.
    pub(super) fn try_reload(&self, trigger: Trigger, patience: Patience) -> Option<ReloadOutcome> {
        self.writer().attempt(trigger, patience)
    }

    /// What to watch.
    pub(super) fn watched(&self) -> Watched {
        self.writer().watched()
    }

    /// Takes in what another process revoked, without looking at any config.
    pub(super) fn refresh_revoked(&self) {
        if let Err(error) = self.revoked.refresh() {
            // The ids known so far stay in force.
            tracing::warn!(path = %self.revoked.path().display(), %error, "revoked ids cannot be read");
        }
        self.drop_revoked();
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn observer(&self) -> Option<&Arc<dyn ReloadObserver>> {
        self.observer.get()
    }

    /// Takes keys that are revoked out of the running snapshot.
    fn drop_revoked(&self) {
        let ids = self.revoked.ids();
        let is_served = |snapshot: &Snapshot| ids.iter().any(|id| snapshot.key(*id).is_some());
        if !is_served(&self.snapshot.load()) {
            return;
        }
        self.snapshot.rcu(|snapshot| {
            let mut next = Snapshot::clone(snapshot);
            for id in ids.iter() {
                next.remove_key(*id);
            }
            next.generation = self.next_generation();
            next
        });
    }

    fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What [`Snapshot`] keeps of the start, and what differs.
    fn keep_started(&self, snapshot: &mut Snapshot) {
        let mut differ = Vec::new();
        if snapshot.listen != self.started.listen {
            differ.push("listen");
            snapshot.listen.clone_from(&self.started.listen);
        }
        if snapshot.process != self.started.process {
            differ.push("process");
            snapshot.process = self.started.process.clone();
        }
        let before = self.restart_required.swap(Arc::new(differ.clone()));
        if *before != differ
            && let Some(observer) = self.observer.get()
        {
            observer.restart_required(&differ);
        }
    }
}
