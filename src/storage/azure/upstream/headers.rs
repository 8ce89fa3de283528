//! Headers of blobs, as they are written for Azure; [`read`] has them as they come from it.

pub(super) mod metadata;
mod read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::storage::azure::names;
use crate::storage::codec::UpstreamHead;
use crate::storage::condition::{Pin, Preconditions};
pub(super) use crate::storage::head::push;
use crate::storage::object::{
    Attributes, Checksum, ChecksumKind, ContentHeaders, CustomerKey, Encryption, Tags,
};
use crate::storage::op::Body;
use metadata::Metadata;
pub(super) use read::{etag_of, object, revision, stored_at, told};

/// What we keep of an object in metadata of our own, apart from what its attributes tell.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) etag: Option<String>,
    pub(super) parts: Option<String>,
    pub(super) upload: Option<String>,
    pub(super) checksum: Option<String>,
}

/// All that is stored beside an object.
pub(super) fn push_attributes(
    head: &mut UpstreamHead,
    attributes: &Attributes,
    kept: &Kept,
) -> Result<()> {
    push_content(head, &attributes.content)?;
    let expires = attributes.content.expires.as_ref().map(text).transpose()?;
    let redirect = attributes.redirect.as_ref().map(text).transpose()?;
    let mut metadata = Metadata::new(head);
    metadata.user(&attributes.user)?;
    for (name, value) in [
        (names::EXPIRES, expires),
        (names::REDIRECT, redirect),
        (names::ETAG, kept.etag.as_deref()),
        (names::PARTS, kept.parts.as_deref()),
        (names::UPLOAD, kept.upload.as_deref()),
        (names::CHECKSUM, kept.checksum.as_deref()),
    ] {
        if let Some(value) = value {
            metadata.push(name, value)?;
        }
    }
    push_tags(head, &attributes.tags)?;
    if let Some(class) = attributes.class {
        push(head, names::ACCESS_TIER, names::tier(class))?;
    }
    push_encryption(head, attributes.encryption.as_ref())
}

fn push_content(head: &mut UpstreamHead, content: &ContentHeaders) -> Result<()> {
    for (name, value) in [
        (names::BLOB_CACHE_CONTROL, &content.cache_control),
        (names::BLOB_CONTENT_DISPOSITION, &content.disposition),
        (names::BLOB_CONTENT_ENCODING, &content.encoding),
        (names::BLOB_CONTENT_LANGUAGE, &content.language),
        (names::BLOB_CONTENT_TYPE, &content.media_type),
    ] {
        let Some(value) = value else { continue };
        if value.to_str().is_err() {
            let message = "The store of this bucket keeps no header that is not ASCII.";
            return Err(Error::unsupported(message));
        }
        if !value.is_empty() {
            head.headers
                .push((HeaderName::from_static(name), value.clone()));
        }
    }
    Ok(())
}

fn text(value: &HeaderValue) -> Result<&str> {
    std::str::from_utf8(value.as_bytes())
        .map_err(|_| Error::new(Kind::InvalidArgument, "A header of the object is no text."))
}

/// Tags for an upload, in the form of a query.
pub(super) fn push_tags(head: &mut UpstreamHead, tags: &Tags) -> Result<()> {
    if tags.is_empty() {
        return Ok(());
    }
    check_tags(tags)?;
    push(head, names::TAGS, &tags.query())
}

/// The store takes fewer characters than the model.
pub(super) fn check_tags(tags: &Tags) -> Result<()> {
    let takes = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b" +-.:=_/".contains(&b))
    };
    if tags.iter().all(|(key, value)| takes(key) && takes(value)) {
        return Ok(());
    }
    Err(Error::unsupported(
        "The store of this bucket takes letters, digits, spaces and + - . : = _ / in tags, and nothing else.",
    ))
}

/// Encryption by the provider is what Azure always does.
fn push_encryption(head: &mut UpstreamHead, encryption: Option<&Encryption>) -> Result<()> {
    match encryption {
        Some(Encryption::Customer(key)) => push_customer_key(head, Some(key)),
        Some(Encryption::Provider) | None => Ok(()),
    }
}

pub(super) fn push_customer_key(head: &mut UpstreamHead, key: Option<&CustomerKey>) -> Result<()> {
    let Some(key) = key else {
        return Ok(());
    };
    push(head, names::ENCRYPTION_ALGORITHM, "AES256")?;
    let mut value =
        HeaderValue::from_str(&STANDARD.encode(key.expose())).map_err(Error::internal)?;
    value.set_sensitive(true);
    let name = HeaderName::from_static(names::ENCRYPTION_KEY);
    head.headers.push((name, value));
    let digest = STANDARD.encode(Sha256::digest(key.expose()));
    push(head, names::ENCRYPTION_KEY_SHA256, &digest)
}

pub(super) fn push_length(head: &mut UpstreamHead, body: &Body) -> Result<u64> {
    let length = body.length.ok_or_else(|| {
        Error::new(
            Kind::LengthRequired,
            "You must provide the Content-Length HTTP header.",
        )
    })?;
    head.headers
        .push((CONTENT_LENGTH, HeaderValue::from(length)));
    Ok(length)
}

pub(super) fn push_md5(head: &mut UpstreamHead, body: &Body) -> Result<bool> {
    match body.checksum(ChecksumKind::Md5) {
        Some(md5) => push(head, "content-md5", &md5.base64()).map(|()| true),
        None => Ok(false),
    }
}

/// The checksum that is kept for a client, if one was told beforehand.
pub(super) fn kept_checksum(body: &Body) -> Option<String> {
    let found = names::KEPT
        .iter()
        .find_map(|(kind, _)| body.checksum(*kind));
    found.and_then(|checksum| kept_text(checksum, None))
}

/// `parts`: it is of so many parts' checksums.
pub(super) fn kept_text(checksum: &Checksum, parts: Option<usize>) -> Option<String> {
    let kept = names::KEPT
        .iter()
        .find(|(kind, _)| *kind == checksum.kind());
    let (_, name) = kept?;
    let value = checksum.base64();
    Some(match parts {
        Some(parts) => format!("{name}:{value}-{parts}"),
        None => format!("{name}:{value}"),
    })
}

pub(super) fn base64(value: &[u8]) -> String {
    STANDARD.encode(value)
}

/// Azure's form of the same CRC, whose bytes stand the other way round.
pub(super) fn crc64(checksum: &Checksum) -> String {
    let mut value = checksum.value().to_vec();
    value.reverse();
    STANDARD.encode(value)
}

/// Conditions that the store can compare: that there be no object, or just the one that a look found.
pub(super) fn push_conditions(head: &mut UpstreamHead, conditions: &Preconditions) -> Result<()> {
    if conditions.is_empty() {
        return Ok(());
    }
    if conditions.is_absent_only() {
        return push(head, "if-none-match", "*");
    }
    match pin(conditions)? {
        Pin::Absent => push(head, "if-none-match", "*"),
        Pin::Is(revision) => push(head, "if-match", &revision.0),
    }
}

/// The pin that conditions were turned into. The store compares none of the others as clients mean them.
pub(super) fn pin(conditions: &Preconditions) -> Result<&Pin> {
    let Preconditions {
        if_match: None,
        if_none_match: None,
        if_modified_since: None,
        if_unmodified_since: None,
        if_stored_at: None,
        if_size: None,
        pin: Some(pin),
    } = conditions
    else {
        return Err(Error::internal("a condition that was not pinned"));
    };
    Ok(pin)
}
