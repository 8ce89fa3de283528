//! The steps of a change by name, so that a test can end the process at each of them.

use crate::sabotage;

/// What was just done of a change, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This process's turn, and the directory's lock.
    Locked,
    /// The disk was looked at.
    Loaded,
    /// The object was found and is the one that the caller knows.
    Matched,
    /// The new text is made.
    Edited,
    /// The whole set was checked with it.
    Checked,
    /// The audit log has the intention.
    Intended,
    /// `revoked.ids` has the key, of a deletion.
    Revoked,
    /// The temporary file is there, empty.
    Created,
    /// It holds the text, synced.
    Synced,
    /// It has the file's name.
    Renamed,
    /// The directory is synced.
    DirSynced,
    /// The new snapshot is served.
    Installed,
    /// The audit log has the outcome.
    Recorded,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Loaded => "loaded",
            Self::Matched => "matched",
            Self::Edited => "edited",
            Self::Checked => "checked",
            Self::Intended => "intended",
            Self::Revoked => "revoked",
            Self::Created => "created",
            Self::Synced => "synced",
            Self::Renamed => "renamed",
            Self::DirSynced => "dir-synced",
            Self::Installed => "installed",
            Self::Recorded => "recorded",
        }
    }
}

/// Notes that a change got to `step`.
pub(super) fn reached(step: Step) {
    sabotage::end_at(step.name());
}
