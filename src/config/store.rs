//! The key store: the one way in which keys are made, changed and deleted, for the admin API and the command
//! line alike, with or without a running server.
//!
//! The files are the store. A change takes the directory's lock, looks at the disk again, edits the one file that
//! holds the key, checks the whole set as it would be, and only then renames the new file into place; what was
//! checked is what is installed. A key that we make gets a file of its own in `keys.d`, named by its repository
//! and id; a key that a person wrote is edited where it stands, with everything around it left alone.
//!
//! A deleted key stays in its file as a record without its secret. Its id goes to `revoked.ids` first, so that
//! it is refused at once and stays refused whatever becomes of the file.

mod change;
mod delete;
mod disk;
mod edit;
mod error;
mod find;
mod make;
mod request;
mod reseal;
mod rotate;
mod rules;
mod step;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::live::{self, Live};
use super::snapshot::KeyEntry;
use crate::keys::{Family, file};
use crate::secret::Secret;
use crate::telemetry::audit::{Audit, Record};
use change::{Change, record_of};
pub use delete::Deleted;
use edit::EditError;
pub use error::{Located, StoreError};
use error::{degraded, invalid};
pub use request::{Caller, KeyRef, NewKey, NewKind, NewToken, Patch, RepositoryRef};
pub use rotate::Rotation;
pub use rules::{LIST_ENTRIES_MAX, NAME_CHARS_MAX, access_word, ai_type_word, etag, last_used_at};
use step::{Step, reached};

/// Where keys that we make are kept, under the config directory.
const KEYS_DIR: &str = "keys.d";

/// Fills a buffer with random bytes.
pub type Random = fn(&mut [u8]) -> io::Result<()>;

/// Revokes a key while the config cannot be loaded. Its secret stays in its file until it can.
pub fn revoke_unloaded(dir: &Path, id: Uuid, now: Timestamp) -> io::Result<()> {
    disk::adopt(&live::revoke_in(dir, id, now)?)
}

/// Random bytes of the operating system.
pub fn os_random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}

/// A key that was just made: the only time that its secret is shown.
#[derive(Debug)]
pub struct Created {
    pub id: Uuid,
    pub key: String,
    pub secret: Secret,
    /// Relative to the config directory.
    pub file: PathBuf,
}

/// See the module's documentation.
pub struct KeyStore {
    live: Arc<Live>,
    audit: Audit,
    random: Random,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("dir", &self.live.dir())
            .finish_non_exhaustive()
    }
}

impl KeyStore {
    pub fn new(live: Arc<Live>, audit: Audit, random: Random) -> Self {
        Self {
            live,
            audit,
            random,
        }
    }

    /// Removes what writers left that were cut off. Done once, at start.
    pub fn sweep(&self) -> Result<Vec<PathBuf>, StoreError> {
        self.noted(self.try_sweep())
    }

    fn try_sweep(&self) -> Result<Vec<PathBuf>, StoreError> {
        let _held = self.hold()?;
        let dir = self.live.dir();
        let mut swept = disk::sweep(dir).map_err(degraded("cannot sweep"))?;
        for part in find::HUMAN_DIRS.iter().chain([&KEYS_DIR]) {
            let mut more = disk::sweep(&dir.join(part)).map_err(degraded("cannot sweep"))?;
            swept.append(&mut more);
        }
        Ok(swept)
    }

    /// All keys that are not deleted, by their repository, newest first.
    pub fn by_repository(&self) -> HashMap<Uuid, Vec<KeyEntry>> {
        let mut all: HashMap<Uuid, Vec<KeyEntry>> = HashMap::new();
        for entry in rules::entries(&self.live.current()) {
            all.entry(entry.repository.id)
                .or_default()
                .push(entry.clone());
        }
        for keys in all.values_mut() {
            rules::sort(keys);
        }
        all
    }

    /// The keys of a repository that are not deleted, newest first.
    pub fn list(
        &self,
        repository: RepositoryRef<'_>,
        family: Option<Family>,
    ) -> Result<Vec<KeyEntry>, StoreError> {
        let snapshot = self.live.current();
        let repository = rules::find_repository(&snapshot, repository)?;
        let mut keys: Vec<KeyEntry> = rules::entries(&snapshot)
            .filter(|entry| entry.repository.id == repository.id)
            .filter(|entry| family.is_none_or(|family| entry.key.family == family))
            .cloned()
            .collect();
        rules::sort(&mut keys);
        Ok(keys)
    }

