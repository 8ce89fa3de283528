//! The dialect of Bedrock's Converse:
//! `https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html`.
//!
//! One shape for the models of many makers; what only some of them know goes beside it, by the model's name. Streams are
//! frames of their own kind ([`frame`]), and their checksums are checked. Requests are signed by whoever sends them.

mod embed;
mod error;
mod frame;
mod request;
mod stream;

use std::borrow::Cow;

use http::header::HeaderName;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::ai::chat::{ChatRequest, Family};
use crate::ai::embed::{EmbedRequest, Embedded};
use crate::ai::event::Event;
use crate::ai::lane::{Decoder, Encoded, Lane, Page};
use crate::ai::param::{Dropped, Fate, Param};
use crate::error::{Error, Result};

/// See the module's documentation.
#[derive(Debug)]
pub struct Bedrock;

impl Lane for Bedrock {
    fn fate(&self, param: Param) -> Fate {
        match param {
            Param::MaxCompletionTokens | Param::MaxTokens | Param::TopP => Fate::Passed,
            Param::Metadata
            | Param::ReasoningEffort
            | Param::ResponseFormat
            | Param::ServiceTier
            | Param::Stop
            | Param::Temperature
            | Param::ToolChoice
            | Param::Tools
            | Param::TopK => Fate::Mapped,
            Param::FrequencyPenalty
            | Param::Moderation
            | Param::ParallelToolCalls
            | Param::PresencePenalty
            | Param::PromptCacheKey
            | Param::PromptCacheOptions
            | Param::PromptCacheRetention
            | Param::SafetyIdentifier
            | Param::Seed
            | Param::Store
            | Param::TopLogprobs
            | Param::User
            | Param::Verbosity => Fate::Dropped,
            Param::Audio
            | Param::FunctionCall
            | Param::Functions
            | Param::LogitBias
            | Param::Logprobs
            | Param::Modalities
            | Param::N
            | Param::Prediction
            | Param::WebSearchOptions => Fate::Refused,
        }
    }

    fn encode(
        &self,
        chat: &ChatRequest<'_>,
        model: &str,
        dropped: &mut Dropped,
    ) -> Result<Encoded> {
        request::encode(chat, model, dropped)
    }

    fn reply(&self, model: &str, body: &[u8], out: &mut Vec<Event>) -> Result<()> {
        stream::reply(family(model), body, out)
    }

    fn stream(&self, model: &str) -> Box<dyn Decoder> {
        Box::new(stream::Converse::new(family(model)))
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        error::refusal(status, headers, body)
    }

    fn answer_head(&self, headers: &HeaderMap, _now: Timestamp) -> HeaderMap {
        let mut head = HeaderMap::new();
        if let Some(id) = headers.get("x-amzn-requestid") {
            head.insert(HeaderName::from_static("x-request-id"), id.clone());
        }
        head
    }

    fn list(&self, _page: Option<&str>) -> Option<(String, HeaderMap)> {
        None
    }

    fn page(&self, _body: &[u8]) -> Result<Page> {
        Ok(Page::default())
    }

    fn embed_max(&self, model: &str) -> Option<usize> {
        embed::batch_max(model)
    }

    fn embed(
        &self,
        request: &EmbedRequest<'_>,
        texts: &[Cow<'_, str>],
        model: &str,
    ) -> Result<Encoded> {
        embed::encode(request, texts, model)
    }

    fn embedded(&self, model: &str, headers: &HeaderMap, body: &[u8]) -> Result<Embedded> {
        embed::decode(model, headers, body)
    }
}

/// Whose thoughts a model's are.
fn family(model: &str) -> Family {
    if is_claude(model) {
        Family::Claude
    } else {
        Family::Bedrock
    }
}

fn is_claude(model: &str) -> bool {
    model.contains("claude")
}

#[cfg(test)]
mod tests;
