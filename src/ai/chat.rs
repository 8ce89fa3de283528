//! The model of a chat: what is asked, whoever asks and whoever answers.
//!
//! It names no provider and holds what at least two of them know. Text, schemas and media borrow from the client's body:
//! a translated request is parsed once and written once, and what is large is copied on the way out only.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// A request, checked: every turn has content, every tool call has arguments that are an object, and every tool
/// result answers a call.
#[derive(Debug, Default)]
pub struct ChatRequest<'a> {
    pub messages: Vec<Message<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: Option<ToolChoice>,
    /// `Some(false)`: at most one call a turn.
    pub parallel_tool_calls: Option<bool>,
    pub format: Format<'a>,
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
    pub stop: Vec<String>,
    pub choices: Option<u64>,
    pub seed: Option<i64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    /// How many alternatives of each token are told.
    pub logprobs: Option<u64>,
    pub effort: Option<Effort>,
    pub service_tier: Option<Tier>,
    /// Who asks, in the client's words.
    pub user: Option<String>,
    pub metadata: Option<Metadata>,
    pub stream: bool,
    /// The client wants to know the tokens of a stream.
    pub tells_usage: bool,
}

/// Flat strings, as clients label their requests.
pub type Metadata = Vec<(String, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `developer` too.
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Debug)]
pub struct Message<'a> {
    pub role: Role,
    pub parts: Vec<Part<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part<'a> {
    Text(Text<'a>),
    Media(Media<'a>),
    Call(ToolCall<'a>),
    Result(ToolResult<'a>),
    Thought(Thought<'a>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    pub text: Cow<'a, str>,
    pub cache: Option<Cache>,
}

/// The prompt up to and with the part that bears it may be kept by the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// As long as the provider keeps it by itself.
    Default,
    Hour,
}

/// An image, a sound or a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media<'a> {
    pub kind: MediaKind,
    pub source: Source<'a>,
    pub name: Option<Cow<'a, str>>,
    pub cache: Option<Cache>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    Audio,
    Document,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// `data` is base64, handed on as it came.
    Inline {
        mime: Cow<'a, str>,
        data: Cow<'a, str>,
    },
    Url(Cow<'a, str>),
}

#[derive(Clone, Debug)]
pub struct ToolCall<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    /// An object.
    pub arguments: Cow<'a, RawValue>,
    /// What its model signed it with, for whoever made it.
    pub seal: Option<Seal>,
}

impl PartialEq for ToolCall<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.name == other.name
            && self.arguments.get() == other.arguments.get()
            && self.seal == other.seal
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult<'a> {
    /// Of the call.
    pub id: Cow<'a, str>,
    /// Of the tool, by the call.
    pub name: Cow<'a, str>,
    /// [`Part::Text`] and [`Part::Media`] only.
    pub parts: Vec<Part<'a>>,
}

/// What a model thought. Without a seal nobody takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thought<'a> {
    pub text: Cow<'a, str>,
    pub seal: Option<Seal>,
}

/// Opaque to all but the family of models that made it: never invented, never shown to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    pub family: Family,
    pub data: String,
    /// The thought itself is in `data`, encrypted.
    pub redacted: bool,
}

/// Whose seals are whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Claude,
    Gemini,
    /// Others on Bedrock.
    Bedrock,
}

#[derive(Clone, Debug)]
pub struct Tool<'a> {
    pub name: Cow<'a, str>,
    pub description: Option<Cow<'a, str>>,
    /// A JSON schema; `None` for a tool without parameters.
    pub parameters: Option<&'a RawValue>,
    pub strict: Option<bool>,
    pub cache: Option<Cache>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
    /// One of these; whether one must be called.
    Allowed {
        names: Vec<String>,
        required: bool,
    },
}

#[derive(Clone, Copy, Debug, Default)]
pub enum Format<'a> {
    #[default]
    Text,
    /// Any object.
    Json,
    Schema {
        name: &'a str,
        description: Option<&'a str>,
        schema: &'a RawValue,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Default,
    Flex,
    Priority,
}

/// Neighbouring messages of one side: where turns must alternate.
#[derive(Debug)]
pub struct Turn<'a, 'r> {
    pub side: Side,
    pub parts: Vec<&'r Part<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    User,
    Model,
}

impl<'a> ChatRequest<'a> {
    /// The instructions at the front, and the turns after them. Instructions in the middle keep their place, as the
    /// user's words: moved to the front, they would mean something else.
    pub fn turns(&self) -> (Vec<&Text<'a>>, Vec<Turn<'a, '_>>) {
        let mut system = Vec::new();
        let mut turns: Vec<Turn<'a, '_>> = Vec::new();
        for message in &self.messages {
            let parts = message.parts.iter();
            let side = match message.role {
                Role::System if turns.is_empty() => {
                    system.extend(parts.filter_map(Part::text));
                    continue;
                }
                Role::System | Role::User | Role::Tool => Side::User,
                Role::Assistant => Side::Model,
            };
            match turns.last_mut() {
                Some(turn) if turn.side == side => turn.parts.extend(parts),
                Some(_) | None => turns.push(Turn {
                    side,
                    parts: parts.collect(),
                }),
            }
        }
        for turn in &mut turns {
            // Stable: results first, in their order, then what the user says about them.
            turn.parts
                .sort_by_key(|part| turn.side == Side::User && !matches!(part, Part::Result(_)));
        }
        (system, turns)
    }

    /// Every tool call of the history.
    pub fn calls(&self) -> impl Iterator<Item = &ToolCall<'a>> {
        let parts = self.messages.iter().flat_map(|message| &message.parts);
        parts.filter_map(|part| match part {
            Part::Call(call) => Some(call),
            Part::Text(_) | Part::Media(_) | Part::Result(_) | Part::Thought(_) => None,
        })
    }

    /// The tools that may be called, by the choice.
    pub fn allowed_tools(&self) -> impl Iterator<Item = &Tool<'a>> {
        self.tools.iter().filter(|tool| match &self.tool_choice {
            Some(ToolChoice::Allowed { names, .. }) => names.iter().any(|name| *name == tool.name),
            Some(
                ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Named(_),
            )
            | None => true,
        })
    }
}

impl<'a> Part<'a> {
    pub fn text(&self) -> Option<&Text<'a>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Media(_) | Self::Call(_) | Self::Result(_) | Self::Thought(_) => None,
        }
    }
}

impl Family {
    /// The `format` of a `reasoning_details` entry.
    pub fn label(self) -> &'static str {
        match self {
            Self::Claude => "anthropic-claude-v1",
            Self::Gemini => "google-gemini-v1",
            Self::Bedrock => "amazon-bedrock-v1",
        }
    }

    pub fn parse(label: &str) -> Option<Self> {
        [Self::Claude, Self::Gemini, Self::Bedrock]
            .into_iter()
            .find(|family| family.label() == label)
    }
}
