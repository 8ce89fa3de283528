//! What an object is, apart from its bytes: names, ETag, headers, metadata, checksums.
//!
//! Everything here was checked when it was made: a codec that is given one of these types may write it out. Values are
//! those that clients mean (text, bytes, times), never some protocol's way to write them down.

mod checksum;
pub mod parts;

use http::HeaderValue;
use jiff::Timestamp;

pub use checksum::{Checksum, ChecksumKind, Digests, Extent, Observed, Observer, StoredChecksum};

use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Slash};
use crate::secret::Secret;

/// Objects under this prefix are ours: refused in every request, hidden from every listing.
pub const RESERVED_PREFIX: &str = ".aqueduct/";
/// Metadata of ours on an object; never shown, never taken from a client.
pub const RESERVED_METADATA: &str = "aqueduct_";
/// Names and values of one object's user metadata, in bytes. What the widest store takes; each codec knows its own.
const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Labels of one object.
const TAGS_MAX: usize = 10;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;

/// An entity tag without its quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(Box<str>);

impl ETag {
    /// Reads one entity tag, with or without quotes, strong or weak.
    pub fn parse(text: &str) -> Option<Self> {
        let (tag, rest) = Self::take(text.trim())?;
        rest.trim().is_empty().then_some(tag)
    }

    /// Takes one off the front of a list.
    pub(super) fn take(text: &str) -> Option<(Self, &str)> {
        let strong = text.strip_prefix("W/").unwrap_or(text);
        let (tag, rest) = if let Some(quoted) = strong.strip_prefix('"') {
            quoted.split_once('"')?
        } else {
            let end = strong.find(',').unwrap_or(strong.len());
            let (tag, rest) = strong.split_at(end);
            (tag.trim_end(), rest)
        };
        let valid = !tag.is_empty() && tag.bytes().all(|b| b > b' ' && b != b'"' && b != 0x7f);
        valid.then(|| (Self(tag.into()), rest))
    }

    /// The MD5 of an object that was stored in one piece.
    pub fn of_md5(md5: [u8; 16]) -> Self {
        Self(hex(&md5).into())
    }

