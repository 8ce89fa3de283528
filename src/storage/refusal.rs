//! What a store's refusal means where its own word for it is not known, and how clients are told: the store's words name
//! its buckets and accounts.

use http::StatusCode;

use super::op::Operation;
use crate::error::Kind;
use crate::message::xml::{self, Part};

/// By the status alone.
pub(in crate::storage) fn kind(op: &Operation, status: StatusCode) -> Kind {
    match status.as_u16() {
        300..=399 => Kind::UpstreamBroken,
        400 => Kind::InvalidRequest,
        401 => Kind::UpstreamAuth,
        403 => Kind::AccessDenied,
        // Without a word: of a HEAD, or at a server that tells none.
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

/// What the client may read.
pub(in crate::storage) fn message(kind: Kind) -> &'static str {
    let known = MESSAGES.iter().find(|(known, _)| *known == kind);
    known.map_or("The store refused the request.", |(_, message)| message)
}

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
    (
        Kind::ObjectArchived,
        "The operation is not valid for the object's storage class",
    ),
    (Kind::KeyTooLong, "Your key is too long"),
    (
        Kind::InvalidBucketName,
        "The specified bucket is not valid.",
    ),
    (
        Kind::MetadataTooLarge,
        "Your metadata headers exceed the maximum allowed metadata size",
    ),
    (
        Kind::Conflict,
        "A conflicting operation is under way. Please try again.",
    ),
    (
        Kind::Unsupported,
        "This request cannot be carried out at the store of this bucket.",
    ),
];

/// What an error document says.
#[derive(Default)]
pub(in crate::storage) struct Told {
    pub code: String,
    pub message: String,
}

impl Told {
    /// Reads as much as there is: a document that is cut tells what it had told until then.
    pub(in crate::storage) fn read(document: &str) -> Self {
        let mut told = Self::default();
        let _cut = xml::walk(document, |node| {
            if let Part::Close(text) = node.part {
                match node.path {
                    ["Error", "Code"] => told.code = text.into_owned(),
                    ["Error", "Message"] => told.message = text.into_owned(),
                    _ => {}
                }
            }
            Ok(())
        });
        told
    }
}
