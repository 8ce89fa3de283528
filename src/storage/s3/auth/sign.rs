//! Signing what we send to a provider.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use smallvec::SmallVec;

use super::{ALGORITHM, SCRATCH, SERVICE, canonical, sign_request};
use crate::error::{Error, Result};
use crate::keys::signing::{Scope, SigningKey};
use crate::message::date::BasicDate;
use crate::message::text;
use crate::policy::route::S3Account;
use crate::storage::head::UpstreamHead;
use crate::storage::s3::names;
use crate::storage::s3::upstream::NO_PAYLOAD;

/// [`NO_PAYLOAD`] as it is written.
const HEX_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The payload of a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadHash {
    Unsigned,
    Sha256([u8; 32]),
    UnsignedTrailer,
}

/// Signs `head` for `account`: appends `x-amz-date`, `x-amz-content-sha256`, the session token and `authorization`.
/// Everything else, `host` included, must be in place. Signed are `host`, every `x-amz-*`, `content-md5` and
/// `content-type`: what middle boxes are known to change is left out.
pub fn sign(
    head: &mut UpstreamHead,
    payload: PayloadHash,
    account: &S3Account,
    now: Timestamp,
) -> Result<()> {
    let date = BasicDate::new(now);
    let value = |text: &str| HeaderValue::from_str(text).map_err(Error::internal);
    let hash = match payload {
        PayloadHash::Unsigned => HeaderValue::from_static("UNSIGNED-PAYLOAD"),
        PayloadHash::UnsignedTrailer => {
            HeaderValue::from_static("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        }
        NO_PAYLOAD => HeaderValue::from_static(HEX_OF_NOTHING),
        PayloadHash::Sha256(hash) => {
            HeaderValue::from_bytes(&canonical::hex(&hash)).map_err(Error::internal)?
        }
    };
    let headers = &mut head.headers;
    headers.push((HeaderName::from_static(names::DATE), value(date.as_str())?));
    headers.push((HeaderName::from_static(names::CONTENT_SHA256), hash));
    if let Some(token) = &account.session_token {
        let mut token = HeaderValue::from_bytes(token.expose()).map_err(Error::internal)?;
        token.set_sensitive(true);
        headers.push((HeaderName::from_static(names::SECURITY_TOKEN), token));
    }
    let key = signing_key(account, date);
    let authorization =
        SCRATCH.with_borrow_mut(|scratch| authorization(scratch, head, account, date, &key))?;
    head.headers.push((AUTHORIZATION, authorization));
    Ok(())
}

fn signing_key(account: &S3Account, date: BasicDate) -> Arc<SigningKey> {
    let scope = Scope {
        date: date.day(),
        region: &account.region,
        service: SERVICE,
    };
    account.signing.cached(scope).unwrap_or_else(|| {
        let key = Arc::new(SigningKey::derive(&account.secret_access_key, scope));
        account.signing.keep(&key);
        key
    })
}

fn authorization(
    scratch: &mut canonical::Scratch,
    head: &UpstreamHead,
    account: &S3Account,
    date: BasicDate,
    key: &SigningKey,
) -> Result<HeaderValue> {
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
        .headers
        .iter()
        .find(|(name, _)| name == names::CONTENT_SHA256)
        .map_or(&b""[..], |(_, value)| value.as_bytes());
    request.extend_from_slice(payload);

    let signature = canonical::hex(&sign_request(scratch, date, key));
    let list = &scratch.request[list_from..list_to];
    let parts = [
        ALGORITHM.as_bytes(),
        b" Credential=",
        account.access_key_id.as_bytes(),
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

fn is_signed(name: &str) -> bool {
    name.starts_with(names::X_AMZ) || matches!(name, "host" | "content-md5" | "content-type")
}
