//! What an answer's headers tell of an object.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use md5::{Digest, Md5};

use super::metadata;
use crate::error::{Error, Kind, Result};
use crate::message::date;
use crate::storage::azure::{names, wire};
use crate::storage::codec::{content_range, object_size};
use crate::storage::condition::Span;
use crate::storage::object::{
    Checksum, ChecksumKind, ContentHeaders, ETag as EntityTag, Extent, ObjectMeta, Restore,
    Revision, StoredChecksum,
};
use crate::storage::reply::ObjectHead;

pub(super) use crate::storage::azure::wire::broken;

/// Longest list of part sizes that is believed.
const PARTS_MAX: usize = 50_000;

/// What an answer tells of an object.
pub(in crate::storage::azure::upstream) fn object(headers: &HeaderMap) -> Result<ObjectHead> {
    let (size, span) = size(headers)?;
    let revision = revision(headers).ok_or_else(|| broken("an object without an ETag"))?;
    let at = stored_at(headers).ok_or_else(|| broken("an object without a date"))?;
    // Beside a range, the digest of that name would be the range's.
    let md5 = match span {
        Some(_) => text(headers, names::BLOB_CONTENT_MD5),
        None => text(headers, "content-md5"),
    };
    let md5 = md5.and_then(wire::md5);
    let kept = metadata::own(headers, names::ETAG);
    let etag = etag_of(kept.as_deref(), md5, &revision);
    let mut meta = ObjectMeta::new(size, etag, at);
    let header = |name: HeaderName| headers.get(name).cloned();
    let own = |name: &str| {
        let value = metadata::own(headers, name)?;
        HeaderValue::from_bytes(value.as_bytes()).ok()
    };
    meta.content = ContentHeaders {
        cache_control: header(CACHE_CONTROL),
        disposition: header(CONTENT_DISPOSITION),
        encoding: header(CONTENT_ENCODING),
        language: header(CONTENT_LANGUAGE),
        media_type: header(CONTENT_TYPE),
        expires: own(names::EXPIRES),
    };
    meta.redirect = own(names::REDIRECT);
    meta.user = metadata::user(headers)?;
    meta.class = text(headers, names::ACCESS_TIER).and_then(names::class);
    let restoring = text(headers, names::ARCHIVE_STATUS)
        .is_some_and(|status| status.starts_with("rehydrate-pending"));
    meta.restore = restoring.then_some(Restore::Underway);
    meta.checksums = checksums(headers);
    meta.encrypted_by_customer = headers.contains_key(names::ENCRYPTION_KEY_SHA256);
    meta.revision = Some(revision);
    let parts = metadata::own(headers, names::PARTS);
    meta.part_sizes = parts
        .and_then(|parts| part_sizes(&parts, size))
        .unwrap_or_default();
    meta.upload = metadata::own(headers, names::UPLOAD).map(Box::from);
    let tags = text(headers, names::TAG_COUNT).and_then(|count| count.parse().ok());
    meta.tag_count = tags.unwrap_or(0);
    Ok(ObjectHead { meta, span })
}

/// The ETag that clients know: the one that we keep, or the MD5 of the bytes. That of a blob of which neither is known
/// is made of the store's own mark, and ends so that no client takes it for an MD5.
pub(in crate::storage::azure::upstream) fn etag_of(
    kept: Option<&str>,
    md5: Option<[u8; 16]>,
    revision: &Revision,
) -> EntityTag {
    if let Some(kept) = kept.and_then(EntityTag::parse) {
        return kept;
    }
    if let Some(md5) = md5 {
        return EntityTag::of_md5(md5);
    }
    let mark = revision.0.trim_matches('"');
    EntityTag::of_parts(Md5::digest(mark).into(), 1)
}

/// The object's size, and which of its bytes follow where they are not all.
fn size(headers: &HeaderMap) -> Result<(u64, Option<Span>)> {
    if let Some((span, size)) = content_range(headers)
        && span.first >= size
    {
        // Azurite answers so where the service says 416.
        let message = "The requested range is not satisfiable";
        return Err(Error::new(Kind::InvalidRange, message));
    }
    object_size(headers)
}

/// The store's mark of one state of an object, as a condition writes it.
pub(in crate::storage::azure::upstream) fn revision(headers: &HeaderMap) -> Option<Revision> {
    let tag = headers.get(ETAG)?.to_str().ok()?.trim();
    (!tag.is_empty()).then(|| Revision(tag.into()))
}

pub(in crate::storage::azure::upstream) fn stored_at(headers: &HeaderMap) -> Option<Timestamp> {
    date::parse_http(headers.get(LAST_MODIFIED)?.to_str().ok()?)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Sizes of parts, if they make up the object: whoever changed its bytes need not have known of our entry.
fn part_sizes(text: &str, size: u64) -> Option<Vec<u64>> {
    let mut sizes = Vec::new();
    for run in text.split(',') {
        let (one, count) = run.split_once('*').unwrap_or((run, "1"));
        let (one, count): (u64, usize) = (one.parse().ok()?, count.parse().ok()?);
        if count > PARTS_MAX - sizes.len() {
            return None;
        }
        sizes.extend(std::iter::repeat_n(one, count));
    }
    let sum = sizes
        .iter()
        .try_fold(0u64, |sum, one| sum.checked_add(*one));
    (sum == Some(size)).then_some(sizes)
}

/// The checksum that was kept for the client.
fn checksums(headers: &HeaderMap) -> Vec<StoredChecksum> {
    let kept = metadata::own(headers, names::CHECKSUM);
    kept.as_deref()
        .and_then(kept_checksum)
        .into_iter()
        .collect()
}

fn kept_checksum(text: &str) -> Option<StoredChecksum> {
    let (name, value) = text.split_once(':')?;
    let (kind, _) = names::KEPT.iter().find(|(_, known)| *known == name)?;
    let (value, extent) = match value.split_once('-') {
        Some((value, parts)) => (value, Extent::Parts(parts.parse().ok()?)),
        None => (value, Extent::Whole),
    };
    let checksum = Checksum::parse_base64(*kind, value)?;
    Some(StoredChecksum { checksum, extent })
}

/// The digests that Azure took itself of what was sent.
pub(in crate::storage::azure::upstream) fn told(headers: &HeaderMap) -> Vec<Checksum> {
    let md5 = text(headers, "content-md5")
        .and_then(|value| Checksum::parse_base64(ChecksumKind::Md5, value));
    let crc64 = text(headers, names::CONTENT_CRC64).and_then(|value| {
        let mut value = STANDARD.decode(value).ok()?;
        value.reverse();
        Checksum::new(ChecksumKind::Crc64Nvme, &value)
    });
    md5.into_iter().chain(crc64).collect()
}
