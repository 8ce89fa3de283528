//! Operations as requests of the XML API.

mod draft;
mod listing;
mod uploads;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RANGE};
use http::{HeaderName, HeaderValue, Method};
use serde_json::json;

use super::headers::{self, push};
use crate::error::{Error, Result};
use crate::message::escape::{self, Slash};
use crate::policy::route::Bucket;
use crate::storage::codec::{Target, UpstreamBody, UpstreamHead, UpstreamRequest};
use crate::storage::gcs::{names, wire};
use crate::storage::object::{ChecksumKind, Encryption, VersionId, parts};
use crate::storage::op::{
    CopyObject, DeleteObject, DeleteObjects, NoteUpload, Operation, PutObject, PutTags, ReadObject,
    Selection, SetAttributes,
};
use draft::{Draft, check_key, generation};
pub(super) use listing::{LAST_CHARACTER, TOKEN_BREAK, begins_after};

pub(super) fn request(op: &Operation, target: &Target<'_>) -> Result<UpstreamRequest> {
    let bucket = target.bucket;
    match op {
        Operation::ListBuckets(list) => listing::buckets(list, bucket),
        Operation::HeadBucket => Ok(Draft::bucket(bucket).empty(Method::HEAD)),
        Operation::DeleteBucket => Ok(Draft::bucket(bucket).empty(Method::DELETE)),
        Operation::CreateBucket(create) => {
            let document = create.location.as_deref().map(wire::location);
            let mut draft = Draft::bucket(bucket);
            listing::push_project(&mut draft, bucket)?;
            draft.document(Method::PUT, document.unwrap_or_default())
        }
        Operation::ListObjects(list) => listing::objects(list, bucket),
        Operation::GetObject(read) => self::read(read, bucket, Method::GET),
        Operation::HeadObject(read) => self::read(read, bucket, Method::HEAD),
        Operation::PutObject(put) => self::put(put, bucket),
        Operation::CopyObject(copy) => self::copy(copy, target),
        Operation::SetAttributes(set) => set_attributes(set, bucket),
        Operation::DeleteObject(delete) => self::delete(delete, bucket),
        Operation::DeleteObjects(delete) => delete_many(delete, bucket),
        Operation::GetTags(object) => {
            let mut draft = Draft::object(bucket, &object.key)?;
            draft.version(object.version.as_ref())?;
            Ok(draft.empty(Method::HEAD))
        }
        Operation::PutTags(put) => put_tags(put, bucket),
        Operation::CreateUpload(create) => uploads::create(create, bucket),
        Operation::UploadPiece(piece) => uploads::piece(piece, bucket),
        // There is no such thing: a machine reads and uploads.
        Operation::CopyPiece(_) => Err(Error::internal("a copy to a part")),
        Operation::ListPieces(list) => uploads::parts(list, bucket),
        Operation::ListUploads(list) => listing::uploads(list, bucket),
        Operation::CompleteUpload(complete) => uploads::complete(complete, bucket),
        Operation::AbortUpload(upload) => uploads::abort(upload, bucket),
        Operation::NoteUpload(note) => note_upload(note, bucket),
        Operation::Journal(_) => Err(Error::internal("uploads here need no journal")),
    }
}

fn read(read: &ReadObject, bucket: &Bucket, method: Method) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &read.object.key)?;
    draft.version(read.object.version.as_ref())?;
    let head = &mut draft.head;
    // Without it an object that is stored compressed is sent decompressed: without its length, ranges and ETag.
    head.headers
        .push((ACCEPT_ENCODING, HeaderValue::from_static("gzip")));
    match read.what {
        Selection::Whole => {}
        Selection::Range(range) => {
            let range = HeaderValue::try_from(range.header()).map_err(Error::internal)?;
            head.headers.push((RANGE, range));
        }
        Selection::Part(_) => return Err(Error::internal("a part that was not resolved")),
    }
    headers::push_read_conditions(head, &read.conditions)?;
    headers::push_customer_key(head, read.customer_key.as_ref())?;
    Ok(draft.empty(method))
}

fn put(put: &PutObject, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &put.key)?;
    let head = &mut draft.head;
    headers::push_attributes(head, &put.attributes)?;
    headers::push_write_conditions(head, &put.conditions)?;
    headers::push_body(head, &put.body)?;
    headers::push_kept_checksum(head, &put.body)?;
    Ok(draft.finish(Method::PUT, UpstreamBody::Stream))
}

