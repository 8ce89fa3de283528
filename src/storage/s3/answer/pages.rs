//! Documents of many entries: listings, and what became of a batch delete.

use http::StatusCode;

use super::{Asked, Message, XML, class_name, close, push_checksums};
use crate::message::date;
use crate::message::escape::{self, Slash};
use crate::storage::object::{StorageClass, Tags};
use crate::storage::op::{ListObjects, ListPieces, ListUploads};
use crate::storage::reply::{
    DeletedEntry, ListedObject, ListedState, ObjectPage, PiecePage, UploadPage,
};
use crate::storage::s3::error::Failure;
use crate::storage::s3::route::Op;
use crate::storage::s3::wire;

/// A document that may have its names encoded.
struct Page<'a> {
    asked: &'a Asked<'a>,
    out: String,
    root: &'static str,
    encodes: bool,
}

impl<'a> Page<'a> {
    fn new(asked: &'a Asked<'a>, root: &'static str) -> Self {
        let request = asked.op.request();
        Self {
            asked,
            out: wire::document(root),
            root,
            encodes: request.query("encoding-type") == Some("url"),
        }
    }

    fn open(&mut self, element: &str) {
        self.out.extend(["<", element, ">"]);
    }

    fn shut(&mut self, element: &str) {
        self.out.extend(["</", element, ">"]);
    }

    fn text(&mut self, name: &str, text: &str) {
        wire::push_element(&mut self.out, name, text);
    }

    /// An element whose text is a name, or part of one.
    fn name(&mut self, element: &str, name: &str) {
        if !self.encodes {
            return self.text(element, name);
        }
        let mut encoded = Vec::with_capacity(name.len());
        escape::encode(&mut encoded, name.as_bytes(), Slash::Keep);
        self.text(element, &String::from_utf8_lossy(&encoded));
    }

    /// What the request said, where it said it; some elements are there even if empty.
    fn echo(&mut self, element: &str, parameter: &str, always: bool) {
        let text = self.asked.op.request().query(parameter).unwrap_or_default();
        if always || !text.is_empty() {
            self.name(element, text);
        }
    }

    fn owner(&mut self, element: &str) {
        let owner = self.asked.owner;
        self.open(element);
        self.text("ID", owner);
        self.text("DisplayName", owner);
        self.shut(element);
    }

    fn truncated(&mut self, more: bool) {
        self.text("IsTruncated", if more { "true" } else { "false" });
    }

    fn prefixes(&mut self, prefixes: &[Box<str>]) {
        for prefix in prefixes {
            self.out.push_str("<CommonPrefixes>");
            self.name("Prefix", prefix);
            self.out.push_str("</CommonPrefixes>");
        }
    }

    fn finish(mut self) -> Message {
        if self.encodes {
            self.text("EncodingType", "url");
        }
        Message::new(StatusCode::OK).with_body(XML, close(self.out, self.root))
    }
}

pub(super) fn objects(asked: &Asked<'_>, list: &ListObjects, found: &ObjectPage) -> Message {
    let op = asked.op.op();
    let root = if op == Op::ListObjectVersions {
        "ListVersionsResult"
    } else {
        "ListBucketResult"
    };
    let mut page = Page::new(asked, root);
    page.text("Name", &asked.bucket.exposed);
    page.echo("Prefix", "prefix", true);
    page.echo("Delimiter", "delimiter", false);
    page.text("MaxKeys", &list.max.unwrap_or_default().to_string());
    page.truncated(found.next.is_some());
    let last = last_name(found);
    let request = asked.op.request();
    if op == Op::ListObjectsV2 {
        let count = found.entries.len() + found.prefixes.len();
        page.text("KeyCount", &count.to_string());
        page.echo("StartAfter", "start-after", false);
        // A token is no name.
        if let Some(token) = request.query("continuation-token") {
            page.text("ContinuationToken", token);
        }
        if let Some(next) = &found.next {
            page.text("NextContinuationToken", next);
        }
    } else if op == Op::ListObjectVersions {
        page.echo("KeyMarker", "key-marker", true);
        let marker = request.query("version-id-marker").unwrap_or_default();
        page.text("VersionIdMarker", marker);
        if let Some((key, version)) = found.resume.as_ref().filter(|_| found.next.is_some()) {
            page.name("NextKeyMarker", key);
            if let Some(version) = version {
                page.text("NextVersionIdMarker", &version.0);
            }
        } else if let (Some(_), Some(last)) = (&found.next, last) {
            page.name("NextKeyMarker", last);
            if let Some(entry) = found.entries.last().filter(|entry| *entry.key == *last) {
                page.text("NextVersionIdMarker", version(entry));
            }
        }
    } else {
        page.echo("Marker", "marker", true);
        // Without a delimiter a client goes on from the last key.
        if let (Some(_), Some(last), Some(_)) = (&found.next, last, &list.delimiter) {
            page.name("NextMarker", last);
        }
    }
    let with_owner = op != Op::ListObjectsV2 || request.query("fetch-owner") == Some("true");
    for entry in &found.entries {
        object(&mut page, entry, with_owner);
    }
    page.prefixes(&found.prefixes);
    page.finish()
}

/// Keys and prefixes are one order.
fn last_name(found: &ObjectPage) -> Option<&str> {
    let key = found.entries.last().map(|entry| &*entry.key);
    let prefix = found.prefixes.last().map(|prefix| &**prefix);
    key.max(prefix)
}

/// S3's word for the only version of an object in a bucket that keeps none.
fn version(entry: &ListedObject) -> &str {
    entry.version.as_ref().map_or("null", |version| &version.0)
}

