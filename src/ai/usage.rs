//! Token counts and the state of an answer, read beside its bytes.
//!
//! Streams are read by [`SseTap`](crate::ai::tap::SseTap), whole bodies by [`JsonTap`]. Nothing here depends on the order of
//! members: servers put usage first, last, or before members of their own.

use bytes::Bytes;
use serde::Deserialize;
use smallvec::SmallVec;

use crate::ai::route::Inference;
use crate::error::Result;
use crate::message::body::{BodyStep, Chunks, End};

/// The end of a long event or body, where usage is looked for.
const TAIL_BYTES: usize = 8 * 1024;

/// Bodies up to this length are searched whole when their tail holds no usage.
const FRONT_BYTES_MAX: usize = 256 * 1024;

/// Chunks kept of a short body before they are joined: stops tiny chunks from costing a handle each.
const FRONT_CHUNKS_MAX: usize = 64;

/// A rule of thumb for text without a tokenizer.
const BYTES_PER_TOKEN: u64 = 4;

/// Where token counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The resource said so.
    Reported,
    /// It did not; counted from bytes and chunks.
    Estimated,
    /// The answer was cut short; what was seen of it is counted.
    Partial,
}

impl Source {
    /// The value of the `source` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Partial => "partial",
        }
    }
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All of the prompt, `cached` and `cache_write` included.
    pub input: u64,
    /// All of the answer, `reasoning` included.
    pub output: u64,
    pub cached: u64,
    pub cache_write: u64,
    pub reasoning: u64,
    pub source: Source,
}

impl Usage {
    /// Tokens that a provider told of an answer without text.
    pub fn of_input(input: u64) -> Self {
        Self {
            input,
            output: 0,
            cached: 0,
            cache_write: 0,
            reasoning: 0,
            source: Source::Reported,
        }
    }
}

/// How an answer ended, for the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// The client or the upstream went away.
    Cut,
}

/// What an answer showed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The last usage that was reported.
    pub reported: Option<Usage>,
    /// Events with data, or 1 for a whole body.
    pub events: u64,
    /// Tokens guessed from what went by, for answers that report no usage.
    pub output_guess: u64,
    /// A choice was finished (`finish_reason`).
    pub finished: bool,
    /// The stream carried an error.
    pub failed: bool,
    /// `[DONE]`, or the event that ends a response.
    pub ended: bool,
}

impl Notes {
    /// Whether a stream that ended now would be whole. Where not, the client must be told of an error: a stream
    /// that was cut must not pass for a short answer.
    pub fn is_complete(&self) -> bool {
        self.ended || self.finished || self.failed
    }

    /// The tokens to account: what was reported, else an estimate from the request's bytes and what went by.
    pub fn usage(&self, request_bytes: u64, ending: Ending) -> Usage {
        let mut usage = self.reported.unwrap_or(Usage {
            input: request_bytes / BYTES_PER_TOKEN,
            output: self.output_guess,
            cached: 0,
            cache_write: 0,
            reasoning: 0,
            source: Source::Estimated,
        });
        // Usage that was reported behind the last output counts in full, whoever left after it.
        if ending == Ending::Cut && !(self.ended || self.finished && self.reported.is_some()) {
            usage.output = usage.output.max(self.output_guess);
            usage.source = Source::Partial;
        }
        usage
    }
}

/// Reads a body that is not a stream.
#[derive(Debug)]
pub struct JsonTap {
    inference: Inference,
    tail: Tail,
    /// All of the body while it is short.
    front: SmallVec<[Bytes; 8]>,
    len: u64,
    notes: Notes,
}

impl JsonTap {
    pub fn new(inference: Inference) -> Self {
        Self {
            inference,
            tail: Tail::default(),
            front: SmallVec::new(),
            len: 0,
            notes: Notes::default(),
        }
    }

    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    fn is_short(&self) -> bool {
        self.len <= FRONT_BYTES_MAX as u64
    }
}

impl BodyStep for JsonTap {
    fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()> {
        self.len += input.len() as u64;
        self.tail.push(&input);
        if self.is_short() {
            self.front.push(input.clone());
            if self.front.len() > FRONT_CHUNKS_MAX {
                let joined = Bytes::from(self.front.concat());
                self.front.clear();
                self.front.push(joined);
            }
        } else {
            self.front.clear();
        }
        out.push(input);
        Ok(())
    }

