//! Tools, which of them may be called, and the form of the answer.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Str, invalid, value};
use crate::ai::chat::{Cache, Format, Tool, ToolChoice};
use crate::ai::param::unsupported;
use crate::error::Result;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTool<'a> {
    r#type: String,
    #[serde(borrow)]
    function: Option<WireFunction<'a>>,
    custom: Option<IgnoredAny>,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFunction<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    description: Option<Str<'a>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
}

/// A mark as Anthropic's clients write it.
#[derive(Deserialize)]
pub(super) struct CacheControl {
    ttl: Option<String>,
}

impl CacheControl {
    pub(super) fn cache(&self) -> Cache {
        match self.ttl.as_deref() {
            Some("1h") => Cache::Hour,
            Some(_) | None => Cache::Default,
        }
    }
}

pub(super) fn tools(raw: &RawValue) -> Result<Vec<Tool<'_>>> {
    let tools: Vec<WireTool<'_>> = value("tools", raw)?;
    tools
        .into_iter()
        .enumerate()
        .map(|(at, tool)| {
            let Some(function) = tool.function.filter(|_| tool.custom.is_none()) else {
                return Err(unsupported(format!("tools[{at}].type")));
            };
            if tool.r#type != "function" {
                return Err(unsupported(format!("tools[{at}].type")));
            }
            let is_object = |raw: &&RawValue| raw.get().starts_with('{');
            if !function.parameters.as_ref().is_none_or(is_object) {
                let param = format!("tools[{at}].function.parameters");
                return Err(invalid(param, "Parameters are described by a JSON schema."));
            }
            if function.name.0.is_empty() {
                let param = format!("tools[{at}].function.name");
                return Err(invalid(param, "A tool needs a name."));
            }
            Ok(Tool {
                name: function.name.0,
                description: function.description.map(|text| text.0),
                parameters: function.parameters,
                strict: function.strict,
                cache: tool.cache_control.map(|mark| mark.cache()),
            })
        })
        .collect()
}

#[derive(Deserialize)]
struct WireChoice {
    r#type: String,
    function: Option<Named>,
    allowed_tools: Option<Allowed>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Allowed {
    mode: String,
    tools: Vec<WireChoice>,
}

pub(super) fn choice(raw: &RawValue) -> Result<ToolChoice> {
    const NAME: &str = "tool_choice";
    if raw.get().starts_with('"') {
        let word: String = value(NAME, raw)?;
        return match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(invalid(NAME, "A choice is none, auto, required or a tool.")),
        };
    }
    let choice: WireChoice = value(NAME, raw)?;
    match (
        choice.r#type.as_str(),
        choice.function,
        choice.allowed_tools,
    ) {
        ("function", Some(function), None) => Ok(ToolChoice::Named(function.name)),
        ("allowed_tools", None, Some(allowed)) => {
            let names = allowed.tools.into_iter().map(|tool| {
                let function = tool.function.filter(|_| tool.r#type == "function");
                Ok(function.ok_or_else(|| unsupported(NAME))?.name)
            });
            Ok(ToolChoice::Allowed {
                names: names.collect::<Result<_>>()?,
                required: allowed.mode == "required",
            })
        }
        _ => Err(unsupported(NAME)),
    }
}

#[derive(Deserialize)]
struct WireFormat<'a> {
    r#type: String,
    #[serde(borrow)]
    json_schema: Option<WireSchema<'a>>,
}

#[derive(Deserialize)]
struct WireSchema<'a> {
    #[serde(borrow)]
    name: Option<&'a str>,
    #[serde(borrow)]
    description: Option<&'a str>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

pub(super) fn format(raw: &RawValue) -> Result<Format<'_>> {
    const NAME: &str = "response_format";
    let format: WireFormat<'_> = value(NAME, raw)?;
    match (format.r#type.as_str(), format.json_schema) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::Json),
        ("json_schema", Some(wire)) => match wire.schema {
            Some(schema) if schema.get().starts_with('{') => Ok(Format::Schema {
                name: wire.name.unwrap_or("answer"),
                description: wire.description,
                schema,
            }),
            Some(_) | None => {
                let param = "response_format.json_schema.schema";
                Err(invalid(param, "A schema is a JSON object."))
            }
        },
        ("json_schema", None) => {
            let param = "response_format.json_schema";
            Err(invalid(param, "The schema is missing."))
        }
        _ => Err(unsupported(NAME)),
    }
}
