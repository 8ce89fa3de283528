//! Writes an answer of the model as `OpenAI` clients read it: [`Chunks`] for a stream, [`Whole`] for one that is not.

use serde::Serialize;

use crate::ai::chat::Seal;
use crate::ai::event::{Event, Stop};
use crate::ai::names;
use crate::ai::usage::Usage;
use crate::error::{Error, Result};

mod chunks;
mod whole;

pub use chunks::Chunks;
pub use whole::Whole;

/// What all parts of an answer repeat.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Until the provider tells its own.
    pub id: String,
    pub model: String,
    /// Unix seconds.
    pub created: i64,
    /// The client asked for the tokens of its stream.
    pub tells_usage: bool,
}

impl Told {
    fn start(&mut self, id: Option<String>, model: Option<String>) {
        if let Some(id) = id {
            self.id = id;
        }
        if let Some(model) = model {
            self.model = model;
        }
    }

    /// An id for a call whose provider gives none: no other answer has the same.
    fn call_id(&self, choice: u32, call: u32) -> String {
        let digest = names::digest(&self.id, 10);
        format!("call_{digest}{choice}_{call}")
    }
}

#[derive(Serialize)]
struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.input,
            completion_tokens: usage.output,
            total_tokens: usage.input.saturating_add(usage.output),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached,
                cache_write_tokens: usage.cache_write,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning,
            },
        }
    }
}

/// A thought that can be sent back.
#[derive(Clone, Debug, Serialize)]
struct Detail {
    r#type: &'static str,
    format: &'static str,
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

impl Detail {
    fn new(index: usize, text: String, seal: Seal) -> Self {
        let format = seal.family.label();
        if seal.redacted {
            return Self {
                r#type: "reasoning.encrypted",
                format,
                index,
                text: None,
                signature: None,
                data: Some(seal.data),
            };
        }
        Self {
            r#type: "reasoning.text",
            format,
            index,
            text: Some(text),
            signature: Some(seal.data),
            data: None,
        }
    }
}

/// The signature of a call, where Google's own compatible endpoint has it too.
#[derive(Clone, Debug, Serialize)]
struct Extra {
    google: ExtraGoogle,
}

#[derive(Clone, Debug, Serialize)]
struct ExtraGoogle {
    thought_signature: String,
}

impl From<Seal> for Extra {
    fn from(seal: Seal) -> Self {
        Self {
            google: ExtraGoogle {
                thought_signature: seal.data,
            },
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Annotation {
    r#type: &'static str,
    url_citation: UrlCitation,
}

#[derive(Clone, Debug, Serialize)]
struct UrlCitation {
    url: String,
    title: String,
    start_index: u32,
    end_index: u32,
}

impl Annotation {
    /// Where in the text it belongs, providers tell in ways of their own; it is shown for the whole.
    fn new(url: String, title: String) -> Self {
        Self {
            r#type: "url_citation",
            url_citation: UrlCitation {
                url,
                title,
                start_index: 0,
                end_index: 0,
            },
        }
    }
}

impl Stop {
    /// The `finish_reason`.
    fn word(self) -> &'static str {
        match self {
            Self::End | Self::Malformed => "stop",
            Self::Length => "length",
            Self::Tools => "tool_calls",
            Self::Filter => "content_filter",
        }
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(Error::internal)
}

/// A choice's place in a list that grows with the choices seen; events hold checked numbers.
fn place<T: Default>(choices: &mut Vec<T>, choice: u32) -> &mut T {
    let at = choice.min(crate::ai::event::CHOICES_MAX) as usize;
    if choices.len() <= at {
        choices.resize_with(at + 1, T::default);
    }
    &mut choices[at]
}

#[cfg(test)]
mod tests;
