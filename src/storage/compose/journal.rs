//! The records of an upload's journal.
//!
//! One JSON object a line: first what was begun, then a line for each part that was stored, in the order in which the
//! store took them. A part that was sent again is there again, and its last line counts; a line is only written once all
//! blocks of its part are there and were verified. Lines are added whole, so none is ever cut.
//!
//! The objects that are made of them hold the same attributes as plainly, under the same credential: nothing here is
//! sealed. Keys of clients are never written down.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::blocks::{Attempt, no_upload};
use crate::error::{Error, Kind, Result};
use crate::storage::object::{
    Attributes, Checksum, ChecksumKind, ContentHeaders, ETag, StorageClass, Tags, UserMetadata,
};
use crate::storage::op::{ChecksumOver, CreateUpload, UploadChecksum};

/// Longest journal that is read: 50,000 records, the most that a store takes, of the longest kind.
pub const JOURNAL_BYTES_MAX: usize = 32 << 20;

/// An upload, as far as it has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    pub attributes: Attributes,
    pub checksum: Option<UploadChecksum>,
    pub parts: BTreeMap<u16, StoredPart>,
}

/// A part whose blocks are all there.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPart {
    pub number: u16,
    pub size: u64,
    pub attempt: Attempt,
    /// Blocks that it was cut into.
    pub blocks: u16,
    pub etag: ETag,
    pub at: Timestamp,
    /// Those that were verified, or taken here.
    pub checksums: Vec<Checksum>,
}

/// The first record.
pub fn begun(create: &CreateUpload) -> Result<Bytes> {
    let attributes = &create.attributes;
    let content = &attributes.content;
    let written = |value: &Option<HeaderValue>| value.as_ref().map(text).transpose();
    let pairs = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    line(&Record::Upload(Box::new(Begun {
        key: create.key.to_string(),
        cache_control: written(&content.cache_control)?,
        disposition: written(&content.disposition)?,
        encoding: written(&content.encoding)?,
        language: written(&content.language)?,
        media_type: written(&content.media_type)?,
        expires: written(&content.expires)?,
        redirect: written(&attributes.redirect)?,
        user: attributes.user.iter().map(pairs).collect(),
        tags: attributes.tags.iter().map(pairs).collect(),
        class: attributes.class.map(|class| class_name(class).to_owned()),
        checksum: create
            .checksum
            .map(|of| (kind_name(of.kind).to_owned(), over_name(of.over).to_owned())),
    })))
}

/// The record of a part.
pub fn part(part: &StoredPart) -> Result<Bytes> {
    let checksums = part.checksums.iter();
    line(&Record::Part(Part {
        number: part.number,
        size: part.size,
        attempt: part.attempt.0,
        blocks: part.blocks,
        etag: part.etag.as_str().to_owned(),
        at: part.at.as_millisecond(),
        checksums: checksums
            .map(|checksum| (kind_name(checksum.kind()).to_owned(), checksum.base64()))
            .collect(),
    }))
}

/// Reads the journal of an upload to `key`.
pub fn read(key: &str, records: &[u8]) -> Result<Journal> {
    let mut lines = records.split(|byte| *byte == b'\n');
    // Whoever began it came no further: its id was never given out.
    let first = lines.next().filter(|first| !first.is_empty());
    let first = first.ok_or_else(no_upload)?;
    let Record::Upload(begun) = serde_json::from_slice(first).map_err(broken)? else {
        return Err(broken("a journal without its beginning"));
    };
    if begun.key != key {
        return Err(no_upload());
    }
    let mut journal = begun.read()?;
    for line in lines.filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line).map_err(broken)? {
            Record::Part(part) => {
                let part = part.read()?;
                journal.parts.insert(part.number, part);
            }
            // A first append that was sent again.
            Record::Upload(_) => {}
        }
    }
    Ok(journal)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Upload(Box<Begun>),
    Part(Part),
}

#[derive(Serialize, Deserialize)]
struct Begun {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<String>,
    user: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    number: u16,
    size: u64,
    attempt: u32,
    blocks: u16,
    etag: String,
    /// Milliseconds.
    at: i64,
    checksums: Vec<(String, String)>,
}

