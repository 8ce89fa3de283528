//! Sealing everything again under another master key, while servers run.
//!
//! File by file, each in one step and under the lock, so that an end at any moment leaves files that are whole, and
//! another run goes on where this one stopped: every sealed text names its master. Nothing of the config's meaning
//! changes; a running server that has both masters loads the files as they come and keeps its keys as they are.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::find::Found;
use super::reseal::{self, Owner, Sealed};
use super::step::{Step, reached};
use super::{Caller, KEYS_DIR, KeyStore, Located, StoreError, degraded, disk, find, invalid};
use crate::config::snapshot::Snapshot;
use crate::keys::file;
use crate::keys::seal::{self, Aad, MasterRing};
use crate::telemetry::audit::{Outcome, Record};

/// What a rotation did, or would do.
#[derive(Debug, Default)]
pub struct Rotation {
    /// The files that changed, with the number of texts that were sealed again.
    pub files: Vec<(PathBuf, usize)>,
    /// Texts that were sealed under the wanted master already.
    pub already: usize,
    /// What could not be sealed again, and why not.
    pub refused: Vec<(Located, String)>,
}

impl Rotation {
    /// Texts that were sealed again.
    pub fn sealed(&self) -> usize {
        self.files.iter().map(|(_, count)| count).sum()
    }
}

/// One file's part of a rotation.
struct Work<'a> {
    to: &'a str,
    ring: &'a MasterRing,
    snapshot: &'a Snapshot,
    is_trial: bool,
}

impl KeyStore {
    /// Seals again what is not sealed under the master `to`. A trial only looks.
    pub fn rotate(
        &self,
        to: &str,
        is_trial: bool,
        caller: &Caller,
    ) -> Result<Rotation, StoreError> {
        let snapshot = {
            let mut held = self.hold()?;
            self.fresh(&mut held)?
        };
        let ring = self.live.masters();
        if !ring.has(to) {
            return Err(invalid(format!(
                "there is no master key `{to}` in the config"
            )));
        }
        let work = Work {
            to,
            ring: &ring,
            snapshot: &snapshot,
            is_trial,
        };
        let record = Record {
            event: "secrets.rotated",
            context: "secrets",
            context_id: Some(to.to_owned()),
            ..Record::default()
        };
        let intended = if is_trial {
            None
        } else {
            Some(self.noted(self.intend(&record, caller))?)
        };
        let mut rotation = Rotation::default();
        let done = self
            .every_file()?
            .iter()
            .try_for_each(|path| self.rotate_file(path, &work, &mut rotation));
        if let Some(intended) = intended {
            let record = Record {
                after: Some(json!({
                    "sealed": rotation.sealed(),
                    "files": rotation.files.len(),
                    "refused": rotation.refused.len(),
                })),
                ..record
            };
            let outcome = match (&done, rotation.refused.is_empty()) {
                (Err(_), _) => Outcome::Failed("DEGRADED"),
                (Ok(()), false) => Outcome::Failed("PARTIAL"),
                (Ok(()), true) => Outcome::Ok,
            };
            self.close(&record, caller, intended, outcome);
        }
        done.map(|()| rotation)
    }

    fn every_file(&self) -> Result<Vec<PathBuf>, StoreError> {
        let dir = self.live.dir();
        let mut files = vec![dir.join(find::ROOT_FILE)];
        for part in find::HUMAN_DIRS.iter().chain([&KEYS_DIR]) {
            files.append(&mut find::toml_files(&dir.join(part))?);
        }
        Ok(files)
    }

    fn rotate_file(
        &self,
        path: &Path,
        work: &Work<'_>,
        rotation: &mut Rotation,
    ) -> Result<(), StoreError> {
        // Most have nothing to do, and are not locked for that.
        let is_there = disk::read(path).map(|text| text.contains(seal::PREFIX));
        if !is_there.map_err(degraded("cannot read the config"))? {
            return Ok(());
        }
        let _held = if work.is_trial {
            None
        } else {
            Some(self.hold()?)
        };
        let text = disk::read(path).map_err(degraded("cannot read the config"))?;
        let checksummed = path.starts_with(self.live.dir().join(KEYS_DIR));
        let place = |line| Located {
            file: self.relative(path),
            line,
        };
        let body = if checksummed {
            match file::verify(&text) {
                Ok(body) => body,
                Err(error) => {
                    rotation.refused.push((place(1), error.to_string()));
                    return Ok(());
                }
            }
        } else {
            &text
        };
        let found = match reseal::find(body) {
            Ok(found) => found,
            Err(error) => {
                rotation.refused.push((place(1), error.to_string()));
                return Ok(());
            }
        };
        let mut by = Vec::new();
        for sealed in &found {
            match self.reseal(sealed, work)? {
                Ok(Some(new)) => by.push((sealed, new)),
                Ok(None) => rotation.already += 1,
                Err(why) => rotation.refused.push((place(sealed.line), why)),
            }
        }
        let Some((first, _)) = by.first() else {
            return Ok(());
        };
        let file = Found::new(path, place(first.line), text.clone(), body, checksummed);
        match self.write_resealed(&file, &by, work) {
            Ok(()) => rotation.files.push((self.relative(path), by.len())),
            Err(StoreError::ReadOnly(_)) => {
                let why = "cannot be written by Aqueduct; seal it again where it is kept";
                let places = by
                    .iter()
                    .map(|(sealed, _)| (place(sealed.line), why.to_owned()));
                rotation.refused.extend(places);
            }
            Err(StoreError::Busy) => {
                let why = "somebody else changed the file meanwhile; run this again";
                rotation.refused.push((place(first.line), why.to_owned()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The text sealed under the new master; `None` if it is already, or why it cannot be.
    fn reseal(
        &self,
        sealed: &Sealed,
        work: &Work<'_>,
    ) -> Result<Result<Option<String>, String>, StoreError> {
        if MasterRing::id_of(&sealed.text).is_ok_and(|id| id == work.to) {
            return Ok(Ok(None));
        }
        let aad = match &sealed.owner {
            Owner::Key { repository, id } => match work.snapshot.repository(repository) {
                Some(repository) => Aad::Key {
                    repository: repository.id,
                    key: *id,
                },
                None => {
                    return Ok(Err(format!(
                        "its repository `{repository}` is not in the config; revoke the key, or bring it back"
                    )));
                }
            },
            Owner::Resource { name, field } => Aad::Resource { name, field },
            Owner::Nobody => return Ok(Err("nothing sealed belongs here".to_owned())),
        };
        let opened = match work.ring.open(aad, &sealed.text) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let new = work
            .ring
            .seal_under(work.to, aad, opened.expose(), self.entropy()?);
        // Nothing is thrown away before what takes its place is known to open.
        let is_same = |new: &String| work.ring.open(aad, new).is_ok_and(|again| again == opened);
        Ok(match new {
            Ok(new) if is_same(&new) => Ok(Some(new)),
            Ok(_) => Err("it does not open again".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    fn write_resealed(
        &self,
        found: &Found,
        by: &[(&Sealed, String)],
        work: &Work<'_>,
    ) -> Result<(), StoreError> {
        let target = self.writable(found)?;
        if work.is_trial {
            return Ok(());
        }
        let text = found.close(reseal::replace(&found.body, by));
        reached(Step::Edited);
        let random = u64::from_be_bytes(self.entropy()?);
        disk::replace(&target, Some(&found.text), &text, random).map_err(|error| {
            if disk::is_moved(&error) {
                StoreError::Busy
            } else {
                degraded("cannot write the config")(error)
            }
        })
    }
}
