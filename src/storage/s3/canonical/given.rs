//! The headers and query parameters of one request, until each was understood by somebody.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use md5::{Digest, Md5};
use smallvec::SmallVec;

use super::invalid;
use crate::error::{Error, Kind, Result};
use crate::message::date;
use crate::storage::object::{Checksum, ChecksumKind, CustomerKey};
use crate::storage::s3::body;
use crate::storage::s3::route::S3Request;

/// See the module's documentation.
pub(super) struct Given<'a> {
    headers: SmallVec<[(&'a HeaderName, &'a HeaderValue); 16]>,
    query: SmallVec<[(&'static str, &'a str); 8]>,
}

/// Shapes the answer, or asks for less than we do: nothing that an upstream would have to be told.
const OF_THE_ANSWER: &[&str] = &["allow-unordered", "encoding-type", "fetch-owner"];

const CHECKSUM_HEADERS: &[(&str, ChecksumKind)] = &[
    ("content-md5", ChecksumKind::Md5),
    ("x-amz-checksum-crc32", ChecksumKind::Crc32),
    ("x-amz-checksum-crc32c", ChecksumKind::Crc32c),
    ("x-amz-checksum-crc64nvme", ChecksumKind::Crc64Nvme),
    ("x-amz-checksum-sha1", ChecksumKind::Sha1),
    ("x-amz-checksum-sha256", ChecksumKind::Sha256),
];

impl<'a> Given<'a> {
    /// What the request's row lists; the rest was refused or dropped when the row was found.
    pub(super) fn of(request: &'a S3Request, headers: &'a HeaderMap) -> Self {
        let row = request.row();
        let hoisted = request.hoisted().iter();
        let hoisted = hoisted.map(|(name, value)| (name, value));
        let listed = headers
            .iter()
            .chain(hoisted)
            .filter(|(name, _)| row.allows_header(name.as_str()));
        let query = request.query_pairs().iter();
        let asked = query
            // Given but empty is not given.
            .filter(|(name, value)| !value.is_empty() && !row.when.contains(name))
            .filter(|(name, _)| !OF_THE_ANSWER.contains(name));
        let mut given = Self {
            headers: listed.collect(),
            query: asked.map(|(name, value)| (*name, &**value)).collect(),
        };
        // It selects the row, and is a value as well.
        let upload = request.query("uploadId");
        given.query.extend(upload.map(|id| ("uploadId", id)));
        given.take("x-amz-optional-object-attributes");
        given
    }

