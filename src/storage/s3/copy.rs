//! A copy between two resources that cannot reach each other's objects: read at one, written at the other.
//!
//! Pure, as its neighbours: it says what to send and what an answer means; `proxy::copy` sends, and moves the bytes.
//! The order of a copy:
//!
//! | step | what it does |
//! |---|---|
//! | [`Transfer::new`] | refuses what could not be kept, before any store is asked |
//! | [`Transfer::read`] | the source's GET, with the client's conditions on the source |
//! | [`Transfer::found`], [`Transfer::refused`] | what the source answered |
//! | [`Transfer::read_tags`], [`Transfer::tags`] | the source's tags, where it has some and they are to be copied |
//! | [`Transfer::read_on`], [`Transfer::goes_on`] | the rest, where the source broke off |
//! | [`Transfer::write`] | the target's PUT, and the step between the two bodies |
//! | [`Transfer::stored`], [`Transfer::not_stored`] | what the target answered |
//!
//! `source` and `target` meet in [`Found`] alone: for another protocol on one side, that side is replaced.
//!
//! **One GET, and no HEAD before it.** The body of one answer is one version of the object, so there is no time between
//! a look and a read in which the object could change, and a small copy takes one exchange less. What is read besides
//! the body (tags) is pinned by the version that the answer named, where the store keeps versions. Where the answer breaks
//! off, the rest is asked for by range, pinned by that version and by the `ETag` of what was read so far.
//!
//! **Nothing is stored that was not whole.** The target waits for the length that the source declared; the last piece is
//! held until every byte arrived and the digests that the source declared (an `ETag` that is an MD5, a checksum of the
//! whole object) have been checked, by the target or by us (see [`super::body`]). The target's own `ETag` is compared
//! afterwards; a copy that went wrong even so is deleted again.

mod source;
mod target;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use source::{Found, TAGS_BYTES_MAX};
pub use target::{CopyPipe, Stored};

use super::body::Algorithm;
use super::names;
use super::route::{self, CopySource, Op, WholeOp};
use crate::error::{Error, Kind, Result};
use crate::policy::route::Bucket;

/// Largest source of one copy, as S3 has it. Above it clients copy by parts.
const SOURCE_BYTES_MAX: u64 = 5 << 30;

const SOURCE_CONDITION: &str = "x-amz-copy-source-if-";
const SOURCE_KEY: &str = "x-amz-copy-source-server-side-encryption-customer-";
const SOURCE_PREFIX: &str = "x-amz-copy-source-";
const SOURCE_RANGE: &str = "x-amz-copy-source-range";
const METADATA_DIRECTIVE: &str = "x-amz-metadata-directive";
const TAGGING_DIRECTIVE: &str = "x-amz-tagging-directive";
const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";
const TAGGING: &str = "x-amz-tagging";

/// A copy as the client asked for it.
#[derive(Debug)]
pub struct Transfer<'a> {
    op: &'a WholeOp,
    from: &'a CopySource,
    source: &'a Bucket,
    target: &'a Bucket,
    /// Largest object or part that the repository takes, in bytes.
    bytes_max: u64,
    range: Option<Range>,
    metadata: Directive,
    tagging: Directive,
    /// The checksum that the copy shall have.
    algorithm: Option<Algorithm>,
    /// The client's headers that go to the source, by the names of a read.
    for_source: Vec<(HeaderName, HeaderValue)>,
    /// The client's headers that go to the target.
    for_target: HeaderMap,
}

/// Bytes of the source, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
}

/// Where something that is stored beside an object is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    /// The source.
    Copy,
    /// The request.
    Replace,
}

impl<'a> Transfer<'a> {
    /// Reads the client's headers, and refuses what cannot be done.
    pub fn new(
        op: &'a WholeOp,
        headers: &HeaderMap,
        source: &'a Bucket,
        target: &'a Bucket,
        bytes_max: u64,
    ) -> Result<Self> {
        let from = op
            .request()
            .source()
            .ok_or_else(|| Error::internal("a copy without its source"))?;
        let mut transfer = Self {
            op,
            from,
            source,
            target,
            bytes_max,
            range: None,
            metadata: Directive::Copy,
            tagging: Directive::Copy,
            algorithm: None,
            for_source: Vec::new(),
            for_target: HeaderMap::new(),
        };
        let hoisted = op.request().hoisted().iter();
        let hoisted = hoisted.map(|(name, value)| (name, value));
        for (name, value) in headers.iter().chain(hoisted) {
            if op.request().row().allows_header(name.as_str()) {
                transfer.take(name, value)?;
            }
        }
        transfer.check_itself()?;
        Ok(transfer)
    }

