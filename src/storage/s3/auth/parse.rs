//! What a request claims about itself: credential, date, signed headers, signature, payload.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::DATE;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use super::{
    ALGORITHM, ChunkSeed, PRESIGN_SECONDS_MAX, Payload, SERVICE, SKEW_MAX, canonical, check_skew,
};
use crate::error::{Error, Kind, Result};
use crate::keys::signing::SigningKey;
use crate::message::date::{self, BasicDate};
use crate::message::escape::{self, Plus};
use crate::message::text;
use crate::storage::s3::{Arrival, names};

/// Longest list of signed headers that is looked at.
const SIGNED_HEADERS_MAX: usize = 4096;
/// Longest region.
const REGION_BYTES_MAX: usize = 64;

static X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static(names::CONTENT_SHA256);
pub(super) static X_AMZ_DATE: HeaderName = HeaderName::from_static(names::DATE);
pub(super) static X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static(names::SECURITY_TOKEN);

const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The credential, without what is always the same.
pub(super) struct Credential<'a> {
    pub access_key_id: Cow<'a, str>,
    pub region: Cow<'a, str>,
}

/// See the module's documentation.
pub(super) struct Claim<'a> {
    pub credential: Credential<'a>,
    pub date: BasicDate,
    at: Timestamp,
    /// Lower case, ascending, `;` between.
    pub signed_headers: Cow<'a, str>,
    pub signature: [u8; 32],
    /// As it stands in the canonical request.
    pub content_sha256: Cow<'a, str>,
    mode: Mode,
    pub presigned: bool,
    /// Seconds that a presigned URL lives.
    expires: Option<i64>,
}

/// The payload mode, before the signature is known to be good.
#[derive(Clone, Copy)]
enum Mode {
    Unsigned,
    Sha256([u8; 32]),
    SignedChunks { trailer: bool },
    UnsignedTrailer,
}

impl<'a> Claim<'a> {
    pub(super) fn parse(
        arrival: &Arrival<'a>,
        authorization: Option<&'a HeaderValue>,
    ) -> Result<Self> {
        let query = text::split_once(arrival.target, b'?').map_or("", |(_, query)| query);
        let presigned = Presigned::parse(query)?;
        let claim = match (authorization, presigned) {
            (Some(_), Some(_)) => return Err(only_one_mechanism()),
            (None, None) => {
                return Err(Error::new(Kind::AuthMissing, "Access Denied")
                    .with_detail("the request is anonymous"));
            }
            (Some(header), None) => Self::from_header(arrival, header)?,
            (None, Some(presigned)) => Self::from_query(arrival, presigned)?,
        };
        if arrival.headers.contains_key(&X_AMZ_SECURITY_TOKEN) {
            return Err(token_unsupported());
        }
        check_signed_headers(&claim.signed_headers, arrival.headers)?;
        Ok(claim)
    }

    fn from_header(arrival: &Arrival<'a>, header: &'a HeaderValue) -> Result<Self> {
        let header = ascii(header).ok_or_else(|| malformed("Authorization"))?;
        let (scheme, rest) = text::split_once(header, b' ').unwrap_or((header, ""));
        if scheme != ALGORITHM {
            return Err(unsupported_scheme(scheme));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in text::split(rest, b',') {
            let (name, value) = text::split_once(part.trim_ascii(), b'=')
                .ok_or_else(|| malformed("Authorization"))?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(malformed("Authorization")),
            };
            if place.replace(value).is_some() {
                return Err(malformed("Authorization"));
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature)) =
            (credential, signed_headers, signature)
        else {
            return Err(malformed("Authorization"));
        };
        let (date, at) = request_date(arrival.headers)?;
        let content_sha256 = one(arrival.headers, &X_AMZ_CONTENT_SHA256)?.ok_or_else(|| {
            Error::new(
                Kind::InvalidRequest,
                "Missing required header for this request: x-amz-content-sha256",
            )
        })?;
        let content_sha256 = ascii(content_sha256).ok_or_else(bad_content_sha256)?;
        Ok(Self {
            credential: parse_credential(Cow::Borrowed(credential), date, "Credential")?,
            date,
            at,
            signed_headers: Cow::Borrowed(signed_headers),
            signature: canonical::unhex(signature.as_bytes()).ok_or_else(mismatch)?,
            content_sha256: Cow::Borrowed(content_sha256),
            mode: parse_mode(content_sha256)?,
            presigned: false,
            expires: None,
        })
    }

