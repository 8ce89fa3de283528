//! Running digests and what they are compared with.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::error::{Error, Kind, Result};

/// A digest's bytes.
pub(super) type Value = SmallVec<[u8; 32]>;

/// The checksums of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element that holds the value in documents.
    pub fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// The algorithm by its name in the manual.
    pub fn of_name(name: &str) -> Option<Self> {
        let is_named =
            |algorithm: &Self| algorithm.element().strip_prefix("Checksum") == Some(name);
        Self::ALL.into_iter().find(is_named)
    }

    /// Whether a text is a value of this algorithm, of one piece of data.
    pub fn is_value(self, text: &[u8]) -> bool {
        decode(text, self.length()).is_some()
    }

    pub(super) fn of_header(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.header() == name)
    }

    pub(super) fn is_cheap(self) -> bool {
        match self {
            Self::Crc32 | Self::Crc32c | Self::Crc64Nvme => true,
            Self::Sha1 | Self::Sha256 => false,
        }
    }

    fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Length in base64.
    pub(super) fn encoded_length(self) -> usize {
        self.length().div_ceil(3) * 4
    }

    /// Reads a value as it stands in a header or trailer.
    pub(super) fn parse(self, text: &[u8]) -> Result<Value> {
        decode(text, self.length()).ok_or_else(|| {
            Error::new(
                Kind::InvalidRequest,
                "The value of a checksum header is invalid.",
            )
            .with_param(self.header())
        })
    }

    pub(super) fn is_of_nothing(self, text: &[u8]) -> bool {
        decode(text, self.length()).is_some_and(|value| value == Hasher::new(self).finish())
    }
}

pub(super) fn parse_md5(text: &[u8]) -> Result<Value> {
    decode(text, 16).ok_or_else(|| {
        Error::new(
            Kind::InvalidDigest,
            "The Content-MD5 you specified was invalid.",
        )
    })
}

fn decode(text: &[u8], length: usize) -> Option<Value> {
    let mut bytes = [0; 48];
    let decoded = STANDARD.decode_slice(text, &mut bytes).ok()?;
    (decoded == length).then(|| Value::from_slice(&bytes[..length]))
}

enum Hasher {
    Crc32(crc_fast::Digest),
    Crc64(crc_fast::Digest),
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Algorithm::Crc32c => Self::Crc32(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc64Nvme => Self::Crc64(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc32(digest) | Self::Crc64(digest) => digest.update(data),
            Self::Md5(digest) => digest.update(data),
            Self::Sha1(digest) => digest.update(data),
            Self::Sha256(digest) => digest.update(data),
        }
    }

    fn finish(&self) -> Value {
        match self {
            // Big-endian; a CRC of 32 bits is in the lower half.
            Self::Crc32(digest) => Value::from_slice(&digest.finalize().to_be_bytes()[4..]),
            Self::Crc64(digest) => Value::from_slice(&digest.finalize().to_be_bytes()),
            Self::Md5(digest) => Value::from_slice(&digest.clone().finalize()),
            Self::Sha1(digest) => Value::from_slice(&digest.clone().finalize()),
            Self::Sha256(digest) => Value::from_slice(&digest.clone().finalize()),
        }
    }
}

/// One digest with what it must come to.
pub(super) struct Check {
    hasher: Hasher,
    wrong: Kind,
    expected: Expected,
}

enum Expected {
    Value(Value),
    /// In the trailer, which has not been read.
    Trailing(Algorithm),
    /// As the trailer gave it, with its text.
    Trailed(Value, String),
    /// Nothing: whatever it comes to is our own trailer.
    Computed,
}

impl Check {
    pub(super) fn payload(hash: [u8; 32]) -> Self {
        Self {
            hasher: Hasher::new(Algorithm::Sha256),
            wrong: Kind::PayloadHashMismatch,
            expected: Expected::Value(Value::from_slice(&hash)),
        }
    }

