//! The resources that an AI request asked, and what each call came to: told to the ledger and to the metrics when the
//! request has ended, from here alone, so that both have the same numbers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{AiRecord, Record};
use crate::ai::usage::{Ending, Notes, Source, Usage};
use crate::error::Kind;
use crate::keys::AiType;
use crate::policy::route::{Repository, Resource};
use crate::proxy::ai;
use crate::proxy::engine::{Arrived, Engine};
use crate::telemetry::labels::{Code, GenAiOp, Op, Provider, TokenSource, UpstreamError};
use crate::telemetry::ledger::{Account, Call, Tokens};
use crate::telemetry::meters::{AiMeters, GenAiSample};

/// In the order in which they were asked; the last one answers.
#[derive(Debug, Default)]
pub struct Calls(SmallVec<[Asked; 1]>);

/// One resource that was asked; once more after a failure is the same call.
#[derive(Debug)]
struct Asked {
    resource: Arc<Resource>,
    sent: Instant,
    /// How often it was about to be asked.
    times: u32,
    /// What parts of the call spent that were answered, where it takes several.
    seen: Option<Usage>,
    counted: Option<Counted>,
    /// When the next one was asked, and why.
    over: Option<(Instant, Cow<'static, str>)>,
}

/// What an answer came to that was read, to its end or as far as it came.
#[derive(Debug)]
pub struct Counted {
    pub usage: Usage,
    /// The resource broke it off, or said in it that it failed.
    pub broke: bool,
    /// When a stream's first output was seen.
    pub first: Option<Instant>,
    pub per_chunk: Option<Duration>,
    pub meters: Arc<AiMeters>,
}

/// How the exchange that ran went, for what fails.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) error: Option<UpstreamError>,
}

impl Outcome {
    /// The value of the `error_type` label.
    fn error(self) -> Cow<'static, str> {
        match self.error {
            // What it said is more than that it failed.
            _ if self.status >= 400 => Code::of(self.status).label().into(),
            Some(error) => error.label().into(),
            None => "other".into(),
        }
    }
}

impl Calls {
    /// A resource is about to be asked. `outcome` is of the one before.
    pub(super) fn asks(&mut self, resource: &Arc<Resource>, now: Instant, outcome: Outcome) {
        if let Some(last) = self.0.last_mut() {
            if last.counted.is_none() && Arc::ptr_eq(&last.resource, resource) {
                last.times += 1;
                return;
            }
            last.over = Some((now, outcome.error()));
        }
        self.0.push(Asked {
            resource: Arc::clone(resource),
            sent: now,
            times: 1,
            seen: None,
            counted: None,
            over: None,
        });
    }

    /// Nothing was sent: the resource is left alone for now.
    pub(super) fn was_not_asked(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.times = last.times.saturating_sub(1);
        }
        self.0.retain(|asked| asked.times > 0);
    }

    /// The answer of a resource that was asked before others is the one that counts after all.
    pub(super) fn resumes(&mut self, resource: &Arc<Resource>, now: Instant, outcome: Outcome) {
        let is_it = |asked: &Asked| Arc::ptr_eq(&asked.resource, resource);
        let Some(at) = self.0.iter().rposition(is_it) else {
            return;
        };
        if let Some(last) = self.0.last_mut()
            && last.over.is_none()
        {
            last.over = Some((now, outcome.error()));
        }
        let asked = self.0.remove(at);
        self.0.push(asked);
    }

    /// Notes what the last call has spent so far, for the case that nothing is made of it.
    pub fn sees(&mut self, usage: Usage) {
        if let Some(last) = self.0.last_mut() {
            last.seen = Some(usage);
        }
    }

    /// Notes what the last call's answer came to.
    pub fn counts(&mut self, counted: Counted) {
        if let Some(last) = self.0.last_mut() {
            last.counted = Some(counted);
        }
    }
}

/// A call as it is told.
struct Told<'a> {
    asked: &'a Asked,
    meters: Arc<AiMeters>,
    tokens: Tokens,
    source: Option<TokenSource>,
    error: Option<Cow<'a, str>>,
    took: Duration,
}

