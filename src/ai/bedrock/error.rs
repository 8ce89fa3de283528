//! What Bedrock's errors say: their name in a header, their text in the body.

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::frame::Frame;
use crate::ai::lane::{kind_of, refused};
use crate::error::{Error, Kind};

#[derive(Default, Deserialize)]
struct Told {
    #[serde(alias = "Message", default)]
    message: String,
}

/// An answer that is no success.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let name = headers
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok());
    // `ValidationException:http://internal...`
    let name = name
        .and_then(|name| name.split(':').next())
        .unwrap_or_default();
    let kind = kind(name).unwrap_or_else(|| kind_of(status));
    refused(kind, &message(body))
}

/// A frame that is no event.
pub(super) fn in_stream(frame: &Frame<'_>) -> Error {
    let name = if frame.exception_type.is_empty() {
        frame.error_code
    } else {
        frame.exception_type
    };
    let told = message(frame.payload);
    let told = if told.is_empty() {
        frame.error_message
    } else {
        &told
    };
    refused(kind(name).unwrap_or(Kind::UpstreamBroken), told)
}

fn message(body: &[u8]) -> String {
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    told.message
}

/// Headers write `ThrottlingException`, frames `throttlingException`.
fn kind(name: &str) -> Option<Kind> {
    Some(match name.to_ascii_lowercase().as_str() {
        "validationexception" => Kind::InvalidRequest,
        "accessdeniedexception"
        | "unrecognizedclientexception"
        | "expiredtokenexception"
        | "invalidsignatureexception"
        | "incompletesignatureexception" => Kind::UpstreamAuth,
        "resourcenotfoundexception" => Kind::ModelNotFound,
        "modeltimeoutexception" => Kind::UpstreamTimeout,
        "throttlingexception" | "modelnotreadyexception" | "servicequotaexceededexception" => {
            Kind::RateLimited
        }
        "modelerrorexception"
        | "modelstreamerrorexception"
        | "internalserverexception"
        | "unknownoperationexception" => Kind::UpstreamBroken,
        "serviceunavailableexception" => Kind::Overloaded,
        _ => return None,
    })
}
