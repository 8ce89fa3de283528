//! Documents of the protocol: written for GCS, and read from it. XML, but for what its JSON API alone can do.

mod json;
mod listing;

use bytes::Bytes;
use jiff::Timestamp;

pub(super) use json::bucket_page;
pub(super) use listing::{Next, buckets, objects, parts, uploads};

use super::error;
use crate::error::Result;
use crate::message::xml::{self, Node, Part};
use crate::storage::codec::broken;
use crate::storage::object::{ETag, VersionId};
use crate::storage::op::{CompletedPart, DeleteObjects};
use crate::storage::reply::{Deleted, DeletedEntry};

/// Where a bucket is to be made.
pub(super) fn location(location: &str) -> Bytes {
    let mut out = String::from("<CreateBucketConfiguration>");
    xml::push_element(&mut out, "LocationConstraint", location);
    out.push_str("</CreateBucketConfiguration>");
    out.into()
}

/// A batch delete, each key under the bucket's prefix. What became of each is to be told.
pub(super) fn delete(delete: &DeleteObjects, prefix: &str) -> Bytes {
    let mut out = String::from("<Delete><Quiet>false</Quiet>");
    for entry in &delete.entries {
        out.push_str("<Object><Key>");
        xml::push_text(&mut out, prefix);
        xml::push_text(&mut out, &entry.object.key);
        out.push_str("</Key>");
        let version = entry.object.version.as_ref();
        if let Some(version) = version.filter(|version| !version.is_null()) {
            xml::push_element(&mut out, "VersionId", &version.0);
        }
        out.push_str("</Object>");
    }
    out.push_str("</Delete>");
    out.into()
}

/// The parts that make the object.
pub(super) fn complete(parts: &[CompletedPart]) -> Bytes {
    let mut out = String::from("<CompleteMultipartUpload>");
    for part in parts {
        out.push_str("<Part>");
        xml::push_element(&mut out, "PartNumber", &part.number.to_string());
        xml::push_element(&mut out, "ETag", &part.etag.quoted());
        out.push_str("</Part>");
    }
    out.push_str("</CompleteMultipartUpload>");
    out.into()
}

/// Reads a document of the store's, which must have this root.
fn read<'a>(
    document: &'a [u8],
    root: &str,
    mut visit: impl FnMut(Node<'_, 'a>) -> Result<()>,
) -> Result<()> {
    let text = std::str::from_utf8(document).map_err(broken)?;
    let mut found = false;
    xml::walk(text.trim_start(), |node| {
        if node.path.len() == 1 {
            found |= node.path == [root];
        }
        visit(node)
    })
    .map_err(broken)?;
    if found {
        Ok(())
    } else {
        Err(broken("another document"))
    }
}

pub(super) fn is_error(document: &[u8]) -> bool {
    let start = document.get(..document.len().min(256)).unwrap_or_default();
    memchr::memmem::find(start, b"<Error>").is_some()
        && memchr::memmem::find(start, b"Result").is_none()
}

pub(super) fn upload_id(document: &[u8]) -> Result<Box<str>> {
    let mut id = String::new();
    read(document, "InitiateMultipartUploadResult", |node| {
        if let (["InitiateMultipartUploadResult", "UploadId"], Part::Close(text)) =
            (node.path, node.part)
        {
            id = text.into_owned();
        }
        Ok(())
    })?;
    if id.is_empty() {
        return Err(broken("an upload without an id"));
    }
    Ok(id.into())
}

pub(super) fn completed(document: &[u8]) -> Result<ETag> {
    let mut etag = None;
    read(document, "CompleteMultipartUploadResult", |node| {
        if let (["CompleteMultipartUploadResult", "ETag"], Part::Close(text)) =
            (node.path, node.part)
        {
            etag = ETag::parse(&text);
        }
        Ok(())
    })?;
    etag.ok_or_else(|| broken("an object without an ETag"))
}

pub(super) fn copied(document: &[u8]) -> Result<(ETag, Timestamp)> {
    let (mut etag, mut at) = (None, None);
    read(document, "CopyObjectResult", |node| {
        match (node.path, node.part) {
            (["CopyObjectResult", "ETag"], Part::Close(text)) => etag = ETag::parse(&text),
            (["CopyObjectResult", "LastModified"], Part::Close(text)) => at = text.parse().ok(),
            _ => {}
        }
        Ok(())
    })?;
    etag.zip(at)
        .ok_or_else(|| broken("a copy without ETag or date"))
}

/// One entry of the answer to a batch delete.
#[derive(Default)]
struct Told {
    key: String,
    version: String,
    code: String,
    message: String,
}

/// What became of each entry of a batch delete, in the order of the request.
pub(super) fn deleted(
    document: &[u8],
    delete: &DeleteObjects,
    prefix: &str,
) -> Result<Vec<DeletedEntry>> {
    let mut told: Vec<Told> = Vec::new();
    let mut one = Told::default();
    read(document, "DeleteResult", |node| {
        match (node.path, node.part) {
            (["DeleteResult", "Deleted" | "Error"], Part::Open) => one = Told::default(),
            (["DeleteResult", "Deleted" | "Error"], Part::Close(_)) => {
                told.push(std::mem::take(&mut one));
            }
            (["DeleteResult", _, "Key"], Part::Close(text)) => one.key = text.into_owned(),
            (["DeleteResult", _, "VersionId"], Part::Close(text)) => {
                one.version = text.into_owned();
            }
            (["DeleteResult", "Error", "Code"], Part::Close(text)) => {
                one.code = text.into_owned();
            }
            (["DeleteResult", "Error", "Message"], Part::Close(text)) => {
                one.message = text.into_owned();
            }
            _ => {}
        }
        Ok(())
    })?;
    told.sort_by(|one, other| one.key.cmp(&other.key));
    let entries = delete.entries.iter().map(|entry| {
        let key = [prefix, &entry.object.key].concat();
        let version = entry.object.version.as_ref().filter(|v| !v.is_null());
        DeletedEntry {
            key: entry.object.key.clone(),
            version: entry.object.version.clone(),
            outcome: outcome(&told, &key, version),
        }
    });
    Ok(entries.collect())
}

/// `told` is sorted by key.
fn outcome(told: &[Told], key: &str, version: Option<&VersionId>) -> Result<Deleted> {
    let from = told.partition_point(|one| *one.key < *key);
    let mut same = told.iter().skip(from).take_while(|one| one.key == key);
    let found = match version {
        Some(version) => same.find(|one| *one.version == *version.0),
        None => same.next(),
    };
    let found = found.ok_or_else(|| broken("nothing told of an entry"))?;
    if found.code.is_empty() {
        return Ok(Deleted {
            version: version.cloned(),
            is_marker: false,
        });
    }
    Err(error::of_code(&found.code, &found.message))
}
