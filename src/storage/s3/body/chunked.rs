//! The `aws-chunked` framing: chunks with a length line, optionally signed, and a trailer.
//!
//! A chunk is never collected: its bytes are handed on as they come and hashed beside. Its signature is checked at
//! its end, when all but the object's last piece may already have left.

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::checksum::Algorithm;
use super::incomplete;
use crate::error::{Error, Kind, Result};
use crate::storage::s3::auth::{ChunkSeed, hex, unhex};
use crate::storage::s3::names;

/// Longest length line of a chunk. Stops a line without an end from growing our buffer.
const CHUNK_HEADER_MAX: usize = 1024;
/// All trailer lines together. Stops a trailer without an end.
const TRAILERS_MAX: usize = 16 * 1024;
/// Digits of a chunk's length: more would not fit 64 bits.
const SIZE_DIGITS_MAX: usize = 16;

/// What one step gave.
pub(super) enum Piece {
    Data(Bytes),
    /// The value of the declared trailer.
    Trailer(String),
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk's length line.
    Header,
    Data {
        left: u64,
    },
    /// In the line end after a chunk's data; whether its CR was seen.
    DataEnd {
        cr: bool,
    },
    Trailer,
    Done,
}

/// See the module's documentation.
pub(super) struct ChunkDecoder {
    state: State,
    line: Vec<u8>,
    signer: Option<Signer>,
    declared: Option<Algorithm>,
    trailer: Option<String>,
    trailer_signed: bool,
    trailer_bytes: usize,
    /// Content that the head promised and no chunk has announced yet.
    left: u64,
}

