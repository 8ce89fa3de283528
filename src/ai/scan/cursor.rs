//! A strict JSON reader over a body in frames, which keeps nothing but its place.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Span, Value};
use crate::error::{Error, Kind, Result};

/// Deepest nesting of arrays and objects: stops bodies that exhaust the stack of whoever parses them next.
const DEPTH_MAX: usize = 128;

/// Bytes kept of a string that is read, unescaped: longer than any name we act on.
const TEXT_BYTES_MAX: usize = 1024;

/// Bytes kept of a key inside a guarded member: longer than any that we look for.
const GUARDED_KEY_BYTES_MAX: usize = 32;

/// Nesting inside messages and input items below which nothing refers to stored state.
const CONTENT_DEPTH_MAX: usize = 5;

/// Nesting inside `tools` below which there are only the schemas of functions.
const TOOLS_DEPTH_MAX: usize = 3;

/// Which references to state in the provider's account a value may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    Nothing,
    /// Messages and input items: stored files and items.
    Content,
    /// Tools: vector stores and containers.
    Tools,
}

/// A string, unescaped as far as it was kept.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: SmallVec<[u8; 64]>,
    had_escapes: bool,
    /// Longer than is kept: `bytes` is a prefix.
    pub(super) overflowed: bool,
    /// Half of a surrogate pair: legal JSON, no Unicode.
    is_broken: bool,
}

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    rest: std::slice::Iter<'a, Bytes>,
    here: &'a [u8],
    at: usize,
    /// Where `here` starts in the body.
    base: usize,
}

impl Text {
    pub(super) fn as_str(&self) -> Option<&str> {
        if self.overflowed || self.is_broken {
            return None;
        }
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Whether the string stands in the body as `text`, byte for byte.
    pub(super) fn is_exactly(&self, text: &str) -> bool {
        !self.had_escapes && !self.overflowed && *self.bytes == *text.as_bytes()
    }

    #[inline]
    fn push(&mut self, part: &[u8], keep_max: usize) {
        if self.bytes.len() + part.len() > keep_max {
            self.overflowed = true;
        } else if !self.overflowed {
            self.bytes.extend_from_slice(part);
        }
    }
}

impl<'a> Cursor<'a> {
    pub(super) fn new(frames: &'a [Bytes]) -> Self {
        Self {
            rest: frames.iter(),
            here: &[],
            at: 0,
            base: 0,
        }
    }

