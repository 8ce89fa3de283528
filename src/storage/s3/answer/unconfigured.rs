//! Answers about what is not configured: the bucket or the object was found, and has nothing of the kind.
//!
//! Clients look before they leap: an SDK or Terraform asks for a bucket's policy or ACL and goes on if it is told that
//! there is none, but not if it is told that the question is not understood.

use std::borrow::Cow;

use http::StatusCode;

use super::{Asked, Message, XML, close};
use crate::error::Kind;
use crate::storage::s3::error::Failure;
use crate::storage::s3::route::Op;
use crate::storage::s3::wire;

/// What S3 says of a property that was never set.
enum Unset {
    /// A document: its root, and what is in it.
    Document(&'static str, &'static str),
    /// Done: what was asked for is so anyway.
    Nothing,
    /// Done: there was none.
    Removed,
    /// A code under 404, with its message.
    Missing(&'static str, &'static str),
    /// The owner's, and nobody else's.
    Acl,
}

const UNSET: &[(Op, Unset)] = &[
    (Op::GetBucketAcl, Unset::Acl),
    (Op::GetObjectAcl, Unset::Acl),
    (Op::PutBucketAcl, Unset::Nothing),
    (Op::PutObjectAcl, Unset::Nothing),
    (Op::PutBucketEncryption, Unset::Nothing),
    (Op::DeleteBucketEncryption, Unset::Removed),
    (
        Op::GetBucketVersioning,
        Unset::Document("VersioningConfiguration", ""),
    ),
    (
        Op::GetBucketEncryption,
        Unset::Document(
            "ServerSideEncryptionConfiguration",
            "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>",
        ),
    ),
    (
        Op::GetBucketRequestPayment,
        Unset::Document("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>"),
    ),
    (
        Op::GetBucketOwnershipControls,
        Unset::Document(
            "OwnershipControls",
            "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>",
        ),
    ),
    (
        Op::GetBucketLogging,
        Unset::Document("BucketLoggingStatus", ""),
    ),
    (
        Op::GetBucketAccelerateConfiguration,
        Unset::Document("AccelerateConfiguration", ""),
    ),
    (
        Op::GetBucketNotificationConfiguration,
        Unset::Document("NotificationConfiguration", ""),
    ),
    (
        Op::GetBucketCors,
        Unset::Missing(
            "NoSuchCORSConfiguration",
            "The CORS configuration does not exist",
        ),
    ),
    (
        Op::GetBucketLifecycleConfiguration,
        Unset::Missing(
            "NoSuchLifecycleConfiguration",
            "The lifecycle configuration does not exist",
        ),
    ),
    (
        Op::GetBucketPolicy,
        Unset::Missing("NoSuchBucketPolicy", "The bucket policy does not exist"),
    ),
    (
        Op::GetBucketPolicyStatus,
        Unset::Missing("NoSuchBucketPolicy", "The bucket policy does not exist"),
    ),
    (
        Op::GetBucketReplication,
        Unset::Missing(
            "ReplicationConfigurationNotFoundError",
            "The replication configuration was not found",
        ),
    ),
    (
        Op::GetBucketTagging,
        Unset::Missing("NoSuchTagSet", "The TagSet does not exist"),
    ),
    (
        Op::GetBucketWebsite,
        Unset::Missing(
            "NoSuchWebsiteConfiguration",
            "The specified bucket does not have a website configuration",
        ),
    ),
    (
        Op::GetObjectLockConfiguration,
        Unset::Missing(
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
        ),
    ),
    (
        Op::GetPublicAccessBlock,
        Unset::Missing(
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        ),
    ),
];

fn unset(op: Op) -> Option<&'static Unset> {
    let found = UNSET.iter().find(|(known, _)| *known == op);
    found.map(|(_, unset)| unset)
}

/// Whether an operation is answered so.
pub(in crate::storage::s3) fn is_unconfigured(op: Op) -> bool {
    op == Op::GetBucketLocation || unset(op).is_some()
}

/// The answer, where there is one.
pub(super) fn document(asked: &Asked<'_>) -> Option<Message> {
    let message = Message::new(StatusCode::OK);
    match unset(asked.op.op())? {
        Unset::Document(root, inside) => {
            let mut out = wire::document(root);
            out.push_str(inside);
            Some(message.with_body(XML, close(out, root)))
        }
        Unset::Acl => Some(message.with_body(XML, acl(asked.owner))),
        Unset::Nothing | Unset::Missing(..) => Some(message),
        Unset::Removed => Some(Message::new(StatusCode::NO_CONTENT)),
    }
}

/// That there is none, where S3 says it so.
pub(super) fn check(op: Op) -> Result<(), Failure> {
    match unset(op) {
        Some(Unset::Missing(code, message)) => Err(Failure {
            kind: Kind::NotFound,
            status: StatusCode::NOT_FOUND,
            code: Cow::Borrowed(code),
            message: Cow::Borrowed(message),
            retry_after: None,
            details: Vec::new(),
            detail: None,
        }),
        Some(Unset::Document(..) | Unset::Nothing | Unset::Removed | Unset::Acl) | None => Ok(()),
    }
}

fn acl(owner: &str) -> String {
    const ROOT: &str = "AccessControlPolicy";
    let mut out = wire::document(ROOT);
    let push_owner = |out: &mut String| {
        wire::push_element(out, "ID", owner);
        wire::push_element(out, "DisplayName", owner);
    };
    out.push_str("<Owner>");
    push_owner(&mut out);
    out.push_str("</Owner><AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">");
    push_owner(&mut out);
    out.push_str("</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>");
    close(out, ROOT)
}
