//! What is stored beside an object: content headers, user metadata, storage class, tags, encryption.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::given::Given;
use super::invalid;
use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Plus};
use crate::storage::object::{
    Attributes, ContentHeaders, Encryption, StorageClass, Tags, UserMetadata,
};
use crate::storage::s3::wire::{self, Part};
use crate::storage::s3::{body, names};

/// What S3 takes for an object's type where the client does not say.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("binary/octet-stream");

/// All that a request says of what it stores.
pub(super) fn attributes(given: &mut Given<'_>) -> Result<Attributes> {
    given.only_private()?;
    Ok(Attributes {
        content: content(given)?,
        user: user(given)?,
        class: given.text("x-amz-storage-class")?.map(class).transpose()?,
        tags: match given.text(names::TAGGING)? {
            Some(text) => tag_header(text)?,
            None => Tags::default(),
        },
        encryption: encryption(given)?,
        redirect: given.header("x-amz-website-redirect-location")?.cloned(),
    })
}

fn content(given: &mut Given<'_>) -> Result<ContentHeaders> {
    let mut header = |name: &str| Ok::<_, Error>(given.header(name)?.cloned());
    let mut content = ContentHeaders {
        cache_control: header("cache-control")?,
        disposition: header("content-disposition")?,
        encoding: None,
        language: header("content-language")?,
        media_type: Some(header("content-type")?.unwrap_or(MEDIA_TYPE)),
        expires: header("expires")?,
    };
    let mut codings = http::HeaderMap::new();
    while let Some(value) = given.take("content-encoding") {
        codings.append(http::header::CONTENT_ENCODING, value.clone());
    }
    content.encoding = body::content_encoding(&codings, false)?;
    Ok(content)
}

fn user(given: &mut Given<'_>) -> Result<UserMetadata> {
    let mut user = UserMetadata::default();
    for (name, value) in given.family(names::X_AMZ_META) {
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid(name))?;
        user.insert(name, &decode_text(text))?;
    }
    if user.bytes() > names::METADATA_BYTES_MAX {
        let message = "Your metadata headers exceed the maximum allowed metadata size";
        return Err(Error::new(Kind::MetadataTooLarge, message));
    }
    Ok(user)
}

/// Text that may be written as RFC 2047 has it, which is how S3 gives back what is not ASCII.
pub(in crate::storage::s3) fn decode_text(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut after_word = false;
    while let Some(at) = rest.find("=?") {
        let (before, word) = rest.split_at(at);
        let Some((decoded, behind)) = encoded_word(word) else {
            let (kept, more) = rest.split_at(at + 2);
            out.push_str(kept);
            (rest, after_word) = (more, false);
            continue;
        };
        // White space between two words is not part of the text.
        if !(after_word && before.trim().is_empty()) {
            out.push_str(before);
        }
        out.push_str(&decoded);
        (rest, after_word) = (behind, true);
    }
    out.push_str(rest);
    out
}

/// `=?UTF-8?B?...?=` or `=?UTF-8?Q?...?=` at the front, decoded, and what follows it.
fn encoded_word(text: &str) -> Option<(String, &str)> {
    let mut pieces = text.strip_prefix("=?")?.splitn(3, '?');
    let (charset, form, rest) = (pieces.next()?, pieces.next()?, pieces.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let (data, behind) = rest.split_once("?=")?;
    let bytes = match form {
        "B" | "b" => STANDARD.decode(data).ok()?,
        "Q" | "q" => {
            let spaced = data.replace('%', "=25").replace('_', " ").replace('=', "%");
            escape::decode(spaced.as_bytes(), Plus::Literal)
                .ok()?
                .into_owned()
        }
        _ => return None,
    };
    Some((String::from_utf8(bytes).ok()?, behind))
}

/// The class of an object that is there; `None`: one that the model has no word for.
pub(in crate::storage::s3) fn stored_class(name: &str) -> Option<StorageClass> {
    class(name).ok()
}

fn class(name: &str) -> Result<StorageClass> {
    match name {
        "STANDARD" | "REDUCED_REDUNDANCY" => Ok(StorageClass::Hot),
        "STANDARD_IA" | "ONEZONE_IA" => Ok(StorageClass::Cool),
        "GLACIER_IR" => Ok(StorageClass::Cold),
        "GLACIER" | "DEEP_ARCHIVE" => Ok(StorageClass::Archive),
        "INTELLIGENT_TIERING" | "OUTPOSTS" | "SNOW" | "EXPRESS_ONEZONE" => {
            let message = "This storage class is not implemented for a bucket of another cloud.";
            Err(Error::unsupported(message))
        }
        _ => Err(invalid("x-amz-storage-class")),
    }
}

fn encryption(given: &mut Given<'_>) -> Result<Option<Encryption>> {
    let customer = given.customer_key("")?.map(Encryption::Customer);
    let provider = match given.text(names::ENCRYPTION)? {
        None => None,
        Some("AES256") => Some(Encryption::Provider),
        Some(_) => {
            let message = "Encryption with keys of a key service is not implemented for a bucket of another cloud.";
            return Err(Error::unsupported(message));
        }
    };
    match (customer, provider) {
        (Some(_), Some(_)) => Err(invalid(names::ENCRYPTION)),
        (one, other) => Ok(one.or(other)),
    }
}

/// `key=value&key=value`, encoded as a query.
fn tag_header(text: &str) -> Result<Tags> {
    let bad = || {
        Error::new(
            Kind::InvalidArgument,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        )
    };
    let decode = |text: &str| {
        let bytes = escape::decode(text.as_bytes(), Plus::Space).ok()?;
        String::from_utf8(bytes.into_owned()).ok()
    };
    let mut tags = Tags::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (decode(key), decode(value)) else {
            return Err(bad());
        };
        tags.insert(&key, &value)?;
    }
    Ok(tags)
}

