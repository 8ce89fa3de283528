//! The copy of the last config that was applied, for starting when the real one does not check.
//!
//! It holds the files as they are, so secrets only as references or sealed, readable by the owner alone. Each file is
//! replaced by rename, and a file whose text is the same is left alone, so that a changed key costs one write.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::parse::Document;
use super::source::{Loader, SourceSet};

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
    documents: HashMap<PathBuf, Arc<Document>>,
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
        for document in &set.documents {
            let known = self.documents.get(&document.path);
            let Ok(name) = document.path.strip_prefix(from) else {
                continue;
            };
            if known.is_none_or(|known| !Arc::ptr_eq(known, document)) {
                copy(&document.path, &to.join(name))?;
            }
        }
        self.documents = set
            .documents
            .iter()
            .map(|document| (document.path.clone(), Arc::clone(document)))
            .collect();
        for part in DIRECTORIES {
            self.remove_others(&to.join(part), &to, from)?;
        }
        self.hash.clone_from(&set.hash);
        Ok(())
    }

    fn remove_others(&self, dir: &Path, to: &Path, from: &Path) -> io::Result<()> {
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
            if path.is_file() && !self.documents.contains_key(&from.join(name)) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
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
