//! The running config: one snapshot, replaced whole.
//!
//! A load is single-flight and happens on the caller's thread, which must not be one that serves requests. What
//! does not check is not applied: the running snapshot stays, and the report says why. Listeners and process
//! settings are those of the start for as long as the process lives; that they differ is only reported.
//!
//! A revocation waits for nothing: it is on disk and out of the running snapshot without looking at any config,
//! and a load that was under way cannot bring the key back.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
#[expect(
    clippy::disallowed_types,
    reason = "loads are rare, single-flight and never on a request's thread"
)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use uuid::Uuid;

use super::check::check;
use super::compile::{Compiled, Inputs, Memory, compile};
use super::diagnostic::{Place, Problem, Report, Severity};
use super::last_good::{self, Copied};
use super::revoked::Revoked;
use super::secrets::{Env, process_env};
use super::snapshot::{Listen, ProcessSettings, Snapshot};
use super::source::{Loader, Overlay, SourceSet, Watched};
use crate::keys::seal::MasterRing;
use crate::sabotage::{self, Point};
use crate::telemetry::metrics::Metrics;

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
    /// The newest set that was refused, by its hash.
    refused: Option<(Box<str>, Report)>,
    /// The last good copy, where one is kept.
    copied: Option<Copied>,
}

/// What a failed parse means to a load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Whatever is wrong is reported.
    None,
    /// A file that changed just now may be half written: say so instead.
    Young,
}

/// A config that was checked and compiled but not installed.
pub struct Prepared {
    compiled: Compiled,
    report: Report,
}

