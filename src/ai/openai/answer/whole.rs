//! An answer as one document.

use bytes::Bytes;
use serde::Serialize;

use super::{Annotation, Detail, Event, Extra, Stop, Told, WireUsage, json, place};
use crate::ai::chat::Seal;
use crate::ai::usage::Usage;
use crate::error::{Error, Kind, Result};

/// Gathers the events of an answer.
#[derive(Debug)]
pub struct Whole {
    told: Told,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Choice {
    text: Option<String>,
    refusal: Option<String>,
    thoughts: String,
    /// Of the thought that is not sealed yet.
    thought: String,
    details: Vec<Detail>,
    annotations: Vec<Annotation>,
    calls: Vec<Call>,
    finish: Option<(Stop, String)>,
}

#[derive(Debug, Serialize)]
struct Call {
    id: String,
    r#type: &'static str,
    function: Function,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra>,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<WireUsage>,
}

#[derive(Serialize)]
struct WireChoice<'a> {
    index: usize,
    message: WireMessage<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
    native_finish_reason: &'a str,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    annotations: &'a [Annotation],
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reasoning_details: &'a [Detail],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [Call],
}

impl Whole {
    pub fn new(told: Told) -> Self {
        Self {
            told,
            choices: Vec::new(),
            usage: None,
            ended: false,
        }
    }

    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    pub fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Start { id, model } => self.told.start(id, model),
            Event::Text { choice, text } => {
                let all = &mut place(&mut self.choices, choice).text;
                all.get_or_insert_default().push_str(&text);
            }
            Event::Refusal { choice, text } => {
                let all = &mut place(&mut self.choices, choice).refusal;
                all.get_or_insert_default().push_str(&text);
            }
            Event::Thought { choice, text } => {
                let choice = place(&mut self.choices, choice);
                choice.thoughts.push_str(&text);
                choice.thought.push_str(&text);
            }
            Event::ThoughtSealed { choice, seal } => place(&mut self.choices, choice).sealed(seal),
            Event::Citation { choice, url, title } => {
                let annotations = &mut place(&mut self.choices, choice).annotations;
                annotations.push(Annotation::new(url, title));
            }
            Event::Call {
                choice,
                id,
                name,
                seal,
            } => {
                let calls = &mut place(&mut self.choices, choice).calls;
                let index = u32::try_from(calls.len()).unwrap_or(u32::MAX);
                let id = id.unwrap_or_else(|| self.told.call_id(choice, index));
                calls.push(Call::new(id, name, seal));
            }
            Event::Arguments { choice, call, json } => {
                let calls = &mut place(&mut self.choices, choice).calls;
                if let Some(call) = calls.get_mut(call as usize) {
                    call.function.arguments.push_str(&json);
                }
            }
            Event::CallEnded { choice, call } => {
                let calls = &mut place(&mut self.choices, choice).calls;
                if let Some(call) = calls.get_mut(call as usize) {
                    call.end();
                }
            }
            Event::Finish {
                choice,
                stop,
                native,
            } => {
                let finish = &mut place(&mut self.choices, choice).finish;
                finish.get_or_insert((stop, native));
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Failed(error) => return Err(error),
            Event::End => self.ended = true,
            Event::Ping => {}
        }
        Ok(())
    }

    /// The body; an error if the answer never ended.
    pub fn body(&self) -> Result<Bytes> {
        if !self.ended || self.choices.is_empty() {
            return Err(Error::new(
                Kind::UpstreamBroken,
                "The model's answer broke off before its end.",
            ));
        }
        let choices = self.choices.iter().enumerate();
        let completion = Completion {
            id: &self.told.id,
            object: "chat.completion",
            created: self.told.created,
            model: &self.told.model,
            choices: choices.map(|(at, choice)| choice.wire(at)).collect(),
            usage: self.usage.map(WireUsage::from),
        };
        json(&completion).map(Bytes::from)
    }
}

impl Call {
    fn new(id: String, name: String, seal: Option<Seal>) -> Self {
        Self {
            id,
            r#type: "function",
            function: Function {
                name,
                arguments: String::new(),
            },
            extra_content: seal.map(Extra::from),
        }
    }

    /// Readers parse what they get: no arguments are an object of none.
    fn end(&mut self) {
        if self.function.arguments.is_empty() {
            self.function.arguments.push_str("{}");
        }
    }
}

impl Choice {
    fn sealed(&mut self, seal: Seal) {
        let text = std::mem::take(&mut self.thought);
        let detail = Detail::new(self.details.len(), text, seal);
        self.details.push(detail);
    }

    fn wire(&self, index: usize) -> WireChoice<'_> {
        let (stop, native) = match &self.finish {
            Some((stop, native)) => (*stop, native.as_str()),
            None => (Stop::End, ""),
        };
        // An answer that says nothing at all says an empty text.
        let is_silent = self.calls.is_empty() && self.refusal.is_none();
        let nothing = is_silent.then_some("");
        WireChoice {
            index,
            message: WireMessage {
                role: "assistant",
                content: self.text.as_deref().or(nothing),
                refusal: self.refusal.as_deref(),
                annotations: &self.annotations,
                reasoning_content: &self.thoughts,
                reasoning_details: &self.details,
                tool_calls: &self.calls,
            },
            logprobs: None,
            finish_reason: stop.word(),
            native_finish_reason: native,
        }
    }
}
