//! Errors as `OpenAI` clients read them. The one table from [`Kind`] to a status, type and code.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::error::{Error, Kind};

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

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
        | Kind::TokenUnsupported => (StatusCode::UNAUTHORIZED, INVALID, Some("invalid_api_key")),
        Kind::AuthMalformed => (StatusCode::BAD_REQUEST, INVALID, Some("invalid_api_key")),
        Kind::AccessDenied => (StatusCode::FORBIDDEN, INVALID, Some("access_denied")),
        Kind::ModelNotAllowed => (StatusCode::FORBIDDEN, INVALID, Some("model_not_allowed")),
        Kind::ModelNotFound => (StatusCode::NOT_FOUND, INVALID, Some("model_not_found")),

        Kind::InvalidRequest
        | Kind::InvalidBucketName
        | Kind::KeyTooLong
        | Kind::InvalidDigest
        | Kind::DigestMismatch
        | Kind::PayloadHashMismatch
        | Kind::IncompleteBody => (StatusCode::BAD_REQUEST, INVALID, None),
        Kind::MalformedBody => (StatusCode::BAD_REQUEST, INVALID, Some("invalid_json")),
        Kind::InvalidArgument => (StatusCode::BAD_REQUEST, INVALID, Some("invalid_value")),
        Kind::InvalidRange => (StatusCode::RANGE_NOT_SATISFIABLE, INVALID, None),
        Kind::MethodNotAllowed => (
            StatusCode::METHOD_NOT_ALLOWED,
            INVALID,
            Some("method_not_supported"),
        ),
        Kind::Unsupported => (StatusCode::NOT_IMPLEMENTED, INVALID, Some("unsupported")),
        Kind::LengthRequired => (StatusCode::LENGTH_REQUIRED, INVALID, None),
        Kind::BodyTooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            INVALID,
            Some("request_too_large"),
        ),
        Kind::HeadersTooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            INVALID,
            Some("headers_too_large"),
        ),
        Kind::UriTooLong => (StatusCode::URI_TOO_LONG, INVALID, Some("uri_too_long")),
        Kind::RequestTimeout => (
            StatusCode::REQUEST_TIMEOUT,
            INVALID,
            Some("request_timeout"),
        ),
        Kind::BucketNotFound | Kind::ObjectNotFound | Kind::UploadNotFound | Kind::NotFound => {
            (StatusCode::NOT_FOUND, INVALID, Some("unknown_url"))
        }
        Kind::Conflict => (StatusCode::CONFLICT, INVALID, None),
        Kind::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, INVALID, None),

        Kind::RateLimited => (
            StatusCode::TOO_MANY_REQUESTS,
            "requests",
            Some("rate_limit_exceeded"),
        ),
        Kind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, SERVER, Some("overloaded")),
        Kind::ShuttingDown => (
            StatusCode::SERVICE_UNAVAILABLE,
            SERVER,
            Some("shutting_down"),
        ),
        Kind::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            SERVER,
            Some("internal_error"),
        ),

        Kind::UpstreamUnavailable | Kind::UpstreamBroken => {
            (StatusCode::BAD_GATEWAY, SERVER, Some("upstream_error"))
        }
        Kind::UpstreamTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            SERVER,
            Some("upstream_timeout"),
        ),
        Kind::UpstreamAuth => (
            StatusCode::BAD_GATEWAY,
            "upstream_auth_error",
            Some("upstream_auth_error"),
        ),
        // Nobody reads it; the status is what the access log shows.
        Kind::ClientGone => (
            StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            INVALID,
            None,
        ),
    };
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
    fn a_refused_credential_is_never_the_clients() {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
            let (status, body) = encode(&upstream_auth(status));
            assert_eq!(status, StatusCode::BAD_GATEWAY);
            assert!(!body.windows(15).any(|part| part == b"invalid_api_key"));
        }
    }
}
