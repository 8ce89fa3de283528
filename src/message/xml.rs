//! Small XML documents: read as a walk over their elements, written by appending.
//!
//! No DTD is accepted, so there are no entities but XML's own five.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::error::{Error, Kind, Result};

/// Depth of a document. Stops a nest of elements from growing our stack of names.
pub const DEPTH_MAX: usize = 16;

/// Appends an element with text.
pub fn push_element(out: &mut String, name: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    push_text(out, text);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

/// Appends text, with what XML cannot hold as it is written as character references, as S3 does.
pub fn push_text(out: &mut String, text: &str) {
    let mut rest = text;
    // What needs none is copied as it stands.
    while let Some(at) = rest.bytes().position(needs_reference) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'&' => out.push_str("&amp;"),
            b'<' => out.push_str("&lt;"),
            b'>' => out.push_str("&gt;"),
            b'"' => out.push_str("&quot;"),
            control => {
                let digits = [control >> 4, control & 15]
                    .map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
                out.push_str("&#x");
                out.extend(digits.iter().skip(usize::from(digits[0] == '0')));
                out.push(';');
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

fn needs_reference(byte: u8) -> bool {
    match byte {
        b'\t' | b'\n' => false,
        b'&' | b'<' | b'>' | b'"' => true,
        other => other < 0x20,
    }
}

/// An element's start or end.
pub struct Node<'p, 'a> {
    /// Local names from the root to the element, itself included.
    pub path: &'p [&'a str],
    /// The start tag as it is written, attributes included. Empty at the element's end.
    pub tag: &'a str,
    pub part: Part<'a>,
}

pub enum Part<'a> {
    Open,
    /// The element's own text, decoded: a piece of the document wherever nothing in it was written as a reference.
    Close(Cow<'a, str>),
}

/// Calls `visit` at the start and end of each element. Text beside elements is only allowed to be white space.
pub fn walk<'a>(text: &'a str, mut visit: impl FnMut(Node<'_, 'a>) -> Result<()>) -> Result<()> {
    let mut reader = Reader::from_str(text);
    let mut path: Vec<&'a str> = Vec::new();
    let mut own: Cow<'a, str> = Cow::default();
    let mut roots = 0usize;
    loop {
        let from = position(&reader);
        let event = reader.read_event().map_err(|_| malformed())?;
        match event {
            Event::Start(_) | Event::Empty(_) => {
                let is_empty = matches!(event, Event::Empty(_));
                if path.is_empty() {
                    roots += 1;
                }
                let name = element_name(text, from).ok_or_else(malformed)?;
                if path.len() >= DEPTH_MAX || roots > 1 || !is_blank(&own) {
                    return Err(malformed());
                }
                path.push(name);
                own = Cow::default();
                visit(Node {
                    path: &path,
                    tag: text.get(from..position(&reader)).unwrap_or_default(),
                    part: Part::Open,
                })?;
                if is_empty {
                    visit(Node {
                        path: &path,
                        tag: "",
                        part: Part::Close(Cow::default()),
                    })?;
                    path.pop();
                }
            }
            Event::End(_) => {
                visit(Node {
                    path: &path,
                    tag: "",
                    part: Part::Close(std::mem::take(&mut own)),
                })?;
                path.pop();
            }
            Event::Eof if path.is_empty() && roots == 1 => return Ok(()),
            Event::Eof | Event::DocType(_) => return Err(malformed()),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                let written = text.get(from..position(&reader)).unwrap_or_default();
                if matches!(event, Event::Text(_)) && is_plain(written) {
                    own += written;
                } else {
                    push_decoded(own.to_mut(), &event).ok_or_else(malformed)?;
                }
                if path.is_empty() && !is_blank(&own) {
                    return Err(malformed());
                }
            }
        }
    }
}

/// Whether text means what is written. Line ends may have to become others.
fn is_plain(written: &str) -> bool {
    memchr::memchr(b'\r', written.as_bytes()).is_none()
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// Appends the text of a text event.
pub fn push_decoded(own: &mut String, event: &Event<'_>) -> Option<()> {
    match event {
        Event::Text(text) => own.push_str(&text.xml10_content()),
        Event::CData(text) => own.push_str(&text.xml10_content()),
        Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
            Some(character) => own.push(character),
            None => own.push_str(quick_xml::escape::resolve_xml_entity(reference)?),
        },
        Event::Start(_)
        | Event::End(_)
        | Event::Empty(_)
        | Event::Comment(_)
        | Event::Decl(_)
        | Event::PI(_)
        | Event::DocType(_)
        | Event::Eof => {}
    }
    Some(())
}

/// How far a reader has come.
pub fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

/// The local name of the element whose `<` is at `from`.
pub fn element_name(text: &str, from: usize) -> Option<&str> {
    let rest = text.get(from..)?.strip_prefix('<')?;
    // All of these are ASCII, so a name is cut between characters.
    let mut begin = 0;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b':' => begin = at + 1,
            b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => return rest.get(begin..at),
            _ => {}
        }
    }
    None
}

/// A document that is not one.
pub fn malformed() -> Error {
    Error::new(
        Kind::MalformedBody,
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(document: &str) -> Vec<Cow<'_, str>> {
        let mut found = Vec::new();
        walk(document, |node| {
            if let Part::Close(text) = node.part {
                found.push(text);
            }
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn text_that_means_what_is_written_is_not_copied() {
        let found = texts("<a>plain \u{fc}</a>");
        assert!(matches!(found[..], [Cow::Borrowed("plain \u{fc}")]));
    }

    #[test]
    fn text_in_pieces_is_put_together() {
        assert_eq!(
            texts("<a>1 &lt; 2<!-- no --> &#38;<![CDATA[ <3]]></a>"),
            ["1 < 2 & <3"]
        );
    }

    #[test]
    fn line_ends_become_line_feeds() {
        assert_eq!(texts("<a>one\r\ntwo\rthree</a>"), ["one\ntwo\nthree"]);
    }

    #[test]
    fn an_element_after_its_children_has_their_text_no_more() {
        assert_eq!(texts("<a> <b>x</b> </a>"), ["x", " "]);
    }
}
