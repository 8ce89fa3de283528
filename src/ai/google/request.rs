//! Writes a request.

mod wire;

use std::borrow::Cow;

use http::HeaderMap;
use serde_json::value::RawValue;

use super::model::{Model, Thinking};
use crate::ai::chat::{
    ChatRequest, Effort, Family, Format, Media, MediaKind, Part, Seal, Side, Source, Tool,
    ToolCall, ToolChoice, ToolResult, Turn,
};
use crate::ai::json::{self, Json};
use crate::ai::lane::{self, Encoded, Reading};
use crate::ai::names::{self, Names, Rule};
use crate::ai::param::{Dropped, unsupported};
use crate::error::{Error, Kind, Result};
use wire::{
    Body, CallingConfig, Content, Declaration, FunctionCall, FunctionResponse, GenerationConfig,
    InlineData, Response, ThinkingConfig, ToolConfig, WirePart, WireTools,
};

const TOOL_NAME: Rule = Rule {
    bytes_max: 64,
    also: b".:",
    starts_as_word: true,
};

/// Sequences to stop at that the provider takes.
const STOPS_MAX: usize = 5;

/// What the provider takes in the place of a signature that was lost on the way: base64 of
/// `skip_thought_signature_validator`. The model's next thoughts are worse for it, the conversation goes on.
const NO_SIGNATURE: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

pub(super) fn encode(
    chat: &ChatRequest<'_>,
    model: &str,
    dropped: &mut Dropped,
) -> Result<Encoded> {
    let (system, turns) = chat.turns();
    let mut contents = Vec::with_capacity(turns.len());
    for turn in &turns {
        push_turn(turn, Model::parse(model), &mut contents)?;
    }
    if contents.is_empty() {
        let message = "A conversation with this model has at least one message of the user.";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("messages"));
    }
    let instructions: Vec<WirePart<'_>> = system.into_iter().map(|it| text(&it.text)).collect();
    let tools: Vec<Declaration<'_>> = chat.allowed_tools().map(Declaration::new).collect();
    let body = Body {
        contents,
        system_instruction: (!instructions.is_empty()).then_some(Content {
            role: None,
            parts: instructions,
        }),
        tool_config: (!tools.is_empty()).then(|| choice(chat)).flatten(),
        tools: (!tools.is_empty()).then_some([WireTools {
            function_declarations: tools,
        }]),
        generation_config: generation(chat, Model::parse(model), dropped),
    };
    let action = if chat.stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    Ok(Encoded {
        path: format!("/models/{}:{action}", lane::path_segment(model)?),
        headers: HeaderMap::new(),
        body: serde_json::to_vec(&body).map_err(Error::internal)?,
        reading: Reading {
            names: Names::new(chat, TOOL_NAME),
            json_tool: false,
        },
    })
}

/// Results stand alone: newer models refuse them beside anything else.
fn push_turn<'a>(turn: &Turn<'a, 'a>, model: Model, contents: &mut Vec<Content<'a>>) -> Result<()> {
    let is_result = |part: &&Part<'_>| matches!(part, Part::Result(_));
    let results = turn.parts.iter().take_while(|part| is_result(part)).count();
    let (results, rest) = turn
        .parts
        .split_at_checked(results)
        .unwrap_or((&[], &turn.parts));
    let role = Some(match turn.side {
        Side::User => "user",
        Side::Model => "model",
    });
    for parts in [results, rest] {
        let parts = wire_parts(parts, model)?;
        if !parts.is_empty() {
            contents.push(Content { role, parts });
        }
    }
    Ok(())
}

fn wire_parts<'a>(parts: &[&'a Part<'a>], model: Model) -> Result<Vec<WirePart<'a>>> {
    let mut wire = Vec::with_capacity(parts.len());
    // Of a text, before which it stands in the model.
    let mut signature = None;
    let mut has_call = false;
    for part in parts {
        match part {
            Part::Text(it) => wire.push(WirePart {
                thought_signature: signature.take(),
                ..text(&it.text)
            }),
            Part::Media(it) => wire.push(media(it)?),
            Part::Call(it) => {
                wire.push(call(it, !has_call && model.wants_signatures()));
                has_call = true;
            }
            Part::Result(it) => wire.push(result(it)?),
            Part::Thought(thought) => signature = own(thought.seal.as_ref()).or(signature),
        }
    }
    if signature.is_some() {
        wire.push(WirePart {
            thought_signature: signature,
            ..text("")
        });
    }
    Ok(wire)
}

fn own(seal: Option<&Seal>) -> Option<&str> {
    let seal = seal.filter(|seal| seal.family == Family::Gemini)?;
    Some(&seal.data)
}

fn text(text: &str) -> WirePart<'_> {
    WirePart {
        text: Some(text),
        ..WirePart::default()
    }
}

fn call<'a>(call: &'a ToolCall<'a>, must_be_signed: bool) -> WirePart<'a> {
    let signature = own(call.seal.as_ref());
    WirePart {
        function_call: Some(FunctionCall {
            id: &call.id,
            name: names::fit(&call.name, TOOL_NAME),
            args: &call.arguments,
        }),
        thought_signature: signature.or(must_be_signed.then_some(NO_SIGNATURE)),
        ..WirePart::default()
    }
}

