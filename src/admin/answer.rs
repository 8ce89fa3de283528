//! Answers: JSON always, and one form of error for all of them.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::AdminRequest;
use crate::config::diagnostic::Report;
use crate::config::store::StoreError;

/// The header that names a request, here and in the logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a request id that are sent back.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// An answer, to be sent as it is. `Content-Length` is the sender's to add.
#[derive(Clone, Debug)]
pub struct AdminResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What went wrong, as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidRequest,
    UnsupportedMediaType,
    Unauthorized,
    Forbidden,
    NotFound,
    /// Known, and not ours to provide.
    NotOurs,
    MethodNotAllowed,
    ConfigConflict,
    ReadOnlyConfig,
    PreconditionFailed,
    BodyTooLarge,
    MisdirectedRequest,
    ValidationFailed,
    RateLimited,
    Internal,
    /// Ours, and not built yet.
    NotImplemented,
    Degraded,
}

impl Code {
    fn wire(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_REQUEST"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::NotOurs => (StatusCode::NOT_FOUND, "NOT_IMPLEMENTED"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::ConfigConflict => (StatusCode::CONFLICT, "CONFIG_CONFLICT"),
            Self::ReadOnlyConfig => (StatusCode::CONFLICT, "READ_ONLY_CONFIG"),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "INVALID_REQUEST"),
            Self::MisdirectedRequest => (StatusCode::MISDIRECTED_REQUEST, "INVALID_REQUEST"),
            Self::ValidationFailed => (StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_FAILED"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
            Self::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED"),
            Self::Degraded => (StatusCode::SERVICE_UNAVAILABLE, "DEGRADED"),
        }
    }
}

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Failure {
    code: Code,
    message: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
    /// Problems of the config, where it is that which stands in the way.
    problems: Option<Box<Value>>,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let bearer = || (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Self {
            code,
            message: message.into(),
            header: (code == Code::Unauthorized).then(bearer),
            problems: None,
        }
    }

    pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    pub(super) fn method_not_allowed(allow: HeaderValue) -> Self {
        let mut failure = Self::new(Code::MethodNotAllowed, "the path does not have this method");
        failure.header = Some((ALLOW, allow));
        failure
    }

    pub(super) fn throttled(seconds: i64) -> Self {
        let message = "too many failed authentications from this address";
        let mut failure = Self::new(Code::RateLimited, message);
        failure.header = Some((RETRY_AFTER, HeaderValue::from(seconds)));
        failure
    }

    pub(super) fn of_config(code: Code, message: &str, report: &Report) -> Self {
        let first = report.problems().first();
        let message = first.map_or_else(
            || message.to_owned(),
            |problem| format!("{message}: {}: {}", problem.place, problem.message),
        );
        let mut failure = Self::new(code, message);
        failure.problems = report.to_json().get("problems").cloned().map(Box::new);
        failure
    }

    pub(super) fn into_response(self) -> AdminResponse {
        let (status, code) = self.code.wire();
        let mut body = json!({
            "success": false,
            "error_code": code,
            "error_message": &*self.message,
            "message": &*self.message,
        });
        if let (Some(problems), Some(body)) = (self.problems, body.as_object_mut()) {
            body.insert("problems".into(), *problems);
        }
        let mut response = AdminResponse::json(status, &body);
        response.headers.extend(self.header);
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let code = match error {
            StoreError::RepositoryNotFound | StoreError::KeyNotFound => Code::NotFound,
            StoreError::Invalid(_) => Code::InvalidRequest,
            StoreError::Unsupported(_) => Code::NotImplemented,
            StoreError::Rejected(report) => {
                return Self::of_config(Code::ValidationFailed, &message, &report);
            }
            StoreError::Conflict(report) => {
                return Self::of_config(Code::ConfigConflict, &message, &report);
            }
            StoreError::Busy => Code::ConfigConflict,
            StoreError::Stale => Code::PreconditionFailed,
            StoreError::ReadOnly(_) => Code::ReadOnlyConfig,
            StoreError::Degraded { .. } => {
                tracing::error!(%message, "an admin request could not write");
                Code::Degraded
            }
            StoreError::Internal(_) => {
                tracing::error!(%message, "an admin request failed");
                Code::Internal
            }
        };
        Self::new(code, message)
    }
}

impl AdminResponse {
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(super) fn ok(members: Map<String, Value>) -> Self {
        let mut body = Map::with_capacity(members.len() + 1);
        body.insert("success".into(), true.into());
        body.extend(members);
        Self::json(StatusCode::OK, &Value::Object(body))
    }

    pub(super) fn text(status: StatusCode, content_type: &'static str, body: String) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Everything here is somebody's state, and some of it a secret: no cache may keep it.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self {
            status,
            headers,
            body: body.into(),
        }
    }

    pub(super) fn with_etag(mut self, etag: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(etag) {
            self.headers.insert(ETAG, value);
        }
        self
    }

    pub(super) fn with_request_id(mut self, id: &str) -> Self {
        let id: String = id
            .chars()
            .filter(char::is_ascii_graphic)
            .take(REQUEST_ID_CHARS_MAX)
            .collect();
        if let Ok(value) = HeaderValue::from_str(&id) {
            self.headers.insert(REQUEST_ID, value);
        }
        self
    }

    pub(super) fn finish(self, request: &AdminRequest) -> Self {
        let mut response = self.with_request_id(&request.request_id);
        if request.method == Method::HEAD {
            response.body = Bytes::new();
        }
        response
    }
}
