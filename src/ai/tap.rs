//! Reads an event stream while it passes.
//!
//! A body step that changes nothing, with one exception: where we asked for usage and the client did not, the
//! one chunk that answers it is left out. Events are handed on whole and at once: a part of an event is kept until
//! its end comes, which no reader of events can notice, and which makes every moment one at which a comment or an
//! error of ours may be put in. Events too large to keep are handed on as they come.

use std::mem;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use smallvec::SmallVec;

use crate::ai::route::Inference;
use crate::ai::sse::{Boundaries, Event};
use crate::ai::usage::{Notes, RawUsage, Tail, last_usage, value_of};
use crate::error::Result;
use crate::message::body::{BodyStep, Chunks, End};

/// Most bytes kept of an unfinished event: stops a stream without line ends from filling memory.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// Most chunks kept of an unfinished event before they are joined: stops single-byte chunks from costing
/// a handle each.
const EVENT_CHUNKS_MAX: usize = 32;

/// The start of a long event, where its type is looked for.
const HEAD_BYTES: usize = 512;

/// Whether the chunk that reports usage is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageChunk {
    /// The client asked for it, or nobody did.
    Forward,
    /// We asked for it and the client did not.
    Hide,
}

/// Reads an event stream. See the module's documentation.
#[derive(Debug)]
pub struct SseTap {
    inference: Inference,
    usage_chunk: UsageChunk,
    boundaries: Boundaries,
    /// The current event as far as it came.
    held: SmallVec<[Bytes; 4]>,
    held_len: usize,
    /// The current event was too long to keep and is being handed on.
    long: Option<LongEvent>,
    /// The last event was hidden, and a `\n` that completes its `\r` must be too.
    hid_last: bool,
    event: Event,
    scratch: Vec<u8>,
    needles: Needles,
    notes: Notes,
}

#[derive(Debug)]
struct LongEvent {
    terminal: Option<Terminal>,
    tail: Tail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terminal {
    Ended,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Forward,
    Hide,
}

impl SseTap {
    pub fn new(inference: Inference, usage_chunk: UsageChunk) -> Self {
        Self {
            inference,
            usage_chunk,
            boundaries: Boundaries::new(),
            held: SmallVec::new(),
            held_len: 0,
            long: None,
            hid_last: false,
            event: Event::default(),
            scratch: Vec::new(),
            needles: Needles::default(),
            notes: Notes::default(),
        }
    }

    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Takes the rest of the current event, which `part` ends.
    fn complete(&mut self, part: &[u8]) -> Verdict {
        if let Some(mut long) = self.long.take() {
            long.tail.push(part);
            self.read_long(&long);
            return Verdict::Forward;
        }
        if self.held.is_empty() {
            self.event.read(part);
        } else {
            self.scratch.clear();
            for held in &self.held {
                self.scratch.extend_from_slice(held);
            }
            self.scratch.extend_from_slice(part);
            self.event.read(&self.scratch);
        }
        self.read()
    }

    /// Keeps a part of an event whose end did not come yet.
    fn hold(&mut self, part: Bytes, out: &mut Chunks) {
        if let Some(long) = &mut self.long {
            long.tail.push(&part);
            out.push(part);
            return;
        }
        self.held_len += part.len();
        self.held.push(part);
        if self.held_len > EVENT_BYTES_MAX {
            self.start_long(out);
        } else if self.held.len() > EVENT_CHUNKS_MAX {
            let joined = Bytes::from(self.held.concat());
            self.held.clear();
            self.held.push(joined);
        }
    }

    fn start_long(&mut self, out: &mut Chunks) {
        let mut tail = Tail::default();
        self.scratch.clear();
        for held in &self.held {
            let room = HEAD_BYTES.saturating_sub(self.scratch.len());
            self.scratch
                .extend_from_slice(&held[..room.min(held.len())]);
            tail.push(held);
        }
        self.event.read(&self.scratch);
        let terminal = match self.inference {
            Inference::Responses => terminal(event_type(&self.event)),
            Inference::ChatCompletions | Inference::Completions | Inference::Embeddings => None,
        };
        self.long = Some(LongEvent { terminal, tail });
        self.release(out);
    }

