//! Operations as requests.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, RANGE};
use http::{HeaderName, HeaderValue, Method};
use smallvec::smallvec;

use super::{headers, unsaid};
use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Slash};
use crate::policy::route::Bucket;
use crate::storage::codec::{Target, UpstreamBody, UpstreamHead, UpstreamRequest};
use crate::storage::condition::Preconditions;
use crate::storage::object::VersionId;
use crate::storage::op::{
    Body, Checksums, CreateUpload, DeleteObject, ObjectRef, Operation, Piece, Pieces, PutObject,
    PutTags, ReadObject, Selection, UploadPiece, UploadRef,
};
use crate::storage::s3::upstream;
use crate::storage::s3::wire;

pub(super) fn request(op: &Operation, target: &Target<'_>) -> Result<UpstreamRequest> {
    let bucket = target.bucket;
    match op {
        Operation::GetObject(read) => self::read(read, bucket, Method::GET),
        Operation::HeadObject(read) => self::read(read, bucket, Method::HEAD),
        Operation::PutObject(put) => self::put(put, bucket),
        Operation::DeleteObject(delete) => self::delete(delete, bucket),
        Operation::GetTags(object) => {
            let mut draft = Draft::object(bucket, object)?;
            draft.query("tagging", "");
            Ok(draft.empty(Method::GET))
        }
        Operation::PutTags(put) => put_tags(put, bucket),
        Operation::CreateUpload(create) => create_upload(create, bucket),
        Operation::UploadPiece(piece) => self::piece(piece, bucket),
        Operation::CompleteUpload(complete) => {
            let Pieces::Parts(parts) = &complete.pieces else {
                return Err(Error::internal("pieces of another family"));
            };
            let mut draft = Draft::upload(bucket, &complete.upload)?;
            headers::push_write_conditions(&mut draft.head, &complete.conditions)?;
            if complete.checksum.is_some() || complete.size.is_some() {
                return Err(unsaid());
            }
            draft.document(Method::POST, headers::parts(parts))
        }
        Operation::AbortUpload(upload) => Ok(Draft::upload(bucket, upload)?.empty(Method::DELETE)),
        Operation::ListBuckets(_)
        | Operation::HeadBucket
        | Operation::CreateBucket(_)
        | Operation::DeleteBucket
        | Operation::ListObjects(_)
        | Operation::CopyObject(_)
        | Operation::SetAttributes(_)
        | Operation::DeleteObjects(_)
        | Operation::CopyPiece(_)
        | Operation::ListPieces(_)
        | Operation::ListUploads(_)
        | Operation::NoteUpload(_)
        | Operation::Journal(_) => Err(unsaid()),
    }
}

fn read(read: &ReadObject, bucket: &Bucket, method: Method) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &read.object)?;
    match read.what {
        Selection::Whole => {}
        Selection::Range(range) => {
            let range = HeaderValue::try_from(range.header()).map_err(Error::internal)?;
            draft.head.headers.push((RANGE, range));
        }
        Selection::Part(number) => draft.query("partNumber", &number.to_string()),
    }
    let head = &mut draft.head;
    headers::push_read_conditions(head, &read.conditions)?;
    headers::push_customer_key(head, read.customer_key.as_ref())?;
    if read.checksums == Checksums::Asked && read.what == Selection::Whole {
        headers::push(head, "x-amz-checksum-mode", "ENABLED")?;
    }
    Ok(draft.empty(method))
}

fn put(put: &PutObject, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::blank(bucket, &put.key)?;
    let head = &mut draft.head;
    headers::push_attributes(head, &put.attributes)?;
    headers::push_write_conditions(head, &put.conditions)?;
    push_body(head, &put.body)?;
    Ok(draft.finish(Method::PUT, UpstreamBody::Stream))
}

fn piece(piece: &UploadPiece, bucket: &Bucket) -> Result<UpstreamRequest> {
    let Piece::Part(number) = piece.piece else {
        return Err(Error::internal("a piece of another family"));
    };
    let mut draft = Draft::blank(bucket, &piece.upload.key)?;
    draft.query("partNumber", &number.to_string());
    draft.query("uploadId", &piece.upload.id);
    let head = &mut draft.head;
    headers::push_customer_key(head, piece.customer_key.as_ref())?;
    push_body(head, &piece.body)?;
    Ok(draft.finish(Method::PUT, UpstreamBody::Stream))
}

