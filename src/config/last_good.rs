//! The copy of the last config that was applied, for starting when the real one does not check.
//!
//! It holds the files as they are, so secrets only as references or sealed, readable by the owner alone. Each file is
//! replaced by rename, and a file whose text is the same is left alone, so that a changed key costs one write.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::parse::Document;
use super::source::{Difference, Loader, SourceSet};

const NAME: &str = "last-good";

/// Where the copy is.
pub(super) fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// Reads the copy, if there is one.
pub(super) fn load(
    state_dir: &Path,
    original: &Path,
    credentials: Option<PathBuf>,
    now: Timestamp,
) -> Option<SourceSet> {
    let dir = dir(state_dir);
    dir.is_dir()
        .then(|| Loader::of_copy(&dir, original, credentials).read(now))
}

/// What the copy holds, so that only changes are written.
#[derive(Debug, Default)]
pub(super) struct Copied {
    hash: Box<str>,
    documents: Arc<[Arc<Document>]>,
    /// What was in the copy before this process is known to be gone.
    is_swept: bool,
}

impl Copied {
    /// Makes the copy hold what `set` holds. A key file that is bad now is left as it was when it was good.
    pub(super) fn update(
        &mut self,
        state_dir: &Path,
        from: &Path,
        set: &SourceSet,
    ) -> io::Result<()> {
        if self.hash == set.hash {
            return Ok(());
        }
        let to = dir(state_dir);
        let Difference { gone, came } = Difference::between(&self.documents, &set.documents);
        let named =
            |document: &Document| document.path.strip_prefix(from).map(|name| to.join(name));
        for document in &came {
            if let Ok(copied) = named(document) {
                copy(&document.path, &copied)?;
            }
        }
        if self.is_swept {
            let stays: HashSet<&Path> = came.iter().map(|document| &*document.path).collect();
            for document in gone.iter().filter(|one| !stays.contains(&*one.path)) {
                if let Ok(copied) = named(document) {
                    remove(&copied)?;
                }
            }
        } else {
            let stays: HashSet<PathBuf> = set
                .documents
                .iter()
                .filter_map(|document| named(document).ok())
                .collect();
            for part in DIRECTORIES {
                remove_others(&to.join(part), &stays)?;
            }
            self.is_swept = true;
        }
        self.documents = Arc::clone(&set.documents);
        self.hash.clone_from(&set.hash);
        Ok(())
    }
}

fn remove_others(dir: &Path, stays: &HashSet<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if !stays.contains(&path) && path.is_file() {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

const DIRECTORIES: &[&str] = &[
    "",
    "conf.d",
    "keys.d",
    "managed.d",
    "managed.d/repositories",
    "managed.d/resources",
];

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
