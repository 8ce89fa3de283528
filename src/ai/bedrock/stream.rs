//! Reads an answer, as it streams or whole.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::error::in_stream;
use super::frame::{Frame, Frames};
use crate::ai::chat::{Family, Seal};
use crate::ai::event::{CALLS_MAX, Event, Stop};
use crate::ai::lane::{Decoder, broken};
use crate::ai::usage::{Source, Usage};
use crate::error::Result;

/// Most blocks open at once.
const BLOCKS_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    output: Output,
    stop_reason: Option<String>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Output {
    message: WireMessage,
}

#[derive(Deserialize)]
struct WireMessage {
    #[serde(default)]
    content: Vec<WireBlock>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBlock {
    text: Option<String>,
    tool_use: Option<ToolUse>,
    reasoning_content: Option<WholeThought>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WholeThought {
    reasoning_text: Option<ReasoningText>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ReasoningText {
    #[serde(default)]
    text: String,
    signature: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the provider's names")]
struct ToolUse {
    tool_use_id: Option<String>,
    name: String,
    input: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart {
    #[serde(default)]
    content_block_index: u64,
    start: Option<Started>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    tool_use: Option<ToolUse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta {
    #[serde(default)]
    content_block_index: u64,
    delta: Option<WireDelta>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDelta {
    text: Option<String>,
    tool_use: Option<ToolInput>,
    reasoning_content: Option<ThoughtDelta>,
}

#[derive(Deserialize)]
struct ToolInput {
    #[serde(default)]
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThoughtDelta {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStop {
    #[serde(default)]
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop {
    stop_reason: String,
}

#[derive(Deserialize)]
struct Metadata {
    usage: Option<WireUsage>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the provider's names")]
struct WireUsage {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    total_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
}

/// What an open block is.
#[derive(Default)]
struct Block {
    call: Option<u32>,
    signature: String,
}

/// Reads a stream of frames.
pub(super) struct Converse {
    frames: Frames,
    state: State,
}

struct State {
    family: Family,
    blocks: BTreeMap<u64, Block>,
    calls: u32,
    stopped: bool,
}

impl Converse {
    pub(super) fn new(family: Family) -> Self {
        Self {
            frames: Frames::default(),
            state: State::new(family),
        }
    }
}

impl Decoder for Converse {
    fn push(&mut self, input: &[u8], out: &mut Vec<Event>) -> Result<()> {
        let state = &mut self.state;
        self.frames.push(input, |frame| state.read(frame, out))
    }

    /// Usage comes behind the reason to stop, so only the end of the message is the end.
    fn finish(&mut self, out: &mut Vec<Event>) -> Result<()> {
        if self.state.stopped && self.frames.is_at_boundary() {
            out.push(Event::End);
        }
        Ok(())
    }
}

/// Reads an answer that came whole.
pub(super) fn reply(family: Family, body: &[u8], out: &mut Vec<Event>) -> Result<()> {
    let answer: Answer = serde_json::from_slice(body).map_err(broken)?;
    let mut state = State::new(family);
    for block in answer.output.message.content {
        if let Some(tool) = block.tool_use {
            let input = tool.input.as_ref().map(|input| input.get().to_owned());
            let call = state.call(tool, out)?;
            out.extend(input.map(|json| arguments(call, json)));
            out.push(Event::CallEnded { choice: 0, call });
        }
        push_text(block.text, out);
        if let Some(thought) = block.reasoning_content {
            let text = thought.reasoning_text;
            if let Some(text) = text {
                push_thought(Some(text.text), out);
                out.extend(text.signature.map(|data| state.sealed(data, false)));
            }
            out.extend(
                thought
                    .redacted_content
                    .map(|data| state.sealed(data, true)),
            );
        }
    }
    if let Some(native) = answer.stop_reason {
        out.push(finish(native));
    }
    out.extend(answer.usage.map(|usage| Event::Usage(usage.tokens())));
    out.push(Event::End);
    Ok(())
}

impl State {
    fn new(family: Family) -> Self {
        Self {
            family,
            blocks: BTreeMap::new(),
            calls: 0,
            stopped: false,
        }
    }

    fn read(&mut self, frame: &Frame<'_>, out: &mut Vec<Event>) -> Result<()> {
        let is_event =
            matches!(frame.message_type, "event" | "") && frame.exception_type.is_empty();
        if !is_event {
            out.push(Event::Failed(in_stream(frame)));
            return Ok(());
        }
        match frame.event_type {
            "contentBlockStart" => {
                let start: BlockStart = read(frame)?;
                let tool = start.start.and_then(|start| start.tool_use);
                if let Some(tool) = tool {
                    let call = self.call(tool, out)?;
                    self.block(start.content_block_index)?.call = Some(call);
                }
            }
            "contentBlockDelta" => {
                let delta: BlockDelta = read(frame)?;
                if let Some(it) = delta.delta {
                    self.delta(delta.content_block_index, it, out)?;
                }
            }
            "contentBlockStop" => {
                let stop: BlockStop = read(frame)?;
                if let Some(block) = self.blocks.remove(&stop.content_block_index) {
                    out.extend(block.call.map(|call| Event::CallEnded { choice: 0, call }));
                    if !block.signature.is_empty() {
                        out.push(self.sealed(block.signature, false));
                    }
                }
            }
            "messageStop" => {
                let stop: MessageStop = read(frame)?;
                self.stopped = true;
                out.push(finish(stop.stop_reason));
            }
            "metadata" => {
                let metadata: Metadata = read(frame)?;
                out.extend(metadata.usage.map(|usage| Event::Usage(usage.tokens())));
            }
            // `messageStart`, and what is yet to come.
            _ => {}
        }
        Ok(())
    }

    fn block(&mut self, index: u64) -> Result<&mut Block> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(broken("too many blocks"));
        }
        Ok(self.blocks.entry(index).or_default())
    }

    fn call(&mut self, tool: ToolUse, out: &mut Vec<Event>) -> Result<u32> {
        let call = self.calls;
        self.calls += 1;
        if call >= CALLS_MAX {
            return Err(broken("too many calls"));
        }
        out.push(Event::Call {
            choice: 0,
            id: tool.tool_use_id,
            name: tool.name,
            seal: None,
        });
        Ok(call)
    }

    fn delta(&mut self, index: u64, delta: WireDelta, out: &mut Vec<Event>) -> Result<()> {
        push_text(delta.text, out);
        if let Some(input) = delta.tool_use
            && let Some(call) = self.blocks.get(&index).and_then(|block| block.call)
            && !input.input.is_empty()
        {
            out.push(arguments(call, input.input));
        }
        if let Some(thought) = delta.reasoning_content {
            push_thought(thought.text, out);
            if let Some(signature) = thought.signature {
                self.block(index)?.signature.push_str(&signature);
            }
            out.extend(thought.redacted_content.map(|data| self.sealed(data, true)));
        }
        Ok(())
    }

    fn sealed(&self, data: String, redacted: bool) -> Event {
        Event::ThoughtSealed {
            choice: 0,
            seal: Seal {
                family: self.family,
                data,
                redacted,
            },
        }
    }
}

fn read<T: DeserializeOwned>(frame: &Frame<'_>) -> Result<T> {
    serde_json::from_slice(frame.payload).map_err(broken)
}

fn push_text(text: Option<String>, out: &mut Vec<Event>) {
    let text = text.filter(|text| !text.is_empty());
    out.extend(text.map(|text| Event::Text { choice: 0, text }));
}

fn push_thought(text: Option<String>, out: &mut Vec<Event>) {
    let text = text.filter(|text| !text.is_empty());
    out.extend(text.map(|text| Event::Thought { choice: 0, text }));
}

fn arguments(call: u32, json: String) -> Event {
    Event::Arguments {
        choice: 0,
        call,
        json,
    }
}

fn finish(native: String) -> Event {
    let stop = match native.as_str() {
        "tool_use" => Stop::Tools,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "guardrail_intervened" | "content_filtered" => Stop::Filter,
        "malformed_model_output" | "malformed_tool_use" => Stop::Malformed,
        // `end_turn`, `stop_sequence`, and what is yet to come.
        _ => Stop::End,
    };
    Event::Finish {
        choice: 0,
        stop,
        native,
    }
}

impl WireUsage {
    /// The prompt is counted without what was cached of it, but for models whose sum says otherwise.
    fn tokens(self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or_default();
        let cache_write = self.cache_write_input_tokens.unwrap_or_default();
        let is_whole =
            self.total_tokens == Some(self.input_tokens.saturating_add(self.output_tokens));
        let beside = if is_whole {
            0
        } else {
            cached.saturating_add(cache_write)
        };
        Usage {
            input: self.input_tokens.saturating_add(beside),
            output: self.output_tokens,
            cached,
            cache_write,
            reasoning: 0,
            source: Source::Reported,
        }
    }
}
