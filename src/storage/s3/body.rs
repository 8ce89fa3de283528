//! Uploads: from the form in which a client sent a body to the form in which the store gets it.
//!
//! | client sends | the store gets | who verifies |
//! |---|---|---|
//! | `UNSIGNED-PAYLOAD` | the same | CRCs: we and the store; SHA and MD5: the store, or we where it does not |
//! | a SHA-256 | the same, under the same hash | the store, or we where it does not |
//! | signed chunks | the content, unsigned | we |
//! | signed chunks and a trailer | the content in unsigned chunks with that trailer, or the content alone | we |
//! | unsigned chunks and a trailer | the same | we (and the store, where it gets the trailer) |
//!
//! What another store sends in the place of a client is [`plan_copied`]'s.
//!
//! Chunks are never forwarded as they were cut: they are peeled and cut again, which costs a few bytes a mebibyte,
//! needs no copy, and leaves no room for two readings of a frame.
//!
//! **Nothing is committed unless it verified, and nothing is buffered for it.** The length that the store waits for
//! is fixed by the head; the last piece read is held until everything has been checked. A body that fails its checks
//! never gets its last byte, and the store drops it. Where no byte would be left to hold,
//! [`UploadForm::verify_before_head`] says so.

mod checksum;
mod chunked;
mod copied;

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

pub use checksum::Algorithm;
pub use copied::{Digests, plan_copied};

