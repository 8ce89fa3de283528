//! What a dialect does for clients of another: one trait, one folder a dialect, and the two steps between a
//! provider's bytes and a client's.
//!
//! A lane is pure: it knows no address, no credential and no clock. [`encode`] makes a request of the model,
//! [`Stream`] and [`whole`] make a client's answer of the provider's.

pub mod head;

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::ai::anthropic::Anthropic;
use crate::ai::bedrock::Bedrock;
use crate::ai::chat::ChatRequest;
use crate::ai::embed::{EmbedRequest, Embedded};
use crate::ai::event::{Event, Stop};
use crate::ai::google::Google;
use crate::ai::models::Listed;
use crate::ai::names::Names;
use crate::ai::openai::answer::{Chunks, Told, Whole};
use crate::ai::openai::request::Decoded;
use crate::ai::param::{self, Dropped, Fate, Param};
use crate::ai::usage::Notes;
use crate::error::{Error, Kind, Result};
use crate::message::body::{self, BodyStep, End};
use crate::message::escape::{self, Slash};
use crate::policy::route::UnsupportedParams;
use crate::protocol::Dialect;

/// The tool whose arguments are the answer, where a model has no other way to keep to a schema.
pub const JSON_TOOL: &str = "json_output";

/// A request in a provider's form.
#[derive(Debug)]
pub struct Encoded {
    /// Behind the resource's URL.
    pub path: String,
    /// Besides the credential, and what every request has.
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub reading: Reading,
}

/// What must be known of the request to read the answer.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub names: Names,
    /// [`JSON_TOOL`] was forced: its arguments are the text.
    pub json_tool: bool,
}

/// The provider's half of a dialect.
pub trait Lane: Sync {
    fn fate(&self, param: Param) -> Fate;

    /// Writes a request for `model`, as the provider calls it, and notes what cannot be said.
    fn encode(&self, chat: &ChatRequest<'_>, model: &str, dropped: &mut Dropped)
    -> Result<Encoded>;

    /// Reads an answer that came whole.
    fn reply(&self, model: &str, body: &[u8], out: &mut Vec<Event>) -> Result<()>;

    /// Reads an answer that streams.
    fn stream(&self, model: &str) -> Box<dyn Decoder>;

    /// The meaning of an answer that is no success.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error;

    /// What an answer's headers say, under the names that clients know.
    fn answer_head(&self, headers: &HeaderMap, now: Timestamp) -> HeaderMap;

    /// Path and headers of the request for the list of models, from a page on; `None` where the provider keeps it
    /// at another address.
    fn list(&self, page: Option<&str>) -> Option<(String, HeaderMap)>;

    /// Reads a page of the list.
    fn page(&self, body: &[u8]) -> Result<Page>;

    /// Most texts of one call for embeddings; `None` for a model that makes none.
    fn embed_max(&self, model: &str) -> Option<usize>;

    /// Writes a call for the embeddings of some texts of a request.
    fn embed(
        &self,
        request: &EmbedRequest<'_>,
        texts: &[Cow<'_, str>],
        model: &str,
    ) -> Result<Encoded>;

    /// Reads its answer.
    fn embedded(&self, model: &str, headers: &HeaderMap, body: &[u8]) -> Result<Embedded>;
}

/// A part of a provider's list of models.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub models: Vec<Listed>,
    /// The page behind it.
    pub next: Option<String>,
}

/// Reads a stream that comes cut anywhere.
pub trait Decoder: Send + Sync {
    fn push(&mut self, input: &[u8], out: &mut Vec<Event>) -> Result<()>;

    /// The provider finished its message.
    fn finish(&mut self, out: &mut Vec<Event>) -> Result<()>;
}

/// The lane to a dialect; `None` where clients speak it themselves.
pub fn lane(dialect: Dialect) -> Option<&'static dyn Lane> {
    match dialect {
        Dialect::Anthropic => Some(&Anthropic),
        Dialect::Google => Some(&Google),
        Dialect::Bedrock => Some(&Bedrock),
        Dialect::OpenAi => None,
    }
}

/// Writes a request for one resource, and what of it the client will be told was left out.
pub fn encode(
    lane: &dyn Lane,
    decoded: &Decoded<'_>,
    model: &str,
    rule: UnsupportedParams,
) -> Result<(Encoded, Dropped)> {
    let mut dropped = decoded.dropped.clone();
    param::judge(&decoded.given, |param| lane.fate(param), &mut dropped)?;
    let encoded = lane.encode(&decoded.request, model, &mut dropped)?;
    dropped.check(rule)?;
    Ok((encoded, dropped))
}

/// A client's answer out of one that came whole.
pub fn whole(
    lane: &dyn Lane,
    model: &str,
    body: &[u8],
    reading: &Reading,
    told: Told,
) -> Result<(Bytes, Notes)> {
    let mut events = Vec::new();
    lane.reply(model, body, &mut events)?;
    let mut whole = Whole::new(told);
    let plain = Plain::new(reading.clone());
    for event in events {
        if let Some(event) = plain.apply(event) {
            whole.take(event)?;
        }
    }
    let body = whole.body()?;
    let notes = Notes {
        reported: whole.usage(),
        events: 1,
        output_guess: body.len() as u64 / 4,
        finished: true,
        failed: false,
        ended: true,
    };
    Ok((body, notes))
}

/// A client's stream out of the provider's.
pub struct Stream {
    decoder: Box<dyn Decoder>,
    plain: Plain,
    chunks: Chunks,
    events: Vec<Event>,
    notes: Notes,
}

