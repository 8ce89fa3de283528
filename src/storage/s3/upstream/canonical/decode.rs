//! Answers as replies.

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};

use super::headers::{self, broken};
use crate::error::{Error, Result};
use crate::storage::codec::ReplyHead;
use crate::storage::object::{ETag, Extent, Tags};
use crate::storage::op::{DeleteObject, Operation};
use crate::storage::reply::{Deleted, NotModified, Reply, Stored};
use crate::storage::s3::wire::{self, Part};

pub(super) fn reply(op: &Operation, head: ReplyHead<'_>, document: &[u8]) -> Result<Reply> {
    let headers = head.headers;
    if head.status == StatusCode::NOT_MODIFIED {
        return Ok(Reply::NotModified(Box::new(NotModified {
            etag: headers::etag(headers).ok(),
            last_modified: None,
        })));
    }
    Ok(match op {
        Operation::GetObject(_) | Operation::HeadObject(_) => {
            Reply::Object(Box::new(headers::object(headers)?))
        }
        Operation::PutObject(_) | Operation::UploadPiece(_) => {
            Reply::Stored(Box::new(stored(headers)?))
        }
        Operation::DeleteObject(delete) => Reply::Deleted(deleted(delete, headers)),
        Operation::GetTags(_) => Reply::Tags(tags(document)?),
        Operation::CreateUpload(_) => {
            let id = element(document, "InitiateMultipartUploadResult", "UploadId")?;
            Reply::Upload(id.into())
        }
        Operation::CompleteUpload(_) => {
            let etag = element(document, "CompleteMultipartUploadResult", "ETag")?;
            let etag = ETag::parse(&etag).ok_or_else(|| broken("an object without an ETag"))?;
            let mut stored = Stored::new(etag);
            stored.version = headers::version(headers);
            Reply::Stored(Box::new(stored))
        }
        Operation::PutTags(_) | Operation::AbortUpload(_) => Reply::Done,
        Operation::ListBuckets(_)
        | Operation::HeadBucket
        | Operation::CreateBucket(_)
        | Operation::DeleteBucket
        | Operation::ListObjects(_)
        | Operation::CopyObject(_)
        | Operation::SetAttributes(_)
        | Operation::DeleteObjects(_)
        | Operation::CopyPiece(_)
        | Operation::ListPieces(_)
        | Operation::ListUploads(_)
        | Operation::NoteUpload(_)
        | Operation::Journal(_) => {
            return Err(Error::internal("an answer to what is never asked"));
        }
    })
}

fn stored(headers: &HeaderMap) -> Result<Stored> {
    let mut stored = Stored::new(headers::etag(headers)?);
    stored.version = headers::version(headers);
    stored.made.clone_from(&stored.version);
    stored.checksums = headers::checksums(headers);
    let whole = stored.checksums.iter();
    let whole = whole.filter(|told| told.extent == Extent::Whole);
    stored.told = whole.map(|told| told.checksum.clone()).collect();
    stored.last_modified = headers::date(headers);
    stored.encrypted_by_customer = headers::is_encrypted_by_customer(headers);
    stored.revision = headers::revision(headers);
    Ok(stored)
}

fn deleted(delete: &DeleteObject, headers: &HeaderMap) -> Deleted {
    let version = headers::version(headers);
    Deleted {
        version: version.or_else(|| delete.object.version.clone()),
        is_marker: headers::text(headers, "x-amz-delete-marker").is_some_and(|is| is == "true"),
    }
}

fn tags(document: &[u8]) -> Result<Tags> {
    let mut tags = Tags::default();
    let mut key = Cow::default();
    walk(document, "Tagging", |node| {
        match (node.path, node.part) {
            (["Tagging", "TagSet", "Tag", "Key"], Part::Close(text)) => key = text,
            (["Tagging", "TagSet", "Tag", "Value"], Part::Close(text)) => {
                tags.insert(&key, &text)?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(tags)
}

/// The text of an element below the root.
fn element(document: &[u8], root: &str, name: &str) -> Result<String> {
    let mut found = String::new();
    walk(document, root, |node| {
        if node.path == [root, name]
            && let Part::Close(text) = node.part
        {
            found = text.into_owned();
        }
        Ok(())
    })?;
    if found.is_empty() {
        return Err(broken(format_args!("no {name}")));
    }
    Ok(found)
}

/// Reads a document of the store's, which must have this root.
fn walk<'a>(
    document: &'a [u8],
    root: &str,
    mut visit: impl FnMut(crate::message::xml::Node<'_, 'a>) -> Result<()>,
) -> Result<()> {
    let text = std::str::from_utf8(document).map_err(broken)?;
    let mut found = false;
    wire::walk(text.trim_start(), |node| {
        found |= node.path == [root];
        visit(node)
    })
    .map_err(broken)?;
    if found {
        Ok(())
    } else {
        Err(broken("another document"))
    }
}
