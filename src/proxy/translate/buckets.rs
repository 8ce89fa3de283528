//! Asks a resource of another protocol which buckets clients created there.

use std::sync::Arc;

use super::is_answer;
use super::lane::Lane;
use crate::error::{Error, Result};
use crate::pipeline::Listing;
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::record::Record;
use crate::proxy::storage;
use crate::storage as model;
use crate::storage::op::{ListBuckets, Operation};
use crate::storage::reply::{BucketPage, Reply};
use crate::storage::s3::buckets::BUCKETS_MAX;
use crate::storage::s3::error::Failure;
use crate::storage::token::Tokens;

/// Pages that are fetched for one answer. Stops a store whose pages do not end.
const PAGES_MAX: u32 = 16;

/// Answers with the buckets that are there, and ours.
pub async fn list_buckets(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    listing: &Listing,
) -> Result<()> {
    let (bucket, op) = listing.operation()?;
    let bucket = Arc::new(bucket);
    let masters = engine.live.masters();
    let tokens = Tokens {
        ring: &masters,
        repository: listing.repository(),
        bucket: &bucket,
    };
    let lane = Lane {
        engine,
        arrived,
        bucket: &bucket,
        source: None,
        codec: model::upstream(&bucket.resource)?,
        may_repeat: true,
    };
    let reply = match pages(&lane, client, record, op, tokens).await {
        Ok(page) => listing.answer_page(page)?,
        Err(error) if !is_answer(&error) => return Err(error),
        Err(error) => {
            let failure = Failure::from(&error);
            record.failed(failure.kind, &failure.code);
            storage::failure_reply(&failure, &client.head().path(), &arrived.id)
        }
    };
    storage::send(client, arrived, record, reply).await
}

/// One page where the client asks for pages, else as many as there are: S3 gives all that it may at once.
async fn pages(
    lane: &Lane<'_>,
    client: &mut Client,
    record: &mut Record,
    list: ListBuckets,
    tokens: Tokens<'_>,
) -> Result<BucketPage> {
    let mut op = Operation::ListBuckets(list.clone());
    tokens.open(&mut op)?;
    let mut all = BucketPage::default();
    for _ in 0..PAGES_MAX {
        let told = lane.exchange(Some(client), record, &op, None).await?;
        let Reply::Buckets(page) = told.reply else {
            return Err(Error::internal("no answer to a listing of buckets"));
        };
        all.buckets.extend(page.buckets);
        all.next.clone_from(&page.next);
        if list.max.is_some() || page.next.is_none() || all.buckets.len() >= BUCKETS_MAX {
            break;
        }
        op = Operation::ListBuckets(ListBuckets {
            page: page.next,
            ..list.clone()
        });
    }
    let mut reply = Reply::Buckets(all);
    tokens.seal(&op, &mut reply)?;
    let Reply::Buckets(all) = reply else {
        return Err(Error::internal("a sealed listing of another kind"));
    };
    Ok(all)
}
