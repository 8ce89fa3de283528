//! Where the events of an event stream end.
//!
//! Pure framing, without decoding: lines end at `\n`, `\r\n` or `\r`, an event at an empty line. Everything is
//! looked for as bytes, so that a character cut in two by the network is nobody's concern.

use crate::error::{Error, Kind, Result};

/// A comment, which readers skip: sent between events, so that nobody on the way takes the stream for dead.
pub const PING: &[u8] = b": ping\n\n";

/// Ends an event that was handed on in part, so that what follows is an event of its own.
pub const BREAK: &[u8] = b"\n\n";

/// Finds the ends of events in a stream that comes in chunks.
#[derive(Debug)]
pub struct Boundaries {
    /// Nothing of the current line was seen.
    at_line_start: bool,
    /// The last byte was `\r`: a `\n` now belongs to it.
    after_cr: bool,
    /// The current event has a byte.
    started: bool,
}

impl Default for Boundaries {
    fn default() -> Self {
        Self::new()
    }
}

impl Boundaries {
    pub fn new() -> Self {
        Self {
            at_line_start: true,
            after_cr: false,
            started: false,
        }
    }

    /// Whether a leading `\n` of `input` still belongs to the event that ended with `\r`.
    pub fn completes_crlf(&self, input: &[u8]) -> bool {
        !self.started && self.after_cr && input.first() == Some(&b'\n')
    }

    /// The length of `input` up to the end of the current event, or `None` where it ends in a later chunk; then
    /// all of `input` was read.
    pub fn event_end(&mut self, input: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.after_cr {
            self.after_cr = false;
            if input.first() == Some(&b'\n') {
                at = 1;
                if !self.started {
                    return Some(1);
                }
            }
        }
        while at < input.len() {
            self.started = true;
            let rest = input.get(at..).unwrap_or_default();
            let Some(line) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.at_line_start = false;
                return None;
            };
            let is_empty = line == 0 && self.at_line_start;
            let is_cr = rest.get(line) == Some(&b'\r');
            at += line + 1;
            self.at_line_start = true;
            if is_cr {
                match input.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if is_empty {
                self.started = false;
                return Some(at);
            }
        }
        None
    }
}

/// One event, decoded as far as it is needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The `event` field.
    pub name: Vec<u8>,
    /// The `data` lines, joined by `\n`.
    pub data: Vec<u8>,
    /// Whether there was a `data` field at all.
    pub has_data: bool,
}

impl Event {
    /// Reads the lines of one event into `self`, reusing its buffers.
    pub fn read(&mut self, event: &[u8]) {
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        // A byte order mark can only stand before the first event.
        let event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
        for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let (field, value) = match memchr::memchr(b':', line) {
                Some(colon) => (&line[..colon], line.get(colon + 1..).unwrap_or_default()),
                None => (line, &line[line.len()..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"data" => {
                    if self.has_data {
                        self.data.push(b'\n');
                    }
                    self.has_data = true;
                    self.data.extend_from_slice(value);
                }
                b"event" => {
                    self.name.clear();
                    self.name.extend_from_slice(value);
                }
                _ => {}
            }
        }
    }
}

/// Most bytes of one event that is translated: an image comes in one.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Takes a stream that comes in chunks apart into events.
#[derive(Debug, Default)]
pub struct Events {
    boundaries: Boundaries,
    /// The current event as far as it came.
    held: Vec<u8>,
    event: Event,
}

impl Events {
    /// Gives each event with data that `input` completes to `each`.
    pub fn push(&mut self, input: &[u8], mut each: impl FnMut(&Event) -> Result<()>) -> Result<()> {
        let mut rest = input;
        while let Some(end) = self.boundaries.event_end(rest) {
            let (part, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = after;
            if self.held.is_empty() {
                self.event.read(part);
            } else {
                self.held.extend_from_slice(part);
                self.event.read(&self.held);
                self.held.clear();
            }
            if self.event.has_data {
                each(&self.event)?;
            }
        }
        if self.held.len() + rest.len() > EVENT_BYTES_MAX {
            return Err(Error::new(
                Kind::UpstreamBroken,
                "The model's answer has an event that is too large.",
            ));
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// The end of the stream: a last event may lack its empty line.
    pub fn finish(&mut self, each: impl FnOnce(&Event) -> Result<()>) -> Result<()> {
        self.event.read(&self.held);
        self.held.clear();
        if self.event.has_data {
            return each(&self.event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        let mut boundaries = Boundaries::new();
        let mut events = Vec::new();
        let mut rest = stream.as_bytes();
        while let Some(end) = boundaries.event_end(rest) {
            let (event, after) = rest.split_at(end);
            events.push(std::str::from_utf8(event).unwrap());
            rest = after;
        }
        assert_eq!(events, expected, "{stream:?}");
    }

    #[test]
    fn events_end_at_empty_lines_of_every_kind() {
        check("data: a\n\ndata: b\n\n", &["data: a\n\n", "data: b\n\n"]);
        check("a\r\n\r\nb\r\n\r\n", &["a\r\n\r\n", "b\r\n\r\n"]);
        check("a\r\rb\r\r", &["a\r\r", "b\r\r"]);
        check("a\n\r\nb\r\n\n", &["a\n\r\n", "b\r\n\n"]);
        check("a\nb\n\n\n", &["a\nb\n\n", "\n"]);
        check("a\n", &[]);
        check("", &[]);
    }

    #[test]
    fn a_line_feed_that_comes_late_belongs_to_its_event() {
        let mut boundaries = Boundaries::new();
        assert_eq!(boundaries.event_end(b"a\r\n\r"), Some(4));
        assert!(boundaries.completes_crlf(b"\nb"));
        assert_eq!(boundaries.event_end(b"\nb"), Some(1));
        assert!(!boundaries.completes_crlf(b"\nb"));
    }

    #[test]
    fn fields_are_read_with_and_without_a_space() {
        let mut event = Event::default();
        event.read(
            "\u{feff}: c\r\nid: 1\r\nevent:x\r\ndata: a\r\ndata:b\r\ndata\r\n\r\n".as_bytes(),
        );
        assert_eq!(event.name, b"x");
        assert_eq!(event.data, b"a\nb\n");
        event.read(b": ping\n\n");
        assert_eq!(event, Event::default());
        event.read(b"data:  a\n\n");
        assert_eq!(event.data, b" a");
    }
}
