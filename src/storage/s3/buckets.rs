//! Buckets as such: listing them, and the document that makes one.
//!
//! A listing shows the buckets of the config and, where clients may create buckets, those of the store that begin
//! with the repository's prefix, without it. The store's pages and ours do not end at the same names, so our page
//! token holds both: after which name to go on, and by which token the store's page is fetched that holds the next
//! one. Nothing is kept between two requests.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use http::header::HOST;
use jiff::Timestamp;
use smallvec::smallvec;

use super::names;
use super::route::S3Request;
use super::upstream::{NO_PAYLOAD, UpstreamRequest};
use super::wire::{self, Part};
use crate::error::{Error, Kind, Result};
use crate::message::date;
use crate::message::escape::{self, Slash};
use crate::policy::route::{CreatedBuckets, Resource};
use crate::storage::head::UpstreamHead;
use crate::storage::op::ListBuckets;
use crate::storage::reply::BucketPage;

/// Most buckets of one page, as S3 has it.
pub const BUCKETS_MAX: usize = 10_000;
/// Longest date that is passed on from a store's listing.
const DATE_BYTES_MAX: usize = 64;
/// The largest listing of a store's that is read: a page of [`BUCKETS_MAX`] takes up to 3 MiB.
pub const LISTING_BYTES_MAX: usize = 16 << 20;
/// What keeps the two parts of a page token apart; no bucket's name holds it.
const TOKEN_BREAK: char = '\0';

/// One bucket of a listing.
#[derive(Clone, Copy, Debug)]
pub struct ListedBucket<'a> {
    pub name: &'a str,
    pub created_at: Timestamp,
    pub region: &'a str,
}

/// Which part of the buckets is asked for.
#[derive(Debug)]
pub struct Page {
    prefix: String,
    region: String,
    /// Absent: as many as fit.
    most: Option<usize>,
    after: String,
    /// The store's token, without the repository's prefix.
    token: Option<String>,
}

impl Page {
    /// Reads it from a `ListBuckets` request.
    pub fn of(request: &S3Request) -> Result<Self> {
        let text = |name| request.query(name).unwrap_or_default();
        let most = match text("max-buckets") {
            "" => None,
            number => Some(
                number
                    .parse()
                    .ok()
                    .filter(|number| (1..=BUCKETS_MAX).contains(number))
                    .ok_or_else(|| bad_argument("max-buckets"))?,
            ),
        };
        let (after, token) = match text("continuation-token") {
            "" => (String::new(), None),
            token => {
                let decoded = URL_SAFE_NO_PAD.decode(token).ok();
                let decoded = decoded
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or_else(|| bad_argument("continuation-token"))?;
                match decoded.split_once(TOKEN_BREAK) {
                    Some((after, token)) => (after.to_owned(), Some(token.to_owned())),
                    None => (decoded, None),
                }
            }
        };
        Ok(Self {
            prefix: text("prefix").to_owned(),
            region: text("bucket-region").to_owned(),
            most,
            after,
            token,
        })
    }

    /// Whether buckets of this region are asked for.
    pub fn wants_region(&self, region: &str) -> bool {
        self.region.is_empty() || self.region == region
    }

    fn wants(&self, name: &str) -> bool {
        name > self.after.as_str() && name.starts_with(&self.prefix)
    }

    /// The token of the page after `after`, with the store's page that comes with it.
    fn next(after: &str, token: Option<&str>) -> String {
        let mut text = after.to_owned();
        if let Some(token) = token {
            text.push(TOKEN_BREAK);
            text.push_str(token);
        }
        URL_SAFE_NO_PAD.encode(text)
    }
}

/// One page of the store's buckets that clients created, by the clients' names.
#[derive(Debug, Default)]
pub struct CreatedPage {
    /// Sorted by name.
    buckets: Vec<(String, String)>,
    region: String,
    /// The store's token of the page after this one, without the prefix.
    next: Option<String>,
}

/// The request for the store's page of created buckets.
pub fn encode_listing(page: &Page, created: &CreatedBuckets) -> Result<UpstreamRequest> {
    let origin = &created.resource.origin;
    let mut target = origin.base_path.as_bytes().to_vec();
    target.extend_from_slice(b"/?");
    if let Some(token) = &page.token {
        let token = names::token_of_client(token, &created.bucket_prefix)?;
        target.extend_from_slice(b"continuation-token=");
        escape::encode(&mut target, token.as_bytes(), Slash::Encode);
        target.push(b'&');
    }
    if let Some(most) = page.most {
        target.extend_from_slice(format!("max-buckets={most}&").as_bytes());
    }
    target.extend_from_slice(b"prefix=");
    escape::encode(&mut target, created.bucket_prefix.as_bytes(), Slash::Encode);
    escape::encode(&mut target, page.prefix.as_bytes(), Slash::Encode);
    Ok(UpstreamRequest {
        head: UpstreamHead {
            method: Method::GET,
            target: String::from_utf8(target).map_err(Error::internal)?,
            headers: smallvec![(HOST, origin.authority.clone())],
        },
        payload: NO_PAYLOAD,
        document: None,
    })
}

