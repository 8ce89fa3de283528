//! What a message holds: text and media.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::tools::CacheControl;
use super::{Str, invalid, value};
use crate::ai::chat::{Cache, Media, MediaKind, Part, Source, Text};
use crate::ai::param::{Dropped, unsupported};
use crate::error::Result;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePart<'a> {
    r#type: String,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    refusal: Option<Str<'a>>,
    #[serde(borrow)]
    image_url: Option<WireImage<'a>>,
    #[serde(borrow)]
    input_audio: Option<WireAudio<'a>>,
    #[serde(borrow)]
    file: Option<WireFile<'a>>,
    cache_control: Option<CacheControl>,
    prompt_cache_breakpoint: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireImage<'a> {
    #[serde(borrow)]
    url: Str<'a>,
    detail: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAudio<'a> {
    #[serde(borrow)]
    data: Str<'a>,
    format: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFile<'a> {
    #[serde(borrow)]
    file_data: Option<Str<'a>>,
    file_id: Option<IgnoredAny>,
    #[serde(borrow)]
    filename: Option<Str<'a>>,
}

pub(super) fn content_of<'a>(
    path: &str,
    raw: &'a RawValue,
    dropped: &mut Dropped,
    parts: &mut Vec<Part<'a>>,
) -> Result<()> {
    if raw.get().starts_with('"') {
        let text: Str<'a> = value(path, raw)?;
        // An empty text says nothing, and some providers refuse it.
        parts.extend(Some(text).filter(|text| !text.0.is_empty()).map(plain));
        return Ok(());
    }
    let wire: Vec<&'a RawValue> = value(path, raw)?;
    for (at, raw) in wire.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        let wire: WirePart<'a> = value(&path, raw)?;
        let mark = wire.cache_control.is_some() || wire.prompt_cache_breakpoint.is_some();
        let cache = wire.cache_control.as_ref().map(CacheControl::cache);
        let cache = cache.or(mark.then_some(Cache::Default));
        let mut part = match (wire.r#type.as_str(), wire.text, wire.refusal) {
            ("text", Some(text), _) | ("refusal", _, Some(text)) if text.0.is_empty() => continue,
            ("text", Some(text), _) | ("refusal", _, Some(text)) => plain(text),
            (kind, _, _) => media(
                &path,
                kind,
                wire.image_url,
                wire.input_audio,
                wire.file,
                dropped,
            )?,
        };
        match &mut part {
            Part::Text(text) => text.cache = cache,
            Part::Media(media) => media.cache = cache,
            Part::Call(_) | Part::Result(_) | Part::Thought(_) => {}
        }
        parts.push(part);
    }
    Ok(())
}

fn media<'a>(
    path: &str,
    kind: &str,
    image: Option<WireImage<'a>>,
    audio: Option<WireAudio<'a>>,
    file: Option<WireFile<'a>>,
    dropped: &mut Dropped,
) -> Result<Part<'a>> {
    let (kind, source, name) = match (kind, image, audio, file) {
        ("image_url", Some(image), _, _) => {
            if image.detail.is_some_and(|detail| detail != "auto") {
                dropped.note("messages[].image_url.detail");
            }
            (MediaKind::Image, source(path, image.url.0)?, None)
        }
        ("input_audio", _, Some(audio), _) => {
            let mime = match audio.format.as_str() {
                "wav" => "audio/wav",
                "mp3" => "audio/mpeg",
                _ => return Err(unsupported(format!("{path}.input_audio.format"))),
            };
            let source = Source::Inline {
                mime: mime.into(),
                data: audio.data.0,
            };
            (MediaKind::Audio, source, None)
        }
        ("file", _, _, Some(file)) => {
            // An id names what was stored in an account, and which, nobody here knows.
            let data = file.file_data.filter(|_| file.file_id.is_none());
            let data = data.ok_or_else(|| unsupported(format!("{path}.file.file_id")))?;
            let name = file.filename.map(|name| name.0);
            (MediaKind::Document, source(path, data.0)?, name)
        }
        _ => return Err(unsupported(format!("{path}.type"))),
    };
    Ok(Part::Media(Media {
        kind,
        source,
        name,
        cache: None,
    }))
}

/// A `data:` URL's content, or the URL.
fn source<'a>(path: &str, url: Cow<'a, str>) -> Result<Source<'a>> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(Source::Url(url));
    }
    let found = url.strip_prefix("data:").and_then(|rest| {
        let (head, data) = rest.split_once(',')?;
        let head = head.strip_suffix(";base64")?;
        let mime = head.split(';').next().unwrap_or_default();
        // Base64 in other letters, or with spaces in it, is not handed on.
        let good = data
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        (good && !mime.is_empty()).then_some((mime, data))
    });
    let Some((mime, data)) = found else {
        let message = "Media are sent as https: or base64 data: URLs.";
        return Err(invalid(path.to_owned(), message));
    };
    let mime = match mime {
        "image/jpg" => "image/jpeg",
        mime => mime,
    };
    let (mime, data) = match &url {
        Cow::Borrowed(all) => {
            // The same places in the borrowed text, so that the data is not copied.
            let data = all.get(all.len() - data.len()..).unwrap_or_default();
            (Cow::Owned(mime.to_owned()), Cow::Borrowed(data))
        }
        Cow::Owned(_) => (Cow::Owned(mime.to_owned()), Cow::Owned(data.to_owned())),
    };
    Ok(Source::Inline { mime, data })
}

pub(super) fn plain(text: Str<'_>) -> Part<'_> {
    Part::Text(Text {
        text: text.0,
        cache: None,
    })
}
