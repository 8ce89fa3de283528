//! The handles of one repository, of one resource, and of one model: resolved once, then no label is
//! hashed, nothing is allocated and nothing is locked for a request.
//!
//! A handle is found by position: `[operation][status]`, both closed enums. Tables fill as they are used,
//! so a repository that sees three operations has the series of three operations.

mod ai;
mod gen_ai;
mod resource;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry};

pub use ai::AiMeters;
pub use gen_ai::{GenAiMeters, GenAiSample};
pub use resource::{ResourceMeters, UpstreamSample};

use super::labels::{AuthFailure, Class, Code, KeyFamily, KeyState, LimitScope, Op, Proto, Status};
use super::metrics::buckets;
use super::registry::{Group, Handle, Table, forget};

/// Models with series of their own in one repository: stops a config with open resources and very many
/// aliases from filling the scrape. Those beyond it are counted as `other`.
const MODELS_MAX: usize = 1000;

/// The `model` of what config does not name.
pub const OTHER_MODEL: &str = "other";

/// One request that ended, as its client saw it.
#[derive(Clone, Copy, Debug)]
pub struct RequestSample {
    pub proto: Proto,
    pub op: Op,
    /// What the client was sent; 499 if it left before that.
    pub status: u16,
    /// From the head's last byte to the answer's last.
    pub duration: Duration,
    /// To the answer's first byte, if there was one.
    pub ttfb: Option<Duration>,
    /// Time spent here and not waiting for an upstream or for the client.
    pub overhead: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct RepositoryMeters {
    group: Group,
    vecs: RepositoryVecs,
    fronts: [FrontMeters; Proto::COUNT],
    limits: [Handle<IntCounter>; LimitScope::COUNT],
    models: Table<(u32, Box<str>), AiMeters>,
}

#[derive(Debug)]
struct RepositoryVecs {
    requests: IntCounterVec,
    duration: HistogramVec,
    ttfb: HistogramVec,
    overhead: HistogramVec,
    bytes_in: IntCounterVec,
    bytes_out: IntCounterVec,
    auth_failures: IntCounterVec,
    limited: IntCounterVec,
    keys: IntGaugeVec,
    tokens: IntCounterVec,
    aborted: IntCounterVec,
    fallbacks: IntCounterVec,
}

/// What a repository counts for one protocol.
#[derive(Debug)]
struct FrontMeters {
    requests: Box<[OpMeters]>,
    classes: [ClassMeters; Class::COUNT],
    auth_failures: [Handle<IntCounter>; AuthFailure::COUNT],
    bytes: Table<u32, BodyMeters>,
}

/// One operation's requests by status; allocated when the operation is first seen.
#[derive(Debug, Default)]
struct OpMeters(OnceLock<Box<[Handle<IntCounter>]>>);

#[derive(Debug, Default)]
struct ClassMeters {
    duration: [Handle<Histogram>; Status::COUNT],
    ttfb: Handle<Histogram>,
    overhead: Handle<Histogram>,
}

#[derive(Debug)]
struct BodyMeters {
    bytes_in: IntCounter,
    bytes_out: IntCounter,
}

impl RepositoryMeters {
    pub(super) fn new(registry: &Registry, name: &str, overhead: HistogramVec) -> Self {
        let mut group = Group::new(registry, Some(("repo", name)));
        Self {
            vecs: RepositoryVecs::new(&mut group, overhead),
            group,
            fronts: std::array::from_fn(|_| FrontMeters::new()),
            limits: Default::default(),
            models: Table::default(),
        }
    }

    /// Counts a request that ended. `resource` is the one that answered it, if any.
    pub fn request(&self, sample: &RequestSample, resource: Option<&ResourceMeters>) {
        let proto = sample.proto.label();
        let front = &self.fronts[sample.proto.index()];
        let class = sample.op.class();
        let meters = &front.classes[class.index()];
        front.requests[sample.op.index()]
            .code(&self.vecs.requests, proto, sample.op, sample.status)
            .inc();
        let status = Status::of(sample.status);
        meters.duration[status.index()]
            .of(&self.vecs.duration, &[proto, class.label(), status.label()])
            .observe(sample.duration.as_secs_f64());
        if let Some(ttfb) = sample.ttfb {
            meters
                .ttfb
                .of(&self.vecs.ttfb, &[proto, class.label()])
                .observe(ttfb.as_secs_f64());
        }
        meters
            .overhead
            .of(&self.vecs.overhead, &[proto, class.label()])
            .observe(sample.overhead.as_secs_f64());
        self.body_bytes(sample, resource);
    }

    /// Counts a caller that was not let in.
    pub fn auth_failure(&self, proto: Proto, reason: AuthFailure) {
        self.fronts[proto.index()].auth_failures[reason.index()]
            .of(&self.vecs.auth_failures, &[proto.label(), reason.label()])
            .inc();
    }

    /// Counts a request that a limit refused.
    pub fn limited(&self, scope: LimitScope) {
        self.limits[scope.index()]
            .of(&self.vecs.limited, &[scope.label()])
            .inc();
    }

