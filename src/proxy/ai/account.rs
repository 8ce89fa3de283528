//! What an answer costs: its tokens and times, for the metrics, the ledger and the log.

use std::time::{Duration, Instant};

use crate::ai::usage::{Ending, Notes};
use crate::error::{Error, Kind};
use crate::proxy::ai::deliver::Served;
use crate::proxy::record::{Counted, Record};
use crate::telemetry::labels::AbortSide;

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

/// Counts the times of an answer, and notes its tokens for the request's end. `cut`: what broke it off.
pub(super) fn account(
    record: &mut Record,
    served: &Served<'_>,
    notes: &Notes,
    timing: &Timing,
    cut: Option<&Error>,
) {
    let ending = if cut.is_some() {
        Ending::Cut
    } else {
        Ending::Complete
    };
    let usage = notes.usage(served.request_bytes, ending);
    let Some(repository) = &record.repository else {
        return;
    };
    let meters = repository
        .meters
        .model(&served.candidate.resource.meters, served.model);
    if let Some(first) = timing.first_chunk() {
        meters.first_chunk(record.op, first);
    }
    if let Some(mean) = timing.per_chunk() {
        meters.per_chunk(record.op, mean);
    }
    meters.finished(record.op, timing.asked.elapsed());
    let upstream_name = served.candidate.rename.clone();
    let Some(ai) = &mut record.ai else {
        return;
    };
    ai.model_used = upstream_name.unwrap_or_else(|| ai.model_requested.clone());
    ai.tokens_in = Some(usage.input);
    ai.tokens_out = Some(usage.output);
    ai.first_chunk = timing.first_chunk();
    ai.per_chunk = timing.per_chunk();
    ai.calls.counts(Counted {
        usage,
        broke: notes.failed || cut.is_some_and(|error| error.kind() != Kind::ClientGone),
        first: timing.first,
        per_chunk: timing.per_chunk(),
        meters,
    });
}

pub(super) fn count_abort(record: &Record, served: &Served<'_>, side: AbortSide) {
    if let Some(repository) = &record.repository {
        repository
            .meters
            .model(&served.candidate.resource.meters, served.model)
            .aborted(side);
    }
}
