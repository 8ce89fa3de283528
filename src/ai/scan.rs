//! The few members of a request body that decide anything, found without building a tree.
//!
//! The body stays in the frames in which it came; spans count from the first byte of the first. The whole body is
//! checked to be strict JSON in valid UTF-8, because a reader that is more lenient than the next one sees
//! other members: what we read must be what the resource reads. For the same reason a member that we act on may stand
//! there only once, spelled exactly: no second `model`, no `"\u006dodel"`, and no `Model` either, which
//! servers that compare without case would take.

mod cursor;

use bytes::Bytes;

use crate::ai::route::{Inference, is_model_name};
use crate::error::{Error, Kind, Result};
use cursor::{Cursor, Guard, Text};

/// A range of bytes of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// A member's value, by where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub at: Span,
    pub is_null: bool,
}

/// The `model` member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Unescaped.
    pub name: Box<str>,
    /// The value with its quotes.
    pub span: Span,
}

/// The `stream_options` member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamOptions {
    Null {
        at: Span,
    },
    Object {
        /// Right behind its `{`.
        open: usize,
        is_empty: bool,
        include_usage: Option<IncludeUsage>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncludeUsage {
    pub at: Span,
    pub value: bool,
}

/// What a body says that matters to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub model: Model,
    pub stream: bool,
    pub stream_options: Option<StreamOptions>,
    /// Looked at in Responses only.
    pub store: Option<Value>,
    /// Right behind the body's `{`, where members can be inserted.
    pub open: usize,
    /// Length of the body.
    pub len: usize,
}

