//! The model of an embedding: texts in, vectors out.

use std::borrow::Cow;

/// Texts to be turned into vectors.
#[derive(Debug, PartialEq, Eq)]
pub struct EmbedRequest<'a> {
    pub texts: Vec<Cow<'a, str>>,
    pub dimensions: Option<u64>,
    pub encoding: Encoding,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Float,
    /// Of little-endian numbers of four bytes, which is what SDKs ask for by default.
    Base64,
}

/// What one call gave, in the order of its texts.
#[derive(Debug, Default, PartialEq)]
pub struct Embedded {
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of the texts, where the provider tells.
    pub tokens: Option<u64>,
}
