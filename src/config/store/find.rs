//! Which file holds a key, and whether it may be written.
//!
//! A key that we made is found by its file's name; any other where the last load had it, else by reading the files. Only files of the config
//! directory are ever written, after following every link: what is linked in from elsewhere (a git checkout, a
//! mounted secret) is changed where it is kept.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::change::Held;
use super::{KEYS_DIR, KeyStore, Located, StoreError, degraded, disk, edit};
use crate::keys::file;

/// Where a person's files are, in the order in which a key is looked for.
pub(super) const HUMAN_DIRS: [&str; 4] = [
    "conf.d",
    "managed.d",
    "managed.d/repositories",
    "managed.d/resources",
];

/// The file that holds what is about the process.
pub(super) const ROOT_FILE: &str = "aqueduct.toml";

/// A file that holds a key.
pub(super) struct Found {
    /// As the loader knows it.
    pub(super) path: PathBuf,
    pub(super) place: Located,
    /// The whole of it, as it was read.
    pub(super) text: String,
    /// Without the checksum line.
    pub(super) body: String,
    checksummed: bool,
}

impl Found {
    pub(super) fn new(
        path: &Path,
        place: Located,
        text: String,
        body: &str,
        checksummed: bool,
    ) -> Self {
        Self {
            path: path.to_owned(),
            place,
            body: body.to_owned(),
            text,
            checksummed,
        }
    }

    /// The text to write for a changed body.
    pub(super) fn close(&self, body: String) -> String {
        if self.checksummed {
            file::with_checksum(&body)
        } else {
            body
        }
    }
}

impl KeyStore {
    pub(super) fn locate(
        &self,
        held: &Held<'_>,
        repository: &str,
        id: Uuid,
    ) -> Result<Option<Found>, StoreError> {
        let keys = self.live.dir().join(KEYS_DIR);
        let own = keys.join(file_name(repository, id));
        if let Some(found) = self.look_in(&own, id)? {
            return Ok(Some(found));
        }
        // Where the last load had it.
        if let Some((document, _)) = held.writer.written_key(id)
            && let Some(found) = self.look_in(&document.path, id)?
        {
            return Ok(Some(found));
        }
        let named = |path: &PathBuf| is_named(path, id);
        let in_keys = toml_files(&keys)?;
        let mut paths: Vec<PathBuf> = in_keys.iter().filter(|path| named(path)).cloned().collect();
        for part in HUMAN_DIRS {
            paths.append(&mut toml_files(&self.live.dir().join(part))?);
        }
        paths.push(self.live.dir().join(ROOT_FILE));
        paths.extend(in_keys.into_iter().filter(|path| !named(path)));
        for path in paths {
            if let Some(found) = self.look_in(&path, id)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether a file of `keys.d` has the key's id as its name, whatever is in it.
    pub(super) fn is_filed(&self, id: Uuid) -> Result<bool, StoreError> {
        let files = toml_files(&self.live.dir().join(KEYS_DIR))?;
        Ok(files.iter().any(|path| is_named(path, id)))
    }

    /// `aqueduct.toml`, with the path to write it to.
    pub(super) fn root_file(&self) -> Result<(Found, PathBuf), StoreError> {
        let path = self.live.dir().join(ROOT_FILE);
        let text = disk::read(&path).map_err(degraded("cannot read aqueduct.toml"))?;
        let found = Found {
            place: Located {
                file: ROOT_FILE.into(),
                line: 1,
            },
            body: text.clone(),
            text,
            path,
            checksummed: false,
        };
        let target = self.writable(&found)?;
        Ok((found, target))
    }

    fn look_in(&self, path: &Path, id: Uuid) -> Result<Option<Found>, StoreError> {
        let text = match disk::read(path) {
            Ok(text) => text,
            // Not there, or not ours to read: then it is not where the key came from.
            Err(error) if error.kind() == io::ErrorKind::NotFound || disk::is_refusal(&error) => {
                return Ok(None);
            }
            Err(source) => return Err(degraded("cannot read the config")(source)),
        };
        if !text.to_ascii_lowercase().contains(&id.to_string()) {
            return Ok(None);
        }
        let checksummed = path.starts_with(self.live.dir().join(KEYS_DIR));
        let body = if checksummed {
            match file::verify(&text) {
                Ok(body) => body,
                Err(_) => return Ok(None),
            }
        } else {
            &text
        };
        // A file that does not parse is the loader's to report; the key that runs came from another.
        let Ok(Some(line)) = edit::find(body, id) else {
            return Ok(None);
        };
        Ok(Some(Found {
            path: path.to_owned(),
            place: Located {
                file: self.relative(path),
                line,
            },
            body: body.to_owned(),
            text,
            checksummed,
        }))
    }

    /// The file to replace: inside the config directory, after all links, and ours to write. What a person keeps may
    /// be read-only on purpose; that `keys.d` is means that something is wrong.
    pub(super) fn writable(&self, found: &Found) -> Result<PathBuf, StoreError> {
        let read_only = || StoreError::ReadOnly(found.place.clone());
        let target = found.path.canonicalize().map_err(|_| read_only())?;
        let access = rustix::fs::Access::WRITE_OK;
        let parent = target.parent().ok_or_else(read_only)?;
        if !target.starts_with(&self.root()?) {
            return Err(read_only());
        }
        let may_write =
            rustix::fs::access(&target, access).and_then(|()| rustix::fs::access(parent, access));
        match may_write {
            Ok(()) => Ok(target),
            Err(errno) if found.checksummed => {
                Err(degraded("cannot write the key's file")(errno.into()))
            }
            Err(_) => Err(read_only()),
        }
    }
}

fn is_named(path: &Path, id: Uuid) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.ends_with(&format!("--{id}.toml")))
}

pub(super) fn toml_files(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(degraded("cannot read the config directory")(source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(degraded("cannot read the config directory"))?
            .path();
        let is_toml = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_toml && !is_hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Names are slugs and ids are uuids, so this is one plain file name.
pub(super) fn file_name(repository: &str, id: Uuid) -> String {
    format!("{repository}--{id}.toml")
}
