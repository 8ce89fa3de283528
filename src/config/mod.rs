//! Config as code: TOML files in a directory, checked whole, compiled into one immutable [`snapshot`].
//!
//! Files become documents ([`source`], [`parse`]), documents are checked together ([`check`]) and compiled
//! ([`compile`]); [`live`] keeps the running snapshot and replaces it, and [`watch`] tells it when to look.
//! Every problem is a [`diagnostic::Problem`] with its place in a file. Nothing here knows a protocol's code.

pub mod address;
pub mod check;
pub mod compile;
pub mod diagnostic;
mod git;
mod last_good;
pub mod last_used;
pub mod live;
mod mask;
pub mod model;
pub mod parse;
mod revoked;
pub mod secrets;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod units;
pub mod watch;
pub mod words;
