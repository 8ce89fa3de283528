//! Blocks: what a turn is made of.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::TOOL_NAME;
use crate::ai::chat::{
    Cache, ChatRequest, Family, Media, MediaKind, Part, Source, Text, Thought, ToolCall, ToolResult,
};
use crate::ai::names::{self, Rule};
use crate::ai::param::{Dropped, unsupported};
use crate::error::{Error, Kind, Result};

const CALL_ID: Rule = Rule {
    bytes_max: 256,
    also: b"",
    starts_as_word: false,
};

/// Marks that one request may bear.
const MARKS_MAX: usize = 4;

/// Images that the models see.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: WireSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Document {
        source: WireSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Self>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WireSource<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct CacheControl {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

/// Hands out the marks of a request: the last are worth most, as each covers all before it.
pub(super) struct Marks {
    skip: usize,
}

impl Marks {
    pub(super) fn new(chat: &ChatRequest<'_>, dropped: &mut Dropped) -> Self {
        let parts = chat.messages.iter().flat_map(|message| &message.parts);
        let in_parts = parts.map(marks_of).sum::<usize>();
        let in_tools = chat.allowed_tools().filter(|tool| tool.cache.is_some());
        let skip = (in_parts + in_tools.count()).saturating_sub(MARKS_MAX);
        if skip > 0 {
            dropped.note("cache_control");
        }
        Self { skip }
    }

    pub(super) fn take(&mut self, cache: Option<Cache>) -> Option<CacheControl> {
        let cache = cache?;
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(CacheControl {
            r#type: "ephemeral",
            ttl: match cache {
                Cache::Default => None,
                Cache::Hour => Some("1h"),
            },
        })
    }
}

fn marks_of(part: &Part<'_>) -> usize {
    match part {
        Part::Text(text) => usize::from(text.cache.is_some() && !text.text.trim().is_empty()),
        Part::Media(media) => usize::from(media.cache.is_some()),
        Part::Result(result) => result.parts.iter().map(marks_of).sum(),
        Part::Call(_) | Part::Thought(_) => 0,
    }
}

impl<'a> Block<'a> {
    /// `None` for what the provider would not take, and that says nothing.
    pub(super) fn new(part: &'a Part<'a>, marks: &mut Marks) -> Result<Option<Self>> {
        Ok(match part {
            Part::Text(text) => Self::text(text, marks),
            Part::Media(media) => Some(Self::media(media, marks)?),
            Part::Call(call) => Some(Self::call(call)),
            Part::Result(result) => Some(Self::result(result, marks)?),
            Part::Thought(thought) => Self::thought(thought),
        })
    }

    pub(super) fn text(text: &'a Text<'a>, marks: &mut Marks) -> Option<Self> {
        if text.text.trim().is_empty() {
            return None;
        }
        Some(Self::Text {
            text: Cow::Borrowed(&text.text),
            cache_control: marks.take(text.cache),
        })
    }

    pub(super) fn plain(text: &'static str) -> Self {
        Self::Text {
            text: Cow::Borrowed(text),
            cache_control: None,
        }
    }

    pub(super) fn trim_end(&mut self) {
        if let Self::Text { text, .. } = self {
            let trimmed = text.trim_end();
            if trimmed.len() < text.len() {
                *text = Cow::Owned(trimmed.to_owned());
            }
        }
    }

    fn media(media: &'a Media<'a>, marks: &mut Marks) -> Result<Self> {
        let source = match &media.source {
            Source::Inline { mime, data } => WireSource::Base64 {
                media_type: mime,
                data,
            },
            Source::Url(url) => WireSource::Url { url },
        };
        let mime = match &media.source {
            Source::Inline { mime, .. } => Some(&**mime),
            Source::Url(_) => None,
        };
        let cache_control = marks.take(media.cache);
        match media.kind {
            MediaKind::Image if mime.is_none_or(|mime| IMAGES.contains(&mime)) => Ok(Self::Image {
                source,
                cache_control,
            }),
            MediaKind::Document if mime.is_none_or(|mime| mime == "application/pdf") => {
                Ok(Self::Document {
                    source,
                    title: media.name.as_deref(),
                    cache_control,
                })
            }
            MediaKind::Image | MediaKind::Document => {
                let message = "Images are JPEG, PNG, GIF or WebP and documents PDF for this model.";
                Err(Error::new(Kind::InvalidRequest, message).with_param("messages"))
            }
            MediaKind::Audio => Err(unsupported("input_audio")),
        }
    }

    fn call(call: &'a ToolCall<'a>) -> Self {
        Self::ToolUse {
            id: names::fit(&call.id, CALL_ID),
            name: names::fit(&call.name, TOOL_NAME),
            input: &call.arguments,
        }
    }

    fn result(result: &'a ToolResult<'a>, marks: &mut Marks) -> Result<Self> {
        let mut content = Vec::with_capacity(result.parts.len());
        for part in &result.parts {
            content.extend(Self::new(part, marks)?);
        }
        Ok(Self::ToolResult {
            tool_use_id: names::fit(&result.id, CALL_ID),
            content,
        })
    }

    /// A thought of another family is not shown: its words are no part of what was said.
    fn thought(thought: &'a Thought<'a>) -> Option<Self> {
        let seal = thought.seal.as_ref()?;
        if seal.family != Family::Claude {
            return None;
        }
        if seal.redacted {
            return Some(Self::RedactedThinking { data: &seal.data });
        }
        Some(Self::Thinking {
            thinking: &thought.text,
            signature: &seal.data,
        })
    }
}
