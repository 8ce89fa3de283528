//! The message of a form up to its file: boundaries, heads of parts, values of fields.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::file::FilePart;
use super::{FIELDS_BYTES_MAX, FILE, Fields, Form, READ_AHEAD_BYTES, malformed, too_large};
use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Plus};

/// Longest boundary, by RFC 2046.
const BOUNDARY_BYTES_MAX: usize = 70;

/// Whether a content type is that of forms.
pub(super) fn is_multipart(content_type: &[u8]) -> bool {
    const FORM: &[u8] = b"multipart/form-data";
    content_type
        .split_at_checked(FORM.len())
        .is_some_and(|(kind, rest)| {
            kind.eq_ignore_ascii_case(FORM) && matches!(rest.first(), None | Some(b';' | b' '))
        })
}

/// Takes a form's message, chunk by chunk, until its file has begun and enough of it is there.
#[derive(Debug)]
pub struct FormReader {
    /// CR, LF, two dashes, the boundary: what stands before every part but the first, and after the last.
    delimiter: Vec<u8>,
    /// Of the whole message.
    message_bytes: u64,
    buffer: BytesMut,
    /// Up to where the buffer has been understood.
    at: usize,
    /// Up to where it has been searched: chunks may be small, and each byte is looked at once.
    searched: usize,
    state: State,
    fields: Fields,
}

#[derive(Debug)]
enum State {
    /// Before the first boundary.
    Start,
    /// Behind a boundary.
    Boundary,
    Head,
    Value {
        name: String,
    },
    File {
        filename: String,
        /// Length of the file, where its end is in the buffer.
        length: Option<usize>,
    },
}

impl FormReader {
    /// A reader for a message of this `Content-Type` and length.
    pub fn new(content_type: &[u8], message_bytes: u64) -> Result<Self> {
        let boundary = boundary(content_type).ok_or_else(|| malformed("no boundary"))?;
        Ok(Self {
            delimiter: [b"\r\n--", boundary].concat(),
            message_bytes,
            buffer: BytesMut::new(),
            at: 0,
            searched: 0,
            state: State::Start,
            fields: Fields::default(),
        })
    }

    /// Takes a chunk; `true`: enough is there.
    pub fn push(&mut self, chunk: &[u8]) -> Result<bool> {
        self.buffer.extend_from_slice(chunk);
        while self.step()? {}
        let (enough, of_fields) = match &self.state {
            State::File { length, .. } => {
                let ahead = self.buffer.len() - self.at;
                (length.is_some() || ahead >= READ_AHEAD_BYTES, self.at)
            }
            State::Start | State::Boundary | State::Head | State::Value { .. } => {
                (false, self.buffer.len())
            }
        };
        if of_fields > FIELDS_BYTES_MAX {
            return Err(too_large());
        }
        Ok(enough)
    }

    /// Understands the next piece; `false`: more bytes are needed.
    fn step(&mut self) -> Result<bool> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        match &mut self.state {
            State::Start => {
                // A boundary begins a line; the first line has nothing before it.
                let bare = self.delimiter.get(2..).unwrap_or_default();
                let first = if rest.starts_with(b"\r") {
                    &*self.delimiter
                } else {
                    bare
                };
                if rest.len() < first.len() {
                    return Ok(false);
                }
                if !rest.starts_with(first) {
                    return Err(malformed("no boundary where the message starts"));
                }
                self.at += first.len();
                self.state = State::Boundary;
            }
            State::Boundary => match rest.get(..2) {
                None => return Ok(false),
                Some(b"\r\n") => {
                    self.at += 2;
                    self.state = State::Head;
                }
                Some(b"--") => return Err(without_file()),
                Some(_) => return Err(malformed("a boundary that goes on")),
            },
            State::Head => {
                let Some(end) = find(&self.buffer, &mut self.searched, b"\r\n\r\n") else {
                    return Ok(false);
                };
                let head = self.buffer.get(self.at..end).unwrap_or_default();
                let Disposition { name, filename } = disposition(head)?;
                self.at = end + 4;
                self.state = if name == FILE {
                    State::File {
                        filename,
                        length: None,
                    }
                } else {
                    State::Value { name }
                };
            }
            State::Value { name } => {
                let Some(end) = find(&self.buffer, &mut self.searched, &self.delimiter) else {
                    return Ok(false);
                };
                let value = self.buffer.get(self.at..end).unwrap_or_default();
                let value = std::str::from_utf8(value);
                let value = value.map_err(|_| malformed("a field is not UTF-8"))?;
                self.fields.push(std::mem::take(name), value.to_owned())?;
                self.at = end + self.delimiter.len();
                self.state = State::Boundary;
            }
            State::File { length, .. } => {
                if length.is_none()
                    && let Some(end) = find(&self.buffer, &mut self.searched, &self.delimiter)
                {
                    // The two bytes behind it say whether it is one.
                    let is_whole = self.buffer.len() >= end + self.delimiter.len() + 2;
                    *length = is_whole.then_some(end - self.at);
                }
                return Ok(false);
            }
        }
        self.searched = self.at;
        Ok(true)
    }

    /// The form, as far as it was read; `ended`: there is no more.
    pub fn finish(mut self, ended: bool) -> Result<Form> {
        let State::File { filename, length } = self.state else {
            return Err(malformed("the message ends before its file"));
        };
        self.fields.fill_in(base_name(&filename));
        let before = self.at as u64;
        let mut rest: Bytes = self.buffer.freeze().split_off(self.at);
        let file = if let Some(length) = length {
            let behind = rest.split_off(length).split_off(self.delimiter.len());
            if !behind.starts_with(b"\r\n") && !behind.starts_with(b"--") {
                return Err(malformed("a boundary that goes on"));
            }
            FilePart::whole(rest)
        } else if ended {
            return Err(malformed("the message ends within its file"));
        } else {
            FilePart::streamed(
                rest,
                &self.delimiter,
                self.message_bytes.saturating_sub(before),
            )?
        };
        Ok(Form {
            fields: self.fields,
            file,
        })
    }
}

