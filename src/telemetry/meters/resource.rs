//! The handles of one resource: what its upstream answered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::gen_ai::GenAiVecs;
use crate::telemetry::labels::{BreakerState, Class, Code, RetryOutcome, Status, UpstreamError};
use crate::telemetry::metrics::buckets;
use crate::telemetry::registry::{Group, Handle};

/// One exchange with an upstream that ended.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamSample {
    pub class: Class,
    pub status: u16,
    pub duration: Duration,
    pub ttfb: Option<Duration>,
}

/// See [`super`]'s documentation.
#[derive(Debug)]
pub struct ResourceMeters {
    group: Group,
    /// Its place in the tables of its repositories; 0 is no resource.
    pub(super) id: u32,
    pub(super) name: Arc<str>,
    pub(super) vecs: ResourceVecs,
    classes: [UpstreamClassMeters; Class::COUNT],
    errors: [Handle<IntCounter>; UpstreamError::COUNT],
    retries: [Handle<IntCounter>; RetryOutcome::COUNT],
    breaker_turns: [Handle<IntCounter>; BreakerState::COUNT],
}

#[derive(Debug)]
pub(super) struct ResourceVecs {
    requests: IntCounterVec,
    duration: HistogramVec,
    ttfb: HistogramVec,
    errors: IntCounterVec,
    retries: IntCounterVec,
    breaker: IntGaugeVec,
    breaker_turns: IntCounterVec,
    pub(super) first_chunk: HistogramVec,
    pub(super) per_chunk: HistogramVec,
    pub(super) operation: HistogramVec,
    pub(super) gen_ai: GenAiVecs,
}

#[derive(Debug, Default)]
struct UpstreamClassMeters {
    codes: OnceLock<Box<[Handle<IntCounter>]>>,
    duration: [Handle<Histogram>; Status::COUNT],
    ttfb: Handle<Histogram>,
}

impl ResourceMeters {
    pub(in crate::telemetry) fn new(registry: &Registry, name: &str, id: u32) -> Self {
        let mut group = Group::new(registry, Some(("resource", name)));
        Self {
            vecs: ResourceVecs::new(&mut group),
            group,
            id,
            name: name.into(),
            classes: Default::default(),
            errors: Default::default(),
            retries: Default::default(),
            breaker_turns: Default::default(),
        }
    }

    /// Counts an exchange that got an answer.
    pub fn upstream(&self, sample: &UpstreamSample) {
        let class = sample.class.label();
        let meters = &self.classes[sample.class.index()];
        let code = Code::of(sample.status);
        let codes = meters
            .codes
            .get_or_init(|| (0..Code::COUNT).map(|_| Handle::default()).collect());
        codes[code.index()]
            .with(|| {
                self.vecs
                    .requests
                    .with_label_values(&[class, &code.label()])
            })
            .inc();
        let status = Status::of(sample.status);
        meters.duration[status.index()]
            .of(&self.vecs.duration, &[class, status.label()])
            .observe(sample.duration.as_secs_f64());
        if let Some(ttfb) = sample.ttfb {
            meters
                .ttfb
                .of(&self.vecs.ttfb, &[class])
                .observe(ttfb.as_secs_f64());
        }
    }

    /// Counts an exchange that failed.
    pub fn error(&self, reason: UpstreamError) {
        self.errors[reason.index()]
            .of(&self.vecs.errors, &[reason.label()])
            .inc();
    }

    /// Counts an attempt after the first.
    pub fn retry(&self, outcome: RetryOutcome) {
        self.retries[outcome.index()]
            .of(&self.vecs.retries, &[outcome.label()])
            .inc();
    }

    /// Says what the breaker is: 0 closed, 1 open, 2 half open.
    pub fn breaker(&self, state: BreakerState) {
        let value = match state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        self.vecs.breaker.with_label_values::<&str>(&[]).set(value);
    }

    /// Counts a change of the breaker.
    pub fn breaker_turned(&self, to: BreakerState) {
        self.breaker_turns[to.index()]
            .of(&self.vecs.breaker_turns, &[to.label()])
            .inc();
    }

    pub(in crate::telemetry) fn identity(&self) -> (u32, Arc<str>) {
        (self.id, Arc::clone(&self.name))
    }

    pub(in crate::telemetry) fn unregister(&self) {
        self.group.unregister();
    }
}

/// Handles of no registry: what a test of something else needs.
impl Default for ResourceMeters {
    fn default() -> Self {
        Self::new(&Registry::new(), "", 1)
    }
}

impl ResourceVecs {
    fn new(group: &mut Group) -> Self {
        Self {
            requests: group.counter(
                "aqueduct_upstream_requests_total",
                "Exchanges that an upstream answered, by exact status.",
                &["class", "code"],
            ),
            duration: group.histogram(
                "aqueduct_upstream_duration_seconds",
                "From an upstream request's first byte to its answer's last.",
                &["class", "status"],
                buckets::DURATION,
            ),
            ttfb: group.histogram(
                "aqueduct_upstream_ttfb_seconds",
                "From an upstream request's first byte to its answer's first.",
                &["class"],
                buckets::DURATION,
            ),
            errors: group.counter(
                "aqueduct_upstream_errors_total",
                "Exchanges that failed towards an upstream.",
                &["reason"],
            ),
            retries: group.counter(
                "aqueduct_upstream_retries_total",
                "Attempts after the first.",
                &["outcome"],
            ),
            breaker: group.gauge(
                "aqueduct_breaker_state",
                "Whether the resource is asked: 0 yes, 1 no, 2 by one request to find out.",
                &[],
            ),
            breaker_turns: group.counter(
                "aqueduct_breaker_transitions_total",
                "Changes of the breaker, by what it turned to.",
                &["to"],
            ),
            first_chunk: group.histogram(
                "aqueduct_ai_time_to_first_chunk_seconds",
                "From a request to the first chunk of its stream.",
                &["model", "op"],
                buckets::FIRST_CHUNK,
            ),
            per_chunk: group.histogram(
                "aqueduct_ai_time_per_output_chunk_seconds",
                "Mean time between the chunks of a stream after the first.",
                &["model", "op"],
                buckets::PER_CHUNK,
            ),
            operation: group.histogram(
                "aqueduct_ai_operation_duration_seconds",
                "From a request to the last byte of its answer.",
                &["model", "op"],
                buckets::OPERATION,
            ),
            gen_ai: GenAiVecs::new(group),
        }
    }
}
