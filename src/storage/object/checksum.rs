//! Digests of bytes: which there are, what was declared, what was seen.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

/// Longest value in base64.
const ENCODED_BYTES_MAX: usize = 44;

/// The digests that some protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumKind {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Md5,
    Sha1,
    Sha256,
}

impl ChecksumKind {
    pub const ALL: [Self; 6] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
    ];

    /// Length of the value in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// The digest of some bytes. A CRC's bytes are in network order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    kind: ChecksumKind,
    value: SmallVec<[u8; 32]>,
}

impl Checksum {
    pub fn new(kind: ChecksumKind, value: &[u8]) -> Option<Self> {
        (value.len() == kind.length()).then(|| Self {
            kind,
            value: value.into(),
        })
    }

    /// Reads a value as headers write it.
    pub fn parse_base64(kind: ChecksumKind, text: &str) -> Option<Self> {
        if text.len() > ENCODED_BYTES_MAX {
            return None;
        }
        Self::new(kind, &STANDARD.decode(text).ok()?)
    }

    pub fn kind(&self) -> ChecksumKind {
        self.kind
    }

    pub fn value(&self) -> &[u8] {
        &self.value
    }

    pub fn base64(&self) -> String {
        STANDARD.encode(&self.value)
    }
}

/// What a stored checksum was computed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// The checksums of so many parts.
    Parts(u32),
}

/// A checksum that the store keeps with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChecksum {
    pub checksum: Checksum,
    pub extent: Extent,
}

/// Which digests of a streamed body somebody needs to know afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    pub crc32c: bool,
    pub crc64nvme: bool,
    /// Expensive: only where the ETag is made of it.
    pub md5: bool,
}

/// What went through while a body was streamed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub bytes: u64,
    pub crc32c: Option<u32>,
    pub crc64nvme: Option<u64>,
    pub md5: Option<[u8; 16]>,
}
