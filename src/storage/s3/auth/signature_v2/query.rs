//! A query as Version 2 sees it: its own parameters, those that it signs, and headers in the place of headers.

use std::borrow::Cow;

use crate::error::{Error, Kind, Result};
use crate::storage::s3::auth::parse::{decode, only_one_mechanism};
use crate::storage::s3::names;

/// Parameters of one query. Stops a request from making us search long lists.
const PAIRS_MAX: usize = 128;

/// What the version signs with the path.
const SIGNED: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// What it leaves out: they narrow a listing, or mean nothing. `content-*` are what botocore puts beside a presigned
/// upload; the headers of these names are signed and count.
pub(super) const UNSIGNED: &[&str] = &[
    "allow-unordered",
    "bucket-region",
    "content-md5",
    "content-type",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "metadata",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "x-id",
];

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Query<'a> {
    pub claim: Option<Claim<'a>>,
    /// Headers that a presigned URL carries, by lower-case name.
    pub headers: Vec<(String, Cow<'a, str>)>,
    signed: Vec<(&'static str, Cow<'a, str>)>,
}

/// The version's own parameters.
#[derive(Default)]
pub(super) struct Claim<'a> {
    access_key_id: Option<Cow<'a, str>>,
    expires: Option<Cow<'a, str>>,
    signature: Option<Cow<'a, str>>,
}

/// Whether a query claims a signature of this version.
pub(super) fn is_used(raw: &str) -> bool {
    raw.split('&').any(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        matches!(name, "AWSAccessKeyId" | "Signature")
    })
}

impl<'a> Query<'a> {
    pub(super) fn parse(raw: &'a str) -> Result<Self> {
        let mut query = Self::default();
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        for (count, pair) in pairs.enumerate() {
            if count >= PAIRS_MAX {
                return Err(invalid("Too many query parameters."));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = || invalid("A query parameter is not valid.");
            let name = decode(name).ok_or_else(bad)?;
            query.push(&name, decode(value).ok_or_else(bad)?)?;
        }
        // Of two with one name the decoder lets none pass.
        query.signed.sort_by_key(|(name, _)| *name);
        Ok(query)
    }

    fn push(&mut self, name: &str, value: Cow<'a, str>) -> Result<()> {
        if names::SIGNATURE_V2_QUERY.contains(&name) {
            let claim = self.claim.get_or_insert_default();
            return claim.set(name, value);
        }
        if names::PRESIGN_QUERY.contains(&name) {
            return Err(only_one_mechanism());
        }
        if let Some(name) = names::hoisted(name) {
            self.headers.push((name, value));
            return Ok(());
        }
        if let Some(name) = SIGNED.iter().find(|known| **known == name) {
            self.signed.push((name, value));
            return Ok(());
        }
        if UNSIGNED.contains(&name) {
            return Ok(());
        }
        Err(Error::new(
            Kind::InvalidRequest,
            "Signature Version 2 does not cover a query parameter of this request. \
             Please use AWS4-HMAC-SHA256.",
        ))
    }

    /// As they are signed, behind the path.
    pub(super) fn sub_resources(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, (name, value)) in self.signed.iter().enumerate() {
            out.push(if at == 0 { b'?' } else { b'&' });
            out.extend_from_slice(name.as_bytes());
            if !value.is_empty() {
                out.push(b'=');
                out.extend_from_slice(value.as_bytes());
            }
        }
        out
    }
}

impl<'a> Claim<'a> {
    fn set(&mut self, name: &str, value: Cow<'a, str>) -> Result<()> {
        let place = match name {
            "AWSAccessKeyId" => &mut self.access_key_id,
            "Expires" => &mut self.expires,
            _ => &mut self.signature,
        };
        if place.replace(value).is_some() {
            return Err(invalid("A query parameter is given twice."));
        }
        Ok(())
    }

    /// Access key id, signature and expiry.
    pub(super) fn complete(self) -> Result<(Cow<'a, str>, Cow<'a, str>, Cow<'a, str>)> {
        match (self.access_key_id, self.signature, self.expires) {
            (Some(id), Some(signature), Some(expires)) => Ok((id, signature, expires)),
            _ => Err(incomplete()),
        }
    }
}

pub(super) fn incomplete() -> Error {
    Error::new(
        Kind::AccessDenied,
        "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
    )
}

fn invalid(message: &'static str) -> Error {
    Error::new(Kind::InvalidArgument, message)
}