/// What is asked of a store of another protocol.
pub fn listing(page: &Page, created: &CreatedBuckets) -> ListBuckets {
    ListBuckets {
        prefix: [&*created.bucket_prefix, &page.prefix].concat().into(),
        page: page.token.as_deref().map(Box::from),
        max: page.most.and_then(|most| u32::try_from(most).ok()),
    }
}

/// What a store of another protocol answered, whose token of the next page is sealed already.
pub fn created_page(found: BucketPage, created: &CreatedBuckets) -> CreatedPage {
    let by_client_names = found.buckets.into_iter().filter_map(|bucket| {
        let name = bucket.name.strip_prefix(&*created.bucket_prefix)?;
        let date = bucket.created_at.unwrap_or_default();
        names::check_new_bucket(name).ok()?;
        Some((name.to_owned(), date::iso_millis(date)))
    });
    let mut buckets: Vec<_> = by_client_names.collect();
    buckets.sort_unstable();
    CreatedPage {
        buckets,
        region: region(&created.resource).to_owned(),
        next: found.next.map(Into::into),
    }
}

/// Reads the store's page. Stores that know neither prefixes nor pages answer with all that they have.
pub fn decode_listing(document: &[u8], created: &CreatedBuckets) -> Result<CreatedPage> {
    let text = std::str::from_utf8(document).map_err(broken)?;
    let prefix = &*created.bucket_prefix;
    let mut has_root = false;
    let mut page = CreatedPage {
        region: region(&created.resource).to_owned(),
        ..CreatedPage::default()
    };
    let (mut name, mut date) = (Cow::default(), String::new());
    wire::walk(text, |node| {
        let Part::Close(text) = node.part else {
            return Ok(());
        };
        match node.path {
            ["ListAllMyBucketsResult"] => has_root = true,
            ["ListAllMyBucketsResult", "Buckets", "Bucket", "Name"] => name = text,
            [
                "ListAllMyBucketsResult",
                "Buckets",
                "Bucket",
                "CreationDate",
            ] => date = text.into_owned(),
            ["ListAllMyBucketsResult", "Buckets", "Bucket"] => {
                let name = std::mem::take(&mut name);
                let mut date = std::mem::take(&mut date);
                date.truncate(if date.is_ascii() { DATE_BYTES_MAX } else { 0 });
                if let Some(name) = name.strip_prefix(prefix)
                    && names::check_new_bucket(name).is_ok()
                {
                    page.buckets.push((name.to_owned(), date));
                }
            }
            ["ListAllMyBucketsResult", "ContinuationToken"] if !text.is_empty() => {
                page.next = Some(names::token_for_client(&text, prefix));
            }
            _ => {}
        }
        Ok(())
    })
    .map_err(broken)?;
    if !has_root {
        return Err(broken("another document"));
    }
    page.buckets.sort_unstable();
    Ok(page)
}

/// The `ListBuckets` document of one page. `configured` is sorted by name and, as `may_see` says of the created ones,
/// only what the key may see.
pub fn list<'a>(
    owner: &str,
    page: &Page,
    configured: impl Iterator<Item = ListedBucket<'a>>,
    created: Option<&CreatedPage>,
    may_see: impl Fn(&str) -> bool,
) -> Bytes {
    let store_next = created
        .and_then(|created| created.next.as_deref())
        .filter(|next| page.token.as_deref() != Some(*next));
    // What comes behind the store's page waits for the store's next one.
    let last = match (created, store_next) {
        (Some(created), Some(_)) => Some(created.buckets.last().map_or("", |(name, _)| name)),
        (Some(_) | None, _) => None,
    };
    let mut found: Vec<(&str, String, &str)> = configured
        .filter(|bucket| page.wants(bucket.name) && page.wants_region(bucket.region))
        .filter(|bucket| last.is_none_or(|last| bucket.name <= last))
        .map(|bucket| {
            (
                bucket.name,
                date::iso_millis(bucket.created_at),
                bucket.region,
            )
        })
        .collect();
    if let Some(created) = created {
        let visible = created
            .buckets
            .iter()
            .filter(|(name, _)| page.wants(name) && may_see(name));
        found.extend(visible.map(|(name, date)| (&**name, date.clone(), &*created.region)));
        found.sort_by_key(|(name, _, _)| *name);
    }
    let most = page.most.unwrap_or(BUCKETS_MAX);
    let next = match (found.get(most.saturating_sub(1)), store_next) {
        (Some((name, _, _)), _) if found.len() > most => {
            Some(Page::next(name, page.token.as_deref()))
        }
        (_, Some(token)) => Some(Page::next(
            page.after.as_str().max(last.unwrap_or_default()),
            Some(token),
        )),
        (_, None) => None,
    };
    found.truncate(most);
    document(owner, page, &found, next.as_deref())
}

