//! Signature Version 2: verified for clients that know nothing newer, where their repository says so. Never made.
//!
//! It is an HMAC with SHA-1 over the method, three headers, all `x-amz-*` headers and the resource. It leaves out the
//! payload, the host, and of the query whatever is not in a fixed list. [`SIGNED`] is that list, and [`UNSIGNED`] what
//! does no harm without a signature, since it chooses no operation; a request with any other parameter is refused.
//!
//! Manual: <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html>.

mod form;
mod query;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::parse::{
    X_AMZ_DATE, X_AMZ_SECURITY_TOKEN, ascii, mismatch, one, only_one_mechanism, token_unsupported,
    unsupported_scheme, whole_payload,
};
use super::{NOBODY, Payload, Verified, check_skew, unknown_key};
use crate::error::{Error, Kind, Result};
use crate::keys::{Key, Material};
use crate::message::{date, text};
use crate::policy::route::SignatureV2;
use crate::storage::s3::{Arrival, names, route};
pub(super) use form::{authenticate as authenticate_form, is_used as is_used_by};
use query::Query;

/// Starts the header of this version; that of Version 4 has no space there.
const SCHEME: &str = "AWS ";

static CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

type Signature = [u8; 20];

/// What a request claims about itself.
struct Claim<'a> {
    access_key_id: Cow<'a, str>,
    /// `None`: nothing that could be one.
    signature: Option<Signature>,
    time: Time<'a>,
    query: Query<'a>,
    payload: Payload,
}

/// When a request is good, and how that stands in the string to sign.
enum Time<'a> {
    Dated { line: &'a str, at: Timestamp },
    Expires { line: Cow<'a, str>, at: Timestamp },
}

/// The two halves of what is signed: some clients sign a slash between them that they did not send.
struct ToSign {
    head: Vec<u8>,
    sub_resources: Vec<u8>,
    ends_in_bucket: bool,
}

/// Whether a request is signed in this way, right or wrong.
pub(super) fn is_used(arrival: &Arrival<'_>, authorization: Option<&HeaderValue>) -> bool {
    match authorization {
        Some(header) => header.as_bytes().starts_with(SCHEME.as_bytes()),
        None => text::split_once(arrival.target, b'?').is_some_and(|(_, raw)| query::is_used(raw)),
    }
}

/// Proves which key sent a request that [`is_used`] is true of.
pub(super) fn authenticate<K: AsRef<Key>>(
    arrival: &Arrival<'_>,
    authorization: Option<&HeaderValue>,
    find: impl Fn(&str) -> Option<K>,
    rule: impl Fn(&K) -> SignatureV2,
) -> Result<Verified<K>> {
    let claim = Claim::parse(arrival, authorization)?;
    let found = find(&claim.access_key_id);
    if let Some(found) = &found {
        check_rule(rule(found), arrival.secure)?;
    }
    claim.time.check(arrival.now)?;
    let to_sign = claim.to_sign(arrival)?;
    let key = prove(found, claim.signature, &to_sign)?;
    Ok(Verified {
        key,
        payload: claim.payload,
        presigned: matches!(claim.time, Time::Expires { .. }),
    })
}

/// Refuses the version where the repository does not want it.
fn check_rule(rule: SignatureV2, secure: bool) -> Result<()> {
    match rule {
        SignatureV2::Refuse => Err(unsupported_scheme("AWS")),
        SignatureV2::TlsOnly if !secure => Err(Error::new(
            Kind::AccessDenied,
            "Signature Version 2 is accepted on encrypted connections only.",
        )),
        SignatureV2::TlsOnly | SignatureV2::Allow => Ok(()),
    }
}

/// Compares the signature with that of the key which was found, or else of nobody's.
fn prove<K: AsRef<Key>>(
    found: Option<K>,
    signature: Option<Signature>,
    to_sign: &ToSign,
) -> Result<K> {
    let secret = match found.as_ref().map(|found| &found.as_ref().material) {
        Some(Material::Hmac(secret)) => Some(secret),
        Some(_) | None => None,
    };
    let matches = to_sign.is_signed(secret.unwrap_or(&NOBODY.0).expose(), signature);
    let is_known = secret.is_some();
    let found = found.filter(|_| is_known).ok_or_else(unknown_key)?;
    if matches { Ok(found) } else { Err(mismatch()) }
}

/// The bytes of a signature, if it is one.
fn decode(signature: &str) -> Option<Signature> {
    STANDARD.decode(signature).ok()?.try_into().ok()
}

impl<'a> Claim<'a> {
    fn parse(arrival: &Arrival<'a>, authorization: Option<&'a HeaderValue>) -> Result<Self> {
        let raw = text::split_once(arrival.target, b'?').map_or("", |(_, raw)| raw);
        let mut query = Query::parse(raw)?;
        let claim = query.claim.take();
        let mut hoisted = query.headers.iter();
        if arrival.headers.contains_key(&X_AMZ_SECURITY_TOKEN)
            || hoisted.any(|(name, _)| name == names::SECURITY_TOKEN)
        {
            return Err(token_unsupported());
        }
        let (access_key_id, signature, time) = match (authorization, claim) {
            (Some(_), Some(_)) => return Err(only_one_mechanism()),
            (Some(header), None) => {
                let (id, signature) = parse_header(header)?;
                (
                    Cow::Borrowed(id),
                    decode(signature),
                    Time::of_headers(arrival.headers)?,
                )
            }
            (None, Some(claim)) => {
                let (id, signature, line) = claim.complete()?;
                (id, decode(&signature), Time::until(line)?)
            }
            (None, None) => return Err(query::incomplete()),
        };
        Ok(Self {
            access_key_id,
            signature,
            time,
            query,
            payload: whole_payload(arrival.headers)?,
        })
    }

    fn to_sign(&self, arrival: &Arrival<'_>) -> Result<ToSign> {
        let mut head = Vec::new();
        let mut line = |text: &[u8]| {
            head.extend_from_slice(text);
            head.push(b'\n');
        };
        line(arrival.method.as_str().as_bytes());
        for name in [&CONTENT_MD5, &CONTENT_TYPE] {
            line(one(arrival.headers, name)?.map_or(b"", |value| value.as_bytes().trim_ascii()));
        }
        line(self.time.line().as_bytes());
        for (name, value) in self.amz_headers(arrival.headers) {
            line(&[name.as_bytes(), b":", &value].concat());
        }
        let path = text::split_once(arrival.target, b'?').map_or(arrival.target, |(path, _)| path);
        let bucket = route::virtual_host_bucket(arrival)?;
        if let Some(bucket) = &bucket {
            head.push(b'/');
            head.extend_from_slice(bucket.as_bytes());
        }
        head.extend_from_slice(path.as_bytes());
        Ok(ToSign {
            head,
            sub_resources: self.query.sub_resources(),
            ends_in_bucket: bucket.is_none() && is_lone_bucket(path),
        })
    }

    /// All of them, wherever they stand, by name; values of one name with a comma between.
    fn amz_headers<'b>(&'b self, headers: &'b HeaderMap) -> Vec<(&'b str, Vec<u8>)> {
        let sent = headers
            .keys()
            .map(HeaderName::as_str)
            .filter(|name| name.starts_with(names::X_AMZ))
            .map(|name| {
                let values = headers.get_all(name).iter();
                let values: Vec<&[u8]> = values.map(|it| it.as_bytes().trim_ascii()).collect();
                (name, values.join(&b','))
            });
        let hoisted = self.query.headers.iter();
        let hoisted = hoisted.map(|(name, value)| (&**name, value.trim().as_bytes().to_vec()));
        let mut all: Vec<(&str, Vec<u8>)> = sent.chain(hoisted).collect();
        all.sort_unstable();
        all
    }
}