/// A member that we act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Model,
    Stream,
    StreamOptions,
    /// Responses: stored at the provider unless false.
    Store,
    /// Responses: true keeps the answer at the provider.
    Background,
    /// Responses: names what an earlier request stored.
    Stored(&'static str),
    /// Would choose another upstream, account or model than config did.
    Refused(&'static str),
}

/// Members that gateways read as a choice of upstream, account or model; whoever they are meant for, it is not us.
const REFUSED: [&str; 6] = [
    "api_base",
    "api_key",
    "base_url",
    "extra_headers",
    "models",
    "organization",
];

/// Members of a Responses request that refer to state in the provider's account.
const STORED: [&str; 3] = ["conversation", "previous_response_id", "prompt"];

#[derive(Default)]
struct Found {
    model: Option<Model>,
    stream: Option<Value>,
    is_stream: bool,
    stream_options: Option<StreamOptions>,
    store: Option<Value>,
    background: bool,
}

/// Scans a whole body.
pub fn scan(inference: Inference, frames: &[Bytes]) -> Result<Scan> {
    cursor::check_utf8(frames)?;
    let mut cursor = Cursor::new(frames);
    cursor.skip_space();
    cursor.expect(b'{')?;
    let open = cursor.offset();
    let mut found = Found::default();
    cursor.members(|cursor, key| found.member(inference, cursor, key))?;
    cursor.skip_space();
    if cursor.peek().is_some() {
        return Err(cursor.invalid());
    }
    let Some(model) = found.model else {
        return Err(refused("model", "You must provide a model parameter."));
    };
    Ok(Scan {
        model,
        stream: found.is_stream,
        stream_options: found.stream_options,
        store: found.store,
        open,
        len: cursor.offset(),
    })
}

impl Span {
    pub fn empty(at: usize) -> Self {
        Self { start: at, end: at }
    }
}

impl Scan {
    /// Whether the client asked for usage in its stream.
    pub fn asks_usage(&self) -> bool {
        match self.stream_options {
            Some(StreamOptions::Object {
                include_usage: Some(asked),
                ..
            }) => asked.value,
            Some(StreamOptions::Object { .. } | StreamOptions::Null { .. }) | None => false,
        }
    }
}

impl Found {
    fn member(&mut self, inference: Inference, cursor: &mut Cursor<'_>, key: &Text) -> Result<()> {
        let folded = fold(key)?;
        let Some(member) = member(inference, &folded) else {
            return cursor.skip_value(guard(&folded));
        };
        if !key.is_exactly(&folded) {
            return Err(Error::new(
                Kind::InvalidRequest,
                format!(
                    "The parameter '{folded}' must be written without escapes and in lower case."
                ),
            )
            .with_param(folded));
        }
        match member {
            Member::Model => self.model(cursor),
            Member::Stream => self.stream(cursor),
            Member::StreamOptions => self.stream_options(cursor),
            Member::Store => {
                once(self.store.is_some(), "store")?;
                let (value, is_true) = flag(cursor, "store")?;
                if is_true {
                    return Err(unsupported(
                        "store",
                        "Responses cannot be stored here; leave 'store' out or set it to false.",
                    ));
                }
                self.store = Some(value);
                Ok(())
            }
            Member::Background => {
                once(self.background, "background")?;
                self.background = true;
                match flag(cursor, "background")? {
                    (_, true) => Err(unsupported(
                        "background",
                        "Background responses are not supported here.",
                    )),
                    (_, false) => Ok(()),
                }
            }
            Member::Stored(name) => {
                if cursor.value()?.is_null {
                    return Ok(());
                }
                Err(unsupported(
                    name,
                    "Conversation state is not kept here; send the whole history as 'input'.",
                ))
            }
            Member::Refused(name) => Err(unsupported(
                name,
                "This parameter is not supported; the server's configuration decides it.",
            )),
        }
    }

    fn model(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        once(self.model.is_some(), "model")?;
        let start = cursor.start_value();
        if cursor.peek() != Some(b'"') {
            return Err(refused("model", "The parameter 'model' must be a string."));
        }
        let text = cursor.string()?;
        let span = Span {
            start,
            end: cursor.offset(),
        };
        match text.as_str() {
            Some(name) if is_model_name(name) => {
                self.model = Some(Model {
                    name: name.into(),
                    span,
                });
                Ok(())
            }
            Some(_) | None => Err(refused(
                "model",
                "The parameter 'model' is not a valid model name.",
            )),
        }
    }

    fn stream(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        once(self.stream.is_some(), "stream")?;
        let (value, is_true) = flag(cursor, "stream")?;
        self.stream = Some(value);
        self.is_stream = is_true;
        Ok(())
    }

    fn stream_options(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        const NAME: &str = "stream_options";
        once(self.stream_options.is_some(), NAME)?;
        cursor.start_value();
        if cursor.peek() != Some(b'{') {
            let value = cursor.value()?;
            if !value.is_null {
                return Err(refused(
                    NAME,
                    "The parameter 'stream_options' must be an object.",
                ));
            }
            self.stream_options = Some(StreamOptions::Null { at: value.at });
            return Ok(());
        }
        cursor.expect(b'{')?;
        let open = cursor.offset();
        let mut include_usage = None;
        let mut is_empty = true;
        cursor.members(|cursor, key| {
            is_empty = false;
            let folded = fold(key)?;
            if folded != "include_usage" {
                return cursor.skip_value(Guard::Nothing);
            }
            const PATH: &str = "stream_options.include_usage";
            if !key.is_exactly(&folded) {
                return Err(refused(PATH, "This parameter must be written plainly."));
            }
            once(include_usage.is_some(), PATH)?;
            let (value, is_true) = flag(cursor, PATH)?;
            include_usage = Some(IncludeUsage {
                at: value.at,
                value: is_true,
            });
            Ok(())
        })?;
        self.stream_options = Some(StreamOptions::Object {
            open,
            is_empty,
            include_usage,
        });
        Ok(())
    }
}

fn member(inference: Inference, folded: &str) -> Option<Member> {
    match folded {
        "model" => return Some(Member::Model),
        "stream" => return Some(Member::Stream),
        "stream_options" => return Some(Member::StreamOptions),
        _ => {}
    }
    if let Some(name) = REFUSED.iter().find(|name| **name == folded) {
        return Some(Member::Refused(name));
    }
    if inference != Inference::Responses {
        return None;
    }
    match folded {
        "store" => Some(Member::Store),
        "background" => Some(Member::Background),
        _ => STORED
            .iter()
            .find(|name| **name == folded)
            .map(|name| Member::Stored(name)),
    }
}

fn guard(folded: &str) -> Guard {
    match folded {
        "messages" | "input" => Guard::Content,
        "tools" => Guard::Tools,
        _ => Guard::Nothing,
    }
}

/// A key as a reader that ignores case sees it. Two characters outside ASCII fold into it.
fn fold(key: &Text) -> Result<String> {
    if key.overflowed {
        return Ok(String::new());
    }
    let Some(text) = key.as_str() else {
        return Err(Error::new(
            Kind::MalformedBody,
            "The request body has a parameter whose name is not valid Unicode.",
        ));
    };
    Ok(text
        .chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect())
}

/// `true`, `false` or `null`, which is as good as `false`.
fn flag(cursor: &mut Cursor<'_>, name: &'static str) -> Result<(Value, bool)> {
    cursor.start_value();
    match cursor.peek() {
        Some(first @ (b't' | b'f' | b'n')) => Ok((cursor.value()?, first == b't')),
        Some(_) | None => Err(refused(name, "This parameter must be true or false.")),
    }
}

fn once(seen: bool, name: &'static str) -> Result<()> {
    if seen {
        return Err(refused(name, "This parameter is given more than once."));
    }
    Ok(())
}

fn refused(param: &'static str, message: &'static str) -> Error {
    Error::new(Kind::InvalidRequest, message).with_param(param)
}

fn unsupported(param: &'static str, message: &'static str) -> Error {
    Error::new(Kind::InvalidArgument, message).with_param(param)
}

#[cfg(test)]
mod tests;
