//! What may be asked of the key store.

use jiff::Timestamp;
use uuid::Uuid;

use crate::keys::{Access, AiType, Family};
use crate::telemetry::audit::Actor;

/// The repository that a request names.
#[derive(Clone, Copy, Debug)]
pub enum RepositoryRef<'a> {
    Id(Uuid),
    Name(&'a str),
}

/// A key that a request names.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef<'a> {
    pub id: Uuid,
    /// `None`: whichever it belongs to.
    pub repository: Option<RepositoryRef<'a>>,
    pub family: Option<Family>,
    /// Refuse if the key's etag is none of these.
    pub if_match: Option<&'a str>,
}

/// Who asks, and when.
#[derive(Clone, Debug)]
pub struct Caller {
    pub actor: Actor,
    pub now: Timestamp,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    pub kind: NewKind,
    pub not_before: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub allow_ips: Vec<String>,
    pub allow_buckets: Vec<String>,
    pub allow_prefixes: Vec<String>,
    pub models: Vec<String>,
}

/// Which of a repository's endpoints a new key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKind {
    Storage {
        access: Access,
        write_only: bool,
    },
    Ai {
        ai_type: AiType,
        restrict_to_type: bool,
    },
}

impl NewKey {
    /// A key without restrictions.
    pub fn new(name: impl Into<String>, kind: NewKind) -> Self {
        Self {
            name: name.into(),
            kind,
            not_before: None,
            expires_at: None,
            allow_ips: Vec::new(),
            allow_buckets: Vec::new(),
            allow_prefixes: Vec::new(),
            models: Vec::new(),
        }
    }

    pub(super) fn family(&self) -> Family {
        match self.kind {
            NewKind::Storage { .. } => Family::Storage,
            NewKind::Ai { .. } => Family::Ai,
        }
    }
}

/// What may be changed of a key.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    pub name: Option<String>,
    /// Storage keys only.
    pub access: Option<Access>,
}

/// An admin token to be known from now on.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    pub name: &'a str,
    /// `admin`, `operator`, `viewer` or `metrics`.
    pub role: &'a str,
    /// `sha256:...` of the token.
    pub digest: &'a str,
}

impl NewToken<'_> {
    /// The lines to add to `aqueduct.toml`.
    pub fn to_toml(&self) -> String {
        super::edit::token_lines(self)
    }
}
