//! Which bytes are asked for, and under which conditions.
//!
//! A client's conditions speak of `ETag`s and dates. A store that can only be asked about a mark of its own is asked
//! for that mark first (a probe); [`Preconditions::check`] then decides on what was found, as RFC 9110 section 13.2.2
//! orders, and [`Preconditions::pinned`] lets the operation itself happen to just that state, or not at all.

use jiff::Timestamp;
use smallvec::SmallVec;

use super::object::{ETag, ObjectMeta, Revision};

/// One range of an object's bytes, as the client asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// Both ends included. The last may lie behind the object's end.
    Span { first: u64, last: u64 },
    /// All from here.
    From(u64),
    /// So many at the end.
    Last(u64),
}

/// A range within an object whose size is known. Both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: u64,
    pub last: u64,
}

impl ByteRange {
    /// Reads the value of a `Range` header. What is not one range of bytes is no range, as HTTP and the stores have it.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| -> Option<u64> {
            let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // More than there are bytes anywhere is still a number.
            all.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let (unit, range) = text.trim().split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", last) => digits(last).map(Self::Last),
            (first, "") => digits(first).map(Self::From),
            (first, last) => {
                let (first, last) = (digits(first)?, digits(last)?);
                (first <= last).then_some(Self::Span { first, last })
            }
        }
    }

    /// The bytes of an object of this size. `None`: there are none.
    pub fn within(self, size: u64) -> Option<Span> {
        let end = size.checked_sub(1)?;
        let (first, last) = match self {
            Self::Span { first, last } => (first, last.min(end)),
            Self::From(first) => (first, end),
            Self::Last(0) => return None,
            Self::Last(count) => (size.saturating_sub(count), end),
        };
        (first <= end).then_some(Span { first, last })
    }

    /// The value of a `Range` header.
    pub fn header(self) -> String {
        match self {
            Self::Span { first, last } => format!("bytes={first}-{last}"),
            Self::From(first) => format!("bytes={first}-"),
            Self::Last(count) => format!("bytes=-{count}"),
        }
    }
}

impl Span {
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What an ETag is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagMatch {
    /// `*`: any object at all.
    Any,
    Tags(SmallVec<[ETag; 1]>),
}

/// The `ETag`s of one header. Stops a header from making us compare long lists.
const TAGS_MAX: usize = 64;

impl TagMatch {
    /// Reads `*`, or `ETag`s with or without quotes, separated by commas.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = SmallVec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (tag, behind) = ETag::take(rest)?;
            if tags.len() >= TAGS_MAX {
                return None;
            }
            tags.push(tag);
            rest = match behind.trim_start().strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if behind.trim().is_empty() => "",
                None => return None,
            };
        }
        (!tags.is_empty()).then_some(Self::Tags(tags))
    }

    pub fn matches(&self, tag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.contains(tag),
        }
    }

    /// The value of a header.
    pub fn header(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Tags(tags) => {
                let quoted: Vec<String> = tags.iter().map(ETag::quoted).collect();
                quoted.join(", ")
            }
        }
    }
}

/// What must hold for an operation to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub if_match: Option<TagMatch>,
    pub if_none_match: Option<TagMatch>,
    pub if_modified_since: Option<Timestamp>,
    pub if_unmodified_since: Option<Timestamp>,
    /// The object was stored at just this time.
    pub if_stored_at: Option<Timestamp>,
    /// The object has just this size.
    pub if_size: Option<u64>,
    /// What a probe found; a client's own demand where its protocol has such marks.
    pub pin: Option<Pin>,
}

/// A state of the object by the upstream's own mark: what it can compare and act on in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// There is no object.
    Absent,
    Is(Revision),
}

/// Whether an object is read or written: a failed condition means another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
}

/// What the conditions say of the object that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    /// A reader has the object already.
    NotModified,
    /// This condition, by its name in HTTP.
    Fails(&'static str),
    /// A condition on the object, and there is none.
    Missing,
}

impl Preconditions {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Only that there be no object: `If-None-Match: *`.
    pub fn is_absent_only(&self) -> bool {
        *self
            == Self {
                if_none_match: Some(TagMatch::Any),
                ..Self::default()
            }
    }

    /// Decides on the object that is there, if one is.
    pub fn check(&self, found: Option<&ObjectMeta>, by: Use) -> Verdict {
        let Some(found) = found else {
            let wants_one = self.if_match.is_some()
                || self.if_unmodified_since.is_some()
                || self.if_stored_at.is_some()
                || self.if_size.is_some();
            return match &self.pin {
                Some(Pin::Is(_)) => Verdict::Missing,
                Some(Pin::Absent) | None if wants_one => Verdict::Missing,
                Some(Pin::Absent) | None => Verdict::Holds,
            };
        };
        if let Some(tags) = &self.if_match {
            if !tags.matches(&found.etag) {
                return Verdict::Fails("If-Match");
            }
        } else if self
            .if_unmodified_since
            .is_some_and(|at| seconds(found.last_modified) > seconds(at))
        {
            return Verdict::Fails("If-Unmodified-Since");
        }
        let seen = match by {
            Use::Read => Verdict::NotModified,
            Use::Write => Verdict::Fails("If-None-Match"),
        };
        if let Some(tags) = &self.if_none_match {
            if tags.matches(&found.etag) {
                return seen;
            }
        } else if self
            .if_modified_since
            .is_some_and(|at| seconds(found.last_modified) <= seconds(at))
        {
            return seen;
        }
        if self
            .if_stored_at
            .is_some_and(|at| seconds(found.last_modified) != seconds(at))
        {
            return Verdict::Fails("If-Match-Last-Modified-Time");
        }
        if self.if_size.is_some_and(|size| size != found.size) {
            return Verdict::Fails("If-Match-Size");
        }
        match (&self.pin, &found.revision) {
            (None, _) => Verdict::Holds,
            (Some(Pin::Is(wanted)), Some(found)) if wanted == found => Verdict::Holds,
            (Some(Pin::Is(_) | Pin::Absent), _) => Verdict::Fails("If-Match"),
        }
    }

    /// These conditions, which held for what was found, as the one that it still be there. `None`: what was found has
    /// no mark to tell.
    pub fn pinned(found: Option<&ObjectMeta>) -> Option<Self> {
        let pin = match found {
            None => Pin::Absent,
            Some(found) => Pin::Is(found.revision.clone()?),
        };
        Some(Self {
            pin: Some(pin),
            ..Self::default()
        })
    }
}

/// HTTP's dates have no fractions.
fn seconds(at: Timestamp) -> i64 {
    at.as_second()
}

#[cfg(test)]
mod tests;
