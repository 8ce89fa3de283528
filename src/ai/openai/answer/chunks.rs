//! An answer as a stream of chunks.
//!
//! Nothing leaves before the model says something: until then the next resource can be asked. The first chunk of a
//! choice names its role, calls are counted by choice from 0, one chunk finishes a choice, and usage stands in a
//! chunk without choices, if it was asked for. After an error there is no `[DONE]`.

use serde::Serialize;

use super::{Annotation, Detail, Event, Extra, Stop, Told, WireUsage, json, place};
use crate::ai::chat::Seal;
use crate::ai::usage::Usage;
use crate::error::Result;

/// Most of a thought kept to be told again with its seal. A longer one is told without, and cannot be sent back.
const THOUGHT_BYTES_MAX: usize = 1024 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub struct Chunks {
    told: Told,
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Debug, Default)]
struct Choice {
    begun: bool,
    finished: bool,
    /// Of each call: whether it has arguments.
    calls: Vec<bool>,
    thought: String,
    details: usize,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Shown>,
}

/// Where usage was asked for, every chunk has the member.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Null,
    Usage(WireUsage),
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_finish_reason: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_details: Option<[Detail; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<[Annotation; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[Fragment<'a>; 1]>,
}

#[derive(Serialize)]
struct Fragment<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FragmentFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra>,
}

#[derive(Serialize)]
struct FragmentFunction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl Chunks {
    pub fn new(told: Told) -> Self {
        Self {
            told,
            choices: Vec::new(),
            usage: None,
        }
    }

    /// Appends what an event adds to the stream.
    pub fn write(&mut self, event: Event, out: &mut Vec<u8>) -> Result<()> {
        match event {
            Event::Start { id, model } => {
                // A second one would change what was told already.
                if self.choices.is_empty() {
                    self.told.start(id, model);
                }
                Ok(())
            }
            Event::Text { choice, text } => self.delta(choice, out, Delta::content(&text)),
            Event::Refusal { choice, text } => self.delta(choice, out, Delta::refusal(&text)),
            Event::Thought { choice, text } => {
                let thought = &mut place(&mut self.choices, choice).thought;
                if thought.len() <= THOUGHT_BYTES_MAX {
                    thought.push_str(&text);
                }
                self.delta(choice, out, Delta::reasoning(&text))
            }
            Event::ThoughtSealed { choice, seal } => self.sealed(choice, seal, out),
            Event::Citation { choice, url, title } => {
                let annotation = Annotation::new(url, title);
                self.delta(choice, out, Delta::annotation(annotation))
            }
            Event::Call {
                choice,
                id,
                name,
                seal,
            } => self.call(choice, id, &name, seal, out),
            Event::Arguments { choice, call, json } => self.arguments(choice, call, &json, out),
            Event::CallEnded { choice, call } => {
                let calls = &place(&mut self.choices, choice).calls;
                if calls.get(call as usize) == Some(&false) {
                    // A call without arguments is one with none, and readers parse what they get.
                    return self.arguments(choice, call, "{}", out);
                }
                Ok(())
            }
            Event::Finish {
                choice,
                stop,
                native,
            } => self.finish(choice, stop, &native, out),
            Event::Usage(usage) => {
                self.usage = Some(usage);
                Ok(())
            }
            Event::End => self.end(out),
            Event::Ping | Event::Failed(_) => Ok(()),
        }
    }

    fn finish(&mut self, choice: u32, stop: Stop, native: &str, out: &mut Vec<u8>) -> Result<()> {
        self.begin(choice, out)?;
        let state = place(&mut self.choices, choice);
        if std::mem::replace(&mut state.finished, true) {
            return Ok(());
        }
        let last = ChunkChoice {
            finish_reason: Some(stop.word()),
            native_finish_reason: Some(native),
            ..ChunkChoice::new(choice, Delta::default())
        };
        self.chunk(out, &[last])
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if let Some(usage) = self.usage.filter(|_| self.told.tells_usage) {
            self.write_chunk(out, &[], Some(Shown::Usage(usage.into())))?;
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Ok(())
    }

    fn sealed(&mut self, choice: u32, seal: Seal, out: &mut Vec<u8>) -> Result<()> {
        let state = place(&mut self.choices, choice);
        let text = std::mem::take(&mut state.thought);
        if text.len() > THOUGHT_BYTES_MAX {
            return Ok(());
        }
        let detail = Detail::new(state.details, text, seal);
        state.details += 1;
        self.delta(
            choice,
            out,
            Delta {
                reasoning_details: Some([detail]),
                ..Delta::default()
            },
        )
    }

    fn call(
        &mut self,
        choice: u32,
        id: Option<String>,
        name: &str,
        seal: Option<Seal>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let calls = &mut place(&mut self.choices, choice).calls;
        let index = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        calls.push(false);
        let id = id.unwrap_or_else(|| self.told.call_id(choice, index));
        self.delta(
            choice,
            out,
            Delta {
                tool_calls: Some([Fragment {
                    index,
                    id: Some(&id),
                    r#type: Some("function"),
                    function: FragmentFunction {
                        name: Some(name),
                        arguments: "",
                    },
                    extra_content: seal.map(Extra::from),
                }]),
                ..Delta::default()
            },
        )
    }

    fn arguments(&mut self, choice: u32, call: u32, json: &str, out: &mut Vec<u8>) -> Result<()> {
        if json.is_empty() {
            return Ok(());
        }
        if let Some(has_any) = place(&mut self.choices, choice)
            .calls
            .get_mut(call as usize)
        {
            *has_any = true;
        }
        self.delta(
            choice,
            out,
            Delta {
                tool_calls: Some([Fragment {
                    index: call,
                    id: None,
                    r#type: None,
                    function: FragmentFunction {
                        name: None,
                        arguments: json,
                    },
                    extra_content: None,
                }]),
                ..Delta::default()
            },
        )
    }

    fn begin(&mut self, choice: u32, out: &mut Vec<u8>) -> Result<()> {
        if std::mem::replace(&mut place(&mut self.choices, choice).begun, true) {
            return Ok(());
        }
        let first = Delta {
            role: Some("assistant"),
            content: Some(""),
            ..Delta::default()
        };
        self.chunk(out, &[ChunkChoice::new(choice, first)])
    }

    fn delta(&mut self, choice: u32, out: &mut Vec<u8>, delta: Delta<'_>) -> Result<()> {
        self.begin(choice, out)?;
        self.chunk(out, &[ChunkChoice::new(choice, delta)])
    }

    fn chunk(&self, out: &mut Vec<u8>, choices: &[ChunkChoice<'_>]) -> Result<()> {
        let usage = self.told.tells_usage.then_some(Shown::Null);
        self.write_chunk(out, choices, usage)
    }

    fn write_chunk(
        &self,
        out: &mut Vec<u8>,
        choices: &[ChunkChoice<'_>],
        usage: Option<Shown>,
    ) -> Result<()> {
        let chunk = Chunk {
            id: &self.told.id,
            object: "chat.completion.chunk",
            created: self.told.created,
            model: &self.told.model,
            choices,
            usage,
        };
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&json(&chunk)?);
        out.extend_from_slice(b"\n\n");
        Ok(())
    }
}

impl<'a> Delta<'a> {
    fn content(text: &'a str) -> Self {
        Self {
            content: Some(text),
            ..Self::default()
        }
    }

    fn refusal(text: &'a str) -> Self {
        Self {
            refusal: Some(text),
            ..Self::default()
        }
    }

    fn reasoning(text: &'a str) -> Self {
        Self {
            reasoning_content: Some(text),
            ..Self::default()
        }
    }

    fn annotation(annotation: Annotation) -> Self {
        Self {
            annotations: Some([annotation]),
            ..Self::default()
        }
    }
}

impl<'a> ChunkChoice<'a> {
    fn new(index: u32, delta: Delta<'a>) -> Self {
        Self {
            index,
            delta,
            logprobs: None,
            finish_reason: None,
            native_finish_reason: None,
        }
    }
}
