//! Sealing: how a secret that we must use again lies in a file.
//!
//! `sealed:v1:<master id>:<base64url(nonce || ciphertext || tag)>`, XChaCha20-Poly1305 under a subkey of a
//! master key. The associated data names the owner, so a sealed text pasted under another key, repository or
//! resource does not open. The first master of the ring seals, all of them open: that is what rotation needs.
//!
//! Why random nonces of 24 bytes: files are written by several tools and machines that share no counter, and
//! 24 random bytes never collide. Entropy is an argument here; this module does no I/O.
//!
//! A token is sealed the same way wherever and whenever it is given out, since clients compare what they are given: its
//! nonce is a keyed hash of all that goes into it, so two texts have one nonce only if they are the same text.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What a sealed text starts with.
pub const PREFIX: &str = "sealed:v1:";

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;

const MASTER_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// Masters in one ring. Stops a config from making every failed lookup long.
const MASTERS_MAX: usize = 64;

/// Characters of a master's id.
const MASTER_ID_CHARS_MAX: usize = 64;

/// Characters of a master's text form with white space around it. Stops a wrong file from being decoded whole.
const MASTER_TEXT_CHARS_MAX: usize = 256;

/// Characters of a sealed text: the largest secret is a service account's JSON of a few KiB.
const SEALED_CHARS_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("not of the form sealed:v1:<master id>:<base64url>")]
    Malformed,
    #[error("no master key with this id is configured")]
    UnknownMaster,
    #[error("it was sealed for another owner or field, or it is damaged")]
    Refused,
    #[error("no master key is configured")]
    NoMaster,
    #[error("a master key is 32 random bytes, raw or as base64; make one with `aqueduct keygen`")]
    BadMaster,
    #[error("a master's id is 1 to 64 of A-Z a-z 0-9 . _ -")]
    BadMasterId,
    #[error("two master keys have the same id")]
    DuplicateMaster,
    #[error("too many master keys")]
    TooManyMasters,
    #[error("the secret is too long to seal")]
    TooLong,
}

/// Whose secret it is. A text sealed under one opens under no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aad<'a> {
    /// The secret of a client key.
    Key { repository: Uuid, key: Uuid },
    /// A credential of a resource, by the field that holds it.
    Resource { name: &'a str, field: &'a str },
    /// What a client was given to bring back: for what, and of which object or prefix.
    Token {
        purpose: &'a str,
        repository: Uuid,
        resource: Uuid,
        bucket: &'a str,
        of: &'a str,
    },
}

impl Aad<'_> {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Key { repository, key } => {
                format!("aqueduct/v1\0key\0{repository}\0{key}\0secret").into_bytes()
            }
            Self::Resource { name, field } => {
                format!("aqueduct/v1\0resource\0{name}\0{field}").into_bytes()
            }
            Self::Token {
                purpose,
                repository,
                resource,
                bucket,
                of,
            } => {
                // The last may hold anything.
                format!("aqueduct/v1\0token\0{purpose}\0{repository}\0{resource}\0{bucket}\0{of}")
                    .into_bytes()
            }
        }
    }
}

/// The master keys, as their sealing subkeys. May be empty: then nothing can be sealed or opened.
#[derive(Default)]
pub struct MasterRing(Vec<Master>);

struct Master {
    id: Box<str>,
    seal: Zeroizing<[u8; 32]>,
    /// Makes the nonces of what is sealed the same each time.
    nonce: Zeroizing<[u8; 32]>,
}

