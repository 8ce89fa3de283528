//! `aqueduct secrets`: what is sealed, as a whole.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::keys::{caller, failed};
use super::{Failed, Streams, load};
use crate::config::store::{KeyStore, os_random};
use crate::telemetry::audit::Audit;

pub(super) fn rotate(
    dir: &Path,
    to: &str,
    is_trial: bool,
    now: fn() -> Timestamp,
    streams: &mut Streams<'_>,
) -> Result<(), Failed> {
    let live = load(dir, now)?;
    let audit = Audit::new(&live.current().process.state_dir);
    let store = KeyStore::new(Arc::clone(&live), audit, os_random);
    let done = store.rotate(to, is_trial, &caller(now)).map_err(failed)?;
    for (file, count) in &done.files {
        let values = plural(*count, "value");
        writeln!(streams.stdout, "{}: {values}", file.display())?;
    }
    let (sealed, files) = (done.sealed(), plural(done.files.len(), "file"));
    let would = if is_trial { "would be" } else { "were" };
    if sealed == 0 && done.refused.is_empty() {
        let values = plural(done.already, "sealed value");
        writeln!(streams.stderr, "Nothing to do: {values}, all under `{to}`.")?;
    } else {
        let values = plural(sealed, "value");
        writeln!(
            streams.stderr,
            "{values} in {files} {would} sealed again under `{to}`; {} already.",
            done.already
        )?;
    }
    let masters = live.masters();
    if let Some(first) = masters.sealing_id()
        && first != to
    {
        writeln!(
            streams.stderr,
            "New secrets are still sealed under `{first}`: put `{to}` first in [[secrets.master]]."
        )?;
    }
    if done.refused.is_empty() {
        return Ok(());
    }
    for (place, why) in &done.refused {
        writeln!(streams.stderr, "{place}: {why}")?;
    }
    let values = plural(done.refused.len(), "value");
    Err(Failed::because(format!(
        "{values} could not be sealed again; the old master key is still needed"
    )))
}

fn plural(count: usize, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {what}{end}")
}
