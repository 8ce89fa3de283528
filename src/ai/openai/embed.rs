//! Embeddings that have to be translated: reads the request, writes the answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::request::{invalid, value};
use crate::ai::embed::{EmbedRequest, Embedded, Encoding};
use crate::ai::json::{Members, Str};
use crate::ai::param::{Dropped, unsupported};
use crate::error::{Error, Kind, Result};

/// Most texts of one request, as `OpenAI` has it.
const TEXTS_MAX: usize = 2048;

/// Reads a whole body; what is left out of it is noted.
pub fn decode<'a>(body: &'a [u8], dropped: &mut Dropped) -> Result<EmbedRequest<'a>> {
    let members: Members<'a> = serde_json::from_slice(body)
        .map_err(|_| Error::new(Kind::MalformedBody, "The body is not valid."))?;
    let mut request = EmbedRequest {
        texts: Vec::new(),
        dimensions: None,
        encoding: Encoding::Float,
    };
    for (name, raw) in members.0 {
        match &*name {
            _ if raw.get() == "null" => {}
            "model" => {}
            "input" => request.texts = texts(raw)?,
            "dimensions" => request.dimensions = Some(value("dimensions", raw)?),
            "encoding_format" => request.encoding = encoding(raw)?,
            "user" => dropped.note("user"),
            name => return Err(unsupported(name)),
        }
    }
    if request.texts.is_empty() {
        return Err(invalid("input", "You must provide an input."));
    }
    Ok(request)
}

fn encoding(raw: &RawValue) -> Result<Encoding> {
    match raw.get() {
        r#""float""# => Ok(Encoding::Float),
        r#""base64""# => Ok(Encoding::Base64),
        _ => Err(invalid(
            "encoding_format",
            "An encoding is float or base64.",
        )),
    }
}

fn texts(raw: &RawValue) -> Result<Vec<std::borrow::Cow<'_, str>>> {
    let texts = if raw.get().starts_with('"') {
        vec![value::<Str<'_>>("input", raw)?]
    } else {
        let items: Vec<&RawValue> = value("input", raw)?;
        // Tokens of another provider's tokenizer mean nothing here.
        if items.iter().any(|item| !item.get().starts_with('"')) {
            return Err(unsupported("input"));
        }
        value("input", raw)?
    };
    if texts.len() > TEXTS_MAX {
        return Err(invalid(
            "input",
            format!("There may be {TEXTS_MAX} inputs at most."),
        ));
    }
    if texts.iter().any(|text| text.0.is_empty()) {
        return Err(invalid("input", "An input must not be empty."));
    }
    Ok(texts.into_iter().map(|text| text.0).collect())
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: WireUsage,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Float(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct WireUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Writes the answer.
pub fn encode(embedded: &Embedded, encoding: Encoding, model: &str) -> Result<Bytes> {
    let data = embedded
        .vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| Item {
            object: "embedding",
            index,
            embedding: match encoding {
                Encoding::Float => Vector::Float(vector),
                Encoding::Base64 => {
                    let bytes: Vec<u8> = vector
                        .iter()
                        .flat_map(|number| number.to_le_bytes())
                        .collect();
                    Vector::Base64(STANDARD.encode(bytes))
                }
            },
        });
    let tokens = embedded.tokens.unwrap_or_default();
    let list = List {
        object: "list",
        data: data.collect(),
        model,
        usage: WireUsage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
    };
    serde_json::to_vec(&list)
        .map(Bytes::from)
        .map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<EmbedRequest<'_>> {
        decode(body.as_bytes(), &mut Dropped::default())
    }

    #[test]
    fn texts_are_read_and_tokens_are_refused() {
        let one =
            read(r#"{"model":"m","input":"a","encoding_format":"base64","dimensions":3}"#).unwrap();
        assert_eq!(
            (one.texts.len(), one.dimensions, one.encoding),
            (1, Some(3), Encoding::Base64)
        );
        assert_eq!(read(r#"{"input":["a","b"]}"#).unwrap().texts, ["a", "b"]);
        for (body, param) in [
            (r#"{"input":[1,2]}"#, "input"),
            (r#"{"input":[[1]]}"#, "input"),
            (r#"{"input":[]}"#, "input"),
            (r#"{"input":""}"#, "input"),
            (
                r#"{"input":"a","encoding_format":"hex"}"#,
                "encoding_format",
            ),
            (r#"{"input":"a","task":"x"}"#, "task"),
        ] {
            assert_eq!(read(body).unwrap_err().param(), Some(param), "{body}");
        }
    }

    #[test]
    fn vectors_are_written_in_both_forms() {
        let embedded = Embedded {
            vectors: vec![vec![1.0, -0.5]],
            tokens: Some(7),
        };
        assert_eq!(
            encode(&embedded, Encoding::Float, "m").unwrap(),
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.5]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
        let text = encode(&embedded, Encoding::Base64, "m").unwrap();
        assert!(
            text.windows(12).any(|part| part == b"\"AACAPwAAAL8"),
            "{text:?}"
        );
    }
}
