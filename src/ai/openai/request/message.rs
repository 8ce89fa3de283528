//! Messages: who says what, with what, and which call a result answers.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::content::{content_of, plain};
use super::tools::CacheControl;
use super::{Decoded, Str, invalid, value};
use crate::ai::chat::{Family, Message, Part, Role, Seal, Thought, ToolCall, ToolResult};
use crate::ai::param::{Dropped, unsupported};
use crate::error::Result;

/// The names of tools by the ids of their calls.
type Calls<'a> = HashMap<Cow<'a, str>, Cow<'a, str>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMessage<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    name: Option<IgnoredAny>,
    #[serde(borrow)]
    refusal: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WireCall<'a>>>,
    #[serde(borrow)]
    tool_call_id: Option<Str<'a>>,
    #[serde(borrow)]
    reasoning_details: Option<Vec<WireDetail<'a>>>,
    cache_control: Option<CacheControl>,
    audio: Option<IgnoredAny>,
    function_call: Option<IgnoredAny>,
    /// What an answer told besides, and clients send back with it.
    #[serde(rename = "reasoning_content")]
    _reasoning_content: Option<IgnoredAny>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
    #[serde(rename = "parsed")]
    _parsed: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    r#type: Option<String>,
    #[serde(borrow)]
    function: Option<WireFunction<'a>>,
    extra_content: Option<Extra>,
}

#[derive(Deserialize)]
struct WireFunction<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    arguments: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Extra {
    google: Option<ExtraGoogle>,
}

#[derive(Deserialize)]
struct ExtraGoogle {
    thought_signature: Option<String>,
}

#[derive(Deserialize)]
struct WireDetail<'a> {
    r#type: String,
    format: Option<String>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    signature: Option<String>,
    data: Option<String>,
}

pub(super) fn decode<'a>(raw: &'a RawValue, decoded: &mut Decoded<'a>) -> Result<()> {
    let messages: Vec<&'a RawValue> = value("messages", raw)?;
    if messages.is_empty() {
        return Err(invalid("messages", "There must be at least one message."));
    }
    let mut calls = Calls::new();
    for (at, raw) in messages.into_iter().enumerate() {
        let path = format!("messages[{at}]");
        let message = message(&path, raw, &mut calls, &mut decoded.dropped)?;
        decoded.request.messages.push(message);
    }
    Ok(())
}

fn message<'a>(
    path: &str,
    raw: &'a RawValue,
    calls: &mut Calls<'a>,
    dropped: &mut Dropped,
) -> Result<Message<'a>> {
    let wire: WireMessage<'a> = value(path, raw)?;
    if wire.audio.is_some() {
        return Err(unsupported(format!("{path}.audio")));
    }
    if wire.function_call.is_some() {
        return Err(unsupported(format!("{path}.function_call")));
    }
    if wire.name.is_some() && *wire.role.0 != *"tool" {
        dropped.note("messages[].name");
    }
    let mut parts = Vec::new();
    let role = match &*wire.role.0 {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => {
            thoughts(&wire, &mut parts);
            Role::Assistant
        }
        "tool" => Role::Tool,
        _ => return Err(unsupported(format!("{path}.role"))),
    };
    if role != Role::Assistant && wire.tool_calls.is_some() {
        return Err(invalid(
            format!("{path}.tool_calls"),
            "Only assistants call tools.",
        ));
    }
    if let Some(content) = wire.content {
        content_of(&format!("{path}.content"), content, dropped, &mut parts)?;
    }
    parts.extend(wire.refusal.filter(|text| !text.0.is_empty()).map(plain));
    if let (Some(mark), Some(last)) = (wire.cache_control, parts.last_mut()) {
        set_cache(last, &mark);
    }
    for (index, call) in wire.tool_calls.into_iter().flatten().enumerate() {
        let call = tool_call(&format!("{path}.tool_calls[{index}]"), call)?;
        calls.insert(call.id.clone(), call.name.clone());
        parts.push(Part::Call(call));
    }
    if role == Role::Tool {
        let result = tool_result(path, wire.tool_call_id, parts, calls)?;
        parts = vec![Part::Result(result)];
    }
    only_text(role, path, &parts)?;
    Ok(Message { role, parts })
}