fn document(
    owner: &str,
    page: &Page,
    buckets: &[(&str, String, &str)],
    next: Option<&str>,
) -> Bytes {
    let mut out = wire::document("ListAllMyBucketsResult");
    out.push_str("<Owner>");
    wire::push_element(&mut out, "ID", owner);
    wire::push_element(&mut out, "DisplayName", owner);
    out.push_str("</Owner><Buckets>");
    for (name, created_at, region) in buckets {
        out.push_str("<Bucket>");
        wire::push_element(&mut out, "Name", name);
        wire::push_element(&mut out, "CreationDate", created_at);
        if !region.is_empty() {
            wire::push_element(&mut out, "BucketRegion", region);
        }
        out.push_str("</Bucket>");
    }
    out.push_str("</Buckets>");
    if let Some(next) = next {
        wire::push_element(&mut out, "ContinuationToken", next);
    }
    if !page.prefix.is_empty() {
        wire::push_element(&mut out, "Prefix", &page.prefix);
    }
    out.push_str("</ListAllMyBucketsResult>");
    out.into()
}

/// The document that makes a bucket at `resource`, of the client's. A bucket can be made where the resource is and
/// nowhere else: a client that names another place is told so, not given one that it did not want.
pub fn configuration(document: &[u8], resource: &Resource) -> Result<Option<Bytes>> {
    const EUROPE: (&str, &str) = ("EU", "eu-west-1");
    let region = region(resource);
    let wanted = wanted_location(document)?;
    if !(wanted.is_empty() || wanted == region || (wanted.as_str(), region) == EUROPE) {
        return Err(Error::new(
            Kind::LocationRefused,
            "The location constraint is not where this repository keeps new buckets.",
        ));
    }
    // AWS takes a bucket only at its region's endpoint, and only if told so; its first region must not be named. Other
    // stores have names of their own for places, and one place.
    let host = &resource.origin.host;
    let is_aws = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
    if region == "us-east-1" || (wanted.is_empty() && !is_aws) {
        return Ok(None);
    }
    let mut out = wire::document("CreateBucketConfiguration");
    wire::push_element(&mut out, "LocationConstraint", region);
    out.push_str("</CreateBucketConfiguration>");
    Ok(Some(out.into()))
}

/// Where a client wants its bucket to be; empty where it does not say.
pub(super) fn wanted_location(document: &[u8]) -> Result<String> {
    let mut location = String::new();
    if document.is_empty() {
        return Ok(location);
    }
    let text = std::str::from_utf8(document).map_err(|_| wire::malformed())?;
    let mut unknown = false;
    wire::walk(text, |node| {
        match (node.path, node.part) {
            (["CreateBucketConfiguration"], _)
            | (["CreateBucketConfiguration", "LocationConstraint"], Part::Open) => {}
            (["CreateBucketConfiguration", "LocationConstraint"], Part::Close(text)) => {
                text.trim().clone_into(&mut location);
            }
            (["CreateBucketConfiguration", ..], _) => unknown = true,
            _ => return Err(wire::malformed()),
        }
        Ok(())
    })?;
    if unknown {
        return Err(Error::unsupported(
            "Of a bucket's configuration only LocationConstraint is implemented.",
        ));
    }
    Ok(location)
}

fn region(resource: &Resource) -> &str {
    resource.s3().map_or("", |account| &account.region)
}

fn bad_argument(name: &'static str) -> Error {
    Error::new(Kind::InvalidArgument, "A query parameter is not valid.").with_param(name)
}

fn broken(detail: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The store's list of buckets is not valid.",
    )
    .with_detail(detail)
}

#[cfg(test)]
mod tests;
