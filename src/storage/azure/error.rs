//! Failures of Azure Blob Storage, by their meaning; [`answer()`] has them the other way round.

mod answer;

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;

pub use answer::answer;

use super::names;
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
    "AccountIsDisabled",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "KeyBasedAuthenticationNotPermitted",
    "NoAuthenticationInformation",
];

/// The codes whose meaning their status does not tell.
const CODES: &[(&str, Kind)] = &[
    ("AuthorizationFailure", Kind::AccessDenied),
    ("AuthorizationPermissionMismatch", Kind::AccessDenied),
    ("AuthorizationProtocolMismatch", Kind::AccessDenied),
    ("AuthorizationResourceTypeMismatch", Kind::AccessDenied),
    ("AuthorizationServiceMismatch", Kind::AccessDenied),
    ("AuthorizationSourceIPMismatch", Kind::AccessDenied),
    (
        "BlobAccessTierNotSupportedForAccountType",
        Kind::Unsupported,
    ),
    ("BlobAlreadyExists", Kind::PreconditionFailed),
    ("BlobArchived", Kind::ObjectArchived),
    ("BlobBeingRehydrated", Kind::ObjectArchived),
    ("BlobCannotBeReadWhileRehydrating", Kind::ObjectArchived),
    ("BlobImmutableDueToPolicy", Kind::AccessDenied),
    ("BlobNotFound", Kind::ObjectNotFound),
    ("BlobUsesCustomerSpecifiedEncryption", Kind::InvalidRequest),
    ("BlockCountExceedsLimit", Kind::InvalidRequest),
    ("BlockListTooLong", Kind::InvalidRequest),
    ("CannotVerifyCopySource", Kind::AccessDenied),
    ("ConditionHeadersNotSupported", Kind::InvalidRequest),
    ("ConditionNotMet", Kind::PreconditionFailed),
    ("ContainerAlreadyExists", Kind::BucketExists),
    ("ContainerBeingDeleted", Kind::BucketNotFound),
    ("ContainerBeingDisabled", Kind::BucketNotFound),
    ("ContainerDisabled", Kind::AccessDenied),
    ("ContainerNotFound", Kind::BucketNotFound),
    ("CopyIdMismatch", Kind::Conflict),
    ("Crc64Mismatch", Kind::DigestMismatch),
    ("EmptyMetadataKey", Kind::InvalidArgument),
    ("FeatureVersionMismatch", Kind::Unsupported),
    ("InsufficientAccountPermissions", Kind::AccessDenied),
    ("InternalError", Kind::UpstreamUnavailable),
    ("InvalidBlobOrBlock", Kind::Conflict),
    ("InvalidBlobTier", Kind::Unsupported),
    ("InvalidBlobType", Kind::Unsupported),
    ("InvalidBlockId", Kind::InvalidPart),
    ("InvalidBlockList", Kind::InvalidPart),
    ("InvalidInput", Kind::InvalidArgument),
    ("InvalidMd5", Kind::InvalidDigest),
    ("InvalidMetadata", Kind::InvalidArgument),
    ("InvalidRange", Kind::InvalidRange),
    ("InvalidResourceName", Kind::InvalidBucketName),
    ("InvalidSourceBlobType", Kind::Unsupported),
    ("InvalidTag", Kind::InvalidTag),
    ("InvalidTags", Kind::InvalidTag),
    ("InvalidXmlDocument", Kind::MalformedBody),
    ("LeaseAlreadyPresent", Kind::AccessDenied),
    ("LeaseIdMismatchWithBlobOperation", Kind::AccessDenied),
    ("LeaseIdMissing", Kind::AccessDenied),
    ("Md5Mismatch", Kind::DigestMismatch),
    ("MetadataTooLarge", Kind::MetadataTooLarge),
    ("MissingContentLengthHeader", Kind::LengthRequired),
    ("NotImplemented", Kind::Unsupported),
    ("OperationTimedOut", Kind::Overloaded),
    ("PendingCopyOperation", Kind::Conflict),
    ("RequestBodyTooLarge", Kind::BodyTooLarge),
    ("ServerBusy", Kind::Overloaded),
    ("SnapshotsPresent", Kind::Conflict),
    ("SourceConditionNotMet", Kind::PreconditionFailed),
    ("TagsTooLarge", Kind::InvalidTag),
    ("TargetConditionNotMet", Kind::PreconditionFailed),
    ("UnauthorizedBlobOverwrite", Kind::AccessDenied),
    ("UnsatisfiableCondition", Kind::PreconditionFailed),
];

/// Reads a failure. Its code is in a header; the document, which a HEAD has not, tells more.
pub fn decode(op: &Operation, head: ReplyHead<'_>, body: &[u8]) -> Error {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let told = Told::read(super::wire::without_mark(text));
    let status = head.status;
    let header = head.headers.get(names::ERROR_CODE);
    let code = header.and_then(|code| code.to_str().ok());
    let code = code.unwrap_or(&told.code);
    let mut detail = format!("{} {code} {}", status.as_u16(), told.message);
    detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
    let kind = kind(op, status, code);
    let error = Error::new(kind, refusal::message(kind)).with_detail(detail);
    let after = head.headers.get(RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let throttled = kind == Kind::Overloaded;
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
    match code {
        "BlobNotFound" if matches!(op, Operation::Journal(_)) => return Kind::UploadNotFound,
        // Its name is taken until the service has cleared it away.
        "ContainerBeingDeleted" if matches!(op, Operation::CreateBucket(_)) => {
            return Kind::Conflict;
        }
        // Which of a request's names is too long or too short is not told.
        "OutOfRangeInput" if op.key().is_some() => return Kind::KeyTooLong,
        "OutOfRangeInput" => return Kind::InvalidBucketName,
        _ => {}
    }
    if let Some((_, kind)) = CODES.iter().find(|(known, _)| *known == code) {
        return *kind;
    }
    refusal::kind(op, status)
}

#[cfg(test)]
mod tests;
