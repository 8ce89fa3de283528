//! Listings as GCS writes them: of objects and their versions, of buckets, of uploads and their parts.
//!
//! Names may come encoded; whether they do is told somewhere in the document, so they are decoded when all was read.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{broken, read};
use crate::error::Result;
use crate::message::escape::{self, Plus};
use crate::message::xml::Part;
use crate::storage::gcs::names;
use crate::storage::object::{ETag, StorageClass, VersionId};
use crate::storage::op::Which;
use crate::storage::reply::{
    ListedBucket, ListedObject, ListedPart, ListedState, ListedUpload, PiecePage, UploadPage,
};

/// A page by the store's names.
pub(in crate::storage::gcs) struct Listing {
    pub(in crate::storage::gcs) entries: Vec<ListedObject>,
    pub(in crate::storage::gcs) prefixes: Vec<Box<str>>,
    pub(in crate::storage::gcs) next: Option<Next>,
}

/// How the page after one is asked for.
pub(in crate::storage::gcs) enum Next {
    Token(Box<str>),
    /// Behind this key, or this version of it.
    Marker(Box<str>, Option<Box<str>>),
}

/// One entry, as far as it was read.
#[derive(Default)]
struct Entry {
    key: String,
    version: Option<String>,
    is_latest: bool,
    at: Option<Timestamp>,
    etag: Option<ETag>,
    size: Option<u64>,
    class: Option<StorageClass>,
}

impl Entry {
    fn take(&mut self, name: &str, text: Cow<'_, str>) {
        match name {
            "Key" => self.key = text.into_owned(),
            "VersionId" | "Generation" => self.version = Some(text.into_owned()),
            "IsLatest" => self.is_latest = text == "true",
            "LastModified" => self.at = text.parse().ok(),
            "ETag" => self.etag = ETag::parse(&text),
            "Size" => self.size = text.parse().ok(),
            "StorageClass" => self.class = names::class(&text),
            _ => {}
        }
    }

    fn finish(self, which: Which) -> Result<ListedObject> {
        let (Some(last_modified), Some(etag), Some(size)) = (self.at, self.etag, self.size) else {
            return Err(broken("an entry without date, ETag or size"));
        };
        let version = self.version.filter(|_| which == Which::Versions);
        Ok(ListedObject {
            key: self.key.into(),
            state: ListedState::Stored {
                size,
                etag,
                class: self.class,
            },
            last_modified,
            version: version.map(|version| VersionId(version.into())),
            is_latest: self.is_latest || which == Which::Current,
        })
    }
}

pub(in crate::storage::gcs) fn objects(document: &[u8], which: Which) -> Result<Listing> {
    let root = match which {
        Which::Current => "ListBucketResult",
        // By the store's own words, or by S3's.
        Which::Versions if memchr::memmem::find(document, b"<ListVersionsResult").is_some() => {
            "ListVersionsResult"
        }
        Which::Versions => "ListBucketResult",
    };
    let (mut entries, mut prefixes) = (Vec::new(), Vec::new());
    let mut entry = Entry::default();
    let (mut encoded, mut more) = (false, false);
    let (mut token, mut key, mut version) = (None, None, None);
    read(document, root, |node| {
        match (node.path, node.part) {
            ([_, "Contents" | "Version"], Part::Open) => entry = Entry::default(),
            ([_, "Contents" | "Version"], Part::Close(_)) => {
                entries.push(std::mem::take(&mut entry).finish(which)?);
            }
            ([_, "Contents" | "Version", name], Part::Close(text)) => entry.take(name, text),
            ([_, "CommonPrefixes", "Prefix"], Part::Close(text)) => prefixes.push(text),
            // The latter of listings of versions.
            ([_, "EncodingType" | "Encoding-Type"], Part::Close(text)) => encoded = text == "url",
            ([_, "IsTruncated"], Part::Close(text)) => more = text == "true",
            ([_, "NextContinuationToken"], Part::Close(text)) => token = Some(text),
            ([_, "NextKeyMarker" | "NextMarker"], Part::Close(text)) => key = Some(text),
            ([_, "NextVersionIdMarker" | "NextGenerationMarker"], Part::Close(text)) => {
                version = Some(text).filter(|text| !text.is_empty());
            }
            _ => {}
        }
        Ok(())
    })?;
    let next = match (more, which, token, key) {
        (false, ..) => None,
        (true, Which::Current, Some(token), _) => Some(Next::Token(token.into())),
        (true, Which::Versions, _, Some(key)) => {
            Some(Next::Marker(name(key, encoded)?, version.map(Cow::into)))
        }
        (true, ..) => return Err(broken("a page without the way to the next")),
    };
    for entry in &mut entries {
        entry.key = name(String::from(std::mem::take(&mut entry.key)).into(), encoded)?;
    }
    if which == Which::Versions {
        // S3's clients expect the newest of a key first; Google lists the oldest first.
        for versions in entries.chunk_by_mut(|one, next| one.key == next.key) {
            versions.sort_by_key(|entry| std::cmp::Reverse(age(entry)));
        }
    }
    let prefixes = prefixes.into_iter().map(|prefix| name(prefix, encoded));
    Ok(Listing {
        entries,
        prefixes: prefixes.collect::<Result<_>>()?,
        next,
    })
}

