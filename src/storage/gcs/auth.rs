//! Signing what we send to Google: access tokens, interoperability keys (V4 with HMAC, for the XML API alone), and the
//! claims of a service account.
//!
//! A service account's claim about itself, with the scopes that it wants, is taken for an access token by Google's
//! own servers: there is no token server to wait for. Where it is not, another form of it is exchanged for a token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::error::{Error, Result};
use crate::policy::credential::{ReadyCredential, ServiceAccount};
use crate::policy::route::GcsAccount;
use crate::storage::head::UpstreamHead;
use crate::storage::sigv4::{self, Service};

/// Objects and buckets, their permissions included.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.full_control";
/// The longest life of a claim that Google accepts.
pub const CLAIM_LIFE: SignedDuration = SignedDuration::from_hours(1);
/// How far a claim is dated back, for clocks that are behind ours.
const SKEW: SignedDuration = SignedDuration::from_secs(30);
/// Google takes any region in a scope; this is the word for that.
const ANY_REGION: &str = "auto";

/// Signs `head` with `ready`: appends `authorization`, and with keys `x-goog-date` and `x-goog-content-sha256`.
/// Everything else, `host` included, must be in place.
pub fn sign(
    head: &mut UpstreamHead,
    _account: &GcsAccount,
    ready: &ReadyCredential,
    now: Timestamp,
) -> Result<()> {
    match ready {
        ReadyCredential::Bearer(token) => {
            head.headers.push((AUTHORIZATION, token.header.clone()));
            Ok(())
        }
        ReadyCredential::Hmac(keys) => {
            let service = Service {
                words: &sigv4::GOOGLE,
                region: ANY_REGION,
                name: "storage",
            };
            let unsigned = HeaderValue::from_static("UNSIGNED-PAYLOAD");
            sigv4::sign(head, service, keys, unsigned, now)
        }
        ReadyCredential::SharedKey(_) | ReadyCredential::Sas(_) | ReadyCredential::S3(_) => {
            Err(Error::internal("no credential for a GCS resource"))
        }
    }
}

/// When a claim made at `now` ends.
pub fn claim_ends(now: Timestamp) -> Timestamp {
    (now - SKEW) + CLAIM_LIFE
}

/// The claim that is used as an access token itself.
pub fn self_signed(account: &ServiceAccount, now: Timestamp) -> Result<String> {
    claim(account, None, now)
}

/// The claim that is exchanged for an access token.
pub fn assertion(account: &ServiceAccount, now: Timestamp) -> Result<String> {
    claim(account, Some(&account.token_uri), now)
}

fn claim(account: &ServiceAccount, audience: Option<&str>, now: Timestamp) -> Result<String> {
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if !account.key_id.is_empty() {
        header["kid"] = json!(account.key_id);
    }
    let mut claims = json!({
        "iss": account.email,
        "sub": account.email,
        "scope": SCOPE,
        "iat": (now - SKEW).as_second(),
        "exp": claim_ends(now).as_second(),
    });
    if let Some(audience) = audience {
        claims["aud"] = json!(audience);
    }
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
    let signature = account.key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

#[cfg(test)]
mod tests;
