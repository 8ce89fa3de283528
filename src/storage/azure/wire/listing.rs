//! Listings as Azure writes them: of blobs and of containers.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::{broken, read};
use crate::error::Result;
use crate::message::date;
use crate::message::escape::{self, Plus};
use crate::message::xml::Part;
use crate::storage::object::Revision;
use crate::storage::reply::{BucketPage, ListedBucket};

/// A page by the store's names, with so many entries of each blob's metadata.
#[derive(Debug)]
pub(in crate::storage::azure) struct Listing<const KEPT: usize> {
    pub(in crate::storage::azure) entries: Vec<Entry<KEPT>>,
    pub(in crate::storage::azure) prefixes: Vec<Box<str>>,
    pub(in crate::storage::azure) next: Option<Box<str>>,
}

/// One blob of a page.
#[derive(Debug)]
pub(in crate::storage::azure) struct Entry<const KEPT: usize> {
    pub(in crate::storage::azure) name: Box<str>,
    pub(in crate::storage::azure) last_modified: Timestamp,
    pub(in crate::storage::azure) revision: Revision,
    pub(in crate::storage::azure) size: u64,
    pub(in crate::storage::azure) md5: Option<[u8; 16]>,
    pub(in crate::storage::azure) tier: Box<str>,
    /// Not told by all versions of the interface.
    pub(in crate::storage::azure) created: Option<Timestamp>,
    /// What we keep in its metadata, as asked for.
    pub(in crate::storage::azure) kept: [Option<Box<str>>; KEPT],
}

/// One blob, as far as it was read.
struct Draft<const KEPT: usize> {
    name: Box<str>,
    last_modified: Option<Timestamp>,
    revision: Box<str>,
    size: Option<u64>,
    md5: Option<[u8; 16]>,
    tier: Box<str>,
    created: Option<Timestamp>,
    kept: [Option<Box<str>>; KEPT],
}

impl<const KEPT: usize> Default for Draft<KEPT> {
    fn default() -> Self {
        Self {
            name: Box::default(),
            last_modified: None,
            revision: Box::default(),
            size: None,
            md5: None,
            tier: Box::default(),
            created: None,
            kept: std::array::from_fn(|_| None),
        }
    }
}

impl<const KEPT: usize> Draft<KEPT> {
    fn property(&mut self, name: &str, text: Cow<'_, str>) {
        match name {
            "Creation-Time" => self.created = date::parse_http(text.trim()),
            "Last-Modified" => self.last_modified = date::parse_http(text.trim()),
            "Etag" => self.revision = text.into(),
            "Content-Length" => self.size = text.trim().parse().ok(),
            "Content-MD5" => self.md5 = md5(&text),
            "AccessTier" => self.tier = text.into(),
            _ => {}
        }
    }

    fn finish(self) -> Result<Entry<KEPT>> {
        let (Some(last_modified), Some(size)) = (self.last_modified, self.size) else {
            return Err(broken("a blob without date or size"));
        };
        if self.name.is_empty() || self.revision.is_empty() {
            return Err(broken("a blob without name or ETag"));
        }
        Ok(Entry {
            name: self.name,
            last_modified,
            revision: Revision(self.revision),
            size,
            md5: self.md5,
            tier: self.tier,
            created: self.created,
            kept: self.kept,
        })
    }
}

pub(in crate::storage::azure) fn md5(text: &str) -> Option<[u8; 16]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

/// Reads a page; `kept` are the entries of metadata that are wanted.
pub(in crate::storage::azure) fn blobs<const KEPT: usize>(
    document: &[u8],
    kept: &[&str; KEPT],
) -> Result<Listing<KEPT>> {
    let mut page = Listing {
        entries: Vec::new(),
        prefixes: Vec::new(),
        next: None,
    };
    let (mut blob, mut encoded, mut prefix) = (Draft::default(), false, Box::default());
    read(document, "EnumerationResults", |node| {
        match (node.path, node.part) {
            ([_, "Blobs", "Blob"], Part::Open) => blob = Draft::default(),
            ([_, "Blobs", "Blob"], Part::Close(_)) => {
                page.entries.push(std::mem::take(&mut blob).finish()?);
            }
            ([_, "Blobs", _, "Name"], Part::Open) => encoded = is_encoded(node.tag),
            ([_, "Blobs", "Blob", "Name"], Part::Close(text)) => blob.name = name(text, encoded)?,
            ([_, "Blobs", "BlobPrefix", "Name"], Part::Close(text)) => {
                prefix = name(text, encoded)?;
            }
            ([_, "Blobs", "BlobPrefix"], Part::Close(_)) => {
                page.prefixes.push(std::mem::take(&mut prefix));
            }
            ([_, "Blobs", "Blob", "Properties", name], Part::Close(text)) => {
                blob.property(name, text);
            }
            ([_, "Blobs", "Blob", "Metadata", name], Part::Close(text)) => {
                let at = kept.iter().position(|kept| name.eq_ignore_ascii_case(kept));
                if let Some(slot) = at.and_then(|at| blob.kept.get_mut(at)) {
                    *slot = Some(text.into());
                }
            }
            ([_, "NextMarker"], Part::Close(text)) => page.next = some(text),
            _ => {}
        }
        Ok(())
    })?;
    Ok(page)
}

/// Names that XML cannot hold come percent-encoded.
fn is_encoded(tag: &str) -> bool {
    tag.contains("Encoded=\"true\"")
}

fn name(text: Cow<'_, str>, encoded: bool) -> Result<Box<str>> {
    if !encoded {
        return Ok(text.into());
    }
    let decoded = escape::decode(text.as_bytes(), Plus::Literal);
    let decoded = decoded.map_err(|_| broken("a name that is not encoded"))?;
    let decoded = String::from_utf8(decoded.into_owned()).map_err(broken)?;
    Ok(decoded.into())
}

fn some(text: Cow<'_, str>) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

pub(in crate::storage::azure) fn containers(document: &[u8]) -> Result<BucketPage> {
    let mut page = BucketPage::default();
    let (mut name, mut at) = (Cow::default(), None);
    read(document, "EnumerationResults", |node| {
        match (node.path, node.part) {
            ([_, "Containers", "Container", "Name"], Part::Close(text)) => name = text,
            // When it was made is not told; this is when its own properties last changed.
            ([_, "Containers", "Container", "Properties", "Last-Modified"], Part::Close(text)) => {
                at = date::parse_http(text.trim());
            }
            ([_, "Containers", "Container"], Part::Close(_)) => page.buckets.push(ListedBucket {
                name: std::mem::take(&mut name).into(),
                created_at: at.take(),
            }),
            ([_, "NextMarker"], Part::Close(text)) => page.next = some(text),
            _ => {}
        }
        Ok(())
    })?;
    Ok(page)
}