/// Generations grow.
fn age(entry: &ListedObject) -> Option<u64> {
    entry.version.as_ref()?.0.parse().ok()
}

fn name(text: Cow<'_, str>, encoded: bool) -> Result<Box<str>> {
    if !encoded {
        return Ok(text.into());
    }
    let decoded = escape::decode(text.as_bytes(), Plus::Space);
    let decoded = decoded.map_err(|_| broken("a name that is not encoded"))?;
    let decoded = String::from_utf8(decoded.into_owned()).map_err(broken)?;
    Ok(decoded.into())
}

pub(in crate::storage::gcs) fn buckets(document: &[u8]) -> Result<Vec<ListedBucket>> {
    let mut buckets = Vec::new();
    let (mut name, mut created_at) = (Cow::default(), None);
    read(document, "ListAllMyBucketsResult", |node| {
        match (node.path, node.part) {
            ([_, "Buckets", "Bucket", "Name"], Part::Close(text)) => name = text,
            ([_, "Buckets", "Bucket", "CreationDate"], Part::Close(text)) => {
                created_at = text.parse().ok();
            }
            ([_, "Buckets", "Bucket"], Part::Close(_)) => buckets.push(ListedBucket {
                name: std::mem::take(&mut name).into(),
                created_at: created_at.take(),
            }),
            _ => {}
        }
        Ok(())
    })?;
    Ok(buckets)
}

pub(in crate::storage::gcs) fn parts(document: &[u8]) -> Result<PiecePage> {
    let mut page = PiecePage::default();
    let (mut number, mut more, mut next) = (None, false, None);
    let mut entry = Entry::default();
    read(document, "ListPartsResult", |node| {
        match (node.path, node.part) {
            ([_, "Part"], Part::Open) => (entry, number) = (Entry::default(), None),
            ([_, "Part", "PartNumber"], Part::Close(text)) => number = text.parse().ok(),
            ([_, "Part", name], Part::Close(text)) => entry.take(name, text),
            ([_, "Part"], Part::Close(_)) => {
                let Entry { at, etag, size, .. } = std::mem::take(&mut entry);
                let (Some(number), Some(last_modified), Some(etag), Some(size)) =
                    (number, at, etag, size)
                else {
                    return Err(broken("a part without number, date, ETag or size"));
                };
                page.parts.push(ListedPart {
                    number,
                    size,
                    etag,
                    last_modified,
                    checksums: Vec::new(),
                });
            }
            ([_, "IsTruncated"], Part::Close(text)) => more = text == "true",
            ([_, "NextPartNumberMarker"], Part::Close(text)) => next = text.parse().ok(),
            ([_, "StorageClass"], Part::Close(text)) => page.class = names::class(&text),
            _ => {}
        }
        Ok(())
    })?;
    if more {
        let last = page.parts.last().map(|part| part.number);
        page.next = next.or(last);
    }
    Ok(page)
}

pub(in crate::storage::gcs) fn uploads(document: &[u8]) -> Result<UploadPage> {
    let mut page = UploadPage::default();
    let (mut key, mut id, mut class) = (Cow::default(), Cow::default(), None);
    let mut initiated: Option<Timestamp> = None;
    let (mut encoded, mut more) = (false, false);
    let (mut next_key, mut next_id) = (None, None);
    let mut prefixes = Vec::new();
    read(document, "ListMultipartUploadsResult", |node| {
        match (node.path, node.part) {
            ([_, "Upload", "Key"], Part::Close(text)) => key = text,
            ([_, "Upload", "UploadId"], Part::Close(text)) => id = text,
            ([_, "Upload", "Initiated"], Part::Close(text)) => initiated = text.parse().ok(),
            ([_, "Upload", "StorageClass"], Part::Close(text)) => class = names::class(&text),
            ([_, "Upload"], Part::Close(_)) => {
                let at = initiated.take();
                page.uploads.push(ListedUpload {
                    key: std::mem::take(&mut key).into(),
                    id: std::mem::take(&mut id).into(),
                    initiated: at.ok_or_else(|| broken("an upload without a date"))?,
                    class: class.take(),
                });
            }
            ([_, "CommonPrefixes", "Prefix"], Part::Close(text)) => prefixes.push(text),
            ([_, "EncodingType"], Part::Close(text)) => encoded = text == "url",
            ([_, "IsTruncated"], Part::Close(text)) => more = text == "true",
            ([_, "NextKeyMarker"], Part::Close(text)) => next_key = Some(text),
            ([_, "NextUploadIdMarker"], Part::Close(text)) => next_id = Some(text),
            _ => {}
        }
        Ok(())
    })?;
    for upload in &mut page.uploads {
        upload.key = name(
            String::from(std::mem::take(&mut upload.key)).into(),
            encoded,
        )?;
    }
    let prefixes = prefixes.into_iter().map(|prefix| name(prefix, encoded));
    page.prefixes = prefixes.collect::<Result<_>>()?;
    if more {
        let key = next_key.ok_or_else(|| broken("a page without the way to the next"))?;
        page.next = Some((name(key, encoded)?, next_id.unwrap_or_default().into()));
    }
    Ok(page)
}
