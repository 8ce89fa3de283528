//! The source of a copy: what is asked of it, and what its answer means.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, IF_MATCH, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

use super::{Range, SOURCE_BYTES_MAX, SOURCE_RANGE, Transfer, is_attribute, md5_of};
use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Slash};
use crate::storage::head::UpstreamHead;
use crate::storage::s3::body::Algorithm;
use crate::storage::s3::error::Failure;
use crate::storage::s3::names;
use crate::storage::s3::upstream::{self, UpstreamRequest};
use crate::storage::s3::wire::{self, Part};

/// Longest list of tags that is read: ten tags of 128 and 256 characters are under 16 KiB, each byte of four encoded.
pub const TAGS_BYTES_MAX: usize = 64 * 1024;

static CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
static CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");
static MISSING_META: HeaderName = HeaderName::from_static("x-amz-missing-meta");
static TAGGING_COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");
static VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// An object, or a range of one, whose bytes are about to come.
#[derive(Debug)]
pub struct Found {
    /// Bytes that are to come.
    pub(super) length: u64,
    /// What is stored beside the object, by the names of both answer and upload.
    pub(super) attributes: HeaderMap,
    /// The version that is being read, where the store keeps versions.
    pub(super) version_id: Option<HeaderValue>,
    /// MD5 of the bytes that are to come.
    pub(super) md5: Option<[u8; 16]>,
    /// What names this very object to a conditional read; none where the store gave a weak one or none.
    pin: Option<HeaderValue>,
    /// A checksum of the bytes that are to come, with its value as declared.
    pub(super) checksum: Option<(Algorithm, HeaderValue)>,
    has_tags: bool,
}

impl Transfer<'_> {
    /// The request for the object's bytes.
    pub fn read(&self) -> Result<UpstreamRequest> {
        let mut request = self.ask("", self.from.version_id.as_deref())?;
        let headers = &mut request.head.headers;
        headers.extend(self.for_source.iter().cloned());
        match self.range {
            Some(range) => headers.push((RANGE, range.header()?)),
            None => headers.push((CHECKSUM_MODE.clone(), HeaderValue::from_static("ENABLED"))),
        }
        Ok(request)
    }

    /// What a successful answer to [`Transfer::read`] announces.
    pub fn found(&self, status: StatusCode, headers: &HeaderMap) -> Result<Found> {
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
            .ok_or_else(|| odd("no length"))?;
        match (self.range, status) {
            (None, StatusCode::OK) => self.check_size(length)?,
            (Some(range), StatusCode::PARTIAL_CONTENT) => {
                let (part, size) = content_range(headers).ok_or_else(|| odd("no range"))?;
                if part.first != range.first || part.last > range.last {
                    return Err(odd("another range"));
                }
                if part != range {
                    return Err(outside(Some(size)));
                }
                if length != range.length() {
                    return Err(odd("another length than its range"));
                }
                self.check_size(length)?;
            }
            // A store may answer a range that is the whole with the whole.
            (Some(range), StatusCode::OK) if range.first == 0 && range.last + 1 == length => {
                self.check_size(length)?;
            }
            (Some(range), StatusCode::OK) if range.last >= length => {
                return Err(outside(Some(length)));
            }
            (Some(_) | None, _) => return Err(odd(status)),
        }
        if headers.contains_key(&MISSING_META) && self.copies_attributes() {
            return Err(Error::unsupported(
                "The source has metadata that cannot be read as headers, and so cannot be copied.",
            ));
        }
        let whole = self.range.is_none();
        Ok(Found {
            length,
            attributes: attributes(headers),
            version_id: headers.get(&VERSION_ID).cloned(),
            md5: md5_of(headers).filter(|_| whole),
            pin: headers
                .get(ETAG)
                .filter(|tag| tag.as_bytes().starts_with(b"\""))
                .cloned(),
            checksum: whole.then(|| checksum(headers)).flatten(),
            has_tags: headers
                .get(&TAGGING_COUNT)
                .is_some_and(|count| count.as_bytes() != b"0"),
        })
    }

    /// The request for what is left after `taken` bytes, of the very object that was found; `None` where that cannot be
    /// said.
    pub fn read_on(&self, found: &Found, taken: u64) -> Result<Option<UpstreamRequest>> {
        let (Some(rest), Some(pin)) = (self.rest(found, taken), &found.pin) else {
            return Ok(None);
        };
        let seen = found.version_id.as_ref().and_then(|id| id.to_str().ok());
        let mut request = self.ask("", self.from.version_id.as_deref().or(seen))?;
        let headers = &mut request.head.headers;
        // The conditions held when the copy began: from there on it is about this one object.
        let keys = self.for_source.iter();
        headers.extend(
            keys.filter(|(name, _)| name.as_str().starts_with(names::X_AMZ))
                .cloned(),
        );
        headers.push((IF_MATCH, pin.clone()));
        headers.push((RANGE, rest.header()?));
        Ok(Some(request))
    }

    /// Checks that an answer to [`Transfer::read_on`] is what was left.
    pub fn goes_on(
        &self,
        found: &Found,
        taken: u64,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<()> {
        if status == StatusCode::PRECONDITION_FAILED {
            return Err(changed("the ETag is another one"));
        }
        let rest = self.rest(found, taken);
        let given = content_range(headers).map(|(range, _)| range);
        if status != StatusCode::PARTIAL_CONTENT || rest.is_none() || given != rest {
            return Err(odd(format_args!("{status} to a read of the rest")));
        }
        if headers.get(ETAG) != found.pin.as_ref() {
            return Err(changed("the rest has another ETag"));
        }
        Ok(())
    }

    /// The bytes of the source that are left after `taken`.
    fn rest(&self, found: &Found, taken: u64) -> Option<Range> {
        let first = self.range.map_or(0, |range| range.first);
        (taken < found.length).then(|| Range {
            first: first + taken,
            last: first + found.length - 1,
        })
    }

    /// What a refusal of the source means for the copy. `body` is its document.
    pub fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        if status == StatusCode::NOT_MODIFIED {
            // A copy has no "not modified": every condition that does not hold fails it.
            return Failure::from(&Error::new(
                Kind::PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold",
            ));
        }
        let mut failure = Failure::decode(status, headers, body, Some(self.source));
        if failure.status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Failure::from(&outside(None));
        }
        if failure.status == StatusCode::METHOD_NOT_ALLOWED && self.from.version_id.is_some() {
            return Failure::from(&Error::new(
                Kind::InvalidRequest,
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            ));
        }
        if failure.code == "InvalidObjectState" {
            failure.code = "ObjectNotInActiveTierError".into();
        }
        for (name, value) in &mut failure.details {
            if *name == "Condition" {
                value.insert_str(0, super::SOURCE_PREFIX);
            }
        }
        failure
    }

    /// The request for the tags, where there are some to be copied.
    pub fn read_tags(&self, found: &Found) -> Result<Option<UpstreamRequest>> {
        if !(found.has_tags && self.copies_tags()) {
            return Ok(None);
        }
        let seen = found.version_id.as_ref().and_then(|id| id.to_str().ok());
        let version = self.from.version_id.as_deref().or(seen);
        self.ask("tagging", version).map(Some)
    }

    /// The value of `x-amz-tagging` for the tags in a store's document.
    pub fn tags(&self, document: &[u8]) -> Result<HeaderValue> {
        let text = std::str::from_utf8(document).map_err(odd)?;
        let mut out = Vec::new();
        let mut name = Cow::default();
        wire::walk(text, |node| {
            match (node.path, node.part) {
                ([_, "TagSet", "Tag", "Key"], Part::Close(text)) => name = text,
                ([_, "TagSet", "Tag", "Value"], Part::Close(value)) => {
                    if !out.is_empty() {
                        out.push(b'&');
                    }
                    escape::encode(&mut out, name.as_bytes(), Slash::Encode);
                    out.push(b'=');
                    escape::encode(&mut out, value.as_bytes(), Slash::Encode);
                }
                _ => {}
            }
            Ok(())
        })
        .map_err(odd)?;
        HeaderValue::from_bytes(&out).map_err(Error::internal)
    }

    /// A GET of the source: of the object, or of a sub-resource of its.
    fn ask(&self, sub_resource: &str, version_id: Option<&str>) -> Result<UpstreamRequest> {
        let account = upstream::account(self.source)?;
        let mut target = upstream::path(self.source, account, Some(&self.from.key))?;
        let mut separator = b'?';
        for (name, value) in [(sub_resource, None), ("versionId", version_id)] {
            if name.is_empty() || (name == "versionId" && value.is_none()) {
                continue;
            }
            target.push(std::mem::replace(&mut separator, b'&'));
            target.extend_from_slice(name.as_bytes());
            target.push(b'=');
            escape::encode(
                &mut target,
                value.unwrap_or_default().as_bytes(),
                Slash::Encode,
            );
        }
        let host = upstream::host(self.source)?;
        Ok(UpstreamRequest {
            head: UpstreamHead {
                method: Method::GET,
                target: String::from_utf8(target).map_err(Error::internal)?,
                headers: SmallVec::from_iter([(HOST, host)]),
            },
            payload: upstream::NO_PAYLOAD,
            document: None,
        })
    }

    fn check_size(&self, length: u64) -> Result<()> {
        if length > SOURCE_BYTES_MAX {
            let message = format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {SOURCE_BYTES_MAX}"
            );
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        if length > self.bytes_max {
            return Err(Error::new(
                Kind::BodyTooLarge,
                "Your proposed upload exceeds the maximum allowed size",
            ));
        }
        Ok(())
    }
}

