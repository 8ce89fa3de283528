//! Every metric: those of the process here, those of a repository and of a resource in [`super::meters`].
//!
//! One registry, no globals: the composition root makes one [`Metrics`] and hands it on. Names, units and
//! labels follow one lint, which is a test. Series of repositories and resources that left the config are
//! taken out by [`Metrics::retain`].
//!
//! Why the `prometheus` crate and not counters of our own: its handles cost 5 ns (a counter) and 21 ns (a
//! histogram) once resolved, and its text format is right.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use dashmap::DashMap;
use jiff::Timestamp;
use prometheus::{
    GaugeVec, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use super::config_meters::{ConfigMeters, set};
use super::labels::{AdminRoute, Code, ConnectionRejection, ConnectionState, Proto};
use super::meters::declare_overhead;
pub use super::meters::{
    AiMeters, GenAiSample, OTHER_MODEL, RepositoryMeters, RequestSample, ResourceMeters,
    UpstreamSample,
};
use super::process;
use super::registry::Group;

/// Bounds of histograms, in seconds where nothing else is said.
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
    /// Powers of 4, in tokens.
    pub(in crate::telemetry) const GEN_AI_TOKENS: &[f64] = &[
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1_024.0,
        4_096.0,
        16_384.0,
        65_536.0,
        262_144.0,
        1_048_576.0,
        4_194_304.0,
        16_777_216.0,
        67_108_864.0,
    ];
    pub(in crate::telemetry) const GEN_AI_FIRST_TOKEN: &[f64] = &[
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    pub(in crate::telemetry) const GEN_AI_PER_TOKEN: &[f64] = &[
        0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
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
    /// How the config is doing.
    pub config: ConfigMeters,
    inflight: [IntGauge; Proto::COUNT],
    connections: [ConnectionGauges; Proto::COUNT],
    connections_rejected: IntCounterVec,
    admin_requests: IntCounterVec,
    admin_writable: IntGaugeVec,
    audit_write_failures: IntCounterVec,
    log_dropped: IntCounterVec,
    panics: IntCounterVec,
    tls_not_after: IntGaugeVec,
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

/// The client connections of one protocol. Idle are those that are open and not active: worked out when
/// asked, so that a request writes one gauge and not two.
#[derive(Debug)]
struct ConnectionGauges {
    open: IntGauge,
    active: IntGauge,
    idle: IntGauge,
}

/// A client connection: counted until dropped.
#[derive(Debug)]
pub struct Connection {
    open: IntGauge,
    active: IntGauge,
    requests: AtomicUsize,
}

/// A connection's request: while there is one, the connection is active.
#[derive(Debug)]
pub struct Busy<'a>(&'a Connection);

impl Connection {
    pub fn busy(&self) -> Busy<'_> {
        if self.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            self.active.inc();
        }
        Busy(self)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.active.dec();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
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
        let connections = group.gauge(
            "aqueduct_connections",
            "Client connections.",
            &["proto", "state"],
        );
        Self {
            anonymous: Arc::new(RepositoryMeters::new(&registry, "", overhead.clone())),
            repositories: DashMap::new(),
            resources: DashMap::new(),
            next_resource: AtomicU32::new(1),
            inflight: std::array::from_fn(|at| {
                inflight.with_label_values(&[Proto::ALL[at].label()])
            }),
            config: ConfigMeters::new(&mut group),
            connections: std::array::from_fn(|at| {
                ConnectionGauges::new(&connections, Proto::ALL[at])
            }),
            connections_rejected: group.counter(
                "aqueduct_connections_rejected_total",
                "Client connections refused or cut before a request.",
                &["proto", "reason"],
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
                "Panics; each ended what it happened in and nothing else.",
                &[],
            ),
            tls_not_after: group.gauge(
                "aqueduct_tls_cert_not_after_timestamp_seconds",
                "When a certificate that we serve with expires, by its common name.",
                &["cn"],
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
        let repositories: HashSet<&str> = repositories.iter().copied().collect();
        let resources: HashSet<&str> = resources.iter().copied().collect();
        self.repositories.retain(|name, meters| {
            let kept = repositories.contains(&**name);
            if !kept {
                meters.unregister();
            }
            kept
        });
        let mut gone = Vec::new();
        self.resources.retain(|name, meters| {
            let kept = resources.contains(&**name);
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

    /// Counts a new client connection.
    pub fn connection(&self, proto: Proto) -> Connection {
        let gauges = &self.connections[proto.index()];
        gauges.open.inc();
        Connection {
            open: gauges.open.clone(),
            active: gauges.active.clone(),
            requests: AtomicUsize::new(0),
        }
    }

    pub fn connection_rejected(&self, proto: Proto, reason: ConnectionRejection) {
        self.connections_rejected
            .with_label_values(&[proto.label(), reason.label()])
            .inc();
    }

    pub fn admin_request(&self, route: AdminRoute, status: u16) {
        self.admin_requests
            .with_label_values(&[route.label(), &Code::of(status).label()])
            .inc();
    }

    pub fn admin_writable(&self, writable: bool) {
        set(&self.admin_writable, writable);
    }

    /// The counter that the audit log increments itself.
    pub fn audit_write_failures(&self) -> prometheus::IntCounter {
        self.audit_write_failures.with_label_values::<&str>(&[])
    }

    /// The counter that the access log increments itself.
    pub fn log_dropped(&self) -> prometheus::IntCounter {
        self.log_dropped.with_label_values::<&str>(&[])
    }

    pub fn panicked(&self) {
        self.panics.with_label_values::<&str>(&[]).inc();
    }

    /// Says until when the certificates in use are good: common name and seconds since 1970 of each.
    pub fn certificates(&self, not_after: &[(String, i64)]) {
        self.tls_not_after.reset();
        for (name, at) in not_after {
            self.tls_not_after
                .with_label_values(&[name.as_str()])
                .set(*at);
        }
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
        for gauges in &self.connections {
            gauges.work_out_idle();
        }
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

impl ConnectionGauges {
    fn new(shown: &IntGaugeVec, proto: Proto) -> Self {
        let of = |state: ConnectionState| shown.with_label_values(&[proto.label(), state.label()]);
        Self {
            open: IntGauge::new("open", "Not shown.")
                .expect("names of metrics are constants, checked by a test"),
            active: of(ConnectionState::Active),
            idle: of(ConnectionState::Idle),
        }
    }

    fn work_out_idle(&self) {
        self.idle.set((self.open.get() - self.active.get()).max(0));
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

#[cfg(test)]
mod tests;