use super::auth::{Payload, PayloadHash};
use super::names;
use super::route::{Op, RequestBody, S3Request};
use crate::error::{Error, Kind, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::policy::route::S3Quirks;
use crate::storage::object::{self, ChecksumKind};
use checksum::{Check, Checks};
use chunked::{ChunkDecoder, Piece};

/// Size of the chunks that we cut: what the SDKs cut.
const FRAME_BYTES: u64 = 1 << 20;

/// What leaves for the store, decided before the first byte of the body was read.
#[derive(Debug)]
pub struct UploadForm {
    /// Exact length of what [`UploadPipe`] hands on.
    pub content_length: u64,
    /// Length of the object or part itself.
    pub decoded_length: u64,
    pub payload: PayloadHash,
    /// Headers that go upstream because of the form.
    pub headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
    /// `Content-Encoding` for the store.
    pub content_encoding: Option<HeaderValue>,
}

impl UploadForm {
    /// The store would commit on the head alone: the client's message must have gone through the pipe first.
    pub fn verify_before_head(&self) -> bool {
        self.content_length == 0
    }
}

/// Decides form and pipe of a [`RequestBody::Stream`] operation. `bytes_max` is the largest object or part.
pub fn plan(
    request: &S3Request,
    payload: Payload,
    headers: &HeaderMap,
    quirks: S3Quirks,
    bytes_max: u64,
) -> Result<(UploadForm, UploadPipe)> {
    let ours = if quirks.verifies_sha256 {
        Ours::Crcs
    } else {
        Ours::All
    };
    let decoded_length = decoded_length(&payload, headers)?;
    if decoded_length > bytes_max {
        return Err(Error::new(
            Kind::BodyTooLarge,
            "Your proposed upload exceeds the maximum allowed size",
        ));
    }
    let declared = Declared::read(request, headers, decoded_length)?;
    let trailer = declared.trailer_in(&payload);
    let framed = trailer.filter(|_| quirks.trailers);
    let (hash, content_length) = match (&payload, framed) {
        (Payload::Sha256(hash), _) => (PayloadHash::Sha256(*hash), decoded_length),
        (_, Some(algorithm)) => (
            PayloadHash::UnsignedTrailer,
            framed_length(decoded_length, algorithm),
        ),
        (_, None) => (PayloadHash::Unsigned, decoded_length),
    };
    let form = UploadForm {
        content_length,
        decoded_length,
        payload: hash,
        headers: framed.map_or_else(SmallVec::new, |algorithm| {
            SmallVec::from_buf(trailer_headers(algorithm, decoded_length))
        }),
        content_encoding: content_encoding(headers, framed.is_some())?,
    };
    let mut pipe = UploadPipe::new(&declared, payload, trailer, ours, decoded_length);
    pipe.trailing = trailer.map(|algorithm| Trailing {
        algorithm,
        value: Arc::default(),
    });
    pipe.frames = framed.map(|algorithm| Frames::new(algorithm, decoded_length));
    if form.verify_before_head() && pipe.decoder.is_none() {
        pipe.checks.verify()?;
    }
    Ok((form, pipe))
}

/// Headers that announce our framing of a body of `length` bytes.
fn trailer_headers(algorithm: Algorithm, length: u64) -> [(HeaderName, HeaderValue); 2] {
    [
        (
            HeaderName::from_static(names::TRAILER),
            HeaderValue::from_static(algorithm.header()),
        ),
        (
            HeaderName::from_static(names::DECODED_CONTENT_LENGTH),
            HeaderValue::from(length),
        ),
    ]
}

/// Checks a [`RequestBody::Document`] that was read whole: framing, chunk signatures, payload hash, `Content-MD5`,
/// checksums. Returns the document itself.
pub fn verify_document(
    request: &S3Request,
    payload: Payload,
    headers: &HeaderMap,
    raw: Bytes,
) -> Result<Bytes> {
    let RequestBody::Document { bytes_max } = request.row().request_body else {
        return Err(Error::internal("a document for an operation without one"));
    };
    let length = match payload {
        Payload::Unsigned | Payload::Sha256(_) => raw.len() as u64,
        Payload::SignedChunks(_) | Payload::UnsignedTrailer => decoded_length(&payload, headers)?,
    };
    if length > bytes_max as u64 {
        return Err(Error::new(
            Kind::BodyTooLarge,
            "The request document is too large.",
        ));
    }
    let declared = Declared::read(request, headers, length)?;
    let trailer = declared.trailer_in(&payload);
    let mut pipe = UploadPipe::new(&declared, payload, trailer, Ours::All, length);
    let mut out = Chunks::new();
    if !raw.is_empty() {
        pipe.push(raw, &mut out)?;
    }
    pipe.finish(End::Clean, &mut out)?;
    Ok(match out.as_slice() {
        [whole] => whole.clone(),
        pieces => pieces.concat().into(),
    })
}

/// Whether a header is the checksum of an empty body. JavaScript's SDK puts it into presigned URLs, where no body
/// was known, and then sends one.
pub fn is_checksum_of_nothing(name: &str, value: &HeaderValue) -> bool {
    Algorithm::of_header(name).is_some_and(|algorithm| algorithm.is_of_nothing(value.as_bytes()))
}

/// `Content-Encoding` as the store should keep it: without `aws-chunked`, which is framing, unless we frame.
pub fn content_encoding(headers: &HeaderMap, framed: bool) -> Result<Option<HeaderValue>> {
    const AWS_CHUNKED: &str = "aws-chunked";
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let (first, more) = (values.next(), values.next().is_some());
    let plain = |value: &HeaderValue| {
        memchr::memmem::find(
            &value.as_bytes().to_ascii_lowercase(),
            AWS_CHUNKED.as_bytes(),
        )
        .is_none()
    };
    match first {
        None if !framed => return Ok(None),
        Some(value) if !framed && !more && plain(value) => return Ok(Some(value.clone())),
        None | Some(_) => {}
    }
    let mut kept = String::new();
    // With the white space before it: what is kept reads as the client wrote it.
    let mut keep = |token: &str| {
        if kept.is_empty() {
            kept.push_str(token.trim());
        } else {
            kept.push(',');
            kept.push_str(token.trim_end());
        }
    };
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_| {
            Error::new(Kind::InvalidArgument, "A header is not valid.")
                .with_param("Content-Encoding")
        })?;
        text.split(',')
            .filter(|token| {
                let coding = token.trim();
                !coding.is_empty() && !coding.eq_ignore_ascii_case(AWS_CHUNKED)
            })
            .for_each(&mut keep);
    }
    if framed {
        keep(AWS_CHUNKED);
    }
    if kept.is_empty() {
        return Ok(None);
    }
    HeaderValue::try_from(kept)
        .map(Some)
        .map_err(Error::internal)
}

/// Which of the declared digests we check ourselves. CRCs cost next to nothing and not every store knows them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ours {
    Crcs,
    All,
}

/// The digests that a request declares in its head.
struct Declared {
    checksum: Option<(Algorithm, checksum::Value)>,
    md5: Option<checksum::Value>,
    /// What the trailer will hold.
    trailer: Option<Algorithm>,
}

impl Declared {
    fn read(request: &S3Request, headers: &HeaderMap, length: u64) -> Result<Self> {
        // That of a completion is of the object which the parts make, and may end in their number.
        let of_body = request.op() != Op::CompleteMultipartUpload;
        let mut checksum = None;
        let hoisted = request
            .hoisted()
            .iter()
            .map(|(name, value)| (name, value))
            .filter(|(name, value)| length == 0 || !is_checksum_of_nothing(name.as_str(), value));
        for (name, value) in headers.iter().chain(hoisted) {
            let Some(algorithm) = Algorithm::of_header(name.as_str()).filter(|_| of_body) else {
                continue;
            };
            if checksum.is_some() {
                return Err(several_checksums());
            }
            let value = algorithm.parse(value.as_bytes())?;
            checksum = Some((algorithm, value));
        }
        let md5 = match headers.get("content-md5") {
            Some(value) => Some(checksum::parse_md5(value.as_bytes())?),
            None => None,
        };
        let trailer = declared_trailer(headers)?;
        if checksum.is_some() && trailer.is_some() {
            return Err(several_checksums());
        }
        Ok(Self {
            checksum,
            md5,
            trailer,
        })
    }

