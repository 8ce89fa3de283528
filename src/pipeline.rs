//! The path of a storage request, as straight functions without I/O. Start reading here.
//!
//! ```text
//! identify   decode the head, prove the key, check that it may be used now and from here
//! permit     with the whole request known: check every target, find where each lives
//! plan       answer ourselves, or forward to one resource
//! ```
//!
//! `proxy::storage` reads bodies between the steps and runs the plan. A [`Plan`] is made from [`Permitted`]
//! alone, and that only after every demand was allowed.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::config::snapshot::{KeyEntry, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::keys::Key;
use crate::message::reply::Reply;
use crate::policy::authorize::{self, Permit};
use crate::policy::route::{Bucket, Repository, StorageEndpoint};
use crate::storage::s3::auth::{self, Payload};
use crate::storage::s3::downstream::{self, ListedBucket};
use crate::storage::s3::route::{self, Op, S3Request, WholeOp};
use crate::storage::s3::{Arrival, upstream};

/// A request whose sender is known.
pub struct Identified {
    pub key: Arc<Key>,
    pub repository: Arc<Repository>,
    pub request: S3Request,
    pub payload: Payload,
}

/// A request that may do everything it asks for.
pub struct Permitted {
    pub op: WholeOp,
    key: Arc<Key>,
    repository: Arc<Repository>,
    target: Option<Arc<Bucket>>,
    source: Option<Arc<Bucket>>,
    _permit: Permit,
}

/// What is done about a request.
pub enum Plan {
    Reply(Box<Reply>),
    Forward(Box<Hop>),
}

/// One request towards one resource.
pub struct Hop {
    pub op: WholeOp,
    pub bucket: Arc<Bucket>,
    /// The bucket that a copy reads from.
    pub source: Option<Arc<Bucket>>,
    /// Largest object or part, in bytes.
    pub object_bytes_max: u64,
}

/// Decodes the head and proves who sent it.
pub fn identify(
    snapshot: &Snapshot,
    arrival: &Arrival<'_>,
    peer: Option<IpAddr>,
) -> Result<Identified> {
    // Who asks comes first: a stranger learns nothing of what is served, and an old signature's own query
    // parameters are told as what they are.
    let verified = auth::authenticate(arrival, |id| snapshot.s3_keys.get(id))?;
    let request = route::decode(arrival)?;
    let rule = storage(&verified.key().repository)?.unsigned_payload;
    verified.check_unsigned(&request, rule, arrival.secure)?;
    let (KeyEntry { key, repository }, payload) = verified.into_parts();
    authorize::check_use(key, peer, arrival.now)?;
    key.touch(arrival.now);
    Ok(Identified {
        key: Arc::clone(key),
        repository: Arc::clone(repository),
        request,
        payload,
    })
}

/// Checks every target of the whole request, and finds the buckets that it names.
pub fn permit(key: Arc<Key>, repository: Arc<Repository>, op: WholeOp) -> Result<Permitted> {
    let endpoint = storage(&repository)?;
    let request = op.request();
    if request.op() == Op::CreateBucket
        && let Some(name) = request.bucket()
        && endpoint.by_name.contains_key(name)
        && authorize::may_see(&key, name)
    {
        // Whatever the key's access: clients such as rclone make sure of a bucket before they upload.
        let message = "The bucket that you tried to create already exists, and you own it.";
        return Err(Error::new(Kind::BucketExists, message));
    }
    let permit = authorize::authorize(&key, op.demands())?;
    if matches!(request.op(), Op::CreateBucket | Op::DeleteBucket) {
        return Err(Error::new(
            Kind::AccessDenied,
            "Buckets of this repository are made in its config.",
        ));
    }
    let target = request
        .bucket()
        .map(|name| bucket(endpoint, name))
        .transpose()?;
    let source = request
        .source()
        .map(|source| bucket(endpoint, &source.bucket))
        .transpose()?;
    Ok(Permitted {
        target,
        source,
        op,
        key,
        repository,
        _permit: permit,
    })
}

/// Decides what is done.
pub fn plan(permitted: Permitted) -> Result<Plan> {
    let Permitted {
        op,
        key,
        repository,
        target,
        source,
        ..
    } = permitted;
    let Some(bucket) = target else {
        return list_buckets(&op, &key, &repository).map(|reply| Plan::Reply(Box::new(reply)));
    };
    if op.request().op() == Op::GetBucketLocation {
        let region = bucket.resource.s3().map_or("", |account| &account.region);
        return Ok(Plan::Reply(Box::new(xml(downstream::location(region)))));
    }
    if let Some(source) = &source
        && !upstream::copies_natively(source, &bucket)
    {
        return Err(Error::unsupported(
            "A copy between buckets on two different resources is not implemented.",
        ));
    }
    let object_bytes_max = storage(&repository)?.object_bytes_max;
    Ok(Plan::Forward(Box::new(Hop {
        op,
        bucket,
        source,
        object_bytes_max,
    })))
}

fn list_buckets(op: &WholeOp, key: &Key, repository: &Repository) -> Result<Reply> {
    let endpoint = storage(repository)?;
    let visible = endpoint
        .buckets
        .iter()
        .filter(|bucket| authorize::may_see(key, &bucket.exposed));
    let listed = visible.map(|bucket| ListedBucket {
        name: &bucket.exposed,
        created_at: bucket.created_at,
        region: bucket.resource.s3().map_or("", |account| &account.region),
    });
    downstream::list_buckets(op.request(), &repository.name, listed).map(xml)
}

fn xml(body: Bytes) -> Reply {
    Reply::new(StatusCode::OK).with_body("application/xml", body)
}

fn storage(repository: &Repository) -> Result<&StorageEndpoint> {
    // The keyring holds storage keys of storage repositories only.
    repository
        .storage
        .as_ref()
        .ok_or_else(|| Error::internal("a storage key without a storage endpoint"))
}

fn bucket(endpoint: &StorageEndpoint, name: &str) -> Result<Arc<Bucket>> {
    endpoint
        .by_name
        .get(name)
        .map(Arc::clone)
        .ok_or_else(|| Error::new(Kind::BucketNotFound, "The specified bucket does not exist"))
}
