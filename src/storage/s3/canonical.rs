//! From an S3 request to an operation of the model, for targets that speak another protocol.
//!
//! A request's row lists the headers and query parameters that it may carry. Here each of them is taken by the one that
//! understands it ([`Given`]); what nobody took cannot be said in the model, and the request is refused before anything
//! leaves. What only shapes the answer (`encoding-type`, `fetch-owner`) is left to [`super::answer`].
//!
//! Questions about properties that no other cloud has (ACLs, a bucket's configuration) become questions for the bucket
//! or object itself: its existence is real, and the answer is the one that S3 gives where nothing was configured.

mod attributes;
mod bucket;
mod given;
mod listing;
mod multipart;

use http::HeaderMap;

use super::route::{Op, WholeOp};
use crate::error::{Error, Kind, Result};
use crate::storage::condition::{ByteRange, Preconditions, TagMatch};
use crate::storage::object::{ContentHeaders, VersionId};
use crate::storage::op::{
    Body, Checksums, CopyObject, DeleteObject, DeleteObjects, ObjectRef, Operation, PutObject,
    PutTags, ReadObject, Selection, Source,
};
use given::Given;

#[cfg(test)]
pub(super) use attributes::tag_document;
pub(super) use attributes::{decode_text as decode_metadata, stored_class};
pub use multipart::composite;

/// What `op` asks for. `headers` are the client's; `length` is that of a streamed body, decoded.
pub fn operation(op: &WholeOp, headers: &HeaderMap, length: Option<u64>) -> Result<Operation> {
    let mut given = Given::of(op.request(), headers);
    let operation = decode(op, &mut given, length)?;
    given.finish()?;
    Ok(operation)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rows without a form in the model are many, and refused"
)]
fn decode(op: &WholeOp, given: &mut Given<'_>, length: Option<u64>) -> Result<Operation> {
    Ok(match op.op() {
        Op::GetObject => Operation::GetObject(Box::new(read(op, given)?)),
        Op::HeadObject | Op::GetObjectAttributes => {
            Operation::HeadObject(Box::new(read(op, given)?))
        }
        Op::GetObjectAcl => Operation::HeadObject(Box::new(read(op, given)?)),
        Op::PutObject => Operation::PutObject(Box::new(put(op, given, length)?)),
        Op::CopyObject => Operation::CopyObject(Box::new(copy(op, given)?)),
        Op::DeleteObject => Operation::DeleteObject(Box::new(DeleteObject {
            object: object(op, given)?,
            conditions: delete_conditions(given)?,
        })),
        Op::DeleteObjects => delete_many(op, given)?,
        Op::GetObjectTagging => Operation::GetTags(object(op, given)?),
        Op::PutObjectTagging => Operation::PutTags(PutTags {
            object: object(op, given)?,
            tags: attributes::tag_document(document(op, given)?)?,
        }),
        Op::DeleteObjectTagging => Operation::PutTags(PutTags {
            object: object(op, given)?,
            tags: crate::storage::object::Tags::default(),
        }),
        Op::ListObjects | Op::ListObjectsV2 | Op::ListObjectVersions => {
            Operation::ListObjects(listing::objects(op, given)?)
        }
        Op::ListMultipartUploads => Operation::ListUploads(listing::uploads(given)?),
        Op::ListParts => Operation::ListPieces(listing::parts(op, given)?),
        Op::CreateMultipartUpload => {
            Operation::CreateUpload(Box::new(multipart::create(op, given)?))
        }
        Op::UploadPart => Operation::UploadPiece(Box::new(multipart::upload(op, given, length)?)),
        Op::UploadPartCopy => Operation::CopyPiece(Box::new(multipart::copy(op, given)?)),
        Op::CompleteMultipartUpload => {
            Operation::CompleteUpload(Box::new(multipart::complete(op, given)?))
        }
        Op::AbortMultipartUpload => Operation::AbortUpload(multipart::reference(op, given)?),
        Op::HeadBucket => Operation::HeadBucket,
        Op::CreateBucket => bucket::create(op, given)?,
        Op::DeleteBucket => Operation::DeleteBucket,
        Op::PutBucketAcl => {
            bucket::only_private(op, given)?;
            Operation::HeadBucket
        }
        Op::PutBucketEncryption => {
            bucket::encrypted_by_provider(document(op, given)?)?;
            Operation::HeadBucket
        }
        Op::PutObjectAcl => {
            bucket::only_private(op, given)?;
            Operation::HeadObject(Box::new(read(op, given)?))
        }
        other if super::answer::is_unconfigured(other) => Operation::HeadBucket,
        _ => return Err(not_implemented()),
    })
}