    fn finish(&mut self, end: End, _out: &mut Chunks) -> Result<()> {
        self.notes.events = 1;
        self.notes.output_guess = match self.inference {
            Inference::ChatCompletions | Inference::Completions | Inference::Responses => {
                self.len / BYTES_PER_TOKEN
            }
            Inference::Embeddings => 0,
        };
        self.notes.ended = matches!(end, End::Clean);
        self.notes.reported = last_usage(self.tail.bytes()).or_else(|| {
            (self.is_short() && self.len > TAIL_BYTES as u64)
                .then(|| last_usage(&self.front.concat()))
                .flatten()
        });
        self.front.clear();
        Ok(())
    }
}

/// The last bytes of what is pushed: at least [`TAIL_BYTES`] of them, if there were as many.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn push(&mut self, part: &[u8]) {
        let part = &part[part.len().saturating_sub(TAIL_BYTES)..];
        if self.0.len() + part.len() > 2 * TAIL_BYTES {
            let keep = TAIL_BYTES.saturating_sub(part.len());
            let drop = self.0.len().saturating_sub(keep);
            self.0.drain(..drop);
        }
        self.0.extend_from_slice(part);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What stands behind a key's colon.
pub(super) fn value_of(after_key: &[u8]) -> Option<&[u8]> {
    let value = after_key.trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii_start())
}

/// The last object named `usage` that holds token counts.
pub(super) fn last_usage(data: &[u8]) -> Option<Usage> {
    const KEY: &[u8] = b"\"usage\"";
    let mut before = data;
    loop {
        let at = memchr::memmem::rfind(before, KEY)?;
        let value = value_of(&data[at + KEY.len()..]);
        if let Some(value) = value.filter(|value| value.first() == Some(&b'{')) {
            // Only the object is read, whatever follows it.
            let mut values = serde_json::Deserializer::from_slice(value).into_iter::<RawUsage>();
            if let Some(usage) = values
                .next()
                .and_then(std::result::Result::ok)
                .and_then(RawUsage::tokens)
            {
                return Some(usage);
            }
        }
        before = &data[..at];
    }
}

/// Usage under the names of both APIs. Numbers may be floats; any may be missing or null.
#[derive(Deserialize)]
pub(super) struct RawUsage {
    prompt_tokens: Option<f64>,
    completion_tokens: Option<f64>,
    prompt_tokens_details: Option<RawDetails>,
    completion_tokens_details: Option<RawDetails>,
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    input_tokens_details: Option<RawDetails>,
    output_tokens_details: Option<RawDetails>,
    prompt_cache_hit_tokens: Option<f64>,
    total_tokens: Option<f64>,
}

#[derive(Default, Deserialize)]
struct RawDetails {
    #[serde(rename = "cached_tokens")]
    cached: Option<f64>,
    #[serde(rename = "cache_write_tokens")]
    cache_write: Option<f64>,
    #[serde(rename = "reasoning_tokens")]
    reasoning: Option<f64>,
}

impl RawUsage {
    /// `None` where it holds no counts: then it was something else of that name.
    pub(super) fn tokens(self) -> Option<Usage> {
        let input = self.prompt_tokens.or(self.input_tokens);
        let output = self.completion_tokens.or(self.output_tokens);
        if input.is_none() && output.is_none() && self.total_tokens.is_none() {
            return None;
        }
        let of_input = self
            .prompt_tokens_details
            .or(self.input_tokens_details)
            .unwrap_or_default();
        let of_output = self
            .completion_tokens_details
            .or(self.output_tokens_details)
            .unwrap_or_default();
        Some(Usage {
            input: count(input.or(self.total_tokens)),
            output: count(output),
            cached: count(of_input.cached.or(self.prompt_cache_hit_tokens)),
            cache_write: count(of_input.cache_write),
            reasoning: count(of_output.reasoning),
            source: Source::Reported,
        })
    }
}