    fn release(&mut self, out: &mut Chunks) {
        out.extend(self.held.drain(..));
        self.held_len = 0;
    }

    fn read_long(&mut self, long: &LongEvent) {
        self.notes.events += 1;
        self.notes.output_guess += 1;
        self.note_terminal(long.terminal);
        let tail = long.tail.bytes();
        self.notes.finished |= self.needles.finish_reason(tail);
        if let Some(usage) = last_usage(tail) {
            self.notes.reported = Some(usage);
        }
    }

    /// Reads `self.event`.
    fn read(&mut self) -> Verdict {
        if !self.event.has_data {
            return Verdict::Forward;
        }
        if self.event.data.trim_ascii() == b"[DONE]" {
            self.notes.ended = true;
            return Verdict::Forward;
        }
        self.notes.events += 1;
        match self.inference {
            Inference::Responses => {
                self.read_response_event();
                Verdict::Forward
            }
            Inference::ChatCompletions | Inference::Completions | Inference::Embeddings => {
                self.read_chunk()
            }
        }
    }

    fn read_chunk(&mut self) -> Verdict {
        let data = self.event.data.as_slice();
        self.notes.finished |= self.needles.finish_reason(data);
        let named_error = self.event.name == b"error";
        if named_error || self.needles.usage(data) || self.needles.error(data) {
            // Once a stream, mostly; a chunk that does not parse is none of ours to judge.
            let chunk: Chunk = serde_json::from_slice(data).unwrap_or_default();
            self.notes.failed |= named_error || chunk.error.is_some();
            let usage = chunk.usage.or(chunk.x_groq.and_then(|groq| groq.usage));
            if let Some(usage) = usage.and_then(RawUsage::tokens) {
                self.notes.reported = Some(usage);
                let is_usage_only = chunk.choices.is_some_and(|choices| choices.is_empty());
                if is_usage_only && self.usage_chunk == UsageChunk::Hide {
                    return Verdict::Hide;
                }
                if is_usage_only {
                    return Verdict::Forward;
                }
            }
        }
        self.notes.output_guess += 1;
        Verdict::Forward
    }

    fn read_response_event(&mut self) {
        let kind = event_type(&self.event);
        let terminal = terminal(kind);
        if kind.ends_with(b".delta") {
            self.notes.output_guess += 1;
        }
        self.note_terminal(terminal);
        if terminal.is_some()
            && let Some(usage) = last_usage(&self.event.data)
        {
            self.notes.reported = Some(usage);
        }
    }

    fn note_terminal(&mut self, terminal: Option<Terminal>) {
        match terminal {
            Some(Terminal::Ended) => self.notes.ended = true,
            Some(Terminal::Failed) => {
                self.notes.ended = true;
                self.notes.failed = true;
            }
            None => {}
        }
    }
}

impl BodyStep for SseTap {
    fn push(&mut self, mut input: Bytes, out: &mut Chunks) -> Result<()> {
        // Events that follow one another leave as one chunk: `whole` counts their bytes in `input`.
        let mut whole = 0;
        while whole < input.len() {
            let rest = input.get(whole..).unwrap_or_default();
            let is_late_lf = self.boundaries.completes_crlf(rest);
            let Some(end) = self.boundaries.event_end(rest) else {
                let part = input.split_off(whole);
                forward(input, out);
                self.hold(part, out);
                return Ok(());
            };
            let verdict = if !is_late_lf {
                self.complete(&rest[..end])
            } else if self.hid_last {
                Verdict::Hide
            } else {
                Verdict::Forward
            };
            self.hid_last = verdict == Verdict::Hide;
            match verdict {
                Verdict::Forward => {
                    self.release(out);
                    whole += end;
                }
                Verdict::Hide => {
                    self.held.clear();
                    self.held_len = 0;
                    let after = input.split_off(whole + end);
                    input.truncate(whole);
                    forward(mem::replace(&mut input, after), out);
                    whole = 0;
                }
            }
        }
        forward(input, out);
        Ok(())
    }

