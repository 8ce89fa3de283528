//! When each key was used last, over restarts.
//!
//! A request notes its second in the key itself, in memory; from time to time and at the end the seconds are written
//! to `last_used.json` in the state directory, off the threads that serve. It is a help to people, not a record: what
//! a crash takes is at most the time between two writes. Only keys that are served are kept, so the file is as large
//! as the config at most.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::snapshot::Snapshot;
use crate::keys::Key;

/// The file's name in the state directory.
const NAME: &str = "last_used.json";

/// Bytes of the file: a million keys. Stops a wrong file from being read whole.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// See the module's documentation.
#[derive(Debug)]
pub struct LastUsed {
    path: PathBuf,
    /// As the file has it: Unix seconds by key.
    kept: HashMap<Uuid, i64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Written {
    v: u32,
    keys: HashMap<Uuid, i64>,
}

impl LastUsed {
    /// Reads the file. One that cannot be read is said and begun anew.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(NAME);
        let kept = match read(&path) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the last use of keys is forgotten");
                HashMap::new()
            }
        };
        Self { path, kept }
    }

    /// Tells keys that were not used since they were loaded when they were used before.
    pub fn restore(&self, snapshot: &Snapshot) {
        for key in keys(snapshot) {
            if let Some(at) = self.kept.get(&key.id) {
                key.last_used.fetch_max(*at, Ordering::Relaxed);
            }
        }
    }

    /// Writes what is known now, if that is more than the file has. Whether it was.
    pub fn flush(&mut self, snapshot: &Snapshot) -> io::Result<bool> {
        // A key may have left the config and come back meanwhile.
        self.restore(snapshot);
        let used: HashMap<Uuid, i64> = keys(snapshot)
            .map(|key| (key.id, key.last_used.load(Ordering::Relaxed)))
            .filter(|(_, at)| *at > 0)
            .collect();
        if used == self.kept {
            return Ok(false);
        }
        let written = Written { v: 1, keys: used };
        write(&self.path, &serde_json::to_vec(&written)?)?;
        self.kept = written.keys;
        Ok(true)
    }
}

fn keys(snapshot: &Snapshot) -> impl Iterator<Item = &Key> {
    let all = snapshot.s3_keys.values().chain(snapshot.ai_keys.values());
    all.map(|entry| &*entry.key)
}

fn read(path: &Path) -> io::Result<HashMap<Uuid, i64>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let written: Written = serde_json::from_slice(&bytes)?;
    Ok(written.keys)
}

/// Beside it and renamed over it: at any moment the old file or the new one is there.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let temporary = path.with_extension("json.tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::store::tests_support::{Fixture, REPOSITORIES};

    fn config(fixture: &Fixture, names: &[&str]) {
        let keys = names.iter().enumerate().map(|(at, name)| {
            let digest = format!("{at:064x}");
            format!(
                "[[key]]\nid = \"00000000-0000-4000-8000-00000000000{at}\"\nrepository = \"prod\"\n\
                 family = \"ai\"\nname = \"{name}\"\nsecret_sha256 = \"sha256:{digest}\"\n"
            )
        });
        let text: String = keys.collect();
        fixture.write("conf.d/media.toml", &format!("{REPOSITORIES}\n{text}"));
    }

    fn used(snapshot: &Snapshot) -> Vec<i64> {
        let mut used: Vec<i64> = keys(snapshot)
            .map(|key| key.last_used.load(Ordering::Relaxed))
            .collect();
        used.sort_unstable();
        used
    }

    #[test]
    fn the_last_use_of_a_key_outlives_the_process_and_a_change_of_the_key() {
        let fixture = Fixture::new();
        config(&fixture, &["one", "two"]);
        let live = fixture.live();
        let mut last_used = LastUsed::open(&fixture.state());
        assert!(
            !last_used.flush(&live.current()).unwrap(),
            "nothing was used"
        );
        let snapshot = live.current();
        let one = keys(&snapshot).find(|key| &*key.name == "one").unwrap();
        one.last_used.store(1_000, Ordering::Relaxed);
        assert!(last_used.flush(&live.current()).unwrap());
        assert!(!last_used.flush(&live.current()).unwrap(), "nothing is new");

        let live = fixture.live();
        let last_used = LastUsed::open(&fixture.state());
        last_used.restore(&live.current());
        assert_eq!(used(&live.current()), [0, 1_000]);
        config(&fixture, &["one, renamed", "two"]);
        live.reload(crate::config::live::Trigger::Signal);
        assert_eq!(used(&live.current()), [0, 1_000]);
    }

    #[test]
    fn what_the_file_says_is_no_newer_than_what_was_seen_and_may_be_damaged() {
        let fixture = Fixture::new();
        config(&fixture, &["one"]);
        let live = fixture.live();
        let path = fixture.state().join(NAME);
        let text = r#"{"v":1,"keys":{"00000000-0000-4000-8000-000000000000":500}}"#;
        fs::write(&path, text).unwrap();
        let last_used = LastUsed::open(&fixture.state());
        let snapshot = live.current();
        keys(&snapshot).for_each(|key| key.last_used.store(900, Ordering::Relaxed));
        last_used.restore(&snapshot);
        assert_eq!(used(&snapshot), [900]);
        fs::write(&path, &text[..20]).unwrap();
        let mut last_used = LastUsed::open(&fixture.state());
        assert!(last_used.flush(&snapshot).unwrap());
        assert!(fs::read_to_string(&path).unwrap().contains("900"));
    }
}
