//! Deleting a key: refusing it at once, then erasing its secret.
//!
//! A deletion waits for no valid config and no writable file: the key's id goes to `revoked.ids`, and what becomes of
//! its file is told.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use uuid::Uuid;

use super::change::{Held, prepare, record_of};
use super::error::degraded;
use super::find::Found;
use super::step::{Step, reached};
use super::{Caller, KeyRef, KeyStore, StoreError, disk, edit, rules};
use crate::config::live::{ReloadOutcome, Trigger};
use crate::keys::Family;
use crate::telemetry::audit::{Outcome, Record};

/// What a deletion could do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Refused from now on, and its secret is gone from its file.
    Erased,
    /// Refused from now on; its file could not be changed, and why.
    Revoked(String),
}

/// A key that is to be deleted.
pub(super) struct Doomed {
    pub(super) family: Family,
    pub(super) repository: Option<Uuid>,
    /// What is known of it.
    pub(super) before: Option<serde_json::Value>,
    /// Where it is written, and the file to replace; or why that cannot be done.
    pub(super) found: Result<(Found, PathBuf), String>,
}

impl Doomed {
    pub(super) fn nowhere<T>() -> Result<T, String> {
        Err("its entry was not found in any file".to_owned())
    }
}

impl KeyStore {
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
        if let Some(found) = self.locate(held, &repository, which.id)? {
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
}
