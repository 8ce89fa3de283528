//! Whether a key may do what is demanded of it.
//!
//! The answer is a [`Permit`], which nothing else can make: a plan takes one, so a check cannot be forgotten.
//! An operation states its demands as data (a copy has two, a batch delete one a key); this module knows
//! buckets, keys and [`Access`], never an operation.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::keys::{Access, Key};

/// What part of a repository is touched, by the names that clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The repository itself (listing its buckets).
    Repository,
    Bucket(&'a str),
    /// Something in a bucket; what exactly is asked for each by itself.
    Inside(&'a str),
    /// All keys of a bucket that start with a prefix (listings).
    Prefix {
        bucket: &'a str,
        prefix: &'a str,
    },
    Object {
        bucket: &'a str,
        key: &'a str,
    },
}

/// One thing that an operation needs to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand<'a> {
    pub access: Access,
    pub scope: Scope<'a>,
}

/// Proof that a key was allowed everything an operation demanded.
#[derive(Debug)]
pub struct Permit(());

/// Checks that the key may be used now and from `peer`. Done once, right after authentication.
pub fn check_use(key: &Key, peer: Option<IpAddr>, now: Timestamp) -> Result<()> {
    key.check_active(now)?;
    if !key.allow_ips.is_empty() {
        let allowed = peer.is_some_and(|peer| {
            key.allow_ips
                .iter()
                .any(|net| net.contains(&peer.to_canonical()))
        });
        if !allowed {
            return Err(denied("the address is not in allow_ips"));
        }
    }
    Ok(())
}

/// Checks every demand; one refusal refuses all.
pub fn authorize<'a>(key: &Key, demands: impl IntoIterator<Item = Demand<'a>>) -> Result<Permit> {
    for demand in demands {
        check(key, demand)?;
    }
    Ok(Permit(()))
}

/// Whether the key may see that a bucket exists (listing buckets).
pub fn may_see(key: &Key, bucket: &str) -> bool {
    bucket_allowed(key, bucket)
        && (key.allow_prefixes.is_empty()
            || key
                .allow_prefixes
                .iter()
                .any(|allowed| split(allowed).0 == bucket))
}

/// Checks one demand, where the others do not fall with it.
pub fn check(key: &Key, demand: Demand<'_>) -> Result<()> {
    if demand.access > key.access {
        return Err(denied("the key's access is too low"));
    }
    if key.write_only && demand.access != Access::Write {
        return Err(denied("the key is write_only"));
    }
    match demand.scope {
        Scope::Repository => Ok(()),
        Scope::Inside(bucket) if may_see(key, bucket) => Ok(()),
        Scope::Bucket(bucket) | Scope::Inside(bucket) => {
            if !may_see(key, bucket) {
                return Err(denied(
                    "the bucket is not in allow_buckets or allow_prefixes",
                ));
            }
            // Beyond reading its properties, a bucket is more than the prefixes that the key is confined to.
            if demand.access != Access::Read && !key.allow_prefixes.is_empty() {
                return Err(denied("the key is confined to prefixes"));
            }
            Ok(())
        }
        Scope::Prefix {
            bucket,
            prefix: name,
        }
        | Scope::Object { bucket, key: name } => {
            if !bucket_allowed(key, bucket) {
                return Err(denied("the bucket is not in allow_buckets"));
            }
            if key.allow_prefixes.is_empty() {
                return Ok(());
            }
            if has_dot_segment(name) {
                return Err(denied("a dot segment under allow_prefixes"));
            }
            let allowed = key.allow_prefixes.iter().any(|allowed| {
                let (allowed_bucket, prefix) = split(allowed);
                allowed_bucket == bucket && name.starts_with(prefix)
            });
            if allowed {
                Ok(())
            } else {
                Err(denied("outside allow_prefixes"))
            }
        }
    }
}

/// Whether some segment is `.` or `..`: a store that collapses paths would leave the prefix.
pub fn has_dot_segment(name: &str) -> bool {
    name.split('/')
        .any(|segment| segment == "." || segment == "..")
}

fn bucket_allowed(key: &Key, bucket: &str) -> bool {
    key.allow_buckets.is_empty() || key.allow_buckets.iter().any(|allowed| **allowed == *bucket)
}