/// The right to change the config: loads wait while it is held.
pub struct Writer<'a> {
    live: &'a Live,
    state: MutexGuard<'a, State>,
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
        let mut built = build(&set, inputs);
        let is_original = built.is_ok();
        if let (Err(report), Fallback::LastGood) = (&built, options.fallback) {
            let report = report.clone();
            set = last_good::load(&state_dir, dir, credentials(env), now()).ok_or(report)?;
            built = build(&set, inputs);
        }
        let Prepared {
            mut compiled,
            report,
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
                refused: None,
                copied: (options.fallback == Fallback::LastGood).then(Copied::default),
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

    /// Loads the files if they changed. Blocks; a second caller waits for the first.
    pub fn reload(&self, trigger: Trigger) -> ReloadOutcome {
        self.writer().reload(trigger)
    }

    /// Makes a key useless, now and for good, whatever the files say.
    pub fn revoke(&self, id: Uuid) -> io::Result<()> {
        self.revoked.add(id)?;
        self.drop_revoked();
        Ok(())
    }

    /// The file that [`Live::revoke`] appends to.
    pub fn revoked_path(&self) -> &Path {
        self.revoked.path()
    }

    /// Waits for the right to change the config.
    pub fn writer(&self) -> Writer<'_> {
        Writer {
            live: self,
            // A panic in a load leaves nothing half done: what it would have changed is set at its end.
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Reloads unless a file that cannot be parsed is so young that it may be half written.
    pub(super) fn try_reload(&self, trigger: Trigger) -> Option<ReloadOutcome> {
        self.writer().attempt(trigger, Patience::Young)
    }

    /// What to watch.
    pub(super) fn watched(&self) -> Watched {
        self.writer().state.loader.watched()
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
        let is_revoked = |snapshot: &Snapshot| {
            let mut keys = snapshot.s3_keys.values().chain(snapshot.ai_keys.values());
            keys.any(|entry| ids.contains(&entry.key.id))
        };
        if ids.is_empty() || !is_revoked(&self.snapshot.load()) {
            return;
        }
        self.snapshot.rcu(|snapshot| {
            let mut next = Snapshot::clone(snapshot);
            next.s3_keys.retain(|_, entry| !ids.contains(&entry.key.id));
            next.ai_keys.retain(|_, entry| !ids.contains(&entry.key.id));
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

impl Writer<'_> {
    /// Loads the files if they changed.
    pub fn reload(&mut self, trigger: Trigger) -> ReloadOutcome {
        match self.attempt(trigger, Patience::None) {
            Some(outcome) => outcome,
            None => ReloadOutcome::Unchanged,
        }
    }

    /// Checks and compiles what the files would be with `overlays`. Refuses what would not be applied, and any
    /// problem in the overlaid files themselves.
    pub fn prepare(&mut self, overlays: &[Overlay<'_>]) -> Result<Prepared, Report> {
        let now = (self.live.now)();
        let set = self.state.loader.read_with(overlays, now);
        let prepared = self.build(&set)?;
        let touches = |problem: &Problem| {
            problem.severity != Severity::Warning
                && overlays
                    .iter()
                    .any(|overlay| overlay.path == problem.place.file)
        };
        if prepared.report.problems().iter().any(touches) {
            return Err(prepared.report);
        }
        Ok(prepared)
    }

    /// Makes a prepared config the running one. Call it once its files are in place.
    pub fn install(&mut self, prepared: Prepared) -> u64 {
        let Prepared {
            compiled:
                Compiled {
                    mut snapshot,
                    memory,
                    rules,
                    masters,
                },
            report,
        } = prepared;
        self.live.keep_started(&mut snapshot);
        let generation = self.live.next_generation();
        snapshot.generation = generation;
        for (limiter, rules) in rules {
            limiter.set_rules(rules);
        }
        self.live.masters.store(masters);
        self.live.snapshot.store(Arc::new(snapshot));
        self.live.report.store(Arc::new(report));
        self.state.memory = memory;
        self.state.refused = None;
        // A revocation since the compilation saw the old snapshot only.
        self.live.drop_revoked();
        generation
    }

    /// The master keys, for sealing what is about to be written.
    pub fn masters(&self) -> Arc<MasterRing> {
        self.live.masters()
    }

    pub fn dir(&self) -> &Path {
        &self.live.dir
    }

    /// A copy that cannot be written stops nothing: it is for the next start.
    fn keep_copy(&mut self, set: &SourceSet) {
        let state_dir = &self.live.started.process.state_dir;
        if let Some(copied) = &mut self.state.copied
            && let Err(error) = copied.update(state_dir, &self.live.dir, set)
        {
            tracing::warn!(state_dir = %state_dir.display(), %error, "the last good config is not copied");
        }
    }

    fn build(&self, set: &SourceSet) -> Result<Prepared, Report> {
        let inputs = Inputs {
            metrics: &self.live.metrics,
            env: self.live.env,
            revoked: &self.live.revoked.ids(),
            memory: &self.state.memory,
            now: (self.live.now)(),
        };
        build(set, inputs)
    }

    fn attempt(&mut self, trigger: Trigger, patience: Patience) -> Option<ReloadOutcome> {
        let now = (self.live.now)();
        let started = Instant::now();
        let looked = catch_unwind(AssertUnwindSafe(|| self.look(trigger, patience, now)));
        // A panic leaves what runs as it was, and the next trigger looks again.
        let outcome = looked.unwrap_or_else(|_| Some(ReloadOutcome::Failed(self.panicked())))?;
        let report = match &outcome {
            ReloadOutcome::Failed(report) => report.clone(),
            ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } => {
                Report::clone(&self.live.report.load())
            }
        };
        if let Some(observer) = self.live.observer.get() {
            let at = Taken {
                began: now,
                took: started.elapsed(),
            };
            observer.reloaded(trigger, &outcome, &report, at);
        }
        Some(outcome)
    }

    fn look(
        &mut self,
        trigger: Trigger,
        patience: Patience,
        now: Timestamp,
    ) -> Option<ReloadOutcome> {
        self.live.refresh_revoked();
        sabotage::pass(Point::Reload, || format!("{trigger:?}"));
        let set = self.state.loader.read(now);
        if patience == Patience::Young && is_half_written(&set, now) {
            return None;
        }
        let outcome = self.apply(&set);
        if !matches!(outcome, ReloadOutcome::Failed(_)) {
            self.keep_copy(&set);
        }
        Some(outcome)
    }

    fn panicked(&self) -> Report {
        let message = "a defect of Aqueduct itself ended the load; its log names the place";
        let place = Place::file(&self.live.dir);
        let problem = Problem::new(Severity::Error, "E061", place, message.to_owned());
        let report = Report::new(vec![problem]);
        self.live.report.store(Arc::new(report.clone()));
        report
    }

    fn apply(&mut self, set: &SourceSet) -> ReloadOutcome {
        if *set.hash == *self.live.snapshot.load().hash {
            if self.state.refused.take().is_some() {
                // The mistake was taken back.
                let report = check_report(set);
                self.live.report.store(Arc::new(report));
            }
            return ReloadOutcome::Unchanged;
        }
        if let Some((hash, report)) = &self.state.refused
            && *hash == set.hash
        {
            return ReloadOutcome::Failed(report.clone());
        }
        match self.build(set) {
            Ok(prepared) => ReloadOutcome::Applied {
                generation: self.install(prepared),
            },
            Err(report) => {
                self.state.refused = Some((set.hash.clone(), report.clone()));
                self.live.report.store(Arc::new(report.clone()));
                ReloadOutcome::Failed(report)
            }
        }
    }
}

/// Checks a config directory without running it.
pub fn check_dir(dir: &Path, secrets: SecretsMode, now: Timestamp) -> Report {
    check_dir_with(dir, secrets, now, process_env)
}

/// As [`check_dir`], with the environment handed in.
pub fn check_dir_with(dir: &Path, secrets: SecretsMode, now: Timestamp, env: Env) -> Report {
    let set = Loader::new(dir, credentials(env)).read(now);
    match secrets {
        SecretsMode::Skip => check_report(&set),
        SecretsMode::Resolve => {
            let inputs = Inputs {
                metrics: &Metrics::new(),
                env,
                revoked: &std::collections::HashSet::new(),
                memory: &Memory::default(),
                now,
            };
            match build(&set, inputs) {
                Ok(prepared) => prepared.report,
                Err(report) => report,
            }
        }
    }
}

/// Makes a key useless whatever the state of the config; a running server learns it with its next look.
pub fn revoke_in(dir: &Path, id: Uuid, now: Timestamp) -> io::Result<PathBuf> {
    let set = Loader::new(dir, credentials(process_env)).read(now);
    let revoked = Revoked::open(&state_dir(&set))?;
    revoked.add(id)?;
    Ok(revoked.path().to_owned())
}

/// The master keys of a config directory, whatever else is wrong with it: sealing comes before the config is whole.
pub fn masters(dir: &Path, now: Timestamp) -> Result<MasterRing, Report> {
    let env = process_env;
    let set = Loader::new(dir, credentials(env)).read(now);
    super::compile::master_ring(&set, env).map_err(|mut problems| {
        problems.extend_from_slice(&set.problems);
        Report::new(problems)
    })
}

fn check_report(set: &SourceSet) -> Report {
    let (_, problems) = check(set);
    Report::new([set.problems.clone(), problems].concat())
}

/// Checks and compiles. With errors, compilation is still tried for its own problems.
fn build(set: &SourceSet, inputs: Inputs<'_>) -> Result<Prepared, Report> {
    let (checked, mut problems) = check(set);
    problems.extend_from_slice(&set.problems);
    let compiled = checked.and_then(|checked| {
        let (compiled, more) = compile(set, &checked, inputs);
        // Where the check found fault already, why a secret cannot be had is no news.
        let known: Vec<Place> = problems
            .iter()
            .map(|problem| problem.place.clone())
            .collect();
        problems.extend(
            more.into_iter()
                .filter(|problem| problem.code != "E050" || !known.contains(&problem.place)),
        );
        compiled
    });
    let report = Report::new(problems);
    match compiled {
        Some(compiled) if !report.blocks() => Ok(Prepared { compiled, report }),
        Some(_) | None => Err(report),
    }
}

/// Whether a file that cannot be parsed changed so lately that its writer may not be done.
fn is_half_written(set: &SourceSet, now: Timestamp) -> bool {
    const YOUNG_S: i64 = 2;
    set.problems.iter().any(|problem| {
        let meta = std::fs::metadata(&problem.place.file);
        // A file that is gone may be on its way back.
        meta.map_or(true, |meta| {
            let modified = std::os::unix::fs::MetadataExt::mtime(&meta);
            now.as_second() - modified <= YOUNG_S
        })
    })
}

fn credentials(env: Env) -> Option<PathBuf> {
    let dir = env("CREDENTIALS_DIRECTORY")?;
    Some(PathBuf::from(dir.expose_str()?))
}

fn state_dir(set: &SourceSet) -> PathBuf {
    let root = set
        .documents
        .iter()
        .find(|document| document.role == super::parse::Role::Root);
    match root {
        Some(document) => super::compile::process::process(&document.file.root).state_dir,
        None => super::compile::process::process(&super::model::Root::default()).state_dir,
    }
}
