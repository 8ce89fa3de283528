//! Copies that the service makes by itself, within one account.
//!
//! The source was looked at: its size decides between the two requests that there are, and what is known of it need not
//! be asked for again. Who may read it is added when the request is signed.

use http::{HeaderName, Method};

use super::blocks;
use super::draft::{self, Draft, check_version};
use super::headers::{self, Kept, push};
use crate::error::{Error, Result};
use crate::policy::route::Bucket;
use crate::storage::azure::names;
use crate::storage::codec::{Target, UpstreamHead, UpstreamRequest};
use crate::storage::condition::{ByteRange, Pin};
use crate::storage::object::{
    Attributes, ContentHeaders, ETag, Encryption, Extent, ObjectMeta, Tags,
};
use crate::storage::op::{CopyObject, CopyPiece, Source};

/// Largest blob that is copied with all that is beside it.
const WHOLE_BYTES_MAX: u64 = 256 << 20;

pub(super) fn object(copy: &CopyObject, target: &Target<'_>) -> Result<UpstreamRequest> {
    let seen = seen(&copy.source)?;
    if copy.checksum.is_some() {
        let message = "The store of this bucket computes no checksum for a copy.";
        return Err(Error::unsupported(message));
    }
    if matches!(copy.encryption, Some(Encryption::Customer(_))) {
        return Err(unsupported_key());
    }
    if seen.size > names::PUT_BYTES_MAX {
        return Err(Error::internal("a copy that was not split"));
    }
    let mut draft = Draft::blob(target.bucket, &copy.key)?;
    let head = &mut draft.head;
    push_source(head, &copy.source, target)?;
    let told = copy.attributes.as_ref();
    if seen.size <= WHOLE_BYTES_MAX && told.is_none_or(|told| keeps_content(told, seen)) {
        push_with_all(head, seen, told)?;
        if let Some(class) = copy.class {
            push(head, names::ACCESS_TIER, names::tier(class))?;
        }
    } else {
        let attributes = Attributes {
            class: copy.class,
            tags: Tags::default(),
            ..told.cloned().unwrap_or_else(|| attributes_of(seen))
        };
        push_anew(head, seen, &attributes)?;
    }
    match &copy.tags {
        // Asked for only where there are some: not all accounts have tags.
        None if seen.tag_count > 0 => push(head, names::COPY_SOURCE_TAGS, "COPY")?,
        None => {}
        Some(tags) => headers::push_tags(head, tags)?,
    }
    headers::push_conditions(head, &copy.conditions)?;
    Ok(draft.empty(Method::PUT))
}

/// Whether a copy with other metadata has the source's own headers, and metadata at all: without any, it would have the
/// source's.
fn keeps_content(told: &Attributes, seen: &ObjectMeta) -> bool {
    let stored = |content: &ContentHeaders| ContentHeaders {
        // Is metadata here.
        expires: None,
        ..content.clone()
    };
    stored(&told.content) == stored(&seen.content) && known_etag(seen).is_some()
}

/// The source with all that is beside it, its metadata excepted where others are told.
fn push_with_all(
    head: &mut UpstreamHead,
    seen: &ObjectMeta,
    told: Option<&Attributes>,
) -> Result<()> {
    push(head, "x-ms-requires-sync", "true")?;
    let Some(told) = told else {
        return Ok(());
    };
    let attributes = Attributes {
        content: ContentHeaders {
            expires: told.content.expires.clone(),
            ..ContentHeaders::default()
        },
        user: told.user.clone(),
        redirect: told.redirect.clone(),
        ..Attributes::default()
    };
    let kept = Kept {
        etag: known_etag(seen).map(|etag| etag.as_str().to_owned()),
        checksum: kept_checksum(seen),
        ..Kept::default()
    };
    headers::push_attributes(head, &attributes, &kept)
}

