//! Failures of Google Cloud Storage, by their meaning.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;

use crate::error::{Error, Kind};
use crate::message::xml::{self, Part};
use crate::storage::codec::ReplyHead;
use crate::storage::op::Operation;

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
    let told = Told::read(body);
    let status = head.status;
    let mut detail = format!("{} {} {}", status.as_u16(), told.code, told.message);
    detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
    let kind = kind(op, status, &told.code);
    let error = Error::new(kind, message(kind)).with_detail(detail);
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
    match status.as_u16() {
        300..=399 => Kind::UpstreamBroken,
        400 => Kind::InvalidRequest,
        403 => Kind::AccessDenied,
        // Without a document: of a HEAD, or at a server that sends none.
        404 if op.key().is_none() => Kind::BucketNotFound,
        404 => Kind::ObjectNotFound,
        405 => Kind::MethodNotAllowed,
        408 | 504 => Kind::UpstreamTimeout,
        409 => Kind::Conflict,
        411 => Kind::LengthRequired,
        412 => Kind::PreconditionFailed,
        413 => Kind::BodyTooLarge,
        416 => Kind::InvalidRange,
        429 => Kind::Overloaded,
        501 => Kind::Unsupported,
        500..=599 => Kind::UpstreamUnavailable,
        _ => Kind::InvalidRequest,
    }
}

/// What the client may read: the store's own words name its buckets and accounts.
const MESSAGES: &[(Kind, &str)] = &[
    (Kind::UpstreamAuth, "The resource's credential was refused."),
    (Kind::AccessDenied, "Access Denied"),
    (Kind::BucketNotFound, "The specified bucket does not exist"),
    (Kind::ObjectNotFound, "The specified key does not exist."),
    (
        Kind::UploadNotFound,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    ),
    (
        Kind::BucketTaken,
        "The requested bucket name is not available.",
    ),
    (
        Kind::BucketExists,
        "The bucket that you tried to create already exists, and you own it.",
    ),
    (
        Kind::BucketNotEmpty,
        "The bucket you tried to delete is not empty",
    ),
    (
        Kind::PreconditionFailed,
        "At least one of the pre-conditions you specified did not hold",
    ),
    (Kind::InvalidRange, "The requested range is not satisfiable"),
    (
        Kind::DigestMismatch,
        "The digest you specified did not match what we received.",
    ),
    (
        Kind::BodyTooLarge,
        "Your proposed upload exceeds the maximum allowed size",
    ),
    (
        Kind::BodyTooSmall,
        "Your proposed upload is smaller than the minimum allowed size",
    ),
    (
        Kind::InvalidPart,
        "One or more of the specified parts could not be found.",
    ),
    (
        Kind::InvalidPartOrder,
        "The list of parts was not in ascending order.",
    ),
    (Kind::Overloaded, "Please reduce your request rate."),
    (
        Kind::UpstreamUnavailable,
        "The store is not available. Please try again.",
    ),
    (
        Kind::UpstreamTimeout,
        "The store is not available. Please try again.",
    ),
    (Kind::UpstreamBroken, "The store's answer is not valid."),
];

fn message(kind: Kind) -> &'static str {
    let known = MESSAGES.iter().find(|(known, _)| *known == kind);
    known.map_or("The store refused the request.", |(_, message)| message)
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
    Error::new(kind, message(kind)).with_detail(detail)
}

#[derive(Default)]
struct Told {
    code: String,
    message: String,
}

impl Told {
    fn read(body: &[u8]) -> Self {
        let mut told = Self::default();
        let Ok(text) = std::str::from_utf8(body) else {
            return told;
        };
        // A document that is cut tells what it had told until then.
        let _cut = xml::walk(text.trim_start(), |node| {
            if let Part::Close(text) = node.part {
                match node.path {
                    ["Error", "Code"] => told.code = text,
                    ["Error", "Message"] => told.message = text,
                    _ => {}
                }
            }
            Ok(())
        });
        told
    }
}

#[cfg(test)]
mod tests;
