//! Headers of objects: as they are written for S3, and what it tells of an object by them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG,
    EXPIRES, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use md5::{Digest, Md5};

use super::unsaid;
use crate::error::{Error, Kind, Result};
use crate::message::date;
pub(super) use crate::storage::codec::broken;
use crate::storage::codec::{UpstreamHead, object_size};
use crate::storage::condition::{Pin, Preconditions, TagMatch};
pub(super) use crate::storage::head::push;
use crate::storage::object::{
    Attributes, Checksum, ChecksumKind, ContentHeaders, CustomerKey, ETag as EntityTag, Encryption,
    Extent, ObjectMeta, Restore, Revision, StorageClass, StoredChecksum, UserMetadata, VersionId,
};
use crate::storage::op::{ChecksumOver, CompletedPart, UploadChecksum};
use crate::storage::reply::ObjectHead;
use crate::storage::s3::canonical::{decode_metadata, stored_class};
use crate::storage::s3::{answer, body, copy, names, wire};

const REDIRECT: &str = "x-amz-website-redirect-location";
const CLASS: &str = "x-amz-storage-class";
const CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
const VERSION_ID: &str = "x-amz-version-id";
const CHECKSUM_TYPE: &str = "x-amz-checksum-type";

/// A checksum by its header, by the word for its algorithm, and by its element.
const CHECKSUMS: &[(ChecksumKind, &str, &str, &str)] = &[
    (
        ChecksumKind::Crc64Nvme,
        "x-amz-checksum-crc64nvme",
        "CRC64NVME",
        "ChecksumCRC64NVME",
    ),
    (
        ChecksumKind::Crc32c,
        "x-amz-checksum-crc32c",
        "CRC32C",
        "ChecksumCRC32C",
    ),
    (
        ChecksumKind::Crc32,
        "x-amz-checksum-crc32",
        "CRC32",
        "ChecksumCRC32",
    ),
    (
        ChecksumKind::Sha256,
        "x-amz-checksum-sha256",
        "SHA256",
        "ChecksumSHA256",
    ),
    (
        ChecksumKind::Sha1,
        "x-amz-checksum-sha1",
        "SHA1",
        "ChecksumSHA1",
    ),
];

// === Written ===

/// All that is stored beside an object.
pub(super) fn push_attributes(head: &mut UpstreamHead, attributes: &Attributes) -> Result<()> {
    let content = &attributes.content;
    for (name, value) in [
        (CACHE_CONTROL, &content.cache_control),
        (CONTENT_DISPOSITION, &content.disposition),
        (CONTENT_ENCODING, &content.encoding),
        (CONTENT_LANGUAGE, &content.language),
        (CONTENT_TYPE, &content.media_type),
        (EXPIRES, &content.expires),
        (HeaderName::from_static(REDIRECT), &attributes.redirect),
    ] {
        head.headers
            .extend(value.clone().map(|value| (name, value)));
    }
    if attributes.user.bytes() > names::METADATA_BYTES_MAX {
        let message = "Your metadata headers exceed the maximum allowed metadata size";
        return Err(Error::new(Kind::MetadataTooLarge, message));
    }
    for (name, value) in attributes.user.iter() {
        let name = [names::X_AMZ_META, name].concat();
        let name = HeaderName::try_from(name).map_err(Error::internal)?;
        let value = HeaderValue::try_from(answer::encode_metadata(value));
        head.headers.push((name, value.map_err(Error::internal)?));
    }
    if !attributes.tags.is_empty() {
        push(head, names::TAGGING, &attributes.tags.query())?;
    }
    if let Some(class) = attributes.class {
        push(head, CLASS, answer::class_name(class))?;
    }
    match &attributes.encryption {
        None => Ok(()),
        Some(Encryption::Provider) => push(head, names::ENCRYPTION, "AES256"),
        Some(Encryption::Customer(key)) => push_customer_key(head, Some(key)),
    }
}

pub(super) fn push_customer_key(head: &mut UpstreamHead, key: Option<&CustomerKey>) -> Result<()> {
    let Some(key) = key else {
        return Ok(());
    };
    push(head, CUSTOMER_ALGORITHM, "AES256")?;
    let encoded = STANDARD.encode(key.expose());
    let mut value = HeaderValue::try_from(encoded).map_err(Error::internal)?;
    value.set_sensitive(true);
    let name = HeaderName::from_static("x-amz-server-side-encryption-customer-key");
    head.headers.push((name, value));
    let name = "x-amz-server-side-encryption-customer-key-md5";
    push(head, name, &md5_base64(key.expose()))
}