impl Stream {
    pub fn new(lane: &dyn Lane, model: &str, reading: Reading, told: Told) -> Self {
        Self {
            decoder: lane.stream(model),
            plain: Plain::new(reading),
            chunks: Chunks::new(told),
            events: Vec::new(),
            notes: Notes::default(),
        }
    }

    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Writes the events read so far; what comes after the end is nobody's.
    fn write(&mut self, read: Result<()>, out: &mut body::Chunks) -> Result<()> {
        let mut bytes = Vec::new();
        let mut outcome = read;
        for event in self.events.drain(..) {
            if self.notes.ended {
                break;
            }
            let Some(event) = self.plain.apply(event) else {
                continue;
            };
            if let Event::Failed(error) = event {
                outcome = Err(error);
                break;
            }
            self.notes.note(&event);
            self.chunks.write(event, &mut bytes)?;
        }
        self.events.clear();
        if !bytes.is_empty() {
            out.push(bytes.into());
        }
        outcome
    }
}

impl BodyStep for Stream {
    fn push(&mut self, input: Bytes, out: &mut body::Chunks) -> Result<()> {
        if self.notes.ended {
            return Ok(());
        }
        let read = self.decoder.push(&input, &mut self.events);
        self.write(read, out)
    }

    fn finish(&mut self, end: End, out: &mut body::Chunks) -> Result<()> {
        match end {
            End::Clean if !self.notes.ended => {
                let read = self.decoder.finish(&mut self.events);
                self.write(read, out)
            }
            End::Clean | End::Cut(_) => Ok(()),
        }
    }
}

impl Notes {
    /// What an event adds to the account of a stream.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Text { .. }
            | Event::Thought { .. }
            | Event::Refusal { .. }
            | Event::Call { .. }
            | Event::Arguments { .. } => {
                self.events += 1;
                self.output_guess += 1;
            }
            Event::Usage(usage) => self.reported = Some(*usage),
            Event::End => {
                self.finished = true;
                self.ended = true;
            }
            Event::Start { .. }
            | Event::ThoughtSealed { .. }
            | Event::CallEnded { .. }
            | Event::Citation { .. }
            | Event::Finish { .. }
            | Event::Ping
            | Event::Failed(_) => {}
        }
    }
}

/// Takes back what the request changed: names of tools, and an answer that had to be a tool's arguments.
struct Plain(Reading);

impl Plain {
    fn new(reading: Reading) -> Self {
        Self(reading)
    }

    fn apply(&self, event: Event) -> Option<Event> {
        if self.0.json_tool {
            return answer_of_tool(event);
        }
        if let Event::Call {
            choice,
            id,
            name,
            seal,
        } = event
        {
            return Some(Event::Call {
                choice,
                id,
                name: self.0.names.original(name),
                seal,
            });
        }
        Some(event)
    }
}

/// The arguments of [`JSON_TOOL`] as the text that they are.
fn answer_of_tool(event: Event) -> Option<Event> {
    if let Event::Call { .. } | Event::CallEnded { .. } = event {
        return None;
    }
    if let Event::Arguments { choice, json, .. } = event {
        return Some(Event::Text { choice, text: json });
    }
    if let Event::Finish {
        choice,
        stop: Stop::Tools,
        native,
    } = event
    {
        return Some(Event::Finish {
            choice,
            stop: Stop::End,
            native,
        });
    }
    Some(event)
}

/// A model's name as one segment of a path, which it can neither leave nor end.
pub fn path_segment(model: &str) -> Result<String> {
    if matches!(model, "." | "..") {
        let message = "The parameter 'model' is not a valid model name.";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("model"));
    }
    let mut segment = Vec::with_capacity(model.len() + 8);
    escape::encode(&mut segment, model.as_bytes(), Slash::Encode);
    String::from_utf8(segment).map_err(Error::internal)
}

/// The error for an answer that is not what its protocol says.
pub fn broken(detail: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The model provider sent an answer that is not valid.",
    )
    .with_detail(detail)
}

/// Longest message of a provider that is handed on.
const MESSAGE_CHARS_MAX: usize = 2000;

/// A provider's message, as much of it as a client is shown.
pub fn shown(message: &str) -> String {
    let shown = message.chars().filter(|c| !c.is_control() || *c == '\n');
    shown.take(MESSAGE_CHARS_MAX).collect()
}

/// The kind that a status means by itself.
pub fn kind_of(status: StatusCode) -> Kind {
    match status.as_u16() {
        401..=403 => Kind::UpstreamAuth,
        404 => Kind::ModelNotFound,
        408 | 504 => Kind::UpstreamTimeout,
        413 => Kind::BodyTooLarge,
        429 => Kind::RateLimited,
        503 | 529 => Kind::Overloaded,
        400..=499 => Kind::InvalidRequest,
        ..400 | 500.. => Kind::UpstreamBroken,
    }
}

/// The error for what a provider said. Of a refused credential the client learns no more than that.
pub fn refused(kind: Kind, message: &str) -> Error {
    if kind == Kind::UpstreamAuth {
        return Error::new(
            kind,
            "The model provider refused the credential that this endpoint uses. Your API key is not at fault.",
        );
    }
    if message.is_empty() {
        return Error::new(kind, "The model provider refused the request.");
    }
    let error = Error::new(kind, shown(message));
    if kind == Kind::ModelNotFound {
        return error.with_param("model");
    }
    error
}
