//! Requests for the provider, built from nothing: what the operation's row does not list never leaves.
//!
//! Here are the requests of S3's own clients; [`canonical`] writes those of others.

pub mod canonical;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use md5::Md5;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::auth::PayloadHash;
use super::body::{self, UploadForm};
use super::buckets;
use super::copy;
use super::names;
use super::route::{CopySource, Op, Renaming, RequestBody, Row, Verb, WholeOp};
use super::wire;
use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Slash};
use crate::policy::route::{Addressing, Bucket, S3Account};
use crate::storage::head::UpstreamHead;

const CHECKSUM_PREFIX: &str = "x-amz-checksum-";
const CONTENT_MD5: &str = "content-md5";

/// The payload of a request without a body: SHA-256 of nothing.
pub(super) const NO_PAYLOAD: PayloadHash = PayloadHash::Sha256([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// A request for the provider: the head, its payload's hash, and the whole body where it is a document.
#[derive(Debug)]
pub struct UpstreamRequest {
    pub head: UpstreamHead,
    pub payload: PayloadHash,
    /// `None`: no body, or the stream of the [`UploadForm`].
    pub document: Option<Bytes>,
}

/// Writes `op` for `bucket`. `headers` are the client's; `form` is that of a streamed upload; `source` is the bucket
/// that a copy reads from.
pub fn encode(
    op: &WholeOp,
    headers: &HeaderMap,
    bucket: &Bucket,
    source: Option<&Bucket>,
    form: Option<&UploadForm>,
) -> Result<UpstreamRequest> {
    let request = op.request();
    let row = request.row();
    let account = account(bucket)?;
    check_renaming(row, bucket)?;
    let mut head = UpstreamHead {
        method: row.method.method(),
        target: target(op, bucket, account)?,
        headers: SmallVec::new(),
    };
    head.headers.push((HOST, host(bucket)?));
    if let Some(from) = request.source() {
        let source = source
            .filter(|source| copies_natively(source, bucket))
            .ok_or_else(|| Error::internal("not a copy that one store can do"))?;
        head.headers.push((
            HeaderName::from_static(names::COPY_SOURCE),
            copy_source(from, source)?,
        ));
    }
    let document = document(op, bucket)?;
    let rewritten =
        matches!((&document, op.document()), (Some(ours), Some(theirs)) if ours != theirs);
    let decoded_length = form.map_or(0, |form| form.decoded_length);
    let hoisted = request
        .hoisted()
        .iter()
        .map(|(name, value)| (name, value))
        .filter(|(name, value)| {
            decoded_length == 0 || !body::is_checksum_of_nothing(name.as_str(), value)
        });
    for (name, value) in headers.iter().chain(hoisted) {
        let of_body = name == CONTENT_MD5 || name.as_str().starts_with(CHECKSUM_PREFIX);
        let is_stale = rewritten && of_body;
        let is_set_below = name == CONTENT_ENCODING || name == names::COPY_SOURCE;
        if row.allows_header(name.as_str()) && !is_stale && !is_set_below {
            copy::check_source_range(name, value)?;
            head.headers.push((name.clone(), value.clone()));
        }
    }
    if row.allows_header(CONTENT_ENCODING.as_str()) {
        let encoding = match form {
            Some(form) => form.content_encoding.clone(),
            None => body::content_encoding(headers, false)?,
        };
        head.headers
            .extend(encoding.map(|value| (CONTENT_ENCODING, value)));
    }
    let payload = push_body_headers(&mut head, op, form, document.as_ref())?;
    Ok(UpstreamRequest {
        head,
        payload,
        document,
    })
}

/// Length and form of the body; the payload to be signed.
fn push_body_headers(
    head: &mut UpstreamHead,
    op: &WholeOp,
    form: Option<&UploadForm>,
    document: Option<&Bytes>,
) -> Result<PayloadHash> {
    let row = op.request().row();
    Ok(match (row.request_body, form, document) {
        (RequestBody::Stream, Some(form), _) => {
            head.headers.extend(form.headers.iter().cloned());
            push_length(head, form.content_length);
            form.payload
        }
        (RequestBody::Stream, None, _) => {
            return Err(Error::internal("an upload without its form"));
        }
        (RequestBody::Document { .. }, _, Some(document)) => {
            ensure_integrity(head, op, document)?;
            push_length(head, document.len() as u64);
            PayloadHash::Sha256(Sha256::digest(document).into())
        }
        (RequestBody::Document { .. } | RequestBody::None, _, _) => {
            if matches!(row.method, Verb::Put | Verb::Post) {
                push_length(head, 0);
            }
            NO_PAYLOAD
        }
    })
}

/// Whether a copy from `source` to `target` can be done by the provider itself: one endpoint, one credential. Any other
/// is [`super::copy`]'s.
pub fn copies_natively(source: &Bucket, target: &Bucket) -> bool {
    if std::sync::Arc::ptr_eq(&source.resource, &target.resource) {
        return true;
    }
    let (Some(from), Some(to)) = (source.resource.s3(), target.resource.s3()) else {
        return false;
    };
    let (here, there) = (&source.resource.origin, &target.resource.origin);
    (here.tls, &here.host, here.port, &here.base_path)
        == (there.tls, &there.host, there.port, &there.base_path)
        && from.credential.acts_as(&to.credential)
        && from.region == to.region
}

pub(in crate::storage) fn host(bucket: &Bucket) -> Result<HeaderValue> {
    let authority = &bucket.resource.origin.authority;
    match account(bucket)?.addressing {
        Addressing::Path => Ok(authority.clone()),
        Addressing::Virtual => {
            let mut name = Vec::with_capacity(bucket.upstream.len() + 1 + authority.len());
            name.extend_from_slice(bucket.upstream.as_bytes());
            name.push(b'.');
            name.extend_from_slice(authority.as_bytes());
            HeaderValue::from_maybe_shared(Bytes::from(name)).map_err(Error::internal)
        }
    }
}

pub(super) fn account(bucket: &Bucket) -> Result<&S3Account> {
    bucket
        .resource
        .s3()
        .ok_or_else(|| Error::internal("the resource is not an S3 account"))
}

/// An operation on the bucket as a whole would reach beyond the part of it that the client was given.
fn check_renaming(row: &Row, bucket: &Bucket) -> Result<()> {
    let changes = match row.method {
        Verb::Get | Verb::Head => false,
        Verb::Put | Verb::Post | Verb::Delete => true,
    };
    let refused = match row.renaming {
        Renaming::Translated => false,
        Renaming::WholeBucket => changes && !bucket.prefix.is_empty(),
        Renaming::KeysInside => !bucket.prefix.is_empty(),
        Renaming::NamesInside => bucket.is_renamed(),
    };
    if refused {
        return Err(Error::unsupported(
            "This operation is not available on a bucket that is exposed under another name or prefix.",
        ));
    }
    Ok(())
}

/// Path and query of `op` at `bucket`.
pub(super) fn target(op: &WholeOp, bucket: &Bucket, account: &S3Account) -> Result<String> {
    let mut out = path(bucket, account, op.request().key())?;
    push_query(&mut out, op, bucket)?;
    String::from_utf8(out).map_err(Error::internal)
}

/// The path of a bucket, or of an object in it.
pub(in crate::storage) fn path(
    bucket: &Bucket,
    account: &S3Account,
    key: Option<&str>,
) -> Result<Vec<u8>> {
    let length = key.map_or(0, str::len);
    let mut out = Vec::with_capacity(64 + length + bucket.prefix.len());
    out.extend_from_slice(bucket.resource.origin.base_path.as_bytes());
    out.push(b'/');
    match account.addressing {
        Addressing::Path => {
            escape::encode(&mut out, bucket.upstream.as_bytes(), Slash::Encode);
            if key.is_some() {
                out.push(b'/');
            }
        }
        Addressing::Virtual => {}
    }
    if let Some(key) = key {
        check_upstream_key(&bucket.prefix, key)?;
        escape::encode(&mut out, bucket.prefix.as_bytes(), Slash::Keep);
        escape::encode(&mut out, key.as_bytes(), Slash::Keep);
    }
    Ok(out)
}

/// A key that fits for the client may be too long behind the prefix; one with dot segments could leave it at a store
/// that collapses paths.
pub fn check_upstream_key(prefix: &str, key: &str) -> Result<()> {
    if prefix.len() + key.len() > names::KEY_BYTES_MAX {
        return Err(Error::new(Kind::KeyTooLong, "Your key is too long"));
    }
    if !prefix.is_empty() && crate::policy::authorize::has_dot_segment(key) {
        return Err(Error::new(Kind::AccessDenied, "Access Denied")
            .with_detail("a dot segment under the bucket's prefix"));
    }
    Ok(())
}

/// The query, sorted, with the bucket's prefix put before what names keys.
fn push_query(out: &mut Vec<u8>, op: &WholeOp, bucket: &Bucket) -> Result<()> {
    let request = op.request();
    let lists = request.key().is_none() && request.row().class == super::route::Class::List;
    let mut pairs: SmallVec<[(&str, &str); 8]> = request
        .query_pairs()
        .iter()
        .map(|(name, value)| (*name, &**value))
        // Given but empty is not given, except for what selects the operation, and for a page token: that one is
        // wrong at some stores and repeated by others.
        .filter(|(name, value)| {
            let is_token = *name == "continuation-token" && bucket.prefix.is_empty();
            !value.is_empty() || is_token || request.row().when.contains(name)
        })
        .collect();
    let needs_prefix = lists && !bucket.prefix.is_empty();
    if needs_prefix && !pairs.iter().any(|(name, _)| *name == "prefix") {
        pairs.push(("prefix", ""));
    }
    pairs.sort_unstable();
    for (at, (name, value)) in pairs.iter().enumerate() {
        out.push(if at == 0 { b'?' } else { b'&' });
        escape::encode(out, name.as_bytes(), Slash::Encode);
        out.push(b'=');
        let names_keys = matches!(*name, "prefix" | "marker" | "start-after" | "key-marker");
        if needs_prefix && names_keys {
            check_upstream_key(&bucket.prefix, value)?;
            escape::encode(out, bucket.prefix.as_bytes(), Slash::Encode);
        }
        if needs_prefix && *name == "continuation-token" {
            let token = names::token_of_client(value, &bucket.prefix)?;
            escape::encode(out, token.as_bytes(), Slash::Encode);
        } else {
            escape::encode(out, value.as_bytes(), Slash::Encode);
        }
    }
    Ok(())
}

fn copy_source(from: &CopySource, source: &Bucket) -> Result<HeaderValue> {
    check_upstream_key(&source.prefix, &from.key)?;
    let mut out = Vec::with_capacity(64 + from.key.len());
    out.push(b'/');
    escape::encode(&mut out, source.upstream.as_bytes(), Slash::Encode);
    out.push(b'/');
    escape::encode(&mut out, source.prefix.as_bytes(), Slash::Keep);
    escape::encode(&mut out, from.key.as_bytes(), Slash::Keep);
    if let Some(version) = &from.version_id {
        out.extend_from_slice(b"?versionId=");
        escape::encode(&mut out, version.as_bytes(), Slash::Encode);
    }
    HeaderValue::from_maybe_shared(Bytes::from(out)).map_err(Error::internal)
}

/// The document in the provider's names.
fn document(op: &WholeOp, bucket: &Bucket) -> Result<Option<Bytes>> {
    if op.op() == Op::DeleteObjects && (!bucket.prefix.is_empty() || !op.refused().is_empty()) {
        for entry in &op.delete().entries {
            check_upstream_key(&bucket.prefix, &entry.key)?;
        }
        return Ok(Some(wire::write_delete(op.delete(), &bucket.prefix)));
    }
    if op.op() == Op::PutBucketPolicy && bucket.is_renamed() {
        let theirs = op.document().map_or(&[][..], |document| document);
        return wire::policy::for_store(theirs, bucket).map(Some);
    }
    if op.op() == Op::CreateBucket {
        let theirs = op.document().map_or(&[][..], |document| document);
        let ours = buckets::configuration(theirs, &bucket.resource)?;
        return Ok(Some(ours.unwrap_or_default()));
    }
    Ok(op.document().cloned())
}

/// Some operations demand a digest of their document, and the client's may have been in a trailer or of the document
/// before it was rewritten.
fn ensure_integrity(head: &mut UpstreamHead, op: &WholeOp, document: &Bytes) -> Result<()> {
    let has_digest = head
        .headers
        .iter()
        .any(|(name, _)| name == CONTENT_MD5 || name.as_str().starts_with(CHECKSUM_PREFIX));
    if has_digest || document.is_empty() || op.op() == Op::CompleteMultipartUpload {
        return Ok(());
    }
    use base64::Engine;
    let digest = base64::engine::general_purpose::STANDARD.encode(Md5::digest(document));
    let value = HeaderValue::try_from(digest).map_err(Error::internal)?;
    head.headers
        .push((HeaderName::from_static(CONTENT_MD5), value));
    Ok(())
}

fn push_length(head: &mut UpstreamHead, length: u64) {
    head.headers
        .push((CONTENT_LENGTH, HeaderValue::from(length)));
}

#[cfg(test)]
mod tests;
