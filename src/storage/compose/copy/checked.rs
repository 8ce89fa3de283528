//! The step between a source's body and its target's.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::error::{Error, Kind, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::storage::object::{Checksum, ChecksumKind};

/// Hands bytes on as they come, but for the last piece: that one leaves when all have come, and when one digest of them is
/// what was told. What it finds wrong is the source's doing, never the client's.
pub struct Checked {
    left: u64,
    held: Bytes,
    check: Option<(Running, Checksum)>,
}

impl Checked {
    /// For so many bytes, of which this is a digest.
    pub fn new(length: u64, told: Option<Checksum>) -> Self {
        Self {
            left: length,
            held: Bytes::new(),
            check: told.map(|told| (Running::new(told.kind()), told)),
        }
    }
}

/// The digest that costs least of those that are known.
pub(super) fn cheapest(known: &[Checksum]) -> Option<Checksum> {
    let by_cost = [
        ChecksumKind::Crc64Nvme,
        ChecksumKind::Crc32c,
        ChecksumKind::Crc32,
        ChecksumKind::Sha256,
        ChecksumKind::Sha1,
        ChecksumKind::Md5,
    ];
    let mut found = by_cost
        .iter()
        .filter_map(|kind| known.iter().find(|known| known.kind() == *kind));
    found.next().cloned()
}

impl BodyStep for Checked {
    fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()> {
        if input.is_empty() {
            return Ok(());
        }
        let left = self.left.checked_sub(input.len() as u64);
        self.left = left.ok_or_else(|| wrong("more bytes than were told"))?;
        if let Some((running, _)) = &mut self.check {
            running.update(&input);
        }
        let ready = std::mem::replace(&mut self.held, input);
        if !ready.is_empty() {
            out.push(ready);
        }
        Ok(())
    }

    fn finish(&mut self, end: End, out: &mut Chunks) -> Result<()> {
        if let End::Cut(error) = end {
            return Err(error);
        }
        if self.left > 0 {
            return Err(wrong("fewer bytes than were told"));
        }
        if let Some((running, told)) = self.check.take()
            && running.finish().as_ref() != Some(&told)
        {
            return Err(wrong("another digest than was told"));
        }
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            out.push(held);
        }
        Ok(())
    }
}

fn wrong(detail: &'static str) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The source's bytes are not what its store declared. Please try again.",
    )
    .with_detail(detail)
}

enum Running {
    Crc(ChecksumKind, crc_fast::Digest),
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Running {
    fn new(kind: ChecksumKind) -> Self {
        let crc = |algorithm| Self::Crc(kind, crc_fast::Digest::new(algorithm));
        match kind {
            ChecksumKind::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumKind::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumKind::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            ChecksumKind::Md5 => Self::Md5(Md5::new()),
            ChecksumKind::Sha1 => Self::Sha1(Sha1::new()),
            ChecksumKind::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, crc) => crc.update(bytes),
            Self::Md5(md5) => md5.update(bytes),
            Self::Sha1(sha1) => sha1.update(bytes),
            Self::Sha256(sha256) => sha256.update(bytes),
        }
    }

    fn finish(self) -> Option<Checksum> {
        match self {
            Self::Crc(kind, crc) => {
                let value = crc.finalize().to_be_bytes();
                Checksum::new(kind, value.get(8 - kind.length()..)?)
            }
            Self::Md5(md5) => Checksum::new(ChecksumKind::Md5, &md5.finalize()),
            Self::Sha1(sha1) => Checksum::new(ChecksumKind::Sha1, &sha1.finalize()),
            Self::Sha256(sha256) => Checksum::new(ChecksumKind::Sha256, &sha256.finalize()),
        }
    }
}
