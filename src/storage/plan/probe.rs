//! A look at an object before something is done to it, and what follows from what it found.

use super::unsupported;
use crate::error::{Error, Kind, Result};
use crate::storage::condition::{ByteRange, Preconditions, Span, Use, Verdict};
use crate::storage::object::{Attributes, ObjectMeta};
use crate::storage::op::{Operation, ReadObject, Selection};
use crate::storage::reply::NotModified;

/// A HEAD of an object, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// At the object that is read or written: its conditions are decided by us, and held by the store's own mark.
    Object,
    /// At the source of a copy: its metadata or its tags are kept while the other is replaced, or its size tells how it is
    /// cut.
    Source,
}

/// What the look gave.
#[derive(Debug, PartialEq)]
pub enum Settled {
    /// This is sent.
    Send(Box<Operation>),
    NotModified(Box<NotModified>),
}

impl Probe {
    /// The look itself.
    pub fn request(self, op: &Operation) -> Option<ReadObject> {
        let (object, customer_key) = match (self, op) {
            (Self::Source, Operation::CopyObject(copy)) => {
                (&copy.source.object, copy.source.customer_key.clone())
            }
            (Self::Source, Operation::CopyPiece(piece)) => {
                (&piece.source.object, piece.source.customer_key.clone())
            }
            (Self::Object, Operation::GetObject(read) | Operation::HeadObject(read)) => {
                (&read.object, read.customer_key.clone())
            }
            (Self::Object, Operation::DeleteObject(delete)) => (&delete.object, None),
            (Self::Object, Operation::SetAttributes(set)) => (&set.object, None),
            (Self::Object, other) => {
                let mut look = ReadObject::new(other.key()?);
                // The key of what is there now may be another; to be told of it needs none.
                look.customer_key = None;
                return Some(look);
            }
            (Self::Source, _) => return None,
        };
        let mut look = ReadObject::new(&object.key);
        look.object.version.clone_from(&object.version);
        look.customer_key = customer_key;
        Some(look)
    }

    /// What the look means: the request to send, pinned to what was found, or how the client is answered without one.
    pub fn settle(self, op: &Operation, found: Option<&ObjectMeta>) -> Result<Settled> {
        let mut op = op.clone();
        match (self, &mut op) {
            (Self::Source, Operation::CopyObject(copy)) => {
                let found = found.ok_or_else(missing)?;
                judge(&copy.source.conditions, Some(found), Use::Write)?;
                copy.source.conditions = pinned(Some(found))?;
                copy.source.seen = Some(Box::new(found.clone()));
                let keeps_tags = copy.tags.is_none() && copy.attributes.is_some();
                let keeps_attributes = copy.attributes.is_none() && copy.tags.is_some();
                if keeps_tags {
                    // A store that does not tell them copies them by itself.
                    copy.tags.clone_from(&found.tags);
                }
                if keeps_attributes {
                    copy.attributes = Some(Attributes {
                        content: found.content.clone(),
                        user: found.user.clone(),
                        redirect: found.redirect.clone(),
                        ..Attributes::default()
                    });
                }
            }
            (Self::Source, Operation::CopyPiece(piece)) => {
                let found = found.ok_or_else(missing)?;
                judge(&piece.source.conditions, Some(found), Use::Write)?;
                piece.source.conditions = pinned(Some(found))?;
                piece.source.seen = Some(Box::new(found.clone()));
                piece.range = piece.range.map(|range| inside(range, found)).transpose()?;
            }
            (Self::Object, Operation::GetObject(read) | Operation::HeadObject(read)) => {
                let found = found.ok_or_else(missing)?;
                if let Some(same) = judge(&read.conditions, Some(found), Use::Read)? {
                    return Ok(Settled::NotModified(Box::new(same)));
                }
                read.what = resolve(read.what, found)?;
                read.conditions = pinned(Some(found))?;
            }
            (Self::Object, other) => {
                let conditions = conditions_of(other)
                    .ok_or_else(|| Error::internal("a look for an operation without conditions"))?;
                judge(conditions, found, Use::Write)?;
                *conditions = pinned(found)?;
            }
            (Self::Source, _) => return Err(Error::internal("a look at no source")),
        }
        Ok(Settled::Send(Box::new(op)))
    }
}