pub(super) fn md5_base64(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

/// The MD5 of a body, and one checksum: S3 takes no more.
pub(super) fn push_checksums(head: &mut UpstreamHead, declared: &[Checksum]) -> Result<()> {
    let of = |kind| declared.iter().find(|checksum| checksum.kind() == kind);
    if let Some(md5) = of(ChecksumKind::Md5) {
        push(head, "content-md5", &md5.base64())?;
    }
    let known = CHECKSUMS.iter();
    let first = known.filter_map(|(kind, name, ..)| Some((*name, of(*kind)?)));
    match first.take(1).next() {
        Some((name, checksum)) => push(head, name, &checksum.base64()),
        None => Ok(()),
    }
}

pub(super) fn push_upload_checksum(head: &mut UpstreamHead, of: UploadChecksum) -> Result<()> {
    let known = CHECKSUMS.iter().find(|(kind, ..)| *kind == of.kind);
    let (_, _, word, _) = known.ok_or_else(unsaid)?;
    push(head, "x-amz-checksum-algorithm", word)?;
    let over = match of.over {
        ChecksumOver::Object => "FULL_OBJECT",
        ChecksumOver::Parts => "COMPOSITE",
    };
    push(head, CHECKSUM_TYPE, over)
}

/// The parts that make an object.
pub(super) fn parts(parts: &[CompletedPart]) -> Bytes {
    let mut out = wire::document("CompleteMultipartUpload");
    for part in parts {
        out.push_str("<Part>");
        wire::push_element(&mut out, "PartNumber", &part.number.to_string());
        wire::push_element(&mut out, "ETag", &part.etag.quoted());
        let checksum = part.checksum.as_ref();
        let known = checksum.and_then(|checksum| {
            let mut known = CHECKSUMS.iter();
            let (.., element) = known.find(|(kind, ..)| *kind == checksum.kind())?;
            Some((element, checksum.base64()))
        });
        if let Some((element, value)) = known {
            wire::push_element(&mut out, element, &value);
        }
        out.push_str("</Part>");
    }
    out.push_str("</CompleteMultipartUpload>");
    out.into()
}

pub(super) fn push_read_conditions(
    head: &mut UpstreamHead,
    conditions: &Preconditions,
) -> Result<()> {
    if conditions.if_stored_at.is_some() || conditions.if_size.is_some() {
        return Err(Error::internal("a condition that was not pinned"));
    }
    let since = [
        ("if-modified-since", conditions.if_modified_since),
        ("if-unmodified-since", conditions.if_unmodified_since),
    ];
    for (name, at) in since {
        if let Some(at) = at {
            push(head, name, &date::http(at))?;
        }
    }
    push_tag_conditions(head, conditions)
}

/// A write has conditions on its `ETag` alone.
pub(super) fn push_write_conditions(
    head: &mut UpstreamHead,
    conditions: &Preconditions,
) -> Result<()> {
    if conditions.if_stored_at.is_some() || conditions.if_size.is_some() {
        return Err(Error::internal("a condition that was not pinned"));
    }
    if conditions.if_modified_since.is_some() || conditions.if_unmodified_since.is_some() {
        return Err(unsaid());
    }
    push_tag_conditions(head, conditions)
}

fn push_tag_conditions(head: &mut UpstreamHead, conditions: &Preconditions) -> Result<()> {
    let text = |tags: &Option<TagMatch>| tags.as_ref().map(TagMatch::header);
    let (mut if_match, mut if_none_match) =
        (text(&conditions.if_match), text(&conditions.if_none_match));
    match &conditions.pin {
        None => {}
        // Stands for every other: it is what they were found to hold for.
        Some(Pin::Is(revision)) => if_match = Some(revision.0.to_string()),
        Some(Pin::Absent) => if_none_match = Some("*".to_owned()),
    }
    for (name, value) in [("if-match", if_match), ("if-none-match", if_none_match)] {
        if let Some(value) = value {
            push(head, name, &value)?;
        }
    }
    Ok(())
}

// === Read ===

/// What an answer tells of an object.
pub(super) fn object(headers: &HeaderMap) -> Result<ObjectHead> {
    let (size, span) = object_size(headers)?;
    let at = text(headers, LAST_MODIFIED.as_str()).and_then(date::parse_http);
    let at = at.ok_or_else(|| broken("an object without a date"))?;
    if headers.contains_key("x-amz-missing-meta") {
        return Err(Error::unsupported(
            "The object has metadata that cannot be read as headers.",
        ));
    }
    let mut meta = ObjectMeta::new(size, etag(headers)?, at);
    let header = |name: HeaderName| headers.get(name).cloned();
    meta.content = ContentHeaders {
        cache_control: header(CACHE_CONTROL),
        disposition: header(CONTENT_DISPOSITION),
        encoding: body::content_encoding(headers, false)?,
        language: header(CONTENT_LANGUAGE),
        media_type: header(CONTENT_TYPE),
        expires: header(EXPIRES),
    };
    meta.user = user(headers)?;
    meta.class = match text(headers, CLASS) {
        None => Some(StorageClass::Hot),
        Some(name) => stored_class(name),
    };
    if span.is_none() {
        meta.checksums = checksums(headers);
    }
    meta.encrypted_by_customer = headers.contains_key(CUSTOMER_ALGORITHM);
    meta.version = version(headers);
    meta.revision = revision(headers);
    let tags = text(headers, "x-amz-tagging-count").and_then(|count| count.parse().ok());
    meta.tag_count = tags.unwrap_or(0);
    let restoring = text(headers, "x-amz-restore")
        .is_some_and(|state| state.contains("ongoing-request=\"true\""));
    meta.restore = restoring.then_some(Restore::Underway);
    meta.redirect = headers.get(REDIRECT).cloned();
    Ok(ObjectHead { meta, span })
}

pub(super) fn etag(headers: &HeaderMap) -> Result<EntityTag> {
    let tag = text(headers, ETAG.as_str()).and_then(EntityTag::parse);
    tag.ok_or_else(|| broken("an object without an ETag"))
}

/// A strong `ETag`, as a condition writes it. A weak one tells no two states of an object apart.
pub(super) fn revision(headers: &HeaderMap) -> Option<Revision> {
    let tag = text(headers, ETAG.as_str())?.trim();
    let quoted = tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"');
    quoted.then(|| Revision(tag.into()))
}

pub(super) fn version(headers: &HeaderMap) -> Option<VersionId> {
    text(headers, VERSION_ID).map(|id| VersionId(id.into()))
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(super) fn is_encrypted_by_customer(headers: &HeaderMap) -> bool {
    headers.contains_key(CUSTOMER_ALGORITHM)
}

/// When the answer was given.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    date::parse_http(text(headers, http::header::DATE.as_str())?)
}

fn user(headers: &HeaderMap) -> Result<UserMetadata> {
    let mut user = UserMetadata::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(names::X_AMZ_META) else {
            continue;
        };
        let text = String::from_utf8_lossy(value.as_bytes());
        user.insert(name, &decode_metadata(&text)).map_err(broken)?;
    }
    Ok(user)
}

/// The checksums that the store tells, and the MD5 where its `ETag` is one.
pub(super) fn checksums(headers: &HeaderMap) -> Vec<StoredChecksum> {
    let composite = text(headers, CHECKSUM_TYPE).is_some_and(|kind| kind == "COMPOSITE");
    let told = CHECKSUMS.iter().filter_map(|(kind, name, ..)| {
        let told = text(headers, name)?;
        let (value, extent) = match told.split_once('-') {
            Some((value, parts)) => (value, Extent::Parts(parts.parse().ok()?)),
            None if composite => return None,
            None => (told, Extent::Whole),
        };
        let checksum = Checksum::parse_base64(*kind, value)?;
        Some(StoredChecksum { checksum, extent })
    });
    told.chain(md5(headers)).collect()
}

fn md5(headers: &HeaderMap) -> Option<StoredChecksum> {
    let md5 = copy::md5_of(headers)?;
    Some(StoredChecksum {
        checksum: Checksum::new(ChecksumKind::Md5, &md5)?,
        extent: Extent::Whole,
    })
}
