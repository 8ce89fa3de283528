//! Where a request goes: a repository's exposed names and models, and the resources behind them.
//!
//! Everything here is compiled from config, immutable, and shared by `Arc`: a request that was admitted keeps
//! the resource that it was admitted to, whatever is reloaded meanwhile.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use uuid::Uuid;

use crate::keys::AiType;
use crate::policy::credential::Credential;
use crate::policy::health::{Health, HealthRules};
use crate::policy::limit::Limiter;
use crate::protocol::{Dialect, Protocol};
use crate::secret::Secret;
use crate::telemetry::metrics::{RepositoryMeters, ResourceMeters};

/// One endpoint over many resources.
#[derive(Debug)]
pub struct Repository {
    pub id: Uuid,
    pub name: Arc<str>,
    pub storage: Option<StorageEndpoint>,
    pub ai: Option<AiEndpoint>,
    pub limiter: Arc<Limiter>,
    pub meters: Arc<RepositoryMeters>,
}

/// The storage half of a repository: a flat namespace of buckets under their exposed names.
#[derive(Debug)]
pub struct StorageEndpoint {
    pub protocol: Protocol,
    /// Sorted by exposed name.
    pub buckets: Vec<Arc<Bucket>>,
    pub by_name: HashMap<Box<str>, Arc<Bucket>, foldhash::fast::RandomState>,
    pub unsigned_payload: UnsignedPayload,
    pub signature_v2: SignatureV2,
    /// Largest object or part accepted, in bytes.
    pub object_bytes_max: u64,
    /// Where buckets that clients create are kept. `None`: they may not.
    pub created_buckets: Option<CreatedBuckets>,
}

/// Lends a resource's endpoint and credential to bucket names that match no entry.
#[derive(Debug)]
pub struct CreatedBuckets {
    /// Addressed by path: its host stands for all of its buckets.
    pub resource: Arc<Resource>,
    /// Put before the client's bucket name; no other repository uses it or an extension of it.
    pub bucket_prefix: Box<str>,
}

impl CreatedBuckets {
    /// The bucket of this name, whether it exists or not: that the store knows.
    pub fn bucket(&self, name: &str) -> Bucket {
        Bucket {
            exposed: name.into(),
            upstream: [&*self.bucket_prefix, name].concat().into(),
            prefix: "".into(),
            created_at: Timestamp::UNIX_EPOCH,
            resource: Arc::clone(&self.resource),
        }
    }
}

/// Whether a client may leave its payload out of the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsignedPayload {
    Allow,
    TlsOnly,
}

/// Whether a client may sign with Version 2, which covers less than Version 4 and uses SHA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureV2 {
    Refuse,
    TlsOnly,
    Allow,
}

/// A bucket or container as clients see it.
#[derive(Debug)]
pub struct Bucket {
    /// The name that clients use.
    pub exposed: Box<str>,
    /// The bucket's or container's own name at its resource.
    pub upstream: Box<str>,
    /// Put before every upstream key; empty, or ends where the config says (usually with `/`).
    pub prefix: Box<str>,
    /// As listings show it; of buckets that clients created the store knows better.
    pub created_at: Timestamp,
    pub resource: Arc<Resource>,
}

impl Bucket {
    /// Whether the client's names differ from the upstream's, so that documents which carry them must be
    /// translated.
    pub fn is_renamed(&self) -> bool {
        self.exposed != self.upstream || !self.prefix.is_empty()
    }
}

/// A bucket or container, or an AI provider account, attached to a repository.
#[derive(Debug)]
pub struct Resource {
    pub name: Arc<str>,
    /// Stable identity; the v5 uuid of the name where config gives none.
    pub id: Uuid,
    pub origin: Origin,
    pub timeouts: Timeouts,
    pub health_rules: HealthRules,
    /// Kept over reloads by the id.
    pub health: Arc<Health>,
    pub kind: ResourceKind,
    pub meters: Arc<ResourceMeters>,
}

/// Where a resource's server is.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    pub tls: bool,
    /// Host name or address, without port or brackets.
    pub host: Box<str>,
    /// What is looked up and named to TLS: `host`, or the bucket's own name under it where the bucket stands
    /// in the host.
    pub server_name: Box<str>,
    pub port: u16,
    /// The `Host` header: the port is left out when it is the scheme's own.
    pub authority: HeaderValue,
    /// Path of the configured URL without a trailing `/`; empty for none.
    pub base_path: Box<str>,
    pub reach: Reach,
    /// PEM bundle used instead of the system's roots.
    pub ca_file: Option<Box<str>>,
}

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Addresses of the public internet.
    Public,
    /// Private ones too, but for those where machines are told their own credentials.
    Private,
    /// Those alone, and the machine itself: for the servers of a [`credential::Source`] that config does not name.
    ///
    /// [`credential::Source`]: crate::policy::credential::Source
    Metadata,
}

/// Whether this is where clouds tell a machine its own credentials. Whoever could make us ask there as for an object
/// would be shown them.
pub fn is_metadata(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            v6.is_unicast_link_local() || (first == 0xfd00 && second == 0x0ec2)
        }
    }
}

/// Time limits towards one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub tls: Duration,
    /// From the end of the request to the head of the response.
    pub first_byte: Duration,
    /// Between two reads or writes of a body.
    pub idle: Duration,
    /// How long an unused connection stays in the pool.
    pub pool_idle: Duration,
}

/// What a resource speaks, with what it takes to speak it.
#[derive(Debug)]
pub enum ResourceKind {
    S3(S3Account),
    Gcs(GcsAccount),
    Azure(AzureAccount),
    Ai(AiAccount),
    /// A server that gives out the tokens of another resource. Never in a snapshot's list.
    Tokens,
}

