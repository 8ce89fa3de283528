//! Google: the metadata server, and the claims of service accounts.

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::fetch::{Ask, Token, unusable};
use crate::error::Result;
use crate::policy::credential::{Bearer, ReadyCredential, ServiceAccount};
use crate::storage::gcs::auth;

const MACHINE: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) fn machine() -> Ask {
    // Without this header the server refuses: no browser that was led here sends it.
    Ask::get(MACHINE).with("metadata-flavor", HeaderValue::from_static("Google"))
}

/// A claim that is a token itself.
pub(super) fn self_signed(account: &ServiceAccount, now: Timestamp) -> Result<Token> {
    Ok(Token {
        ready: bearer(&auth::self_signed(account, now)?)?,
        expires_at: auth::claim_ends(now),
    })
}

pub(super) fn exchange(account: &ServiceAccount, now: Timestamp) -> Result<Ask> {
    let assertion = auth::assertion(account, now)?;
    let path = &account.server.0.origin.base_path;
    let target = if path.is_empty() { "/" } else { path };
    let fields = [("grant_type", JWT_BEARER), ("assertion", &assertion)];
    Ok(Ask::form(target, &fields))
}

/// The token in the answer of either server.
pub(super) fn granted(body: &[u8], now: Timestamp) -> Result<Token> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
        expires_in: i64,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unusable("token"))?;
    let life = SignedDuration::from_secs(answer.expires_in);
    Ok(Token {
        ready: bearer(&answer.access_token)?,
        expires_at: now.checked_add(life).map_err(|_| unusable("end"))?,
    })
}

pub(super) fn bearer(token: &str) -> Result<ReadyCredential> {
    let token = Bearer::new(token).filter(|_| !token.is_empty());
    let token = token.ok_or_else(|| unusable("token"))?;
    Ok(ReadyCredential::Bearer(token.into()))
}
