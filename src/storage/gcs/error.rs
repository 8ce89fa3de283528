//! Failures of Google Cloud Storage, by their meaning.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;

use crate::error::{Error, Kind};
use crate::storage::codec::ReplyHead;
use crate::storage::op::Operation;
use crate::storage::refusal::{self, Told};

/// When to come back, where the store did not say.
const SLOW_DOWN: Duration = Duration::from_secs(1);
/// Longest text that goes to the log.
const DETAIL_BYTES_MAX: usize = 1024;

/// Codes by which our own credential is refused, whatever the client did.
const CREDENTIAL_CODES: &[&str] = &[
    "AccountProblem",
    "AuthenticationRequired",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "MissingSecurityHeader",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UserProjectAccessDenied",
    "UserProjectInvalid",
    "UserProjectMissing",
];

/// The codes whose meaning their status does not tell.
const CODES: &[(&str, Kind)] = &[
    ("NoSuchBucket", Kind::BucketNotFound),
    ("NoSuchKey", Kind::ObjectNotFound),
    ("NoSuchVersion", Kind::ObjectNotFound),
    ("NoSuchUpload", Kind::UploadNotFound),
    ("BadDigest", Kind::DigestMismatch),
    ("InvalidDigest", Kind::InvalidDigest),
    ("BucketAlreadyExists", Kind::BucketTaken),
    ("BucketAlreadyOwnedByYou", Kind::BucketExists),
    ("BucketNameUnavailable", Kind::BucketTaken),
    ("BucketNotEmpty", Kind::BucketNotEmpty),
    ("EntityTooLarge", Kind::BodyTooLarge),
    ("EntityTooSmall", Kind::BodyTooSmall),
    ("IncompleteBody", Kind::IncompleteBody),
    ("InvalidArgument", Kind::InvalidArgument),
    ("InvalidBucketName", Kind::InvalidBucketName),
    ("InvalidLocationConstraint", Kind::LocationRefused),
    ("InvalidPart", Kind::InvalidPart),
    ("InvalidPartOrder", Kind::InvalidPartOrder),
    ("InvalidRange", Kind::InvalidRange),
    ("KeyTooLong", Kind::KeyTooLong),
    ("MalformedXML", Kind::MalformedBody),
    ("MetadataTooLarge", Kind::MetadataTooLarge),
    ("MethodNotAllowed", Kind::MethodNotAllowed),
    ("MissingContentLength", Kind::LengthRequired),
    ("NotImplemented", Kind::Unsupported),
    ("PreconditionFailed", Kind::PreconditionFailed),
    ("RequestTimeout", Kind::UpstreamTimeout),
    ("TooManyBuckets", Kind::Conflict),
];

/// Reads a failure. `body` may be empty, cut, or JSON's: then its status speaks.
pub fn decode(op: &Operation, head: ReplyHead<'_>, body: &[u8]) -> Error {
    let told = Told::read(std::str::from_utf8(body).unwrap_or_default().trim_start());
    let status = head.status;
    let mut detail = format!("{} {} {}", status.as_u16(), told.code, told.message);
    detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
    let kind = kind(op, status, &told.code);
    let error = Error::new(kind, refusal::message(kind)).with_detail(detail);
    let throttled = status == StatusCode::TOO_MANY_REQUESTS || told.code == "SlowDown";
    let after = head.headers.get(RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match after
        .map(Duration::from_secs)
        .or(throttled.then_some(SLOW_DOWN))
    {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

fn kind(op: &Operation, status: StatusCode, code: &str) -> Kind {
    if status == StatusCode::UNAUTHORIZED || CREDENTIAL_CODES.contains(&code) {
        return Kind::UpstreamAuth;
    }
    if let Some((_, kind)) = CODES.iter().find(|(known, _)| *known == code) {
        return *kind;
    }
    refusal::kind(op, status)
}

/// What a code within an answer means, without a status of its own.
pub(super) fn of_code(code: &str, text: &str) -> Error {
    let known = CODES.iter().find(|(known, _)| *known == code);
    let kind = known.map_or(Kind::UpstreamUnavailable, |(_, kind)| *kind);
    let kind = match code {
        "AccessDenied" | "Forbidden" => Kind::AccessDenied,
        _ => kind,
    };
    let mut detail = format!("{code} {text}");
    detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
    Error::new(kind, refusal::message(kind)).with_detail(detail)
}

#[cfg(test)]
mod tests;