/// Length and digests of a streamed body. S3 takes one checksum beside the MD5.
fn push_body(head: &mut UpstreamHead, body: &Body) -> Result<()> {
    let length = body.length.ok_or_else(|| {
        let message = "You must provide the Content-Length HTTP header.";
        Error::new(Kind::LengthRequired, message)
    })?;
    head.headers
        .push((CONTENT_LENGTH, HeaderValue::from(length)));
    headers::push_checksums(head, &body.checksums)
}

/// What a version names need not be named by a mark as well, which not all stores take together.
fn delete(delete: &DeleteObject, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &delete.object)?;
    let mut conditions = delete.conditions.clone();
    if delete.object.version.is_some() {
        conditions.pin = None;
    }
    headers::push_write_conditions(&mut draft.head, &conditions)?;
    Ok(draft.empty(Method::DELETE))
}

fn put_tags(put: &PutTags, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &put.object)?;
    draft.query("tagging", "");
    if put.tags.is_empty() {
        return Ok(draft.empty(Method::DELETE));
    }
    let mut out = wire::document("Tagging");
    out.push_str("<TagSet>");
    for (key, value) in put.tags.iter() {
        out.push_str("<Tag>");
        wire::push_element(&mut out, "Key", key);
        wire::push_element(&mut out, "Value", value);
        out.push_str("</Tag>");
    }
    out.push_str("</TagSet></Tagging>");
    draft.document(Method::PUT, out.into())
}

fn create_upload(create: &CreateUpload, bucket: &Bucket) -> Result<UpstreamRequest> {
    // They are checked when it is completed.
    if create.conditions != Preconditions::default() {
        return Err(Error::internal("a condition on the beginning of an upload"));
    }
    let mut draft = Draft::blank(bucket, &create.key)?;
    draft.query("uploads", "");
    let head = &mut draft.head;
    headers::push_attributes(head, &create.attributes)?;
    if let Some(checksum) = create.checksum {
        headers::push_upload_checksum(head, checksum)?;
    }
    Ok(draft.empty(Method::POST))
}

/// A request that is being written.
struct Draft {
    head: UpstreamHead,
    path: Vec<u8>,
    asks: bool,
}

impl Draft {
    fn blank(bucket: &Bucket, key: &str) -> Result<Self> {
        let account = upstream::account(bucket)?;
        Ok(Self {
            head: UpstreamHead {
                method: Method::GET,
                target: String::new(),
                headers: smallvec![(HOST, upstream::host(bucket)?)],
            },
            path: upstream::path(bucket, account, Some(key))?,
            asks: false,
        })
    }

    fn object(bucket: &Bucket, object: &ObjectRef) -> Result<Self> {
        let mut draft = Self::blank(bucket, &object.key)?;
        if let Some(VersionId(version)) = &object.version {
            draft.query("versionId", version);
        }
        Ok(draft)
    }

    fn upload(bucket: &Bucket, upload: &UploadRef) -> Result<Self> {
        let mut draft = Self::blank(bucket, &upload.key)?;
        draft.query("uploadId", &upload.id);
        Ok(draft)
    }

    fn query(&mut self, name: &'static str, value: &str) {
        self.path.push(if self.asks { b'&' } else { b'?' });
        self.asks = true;
        self.path.extend_from_slice(name.as_bytes());
        self.path.push(b'=');
        escape::encode(&mut self.path, value.as_bytes(), Slash::Encode);
    }

    fn finish(mut self, method: Method, body: UpstreamBody) -> UpstreamRequest {
        self.head.method = method;
        // Escapes are ASCII, and the configured path is text.
        self.head.target = String::from_utf8_lossy(&self.path).into_owned();
        UpstreamRequest {
            head: self.head,
            body,
        }
    }

    fn empty(mut self, method: Method) -> UpstreamRequest {
        if matches!(method, Method::PUT | Method::POST) {
            let none = HeaderValue::from_static("0");
            self.head.headers.push((CONTENT_LENGTH, none));
        }
        self.finish(method, UpstreamBody::None)
    }

    /// Some operations demand a digest of their document, and none refuses it.
    fn document(mut self, method: Method, document: Bytes) -> Result<UpstreamRequest> {
        let length = HeaderValue::from(document.len());
        self.head.headers.push((CONTENT_LENGTH, length));
        let xml = HeaderValue::from_static("application/xml");
        self.head.headers.push((http::header::CONTENT_TYPE, xml));
        let digest = headers::md5_base64(&document);
        let digest = HeaderValue::try_from(digest).map_err(Error::internal)?;
        let name = HeaderName::from_static("content-md5");
        self.head.headers.push((name, digest));
        Ok(self.finish(method, UpstreamBody::Document(document)))
    }
}