fn copy(copy: &CopyObject, target: &Target<'_>) -> Result<UpstreamRequest> {
    let source = target.source;
    let source = source.ok_or_else(|| Error::internal("a copy without its source's bucket"))?;
    let mut draft = Draft::object(target.bucket, &copy.key)?;
    let head = &mut draft.head;
    if copy
        .checksum
        .is_some_and(|kind| kind != ChecksumKind::Crc32c)
    {
        let message = "The store of this bucket computes no checksum of this algorithm.";
        return Err(Error::unsupported(message).with_param("x-amz-checksum-algorithm"));
    }
    // Only the JSON API's rewrites read with a key of the customer's, or write with one.
    let by_customer = matches!(copy.encryption, Some(Encryption::Customer(_)));
    if copy.source.customer_key.is_some() || by_customer {
        let message =
            "A copy of an object that is encrypted with a key of its own is not implemented here.";
        return Err(Error::unsupported(message));
    }
    push_source(
        head,
        source,
        &copy.source.object.key,
        copy.source.object.version.as_ref(),
    )?;
    headers::push_source_conditions(head, &copy.source.conditions)?;
    headers::push_write_conditions(head, &copy.conditions)?;
    match (&copy.attributes, &copy.tags) {
        (None, None) => {
            push(head, names::METADATA_DIRECTIVE, "COPY")?;
            if let Some(class) = copy.class {
                push(head, names::STORAGE_CLASS, names::class_name(class))?;
            }
            headers::push_encryption(head, copy.encryption.as_ref())?;
        }
        (Some(attributes), Some(tags)) => {
            push(head, names::METADATA_DIRECTIVE, "REPLACE")?;
            let mut attributes = attributes.clone();
            attributes.tags = tags.clone();
            attributes.class = copy.class;
            attributes.encryption.clone_from(&copy.encryption);
            headers::push_attributes(head, &attributes)?;
        }
        // Here tags are metadata: to replace the one and keep the other, the source must have been looked at.
        (Some(_), None) | (None, Some(_)) => {
            return Err(Error::internal("a copy whose source was not looked at"));
        }
    }
    Ok(draft.empty(Method::PUT))
}

fn push_source(
    head: &mut UpstreamHead,
    bucket: &Bucket,
    key: &str,
    version: Option<&VersionId>,
) -> Result<()> {
    check_key(&bucket.prefix, key)?;
    let mut out = vec![b'/'];
    escape::encode(&mut out, bucket.upstream.as_bytes(), Slash::Encode);
    out.push(b'/');
    escape::encode(&mut out, bucket.prefix.as_bytes(), Slash::Keep);
    escape::encode(&mut out, key.as_bytes(), Slash::Keep);
    let value = HeaderValue::from_maybe_shared(Bytes::from(out)).map_err(Error::internal)?;
    let name = HeaderName::from_static(names::COPY_SOURCE);
    head.headers.push((name, value));
    if let Some(version) = version.filter(|version| !version.is_null()) {
        push(head, names::COPY_SOURCE_GENERATION, generation(version)?)?;
    }
    Ok(())
}

/// A copy of the object onto itself, which moves no bytes.
fn set_attributes(set: &SetAttributes, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &set.object.key)?;
    let head = &mut draft.head;
    push_source(head, bucket, &set.object.key, set.object.version.as_ref())?;
    headers::push_write_conditions(head, &set.conditions)?;
    push(head, names::METADATA_DIRECTIVE, "REPLACE")?;
    headers::push_attributes(head, &set.attributes)?;
    Ok(draft.empty(Method::PUT))
}

fn delete(delete: &DeleteObject, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &delete.object.key)?;
    draft.version(delete.object.version.as_ref())?;
    headers::push_write_conditions(&mut draft.head, &delete.conditions)?;
    Ok(draft.empty(Method::DELETE))
}

fn delete_many(delete: &DeleteObjects, bucket: &Bucket) -> Result<UpstreamRequest> {
    for entry in &delete.entries {
        check_key(&bucket.prefix, &entry.object.key)?;
        if let Some(version) = entry.object.version.as_ref().filter(|v| !v.is_null()) {
            generation(version)?;
        }
        if !entry.conditions.is_empty() {
            return Err(Error::internal("a condition in a batch"));
        }
    }
    let mut draft = Draft::bucket(bucket);
    draft.query("delete", "");
    draft.document(Method::POST, wire::delete(delete, &bucket.prefix))
}

/// Changes one entry of the metadata, and nothing else.
fn put_tags(put: &PutTags, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::json(bucket, &put.object.key)?;
    draft.version(put.object.version.as_ref())?;
    let tags = (!put.tags.is_empty()).then(|| put.tags.query());
    patch(draft, &json!({ "metadata": { (names::TAGS): tags } }))
}

fn note_upload(note: &NoteUpload, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::json(bucket, &note.key)?;
    draft.query("ifGenerationMatch", &note.revision.0);
    let parts = parts::write(&note.part_sizes);
    let parts = (parts.len() <= names::PARTS_TEXT_BYTES_MAX).then_some(parts);
    let checksum = note.checksum.as_ref().and_then(headers::kept_text);
    let metadata = json!({
        (names::UPLOAD): note.upload,
        (names::PARTS): parts,
        (names::CHECKSUM): checksum,
    });
    patch(draft, &json!({ "metadata": metadata }))
}

fn patch(mut draft: Draft, document: &serde_json::Value) -> Result<UpstreamRequest> {
    let document = document.to_string();
    push(&mut draft.head, CONTENT_TYPE.as_str(), "application/json")?;
    let length = HeaderValue::from(document.len());
    draft.head.headers.push((CONTENT_LENGTH, length));
    Ok(draft.finish(Method::PATCH, UpstreamBody::Document(document.into())))
}
