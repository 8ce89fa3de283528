//! `SigV4`: verifying what clients sent, signing what we send.
//!
//! Verification works on the raw target, host and headers as they came from the wire. Any syntactically valid region
//! is accepted in a credential's scope, since clients set all sorts and no key of ours is tied to one; the service
//! must be `s3`. `SigV4a` and session tokens are refused, each with its own error; so is more than one credential, and
//! any `x-amz-*` header that the signature leaves out. Version 2 is verified by [`signature_v2`], where it may be used.

mod form;
mod parse;
mod sign;
mod signature_v2;

use std::fmt;
use std::sync::{Arc, LazyLock};

use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;

pub(super) use crate::storage::canonical::{hex, unhex};
pub use sign::{PayloadHash, sign};

use super::Arrival;
use super::form::Fields;
use super::route::{RequestBody, S3Request};
use crate::error::{Error, Kind, Result};
use crate::keys::signing::{Scope, SigningCache, SigningKey};
use crate::keys::{Key, Material};
use crate::message::date::BasicDate;
use crate::message::text;
use crate::policy::route::{SignatureV2, UnsignedPayload};
use crate::secret::Secret;
use crate::storage::canonical;
use crate::storage::sigv4::{self, SCRATCH};
use form::FormClaim;
use parse::{Claim, Credential};

/// How far a request's date may be from ours.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Longest life of a presigned URL, in seconds.
const PRESIGN_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;

const ALGORITHM: &str = sigv4::AWS.algorithm;
const SERVICE: &str = "s3";

/// A request whose signature was checked. Made by [`authenticate`] and [`authenticate_form`] alone.
#[derive(Debug)]
pub struct Verified<K> {
    key: K,
    payload: Payload,
    presigned: bool,
}

impl<K> Verified<K> {
    pub fn key(&self) -> &K {
        &self.key
    }

    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    pub fn is_presigned(&self) -> bool {
        self.presigned
    }

    pub fn into_parts(self) -> (K, Payload) {
        (self.key, self.payload)
    }

    /// Refuses an unsigned payload where the repository wants it on encrypted connections only.
    pub fn check_unsigned(
        &self,
        request: &S3Request,
        rule: UnsignedPayload,
        secure: bool,
    ) -> Result<()> {
        let unsigned = match &self.payload {
            Payload::Unsigned | Payload::UnsignedTrailer => true,
            Payload::Sha256(_) | Payload::SignedChunks(_) => false,
        };
        let has_body = request.row().request_body != RequestBody::None;
        match rule {
            UnsignedPayload::TlsOnly if unsigned && has_body && !secure => Err(Error::new(
                Kind::AccessDenied,
                "Unsigned payloads are accepted on encrypted connections only.",
            )),
            UnsignedPayload::TlsOnly | UnsignedPayload::Allow => Ok(()),
        }
    }
}

/// How the payload was declared in the signature.
#[derive(Clone, Debug)]
pub enum Payload {
    /// `UNSIGNED-PAYLOAD`, and presigned URLs.
    Unsigned,
    /// The payload's SHA-256.
    Sha256([u8; 32]),
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, with or without `-TRAILER`.
    SignedChunks(ChunkSeed),
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

/// What the first chunk's signature is chained to.
#[derive(Clone)]
pub struct ChunkSeed {
    pub key: Arc<SigningKey>,
    /// The request's own signature.
    pub signature: [u8; 32],
    pub date: BasicDate,
    pub trailer: bool,
}

impl fmt::Debug for ChunkSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkSeed")
            .field("key", &self.key)
            .field("trailer", &self.trailer)
            .finish_non_exhaustive()
    }
}

/// A key that nobody has: unknown ids do the same work with it as known ones with theirs.
static NOBODY: LazyLock<(Secret, SigningCache)> = LazyLock::new(|| {
    (
        Secret::new(*b"nobody has this secret, it is 40 bytes.."),
        SigningCache::new(),
    )
});

/// Proves which key sent a request. `find` looks an access key id up; what it returns gives the key by `AsRef`, and
/// `rule` says whether it may sign with Version 2. Whether the key may be used now, and for what, is not asked here.
pub fn authenticate<K: AsRef<Key>>(
    arrival: &Arrival<'_>,
    find: impl Fn(&str) -> Option<K>,
    rule: impl Fn(&K) -> SignatureV2,
) -> Result<Verified<K>> {
    let authorization = parse::one(arrival.headers, &AUTHORIZATION)?;
    if signature_v2::is_used(arrival, authorization) {
        return signature_v2::authenticate(arrival, authorization, find, rule);
    }
    let claim = Claim::parse(arrival, authorization)?;
    claim.check_times(arrival.now)?;
    let (found, key) = prove(
        &claim.credential,
        claim.date,
        &claim.signature,
        find,
        |key| SCRATCH.with_borrow_mut(|scratch| signature(scratch, arrival, &claim, key)),
    )?;
    let presigned = claim.presigned;
    Ok(Verified {
        payload: claim.into_payload(key),
        key: found,
        presigned,
    })
}