/// A new blob of the source's bytes, with nothing else of it. Its digests are still those of the same bytes.
fn push_anew(head: &mut UpstreamHead, seen: &ObjectMeta, attributes: &Attributes) -> Result<()> {
    push(head, names::BLOB_TYPE, "BlockBlob")?;
    push(head, names::COPY_SOURCE_PROPERTIES, "false")?;
    let mut kept = Kept::default();
    if let Some(etag) = known_etag(seen) {
        match etag.md5() {
            Some(md5) => push(head, names::BLOB_CONTENT_MD5, &headers::base64(&md5))?,
            None => kept.etag = Some(etag.as_str().to_owned()),
        }
    }
    kept.checksum = kept_checksum(seen);
    headers::push_attributes(head, attributes, &kept)
}

fn kept_checksum(seen: &ObjectMeta) -> Option<String> {
    let stored = seen.checksums.first()?;
    let parts = match stored.extent {
        Extent::Whole => None,
        Extent::Parts(parts) => Some(usize::try_from(parts).ok()?),
    };
    headers::kept_text(&stored.checksum, parts)
}

fn attributes_of(seen: &ObjectMeta) -> Attributes {
    Attributes {
        content: seen.content.clone(),
        user: seen.user.clone(),
        redirect: seen.redirect.clone(),
        ..Attributes::default()
    }
}

pub(super) fn piece(piece: &CopyPiece, target: &Target<'_>) -> Result<UpstreamRequest> {
    if piece.customer_key.is_some() {
        return Err(unsupported_key());
    }
    let mut draft = blocks::block(&piece.upload, &piece.piece, target.bucket)?;
    let head = &mut draft.head;
    push_source(head, &piece.source, target)?;
    match piece.range {
        None => {}
        Some(range @ (ByteRange::Span { .. } | ByteRange::From(_))) => {
            push(head, names::SOURCE_RANGE, &range.header())?;
        }
        Some(ByteRange::Last(_)) => {
            return Err(Error::internal("a range that was not resolved"));
        }
    }
    Ok(draft.empty(Method::PUT))
}

fn push_source(head: &mut UpstreamHead, source: &Source, target: &Target<'_>) -> Result<()> {
    let from = target.source;
    let from = from.ok_or_else(|| Error::internal("a copy without its source's bucket"))?;
    if !one_account(from, target.bucket) {
        return Err(Error::internal("a copy between two accounts"));
    }
    if source.customer_key.is_some() {
        return Err(unsupported_key());
    }
    check_version(source.object.version.as_ref())?;
    let url = draft::url(from, &source.object.key)?;
    head.headers
        .push((HeaderName::from_static(names::COPY_SOURCE), url));
    if source.conditions.is_empty() {
        return Ok(());
    }
    match headers::pin(&source.conditions)? {
        Pin::Is(revision) => push(head, names::SOURCE_IF_MATCH, &revision.0),
        Pin::Absent => Err(Error::internal("a copy of nothing")),
    }
}

/// One credential reads the source and writes the copy.
fn one_account(one: &Bucket, other: &Bucket) -> bool {
    let account = |bucket: &Bucket| bucket.resource.azure().map(|azure| azure.account.clone());
    let (one_account, other_account) = (account(one), account(other));
    one_account.is_some()
        && one_account == other_account
        && one.resource.origin.authority == other.resource.origin.authority
}

pub(super) fn seen(source: &Source) -> Result<&ObjectMeta> {
    let seen = source.seen.as_deref();
    seen.ok_or_else(|| Error::internal("a copy whose source was not looked at"))
}

/// The source's ETag, if it is one of its bytes and not of the store's mark alone.
pub(super) fn known_etag(seen: &ObjectMeta) -> Option<&ETag> {
    let of_mark = seen.revision.as_ref();
    let of_mark = of_mark.map(|revision| headers::etag_of(None, None, revision));
    (of_mark.as_ref() != Some(&seen.etag)).then_some(&seen.etag)
}

fn unsupported_key() -> Error {
    Error::unsupported(
        "A copy of an object that is encrypted with a key of its own is not implemented here.",
    )
}
