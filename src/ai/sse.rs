//! Where the events of an event stream end.
//!
//! Pure framing, without decoding: lines end at `\n`, `\r\n` or `\r`, an event at an empty line. Everything is
//! looked for as bytes, so that a character cut in two by the network is nobody's concern.

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