    /// Takes a header. One that is given twice is joined by nobody: it is refused.
    pub(super) fn header(&mut self, name: &str) -> Result<Option<&'a HeaderValue>> {
        let value = self.take(name);
        if value.is_some() && self.take(name).is_some() {
            return Err(invalid(name));
        }
        Ok(value)
    }

    /// Takes the first header of this name, whatever it says.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a HeaderValue> {
        let at = self.headers.iter().position(|(known, _)| *known == name)?;
        Some(self.headers.remove(at).1)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<&'a str>> {
        self.header(name)?
            .map(|value| value.to_str().map_err(|_| invalid(name)))
            .transpose()
    }

    /// Takes the headers whose names begin so, with the rest of their names.
    pub(super) fn family(&mut self, prefix: &str) -> Vec<(&'a str, &'a HeaderValue)> {
        let mut found = Vec::new();
        self.headers.retain(|(name, value)| {
            let rest = name.as_str().strip_prefix(prefix);
            found.extend(rest.map(|rest| (rest, *value)));
            rest.is_none()
        });
        found
    }

    pub(super) fn query(&mut self, name: &str) -> Option<&'a str> {
        let at = self.query.iter().position(|(known, _)| *known == name)?;
        Some(self.query.remove(at).1)
    }

    /// A query parameter that takes the place of a header of the answer.
    pub(super) fn shown(&mut self, name: &str) -> Result<Option<HeaderValue>> {
        self.query(name)
            .map(|text| HeaderValue::from_str(text).map_err(|_| invalid(name)))
            .transpose()
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<u32>> {
        self.query(name)
            .map(|text| text.parse().map_err(|_| invalid(name)))
            .transpose()
    }

    /// A date that cannot be read is none, as HTTP has it of conditions.
    pub(super) fn date(&mut self, name: &str) -> Result<Option<Timestamp>> {
        Ok(self.text(name)?.and_then(parse_date))
    }

    /// `REPLACE`, or else `COPY`.
    pub(super) fn directive(&mut self, name: &str) -> Result<bool> {
        match self.text(name)? {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(_) => Err(invalid(name)),
        }
    }

    /// The digests of the body that the head declares.
    pub(super) fn checksums(&mut self, length: Option<u64>) -> Result<Vec<Checksum>> {
        let mut found = Vec::new();
        for (name, kind) in CHECKSUM_HEADERS {
            let Some(value) = self.header(name)? else {
                continue;
            };
            if length != Some(0) && body::is_checksum_of_nothing(name, value) {
                continue;
            }
            let checksum = value
                .to_str()
                .ok()
                .and_then(|text| Checksum::parse_base64(*kind, text));
            found.push(checksum.ok_or_else(|| {
                let kind = match kind {
                    ChecksumKind::Md5 => Kind::InvalidDigest,
                    ChecksumKind::Crc32
                    | ChecksumKind::Crc32c
                    | ChecksumKind::Crc64Nvme
                    | ChecksumKind::Sha1
                    | ChecksumKind::Sha256 => Kind::InvalidRequest,
                };
                Error::new(kind, "The value of a checksum header is invalid.")
            })?);
        }
        Ok(found)
    }

    /// Takes digests that were checked when their document was read.
    pub(super) fn take_checksums(&mut self) {
        for (name, _) in CHECKSUM_HEADERS {
            self.take(name);
        }
    }

    /// The algorithm of a checksum that is to be kept.
    pub(super) fn checksum_kind(&mut self) -> Result<Option<ChecksumKind>> {
        let name = "x-amz-checksum-algorithm";
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        Ok(Some(match text.to_ascii_uppercase().as_str() {
            "CRC32" => ChecksumKind::Crc32,
            "CRC32C" => ChecksumKind::Crc32c,
            "CRC64NVME" => ChecksumKind::Crc64Nvme,
            "SHA1" => ChecksumKind::Sha1,
            "SHA256" => ChecksumKind::Sha256,
            _ => {
                let message = "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]";
                return Err(Error::new(Kind::InvalidRequest, message));
            }
        }))
    }

    /// A key of the client's: of the object, or with `copy-source-` of what is copied.
    pub(super) fn customer_key(&mut self, which: &str) -> Result<Option<CustomerKey>> {
        let name = |part: &str| format!("x-amz-{which}server-side-encryption-customer-{part}");
        let algorithm = self.text(&name("algorithm"))?;
        let key = self.text(&name("key"))?;
        let md5 = self.text(&name("key-md5"))?;
        let (algorithm, key, md5) = match (algorithm, key, md5) {
            (None, None, None) => return Ok(None),
            (Some(algorithm), Some(key), Some(md5)) => (algorithm, key, md5),
            _ => return Err(invalid(&name("algorithm"))),
        };
        if algorithm != "AES256" {
            let message =
                "The encryption request you specified is not valid. Supported value: AES256.";
            return Err(Error::new(Kind::InvalidArgument, message));
        }
        let key = STANDARD.decode(key).map_err(|_| invalid(&name("key")))?;
        let is_its_own = STANDARD.encode(Md5::digest(&key)) == md5;
        let key = CustomerKey::parse(&key).filter(|_| is_its_own);
        key.map(Some).ok_or_else(|| {
            let message =
                "The calculated MD5 hash of the key did not match the hash that was provided.";
            Error::new(Kind::InvalidArgument, message)
        })
    }

    /// Takes the access lists that say what holds anyway: the object is its owner's.
    pub(super) fn only_private(&mut self) -> Result<()> {
        match self.text("x-amz-acl")? {
            None | Some("private" | "bucket-owner-full-control") => Ok(()),
            Some(_) => Err(refused("x-amz-acl")),
        }
    }

    /// What nobody took cannot be done.
    pub(super) fn finish(self) -> Result<()> {
        let header = self.headers.first().map(|(name, _)| name.as_str());
        let query = self.query.first().map(|(name, _)| *name);
        match header.or(query) {
            Some(name) => Err(refused(name)),
            None => Ok(()),
        }
    }
}

pub(super) fn parse_date(text: &str) -> Option<Timestamp> {
    date::parse_http(text).or_else(|| text.parse().ok())
}

fn refused(name: &str) -> Error {
    Error::unsupported(
        "A header or parameter you provided implies functionality that is not implemented for a bucket of another cloud.",
    )
    .with_param(name.to_owned())
}
