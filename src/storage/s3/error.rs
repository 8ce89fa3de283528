//! Failures as S3 speaks of them: ours by one table, a provider's read and made safe to show.

mod told;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::wire::{self, Part};
use crate::error::{Error, Kind};
use crate::policy::route::{Bucket, S3Account};
pub use told::told;

/// Longest error document that is read of a provider.
pub const FAILURE_BYTES_MAX: usize = 64 * 1024;
/// Longest text that is passed on from one.
const TEXT_BYTES_MAX: usize = 1024;
/// When a client that was told to slow down should come back, where the provider did not say.
const SLOW_DOWN: Duration = Duration::from_secs(1);

/// A failure as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For metrics, logs and retries.
    pub kind: Kind,
    pub status: StatusCode,
    pub code: Cow<'static, str>,
    pub message: Cow<'static, str>,
    pub retry_after: Option<Duration>,
    /// Further elements of the document, such as `Condition` or `ArgumentName`.
    pub details: Vec<(&'static str, String)>,
    /// What the provider said, for the log.
    pub detail: Option<String>,
}

/// Status and code of each kind.
pub fn status_and_code(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::AuthMissing | Kind::RequestExpired | Kind::AccessDenied => {
            (StatusCode::FORBIDDEN, "AccessDenied")
        }
        Kind::AuthMalformed => (StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed"),
        Kind::KeyUnknown | Kind::KeyInactive => (StatusCode::FORBIDDEN, "InvalidAccessKeyId"),
        Kind::SignatureMismatch => (StatusCode::FORBIDDEN, "SignatureDoesNotMatch"),
        Kind::ClockSkew => (StatusCode::FORBIDDEN, "RequestTimeTooSkewed"),
        Kind::TokenUnsupported => (StatusCode::BAD_REQUEST, "InvalidToken"),

        Kind::InvalidRequest => (StatusCode::BAD_REQUEST, "InvalidRequest"),
        Kind::InvalidArgument => (StatusCode::BAD_REQUEST, "InvalidArgument"),
        Kind::InvalidBucketName => (StatusCode::BAD_REQUEST, "InvalidBucketName"),
        Kind::KeyTooLong => (StatusCode::BAD_REQUEST, "KeyTooLongError"),
        Kind::InvalidRange => (StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
        Kind::InvalidDigest => (StatusCode::BAD_REQUEST, "InvalidDigest"),
        Kind::MalformedBody => (StatusCode::BAD_REQUEST, "MalformedXML"),
        Kind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        Kind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        Kind::LengthRequired => (StatusCode::LENGTH_REQUIRED, "MissingContentLength"),
        Kind::BodyTooLarge => (StatusCode::BAD_REQUEST, "EntityTooLarge"),
        Kind::BodyTooSmall => (StatusCode::BAD_REQUEST, "EntityTooSmall"),
        Kind::MalformedForm => (StatusCode::BAD_REQUEST, "MalformedPOSTRequest"),
        Kind::FormTooLarge => (StatusCode::BAD_REQUEST, "MaxPostPreDataLengthExceeded"),
        Kind::FormWithoutFile => (
            StatusCode::BAD_REQUEST,
            "IncorrectNumberOfFilesInPostRequest",
        ),
        Kind::MetadataTooLarge => (StatusCode::BAD_REQUEST, "MetadataTooLarge"),
        Kind::InvalidTag => (StatusCode::BAD_REQUEST, "InvalidTag"),
        Kind::InvalidPart => (StatusCode::BAD_REQUEST, "InvalidPart"),
        Kind::InvalidPartOrder => (StatusCode::BAD_REQUEST, "InvalidPartOrder"),
        Kind::InvalidPolicy => (StatusCode::BAD_REQUEST, "InvalidPolicyDocument"),
        Kind::HeadersTooLarge => (StatusCode::BAD_REQUEST, "RequestHeaderSectionTooLarge"),
        Kind::UriTooLong => (StatusCode::URI_TOO_LONG, "URITooLong"),

        Kind::DigestMismatch => (StatusCode::BAD_REQUEST, "BadDigest"),
        Kind::PayloadHashMismatch => (StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch"),
        Kind::IncompleteBody => (StatusCode::BAD_REQUEST, "IncompleteBody"),
        Kind::RequestTimeout | Kind::ClientGone => (StatusCode::BAD_REQUEST, "RequestTimeout"),

        Kind::BucketNotFound => (StatusCode::NOT_FOUND, "NoSuchBucket"),
        Kind::ObjectNotFound | Kind::NotFound | Kind::ModelNotFound => {
            (StatusCode::NOT_FOUND, "NoSuchKey")
        }
        Kind::UploadNotFound => (StatusCode::NOT_FOUND, "NoSuchUpload"),
        Kind::ModelNotAllowed => (StatusCode::FORBIDDEN, "AccessDenied"),
        Kind::BucketExists => (StatusCode::CONFLICT, "BucketAlreadyOwnedByYou"),
        Kind::BucketTaken => (StatusCode::CONFLICT, "BucketAlreadyExists"),
        Kind::BucketNotEmpty => (StatusCode::CONFLICT, "BucketNotEmpty"),
        Kind::ObjectArchived => (StatusCode::FORBIDDEN, "InvalidObjectState"),
        Kind::LocationRefused => (
            StatusCode::BAD_REQUEST,
            "IllegalLocationConstraintException",
        ),
        Kind::Conflict => (StatusCode::CONFLICT, "OperationAborted"),
        Kind::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),

        Kind::RateLimited | Kind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Kind::ShuttingDown | Kind::UpstreamUnavailable | Kind::UpstreamTimeout => {
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
        }
        Kind::Internal | Kind::UpstreamBroken => {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        }
        // Ours, not the client's: its own signature was good.
        Kind::UpstreamAuth => (StatusCode::FORBIDDEN, "AccessDenied"),
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let kind = error.kind();
        let (status, mut code) = status_and_code(kind);
        let param = error.param();
        if kind == Kind::AuthMalformed && param.is_some_and(|param| param.starts_with("X-Amz-")) {
            code = "AuthorizationQueryParametersError";
        }
        if kind == Kind::MalformedBody && param == Some(wire::POLICY) {
            code = "MalformedPolicy";
        }
        let details = param
            .filter(|_| kind == Kind::InvalidArgument)
            .map(|param| ("ArgumentName", param.to_owned()));
        Self {
            kind,
            status,
            code: code.into(),
            message: error.message().to_owned().into(),
            retry_after: error.retry_after(),
            details: details.into_iter().collect(),
            detail: error.detail().map(str::to_owned),
        }
    }
}

/// Elements of a provider's error that say something of the request, and name nothing of the provider's.
const DETAILS: &[&str] = &[
    "ActualObjectSize",
    "ArgumentName",
    "Condition",
    "ETag",
    "MaxSizeAllowed",
    "MinSizeAllowed",
    "PartNumber",
    "ProposedSize",
    "RangeRequested",
    "StorageClass",
];

/// Codes by which a provider refuses our credential, whatever the client did.
const CREDENTIAL_CODES: &[&str] = &[
    "AccountProblem",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "CredentialsNotSupported",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "MissingSecurityHeader",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

impl Failure {
    /// Reads a provider's error. `body` may be empty or cut; `bucket` is the one that was asked.
    pub fn decode(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        bucket: Option<&Bucket>,
    ) -> Self {
        let told = Told::read(body);
        let retry_after = headers
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let code = told.code.as_deref().unwrap_or_default();
        let detail = Some(format!("{} {code} {}", status.as_u16(), told.message));
        if status == StatusCode::UNAUTHORIZED || CREDENTIAL_CODES.contains(&code) {
            return Self {
                detail,
                ..Self::ours(Kind::UpstreamAuth, "The resource's credential was refused.")
            };
        }
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Self {
                detail,
                ..Self::ours(
                    Kind::UpstreamBroken,
                    "The resource's endpoint or region is not the bucket's.",
                )
            };
        }
        let kind = kind_of(status, code);
        let (_, default_code) = status_and_code(kind);
        let is_theirs_to_retry = status == StatusCode::TOO_MANY_REQUESTS || code == "SlowDown";
        let status = match status {
            StatusCode::TOO_MANY_REQUESTS => StatusCode::SERVICE_UNAVAILABLE,
            // An error under a 200.
            ok if ok.is_success() && kind == Kind::InvalidRequest => StatusCode::BAD_REQUEST,
            ok if ok.is_success() => status_and_code(kind).0,
            other => other,
        };
        let code = match told.code {
            Some(code) if !is_theirs_to_retry && is_code(&code) => Cow::Owned(code),
            Some(_) | None if kind == Kind::InvalidRequest => code_of_status(status).into(),
            Some(_) | None => default_code.into(),
        };
        let message = safe_message(told.message, bucket, kind);
        Self {
            kind,
            status,
            code,
            message,
            retry_after: retry_after.or(is_theirs_to_retry.then_some(SLOW_DOWN)),
            details: told.details,
            detail,
        }
    }

    /// The XML document. `resource` is the path that the client asked for.
    pub fn encode(&self, resource: &str, request_id: &str) -> Bytes {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        wire::push_element(&mut out, "Code", &self.code);
        wire::push_element(&mut out, "Message", &self.message);
        for (name, value) in &self.details {
            wire::push_element(&mut out, name, value);
        }
        wire::push_element(&mut out, "Resource", resource);
        wire::push_element(&mut out, "RequestId", request_id);
        wire::push_element(&mut out, "HostId", request_id);
        out.push_str("</Error>");
        out.into()
    }

    fn ours(kind: Kind, message: &'static str) -> Self {
        Self::from(&Error::new(kind, message))
    }
}

/// What a provider's error document says.
#[derive(Default)]
struct Told {
    code: Option<String>,
    message: String,
    details: Vec<(&'static str, String)>,
}

impl Told {
    /// Takes what can be read: a document that is cut or is no S3 error says nothing.
    fn read(body: &[u8]) -> Self {
        let mut told = Self::default();
        let Ok(text) = std::str::from_utf8(body) else {
            return told;
        };
        let walked = wire::walk(text.trim_start(), |node| {
            let Part::Close(text) = node.part else {
                return Ok(());
            };
            match node.path {
                ["Error", "Code"] => told.code = Some(text.into_owned()),
                ["Error", "Message"] => told.message = text.into_owned(),
                ["Error", name] => {
                    let known = DETAILS.iter().find(|known| *known == name);
                    if let Some(known) = known.filter(|_| text.len() <= TEXT_BYTES_MAX) {
                        told.details.push((known, text.into_owned()));
                    }
                }
                _ => {}
            }
            Ok(())
        });
        if walked.is_err() {
            told.details.clear();
        }
        told
    }
}

/// The meaning of a provider's error.
fn kind_of(status: StatusCode, code: &str) -> Kind {
    match code {
        "NoSuchBucket" => return Kind::BucketNotFound,
        "NoSuchKey" | "NoSuchVersion" => return Kind::ObjectNotFound,
        "NoSuchUpload" => return Kind::UploadNotFound,
        "NotImplemented" => return Kind::Unsupported,
        "BadDigest" => return Kind::DigestMismatch,
        "XAmzContentSHA256Mismatch" => return Kind::PayloadHashMismatch,
        "EntityTooLarge" => return Kind::BodyTooLarge,
        "IncompleteBody" => return Kind::IncompleteBody,
        "InternalError" => return Kind::UpstreamUnavailable,
        "PreconditionFailed" => return Kind::PreconditionFailed,
        "SlowDown" | "ServiceUnavailable" => return Kind::UpstreamUnavailable,
        _ => {}
    }
    match status.as_u16() {
        403 => Kind::AccessDenied,
        404 => Kind::ObjectNotFound,
        405 => Kind::MethodNotAllowed,
        408 | 504 => Kind::UpstreamTimeout,
        409 => Kind::Conflict,
        411 => Kind::LengthRequired,
        412 => Kind::PreconditionFailed,
        416 => Kind::InvalidRange,
        501 => Kind::Unsupported,
        429 | 500..=599 => Kind::UpstreamUnavailable,
        _ => Kind::InvalidRequest,
    }
}

fn code_of_status(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "BadRequest",
        _ => "InvalidRequest",
    }
}

/// Codes are words; anything else is not one.
fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The provider's message where it names nothing that the client does not know.
fn safe_message(message: String, bucket: Option<&Bucket>, kind: Kind) -> Cow<'static, str> {
    let names_ours = bucket.is_some_and(|bucket| {
        let origin = &bucket.resource.origin;
        let account = bucket.resource.s3().and_then(S3Account::access_key_id);
        let renamed = bucket.exposed != bucket.upstream && message.contains(&*bucket.upstream);
        renamed
            || (!bucket.prefix.is_empty() && message.contains(&*bucket.prefix))
            || message.contains(&*origin.host)
            || account.is_some_and(|account| !account.is_empty() && message.contains(account))
            || message.contains("arn:")
    });
    if !message.is_empty() && message.len() <= TEXT_BYTES_MAX && !names_ours {
        return message.into();
    }
    let known = [
        (Kind::AccessDenied, "Access Denied"),
        (Kind::BucketNotFound, "The specified bucket does not exist"),
        (Kind::ObjectNotFound, "The specified key does not exist."),
        (
            Kind::PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold",
        ),
        (Kind::InvalidRange, "The requested range is not satisfiable"),
        (
            Kind::UpstreamUnavailable,
            "The store is not available. Please try again.",
        ),
    ];
    known
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or("The store refused the request.", |(_, message)| message)
        .into()
}

#[cfg(test)]
mod tests;
