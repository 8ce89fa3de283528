//! Client keys (ours, given to applications) and what they prove.
//!
//! Three representations at rest, none of which lets a reader of the files act as a client: HMAC secrets are
//! sealed ([`seal`]) because we must use them again, bearer tokens are SHA-256 digests ([`hash`]) because they
//! are only ever compared, RSA keys are the public half. See the crate's documentation for the words
//! *key* (ours) and *credential* (a provider's).

pub mod file;
pub mod generate;
pub mod hash;
pub mod rsa;
pub mod seal;
pub mod signing;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ipnet::IpNet;
use jiff::Timestamp;
use uuid::Uuid;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use signing::SigningCache;

/// Which of a repository's endpoints a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Storage,
    Ai,
}

/// What a key may do. The order is the order of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// Get, head, lists, tags read, bucket location.
    Read,
    /// `Read`, and object writes, deletes, tags and all of multipart.
    Write,
    /// `Write`, and every other sub-resource of a bucket or object, locks, creating and deleting buckets.
    Admin,
}

/// The label that an AI key carries; it restricts only with `restrict_to_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AiType {
    OpenAi,
    Google,
    Anthropic,
    Aws,
    Other,
}

/// What proves the possession of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// An HMAC secret (S3, Azure), opened from its sealed form at load.
    Hmac(Secret),
    /// SHA-256 of a bearer token.
    Digest([u8; 32]),
}

/// A client key as compiled into a snapshot. It outlives reloads while its file is unchanged, and with it
/// [`Key::signing`] and [`Key::touch`]'s mark.
#[derive(Debug)]
pub struct Key {
    pub id: Uuid,
    /// The name of the one repository that it opens.
    pub repository: Arc<str>,
    pub name: Arc<str>,
    pub family: Family,
    pub access: Access,
    /// Narrows `Write` to puts, deletes and multipart.
    pub write_only: bool,
    /// The public part: an S3 access key id, or the display id of an AI key.
    pub key: Box<str>,
    pub material: Material,
    pub ai_type: Option<AiType>,
    pub restrict_to_type: bool,
    pub created_at: Timestamp,
    pub created_by: Box<str>,
    pub not_before: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub disabled: bool,
    /// Empty: any address.
    pub allow_ips: Vec<IpNet>,
    /// Exposed bucket names. Empty: all of the repository.
    pub allow_buckets: Vec<Box<str>>,
    /// `bucket/prefix`, exposed names. Empty: everything in the allowed buckets.
    pub allow_prefixes: Vec<Box<str>>,
    /// Model names as clients write them. Empty: all of the repository.
    pub models: Vec<Box<str>>,
    /// Derived SigV4 keys.
    pub signing: SigningCache,
    /// Unix seconds of the last request that authenticated, 0 if none since the key was loaded.
    pub last_used: AtomicI64,
}

impl Key {
    /// Whether the key may be used at `now`: not disabled, within its times.
    pub fn check_active(&self, now: Timestamp) -> Result<()> {
        let inactive = if self.disabled {
            "disabled"
        } else if self.expires_at.is_some_and(|at| now >= at) {
            "expired"
        } else if self.not_before.is_some_and(|at| now < at) {
            "not valid yet"
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::KeyInactive, "The access key is not active.").with_detail(inactive))
    }

    /// Notes that the key authenticated a request at `now`.
    pub fn touch(&self, now: Timestamp) {
        let seconds = now.as_second();
        // Written at most once a second, so that a hot key's cache line is mostly read.
        if self.last_used.load(Ordering::Relaxed) != seconds {
            self.last_used.store(seconds, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    //! A key for unit tests, to be changed field by field.

    use super::*;

    pub(crate) fn key() -> Key {
        Key {
            id: Uuid::nil(),
            repository: "r".into(),
            name: "test".into(),
            family: Family::Storage,
            access: Access::Read,
            write_only: false,
            key: "AQDTTESTTESTTESTTEST".into(),
            material: Material::Hmac(Secret::new(*b"secret")),
            ai_type: None,
            restrict_to_type: false,
            created_at: Timestamp::UNIX_EPOCH,
            created_by: "test".into(),
            not_before: None,
            expires_at: None,
            disabled: false,
            allow_ips: Vec::new(),
            allow_buckets: Vec::new(),
            allow_prefixes: Vec::new(),
            models: Vec::new(),
            signing: SigningCache::new(),
            last_used: AtomicI64::new(0),
        }
    }

    #[test]
    fn times_and_disabling_make_a_key_inactive() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut key = key();
        key.not_before = Some(at(10));
        key.expires_at = Some(at(20));
        assert!(key.check_active(at(9)).is_err());
        assert!(key.check_active(at(10)).is_ok());
        assert!(key.check_active(at(19)).is_ok());
        assert!(key.check_active(at(20)).is_err());
        key.disabled = true;
        assert!(key.check_active(at(15)).is_err());
    }
}
