//! Every metric: those of the process here, those of a repository and of a resource in [`super::meters`].
//!
//! One registry, no globals: the composition root makes one [`Metrics`] and hands it on. Names, units and
//! labels follow one lint, which is a test. Series of repositories and resources that left the config are
//! taken out by [`Metrics::retain`].
//!
//! Why the `prometheus` crate and not counters of our own: its handles cost 5 ns (a counter) and 21 ns (a
//! histogram) once resolved, and its text format is right.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use jiff::Timestamp;
use prometheus::{
    GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use super::labels::{
    AdminRoute, Code, ConnectionRejection, ConnectionState, ObjectKind, Proto, ReloadResult,
    ReloadTrigger, WatchMode,
};
use super::meters::declare_overhead;
pub use super::meters::{
    AiMeters, OTHER_MODEL, RepositoryMeters, RequestSample, ResourceMeters, UpstreamSample,
};
use super::process;
use super::registry::Group;

/// Bounds of histograms, in seconds.
pub(super) mod buckets {
    pub(in crate::telemetry) const DURATION: &[f64] = &[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0,
    ];
    pub(in crate::telemetry) const OVERHEAD: &[f64] = &[
        0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1,
    ];
    pub(in crate::telemetry) const FIRST_CHUNK: &[f64] = &[
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
        30.0, 60.0,
    ];
    pub(in crate::telemetry) const PER_CHUNK: &[f64] = &[
        0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
    ];
    pub(in crate::telemetry) const OPERATION: &[f64] = &[
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    ];
    pub(in crate::telemetry) const RELOAD: &[f64] = &[
        0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
    ];
}

/// The process's metrics and their registry.
pub struct Metrics {
    registry: Registry,
    repositories: DashMap<Box<str>, Arc<RepositoryMeters>>,
    resources: DashMap<Box<str>, Arc<ResourceMeters>>,
    next_resource: AtomicU32,
    /// What happened before a key was known.
    anonymous: Arc<RepositoryMeters>,
    overhead: HistogramVec,
    inflight: [IntGauge; Proto::COUNT],
    connections: IntGaugeVec,
    connections_rejected: IntCounterVec,
    reloads: IntCounterVec,
    reload_duration: HistogramVec,
    reload_successful: IntGaugeVec,
    reload_success_at: GaugeVec,
    generation: IntGaugeVec,
    hash_info: IntGaugeVec,
    restart_required: IntGaugeVec,
    objects: IntGaugeVec,
    watch_mode: IntGaugeVec,
    admin_requests: IntCounterVec,
    admin_writable: IntGaugeVec,
    audit_write_failures: IntCounterVec,
    log_dropped: IntCounterVec,
    panics: IntCounterVec,
    started_at: GaugeVec,
}

/// Who built what, for `aqueduct_build_info`.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    pub version: &'static str,
    pub commit: &'static str,
    pub rustc: &'static str,
}

/// A request in flight: counted until dropped.
#[derive(Debug)]
pub struct Inflight(IntGauge);

impl Drop for Inflight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A client connection: counted under its state until dropped.
#[derive(Debug)]
pub struct Connection {
    active: IntGauge,
    idle: IntGauge,
    state: ConnectionState,
}

impl Connection {
    pub fn set(&mut self, state: ConnectionState) {
        if self.state == state {
            return;
        }
        self.gauge().dec();
        self.state = state;
        self.gauge().inc();
    }

