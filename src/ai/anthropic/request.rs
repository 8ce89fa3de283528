//! Writes a request.

mod blocks;

use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{VERSION, VERSION_NAME};
use crate::ai::chat::{ChatRequest, Format, Side, Tier, Tool, ToolChoice};
use crate::ai::claude::{self, Model, Sampling, Told, schema};
use crate::ai::json::Json;
use crate::ai::lane::{Encoded, JSON_TOOL, Reading};
use crate::ai::names::{self, Names, Rule};
use crate::ai::param::{Dropped, unsupported};
use crate::error::{Error, Kind, Result};
use blocks::{Block, CacheControl, Marks};

const TOOL_NAME: Rule = Rule {
    bytes_max: 128,
    also: b"",
    starts_as_word: false,
};

const EMPTY_SCHEMA: &str = r#"{"type":"object","properties":{}}"#;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<WireTurn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<WireThinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<WireMetadata>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct WireTurn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
struct WireTool<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Json<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct WireChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireThinking {
    Enabled { budget_tokens: u64 },
    Adaptive { display: &'static str },
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<WireFormat<'a>>,
}

#[derive(Serialize)]
struct WireFormat<'a> {
    r#type: &'static str,
    schema: Json<'a>,
}

#[derive(Serialize)]
struct WireMetadata {
    user_id: String,
}

pub(super) fn encode(
    chat: &ChatRequest<'_>,
    model: &str,
    dropped: &mut Dropped,
) -> Result<Encoded> {
    let json_tool = forces_json_tool(chat, Model::parse(model))?;
    let body = body(chat, model, json_tool, dropped)?;
    let mut headers = HeaderMap::new();
    headers.insert(VERSION_NAME, VERSION);
    let accept = if chat.stream {
        "text/event-stream"
    } else {
        "application/json"
    };
    headers.insert(http::header::ACCEPT, HeaderValue::from_static(accept));
    Ok(Encoded {
        path: "/messages".to_owned(),
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
    name: &'a str,
    json_tool: bool,
    dropped: &mut Dropped,
) -> Result<Body<'a>> {
    let model = Model::parse(name);
    let mut marks = Marks::new(chat, dropped);
    let tools = tools(chat, model, &mut marks, json_tool, dropped)?;
    let tool_choice = choice(chat, json_tool);
    let (system, messages) = conversation(chat, &mut marks)?;
    let max_tokens = chat.max_tokens.unwrap_or_else(|| model.max_tokens());
    let forced = tool_choice
        .as_ref()
        .is_some_and(|it| matches!(it.r#type, "any" | "tool"));
    let thoughts = claude::thoughts(chat, model, max_tokens, forced, dropped);
    let thinking = thoughts.thinking.map(|told| match told {
        Told::Budget(budget_tokens) => WireThinking::Enabled { budget_tokens },
        Told::Adaptive => WireThinking::Adaptive {
            display: "summarized",
        },
    });
    let effort = thoughts.effort;
    let format = match chat.format {
        Format::Schema { schema, .. } if !json_tool => Some(WireFormat {
            r#type: "json_schema",
            schema: schema::clean(schema)?,
        }),
        Format::Schema { .. } | Format::Text | Format::Json => None,
    };
    let sampling = Sampling::new(chat, model, thinking.is_some(), dropped);
    // What a model cannot stop at, the provider refuses.
    let stops = chat.stop.iter().filter(|stop| !stop.trim().is_empty());
    Ok(Body {
        model: name,
        max_tokens,
        system,
        messages,
        tools,
        tool_choice,
        thinking,
        output_config: (effort.is_some() || format.is_some())
            .then_some(OutputConfig { effort, format }),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        stop_sequences: stops.map(String::as_str).collect(),
        service_tier: tier(chat.service_tier, dropped),
        metadata: chat.user.as_deref().map(|user| WireMetadata {
            user_id: opaque(user),
        }),
        stream: chat.stream,
    })
}

fn conversation<'a>(
    chat: &'a ChatRequest<'a>,
    marks: &mut Marks,
) -> Result<(Vec<Block<'a>>, Vec<WireTurn<'a>>)> {
    let (system, turns) = chat.turns();
    let mut system: Vec<Block<'a>> = system
        .into_iter()
        .filter_map(|text| Block::text(text, marks))
        .collect();
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
            content.extend(Block::new(part, marks)?);
        }
        if content.is_empty() {
            continue;
        }
        let role = match turn.side {
            Side::User => "user",
            Side::Model => "assistant",
        };
        messages.push(WireTurn { role, content });
    }
    // A beginning that the model is to go on with must not end in a space.
    if let Some(last) = messages.last_mut().filter(|turn| turn.role == "assistant")
        && let Some(block) = last.content.last_mut()
    {
        block.trim_end();
    }
    Ok((system, messages))
}