    pub(super) fn offset(&self) -> usize {
        self.base + self.at
    }

    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            if let Some(byte) = self.here.get(self.at) {
                return Some(*byte);
            }
            self.next_frame()?;
        }
    }

    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips to a value and says where it starts.
    pub(super) fn start_value(&mut self) -> usize {
        self.skip_space();
        self.offset()
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(self.invalid());
        }
        self.at += 1;
        Ok(())
    }

    /// The error for a body that is not JSON at this place.
    pub(super) fn invalid(&self) -> Error {
        Error::new(
            Kind::MalformedBody,
            format!(
                "The request body is not valid JSON (at byte {}).",
                self.offset()
            ),
        )
    }

    /// Reads the members of an object whose `{` was read, and its `}`. `each` reads one member's value.
    pub(super) fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &Text) -> Result<()>,
    ) -> Result<()> {
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.key(TEXT_BYTES_MAX)?;
            each(self, &key)?;
            self.skip_space();
            match self.bump() {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                Some(_) | None => return Err(self.invalid()),
            }
        }
    }

    /// Reads any value.
    pub(super) fn value(&mut self) -> Result<Value> {
        let start = self.start_value();
        let is_null = self.peek() == Some(b'n');
        self.skip_value(Guard::Nothing)?;
        let end = self.offset();
        Ok(Value {
            at: Span { start, end },
            is_null,
        })
    }

    /// Reads a string with its quotes and keeps it.
    pub(super) fn string(&mut self) -> Result<Text> {
        self.expect(b'"')?;
        self.string_rest(TEXT_BYTES_MAX)
    }

    /// Reads any value and keeps nothing of it. Does not recurse.
    pub(super) fn skip_value(&mut self, guard: Guard) -> Result<()> {
        let mut nest = Nest::default();
        loop {
            if !self.enter(&mut nest)? && !self.leave(&mut nest)? {
                return Ok(());
            }
            if nest.is_object() {
                self.nested_key(guard, nest.depth)?;
            }
        }
    }

    /// Reads a scalar, an empty container or an opening. Whether an element follows inside.
    fn enter(&mut self, nest: &mut Nest) -> Result<bool> {
        self.skip_space();
        let (is_object, close) = match self.bump() {
            Some(b'{') => (true, b'}'),
            Some(b'[') => (false, b']'),
            Some(first) => {
                self.scalar(first)?;
                return Ok(false);
            }
            None => return Err(self.invalid()),
        };
        if nest.depth == DEPTH_MAX {
            return Err(Error::new(
                Kind::MalformedBody,
                "The request body is nested too deeply.",
            ));
        }
        nest.push(is_object);
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            nest.pop();
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads what follows a value, and all closings. Whether another element follows.
    fn leave(&mut self, nest: &mut Nest) -> Result<bool> {
        while nest.depth > 0 {
            self.skip_space();
            match (self.bump(), nest.is_object()) {
                (Some(b','), _) => return Ok(true),
                (Some(b'}'), true) | (Some(b']'), false) => nest.pop(),
                _ => return Err(self.invalid()),
            }
        }
        Ok(false)
    }

    /// Reads a key and its colon.
    fn key(&mut self, keep_max: usize) -> Result<Text> {
        self.skip_space();
        self.expect(b'"')?;
        let key = self.string_rest(keep_max)?;
        self.skip_space();
        self.expect(b':')?;
        Ok(key)
    }

    /// Reads a key inside a guarded value, and looks at its value where the two may be a reference to stored state.
    fn nested_key(&mut self, guard: Guard, depth: usize) -> Result<()> {
        let keep_max = match guard {
            Guard::Content if depth <= CONTENT_DEPTH_MAX => GUARDED_KEY_BYTES_MAX,
            Guard::Tools if depth <= TOOLS_DEPTH_MAX => GUARDED_KEY_BYTES_MAX,
            Guard::Content | Guard::Tools | Guard::Nothing => 0,
        };
        let key = self.key(keep_max)?;
        let Some(key) = key.as_str() else {
            return Ok(());
        };
        self.skip_space();
        let first = self.peek();
        let refers = match (guard, key) {
            (Guard::Content, "file_id") | (Guard::Tools, "container") => first == Some(b'"'),
            (Guard::Tools, "vector_store_ids" | "file_ids") => first == Some(b'['),
            (Guard::Content, "type") if first == Some(b'"') => {
                // Read ahead in a copy: the value is still to be read.
                self.clone().string()?.as_str() == Some("item_reference")
            }
            _ => false,
        };
        if !refers {
            return Ok(());
        }
        Err(Error::new(
            Kind::InvalidArgument,
            "References to files, items, vector stores or containers kept at the model provider are not supported here; send the content itself.",
        )
        .with_param(key.to_owned()))
    }

    /// Reads a scalar whose first byte was read.
    fn scalar(&mut self, first: u8) -> Result<()> {
        match first {
            b'"' => self.string_rest(0).map(|_| ()),
            b't' => self.literal(b"rue"),
            b'f' => self.literal(b"alse"),
            b'n' => self.literal(b"ull"),
            b'-' => match self.bump() {
                Some(first @ b'0'..=b'9') => self.number(first),
                Some(_) | None => Err(self.invalid()),
            },
            b'0'..=b'9' => self.number(first),
            _ => Err(self.invalid()),
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Result<()> {
        rest.iter().try_for_each(|byte| self.expect(*byte))
    }

    /// Reads a number from its second digit on.
    fn number(&mut self, first: u8) -> Result<()> {
        if first != b'0' {
            self.skip_digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        match self.bump() {
            Some(b'0'..=b'9') => {
                self.skip_digits();
                Ok(())
            }
            Some(_) | None => Err(self.invalid()),
        }
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads a string whose opening quote was read, to behind its closing one.
    fn string_rest(&mut self, keep_max: usize) -> Result<Text> {
        let mut text = Text::default();
        loop {
            let part = self.here.get(self.at..).unwrap_or_default();
            let plain = plain_len(part);
            text.push(&part[..plain], keep_max);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut text, keep_max)?;
                }
                // The next frame begins with a plain byte.
                Some(byte) if !is_special(byte) => {}
                Some(_) | None => return Err(self.invalid()),
            }
        }
    }

    fn escape(&mut self, text: &mut Text, keep_max: usize) -> Result<()> {
        text.had_escapes = true;
        let byte = match self.bump() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(text, keep_max),
            Some(_) | None => return Err(self.invalid()),
        };
        text.push(&[byte], keep_max);
        Ok(())
    }

    /// Reads what follows `\u`, and the low half that belongs to a high one.
    fn unicode_escape(&mut self, text: &mut Text, keep_max: usize) -> Result<()> {
        let mut unit = self.hex4()?;
        if (0xd800..0xdc00).contains(&unit) {
            let mut ahead = self.clone();
            if ahead.bump() == Some(b'\\') && ahead.bump() == Some(b'u') {
                let low = ahead.hex4()?;
                if (0xdc00..0xe000).contains(&low) {
                    unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    *self = ahead;
                }
            }
        }
        match char::from_u32(unit) {
            Some(c) => text.push(c.encode_utf8(&mut [0; 4]).as_bytes(), keep_max),
            None => text.is_broken = true,
        }
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.bump().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit << 4 | digit.ok_or_else(|| self.invalid())?;
        }
        Ok(unit)
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn next_frame(&mut self) -> Option<()> {
        let next = self.rest.next()?;
        self.base += self.here.len();
        self.here = next;
        self.at = 0;
        Some(())
    }
}