impl Begun {
    fn read(self) -> Result<Journal> {
        let header = |value: Option<String>| {
            let value = value.map(|value| HeaderValue::from_bytes(value.as_bytes()));
            value.transpose().map_err(broken)
        };
        let mut user = UserMetadata::default();
        for (name, value) in &self.user {
            user.insert(name, value).map_err(broken)?;
        }
        let mut tags = Tags::default();
        for (key, value) in &self.tags {
            tags.insert(key, value).map_err(broken)?;
        }
        let class = self.class.map(|name| {
            let mut all = StorageClass::ALL.into_iter();
            let class = all.find(|class| class_name(*class) == name);
            class.ok_or_else(|| broken("an unknown class"))
        });
        let checksum = match self.checksum {
            Some((kind, over)) => Some(UploadChecksum {
                kind: kind_of(&kind)?,
                over: over_of(&over)?,
            }),
            None => None,
        };
        Ok(Journal {
            attributes: Attributes {
                content: ContentHeaders {
                    cache_control: header(self.cache_control)?,
                    disposition: header(self.disposition)?,
                    encoding: header(self.encoding)?,
                    language: header(self.language)?,
                    media_type: header(self.media_type)?,
                    expires: header(self.expires)?,
                },
                user,
                class: class.transpose()?,
                tags,
                encryption: None,
                redirect: header(self.redirect)?,
            },
            checksum,
            parts: BTreeMap::new(),
        })
    }
}

impl Part {
    fn read(self) -> Result<StoredPart> {
        let etag = ETag::parse(&self.etag);
        let checksums = self.checksums.iter().map(|(kind, value)| {
            let checksum = Checksum::parse_base64(kind_of(kind)?, value);
            checksum.ok_or_else(|| broken("a checksum that is none"))
        });
        Ok(StoredPart {
            number: self.number,
            size: self.size,
            attempt: Attempt(self.attempt),
            blocks: self.blocks,
            etag: etag.ok_or_else(|| broken("an ETag that is none"))?,
            at: Timestamp::from_millisecond(self.at).map_err(broken)?,
            checksums: checksums.collect::<Result<_>>()?,
        })
    }
}

fn line(record: &Record) -> Result<Bytes> {
    // Line breaks within strings are escaped.
    let mut line = serde_json::to_vec(record).map_err(Error::internal)?;
    line.push(b'\n');
    Ok(line.into())
}

fn text(value: &HeaderValue) -> Result<String> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map(str::to_owned)
        .map_err(|_| Error::new(Kind::InvalidArgument, "A header of the object is no text."))
}

const KINDS: &[(ChecksumKind, &str)] = &[
    (ChecksumKind::Crc32, "crc32"),
    (ChecksumKind::Crc32c, "crc32c"),
    (ChecksumKind::Crc64Nvme, "crc64nvme"),
    (ChecksumKind::Md5, "md5"),
    (ChecksumKind::Sha1, "sha1"),
    (ChecksumKind::Sha256, "sha256"),
];

fn kind_name(kind: ChecksumKind) -> &'static str {
    let known = KINDS.iter().find(|(known, _)| *known == kind);
    known.map_or("", |(_, name)| name)
}

fn kind_of(name: &str) -> Result<ChecksumKind> {
    let known = KINDS.iter().find(|(_, known)| *known == name);
    known
        .map(|(kind, _)| *kind)
        .ok_or_else(|| broken("an unknown checksum"))
}

fn over_name(over: ChecksumOver) -> &'static str {
    match over {
        ChecksumOver::Object => "object",
        ChecksumOver::Parts => "parts",
    }
}

fn over_of(name: &str) -> Result<ChecksumOver> {
    let mut all = [ChecksumOver::Object, ChecksumOver::Parts].into_iter();
    let over = all.find(|over| over_name(*over) == name);
    over.ok_or_else(|| broken("an unknown kind of checksum"))
}

fn class_name(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Hot => "hot",
        StorageClass::Cool => "cool",
        StorageClass::Cold => "cold",
        StorageClass::Archive => "archive",
    }
}

fn broken(detail: impl std::fmt::Display) -> Error {
    let message = "What the store keeps of the upload cannot be read.";
    Error::new(Kind::UpstreamBroken, message).with_detail(detail)
}

#[cfg(test)]
pub(in crate::storage::compose) mod tests;