/// An S3 or S3-compatible bucket's credential and habits.
#[derive(Debug, PartialEq)]
pub struct S3Account {
    /// The resource's own bucket; a request's is in [`Bucket::upstream`].
    pub bucket: Box<str>,
    pub region: Box<str>,
    pub credential: Credential,
    pub addressing: Addressing,
    pub quirks: S3Quirks,
}

/// What opens a bucket of Google Cloud Storage.
#[derive(Debug, PartialEq)]
pub struct GcsAccount {
    /// The resource's own bucket; a request's is in [`Bucket::upstream`].
    pub bucket: Box<str>,
    pub credential: Credential,
    /// Where buckets are made and listed.
    pub project: Option<Box<str>>,
}

/// What opens a container of Azure Blob Storage. Where the account stands in the path, as at emulators, it is in the
/// origin's `base_path`.
#[derive(Debug, PartialEq)]
pub struct AzureAccount {
    /// The resource's own container; a request's is in [`Bucket::upstream`].
    pub container: Box<str>,
    pub account: Box<str>,
    pub credential: Credential,
}

/// Where the bucket stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `https://host/bucket/key`
    Path,
    /// `https://bucket.host/key`
    Virtual,
}

/// What differs between S3-compatible stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S3Quirks {
    /// The store compares the payload with `x-amz-content-sha256` before it commits. Where not, we do.
    pub verifies_sha256: bool,
    /// The store takes `STREAMING-UNSIGNED-PAYLOAD-TRAILER` bodies.
    pub trailers: bool,
}

/// An account at an AI provider, or a model server.
#[derive(Debug, PartialEq)]
pub struct AiAccount {
    pub dialect: Dialect,
    pub provider: AiType,
    /// `None` for servers that ask for none, and where requests are signed.
    pub api_key: Option<Secret>,
    /// What requests are signed with, at AWS.
    pub signing: Option<Signing>,
    /// Ask for token usage in streams that did not, and hide it again.
    pub usage_injection: UsageInjection,
    /// The server has `/v1/responses`.
    pub responses: bool,
}

/// How requests to AWS are signed.
#[derive(Debug, PartialEq)]
pub struct Signing {
    pub region: Box<str>,
    pub credential: Credential,
}

/// What a repository does about a parameter that a provider cannot take, where the answer is good without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsupportedParams {
    /// Left out, and named in the answer.
    #[default]
    Warn,
    /// Refused.
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageInjection {
    /// Until the server refuses the field.
    Auto,
    Never,
}

/// The AI half of a repository.
#[derive(Debug)]
pub struct AiEndpoint {
    /// Models by the name that clients use, in config order.
    pub models: Vec<Arc<ModelRoute>>,
    pub by_name: HashMap<Box<str>, Arc<ModelRoute>, foldhash::fast::RandomState>,
    /// Resources without a `models` list, in config order: asked for whatever is not in `by_name`.
    pub open: Vec<Arc<Resource>>,
    /// All resources, in config order.
    pub resources: Vec<Arc<Resource>>,
    /// `/v1/*` paths outside the supported list that are forwarded unchanged to the first resource.
    pub passthrough: Vec<Box<str>>,
    pub unsupported_params: UnsupportedParams,
}

/// One model name of a repository.
#[derive(Debug)]
pub struct ModelRoute {
    /// The name that clients use.
    pub name: Box<str>,
    pub is_alias: bool,
    /// Where it is served, first choice first, each with the model's name there.
    pub targets: Vec<ModelTarget>,
}

#[derive(Debug)]
pub struct ModelTarget {
    pub resource: Arc<Resource>,
    pub upstream: Box<str>,
}

impl S3Account {
    /// The id of the account's key, where it has one of its own.
    pub fn access_key_id(&self) -> Option<&str> {
        self.credential.ready()?.access_key_id()
    }
}

impl Resource {
    /// The S3 account, where this is an S3 resource.
    pub fn s3(&self) -> Option<&S3Account> {
        match &self.kind {
            ResourceKind::S3(account) => Some(account),
            ResourceKind::Gcs(_)
            | ResourceKind::Azure(_)
            | ResourceKind::Ai(_)
            | ResourceKind::Tokens => None,
        }
    }

    /// The GCS account, where this is a GCS resource.
    pub fn gcs(&self) -> Option<&GcsAccount> {
        match &self.kind {
            ResourceKind::Gcs(account) => Some(account),
            ResourceKind::S3(_)
            | ResourceKind::Azure(_)
            | ResourceKind::Ai(_)
            | ResourceKind::Tokens => None,
        }
    }

    /// The Azure account, where this is an Azure resource.
    pub fn azure(&self) -> Option<&AzureAccount> {
        match &self.kind {
            ResourceKind::Azure(account) => Some(account),
            ResourceKind::S3(_)
            | ResourceKind::Gcs(_)
            | ResourceKind::Ai(_)
            | ResourceKind::Tokens => None,
        }
    }

    /// The credential that requests are signed with.
    pub fn credential(&self) -> Option<&Credential> {
        match &self.kind {
            ResourceKind::S3(account) => Some(&account.credential),
            ResourceKind::Gcs(account) => Some(&account.credential),
            ResourceKind::Azure(account) => Some(&account.credential),
            ResourceKind::Ai(account) => Some(&account.signing.as_ref()?.credential),
            ResourceKind::Tokens => None,
        }
    }

    /// The AI account, where this is an AI resource.
    pub fn ai(&self) -> Option<&AiAccount> {
        match &self.kind {
            ResourceKind::Ai(account) => Some(account),
            ResourceKind::S3(_)
            | ResourceKind::Gcs(_)
            | ResourceKind::Azure(_)
            | ResourceKind::Tokens => None,
        }
    }
}