    /// The trailer that the framing of `payload` has room for.
    fn trailer_in(&self, payload: &Payload) -> Option<Algorithm> {
        match payload {
            Payload::SignedChunks(seed) if seed.trailer => self.trailer,
            Payload::UnsignedTrailer => self.trailer,
            Payload::Unsigned | Payload::Sha256(_) | Payload::SignedChunks(_) => None,
        }
    }
}

fn declared_trailer(headers: &HeaderMap) -> Result<Option<Algorithm>> {
    let bad = || {
        Error::new(
            Kind::InvalidRequest,
            "The value specified in the x-amz-trailer header is not supported",
        )
        .with_param(names::TRAILER)
    };
    let mut values = headers.get_all(names::TRAILER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        if headers.contains_key(names::TRAILER) {
            return Err(bad());
        }
        return Ok(None);
    };
    let name = value.to_str().map_err(|_| bad())?.trim();
    if name.is_empty() {
        return Ok(None);
    }
    Algorithm::of_header(&name.to_ascii_lowercase())
        .map(Some)
        .ok_or_else(bad)
}

/// Length of the content, as the head tells it.
fn decoded_length(payload: &Payload, headers: &HeaderMap) -> Result<u64> {
    let name = match payload {
        Payload::Unsigned | Payload::Sha256(_) => CONTENT_LENGTH.as_str(),
        Payload::SignedChunks(_) | Payload::UnsignedTrailer => names::DECODED_CONTENT_LENGTH,
    };
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Error::new(
            Kind::LengthRequired,
            "You must provide the Content-Length HTTP header.",
        )
        .with_param(name.to_owned()));
    };
    value
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            Error::new(Kind::InvalidArgument, "A length is not valid.").with_param(name.to_owned())
        })
}

/// The checksum that came behind a body, once that was verified.
#[derive(Clone)]
pub struct Trailing {
    algorithm: Algorithm,
    value: Arc<OnceLock<Box<str>>>,
}

impl Trailing {
    pub fn checksum(&self) -> Option<object::Checksum> {
        let kind = match self.algorithm {
            Algorithm::Crc32 => ChecksumKind::Crc32,
            Algorithm::Crc32c => ChecksumKind::Crc32c,
            Algorithm::Crc64Nvme => ChecksumKind::Crc64Nvme,
            Algorithm::Sha1 => ChecksumKind::Sha1,
            Algorithm::Sha256 => ChecksumKind::Sha256,
        };
        object::Checksum::parse_base64(kind, self.value.get()?)
    }
}

/// The step between the client's body and the store's.
pub struct UploadPipe {
    decoder: Option<Box<ChunkDecoder>>,
    checks: Checks,
    frames: Option<Frames>,
    trailing: Option<Trailing>,
    /// Whether the last piece is held until all is checked.
    holds: bool,
    held: Bytes,
    seen: u64,
    length: u64,
}

impl UploadPipe {
    fn new(
        declared: &Declared,
        payload: Payload,
        trailer: Option<Algorithm>,
        ours: Ours,
        length: u64,
    ) -> Self {
        let mut checks = Checks::default();
        if let (Payload::Sha256(hash), Ours::All) = (&payload, ours) {
            checks.push(Check::payload(*hash));
        }
        if let Some((algorithm, value)) = &declared.checksum
            && (ours == Ours::All || algorithm.is_cheap())
        {
            checks.push(Check::declared(*algorithm, value));
        }
        if let (Some(value), Ours::All) = (&declared.md5, ours) {
            checks.push(Check::md5(value));
        }
        let decoder = match payload {
            Payload::Unsigned | Payload::Sha256(_) => None,
            Payload::SignedChunks(seed) => {
                Some(Box::new(ChunkDecoder::new(Some(seed), trailer, length)))
            }
            Payload::UnsignedTrailer => Some(Box::new(ChunkDecoder::new(None, trailer, length))),
        };
        if let (Some(algorithm), Some(_)) = (trailer, &decoder) {
            checks.push(Check::trailing(algorithm));
        }
        Self {
            holds: decoder.is_some() || !checks.is_empty(),
            decoder,
            checks,
            frames: None,
            trailing: None,
            held: Bytes::new(),
            seen: 0,
            length,
        }
    }

    /// Where the checksum behind the body will be told, if there is one.
    pub fn trailing(&self) -> Option<Trailing> {
        self.trailing.clone()
    }