/// The open containers around a place, one bit each.
#[derive(Default)]
struct Nest {
    objects: u128,
    depth: usize,
}

impl Nest {
    fn push(&mut self, is_object: bool) {
        const { assert!(DEPTH_MAX <= u128::BITS as usize) };
        self.objects = self.objects << 1 | u128::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn is_object(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 1
    }
}

/// How many bytes from the start of `bytes` a string can hold as they are.
fn plain_len(bytes: &[u8]) -> usize {
    // Eight bytes at a time finds the near end of text; behind that, whole blocks without a branch a byte, which
    // the compiler puts into vector registers: images are megabytes.
    const NEAR: usize = 64;
    const BLOCK: usize = 64;
    let (near, far) = bytes.split_at(NEAR.min(bytes.len()));
    let mut at = first_special(near);
    if at < near.len() || far.is_empty() {
        return at;
    }
    let blocks = far
        .chunks_exact(BLOCK)
        .take_while(|block| block.iter().fold(0, |any, byte| any | special(*byte)) == 0)
        .count();
    at += blocks * BLOCK;
    at + first_special(bytes.get(at..).unwrap_or_default())
}

/// Where the first byte is that a string cannot hold as it is; the length where there is none.
fn first_special(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    let mut at = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte that is below `n`; a borrow can only set bits above the first that is right.
        let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = below(word, 0x20) | equal(b'"') | equal(b'\\');
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_plain = |byte: &&u8| special(**byte) == 0;
    at + rest.iter().take_while(is_plain).count()
}

/// Not zero for a byte that ends a run of plain ones. Arithmetic, because a branch would keep the compiler from
/// looking at many bytes at once.
fn special(byte: u8) -> u8 {
    u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\')
}

fn is_special(byte: u8) -> bool {
    special(byte) != 0
}

/// Checks that the frames, joined, are UTF-8.
pub(super) fn check_utf8(frames: &[Bytes]) -> Result<()> {
    // The start of a character whose end is in the next frame.
    let mut carry: SmallVec<[u8; 4]> = SmallVec::new();
    for frame in frames {
        let mut rest: &[u8] = frame;
        while !carry.is_empty() {
            let Some((first, after)) = rest.split_first() else {
                break;
            };
            carry.push(*first);
            rest = after;
            match std::str::from_utf8(&carry) {
                Ok(_) => carry.clear(),
                Err(error) if error.error_len().is_some() => return Err(not_utf8()),
                Err(_) => {}
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            if error.error_len().is_some() {
                return Err(not_utf8());
            }
            carry.extend_from_slice(rest.get(error.valid_up_to()..).unwrap_or_default());
        }
    }
    if carry.is_empty() {
        return Ok(());
    }
    Err(not_utf8())
}

fn not_utf8() -> Error {
    Error::new(Kind::MalformedBody, "The request body is not valid UTF-8.")
}
