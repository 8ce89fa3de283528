//! The compiled config: one immutable value that a request takes once.
//!
//! Knows no codec and does no I/O. Lookups are hash lookups; nothing here is locked.

pub mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use uuid::Uuid;

use self::table::Table;
use crate::keys::{Key, Material};
use crate::policy::limit::{Limiter, Rules};
use crate::policy::route::{Repository, Resource};
use crate::protocol::Front;
use crate::secret::Secret;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts up from 1 with each swap.
    pub generation: u64,
    /// SHA-256, hex, over the content of the whole set of files.
    pub hash: Box<str>,
    pub loaded_at: Timestamp,
    pub process: ProcessSettings,
    pub listen: Vec<Listen>,
    /// Base domains for virtual-host addressing and for listeners that several fronts share.
    pub base_domains: Vec<(Front, Box<str>)>,
    pub trusted_proxies: Vec<IpNet>,
    pub tls: TlsSettings,
    pub cors: Option<Cors>,
    pub log: LogSettings,
    /// Whether calls of models are counted under the names of OpenTelemetry too.
    pub gen_ai_metrics: bool,
    pub limits: GlobalLimits,
    /// Of all requests together.
    pub limiter: Arc<Limiter>,
    pub admin: AdminSettings,
    /// Sorted by name.
    pub repositories: Vec<Arc<Repository>>,
    /// Sorted by name.
    pub resources: Vec<Arc<Resource>>,
    /// S3 keys by access key id: only keys of repositories whose endpoint is S3.
    pub s3_keys: Table<Box<str>, KeyEntry>,
    /// AI keys by the SHA-256 of their bearer token.
    pub ai_keys: Table<[u8; 32], KeyEntry>,
    /// The same keys by id.
    pub(super) keys_by_id: Table<Uuid, KeyEntry>,
}

/// A key with the one repository that it opens.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    pub key: Arc<Key>,
    pub repository: Arc<Repository>,
    /// Where the key has limits of its own.
    pub limiter: Option<Arc<Limiter>>,
}

impl AsRef<Key> for KeyEntry {
    fn as_ref(&self) -> &Key {
        &self.key
    }
}

/// Read at start only; a change is reported as needing a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    pub state_dir: PathBuf,
    /// 0: one a core.
    pub worker_threads: usize,
}

/// One address to listen on, with the fronts that share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: ListenAddress,
    pub tls: bool,
    pub fronts: Vec<Front>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A numeric `HOST:PORT`.
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A socket passed by systemd under this name.
    Fd(Box<str>),
}

/// Certificates of the TLS listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The first is used where no name matches.
    pub certificates: Vec<Certificate>,
}

/// A certificate as it was read, not yet parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where the chain came from, for messages.
    pub path: PathBuf,
    pub chain_pem: Vec<u8>,
    pub key_pem: Secret,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSettings {
    pub level: tracing::level_filters::LevelFilter,
    pub json: bool,
    /// A line for each request.
    pub access: bool,
    /// The share of successful requests that get their line, 0 to 1.
    pub success_sample: f64,
    /// From how long on a request always gets its line.
    pub slow: Duration,
}

/// Answers to CORS preflights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `*` or exact origins.
    pub allow_origins: Vec<Box<str>>,
    pub allow_methods: Vec<Box<str>>,
    pub allow_headers: Vec<Box<str>>,
    pub expose_headers: Vec<Box<str>>,
    pub max_age: Duration,
}

/// Limits of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalLimits {
    /// Largest request head, in bytes.
    pub header_bytes: usize,
    /// From a head's first byte to its last.
    pub header_deadline: Duration,
    /// How long an idle client connection is kept.
    pub keep_alive: Duration,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    /// Bytes a second that a request body must keep up, after 10 s of grace. 0: no minimum.
    pub min_body_rate: u64,
    /// Longest wait for requests in flight at shutdown.
    pub drain: Duration,
    /// Largest AI request body, in bytes.
    pub ai_body_bytes: usize,
    /// All AI request bodies held at one time, in bytes.
    pub ai_body_bytes_total: usize,
    /// Of all requests together.
    pub requests: Rules,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// `Host` values that are answered.
    pub allow_hosts: Vec<Box<str>>,
    pub metrics_public: bool,
    pub tokens: Vec<AdminToken>,
}

/// What an admin token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `/metrics` only.
    Metrics,
    /// GETs.
    Viewer,
    /// Viewer, and keys and reload.
    Operator,
    Admin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    pub name: Box<str>,
    pub role: Role,
    pub sha256: [u8; 32],
}

impl Snapshot {
    pub fn repository(&self, name: &str) -> Option<&Arc<Repository>> {
        self.repositories
            .iter()
            .find(|repository| *repository.name == *name)
    }

    /// The key of this id, if it is served.
    pub fn key(&self, id: Uuid) -> Option<&KeyEntry> {
        self.keys_by_id.get(&id)
    }

    /// Makes room in a snapshot without keys.
    pub(super) fn reserve_keys(&mut self, s3: usize, ai: usize) {
        self.s3_keys = Table::with_capacity(s3);
        self.ai_keys = Table::with_capacity(ai);
        self.keys_by_id = Table::with_capacity(s3 + ai);
    }

    /// Puts a key where requests look for it, in the place of the one of the same id.
    pub(super) fn add_key(&mut self, entry: KeyEntry) {
        let id = entry.key.id;
        if let Some(before) = self.keys_by_id.insert(id, entry.clone()) {
            self.forget(&before.key);
        }
        match &entry.key.material {
            Material::Hmac(_) => self.s3_keys.insert(entry.key.key.clone(), entry),
            Material::Digest(digest) => self.ai_keys.insert(*digest, entry),
        };
    }

    pub(super) fn remove_key(&mut self, id: Uuid) {
        if let Some(before) = self.keys_by_id.remove(&id) {
            self.forget(&before.key);
        }
    }

    /// Takes a key from where requests look for it, unless another is there by now.
    fn forget(&mut self, key: &Key) {
        let is_it = |entry: Option<&KeyEntry>| entry.is_some_and(|entry| entry.key.id == key.id);
        match &key.material {
            Material::Hmac(_) if is_it(self.s3_keys.get(&key.key)) => {
                self.s3_keys.remove(&key.key);
            }
            Material::Digest(digest) if is_it(self.ai_keys.get(digest)) => {
                self.ai_keys.remove(digest);
            }
            Material::Hmac(_) | Material::Digest(_) => {}
        }
    }
}