/// Whether a path of path style names a bucket, and no slash follows.
fn is_lone_bucket(path: &str) -> bool {
    let name = path.strip_prefix('/');
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Access key id and signature.
fn parse_header(header: &HeaderValue) -> Result<(&str, &str)> {
    let claim = ascii(header).and_then(|text| text.strip_prefix(SCHEME));
    let parts = claim.and_then(|claim| claim.trim_ascii().split_once(':'));
    parts.filter(|(id, _)| !id.is_empty()).ok_or_else(|| {
        Error::new(
            Kind::InvalidArgument,
            "The Authorization header is not of the form \"AWS <access key>:<signature>\".",
        )
        .with_param("Authorization")
    })
}

// === impl Time ===

impl<'a> Time<'a> {
    /// `x-amz-date`, else `Date`. The former is signed among the headers, and leaves its own line empty.
    fn of_headers(headers: &'a HeaderMap) -> Result<Self> {
        let bad = || {
            Error::new(
                Kind::AccessDenied,
                "AWS authentication requires a valid Date or x-amz-date header",
            )
        };
        let (value, is_own) = match one(headers, &X_AMZ_DATE)? {
            Some(value) => (Some(value), true),
            None => (one(headers, &DATE)?, false),
        };
        let text = value.and_then(ascii).ok_or_else(bad)?.trim_ascii();
        let at = date::parse_http_of_any_day(text).ok_or_else(bad)?;
        let line = if is_own { "" } else { text };
        Ok(Self::Dated { line, at })
    }

    fn until(line: Cow<'a, str>) -> Result<Self> {
        let seconds = line.parse().ok();
        let at = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        let at = at.ok_or_else(|| {
            Error::new(
                Kind::AccessDenied,
                "Expires is not a number of seconds since 1970.",
            )
        })?;
        Ok(Self::Expires { line, at })
    }

    fn line(&self) -> &str {
        match self {
            Self::Dated { line, .. } => line,
            Self::Expires { line, .. } => line,
        }
    }

    fn check(&self, now: Timestamp) -> Result<()> {
        match self {
            Self::Dated { at, .. } => check_skew(*at, now),
            Self::Expires { at, .. } if now > *at => {
                Err(Error::new(Kind::RequestExpired, "Request has expired"))
            }
            Self::Expires { .. } => Ok(()),
        }
    }
}

// === impl ToSign ===

impl ToSign {
    /// Something that is signed as it is.
    fn whole(text: &str) -> Self {
        Self {
            head: text.as_bytes().to_vec(),
            sub_resources: Vec::new(),
            ends_in_bucket: false,
        }
    }

    /// Whether `signature` is one with `secret`. Botocore signs `/bucket/` and sends `/bucket`, which is the same.
    fn is_signed(&self, secret: &[u8], signature: Option<Signature>) -> bool {
        let signature = signature.unwrap_or_default();
        let matches = |slash: &[u8]| {
            let mut mac =
                Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes a key of any length");
            for part in [&self.head, slash, &self.sub_resources] {
                mac.update(part);
            }
            let expected: Signature = mac.finalize().into_bytes().into();
            bool::from(expected.ct_eq(&signature))
        };
        matches(b"") || (self.ends_in_bucket && matches(b"/"))
    }
}

#[cfg(test)]
mod tests;
