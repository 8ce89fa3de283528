//! New keys, tokens and master keys, made from entropy that the caller hands in.
//!
//! The forms: `AQDT` and 16 of base32 for an S3 access key id, as long as AWS's, with a secret of 40 characters;
//! `FB_AI_` and 16 for what is shown of an AI key, whose secret is `sk-`, 32 random bytes and a checksum;
//! `aqadm_` and the same for an admin token, so that neither can be taken for the other.

use base64::alphabet::Alphabet;
use base64::engine::general_purpose::{NO_PAD, STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{Engine, GeneralPurpose};
use zeroize::Zeroizing;

use super::hash;
use crate::secret::Secret;

/// What an S3 access key id of ours starts with.
pub const S3_ID_PREFIX: &str = "AQDT";

/// What is shown of an AI key starts with this.
pub const AI_ID_PREFIX: &str = "FB_AI_";

/// What an admin token starts with.
pub const ADMIN_TOKEN_PREFIX: &str = "aqadm_";

/// Entropy for one id of 16 base32 characters.
const ID_BYTES: usize = 10;

/// Entropy for one S3 secret of 40 characters.
const S3_SECRET_BYTES: usize = 30;

/// Entropy for one bearer token.
const TOKEN_BYTES: usize = 32;

/// Entropy that [`s3_key`] takes.
pub const S3_KEY_ENTROPY: usize = ID_BYTES + S3_SECRET_BYTES;

/// Entropy that [`ai_key`] takes.
pub const AI_KEY_ENTROPY: usize = ID_BYTES + TOKEN_BYTES;

/// A key as it is shown once, to whoever asked for it.
#[derive(Debug)]
pub struct Generated {
    /// The public part.
    pub key: String,
    pub secret: Secret,
}

/// A new S3 key.
pub fn s3_key(entropy: &[u8; S3_KEY_ENTROPY]) -> Generated {
    let (id, secret) = entropy.split_at(ID_BYTES);
    Generated {
        key: format!("{S3_ID_PREFIX}{}", base32(id, BASE32_UPPER)),
        secret: Secret::new(S3_SECRET.encode(secret)),
    }
}

/// A new AI key: what is shown of it, and its bearer token.
pub fn ai_key(entropy: &[u8; AI_KEY_ENTROPY]) -> Generated {
    let (id, token) = entropy.split_at(ID_BYTES);
    Generated {
        key: format!("{AI_ID_PREFIX}{}", base32(id, BASE32_LOWER)),
        secret: bearer(hash::TOKEN_PREFIX, token),
    }
}

/// A new admin token.
pub fn admin_token(entropy: &[u8; TOKEN_BYTES]) -> Secret {
    bearer(ADMIN_TOKEN_PREFIX, entropy)
}

/// A new master key, as text for a file.
pub fn master_key(entropy: &[u8; 32]) -> Secret {
    Secret::new(STANDARD.encode(entropy))
}

fn bearer(prefix: &str, random: &[u8]) -> Secret {
    let body = Zeroizing::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random)));
    let checksum = hash::token_checksum(&body);
    Secret::new([body.as_bytes(), checksum.as_bytes()].concat())
}

/// Base64 in characters that need no escape in a URL, a shell or an INI file, and that never look like an option.
const S3_SECRET: GeneralPurpose = GeneralPurpose::new(
    &match Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._") {
        Ok(alphabet) => alphabet,
        Err(_) => base64::alphabet::URL_SAFE,
    },
    NO_PAD,
);

const BASE32_UPPER: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE32_LOWER: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Base32 without padding, for inputs of a multiple of 5 bytes.
fn base32(bytes: &[u8], digits: &[u8; 32]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5);
    for group in bytes.chunks_exact(5) {
        let bits = group
            .iter()
            .fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        for place in (0..8).rev() {
            let digit = usize::try_from((bits >> (place * 5)) & 31).unwrap_or(0);
            text.push(char::from(digits[digit]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::hash::{TokenForm, token_form};

    fn counting<const N: usize>() -> [u8; N] {
        std::array::from_fn(|at| u8::try_from(at * 37 % 256).unwrap())
    }

    #[test]
    fn base32_matches_the_rfc() {
        assert_eq!(base32(b"fooba", BASE32_UPPER), "MZXW6YTB");
    }

    #[test]
    fn s3_keys_have_the_lengths_of_aws() {
        let made = s3_key(&counting());
        assert_eq!(made.key.len(), 20);
        assert!(made.key.starts_with("AQDT"));
        let secret = made.secret.expose_str().unwrap();
        assert_eq!(secret.len(), 40);
        assert!(
            secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
        );
        assert!(!format!("{made:?}").contains(secret));
    }

    #[test]
    fn ai_keys_carry_a_good_checksum() {
        let made = ai_key(&counting());
        assert_eq!(made.key.len(), "FB_AI_".len() + 16);
        let secret = made.secret.expose_str().unwrap();
        assert_eq!(secret.len(), 3 + 43 + 6);
        assert_eq!(token_form(secret), TokenForm::Ours);
    }

    #[test]
    fn an_admin_token_is_no_ai_token() {
        let token = admin_token(&counting());
        let token = token.expose_str().unwrap();
        assert!(token.starts_with("aqadm_"));
        assert_eq!(token_form(token), TokenForm::Foreign);
    }

    #[test]
    fn a_master_key_is_taken_by_the_ring() {
        let ring = crate::keys::seal::MasterRing::new(vec![("a".into(), master_key(&counting()))]);
        assert!(ring.is_ok());
    }
}
