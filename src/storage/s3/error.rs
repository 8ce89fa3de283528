//! Failures as S3 speaks of them.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::error::{Error, Kind};
use crate::policy::route::Bucket;

/// A failure as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For metrics, logs and retries.
    pub kind: Kind,
    pub status: StatusCode,
    pub code: Cow<'static, str>,
    pub message: Cow<'static, str>,
    pub retry_after: Option<Duration>,
}

/// Status and code of each kind.
pub fn status_and_code(_kind: Kind) -> (StatusCode, &'static str) {
    (StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (status, code) = status_and_code(error.kind());
        Self {
            kind: error.kind(),
            status,
            code: code.into(),
            message: error.message().to_owned().into(),
            retry_after: error.retry_after(),
        }
    }
}

impl Failure {
    /// Reads a provider's error. `body` may be empty or cut.
    pub fn decode(
        _status: StatusCode,
        _headers: &HeaderMap,
        _body: &[u8],
        _bucket: Option<&Bucket>,
    ) -> Self {
        Self::from(&Error::internal("not built"))
    }

    /// The XML document. `resource` is the path that the client asked for.
    pub fn encode(&self, _resource: &str, _request_id: &str) -> Bytes {
        Bytes::new()
    }
}
