//! The copy of the last config that was applied, for starting when the real one does not check.
//!
//! It holds the files as they are, so secrets only as references or sealed, readable by the owner alone. Each file is
//! replaced by rename, and a file whose text is the same is left alone, so that a changed key costs one write.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::source::{Loader, SourceSet};

const NAME: &str = "last-good";

/// Where the copy is.
pub(super) fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// Reads the copy, if there is one.
pub(super) fn load(
    state_dir: &Path,
    credentials: Option<PathBuf>,
    now: Timestamp,
) -> Option<SourceSet> {
    let dir = dir(state_dir);
    dir.is_dir()
        .then(|| Loader::new(&dir, credentials).read(now))
}

/// Makes the copy hold `files` of `from` and nothing else.
pub(super) fn save(state_dir: &Path, from: &Path, files: &[PathBuf]) -> io::Result<()> {
    let to = dir(state_dir);
    for file in files {
        let Ok(name) = file.strip_prefix(from) else {
            continue;
        };
        copy(file, &to.join(name))?;
    }
    for part in [
        "",
        "conf.d",
        "keys.d",
        "managed.d",
        "managed.d/repositories",
        "managed.d/resources",
    ] {
        remove_others(&to.join(part), &to, from, files)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let text = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let Some(parent) = to.parent() else {
        return Ok(());
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)?;
    let temporary = to.with_extension("toml.tmp");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&temporary, to)
}

fn remove_others(dir: &Path, to: &Path, from: &Path, files: &[PathBuf]) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let Ok(name) = path.strip_prefix(to) else {
            continue;
        };
        if path.is_file() && files.binary_search(&from.join(name)).is_err() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