    /// Takes one header that the operation's row lists.
    fn take(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<()> {
        match name.as_str() {
            SOURCE_RANGE => self.range = Some(Range::parse(value)?),
            METADATA_DIRECTIVE => self.metadata = Directive::parse(METADATA_DIRECTIVE, value)?,
            TAGGING_DIRECTIVE => self.tagging = Directive::parse(TAGGING_DIRECTIVE, value)?,
            CHECKSUM_ALGORITHM => self.algorithm = Some(self.checked_algorithm(value)?),
            condition if condition.starts_with(SOURCE_CONDITION) => {
                let plain = &condition[SOURCE_PREFIX.len()..];
                self.for_source.push((plain_name(plain)?, value.clone()));
            }
            key if key.starts_with(SOURCE_KEY) => {
                let plain = [names::X_AMZ, &key[SOURCE_PREFIX.len()..]].concat();
                self.for_source.push((plain_name(&plain)?, value.clone()));
            }
            other if route::takes_header(self.put(), other) => {
                self.for_target.append(name.clone(), value.clone());
            }
            other => {
                return Err(Error::unsupported(
                    "A header you provided implies functionality that is not implemented for a copy between two stores.",
                )
                .with_param(other.to_owned()));
            }
        }
        Ok(())
    }

    /// The upload that the copy is at its target.
    fn put(&self) -> Op {
        if self.op.op() == Op::UploadPartCopy {
            Op::UploadPart
        } else {
            Op::PutObject
        }
    }

    fn checked_algorithm(&self, value: &HeaderValue) -> Result<Algorithm> {
        let named = value.to_str().ok().and_then(Algorithm::of_name);
        let algorithm = named.ok_or_else(|| {
            Error::new(
                Kind::InvalidRequest,
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
            )
        })?;
        let can_trail = self
            .target
            .resource
            .s3()
            .is_some_and(|account| account.quirks.trailers);
        if !can_trail {
            // Known only when the last byte has been read, and this store takes it before the first.
            return Err(Error::unsupported(
                "A copy between these two buckets cannot be given a checksum algorithm.",
            )
            .with_param(CHECKSUM_ALGORITHM));
        }
        Ok(algorithm)
    }

    /// S3 refuses a copy of an object onto itself that would change nothing. Two resources may well be one bucket under
    /// two credentials.
    fn check_itself(&self) -> Result<()> {
        let (here, there) = (&self.source.resource.origin, &self.target.resource.origin);
        let is_itself = self.op.op() == Op::CopyObject
            && self.from.version_id.is_none()
            && (here.tls, &here.host, here.port, &here.base_path)
                == (there.tls, &there.host, there.port, &there.base_path)
            && self.source.upstream == self.target.upstream
            && [&*self.source.prefix, &*self.from.key].concat()
                == [
                    &*self.target.prefix,
                    self.op.request().key().unwrap_or_default(),
                ]
                .concat();
        let changes = self.metadata == Directive::Replace
            || self.for_target.keys().any(|name| {
                let name = name.as_str();
                name == "x-amz-storage-class"
                    || name == "x-amz-website-redirect-location"
                    || name.starts_with("x-amz-server-side-encryption")
            });
        if is_itself && !changes {
            return Err(Error::new(
                Kind::InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        Ok(())
    }
}

/// Checks the range of a copy that the store does itself: some take one that is not valid for none.
pub(super) fn check_source_range(name: &HeaderName, value: &HeaderValue) -> Result<()> {
    if name == SOURCE_RANGE {
        Range::parse(value)?;
    }
    Ok(())
}

impl Range {
    fn parse(value: &HeaderValue) -> Result<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok()).flatten()
        };
        value
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("bytes=")?.split_once('-'))
            .and_then(|(first, last)| Some(Self { first: number(first)?, last: number(last)? }))
            .filter(|range| range.first <= range.last && range.last < u64::MAX)
            .ok_or_else(|| {
                Error::new(
                    Kind::InvalidArgument,
                    "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
                )
                .with_param(SOURCE_RANGE)
            })
    }

    fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// The `Range` of a read.
    fn header(self) -> Result<HeaderValue> {
        HeaderValue::try_from(format!("bytes={}-{}", self.first, self.last))
            .map_err(Error::internal)
    }
}

impl Directive {
    fn parse(name: &'static str, value: &HeaderValue) -> Result<Self> {
        match value.as_bytes() {
            b"COPY" => Ok(Self::Copy),
            b"REPLACE" => Ok(Self::Replace),
            _ => Err(Error::new(Kind::InvalidArgument, "Unknown directive.").with_param(name)),
        }
    }
}

fn plain_name(name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(Error::internal)
}

/// What describes an object and is copied with it, or replaced whole.
fn is_attribute(name: &str) -> bool {
    matches!(
        name,
        "cache-control"
            | "content-disposition"
            | "content-encoding"
            | "content-language"
            | "content-type"
            | "expires"
    ) || name.starts_with(names::X_AMZ_META)
}

/// An `ETag` that is the MD5 of the object's bytes: 32 hex digits of an object that no key of the client's or the key
/// service's encrypts. Anything else says nothing of the bytes.
pub(super) fn md5_of(headers: &HeaderMap) -> Option<[u8; 16]> {
    let is_kms = |value: &HeaderValue| value.as_bytes().starts_with(b"aws:kms");
    let encrypted = headers
        .get("x-amz-server-side-encryption")
        .is_some_and(is_kms)
        || headers.contains_key("x-amz-server-side-encryption-customer-algorithm");
    if encrypted {
        return None;
    }
    let tag = headers.get(http::header::ETAG)?.to_str().ok()?;
    let tag = tag
        .strip_prefix('"')
        .and_then(|tag| tag.strip_suffix('"'))
        .unwrap_or(tag);
    if tag.len() != 32 || !tag.is_ascii() {
        return None;
    }
    let mut md5 = [0; 16];
    for (at, byte) in md5.iter_mut().enumerate() {
        let digits = tag.get(2 * at..2 * at + 2)?;
        let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()?;
    }
    Some(md5)
}

#[cfg(test)]
mod tests;
