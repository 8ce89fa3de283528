//! Signing what we send, as AWS does it (`SigV4`) and as Google does after it (V4 with HMAC keys).
//!
//! The two differ in words alone. Verifying what clients sent is each protocol's own business.

use std::cell::RefCell;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

pub use super::canonical::hex;
use super::canonical::{self, Scratch};
use super::head::UpstreamHead;
use crate::error::{Error, Result};
use crate::keys::signing::{Scope, SigningKey};
use crate::message::date::BasicDate;
use crate::message::text;
use crate::policy::credential::SigningKeys;
use crate::secret::Secret;

/// The words of a family.
#[derive(Debug)]
pub struct Words {
    pub algorithm: &'static str,
    /// Headers that are signed, whatever they are.
    prefix: &'static str,
    date: &'static str,
    content_sha256: &'static str,
    security_token: &'static str,
    derive: fn(&Secret, Scope<'_>) -> SigningKey,
}

pub const AWS: Words = Words {
    algorithm: "AWS4-HMAC-SHA256",
    prefix: "x-amz-",
    date: "x-amz-date",
    content_sha256: "x-amz-content-sha256",
    security_token: "x-amz-security-token",
    derive: SigningKey::derive,
};

pub const GOOGLE: Words = Words {
    algorithm: "GOOG4-HMAC-SHA256",
    prefix: "x-goog-",
    date: "x-goog-date",
    content_sha256: "x-goog-content-sha256",
    security_token: "x-goog-security-token",
    derive: SigningKey::derive_goog4,
};

thread_local! {
    /// Canonical requests are built here, so that a warm request allocates nothing for them.
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What is signed for.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    pub words: &'static Words,
    pub region: &'a str,
    pub name: &'static str,
}

/// Appends the date, `content_sha256`, the session token and `authorization`. Everything else, `host` included, must
/// be in place. Signed are `host`, every header of the family's own, `content-md5` and `content-type`: what middle
/// boxes are known to change is left out.
pub fn sign(
    head: &mut UpstreamHead,
    service: Service<'_>,
    keys: &SigningKeys,
    content_sha256: HeaderValue,
    now: Timestamp,
) -> Result<()> {
    let words = service.words;
    let date = BasicDate::new(now);
    let headers = &mut head.headers;
    let at = HeaderValue::from_str(date.as_str()).map_err(Error::internal)?;
    headers.push((HeaderName::from_static(words.date), at));
    headers.push((
        HeaderName::from_static(words.content_sha256),
        content_sha256,
    ));
    if let Some(token) = &keys.session_token {
        let mut token = HeaderValue::from_bytes(token.expose()).map_err(Error::internal)?;
        token.set_sensitive(true);
        headers.push((HeaderName::from_static(words.security_token), token));
    }
    let key = signing_key(service, keys, date);
    let authorization =
        SCRATCH.with_borrow_mut(|scratch| authorization(scratch, head, words, keys, date, &key))?;
    head.headers.push((AUTHORIZATION, authorization));
    Ok(())
}

/// Signs the canonical request in `scratch`.
pub(super) fn sign_request(
    scratch: &mut Scratch,
    words: &Words,
    date: BasicDate,
    key: &SigningKey,
) -> [u8; 32] {
    let hash: [u8; 32] = Sha256::digest(&scratch.request).into();
    let to_sign = &mut scratch.to_sign;
    to_sign.clear();
    for part in [
        words.algorithm,
        "\n",
        date.as_str(),
        "\n",
        key.scope(),
        "\n",
    ] {
        to_sign.extend_from_slice(part.as_bytes());
    }
    to_sign.extend_from_slice(&canonical::hex(&hash));
    key.sign(to_sign)
}

fn signing_key(service: Service<'_>, keys: &SigningKeys, date: BasicDate) -> Arc<SigningKey> {
    let scope = Scope {
        date: date.day(),
        region: service.region,
        service: service.name,
    };
    keys.signing.cached(scope).unwrap_or_else(|| {
        let key = Arc::new((service.words.derive)(&keys.secret_access_key, scope));
        keys.signing.keep(&key);
        key
    })
}

fn authorization(
    scratch: &mut Scratch,
    head: &UpstreamHead,
    words: &Words,
    keys: &SigningKeys,
    date: BasicDate,
    key: &SigningKey,
) -> Result<HeaderValue> {
    let is_signed = |name: &str| {
        name.starts_with(words.prefix) || matches!(name, "host" | "content-md5" | "content-type")
    };
    let mut signed: SmallVec<[&(HeaderName, HeaderValue); 24]> = head
        .headers
        .iter()
        .filter(|(name, _)| is_signed(name.as_str()))
        .collect();
    // Stable: values of one name keep their order.
    signed.sort_by(|(left, _), (right, _)| left.as_str().cmp(right.as_str()));

    let request = &mut scratch.request;
    request.clear();
    let (path, query) = text::split_once(&head.target, b'?').unwrap_or((&head.target, ""));
    canonical::start(request, head.method.as_str(), path)?;
    canonical::query(request, &mut scratch.pairs, query, None)?;
    for values in signed.chunk_by(|(left, _), (right, _)| left == right) {
        for (at, (name, value)) in values.iter().enumerate() {
            if at == 0 {
                canonical::header_start(request, name.as_str());
            } else {
                request.push(b',');
            }
            canonical::header_value(request, value.as_bytes());
        }
        request.push(b'\n');
    }
    request.push(b'\n');
    let list_from = request.len();
    for (at, values) in signed
        .chunk_by(|(left, _), (right, _)| left == right)
        .enumerate()
    {
        if at > 0 {
            request.push(b';');
        }
        if let [(name, _), ..] = values {
            request.extend_from_slice(name.as_str().as_bytes());
        }
    }
    let list_to = request.len();
    request.push(b'\n');
    let payload = head
        .header(words.content_sha256)
        .map_or(&b""[..], |value| value.as_bytes());
    request.extend_from_slice(payload);

    let signature = canonical::hex(&sign_request(scratch, words, date, key));
    let list = &scratch.request[list_from..list_to];
    let parts = [
        words.algorithm.as_bytes(),
        b" Credential=",
        keys.access_key_id.as_bytes(),
        b"/",
        key.scope().as_bytes(),
        b", SignedHeaders=",
        list,
        b", Signature=",
        &signature,
    ];
    // Exactly: bytes with room behind them would be shared by another allocation.
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
    let mut value =
        HeaderValue::from_maybe_shared(bytes::Bytes::from(out)).map_err(Error::internal)?;
    value.set_sensitive(true);
    Ok(value)
}
