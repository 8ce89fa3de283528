//! The head of an object, and the document of its attributes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED,
};
use http::{HeaderName, HeaderValue, StatusCode};
use md5::{Digest, Md5};

use super::{Asked, Message, VERSION_ID, XML, checksum_header, checksum_text, checksum_type};
use super::{by_provider, class_name, close, push_checksums};
use crate::error::{Error, Kind, Result};
use crate::message::date;
use crate::storage::condition::Span;
use crate::storage::object::{CustomerKey, ObjectMeta, Restore, StorageClass};
use crate::storage::op::{Checksums, ReadObject, Selection};
use crate::storage::reply::{NotModified, ObjectHead};
use crate::storage::s3::canonical::decode_metadata;
use crate::storage::s3::wire;

/// Parts of one page of an object's attributes.
const PARTS_MAX: usize = 1000;

/// The head of a GET's or HEAD's answer, with the length of the body.
pub(super) fn head(read: &ReadObject, found: &ObjectHead) -> Result<Message> {
    let ObjectHead { meta, span } = found;
    let length = span.map_or(meta.size, Span::length);
    let status = match span {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    };
    let mut message = Message::new(status)
        .with(CONTENT_LENGTH, HeaderValue::from(length))
        .with(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(Span { first, last }) = span {
        let range = format!("bytes {first}-{last}/{}", meta.size);
        message = message.with_text(CONTENT_RANGE, &range);
    }
    message = validators(message, &meta.etag, meta.last_modified)?;
    message = content(message, read, meta);
    message = stored_beside(message, meta)?;
    if matches!(read.what, Selection::Part(_)) && !meta.part_sizes.is_empty() {
        let name = HeaderName::from_static("x-amz-mp-parts-count");
        message = message.with(name, HeaderValue::from(meta.part_sizes.len()));
    }
    // A checksum is of the whole, and says nothing of a range.
    if read.checksums == Checksums::Asked && span.is_none() {
        for checksum in &meta.checksums {
            if let Some(name) = checksum_header(checksum.checksum.kind()) {
                message = message.with_text(name, &checksum_text(checksum)).with(
                    HeaderName::from_static("x-amz-checksum-type"),
                    HeaderValue::from_static(checksum_type(checksum)),
                );
                // S3 keeps one, and clients take the first for it.
                break;
            }
        }
    }
    Ok(match &read.customer_key {
        Some(key) => with_customer_key(message, key),
        None => by_provider(message),
    })
}

fn validators(
    message: Message,
    etag: &crate::storage::object::ETag,
    last_modified: jiff::Timestamp,
) -> Result<Message> {
    let tag = HeaderValue::try_from(etag.quoted()).map_err(Error::internal)?;
    Ok(message
        .with(ETAG, tag)
        .with_text(LAST_MODIFIED, &date::http(last_modified)))
}

fn content(mut message: Message, read: &ReadObject, meta: &ObjectMeta) -> Message {
    let shown = meta.content.overridden_by(&read.shown);
    for (name, value) in [
        (CACHE_CONTROL, shown.cache_control),
        (CONTENT_DISPOSITION, shown.disposition),
        (CONTENT_ENCODING, shown.encoding),
        (CONTENT_LANGUAGE, shown.language),
        (CONTENT_TYPE, shown.media_type),
        (EXPIRES, shown.expires),
    ] {
        if let Some(value) = value {
            message = message.with(name, value);
        }
    }
    message
}

fn stored_beside(mut message: Message, meta: &ObjectMeta) -> Result<Message> {
    for (name, value) in meta.user.iter() {
        let name = HeaderName::try_from(format!("x-amz-meta-{name}")).map_err(Error::internal)?;
        message = message.with_text(name, &encode_text(value));
    }
    if let Some(class) = meta.class.filter(|class| *class != StorageClass::Hot) {
        let name = HeaderName::from_static("x-amz-storage-class");
        message = message.with(name, HeaderValue::from_static(class_name(class)));
    }
    if let Some(version) = &meta.version {
        message = message.with_text(VERSION_ID.clone(), &version.0);
    }
    if meta.tag_count > 0 {
        let name = HeaderName::from_static("x-amz-tagging-count");
        message = message.with(name, HeaderValue::from(meta.tag_count));
    }
    if let Some(Restore::Underway) = meta.restore {
        let name = HeaderName::from_static("x-amz-restore");
        message = message.with(name, HeaderValue::from_static("ongoing-request=\"true\""));
    }
    if let Some(redirect) = &meta.redirect {
        let name = HeaderName::from_static("x-amz-website-redirect-location");
        message = message.with(name, redirect.clone());
    }
    Ok(message)
}

/// Metadata as S3 gives it back: text that is not ASCII, or would be read as encoded, is encoded.
pub(in crate::storage::s3) fn encode_text(text: &str) -> String {
    let plain = text.bytes().all(|b| (0x20..0x7f).contains(&b)) && decode_metadata(text) == text;
    if plain {
        text.to_owned()
    } else {
        format!("=?UTF-8?B?{}?=", STANDARD.encode(text))
    }
}

pub(super) fn with_customer_key(message: Message, key: &CustomerKey) -> Message {
    let name = |part| HeaderName::from_static(part);
    message
        .with(
            name("x-amz-server-side-encryption-customer-algorithm"),
            HeaderValue::from_static("AES256"),
        )
        .with_text(
            name("x-amz-server-side-encryption-customer-key-md5"),
            &STANDARD.encode(Md5::digest(key.expose())),
        )
}

pub(super) fn not_modified(found: &NotModified) -> Result<Message> {
    let mut message = Message::new(StatusCode::NOT_MODIFIED);
    if let Some(etag) = &found.etag {
        let tag = HeaderValue::try_from(etag.quoted()).map_err(Error::internal)?;
        message = message.with(ETAG, tag);
    }
    if let Some(at) = found.last_modified {
        message = message.with_text(LAST_MODIFIED, &date::http(at));
    }
    Ok(message)
}

/// The document of `GetObjectAttributes`.
pub(super) fn properties(asked: &Asked<'_>, found: &ObjectHead) -> Result<Message> {
    const ROOT: &str = "GetObjectAttributesResponse";
    let meta = &found.meta;
    let wanted: Vec<&str> = given(asked, "x-amz-object-attributes")
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    let known = [
        "ETag",
        "Checksum",
        "ObjectParts",
        "StorageClass",
        "ObjectSize",
    ];
    if wanted.is_empty() || !wanted.iter().all(|name| known.contains(name)) {
        return Err(
            Error::new(Kind::InvalidArgument, "Invalid attribute name specified.")
                .with_param("x-amz-object-attributes"),
        );
    }
    let wants = |name| wanted.contains(&name);
    let mut out = wire::document(ROOT);
    if wants("ETag") {
        wire::push_element(&mut out, "ETag", meta.etag.as_str());
    }
    if wants("Checksum") && !meta.checksums.is_empty() {
        out.push_str("<Checksum>");
        push_checksums(&mut out, meta.checksums.get(..1).unwrap_or_default());
        out.push_str("</Checksum>");
    }
    if wants("ObjectParts")
        && let Some(count) = meta.etag.parts()
    {
        push_parts(&mut out, asked, meta, count)?;
    }
    if wants("StorageClass") {
        let class = meta.class.unwrap_or(StorageClass::Hot);
        wire::push_element(&mut out, "StorageClass", class_name(class));
    }
    if wants("ObjectSize") {
        wire::push_element(&mut out, "ObjectSize", &meta.size.to_string());
    }
    let mut message = Message::new(StatusCode::OK).with_body(XML, close(out, ROOT));
    message = message.with_text(LAST_MODIFIED, &date::http(meta.last_modified));
    if let Some(version) = &meta.version {
        message = message.with_text(VERSION_ID.clone(), &version.0);
    }
    Ok(message)
}

/// What the client gave under this name, as a header or in a presigned URL.
fn given<'a>(asked: &Asked<'a>, name: &'static str) -> impl Iterator<Item = &'a str> {
    let hoisted = asked.op.request().hoisted().iter();
    let hoisted = hoisted.map(|(name, value)| (name, value));
    let all = asked.headers.iter().chain(hoisted);
    all.filter(move |(known, _)| *known == name)
        .filter_map(|(_, value)| value.to_str().ok())
}

/// How many parts an object is of, and a page of them where their sizes are known.
fn push_parts(out: &mut String, asked: &Asked<'_>, meta: &ObjectMeta, count: u32) -> Result<()> {
    let number = |name: &'static str| {
        let text = given(asked, name).next();
        let number = text.map(str::parse::<usize>).transpose();
        number.map_err(|_| {
            Error::new(Kind::InvalidArgument, "An argument is not valid.").with_param(name)
        })
    };
    let most = number("x-amz-max-parts")?
        .unwrap_or(PARTS_MAX)
        .min(PARTS_MAX);
    let after = number("x-amz-part-number-marker")?.unwrap_or(0);
    out.push_str("<ObjectParts>");
    wire::push_element(out, "PartsCount", &count.to_string());
    if !meta.part_sizes.is_empty() {
        let sizes = meta.part_sizes.iter().enumerate();
        let page: Vec<_> = sizes.skip(after).take(most).collect();
        let last = page.last().map_or(after, |(at, _)| at + 1);
        let more = last < meta.part_sizes.len();
        wire::push_element(out, "PartNumberMarker", &after.to_string());
        wire::push_element(out, "NextPartNumberMarker", &last.to_string());
        wire::push_element(out, "MaxParts", &most.to_string());
        wire::push_element(out, "IsTruncated", if more { "true" } else { "false" });
        for (at, size) in page {
            out.push_str("<Part>");
            wire::push_element(out, "PartNumber", &(at + 1).to_string());
            wire::push_element(out, "Size", &size.to_string());
            out.push_str("</Part>");
        }
    }
    out.push_str("</ObjectParts>");
    Ok(())
}
