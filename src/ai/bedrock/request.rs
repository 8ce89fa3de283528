//! Writes a request.

mod blocks;
mod wire;

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::{self, HeaderValue};
use serde_json::value::RawValue;

use super::is_claude;
use crate::ai::chat::{ChatRequest, Effort, Format, Metadata, Side, Tier, Tool, ToolChoice};
use crate::ai::claude::{self, Model, Sampling, Told, schema};
use crate::ai::json::Json;
use crate::ai::lane::{self, Encoded, JSON_TOOL, Reading};
use crate::ai::names::{self, Names, Rule};
use crate::ai::param::{Dropped, unsupported};
use crate::error::{Error, Kind, Result};
use blocks::{Block, Blocks, CachePoint};
use wire::{
    Body, EffortConfig, InferenceConfig, InputSchema, JsonSchema, More, OutputConfig, Structure,
    TextFormat, ToolConfig, ToolSpec, WireChoice, WireThinking, WireTier, WireTool, WireTurn,
};

const TOOL_NAME: Rule = Rule {
    bytes_max: 64,
    also: b"",
    starts_as_word: false,
};

/// Labels that a request may bear, and the longest of each.
const LABELS_MAX: usize = 16;
const LABEL_BYTES_MAX: usize = 256;

const EMPTY_SCHEMA: &str = r#"{"type":"object","properties":{}}"#;

pub(super) fn encode(chat: &ChatRequest<'_>, name: &str, dropped: &mut Dropped) -> Result<Encoded> {
    let model = is_claude(name).then(|| Model::parse(name));
    let has_schema = matches!(chat.format, Format::Schema { .. });
    let json_tool = has_schema && model.is_some_and(|model| !model.has_schemas());
    if json_tool && !chat.tools.is_empty() {
        return Err(unsupported("response_format"));
    }
    let body = body(chat, name, model, json_tool, dropped)?;
    let action = if chat.stream {
        "converse-stream"
    } else {
        "converse"
    };
    let mut headers = HeaderMap::new();
    let accept = if chat.stream {
        "application/vnd.amazon.eventstream"
    } else {
        "application/json"
    };
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    Ok(Encoded {
        path: format!("/model/{}/{action}", lane::path_segment(name)?),
        headers,
        body: serde_json::to_vec(&body).map_err(Error::internal)?,
        reading: Reading {
            names: Names::new(chat, TOOL_NAME),
            json_tool,
        },
    })
}

fn body<'a>(
    chat: &'a ChatRequest<'a>,
    name: &str,
    model: Option<Model>,
    json_tool: bool,
    dropped: &mut Dropped,
) -> Result<Body<'a>> {
    let (system, messages) = conversation(chat, name)?;
    let tool_config = tools(chat, model, json_tool, dropped)?;
    let forced = tool_config.as_ref().is_some_and(|config| {
        matches!(
            config.tool_choice,
            Some(WireChoice::Any {} | WireChoice::Tool { .. })
        )
    });
    let (sampling, more) = wishes(chat, model, forced, dropped);
    let stops = chat.stop.iter().filter(|stop| !stop.trim().is_empty());
    Ok(Body {
        messages,
        system,
        inference_config: InferenceConfig {
            max_tokens: chat.max_tokens,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            stop_sequences: stops.map(String::as_str).collect(),
        },
        tool_config,
        output_config: output(chat, model, json_tool)?,
        additional_model_request_fields: more,
        request_metadata: labels(chat.metadata.as_ref(), dropped),
        service_tier: chat.service_tier.map(|tier| WireTier {
            r#type: match tier {
                Tier::Default => "default",
                Tier::Flex => "flex",
                Tier::Priority => "priority",
            },
        }),
    })
}

fn conversation<'a>(
    chat: &'a ChatRequest<'a>,
    model: &str,
) -> Result<(Vec<Block<'a>>, Vec<WireTurn<'a>>)> {
    let mut blocks = Blocks::new(super::family(model));
    let (instructions, turns) = chat.turns();
    let mut system = Vec::with_capacity(instructions.len());
    for text in instructions {
        Blocks::push_text(text, &mut system);
    }
    if matches!(chat.format, Format::Json) {
        system.push(Block::plain(
            "Answer with one JSON object and nothing else.",
        ));
    }
    if turns.first().is_none_or(|turn| turn.side != Side::User) {
        let message = "This model's conversations start with a message of the user.";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("messages"));
    }
    let mut messages = Vec::with_capacity(turns.len());
    for turn in turns {
        let mut content = Vec::with_capacity(turn.parts.len());
        for part in turn.parts {
            blocks.push(part, &mut content)?;
        }
        let role = match turn.side {
            Side::User => "user",
            Side::Model => "assistant",
        };
        if !content.is_empty() {
            messages.push(WireTurn { role, content });
        }
    }
    Ok((system, messages))
}