    fn from_query(arrival: &Arrival<'a>, presigned: Presigned<'a>) -> Result<Self> {
        const EXPIRES: &str = "X-Amz-Expires";
        if presigned.security_token.is_some() {
            return Err(token_unsupported());
        }
        let algorithm = presigned
            .algorithm
            .ok_or_else(|| malformed("X-Amz-Algorithm"))?;
        if algorithm != ALGORITHM {
            return Err(unsupported_scheme(&algorithm));
        }
        let date = presigned.date.ok_or_else(|| malformed("X-Amz-Date"))?;
        let (date, at) = BasicDate::parse(&date).ok_or_else(|| malformed("X-Amz-Date"))?;
        let credential = presigned
            .credential
            .ok_or_else(|| malformed("X-Amz-Credential"))?;
        let expires = presigned
            .expires
            .and_then(|seconds| seconds.parse::<i64>().ok())
            .filter(|seconds| (0..=PRESIGN_SECONDS_MAX).contains(seconds))
            .ok_or_else(|| malformed(EXPIRES))?;
        let signature = presigned
            .signature
            .ok_or_else(|| malformed("X-Amz-Signature"))?;
        let declared = match presigned.content_sha256 {
            Some(declared) => declared,
            None => match one(arrival.headers, &X_AMZ_CONTENT_SHA256)? {
                Some(header) => Cow::Borrowed(ascii(header).ok_or_else(bad_content_sha256)?),
                None => Cow::Borrowed(UNSIGNED_PAYLOAD),
            },
        };
        let mode = parse_mode(&declared)?;
        if matches!(mode, Mode::SignedChunks { .. }) {
            return Err(Error::new(
                Kind::InvalidRequest,
                "Signed chunks are not supported with presigned URLs.",
            ));
        }
        Ok(Self {
            credential: parse_credential(credential, date, "X-Amz-Credential")?,
            date,
            at,
            signed_headers: presigned
                .signed_headers
                .ok_or_else(|| malformed("X-Amz-SignedHeaders"))?,
            signature: canonical::unhex(signature.as_bytes()).ok_or_else(mismatch)?,
            content_sha256: declared,
            mode,
            presigned: true,
            expires: Some(expires),
        })
    }

    /// Checks the date against the clock.
    pub(super) fn check_times(&self, now: Timestamp) -> Result<()> {
        let Some(expires) = self.expires else {
            return check_skew(self.at, now);
        };
        let age = now.duration_since(self.at);
        if age < -SKEW_MAX {
            return Err(Error::new(Kind::RequestExpired, "Request is not valid yet"));
        }
        if age > SignedDuration::from_secs(expires) {
            return Err(Error::new(Kind::RequestExpired, "Request has expired"));
        }
        Ok(())
    }

    /// The payload mode of a request whose signature has verified under `key`.
    pub(super) fn into_payload(self, key: Arc<SigningKey>) -> Payload {
        match self.mode {
            Mode::Unsigned => Payload::Unsigned,
            Mode::Sha256(hash) => Payload::Sha256(hash),
            Mode::UnsignedTrailer => Payload::UnsignedTrailer,
            Mode::SignedChunks { trailer } => Payload::SignedChunks(ChunkSeed {
                key,
                signature: self.signature,
                date: self.date,
                trailer,
            }),
        }
    }
}

/// The parts of a presigned query, decoded, each at most once.
#[derive(Default)]
struct Presigned<'a> {
    algorithm: Option<Cow<'a, str>>,
    content_sha256: Option<Cow<'a, str>>,
    credential: Option<Cow<'a, str>>,
    date: Option<Cow<'a, str>>,
    expires: Option<Cow<'a, str>>,
    security_token: Option<Cow<'a, str>>,
    signature: Option<Cow<'a, str>>,
    signed_headers: Option<Cow<'a, str>>,
}

