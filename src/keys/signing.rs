//! Derived SigV4 signing keys, kept as keyed HMAC states.
//!
//! One request needs one HMAC over its string to sign; deriving the key for it needs four. The cache holds the
//! few (date, region, service) scopes that a key is really used with, newest first, so a warm request derives
//! nothing. Reads are lock-free; a miss replaces the whole small list.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use smallvec::SmallVec;

use crate::secret::Secret;

/// Scopes kept for one key: two days of two regions. Stops a client that cycles through regions from growing it.
const SCOPES_MAX: usize = 4;

/// The credential scope that a signing key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// `YYYYMMDD`.
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

/// A derived signing key for one scope.
pub struct SigningKey {
    /// `YYYYMMDD/region/service/aws4_request`, as in the string to sign.
    scope: Box<str>,
    keyed: HmacKey,
}

/// What differs between the two families that derive keys in this way.
#[derive(Clone, Copy)]
struct Words {
    prefix: &'static [u8],
    terminator: &'static str,
}

const AWS4: Words = Words {
    prefix: b"AWS4",
    terminator: "aws4_request",
};
const GOOG4: Words = Words {
    prefix: b"GOOG4",
    terminator: "goog4_request",
};

impl SigningKey {
    pub fn derive(secret: &Secret, scope: Scope<'_>) -> Self {
        Self::derive_as(AWS4, secret, scope)
    }

    /// As [`SigningKey::derive`], in the words of Google's V4.
    pub fn derive_goog4(secret: &Secret, scope: Scope<'_>) -> Self {
        Self::derive_as(GOOG4, secret, scope)
    }

    fn derive_as(words: Words, secret: &Secret, scope: Scope<'_>) -> Self {
        let length = words.prefix.len() + secret.expose().len();
        let mut first = zeroize::Zeroizing::new(Vec::with_capacity(length));
        first.extend_from_slice(words.prefix);
        first.extend_from_slice(secret.expose());
        let mut key = hmac(&first, scope.date.as_bytes());
        for part in [scope.region, scope.service, words.terminator] {
            key = hmac(&key, part.as_bytes());
        }
        Self {
            scope: format!(
                "{}/{}/{}/{}",
                scope.date, scope.region, scope.service, words.terminator
            )
            .into(),
            keyed: HmacKey::new(&key),
        }
    }

    /// The scope as it stands in a string to sign.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// HMAC-SHA256 of `message` under this key.
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        self.keyed.sign(message)
    }

    fn is_for(&self, scope: Scope<'_>) -> bool {
        let Some((rest, _)) = self.scope.rsplit_once('/') else {
            return false;
        };
        rest.strip_prefix(scope.date)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| rest.strip_prefix(scope.region))
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|service| service == scope.service)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.scope)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SigningCache(ArcSwap<SmallVec<[Arc<SigningKey>; SCOPES_MAX]>>);

impl SigningCache {
    pub fn new() -> Self {
        Self(ArcSwap::from_pointee(SmallVec::new()))
    }

    /// The kept key for `scope`, if there is one.
    pub fn cached(&self, scope: Scope<'_>) -> Option<Arc<SigningKey>> {
        self.0
            .load()
            .iter()
            .find(|key| key.is_for(scope))
            .map(Arc::clone)
    }

    /// Keeps `key`, dropping the oldest. Call it only after a signature made with it has verified, so that
    /// nobody without the secret can fill the cache.
    pub fn keep(&self, key: &Arc<SigningKey>) {
        self.0.rcu(|kept| {
            let mut next = SmallVec::new();
            next.push(Arc::clone(key));
            next.extend(
                kept.iter()
                    .filter(|old| old.scope != key.scope)
                    .take(SCOPES_MAX - 1)
                    .map(Arc::clone),
            );
            next
        });
    }
}

impl Default for SigningCache {
    fn default() -> Self {
        Self::new()
    }
}

/// A key of HMAC-SHA256 with its schedule made: signing hashes the message alone.
#[derive(Clone)]
pub struct HmacKey(Hmac<Sha256>);

impl HmacKey {
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey(..)")
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    HmacKey::new(key).sign(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The worked example of the AWS manual, "Deriving the signing key".
    #[test]
    fn derivation_matches_the_published_example() {
        let secret = Secret::new(*b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let scope = Scope {
            date: "20150830",
            region: "us-east-1",
            service: "iam",
        };
        let key = SigningKey::derive(&secret, scope);
        assert_eq!(key.scope(), "20150830/us-east-1/iam/aws4_request");
        let string_to_sign = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
             f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        let expected = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        let signature = key.sign(string_to_sign.as_bytes());
        for (at, byte) in signature.iter().enumerate() {
            assert_eq!(format!("{byte:02x}"), expected[2 * at..2 * at + 2]);
        }
    }

    #[test]
    fn cache_keeps_the_newest_scopes_only() {
        let secret = Secret::new(*b"secret");
        let cache = SigningCache::new();
        let regions = ["a", "b", "c", "d", "e"];
        for region in regions {
            let scope = Scope {
                date: "20260101",
                region,
                service: "s3",
            };
            cache.keep(&Arc::new(SigningKey::derive(&secret, scope)));
        }
        let kept = |region| {
            cache
                .cached(Scope {
                    date: "20260101",
                    region,
                    service: "s3",
                })
                .is_some()
        };
        assert!(!kept("a"));
        assert!(regions[1..].iter().all(|region| kept(region)));
        assert!(!kept("e/s3"));
    }
}
