//! The right to change the running config: loads, and changes that were checked before they are made.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::build::{Base, build};
use super::{Live, ReloadOutcome, State, Taken, Trigger};
use crate::config::check::check;
use crate::config::compile::{Compiled, Inputs};
use crate::config::diagnostic::{Place, Problem, Report, Severity};
use crate::config::parse::Document;
use crate::config::source::{Ahead, Loader, Overlay, SourceSet, Watched};
use crate::config::{git, model};
use crate::keys::seal::MasterRing;
use crate::sabotage::{self, Point};

/// How long files that are being changed are waited for. A person who saves a file takes milliseconds, and a checkout
/// of a config seldom a second; meanwhile whoever asked for the load waits.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(3);

/// Files that nobody changed for this long are as they are meant to be: editors that replace a file have it missing
/// for some milliseconds.
const QUIET_FOR: Duration = Duration::from_millis(100);

/// How often it is looked whether the files are quiet.
const QUIET_LOOK: Duration = Duration::from_millis(20);

/// What files that are being changed mean to a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Patience {
    /// They are loaded as they are.
    None,
    /// They are not loaded while git is at work.
    Whole,
    /// Nor if one that cannot be parsed is so young that it may be half written.
    Young,
    /// News are loaded only once nobody is changing anything. That is waited for, and then they are not loaded.
    Quiet,
}

/// A config that was checked and compiled but not installed.
pub struct Prepared {
    pub(super) compiled: Compiled,
    pub(super) report: Report,
    /// What the next one can be built on.
    pub(super) base: Option<Base>,
    /// The files that it has and the disk has not, yet.
    pub(super) ahead: Option<Ahead>,
}

impl Prepared {
    pub(super) fn into_report(self) -> Report {
        self.report
    }
}

/// The right to change the config: loads wait while it is held.
pub struct Writer<'a> {
    live: &'a Live,
    state: MutexGuard<'a, State>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(live: &'a Live, state: MutexGuard<'a, State>) -> Self {
        Self { live, state }
    }

    /// Loads the files if they changed, as they are.
    pub fn reload(&mut self, trigger: Trigger) -> ReloadOutcome {
        match self.attempt(trigger, Patience::None) {
            Some(outcome) => outcome,
            None => ReloadOutcome::Unchanged,
        }
    }

    /// Loads the files if they changed, once nobody is changing them. `None`: somebody still is.
    pub fn reload_quiet(&mut self, trigger: Trigger) -> Option<ReloadOutcome> {
        self.attempt(trigger, Patience::Quiet)
    }

    /// Checks and compiles what the files, as the last load saw them, would be with `overlays`. Refuses what would
    /// not be applied, and any problem in the overlaid files themselves.
    pub fn prepare(&mut self, overlays: &[Overlay<'_>]) -> Result<Prepared, Report> {
        let now = (self.live.now)();
        let (set, ahead) = self.state.loader.with(overlays, now);
        let mut prepared = self.build(&set)?;
        prepared.ahead = Some(ahead);
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
            base,
            ahead,
        } = prepared;
        self.live.keep_started(&mut snapshot);
        let generation = self.live.next_generation();
        snapshot.generation = generation;
        for (limiter, rules) in rules {
            limiter.set_rules(rules);
        }
        self.live.masters.store(masters);
        let state = &mut *self.state;
        let before = self.live.snapshot.swap(Arc::new(snapshot));
        free((
            state.retired.replace(before),
            std::mem::replace(&mut state.memory, memory),
            std::mem::replace(&mut state.base, base),
        ));
        self.live.report.store(Arc::new(report));
        self.state.refused = None;
        if let Some(ahead) = ahead {
            self.state.loader.adopt(ahead);
        }
        // A revocation since the compilation saw the old snapshot only.
        self.live.drop_revoked();
        generation
    }

    /// The master keys, for sealing what is about to be written.
    pub fn masters(&self) -> Arc<MasterRing> {
        self.live.masters()
    }

    /// A key as it is written in the files that were loaded last, whether or not it is served.
    pub fn written_key(&self, id: Uuid) -> Option<(Arc<Document>, Arc<model::Key>)> {
        self.state.loader.documents().find_map(|document| {
            let keys = &document.file.key;
            let key = keys.iter().find(|key| *key.id.get_ref() == id)?;
            Some((Arc::clone(document), Arc::clone(key)))
        })
    }

    pub(super) fn watched(&self) -> Watched {
        self.state.loader.watched()
    }

    /// A copy that cannot be written stops nothing: it is for the next start.
    pub(super) fn keep_copy(&mut self, set: &SourceSet) {
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
        build(set, self.state.base.as_ref(), inputs)
    }

    pub(super) fn attempt(
        &mut self,
        trigger: Trigger,
        patience: Patience,
    ) -> Option<ReloadOutcome> {
        let now = (self.live.now)();
        let started = Instant::now();
        let looked = catch_unwind(AssertUnwindSafe(|| {
            self.look(trigger, patience, started + QUIET_WAIT_MAX)
        }));
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
        deadline: Instant,
    ) -> Option<ReloadOutcome> {
        self.live.refresh_revoked();
        sabotage::pass(Point::Reload, || format!("{trigger:?}"));
        let set = self.read(patience, deadline)?;
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

    /// Reads the files, or not, if somebody is changing them.
    fn read(&mut self, patience: Patience, deadline: Instant) -> Option<SourceSet> {
        let roots = self.state.loader.roots();
        loop {
            let now = (self.live.now)();
            let before = git::moment(&roots);
            let set = self.state.loader.read(now);
            let is_torn = || before.is_none() || before != git::moment(&roots);
            let is_busy = match patience {
                Patience::None => false,
                Patience::Whole => is_torn(),
                Patience::Young => is_torn() || is_half_written(&set, now),
                Patience::Quiet => {
                    let is_news = *set.hash != *self.live.snapshot.load().hash;
                    is_news && (is_torn() || is_young(&self.state.loader, now))
                }
            };
            if !is_busy {
                return Some(set);
            }
            if patience != Patience::Quiet || Instant::now() >= deadline {
                return None;
            }
            thread::sleep(QUIET_LOOK);
        }
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

/// Takes apart what no load needs any more. Of 100,000 keys that takes 50 ms, for which nobody has to wait.
fn free(what: impl Send + 'static) {
    let thread = thread::Builder::new().name("config-free".into());
    // Where there is no thread to be had, it is done here: what is not run is dropped.
    drop(thread.spawn(move || drop(what)));
}

pub(super) fn check_report(set: &SourceSet) -> Report {
    let (_, problems) = check(set);
    Report::new([set.problems.clone(), problems].concat())
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

/// Whether a file or a directory that people change was changed just now.
fn is_young(loader: &Loader, now: Timestamp) -> bool {
    let age = loader
        .newest()
        .and_then(|newest| Duration::try_from(now.duration_since(newest)).ok());
    // What was changed in the future says nothing of now.
    age.is_some_and(|age| age < QUIET_FOR)
}