impl MasterRing {
    /// Takes `(id, key)` in config order. A key is 32 raw bytes, or base64 of them with white space around.
    pub fn new(masters: Vec<(String, Secret)>) -> Result<Self, SealError> {
        if masters.len() > MASTERS_MAX {
            return Err(SealError::TooManyMasters);
        }
        let mut ring: Vec<Master> = Vec::with_capacity(masters.len());
        for (id, secret) in masters {
            if !is_master_id(&id) {
                return Err(SealError::BadMasterId);
            }
            if ring.iter().any(|master| *master.id == *id) {
                return Err(SealError::DuplicateMaster);
            }
            let bytes = master_bytes(secret.expose())?;
            ring.push(Master {
                id: id.into(),
                seal: subkey(&bytes, b"seal"),
                nonce: subkey(&bytes, b"nonce"),
            });
        }
        Ok(Self(ring))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Seals under the first master. `nonce` must be fresh random bytes.
    pub fn seal(
        &self,
        aad: Aad<'_>,
        plaintext: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<String, SealError> {
        let master = self.0.first().ok_or(SealError::NoMaster)?;
        seal(master, aad, plaintext, nonce)
    }

    /// Seals under the first master, the same each time: who sees two of them sees whether they are of the same text.
    pub fn seal_alike(&self, aad: Aad<'_>, plaintext: &[u8]) -> Result<String, SealError> {
        let master = self.0.first().ok_or(SealError::NoMaster)?;
        let owner = aad.bytes();
        let mut mac =
            <Hmac<Sha256>>::new_from_slice(&*master.nonce).expect("HMAC takes keys of any length");
        // Its length keeps the two apart.
        mac.update(&(owner.len() as u64).to_be_bytes());
        mac.update(&owner);
        mac.update(plaintext);
        let mut nonce = [0; NONCE_BYTES];
        let digest = mac.finalize().into_bytes();
        nonce.copy_from_slice(&digest[..NONCE_BYTES]);
        seal(master, aad, plaintext, nonce)
    }

    /// Seals under the master of this id, for rotation. `nonce` must be fresh random bytes.
    pub fn seal_under(
        &self,
        id: &str,
        aad: Aad<'_>,
        plaintext: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<String, SealError> {
        seal(self.master(id)?, aad, plaintext, nonce)
    }

    /// The id of the master that seals what is new.
    pub fn sealing_id(&self) -> Option<&str> {
        self.0.first().map(|master| &*master.id)
    }

    pub fn has(&self, id: &str) -> bool {
        self.master(id).is_ok()
    }

    /// The id of the master that a text was sealed under.
    pub fn id_of(text: &str) -> Result<&str, SealError> {
        split(text).map(|(id, _)| id)
    }

    fn master(&self, id: &str) -> Result<&Master, SealError> {
        let master = self.0.iter().find(|master| *master.id == *id);
        master.ok_or(SealError::UnknownMaster)
    }

    /// Opens a sealed text that belongs to `aad`.
    pub fn open(&self, aad: Aad<'_>, text: &str) -> Result<Secret, SealError> {
        let (id, body) = split(text)?;
        let master = self.master(id)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| SealError::Malformed)?;
        let (nonce, ciphertext) = bytes
            .split_first_chunk::<NONCE_BYTES>()
            .filter(|(_, ciphertext)| ciphertext.len() >= TAG_BYTES)
            .ok_or(SealError::Malformed)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &aad.bytes(),
        };
        cipher(master)
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Secret::new)
            .map_err(|_| SealError::Refused)
    }

    /// Checks the form of a sealed text without any master key, for `check --no-secrets`.
    pub fn check_form(text: &str) -> Result<(), SealError> {
        let (_, body) = split(text)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| SealError::Malformed)?;
        if bytes.len() < NONCE_BYTES + TAG_BYTES {
            return Err(SealError::Malformed);
        }
        Ok(())
    }
}

impl fmt::Debug for MasterRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|master| &master.id))
            .finish()
    }
}

fn seal(
    master: &Master,
    aad: Aad<'_>,
    plaintext: &[u8],
    nonce: [u8; NONCE_BYTES],
) -> Result<String, SealError> {
    let sealed_bytes = NONCE_BYTES + plaintext.len() + TAG_BYTES;
    if sealed_bytes.div_ceil(3) * 4 + PREFIX.len() + master.id.len() + 1 > SEALED_CHARS_MAX {
        return Err(SealError::TooLong);
    }
    let payload = Payload {
        msg: plaintext,
        aad: &aad.bytes(),
    };
    let ciphertext = cipher(master)
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| SealError::TooLong)?;
    let mut bytes = Vec::with_capacity(sealed_bytes);
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&ciphertext);
    Ok(format!(
        "{PREFIX}{}:{}",
        master.id,
        URL_SAFE_NO_PAD.encode(bytes)
    ))
}

