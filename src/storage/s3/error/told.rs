//! A provider's failure by its meaning, for clients that are told in another protocol's words.

use crate::error::{Error, Kind};
use crate::storage::codec::ReplyHead;
use crate::storage::op::Operation;
use crate::storage::refusal;

use super::{Failure, SLOW_DOWN};

/// The codes that say more than their status, beside those that every failure is read by.
const CODES: &[(&str, Kind)] = &[
    ("BucketAlreadyExists", Kind::BucketTaken),
    ("BucketAlreadyOwnedByYou", Kind::BucketExists),
    ("BucketNotEmpty", Kind::BucketNotEmpty),
    ("EntityTooSmall", Kind::BodyTooSmall),
    ("InvalidArgument", Kind::InvalidArgument),
    ("InvalidDigest", Kind::InvalidDigest),
    ("InvalidObjectState", Kind::ObjectArchived),
    ("InvalidPart", Kind::InvalidPart),
    ("InvalidPartOrder", Kind::InvalidPartOrder),
    ("InvalidTag", Kind::InvalidTag),
    ("KeyTooLongError", Kind::KeyTooLong),
    ("MetadataTooLarge", Kind::MetadataTooLarge),
];

/// Reads a failure. `body` may be empty or cut.
pub fn told(op: &Operation, head: ReplyHead<'_>, body: &[u8]) -> Error {
    let failure = Failure::decode(head.status, head.headers, body, None);
    let known = CODES.iter().find(|(code, _)| *code == failure.code);
    let kind = match known {
        Some((_, kind)) => *kind,
        // Without a word there is the status alone, and what was asked.
        None if body.is_empty() && failure.kind != Kind::UpstreamAuth => {
            refusal::kind(op, head.status)
        }
        None => failure.kind,
    };
    let error = Error::new(kind, refusal::message(kind));
    let error = match failure.detail {
        Some(detail) => error.with_detail(detail),
        None => error,
    };
    let throttled = kind == Kind::Overloaded;
    match failure.retry_after.or(throttled.then_some(SLOW_DOWN)) {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}
