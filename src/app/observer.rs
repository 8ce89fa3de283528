//! What happens beside the swap when the config was reloaded: certificates, pools, metrics and the log.

use std::sync::{Arc, Weak};

use crate::config::diagnostic::Report;
use crate::config::live::{ReloadObserver, ReloadOutcome, Taken, Trigger};
use crate::config::snapshot::Snapshot;
use crate::proxy::certs::Certs;
use crate::proxy::engine::Engine;
use crate::telemetry::labels::{ObjectKind, ReloadResult, ReloadTrigger, WatchMode};

/// See the module's documentation.
pub(super) struct Observer {
    /// Weak: the engine holds the config, which holds this.
    engine: Weak<Engine>,
    certs: Arc<Certs>,
}

impl Observer {
    pub(super) fn new(engine: &Arc<Engine>, certs: &Arc<Certs>) -> Self {
        Self {
            engine: Arc::downgrade(engine),
            certs: Arc::clone(certs),
        }
    }

    /// A snapshot is in use.
    pub(super) fn applied(&self, snapshot: &Snapshot) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        if let Err(error) = self.certs.replace(&snapshot.tls) {
            tracing::error!(%error, "the certificates in use stay");
        }
        engine.metrics.certificates(&self.certs.not_after());
        engine.dialer.retain(&snapshot.resources);
        engine.credentials.retain(&snapshot.resources);
        let metrics = &engine.metrics;
        let config = &metrics.config;
        let repositories: Vec<&str> = snapshot.repositories.iter().map(|one| &*one.name).collect();
        let resources: Vec<&str> = snapshot.resources.iter().map(|one| &*one.name).collect();
        metrics.retain(&repositories, &resources);
        config.objects(ObjectKind::Repository, repositories.len());
        config.objects(ObjectKind::Resource, resources.len());
        config.objects(
            ObjectKind::Key,
            snapshot.s3_keys.len() + snapshot.ai_keys.len(),
        );
        config.objects(ObjectKind::Listener, snapshot.listen.len());
        config.in_use(snapshot.generation, &snapshot.hash);
    }
}

impl ReloadObserver for Observer {
    fn reloaded(&self, trigger: Trigger, outcome: &ReloadOutcome, report: &Report, at: Taken) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let result = match outcome {
            ReloadOutcome::Unchanged => ReloadResult::Unchanged,
            ReloadOutcome::Applied { generation } => {
                self.applied(&engine.live.current());
                tracing::info!(generation, ?trigger, "config applied");
                if !report.problems().is_empty() {
                    tracing::warn!("config has warnings\n{report}");
                }
                ReloadResult::Applied
            }
            ReloadOutcome::Failed(report) => {
                tracing::error!(?trigger, "config refused, the running one stays\n{report}");
                ReloadResult::Rejected
            }
        };
        engine
            .metrics
            .config
            .reload(label(trigger), result, at.took, at.began);
    }

    fn restart_required(&self, settings: &[&'static str]) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        engine.metrics.config.restart_required(!settings.is_empty());
        if !settings.is_empty() {
            tracing::warn!(?settings, "these settings take effect after a restart");
        }
    }

    fn watcher_failed(&self, error: &str) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        engine.metrics.config.watch_mode(WatchMode::Poll);
        tracing::warn!(error, "files cannot be watched, looking at them every 30 s");
    }

    fn watcher_recovered(&self) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        engine.metrics.config.watch_mode(WatchMode::Notify);
        tracing::info!("files are watched again");
    }
}

fn label(trigger: Trigger) -> ReloadTrigger {
    match trigger {
        Trigger::Watch => ReloadTrigger::Watch,
        Trigger::Poll => ReloadTrigger::Poll,
        Trigger::Signal => ReloadTrigger::Signal,
        Trigger::Admin | Trigger::Write => ReloadTrigger::Admin,
    }
}
