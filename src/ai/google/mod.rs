//! The dialect of Google's Gemini: `https://ai.google.dev/api/generate-content`.
//!
//! Schemas go as JSON Schema, which models know since 2.0; the subset that came before it is not written. Media are
//! sent inline: what stands at a URL, the provider does not fetch, and neither do we.

mod embed;
mod error;
mod model;
mod request;
mod stream;

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use crate::ai::chat::ChatRequest;
use crate::ai::embed::{EmbedRequest, Embedded};
use crate::ai::event::Event;
use crate::ai::lane::{self, Decoder, Encoded, Lane, Page};
use crate::ai::models::Listed;
use crate::ai::param::{Dropped, Fate, Param};
use crate::error::{Error, Result};

/// See the module's documentation.
#[derive(Debug)]
pub struct Google;

impl Lane for Google {
    fn fate(&self, param: Param) -> Fate {
        match param {
            Param::FrequencyPenalty
            | Param::MaxCompletionTokens
            | Param::MaxTokens
            | Param::N
            | Param::PresencePenalty
            | Param::Seed
            | Param::Stop
            | Param::Temperature
            | Param::TopK
            | Param::TopP => Fate::Passed,
            Param::ReasoningEffort | Param::ResponseFormat | Param::ToolChoice | Param::Tools => {
                Fate::Mapped
            }
            Param::LogitBias
            | Param::Metadata
            | Param::Moderation
            | Param::ParallelToolCalls
            | Param::Prediction
            | Param::PromptCacheKey
            | Param::PromptCacheOptions
            | Param::PromptCacheRetention
            | Param::SafetyIdentifier
            | Param::ServiceTier
            | Param::Store
            | Param::TopLogprobs
            | Param::User
            | Param::Verbosity => Fate::Dropped,
            Param::Audio
            | Param::FunctionCall
            | Param::Functions
            | Param::Logprobs
            | Param::Modalities
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

    fn reply(&self, _model: &str, body: &[u8], out: &mut Vec<Event>) -> Result<()> {
        stream::reply(body, out)
    }

    fn stream(&self, _model: &str) -> Box<dyn Decoder> {
        Box::<stream::Contents>::default()
    }

    fn refusal(&self, status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Error {
        error::refusal(status, body)
    }

    fn answer_head(&self, _headers: &HeaderMap, _now: Timestamp) -> HeaderMap {
        // The provider tells neither limits nor an id in its head.
        HeaderMap::new()
    }

    fn list(&self, page: Option<&str>) -> Option<(String, HeaderMap)> {
        let token = page.and_then(|page| lane::path_segment(page).ok());
        let token = token
            .map(|page| format!("&pageToken={page}"))
            .unwrap_or_default();
        Some((format!("/models?pageSize=1000{token}"), HeaderMap::new()))
    }

    fn page(&self, body: &[u8]) -> Result<Page> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct List {
            #[serde(default)]
            models: Vec<Model>,
            next_page_token: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Model {
            name: String,
            #[serde(default)]
            supported_generation_methods: Vec<String>,
        }
        let list: List = serde_json::from_slice(body).map_err(lane::broken)?;
        let known = list.models.into_iter().filter(|model| {
            let mut methods = model.supported_generation_methods.iter();
            methods.any(|method| matches!(method.as_str(), "generateContent" | "embedContent"))
        });
        let models = known.map(|model| Listed {
            id: model
                .name
                .strip_prefix("models/")
                .unwrap_or(&model.name)
                .into(),
            created: 0,
        });
        Ok(Page {
            models: models.collect(),
            next: list.next_page_token.filter(|token| !token.is_empty()),
        })
    }

    fn embed_max(&self, model: &str) -> Option<usize> {
        model.contains("embedding").then_some(embed::BATCH_MAX)
    }

    fn embed(
        &self,
        request: &EmbedRequest<'_>,
        texts: &[Cow<'_, str>],
        model: &str,
    ) -> Result<Encoded> {
        embed::encode(request, texts, model)
    }

    fn embedded(&self, _model: &str, _headers: &HeaderMap, body: &[u8]) -> Result<Embedded> {
        embed::decode(body)
    }
}

#[cfg(test)]
mod tests;