/// Where `needle` stands, if not before `searched`.
fn find(buffer: &[u8], searched: &mut usize, needle: &[u8]) -> Option<usize> {
    let found = memmem::find(buffer.get(*searched..)?, needle).map(|at| *searched + at);
    let last = buffer.len().saturating_sub(needle.len() - 1);
    *searched = found.unwrap_or_else(|| last.max(*searched));
    found
}

/// The name alone, without the folders that some browsers tell.
fn base_name(filename: &str) -> &str {
    filename.rsplit(['/', '\\']).next().unwrap_or_default()
}

fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(content_type).ok()?;
    let found = parameters(text).find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let boundary = found?.1.trim_matches('"');
    let valid = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b" '()+_,-./:=?".contains(&b))
        && !boundary.ends_with(' ');
    valid.then_some(boundary.as_bytes())
}

/// What the head of a part says.
struct Disposition {
    /// Lower case.
    name: String,
    filename: String,
}

fn disposition(head: &[u8]) -> Result<Disposition> {
    let head = std::str::from_utf8(head).map_err(|_| malformed("a part's head is not UTF-8"))?;
    let mut found = None;
    for line in head.split("\r\n") {
        let (header, value) = line
            .split_once(':')
            .ok_or_else(|| malformed("a part's head"))?;
        if header.trim().eq_ignore_ascii_case("content-disposition")
            && found.replace(value.trim()).is_some()
        {
            return Err(malformed("a part with two dispositions"));
        }
    }
    let value = found.ok_or_else(|| malformed("a part without a disposition"))?;
    let kind = value.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("form-data") {
        return Err(malformed("a part that is no form data"));
    }
    let (mut name, mut filename, mut extended) = (None, None, None);
    for (parameter, text) in parameters(value) {
        let place = match parameter.to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut filename,
            "filename*" => &mut extended,
            _ => continue,
        };
        if place.replace(text).is_some() {
            return Err(malformed("a part with two names"));
        }
    }
    let name = name.map(unquoted).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| malformed("a part without a name"))?;
    let filename = extended
        .and_then(decoded)
        .or_else(|| filename.map(unquoted));
    Ok(Disposition {
        name: name.to_ascii_lowercase(),
        filename: filename.unwrap_or_default(),
    })
}

/// The `name=value` pairs behind the first `;`; a quoted value keeps its quotes.
fn parameters(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let end = if let Some(quoted) = after.strip_prefix('"') {
            let mut escaped = false;
            let end = quoted.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(after.len(), |end| end + 2)
        } else {
            after.find(';').unwrap_or(after.len())
        };
        let (value, more) = after.split_at_checked(end)?;
        rest = more.trim_start().strip_prefix(';').unwrap_or("");
        Some((name.trim(), value.trim()))
    })
}

/// A quoted value as browsers write them: quotes as `%22` or, in older ones, `\"`. Other backslashes are of paths.
fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    inner.replace("\\\"", "\"").replace("%22", "\"")
}

/// `UTF-8''percent-encoded`, RFC 5987.
fn decoded(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_, text) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let bytes = escape::decode(text.as_bytes(), Plus::Literal).ok()?;
    String::from_utf8(bytes.into_owned()).ok()
}

fn without_file() -> Error {
    Error::new(
        Kind::FormWithoutFile,
        "POST requires exactly one file upload per request.",
    )
}
