//! Uploads in parts.

use super::given::Given;
use super::{attributes, body, conditions, document, invalid, key, part_number, source};
use crate::error::{Error, Kind, Result};
use crate::storage::condition::{ByteRange, Preconditions};
use crate::storage::object::{Checksum, ChecksumKind, ETag};
use crate::storage::op::{
    ChecksumOver, CompleteUpload, CompletedPart, CopyPiece, CreateUpload, Piece, Pieces,
    UploadChecksum, UploadPiece, UploadRef,
};
use crate::storage::s3::names;
use crate::storage::s3::route::WholeOp;
use crate::storage::s3::wire::{self, Part};

pub(super) fn create(op: &WholeOp, given: &mut Given<'_>) -> Result<CreateUpload> {
    let kind = given.checksum_kind()?;
    let over = given
        .text("x-amz-checksum-type")?
        .map(checksum_over)
        .transpose()?;
    let checksum = match (kind, over) {
        (None, Some(_)) => {
            let message = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        (None, None) => None,
        (Some(kind), over) => Some(upload_checksum(kind, over)?),
    };
    Ok(CreateUpload {
        key: key(op)?,
        attributes: attributes::attributes(given)?,
        checksum,
        conditions: Preconditions::default(),
    })
}

fn checksum_over(text: &str) -> Result<ChecksumOver> {
    match text {
        "COMPOSITE" => Ok(ChecksumOver::Parts),
        "FULL_OBJECT" => Ok(ChecksumOver::Object),
        _ => Err(invalid("x-amz-checksum-type")),
    }
}

/// Hashes cannot be combined, and one CRC is only ever combined.
fn upload_checksum(kind: ChecksumKind, over: Option<ChecksumOver>) -> Result<UploadChecksum> {
    let (default, other) = match kind {
        ChecksumKind::Crc64Nvme => (ChecksumOver::Object, false),
        ChecksumKind::Crc32 | ChecksumKind::Crc32c => (ChecksumOver::Parts, true),
        ChecksumKind::Md5 | ChecksumKind::Sha1 | ChecksumKind::Sha256 => {
            (ChecksumOver::Parts, false)
        }
    };
    let over = over.unwrap_or(default);
    if over != default && !other {
        let message = "The checksum type cannot be used with this checksum algorithm.";
        return Err(Error::new(Kind::InvalidRequest, message));
    }
    Ok(UploadChecksum { kind, over })
}

pub(super) fn reference(op: &WholeOp, given: &mut Given<'_>) -> Result<UploadRef> {
    let id = given.query("uploadId");
    let id = id.ok_or_else(|| Error::internal("an upload without its id"))?;
    Ok(UploadRef {
        key: key(op)?,
        id: id.into(),
    })
}

fn piece(given: &mut Given<'_>) -> Result<Piece> {
    let number = given.query("partNumber").map(part_number).transpose()?;
    number
        .map(Piece::Part)
        .ok_or_else(|| Error::internal("a part without its number"))
}

pub(super) fn upload(
    op: &WholeOp,
    given: &mut Given<'_>,
    length: Option<u64>,
) -> Result<UploadPiece> {
    Ok(UploadPiece {
        upload: reference(op, given)?,
        piece: piece(given)?,
        body: body(given, length)?,
        customer_key: given.customer_key("")?,
    })
}

pub(super) fn copy(op: &WholeOp, given: &mut Given<'_>) -> Result<CopyPiece> {
    let name = "x-amz-copy-source-range";
    let range = match given.text(name)? {
        None => None,
        // Here S3 knows the one form, and refuses what it cannot read.
        Some(text) => match ByteRange::parse(text) {
            Some(range @ ByteRange::Span { .. }) => Some(range),
            Some(ByteRange::From(_) | ByteRange::Last(_)) | None => return Err(invalid(name)),
        },
    };
    Ok(CopyPiece {
        upload: reference(op, given)?,
        piece: piece(given)?,
        source: source(op, given)?,
        range,
        customer_key: given.customer_key("")?,
    })
}

pub(super) fn complete(op: &WholeOp, given: &mut Given<'_>) -> Result<CompleteUpload> {
    // Of the object that the parts make, and not of the document.
    let over = given
        .text("x-amz-checksum-type")?
        .map(checksum_over)
        .transpose()?;
    given.customer_key("")?;
    let parts = parts(op.document().map_or(&[][..], |document| document))?;
    let declared = declared(given, over, &parts)?;
    document(op, given)?;
    check_composite(declared.as_ref(), &parts)?;
    let name = "x-amz-mp-object-size";
    let size = given.text(name)?;
    let size = size.map(|size| size.parse().map_err(|_| invalid(name)));
    Ok(CompleteUpload {
        upload: reference(op, given)?,
        pieces: Pieces::Parts(parts),
        conditions: conditions(given)?,
        size: size.transpose()?,
        checksum: declared,
        attributes: None,
        made: None,
    })
}

/// The checksum that the object is to have.
fn declared(
    given: &mut Given<'_>,
    over: Option<ChecksumOver>,
    parts: &[CompletedPart],
) -> Result<Option<(UploadChecksum, Checksum)>> {
    for (name, kind) in [
        ("x-amz-checksum-crc32", ChecksumKind::Crc32),
        ("x-amz-checksum-crc32c", ChecksumKind::Crc32c),
        ("x-amz-checksum-crc64nvme", ChecksumKind::Crc64Nvme),
        ("x-amz-checksum-sha1", ChecksumKind::Sha1),
        ("x-amz-checksum-sha256", ChecksumKind::Sha256),
    ] {
        let Some(text) = given.text(name)? else {
            continue;
        };
        let (value, of_parts) = match text.split_once('-') {
            Some((value, _)) => (value, Some(ChecksumOver::Parts)),
            None => (text, None),
        };
        let checksum = Checksum::parse_base64(kind, value).ok_or_else(|| invalid(name))?;
        let mut of = upload_checksum(kind, over.or(of_parts))?;
        // Which of the two it is was told when the upload began, and need not be told again.
        if over.or(of_parts).is_none() && composite(kind, parts).as_ref() != Some(&checksum) {
            of.over =
                upload_checksum(kind, Some(ChecksumOver::Object)).map_or(of.over, |of| of.over);
        }
        return Ok(Some((of, checksum)));
    }
    Ok(None)
}

/// A composite checksum follows from those of the parts: it can be judged right here.
fn check_composite(
    declared: Option<&(UploadChecksum, Checksum)>,
    parts: &[CompletedPart],
) -> Result<()> {
    let Some((of, declared)) = declared else {
        return Ok(());
    };
    if of.over != ChecksumOver::Parts {
        return Ok(());
    }
    let computed = composite(of.kind, parts).ok_or_else(|| {
        let message = "The upload was created with a checksum, and a part is missing its own.";
        Error::new(Kind::InvalidRequest, message)
    })?;
    if computed == *declared {
        return Ok(());
    }
    let message = "The checksum you specified did not match the calculated checksum.";
    Err(Error::new(Kind::DigestMismatch, message))
}

/// The checksum of the parts' checksums, where each part has one.
pub fn composite(kind: ChecksumKind, parts: &[CompletedPart]) -> Option<Checksum> {
    Checksum::of_parts(kind, parts.iter().map(|part| part.checksum.as_ref()))
}

const PART_CHECKSUMS: &[(&str, ChecksumKind)] = &[
    ("ChecksumCRC32", ChecksumKind::Crc32),
    ("ChecksumCRC32C", ChecksumKind::Crc32c),
    ("ChecksumCRC64NVME", ChecksumKind::Crc64Nvme),
    ("ChecksumSHA1", ChecksumKind::Sha1),
    ("ChecksumSHA256", ChecksumKind::Sha256),
];

/// The document of `CompleteMultipartUpload`.
fn parts(document: &[u8]) -> Result<Vec<CompletedPart>> {
    let text = std::str::from_utf8(document).map_err(|_| wire::malformed())?;
    let mut parts: Vec<CompletedPart> = Vec::new();
    let (mut number, mut etag, mut checksum) = (None, None, None);
    wire::walk(text, |node| {
        match (node.path, node.part) {
            (["CompleteMultipartUpload"], _)
            | (["CompleteMultipartUpload", "Part", _], Part::Open) => {}
            (["CompleteMultipartUpload", "Part"], Part::Open) => {
                (number, etag, checksum) = (None, None, None);
            }
            (["CompleteMultipartUpload", "Part"], Part::Close(_)) => {
                let (Some(number), Some(etag)) = (number.take(), etag.take()) else {
                    return Err(wire::malformed());
                };
                parts.push(CompletedPart {
                    number,
                    etag,
                    checksum: checksum.take(),
                });
            }
            (["CompleteMultipartUpload", "Part", "PartNumber"], Part::Close(text)) => {
                let valid = text.trim().parse().ok();
                let valid = valid.filter(|n| (1..=names::PART_NUMBER_MAX).contains(&u32::from(*n)));
                number = Some(valid.ok_or_else(|| invalid("PartNumber"))?);
            }
            (["CompleteMultipartUpload", "Part", "ETag"], Part::Close(text)) => {
                etag = Some(ETag::parse(&text).ok_or_else(invalid_part)?);
            }
            (["CompleteMultipartUpload", "Part", name], Part::Close(text)) => {
                let known = PART_CHECKSUMS.iter().find(|(known, _)| known == name);
                let (_, kind) = known.ok_or_else(wire::malformed)?;
                let value = Checksum::parse_base64(*kind, text.trim());
                checksum = Some(value.ok_or_else(invalid_part)?);
            }
            _ => return Err(wire::malformed()),
        }
        Ok(())
    })?;
    if parts.is_empty() {
        return Err(wire::malformed());
    }
    if !parts.is_sorted_by(|one, next| one.number < next.number) {
        let message =
            "The list of parts was not in ascending order. Parts must be ordered by part number.";
        return Err(Error::new(Kind::InvalidPartOrder, message));
    }
    Ok(parts)
}

fn invalid_part() -> Error {
    let message = "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    Error::new(Kind::InvalidPart, message)
}
