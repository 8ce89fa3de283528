//! The canonical request of `SigV4` and of what was made after it, in reused buffers. Verifying and signing share it.

use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Plus, Slash};

/// Query parameters that are sorted. Stops a request from making us sort long lists.
const PAIRS_MAX: usize = 128;

/// Buffers that are reused from request to request.
#[derive(Debug, Default)]
pub(in crate::storage) struct Scratch {
    pub request: Vec<u8>,
    pub to_sign: Vec<u8>,
    pub pairs: Pairs,
}

/// Query parameters in canonical form, back to back, with where each lies.
#[derive(Debug, Default)]
pub(in crate::storage) struct Pairs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from: usize,
    /// Where `=` stands.
    middle: usize,
    to: usize,
}

/// Method and path.
pub(in crate::storage) fn start(out: &mut Vec<u8>, method: &str, path: &str) -> Result<()> {
    out.extend_from_slice(method.as_bytes());
    out.push(b'\n');
    escape::normalise(out, path.as_bytes(), Slash::Keep, Plus::Literal).map_err(|_| bad_uri())?;
    out.push(b'\n');
    Ok(())
}

/// The query, each name and value in canonical encoding, sorted by both, without the parameter `skip`.
pub(in crate::storage) fn query(
    out: &mut Vec<u8>,
    pairs: &mut Pairs,
    raw: &str,
    skip: Option<&str>,
) -> Result<()> {
    pairs.bytes.clear();
    pairs.spans.clear();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if skip.is_some_and(|skip| skip == name) {
            continue;
        }
        if pairs.spans.len() >= PAIRS_MAX {
            return Err(Error::new(
                Kind::InvalidArgument,
                "Too many query parameters.",
            ));
        }
        let from = pairs.bytes.len();
        normalise(&mut pairs.bytes, name)?;
        let middle = pairs.bytes.len();
        pairs.bytes.push(b'=');
        normalise(&mut pairs.bytes, value)?;
        let to = pairs.bytes.len();
        pairs.spans.push(Span { from, middle, to });
    }
    let bytes = &pairs.bytes;
    let parts = |span: &Span| (&bytes[span.from..span.middle], &bytes[span.middle..span.to]);
    pairs
        .spans
        .sort_unstable_by(|left, right| parts(left).cmp(&parts(right)));
    for (at, span) in pairs.spans.iter().enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(&bytes[span.from..span.to]);
    }
    out.push(b'\n');
    Ok(())
}

fn normalise(out: &mut Vec<u8>, text: &str) -> Result<()> {
    escape::normalise(out, text.as_bytes(), Slash::Encode, Plus::Space).map_err(|_| bad_uri())
}

pub(in crate::storage) fn header_start(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
}

/// A header's value, trimmed, with runs of spaces made one.
pub(in crate::storage) fn header_value(out: &mut Vec<u8>, value: &[u8]) {
    let value = value.trim_ascii();
    let has_run = || value.windows(2).any(|pair| pair == b"  ");
    if memchr::memchr(b' ', value).is_none() || !has_run() {
        out.extend_from_slice(value);
        return;
    }
    let mut last = 0;
    for &byte in value {
        if byte != b' ' || last != b' ' {
            out.push(byte);
        }
        last = byte;
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

/// 32 bytes from lower-case hexadecimal.
pub(in crate::storage) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(out)
}

fn bad_uri() -> Error {
    Error::new(Kind::InvalidRequest, "Couldn't parse the specified URI.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_sorted_by_encoded_name_then_value() {
        for (raw, expected) in [
            ("", ""),
            ("acl", "acl="),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a", "a=&a=1&a=2"),
            ("a-b=1&a=2&a.c=3", "a=2&a-b=1&a.c=3"),
            ("prefix=a%2fb&&x=+;", "prefix=a%2Fb&x=%20%3B"),
            ("k=%C3%A9&k=z", "k=%C3%A9&k=z"),
            ("a=b=c", "a=b%3Dc"),
        ] {
            let mut out = Vec::new();
            query(&mut out, &mut Pairs::default(), raw, None).unwrap();
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("{expected}\n"),
                "{raw}"
            );
        }
    }

    #[test]
    fn header_values_are_trimmed_and_collapsed() {
        for (value, expected) in [
            ("a", "a"),
            ("  a   b  c ", "a b c"),
            ("\ta\t b", "a\t b"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            header_value(&mut out, value.as_bytes());
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn hexadecimal_is_lower_case_and_whole() {
        let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 8).unwrap());
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        let upper = hex(&bytes).to_ascii_uppercase();
        assert_eq!(unhex(&upper), None);
        assert_eq!(unhex(b"ab"), None);
    }
}
