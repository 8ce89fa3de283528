//! Characters that were cut in two between the events of a stream.
//!
//! Servers that cut their text by UTF-16 write half of a character as an escape at the end of one event and the other half
//! at the start of the next. Neither is text by itself, and strict parsers refuse the whole event. Here a half that
//! comes alone waits for its other.

use std::borrow::Cow;

/// Keeps a half from one event to the next.
#[derive(Debug, Default)]
pub struct Mender {
    /// Its four digits.
    high: Option<[u8; 4]>,
}

impl Mender {
    /// The JSON text with whole characters only. What has no other half is left out, or becomes U+FFFD.
    pub fn mend<'a>(&mut self, json: &'a [u8]) -> Cow<'a, [u8]> {
        let mut mended: Vec<u8> = Vec::new();
        let (mut at, mut copied) = (0, 0);
        while let Some(found) = memchr::memchr(b'\\', json.get(at..).unwrap_or_default()) {
            let start = at + found;
            let Some(digits) = escape_at(json, start) else {
                // The escape of one character, which may be a backslash itself.
                at = start + 2;
                continue;
            };
            at = start + 6;
            let put: Vec<u8> = match value(digits) {
                0xd800..=0xdbff => {
                    let next = escape_at(json, at).map(value);
                    if next.is_some_and(|next| (0xdc00..=0xdfff).contains(&next)) {
                        at += 6;
                        continue;
                    }
                    self.high = Some(digits);
                    Vec::new()
                }
                0xdc00..=0xdfff => match self.high.take() {
                    Some(high) => [&b"\\u"[..], &high, b"\\u", &digits].concat(),
                    None => b"\\ufffd".to_vec(),
                },
                _ => continue,
            };
            mended.extend_from_slice(json.get(copied..start).unwrap_or_default());
            mended.extend_from_slice(&put);
            copied = at;
        }
        if copied == 0 {
            return Cow::Borrowed(json);
        }
        mended.extend_from_slice(json.get(copied..).unwrap_or_default());
        Cow::Owned(mended)
    }
}

/// The digits of a `\uXXXX` that stands at `start`.
fn escape_at(json: &[u8], start: usize) -> Option<[u8; 4]> {
    let digits = json.get(start..start + 6)?.strip_prefix(b"\\u")?;
    let digits: [u8; 4] = digits.try_into().ok()?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)
}

fn value(digits: [u8; 4]) -> u32 {
    let nibbles = digits
        .iter()
        .filter_map(|digit| char::from(*digit).to_digit(16));
    nibbles.fold(0, |value, nibble| value << 4 | nibble)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(events: &[&str], expected: &[&str]) {
        let mut mender = Mender::default();
        let mended: Vec<String> = events
            .iter()
            .map(|event| String::from_utf8(mender.mend(event.as_bytes()).into_owned()).unwrap())
            .collect();
        assert_eq!(mended, expected);
    }

    #[test]
    fn halves_find_each_other() {
        check(
            &[r#""a\ud83c""#, r#""\udf0db""#],
            &[r#""a""#, r#""\ud83c\udf0db""#],
        );
        check(
            &[r#""\uD83C""#, "{}", r#""\uDF0D""#],
            &[r#""""#, "{}", r#""\uD83C\uDF0D""#],
        );
    }

    #[test]
    fn whole_characters_and_what_only_looks_like_one_stay() {
        for json in [
            r#""\ud83c\udf0d""#,
            r#""\\ud83c""#,
            r#""\u00e9\n\"""#,
            r#""\u12""#,
            r#""\"#,
        ] {
            check(&[json], &[json]);
        }
    }

    #[test]
    fn a_half_without_its_other_is_no_text() {
        check(&[r#""\udf0d""#], &[r#""\ufffd""#]);
        check(&[r#""\ud83ca\ud83c\udf0d""#], &[r#""a\ud83c\udf0d""#]);
    }

    proptest! {
        #[test]
        fn text_cut_by_utf16_comes_through(text in "\\PC{1,40}", size in 1_usize..5) {
            let units: Vec<u16> = text.encode_utf16().collect();
            let mut mender = Mender::default();
            let mut heard = String::new();
            for part in units.chunks(size) {
                let escaped: Vec<String> = part.iter().map(|unit| format!("\\u{unit:04x}")).collect();
                let json = format!("\"{}\"", escaped.concat());
                let mended = mender.mend(json.as_bytes()).into_owned();
                heard.push_str(&serde_json::from_slice::<String>(&mended).unwrap());
            }
            prop_assert_eq!(heard, text);
        }
    }
}
