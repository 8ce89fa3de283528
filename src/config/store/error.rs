//! Why a change of a key was not made.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::config::diagnostic::Report;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no such repository")]
    RepositoryNotFound,
    #[error("there is no such key")]
    KeyNotFound,
    /// What was asked for is not valid.
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unsupported(String),
    /// The config would not be valid with this change.
    #[error("the config would not be valid")]
    Rejected(Report),
    /// The config on disk is not valid now, so nothing is written.
    #[error("the config on disk is not valid; nothing was written")]
    Conflict(Report),
    /// Somebody else is changing the files; nothing was written.
    #[error("the config is being changed by somebody else; nothing was written, try again")]
    Busy,
    #[error("the key was changed meanwhile")]
    Stale,
    #[error("{0} cannot be written by Aqueduct; change it where it is kept")]
    ReadOnly(Located),
    /// The disk or the audit log cannot be written.
    #[error("{what}: {source}")]
    Degraded {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Internal(String),
}

/// A place in the config directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Relative to the config directory.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

pub(super) fn invalid(what: impl Into<String>) -> StoreError {
    StoreError::Invalid(what.into())
}

pub(super) fn degraded(what: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Degraded { what, source }
}
