//! `revoked.ids`: keys that must not work, whatever any config says.
//!
//! One uuid a line, append-only, in the state directory. A revocation is written and synced before it is
//! acknowledged, and read on every load: an old backup or the last good copy of a config cannot bring a revoked key
//! back. Another process (`aqueduct key revoke`) may append too.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use uuid::Uuid;

/// Bytes of the file: 1.7 million revocations. Stops a wrong file from being read whole.
const FILE_BYTES_MAX: u64 = 64 << 20;

const NAME: &str = "revoked.ids";

/// The ids known to be revoked. Read without a lock.
#[derive(Debug)]
pub(super) struct Revoked {
    path: PathBuf,
    ids: ArcSwap<HashSet<Uuid>>,
}

impl Revoked {
    /// Reads the file; its absence means that nothing is revoked.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let revoked = Self {
            path: state_dir.join(NAME),
            ids: ArcSwap::from_pointee(HashSet::new()),
        };
        revoked.refresh()?;
        Ok(revoked)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn ids(&self) -> Arc<HashSet<Uuid>> {
        self.ids.load_full()
    }

    /// Reads what was appended by others. Never forgets an id.
    pub(super) fn refresh(&self) -> io::Result<()> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // A line that was cut short by a crash was never acknowledged.
        let read: Vec<Uuid> = text
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect();
        let known = self.ids.load();
        if read.iter().any(|id| !known.contains(id)) {
            self.ids.rcu(|known| {
                let mut all = HashSet::clone(known);
                all.extend(&read);
                all
            });
        }
        Ok(())
    }

    /// Writes and syncs an id, then knows it.
    pub(super) fn add(&self, id: Uuid) -> io::Result<()> {
        if self.ids.load().contains(&id) {
            return Ok(());
        }
        self.append(id)?;
        self.ids.rcu(|known| {
            let mut all = HashSet::clone(known);
            all.insert(id);
            all
        });
        Ok(())
    }

    fn append(&self, id: Uuid) -> io::Result<()> {
        let is_new = !self.path.exists();
        if is_new && let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let cut_short = file.seek(SeekFrom::End(0))? > 0 && {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            last != *b"\n"
        };
        let before = if cut_short { "\n" } else { "" };
        let line = format!("{before}{id}\n");
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        if is_new && let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_a_torn_line_and_are_shared_between_processes() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let one = Revoked::open(&state).unwrap();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        one.add(a).unwrap();
        one.add(a).unwrap();
        let text = fs::read_to_string(one.path()).unwrap();
        fs::write(one.path(), format!("{text}0000-torn")).unwrap();
        let two = Revoked::open(&state).unwrap();
        assert!(two.ids().contains(&a));
        two.add(b).unwrap();
        assert!(!one.ids().contains(&b));
        one.refresh().unwrap();
        assert_eq!(one.ids().len(), 2);
    }
}
