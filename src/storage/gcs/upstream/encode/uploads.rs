//! Uploads in parts, which go one to one.

use http::Method;

use super::draft::Draft;
use crate::error::{Error, Result};
use crate::policy::route::Bucket;
use crate::storage::codec::{UpstreamBody, UpstreamRequest};
use crate::storage::gcs::upstream::headers;
use crate::storage::gcs::{names, wire};
use crate::storage::op::{
    ChecksumOver, CompleteUpload, CreateUpload, ListPieces, Piece, Pieces, UploadPiece, UploadRef,
};

pub(super) fn create(create: &CreateUpload, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &create.key)?;
    if !create.conditions.is_empty() {
        return Err(unconditional());
    }
    draft.query("uploads", "");
    headers::push_attributes(&mut draft.head, &create.attributes)?;
    Ok(draft.empty(Method::POST))
}

pub(super) fn piece(piece: &UploadPiece, bucket: &Bucket) -> Result<UpstreamRequest> {
    let Piece::Part(number) = piece.piece else {
        return Err(Error::internal("a piece of another family"));
    };
    let mut draft = Draft::object(bucket, &piece.upload.key)?;
    draft.query("partNumber", &number.to_string());
    draft.query("uploadId", &piece.upload.id);
    headers::push_body(&mut draft.head, &piece.body)?;
    headers::push_customer_key(&mut draft.head, piece.customer_key.as_ref())?;
    Ok(draft.finish(Method::PUT, UpstreamBody::Stream))
}

pub(super) fn parts(list: &ListPieces, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &list.upload.key)?;
    draft.query("uploadId", &list.upload.id);
    if let Some(max) = list.max {
        draft.query("max-parts", &max.min(names::PAGE_MAX).to_string());
    }
    if let Some(after) = list.after {
        draft.query("part-number-marker", &after.to_string());
    }
    Ok(draft.empty(Method::GET))
}

pub(super) fn complete(complete: &CompleteUpload, bucket: &Bucket) -> Result<UpstreamRequest> {
    let Pieces::Parts(parts) = &complete.pieces else {
        return Err(Error::internal("pieces of another family"));
    };
    if !complete.conditions.is_empty() {
        return Err(unconditional());
    }
    let of_whole = complete
        .checksum
        .as_ref()
        .is_some_and(|(of, _)| of.over == ChecksumOver::Object);
    if of_whole || complete.size.is_some() {
        let message =
            "The store of this bucket cannot be told size or checksum of the whole object.";
        return Err(Error::unsupported(message));
    }
    let mut draft = Draft::object(bucket, &complete.upload.key)?;
    draft.query("uploadId", &complete.upload.id);
    draft.document(Method::POST, wire::complete(parts))
}

pub(super) fn abort(upload: &UploadRef, bucket: &Bucket) -> Result<UpstreamRequest> {
    let mut draft = Draft::object(bucket, &upload.key)?;
    draft.query("uploadId", &upload.id);
    Ok(draft.empty(Method::DELETE))
}

fn unconditional() -> Error {
    Error::unsupported("The store of this bucket completes no upload under a condition.")
}