/// The master's id and the base64 of a sealed text.
fn split(text: &str) -> Result<(&str, &str), SealError> {
    if text.len() > SEALED_CHARS_MAX {
        return Err(SealError::Malformed);
    }
    text.strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once(':'))
        .filter(|(id, _)| is_master_id(id))
        .ok_or(SealError::Malformed)
}

fn is_master_id(id: &str) -> bool {
    (1..=MASTER_ID_CHARS_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn master_bytes(given: &[u8]) -> Result<Zeroizing<[u8; MASTER_BYTES]>, SealError> {
    if let Ok(raw) = <[u8; MASTER_BYTES]>::try_from(given) {
        let raw = Zeroizing::new(raw);
        // 32 random bytes are never all printable: this is a passphrase, or 16 bytes in hex.
        if raw.iter().all(u8::is_ascii_graphic) {
            return Err(SealError::BadMaster);
        }
        return Ok(raw);
    }
    if given.len() > MASTER_TEXT_CHARS_MAX {
        return Err(SealError::BadMaster);
    }
    let text = given.trim_ascii();
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let decoded = STANDARD_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(text))
        .map(Zeroizing::new)
        .map_err(|_| SealError::BadMaster)?;
    <[u8; MASTER_BYTES]>::try_from(decoded.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| SealError::BadMaster)
}

/// HKDF-SHA256 of a master, so that one master serves several purposes without mixing them.
fn subkey(master: &[u8; MASTER_BYTES], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, master)
        .expand(label, &mut *key)
        .expect("HKDF-SHA256 gives 32 bytes");
    key
}

