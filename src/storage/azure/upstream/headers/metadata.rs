//! User metadata, without loss, at a store that takes C# identifiers for names and ASCII for values.
//!
//! A name that is an identifier stays as it is, for other tools to read; so does a value that a header carries
//! unchanged. Other values are written as one encoded word of RFC 2047, as is a value that looks like one. Other names go
//! into one entry of ours, [`names::PACKED`].

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::read::broken;
use crate::error::{Error, Kind, Result};
use crate::storage::azure::names;
use crate::storage::codec::UpstreamHead;
use crate::storage::object::{RESERVED_METADATA, UserMetadata};

const WORD_START: &str = "=?utf-8?B?";
const WORD_END: &str = "?=";

/// A blob's metadata as it grows: the store counts names and values of all of it.
pub(in crate::storage::azure::upstream) struct Metadata<'a> {
    head: &'a mut UpstreamHead,
    bytes: usize,
}

impl<'a> Metadata<'a> {
    pub(in crate::storage::azure::upstream) fn new(head: &'a mut UpstreamHead) -> Self {
        Self { head, bytes: 0 }
    }

    pub(in crate::storage::azure::upstream) fn user(&mut self, user: &UserMetadata) -> Result<()> {
        let mut packed = Map::new();
        for (name, value) in user.iter() {
            if is_identifier(name) {
                self.push(name, value)?;
            } else {
                packed.insert(name.to_owned(), Value::from(value));
            }
        }
        if packed.is_empty() {
            return Ok(());
        }
        let packed = URL_SAFE_NO_PAD.encode(Value::Object(packed).to_string());
        self.push(names::PACKED, &packed)
    }

    pub(in crate::storage::azure::upstream) fn push(
        &mut self,
        name: &str,
        value: &str,
    ) -> Result<()> {
        let value = if is_plain(value) {
            value.to_owned()
        } else {
            [WORD_START, &STANDARD.encode(value), WORD_END].concat()
        };
        self.bytes += name.len() + value.len();
        if self.bytes > names::METADATA_BYTES_MAX {
            return Err(Error::new(
                Kind::MetadataTooLarge,
                "Your metadata exceeds what the store keeps with an object",
            ));
        }
        let name = HeaderName::try_from([names::META, name].concat()).map_err(Error::internal)?;
        let value = HeaderValue::try_from(value).map_err(Error::internal)?;
        self.head.headers.push((name, value));
        Ok(())
    }
}

/// Whether the store takes a name of user metadata, which is in lower case, as it is.
fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a value comes back as it was sent. Runs of spaces may be folded, and empty values are refused.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.trim_matches(' ').len() == value.len()
        && value.bytes().all(|b| (b' '..=b'~').contains(&b))
        && !value.contains("  ")
        && !value.starts_with("=?")
}

/// One value as it was meant. What is no encoded word of this form is itself.
pub(in crate::storage::azure::upstream) fn value(value: &HeaderValue) -> String {
    self::text(&String::from_utf8_lossy(value.as_bytes()))
}

pub(in crate::storage::azure::upstream) fn text(text: &str) -> String {
    let word = text.strip_prefix(WORD_START);
    let decoded = word.and_then(|word| {
        let bytes = STANDARD.decode(word.strip_suffix(WORD_END)?).ok()?;
        String::from_utf8(bytes).ok()
    });
    decoded.unwrap_or_else(|| text.to_owned())
}

/// One of our own entries.
pub(in crate::storage::azure::upstream) fn own(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get([names::META, name].concat()).map(value)
}

/// The client's metadata, without ours.
pub(in crate::storage::azure::upstream) fn user(headers: &HeaderMap) -> Result<UserMetadata> {
    let mut user = UserMetadata::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(names::META) else {
            continue;
        };
        if !name.starts_with(RESERVED_METADATA) {
            user.insert(name, &self::value(value)).map_err(broken)?;
        }
    }
    if let Some(packed) = own(headers, names::PACKED) {
        let json = URL_SAFE_NO_PAD.decode(packed).map_err(broken)?;
        let json: Map<String, Value> = serde_json::from_slice(&json).map_err(broken)?;
        for (name, value) in &json {
            let value = value.as_str();
            let value = value.ok_or_else(|| broken("packed metadata that is no text"))?;
            user.insert(name, value).map_err(broken)?;
        }
    }
    Ok(user)
}
