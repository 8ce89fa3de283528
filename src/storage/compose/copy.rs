//! A copy whose bytes go through us: read at one store, written at another, of whatever protocols.
//!
//! | step | what it does |
//! |---|---|
//! | a HEAD of the source | what the copy is of; the client's conditions on the source are judged by it |
//! | [`Copying::plan`] | refuses what could not be kept, before a byte is read |
//! | the source's tags | where it has some that are kept and its HEAD did not tell them |
//! | [`Copying::read`], [`Copying::check`] | the GET, pinned to what was found; its answer is that object or none |
//! | [`Copying::write`], [`Checked`] | the upload, with all that is known of the bytes, and the step between the two |
//! | [`Copying::rest`] | where the source broke off |
//! | [`Copying::stored`], [`Copying::undo`] | what the target said; what takes it back where the bytes are others |
//!
//! **Nothing is stored that was not whole.** The target waits for the length that it was told; the last piece is held until
//! all bytes came and one digest of them that the source's store told was computed here. The others go to the target,
//! which compares those it knows.
//!
//! **A checksum that nobody knows yet** cannot be stored with the copy: an object's attributes go before its bytes. It is
//! refused, unless it is the source's own or one that the target computes by itself.
//!
//! A copy between two S3 accounts keeps more than the model can say and has a way of its own, `storage::s3::copy`.

mod checked;

pub use checked::Checked;

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::storage::capability::Capability;
use crate::storage::condition::{ByteRange, Preconditions, Span, Use, Verdict};
use crate::storage::object::{
    Attributes, Checksum, ChecksumKind, Digests, Extent, ObjectMeta, Tags,
};
use crate::storage::op::{
    Body, Checksums, Family, ObjectRef, Operation, PutObject, ReadObject, Selection, Source,
    UploadPiece,
};
use crate::storage::reply::{Copied, ObjectHead, Stored};

/// Largest source of one copy, as S3 has it. Above it clients copy by parts.
const SOURCE_BYTES_MAX: u64 = 5 << 30;

/// What is copied, and what was found of it.
#[derive(Debug)]
pub struct Copying<'a> {
    op: &'a Operation,
    source: &'a Source,
    found: &'a ObjectMeta,
    /// The bytes that are copied. `None`: the object is empty.
    span: Option<Span>,
    /// Digests of just these bytes.
    known: Vec<Checksum>,
}

/// The look at the source.
pub fn look(op: &Operation) -> Result<ReadObject> {
    let source = source(op)?;
    Ok(ReadObject {
        object: source.object.clone(),
        checksums: Checksums::Asked,
        customer_key: source.customer_key.clone(),
        ..ReadObject::new(&source.object.key)
    })
}

fn source(op: &Operation) -> Result<&Source> {
    if let Operation::CopyObject(copy) = op {
        Ok(&copy.source)
    } else if let Operation::CopyPiece(piece) = op {
        Ok(&piece.source)
    } else {
        Err(Error::internal("a copy of nothing"))
    }
}