    /// Makes a key.
    pub fn create(
        &self,
        repository: RepositoryRef<'_>,
        new: &NewKey,
        caller: &Caller,
    ) -> Result<Created, StoreError> {
        rules::check_new(new)?;
        let mut held = self.hold()?;
        let snapshot = self.fresh(&mut held)?;
        let repository = rules::find_repository(&snapshot, repository)?;
        reached(Step::Matched);
        let id = uuid::Builder::from_random_bytes(self.entropy()?).into_uuid();
        let made = self.generate(new, repository, id)?;
        let text = file::with_checksum(&make::render(new, repository, id, &made, caller));
        let path = self.new_path(&repository.name, id)?;
        let file = self.relative(&path);
        let change = Change {
            path: &path,
            target: &path,
            before: None,
            text: &text,
            record: Record {
                event: "apikey.created",
                after: Some(rules::whitelisted_new(new, &made.shown.key)),
                config_generation: Some(snapshot.generation),
                file: Some(file.display().to_string()),
                ..record_of(new.family(), id, Some(repository.id))
            },
        };
        self.apply(&mut held, &change, caller)?;
        Ok(Created {
            id,
            key: made.shown.key,
            secret: made.shown.secret,
            file,
        })
    }

    /// Changes a key's name or access.
    pub fn update(
        &self,
        which: &KeyRef<'_>,
        patch: &Patch,
        caller: &Caller,
    ) -> Result<KeyEntry, StoreError> {
        if let Some(name) = &patch.name {
            rules::check_name(name)?;
        }
        let mut held = self.hold()?;
        let snapshot = self.fresh(&mut held)?;
        let entry = rules::find_key(&snapshot, which)?;
        rules::check_match(&entry.key, which.if_match)?;
        rules::check_patch(patch, &entry.key)?;
        reached(Step::Matched);
        let found = self.locate(&held, &entry.key.repository, entry.key.id)?;
        let found = found.ok_or(StoreError::KeyNotFound)?;
        let target = self.noted(self.writable(&found))?;
        let access = patch.access.map(access_word);
        let fields = edit::Change {
            name: patch.name.as_deref(),
            access,
        };
        let body = edit::change(&found.body, which.id, fields)
            .map_err(|error| StoreError::Internal(format!("{}: {error}", found.place)))?;
        if body == found.body {
            return Ok(entry.clone());
        }
        let record = Record {
            event: "apikey.updated",
            before: Some(rules::whitelisted(&entry.key)),
            after: Some(json!({ "name": patch.name, "access": access })),
            config_generation: Some(snapshot.generation),
            file: Some(found.place.file.display().to_string()),
            ..record_of(entry.key.family, which.id, Some(entry.repository.id))
        };
        let change = Change {
            path: &found.path,
            target: &target,
            before: Some(&found.text),
            text: &found.close(body),
            record,
        };
        self.apply(&mut held, &change, caller)?;
        rules::find_key(&self.live.current(), which).cloned()
    }

    /// Makes an admin token known, in `aqueduct.toml`.
    pub fn add_admin_token(&self, new: &NewToken<'_>, caller: &Caller) -> Result<(), StoreError> {
        rules::check_name(new.name)?;
        let mut held = self.hold()?;
        let snapshot = self.fresh(&mut held)?;
        let (found, target) = self.root_file()?;
        let text = edit::add_token(&found.body, new).map_err(|error| match error {
            EditError::NameTaken => invalid(error.to_string()),
            EditError::Syntax | EditError::NotFound | EditError::Form(_) => {
                StoreError::Internal(format!("{}: {error}", found.place))
            }
        })?;
        let record = Record {
            event: "admintoken.created",
            context: "admintoken",
            config_generation: Some(snapshot.generation),
            file: Some(found.place.file.display().to_string()),
            after: Some(json!({ "name": new.name, "role": new.role })),
            ..Record::default()
        };
        let change = Change {
            path: &found.path,
            target: &target,
            before: Some(&found.text),
            text: &text,
            record,
        };
        self.apply(&mut held, &change, caller)
    }

    fn entropy<const N: usize>(&self) -> Result<[u8; N], StoreError> {
        let mut bytes = [0; N];
        (self.random)(&mut bytes).map_err(degraded("no random bytes"))?;
        Ok(bytes)
    }

    /// Where a new key's file goes.
    fn new_path(&self, repository: &str, id: Uuid) -> Result<PathBuf, StoreError> {
        let dir = self.live.dir().join(KEYS_DIR);
        disk::private_dir(&dir).map_err(degraded("cannot make keys.d"))?;
        let dir = dir
            .canonicalize()
            .map_err(degraded("cannot resolve keys.d"))?;
        if !dir.starts_with(&self.root()?) {
            return Err(StoreError::ReadOnly(Located {
                file: KEYS_DIR.into(),
                line: 1,
            }));
        }
        Ok(self
            .live
            .dir()
            .join(KEYS_DIR)
            .join(find::file_name(repository, id)))
    }

    fn root(&self) -> Result<PathBuf, StoreError> {
        self.live
            .dir()
            .canonicalize()
            .map_err(degraded("cannot resolve the config directory"))
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.live.dir())
            .unwrap_or(path)
            .to_owned()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_support;
