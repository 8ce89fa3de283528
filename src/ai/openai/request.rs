//! Reads a chat that has to be translated: the body's members, and what each says in the model.
//!
//! Only for that: a chat for a resource that speaks this dialect itself is spliced and never comes here. The body
//! was scanned before, so it is JSON, and its `model` stands in it once. Everything else is checked here, and what is
//! not known is refused by name.

mod content;
mod message;
mod tools;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ai::chat::{ChatRequest, Effort, Format, Metadata, Tier};
use crate::ai::json::{Members, Str};
use crate::ai::param::{Dropped, Param, unsupported};
use crate::error::{Error, Kind, Result};

/// Most of a parser's complaint that a client is shown: it may quote what the client sent.
const COMPLAINT_CHARS_MAX: usize = 200;

/// A chat as far as it does not depend on who answers it.
#[derive(Debug, Default)]
pub struct Decoded<'a> {
    pub request: ChatRequest<'a>,
    /// The parameters that say something: those at their defaults are left out.
    pub given: Vec<Param>,
    /// Advice that has no place in the model.
    pub dropped: Dropped,
}

/// Reads a whole body.
pub fn decode(body: &[u8]) -> Result<Decoded<'_>> {
    let members: Members<'_> = serde_json::from_slice(body)
        .map_err(|error| Error::new(Kind::MalformedBody, complaint("The body", &error)))?;
    let mut decoded = Decoded::default();
    let mut messages = None;
    for (name, raw) in &members.0 {
        if raw.get() == "null" {
            continue;
        }
        match &**name {
            "model" => {}
            "messages" => messages = Some(*raw),
            "stream" => decoded.request.stream = value("stream", raw)?,
            "stream_options" => {
                let options: StreamOptions = value("stream_options", raw)?;
                decoded.request.tells_usage = options.include_usage == Some(true);
            }
            name => {
                let param = Param::parse(name).ok_or_else(|| unsupported(name))?;
                if decoded.set(param, raw)? {
                    decoded.given.push(param);
                }
            }
        }
    }
    let messages = messages.ok_or_else(|| invalid("messages", "You must provide messages."))?;
    message::decode(messages, &mut decoded)?;
    Ok(decoded)
}

impl<'a> Decoded<'a> {
    /// Takes one parameter; whether it says more than its absence would.
    fn set(&mut self, param: Param, raw: &'a RawValue) -> Result<bool> {
        let name = param.name();
        let request = &mut self.request;
        match param {
            Param::MaxCompletionTokens => request.max_tokens = Some(value(name, raw)?),
            Param::MaxTokens => {
                // The newer name wins, wherever it stands.
                let tokens = Some(value(name, raw)?);
                request.max_tokens = request.max_tokens.or(tokens);
            }
            Param::Temperature => request.temperature = Some(within(name, raw, 0.0, 2.0)?),
            Param::TopP => request.top_p = Some(within(name, raw, 0.0, 1.0)?),
            Param::TopK => request.top_k = Some(value(name, raw)?),
            Param::PresencePenalty => {
                request.presence_penalty = penalty(name, raw)?;
                return Ok(request.presence_penalty.is_some());
            }
            Param::FrequencyPenalty => {
                request.frequency_penalty = penalty(name, raw)?;
                return Ok(request.frequency_penalty.is_some());
            }
            Param::Seed => request.seed = Some(value(name, raw)?),
            Param::N => {
                request.choices = choices(raw)?;
                return Ok(request.choices.is_some());
            }
            Param::Logprobs => {
                let wanted: bool = value(name, raw)?;
                request.logprobs = request.logprobs.or(wanted.then_some(0));
                return Ok(wanted);
            }
            Param::TopLogprobs => request.logprobs = Some(value(name, raw)?),
            Param::Stop => request.stop = stops(raw)?,
            Param::ReasoningEffort => request.effort = Some(effort(raw)?),
            Param::ServiceTier => {
                request.service_tier = tier(raw)?;
                return Ok(request.service_tier.is_some());
            }
            Param::User => request.user = Some(value(name, raw)?),
            Param::SafetyIdentifier => {
                request.user.get_or_insert(value(name, raw)?);
            }
            Param::Metadata => {
                request.metadata = Some(metadata(raw)?);
                return Ok(request.metadata.as_ref().is_some_and(|it| !it.is_empty()));
            }
            Param::ResponseFormat => {
                request.format = tools::format(raw)?;
                return Ok(!matches!(request.format, Format::Text));
            }
            Param::Tools => request.tools = tools::tools(raw)?,
            Param::ToolChoice => request.tool_choice = Some(tools::choice(raw)?),
            Param::ParallelToolCalls => {
                let parallel: bool = value(name, raw)?;
                request.parallel_tool_calls = (!parallel).then_some(false);
                return Ok(!parallel);
            }
            Param::Audio
            | Param::FunctionCall
            | Param::Functions
            | Param::LogitBias
            | Param::Modalities
            | Param::Moderation
            | Param::Prediction
            | Param::PromptCacheKey
            | Param::PromptCacheOptions
            | Param::PromptCacheRetention
            | Param::Store
            | Param::Verbosity
            | Param::WebSearchOptions => return Ok(!is_default(param, raw.get())),
        }
        Ok(true)
    }
}

