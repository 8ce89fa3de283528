//! What Google's errors say.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::ai::lane::{kind_of, refused};
use crate::error::{Error, Kind};

/// Longest wait that is believed.
const RETRY_AFTER_MAX: f64 = 86_400.0;

#[derive(Deserialize)]
struct Envelope {
    error: Told,
}

#[derive(Default, Deserialize)]
pub(super) struct Told {
    code: Option<u16>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    retry_delay: Option<String>,
    reason: Option<String>,
}

/// An answer that is no success. Streams wrap the error in an array.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let told = serde_json::from_slice(body)
        .map(|Envelope { error }| error)
        .or_else(|_| {
            serde_json::from_slice(body).map(|all: Vec<Envelope>| {
                let first = all.into_iter().next();
                first.map(|it| it.error).unwrap_or_default()
            })
        });
    error(&told.unwrap_or_default(), status)
}

/// An error in a stream.
pub(super) fn in_stream(told: &Told) -> Error {
    let status = told.code.and_then(|code| StatusCode::from_u16(code).ok());
    error(told, status.unwrap_or(StatusCode::BAD_GATEWAY))
}

fn error(told: &Told, status: StatusCode) -> Error {
    let error = refused(kind(told).unwrap_or_else(|| kind_of(status)), &told.message);
    let delay = told.details.iter().find_map(|detail| {
        let seconds: f64 = detail
            .retry_delay
            .as_deref()?
            .strip_suffix('s')?
            .parse()
            .ok()?;
        Duration::try_from_secs_f64(seconds.clamp(0.0, RETRY_AFTER_MAX)).ok()
    });
    match delay {
        Some(delay) => error.with_retry_after(delay),
        None => error,
    }
}

fn kind(told: &Told) -> Option<Kind> {
    // A key that is no good is called an argument that is not.
    let blames_key = |detail: &Detail| detail.reason.as_deref() == Some("API_KEY_INVALID");
    Some(match told.status.as_str() {
        "INVALID_ARGUMENT" if told.details.iter().any(blames_key) => Kind::UpstreamAuth,
        "INVALID_ARGUMENT" if told.message.starts_with("API key not valid") => Kind::UpstreamAuth,
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => Kind::InvalidRequest,
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => Kind::UpstreamAuth,
        "NOT_FOUND" => Kind::ModelNotFound,
        "RESOURCE_EXHAUSTED" => Kind::RateLimited,
        "INTERNAL" => Kind::UpstreamBroken,
        "UNAVAILABLE" => Kind::Overloaded,
        "DEADLINE_EXCEEDED" => Kind::UpstreamTimeout,
        _ => return None,
    })
}
