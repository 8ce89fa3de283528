//! Files that the config refers to: what they hold is part of the config.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::file::{digest, read_bounded};
use super::find::Stat;
use crate::config::model::Reference;
use crate::secret::Secret;

/// Bytes of one referenced file (secret, certificate chain, CA bundle).
const REFERENCE_BYTES_MAX: u64 = 4 << 20;

/// The contents of referenced files.
#[derive(Clone, Debug, Default)]
pub struct References {
    dir: PathBuf,
    credentials: Option<PathBuf>,
    contents: HashMap<PathBuf, Result<Secret, Box<str>>>,
    /// Over all of them. Equal: nothing that is referred to differs.
    pub(in crate::config) hash: [u8; 32],
}

impl References {
    /// None yet. Relative paths are relative to `dir`.
    pub(super) fn none(dir: &Path, credentials: Option<PathBuf>) -> Self {
        Self {
            dir: dir.to_owned(),
            credentials,
            ..Self::default()
        }
    }

    /// Where a reference points; relative paths are relative to the config directory.
    pub fn path(&self, reference: Reference<'_>) -> Option<PathBuf> {
        match reference {
            Reference::File(path) => Some(self.dir.join(path)),
            Reference::Credential(name) => Some(self.credentials.as_ref()?.join(name)),
        }
    }

    /// What is there, or why it cannot be read.
    pub fn content(&self, reference: Reference<'_>) -> Result<&Secret, String> {
        let Some(path) = self.path(reference) else {
            return Err("$CREDENTIALS_DIRECTORY is not set".into());
        };
        match self.contents.get(&path) {
            Some(Ok(content)) => Ok(content),
            Some(Err(error)) => Err(format!("{}: {error}", path.display())),
            None => Err(format!("{}: not read", path.display())),
        }
    }
}

/// What is remembered of referenced files, so that one is read again only if it may have changed.
#[derive(Debug, Default)]
pub(super) struct Referred(HashMap<PathBuf, Kept>);

#[derive(Debug)]
struct Kept {
    stat: Option<Stat>,
    hash: [u8; 32],
    content: Result<Secret, Box<str>>,
}

impl Referred {
    /// Reads `paths`, sorted and without a path twice, into `references`, and forgets all others.
    pub(super) fn read(
        &mut self,
        paths: &[PathBuf],
        mut references: References,
        now: Timestamp,
    ) -> References {
        self.0.retain(|path, _| paths.binary_search(path).is_ok());
        let mut hash = Sha256::new();
        for path in paths {
            let kept = self.one(path, now);
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update([1]);
            hash.update(kept.hash);
            references
                .contents
                .insert(path.clone(), kept.content.clone());
        }
        references.hash = hash.finalize().into();
        references
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    fn one(&mut self, path: &Path, now: Timestamp) -> &Kept {
        let stat = fs::metadata(path).ok().map(|meta| Stat::of(&meta));
        let fresh = self.0.get(path).is_some_and(|kept| {
            kept.stat.is_some()
                && kept.stat == stat
                && stat.is_some_and(|stat| stat.is_settled(now))
        });
        if !fresh {
            let kept = match read_bounded(path, REFERENCE_BYTES_MAX) {
                Ok((bytes, stat)) => Kept {
                    stat: Some(stat),
                    hash: digest(&bytes),
                    content: Ok(Secret::new(bytes)),
                },
                Err(error) => Kept {
                    stat: None,
                    hash: digest(error.to_string().as_bytes()),
                    content: Err(error.to_string().into()),
                },
            };
            self.0.insert(path.to_owned(), kept);
        }
        &self.0[path]
    }
}
