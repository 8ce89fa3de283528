//! The dialect of Anthropic's Messages: `https://platform.claude.com/docs/en/api/messages`.
//!
//! The same shapes stand in Bedrock's `InvokeModel`, which is not used. Server tools and files of an account are not
//! served.

mod error;
mod request;
mod stream;

use std::borrow::Cow;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use crate::ai::chat::ChatRequest;
use crate::ai::embed::{EmbedRequest, Embedded};
use crate::ai::event::Event;
use crate::ai::lane::{self, Decoder, Encoded, Lane, Page};
use crate::ai::models::Listed;
use crate::ai::param::{Dropped, Fate, Param, unsupported};
use crate::error::{Error, Result};

/// See the module's documentation.
#[derive(Debug)]
pub struct Anthropic;

const VERSION_NAME: HeaderName = HeaderName::from_static("anthropic-version");
/// The version whose shapes these are.
pub const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

impl Lane for Anthropic {
    fn fate(&self, param: Param) -> Fate {
        match param {
            Param::MaxCompletionTokens | Param::MaxTokens | Param::TopK | Param::TopP => {
                Fate::Passed
            }
            Param::ParallelToolCalls
            | Param::ReasoningEffort
            | Param::ResponseFormat
            | Param::SafetyIdentifier
            | Param::ServiceTier
            | Param::Stop
            | Param::Temperature
            | Param::ToolChoice
            | Param::Tools
            | Param::User => Fate::Mapped,
            Param::FrequencyPenalty
            | Param::Metadata
            | Param::Moderation
            | Param::PresencePenalty
            | Param::PromptCacheKey
            | Param::PromptCacheOptions
            | Param::PromptCacheRetention
            | Param::Seed
            | Param::Store
            | Param::TopLogprobs
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

    fn reply(&self, _model: &str, body: &[u8], out: &mut Vec<Event>) -> Result<()> {
        stream::reply(body, out)
    }

    fn stream(&self, _model: &str) -> Box<dyn Decoder> {
        Box::<stream::Messages>::default()
    }

    fn refusal(&self, status: StatusCode, _headers: &HeaderMap, body: &[u8]) -> Error {
        error::refusal(status, body)
    }

    fn answer_head(&self, headers: &HeaderMap, now: Timestamp) -> HeaderMap {
        error::answer_head(headers, now)
    }

    fn list(&self, page: Option<&str>) -> Option<(String, HeaderMap)> {
        let mut headers = HeaderMap::new();
        headers.insert(VERSION_NAME, VERSION);
        let after = page.and_then(|page| lane::path_segment(page).ok());
        let after = after.map(|page| format!("&after_id={page}"));
        Some((
            format!("/models?limit=1000{}", after.unwrap_or_default()),
            headers,
        ))
    }

    fn page(&self, body: &[u8]) -> Result<Page> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Model>,
            #[serde(default)]
            has_more: bool,
            last_id: Option<String>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
            created_at: Option<String>,
        }
        let list: List = serde_json::from_slice(body).map_err(lane::broken)?;
        let models = list.data.into_iter().map(|model| {
            let created = model
                .created_at
                .and_then(|text| text.parse::<Timestamp>().ok());
            let seconds = created.map(Timestamp::as_second).unwrap_or_default();
            Listed {
                id: model.id.into(),
                created: u64::try_from(seconds).unwrap_or_default(),
            }
        });
        Ok(Page {
            models: models.collect(),
            next: list.last_id.filter(|_| list.has_more),
        })
    }

    fn embed_max(&self, _model: &str) -> Option<usize> {
        None
    }

    fn embed(
        &self,
        _request: &EmbedRequest<'_>,
        _texts: &[Cow<'_, str>],
        _model: &str,
    ) -> Result<Encoded> {
        Err(unsupported("model"))
    }

    fn embedded(&self, _model: &str, _headers: &HeaderMap, _body: &[u8]) -> Result<Embedded> {
        Err(unsupported("model"))
    }
}

#[cfg(test)]
mod tests;
