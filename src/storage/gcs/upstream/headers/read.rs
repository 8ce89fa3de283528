//! What an answer's headers tell of an object.

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::{CRC32C, KEPT};
use crate::error::Result;
use crate::message::date;
use crate::message::escape::{self, Plus};
pub(in crate::storage::gcs::upstream) use crate::storage::codec::broken;
use crate::storage::codec::object_size;
use crate::storage::gcs::names;
use crate::storage::object::{
    Checksum, ChecksumKind, ContentHeaders, ETag, Extent, ObjectMeta, RESERVED_METADATA, Revision,
    StoredChecksum, Tags, UserMetadata, VersionId, parts,
};
use crate::storage::reply::ObjectHead;

fn read_tags(text: &str) -> Result<Tags> {
    let decode = |text: &str| {
        let bytes = escape::decode(text.as_bytes(), Plus::Literal).ok()?;
        String::from_utf8(bytes.into_owned()).ok()
    };
    let mut tags = Tags::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (decode(key), decode(value)) else {
            return Err(broken("tags that cannot be read"));
        };
        tags.insert(&key, &value)?;
    }
    Ok(tags)
}

/// What an answer tells of an object. `versioned`: the client asked for a version by its name.
pub(in crate::storage::gcs::upstream) fn object(
    headers: &HeaderMap,
    versioned: bool,
) -> Result<ObjectHead> {
    let (size, span) = object_size(headers)?;
    let mut meta = ObjectMeta::new(size, etag(headers)?, last_modified(headers)?);
    let header = |name: HeaderName| headers.get(name).cloned();
    meta.content = ContentHeaders {
        cache_control: header(CACHE_CONTROL),
        disposition: header(CONTENT_DISPOSITION),
        encoding: header(CONTENT_ENCODING),
        language: header(CONTENT_LANGUAGE),
        media_type: header(CONTENT_TYPE),
        expires: metadata(headers, names::EXPIRES).cloned(),
    };
    meta.user = user(headers)?;
    meta.redirect = metadata(headers, names::REDIRECT).cloned();
    let own = |name| metadata(headers, name).and_then(|value| value.to_str().ok());
    meta.upload = own(names::UPLOAD).map(Box::from);
    let parts = own(names::PARTS).and_then(|text| parts::read(text, size));
    meta.part_sizes = parts.unwrap_or_default();
    meta.class = text(headers, names::STORAGE_CLASS).and_then(names::class);
    meta.checksums = checksums(headers);
    meta.encrypted_by_customer = headers.contains_key(names::ENCRYPTION_KEY_SHA256);
    let generation = text(headers, names::GENERATION);
    meta.revision = revision(headers);
    meta.version = generation
        .filter(|_| versioned)
        .map(|generation| VersionId(generation.into()));
    let tags = match metadata(headers, names::TAGS).and_then(|tags| tags.to_str().ok()) {
        Some(tags) => read_tags(tags)?,
        None => Tags::default(),
    };
    meta.tag_count = tags.iter().len();
    meta.tags = Some(tags);
    Ok(ObjectHead { meta, span })
}

pub(in crate::storage::gcs::upstream) fn etag(headers: &HeaderMap) -> Result<ETag> {
    let tag = headers
        .get(ETAG)
        .and_then(|tag| ETag::parse(tag.to_str().ok()?));
    tag.ok_or_else(|| broken("an object without an ETag"))
}

pub(in crate::storage::gcs::upstream) fn last_modified(headers: &HeaderMap) -> Result<Timestamp> {
    let at = headers.get(LAST_MODIFIED);
    let at = at.and_then(|at| date::parse_http(at.to_str().ok()?));
    at.ok_or_else(|| broken("an object without a date"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn metadata<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    headers.get([names::META, name].concat())
}

/// The client's metadata: without ours, and without what no header of a client's could have said.
fn user(headers: &HeaderMap) -> Result<UserMetadata> {
    let mut user = UserMetadata::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(names::META) else {
            continue;
        };
        if name.starts_with(RESERVED_METADATA) {
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        user.insert(name, &text).map_err(broken)?;
    }
    Ok(user)
}

/// The checksums of the whole object, the client's own first.
fn checksums(headers: &HeaderMap) -> Vec<StoredChecksum> {
    let kept =
        metadata(headers, names::CHECKSUM).and_then(|kept| kept_checksum(kept.to_str().ok()?));
    let told = told(headers).into_iter().map(|checksum| StoredChecksum {
        checksum,
        extent: Extent::Whole,
    });
    kept.into_iter().chain(told).collect()
}

fn kept_checksum(text: &str) -> Option<StoredChecksum> {
    let (name, value) = text.split_once(':')?;
    let mut known = KEPT.iter();
    let kind = match known.find(|(_, known)| *known == name) {
        Some((kind, _)) => *kind,
        None if name == CRC32C => ChecksumKind::Crc32c,
        None => return None,
    };
    let (value, extent) = match value.split_once('-') {
        Some((value, parts)) => (value, Extent::Parts(parts.parse().ok()?)),
        None => (value, Extent::Whole),
    };
    let checksum = Checksum::parse_base64(kind, value)?;
    Some(StoredChecksum { checksum, extent })
}

/// The digests that GCS took itself.
pub(in crate::storage::gcs::upstream) fn told(headers: &HeaderMap) -> Vec<Checksum> {
    let kinds = [
        ("crc32c=", ChecksumKind::Crc32c),
        ("md5=", ChecksumKind::Md5),
    ];
    let found = kinds.into_iter().filter_map(|(name, kind)| {
        let mut told = headers
            .get_all(names::HASH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let value = told.find_map(|told| told.trim().strip_prefix(name))?;
        Checksum::parse_base64(kind, value)
    });
    found.collect()
}

/// An object's generation is its mark: no two states of it have the same.
pub(in crate::storage::gcs::upstream) fn revision(headers: &HeaderMap) -> Option<Revision> {
    text(headers, names::GENERATION).map(|generation| Revision(generation.into()))
}
