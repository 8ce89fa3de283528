//! Answers for the client: which headers of the provider's it sees, and the documents that we write ourselves.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use smallvec::SmallVec;

use super::body;
use super::error::FAILURE_BYTES_MAX;
use super::names;
use super::route::{Op, Reply, S3Request, Verb, WholeOp};
use super::wire;
use crate::error::{Error, Kind, Result};
use crate::message::date;
use crate::policy::route::Bucket;

/// Largest document that is translated: a page of 1000 versions with keys of 1024 bytes, each byte encoded, is under
/// 8 MiB.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// Largest document of a late reply: it names one object.
const LATE_BYTES_MAX: usize = 1 << 20;
/// Most buckets of one page, as S3 has it.
const BUCKETS_MAX: usize = 10_000;

pub type ReplyHeaders = SmallVec<[(HeaderName, HeaderValue); 16]>;

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

/// Headers of a provider's answer that the client sees. A name that ends in `*` is a prefix. Whatever is not listed
/// (`server`, request ids, `set-cookie`, hop-by-hop headers) is not.
const REPLY_HEADERS: &[&str] = &[
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-range",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "retry-after",
    "x-amz-abort-date",
    "x-amz-abort-rule-id",
    "x-amz-archive-status",
    "x-amz-checksum-*",
    "x-amz-copy-source-version-id",
    "x-amz-delete-marker",
    "x-amz-expiration",
    "x-amz-meta-*",
    "x-amz-missing-meta",
    "x-amz-mp-parts-count",
    "x-amz-object-lock-*",
    "x-amz-object-size",
    "x-amz-replication-status",
    "x-amz-restore",
    "x-amz-restore-output-path",
    "x-amz-server-side-encryption*",
    "x-amz-storage-class",
    "x-amz-tagging-count",
    "x-amz-transition-default-minimum-object-size",
    "x-amz-version-id",
    "x-amz-website-redirect-location",
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
        .filter(|(name, _)| is_shown(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let keeps_length = body == ReplyBody::Forward || (is_head && status.is_success());
    if keeps_length && let Some(length) = headers.get(CONTENT_LENGTH) {
        kept.push((CONTENT_LENGTH, length.clone()));
    }
    if op.op() == Op::HeadBucket && status.is_success() {
        let region = bucket.resource.s3().map_or("", |account| &*account.region);
        let region = HeaderValue::from_str(region).map_err(Error::internal)?;
        kept.push((HeaderName::from_static("x-amz-bucket-region"), region));
    }
    drop_framing(&mut kept, headers);
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

/// Some stores keep `aws-chunked`, which was the upload's framing, as an encoding of the object.
fn drop_framing(kept: &mut ReplyHeaders, headers: &HeaderMap) {
    let Some(stored) = headers.get(CONTENT_ENCODING) else {
        return;
    };
    // An encoding that is no text is not ours to read.
    let Ok(plain) = body::content_encoding(headers, false) else {
        return;
    };
    if plain.as_ref() != Some(stored) {
        kept.retain(|(name, _)| *name != CONTENT_ENCODING);
        kept.extend(plain.map(|value| (CONTENT_ENCODING, value)));
    }
}

fn is_shown(name: &str) -> bool {
    REPLY_HEADERS
        .iter()
        .any(|shown| match shown.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *shown,
        })
}

/// One bucket of a listing.
#[derive(Clone, Copy, Debug)]
pub struct ListedBucket<'a> {
    pub name: &'a str,
    pub created_at: Timestamp,
    pub region: &'a str,
}

/// The `ListBuckets` document of `buckets`, which are sorted by name and already filtered to what the key may see.
pub fn list_buckets<'a>(
    request: &S3Request,
    owner: &str,
    buckets: impl Iterator<Item = ListedBucket<'a>>,
) -> Result<Bytes> {
    let prefix = request.query("prefix").unwrap_or_default();
    let region = request.query("bucket-region").unwrap_or_default();
    let most = match request.query("max-buckets").unwrap_or_default() {
        "" => BUCKETS_MAX,
        number => number
            .parse()
            .ok()
            .filter(|number| (1..=BUCKETS_MAX).contains(number))
            .ok_or_else(|| bad_argument("max-buckets"))?,
    };
    let after = match request.query("continuation-token").unwrap_or_default() {
        "" => String::new(),
        token => URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|name| String::from_utf8(name).ok())
            .ok_or_else(|| bad_argument("continuation-token"))?,
    };
    let mut page = buckets.filter(|bucket| {
        bucket.name > after.as_str()
            && bucket.name.starts_with(prefix)
            && (region.is_empty() || bucket.region == region)
    });
    let mut out = document("ListAllMyBucketsResult");
    out.push_str("<Owner>");
    wire::push_element(&mut out, "ID", owner);
    wire::push_element(&mut out, "DisplayName", owner);
    out.push_str("</Owner><Buckets>");
    let mut last = None;
    for bucket in page.by_ref().take(most) {
        out.push_str("<Bucket>");
        wire::push_element(&mut out, "Name", bucket.name);
        wire::push_element(
            &mut out,
            "CreationDate",
            &date::iso_millis(bucket.created_at),
        );
        if !bucket.region.is_empty() {
            wire::push_element(&mut out, "BucketRegion", bucket.region);
        }
        out.push_str("</Bucket>");
        last = Some(bucket.name);
    }
    out.push_str("</Buckets>");
    if let (Some(last), Some(_)) = (last, page.next()) {
        wire::push_element(&mut out, "ContinuationToken", &URL_SAFE_NO_PAD.encode(last));
    }
    if !prefix.is_empty() {
        wire::push_element(&mut out, "Prefix", prefix);
    }
    out.push_str("</ListAllMyBucketsResult>");
    Ok(out.into())
}

/// The `GetBucketLocation` document. `us-east-1` is written as nothing.
pub fn location(region: &str) -> Bytes {
    let mut out = document("LocationConstraint");
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

fn document(root: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{}\">",
        names::XML_NAMESPACE
    )
}

fn bad_argument(name: &'static str) -> Error {
    Error::new(Kind::InvalidArgument, "A query parameter is not valid.").with_param(name)
}

#[cfg(test)]
mod tests;
