//! Config as code: TOML files in a directory, checked whole, compiled into one immutable [`snapshot`].

pub mod snapshot;
