//! Bucket and key: from host and path, and from a copy's source.

use std::borrow::Cow;

use super::{CopySource, Style, invalid};
use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Plus};
use crate::message::text;
use crate::protocol::{Front, Protocol};
use crate::storage::s3::{Arrival, names};

pub(super) struct Address {
    pub bucket: Option<Box<str>>,
    pub key: Option<Box<str>>,
    pub style: Style,
}

/// Bucket and key, from the host and the path.
pub(super) fn address(arrival: &Arrival<'_>, path: &str) -> Result<Address> {
    let host = host_name(arrival.host)?;
    let Some(path) = path.strip_prefix('/') else {
        return Err(invalid_uri());
    };
    if let Some(bucket) = virtual_bucket(host, arrival) {
        return Ok(Address {
            bucket: Some(bucket.to_ascii_lowercase().into()),
            key: decode_key(path)?,
            style: Style::VirtualHost,
        });
    }
    if path.is_empty() {
        return Ok(Address {
            bucket: None,
            key: None,
            style: Style::Path,
        });
    }
    let (bucket, key) = text::split_once(path, b'/').unwrap_or((path, ""));
    Ok(Address {
        bucket: Some(decode_text(bucket.as_bytes(), Plus::Literal)?.into()),
        key: decode_key(key)?,
        style: Style::Path,
    })
}

/// The bucket before the longest base domain of S3 that `host` is under.
fn virtual_bucket<'a>(host: &'a str, arrival: &Arrival<'_>) -> Option<&'a str> {
    arrival
        .base_domains
        .iter()
        .filter(|(front, _)| *front == Front::Storage(Protocol::S3))
        .filter_map(|(_, base)| {
            let at = host.len().checked_sub(base.len())?;
            let (bucket, tail) = host.split_at_checked(at)?;
            if !tail.eq_ignore_ascii_case(base) {
                return None;
            }
            // The base domain itself is path style, whatever shorter one it is also under.
            if bucket.is_empty() {
                return Some((base.len(), None));
            }
            let bucket = bucket.strip_suffix('.').filter(|b| !b.is_empty())?;
            Some((base.len(), Some(bucket)))
        })
        .max_by_key(|(length, _)| *length)
        .and_then(|(_, bucket)| bucket)
}

/// The host without its port, if it is a host at all.
fn host_name(host: &str) -> Result<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad_host)?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(bad_host());
            }
            (address, port)
        }
        None => match host.find(':') {
            Some(at) => host.split_at(at),
            None => (host, ""),
        },
    };
    let port_valid = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()));
    let name_valid = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':'));
    if port_valid && name_valid {
        Ok(name)
    } else {
        Err(bad_host())
    }
}

fn decode_key(raw: &str) -> Result<Option<Box<str>>> {
    if raw.is_empty() {
        return Ok(None);
    }
    Ok(Some(decode_text(raw.as_bytes(), Plus::Literal)?.into()))
}

pub(super) fn decode_text(raw: &[u8], plus: Plus) -> Result<Cow<'_, str>> {
    let decoded = escape::decode(raw, plus).map_err(|_| invalid_uri())?;
    match decoded {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| invalid_uri()),
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| invalid_uri()),
    }
}

/// `[/]bucket/key[?versionId=id]`, encoded once.
pub(super) fn parse_copy_source(value: &[u8]) -> Result<CopySource> {
    const VERSION: &[u8] = b"?versionId=";
    let malformed = || {
        invalid("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
            .with_param(names::COPY_SOURCE)
    };
    if value.starts_with(b"arn:") {
        return Err(Error::unsupported(
            "Copy sources by ARN are not implemented.",
        ));
    }
    let (path, version_id) = match memchr::memmem::rfind(value, VERSION) {
        Some(at) => (&value[..at], Some(&value[at + VERSION.len()..])),
        None => (value, None),
    };
    let path = decode_text(path, Plus::Literal)?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(malformed)?;
    if bucket.is_empty() || key.is_empty() {
        return Err(malformed());
    }
    names::check_bucket(bucket)?;
    names::check_key(key)?;
    let version_id = match version_id {
        Some(b"") => return Err(malformed()),
        Some(id) => Some(decode_text(id, Plus::Literal)?.into()),
        None => None,
    };
    Ok(CopySource {
        bucket: bucket.into(),
        key: key.into(),
        version_id,
    })
}

fn invalid_uri() -> Error {
    Error::new(Kind::InvalidRequest, "Couldn't parse the specified URI.")
}

fn bad_host() -> Error {
    Error::new(Kind::InvalidRequest, "The Host header is not valid.")
}
