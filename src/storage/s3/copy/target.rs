//! The target of a copy: what it is sent, and what its answer means.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, DATE, ETAG, HOST, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use smallvec::SmallVec;

use super::{Directive, Found, TAGGING, Transfer, is_attribute, md5_of};
use crate::error::{Error, Kind, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::message::date;
use crate::message::reply::Reply;
use crate::storage::head::UpstreamHead;
use crate::storage::s3::body::{self, Algorithm, Digests, UploadForm, UploadPipe};
use crate::storage::s3::error::Failure;
use crate::storage::s3::route::Op;
use crate::storage::s3::upstream::{self, UpstreamRequest};
use crate::storage::s3::wire;

static COPY_SOURCE_VERSION_ID: HeaderName = HeaderName::from_static("x-amz-copy-source-version-id");
static VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

const MISMATCH: &str = "The copy's bytes are not those of its source. Please try again.";

/// How the target took the copy.
#[derive(Debug)]
pub enum Stored {
    Done(Box<Reply>),
    /// What was stored is not what was read: the request that takes it back, where there is one.
    Wrong(Option<Box<UpstreamRequest>>, Error),
}

impl Transfer<'_> {
    /// Whether the upload may be repeated after it may have reached the target: not where it could fail on what its
    /// own first attempt stored.
    pub fn may_repeat(&self) -> bool {
        !(self.for_target.contains_key(IF_MATCH)
            || self.for_target.contains_key(http::header::IF_NONE_MATCH))
    }

    pub(super) fn copies_attributes(&self) -> bool {
        self.op.op() == Op::CopyObject && self.metadata == Directive::Copy
    }

    pub(super) fn copies_tags(&self) -> bool {
        self.op.op() == Op::CopyObject && self.tagging == Directive::Copy
    }

    /// The upload of what was found, with the step that its bytes take. `tags` are the source's.
    pub fn write(
        &self,
        found: &Found,
        tags: Option<HeaderValue>,
    ) -> Result<(UpstreamRequest, UploadForm, CopyPipe)> {
        let account = upstream::account(self.target)?;
        let attributes = if self.copies_attributes() {
            &found.attributes
        } else {
            &self.for_target
        };
        let carried = found
            .checksum
            .as_ref()
            .filter(|(algorithm, _)| self.algorithm.is_none_or(|asked| asked == *algorithm));
        let digests = Digests {
            md5: found.md5,
            checksum: carried.cloned(),
            trailer: self.algorithm.filter(|_| carried.is_none()),
        };
        let (form, pipe) = body::plan_copied(found.length, &digests, attributes, account.quirks)?;
        let mut head = UpstreamHead {
            method: Method::PUT,
            target: upstream::target(self.op, self.target, account)?,
            headers: SmallVec::from_iter([(HOST, upstream::host(self.target)?)]),
        };
        let headers = &mut head.headers;
        let own = self.for_target.iter().filter(|(name, _)| {
            let is_copied = *name == TAGGING && self.copies_tags();
            !is_attribute(name.as_str()) && !is_copied
        });
        let described = attributes
            .iter()
            .filter(|(name, _)| is_attribute(name.as_str()) && *name != CONTENT_ENCODING);
        headers.extend(
            own.chain(described)
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        headers.extend(tags.map(|tags| (HeaderName::from_static(TAGGING), tags)));
        headers.extend(
            form.content_encoding
                .clone()
                .map(|coding| (CONTENT_ENCODING, coding)),
        );
        headers.extend(form.headers.iter().cloned());
        headers.push((CONTENT_LENGTH, HeaderValue::from(form.content_length)));
        let request = UpstreamRequest {
            payload: form.payload,
            head,
            document: None,
        };
        Ok((request, form, CopyPipe(pipe)))
    }

    /// What a successful answer of the target means; `now` stands in where it does not tell when it stored.
    pub fn stored(&self, found: &Found, headers: &HeaderMap, now: Timestamp) -> Result<Stored> {
        let Some(tag) = headers.get(ETAG).and_then(|tag| tag.to_str().ok()) else {
            return Err(Error::new(
                Kind::UpstreamBroken,
                "The target's store did not say what it stored.",
            ));
        };
        if let (Some(read), Some(stored)) = (found.md5, md5_of(headers))
            && read != stored
        {
            let error = Error::new(Kind::UpstreamBroken, MISMATCH).with_detail("the ETags differ");
            return Ok(Stored::Wrong(self.undo(headers)?.map(Box::new), error));
        }
        let at = headers
            .get(DATE)
            .and_then(|date| date::parse_http(date.to_str().ok()?))
            .unwrap_or(now);
        let root = if self.op.op() == Op::CopyObject {
            "CopyObjectResult"
        } else {
            "CopyPartResult"
        };
        let mut out = wire::document(root);
        wire::push_element(&mut out, "LastModified", &date::iso_millis(at));
        wire::push_element(&mut out, "ETag", tag);
        for algorithm in Algorithm::ALL {
            if let Some(value) = headers.get(algorithm.header())
                && let Ok(value) = value.to_str()
            {
                wire::push_element(&mut out, algorithm.element(), value);
            }
        }
        out.push_str("</");
        out.push_str(root);
        out.push('>');
        let mut reply = Reply::new(StatusCode::OK).with_body("application/xml", out);
        let shown = headers.iter().filter(|(name, _)| {
            let name = name.as_str();
            name == "x-amz-version-id"
                || name == "x-amz-expiration"
                || name.starts_with("x-amz-server-side-encryption")
        });
        reply
            .headers
            .extend(shown.map(|(name, value)| (name.clone(), value.clone())));
        if let Some(version) = &found.version_id {
            reply = reply.with(COPY_SOURCE_VERSION_ID.clone(), version.clone());
        }
        Ok(Stored::Done(Box::new(reply)))
    }

    /// What a refusal of the target means for the copy.
    pub fn not_stored(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        let failure = Failure::decode(status, headers, body, Some(self.target));
        if failure.kind == Kind::DigestMismatch {
            // The digest was the source's: the client has not declared any.
            let error = Error::new(Kind::UpstreamBroken, MISMATCH);
            return Failure {
                detail: failure.detail,
                ..Failure::from(&error)
            };
        }
        failure
    }

    /// Takes back a copy that is not what it should be, and nothing that someone else has stored since. A part needs
    /// no such thing: it becomes part of an object only if the client names it.
    fn undo(&self, stored: &HeaderMap) -> Result<Option<UpstreamRequest>> {
        if self.op.op() != Op::CopyObject {
            return Ok(None);
        }
        let mut target = upstream::target(self.op, self.target, upstream::account(self.target)?)?;
        let mut headers = SmallVec::from_iter([(HOST, upstream::host(self.target)?)]);
        if let Some(version) = stored.get(&VERSION_ID).and_then(|id| id.to_str().ok()) {
            target.push_str("?versionId=");
            let mut id = Vec::new();
            crate::message::escape::encode(
                &mut id,
                version.as_bytes(),
                crate::message::escape::Slash::Encode,
            );
            target.push_str(&String::from_utf8(id).map_err(Error::internal)?);
        } else if let Some(tag) = stored.get(ETAG) {
            headers.push((IF_MATCH, tag.clone()));
        }
        Ok(Some(UpstreamRequest {
            head: UpstreamHead {
                method: Method::DELETE,
                target,
                headers,
            },
            payload: upstream::NO_PAYLOAD,
            document: None,
        }))
    }
}

/// The step between the two bodies. What it finds wrong is the source's doing, never the client's.
#[derive(Debug)]
pub struct CopyPipe(UploadPipe);

impl BodyStep for CopyPipe {
    fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()> {
        self.0.push(input, out).map_err(of_source)
    }

    fn finish(&mut self, end: End, out: &mut Chunks) -> Result<()> {
        self.0.finish(end, out).map_err(of_source)
    }
}

fn of_source(error: Error) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The source's bytes are not what its store declared. Please try again.",
    )
    .with_detail(error)
}