/// Whether a value without a place in the model says no more than its absence.
fn is_default(param: Param, raw: &str) -> bool {
    let plain: String = raw.chars().filter(|c| !c.is_whitespace()).collect();
    match plain.as_str() {
        "false" => param == Param::Store,
        "{}" => param == Param::LogitBias,
        "[]" => param == Param::Functions,
        r#"["text"]"# => param == Param::Modalities,
        r#""medium""# => param == Param::Verbosity,
        _ => false,
    }
}

/// `None` for one, which is what there is anyway.
fn choices(raw: &RawValue) -> Result<Option<u64>> {
    let choices: u64 = value("n", raw)?;
    if !(1..=128).contains(&choices) {
        return Err(invalid("n", "'n' must be 1 to 128."));
    }
    Ok((choices > 1).then_some(choices))
}

fn stops(raw: &RawValue) -> Result<Vec<String>> {
    if raw.get().starts_with('"') {
        return Ok(vec![value("stop", raw)?]);
    }
    value("stop", raw)
}

fn effort(raw: &RawValue) -> Result<Effort> {
    let word: String = value("reasoning_effort", raw)?;
    Ok(match word.as_str() {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::XHigh,
        "max" => Effort::Max,
        _ => return Err(invalid("reasoning_effort", "This effort is not known.")),
    })
}

/// `None` for what is no wish at all.
fn tier(raw: &RawValue) -> Result<Option<Tier>> {
    let word: String = value("service_tier", raw)?;
    Ok(match word.as_str() {
        "auto" => None,
        "default" => Some(Tier::Default),
        "flex" => Some(Tier::Flex),
        "priority" | "fast" | "scale" => Some(Tier::Priority),
        _ => return Err(invalid("service_tier", "This tier is not known.")),
    })
}

fn metadata(raw: &RawValue) -> Result<Metadata> {
    struct Pairs(Metadata);
    impl<'de> Deserialize<'de> for Pairs {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Strings;
            impl<'de> Visitor<'de> for Strings {
                type Value = Pairs;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object of strings")
                }
                fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                    let mut pairs = Metadata::new();
                    while let Some(pair) = map.next_entry()? {
                        pairs.push(pair);
                    }
                    Ok(Pairs(pairs))
                }
            }
            from.deserialize_map(Strings)
        }
    }
    Ok(value::<Pairs>("metadata", raw)?.0)
}

fn penalty(name: &'static str, raw: &RawValue) -> Result<Option<f64>> {
    Ok(Some(within(name, raw, -2.0, 2.0)?).filter(|number| *number != 0.0))
}

fn within(name: &'static str, raw: &RawValue, least: f64, most: f64) -> Result<f64> {
    let number: f64 = value(name, raw)?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    let message = format!("'{name}' must be {least} to {most}.");
    Err(Error::new(Kind::InvalidRequest, message).with_param(name))
}

/// Reads a value; `name` is what a client is told of where it stands.
pub(super) fn value<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let what = format!("The parameter '{name}'");
        Error::new(Kind::InvalidRequest, complaint(&what, &error)).with_param(name.to_owned())
    })
}

fn complaint(what: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    // Lines and columns count from the value, which helps nobody.
    let text = text.split(" at line ").next().unwrap_or_default();
    let text: String = text.chars().take(COMPLAINT_CHARS_MAX).collect();
    format!("{what} is not valid: {text}.")
}

pub(super) fn invalid(
    param: impl Into<Cow<'static, str>>,
    message: impl Into<Cow<'static, str>>,
) -> Error {
    Error::new(Kind::InvalidRequest, message).with_param(param)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
    /// Padding against who listens to lengths, which only its own provider makes.
    #[serde(rename = "include_obfuscation")]
    _obfuscation: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests;