    /// Takes decoded content.
    fn accept(&mut self, data: Bytes, out: &mut Chunks) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.seen += data.len() as u64;
        if self.seen > self.length {
            return Err(incomplete("the body is longer than its head said"));
        }
        self.checks.update(&data);
        let free = if self.holds {
            std::mem::replace(&mut self.held, data)
        } else {
            data
        };
        self.release(free, out);
        Ok(())
    }

    /// Hands on content that may leave.
    fn release(&mut self, data: Bytes, out: &mut Chunks) {
        if data.is_empty() {
            return;
        }
        match &mut self.frames {
            Some(frames) => frames.push(data, out),
            None => out.push(data),
        }
    }

    fn take(&mut self, mut input: Bytes, out: &mut Chunks) -> Result<()> {
        if self.decoder.is_none() {
            return self.accept(input, out);
        }
        while let Some(decoder) = self.decoder.as_mut().filter(|_| !input.is_empty()) {
            match decoder.step(&mut input)? {
                Piece::Data(data) => self.accept(data, out)?,
                Piece::Trailer(value) => self.checks.set_trailing(&value)?,
                Piece::Nothing => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Chunks) -> Result<()> {
        if self
            .decoder
            .as_ref()
            .is_some_and(|decoder| !decoder.is_done())
        {
            return Err(incomplete("the last chunk is missing"));
        }
        if self.seen != self.length {
            return Err(incomplete("the body is shorter than its head said"));
        }
        self.checks.verify()?;
        if let Some(trailing) = &self.trailing {
            // A body ends once.
            let _told = trailing.value.set(self.checks.trailing_value().into());
        }
        let held = std::mem::take(&mut self.held);
        self.release(held, out);
        if let Some(frames) = &mut self.frames {
            frames.end(&self.checks.trailing_value(), out);
        }
        Ok(())
    }
}

impl BodyStep for UploadPipe {
    fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()> {
        self.take(input, out)
            .inspect_err(|_| self.held = Bytes::new())
    }

    fn finish(&mut self, end: End, out: &mut Chunks) -> Result<()> {
        match end {
            End::Clean => self.end(out).inspect_err(|_| self.held = Bytes::new()),
            End::Cut(error) => {
                self.held = Bytes::new();
                Err(error)
            }
        }
    }

    fn is_costly(&self) -> bool {
        self.holds
    }
}

impl fmt::Debug for UploadPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadPipe")
            .field("seen", &self.seen)
            .field("length", &self.length)
            .field("holds", &self.holds)
            .finish_non_exhaustive()
    }
}

/// Cuts content into unsigned chunks.
struct Frames {
    algorithm: Algorithm,
    /// Content that has not been put into a chunk.
    left: u64,
    /// Content that the open chunk still waits for.
    open: u64,
    any: bool,
}

impl Frames {
    fn new(algorithm: Algorithm, length: u64) -> Self {
        Self {
            algorithm,
            left: length,
            open: 0,
            any: false,
        }
    }

    fn push(&mut self, mut data: Bytes, out: &mut Chunks) {
        while !data.is_empty() {
            if self.open == 0 {
                self.open = self.left.min(FRAME_BYTES);
                self.left -= self.open;
                let end = if std::mem::replace(&mut self.any, true) {
                    "\r\n"
                } else {
                    ""
                };
                out.push(format!("{end}{:x}\r\n", self.open).into());
            }
            let size = usize::try_from(self.open)
                .unwrap_or(usize::MAX)
                .min(data.len());
            self.open -= size as u64;
            out.push(data.split_to(size));
        }
    }

    fn end(&mut self, value: &str, out: &mut Chunks) {
        let end = if self.any { "\r\n" } else { "" };
        let name = self.algorithm.header();
        out.push(format!("{end}0\r\n{name}:{value}\r\n\r\n").into());
    }
}

/// Length of content in the chunks of [`Frames`], its trailer included.
fn framed_length(length: u64, algorithm: Algorithm) -> u64 {
    let chunk = |size: u64| u64::from(size.checked_ilog(16).unwrap_or(0)) + 1 + 2 + size + 2;
    let (whole, rest) = (length / FRAME_BYTES, length % FRAME_BYTES);
    let last = if rest > 0 { chunk(rest) } else { 0 };
    let trailer = algorithm.header().len() + 1 + algorithm.encoded_length() + 2;
    whole * chunk(FRAME_BYTES) + last + 3 + trailer as u64 + 2
}

fn several_checksums() -> Error {
    Error::new(
        Kind::InvalidRequest,
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
}

fn incomplete(detail: &'static str) -> Error {
    Error::new(
        Kind::IncompleteBody,
        "The request body terminated unexpectedly or is not framed as declared",
    )
    .with_detail(detail)
}

#[cfg(test)]
mod tests;
