//! Percent-encoding, in one place.
//!
//! `SigV4` knows one encoding: everything but RFC 3986's unreserved bytes is `%XX` in upper case. Decoding is once and
//! strict: an escape that is cut or not hexadecimal is refused by the caller, never passed on.

use std::borrow::Cow;

/// Whether `/` is left as it is (paths) or encoded too (query names and values).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slash {
    Keep,
    Encode,
}

/// Whether `+` stands for a space (queries) or for itself (paths, headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plus {
    Literal,
    Space,
}

/// One byte of encoded text, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub byte: u8,
    /// It was written as `%XX`.
    pub escaped: bool,
}

/// An escape that is cut short or not hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEscape;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

const UNRESERVED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    let mut at = 0;
    while byte < 128 {
        table[at] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
        at += 1;
    }
    table
};

pub fn is_unreserved(byte: u8) -> bool {
    UNRESERVED[usize::from(byte)]
}

/// Takes one byte off the front of encoded text.
pub fn take(text: &[u8], plus: Plus) -> Result<Option<(Decoded, &[u8])>, BadEscape> {
    let Some((&first, rest)) = text.split_first() else {
        return Ok(None);
    };
    if first == b'%' {
        let (Some(high), Some(low)) = (
            rest.first().copied().and_then(nibble),
            rest.get(1).copied().and_then(nibble),
        ) else {
            return Err(BadEscape);
        };
        let decoded = Decoded {
            byte: high << 4 | low,
            escaped: true,
        };
        return Ok(Some((decoded, &rest[2..])));
    }
    let byte = if first == b'+' && plus == Plus::Space {
        b' '
    } else {
        first
    };
    let decoded = Decoded {
        byte,
        escaped: false,
    };
    Ok(Some((decoded, rest)))
}

/// Decodes text; borrows where there is nothing to decode.
pub fn decode(text: &[u8], plus: Plus) -> Result<Cow<'_, [u8]>, BadEscape> {
    let plain = match plus {
        Plus::Literal => memchr::memchr(b'%', text),
        Plus::Space => memchr::memchr2(b'%', b'+', text),
    };
    let Some(plain) = plain else {
        return Ok(Cow::Borrowed(text));
    };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..plain]);
    let mut rest = &text[plain..];
    while let Some((decoded, after)) = take(rest, plus)? {
        out.push(decoded.byte);
        rest = after;
    }
    Ok(Cow::Owned(out))
}

/// Appends `bytes` encoded.
pub fn encode(out: &mut Vec<u8>, bytes: &[u8], slash: Slash) {
    for &byte in bytes {
        if is_unreserved(byte) || (byte == b'/' && slash == Slash::Keep) {
            out.push(byte);
        } else {
            push_escape(out, byte);
        }
    }
}

/// Appends already encoded text in the one form that `SigV4` signs: decoded and encoded again, but with `%2F` kept
/// apart from `/`.
pub fn normalise(
    out: &mut Vec<u8>,
    text: &[u8],
    slash: Slash,
    plus: Plus,
) -> Result<(), BadEscape> {
    let mut rest = text;
    while let Some((decoded, after)) = take(rest, plus)? {
        let keep = is_unreserved(decoded.byte)
            || (decoded.byte == b'/' && !decoded.escaped && slash == Slash::Keep);
        if keep {
            out.push(decoded.byte);
        } else {
            push_escape(out, decoded.byte);
        }
        rest = after;
    }
    Ok(())
}

/// Strips an unencoded `prefix` off encoded text.
pub fn strip_prefix<'a>(text: &'a [u8], prefix: &[u8], plus: Plus) -> Option<&'a [u8]> {
    let mut rest = text;
    for &wanted in prefix {
        let (decoded, after) = take(rest, plus).ok()??;
        if decoded.byte != wanted {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[
        b'%',
        HEX[usize::from(byte >> 4)],
        HEX[usize::from(byte & 15)],
    ]);
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_is_once_and_strict() {
        for (text, plus, expected) in [
            ("a%2Fb", Plus::Literal, Ok("a/b")),
            ("a%252Fb", Plus::Literal, Ok("a%2Fb")),
            ("a+b", Plus::Literal, Ok("a+b")),
            ("a+b", Plus::Space, Ok("a b")),
            ("a%2", Plus::Literal, Err(BadEscape)),
            ("a%zz", Plus::Literal, Err(BadEscape)),
            ("%", Plus::Literal, Err(BadEscape)),
        ] {
            let decoded = decode(text.as_bytes(), plus);
            assert_eq!(
                decoded.as_deref(),
                expected.map(str::as_bytes).as_ref().copied(),
                "{text}"
            );
        }
    }

    #[test]
    fn normal_form_keeps_an_encoded_slash_apart() {
        for (text, expected) in [
            ("/b/a%2fb/c", "/b/a%2Fb/c"),
            ("/b/(x)", "/b/%28x%29"),
            ("/b/%7e%41", "/b/~A"),
            ("/b//../.", "/b//../."),
            ("/b/a+b", "/b/a%2Bb"),
        ] {
            let mut out = Vec::new();
            normalise(&mut out, text.as_bytes(), Slash::Keep, Plus::Literal).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn prefix_is_stripped_off_encoded_text() {
        assert_eq!(
            strip_prefix(b"a%20b%2fc+d", b"a b/", Plus::Space),
            Some(b"c+d".as_slice())
        );
        assert_eq!(strip_prefix(b"ab", b"ac", Plus::Space), None);
        assert_eq!(strip_prefix(b"a", b"ab", Plus::Space), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_decodes(bytes: Vec<u8>) {
            for slash in [Slash::Keep, Slash::Encode] {
                let mut out = Vec::new();
                encode(&mut out, &bytes, slash);
                let decoded = decode(&out, Plus::Space).unwrap();
                proptest::prop_assert_eq!(decoded.as_ref(), bytes.as_slice());
            }
        }
    }
}