    fn gauge(&self) -> &IntGauge {
        match self.state {
            ConnectionState::Active => &self.active,
            ConnectionState::Idle => &self.idle,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gauge().dec();
    }
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let mut group = Group::new(&registry, None);
        let overhead = declare_overhead(&mut group);
        let inflight = group.gauge(
            "aqueduct_inflight_requests",
            "Requests being served.",
            &["proto"],
        );
        Self {
            anonymous: Arc::new(RepositoryMeters::new(&registry, "", overhead.clone())),
            repositories: DashMap::new(),
            resources: DashMap::new(),
            next_resource: AtomicU32::new(1),
            inflight: std::array::from_fn(|at| {
                inflight.with_label_values(&[Proto::ALL[at].label()])
            }),
            connections: group.gauge(
                "aqueduct_connections",
                "Client connections.",
                &["proto", "state"],
            ),
            connections_rejected: group.counter(
                "aqueduct_connections_rejected_total",
                "Client connections refused or cut before a request.",
                &["proto", "reason"],
            ),
            reloads: group.counter(
                "aqueduct_config_reloads_total",
                "Attempts to load the config.",
                &["trigger", "result"],
            ),
            reload_duration: group.histogram(
                "aqueduct_config_reload_duration_seconds",
                "Time to read, check and compile the config.",
                &[],
                buckets::RELOAD,
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
            admin_requests: group.counter(
                "aqueduct_admin_requests_total",
                "Requests to the admin listener.",
                &["route", "code"],
            ),
            admin_writable: group.gauge(
                "aqueduct_admin_writable",
                "Whether keys can be written.",
                &[],
            ),
            audit_write_failures: group.counter(
                "aqueduct_audit_write_failures_total",
                "Audit lines that could not be written.",
                &[],
            ),
            log_dropped: group.counter(
                "aqueduct_log_dropped_total",
                "Access log lines dropped because the queue was full or the sink failed.",
                &[],
            ),
            panics: group.counter(
                "aqueduct_panics_total",
                "Requests that ended in a panic.",
                &[],
            ),
            started_at: group.float_gauge(
                "process_start_time_seconds",
                "When the process started.",
                &[],
            ),
            overhead,
            registry,
        }
        .with_zeroes()
    }

    /// Shows the counters that alerts watch from the start, at 0.
    fn with_zeroes(self) -> Self {
        for counter in [&self.audit_write_failures, &self.log_dropped, &self.panics] {
            counter.with_label_values::<&str>(&[]);
        }
        self
    }

    /// The handles for a repository's name: the same ones for as long as config names it.
    pub fn repository(&self, name: &str) -> Arc<RepositoryMeters> {
        if let Some(known) = self.repositories.get(name) {
            return Arc::clone(&known);
        }
        let entry = self.repositories.entry(name.into());
        Arc::clone(&entry.or_insert_with(|| {
            Arc::new(RepositoryMeters::new(
                &self.registry,
                name,
                self.overhead.clone(),
            ))
        }))
    }

    /// The handles for a resource's name.
    pub fn resource(&self, name: &str) -> Arc<ResourceMeters> {
        if let Some(known) = self.resources.get(name) {
            return Arc::clone(&known);
        }
        let entry = self.resources.entry(name.into());
        Arc::clone(&entry.or_insert_with(|| {
            let id = self.next_resource.fetch_add(1, Ordering::Relaxed);
            Arc::new(ResourceMeters::new(&self.registry, name, id))
        }))
    }

    /// The handles for requests of nobody in particular: an unknown key, a head that does not parse.
    pub fn anonymous(&self) -> &Arc<RepositoryMeters> {
        &self.anonymous
    }

    /// Takes out the series of every repository and resource not named. Called after a swap; what is
    /// still in flight for them counts unseen.
    pub fn retain(&self, repositories: &[&str], resources: &[&str]) {
        self.repositories.retain(|name, meters| {
            let kept = repositories.contains(&&**name);
            if !kept {
                meters.unregister();
            }
            kept
        });
        let mut gone = Vec::new();
        self.resources.retain(|name, meters| {
            let kept = resources.contains(&&**name);
            if !kept {
                meters.unregister();
                gone.push(meters.identity());
            }
            kept
        });
        if !gone.is_empty() {
            for repository in &self.repositories {
                repository.forget(&gone);
            }
        }
    }

    pub fn inflight(&self, proto: Proto) -> Inflight {
        let gauge = self.inflight[proto.index()].clone();
        gauge.inc();
        Inflight(gauge)
    }

    /// Counts a new client connection as idle.
    pub fn connection(&self, proto: Proto) -> Connection {
        let of = |state: ConnectionState| {
            self.connections
                .with_label_values(&[proto.label(), state.label()])
        };
        let connection = Connection {
            active: of(ConnectionState::Active),
            idle: of(ConnectionState::Idle),
            state: ConnectionState::Idle,
        };
        connection.gauge().inc();
        connection
    }

    pub fn connection_rejected(&self, proto: Proto, reason: ConnectionRejection) {
        self.connections_rejected
            .with_label_values(&[proto.label(), reason.label()])
            .inc();
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
    pub fn config_in_use(&self, generation: u64, hash: &str) {
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

    pub fn admin_request(&self, route: AdminRoute, status: u16) {
        self.admin_requests
            .with_label_values(&[route.label(), &Code::of(status).label()])
            .inc();
    }

    pub fn admin_writable(&self, writable: bool) {
        set(&self.admin_writable, writable);
    }

    pub fn audit_write_failed(&self) {
        self.audit_write_failures
            .with_label_values::<&str>(&[])
            .inc();
    }

    /// The counter that the access log increments itself.
    pub fn log_dropped(&self) -> prometheus::IntCounter {
        self.log_dropped.with_label_values::<&str>(&[])
    }

    pub fn panicked(&self) {
        self.panics.with_label_values::<&str>(&[]).inc();
    }

    /// Says what runs and since when. Called once.
    pub fn started(&self, build: Build, now: Timestamp) {
        let mut group = Group::new(&self.registry, None);
        group
            .gauge(
                "aqueduct_build_info",
                "What was built from what; always 1.",
                &["version", "commit", "rustc"],
            )
            .with_label_values(&[build.version, build.commit, build.rustc])
            .set(1);
        self.started_at
            .with_label_values::<&str>(&[])
            .set(now.as_duration().as_secs_f64());
    }

    /// All of it in the text format 0.0.4 (`text/plain; version=0.0.4`).
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(64 * 1024);
        let families = self.registry.gather();
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            // Families of the crate's own making encode; a broken one is left out, the rest is shown.
            tracing::error!(%error, "a metric could not be encoded");
        }
        process::render(&mut text);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("repositories", &self.repositories.len())
            .field("resources", &self.resources.len())
            .finish_non_exhaustive()
    }
}

fn set(gauge: &IntGaugeVec, on: bool) {
    gauge.with_label_values::<&str>(&[]).set(i64::from(on));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::telemetry::labels::{
        AbortSide, AuthFailure, KeyFamily, KeyState, LimitScope, Op, RetryOutcome, TokenSource,
        TokenType, UpstreamError,
    };

    /// The labels that may exist. A new one is added on purpose, with its bound in mind.
    const VOCABULARY: [&str; 24] = [
        "proto", "op", "class", "repo", "resource", "code", "status", "reason", "state", "scope",
        "model", "type", "source", "side", "from", "to", "trigger", "result", "hash", "kind",
        "mode", "family", "route", "outcome",
    ];

    fn sample(op: Op, status: u16) -> RequestSample {
        RequestSample {
            proto: Proto::S3,
            op,
            status,
            duration: Duration::from_millis(7),
            ttfb: Some(Duration::from_millis(3)),
            overhead: Duration::from_micros(80),
            bytes_in: 10,
            bytes_out: 20,
        }
    }

    fn full() -> Metrics {
        let metrics = Metrics::new();
        let (repository, resource) = (metrics.repository("repo-a"), metrics.resource("res-a"));
        repository.request(&sample(Op::GetObject, 200), Some(&resource));
        repository.request(&sample(Op::GetObject, 200), Some(&resource));
        repository.request(&sample(Op::PutObject, 403), None);
        repository.auth_failure(Proto::S3, AuthFailure::Skew);
        repository.limited(LimitScope::Rps);
        repository.set_keys(KeyFamily::Storage, KeyState::Active, 3);
        metrics
            .anonymous()
            .auth_failure(Proto::Ai, AuthFailure::UnknownKey);
        resource.upstream(&UpstreamSample {
            class: Op::GetObject.class(),
            status: 200,
            duration: Duration::from_millis(5),
            ttfb: Some(Duration::from_millis(2)),
        });
        resource.error(UpstreamError::Connect);
        resource.retry(RetryOutcome::Succeeded);
        let model = repository.model(&resource, "tiny");
        model.tokens(TokenType::Input, TokenSource::Reported, 5);
        model.aborted(AbortSide::Client);
        model.fallback(&metrics.resource("res-b"));
        model.first_chunk(Op::ChatCompletions, Duration::from_millis(40));
        model.per_chunk(Op::ChatCompletions, Duration::from_millis(4));
        model.finished(Op::ChatCompletions, Duration::from_secs(1));
        metrics.connection_rejected(Proto::S3, ConnectionRejection::Total);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        metrics.reload(
            ReloadTrigger::Start,
            ReloadResult::Applied,
            Duration::from_millis(9),
            now,
        );
        metrics.config_in_use(1, "abc");
        metrics.restart_required(false);
        metrics.objects(ObjectKind::Repository, 1);
        metrics.watch_mode(WatchMode::Notify);
        metrics.admin_request(AdminRoute::ApiKey, 201);
        metrics.admin_writable(true);
        metrics.audit_write_failed();
        metrics.panicked();
        let build = Build {
            version: "0.1.0",
            commit: "unknown",
            rustc: "1.95",
        };
        metrics.started(build, now);
        drop(metrics.connection(Proto::S3));
        metrics
    }

    fn value(text: &str, series: &str) -> Option<f64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = full();
        let busy = metrics.inflight(Proto::Ai);
        let text = metrics.render();
        for (series, expected) in [
            (
                r#"aqueduct_requests_total{code="200",op="GetObject",proto="s3",repo="repo-a"}"#,
                2.0,
            ),
            (
                r#"aqueduct_requests_total{code="403",op="PutObject",proto="s3",repo="repo-a"}"#,
                1.0,
            ),
            (
                r#"aqueduct_response_body_bytes_total{proto="s3",repo="repo-a",resource="res-a"}"#,
                40.0,
            ),
            (
                r#"aqueduct_response_body_bytes_total{proto="s3",repo="repo-a",resource=""}"#,
                20.0,
            ),
            (
                r#"aqueduct_auth_failures_total{proto="ai",reason="unknown_key",repo=""}"#,
                1.0,
            ),
            (r#"aqueduct_inflight_requests{proto="ai"}"#, 1.0),
            (
                r#"aqueduct_upstream_requests_total{class="read",code="200",resource="res-a"}"#,
                1.0,
            ),
            (
                r#"aqueduct_ai_tokens_total{model="tiny",repo="repo-a",resource="res-a",source="reported",type="input"}"#,
                5.0,
            ),
            (
                r#"aqueduct_ai_fallbacks_total{from="res-a",model="tiny",repo="repo-a",to="res-b"}"#,
                1.0,
            ),
            (
                r#"aqueduct_request_duration_seconds_bucket{class="read",proto="s3",repo="repo-a",status="2xx",le="0.01"}"#,
                2.0,
            ),
            (
                r#"aqueduct_keys{family="storage",repo="repo-a",state="active"}"#,
                3.0,
            ),
            ("aqueduct_config_last_reload_successful", 1.0),
            ("aqueduct_log_dropped_total", 0.0),
            ("process_start_time_seconds", 1_800_000_000.0),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
        }
        drop(busy);
        assert_eq!(
            value(
                &metrics.render(),
                r#"aqueduct_inflight_requests{proto="ai"}"#
            ),
            Some(0.0)
        );
    }

    #[test]
    fn a_name_has_the_same_handles_until_it_leaves_the_config() {
        let metrics = full();
        let before = metrics.repository("repo-a");
        assert!(Arc::ptr_eq(&before, &metrics.repository("repo-a")));
        metrics.retain(&["repo-a"], &["res-b"]);
        let text = metrics.render();
        assert!(Arc::ptr_eq(&before, &metrics.repository("repo-a")));
        assert!(!text.contains("res-a"), "{text}");
        assert!(text.contains("repo-a"));
        metrics.retain(&[], &[]);
        assert!(!metrics.render().contains("repo-a"));
        // The name returns and starts from nothing; the old handles count unseen and break nothing.
        before.request(&sample(Op::GetObject, 200), None);
        metrics
            .repository("repo-a")
            .request(&sample(Op::GetObject, 200), None);
        let text = metrics.render();
        let series =
            r#"aqueduct_requests_total{code="200",op="GetObject",proto="s3",repo="repo-a"}"#;
        assert_eq!(value(&text, series), Some(1.0));
    }

    #[test]
    fn models_beyond_the_bound_are_counted_together() {
        let metrics = Metrics::new();
        let (repository, resource) = (metrics.repository("r"), metrics.resource("s"));
        for number in 0..1100 {
            let model = repository.model(&resource, &format!("m{number}"));
            model.tokens(TokenType::Output, TokenSource::Reported, 1);
        }
        let text = metrics.render();
        let other = r#"aqueduct_ai_tokens_total{model="other",repo="r",resource="s",source="reported",type="output"}"#;
        assert_eq!(value(&text, other), Some(100.0));
    }

    #[test]
    fn every_metric_follows_the_conventions() {
        let text = full().render();
        let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
        let mut helped = Vec::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(help.len() > 5, "{name} has no help");
                helped.push(name);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(kinds.insert(name, kind).is_none(), "{name} twice");
                lint_name(name, kind);
            } else {
                lint_series(line, &kinds);
            }
        }
        helped.sort_unstable();
        assert!(kinds.keys().eq(&helped), "HELP and TYPE come in pairs");
    }

    fn lint_name(name: &str, kind: &str) {
        assert!(
            name.starts_with("aqueduct_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            kind == "counter",
            "{name} is a {kind}"
        );
        for unit in ["_ms", "_milliseconds", "_kb", "_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(unit), "{name}");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }

    fn lint_series(line: &str, kinds: &BTreeMap<&str, &str>) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|family| kinds.get(family) == Some(&"histogram"))
            .unwrap_or(name);
        assert!(kinds.contains_key(family), "{name} has no TYPE");
        for pair in labels
            .trim_end_matches('}')
            .split("\",")
            .filter(|pair| !pair.is_empty())
        {
            let (label, _) = pair.split_once('=').unwrap();
            let known = VOCABULARY.contains(&label)
                || (label == "le" && name.ends_with("_bucket"))
                || (family == "aqueduct_build_info"
                    && ["version", "commit", "rustc"].contains(&label));
            assert!(known, "{label} of {name} is not in the vocabulary");
        }
    }
}
