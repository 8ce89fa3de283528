//! Blocks: what a turn is made of.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::TOOL_NAME;
use crate::ai::chat::{
    Cache, Family, Media, MediaKind, Part, Source, Text, Thought, ToolCall, ToolResult,
};
use crate::ai::names::{self, Rule};
use crate::ai::param::unsupported;
use crate::error::{Error, Kind, Result};

const CALL_ID: Rule = Rule {
    bytes_max: 64,
    also: b".:",
    starts_as_word: false,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    Image(Image<'a>),
    Document(Document<'a>),
    ToolUse(WireCall<'a>),
    ToolResult(WireResult<'a>),
    ReasoningContent(WireThought<'a>),
    CachePoint(CachePoint),
}

#[derive(Serialize)]
pub(super) struct Image<'a> {
    format: &'static str,
    source: Inline<'a>,
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    format: &'static str,
    name: String,
    source: Inline<'a>,
}

/// Base64, as it came.
#[derive(Serialize)]
pub(super) struct Inline<'a> {
    bytes: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireCall<'a> {
    tool_use_id: Cow<'a, str>,
    name: Cow<'a, str>,
    input: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireResult<'a> {
    tool_use_id: Cow<'a, str>,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum WireThought<'a> {
    ReasoningText { text: &'a str, signature: &'a str },
    RedactedContent(&'a str),
}

#[derive(Serialize)]
pub(super) struct CachePoint {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl CachePoint {
    pub(super) fn new(cache: Cache) -> Self {
        Self {
            r#type: "default",
            ttl: match cache {
                Cache::Default => None,
                Cache::Hour => Some("1h"),
            },
        }
    }
}

impl Block<'_> {
    pub(super) fn plain(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// Makes the blocks of one request.
pub(super) struct Blocks {
    family: Family,
    documents: usize,
}

impl Blocks {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            documents: 0,
        }
    }

    pub(super) fn push<'a>(&mut self, part: &'a Part<'a>, out: &mut Vec<Block<'a>>) -> Result<()> {
        match part {
            Part::Text(text) => Self::push_text(text, out),
            Part::Media(media) => {
                out.push(self.media(media)?);
                push_mark(media.cache, out);
            }
            Part::Call(call) => out.push(self::call(call)),
            Part::Result(result) => out.push(self.result(result)?),
            Part::Thought(thought) => out.extend(self.thought(thought)),
        }
        Ok(())
    }

    /// Blanks are refused by the provider, and say nothing.
    pub(super) fn push_text<'a>(text: &'a Text<'a>, out: &mut Vec<Block<'a>>) {
        if !text.text.trim().is_empty() {
            out.push(Block::Text(Cow::Borrowed(&text.text)));
            push_mark(text.cache, out);
        }
    }

    fn media<'a>(&mut self, media: &'a Media<'a>) -> Result<Block<'a>> {
        let param = match media.kind {
            MediaKind::Image => "image_url",
            MediaKind::Audio => return Err(unsupported("input_audio")),
            MediaKind::Document => "file",
        };
        let Source::Inline { mime, data } = &media.source else {
            return Err(unsupported(param));
        };
        let source = Inline { bytes: data };
        let format = match &**mime {
            "image/png" => "png",
            "image/jpeg" => "jpeg",
            "image/gif" => "gif",
            "image/webp" => "webp",
            "application/pdf" => "pdf",
            "text/plain" => "txt",
            "text/csv" => "csv",
            "text/html" => "html",
            "text/markdown" => "md",
            _ => return Err(bad_media()),
        };
        match (media.kind, mime.starts_with("image/")) {
            (MediaKind::Image, true) => Ok(Block::Image(Image { format, source })),
            (MediaKind::Document, false) => {
                self.documents += 1;
                Ok(Block::Document(Document {
                    format,
                    // A client's own name could hold what the provider refuses, or speak to the model.
                    name: format!("document {}", self.documents),
                    source,
                }))
            }
            (MediaKind::Image | MediaKind::Document | MediaKind::Audio, _) => Err(bad_media()),
        }
    }

    fn result<'a>(&mut self, result: &'a ToolResult<'a>) -> Result<Block<'a>> {
        let mut content = Vec::with_capacity(result.parts.len());
        for part in &result.parts {
            self.push(part, &mut content)?;
        }
        Ok(Block::ToolResult(WireResult {
            tool_use_id: names::fit(&result.id, CALL_ID),
            content,
        }))
    }

    fn thought<'a>(&self, thought: &'a Thought<'a>) -> Option<Block<'a>> {
        let seal = thought
            .seal
            .as_ref()
            .filter(|seal| seal.family == self.family)?;
        Some(Block::ReasoningContent(if seal.redacted {
            WireThought::RedactedContent(&seal.data)
        } else {
            WireThought::ReasoningText {
                text: &thought.text,
                signature: &seal.data,
            }
        }))
    }
}

fn call<'a>(call: &'a ToolCall<'a>) -> Block<'a> {
    Block::ToolUse(WireCall {
        tool_use_id: names::fit(&call.id, CALL_ID),
        name: names::fit(&call.name, TOOL_NAME),
        input: &call.arguments,
    })
}

fn push_mark(cache: Option<Cache>, out: &mut Vec<Block<'_>>) {
    out.extend(cache.map(|cache| Block::CachePoint(CachePoint::new(cache))));
}

fn bad_media() -> Error {
    let message = "Images are JPEG, PNG, GIF or WebP, and documents PDF or text for this model.";
    Error::new(Kind::InvalidRequest, message).with_param("messages")
}
