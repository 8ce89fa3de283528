//! From the model's reply to an S3 answer, for targets that speak another protocol.
//!
//! The request is asked again for what only shapes the answer: which of the listings it was, `encoding-type`, `quiet`.
//! Ids and date of the answer are put on by whoever writes it, as everywhere.

mod object;
mod pages;
mod unconfigured;

use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::error::Failure;
use super::route::{Op, WholeOp};
use super::{names, wire};
use crate::error::{Error, Kind, Result};
use crate::message::date;
use crate::message::reply::Reply as Message;
use crate::policy::route::Bucket;
use crate::storage::object::{ChecksumKind, Encryption, Extent, StorageClass, StoredChecksum};
use crate::storage::op::Operation;
use crate::storage::reply::{BucketInfo, Copied, ObjectPage, Reply, Stored};

pub(super) use object::encode_text as encode_metadata;
pub(super) use unconfigured::is_unconfigured;

const XML: &str = "application/xml";
/// S3's own first region stands for places that S3 has no name for.
pub(super) const REGION: &str = "us-east-1";

/// A request, with what its answer has to name.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub op: &'a WholeOp,
    /// The client's.
    pub headers: &'a HeaderMap,
    pub operation: &'a Operation,
    pub bucket: &'a Bucket,
    /// Whose all buckets and objects are.
    pub owner: &'a str,
    /// Of the object, as the client reaches it.
    pub url: &'a str,
}

/// What the client is answered.
#[derive(Debug)]
pub struct Answer {
    pub message: Message,
    pub body: AnswerBody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// That of the message.
    Own,
    /// The upstream's, byte for byte; the message has its length.
    Forward,
    /// None; what length the message tells is that of a body which a GET would have.
    None,
}

/// The answer to a request for which nobody need be asked.
pub fn unasked(asked: &Asked<'_>) -> Option<Message> {
    let Operation::ListObjects(list) = asked.operation else {
        return None;
    };
    let empty = ObjectPage::default();
    (list.max == Some(0)).then(|| pages::objects(asked, list, &empty))
}

/// What the upstream's outcome means for the client.
pub fn answer(asked: &Asked<'_>, outcome: Result<Reply>) -> Result<Answer, Failure> {
    match outcome {
        Ok(reply) => {
            let answer = success(asked, &reply).map_err(|error| Failure::from(&error))?;
            unconfigured::check(asked.op.op())?;
            Ok(answer)
        }
        // S3 deletes what is not there.
        Err(error) if asked.op.op() == Op::DeleteObject && error.kind() == Kind::ObjectNotFound => {
            Ok(own(Message::new(StatusCode::NO_CONTENT)))
        }
        // S3's first region, where we say that these buckets are, makes a bucket of one's own again.
        Err(error) if asked.op.op() == Op::CreateBucket && error.kind() == Kind::BucketExists => {
            let made = done(asked).map_err(|error| Failure::from(&error))?;
            Ok(own(made))
        }
        Err(error) => Err(failure(asked, &error)),
    }
}

/// A failure, with the words that S3 has for it.
fn failure(asked: &Asked<'_>, error: &Error) -> Failure {
    let mut failure = Failure::from(error);
    if error.kind() == Kind::PreconditionFailed
        && let Some(condition) = error.param()
    {
        failure.details.push(("Condition", condition.to_owned()));
    }
    let names_version = asked.op.request().query("versionId").is_some();
    if error.kind() == Kind::ObjectNotFound && names_version {
        failure.code = "NoSuchVersion".into();
        failure.message = "The specified version does not exist.".into();
    }
    if error.kind() == Kind::ObjectArchived && asked.operation.is_copy() {
        failure.code = "ObjectNotInActiveTierError".into();
    }
    failure
}

