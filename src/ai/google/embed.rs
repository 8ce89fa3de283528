//! Embeddings: `https://ai.google.dev/api/embeddings`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::ai::embed::{EmbedRequest, Embedded};
use crate::ai::lane::{self, Encoded, Reading};
use crate::error::{Error, Result};

/// Texts of one call.
pub(super) const BATCH_MAX: usize = 100;

#[derive(Serialize)]
struct Body<'a> {
    requests: Vec<Request<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    embeddings: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    values: Vec<f32>,
}

pub(super) fn encode(
    request: &EmbedRequest<'_>,
    texts: &[Cow<'_, str>],
    model: &str,
) -> Result<Encoded> {
    let name = format!("models/{model}");
    let requests = texts.iter().map(|text| Request {
        model: &name,
        content: Content {
            parts: [Part { text }],
        },
        output_dimensionality: request.dimensions,
    });
    let body = Body {
        requests: requests.collect(),
    };
    Ok(Encoded {
        path: format!("/models/{}:batchEmbedContents", lane::path_segment(model)?),
        headers: http::HeaderMap::new(),
        body: serde_json::to_vec(&body).map_err(Error::internal)?,
        reading: Reading::default(),
    })
}

/// The provider does not tell tokens here.
pub(super) fn decode(body: &[u8]) -> Result<Embedded> {
    let answer: Answer = serde_json::from_slice(body).map_err(lane::broken)?;
    Ok(Embedded {
        vectors: answer.embeddings.into_iter().map(|it| it.values).collect(),
        tokens: None,
    })
}