fn attributes(headers: &HeaderMap) -> HeaderMap {
    let kept = headers
        .iter()
        .filter(|(name, _)| is_attribute(name.as_str()));
    let mut attributes = HeaderMap::new();
    for (name, value) in kept {
        attributes.append(name.clone(), value.clone());
    }
    attributes
}

/// A checksum of the whole object: those that are made of the checksums of parts say nothing of the bytes in one piece.
fn checksum(headers: &HeaderMap) -> Option<(Algorithm, HeaderValue)> {
    let composite = headers
        .get(&CHECKSUM_TYPE)
        .is_some_and(|kind| kind.as_bytes() != b"FULL_OBJECT");
    if composite {
        return None;
    }
    Algorithm::ALL.into_iter().find_map(|algorithm| {
        let value = headers.get(algorithm.header())?;
        algorithm
            .is_value(value.as_bytes())
            .then(|| (algorithm, value.clone()))
    })
}

/// `Content-Range`: the bytes of the answer, and the size of the object.
fn content_range(headers: &HeaderMap) -> Option<(Range, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = Range {
        first: first.parse().ok()?,
        last: last.parse().ok()?,
    };
    let size = size.parse().ok()?;
    (range.first <= range.last && range.last < size).then_some((range, size))
}

fn outside(size: Option<u64>) -> Error {
    let message = match size {
        Some(size) => format!("Range specified is not valid for source object of size: {size}"),
        None => "Range specified is not valid for the source object".to_owned(),
    };
    Error::new(Kind::InvalidArgument, message).with_param(SOURCE_RANGE)
}

fn changed(detail: &'static str) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The source changed while it was copied. Please try again.",
    )
    .with_detail(detail)
}

fn odd(detail: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The answer of the source's store is not valid.",
    )
    .with_detail(detail)
}
