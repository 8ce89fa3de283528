//! The path of a storage request, as straight functions without I/O. Start reading here.
//!
//! ```text
//! identify   decode the head, prove the key, check that it may be used now and from here
//! permit     with the whole request known: check every target, find where each lives
//! plan       answer ourselves, forward to one resource, or compose several requests
//! ```
//!
//! `proxy::storage` reads bodies between the steps and runs the plan. A [`Plan`] is made from [`Permitted`]
//! alone, and that only after every demand was allowed.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use uuid::Uuid;

use crate::config::snapshot::{KeyEntry, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::keys::Key;
use crate::message::reply::Reply;
use crate::policy::authorize::{self, Demand, Permit, Scope};
use crate::policy::limit::Limiter;
use crate::policy::route::{
    Bucket, CreatedBuckets, Repository, Resource, SignatureV2, StorageEndpoint,
};
use crate::storage;
use crate::storage::op::ListBuckets;
use crate::storage::reply::BucketPage;
use crate::storage::s3::auth::{self, Payload, Verified};
use crate::storage::s3::buckets::{self, CreatedPage, ListedBucket, Page};
use crate::storage::s3::downstream;
use crate::storage::s3::form::{Destination, Form};
use crate::storage::s3::route::{self, Op, S3Request, WholeOp};
use crate::storage::s3::upstream::{self, UpstreamRequest};
use crate::storage::s3::{Arrival, names, wire};

/// A request whose sender is known.
pub struct Identified {
    pub key: Arc<Key>,
    pub repository: Arc<Repository>,
    /// Where the key has limits of its own.
    pub limiter: Option<Arc<Limiter>>,
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
    /// At a resource that speaks another protocol.
    Translate(Box<Hop>),
    /// Our buckets, and those that clients created at a resource.
    ListBuckets(Box<Listing>),
    /// Several requests make one operation.
    Compose(Box<Crossing>),
}

/// A listing of buckets that has to ask the resource which ones clients created.
pub struct Listing {
    page: Page,
    key: Arc<Key>,
    repository: Arc<Repository>,
}

/// One request towards one resource.
pub struct Hop {
    pub op: WholeOp,
    pub bucket: Arc<Bucket>,
    /// The bucket that a copy reads from.
    pub source: Option<Arc<Bucket>>,
    /// Largest object or part, in bytes.
    pub object_bytes_max: u64,
    /// Whose all buckets and objects are, as clients are told.
    pub owner: Arc<str>,
    pub repository: Uuid,
}

/// A copy between two resources, of which neither can read the other's objects.
pub struct Crossing {
    pub op: WholeOp,
    pub source: Arc<Bucket>,
    pub target: Arc<Bucket>,
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
    let find = |id: &str| snapshot.s3_keys.get(id);
    let verified = auth::authenticate(arrival, find, |entry| signature_v2(entry))?;
    let request = route::decode(arrival)?;
    admit(arrival, peer, verified, request)
}

fn signature_v2(entry: &KeyEntry) -> SignatureV2 {
    let endpoint = entry.repository.storage.as_ref();
    endpoint.map_or(SignatureV2::Refuse, |endpoint| endpoint.signature_v2)
}

/// Whether the key may be used now, from here, in this way.
fn admit(
    arrival: &Arrival<'_>,
    peer: Option<IpAddr>,
    verified: Verified<&KeyEntry>,
    request: S3Request,
) -> Result<Identified> {
    let rule = storage_of(&verified.key().repository)?.unsigned_payload;
    verified.check_unsigned(&request, rule, arrival.secure)?;
    let (entry, payload) = verified.into_parts();
    let KeyEntry {
        key,
        repository,
        limiter,
    } = entry;
    authorize::check_use(key, peer, arrival.now)?;
    key.touch(arrival.now);
    Ok(Identified {
        limiter: limiter.clone(),
        key: Arc::clone(key),
        repository: Arc::clone(repository),
        request,
        payload,
    })
}

/// Proves who sent a form, and that its policy allows it; gives the upload that it stands for, with its headers.
pub fn identify_form(
    snapshot: &Snapshot,
    arrival: &Arrival<'_>,
    peer: Option<IpAddr>,
    to: &Destination,
    form: &Form,
) -> Result<(Identified, HeaderMap)> {
    let find = |id: &str| snapshot.s3_keys.get(id);
    let verified =
        auth::authenticate_form(&form.fields, arrival, find, |entry| signature_v2(entry))?;
    form.check_policy(to, arrival.now)?;
    let (request, headers) = form.request(arrival, to)?;
    let identified = admit(arrival, peer, verified, request)?;
    Ok((identified, headers))
}

/// Checks every target of the whole request, and finds the buckets that it names.
pub fn permit(key: Arc<Key>, repository: Arc<Repository>, mut op: WholeOp) -> Result<Permitted> {
    let endpoint = storage_of(&repository)?;
    refuse_entries(&key, endpoint, &mut op);
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
    if matches!(request.op(), Op::CreateBucket | Op::DeleteBucket)
        && (endpoint.created_buckets.is_none() || is_configured(endpoint, request.bucket()))
    {
        return Err(Error::new(
            Kind::AccessDenied,
            "Buckets of this repository are made in its config.",
        ));
    }
    let target = request
        .bucket()
        .map(|name| bucket(endpoint, name))
        .transpose()
        // A name that S3 takes for a new bucket may be too long behind the prefix.
        .map_err(|error| {
            let creates = request.op() == Op::CreateBucket;
            if creates {
                names::invalid_bucket()
            } else {
                error
            }
        })?;
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

/// Takes out of a batch delete what the key may not delete, or what cannot be named at the store.
fn refuse_entries(key: &Key, endpoint: &StorageEndpoint, op: &mut WholeOp) {
    let request = op.request();
    let (Op::DeleteObjects, Some(name)) = (request.op(), request.bucket()) else {
        return;
    };
    let access = request.access();
    let name: Box<str> = name.into();
    let bucket = endpoint.by_name.get(&name);
    let prefix = bucket.map_or("", |bucket| &*bucket.prefix);
    op.refuse(|object| {
        let scope = Scope::Object {
            bucket: &name,
            key: object,
        };
        authorize::check(key, Demand { access, scope })?;
        upstream::check_upstream_key(prefix, object)
    });
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
        return list_buckets(&op, key, repository);
    };
    let endpoint = storage_of(&repository)?;
    if op.request().op() == Op::GetBucketLocation && is_configured(endpoint, op.request().bucket())
    {
        let region = bucket.resource.s3().map_or("", |account| &account.region);
        return Ok(Plan::Reply(Box::new(xml(downstream::location(region)))));
    }
    if op.op() == Op::DeleteObjects && op.delete().entries.is_empty() {
        let reply = xml(wire::delete_result(op.refused()));
        return Ok(Plan::Reply(Box::new(reply)));
    }
    let object_bytes_max = endpoint.object_bytes_max;
    Ok(match source {
        Some(source)
            if source.resource.s3().is_some()
                && bucket.resource.s3().is_some()
                && !storage::copies_natively(&source, &bucket) =>
        {
            Plan::Compose(Box::new(Crossing {
                op,
                source,
                target: bucket,
                object_bytes_max,
            }))
        }
        source => {
            // What another cloud's object is made of has to be read there first.
            let is_foreign = |source: &Arc<Bucket>| !storage::copies_natively(source, &bucket);
            let forwards =
                bucket.resource.s3().is_some() && !source.as_ref().is_some_and(is_foreign);
            let hop = Box::new(Hop {
                op,
                bucket,
                source,
                object_bytes_max,
                owner: Arc::clone(&repository.name),
                repository: repository.id,
            });
            if forwards {
                Plan::Forward(hop)
            } else {
                Plan::Translate(hop)
            }
        }
    })
}

fn list_buckets(op: &WholeOp, key: Arc<Key>, repository: Arc<Repository>) -> Result<Plan> {
    let listing = Listing {
        page: Page::of(op.request())?,
        key,
        repository,
    };
    if listing.created().is_some() {
        return Ok(Plan::ListBuckets(Box::new(listing)));
    }
    let reply = listing.reply(None)?;
    Ok(Plan::Reply(Box::new(reply)))
}

impl Listing {
    /// Where to ask, if anything there could be shown.
    fn created(&self) -> Option<&CreatedBuckets> {
        let endpoint = self.repository.storage.as_ref()?;
        let created = endpoint.created_buckets.as_ref()?;
        let region = created.resource.s3().map_or("", |account| &account.region);
        let names = &self.key.allow_buckets;
        let confined =
            !names.is_empty() && names.iter().all(|name| endpoint.by_name.contains_key(name));
        (self.page.wants_region(region) && !confined).then_some(created)
    }

    fn asked(&self) -> Result<&CreatedBuckets> {
        self.created()
            .ok_or_else(|| Error::internal("a listing without a resource"))
    }

    /// Who is asked.
    pub fn resource(&self) -> Result<&Arc<Resource>> {
        Ok(&self.asked()?.resource)
    }

    /// Whose token a page's is.
    pub fn repository(&self) -> Uuid {
        self.repository.id
    }

    /// What is asked of an S3 resource.
    pub fn request(&self) -> Result<UpstreamRequest> {
        buckets::encode_listing(&self.page, self.asked()?)
    }

    /// The answer, with an S3 resource's list.
    pub fn answer(&self, document: &[u8]) -> Result<Reply> {
        let created = buckets::decode_listing(document, self.asked()?)?;
        self.reply(Some(&created))
    }

    /// What is asked of a resource that speaks another protocol, and a bucket that stands for all of its buckets.
    pub fn operation(&self) -> Result<(Bucket, ListBuckets)> {
        let created = self.asked()?;
        Ok((created.bucket(""), buckets::listing(&self.page, created)))
    }

    /// The answer, with such a resource's list.
    pub fn answer_page(&self, found: BucketPage) -> Result<Reply> {
        let created = buckets::created_page(found, self.asked()?);
        self.reply(Some(&created))
    }

    fn reply(&self, created: Option<&CreatedPage>) -> Result<Reply> {
        let endpoint = storage_of(&self.repository)?;
        let visible = endpoint
            .buckets
            .iter()
            .filter(|bucket| authorize::may_see(&self.key, &bucket.exposed));
        let listed = visible.map(|bucket| ListedBucket {
            name: &bucket.exposed,
            created_at: bucket.created_at,
            region: bucket.resource.s3().map_or("", |account| &account.region),
        });
        // A configured name hides a created one, here as everywhere.
        let may_see = |name: &str| {
            !is_configured(endpoint, Some(name)) && authorize::may_see(&self.key, name)
        };
        let owner = &self.repository.name;
        Ok(xml(buckets::list(
            owner, &self.page, listed, created, may_see,
        )))
    }
}

fn xml(body: Bytes) -> Reply {
    Reply::new(StatusCode::OK).with_body("application/xml", body)
}

fn storage_of(repository: &Repository) -> Result<&StorageEndpoint> {
    // The keyring holds storage keys of storage repositories only.
    repository
        .storage
        .as_ref()
        .ok_or_else(|| Error::internal("a storage key without a storage endpoint"))
}

fn is_configured(endpoint: &StorageEndpoint, name: Option<&str>) -> bool {
    name.is_some_and(|name| endpoint.by_name.contains_key(name))
}

/// The bucket of the config, or else the one that clients created, if they could have.
fn bucket(endpoint: &StorageEndpoint, name: &str) -> Result<Arc<Bucket>> {
    if let Some(bucket) = endpoint.by_name.get(name) {
        return Ok(Arc::clone(bucket));
    }
    let created = endpoint.created_buckets.as_ref().filter(|created| {
        names::check_new_bucket(name).is_ok()
            && created.bucket_prefix.len() + name.len() <= names::NEW_BUCKET_BYTES_MAX
    });
    let Some(created) = created else {
        let message = "The specified bucket does not exist";
        return Err(Error::new(Kind::BucketNotFound, message));
    };
    Ok(Arc::new(created.bucket(name)))
}
