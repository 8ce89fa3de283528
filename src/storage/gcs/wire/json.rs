//! Documents of the JSON API, read.

use serde::Deserialize;

use super::broken;
use crate::error::Result;
use crate::storage::reply::{BucketPage, ListedBucket};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Buckets {
    /// Left out where there are none.
    #[serde(default)]
    items: Vec<Bucket>,
    next_page_token: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    name: Box<str>,
    time_created: Option<Box<str>>,
}

pub(in crate::storage::gcs) fn bucket_page(document: &[u8]) -> Result<BucketPage> {
    let Buckets {
        items,
        next_page_token: next,
    } = serde_json::from_slice(document).map_err(broken)?;
    let buckets = items.into_iter().map(|bucket| ListedBucket {
        name: bucket.name,
        created_at: bucket.time_created.and_then(|at| at.parse().ok()),
    });
    Ok(BucketPage {
        buckets: buckets.collect(),
        next,
    })
}
