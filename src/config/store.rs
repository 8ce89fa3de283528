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

mod disk;
mod edit;
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

use super::diagnostic::Report;
use super::live::{self, Live, Prepared, ReloadOutcome, Trigger, Writer};
use super::snapshot::{KeyEntry, Snapshot};
use super::source::Overlay;
use crate::keys::{Family, file};
use crate::secret::Secret;
use crate::telemetry::audit::{Audit, Outcome, Record};
use edit::EditError;
use find::Found;
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

/// What a deletion could do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Refused from now on, and its secret is gone from its file.
    Erased,
    /// Refused from now on; its file could not be changed, and why.
    Revoked(String),
}

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

/// See the module's documentation.
pub struct KeyStore {
    live: Arc<Live>,
    audit: Audit,
    random: Random,
}

/// The right to write, against this process's reloads and writers and against other processes' writers.
struct Held<'a> {
    writer: Writer<'a>,
    _lock: disk::Lock,
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
        let found = self.locate(&entry.key.repository, entry.key.id)?;
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

    /// Deletes a key: refuses it from now on, then erases its secret from its file.
    ///
    /// That it is not served now, because its repository left the config or its file is damaged, protects no key:
    /// what a file holds may be served again.
    pub fn delete(&self, which: &KeyRef<'_>, caller: &Caller) -> Result<Deleted, StoreError> {
        let mut held = self.hold()?;
        self.live.refresh_revoked();
        let mut known = self.doomed(&held, which);
        if known.is_err() || which.if_match.is_some() {
            // It may have come, or been changed, since the last look. Otherwise nothing is waited for.
            held.writer.reload_quiet(Trigger::Write);
            known = self.doomed(&held, which);
        }
        reached(Step::Loaded);
        let doomed = known?;
        reached(Step::Matched);
        let file = doomed
            .found
            .as_ref()
            .ok()
            .map(|(found, _)| &found.place.file);
        let record = Record {
            event: "apikey.deleted",
            before: doomed.before,
            config_generation: Some(self.live.load().generation),
            file: file.map(|file| file.display().to_string()),
            ..record_of(doomed.family, which.id, doomed.repository)
        };
        let intended = self.noted(self.intend(&record, caller))?;
        let revoked = self
            .live
            .revoke(which.id)
            .and_then(|()| disk::adopt(self.live.revoked_path()));
        if let Err(source) = revoked {
            self.close(&record, caller, intended, Outcome::Failed("DEGRADED"));
            let degraded = degraded("cannot write revoked.ids")(source);
            return self.noted(Err(degraded));
        }
        reached(Step::Revoked);
        let erased = match &doomed.found {
            Ok(place) => self.erase(&mut held, place, which.id, caller.now),
            Err(why) => Err(why.clone()),
        };
        match erased {
            Ok(()) => {
                self.close(&record, caller, intended, Outcome::Ok);
                Ok(Deleted::Erased)
            }
            Err(why) => {
                tracing::error!(key = %which.id, why, "a revoked key's file could not be changed");
                self.close(&record, caller, intended, Outcome::Failed("REVOKED_ONLY"));
                Ok(Deleted::Revoked(why))
            }
        }
    }

    /// The key that a deletion names: one that is served, or one that a file holds.
    fn doomed(&self, held: &Held<'_>, which: &KeyRef<'_>) -> Result<Doomed, StoreError> {
        let snapshot = self.live.current();
        let (mut doomed, repository) = match rules::find_key(&snapshot, which) {
            Ok(entry) => {
                rules::check_match(&entry.key, which.if_match)?;
                let doomed = Doomed {
                    family: entry.key.family,
                    repository: Some(entry.repository.id),
                    before: Some(rules::whitelisted(&entry.key)),
                    found: Doomed::nowhere(),
                };
                (doomed, entry.key.repository.to_string())
            }
            Err(missing) => match held.writer.written_key(which.id) {
                Some((_, written)) => {
                    let doomed = rules::written_doomed(&snapshot, which, &written)?;
                    (doomed, written.repository.get_ref().clone())
                }
                None => return self.filed(which.id).ok_or(missing),
            },
        };
        if let Some(found) = self.locate(&repository, which.id)? {
            doomed.found = match self.noted(self.writable(&found)) {
                Ok(target) => Ok((found, target)),
                // Where it is kept, it is to be deleted too.
                Err(error @ StoreError::ReadOnly(_)) => return Err(error),
                Err(error) => Err(error.to_string()),
            };
        }
        Ok(doomed)
    }

    /// A key of which only the name of its file is known.
    fn filed(&self, id: Uuid) -> Option<Doomed> {
        let is_filed = self.is_filed(id).unwrap_or(false);
        let is_news = is_filed && !self.live.is_revoked(id);
        is_news.then_some(Doomed {
            family: Family::Storage,
            repository: None,
            before: None,
            found: Doomed::nowhere(),
        })
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

    /// Erases a revoked key's secret. Done even while some other file is not valid: it makes nothing worse.
    fn erase(
        &self,
        held: &mut Held<'_>,
        (found, target): &(Found, PathBuf),
        id: Uuid,
        now: Timestamp,
    ) -> Result<(), String> {
        let why = |error: &dyn fmt::Display| format!("{}: {error}", found.place.file.display());
        let body = edit::erase(&found.body, id, now).map_err(|error| why(&error))?;
        let text = found.close(body);
        reached(Step::Edited);
        let prepared = match held.writer.reload_quiet(Trigger::Write) {
            // What else is wrong with the file was wrong before.
            Some(ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. }) => {
                prepare(held, &found.path, &text).ok()
            }
            Some(ReloadOutcome::Failed(_)) | None => None,
        };
        reached(Step::Checked);
        let random = self.entropy().map_err(|error| why(&error))?;
        let random = u64::from_be_bytes(random);
        disk::replace(target, Some(&found.text), &text, random).map_err(|error| {
            if !disk::is_moved(&error) {
                self.live.metrics().admin_writable(false);
            }
            why(&error)
        })?;
        if let Some(prepared) = prepared {
            held.writer.install(prepared);
            reached(Step::Installed);
        }
        Ok(())
    }

    /// Checks, announces, writes, installs and records one change of one file.
    fn apply(
        &self,
        held: &mut Held<'_>,
        change: &Change<'_>,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        self.noted(self.try_apply(held, change, caller))
    }

    fn try_apply(
        &self,
        held: &mut Held<'_>,
        change: &Change<'_>,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        reached(Step::Edited);
        let prepared = prepare(held, change.path, change.text)?;
        reached(Step::Checked);
        let random = u64::from_be_bytes(self.entropy()?);
        let intended = self.intend(&change.record, caller)?;
        if let Err(source) = disk::replace(change.target, change.before, change.text, random) {
            let (code, error) = if disk::is_moved(&source) {
                ("CONFIG_CONFLICT", StoreError::Busy)
            } else {
                let what = "cannot write the key's file";
                ("DEGRADED", degraded(what)(source))
            };
            self.close(&change.record, caller, intended, Outcome::Failed(code));
            return Err(error);
        }
        held.writer.install(prepared);
        reached(Step::Installed);
        self.close(&change.record, caller, intended, Outcome::Ok);
        Ok(())
    }

    /// Shows in the metrics whether changes can be written, by how one went.
    fn noted<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        match &done {
            Ok(_) => self.live.metrics().admin_writable(true),
            Err(StoreError::Degraded { .. }) => self.live.metrics().admin_writable(false),
            // Refused before it came to writing.
            Err(
                StoreError::RepositoryNotFound
                | StoreError::KeyNotFound
                | StoreError::Invalid(_)
                | StoreError::Unsupported(_)
                | StoreError::Rejected(_)
                | StoreError::Conflict(_)
                | StoreError::Busy
                | StoreError::Stale
                | StoreError::ReadOnly(_)
                | StoreError::Internal(_),
            ) => {}
        }
        done
    }

    fn intend(&self, record: &Record, caller: &Caller) -> Result<u64, StoreError> {
        let intended = self
            .audit
            .write(caller.now, &caller.actor, record, Outcome::Intended, None)
            .map_err(degraded("cannot write the audit log"))?;
        reached(Step::Intended);
        Ok(intended)
    }

    fn close(&self, record: &Record, caller: &Caller, intended: u64, outcome: Outcome<'_>) {
        let closed = self
            .audit
            .write(caller.now, &caller.actor, record, outcome, Some(intended));
        // The change is made, and its intention is on record: failing the caller now would be a lie.
        if let Err(error) = closed {
            tracing::error!(%error, intended, "cannot close a line of the audit log");
        }
        reached(Step::Recorded);
    }

    /// First this process's turn, then the file lock: over NFS a file lock does not part threads.
    fn hold(&self) -> Result<Held<'_>, StoreError> {
        let writer = self.live.writer();
        let lock =
            disk::Lock::take(self.live.dir()).map_err(degraded("cannot lock the config directory"));
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => return self.noted(Err(error)),
        };
        reached(Step::Locked);
        Ok(Held {
            writer,
            _lock: lock,
        })
    }

    /// The config as it is on disk now.
    fn fresh(&self, held: &mut Held<'_>) -> Result<Arc<Snapshot>, StoreError> {
        let outcome = held.writer.reload_quiet(Trigger::Write);
        reached(Step::Loaded);
        match outcome.ok_or(StoreError::Busy)? {
            ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } => Ok(self.live.current()),
            ReloadOutcome::Failed(report) => Err(StoreError::Conflict(report)),
        }
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