/// Saturates; counts that no answer can have are somebody else's bug.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a negative count is none"
)]
fn count(tokens: Option<f64>) -> u64 {
    tokens.unwrap_or_default() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    fn tokens(input: u64, output: u64) -> Usage {
        Usage {
            input,
            output,
            cached: 0,
            cache_write: 0,
            reasoning: 0,
            source: Source::Reported,
        }
    }

    #[track_caller]
    fn check(body: &str, expected: Option<Usage>) {
        for size in [1, 7, body.len().max(1)] {
            let mut tap = JsonTap::new(Inference::ChatCompletions);
            let mut out = Chunks::new();
            for part in body.as_bytes().chunks(size) {
                tap.push(Bytes::copy_from_slice(part), &mut out).unwrap();
            }
            tap.finish(End::Clean, &mut out).unwrap();
            assert_eq!(out.concat(), body.as_bytes());
            assert_eq!(tap.notes().reported, expected, "{body:.100}");
        }
    }

    #[test]
    fn usage_is_found_wherever_it_stands() {
        check(
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":5}}"#,
            Some(tokens(3, 5)),
        );
        check(
            r#"{"choices":[],"usage" : {"input_tokens":3,"output_tokens":5.0,"x":[{}]},"timings":{"a":1},"id":"x"}"#,
            Some(tokens(3, 5)),
        );
        check(
            r#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
            Some(tokens(8, 0)),
        );
        let front = format!(
            r#"{{"usage":{{"prompt_tokens":1,"completion_tokens":2}},"content":"{}"}}"#,
            "x".repeat(3 * TAIL_BYTES)
        );
        check(&front, Some(tokens(1, 2)));
    }

    #[test]
    fn usage_in_text_or_of_another_kind_is_not_counted() {
        check(r#"{"content":"\\"usage\\":{\\"prompt_tokens\\":3}"}"#, None);
        check(r#"{"usage":null}"#, None);
        check(r#"{"usage":{"type":"object"}}"#, None);
        check(r#"{"usage":{"prompt_tokens":"#, None);
        check("", None);
        check(
            r#"{"usage":{"prompt_tokens":1,"completion_tokens":2},"tools":{"usage":{"type":"x"}}}"#,
            Some(tokens(1, 2)),
        );
    }

    #[test]
    fn details_are_read_under_both_names() {
        for (input, output) in [("prompt", "completion"), ("input", "output")] {
            let body = format!(
                r#"{{"usage":{{"{input}_tokens":10,"{output}_tokens":20,"{input}_tokens_details":{{"cached_tokens":4,"cache_write_tokens":2}},"{output}_tokens_details":{{"reasoning_tokens":7,"audio_tokens":null}}}}}}"#
            );
            let usage = last_usage(body.as_bytes()).unwrap();
            assert_eq!((usage.input, usage.output), (10, 20));
            assert_eq!(
                (usage.cached, usage.cache_write, usage.reasoning),
                (4, 2, 7)
            );
        }
    }

    #[test]
    fn what_is_not_reported_is_estimated() {
        let mut tap = JsonTap::new(Inference::ChatCompletions);
        let mut out = Chunks::new();
        tap.push(Bytes::from_static(&[b'x'; 400]), &mut out)
            .unwrap();
        tap.finish(End::Cut(Error::new(Kind::ClientGone, "")), &mut out)
            .unwrap();
        assert!(!tap.notes().is_complete());
        let usage = tap.notes().usage(80, Ending::Cut);
        assert_eq!(
            (usage.input, usage.output, usage.source),
            (20, 100, Source::Partial)
        );
        let usage = tap.notes().usage(80, Ending::Complete);
        assert_eq!(usage.source, Source::Estimated);
    }

    #[test]
    fn usage_behind_the_last_output_counts_whoever_leaves_after_it() {
        let mut notes = Notes {
            reported: Some(tokens(1, 2)),
            output_guess: 9,
            ..Notes::default()
        };
        assert_eq!(notes.usage(0, Ending::Cut).source, Source::Partial);
        assert_eq!(notes.usage(0, Ending::Cut).output, 9);
        notes.finished = true;
        assert_eq!(notes.usage(0, Ending::Cut), tokens(1, 2));
    }
}