    fn finish(&mut self, end: End, out: &mut Chunks) -> Result<()> {
        match end {
            End::Cut(_) => {
                self.held.clear();
            }
            End::Clean if self.held.is_empty() && self.long.is_none() => {}
            // The rest of a long event was handed on, whole or not; it is not the end of a stream.
            End::Clean if self.long.is_some() => {}
            End::Clean => {
                // Readers accept a last event without its empty line. What is not whole, or not the last, is part
                // of a cut stream, and left out so that an error can follow.
                let held = self.held.concat();
                self.event.read(&held);
                let is_whole = is_payload(&self.event.data);
                if is_whole && self.read() == Verdict::Forward && self.notes.is_complete() {
                    out.push(held.into());
                }
                self.held.clear();
            }
        }
        self.held_len = 0;
        Ok(())
    }

    fn at_boundary(&self) -> bool {
        self.long.is_none()
    }
}

fn is_payload(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

fn forward(bytes: Bytes, out: &mut Chunks) {
    if !bytes.is_empty() {
        out.push(bytes);
    }
}

/// Searchers for members, built once a stream. Inside a string the quotes of a key would be escaped, so these find
/// keys only.
#[derive(Debug)]
struct Needles {
    usage: Finder<'static>,
    finish_reason: Finder<'static>,
    error: Finder<'static>,
}

impl Default for Needles {
    fn default() -> Self {
        Self {
            usage: Finder::new("\"usage\""),
            finish_reason: Finder::new("\"finish_reason\""),
            error: Finder::new("\"error\""),
        }
    }
}

impl Needles {
    fn usage(&self, data: &[u8]) -> bool {
        any_value(&self.usage, data, |first| first == b'{')
    }

    fn finish_reason(&self, data: &[u8]) -> bool {
        any_value(&self.finish_reason, data, |first| first == b'"')
    }

    fn error(&self, data: &[u8]) -> bool {
        any_value(&self.error, data, |first| first != b'n')
    }
}

/// Whether some member that `key` finds has a value whose first byte is `wanted`.
fn any_value(key: &Finder<'_>, data: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    key.find_iter(data).any(|at| {
        let after = data.get(at + key.needle().len()..).unwrap_or_default();
        value_of(after).is_some_and(|value| value.first().is_some_and(|first| wanted(*first)))
    })
}

/// The `type` of a Responses event: its `event` field, or the first `type` member of its data.
fn event_type(event: &Event) -> &[u8] {
    const KEY: &[u8] = b"\"type\"";
    if !event.name.is_empty() && event.name != b"message" {
        return &event.name;
    }
    memchr::memmem::find(&event.data, KEY)
        .and_then(|at| value_of(&event.data[at + KEY.len()..]))
        .and_then(|value| value.strip_prefix(b"\""))
        .and_then(|value| value.split(|byte| *byte == b'"').next())
        .unwrap_or_default()
}

fn terminal(kind: &[u8]) -> Option<Terminal> {
    match kind {
        b"response.completed" | b"response.incomplete" => Some(Terminal::Ended),
        b"response.failed" | b"error" => Some(Terminal::Failed),
        _ => None,
    }
}

#[derive(Default, Deserialize)]
struct Chunk {
    choices: Option<Vec<IgnoredAny>>,
    usage: Option<RawUsage>,
    error: Option<IgnoredAny>,
    x_groq: Option<Groq>,
}

/// Groq reports usage here in streams that did not ask for it.
#[derive(Deserialize)]
struct Groq {
    usage: Option<RawUsage>,
}

#[cfg(test)]
mod tests;
