//! Reads an answer: a stream's pieces have the shape of a whole one.
//!
//! Why a model stopped may be told before its last piece, and whether it called tools only then is known: it is handed
//! on at the end. The stream has no last word of its own, so one that ends before any candidate did is broken.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Told, in_stream};
use crate::ai::chat::{Family, Seal};
use crate::ai::event::{CALLS_MAX, CHOICES_MAX, Event, Stop};
use crate::ai::lane::{Decoder, broken};
use crate::ai::sse::Events;
use crate::ai::usage::{Source, Usage};
use crate::error::Result;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    candidates: Vec<Candidate>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<WireUsage>,
    model_version: Option<String>,
    response_id: Option<String>,
    error: Option<Told>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    index: u32,
    content: Option<Content>,
    finish_reason: Option<String>,
    grounding_metadata: Option<Grounding>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<WirePart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePart {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    thought_signature: Option<String>,
    function_call: Option<FunctionCall>,
}

#[derive(Deserialize)]
struct FunctionCall {
    id: Option<String>,
    #[serde(default)]
    name: String,
    args: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grounding {
    #[serde(default)]
    grounding_chunks: Vec<GroundingChunk>,
}

#[derive(Deserialize)]
struct GroundingChunk {
    web: Option<Web>,
}

#[derive(Deserialize)]
struct Web {
    uri: Option<String>,
    title: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the provider's names")]
struct WireUsage {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    total_token_count: Option<u64>,
}

/// Reads a stream of contents.
#[derive(Default)]
pub(super) struct Contents {
    events: Events,
    state: State,
}

#[derive(Default)]
struct State {
    choices: BTreeMap<u32, Choice>,
}

#[derive(Default)]
struct Choice {
    calls: u32,
    finish: Option<String>,
}

impl Decoder for Contents {
    fn push(&mut self, input: &[u8], out: &mut Vec<Event>) -> Result<()> {
        let state = &mut self.state;
        self.events
            .push(input, |event| state.read(&event.data, out))
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<()> {
        let state = &mut self.state;
        self.events.finish(|event| state.read(&event.data, out))?;
        self.state.end(out);
        Ok(())
    }
}

/// Reads an answer that came whole.
pub(super) fn reply(body: &[u8], out: &mut Vec<Event>) -> Result<()> {
    let mut state = State::default();
    state.read(body, out)?;
    state.end(out);
    Ok(())
}

impl State {
    fn read(&mut self, data: &[u8], out: &mut Vec<Event>) -> Result<()> {
        let answer: Answer = serde_json::from_slice(data).map_err(broken)?;
        if let Some(told) = answer.error {
            out.push(Event::Failed(in_stream(&told)));
            return Ok(());
        }
        out.push(Event::Start {
            id: answer.response_id,
            model: answer.model_version,
        });
        // It comes with every piece: of an answer that is cut short, the prompt is known.
        let usage = answer.usage_metadata.map(WireUsage::tokens);
        out.extend(usage.map(Event::Usage));
        let blocked = answer
            .prompt_feedback
            .and_then(|feedback| feedback.block_reason);
        if let Some(reason) = blocked.filter(|_| answer.candidates.is_empty()) {
            self.choices.entry(0).or_default().finish = Some(reason);
            out.push(Event::Refusal {
                choice: 0,
                text: "The provider blocked the prompt.".to_owned(),
            });
        }
        for candidate in answer.candidates {
            self.candidate(candidate, out)?;
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: Candidate, out: &mut Vec<Event>) -> Result<()> {
        let index = candidate.index;
        if index >= CHOICES_MAX {
            return Err(broken("too many candidates"));
        }
        let choice = self.choices.entry(index).or_default();
        choice.finish = candidate.finish_reason.or(choice.finish.take());
        for part in candidate
            .content
            .into_iter()
            .flat_map(|content| content.parts)
        {
            choice.part(index, part, out)?;
        }
        let chunks = candidate
            .grounding_metadata
            .into_iter()
            .flat_map(|it| it.grounding_chunks);
        out.extend(chunks.filter_map(|chunk| {
            let web = chunk.web?;
            Some(Event::Citation {
                choice: index,
                url: web.uri?,
                title: web.title.unwrap_or_default(),
            })
        }));
        Ok(())
    }

    /// The end of the message; without a finished candidate it is none.
    fn end(&mut self, out: &mut Vec<Event>) {
        let mut finished = false;
        for (index, choice) in &mut self.choices {
            let Some(native) = choice.finish.take() else {
                continue;
            };
            finished = true;
            out.push(Event::Finish {
                choice: *index,
                stop: stop(&native, choice.calls > 0),
                native,
            });
        }
        if finished {
            out.push(Event::End);
        }
    }
}

impl Choice {
    fn part(&mut self, choice: u32, part: WirePart, out: &mut Vec<Event>) -> Result<()> {
        let seal = part.thought_signature.map(|data| Seal {
            family: Family::Gemini,
            data,
            redacted: false,
        });
        if let Some(call) = part.function_call {
            return self.call(choice, call, seal, out);
        }
        if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            out.push(if part.thought {
                Event::Thought { choice, text }
            } else {
                Event::Text { choice, text }
            });
        }
        out.extend(seal.map(|seal| Event::ThoughtSealed { choice, seal }));
        Ok(())
    }

    fn call(
        &mut self,
        choice: u32,
        wire: FunctionCall,
        seal: Option<Seal>,
        out: &mut Vec<Event>,
    ) -> Result<()> {
        let call = self.calls;
        self.calls += 1;
        if call >= CALLS_MAX {
            return Err(broken("too many calls"));
        }
        out.push(Event::Call {
            choice,
            id: wire.id.filter(|id| !id.is_empty()),
            name: wire.name,
            seal,
        });
        let json = wire.args.map(|args| args.get().to_owned());
        let json = json.filter(|json| json != "null");
        out.extend(json.map(|json| Event::Arguments { choice, call, json }));
        out.push(Event::CallEnded { choice, call });
        Ok(())
    }
}

fn stop(native: &str, has_calls: bool) -> Stop {
    match native {
        "MAX_TOKENS" => Stop::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "IMAGE_OTHER"
        | "NO_IMAGE"
        | "MODEL_ARMOR"
        | "ESCALATION" => Stop::Filter,
        "MALFORMED_FUNCTION_CALL"
        | "MALFORMED_RESPONSE"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "OTHER" => Stop::Malformed,
        // `STOP`, and what is yet to come.
        _ if has_calls => Stop::Tools,
        _ => Stop::End,
    }
}

impl WireUsage {
    /// Thoughts are counted beside the candidates, but for servers whose sum says that they are in them.
    fn tokens(self) -> Usage {
        let count = Option::unwrap_or_default;
        let input =
            count(self.prompt_token_count).saturating_add(count(self.tool_use_prompt_token_count));
        let said: u64 = count(self.candidates_token_count);
        let reasoning = count(self.thoughts_token_count);
        let is_whole = self.total_token_count == Some(input.saturating_add(said));
        Usage {
            input,
            output: if is_whole {
                said
            } else {
                said.saturating_add(reasoning)
            },
            cached: count(self.cached_content_token_count),
            cache_write: 0,
            reasoning,
            source: Source::Reported,
        }
    }
}