/// Proves which key sent a form, by its policy. The payload of a form is never signed.
pub fn authenticate_form<K: AsRef<Key>>(
    fields: &Fields,
    arrival: &Arrival<'_>,
    find: impl Fn(&str) -> Option<K>,
    rule: impl Fn(&K) -> SignatureV2,
) -> Result<Verified<K>> {
    if signature_v2::is_used_by(fields) {
        return signature_v2::authenticate_form(fields, arrival.secure, find, rule);
    }
    let claim = FormClaim::parse(fields)?;
    claim.check_times(arrival.now)?;
    let (key, _) = prove(
        &claim.credential,
        claim.date,
        &claim.signature,
        find,
        |key| Ok(key.sign(claim.policy.as_bytes())),
    )?;
    Ok(Verified {
        key,
        payload: Payload::Unsigned,
        presigned: false,
    })
}

/// Looks the key up and compares the signature with the `expected` one under it.
fn prove<K: AsRef<Key>>(
    credential: &Credential<'_>,
    date: BasicDate,
    signature: &[u8; 32],
    find: impl Fn(&str) -> Option<K>,
    expected: impl FnOnce(&SigningKey) -> Result<[u8; 32]>,
) -> Result<(K, Arc<SigningKey>)> {
    let found = find(&credential.access_key_id);
    let (secret, cache) = match found.as_ref().map(AsRef::as_ref) {
        Some(Key {
            material: Material::Hmac(secret),
            signing,
            ..
        }) => (Some(secret), signing),
        Some(_) | None => (None, &NOBODY.1),
    };
    let scope = Scope {
        date: date.day(),
        region: &credential.region,
        service: SERVICE,
    };
    let cached = cache.cached(scope);
    let fresh = cached.is_none();
    let key =
        cached.unwrap_or_else(|| Arc::new(SigningKey::derive(secret.unwrap_or(&NOBODY.0), scope)));
    let matches: bool = expected(&key)?.ct_eq(signature).into();
    let is_known = secret.is_some();
    let Some(found) = found.filter(|_| is_known) else {
        if fresh {
            NOBODY.1.keep(&key);
        }
        return Err(unknown_key());
    };
    if !matches {
        return Err(parse::mismatch());
    }
    if fresh {
        found.as_ref().signing.keep(&key);
    }
    Ok((found, key))
}

/// The signature that the request should have.
fn signature(
    scratch: &mut canonical::Scratch,
    arrival: &Arrival<'_>,
    claim: &Claim<'_>,
    key: &SigningKey,
) -> Result<[u8; 32]> {
    let request = &mut scratch.request;
    request.clear();
    let (path, query) = text::split_once(arrival.target, b'?').unwrap_or((arrival.target, ""));
    canonical::start(request, arrival.method.as_str(), path)?;
    let skip = claim.presigned.then_some("X-Amz-Signature");
    canonical::query(request, &mut scratch.pairs, query, skip)?;
    for name in text::split(&claim.signed_headers, b';') {
        canonical::header_start(request, name);
        if name == "host" {
            canonical::header_value(request, arrival.host.as_bytes());
        } else {
            let mut found = false;
            for value in arrival.headers.get_all(name) {
                if found {
                    request.push(b',');
                }
                canonical::header_value(request, value.as_bytes());
                found = true;
            }
            if !found {
                return Err(Error::new(
                    Kind::SignatureMismatch,
                    "A header that the signature covers is not in the request.",
                ));
            }
        }
        request.push(b'\n');
    }
    request.push(b'\n');
    request.extend_from_slice(claim.signed_headers.as_bytes());
    request.push(b'\n');
    request.extend_from_slice(claim.content_sha256.as_bytes());
    Ok(sigv4::sign_request(scratch, &sigv4::AWS, claim.date, key))
}

fn unknown_key() -> Error {
    Error::new(
        Kind::KeyUnknown,
        "The AWS Access Key Id you provided does not exist in our records.",
    )
}

/// Whether a date is near enough to ours.
fn check_skew(date: Timestamp, now: Timestamp) -> Result<()> {
    if now.duration_since(date).abs() > SKEW_MAX {
        return Err(Error::new(
            Kind::ClockSkew,
            "The difference between the request time and the current time is too large.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
