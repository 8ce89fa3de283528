//! Storage protocols. One folder each, and no folder knows another; what they share stands beside them.
//!
//! Where client and resource speak the same protocol, requests are forwarded within its folder. Where they do not, one
//! folder's downstream half reads an [`op::Operation`], another's upstream half writes it ([`codec::Upstream`]), and
//! the [`reply::Reply`] goes the same way back.
//!
//! # The path of a translated request
//!
//! ```text
//! let op = canonical::operation(&whole_op, &headers, length)?;     s3: refuses what cannot be said
//! let asked = answer::Asked { op: &whole_op, operation: &op, .. };
//! if let Some(message) = answer::unasked(&asked) { return message }
//! let codec = storage::upstream(&resource)?;
//! match plan::plan(&op, &codec.capability(&bucket), native_copy)? {
//!     Translate      => exchange(&op)
//!     Probe(probe)   => found = exchange(HeadObject(probe.request(&op)))   a missing object is None
//!                       match probe.settle(&op, found)? {
//!                           Send(op)       => exchange(&op)     412 now: it changed meanwhile, look again
//!                           NotModified(n) => Reply::NotModified(n)
//!                       }
//!     Compose(machine) => ...
//! }
//! let answer = answer::answer(&asked, outcome)?;                   Err: the Failure to be written
//! ```
//!
//! An exchange encodes, signs with the resource's credential, sends, and reads as [`codec`] says. A streamed body goes
//! through the verifying pipe of the client's protocol first, which peels its framing and holds back the tail: for S3
//! that is `body::plan` with quirks that leave all checks to us. The digests of [`codec::Upstream::digests`] are taken of
//! what was sent, and compared with what the store says that it has ([`reply::Stored::verify`], or else
//! [`reply::Stored::undo`]). A page may be empty and have a next one: it is asked for ([`op::ListObjects::next`]) before the client
//! is answered.
//!
//! What takes several requests is decided in [`compose`], and carried out by whoever runs the exchanges.
//!
//! Ids of uploads and page tokens are plain here. [`token`] seals them on the way to the client and opens them on the way
//! back.

pub mod azure;
mod canonical;
pub mod capability;
pub mod codec;
pub mod compose;
pub mod condition;
pub mod gcs;
pub mod head;
pub mod object;
pub mod op;
pub mod plan;
pub mod probe;
mod refusal;
pub mod reply;
pub mod s3;
pub mod sigv4;
pub mod token;

use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::policy::credential::ReadyCredential;
use crate::policy::route::{Bucket, Resource, ResourceKind};
use codec::Upstream;
use head::UpstreamHead;

/// The upstream half of the protocol that a resource speaks.
pub fn upstream(resource: &Resource) -> Result<&'static dyn Upstream> {
    match resource.kind {
        ResourceKind::Gcs(_) => Ok(&gcs::upstream::Gcs),
        ResourceKind::Azure(_) => Ok(&azure::upstream::Azure),
        ResourceKind::S3(_) => Ok(&s3::upstream::canonical::S3),
        ResourceKind::Ai(_) | ResourceKind::Tokens => Err(Error::internal("no store")),
    }
}

/// Whether the store of `target` can read the source of a copy by itself: one endpoint, and one credential for both.
pub fn copies_natively(source: &Bucket, target: &Bucket) -> bool {
    let (from, to) = (&source.resource, &target.resource);
    if Arc::ptr_eq(from, to) {
        return true;
    }
    match (&from.kind, &to.kind) {
        (ResourceKind::S3(_), ResourceKind::S3(_)) => s3::upstream::copies_natively(source, target),
        (ResourceKind::Gcs(one), ResourceKind::Gcs(other)) => {
            one_origin(from, to) && one.credential.acts_as(&other.credential)
        }
        (ResourceKind::Azure(one), ResourceKind::Azure(other)) => {
            one_origin(from, to)
                && one.account == other.account
                && one.credential.acts_as(&other.credential)
        }
        (
            ResourceKind::S3(_)
            | ResourceKind::Gcs(_)
            | ResourceKind::Azure(_)
            | ResourceKind::Ai(_)
            | ResourceKind::Tokens,
            _,
        ) => false,
    }
}

fn one_origin(one: &Resource, other: &Resource) -> bool {
    let (here, there) = (&one.origin, &other.origin);
    (here.tls, &here.host, here.port, &here.base_path)
        == (there.tls, &there.host, there.port, &there.base_path)
}

/// Signs a request for `resource`.
pub fn sign(
    head: &mut UpstreamHead,
    resource: &Resource,
    ready: &ReadyCredential,
    now: Timestamp,
) -> Result<()> {
    match &resource.kind {
        ResourceKind::Gcs(account) => gcs::auth::sign(head, account, ready, now),
        ResourceKind::Azure(account) => azure::auth::sign(head, account, ready, now),
        ResourceKind::S3(account) => s3::upstream::canonical::sign(head, account, ready, now),
        ResourceKind::Ai(_) | ResourceKind::Tokens => {
            Err(Error::internal("a request that was not translated"))
        }
    }
}

#[cfg(test)]
mod tests;