fn result<'a>(result: &'a ToolResult<'a>) -> Result<WirePart<'a>> {
    let mut texts = Vec::with_capacity(1);
    for part in &result.parts {
        let text = part
            .text()
            .ok_or_else(|| unsupported("messages[].content"))?;
        texts.push(&*text.text);
    }
    let text = match texts.as_slice() {
        [text] => Cow::Borrowed(*text),
        texts => Cow::Owned(texts.join("\n")),
    };
    let object = text
        .trim_start()
        .starts_with('{')
        .then(|| RawValue::from_string(text.to_string()));
    let response = match object {
        Some(Ok(object)) => Response::Object(object),
        Some(Err(_)) | None => Response::Text { result: text },
    };
    Ok(WirePart {
        function_response: Some(FunctionResponse {
            id: &result.id,
            name: names::fit(&result.name, TOOL_NAME),
            response,
        }),
        ..WirePart::default()
    })
}

fn media<'a>(media: &'a Media<'a>) -> Result<WirePart<'a>> {
    let Source::Inline { mime, data } = &media.source else {
        let param = match media.kind {
            MediaKind::Image => "image_url",
            MediaKind::Audio => "input_audio",
            MediaKind::Document => "file",
        };
        return Err(unsupported(param));
    };
    Ok(WirePart {
        inline_data: Some(InlineData {
            mime_type: mime,
            data,
        }),
        ..WirePart::default()
    })
}

impl<'a> Declaration<'a> {
    fn new(tool: &'a Tool<'a>) -> Self {
        Self {
            name: names::fit(&tool.name, TOOL_NAME),
            description: tool.description.as_deref().unwrap_or_default(),
            parameters_json_schema: tool.parameters.map(schema),
        }
    }
}

/// The schema without the name of its own language, which the provider does not know.
fn schema(schema: &RawValue) -> Json<'_> {
    let Some(members) = json::members(schema) else {
        return Json::Raw(schema);
    };
    let known = members.into_iter().filter(|(name, _)| name != "$schema");
    Json::Object(
        known
            .map(|(name, value)| (name, Json::Raw(value)))
            .collect(),
    )
}

fn choice<'a>(chat: &'a ChatRequest<'a>) -> Option<ToolConfig<'a>> {
    let is_strict = chat.tools.iter().any(|tool| tool.strict == Some(true));
    let auto = if is_strict { "VALIDATED" } else { "AUTO" };
    let (mode, names) = match &chat.tool_choice {
        None if !is_strict => return None,
        None
        | Some(
            ToolChoice::Auto
            | ToolChoice::Allowed {
                required: false, ..
            },
        ) => (auto, Vec::new()),
        Some(ToolChoice::None) => ("NONE", Vec::new()),
        Some(ToolChoice::Required) => ("ANY", Vec::new()),
        Some(ToolChoice::Named(name)) => ("ANY", vec![names::fit(name, TOOL_NAME)]),
        Some(ToolChoice::Allowed { names, .. }) => {
            let names = names.iter().map(|name| names::fit(name, TOOL_NAME));
            ("ANY", names.collect())
        }
    };
    Some(ToolConfig {
        function_calling_config: CallingConfig {
            mode,
            allowed_function_names: names,
        },
    })
}

fn generation<'a>(
    chat: &'a ChatRequest<'a>,
    model: Model,
    dropped: &mut Dropped,
) -> GenerationConfig<'a> {
    if chat.stop.len() > STOPS_MAX {
        dropped.note("stop");
    }
    let stops = chat
        .stop
        .iter()
        .filter(|stop| !stop.is_empty())
        .take(STOPS_MAX);
    let (response_mime_type, response_json_schema) = match &chat.format {
        Format::Text => (None, None),
        Format::Json => (Some("application/json"), None),
        Format::Schema { schema: wanted, .. } => (Some("application/json"), Some(schema(wanted))),
    };
    GenerationConfig {
        temperature: chat.temperature,
        top_p: chat.top_p,
        top_k: chat.top_k,
        candidate_count: chat.choices,
        max_output_tokens: chat.max_tokens,
        stop_sequences: stops.map(String::as_str).collect(),
        response_mime_type,
        response_json_schema,
        presence_penalty: chat.presence_penalty,
        frequency_penalty: chat.frequency_penalty,
        seed: chat.seed,
        thinking_config: chat
            .effort
            .and_then(|effort| thinking(effort, model, dropped)),
    }
}

fn thinking(effort: Effort, model: Model, dropped: &mut Dropped) -> Option<ThinkingConfig> {
    let (budget, level) = match model.thinking(effort) {
        Thinking::Budget(tokens) => (Some(tokens), None),
        Thinking::Level(level) => (None, Some(level)),
        Thinking::Never => {
            dropped.note("reasoning_effort");
            return None;
        }
    };
    Some(ThinkingConfig {
        include_thoughts: effort != Effort::None,
        thinking_budget: budget,
        thinking_level: level,
    })
}