impl<'a> Presigned<'a> {
    fn parse(query: &'a str) -> Result<Option<Self>> {
        if query.is_empty() {
            return Ok(None);
        }
        let mut presigned = Self::default();
        let mut any = false;
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "X-Amz-Algorithm" => &mut presigned.algorithm,
                "X-Amz-Content-Sha256" => &mut presigned.content_sha256,
                "X-Amz-Credential" => &mut presigned.credential,
                "X-Amz-Date" => &mut presigned.date,
                "X-Amz-Expires" => &mut presigned.expires,
                "X-Amz-Security-Token" => &mut presigned.security_token,
                "X-Amz-Signature" => &mut presigned.signature,
                "X-Amz-SignedHeaders" => &mut presigned.signed_headers,
                // Without a header it would be for Version 2 to tell.
                "AWSAccessKeyId" | "Signature" => return Err(only_one_mechanism()),
                _ => continue,
            };
            any = true;
            let value = decode(value).ok_or_else(|| malformed("X-Amz-Algorithm"))?;
            if place.replace(value).is_some() {
                return Err(malformed("X-Amz-Algorithm"));
            }
        }
        Ok(any.then_some(presigned))
    }
}

/// A part of a query.
pub(super) fn decode(value: &str) -> Option<Cow<'_, str>> {
    match escape::decode(value.as_bytes(), Plus::Space).ok()? {
        // Nothing was escaped, so it is the text that it was.
        Cow::Borrowed(_) => Some(Cow::Borrowed(value)),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// `id/date/region/s3/aws4_request`, read from the right.
pub(super) fn parse_credential<'a>(
    text: Cow<'a, str>,
    date: BasicDate,
    param: &'static str,
) -> Result<Credential<'a>> {
    let bad = |message: &'static str| Error::new(Kind::AuthMalformed, message).with_param(param);
    let mut parts = text.as_bytes().rsplitn(5, |byte| *byte == b'/');
    let (Some(terminal), Some(service), Some(region), Some(day), Some(id)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(bad("The credential is not of the form \
             \"<access key>/<date>/<region>/s3/aws4_request\"."));
    };
    if terminal != b"aws4_request" || service != SERVICE.as_bytes() {
        return Err(bad("The credential's scope must end in /s3/aws4_request."));
    }
    if day != date.day().as_bytes() {
        return Err(bad("The credential's date is not that of the request."));
    }
    let region_valid = (1..=REGION_BYTES_MAX).contains(&region.len())
        && region
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !region_valid || id.is_empty() || id.contains(&b'/') {
        return Err(bad("The credential is not valid."));
    }
    let (id, region_from) = (id.len(), id.len() + day.len() + 2);
    let region_to = region_from + region.len();
    Ok(match text {
        Cow::Borrowed(text) => Credential {
            access_key_id: Cow::Borrowed(&text[..id]),
            region: Cow::Borrowed(&text[region_from..region_to]),
        },
        Cow::Owned(text) => Credential {
            access_key_id: Cow::Owned(text[..id].to_owned()),
            region: Cow::Owned(text[region_from..region_to].to_owned()),
        },
    })
}

/// The payload of a request whose signature nothing can be chained to.
pub(super) fn whole_payload(headers: &HeaderMap) -> Result<Payload> {
    let Some(declared) = one(headers, &X_AMZ_CONTENT_SHA256)? else {
        return Ok(Payload::Unsigned);
    };
    match parse_mode(ascii(declared).ok_or_else(bad_content_sha256)?)? {
        Mode::Unsigned => Ok(Payload::Unsigned),
        Mode::Sha256(hash) => Ok(Payload::Sha256(hash)),
        Mode::SignedChunks { .. } | Mode::UnsignedTrailer => Err(Error::new(
            Kind::InvalidRequest,
            "Payloads in chunks are not supported with Signature Version 2.",
        )),
    }
}

