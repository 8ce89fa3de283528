//! Bearer tokens: what is kept of one (its SHA-256), and how a mistyped one is told from an unknown one.
//!
//! Tokens that we make carry 32 random bytes, so a plain SHA-256 is as good as a slow hash; a token that a
//! person made up must not be used here, which is why short ones are refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What the text form of a digest starts with.
pub const PREFIX: &str = "sha256:";

/// What our AI tokens start with.
pub const TOKEN_PREFIX: &str = "sk-";

/// Base64url characters of the 32 random bytes in a token of ours.
pub(super) const TOKEN_RANDOM_CHARS: usize = 43;

/// Characters of a token's checksum: a CRC32 in base64url, which is 32 bits in 6 characters.
pub(super) const TOKEN_CHECKSUM_CHARS: usize = 6;

/// Shortest token that may be hashed: fewer characters could be guessed from a leaked digest.
pub const TOKEN_CHARS_MIN: usize = 32;

/// SHA-256 of a whole bearer token.
pub fn sha256(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Compares digests in constant time.
pub fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

/// `sha256:<64 hex>`.
pub fn format(digest: &[u8; 32]) -> String {
    format!("{PREFIX}{}", hex(digest))
}

/// Reads `sha256:<64 hex>`, in either case.
pub fn parse(text: &str) -> Option<[u8; 32]> {
    unhex(text.strip_prefix(PREFIX)?)
}

/// What the checksum at a token's end says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenForm {
    /// Of our form, with a good checksum.
    Ours,
    /// Of our form, with a wrong checksum: mistyped or cut and pasted wrong. No lookup is needed.
    Mistyped,
    /// Not of our form: a token that was brought along.
    Foreign,
}

/// Tells a token's form without looking it up.
pub fn token_form(token: &str) -> TokenForm {
    let Some(rest) = token.strip_prefix(TOKEN_PREFIX) else {
        return TokenForm::Foreign;
    };
    let ours = rest.len() == TOKEN_RANDOM_CHARS + TOKEN_CHECKSUM_CHARS
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !ours {
        return TokenForm::Foreign;
    }
    let (body, checksum) = token.split_at(token.len() - TOKEN_CHECKSUM_CHARS);
    if token_checksum(body) == checksum {
        TokenForm::Ours
    } else {
        TokenForm::Mistyped
    }
}

/// The checksum that ends a token, over everything before it.
pub(super) fn token_checksum(body: &str) -> String {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, body.as_bytes());
    let bytes = u32::try_from(crc)
        .expect("a CRC32 fits 32 bits")
        .to_be_bytes();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
    }
    Some(bytes)
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
    fn digest_text_round_trips_and_matches_the_standard() {
        let digest = sha256(b"abc");
        let text = format(&digest);
        assert_eq!(
            text,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(parse(&text), Some(digest));
        assert_eq!(
            parse(&text.to_uppercase().replace("SHA256", "sha256")),
            Some(digest)
        );
        assert!(same(&digest, &parse(&text).unwrap()));
        assert!(!same(&digest, &sha256(b"abd")));
    }

    #[test]
    fn other_texts_are_no_digests() {
        let good = format(&sha256(b"abc"));
        for bad in [
            "",
            "sha256:",
            &good[7..],
            &good[..70],
            &good.replace('b', "g"),
            &format!("{good}0"),
            "sha256:\u{e9}",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn checksums_tell_typing_errors() {
        let body = format!("sk-{}", URL_SAFE_NO_PAD.encode([7; 32]));
        let token = format!("{body}{}", token_checksum(&body));
        assert_eq!(token_form(&token), TokenForm::Ours);
        for at in 3..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(bytes).unwrap();
            assert_eq!(token_form(&wrong), TokenForm::Mistyped, "at {at}");
        }
        for foreign in [
            "",
            "sk-",
            "sk-short",
            "bearer",
            &token[..token.len() - 1],
            &format!("{token}x"),
        ] {
            assert_eq!(token_form(foreign), TokenForm::Foreign, "{foreign}");
        }
    }
}
