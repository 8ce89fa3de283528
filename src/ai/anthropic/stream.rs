//! Reads an answer, as it streams or whole.
//!
//! The counts of a stream replace those before them, wherever they stand: what is told with the last message is not
//! added to what was told with the first. Tools that the provider runs itself are no calls to the client.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Told, in_stream};
use crate::ai::chat::{Family, Seal};
use crate::ai::event::{CALLS_MAX, Event, Stop};
use crate::ai::lane::{Decoder, broken};
use crate::ai::sse::Events;
use crate::ai::usage::{Source, Usage};
use crate::error::{Error, Result};

/// Most blocks open at once; the provider has one.
const BLOCKS_MAX: usize = 64;

#[derive(Deserialize)]
struct WireMessage {
    id: Option<String>,
    model: Option<String>,
    #[serde(default)]
    content: Vec<WireBlock>,
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct StopDetails {
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct WireBlock {
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Box<RawValue>>,
    citations: Option<Vec<Citation>>,
}

#[derive(Deserialize)]
struct Citation {
    url: Option<String>,
    title: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct WireUsage {
    input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct WireEvent {
    r#type: String,
    message: Option<WireMessage>,
    #[serde(default)]
    index: u64,
    content_block: Option<WireBlock>,
    delta: Option<WireDelta>,
    usage: Option<WireUsage>,
    error: Option<Told>,
}

#[derive(Deserialize)]
struct WireDelta {
    #[serde(default)]
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    citation: Option<Citation>,
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
}

/// What an open block of a stream is.
#[derive(Debug)]
enum Block {
    Thought {
        signature: String,
    },
    Call {
        number: u32,
        /// Arguments that came with the start, as those of calls that code made do: they count if no others follow.
        input: Option<String>,
    },
    Other,
}

/// Reads a stream of Messages.
#[derive(Default)]
pub(super) struct Messages {
    events: Events,
    state: State,
}

#[derive(Default)]
struct State {
    blocks: BTreeMap<u64, Block>,
    calls: u32,
    usage: WireUsage,
}

impl Decoder for Messages {
    fn push(&mut self, input: &[u8], out: &mut Vec<Event>) -> Result<()> {
        let state = &mut self.state;
        self.events
            .push(input, |event| state.read(&event.data, out))
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<()> {
        let state = &mut self.state;
        self.events.finish(|event| state.read(&event.data, out))
    }
}

/// Reads an answer that came whole.
pub(super) fn reply(body: &[u8], out: &mut Vec<Event>) -> Result<()> {
    let message: WireMessage = serde_json::from_slice(body).map_err(broken)?;
    let mut state = State::default();
    out.push(Event::Start {
        id: message.id,
        model: message.model,
    });
    for (index, block) in message.content.into_iter().enumerate() {
        let index = index as u64;
        state.start(index, block, out)?;
        state.stop(index, out);
    }
    finish(message.stop_reason, message.stop_details, out);
    if let Some(usage) = message.usage {
        out.push(Event::Usage(usage.tokens()));
    }
    out.push(Event::End);
    Ok(())
}

impl State {
    fn read(&mut self, data: &[u8], out: &mut Vec<Event>) -> Result<()> {
        let event: WireEvent = serde_json::from_slice(data).map_err(broken)?;
        match event.r#type.as_str() {
            "message_start" => {
                let message = event.message.ok_or_else(|| broken("no message"))?;
                self.usage.update(message.usage);
                out.push(Event::Start {
                    id: message.id,
                    model: message.model,
                });
                // Of an answer that is cut short, the prompt is known.
                out.push(Event::Usage(self.usage.tokens()));
            }
            "content_block_start" => {
                let block = event.content_block.ok_or_else(|| broken("no block"))?;
                self.start(event.index, block, out)?;
            }
            "content_block_delta" => {
                let delta = event.delta.ok_or_else(|| broken("no delta"))?;
                self.delta(event.index, delta, out);
            }
            "content_block_stop" => self.stop(event.index, out),
            "message_delta" => {
                self.usage.update(event.usage);
                out.push(Event::Usage(self.usage.tokens()));
                if let Some(delta) = event.delta {
                    finish(delta.stop_reason, delta.stop_details, out);
                }
            }
            "message_stop" => out.push(Event::End),
            "ping" => out.push(Event::Ping),
            "error" => out.push(Event::Failed(failed(event.error))),
            // The provider adds events as it likes.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, index: u64, block: WireBlock, out: &mut Vec<Event>) -> Result<()> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(broken("too many blocks"));
        }
        let opened = match block.r#type.as_str() {
            "text" => {
                push_text(block.text, out);
                out.extend(block.citations.into_iter().flatten().filter_map(citation));
                Block::Other
            }
            "thinking" => {
                out.extend(thought(block.thinking));
                Block::Thought {
                    signature: block.signature.unwrap_or_default(),
                }
            }
            "redacted_thinking" => {
                out.extend(block.data.map(|data| sealed(data, true)));
                Block::Other
            }
            "tool_use" => {
                let call = self.calls;
                self.calls += 1;
                if call >= CALLS_MAX {
                    return Err(broken("too many calls"));
                }
                out.push(Event::Call {
                    choice: 0,
                    id: block.id,
                    name: block.name.unwrap_or_default(),
                    seal: None,
                });
                let input = block.input.map(|input| input.get().to_owned());
                Block::Call {
                    number: call,
                    input: input.filter(|input| input != "{}"),
                }
            }
            _ => Block::Other,
        };
        self.blocks.insert(index, opened);
        Ok(())
    }

    fn delta(&mut self, index: u64, delta: WireDelta, out: &mut Vec<Event>) {
        match (delta.r#type.as_str(), self.blocks.get_mut(&index)) {
            ("text_delta", _) => push_text(delta.text, out),
            ("thinking_delta", _) => out.extend(thought(delta.thinking)),
            ("signature_delta", Some(Block::Thought { signature })) => {
                signature.push_str(&delta.signature.unwrap_or_default());
            }
            ("input_json_delta", Some(Block::Call { number, input })) => {
                let json = delta.partial_json.filter(|json| !json.is_empty());
                if let Some(json) = json {
                    *input = None;
                    out.push(arguments(*number, json));
                }
            }
            ("citations_delta", _) => out.extend(delta.citation.and_then(citation)),
            _ => {}
        }
    }

    fn stop(&mut self, index: u64, out: &mut Vec<Event>) {
        match self.blocks.remove(&index) {
            Some(Block::Thought { signature }) if !signature.is_empty() => {
                out.push(sealed(signature, false));
            }
            Some(Block::Call { number, input }) => {
                out.extend(input.map(|json| arguments(number, json)));
                out.push(Event::CallEnded {
                    choice: 0,
                    call: number,
                });
            }
            Some(Block::Thought { .. } | Block::Other) | None => {}
        }
    }
}

fn failed(told: Option<Told>) -> Error {
    in_stream(&told.unwrap_or_default())
}

fn push_text(text: Option<String>, out: &mut Vec<Event>) {
    let text = text.filter(|text| !text.is_empty());
    out.extend(text.map(|text| Event::Text { choice: 0, text }));
}

fn thought(text: Option<String>) -> Option<Event> {
    let text = text.filter(|text| !text.is_empty())?;
    Some(Event::Thought { choice: 0, text })
}

fn arguments(call: u32, json: String) -> Event {
    Event::Arguments {
        choice: 0,
        call,
        json,
    }
}

fn sealed(data: String, redacted: bool) -> Event {
    Event::ThoughtSealed {
        choice: 0,
        seal: Seal {
            family: Family::Claude,
            data,
            redacted,
        },
    }
}

fn citation(citation: Citation) -> Option<Event> {
    Some(Event::Citation {
        choice: 0,
        url: citation.url?,
        title: citation.title.unwrap_or_default(),
    })
}

fn finish(reason: Option<String>, details: Option<StopDetails>, out: &mut Vec<Event>) {
    let Some(native) = reason else { return };
    let stop = match native.as_str() {
        "max_tokens" | "model_context_window_exceeded" | "compaction" => Stop::Length,
        "tool_use" => Stop::Tools,
        "refusal" => Stop::Filter,
        // `end_turn`, `stop_sequence`, `pause_turn`, and what is yet to come: the model's own word is told beside.
        _ => Stop::End,
    };
    if stop == Stop::Filter
        && let Some(text) = details.and_then(|details| details.explanation)
    {
        out.push(Event::Refusal { choice: 0, text });
    }
    out.push(Event::Finish {
        choice: 0,
        stop,
        native,
    });
}

impl WireUsage {
    fn update(&mut self, newer: Option<Self>) {
        let Some(newer) = newer else { return };
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = newer
            .cache_read_input_tokens
            .or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = newer
            .cache_creation_input_tokens
            .or(self.cache_creation_input_tokens);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
        self.output_tokens_details = newer.output_tokens_details.or(self.output_tokens_details);
    }

    /// Here the prompt is counted without what was cached of it.
    fn tokens(self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or_default();
        let cache_write = self.cache_creation_input_tokens.unwrap_or_default();
        let fresh = self.input_tokens.unwrap_or_default();
        let details = self.output_tokens_details;
        Usage {
            input: fresh.saturating_add(cached).saturating_add(cache_write),
            output: self.output_tokens.unwrap_or_default(),
            cached,
            cache_write,
            reasoning: details
                .and_then(|it| it.thinking_tokens)
                .unwrap_or_default(),
            source: Source::Reported,
        }
    }
}