/// An `allow_prefixes` entry: `bucket/prefix`, or a bucket alone.
fn split(allowed: &str) -> (&str, &str) {
    allowed.split_once('/').unwrap_or((allowed, ""))
}

fn denied(why: &'static str) -> Error {
    Error::new(Kind::AccessDenied, "Access Denied").with_detail(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests_support::key;

    #[derive(Clone, Copy)]
    enum Expect {
        Allow,
        Deny,
    }

    fn check_all(key: &Key, cases: &[(Access, Scope<'_>, Expect)]) {
        for (access, scope, expect) in cases {
            let answer = authorize(
                key,
                [Demand {
                    access: *access,
                    scope: *scope,
                }],
            );
            match expect {
                Expect::Allow => assert!(answer.is_ok(), "{access:?} {scope:?} should be allowed"),
                Expect::Deny => assert!(answer.is_err(), "{access:?} {scope:?} should be denied"),
            }
        }
    }

    fn object<'a>(bucket: &'a str, key: &'a str) -> Scope<'a> {
        Scope::Object { bucket, key }
    }

    #[test]
    fn access_is_ordered() {
        let mut key = key();
        key.access = Access::Write;
        check_all(
            &key,
            &[
                (Access::Read, object("b", "k"), Expect::Allow),
                (Access::Write, object("b", "k"), Expect::Allow),
                (Access::Admin, object("b", "k"), Expect::Deny),
                (Access::Read, Scope::Repository, Expect::Allow),
            ],
        );
    }

    #[test]
    fn write_only_refuses_reads() {
        let mut key = key();
        key.access = Access::Write;
        key.write_only = true;
        check_all(
            &key,
            &[
                (Access::Read, object("b", "k"), Expect::Deny),
                (Access::Read, Scope::Bucket("b"), Expect::Deny),
                (Access::Write, object("b", "k"), Expect::Allow),
            ],
        );
    }

    #[test]
    fn prefixes_confine_objects_listings_and_bucket_operations() {
        let mut key = key();
        key.access = Access::Admin;
        key.allow_prefixes = vec!["b/ci/".into(), "whole".into()];
        check_all(
            &key,
            &[
                (Access::Read, object("b", "ci/x"), Expect::Allow),
                (Access::Read, object("b", "cix"), Expect::Deny),
                (Access::Read, object("b", "ci/../x"), Expect::Deny),
                (
                    Access::Read,
                    Scope::Prefix {
                        bucket: "b",
                        prefix: "ci/sub",
                    },
                    Expect::Allow,
                ),
                (
                    Access::Read,
                    Scope::Prefix {
                        bucket: "b",
                        prefix: "",
                    },
                    Expect::Deny,
                ),
                (Access::Read, Scope::Bucket("b"), Expect::Allow),
                (Access::Admin, Scope::Bucket("b"), Expect::Deny),
                (Access::Write, Scope::Inside("b"), Expect::Allow),
                (Access::Write, Scope::Inside("other"), Expect::Deny),
                (Access::Read, object("whole", "x"), Expect::Allow),
                (Access::Read, object("other", "ci/x"), Expect::Deny),
                (Access::Read, Scope::Bucket("other"), Expect::Deny),
            ],
        );
    }

    #[test]
    fn allow_buckets_confines_everything() {
        let mut key = key();
        key.access = Access::Admin;
        key.allow_buckets = vec!["b".into()];
        check_all(
            &key,
            &[
                (Access::Admin, Scope::Bucket("b"), Expect::Allow),
                (Access::Read, Scope::Bucket("c"), Expect::Deny),
                (Access::Read, object("c", "k"), Expect::Deny),
            ],
        );
    }

    #[test]
    fn allow_ips_needs_a_known_peer_inside() {
        let mut key = key();
        key.allow_ips = vec!["10.0.0.0/8".parse().unwrap()];
        let now = Timestamp::UNIX_EPOCH;
        assert!(check_use(&key, Some("10.1.2.3".parse().unwrap()), now).is_ok());
        assert!(check_use(&key, Some("::ffff:10.1.2.3".parse().unwrap()), now).is_ok());
        assert!(check_use(&key, Some("11.1.2.3".parse().unwrap()), now).is_err());
        assert!(check_use(&key, None, now).is_err());
    }
}
