//! Embeddings: `InvokeModel` takes each maker's own shape.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{self, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::ai::embed::{EmbedRequest, Embedded};
use crate::ai::lane::{self, Encoded, Reading};
use crate::ai::param::unsupported;
use crate::error::{Error, Result};

/// Whose shape a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Titan,
    Cohere,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Titan<'a> {
    input_text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
}

#[derive(Serialize)]
struct Cohere<'a> {
    texts: &'a [Cow<'a, str>],
    /// The provider wants to know. What is kept to be found is a document; a question is near to it either way.
    input_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TitanAnswer {
    embedding: Vec<f32>,
    input_text_token_count: Option<u64>,
}

#[derive(Deserialize)]
struct CohereAnswer {
    embeddings: CohereVectors,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CohereVectors {
    Plain(Vec<Vec<f32>>),
    Typed { float: Vec<Vec<f32>> },
}

fn maker(model: &str) -> Option<Maker> {
    if model.contains("titan-embed") {
        Some(Maker::Titan)
    } else if model.contains("cohere.embed") {
        Some(Maker::Cohere)
    } else {
        None
    }
}

/// Texts of one call; `None` for a model that makes no embeddings.
pub(super) fn batch_max(model: &str) -> Option<usize> {
    Some(match maker(model)? {
        Maker::Titan => 1,
        Maker::Cohere => 96,
    })
}

pub(super) fn encode(
    request: &EmbedRequest<'_>,
    texts: &[Cow<'_, str>],
    model: &str,
) -> Result<Encoded> {
    let body = match maker(model) {
        Some(Maker::Titan) => {
            let input_text = texts.first().map(|text| &**text).unwrap_or_default();
            serde_json::to_vec(&Titan {
                input_text,
                dimensions: request.dimensions,
            })
        }
        Some(Maker::Cohere) => serde_json::to_vec(&Cohere {
            texts,
            input_type: "search_document",
            output_dimension: request.dimensions,
        }),
        None => return Err(unsupported("model")),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    Ok(Encoded {
        path: format!("/model/{}/invoke", lane::path_segment(model)?),
        headers,
        body: body.map_err(Error::internal)?,
        reading: Reading::default(),
    })
}

pub(super) fn decode(model: &str, headers: &HeaderMap, body: &[u8]) -> Result<Embedded> {
    if maker(model) == Some(Maker::Titan) {
        let answer: TitanAnswer = serde_json::from_slice(body).map_err(lane::broken)?;
        return Ok(Embedded {
            vectors: vec![answer.embedding],
            tokens: answer.input_text_token_count,
        });
    }
    let answer: CohereAnswer = serde_json::from_slice(body).map_err(lane::broken)?;
    let tokens = headers.get("x-amzn-bedrock-input-token-count");
    Ok(Embedded {
        vectors: match answer.embeddings {
            CohereVectors::Plain(vectors) | CohereVectors::Typed { float: vectors } => vectors,
        },
        tokens: tokens.and_then(|value| value.to_str().ok()?.parse().ok()),
    })
}
