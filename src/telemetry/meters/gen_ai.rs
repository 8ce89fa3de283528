//! Calls of models in the names of OpenTelemetry's conventions for generative AI, for dashboards that know those.
//!
//! Two sides are told: `gen_ai_client_*`, we as the client of a provider, and `gen_ai_server_*`, we as the server of
//! our clients. Only what a provider told is told here: estimates are in `aqueduct_ai_tokens_total` alone, and an
//! answer that is no stream has no chunks. Names and buckets are the conventions', with units as Prometheus has them;
//! `resource` is ours, and lets the series go when their resource does. A call costs 0.3 µs here.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec};

use crate::telemetry::labels::{GenAiOp, Provider, TokenType};
use crate::telemetry::ledger::Tokens;
use crate::telemetry::metrics::buckets;
use crate::telemetry::registry::{Group, Handle};

/// One call of a model that ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct GenAiSample<'a> {
    /// As the provider reported them.
    pub tokens: Option<Tokens>,
    /// What went wrong; of few values.
    pub error: Option<&'a str>,
    /// From the request to the provider to its answer's last byte.
    pub client: Duration,
    /// From the client's request to the last byte of ours; `None` where another call answered it.
    pub server: Option<Duration>,
    /// From the request to the provider to the first chunk of its stream.
    pub first_chunk: Option<Duration>,
    pub per_chunk: Option<Duration>,
    /// From the client's request to the first of the stream that it got.
    pub first_token: Option<Duration>,
    pub per_token: Option<Duration>,
}

/// The histograms of one resource.
#[derive(Clone, Debug)]
pub(super) struct GenAiVecs {
    tokens: HistogramVec,
    client: HistogramVec,
    first_chunk: HistogramVec,
    per_chunk: HistogramVec,
    server: HistogramVec,
    first_token: HistogramVec,
    per_token: HistogramVec,
}

/// The handles of one model of one provider.
#[derive(Debug)]
pub struct GenAiMeters {
    vecs: GenAiVecs,
    provider: Provider,
    model: Box<str>,
    ops: [OpHandles; GenAiOp::COUNT],
}

#[derive(Debug, Default)]
struct OpHandles {
    input: Handle<Histogram>,
    output: Handle<Histogram>,
    client: Handle<Histogram>,
    first_chunk: Handle<Histogram>,
    per_chunk: Handle<Histogram>,
    server: Handle<Histogram>,
    first_token: Handle<Histogram>,
    per_token: Handle<Histogram>,
}

const OPERATION: &str = "gen_ai_operation_name";
const PROVIDER: &str = "gen_ai_provider_name";
const MODEL: &str = "gen_ai_request_model";
const TOKEN: &str = "gen_ai_token_type";
const ERROR: &str = "error_type";

impl GenAiVecs {
    pub(super) fn new(group: &mut Group) -> Self {
        let plain = [OPERATION, PROVIDER, MODEL];
        let failing = [OPERATION, PROVIDER, MODEL, ERROR];
        Self {
            tokens: group.histogram(
                "gen_ai_client_token_usage",
                "Tokens of one call, as its provider reported them.",
                &[OPERATION, PROVIDER, MODEL, TOKEN],
                buckets::GEN_AI_TOKENS,
            ),
            client: group.histogram(
                "gen_ai_client_operation_duration_seconds",
                "From a request to a provider to its answer's last byte.",
                &failing,
                buckets::OPERATION,
            ),
            first_chunk: group.histogram(
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "From a request to a provider to the first chunk of its stream.",
                &plain,
                buckets::OPERATION,
            ),
            per_chunk: group.histogram(
                "gen_ai_client_operation_time_per_output_chunk_seconds",
                "Mean time between the chunks of a provider's stream after the first.",
                &plain,
                buckets::OPERATION,
            ),
            server: group.histogram(
                "gen_ai_server_request_duration_seconds",
                "From a client's request to the last byte of its answer.",
                &failing,
                buckets::OPERATION,
            ),
            first_token: group.histogram(
                "gen_ai_server_time_to_first_token_seconds",
                "From a client's request to the first chunk of the stream that it got.",
                &plain,
                buckets::GEN_AI_FIRST_TOKEN,
            ),
            per_token: group.histogram(
                "gen_ai_server_time_per_output_token_seconds",
                "Mean time of a token after the first, of streams whose tokens were reported.",
                &plain,
                buckets::GEN_AI_PER_TOKEN,
            ),
        }
    }
}

impl GenAiMeters {
    pub(super) fn new(vecs: &GenAiVecs, provider: Provider, model: &str) -> Self {
        Self {
            vecs: vecs.clone(),
            provider,
            model: model.into(),
            ops: Default::default(),
        }
    }

    /// Counts a call.
    pub fn call(&self, op: GenAiOp, sample: &GenAiSample<'_>) {
        let vecs = &self.vecs;
        let handles = &self.ops[op.index()];
        if let Some(tokens) = sample.tokens {
            self.tokens(op, TokenType::Input, &handles.input, tokens.input);
            self.tokens(op, TokenType::Output, &handles.output, tokens.output);
        }
        self.took(op, (&vecs.client, &handles.client), sample, sample.client);
        if let Some(server) = sample.server {
            self.took(op, (&vecs.server, &handles.server), sample, server);
        }
        for (vec, handle, time) in [
            (&vecs.first_chunk, &handles.first_chunk, sample.first_chunk),
            (&vecs.per_chunk, &handles.per_chunk, sample.per_chunk),
            (&vecs.first_token, &handles.first_token, sample.first_token),
            (&vecs.per_token, &handles.per_token, sample.per_token),
        ] {
            if let Some(time) = time {
                handle.of(vec, &self.labels(op)).observe(time.as_secs_f64());
            }
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "tokens of one call are far below 2^52, and a histogram rounds anyway"
    )]
    fn tokens(&self, op: GenAiOp, kind: TokenType, handle: &Handle<Histogram>, count: u64) {
        let [op, provider, model] = self.labels(op);
        handle
            .of(&self.vecs.tokens, &[op, provider, model, kind.label()])
            .observe(count as f64);
    }

    /// A failure's series is looked up by its labels: there should be few.
    fn took(
        &self,
        op: GenAiOp,
        (vec, handle): (&HistogramVec, &Handle<Histogram>),
        sample: &GenAiSample<'_>,
        took: Duration,
    ) {
        let [op, provider, model] = self.labels(op);
        let labels = [op, provider, model, sample.error.unwrap_or_default()];
        match sample.error {
            None => handle.of(vec, &labels).observe(took.as_secs_f64()),
            Some(_) => vec.with_label_values(&labels).observe(took.as_secs_f64()),
        }
    }

    fn labels(&self, op: GenAiOp) -> [&str; 3] {
        [op.label(), self.provider.label(), &self.model]
    }
}
