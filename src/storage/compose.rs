//! What takes several requests at a store: the decisions, as pure functions.
//!
//! What to send next given what was told, what adds up and what does not. The requests themselves are run one behind the
//! other by whoever does I/O; nothing here reads a clock or draws a random number.

pub mod blocks;
pub mod copy;
pub mod delete;
pub mod journal;
pub mod parts;
pub mod uploads;
