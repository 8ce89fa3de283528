//! Signing what we send to Azure: `SharedKey`, shared access signatures, and tokens of Entra ID.
//!
//! The order of the `x-ms-*` headers in what is signed is the trap of `SharedKey`: the service sorts them by the rules
//! of a language, not by byte. [`HeaderOrder::Service`] is the order in which the service's own SDKs imitate it.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use smallvec::SmallVec;

use super::{names, source};
use crate::error::{Error, Result};
use crate::message::date;
use crate::message::escape::{self, Plus};
use crate::message::text;
use crate::policy::credential::{ReadyCredential, Sas, SharedKey};
use crate::policy::route::AzureAccount;
use crate::storage::head::UpstreamHead;

/// Most query parameters of a request of ours. Stops a request from making us sort long lists.
const PAIRS_MAX: usize = 64;

/// Headers whose values are signed by place, between the method and the `x-ms-*` ones. `x-ms-date` stands in for
/// `date`.
const BY_PLACE: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Signs `head` for `account` with `ready`: appends `x-ms-version` where it is not there, `x-ms-date`, and
/// `authorization` or the query's signature. Everything else must be in place.
pub fn sign(
    head: &mut UpstreamHead,
    account: &AzureAccount,
    ready: &ReadyCredential,
    now: Timestamp,
) -> Result<()> {
    if head.header(names::VERSION).is_none() {
        let version = HeaderValue::from_static(names::API_VERSION);
        let name = HeaderName::from_static(names::VERSION);
        head.headers.push((name, version));
    }
    source::authorize(head, account, ready, now)?;
    match ready {
        ReadyCredential::Sas(sas) => return append(&mut head.target, sas),
        ReadyCredential::SharedKey(key) => {
            push_date(head, now)?;
            let authorization = shared_key(head, account, key)?;
            head.headers.push((AUTHORIZATION, authorization));
        }
        ReadyCredential::Bearer(token) => {
            push_date(head, now)?;
            head.headers.push((AUTHORIZATION, token.header.clone()));
        }
        ReadyCredential::Hmac(_) | ReadyCredential::S3(_) => {
            return Err(Error::internal("no credential for an Azure resource"));
        }
    }
    Ok(())
}

fn push_date(head: &mut UpstreamHead, now: Timestamp) -> Result<()> {
    let date = HeaderValue::try_from(date::http(now)).map_err(Error::internal)?;
    head.headers
        .push((HeaderName::from_static(names::DATE), date));
    Ok(())
}

/// Appends a signature's parameters as they were given: writing them anew could change what was signed.
fn append(target: &mut String, sas: &Sas) -> Result<()> {
    let query = sas.query.expose_str();
    let query =
        query.ok_or_else(|| Error::internal("a shared access signature that is no text"))?;
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(query);
    Ok(())
}

fn shared_key(head: &UpstreamHead, account: &AzureAccount, key: &SharedKey) -> Result<HeaderValue> {
    let to_sign = string_to_sign(head, &account.account, HeaderOrder::Service)?;
    let signature = STANDARD.encode(key.keyed.sign(&to_sign));
    let value = ["SharedKey ", &account.account, ":", &signature].concat();
    let mut value = HeaderValue::try_from(value).map_err(Error::internal)?;
    value.set_sensitive(true);
    Ok(value)
}

/// How `x-ms-*` headers are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderOrder {
    /// As the service does.
    Service,
    /// By byte, as many clients do: the same but for names with `_` or `-` in unlucky places.
    #[cfg(test)]
    Bytes,
}

/// What is signed of a request.
fn string_to_sign(head: &UpstreamHead, account: &str, order: HeaderOrder) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(head.method.as_str().as_bytes());
    let is_dated = head.header(names::DATE).is_some();
    for name in BY_PLACE {
        out.push(b'\n');
        let value = head.header(name).map_or(&b""[..], HeaderValue::as_bytes);
        let is_nothing =
            (name == "content-length" && value == b"0") || (name == "date" && is_dated);
        if !is_nothing {
            out.extend_from_slice(value.trim_ascii());
        }
    }
    out.push(b'\n');
    push_headers(&mut out, head, order);
    push_resource(&mut out, &head.target, account)?;
    Ok(out)
}

fn push_headers(out: &mut Vec<u8>, head: &UpstreamHead, order: HeaderOrder) {
    let mut headers: SmallVec<[(&str, &HeaderValue); 16]> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, _)| name.starts_with(names::X_MS))
        .collect();
    // Stable: values of one name keep their order.
    headers.sort_by(|(left, _), (right, _)| match order {
        HeaderOrder::Service => in_service_order(left, right),
        #[cfg(test)]
        HeaderOrder::Bytes => left.cmp(right),
    });
    for values in headers.chunk_by(|(left, _), (right, _)| left == right) {
        for (at, (name, value)) in values.iter().enumerate() {
            if at == 0 {
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
            } else {
                out.push(b',');
            }
            out.extend_from_slice(value.as_bytes().trim_ascii());
        }
        out.push(b'\n');
    }
}

/// The account, the path as it goes on the wire, and each query parameter decoded on a line.
fn push_resource(out: &mut Vec<u8>, target: &str, account: &str) -> Result<()> {
    let (path, query) = text::split_once(target, b'?').unwrap_or((target, ""));
    out.push(b'/');
    out.extend_from_slice(account.as_bytes());
    out.extend_from_slice(if path.is_empty() { "/" } else { path }.as_bytes());
    let decode = |text: &str| {
        let decoded = escape::decode(text.as_bytes(), Plus::Literal);
        decoded.map(std::borrow::Cow::into_owned)
    };
    let mut pairs: SmallVec<[(Vec<u8>, Vec<u8>); 8]> = SmallVec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() >= PAIRS_MAX {
            return Err(Error::internal("too many query parameters"));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bad = |_| Error::internal("a query that is not percent-encoded");
        let mut name = decode(name).map_err(bad)?;
        name.make_ascii_lowercase();
        pairs.push((name, decode(value).map_err(bad)?));
    }
    pairs.sort_unstable();
    for values in pairs.chunk_by(|(left, _), (right, _)| left == right) {
        for (at, (name, value)) in values.iter().enumerate() {
            if at == 0 {
                out.push(b'\n');
                out.extend_from_slice(name);
                out.push(b':');
            } else {
                out.push(b',');
            }
            out.extend_from_slice(value);
        }
    }
    Ok(())
}

/// What counts at the first look, in its order; what is not in it does not count.
const WEIGHTS: &[u8] = b"!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz";

const WEIGHT: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    let mut weight = 1;
    while at < WEIGHTS.len() {
        table[WEIGHTS[at] as usize] = weight;
        weight += 1;
        at += 1;
    }
    table
};

/// Two lower-case header names, by the rules of a language: `-` and `'` do not count, unless nothing else differs.
fn in_service_order(left: &str, right: &str) -> Ordering {
    let counting = |name: &'_ str| -> SmallVec<[u8; 64]> {
        let weights = name.bytes().map(|byte| WEIGHT[usize::from(byte)]);
        weights.filter(|weight| *weight > 0).collect()
    };
    let passed_over = |byte: u8| match byte {
        b'\'' => 2,
        b'-' => 3,
        _ => 0,
    };
    counting(left).cmp(&counting(right)).then_with(|| {
        let rest = |name: &'_ str| -> SmallVec<[u8; 64]> {
            name.bytes().map(passed_over).chain([1]).collect()
        };
        rest(left).cmp(&rest(right))
    })
}

#[cfg(test)]
mod tests;