/// The object, or its version, that the request addresses.
fn object(op: &WholeOp, given: &mut Given<'_>) -> Result<ObjectRef> {
    Ok(ObjectRef {
        key: key(op)?,
        version: given.query("versionId").map(|id| VersionId(id.into())),
    })
}

fn key(op: &WholeOp) -> Result<Box<str>> {
    let key = op.request().key();
    key.map(Box::from)
        .ok_or_else(|| Error::internal("an operation on an object without a key"))
}

fn read(op: &WholeOp, given: &mut Given<'_>) -> Result<ReadObject> {
    let range = given.text("range")?.and_then(ByteRange::parse);
    let part = given.query("partNumber").map(part_number).transpose()?;
    let what = match (range, part) {
        (Some(_), Some(_)) => {
            let message = "Cannot specify both Range header and partNumber query parameter";
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        (Some(range), None) => Selection::Range(range),
        (None, Some(part)) => Selection::Part(part),
        (None, None) => Selection::Whole,
    };
    let checksums = match given.text("x-amz-checksum-mode")? {
        Some(mode) if mode.eq_ignore_ascii_case("enabled") => Checksums::Asked,
        Some(_) | None if op.op() == Op::GetObjectAttributes => Checksums::Asked,
        Some(_) | None => Checksums::Unasked,
    };
    // These shape the answer.
    for name in [
        "x-amz-object-attributes",
        "x-amz-max-parts",
        "x-amz-part-number-marker",
    ] {
        given.take(name);
    }
    Ok(ReadObject {
        object: object(op, given)?,
        what,
        conditions: conditions(given)?,
        shown: shown(given)?,
        checksums,
        customer_key: given.customer_key("")?,
    })
}

/// The `response-*` parameters.
fn shown(given: &mut Given<'_>) -> Result<ContentHeaders> {
    Ok(ContentHeaders {
        cache_control: given.shown("response-cache-control")?,
        disposition: given.shown("response-content-disposition")?,
        encoding: given.shown("response-content-encoding")?,
        language: given.shown("response-content-language")?,
        media_type: given.shown("response-content-type")?,
        expires: given.shown("response-expires")?,
    })
}

fn put(op: &WholeOp, given: &mut Given<'_>, length: Option<u64>) -> Result<PutObject> {
    Ok(PutObject {
        key: key(op)?,
        attributes: attributes::attributes(given)?,
        conditions: conditions(given)?,
        body: body(given, length)?,
    })
}

/// What the head tells of a streamed body.
fn body(given: &mut Given<'_>, length: Option<u64>) -> Result<Body> {
    Ok(Body {
        length,
        checksums: given.checksums(length)?,
    })
}

/// The conditions on the object that the request addresses.
fn conditions(given: &mut Given<'_>) -> Result<Preconditions> {
    named_conditions(given, "")
}

fn source_conditions(given: &mut Given<'_>) -> Result<Preconditions> {
    named_conditions(given, "x-amz-copy-source-")
}

fn named_conditions(given: &mut Given<'_>, prefix: &str) -> Result<Preconditions> {
    let mut tags = |name: &str| {
        let name = [prefix, name].concat();
        let Some(text) = given.text(&name)? else {
            return Ok(None);
        };
        TagMatch::parse(text)
            .map(Some)
            .ok_or_else(|| invalid(&name))
    };
    let (if_match, if_none_match) = (tags("if-match")?, tags("if-none-match")?);
    Ok(Preconditions {
        if_match,
        if_none_match,
        if_modified_since: given.date(&[prefix, "if-modified-since"].concat())?,
        if_unmodified_since: given.date(&[prefix, "if-unmodified-since"].concat())?,
        ..Preconditions::default()
    })
}

fn delete_conditions(given: &mut Given<'_>) -> Result<Preconditions> {
    // Nothing is under retention where we delete: there is none to bypass.
    given.take("x-amz-bypass-governance-retention");
    let if_stored_at = given.date("x-amz-if-match-last-modified-time")?;
    let if_size = match given.text("x-amz-if-match-size")? {
        Some(size) => Some(size.parse().map_err(|_| invalid("x-amz-if-match-size"))?),
        None => None,
    };
    Ok(Preconditions {
        if_stored_at,
        if_size,
        ..conditions(given)?
    })
}

fn delete_many(op: &WholeOp, given: &mut Given<'_>) -> Result<Operation> {
    given.take("x-amz-bypass-governance-retention");
    document(op, given)?;
    let entry = |entry: &super::wire::DeleteEntry| {
        let mut delete = DeleteObject {
            object: ObjectRef {
                key: entry.key.as_str().into(),
                version: None,
            },
            conditions: Preconditions::default(),
        };
        for (name, value) in &entry.others {
            let bad = || invalid(name);
            let conditions = &mut delete.conditions;
            match *name {
                "VersionId" => delete.object.version = Some(VersionId(value.as_str().into())),
                "ETag" => conditions.if_match = Some(TagMatch::parse(value).ok_or_else(bad)?),
                "Size" => conditions.if_size = Some(value.parse().map_err(|_| bad())?),
                "LastModifiedTime" => {
                    conditions.if_stored_at = Some(given::parse_date(value).ok_or_else(bad)?);
                }
                _ => return Err(not_implemented()),
            }
        }
        Ok(delete)
    };
    let entries = op.delete().entries.iter().map(entry);
    Ok(Operation::DeleteObjects(DeleteObjects {
        entries: entries.collect::<Result<_>>()?,
    }))
}

fn copy(op: &WholeOp, given: &mut Given<'_>) -> Result<CopyObject> {
    let source = source(op, given)?;
    let replaces = given.directive("x-amz-metadata-directive")?;
    let replaces_tags = given.directive("x-amz-tagging-directive")?;
    let told = attributes::attributes(given)?;
    let changes = replaces || told.class.is_some() || told.encryption.is_some();
    let request = op.request();
    let onto_itself = request.source().is_some_and(|from| {
        from.version_id.is_none()
            && Some(&*from.bucket) == request.bucket()
            && Some(&*from.key) == request.key()
    });
    if onto_itself && !changes {
        return Err(Error::new(
            Kind::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let (tags, class, encryption) = (told.tags.clone(), told.class, told.encryption.clone());
    Ok(CopyObject {
        source,
        key: key(op)?,
        attributes: replaces.then_some(told),
        tags: replaces_tags.then_some(tags),
        class,
        encryption,
        conditions: conditions(given)?,
        checksum: given.checksum_kind()?,
    })
}

fn source(op: &WholeOp, given: &mut Given<'_>) -> Result<Source> {
    let from = op.request().source();
    let from = from.ok_or_else(|| Error::internal("a copy without its source"))?;
    Ok(Source {
        object: ObjectRef {
            key: from.key.clone(),
            version: from.version_id.clone().map(VersionId),
        },
        conditions: source_conditions(given)?,
        customer_key: given.customer_key("copy-source-")?,
        seen: None,
    })
}

/// The client's document, whose digests were checked when it was read.
fn document<'a>(op: &'a WholeOp, given: &mut Given<'_>) -> Result<&'a [u8]> {
    given.take("content-type");
    given.take_checksums();
    op.document()
        .map(|document| &**document)
        .ok_or_else(|| Error::internal("an operation without its document"))
}

fn part_number(text: &str) -> Result<u16> {
    // The route has checked its range.
    text.parse().map_err(|_| invalid("partNumber"))
}

fn invalid(name: &str) -> Error {
    Error::new(Kind::InvalidArgument, "An argument is not valid.").with_param(name.to_owned())
}

fn not_implemented() -> Error {
    Error::unsupported("This operation is not implemented for a bucket of another cloud.")
}

#[cfg(test)]
mod tests;