/// The document of `PutObjectTagging`.
pub(in crate::storage::s3) fn tag_document(document: &[u8]) -> Result<Tags> {
    let text = std::str::from_utf8(document).map_err(|_| wire::malformed())?;
    let mut tags = Tags::default();
    let (mut key, mut value) = (None, None);
    wire::walk(text, |node| {
        match (node.path, node.part) {
            (["Tagging"] | ["Tagging", "TagSet"], _) => {}
            (["Tagging", "TagSet", "Tag"], Part::Open) => (key, value) = (None, None),
            (["Tagging", "TagSet", "Tag"], Part::Close(_)) => {
                let (Some(key), Some(value)) = (key.take(), value.take()) else {
                    return Err(wire::malformed());
                };
                let (key, value): (Cow<'_, str>, Cow<'_, str>) = (key, value);
                tags.insert(&key, &value)?;
            }
            (["Tagging", "TagSet", "Tag", "Key" | "Value"], Part::Open) => {}
            (["Tagging", "TagSet", "Tag", "Key"], Part::Close(text)) if key.is_none() => {
                key = Some(text);
            }
            (["Tagging", "TagSet", "Tag", "Value"], Part::Close(text)) if value.is_none() => {
                value = Some(text);
            }
            _ => return Err(wire::malformed()),
        }
        Ok(())
    })?;
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_read_and_anything_else_is_left_alone() {
        for (text, expected) in [
            ("plain", "plain"),
            ("=?UTF-8?B?w6TDtg==?=", "äö"),
            ("=?utf-8?q?caf=C3=A9_1?=", "café 1"),
            ("=?UTF-8?B?w6Q=?= =?UTF-8?B?w7Y=?=", "äö"),
            ("a =?UTF-8?B?w6Q=?= b", "a ä b"),
            ("=?latin1?Q?=E9?=", "=?latin1?Q?=E9?="),
            ("=?UTF-8?B?!?=", "=?UTF-8?B?!?="),
            ("=?", "=?"),
            ("=?UTF-8?Q?100%?=", "100%"),
        ] {
            assert_eq!(decode_text(text), expected, "{text}");
        }
    }

    #[test]
    fn tags_are_whole_or_refused() {
        for (document, expected) in [
            ("<Tagging><TagSet/></Tagging>", Some(0)),
            (
                "<Tagging><TagSet><Tag><Key>a</Key><Value/></Tag></TagSet></Tagging>",
                Some(1),
            ),
            (
                "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
                None,
            ),
            ("<Tagging><TagSet><Tag/></TagSet></Tagging>", None),
            ("<Tagging><Other/></Tagging>", None),
        ] {
            let tags = tag_document(document.as_bytes());
            assert_eq!(
                tags.ok().map(|tags| tags.iter().len()),
                expected,
                "{document}"
            );
        }
        assert_eq!(tag_header("a=1&b=%C3%A4+x").unwrap().iter().len(), 2);
        assert!(tag_header("a=1&a=2").is_err());
    }
}
