//! Pages of objects, of uploads and of buckets.

use http::Method;

use super::draft::{Draft, generation};
use crate::error::Result;
use crate::policy::route::Bucket;
use crate::storage::codec::UpstreamRequest;
use crate::storage::gcs::names;
use crate::storage::gcs::upstream::headers::push;
use crate::storage::gcs::upstream::{Api, api};
use crate::storage::op::{ListBuckets, ListObjects, ListUploads, Start, Which};

/// Behind every key that begins with what it follows.
pub(in crate::storage::gcs::upstream) const LAST_CHARACTER: char = '\u{10FFFF}';
/// What keeps key and version of a page of versions apart.
pub(in crate::storage::gcs::upstream) const TOKEN_BREAK: char = '\0';

pub(super) fn objects(list: &ListObjects, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::bucket(bucket);
    let versions = list.which == Which::Versions;
    if versions {
        draft.query("versions", "");
        push(&mut draft.head, names::INTEROP_LISTING, "enabled")?;
    } else {
        draft.query("list-type", "2");
    }
    draft.query("encoding-type", "url");
    if !(list.prefix.is_empty() && bucket.prefix.is_empty()) {
        draft.query_name("prefix", bucket, &list.prefix)?;
    }
    if let Some(delimiter) = &list.delimiter {
        draft.query("delimiter", delimiter);
    }
    if let Some(max) = list.max {
        draft.query("max-keys", &max.min(names::PAGE_MAX).to_string());
    }
    let after = if versions {
        "key-marker"
    } else {
        "start-after"
    };
    match &list.start {
        Start::First => {}
        Start::After(key) => draft.query_name(after, bucket, &behind(list, key))?,
        Start::AfterVersion(key, version) => {
            draft.query_name(after, bucket, key)?;
            if !version.is_null() {
                draft.query("version-id-marker", generation(version)?);
            }
        }
        Start::At(key) => draft.query_name(after, bucket, &before(key))?,
        Start::Page(token) if versions => {
            let (key, version) = token.split_once(TOKEN_BREAK).unwrap_or((token, ""));
            draft.query("key-marker", key);
            if !version.is_empty() {
                draft.query("version-id-marker", version);
            }
        }
        Start::Page(token) => draft.query("continuation-token", token),
    }
    Ok(draft.empty(Method::GET))
}

/// A marker that is a common prefix stands for all keys under it.
fn behind(list: &ListObjects, key: &str) -> String {
    let mut out = key.to_owned();
    let inside = key.strip_prefix(&*list.prefix).unwrap_or_default();
    if let Some(delimiter) = &list.delimiter
        && inside.find(&**delimiter) == inside.len().checked_sub(delimiter.len())
        && !inside.is_empty()
    {
        out.push(LAST_CHARACTER);
    }
    out
}

/// A key before this one, and behind nearly all that are: what comes too early is left out when it is read.
fn before(key: &str) -> String {
    let mut out = key.to_owned();
    if let Some(last) = out.pop()
        && let Some(lower) = u32::from(last).checked_sub(1).and_then(char::from_u32)
    {
        out.push(lower);
        out.push(LAST_CHARACTER);
    }
    out
}

/// Behind which name a page was to begin: what it shows of that is left out.
pub(in crate::storage::gcs::upstream) fn begins_after(start: &Start) -> Option<&str> {
    match start {
        Start::After(key) => Some(key),
        Start::First | Start::AfterVersion(..) | Start::At(_) | Start::Page(_) => None,
    }
}

pub(super) fn uploads(list: &ListUploads, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::bucket(bucket);
    draft.query("uploads", "");
    draft.query("encoding-type", "url");
    if !(list.prefix.is_empty() && bucket.prefix.is_empty()) {
        draft.query_name("prefix", bucket, &list.prefix)?;
    }
    if let Some(delimiter) = &list.delimiter {
        draft.query("delimiter", delimiter);
    }
    if let Some((key, upload)) = &list.after {
        draft.query_name("key-marker", bucket, key)?;
        if let Some(upload) = upload {
            draft.query("upload-id-marker", upload);
        }
    }
    if let Some(max) = list.max {
        draft.query("max-uploads", &max.min(names::PAGE_MAX).to_string());
    }
    Ok(draft.empty(Method::GET))
}

/// The XML API lists buckets without prefixes and pages, and never more than [`names::PAGE_MAX`] of them.
pub(super) fn buckets(list: &ListBuckets, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = match api(bucket) {
        Api::Json => Draft::json_buckets(bucket),
        Api::Xml => {
            let mut draft = Draft::service(bucket);
            push_project(&mut draft, bucket)?;
            return Ok(draft.empty(Method::GET));
        }
    };
    draft.query("project", project(bucket).unwrap_or_default());
    draft.query("fields", "items(name,timeCreated),nextPageToken");
    if !list.prefix.is_empty() {
        draft.query("prefix", &list.prefix);
    }
    if let Some(page) = &list.page {
        draft.query("pageToken", page);
    }
    if let Some(max) = list.max {
        let max = max.clamp(1, names::PAGE_MAX);
        draft.query("maxResults", &max.to_string());
    }
    Ok(draft.empty(Method::GET))
}

/// Whose a new bucket is. Owners of interoperability keys may have told Google a project of their own.
pub(super) fn push_project(draft: &mut Draft, bucket: &Bucket) -> Result<()> {
    match project(bucket) {
        Some(project) => push(&mut draft.head, names::PROJECT, project),
        None => Ok(()),
    }
}

fn project(bucket: &Bucket) -> Option<&str> {
    bucket.resource.gcs()?.project.as_deref()
}