fn object(page: &mut Page<'_>, entry: &ListedObject, with_owner: bool) {
    let versions = page.root == "ListVersionsResult";
    let element = match (&entry.state, versions) {
        (_, false) => "Contents",
        (ListedState::Stored { .. }, true) => "Version",
        (ListedState::DeleteMarker, true) => "DeleteMarker",
    };
    page.open(element);
    page.name("Key", &entry.key);
    if versions {
        page.text("VersionId", version(entry));
        page.text("IsLatest", if entry.is_latest { "true" } else { "false" });
    }
    page.text("LastModified", &date::iso_millis(entry.last_modified));
    if let ListedState::Stored { size, etag, class } = &entry.state {
        page.text("ETag", &etag.quoted());
        page.text("Size", &size.to_string());
        page.text(
            "StorageClass",
            class_name(class.unwrap_or(StorageClass::Hot)),
        );
    }
    if with_owner {
        page.owner("Owner");
    }
    page.shut(element);
}

pub(super) fn uploads(asked: &Asked<'_>, list: &ListUploads, found: &UploadPage) -> Message {
    let mut page = Page::new(asked, "ListMultipartUploadsResult");
    page.text("Bucket", &asked.bucket.exposed);
    page.echo("KeyMarker", "key-marker", true);
    let marker = asked.op.request().query("upload-id-marker");
    page.text("UploadIdMarker", marker.unwrap_or_default());
    if let Some((key, id)) = &found.next {
        page.name("NextKeyMarker", key);
        page.text("NextUploadIdMarker", id);
    }
    page.echo("Prefix", "prefix", true);
    page.echo("Delimiter", "delimiter", false);
    page.text("MaxUploads", &list.max.unwrap_or_default().to_string());
    page.truncated(found.next.is_some());
    for upload in &found.uploads {
        page.out.push_str("<Upload>");
        page.name("Key", &upload.key);
        page.text("UploadId", &upload.id);
        page.owner("Initiator");
        page.owner("Owner");
        page.text(
            "StorageClass",
            class_name(upload.class.unwrap_or(StorageClass::Hot)),
        );
        page.text("Initiated", &date::iso_millis(upload.initiated));
        page.out.push_str("</Upload>");
    }
    page.prefixes(&found.prefixes);
    page.finish()
}

pub(super) fn parts(asked: &Asked<'_>, list: &ListPieces, found: &PiecePage) -> Message {
    let mut page = Page::new(asked, "ListPartsResult");
    page.text("Bucket", &asked.bucket.exposed);
    page.name("Key", &list.upload.key);
    let id = asked.op.request().query("uploadId");
    page.text("UploadId", id.unwrap_or_default());
    page.owner("Initiator");
    page.owner("Owner");
    page.text(
        "StorageClass",
        class_name(found.class.unwrap_or(StorageClass::Hot)),
    );
    page.text(
        "PartNumberMarker",
        &list.after.unwrap_or_default().to_string(),
    );
    if let Some(next) = found.next {
        page.text("NextPartNumberMarker", &next.to_string());
    }
    page.text("MaxParts", &list.max.unwrap_or_default().to_string());
    page.truncated(found.next.is_some());
    for part in &found.parts {
        page.out.push_str("<Part>");
        page.text("PartNumber", &part.number.to_string());
        page.text("LastModified", &date::iso_millis(part.last_modified));
        page.text("ETag", &part.etag.quoted());
        page.text("Size", &part.size.to_string());
        push_checksums(&mut page.out, &part.checksums);
        page.out.push_str("</Part>");
    }
    page.finish()
}

/// What became of a batch delete: what was not there counts as deleted, as S3 has it.
pub(super) fn deleted(asked: &Asked<'_>, entries: &[DeletedEntry]) -> Message {
    const ROOT: &str = "DeleteResult";
    let quiet = asked.op.delete().quiet;
    let mut out = wire::document(ROOT);
    for entry in entries {
        let missing = entry
            .outcome
            .as_ref()
            .is_err_and(|error| error.kind() == crate::error::Kind::ObjectNotFound);
        match &entry.outcome {
            Ok(_) if quiet => {}
            Err(_) if missing && quiet => {}
            Err(error) if !missing => {
                let failure = Failure::from(error);
                out.push_str("<Error>");
                push_target(&mut out, entry);
                wire::push_element(&mut out, "Code", &failure.code);
                wire::push_element(&mut out, "Message", &failure.message);
                out.push_str("</Error>");
            }
            Ok(_) | Err(_) => {
                out.push_str("<Deleted>");
                push_target(&mut out, entry);
                if let Ok(deleted) = &entry.outcome
                    && deleted.is_marker
                {
                    wire::push_element(&mut out, "DeleteMarker", "true");
                    if let Some(version) = &deleted.version {
                        wire::push_element(&mut out, "DeleteMarkerVersionId", &version.0);
                    }
                }
                out.push_str("</Deleted>");
            }
        }
    }
    wire::push_refused(&mut out, asked.op.refused());
    Message::new(StatusCode::OK).with_body(XML, close(out, ROOT))
}

fn push_target(out: &mut String, entry: &DeletedEntry) {
    wire::push_element(out, "Key", &entry.key);
    if let Some(version) = &entry.version {
        wire::push_element(out, "VersionId", &version.0);
    }
}

pub(super) fn tags(tags: &Tags) -> Message {
    let mut out = wire::document("Tagging");
    out.push_str("<TagSet>");
    let mut sorted: Vec<_> = tags.iter().collect();
    sorted.sort_unstable();
    for (key, value) in sorted {
        out.push_str("<Tag>");
        wire::push_element(&mut out, "Key", key);
        wire::push_element(&mut out, "Value", value);
        out.push_str("</Tag>");
    }
    out.push_str("</TagSet>");
    Message::new(StatusCode::OK).with_body(XML, close(out, "Tagging"))
}
