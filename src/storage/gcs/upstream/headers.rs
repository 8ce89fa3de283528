//! Headers of objects, as they are written for GCS; [`read`] has them as they come from it.

mod read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE,
};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::message::date;
use crate::storage::codec::UpstreamHead;
use crate::storage::condition::{Pin, Preconditions, TagMatch};
use crate::storage::gcs::names;
pub(in crate::storage::gcs::upstream) use crate::storage::head::push;
use crate::storage::object::{
    Attributes, ChecksumKind, CustomerKey, Encryption, Extent, StoredChecksum,
};
use crate::storage::op::Body;
pub(super) use read::{broken, etag, last_modified, object, revision, told};

/// All that is stored beside an object.
pub(super) fn push_attributes(head: &mut UpstreamHead, attributes: &Attributes) -> Result<()> {
    let content = &attributes.content;
    for (name, value) in [
        (CACHE_CONTROL, &content.cache_control),
        (CONTENT_DISPOSITION, &content.disposition),
        (CONTENT_ENCODING, &content.encoding),
        (CONTENT_LANGUAGE, &content.language),
        (CONTENT_TYPE, &content.media_type),
    ] {
        head.headers
            .extend(value.clone().map(|value| (name, value)));
    }
    let mut bytes = attributes.user.bytes();
    for (name, value) in attributes.user.iter() {
        push_metadata(head, name, value.as_bytes())?;
    }
    let ours = [
        (names::EXPIRES, content.expires.as_ref()),
        (names::REDIRECT, attributes.redirect.as_ref()),
    ];
    for (name, value) in ours {
        if let Some(value) = value {
            bytes += name.len() + value.len();
            push_metadata(head, name, value.as_bytes())?;
        }
    }
    if !attributes.tags.is_empty() {
        let tags = attributes.tags.query();
        bytes += names::TAGS.len() + tags.len();
        push_metadata(head, names::TAGS, tags.as_bytes())?;
    }
    if bytes > names::METADATA_BYTES_MAX {
        return Err(Error::new(
            Kind::MetadataTooLarge,
            "Your metadata and tags exceed what the store keeps with an object",
        ));
    }
    if let Some(class) = attributes.class {
        push(head, names::STORAGE_CLASS, names::class_name(class))?;
    }
    push_encryption(head, attributes.encryption.as_ref())
}

pub(super) fn push_metadata(head: &mut UpstreamHead, name: &str, value: &[u8]) -> Result<()> {
    let name = HeaderName::try_from([names::META, name].concat()).map_err(Error::internal)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| {
        Error::new(
            Kind::InvalidArgument,
            "The metadata of the object is not valid.",
        )
    })?;
    head.headers.push((name, value));
    Ok(())
}