fn parse_mode(declared: &str) -> Result<Mode> {
    Ok(match declared {
        UNSIGNED_PAYLOAD => Mode::Unsigned,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Mode::UnsignedTrailer,
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Mode::SignedChunks { trailer: false },
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Mode::SignedChunks { trailer: true },
        hash => Mode::Sha256(canonical::unhex(hash.as_bytes()).ok_or_else(bad_content_sha256)?),
    })
}

/// `x-amz-date`, else `Date`.
fn request_date(headers: &HeaderMap) -> Result<(BasicDate, Timestamp)> {
    let bad = || {
        Error::new(
            Kind::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    };
    if let Some(value) = one(headers, &X_AMZ_DATE)? {
        let text = ascii(value).ok_or_else(bad)?;
        return BasicDate::parse(text).ok_or_else(bad);
    }
    let value = one(headers, &DATE)?.ok_or_else(bad)?;
    let at = date::parse_http(value.to_str().map_err(|_| bad())?).ok_or_else(bad)?;
    Ok((BasicDate::new(at), at))
}

/// The list must be lower case and ascending (so without repeats and empty names), and hold `host` and every
/// `x-amz-*` header that was received.
fn check_signed_headers(list: &str, headers: &HeaderMap) -> Result<()> {
    if list.len() > SIGNED_HEADERS_MAX {
        return Err(malformed("SignedHeaders"));
    }
    // By bytes: preparing a searcher for a few short names would cost more than looking.
    let signed = || list.as_bytes().split(|byte| *byte == b';');
    let mut last = &b""[..];
    let mut has_host = false;
    for name in signed() {
        let lower = name
            .iter()
            .all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
        if name <= last || !lower {
            return Err(malformed("SignedHeaders"));
        }
        has_host |= name == b"host";
        last = name;
    }
    if !has_host {
        return Err(unsigned_header("host"));
    }
    for name in headers.keys().map(http::HeaderName::as_str) {
        if name.starts_with(names::X_AMZ) && !signed().any(|signed| signed == name.as_bytes()) {
            return Err(unsigned_header(name));
        }
    }
    Ok(())
}

/// A value as text, if it is ASCII.
pub(super) fn ascii(value: &HeaderValue) -> Option<&str> {
    // Many bytes at a time, which `to_str` does not.
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    text.is_ascii().then_some(text)
}

/// The one value of a header.
pub(super) fn one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>> {
    let Some(first) = headers.get(name) else {
        return Ok(None);
    };
    if headers.get_all(name).iter().nth(1).is_some() {
        return Err(
            Error::new(Kind::InvalidArgument, "A header is given twice.")
                .with_param(name.as_str().to_owned()),
        );
    }
    Ok(Some(first))
}

fn unsigned_header(name: &str) -> Error {
    Error::new(
        Kind::AccessDenied,
        "There were headers present in the request which were not signed",
    )
    .with_param(name.to_owned())
}

pub(super) fn only_one_mechanism() -> Error {
    Error::new(
        Kind::InvalidArgument,
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
         Signature query string parameter or the Authorization header should be specified",
    )
}

pub(super) fn unsupported_scheme(scheme: &str) -> Error {
    let message = if scheme.starts_with("AWS4-ECDSA") {
        "SigV4A signatures are not supported. Please use AWS4-HMAC-SHA256."
    } else {
        "The authorization mechanism you have provided is not supported. \
         Please use AWS4-HMAC-SHA256."
    };
    Error::new(Kind::InvalidRequest, message)
}

pub(super) fn token_unsupported() -> Error {
    Error::new(
        Kind::TokenUnsupported,
        "The provided token is malformed or otherwise invalid.",
    )
}

pub(super) fn malformed(param: &'static str) -> Error {
    Error::new(
        Kind::AuthMalformed,
        "The authorization that you provided is not valid.",
    )
    .with_param(param)
}

/// A signature of another length or case cannot be the right one.
pub(super) fn mismatch() -> Error {
    Error::new(
        Kind::SignatureMismatch,
        "The request signature we calculated does not match the signature you provided. \
         Check your key and signing method.",
    )
}

fn bad_content_sha256() -> Error {
    Error::new(
        Kind::InvalidArgument,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, \
         STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, \
         STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    )
    .with_param(names::CONTENT_SHA256)
}
