//! The handles of one model: in our names, and beside them in those of OpenTelemetry.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec};

use super::gen_ai::{GenAiMeters, GenAiVecs};
use super::{RepositoryVecs, ResourceMeters};
use crate::telemetry::labels::{AbortSide, Op, Provider, TokenSource, TokenType};
use crate::telemetry::ledger::Tokens;
use crate::telemetry::registry::Handle;

/// The handles of one model at one resource, for one repository.
#[derive(Debug)]
pub struct AiMeters {
    resource: Arc<str>,
    model: Arc<str>,
    tokens: IntCounterVec,
    aborted: IntCounterVec,
    fallbacks: IntCounterVec,
    first_chunk: HistogramVec,
    per_chunk: HistogramVec,
    operation: HistogramVec,
    token_handles: [[Handle<IntCounter>; TokenSource::COUNT]; TokenType::COUNT],
    gen_ai: GenAiVecs,
    gen_ai_handles: [OnceLock<Box<GenAiMeters>>; Provider::COUNT],
}

impl AiMeters {
    pub(super) fn new(repository: &RepositoryVecs, resource: &ResourceMeters, model: &str) -> Self {
        Self {
            resource: Arc::clone(&resource.name),
            model: model.into(),
            tokens: repository.tokens.clone(),
            aborted: repository.aborted.clone(),
            fallbacks: repository.fallbacks.clone(),
            first_chunk: resource.vecs.first_chunk.clone(),
            per_chunk: resource.vecs.per_chunk.clone(),
            operation: resource.vecs.operation.clone(),
            token_handles: Default::default(),
            gen_ai: resource.vecs.gen_ai.clone(),
            gen_ai_handles: Default::default(),
        }
    }

    /// The value of the `model` label.
    pub fn model(&self) -> &Arc<str> {
        &self.model
    }

    /// The same in OpenTelemetry's names.
    pub fn gen_ai(&self, provider: Provider) -> &GenAiMeters {
        self.gen_ai_handles[provider.index()]
            .get_or_init(|| Box::new(GenAiMeters::new(&self.gen_ai, provider, &self.model)))
    }

    /// Counts the tokens of one call.
    pub fn spent(&self, tokens: Tokens, source: TokenSource) {
        for (kind, count) in [
            (TokenType::Input, tokens.input),
            (TokenType::Output, tokens.output),
            (TokenType::Cached, tokens.cached),
            (TokenType::CacheWrite, tokens.cache_write),
            (TokenType::Reasoning, tokens.reasoning),
        ] {
            self.tokens(kind, source, count);
        }
    }

    fn tokens(&self, kind: TokenType, source: TokenSource, count: u64) {
        if count == 0 {
            return;
        }
        let labels = [&*self.resource, &*self.model, kind.label(), source.label()];
        self.token_handles[kind.index()][source.index()]
            .of(&self.tokens, &labels)
            .inc_by(count);
    }

    /// Counts a stream that ended before its end.
    pub fn aborted(&self, side: AbortSide) {
        self.aborted
            .with_label_values(&[&*self.model, side.label()])
            .inc();
    }

    /// Counts a request that `to` answered in place of this one's resource.
    pub fn fallback(&self, to: &ResourceMeters) {
        self.fallbacks
            .with_label_values(&[&*self.model, &*self.resource, &*to.name])
            .inc();
    }

    /// From the request to the first chunk of its stream.
    pub fn first_chunk(&self, op: Op, took: Duration) {
        self.first_chunk
            .with_label_values(&[&*self.model, op.label()])
            .observe(took.as_secs_f64());
    }

    /// Mean time between chunks after the first.
    pub fn per_chunk(&self, op: Op, mean: Duration) {
        self.per_chunk
            .with_label_values(&[&*self.model, op.label()])
            .observe(mean.as_secs_f64());
    }

    /// From the request to the last byte of its answer.
    pub fn finished(&self, op: Op, took: Duration) {
        self.operation
            .with_label_values(&[&*self.model, op.label()])
            .observe(took.as_secs_f64());
    }
}
