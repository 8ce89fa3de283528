//! The decisions of what takes several requests: one file for each machine of the plan.
//!
//! Pure, as the codecs: from what was asked and what was told so far to what is sent next, or to the answer. Nothing here
//! waits, and nothing runs at once; the requests are sent, in their order and as many at a time as is said here, by
//! `proxy::translate::compose`.

pub mod blocks;
pub mod copy;
pub mod delete;
pub mod journal;
pub mod notes;
pub mod parts;
pub mod uploads;
