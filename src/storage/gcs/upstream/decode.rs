//! Answers of the XML API as replies.

use http::StatusCode;

use super::encode::{LAST_CHARACTER, TOKEN_BREAK, begins_after};
use super::headers::{self, broken};
use super::{Api, api};
use crate::error::{Error, Result};
use crate::storage::codec::{ReplyHead, Target};
use crate::storage::gcs::{error, names, wire};
use crate::storage::object::{ChecksumKind, Extent, RESERVED_PREFIX, StoredChecksum, VersionId};
use crate::storage::op::{
    Body, CompleteUpload, ListBuckets, ListObjects, Operation, Pieces, Start,
};
use crate::storage::reply::{
    BucketInfo, BucketPage, Copied, Deleted, ListedObject, NotModified, ObjectPage, Reply, Stored,
    UploadPage,
};

pub(super) fn reply(
    op: &Operation,
    target: &Target<'_>,
    head: ReplyHead<'_>,
    document: &[u8],
) -> Result<Reply> {
    if head.status == StatusCode::NOT_MODIFIED {
        return Ok(Reply::NotModified(Box::new(NotModified {
            etag: headers::etag(head.headers).ok(),
            last_modified: headers::last_modified(head.headers).ok(),
        })));
    }
    if wire::is_error(document) {
        // A failure under a 200: it was found when the head had been sent.
        return Err(error::decode(op, head, document));
    }
    let prefix = &*target.bucket.prefix;
    Ok(match op {
        Operation::ListBuckets(list) => {
            Reply::Buckets(buckets(list, api(target.bucket), document)?)
        }
        Operation::HeadBucket => Reply::Bucket(BucketInfo::default()),
        Operation::ListObjects(list) => Reply::Objects(objects(list, prefix, document)?),
        Operation::GetObject(read) | Operation::HeadObject(read) => Reply::Object(Box::new(
            headers::object(head.headers, read.object.version.is_some())?,
        )),
        Operation::PutObject(put) => Reply::Stored(Box::new(stored(head, &put.body)?)),
        Operation::UploadPiece(piece) => Reply::Stored(Box::new(stored(head, &piece.body)?)),
        Operation::CopyObject(_) => Reply::Copied(Box::new(copied(document)?)),
        Operation::DeleteObject(delete) => Reply::Deleted(Deleted {
            version: delete.object.version.clone(),
            is_marker: false,
        }),
        Operation::DeleteObjects(delete) => {
            Reply::DeletedMany(wire::deleted(document, delete, prefix)?)
        }
        Operation::GetTags(_) => {
            let found = headers::object(head.headers, false)?;
            Reply::Tags(found.meta.tags.unwrap_or_default())
        }
        Operation::CreateUpload(_) => Reply::Upload(wire::upload_id(document)?),
        Operation::ListPieces(_) => Reply::Pieces(wire::parts(document)?),
        Operation::ListUploads(_) => Reply::Uploads(uploads(prefix, document)?),
        Operation::CompleteUpload(complete) => {
            Reply::Stored(Box::new(completed(complete, document)?))
        }
        Operation::CreateBucket(_)
        | Operation::DeleteBucket
        | Operation::SetAttributes(_)
        | Operation::PutTags(_)
        | Operation::AbortUpload(_)
        | Operation::NoteUpload(_) => Reply::Done,
        Operation::CopyPiece(_) => return Err(Error::internal("a copy to a part")),
        Operation::Journal(_) => return Err(Error::internal("uploads here need no journal")),
    })
}

/// An upload's answer, with the digests of what GCS has.
fn stored(head: ReplyHead<'_>, body: &Body) -> Result<Stored> {
    let mut stored = Stored::new(headers::etag(head.headers)?);
    stored.told = headers::told(head.headers);
    stored.revision = headers::revision(head.headers);
    let generation = stored.revision.as_ref();
    stored.made = generation.map(|generation| VersionId(generation.0.clone()));
    let declared = body.checksums.iter();
    let declared = declared.filter(|checksum| checksum.kind() != ChecksumKind::Md5);
    stored.checksums = declared
        .map(|checksum| StoredChecksum {
            checksum: checksum.clone(),
            extent: Extent::Whole,
        })
        .collect();
    Ok(stored)
}