impl ChunkDecoder {
    pub(super) fn new(seed: Option<ChunkSeed>, declared: Option<Algorithm>, length: u64) -> Self {
        Self {
            state: State::Header,
            line: Vec::new(),
            signer: seed.map(Signer::new),
            declared,
            trailer: None,
            trailer_signed: false,
            trailer_bytes: 0,
            left: length,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes as much of `input` as one state needs.
    pub(super) fn step(&mut self, input: &mut Bytes) -> Result<Piece> {
        match self.state {
            State::Header => {
                if self.read_line(input, CHUNK_HEADER_MAX)? {
                    let line = std::mem::take(&mut self.line);
                    self.chunk_header(&line)?;
                    self.line = cleared(line);
                }
                Ok(Piece::Nothing)
            }
            State::Data { left } => {
                let size = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let data = input.split_to(size);
                if let Some(signer) = &mut self.signer {
                    signer.content.update(&data);
                }
                self.state = match left - size as u64 {
                    0 => State::DataEnd { cr: false },
                    left => State::Data { left },
                };
                Ok(Piece::Data(data))
            }
            State::DataEnd { cr } => {
                let expected = if cr { b'\n' } else { b'\r' };
                if input.get_u8() != expected {
                    return Err(incomplete("a chunk is longer than its length line said"));
                }
                if !cr {
                    self.state = State::DataEnd { cr: true };
                    return Ok(Piece::Nothing);
                }
                self.state = State::Header;
                if let Some(signer) = &mut self.signer {
                    signer.check_chunk()?;
                }
                Ok(Piece::Nothing)
            }
            State::Trailer => {
                if !self.read_line(input, TRAILERS_MAX)? {
                    return Ok(Piece::Nothing);
                }
                let line = std::mem::take(&mut self.line);
                let piece = self.trailer_line(&line)?;
                self.line = cleared(line);
                Ok(piece)
            }
            State::Done => Err(incomplete("there are bytes after the last chunk")),
        }
    }

    /// Collects a line; whether it is complete, its end taken off.
    fn read_line(&mut self, input: &mut Bytes, max: usize) -> Result<bool> {
        let end = memchr::memchr(b'\n', input);
        let size = end.map_or(input.len(), |at| at + 1);
        if self.line.len() + size > max {
            return Err(incomplete("a line of the framing is too long"));
        }
        self.line.extend_from_slice(&input.split_to(size));
        if end.is_none() {
            return Ok(false);
        }
        self.line.pop();
        Ok(true)
    }

    /// `length[;chunk-signature=hex]` and a CR.
    fn chunk_header(&mut self, line: &[u8]) -> Result<()> {
        let bad = || incomplete("a chunk's length line is not valid");
        let line = line.strip_suffix(b"\r").ok_or_else(bad)?;
        let line = std::str::from_utf8(line).map_err(|_| bad())?;
        let (size, extension) = match line.split_once(';') {
            Some((size, extension)) => (size, Some(extension)),
            None => (line, None),
        };
        let digits = (1..=SIZE_DIGITS_MAX).contains(&size.len())
            && size.bytes().all(|digit| digit.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16)
            .ok()
            .filter(|_| digits)
            .ok_or_else(bad)?;
        match (&mut self.signer, extension) {
            (Some(signer), Some(extension)) => {
                let signature = extension
                    .strip_prefix("chunk-signature=")
                    .and_then(|signature| unhex(signature.as_bytes()))
                    .ok_or_else(bad)?;
                signer.start_chunk(signature);
            }
            (Some(_), None) => return Err(mismatch()),
            (None, None) => {}
            (None, Some(_)) => return Err(bad()),
        }
        self.left = self
            .left
            .checked_sub(size)
            .ok_or_else(|| incomplete("the chunks are longer than the head said"))?;
        if size > 0 {
            self.state = State::Data { left: size };
            return Ok(());
        }
        if let Some(signer) = &mut self.signer {
            signer.check_chunk()?;
        }
        self.state = State::Trailer;
        Ok(())
    }

    /// `name:value`, or the empty line that ends the body.
    fn trailer_line(&mut self, line: &[u8]) -> Result<Piece> {
        self.trailer_bytes += line.len() + 1;
        if self.trailer_bytes > TRAILERS_MAX {
            return Err(incomplete("the trailer is too long"));
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let wants_signature = self.signer.as_ref().is_some_and(Signer::signs_trailer);
        if line.is_empty() {
            // The manual's own example has an empty line before the trailer's signature.
            if wants_signature && !self.trailer_signed && self.trailer.is_some() {
                return Ok(Piece::Nothing);
            }
            return self.end();
        }
        let bad = || incomplete("a trailer line is not valid");
        let line = std::str::from_utf8(line).map_err(|_| bad())?;
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == names::TRAILER_SIGNATURE && wants_signature && !self.trailer_signed {
            let canonical = match (self.declared, &self.trailer) {
                (Some(declared), Some(value)) => format!("{}:{value}\n", declared.header()),
                (Some(_), None) | (None, _) => String::new(),
            };
            let signature = unhex(value.as_bytes()).ok_or_else(mismatch)?;
            if let Some(signer) = &mut self.signer {
                signer.check_trailer(&canonical, signature)?;
            }
            self.trailer_signed = true;
            return Ok(Piece::Nothing);
        }
        let is_declared = self
            .declared
            .is_some_and(|declared| declared.header() == name);
        if !is_declared || self.trailer.is_some() || self.trailer_signed {
            return Err(incomplete("a trailer was not declared"));
        }
        self.trailer = Some(value.to_owned());
        Ok(Piece::Trailer(value.to_owned()))
    }

    fn end(&mut self) -> Result<Piece> {
        if self.declared.is_some() && self.trailer.is_none() {
            return Err(incomplete("the declared trailer is missing"));
        }
        let wants_signature = self.signer.as_ref().is_some_and(Signer::signs_trailer);
        if wants_signature && self.trailer.is_some() && !self.trailer_signed {
            return Err(mismatch());
        }
        if self.left > 0 {
            return Err(incomplete("the chunks are shorter than the head said"));
        }
        self.state = State::Done;
        Ok(Piece::Nothing)
    }
}

/// The chain of chunk signatures.
struct Signer {
    seed: ChunkSeed,
    previous: [u8; 32],
    claimed: [u8; 32],
    content: Sha256,
}

impl Signer {
    fn new(seed: ChunkSeed) -> Self {
        Self {
            previous: seed.signature,
            claimed: [0; 32],
            content: Sha256::new(),
            seed,
        }
    }

    fn signs_trailer(&self) -> bool {
        self.seed.trailer
    }

    fn start_chunk(&mut self, claimed: [u8; 32]) {
        self.claimed = claimed;
        self.content = Sha256::new();
    }

    fn check_chunk(&mut self) -> Result<()> {
        const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let content: [u8; 32] = std::mem::take(&mut self.content).finalize().into();
        let claimed = self.claimed;
        self.check(
            "AWS4-HMAC-SHA256-PAYLOAD",
            &[OF_NOTHING.as_bytes()],
            content,
            claimed,
        )
    }

    fn check_trailer(&mut self, canonical: &str, claimed: [u8; 32]) -> Result<()> {
        let content = Sha256::digest(canonical.as_bytes()).into();
        self.check("AWS4-HMAC-SHA256-TRAILER", &[], content, claimed)
    }

    fn check(
        &mut self,
        algorithm: &str,
        between: &[&[u8]],
        content: [u8; 32],
        claimed: [u8; 32],
    ) -> Result<()> {
        let mut to_sign = Vec::with_capacity(320);
        let (previous, content) = (hex(&self.previous), hex(&content));
        let head = [
            algorithm.as_bytes(),
            self.seed.date.as_str().as_bytes(),
            self.seed.key.scope().as_bytes(),
            &previous,
        ];
        for part in head.iter().copied().chain(between.iter().copied()) {
            to_sign.extend_from_slice(part);
            to_sign.push(b'\n');
        }
        to_sign.extend_from_slice(&content);
        let signature = self.seed.key.sign(&to_sign);
        if !bool::from(signature.ct_eq(&claimed)) {
            return Err(mismatch());
        }
        self.previous = signature;
        Ok(())
    }
}

fn cleared(mut line: Vec<u8>) -> Vec<u8> {
    line.clear();
    line
}

fn mismatch() -> Error {
    Error::new(
        Kind::SignatureMismatch,
        "The signature of a chunk does not match the signature you provided. \
         Check your key and signing method.",
    )
}
