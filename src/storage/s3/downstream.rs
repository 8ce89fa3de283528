//! Answers for the client: which headers of the provider's it sees, and the documents that we write ourselves.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::body;
use super::error::FAILURE_BYTES_MAX;
use super::route::{Op, Reply, S3Request, Verb, WholeOp};
use super::wire;
use crate::error::{Error, Kind, Result};
use crate::policy::route::Bucket;

/// Largest document that is translated: a page of 1000 versions with keys of 1024 bytes, each byte encoded, is under
/// 8 MiB.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// Largest document of a late reply: it names one object.
const LATE_BYTES_MAX: usize = 1 << 20;

/// Room for what an object usually comes with; these are moved a few times, and 72 bytes each.
pub type ReplyHeaders = SmallVec<[(HeaderName, HeaderValue); 8]>;

/// What of the provider's answer goes to the client.
#[derive(Debug)]
pub struct ReplyHead {
    pub status: StatusCode,
    /// Without `x-amz-request-id`, `x-amz-id-2` and `date`, which are ours; with `content-length` only where the body
    /// is forwarded (or is that of a HEAD).
    pub headers: ReplyHeaders,
    pub body: ReplyBody,
}

/// What happens to the provider's response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// There is none.
    None,
    /// Byte for byte.
    Forward,
    /// Read whole, at most `bytes_max`, then [`super::wire::translate`].
    Translate { bytes_max: usize },
    /// As `Translate`, but it may take minutes, be preceded by white space, and be an error under a 200.
    Late { bytes_max: usize },
    /// An error: read at most `bytes_max`, then [`super::error::Failure::decode`].
    Failure { bytes_max: usize },
}

/// Families of headers that the client sees; see [`is_shown`].
const SHOWN_PREFIXES: [&str; 4] = [
    "x-amz-checksum-",
    "x-amz-meta-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
];

/// Decides what the client sees of an answer with this status and these headers.
pub fn reply(
    op: &WholeOp,
    status: StatusCode,
    headers: &HeaderMap,
    bucket: &Bucket,
) -> Result<ReplyHead> {
    if status.is_informational() || status.as_u16() >= 600 {
        return Err(
            Error::new(Kind::UpstreamBroken, "The store's answer is not valid.")
                .with_detail(status),
        );
    }
    let row = op.request().row();
    let is_head = row.method == Verb::Head;
    let body = match (status, row.reply) {
        (StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT, _) => ReplyBody::None,
        (status, _) if !status.is_success() => ReplyBody::Failure {
            bytes_max: if is_head { 0 } else { FAILURE_BYTES_MAX },
        },
        _ if is_head => ReplyBody::None,
        (_, Reply::Forward | Reply::Local) => ReplyBody::Forward,
        (_, Reply::Document) => ReplyBody::Translate {
            bytes_max: DOCUMENT_BYTES_MAX,
        },
        (_, Reply::Late) => ReplyBody::Late {
            bytes_max: LATE_BYTES_MAX,
        },
    };
    let mut kept: ReplyHeaders = headers
        .iter()
        .filter(|(name, _)| is_shown(name.as_str()) && *name != CONTENT_ENCODING)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Some stores keep the framing of an upload as the object's coding.
    if let Ok(Some(coding)) = body::content_encoding(headers, false) {
        kept.push((CONTENT_ENCODING, coding));
    }
    let keeps_length = body == ReplyBody::Forward || (is_head && status.is_success());
    if keeps_length && let Some(length) = headers.get(CONTENT_LENGTH) {
        kept.push((CONTENT_LENGTH, length.clone()));
    }
    if op.op() == Op::HeadBucket && status.is_success() {
        let region = bucket.resource.s3().map_or("", |account| &*account.region);
        let region = HeaderValue::from_str(region).map_err(Error::internal)?;
        kept.push((HeaderName::from_static("x-amz-bucket-region"), region));
    }
    if op.op() == Op::CreateBucket && status.is_success() {
        let path = format!("/{}", bucket.exposed);
        let path = HeaderValue::try_from(path).map_err(Error::internal)?;
        kept.push((LOCATION, path));
    }
    if matches!(body, ReplyBody::Failure { .. }) {
        // The error is written anew.
        kept.retain(|(name, _)| *name != CONTENT_TYPE && *name != "content-encoding");
    }
    Ok(ReplyHead {
        status,
        headers: kept,
        body,
    })
}

/// Whether the client sees this header of a provider's answer. Whatever is not listed (`server`, request ids,
/// `set-cookie`, hop-by-hop headers) it does not. A `match`, which looks at lengths first: it is asked for each header.
fn is_shown(name: &str) -> bool {
    match name {
        "accept-ranges"
        | "cache-control"
        | "content-disposition"
        | "content-encoding"
        | "content-language"
        | "content-range"
        | "content-type"
        | "etag"
        | "expires"
        | "last-modified"
        | "retry-after"
        | "x-amz-abort-date"
        | "x-amz-abort-rule-id"
        | "x-amz-archive-status"
        | "x-amz-copy-source-version-id"
        | "x-amz-delete-marker"
        | "x-amz-expiration"
        | "x-amz-missing-meta"
        | "x-amz-mp-parts-count"
        | "x-amz-object-size"
        | "x-amz-replication-status"
        | "x-amz-restore"
        | "x-amz-restore-output-path"
        | "x-amz-storage-class"
        | "x-amz-tagging-count"
        | "x-amz-transition-default-minimum-object-size"
        | "x-amz-version-id"
        | "x-amz-website-redirect-location" => true,
        other => SHOWN_PREFIXES
            .iter()
            .any(|prefix| other.starts_with(prefix)),
    }
}

/// The `GetBucketLocation` document. `us-east-1` is written as nothing.
pub fn location(region: &str) -> Bytes {
    let mut out = wire::document("LocationConstraint");
    if region != "us-east-1" {
        wire::push_text(&mut out, region);
    }
    out.push_str("</LocationConstraint>");
    out.into()
}

/// The URL of the request's object, as the client reaches it.
pub fn object_url(request: &S3Request, host: &str, secure: bool) -> String {
    use super::route::Style;
    use crate::message::escape::{Slash, encode};
    let mut out = Vec::new();
    out.extend_from_slice(if secure { b"https://" } else { b"http://" });
    out.extend_from_slice(host.as_bytes());
    out.push(b'/');
    if request.style() == Style::Path {
        encode(
            &mut out,
            request.bucket().unwrap_or_default().as_bytes(),
            Slash::Encode,
        );
        out.push(b'/');
    }
    encode(
        &mut out,
        request.key().unwrap_or_default().as_bytes(),
        Slash::Keep,
    );
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