/// Whether the answer must be made of a tool's arguments, as older models know no other way to keep to a schema.
fn forces_json_tool(chat: &ChatRequest<'_>, model: Model) -> Result<bool> {
    let by_tool = matches!(chat.format, Format::Schema { .. }) && !model.has_schemas();
    if by_tool && !chat.tools.is_empty() {
        return Err(unsupported("response_format"));
    }
    Ok(by_tool)
}

fn tools<'a>(
    chat: &'a ChatRequest<'a>,
    model: Model,
    marks: &mut Marks,
    json_tool: bool,
    dropped: &mut Dropped,
) -> Result<Vec<WireTool<'a>>> {
    if let (
        true,
        Format::Schema {
            description,
            schema,
            ..
        },
    ) = (json_tool, &chat.format)
    {
        return Ok(vec![WireTool {
            name: JSON_TOOL.to_owned(),
            description: Some(description.unwrap_or("Call this with your answer.")),
            input_schema: Json::Raw(schema),
            strict: None,
            cache_control: None,
        }]);
    }
    chat.allowed_tools()
        .map(|tool| self::tool(tool, model, marks, dropped))
        .collect()
}

fn tool<'a>(
    tool: &'a Tool<'a>,
    model: Model,
    marks: &mut Marks,
    dropped: &mut Dropped,
) -> Result<WireTool<'a>> {
    let mut strict = tool.strict.filter(|strict| *strict);
    if strict.is_some() && !model.has_schemas() {
        dropped.note("tools[].function.strict");
        strict = None;
    }
    let input_schema = match tool.parameters {
        Some(schema) if strict.is_some() => schema::clean(schema)?,
        Some(schema) if schema.get().trim() != "{}" => Json::Raw(schema),
        Some(_) | None => {
            let empty: &RawValue = serde_json::from_str(EMPTY_SCHEMA).map_err(Error::internal)?;
            Json::Raw(empty)
        }
    };
    Ok(WireTool {
        name: names::fit(&tool.name, TOOL_NAME).into_owned(),
        description: tool.description.as_deref(),
        input_schema,
        strict,
        cache_control: marks.take(tool.cache),
    })
}

fn choice<'a>(chat: &'a ChatRequest<'a>, json_tool: bool) -> Option<WireChoice<'a>> {
    let forced = |name| WireChoice {
        r#type: "tool",
        name: Some(name),
        disable_parallel_tool_use: None,
    };
    if json_tool {
        return Some(forced(JSON_TOOL.into()));
    }
    if chat.tools.is_empty() {
        return None;
    }
    let plain = |r#type| WireChoice {
        r#type,
        name: None,
        disable_parallel_tool_use: None,
    };
    let mut choice = match &chat.tool_choice {
        None if chat.parallel_tool_calls.is_none() => return None,
        None
        | Some(
            ToolChoice::Auto
            | ToolChoice::Allowed {
                required: false, ..
            },
        ) => plain("auto"),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => plain("any"),
        Some(ToolChoice::None) => return Some(plain("none")),
        Some(ToolChoice::Named(name)) => forced(names::fit(name, TOOL_NAME)),
    };
    choice.disable_parallel_tool_use = chat.parallel_tool_calls.map(|parallel| !parallel);
    Some(choice)
}

fn tier(tier: Option<Tier>, dropped: &mut Dropped) -> Option<&'static str> {
    match tier? {
        Tier::Default => Some("standard_only"),
        Tier::Priority => Some("auto"),
        Tier::Flex => {
            dropped.note("service_tier");
            None
        }
    }
}

/// The provider refuses what looks like a person's name or address, and need not know either.
fn opaque(user: &str) -> String {
    names::digest(user, 16)
}
