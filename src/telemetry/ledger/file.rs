//! The ledger on disk: `ledger.json` in the state directory.
//!
//! It is written from time to time and at the end, beside and renamed over, so a crash takes at most what came
//! between two writes. Two processes may write it, as when one takes over from another: each adds what it has counted
//! itself to what it finds, under a lock. A file that cannot be read is put aside and said, and counting starts from
//! nothing: it is never overwritten.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::{Account, Ledger, Sums};

/// The file's name in the state directory.
pub const NAME: &str = "ledger.json";
const LOCK_NAME: &str = "ledger.lock";
const VERSION: u32 = 1;

/// Bytes of the file, some three times what the most rows take. Stops a wrong file from being read whole.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// Two seconds: what holds the lock writes a file.
const LOCK_TRIES_MAX: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// See the module's documentation.
#[derive(Debug)]
pub struct LedgerFile {
    path: PathBuf,
    /// As the file had it when we last read or wrote it.
    kept: HashMap<Account, Sums>,
    seen: Option<Identity>,
}

/// Tells a file that was written since from one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            bytes: metadata.len(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Written {
    v: u32,
    rows: Vec<WrittenRow>,
}

#[derive(Debug, Deserialize, Serialize)]
struct WrittenRow {
    account: Account,
    sums: Sums,
}

#[derive(Serialize)]
struct Writing<'a> {
    v: u32,
    rows: Rows<'a>,
}

/// Written row by row, so that the text is nowhere whole.
struct Rows<'a>(&'a HashMap<Account, Sums>);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(account, sums)| WrittenRow {
            account: account.clone(),
            sums: *sums,
        }))
    }
}

impl LedgerFile {
    /// Reads the file into `ledger`.
    pub fn open(state_dir: &Path, ledger: &Ledger, now: Timestamp) -> Self {
        let mut file = Self {
            path: state_dir.join(NAME),
            kept: HashMap::new(),
            seen: None,
        };
        if let Err(error) = file.take_in(ledger, now) {
            let path = file.path.display();
            tracing::error!(%path, %error, "the ledger cannot be read; it is tried again");
        }
        file
    }

    /// Writes what is known now, if that is more than the file has. Whether it was.
    pub fn flush(
        &mut self,
        ledger: &Ledger,
        is_key: impl Fn(Uuid) -> bool,
        now: Timestamp,
    ) -> io::Result<bool> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let _held = lock(&self.path.with_file_name(LOCK_NAME))?;
        self.take_in(ledger, now)?;
        ledger.prune(is_key);
        let rows: HashMap<Account, Sums> = ledger.rows().collect();
        if rows == self.kept {
            return Ok(false);
        }
        self.seen = Some(self.write(&rows)?);
        self.kept = rows;
        Ok(true)
    }

    /// Adds to `ledger` what others wrote since we last looked.
    fn take_in(&mut self, ledger: &Ledger, now: Timestamp) -> io::Result<()> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            // Somebody took it away: what it had is here, and is written again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let found = Identity::of(&file.metadata()?);
        if self.seen == Some(found) {
            return Ok(());
        }
        let mut theirs = match read(file) {
            Ok(rows) => rows,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return self.put_aside(&error, now);
            }
            Err(error) => return Err(error),
        };
        for (account, sums) in &theirs {
            let before = self.kept.remove(account).unwrap_or_default();
            ledger.add_sums(account, &sums.since(&before));
        }
        // A row that they have no more went to another, which has it added.
        for (account, before) in self.kept.drain() {
            ledger.add_sums(&account, &Sums::default().since(&before));
        }
        self.kept.extend(theirs.drain());
        self.seen = Some(found);
        Ok(())
    }

    fn put_aside(&self, error: &io::Error, now: Timestamp) -> io::Result<()> {
        let name = format!("{NAME}.unreadable-{}", now.as_second());
        let aside = self.path.with_file_name(name);
        fs::rename(&self.path, &aside)?;
        let path = aside.display();
        tracing::error!(%path, %error, "the ledger is not readable and was put aside");
        Ok(())
    }

    /// Beside it and renamed over it: at any moment the old file or the new one is there.
    fn write(&self, rows: &HashMap<Account, Sums>) -> io::Result<Identity> {
        let temporary = self.path.with_extension("json.tmp");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        let mut out = BufWriter::new(file);
        let writing = Writing {
            v: VERSION,
            rows: Rows(rows),
        };
        serde_json::to_writer(&mut out, &writing)?;
        out.flush()?;
        out.get_ref().sync_data()?;
        let written = Identity::of(&out.get_ref().metadata()?);
        fs::rename(&temporary, &self.path)?;
        Ok(written)
    }
}

/// Held until the file is dropped. Waits for another process a moment, and not for one that hangs.
fn lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path)?;
    let mut tries = LOCK_TRIES_MAX;
    loop {
        tries -= 1;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if tries > 0 => thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(file),
        }
    }
}

fn read(file: File) -> io::Result<HashMap<Account, Sums>> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let written: Written =
        serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    if written.v != VERSION {
        return Err(invalid(format!("its version is {}", written.v)));
    }
    let mut rows: HashMap<Account, Sums> = HashMap::with_capacity(written.rows.len());
    for WrittenRow { account, sums } in written.rows {
        *rows.entry(account).or_default() += sums;
    }
    Ok(rows)
}
