//! `aqueduct audit`: whether the log of what was changed is whole.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Failed, Streams};
use crate::config::live;
use crate::telemetry::audit::Audit;
use crate::telemetry::audit::verify;

pub(super) fn verify(
    dir: &Path,
    file: Option<PathBuf>,
    now: fn() -> Timestamp,
    streams: &mut Streams<'_>,
) -> Result<(), Failed> {
    let files = match file {
        Some(file) => vec![file],
        None => Audit::new(&live::state_dir_of(dir, now())).files()?,
    };
    let whole = verify::verify(&files).map_err(|fault| Failed::because(fault.to_string()))?;
    for place in &whole.torn {
        writeln!(
            streams.stderr,
            "{place}: a crash cut this line short; it is no part of the log"
        )?;
    }
    if whole.lines > 0 && whole.first > 1 {
        writeln!(
            streams.stderr,
            "The log begins with line {}: older files are not here.",
            whole.first
        )?;
    }
    if whole.lines > 0 && !whole.has_head {
        writeln!(
            streams.stderr,
            "There is no audit.head beside the log: lines missing at its end are not noticed."
        )?;
    }
    writeln!(
        streams.stdout,
        "{} lines, {} to {}, sha256:{}",
        whole.lines, whole.first, whole.last, whole.hash
    )?;
    Ok(())
}
