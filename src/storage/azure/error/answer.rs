//! Failures in Azure's words, for its clients.

use http::StatusCode;

use crate::error::Kind;

/// The status and code that a client of Azure's protocol is told. A condition that there be no blob has a code of its
/// own there (`BlobAlreadyExists`, 409), which only the operation tells.
pub fn answer(kind: Kind) -> (StatusCode, &'static str) {
    let (status, code) = match kind {
        // Who is asking.
        Kind::AuthMissing => (401, "NoAuthenticationInformation"),
        Kind::AuthMalformed | Kind::TokenUnsupported => (400, "InvalidAuthenticationInfo"),
        Kind::KeyUnknown
        | Kind::SignatureMismatch
        | Kind::KeyInactive
        | Kind::ClockSkew
        | Kind::RequestExpired => (403, "AuthenticationFailed"),
        Kind::AccessDenied => (403, "AuthorizationPermissionMismatch"),
        // What is asked.
        Kind::InvalidRequest
        | Kind::InvalidArgument
        | Kind::MalformedForm
        | Kind::FormTooLarge
        | Kind::FormWithoutFile
        | Kind::InvalidPolicy
        | Kind::LocationRefused
        | Kind::BodyTooSmall
        | Kind::HeadersTooLarge => (400, "InvalidInput"),
        Kind::InvalidBucketName => (400, "InvalidResourceName"),
        Kind::KeyTooLong => (400, "OutOfRangeInput"),
        Kind::InvalidRange => (416, "InvalidRange"),
        Kind::InvalidDigest => (400, "InvalidMd5"),
        Kind::MalformedBody => (400, "InvalidXmlDocument"),
        Kind::MethodNotAllowed => (405, "UnsupportedHttpVerb"),
        Kind::Unsupported => (501, "NotImplemented"),
        Kind::LengthRequired => (411, "MissingContentLengthHeader"),
        Kind::BodyTooLarge => (413, "RequestBodyTooLarge"),
        Kind::MetadataTooLarge => (400, "MetadataTooLarge"),
        Kind::InvalidTag => (400, "InvalidTag"),
        Kind::InvalidPart | Kind::InvalidPartOrder | Kind::UploadNotFound => {
            (400, "InvalidBlockList")
        }
        Kind::UriTooLong | Kind::NotFound => (400, "InvalidUri"),
        // The body.
        Kind::DigestMismatch | Kind::PayloadHashMismatch => (400, "Md5Mismatch"),
        Kind::IncompleteBody => (400, "InvalidInput"),
        Kind::RequestTimeout | Kind::UpstreamTimeout => (500, "OperationTimedOut"),
        // What it is asked of.
        Kind::BucketNotFound => (404, "ContainerNotFound"),
        Kind::BucketExists | Kind::BucketTaken => (409, "ContainerAlreadyExists"),
        Kind::BucketNotEmpty | Kind::Conflict => (409, "OperationNotAllowed"),
        Kind::ObjectNotFound => (404, "BlobNotFound"),
        Kind::ObjectArchived => (409, "BlobArchived"),
        Kind::ModelNotFound | Kind::ModelNotAllowed => (404, "ResourceNotFound"),
        Kind::PreconditionFailed => (412, "ConditionNotMet"),
        // Us.
        Kind::RateLimited | Kind::Overloaded | Kind::ShuttingDown => (503, "ServerBusy"),
        Kind::Internal | Kind::UpstreamUnavailable | Kind::UpstreamBroken | Kind::ClientGone => {
            (500, "InternalError")
        }
        // The resource's credential, and not the client's.
        Kind::UpstreamAuth => (403, "AuthorizationFailure"),
    };
    // The table has no other numbers.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, code)
}
