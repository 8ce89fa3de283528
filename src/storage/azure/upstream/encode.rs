//! Operations as requests.

use http::{HeaderName, HeaderValue, Method};

use super::blocks;
use super::copy;
use super::draft::{Draft, check_container};
use super::headers::{self, Kept, push};
use super::journal;
use super::listing;
use crate::error::{Error, Kind, Result};
use crate::policy::route::Bucket;
use crate::storage::azure::{names, wire};
use crate::storage::codec::{Target, UpstreamBody, UpstreamRequest};
use crate::storage::condition::ByteRange;
use crate::storage::op::{
    CreateBucket, DeleteObject, Operation, PutObject, PutTags, ReadObject, Selection,
};

pub(super) fn request(op: &Operation, target: &Target<'_>) -> Result<UpstreamRequest> {
    let bucket = target.bucket;
    match op {
        Operation::ListBuckets(list) => Ok(listing::containers(list, bucket)),
        Operation::HeadBucket => Ok(Draft::container(bucket).empty(Method::HEAD)),
        Operation::CreateBucket(create) => create_container(create, bucket),
        Operation::DeleteBucket => Ok(Draft::container(bucket).empty(Method::DELETE)),
        Operation::ListObjects(list) => listing::blobs(list, bucket),
        Operation::GetObject(read) => self::read(read, bucket, Method::GET),
        Operation::HeadObject(read) => self::read(read, bucket, Method::HEAD),
        Operation::PutObject(put) => self::put(put, bucket),
        Operation::CopyObject(copy) => copy::object(copy, target),
        Operation::DeleteObject(delete) => self::delete(delete, bucket),
        Operation::GetTags(object) => {
            let mut draft = Draft::object(bucket, object)?;
            draft.query("comp", "tags");
            Ok(draft.empty(Method::GET))
        }
        Operation::PutTags(put) => put_tags(put, bucket),
        Operation::UploadPiece(piece) => blocks::put(piece, bucket),
        Operation::CopyPiece(piece) => copy::piece(piece, target),
        Operation::CompleteUpload(complete) => blocks::commit(complete, bucket),
        Operation::NoteUpload(_) => Err(Error::internal("an upload's end says it all here")),
        Operation::Journal(journal) => journal::request(journal, bucket),
        // An upload is blocks that nobody has committed, and its journal.
        Operation::CreateUpload(_)
        | Operation::AbortUpload(_)
        | Operation::ListPieces(_)
        | Operation::ListUploads(_) => Err(Error::internal("there are no uploads here but blocks")),
        Operation::DeleteObjects(_) => Err(Error::internal("there are no batches here")),
        Operation::SetAttributes(_) => Err(Error::unsupported(
            "The store of this bucket changes no metadata without the object.",
        )),
    }
}

/// A container is where its account is.
fn create_container(create: &CreateBucket, bucket: &Bucket) -> Result<UpstreamRequest> {
    check_container(&bucket.upstream)?;
    if create.location.is_some() {
        return Err(Error::new(
            Kind::LocationRefused,
            "Buckets are made where the resource is, and nowhere else.",
        ));
    }
    Ok(Draft::container(bucket).empty(Method::PUT))
}

fn read(read: &ReadObject, bucket: &Bucket, method: Method) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &read.object)?;
    let head = &mut draft.head;
    match read.what {
        Selection::Whole => {}
        Selection::Range(range @ (ByteRange::Span { .. } | ByteRange::From(_))) => {
            push(head, names::RANGE, &range.header())?;
        }
        Selection::Range(ByteRange::Last(_)) | Selection::Part(_) => {
            return Err(Error::internal("a range that was not resolved"));
        }
    }
    headers::push_conditions(head, &read.conditions)?;
    headers::push_customer_key(head, read.customer_key.as_ref())?;
    Ok(draft.empty(method))
}

/// The MD5 that comes back as the ETag is the one that the service stores when it is told no CRC64: so a client's CRC64
/// is compared here only, and with what the service tells of it afterwards.
fn put(put: &PutObject, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::blob(bucket, &put.key)?;
    let head = &mut draft.head;
    push(head, names::BLOB_TYPE, "BlockBlob")?;
    let length = headers::push_length(head, &put.body)?;
    if length > names::PUT_BYTES_MAX {
        return Err(Error::internal("an object that was not split"));
    }
    headers::push_md5(head, &put.body)?;
    let kept = Kept {
        checksum: headers::kept_checksum(&put.body),
        ..Kept::default()
    };
    headers::push_attributes(head, &put.attributes, &kept)?;
    headers::push_conditions(head, &put.conditions)?;
    Ok(draft.finish(Method::PUT, UpstreamBody::Stream))
}

fn delete(delete: &DeleteObject, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &delete.object)?;
    push(&mut draft.head, names::DELETE_SNAPSHOTS, "include")?;
    headers::push_conditions(&mut draft.head, &delete.conditions)?;
    Ok(draft.empty(Method::DELETE))
}

fn put_tags(put: &PutTags, bucket: &Bucket) -> Result<UpstreamRequest> {
    headers::check_tags(&put.tags)?;
    let mut draft = Draft::object(bucket, &put.object)?;
    draft.query("comp", "tags");
    Ok(draft.document(Method::PUT, wire::put_tags(&put.tags)))
}

/// Asks for another version of the interface than [`names::API_VERSION`].
pub(super) fn ask_version(draft: &mut Draft, version: &'static str) {
    let name = HeaderName::from_static(names::VERSION);
    let version = HeaderValue::from_static(version);
    draft.head.headers.push((name, version));
}