fn conditions_of(op: &mut Operation) -> Option<&mut Preconditions> {
    if let Operation::PutObject(put) = op {
        Some(&mut put.conditions)
    } else if let Operation::CopyObject(copy) = op {
        Some(&mut copy.conditions)
    } else if let Operation::SetAttributes(set) = op {
        Some(&mut set.conditions)
    } else if let Operation::DeleteObject(delete) = op {
        Some(&mut delete.conditions)
    } else if let Operation::CompleteUpload(complete) = op {
        Some(&mut complete.conditions)
    } else {
        None
    }
}

/// Whether the conditions hold; `Some`: the reader has it already.
fn judge(
    conditions: &Preconditions,
    found: Option<&ObjectMeta>,
    by: Use,
) -> Result<Option<NotModified>> {
    match (conditions.check(found, by), found) {
        (Verdict::Holds, _) => Ok(None),
        (Verdict::NotModified, Some(found)) => Ok(Some(NotModified {
            etag: Some(found.etag.clone()),
            last_modified: Some(found.last_modified),
        })),
        (Verdict::Fails(condition), _) => Err(Error::new(
            Kind::PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold",
        )
        .with_param(condition)),
        (Verdict::Missing | Verdict::NotModified, _) => Err(missing()),
    }
}

fn pinned(found: Option<&ObjectMeta>) -> Result<Preconditions> {
    Preconditions::pinned(found).ok_or_else(|| Error::internal("an object without a mark"))
}

/// The bytes of a part or of a suffix, now that the object is known.
fn resolve(what: Selection, found: &ObjectMeta) -> Result<Selection> {
    let outside = || Error::new(Kind::InvalidRange, "The requested range is not satisfiable");
    match what {
        Selection::Whole | Selection::Range(ByteRange::Span { .. } | ByteRange::From(_)) => {
            Ok(what)
        }
        Selection::Range(range @ ByteRange::Last(_)) => {
            let span = range.within(found.size).ok_or_else(outside)?;
            Ok(Selection::Range(ByteRange::Span {
                first: span.first,
                last: span.last,
            }))
        }
        Selection::Part(number) => part(number, found, outside),
    }
}

/// A piece of an object is all that was asked for, or nothing.
fn inside(range: ByteRange, found: &ObjectMeta) -> Result<ByteRange> {
    let span = range.within(found.size);
    let all = span.filter(|span| match range {
        ByteRange::Span { last, .. } => last == span.last,
        ByteRange::From(_) | ByteRange::Last(_) => true,
    });
    let Span { first, last } = all.ok_or_else(|| {
        let message = format!(
            "Range specified is not valid for source object of size: {}",
            found.size
        );
        Error::new(Kind::InvalidArgument, message)
    })?;
    Ok(ByteRange::Span { first, last })
}

fn part(number: u16, found: &ObjectMeta, outside: impl Fn() -> Error) -> Result<Selection> {
    if found.part_sizes.is_empty() {
        // In one piece, unless its ETag tells of parts whose sizes nobody kept.
        return match (found.etag.parts(), number, found.size) {
            (None | Some(1), 1, _) => Ok(Selection::Whole),
            (None | Some(1), ..) => Err(outside()),
            (Some(_), ..) => Err(unsupported()),
        };
    }
    let at = usize::from(number).checked_sub(1).ok_or_else(&outside)?;
    let length = *found.part_sizes.get(at).ok_or_else(&outside)?;
    let first: u64 = found.part_sizes.iter().take(at).sum();
    match length.checked_sub(1) {
        Some(more) => Ok(Selection::Range(ByteRange::Span {
            first,
            last: first + more,
        })),
        // An object of one empty part.
        None => Ok(Selection::Whole),
    }
}

fn missing() -> Error {
    Error::new(Kind::ObjectNotFound, "The specified key does not exist.")
}