/// Encryption by the provider is what GCS always does.
pub(super) fn push_encryption(
    head: &mut UpstreamHead,
    encryption: Option<&Encryption>,
) -> Result<()> {
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

/// What GCS compares the body with. Other digests are ours to check.
pub(super) fn push_body(head: &mut UpstreamHead, body: &Body) -> Result<()> {
    if let Some(length) = body.length {
        head.headers
            .push((CONTENT_LENGTH, HeaderValue::from(length)));
    }
    let mut digests = Vec::new();
    for (kind, name) in [(ChecksumKind::Crc32c, "crc32c"), (ChecksumKind::Md5, "md5")] {
        if let Some(checksum) = body.checksum(kind) {
            digests.push(format!("{name}={}", checksum.base64()));
        }
    }
    if digests.is_empty() {
        return Ok(());
    }
    push(head, names::HASH, &digests.join(","))
}

/// A checksum that GCS does not know is kept beside the object, if it is told beforehand.
pub(super) fn push_kept_checksum(head: &mut UpstreamHead, body: &Body) -> Result<()> {
    for (kind, name) in KEPT {
        if let Some(checksum) = body.checksum(*kind) {
            let text = format!("{name}:{}", checksum.base64());
            return push_metadata(head, names::CHECKSUM, text.as_bytes());
        }
    }
    Ok(())
}

/// A checksum as it is kept beside its object; `None`: GCS tells it itself, or no client wants it.
pub(super) fn kept_text(stored: &StoredChecksum) -> Option<String> {
    let kind = stored.checksum.kind();
    let value = stored.checksum.base64();
    let parts = match stored.extent {
        Extent::Whole => None,
        Extent::Parts(parts) => Some(parts),
    };
    let mut known = KEPT.iter();
    let name = match known.find(|(known, _)| *known == kind) {
        Some((_, name)) => *name,
        None if kind == ChecksumKind::Crc32c && parts.is_some() => CRC32C,
        None => return None,
    };
    Some(match parts {
        Some(parts) => format!("{name}:{value}-{parts}"),
        None => format!("{name}:{value}"),
    })
}

/// Of parts alone: that of the whole GCS knows.
const CRC32C: &str = "crc32c";

const KEPT: &[(ChecksumKind, &str)] = &[
    (ChecksumKind::Crc64Nvme, "crc64nvme"),
    (ChecksumKind::Sha256, "sha256"),
    (ChecksumKind::Crc32, "crc32"),
    (ChecksumKind::Sha1, "sha1"),
];

/// Conditions of a read; GCS compares them itself.
pub(super) fn push_read_conditions(
    head: &mut UpstreamHead,
    conditions: &Preconditions,
) -> Result<()> {
    let tags = |tags: &Option<TagMatch>| tags.as_ref().map(TagMatch::header);
    let at = |at: Option<Timestamp>| at.map(date::http);
    for (name, value) in [
        ("if-match", tags(&conditions.if_match)),
        ("if-none-match", tags(&conditions.if_none_match)),
        ("if-modified-since", at(conditions.if_modified_since)),
        ("if-unmodified-since", at(conditions.if_unmodified_since)),
    ] {
        if let Some(value) = value {
            push(head, name, &value)?;
        }
    }
    if conditions.if_stored_at.is_some() || conditions.if_size.is_some() {
        return Err(unpinned());
    }
    push_pin(head, names::IF_GENERATION_MATCH, conditions.pin.as_ref())
}

/// Conditions of a write: that there be no object, or just the one that a probe found.
pub(super) fn push_write_conditions(
    head: &mut UpstreamHead,
    conditions: &Preconditions,
) -> Result<()> {
    if conditions.is_empty() {
        return Ok(());
    }
    if conditions.is_absent_only() {
        return push(head, names::IF_GENERATION_MATCH, "0");
    }
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
        return Err(unpinned());
    };
    push_pin(head, names::IF_GENERATION_MATCH, Some(pin))
}

pub(super) fn push_pin(
    head: &mut UpstreamHead,
    name: &'static str,
    pin: Option<&Pin>,
) -> Result<()> {
    match pin {
        None => Ok(()),
        Some(Pin::Absent) => push(head, name, "0"),
        Some(Pin::Is(revision)) => push(head, name, &revision.0),
    }
}

/// A condition that the plan should have turned into a mark of the store's.
fn unpinned() -> Error {
    Error::internal("a condition on a write that was not pinned")
}

/// Conditions on what a copy reads.
pub(super) fn push_source_conditions(
    head: &mut UpstreamHead,
    conditions: &Preconditions,
) -> Result<()> {
    let tags = |tags: &Option<TagMatch>| tags.as_ref().map(TagMatch::header);
    let at = |at: Option<Timestamp>| at.map(date::http);
    for (name, value) in [
        ("x-goog-copy-source-if-match", tags(&conditions.if_match)),
        (
            "x-goog-copy-source-if-none-match",
            tags(&conditions.if_none_match),
        ),
        (
            "x-goog-copy-source-if-modified-since",
            at(conditions.if_modified_since),
        ),
        (
            "x-goog-copy-source-if-unmodified-since",
            at(conditions.if_unmodified_since),
        ),
    ] {
        if let Some(value) = value {
            push(head, name, &value)?;
        }
    }
    push_pin(
        head,
        names::COPY_SOURCE_IF_GENERATION_MATCH,
        conditions.pin.as_ref(),
    )
}