fn tools<'a>(
    chat: &'a ChatRequest<'a>,
    model: Option<Model>,
    json_tool: bool,
    dropped: &mut Dropped,
) -> Result<Option<ToolConfig<'a>>> {
    if let (
        true,
        Format::Schema {
            description,
            schema,
            ..
        },
    ) = (json_tool, &chat.format)
    {
        let tool = ToolSpec {
            name: JSON_TOOL.into(),
            description: Some(description.unwrap_or("Call this with your answer.")),
            input_schema: InputSchema {
                json: Json::Raw(schema),
            },
            strict: None,
        };
        return Ok(Some(ToolConfig {
            tools: vec![WireTool::ToolSpec(tool)],
            tool_choice: Some(WireChoice::Tool {
                name: JSON_TOOL.into(),
            }),
        }));
    }
    let has_history = chat.calls().next().is_some();
    // There is no word for "none": tools are not told of, unless the history speaks of them.
    let is_off = chat.tool_choice == Some(ToolChoice::None) && !has_history;
    let mut tools = Vec::with_capacity(chat.tools.len());
    for tool in chat.allowed_tools().filter(|_| !is_off) {
        tools.push(WireTool::ToolSpec(spec(tool, model, dropped)?));
        tools.extend(
            tool.cache
                .map(|cache| WireTool::CachePoint(CachePoint::new(cache))),
        );
    }
    if tools.is_empty() && has_history {
        // Where calls were made, the provider wants to see tools.
        tools.push(WireTool::ToolSpec(ToolSpec {
            name: "unavailable".into(),
            description: Some("No tool can be called."),
            input_schema: InputSchema { json: empty()? },
            strict: None,
        }));
        return Ok(Some(ToolConfig {
            tools,
            tool_choice: None,
        }));
    }
    Ok((!tools.is_empty()).then(|| ToolConfig {
        tools,
        tool_choice: choice(chat.tool_choice.as_ref()),
    }))
}

fn spec<'a>(
    tool: &'a Tool<'a>,
    model: Option<Model>,
    dropped: &mut Dropped,
) -> Result<ToolSpec<'a>> {
    let mut strict = tool.strict.filter(|strict| *strict);
    if strict.is_some() && !model.is_some_and(Model::has_schemas) {
        dropped.note("tools[].function.strict");
        strict = None;
    }
    let json = match tool.parameters {
        Some(schema) if strict.is_some() => schema::clean(schema)?,
        Some(schema) if schema.get().trim() != "{}" => Json::Raw(schema),
        Some(_) | None => empty()?,
    };
    Ok(ToolSpec {
        name: names::fit(&tool.name, TOOL_NAME),
        description: tool.description.as_deref().filter(|text| !text.is_empty()),
        input_schema: InputSchema { json },
        strict,
    })
}

fn empty() -> Result<Json<'static>> {
    let empty: &RawValue = serde_json::from_str(EMPTY_SCHEMA).map_err(Error::internal)?;
    Ok(Json::Raw(empty))
}

fn choice(choice: Option<&ToolChoice>) -> Option<WireChoice<'_>> {
    match choice? {
        ToolChoice::Auto
        | ToolChoice::Allowed {
            required: false, ..
        } => Some(WireChoice::Auto {}),
        ToolChoice::Required | ToolChoice::Allowed { required: true, .. } => {
            Some(WireChoice::Any {})
        }
        ToolChoice::Named(name) => Some(WireChoice::Tool {
            name: names::fit(name, TOOL_NAME),
        }),
        ToolChoice::None => None,
    }
}

/// What a client wishes of chance and thought, as far as the model takes wishes.
fn wishes(
    chat: &ChatRequest<'_>,
    model: Option<Model>,
    forced: bool,
    dropped: &mut Dropped,
) -> (Sampling, More) {
    let Some(model) = model else {
        let hot = chat
            .temperature
            .is_some_and(|temperature| temperature > 1.0);
        for (is_given, name) in [
            (hot, "temperature"),
            (chat.top_k.is_some(), "top_k"),
            (
                chat.effort.is_some_and(|effort| effort != Effort::None),
                "reasoning_effort",
            ),
        ] {
            if is_given {
                dropped.note(name);
            }
        }
        let sampling = Sampling {
            temperature: chat.temperature.map(|temperature| temperature.min(1.0)),
            top_p: chat.top_p,
            top_k: None,
        };
        return (sampling, More::default());
    };
    let max_tokens = chat.max_tokens.unwrap_or_else(|| model.max_tokens());
    let thoughts = claude::thoughts(chat, model, max_tokens, forced, dropped);
    let sampling = Sampling::new(chat, model, thoughts.thinking.is_some(), dropped);
    let more = More {
        top_k: sampling.top_k,
        thinking: thoughts.thinking.map(|told| match told {
            Told::Budget(budget_tokens) => WireThinking::Enabled { budget_tokens },
            Told::Adaptive => WireThinking::Adaptive {
                display: "summarized",
            },
        }),
        output_config: thoughts.effort.map(|effort| EffortConfig { effort }),
    };
    (sampling, more)
}

fn output<'a>(
    chat: &'a ChatRequest<'a>,
    model: Option<Model>,
    json_tool: bool,
) -> Result<Option<OutputConfig<'a>>> {
    let Format::Schema {
        name,
        description,
        schema,
    } = chat.format
    else {
        return Ok(None);
    };
    if json_tool {
        return Ok(None);
    }
    let json = match model {
        Some(_) => schema::clean(schema)?,
        None => Json::Raw(schema),
    };
    let schema = serde_json::to_string(&json).map_err(Error::internal)?;
    Ok(Some(OutputConfig {
        text_format: TextFormat {
            r#type: "json_schema",
            structure: Structure {
                json_schema: JsonSchema {
                    name,
                    description,
                    schema,
                },
            },
        },
    }))
}

/// The client's labels, if the provider takes them all.
fn labels<'a>(metadata: Option<&'a Metadata>, dropped: &mut Dropped) -> BTreeMap<&'a str, &'a str> {
    let good = |text: &str| {
        text.len() <= LABEL_BYTES_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b" :_@$#=/+,-.".contains(&byte))
    };
    let Some(metadata) = metadata else {
        return BTreeMap::new();
    };
    let all_good = metadata
        .iter()
        .all(|(name, value)| !name.is_empty() && good(name) && good(value));
    if metadata.len() > LABELS_MAX || !all_good {
        dropped.note("metadata");
        return BTreeMap::new();
    }
    metadata
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
