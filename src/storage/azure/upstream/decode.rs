//! Answers as replies.

use http::{HeaderMap, StatusCode};
use md5::{Digest, Md5};

use super::headers;
use super::listing::Begin;
use super::{blocks, copy};
use crate::error::{Error, Result};
use crate::message::date;
use crate::storage::azure::{names, wire};
use crate::storage::codec::{ReplyHead, Target};
use crate::storage::object::{
    Checksum, ChecksumKind, ETag, Extent, Observed, RESERVED_PREFIX, StoredChecksum, VersionId,
};
use crate::storage::op::{
    Body, CompleteUpload, CopyObject, DeleteObject, ListObjects, Operation, Which,
};
use crate::storage::reply::{
    BucketInfo, Copied, Deleted, ListedObject, ListedState, NotModified, ObjectPage, Reply, Stored,
};
use wire::broken;

pub(super) fn reply(
    op: &Operation,
    target: &Target<'_>,
    head: ReplyHead<'_>,
    document: &[u8],
    observed: &Observed,
) -> Result<Reply> {
    let headers = head.headers;
    if head.status == StatusCode::NOT_MODIFIED {
        return Ok(Reply::NotModified(Box::new(NotModified {
            etag: None,
            last_modified: headers::stored_at(headers),
        })));
    }
    let prefix = &*target.bucket.prefix;
    Ok(match op {
        Operation::ListBuckets(_) => Reply::Buckets(wire::containers(document)?),
        Operation::HeadBucket => Reply::Bucket(BucketInfo::default()),
        Operation::ListObjects(list) => Reply::Objects(objects(list, prefix, document)?),
        Operation::GetObject(_) | Operation::HeadObject(_) => {
            Reply::Object(Box::new(headers::object(headers)?))
        }
        Operation::PutObject(put) => Reply::Stored(Box::new(stored(headers, &put.body, observed)?)),
        Operation::UploadPiece(piece) => {
            Reply::Stored(Box::new(staged(headers, &piece.body, observed)))
        }
        Operation::CopyObject(copy) => Reply::Copied(Box::new(copied(copy, headers)?)),
        Operation::CopyPiece(_) => Reply::Copied(Box::new(Copied {
            stored: copied_piece(headers)?,
            source_version: None,
        })),
        Operation::DeleteObject(delete) => Reply::Deleted(deleted(delete)),
        Operation::GetTags(_) => Reply::Tags(wire::tags(document)?),
        Operation::CompleteUpload(complete) => {
            Reply::Stored(Box::new(completed(complete, headers)?))
        }
        Operation::Journal(journal) => super::journal::reply(journal, document)?,
        Operation::CreateBucket(_) | Operation::DeleteBucket | Operation::PutTags(_) => Reply::Done,
        Operation::SetAttributes(_)
        | Operation::DeleteObjects(_)
        | Operation::CreateUpload(_)
        | Operation::ListPieces(_)
        | Operation::ListUploads(_)
        | Operation::AbortUpload(_)
        | Operation::NoteUpload(_) => {
            return Err(Error::internal("an answer to what is never asked"));
        }
    })
}

/// An upload's answer, with the digests of what Azure has. Those that both sides know are compared by whoever sent it.
fn stored(headers: &HeaderMap, body: &Body, observed: &Observed) -> Result<Stored> {
    let told = headers::told(headers);
    let md5 = |checksum: &Checksum| <[u8; 16]>::try_from(checksum.value()).ok();
    let of_store = told
        .iter()
        .find(|checksum| checksum.kind() == ChecksumKind::Md5);
    let declared = body.checksum(ChecksumKind::Md5);
    let found = observed.md5.or_else(|| declared.or(of_store).and_then(md5));
    let found = found.ok_or_else(|| broken("an upload whose MD5 nobody knows"))?;
    let mut stored = Stored::new(ETag::of_md5(found));
    stored.told = told;
    stored.revision = headers::revision(headers);
    stored.last_modified = headers::stored_at(headers);
    stored.encrypted_by_customer = headers.contains_key(names::ENCRYPTION_KEY_SHA256);
    let declared = body.checksums.iter();
    let declared = declared.filter(|checksum| checksum.kind() != ChecksumKind::Md5);
    stored.checksums = declared
        .map(|checksum| of_whole(checksum.clone()))
        .collect();
    Ok(stored)
}

fn of_whole(checksum: Checksum) -> StoredChecksum {
    StoredChecksum {
        checksum,
        extent: Extent::Whole,
    }
}

