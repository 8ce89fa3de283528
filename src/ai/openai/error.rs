//! Errors as `OpenAI` clients read them. The one table from [`Kind`] to a status, type and code.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";
const UPSTREAM_AUTH: &str = "upstream_auth_error";

/// Status, `type` and `code` of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub kind: &'static str,
    pub code: Option<&'static str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

/// How a kind is answered.
pub fn answer(kind: Kind) -> Answer {
    let (status, kind, code) = match kind {
        Kind::AuthMissing
        | Kind::KeyUnknown
        | Kind::SignatureMismatch
        | Kind::KeyInactive
        | Kind::ClockSkew
        | Kind::RequestExpired
        | Kind::TokenUnsupported => (401, INVALID, Some("invalid_api_key")),
        Kind::AuthMalformed => (400, INVALID, Some("invalid_api_key")),
        Kind::AccessDenied => (403, INVALID, Some("access_denied")),
        Kind::ModelNotAllowed => (403, INVALID, Some("model_not_allowed")),
        Kind::ModelNotFound => (404, INVALID, Some("model_not_found")),

        Kind::InvalidRequest
        | Kind::InvalidBucketName
        | Kind::LocationRefused
        | Kind::BodyTooSmall
        | Kind::MalformedForm
        | Kind::FormTooLarge
        | Kind::FormWithoutFile
        | Kind::MetadataTooLarge
        | Kind::InvalidTag
        | Kind::InvalidPart
        | Kind::InvalidPartOrder
        | Kind::InvalidPolicy
        | Kind::KeyTooLong
        | Kind::InvalidDigest
        | Kind::DigestMismatch
        | Kind::PayloadHashMismatch
        | Kind::IncompleteBody => (400, INVALID, None),
        Kind::MalformedBody => (400, INVALID, Some("invalid_json")),
        Kind::InvalidArgument => (400, INVALID, Some("unsupported_parameter")),
        Kind::InvalidRange => (416, INVALID, None),
        Kind::MethodNotAllowed => (405, INVALID, Some("method_not_supported")),
        Kind::Unsupported => (501, INVALID, Some("unsupported")),
        Kind::LengthRequired => (411, INVALID, None),
        Kind::BodyTooLarge => (413, INVALID, Some("request_too_large")),
        Kind::HeadersTooLarge => (431, INVALID, Some("headers_too_large")),
        Kind::UriTooLong => (414, INVALID, Some("uri_too_long")),
        Kind::RequestTimeout => (408, INVALID, Some("request_timeout")),
        Kind::BucketNotFound | Kind::ObjectNotFound | Kind::UploadNotFound | Kind::NotFound => {
            (404, INVALID, Some("unknown_url"))
        }
        Kind::BucketExists
        | Kind::BucketTaken
        | Kind::BucketNotEmpty
        | Kind::ObjectArchived
        | Kind::Conflict => (409, INVALID, None),
        Kind::PreconditionFailed => (412, INVALID, None),

        Kind::RateLimited => (429, "requests", Some("rate_limit_exceeded")),
        Kind::Overloaded => (503, SERVER, Some("overloaded")),
        Kind::ShuttingDown => (503, SERVER, Some("shutting_down")),
        Kind::Internal => (500, SERVER, Some("internal_error")),

        Kind::UpstreamUnavailable | Kind::UpstreamBroken => (502, SERVER, Some("upstream_error")),
        Kind::UpstreamTimeout => (504, SERVER, Some("upstream_timeout")),
        Kind::UpstreamAuth => (502, UPSTREAM_AUTH, Some(UPSTREAM_AUTH)),
        // Nobody reads it; the status is what the access log shows.
        Kind::ClientGone => (499, INVALID, None),
    };
    // The statuses above are all valid; this keeps a typing error from becoming a panic.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Answer { status, kind, code }
}

/// The status and body of an error.
pub fn encode(error: &Error) -> (StatusCode, Bytes) {
    let answer = answer(error.kind());
    (answer.status, body(error, answer).into())
}

/// An error inside a stream whose head was sent. No `[DONE]` may follow: SDKs raise on the `error` member.
pub fn encode_event(error: &Error) -> Bytes {
    let json = body(error, answer(error.kind()));
    let mut event = Vec::with_capacity(json.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(&json);
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// The code in an error of an upstream, or its type where it has none: for the log.
pub fn code_of(body: &[u8]) -> Cow<'static, str> {
    #[derive(Deserialize)]
    struct Envelope {
        error: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        code: Option<serde_json::Value>,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let Ok(Envelope { error }) = serde_json::from_slice(body) else {
        return "upstream_error".into();
    };
    match (error.code, error.kind) {
        (Some(serde_json::Value::String(code)), _) => code.into(),
        (Some(serde_json::Value::Number(code)), _) => code.to_string().into(),
        (_, Some(kind)) => kind.into(),
        (_, None) => "upstream_error".into(),
    }
}

/// The answer to an upstream's 401 or 403: it refused our credential, so the client's key must not be blamed.
pub fn upstream_auth(status: StatusCode) -> Error {
    Error::new(
        Kind::UpstreamAuth,
        "The model provider refused the credential that this endpoint uses. Your API key is not at fault.",
    )
    .with_detail(format_args!("upstream status {status}"))
}

fn body(error: &Error, answer: Answer) -> Vec<u8> {
    let envelope = Envelope {
        error: Body {
            message: error.message(),
            kind: answer.kind,
            param: error.param(),
            code: answer.code,
        },
    };
    // Strings alone cannot fail to serialise; an empty body with the right status is what would be left.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_all_four_members() {
        let error = Error::new(Kind::ModelNotFound, "No \"x\".").with_param("model");
        let (status, body) = encode(&error);
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(
            body,
            r#"{"error":{"message":"No \"x\".","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#
        );
        let (_, body) = encode(&Error::new(Kind::InvalidRequest, "Bad.").with_detail("secret"));
        assert_eq!(
            body,
            r#"{"error":{"message":"Bad.","type":"invalid_request_error","param":null,"code":null}}"#
        );
    }

    #[test]
    fn events_are_one_data_line() {
        let event = encode_event(&Error::new(Kind::UpstreamTimeout, "a\nb"));
        assert_eq!(
            event,
            "data: {\"error\":{\"message\":\"a\\nb\",\"type\":\"server_error\",\"param\":null,\
             \"code\":\"upstream_timeout\"}}\n\n"
        );
    }

    #[test]
    fn an_upstreams_code_is_found() {
        let cases = [
            (
                r#"{"error":{"code":"context_length","type":"t"}}"#,
                "context_length",
            ),
            (r#"{"error":{"code":429,"type":"t"}}"#, "429"),
            (
                r#"{"error":{"code":null,"type":"invalid_request_error"}}"#,
                "invalid_request_error",
            ),
            (r#"{"error":{"message":"m"}}"#, "upstream_error"),
            (r#"{"error":"m"}"#, "upstream_error"),
            ("<html>", "upstream_error"),
            ("", "upstream_error"),
        ];
        for (body, expected) in cases {
            assert_eq!(code_of(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_refused_credential_is_never_the_clients() {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
            let (status, body) = encode(&upstream_auth(status));
            assert_eq!(status, StatusCode::BAD_GATEWAY);
            assert!(!body.windows(15).any(|part| part == b"invalid_api_key"));
        }
    }
}