impl Record {
    /// Tells what was spent.
    pub(super) fn tell_calls(&self, engine: &Engine, arrived: &Arrived, end: Instant) {
        let (Some(ai), Some(repository), Some(key)) = (&self.ai, &self.repository, &self.key)
        else {
            return;
        };
        let at = arrived.now.as_second();
        for (number, asked) in ai.calls.0.iter().enumerate() {
            let is_last = number + 1 == ai.calls.0.len();
            let told = self.told(asked, ai, repository, end);
            if let Some(source) = told.source {
                told.meters.spent(told.tokens, source);
            }
            let account = Account {
                repository: repository.id,
                resource: asked.resource.id,
                key: key.id,
                model: Arc::clone(told.meters.model()),
            };
            let call = Call {
                tokens: told.tokens,
                source: told.source,
                failed: told.error.is_some(),
                took: told.took,
                at,
            };
            engine.ledger.add(&account, &call);
            if arrived.snapshot.gen_ai_metrics {
                self.tell_gen_ai(&told, is_last, end);
            }
        }
    }

    fn told<'a>(
        &self,
        asked: &'a Asked,
        ai: &AiRecord,
        repository: &Repository,
        end: Instant,
    ) -> Told<'a> {
        let over = asked.over.as_ref();
        let ended = over.map_or(end, |(at, _)| *at);
        let took = ended.saturating_duration_since(asked.sent);
        let why = || match over {
            Some((_, why)) => Cow::Borrowed(&**why),
            None => self.outcome().error(),
        };
        if let Some(counted) = &asked.counted {
            return Told {
                asked,
                meters: Arc::clone(&counted.meters),
                tokens: tokens(counted.usage),
                source: Some(source(counted.usage.source)),
                error: counted.broke.then(why),
                took,
            };
        }
        // Whoever leaves has sent its prompt, and that is paid for.
        let is_left = over.is_none() && self.kind == Some(Kind::ClientGone);
        let spent = asked
            .seen
            .or_else(|| is_left.then(|| Notes::default().usage(self.bytes_in, Ending::Cut)));
        let model = match &repository.ai {
            Some(endpoint) => ai::label(endpoint, &ai.model_requested),
            None => crate::telemetry::meters::OTHER_MODEL,
        };
        Told {
            asked,
            meters: repository.meters.model(&asked.resource.meters, model),
            tokens: spent.map(tokens).unwrap_or_default(),
            source: spent.map(|_| TokenSource::Partial),
            error: (!is_left).then(why),
            took,
        }
    }

    fn tell_gen_ai(&self, told: &Told<'_>, is_last: bool, end: Instant) {
        let asked = told.asked;
        let counted = asked.counted.as_ref();
        let usage = counted.map(|counted| counted.usage);
        let reported = usage.filter(|usage| usage.source == Source::Reported);
        let first = counted.and_then(|counted| counted.first);
        let shown = first.filter(|_| is_last);
        let after_first = reported.and_then(|usage| usage.output.checked_sub(1));
        let per_token = shown.zip(after_first).and_then(|(first, tokens)| {
            let tokens = u32::try_from(tokens).ok().filter(|tokens| *tokens > 0)?;
            Some(end.saturating_duration_since(first) / tokens)
        });
        let sample = GenAiSample {
            tokens: reported.map(tokens),
            error: told.error.as_deref(),
            client: told.took,
            server: is_last.then(|| end.saturating_duration_since(self.started)),
            first_chunk: first.map(|first| first.saturating_duration_since(asked.sent)),
            per_chunk: counted.and_then(|counted| counted.per_chunk),
            first_token: shown.map(|first| first.saturating_duration_since(self.started)),
            per_token,
        };
        let meters = told.meters.gen_ai(provider(&asked.resource));
        meters.call(operation(self.op), &sample);
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            status: self.upstream_status,
            error: self.upstream_error,
        }
    }
}

fn tokens(usage: Usage) -> Tokens {
    Tokens {
        input: usage.input,
        cached: usage.cached,
        cache_write: usage.cache_write,
        output: usage.output,
        reasoning: usage.reasoning,
    }
}

fn source(source: Source) -> TokenSource {
    match source {
        Source::Reported => TokenSource::Reported,
        Source::Estimated => TokenSource::Estimated,
        Source::Partial => TokenSource::Partial,
    }
}

fn operation(op: Op) -> GenAiOp {
    if op == Op::Embeddings {
        GenAiOp::Embeddings
    } else if op == Op::Completions {
        GenAiOp::Completion
    } else {
        GenAiOp::Chat
    }
}

fn provider(resource: &Resource) -> Provider {
    match resource.ai().map(|account| account.provider) {
        Some(AiType::Anthropic) => Provider::Anthropic,
        Some(AiType::Aws) => Provider::Aws,
        Some(AiType::Google) => Provider::Google,
        Some(AiType::OpenAi) => Provider::OpenAi,
        Some(AiType::Other) | None => Provider::Other,
    }
}