/// Instructions and what a model said are text; what else there is would be lost.
fn only_text(role: Role, path: &str, parts: &[Part<'_>]) -> Result<()> {
    let has_media = parts.iter().any(|part| matches!(part, Part::Media(_)));
    if has_media && matches!(role, Role::System | Role::Assistant) {
        return Err(unsupported(format!("{path}.content")));
    }
    Ok(())
}

fn thoughts<'a>(wire: &WireMessage<'a>, parts: &mut Vec<Part<'a>>) {
    // `reasoning_content` has no seal, so nobody takes it back; the details repeat what of it has one.
    for detail in wire.reasoning_details.iter().flatten() {
        let family = detail.format.as_deref().and_then(Family::parse);
        let redacted = detail.r#type == "reasoning.encrypted";
        let data = if redacted {
            &detail.data
        } else {
            &detail.signature
        };
        let (Some(family), Some(data)) = (family, data) else {
            continue;
        };
        parts.push(Part::Thought(Thought {
            text: detail.text.clone().map(|text| text.0).unwrap_or_default(),
            seal: Some(Seal {
                family,
                data: data.clone(),
                redacted,
            }),
        }));
    }
}

fn tool_call<'a>(path: &str, wire: WireCall<'a>) -> Result<ToolCall<'a>> {
    let Some(function) = wire.function else {
        return Err(unsupported(format!("{path}.type")));
    };
    if wire.r#type.is_some_and(|kind| kind != "function") {
        return Err(unsupported(format!("{path}.type")));
    }
    let id = wire.id.map(|id| id.0).filter(|id| !id.is_empty());
    let Some(id) = id else {
        return Err(invalid(
            format!("{path}.id"),
            "A call of a tool needs an id.",
        ));
    };
    let text = function.arguments.map(|text| text.0).unwrap_or_default();
    let text = match &*text {
        "" => Cow::Borrowed("{}"),
        _ => text,
    };
    let arguments = match text {
        Cow::Borrowed(text) => serde_json::from_str::<&RawValue>(text).map(Cow::Borrowed),
        Cow::Owned(text) => RawValue::from_string(text).map(Cow::Owned),
    };
    let arguments: Cow<'a, RawValue> = match arguments {
        Ok(arguments) if arguments.get().starts_with('{') => arguments,
        Ok(_) | Err(_) => {
            let param = format!("{path}.function.arguments");
            return Err(invalid(
                param,
                "Arguments are a JSON object, written as a string.",
            ));
        }
    };
    let signature = wire
        .extra_content
        .and_then(|extra| extra.google?.thought_signature);
    Ok(ToolCall {
        id,
        name: function.name.0,
        arguments,
        seal: signature.map(|data| Seal {
            family: Family::Gemini,
            data,
            redacted: false,
        }),
    })
}

fn tool_result<'a>(
    path: &str,
    id: Option<Str<'a>>,
    parts: Vec<Part<'a>>,
    calls: &Calls<'a>,
) -> Result<ToolResult<'a>> {
    let param = format!("{path}.tool_call_id");
    let Some(Str(id)) = id else {
        return Err(invalid(
            param,
            "A tool's result names the call that it answers.",
        ));
    };
    let Some(name) = calls.get(&id) else {
        let message = "A tool's result must follow the assistant's call with that id.";
        return Err(invalid(param, message));
    };
    Ok(ToolResult {
        name: name.clone(),
        id,
        parts,
    })
}

fn set_cache(part: &mut Part<'_>, mark: &CacheControl) {
    match part {
        Part::Text(text) => text.cache = Some(mark.cache()),
        Part::Media(media) => media.cache = Some(mark.cache()),
        Part::Call(_) | Part::Result(_) | Part::Thought(_) => {}
    }
}