fn success(asked: &Asked<'_>, reply: &Reply) -> Result<Answer> {
    if let Some(document) = unconfigured::document(asked) {
        return Ok(own(document));
    }
    if let (Reply::Object(found), Operation::GetObject(read) | Operation::HeadObject(read)) =
        (reply, asked.operation)
        && found.meta.encrypted_by_customer
        && read.customer_key.is_none()
    {
        let message = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.";
        return Err(Error::new(Kind::InvalidRequest, message));
    }
    let op = asked.op.op();
    Ok(match (reply, asked.operation) {
        (Reply::Object(found), Operation::HeadObject(_)) if op == Op::GetObjectAttributes => {
            own(object::properties(asked, found)?)
        }
        (Reply::Object(found), Operation::GetObject(read)) => Answer {
            message: object::head(read, found)?,
            body: AnswerBody::Forward,
        },
        (Reply::Object(found), Operation::HeadObject(read)) => Answer {
            message: object::head(read, found)?,
            body: AnswerBody::None,
        },
        (Reply::NotModified(found), _) => Answer {
            message: object::not_modified(found)?,
            body: AnswerBody::None,
        },
        (Reply::Stored(stored), Operation::CompleteUpload(_)) => own(completed(asked, stored)?),
        (Reply::Stored(stored), _) => own(self::stored(asked, stored)?),
        (Reply::Copied(copied), _) => own(self::copied(asked, copied)?),
        (Reply::Deleted(deleted), _) => {
            let mut message = Message::new(StatusCode::NO_CONTENT);
            if let Some(version) = &deleted.version {
                message = message.with_text(VERSION_ID.clone(), &version.0);
            }
            if deleted.is_marker {
                message = message.with(DELETE_MARKER.clone(), HeaderValue::from_static("true"));
            }
            own(message)
        }
        (Reply::DeletedMany(entries), _) => own(pages::deleted(asked, entries)),
        (Reply::Tags(tags), _) => own(pages::tags(tags)),
        (Reply::Objects(page), Operation::ListObjects(list)) => {
            own(pages::objects(asked, list, page))
        }
        (Reply::Upload(id), _) => own(created(asked, id)),
        (Reply::Pieces(page), Operation::ListPieces(list)) => own(pages::parts(asked, list, page)),
        (Reply::Uploads(page), Operation::ListUploads(list)) => {
            own(pages::uploads(asked, list, page))
        }
        (Reply::Bucket(bucket), _) => own(self::bucket(asked, bucket)),
        (Reply::Done, _) => own(done(asked)?),
        (
            Reply::Objects(_)
            | Reply::Object(_)
            | Reply::Pieces(_)
            | Reply::Uploads(_)
            | Reply::Journal(_)
            | Reply::Journals(_)
            | Reply::Buckets(_),
            _,
        ) => return Err(Error::internal("a reply to another operation")),
    })
}

fn own(message: Message) -> Answer {
    Answer {
        message,
        body: AnswerBody::Own,
    }
}

static VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
static DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
static SOURCE_VERSION_ID: HeaderName = HeaderName::from_static("x-amz-copy-source-version-id");

/// An operation of which S3 says no more than its status.
fn done(asked: &Asked<'_>) -> Result<Message> {
    let op = asked.op.op();
    if op == Op::CreateBucket {
        let path = HeaderValue::try_from(format!("/{}", asked.bucket.exposed));
        let path = path.map_err(Error::internal)?;
        return Ok(Message::new(StatusCode::OK).with(LOCATION, path));
    }
    let says_nothing = matches!(
        op,
        Op::DeleteObject | Op::DeleteBucket | Op::AbortMultipartUpload | Op::DeleteObjectTagging
    );
    Ok(Message::new(if says_nothing {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::OK
    }))
}

fn bucket(asked: &Asked<'_>, found: &BucketInfo) -> Message {
    let region = region(found);
    if asked.op.op() == Op::GetBucketLocation {
        let document = super::downstream::location(region);
        return Message::new(StatusCode::OK).with_body(XML, document);
    }
    Message::new(StatusCode::OK).with_text(HeaderName::from_static("x-amz-bucket-region"), region)
}

fn region(found: &BucketInfo) -> &str {
    found.location.as_deref().unwrap_or(REGION)
}

fn stored(asked: &Asked<'_>, stored: &Stored) -> Result<Message> {
    let tag = HeaderValue::try_from(stored.etag.quoted()).map_err(Error::internal)?;
    let mut message = Message::new(StatusCode::OK).with(ETAG, tag);
    if let Some(version) = &stored.version {
        message = message.with_text(VERSION_ID.clone(), &version.0);
    }
    for checksum in &stored.checksums {
        if let Some(name) = checksum_header(checksum.checksum.kind()) {
            message = message.with_text(name, &checksum_text(checksum));
        }
    }
    Ok(encryption(message, asked.operation))
}

/// What the answer says of the encryption that was asked for.
fn encryption(message: Message, operation: &Operation) -> Message {
    let (stored, customer) = if let Operation::PutObject(put) = operation {
        (put.attributes.encryption.as_ref(), None)
    } else if let Operation::CopyObject(copy) = operation {
        (copy.encryption.as_ref(), None)
    } else if let Operation::CreateUpload(create) = operation {
        (create.attributes.encryption.as_ref(), None)
    } else if let Operation::UploadPiece(piece) = operation {
        (None, piece.customer_key.as_ref())
    } else if let Operation::CopyPiece(piece) = operation {
        (None, piece.customer_key.as_ref())
    } else {
        // A completion does not say what was said when the upload began.
        return message;
    };
    match (stored, customer) {
        (Some(Encryption::Customer(key)), _) | (None, Some(key)) => {
            object::with_customer_key(message, key)
        }
        (Some(Encryption::Provider) | None, None) | (Some(Encryption::Provider), Some(_)) => {
            by_provider(message)
        }
    }
}

/// All that is not encrypted with a key of the client's is with the provider's, and S3 says so of every object.
fn by_provider(message: Message) -> Message {
    message.with(
        HeaderName::from_static(names::ENCRYPTION),
        HeaderValue::from_static("AES256"),
    )
}

