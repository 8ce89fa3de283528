//! What a target can do in one request, and up to which sizes: data that [`super::plan`] decides by.
//!
//! A capability belongs to a target: to its protocol, and to what is known of the resource. It is what the store does,
//! not what its codec happens to have been written for: a codec that is given what its capability excludes refuses it.

use super::op::Family;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// `bytes=-n`.
    pub suffix_ranges: Native,
    /// A read by the number of a part.
    pub part_reads: Native,
    /// `ETag`s and dates of a read, as clients know them.
    pub read_conditions: Native,
    /// A write only where there is no object.
    pub write_if_absent: Native,
    /// A write only over the object with an ETag that clients know.
    pub write_if_match: Native,
    /// A delete under such a condition.
    pub delete_if_match: Native,
    /// An upload in pieces that is completed under conditions.
    pub complete_if: Native,
    /// A copy between two keys under one credential.
    pub copies: Native,
    /// A piece from another object's bytes.
    pub piece_copies: Native,
    /// What is stored beside an object changes without its bytes.
    pub sets_attributes: Native,
    pub tags: Native,
    /// They change without the object.
    pub sets_tags: Native,
    /// Old versions of objects are kept, named and listed.
    pub versions: Native,
    /// A bucket that holds something is not deleted.
    pub keeps_full_buckets: Native,
    /// Listings of uploads under way.
    pub lists_uploads: Native,
    pub uploads: Family,
    /// What an upload in parts was made of is told of its object.
    pub keeps_parts: Native,
    /// Objects in one batch delete; 1 where there is none.
    pub delete_batch_max: usize,
    /// An object that is stored in one request.
    pub put_bytes_max: u64,
    /// A copy in one request.
    pub copy_bytes_max: u64,
    /// A piece of an upload.
    pub piece_bytes_max: u64,
    pub pieces_max: u32,
    /// An object, however it was stored.
    pub object_bytes_max: u64,
    /// Entries of one page.
    pub page_max: u32,
    /// Whether a body's length must be known beforehand.
    pub needs_length: bool,
    /// An ETag that looks like the MD5 of the object's bytes is that.
    pub md5_etags: bool,
}

/// Whether a target does something by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// In the one request.
    Yes,
    /// After it was looked at: what was found is pinned by the upstream's own mark, so that it is still one step.
    Pinned,
    /// Made of other requests by a machine of ours.
    Composed,
    /// Not at all.
    No,
}
