//! How the config is doing: `aqueduct_config_*`.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::labels::{ObjectKind, ReloadResult, ReloadTrigger, WatchMode};
use super::registry::Group;

const RELOAD_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// See the module's documentation.
#[derive(Debug)]
pub struct ConfigMeters {
    reloads: IntCounterVec,
    reload_duration: HistogramVec,
    reload_successful: IntGaugeVec,
    reload_success_at: GaugeVec,
    generation: IntGaugeVec,
    hash_info: IntGaugeVec,
    restart_required: IntGaugeVec,
    objects: IntGaugeVec,
    watch_mode: IntGaugeVec,
}

impl ConfigMeters {
    pub(super) fn new(group: &mut Group) -> Self {
        Self {
            reloads: group.counter(
                "aqueduct_config_reloads_total",
                "Attempts to load the config.",
                &["trigger", "result"],
            ),
            reload_duration: group.histogram(
                "aqueduct_config_reload_duration_seconds",
                "Time to read, check and compile the config.",
                &[],
                RELOAD_SECONDS,
            ),
            reload_successful: group.gauge(
                "aqueduct_config_last_reload_successful",
                "Whether the config on disk is the one in use.",
                &[],
            ),
            reload_success_at: group.float_gauge(
                "aqueduct_config_last_reload_success_timestamp_seconds",
                "When a config was last loaded without a problem.",
                &[],
            ),
            generation: group.gauge(
                "aqueduct_config_generation",
                "Counts up with each config put in use.",
                &[],
            ),
            hash_info: group.gauge(
                "aqueduct_config_hash_info",
                "The hash of the config in use; always 1.",
                &["hash"],
            ),
            restart_required: group.gauge(
                "aqueduct_config_restart_required",
                "Whether a changed setting needs a restart.",
                &[],
            ),
            objects: group.gauge(
                "aqueduct_config_objects",
                "Objects in the config in use.",
                &["kind"],
            ),
            watch_mode: group.gauge(
                "aqueduct_config_watch_mode",
                "How changes of config files are noticed; 1 for the mode in use.",
                &["mode"],
            ),
        }
    }

    /// Counts an attempt to load the config.
    pub fn reload(
        &self,
        trigger: ReloadTrigger,
        result: ReloadResult,
        took: Duration,
        now: Timestamp,
    ) {
        self.reloads
            .with_label_values(&[trigger.label(), result.label()])
            .inc();
        self.reload_duration
            .with_label_values::<&str>(&[])
            .observe(took.as_secs_f64());
        let good = match result {
            ReloadResult::Applied | ReloadResult::Unchanged => true,
            ReloadResult::Rejected => false,
        };
        set(&self.reload_successful, good);
        if good {
            self.reload_success_at
                .with_label_values::<&str>(&[])
                .set(now.as_duration().as_secs_f64());
        }
    }

    /// Says which config is in use.
    pub fn in_use(&self, generation: u64, hash: &str) {
        self.generation
            .with_label_values::<&str>(&[])
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.hash_info.reset();
        self.hash_info.with_label_values(&[hash]).set(1);
    }

    pub fn restart_required(&self, required: bool) {
        set(&self.restart_required, required);
    }

    pub fn objects(&self, kind: ObjectKind, count: usize) {
        self.objects
            .with_label_values(&[kind.label()])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub fn watch_mode(&self, mode: WatchMode) {
        for known in WatchMode::ALL {
            self.watch_mode
                .with_label_values(&[known.label()])
                .set(i64::from(*known == mode));
        }
    }
}

pub(super) fn set(gauge: &IntGaugeVec, on: bool) {
    gauge.with_label_values::<&str>(&[]).set(i64::from(on));
}
