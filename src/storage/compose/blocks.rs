//! Blocks: how parts and objects are cut for a store that makes objects of blocks, and what the blocks are called.
//!
//! A block's name says which upload and part it is of, which slice of the part, and which attempt at it: a part that is
//! sent again has other blocks, so that what an attempt left behind, or one that runs at the same time, never mixes with
//! another's. Which attempt counts is written down elsewhere, once all of it is there.

use crate::error::{Error, Kind, Result};
use crate::storage::condition::Span;
use crate::storage::op::{BlockId, BlockState};

const UPLOAD_BYTES: usize = 8;
/// What the number of an object's one part is that was not sent in parts.
pub const WHOLE: u16 = 0;

/// An upload's id, as the machine draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadId([u8; UPLOAD_BYTES]);

/// One attempt to store a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(pub u32);

impl UploadId {
    pub fn new(random: u64) -> Self {
        Self(random.to_be_bytes())
    }

    pub fn parse(text: &str) -> Result<Self> {
        let digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = (digits && text.len() == UPLOAD_BYTES * 2)
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten();
        number.map(Self::new).ok_or_else(no_upload)
    }

    pub fn text(self) -> Box<str> {
        format!("{:016x}", u64::from_be_bytes(self.0)).into()
    }

    /// The name of one block. All names have one length, as stores demand.
    pub fn block(self, part: u16, slice: u16, attempt: Attempt) -> BlockId {
        let mut id = self.0.to_vec();
        id.extend_from_slice(&part.to_be_bytes());
        id.extend_from_slice(&slice.to_be_bytes());
        id.extend_from_slice(&attempt.0.to_be_bytes());
        BlockId(id.into())
    }

    /// So many blocks of one part, to make an object of. Not the latest of their names: of the object that is there
    /// now, none is meant.
    pub fn blocks(self, part: u16, count: u16, attempt: Attempt) -> Vec<(BlockId, BlockState)> {
        let blocks = (0..count).map(|slice| self.block(part, slice, attempt));
        blocks
            .map(|block| (block, BlockState::Uncommitted))
            .collect()
    }
}

/// `span` of some bytes, in pieces of at most `bytes_max`, in order.
pub fn cut(span: Option<Span>, bytes_max: u64) -> impl Iterator<Item = Span> {
    let mut rest = span;
    std::iter::from_fn(move || {
        let left = rest?;
        let last = left.last.min(left.first.saturating_add(bytes_max - 1));
        rest = (last < left.last).then(|| Span {
            first: last + 1,
            last: left.last,
        });
        Some(Span {
            first: left.first,
            last,
        })
    })
}

/// All of so many bytes.
pub fn whole(length: u64) -> Option<Span> {
    Some(Span {
        first: 0,
        last: length.checked_sub(1)?,
    })
}

/// Of an upload that was never begun, was aborted, or was completed.
pub fn no_upload() -> Error {
    let message = "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    Error::new(Kind::UploadNotFound, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_that_nobody_gave_out_is_no_upload() {
        assert_eq!(
            &*UploadId::parse("00112233445566ff").unwrap().text(),
            "00112233445566ff"
        );
        for text in [
            "",
            "x",
            "00112233445566fF",
            "00112233445566ff0",
            "+0112233445566ff",
        ] {
            let refused = UploadId::parse(text).unwrap_err();
            assert_eq!(refused.kind(), Kind::UploadNotFound, "{text}");
        }
    }

    #[test]
    fn nothing_is_cut_into_nothing() {
        assert_eq!(cut(whole(0), 4).count(), 0);
    }

    proptest! {
        #[test]
        fn names_differ_and_have_one_length(
            one: (u64, u16, u16, u32), other: (u64, u16, u16, u32),
        ) {
            let name = |(upload, part, slice, attempt)| {
                UploadId::new(upload).block(part, slice, Attempt(attempt)).0
            };
            prop_assert_eq!(name(one).len(), name(other).len());
            prop_assert_eq!(name(one) == name(other), one == other);
        }

        #[test]
        fn slices_are_the_whole_in_order_and_none_is_too_large(
            first in 0u64..100, length in 1u64..200, most in 1u64..50,
        ) {
            let span = Span { first, last: first + length - 1 };
            let mut next = first;
            for slice in cut(Some(span), most) {
                prop_assert_eq!(slice.first, next);
                prop_assert!((1..=most).contains(&slice.length()));
                next = slice.last + 1;
            }
            prop_assert_eq!(next, first + length);
            prop_assert_eq!(cut(Some(span), most).count() as u64, length.div_ceil(most));
        }
    }
}
