//! Digests of bytes: which there are, what was declared, what was seen.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
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

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Md5 | Self::Sha1 | Self::Sha256 => None,
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

    /// The checksum of parts' checksums, where each part has one of this kind.
    pub fn of_parts<'a>(
        kind: ChecksumKind,
        parts: impl Iterator<Item = Option<&'a Self>>,
    ) -> Option<Self> {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(part.filter(|own| own.kind == kind)?.value());
        }
        match kind {
            ChecksumKind::Crc32 | ChecksumKind::Crc32c | ChecksumKind::Crc64Nvme => {
                Self::of_crc(kind, crc_fast::checksum(kind.crc()?, &bytes))
            }
            ChecksumKind::Sha1 => Self::new(kind, &Sha1::digest(&bytes)),
            ChecksumKind::Sha256 => Self::new(kind, &Sha256::digest(&bytes)),
            ChecksumKind::Md5 => None,
        }
    }

    /// That of these bytes and then `length` others, of which only their checksum is known. `None`: of hashes nobody
    /// can tell.
    pub fn followed_by(&self, other: &Self, length: u64) -> Option<Self> {
        let algorithm = self.kind.crc().filter(|_| self.kind == other.kind)?;
        let (front, rest) = (self.as_number(), other.as_number());
        let both = crc_fast::checksum_combine(algorithm, front, rest, length);
        Self::of_crc(self.kind, both)
    }

    /// A CRC as a number.
    pub fn of_crc(kind: ChecksumKind, crc: u64) -> Option<Self> {
        let bytes = crc.to_be_bytes();
        Self::new(kind, bytes.get(bytes.len().checked_sub(kind.length())?..)?)
    }

    fn as_number(&self) -> u64 {
        let bytes = self.value.iter();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
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

/// Takes the digests of what goes through.
#[derive(Default)]
pub struct Observer {
    bytes: u64,
    crc32c: Option<crc_fast::Digest>,
    crc64nvme: Option<crc_fast::Digest>,
    md5: Option<Md5>,
}

impl Observer {
    pub fn new(wanted: Digests) -> Self {
        let crc = |wanted: bool, algorithm| wanted.then(|| crc_fast::Digest::new(algorithm));
        Self {
            bytes: 0,
            crc32c: crc(wanted.crc32c, CrcAlgorithm::Crc32Iscsi),
            crc64nvme: crc(wanted.crc64nvme, CrcAlgorithm::Crc64Nvme),
            md5: wanted.md5.then(Md5::new),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for crc in [&mut self.crc32c, &mut self.crc64nvme]
            .into_iter()
            .flatten()
        {
            crc.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    pub fn observed(&self) -> Observed {
        Observed {
            bytes: self.bytes,
            crc32c: self
                .crc32c
                .as_ref()
                .and_then(|crc| crc.finalize().try_into().ok()),
            crc64nvme: self.crc64nvme.as_ref().map(crc_fast::Digest::finalize),
            md5: self.md5.clone().map(|md5| md5.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_through_in_pieces_has_the_digests_of_the_whole() {
        let all = Digests {
            crc32c: true,
            crc64nvme: true,
            md5: true,
        };
        for cut in [0, 1, 4, 9] {
            let (front, rest) = b"123456789".split_at(cut);
            let mut observer = Observer::new(all);
            observer.update(front);
            observer.update(rest);
            let observed = observer.observed();
            // The check values of the catalogue of CRCs, and RFC 1321's way.
            assert_eq!(observed.crc32c, Some(0xe306_9283));
            assert_eq!(observed.crc64nvme, Some(0xae8b_1486_0a79_9888));
            let md5 = Checksum::new(ChecksumKind::Md5, &observed.md5.unwrap()).unwrap();
            assert_eq!(md5.base64(), "JfnnlDI7RTiF9RgfG2JNCw==");
            assert_eq!(observed.bytes, 9);
        }
        assert_eq!(Observer::default().observed(), Observed::default());
    }

    #[test]
    fn the_crc_of_the_whole_follows_from_those_of_its_pieces() {
        use ChecksumKind::{Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
        let of = |kind: ChecksumKind, bytes: &[u8]| {
            Checksum::of_crc(kind, crc_fast::checksum(kind.crc().unwrap(), bytes)).unwrap()
        };
        for kind in [Crc32, Crc32c, Crc64Nvme] {
            for cut in [0, 1, 4, 9] {
                let (front, rest) = b"123456789".split_at(cut);
                let both = of(kind, front).followed_by(&of(kind, rest), rest.len() as u64);
                assert_eq!(both, Some(of(kind, b"123456789")), "{kind:?} {cut}");
            }
        }
        for kind in [Md5, Sha1, Sha256] {
            let some = Checksum::new(kind, &vec![7; kind.length()]).unwrap();
            assert_eq!(some.followed_by(&some, 1), None);
        }
        assert_eq!(of(Crc32, b"").followed_by(&of(Crc32c, b""), 0), None);
    }
}