    /// Sets how many keys there are; called when a snapshot is made and by the expiry timer.
    pub fn set_keys(&self, family: KeyFamily, state: KeyState, count: usize) {
        self.vecs
            .keys
            .with_label_values(&[family.label(), state.label()])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The handles for one model at one resource. `model` must be a configured name or [`OTHER_MODEL`].
    /// Looked up by comparing, once for an AI request.
    pub fn model(&self, resource: &ResourceMeters, model: &str) -> Arc<AiMeters> {
        let full = self.models.len() >= MODELS_MAX && !self.has_model(resource, model);
        let name = if full { OTHER_MODEL } else { model };
        self.models.with(
            |(id, key)| (*id, &**key).cmp(&(resource.id, name)),
            || {
                let meters = AiMeters::new(&self.vecs, resource, name);
                ((resource.id, name.into()), Arc::new(meters))
            },
            Arc::clone,
        )
    }

    fn has_model(&self, resource: &ResourceMeters, model: &str) -> bool {
        self.models
            .contains(|(id, key)| (*id, &**key).cmp(&(resource.id, model)))
    }

    fn body_bytes(&self, sample: &RequestSample, resource: Option<&ResourceMeters>) {
        if sample.bytes_in == 0 && sample.bytes_out == 0 {
            return;
        }
        let (id, name) = resource.map_or((0, ""), |resource| (resource.id, &*resource.name));
        self.fronts[sample.proto.index()].bytes.with(
            |key| key.cmp(&id),
            || {
                let labels = [sample.proto.label(), name];
                let meters = BodyMeters {
                    bytes_in: self.vecs.bytes_in.with_label_values(&labels),
                    bytes_out: self.vecs.bytes_out.with_label_values(&labels),
                };
                (id, Arc::new(meters))
            },
            |meters| {
                meters.bytes_in.inc_by(sample.bytes_in);
                meters.bytes_out.inc_by(sample.bytes_out);
            },
        );
    }

    pub(super) fn unregister(&self) {
        self.group.unregister();
    }

    /// Takes out the series of resources that config no longer names.
    pub(super) fn forget(&self, gone: &[(u32, Arc<str>)]) {
        let keep = |id: u32| !gone.iter().any(|(known, _)| *known == id);
        for front in &self.fronts {
            front.bytes.retain(|id| keep(*id));
        }
        self.models.retain(|(id, _)| keep(*id));
        for (_, name) in gone {
            forget(&self.vecs.bytes_in, "resource", name);
            forget(&self.vecs.bytes_out, "resource", name);
            forget(&self.vecs.tokens, "resource", name);
            forget(&self.vecs.fallbacks, "from", name);
            forget(&self.vecs.fallbacks, "to", name);
        }
    }
}

/// Handles of no registry: what a test of something else needs.
impl Default for RepositoryMeters {
    fn default() -> Self {
        let registry = Registry::new();
        let overhead = declare_overhead(&mut Group::new(&registry, None));
        Self::new(&registry, "", overhead)
    }
}

impl RepositoryVecs {
    fn new(group: &mut Group, overhead: HistogramVec) -> Self {
        Self {
            requests: group.counter(
                "aqueduct_requests_total",
                "Requests answered, by exact status. 499: the client left first.",
                &["proto", "op", "code"],
            ),
            duration: group.histogram(
                "aqueduct_request_duration_seconds",
                "From the end of a request's head to its answer's last byte.",
                &["proto", "class", "status"],
                buckets::DURATION,
            ),
            ttfb: group.histogram(
                "aqueduct_request_ttfb_seconds",
                "From the end of a request's head to its answer's first byte.",
                &["proto", "class"],
                buckets::DURATION,
            ),
            overhead,
            bytes_in: group.counter(
                "aqueduct_request_body_bytes_total",
                "Bytes of request bodies taken from clients.",
                &["proto", "resource"],
            ),
            bytes_out: group.counter(
                "aqueduct_response_body_bytes_total",
                "Bytes of response bodies given to clients.",
                &["proto", "resource"],
            ),
            auth_failures: declare_auth_failures(group),
            limited: group.counter(
                "aqueduct_ratelimit_rejected_total",
                "Requests refused by a limit.",
                &["scope"],
            ),
            keys: group.gauge(
                "aqueduct_keys",
                "Client keys, by whether they work.",
                &["family", "state"],
            ),
            tokens: group.counter(
                "aqueduct_ai_tokens_total",
                "Tokens used, and where their count comes from.",
                &["resource", "model", "type", "source"],
            ),
            aborted: group.counter(
                "aqueduct_ai_streams_aborted_total",
                "Streams that ended before their end, by who ended them.",
                &["model", "side"],
            ),
            fallbacks: group.counter(
                "aqueduct_ai_fallbacks_total",
                "Requests that another resource answered in place of the first.",
                &["model", "from", "to"],
            ),
        }
    }
}

fn declare_auth_failures(group: &mut Group) -> IntCounterVec {
    group.counter(
        "aqueduct_auth_failures_total",
        "Callers not let in; repo is empty where the key is unknown.",
        &["proto", "reason"],
    )
}

/// Without `repo`: declared once for the process.
pub(super) fn declare_overhead(group: &mut Group) -> HistogramVec {
    group.histogram(
        "aqueduct_overhead_seconds",
        "Time spent in Aqueduct and not waiting for an upstream or for a request's body.",
        &["proto", "class"],
        buckets::OVERHEAD,
    )
}

impl FrontMeters {
    fn new() -> Self {
        Self {
            requests: (0..Op::COUNT).map(|_| OpMeters::default()).collect(),
            classes: Default::default(),
            auth_failures: Default::default(),
            bytes: Table::default(),
        }
    }
}

impl OpMeters {
    fn code(&self, vec: &IntCounterVec, proto: &str, op: Op, status: u16) -> &IntCounter {
        let code = Code::of(status);
        let row = self
            .0
            .get_or_init(|| (0..Code::COUNT).map(|_| Handle::default()).collect());
        row[code.index()].with(|| vec.with_label_values(&[proto, op.label(), &code.label()]))
    }
}
