//! What an answer costs: its tokens and times, for the metrics and the log.

use std::time::{Duration, Instant};

use crate::ai::usage::{Ending, Notes, Source, Usage};
use crate::error::Error;
use crate::proxy::ai::deliver::Served;
use crate::proxy::record::Record;
use crate::telemetry::labels::{AbortSide, TokenSource, TokenType};

/// When output of a stream was seen.
pub(super) struct Timing {
    asked: Instant,
    is_stream: bool,
    first: Option<Instant>,
    last: Option<Instant>,
    outputs: u32,
}

impl Timing {
    pub(super) fn new(record: &Record, is_stream: bool) -> Self {
        Self {
            asked: record.started(),
            is_stream,
            first: None,
            last: None,
            outputs: 0,
        }
    }

    pub(super) fn output(&mut self) {
        if !self.is_stream {
            return;
        }
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.outputs += 1;
    }

    fn first_chunk(&self) -> Option<Duration> {
        self.first.map(|first| first - self.asked)
    }

    /// Mean time between outputs after the first.
    fn per_chunk(&self) -> Option<Duration> {
        let span = self.last? - self.first?;
        let between = self.outputs.checked_sub(1).filter(|between| *between > 0)?;
        Some(span / between)
    }
}

/// Counts the tokens and times of an answer.
pub(super) fn account(
    record: &mut Record,
    served: &Served<'_>,
    notes: &Notes,
    timing: &Timing,
    ending: Ending,
) {
    let usage = notes.usage(served.request_bytes, ending);
    let upstream_name = served.candidate.rename.clone();
    if let Some(ai) = &mut record.ai {
        ai.model_used = upstream_name.unwrap_or_else(|| ai.model_requested.clone());
        ai.tokens_in = Some(usage.input);
        ai.tokens_out = Some(usage.output);
        ai.first_chunk = timing.first_chunk();
        ai.per_chunk = timing.per_chunk();
    }
    let Some(repository) = &record.repository else {
        return;
    };
    let meters = repository
        .meters
        .model(&served.candidate.resource.meters, served.model);
    for (kind, count) in by_type(usage) {
        meters.tokens(kind, source(usage.source), count);
    }
    if let Some(first) = timing.first_chunk() {
        meters.first_chunk(record.op, first);
    }
    if let Some(mean) = timing.per_chunk() {
        meters.per_chunk(record.op, mean);
    }
    meters.finished(record.op, timing.asked.elapsed());
}

pub(super) fn ending(cut: Option<&Error>) -> Ending {
    if cut.is_some() {
        Ending::Cut
    } else {
        Ending::Complete
    }
}

fn by_type(usage: Usage) -> [(TokenType, u64); 5] {
    [
        (TokenType::Input, usage.input),
        (TokenType::Output, usage.output),
        (TokenType::Cached, usage.cached),
        (TokenType::CacheWrite, usage.cache_write),
        (TokenType::Reasoning, usage.reasoning),
    ]
}

fn source(source: Source) -> TokenSource {
    match source {
        Source::Reported => TokenSource::Reported,
        Source::Estimated => TokenSource::Estimated,
        Source::Partial => TokenSource::Partial,
    }
}

pub(super) fn count_abort(record: &Record, served: &Served<'_>, side: AbortSide) {
    if let Some(repository) = &record.repository {
        repository
            .meters
            .model(&served.candidate.resource.meters, served.model)
            .aborted(side);
    }
}
