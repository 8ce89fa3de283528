//! `SigV4`: a second, plain implementation beside ours.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use aqueduct::error::Kind;
use aqueduct::keys::signing::SigningCache;
use aqueduct::keys::{Access, Family, Key, Material};
use aqueduct::policy::route::SignatureV2;
use aqueduct::secret::Secret;
use aqueduct::storage::s3::{Arrival, auth};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Source;

const SECRET: &str = "a secret of forty bytes, or nearly so...";
const HOST: &str = "s3.local";
const DATE: &str = "20130524";
const TIME: &str = "20130524T000000Z";
const NOW: i64 = 1_369_353_600;
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const NAMES: &str = "host;x-amz-content-sha256;x-amz-date;x-amz-meta-v";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
/// More parameters may be refused for their number.
const PAIRS_MAX: usize = 100;

fn key() -> Arc<Key> {
    Arc::new(Key {
        id: uuid::Uuid::nil(),
        repository: "r".into(),
        name: "k".into(),
        family: Family::Storage,
        access: Access::Admin,
        write_only: false,
        key: "ID".into(),
        material: Material::Hmac(Secret::new(SECRET)),
        ai_type: None,
        restrict_to_type: false,
        created_at: Timestamp::UNIX_EPOCH,
        created_by: "".into(),
        not_before: None,
        expires_at: None,
        disabled: false,
        allow_ips: Vec::new(),
        allow_buckets: Vec::new(),
        allow_prefixes: Vec::new(),
        models: Vec::new(),
        signing: SigningCache::new(),
        last_used: AtomicI64::new(0),
    })
}

fn verify(method: &Method, target: &str, headers: &HeaderMap) -> Result<(), Kind> {
    let arrival = Arrival {
        method,
        target,
        host: HOST,
        headers,
        secure: true,
        now: Timestamp::from_second(NOW).expect("a time"),
        base_domains: &[],
    };
    let key = key();
    let find = |id: &str| (id == "ID").then(|| Arc::clone(&key));
    auth::authenticate(&arrival, find, |_| SignatureV2::Allow)
        .map(drop)
        .map_err(|error| error.kind())
}

/// Nothing that was not signed is taken for signed, whatever its form.
pub(super) fn parse(data: &[u8]) {
    let mut source = Source(data);
    let target = source.text();
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static(HOST));
    for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
        let Ok(value) = HeaderValue::from_bytes(source.line()) else {
            return;
        };
        if !value.is_empty() {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let verified = verify(&Method::GET, &target, &headers);
    assert!(verified.is_err(), "{target} {headers:?}");
}

/// What the plain implementation signs verifies, and with another header it does not.
pub(super) fn canonical(data: &[u8]) {
    let mut source = Source(data);
    let path = format!("/{}", source.text());
    let query = source.text();
    let Ok(value) = HeaderValue::from_bytes(source.line()) else {
        return;
    };
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible(&path) || !is_visible(&query) || path.contains('?') {
        return;
    }
    let (Some(plain_path), Some(plain_query)) = (plain(&path, Part::Path), pairs(&query)) else {
        return;
    };
    // A credential in the query as well is refused for itself.
    if plain_query.contains("X-Amz-") || query.matches('&').count() > PAIRS_MAX {
        return;
    }
    let target = if query.is_empty() {
        path
    } else {
        format!("{path}?{query}")
    };
    let plain_value = one_space(value.as_bytes());
    let signature = sign(&plain_path, &plain_query, &plain_value);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=ID/{SCOPE}, SignedHeaders={NAMES}, Signature={signature}"
    );
    let authorization = HeaderValue::try_from(authorization).expect("plain text");
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static(HOST));
    headers.insert("x-amz-date", HeaderValue::from_static(TIME));
    headers.insert("x-amz-content-sha256", HeaderValue::from_static(PAYLOAD));
    headers.insert("x-amz-meta-v", value);
    headers.insert("authorization", authorization);
    let verified = verify(&Method::PUT, &target, &headers);
    assert!(verified.is_ok(), "{target} {verified:?}");
    headers.insert("x-amz-meta-v", HeaderValue::from_static("another value"));
    let differs = plain_value != b"another value";
    assert!(!differs || verify(&Method::PUT, &target, &headers).is_err());
}

fn sign(path: &str, query: &str, value: &[u8]) -> String {
    let mut request = format!(
        "PUT\n{path}\n{query}\nhost:{HOST}\nx-amz-content-sha256:{PAYLOAD}\nx-amz-date:{TIME}\nx-amz-meta-v:"
    )
    .into_bytes();
    request.extend_from_slice(value);
    request.extend_from_slice(format!("\n\n{NAMES}\n{PAYLOAD}").as_bytes());
    let digest = hex(&Sha256::digest(&request));
    let to_sign = format!("AWS4-HMAC-SHA256\n{TIME}\n{SCOPE}\n{digest}");
    let mut signing = format!("AWS4{SECRET}").into_bytes();
    for part in [DATE, "us-east-1", "s3", "aws4_request", &to_sign] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&signing).expect("any length will do");
        mac.update(part.as_bytes());
        signing = mac.finalize().into_bytes().to_vec();
    }
    hex(&signing)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A slash as it is stays one.
    Path,
    /// A plus is a space.
    Query,
}

/// Each byte decoded and written again: unreserved ones as they are, the others as `%XX`.
fn plain(text: &str, part: Part) -> Option<String> {
    let mut out = String::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' if part == Part::Query => b' ',
            b'/' if part == Part::Path => {
                out.push('/');
                continue;
            }
            byte => byte,
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _written = write!(out, "%{byte:02X}");
        }
    }
    Some(out)
}

fn pairs(query: &str) -> Option<String> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((plain(name, Part::Query)?, plain(value, Part::Query)?));
    }
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Some(pairs.join("&"))
}

fn one_space(value: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for byte in value.trim_ascii() {
        if *byte != b' ' || out.last() != Some(&b' ') {
            out.push(*byte);
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _written = write!(text, "{byte:02x}");
        text
    })
}