    pub(super) fn declared(algorithm: Algorithm, value: &Value) -> Self {
        Self {
            hasher: Hasher::new(algorithm),
            wrong: Kind::DigestMismatch,
            expected: Expected::Value(value.clone()),
        }
    }

    pub(super) fn md5(value: &Value) -> Self {
        Self {
            hasher: Hasher::Md5(Md5::new()),
            wrong: Kind::DigestMismatch,
            expected: Expected::Value(value.clone()),
        }
    }

    pub(super) fn trailing(algorithm: Algorithm) -> Self {
        Self {
            hasher: Hasher::new(algorithm),
            wrong: Kind::DigestMismatch,
            expected: Expected::Trailing(algorithm),
        }
    }

    pub(super) fn computed(algorithm: Algorithm) -> Self {
        Self {
            hasher: Hasher::new(algorithm),
            wrong: Kind::DigestMismatch,
            expected: Expected::Computed,
        }
    }

    fn verify(&self) -> Result<()> {
        let matches = match &self.expected {
            Expected::Value(value) | Expected::Trailed(value, _) => *value == self.hasher.finish(),
            Expected::Trailing(_) => false,
            Expected::Computed => true,
        };
        if matches {
            return Ok(());
        }
        let message = if self.wrong == Kind::PayloadHashMismatch {
            "The provided 'x-amz-content-sha256' header does not match what was computed."
        } else {
            "The checksum you specified did not match what we received."
        };
        Err(Error::new(self.wrong, message))
    }
}

/// All digests of a body.
#[derive(Default)]
pub(super) struct Checks(SmallVec<[Check; 1]>);

impl Checks {
    pub(super) fn push(&mut self, check: Check) {
        self.0.push(check);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        for check in &mut self.0 {
            check.hasher.update(data);
        }
    }

    pub(super) fn verify(&self) -> Result<()> {
        self.0.iter().try_for_each(Check::verify)
    }

    /// Takes the value of the declared trailer.
    pub(super) fn set_trailing(&mut self, text: &str) -> Result<()> {
        for check in &mut self.0 {
            if let Expected::Trailing(algorithm) = check.expected {
                let value = algorithm.parse(text.as_bytes())?;
                check.expected = Expected::Trailed(value, text.to_owned());
            }
        }
        Ok(())
    }

    /// The value of the trailer: as it was read, or as it came out.
    pub(super) fn trailing_value(&self) -> Cow<'_, str> {
        self.0
            .iter()
            .find_map(|check| match &check.expected {
                Expected::Trailed(_, text) => Some(text.into()),
                Expected::Computed => Some(STANDARD.encode(check.hasher.finish()).into()),
                Expected::Value(_) | Expected::Trailing(_) => None,
            })
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The published check values of "123456789", in base64 of big-endian bytes.
    #[test]
    fn each_algorithm_gives_the_published_check_value() {
        for (algorithm, expected) in [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (
                Algorithm::Sha256,
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"12345");
            hasher.update(b"6789");
            assert_eq!(STANDARD.encode(hasher.finish()), expected, "{algorithm:?}");
            assert_eq!(algorithm.encoded_length(), expected.len());
            assert_eq!(
                algorithm.parse(expected.as_bytes()).unwrap(),
                hasher.finish()
            );
        }
    }

    #[test]
    fn values_of_the_wrong_length_or_alphabet_are_refused() {
        for text in ["", "y/Q5", "y/Q5JgAA", "y_Q5Jg==", "y/Q5Jg", "y/Q5Jh=="] {
            assert!(Algorithm::Crc32.parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(parse_md5(b"AAAA").unwrap_err().kind(), Kind::InvalidDigest);
        assert!(Algorithm::Crc32.is_of_nothing(b"AAAAAA=="));
        assert!(!Algorithm::Crc32.is_of_nothing(b"y/Q5Jg=="));
    }
}