fn cipher(master: &Master) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*master.seal))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];
    const REPOSITORY: Uuid = Uuid::from_u128((0xa0 << 120) | 1);
    const KEY: Uuid = Uuid::from_u128((0xb0 << 120) | 2);

    fn ring(ids: &[(&str, u8)]) -> MasterRing {
        MasterRing::new(
            ids.iter()
                .map(|(id, byte)| ((*id).to_owned(), Secret::new([*byte; 32])))
                .collect(),
        )
        .unwrap()
    }

    fn owner() -> Aad<'static> {
        Aad::Key {
            repository: REPOSITORY,
            key: KEY,
        }
    }

    #[test]
    fn what_was_sealed_opens_under_the_same_owner_only() {
        let ring = ring(&[("2026-11", 1)]);
        let text = ring.seal(owner(), b"hunter2", NONCE).unwrap();
        assert!(text.starts_with("sealed:v1:2026-11:"));
        assert!(!text.contains("hunter2"));
        assert_eq!(ring.open(owner(), &text).unwrap().expose(), b"hunter2");
        let others = [
            Aad::Key {
                repository: Uuid::from_u128(3),
                key: KEY,
            },
            Aad::Key {
                repository: REPOSITORY,
                key: Uuid::from_u128(3),
            },
            Aad::Resource {
                name: "assets",
                field: "secret_access_key",
            },
        ];
        for other in others {
            assert_eq!(ring.open(other, &text), Err(SealError::Refused));
        }
    }

    #[test]
    fn associated_data_is_as_documented() {
        let resource = Aad::Resource {
            name: "assets-eu",
            field: "secret_access_key",
        };
        assert_eq!(
            resource.bytes(),
            b"aqueduct/v1\0resource\0assets-eu\0secret_access_key"
        );
        assert_eq!(
            owner().bytes(),
            b"aqueduct/v1\0key\0a0000000-0000-0000-0000-000000000001\0b0000000-0000-0000-0000-000000000002\0secret"
        );
    }

    #[test]
    fn first_master_seals_and_all_open() {
        let old = ring(&[("old", 1)]);
        let both = ring(&[("new", 2), ("old", 1)]);
        let text = old.seal(owner(), b"s", NONCE).unwrap();
        assert_eq!(both.open(owner(), &text).unwrap().expose(), b"s");
        let text = both.seal(owner(), b"s", NONCE).unwrap();
        assert!(text.starts_with("sealed:v1:new:"));
        assert_eq!(old.open(owner(), &text), Err(SealError::UnknownMaster));
    }

    #[test]
    fn a_master_under_anothers_id_is_refused() {
        let text = ring(&[("a", 1)]).seal(owner(), b"s", NONCE).unwrap();
        assert_eq!(
            ring(&[("a", 2)]).open(owner(), &text),
            Err(SealError::Refused)
        );
    }

    #[test]
    fn every_truncation_and_every_flipped_character_is_refused() {
        let ring = ring(&[("a", 1)]);
        let text = ring.seal(owner(), b"secret text", NONCE).unwrap();
        for end in 0..text.len() {
            assert!(ring.open(owner(), &text[..end]).is_err(), "cut at {end}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(ring.open(owner(), &changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn malformed_texts_are_told_from_wrong_ones() {
        let ring = ring(&[("a", 1)]);
        for text in [
            "",
            "sealed:",
            "sealed:v2:a:AAAA",
            "sealed:v1:a",
            "sealed:v1::AAAA",
            "sealed:v1:a b:AAAA",
            "sealed:v1:a:AAAA",
            "sealed:v1:a:!!!!",
        ] {
            assert_eq!(
                ring.open(owner(), text),
                Err(SealError::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn masters_are_32_bytes_raw_or_base64() {
        let raw: Vec<u8> = (0..32).collect();
        let standard = base64::engine::general_purpose::STANDARD.encode(&raw);
        let url = URL_SAFE_NO_PAD.encode(&raw);
        let good = [
            raw.clone(),
            standard.clone().into_bytes(),
            format!("{standard}\n").into_bytes(),
            format!(" {url} \r\n").into_bytes(),
        ];
        let reference = MasterRing::new(vec![("a".into(), Secret::new(raw.clone()))]).unwrap();
        let text = reference.seal(owner(), b"s", NONCE).unwrap();
        for given in good {
            let ring = MasterRing::new(vec![("a".into(), Secret::new(given))]).unwrap();
            assert!(ring.open(owner(), &text).is_ok());
        }
        let bad = [
            Vec::new(),
            raw[..31].to_vec(),
            [raw.clone(), vec![1]].concat(),
            b"0123456789abcdef0123456789abcdef".to_vec(),
            b"correct horse battery staple".to_vec(),
            STANDARD_NO_PAD.encode(&raw[..16]).into_bytes(),
        ];
        for given in bad {
            assert_eq!(
                MasterRing::new(vec![("a".into(), Secret::new(given))]).err(),
                Some(SealError::BadMaster)
            );
        }
    }

    #[test]
    fn rings_refuse_bad_and_repeated_ids() {
        let make = |ids: &[&str]| {
            MasterRing::new(
                ids.iter()
                    .map(|id| ((*id).to_owned(), Secret::new([1; 32])))
                    .collect(),
            )
            .err()
        };
        assert_eq!(make(&["a", "b"]), None);
        assert_eq!(make(&["a", "a"]), Some(SealError::DuplicateMaster));
        assert_eq!(make(&["a:b"]), Some(SealError::BadMasterId));
        assert_eq!(make(&[""]), Some(SealError::BadMasterId));
        assert_eq!(
            ring(&[]).seal(owner(), b"s", NONCE),
            Err(SealError::NoMaster)
        );
    }

    #[test]
    fn debug_shows_ids_only() {
        let shown = format!("{:?}", ring(&[("2026-11", 0xa5)]));
        assert_eq!(shown, "[\"2026-11\"]");
    }
}
