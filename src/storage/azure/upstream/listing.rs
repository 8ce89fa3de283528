//! Pages of blobs and of containers.
//!
//! Listings begin where they are told to only in newer versions of the interface. It is asked for, and what comes too
//! early is left out again when it is read; so is the key itself that a page is to begin behind.

use http::Method;

use super::draft::{Draft, check_version};
use super::encode::ask_version;
use crate::error::Result;
use crate::policy::route::Bucket;
use crate::storage::azure::names;
use crate::storage::codec::UpstreamRequest;
use crate::storage::op::{ListBuckets, ListObjects, Start};

/// Keeps the store's marker and the key that a listing begins with apart.
const TOKEN_BREAK: char = '\0';

/// Where the entries of a page begin, by the client's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin<'a> {
    Anywhere,
    /// With the first key behind this one.
    Behind(&'a str),
    /// With this key.
    With(&'a str),
}

impl<'a> Begin<'a> {
    /// The store's marker, where there is one, and where the entries begin.
    fn of(start: &'a Start) -> (Option<&'a str>, Self) {
        match start {
            Start::First => (None, Self::Anywhere),
            // Each key has the one version.
            Start::After(key) | Start::AfterVersion(key, _) => (None, Self::Behind(key)),
            Start::At(key) => (None, Self::With(key)),
            Start::Page(token) => {
                let mut parts = token.splitn(3, TOKEN_BREAK);
                let marker = parts.next();
                let begin = match (parts.next(), parts.next()) {
                    (Some("with"), Some(key)) => Self::With(key),
                    (Some(_), Some(key)) => Self::Behind(key),
                    _ => Self::Anywhere,
                };
                (marker, begin)
            }
        }
    }

    pub(super) fn of_page(list: &'a ListObjects) -> Self {
        Self::of(&list.start).1
    }

    /// Whether a key or common prefix is to be shown. Of a prefix that the page begins inside of, later keys may be left.
    pub(super) fn shows(self, name: &str, is_prefix: bool) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Behind(key) if is_prefix && name != key && key.starts_with(name) => true,
            // Behind a common prefix is behind all keys under it.
            Self::Behind(key) => name > key,
            Self::With(key) => name >= key || (is_prefix && key.starts_with(name)),
        }
    }

    /// The token of the page after this one, which has the same beginning until it was reached.
    pub(super) fn token(self, marker: &str, reached: bool) -> Box<str> {
        let (word, key) = match self {
            Self::Anywhere => return marker.into(),
            Self::Behind(_) | Self::With(_) if reached => return marker.into(),
            Self::Behind(key) => ("behind", key),
            Self::With(key) => ("with", key),
        };
        format!("{marker}{TOKEN_BREAK}{word}{TOKEN_BREAK}{key}").into()
    }
}

pub(super) fn blobs(list: &ListObjects, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::container(bucket);
    draft.query("comp", "list");
    // The ETags that clients know are there.
    draft.query("include", "metadata");
    if !(list.prefix.is_empty() && bucket.prefix.is_empty()) {
        draft.query_name("prefix", bucket, &list.prefix)?;
    }
    if let Some(delimiter) = &list.delimiter {
        draft.query("delimiter", delimiter);
    }
    if let Some(max) = list.max {
        draft.query("maxresults", &max.min(names::PAGE_MAX).to_string());
    }
    if let Start::AfterVersion(_, version) = &list.start {
        check_version(Some(version))?;
    }
    match Begin::of(&list.start) {
        (Some(marker), _) => draft.query("marker", marker),
        (None, Begin::Anywhere) => {}
        (None, Begin::Behind(key) | Begin::With(key)) => {
            draft.query_name("startFrom", bucket, key)?;
            ask_version(&mut draft, names::LISTING_FROM_VERSION);
        }
    }
    Ok(draft.empty(Method::GET))
}

pub(super) fn containers(list: &ListBuckets, bucket: &Bucket) -> UpstreamRequest {
    let mut draft = Draft::account(bucket);
    draft.query("comp", "list");
    if !list.prefix.is_empty() {
        draft.query("prefix", &list.prefix);
    }
    if let Some(page) = &list.page {
        draft.query("marker", page);
    }
    if let Some(max) = list.max {
        draft.query("maxresults", &max.clamp(1, names::PAGE_MAX).to_string());
    }
    draft.empty(Method::GET)
}