fn copied(asked: &Asked<'_>, copied: &Copied) -> Result<Message> {
    let root = if asked.op.op() == Op::CopyObject {
        "CopyObjectResult"
    } else {
        "CopyPartResult"
    };
    let stored = &copied.stored;
    let mut out = wire::document(root);
    if let Some(at) = stored.last_modified {
        wire::push_element(&mut out, "LastModified", &date::iso_millis(at));
    }
    wire::push_element(&mut out, "ETag", &stored.etag.quoted());
    push_checksums(&mut out, &stored.checksums);
    let mut message = self::stored(asked, stored)?;
    message
        .headers
        .retain(|(name, _)| *name != ETAG && !name.as_str().starts_with("x-amz-checksum-"));
    if let Some(version) = &copied.source_version {
        message = message.with_text(SOURCE_VERSION_ID.clone(), &version.0);
    }
    Ok(message.with_body(XML, close(out, root)))
}

fn created(asked: &Asked<'_>, id: &str) -> Message {
    const ROOT: &str = "InitiateMultipartUploadResult";
    let mut out = wire::document(ROOT);
    wire::push_element(&mut out, "Bucket", &asked.bucket.exposed);
    wire::push_element(&mut out, "Key", asked.operation.key().unwrap_or_default());
    wire::push_element(&mut out, "UploadId", id);
    let mut message = Message::new(StatusCode::OK).with_body(XML, close(out, ROOT));
    if let Operation::CreateUpload(create) = asked.operation
        && let Some(checksum) = create.checksum
        && let Some(name) = checksum_name(checksum.kind)
    {
        let kind = match checksum.over {
            crate::storage::op::ChecksumOver::Object => "FULL_OBJECT",
            crate::storage::op::ChecksumOver::Parts => "COMPOSITE",
        };
        message = message
            .with(
                HeaderName::from_static("x-amz-checksum-algorithm"),
                HeaderValue::from_static(&name["Checksum".len()..]),
            )
            .with(
                HeaderName::from_static("x-amz-checksum-type"),
                HeaderValue::from_static(kind),
            );
    }
    encryption(message, asked.operation)
}

fn completed(asked: &Asked<'_>, stored: &Stored) -> Result<Message> {
    const ROOT: &str = "CompleteMultipartUploadResult";
    let mut out = wire::document(ROOT);
    wire::push_element(&mut out, "Location", asked.url);
    wire::push_element(&mut out, "Bucket", &asked.bucket.exposed);
    wire::push_element(&mut out, "Key", asked.operation.key().unwrap_or_default());
    wire::push_element(&mut out, "ETag", &stored.etag.quoted());
    push_checksums(&mut out, &stored.checksums);
    let mut message = self::stored(asked, stored)?;
    message
        .headers
        .retain(|(name, _)| *name != ETAG && !name.as_str().starts_with("x-amz-checksum-"));
    Ok(message.with_body(XML, close(out, ROOT)))
}

fn push_checksums(out: &mut String, checksums: &[StoredChecksum]) {
    for checksum in checksums {
        if let Some(name) = checksum_name(checksum.checksum.kind()) {
            wire::push_element(out, name, &checksum_text(checksum));
        }
    }
    if let Some(first) = checksums.first() {
        wire::push_element(out, "ChecksumType", checksum_type(first));
    }
}

/// The element of a checksum; S3 has none for an MD5.
fn checksum_name(kind: ChecksumKind) -> Option<&'static str> {
    match kind {
        ChecksumKind::Crc32 => Some("ChecksumCRC32"),
        ChecksumKind::Crc32c => Some("ChecksumCRC32C"),
        ChecksumKind::Crc64Nvme => Some("ChecksumCRC64NVME"),
        ChecksumKind::Sha1 => Some("ChecksumSHA1"),
        ChecksumKind::Sha256 => Some("ChecksumSHA256"),
        ChecksumKind::Md5 => None,
    }
}

fn checksum_header(kind: ChecksumKind) -> Option<HeaderName> {
    let name = match kind {
        ChecksumKind::Crc32 => "x-amz-checksum-crc32",
        ChecksumKind::Crc32c => "x-amz-checksum-crc32c",
        ChecksumKind::Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumKind::Sha1 => "x-amz-checksum-sha1",
        ChecksumKind::Sha256 => "x-amz-checksum-sha256",
        ChecksumKind::Md5 => return None,
    };
    Some(HeaderName::from_static(name))
}

fn checksum_text(stored: &StoredChecksum) -> String {
    match stored.extent {
        Extent::Whole => stored.checksum.base64(),
        Extent::Parts(count) => format!("{}-{count}", stored.checksum.base64()),
    }
}

fn checksum_type(stored: &StoredChecksum) -> &'static str {
    match stored.extent {
        Extent::Whole => "FULL_OBJECT",
        Extent::Parts(_) => "COMPOSITE",
    }
}

pub(super) fn class_name(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Hot => "STANDARD",
        StorageClass::Cool => "STANDARD_IA",
        StorageClass::Cold => "GLACIER_IR",
        StorageClass::Archive => "GLACIER",
    }
}

fn close(mut out: String, root: &str) -> String {
    out.push_str("</");
    out.push_str(root);
    out.push('>');
    out
}

#[cfg(test)]
mod tests;