fn copied(document: &[u8]) -> Result<Copied> {
    let (etag, at) = wire::copied(document)?;
    let mut stored = Stored::new(etag);
    stored.last_modified = Some(at);
    Ok(Copied {
        stored,
        source_version: None,
    })
}

fn completed(complete: &CompleteUpload, document: &[u8]) -> Result<Stored> {
    let mut stored = Stored::new(wire::completed(document)?);
    if let (Some((_, checksum)), Pieces::Parts(parts)) = (&complete.checksum, &complete.pieces) {
        let count = u32::try_from(parts.len()).map_err(broken)?;
        // Judged before it was sent.
        stored.checksums.push(StoredChecksum {
            checksum: checksum.clone(),
            extent: Extent::Parts(count),
        });
    }
    Ok(stored)
}

fn buckets(list: &ListBuckets, api: Api, document: &[u8]) -> Result<BucketPage> {
    if api == Api::Json {
        return wire::bucket_page(document);
    }
    let mut buckets = wire::buckets(document)?;
    if buckets.len() >= names::PAGE_MAX as usize {
        // There may be more, and no way to ask for them.
        return Err(Error::unsupported(
            "The project has more buckets than can be listed with the credential of this store.",
        ));
    }
    buckets.retain(|bucket| bucket.name.starts_with(&*list.prefix));
    Ok(BucketPage {
        buckets,
        next: None,
    })
}

/// A page by the client's names, without what is ours and what the client has had.
fn objects(list: &ListObjects, prefix: &str, document: &[u8]) -> Result<ObjectPage> {
    let listing = wire::objects(document, list.which)?;
    let after = begins_after(&list.start);
    let mut page = ObjectPage::default();
    for entry in listing.entries {
        let Some(key) = shown(prefix, &entry.key)? else {
            continue;
        };
        let early = if let Start::At(at) = &list.start {
            *key < **at
        } else {
            after.is_some_and(|after| *key <= *after)
        };
        if !early {
            page.entries.push(ListedObject { key, ..entry });
        }
    }
    for common in listing.prefixes {
        let Some(common) = shown(prefix, &common)? else {
            continue;
        };
        if after != Some(&*common) {
            page.prefixes.push(common);
        }
    }
    if let Some(wire::Next::Marker(key, version)) = &listing.next {
        // The store's last; within a key, its versions are shown the other way round.
        let version = version.clone().map(VersionId);
        page.resume = shown(prefix, key)?.map(|key| (key, version));
    }
    page.next = listing.next.map(|next| match next {
        wire::Next::Token(token) => token,
        wire::Next::Marker(key, version) => match version {
            Some(version) => format!("{key}{TOKEN_BREAK}{version}").into(),
            // A common prefix was the last: all under it was shown.
            None => format!("{key}{LAST_CHARACTER}").into(),
        },
    });
    Ok(page)
}

/// A name as the client knows it; `None` where it is ours.
fn shown(prefix: &str, name: &str) -> Result<Option<Box<str>>> {
    let name = name.strip_prefix(prefix);
    let name = name.ok_or_else(|| broken("a name outside the bucket's prefix"))?;
    Ok((!name.starts_with(RESERVED_PREFIX)).then(|| name.into()))
}

fn uploads(prefix: &str, document: &[u8]) -> Result<UploadPage> {
    let found = wire::uploads(document)?;
    let mut page = UploadPage::default();
    for mut upload in found.uploads {
        if let Some(key) = shown(prefix, &upload.key)? {
            upload.key = key;
            page.uploads.push(upload);
        }
    }
    for common in &found.prefixes {
        page.prefixes.extend(shown(prefix, common)?);
    }
    if let Some((key, id)) = found.next {
        let key = key.strip_prefix(prefix).map(Box::from);
        let key = key.ok_or_else(|| broken("a marker outside the bucket's prefix"))?;
        page.next = Some((key, id));
    }
    Ok(page)
}
