//! Leave to read the source of a copy, for the service: it does not take the request's own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use super::names;
use crate::error::{Error, Result};
use crate::message::escape::{self, Plus, Slash};
use crate::policy::credential::{ReadyCredential, SharedKey};
use crate::policy::route::AzureAccount;
use crate::storage::head::UpstreamHead;

/// How long the service may go on reading. It reads within the request.
const VALID_FOR: SignedDuration = SignedDuration::from_mins(15);
/// The version whose layout of a signature is written here.
const SAS_VERSION: &str = "2022-11-02";

/// Lets the service read what the request names as its source, if it names one: by the signature or token that the
/// resource has, or by one made with its key, for this blob and to read it and its tags alone.
pub(super) fn authorize(
    head: &mut UpstreamHead,
    account: &AzureAccount,
    ready: &ReadyCredential,
    now: Timestamp,
) -> Result<()> {
    let mut headers = head.headers.iter_mut();
    let source = headers.find(|(name, _)| name == names::COPY_SOURCE);
    let Some((_, source)) = source else {
        return Ok(());
    };
    let signature = match ready {
        ReadyCredential::Bearer(token) => {
            let name = HeaderName::from_static(names::COPY_SOURCE_AUTHORIZATION);
            head.headers.push((name, token.header.clone()));
            return Ok(());
        }
        ReadyCredential::Sas(sas) => {
            let query = sas.query.expose_str();
            let query = query.ok_or_else(|| Error::internal("a signature that is no text"))?;
            query.as_bytes().to_vec()
        }
        ReadyCredential::SharedKey(key) => signed(source, account, key, now)?,
        ReadyCredential::Hmac(_) | ReadyCredential::S3(_) => {
            return Err(Error::internal("no credential for an Azure resource"));
        }
    };
    let value = [source.as_bytes(), b"?", &signature].concat();
    *source = HeaderValue::try_from(value).map_err(Error::internal)?;
    source.set_sensitive(true);
    Ok(())
}

/// A service SAS for one blob, to read it and its tags.
fn signed(
    source: &HeaderValue,
    account: &AzureAccount,
    key: &SharedKey,
    now: Timestamp,
) -> Result<Vec<u8>> {
    let until = now.checked_add(VALID_FOR).map_err(Error::internal)?;
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let url = source.to_str().map_err(Error::internal)?;
    let blob = blob(url, &account.account)?;
    // Permissions, start, end, blob, policy, addresses, protocol, version, kind, snapshot, scope, five headers.
    let mut to_sign = ["rt", "", &until].join("\n").into_bytes();
    to_sign.extend_from_slice(b"\n/blob/");
    to_sign.extend_from_slice(account.account.as_bytes());
    to_sign.extend_from_slice(&blob);
    to_sign.extend_from_slice(b"\n\n\n\n");
    to_sign.extend_from_slice(SAS_VERSION.as_bytes());
    to_sign.extend_from_slice(b"\nb\n\n\n\n\n\n\n");
    let signature = STANDARD.encode(key.keyed.sign(&to_sign));
    let mut query = format!("sv={SAS_VERSION}&sr=b&sp=rt&se=").into_bytes();
    escape::encode(&mut query, until.as_bytes(), Slash::Encode);
    query.extend_from_slice(b"&sig=");
    escape::encode(&mut query, signature.as_bytes(), Slash::Encode);
    Ok(query)
}

/// Container and blob of a URL, decoded, with the `/` before them.
fn blob(url: &str, account: &str) -> Result<Vec<u8>> {
    let (_, rest) = url
        .split_once("://")
        .ok_or_else(|| Error::internal("a source without a scheme"))?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let is_named = authority
        .strip_prefix(account)
        .is_some_and(|rest| rest.starts_with('.'));
    let path = if is_named {
        path
    } else {
        // Where the account stands in the path, it is not part of the blob's name.
        let rest = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(account));
        rest.filter(|rest| rest.starts_with('/')).unwrap_or(path)
    };
    let decoded = escape::decode(path.as_bytes(), Plus::Literal);
    let decoded = decoded.map_err(|_| Error::internal("a source that is not encoded"))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests;