fn record_of(family: Family, id: Uuid, repository: Option<Uuid>) -> Record {
    Record {
        context: match family {
            Family::Storage => "apikey",
            Family::Ai => "aillmapikey",
        },
        context_id: Some(id.to_string()),
        repository: repository.map(|id| id.to_string()),
        ..Record::default()
    }
}

/// A key that is to be deleted.
struct Doomed {
    family: Family,
    repository: Option<Uuid>,
    /// What is known of it.
    before: Option<serde_json::Value>,
    /// Where it is written, and the file to replace; or why that cannot be done.
    found: Result<(Found, PathBuf), String>,
}

impl Doomed {
    fn nowhere<T>() -> Result<T, String> {
        Err("its entry was not found in any file".to_owned())
    }
}

struct Change<'a> {
    /// As the loader knows the file.
    path: &'a Path,
    /// The file itself, after all links.
    target: &'a Path,
    /// What the file held when it was edited. `None`: there is none yet.
    before: Option<&'a str>,
    text: &'a str,
    record: Record,
}

/// The whole set with `text` in `path`, if it is good.
fn prepare(held: &mut Held<'_>, path: &Path, text: &str) -> Result<Prepared, StoreError> {
    let overlay = Overlay { path, text };
    held.writer
        .prepare(&[overlay])
        .map_err(StoreError::Rejected)
}

fn invalid(what: impl Into<String>) -> StoreError {
    StoreError::Invalid(what.into())
}

fn degraded(what: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Degraded { what, source }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_support;