fn copied(copy: &CopyObject, headers: &HeaderMap) -> Result<Copied> {
    let status = headers.get("x-ms-copy-status");
    if status.is_some_and(|status| status != "success") {
        return Err(broken("a copy that was not made at once"));
    }
    let revision = headers::revision(headers).ok_or_else(|| broken("a copy without an ETag"))?;
    let seen = copy::seen(&copy.source)?;
    let etag = copy::known_etag(seen).cloned();
    let mut stored = Stored::new(etag.unwrap_or_else(|| {
        let told = headers::told(headers);
        let md5 = told.iter().find(|told| told.kind() == ChecksumKind::Md5);
        let md5 = md5.and_then(|md5| md5.value().try_into().ok());
        headers::etag_of(None, md5, &revision)
    }));
    stored.revision = Some(revision);
    stored.last_modified = headers::stored_at(headers);
    stored.checksums.clone_from(&seen.checksums);
    Ok(Copied {
        stored,
        source_version: None,
    })
}

/// A block is no object yet: nobody knows it by an ETag.
fn staged(headers: &HeaderMap, body: &Body, observed: &Observed) -> Stored {
    let told = headers::told(headers);
    let declared = body.checksum(ChecksumKind::Md5).map(Checksum::value);
    let of_sent = observed.md5.as_ref().map(|md5| &md5[..]).or(declared);
    let digest = of_sent.or(told.first().map(Checksum::value));
    let mut stored = Stored::new(block_etag(digest.unwrap_or_default()));
    stored.told = told;
    stored
}

/// A block of which the service tells no MD5 is known by its CRC64, as an ETag that no client takes for an MD5.
fn copied_piece(headers: &HeaderMap) -> Result<Stored> {
    let told = headers::told(headers);
    let digest = told.first();
    let digest = digest.ok_or_else(|| broken("a block without a digest"))?;
    let mut stored = Stored::new(block_etag(digest.value()));
    let now = headers.get(http::header::DATE);
    stored.last_modified = now.and_then(|now| date::parse_http(now.to_str().ok()?));
    stored.told = told;
    Ok(stored)
}

fn block_etag(digest: &[u8]) -> ETag {
    match <[u8; 16]>::try_from(digest) {
        Ok(md5) => ETag::of_md5(md5),
        Err(_) => ETag::of_parts(Md5::digest(digest).into(), 1),
    }
}

fn completed(complete: &CompleteUpload, headers: &HeaderMap) -> Result<Stored> {
    let revision = headers::revision(headers);
    let revision = revision.ok_or_else(|| broken("an object without an ETag"))?;
    let made = complete.made.as_ref();
    let etag = made.map(|made| made.etag.clone());
    let mut stored = Stored::new(etag.unwrap_or_else(|| headers::etag_of(None, None, &revision)));
    stored.revision = Some(revision);
    stored.last_modified = headers::stored_at(headers);
    if let Some((of, checksum)) = &complete.checksum {
        stored.checksums.push(StoredChecksum {
            checksum: checksum.clone(),
            extent: blocks::extent(made, of.over),
        });
    }
    Ok(stored)
}

fn deleted(delete: &DeleteObject) -> Deleted {
    Deleted {
        version: delete.object.version.clone(),
        is_marker: false,
    }
}

/// A page by the client's names, without what is ours and what the client has had.
fn objects(list: &ListObjects, prefix: &str, document: &[u8]) -> Result<ObjectPage> {
    let listing = wire::blobs(document, &[names::ETAG])?;
    let begin = Begin::of_page(list);
    let mut page = ObjectPage::default();
    let mut reached = false;
    for entry in listing.entries {
        let Some(key) = shown(prefix, &entry.name)? else {
            continue;
        };
        if begin.shows(&key, false) {
            reached = true;
            page.entries.push(object(key, &entry, list.which));
        }
    }
    for common in &listing.prefixes {
        let Some(common) = shown(prefix, common)? else {
            continue;
        };
        if begin.shows(&common, true) {
            page.prefixes.push(common);
        }
    }
    page.next = listing.next.map(|marker| begin.token(&marker, reached));
    Ok(page)
}

fn object(key: Box<str>, entry: &wire::Entry<1>, which: Which) -> ListedObject {
    let [kept_etag] = &entry.kept;
    ListedObject {
        key,
        state: ListedState::Stored {
            size: entry.size,
            etag: headers::etag_of(kept_etag.as_deref(), entry.md5, &entry.revision),
            class: names::class(&entry.tier),
        },
        last_modified: entry.last_modified,
        version: (which == Which::Versions).then(|| VersionId(VersionId::NULL.into())),
        is_latest: true,
    }
}

/// A name as the client knows it; `None` where it is ours.
fn shown(prefix: &str, name: &str) -> Result<Option<Box<str>>> {
    let name = name.strip_prefix(prefix);
    let name = name.ok_or_else(|| broken("a name outside the bucket's prefix"))?;
    Ok((!name.starts_with(RESERVED_PREFIX)).then(|| name.into()))
}
