//! What Anthropic's errors and headers say.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use crate::ai::lane::{kind_of, refused};
use crate::error::{Error, Kind};

#[derive(Deserialize)]
struct Envelope {
    error: Told,
}

#[derive(Default, Deserialize)]
pub(super) struct Told {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    message: String,
}

/// An answer that is no success. A body that is none of Anthropic's leaves the status to speak.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let told = serde_json::from_slice(body).map(|Envelope { error }| error);
    let told = told.unwrap_or_default();
    refused(
        kind(&told.r#type).unwrap_or_else(|| kind_of(status)),
        &told.message,
    )
}

/// An error in a stream.
pub(super) fn in_stream(told: &Told) -> Error {
    refused(
        kind(&told.r#type).unwrap_or(Kind::UpstreamBroken),
        &told.message,
    )
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "invalid_request_error" => Kind::InvalidRequest,
        "authentication_error" | "permission_error" | "billing_error" => Kind::UpstreamAuth,
        "not_found_error" => Kind::ModelNotFound,
        "request_too_large" => Kind::BodyTooLarge,
        "rate_limit_error" => Kind::RateLimited,
        "timeout_error" => Kind::UpstreamTimeout,
        "overloaded_error" => Kind::Overloaded,
        "api_error" => Kind::UpstreamBroken,
        _ => return None,
    })
}

/// The request's id and the limits, under the names that `OpenAI` clients read.
pub(super) fn answer_head(headers: &HeaderMap, now: Timestamp) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (theirs, ours) in [
        ("request-id", "x-request-id"),
        ("retry-after", "retry-after"),
        ("x-should-retry", "x-should-retry"),
    ] {
        if let Some(value) = headers.get(theirs) {
            head.insert(HeaderName::from_static(ours), value.clone());
        }
    }
    for what in ["requests", "tokens"] {
        for part in ["limit", "remaining", "reset"] {
            let theirs = headers.get(format!("anthropic-ratelimit-{what}-{part}"));
            let value = match part {
                "reset" => theirs.and_then(|value| until(value, now)),
                _ => theirs.cloned(),
            };
            let name = format!("x-ratelimit-{part}-{what}").parse::<HeaderName>();
            if let (Some(value), Ok(name)) = (value, name) {
                head.insert(name, value);
            }
        }
    }
    head
}

/// A time as the wait until then: `6m0s`, `12s`.
fn until(value: &HeaderValue, now: Timestamp) -> Option<HeaderValue> {
    let at: Timestamp = value.to_str().ok()?.parse().ok()?;
    let seconds = at.duration_since(now).as_secs().max(0);
    let text = match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    };
    HeaderValue::try_from(text).ok()
}