    /// That of an object made of parts: the MD5 of their MD5s, and their number.
    pub fn of_parts(md5_of_md5s: [u8; 16], parts: usize) -> Self {
        Self(format!("{}-{parts}", hex(&md5_of_md5s)).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn quoted(&self) -> String {
        ["\"", &self.0, "\""].concat()
    }

    /// The MD5 that it is, if it looks like one.
    pub fn md5(&self) -> Option<[u8; 16]> {
        let digits = self.0.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut md5 = [0; 16];
        for (byte, pair) in md5.iter_mut().zip(self.0.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(md5)
    }

    /// The number of parts that it tells of, if it looks like that of an upload in parts.
    pub fn parts(&self) -> Option<u32> {
        let (_, parts) = self.0.split_once('-')?;
        parts.parse().ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// An upstream's own mark of one state of an object: opaque, and compared by the upstream alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(pub Box<str>);

/// One of an object's versions, as its store names it. `null` where a store without versions is asked as if it had
/// some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionId(pub Box<str>);

impl VersionId {
    pub const NULL: &'static str = "null";

    /// Whether it means the object as it is.
    pub fn is_null(&self) -> bool {
        &*self.0 == Self::NULL
    }
}

/// Headers that are stored beside an object and come back with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentHeaders {
    pub cache_control: Option<HeaderValue>,
    pub disposition: Option<HeaderValue>,
    /// Never a framing of the upload.
    pub encoding: Option<HeaderValue>,
    pub language: Option<HeaderValue>,
    pub media_type: Option<HeaderValue>,
    pub expires: Option<HeaderValue>,
}

impl ContentHeaders {
    /// These, where the others say nothing.
    #[must_use]
    pub fn overridden_by(&self, others: &Self) -> Self {
        let pick = |own: &Option<HeaderValue>, other: &Option<HeaderValue>| {
            other.as_ref().or(own.as_ref()).cloned()
        };
        Self {
            cache_control: pick(&self.cache_control, &others.cache_control),
            disposition: pick(&self.disposition, &others.disposition),
            encoding: pick(&self.encoding, &others.encoding),
            language: pick(&self.language, &others.language),
            media_type: pick(&self.media_type, &others.media_type),
            expires: pick(&self.expires, &others.expires),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a client stores beside an object under names of its own. Names are in lower case and sorted; values are text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserMetadata(Vec<(Box<str>, Box<str>)>);

impl UserMetadata {
    /// Adds one entry. A name is a header token; a value is any text that could stand in a line. A name given twice has
    /// both values, joined as HTTP joins them.
    pub fn insert(&mut self, name: &str, value: &str) -> Result<()> {
        let name_valid = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let value_valid = !value.contains(|c: char| c.is_control() && c != '\t');
        if !name_valid || !value_valid {
            return Err(Error::new(
                Kind::InvalidArgument,
                "The metadata of the object is not valid.",
            ));
        }
        let name = name.to_ascii_lowercase();
        if name.starts_with(RESERVED_METADATA) {
            return Err(Error::new(
                Kind::InvalidArgument,
                "Metadata of this name is reserved.",
            ));
        }
        match self.0.binary_search_by(|(known, _)| (**known).cmp(&name)) {
            Ok(at) => {
                let joined = format!("{},{value}", self.0[at].1);
                self.0[at].1 = joined.into();
            }
            Err(at) => self.0.insert(at, (name.into(), value.into())),
        }
        if self.bytes() > METADATA_BYTES_MAX {
            return Err(Error::new(
                Kind::MetadataTooLarge,
                "Your metadata headers exceed the maximum allowed metadata size",
            ));
        }
        Ok(())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values together, as stores count them.
    pub fn bytes(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

/// An object's labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<(Box<str>, Box<str>)>);

impl Tags {
    /// Adds a label; each key is there once.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<()> {
        let invalid = |why| Err(Error::new(Kind::InvalidTag, why));
        if key.is_empty() || key.chars().count() > TAG_KEY_CHARS_MAX {
            return invalid("The TagKey you have provided is invalid");
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX {
            return invalid("The TagValue you have provided is invalid");
        }
        if self.0.iter().any(|(known, _)| **known == *key) {
            return invalid("Cannot provide multiple Tags with the same key");
        }
        if self.0.len() >= TAGS_MAX {
            return invalid("Object tags cannot be greater than 10");
        }
        self.0.push((key.into(), value.into()));
        Ok(())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a query, which is how every cloud takes them in a header.
    pub fn query(&self) -> String {
        let mut out = Vec::new();
        for (key, value) in self.iter() {
            if !out.is_empty() {
                out.push(b'&');
            }
            escape::encode(&mut out, key.as_bytes(), Slash::Encode);
            out.push(b'=');
            escape::encode(&mut out, value.as_bytes(), Slash::Encode);
        }
        // Only ASCII was put in.
        String::from_utf8(out).unwrap_or_default()
    }
}

/// How soon and at what price an object can be read: what the clouds' classes have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StorageClass {
    Hot,
    /// Rarely read.
    Cool,
    /// Hardly ever read, but at once.
    Cold,
    /// Kept; reading may need an order beforehand.
    Archive,
}

impl StorageClass {
    pub const ALL: [Self; 4] = [Self::Hot, Self::Cool, Self::Cold, Self::Archive];
}

/// How an object is encrypted where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// By the provider, with keys of its own.
    Provider,
    /// By the provider, with the client's key.
    Customer(CustomerKey),
}

/// A client's AES-256 key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerKey(Secret);

impl CustomerKey {
    pub const BYTES: usize = 32;

    pub fn parse(key: &[u8]) -> Option<Self> {
        (key.len() == Self::BYTES).then(|| Self(Secret::new(key)))
    }

    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// What a client wants to be stored beside the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub content: ContentHeaders,
    pub user: UserMetadata,
    pub class: Option<StorageClass>,
    pub tags: Tags,
    pub encryption: Option<Encryption>,
    /// Where a web server would send the reader.
    pub redirect: Option<HeaderValue>,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Of the whole object.
    pub size: u64,
    /// As clients know it.
    pub etag: ETag,
    pub last_modified: Timestamp,
    pub content: ContentHeaders,
    pub user: UserMetadata,
    pub class: Option<StorageClass>,
    pub checksums: Vec<StoredChecksum>,
    /// The customer's key that it is encrypted with is not told.
    pub encrypted_by_customer: bool,
    pub version: Option<VersionId>,
    pub revision: Option<Revision>,
    /// Of the parts it was made of, where that is known.
    pub part_sizes: Vec<u64>,
    /// The upload that it was completed by, where that is known.
    pub upload: Option<Box<str>>,
    pub tag_count: usize,
    /// Where the store tells them with the rest.
    pub tags: Option<Tags>,
    pub restore: Option<Restore>,
    pub redirect: Option<HeaderValue>,
}

impl ObjectMeta {
    pub fn new(size: u64, etag: ETag, last_modified: Timestamp) -> Self {
        Self {
            size,
            etag,
            last_modified,
            content: ContentHeaders::default(),
            user: UserMetadata::default(),
            class: None,
            checksums: Vec::new(),
            encrypted_by_customer: false,
            version: None,
            revision: None,
            part_sizes: Vec::new(),
            upload: None,
            tag_count: 0,
            tags: None,
            restore: None,
            redirect: None,
        }
    }
}

/// The state of an archived object that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    Underway,
}