impl<'a> Copying<'a> {
    /// Decides on what was found. `from` and `to` are what the two stores can do; `bytes_max` is the repository's limit.
    pub fn plan(
        op: &'a Operation,
        found: &'a ObjectMeta,
        from: &Capability,
        to: &Capability,
        bytes_max: u64,
    ) -> Result<Self> {
        let source = source(op)?;
        judge(&source.conditions, found)?;
        if found.encrypted_by_customer && source.customer_key.is_none() {
            let message = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.";
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        let span = span(op, found)?;
        let length = span.map_or(0, Span::length);
        check_length(op, length, to, bytes_max)?;
        let known = if length == found.size {
            known(found, from)
        } else {
            Vec::new()
        };
        Ok(Self {
            op,
            source,
            found,
            span,
            known,
        })
    }

    /// Refuses a checksum that the copy would not have. `digests` are those that the target takes of what it stores.
    pub fn check_asked(&self, digests: Digests) -> Result<()> {
        let Operation::CopyObject(copy) = self.op else {
            return Ok(());
        };
        let has = |kind| {
            let by_store = kind == ChecksumKind::Crc32c && digests.crc32c;
            by_store || self.known.iter().any(|known| known.kind() == kind)
        };
        if copy.checksum.is_none_or(has) {
            return Ok(());
        }
        let message =
            "A copy between these two buckets cannot be given a checksum that its source has not.";
        Err(Error::unsupported(message).with_param("x-amz-checksum-algorithm"))
    }

    pub fn length(&self) -> u64 {
        self.span.map_or(0, Span::length)
    }

    /// The object whose tags are still to be asked for.
    pub fn tags(&self) -> Option<ObjectRef> {
        let Operation::CopyObject(copy) = self.op else {
            return None;
        };
        let wanted = copy.tags.is_none() && self.found.tags.is_none() && self.found.tag_count > 0;
        wanted.then(|| self.object())
    }

    /// The object that was found, by its version where it has one.
    fn object(&self) -> ObjectRef {
        let asked = &self.source.object;
        ObjectRef {
            key: asked.key.clone(),
            version: asked.version.clone().or_else(|| self.found.version.clone()),
        }
    }

    /// The read of the bytes that are copied.
    pub fn read(&self) -> Operation {
        // Without a mark the answer's own head has to do.
        let pinned = Preconditions::pinned(Some(self.found)).unwrap_or_default();
        self.read_from(0, pinned)
    }

    /// The read of what is left; `None`: nothing is, or the store gave no mark that would hold it to this object.
    pub fn rest(&self, taken: u64) -> Option<Operation> {
        if taken >= self.length() {
            return None;
        }
        let pinned = Preconditions::pinned(Some(self.found))?;
        Some(self.read_from(taken, pinned))
    }

    fn read_from(&self, taken: u64, conditions: Preconditions) -> Operation {
        let whole = taken == 0 && self.length() == self.found.size;
        let what = match self.span {
            Some(span) if !whole => Selection::Range(ByteRange::Span {
                first: span.first + taken,
                last: span.last,
            }),
            Some(_) | None => Selection::Whole,
        };
        Operation::GetObject(Box::new(ReadObject {
            object: self.object(),
            what,
            conditions,
            customer_key: self.source.customer_key.clone(),
            ..ReadObject::new(&self.source.object.key)
        }))
    }

    /// Whether an answer to a read is what was asked for: this object, from here on.
    pub fn check(&self, taken: u64, told: &ObjectHead) -> Result<()> {
        let same = told.meta.size == self.found.size
            && told.meta.revision == self.found.revision
            && told.meta.etag == self.found.etag;
        if !same {
            return Err(changed());
        }
        let whole = Span {
            first: 0,
            last: self.found.size.saturating_sub(1),
        };
        let (given, wanted) = (
            told.span.unwrap_or(whole),
            self.span.map_or(whole, |span| Span {
                first: span.first + taken,
                last: span.last,
            }),
        );
        if given == wanted {
            return Ok(());
        }
        let message = "The answer of the source's store is not valid.";
        Err(Error::new(Kind::UpstreamBroken, message)
            .with_detail("other bytes than were asked for"))
    }

    /// The upload. `tags` are the source's, where they had to be asked for.
    pub fn write(&self, tags: Option<Tags>) -> Result<Operation> {
        let body = Body {
            length: Some(self.length()),
            checksums: self.known.clone(),
        };
        if let Operation::CopyPiece(piece) = self.op {
            return Ok(Operation::UploadPiece(Box::new(UploadPiece {
                upload: piece.upload.clone(),
                piece: piece.piece.clone(),
                body,
                customer_key: piece.customer_key.clone(),
            })));
        }
        let Operation::CopyObject(copy) = self.op else {
            return Err(Error::internal("a copy of nothing"));
        };
        let told = copy.attributes.clone();
        let kept = || Attributes {
            content: self.found.content.clone(),
            user: self.found.user.clone(),
            redirect: self.found.redirect.clone(),
            ..Attributes::default()
        };
        let tags = copy.tags.clone().or(tags).or(self.found.tags.clone());
        Ok(Operation::PutObject(Box::new(PutObject {
            key: copy.key.clone(),
            attributes: Attributes {
                class: copy.class,
                tags: tags.unwrap_or_default(),
                encryption: copy.encryption.clone(),
                ..told.unwrap_or_else(kept)
            },
            conditions: copy.conditions.clone(),
            body,
        })))
    }

    /// The step between the two bodies.
    pub fn step(&self) -> Checked {
        Checked::new(self.length(), checked::cheapest(&self.known))
    }

    /// Whether the upload may be repeated after it may have reached the target: not where it could fail on what its own
    /// first attempt stored.
    pub fn may_repeat(&self) -> bool {
        let Operation::CopyObject(copy) = self.op else {
            return true;
        };
        copy.conditions.is_empty()
    }

    /// What a target's answer means; `now` stands in where it does not tell when it stored.
    pub fn stored(&self, mut stored: Stored, now: Timestamp) -> Copied {
        stored.last_modified.get_or_insert(now);
        Copied {
            stored,
            source_version: self.found.version.clone(),
        }
    }

    /// What a target's refusal means: the digests were the source's, and the client has declared none.
    pub fn not_stored(&self, error: Error) -> Error {
        if error.kind() == Kind::DigestMismatch {
            return mismatch();
        }
        error
    }

    /// Whether the target tells of other bytes than the source.
    pub fn differs(&self, stored: &Stored) -> bool {
        stored.told.iter().any(|told| {
            let mut known = self.known.iter();
            known.any(|known| known.kind() == told.kind() && known != told)
        })
    }
}

/// A copy has no "not modified": every condition that does not hold fails it.
fn judge(conditions: &Preconditions, found: &ObjectMeta) -> Result<()> {
    let failed = match conditions.check(Some(found), Use::Write) {
        Verdict::Holds => return Ok(()),
        Verdict::Fails(condition) => condition,
        Verdict::NotModified | Verdict::Missing => "If-Match",
    };
    let message = "At least one of the pre-conditions you specified did not hold";
    Err(Error::new(Kind::PreconditionFailed, message)
        .with_param(format!("x-amz-copy-source-{failed}")))
}

/// Which bytes; of a part, S3 refuses what lies outside the source.
fn span(op: &Operation, found: &ObjectMeta) -> Result<Option<Span>> {
    let Operation::CopyPiece(piece) = op else {
        return Ok(ByteRange::From(0).within(found.size));
    };
    let Some(range) = piece.range else {
        return Ok(ByteRange::From(0).within(found.size));
    };
    let within = range.within(found.size);
    let cut = match (range, within) {
        (ByteRange::Span { last, .. }, Some(span)) => span.last != last,
        (_, within) => within.is_none(),
    };
    if cut {
        let message = format!(
            "Range specified is not valid for source object of size: {}",
            found.size
        );
        return Err(
            Error::new(Kind::InvalidArgument, message).with_param("x-amz-copy-source-range")
        );
    }
    Ok(within)
}

fn check_length(op: &Operation, length: u64, to: &Capability, bytes_max: u64) -> Result<()> {
    let is_piece = matches!(op, Operation::CopyPiece(_));
    let one = match (is_piece, to.uploads) {
        (false, _) => to.put_bytes_max,
        (true, Family::Parts) => to.piece_bytes_max,
        // One that is larger than a block is cut again.
        (true, Family::Blocks | Family::Ranges) => to.object_bytes_max,
    };
    let most = SOURCE_BYTES_MAX.min(one);
    if length > most {
        let message = format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {most}"
        );
        return Err(Error::new(Kind::InvalidRequest, message));
    }
    if length > bytes_max {
        let message = "Your proposed upload exceeds the maximum allowed size";
        return Err(Error::new(Kind::BodyTooLarge, message));
    }
    Ok(())
}

/// What the source's store tells of all its bytes.
fn known(found: &ObjectMeta, from: &Capability) -> Vec<Checksum> {
    let whole = found.checksums.iter();
    let whole = whole.filter(|stored| stored.extent == Extent::Whole);
    let mut known: Vec<Checksum> = whole.map(|stored| stored.checksum.clone()).collect();
    let has_md5 = known.iter().any(|known| known.kind() == ChecksumKind::Md5);
    if let Some(md5) = found.etag.md5()
        && from.md5_etags
        && !has_md5
        && !found.encrypted_by_customer
    {
        known.extend(Checksum::new(ChecksumKind::Md5, &md5));
    }
    known
}

/// The source is another object than when the copy began.
pub fn changed() -> Error {
    Error::new(
        Kind::PreconditionFailed,
        "The source changed while it was copied. Please try again.",
    )
}

/// The target has other bytes than the source.
pub fn mismatch() -> Error {
    let message = "The copy's bytes are not those of its source. Please try again.";
    Error::new(Kind::UpstreamBroken, message).with_detail("the digests differ")
}

#[cfg(test)]
mod tests;
