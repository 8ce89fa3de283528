//! The audit log: who changed what, as JSON lines in `state_dir/audit.log`.
//!
//! Several processes write it (the server, and the command line beside it), so a line is written under the
//! lock, and its number and the hash of the line before it are read from the file, not remembered. Each line is
//! synced before [`Audit::write`] returns: a change is written as intended before it is made and closed with its
//! outcome after, so a crash between the two leaves a trace. The file is opened anew each time; whoever rotates it
//! may rename it at any time.
//!
//! The lines are a chain: each holds the number and the SHA-256 of the one before. `audit.head` beside the log holds
//! those of the newest, so that numbers go on in the next file after a rotation, and that lines cut off at the end
//! are missed: [`verify`] finds both. Whoever can write both files can make a new chain of his own; keep the number
//! and hash that `aqueduct audit verify` prints elsewhere to have proof against that.
//!
//! Never a secret: `before` and `after` hold what the caller listed field by field.

mod chain;
pub mod events;
mod files;
pub mod verify;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use prometheus::IntCounter;
use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};
use serde::Serialize;
use serde_json::Value;
#[cfg(test)]
use sha2::{Digest, Sha256};

#[cfg(test)]
use chain::hex;
use chain::{Head, Last};

/// The log's name in the state directory.
pub const FILE_NAME: &str = "audit.log";

/// Characters of a text that a client chose (user agent, request id).
const TEXT_CHARS_MAX: usize = 256;

/// Who acts, from where.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// `token:NAME` or `cli:USER`.
    pub name: String,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

/// What is recorded of one change or refusal.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// `apikey.created`, `config.reloaded`, `admin.denied`, ...
    pub event: &'static str,
    /// The kind of thing: `apikey`, `aillmapikey`, `config`, ...
    pub context: &'static str,
    pub context_id: Option<String>,
    /// The repository's id.
    pub repository: Option<String>,
    pub config_generation: Option<u64>,
    /// Relative to the config directory.
    pub file: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// How a change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// About to be made.
    Intended,
    Ok,
    /// Not made; a code, never a text from outside.
    Failed(&'a str),
    /// Not allowed.
    Denied(&'a str),
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
    /// Counts lines that could not be written.
    failures: Option<IntCounter>,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    ts: String,
    seq: u64,
    prev: Option<String>,
    event: &'a str,
    context: &'a str,
    #[serde(rename = "contextId", skip_serializing_if = "Option::is_none")]
    context_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<&'a str>,
    actor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ua: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a Value>,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// The line that said this was intended.
    #[serde(skip_serializing_if = "Option::is_none")]
    intended: Option<u64>,
}

impl Audit {
    pub fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(FILE_NAME),
            failures: None,
        }
    }

    /// Counts lines that cannot be written.
    #[must_use]
    pub fn counting(mut self, failures: IntCounter) -> Self {
        self.failures = Some(failures);
        self
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files of the log that are there, oldest first: those that were renamed by rotation, then the log.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        files::of(&self.path)
    }

    /// Appends one line and syncs it. `intended` is the number of the line that announced this change.
    /// Returns this line's number.
    pub fn write(
        &self,
        now: Timestamp,
        actor: &Actor,
        record: &Record,
        outcome: Outcome<'_>,
        intended: Option<u64>,
    ) -> io::Result<u64> {
        let written = self.append(now, actor, record, outcome, intended);
        if let (Err(_), Some(failures)) = (&written, &self.failures) {
            failures.inc();
        }
        written
    }

    fn append(
        &self,
        now: Timestamp,
        actor: &Actor,
        record: &Record,
        outcome: Outcome<'_>,
        intended: Option<u64>,
    ) -> io::Result<u64> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        // The lock is on the head, which nobody rotates: all writers have the same.
        let head_file = open(&dir.join(chain::HEAD_NAME), false)?;
        flock(&head_file, FlockOperation::LockExclusive)?;
        let mut file = open(&self.path, true)?;
        let head = Head::read(&head_file)?;
        let tail = Last::read(&mut file)?.after(head.as_ref());
        let (outcome, reason) = match outcome {
            Outcome::Intended => ("intended", None),
            Outcome::Ok => ("ok", None),
            Outcome::Failed(reason) => ("failed", Some(reason)),
            Outcome::Denied(reason) => ("denied", Some(reason)),
        };
        let seq = tail.seq + 1;
        let line = Line {
            v: 1,
            ts: format!("{now:.3}"),
            seq,
            prev: tail.hash,
            event: record.event,
            context: record.context,
            context_id: record.context_id.as_deref(),
            repo: record.repository.as_deref(),
            actor: &actor.name,
            ip: actor.ip.as_deref(),
            ua: actor.user_agent.as_deref().map(cut),
            request_id: actor.request_id.as_deref().map(cut),
            config_generation: record.config_generation,
            file: record.file.as_deref(),
            before: record.before.as_ref(),
            after: record.after.as_ref(),
            outcome,
            reason,
            intended,
        };
        let mut bytes = Vec::with_capacity(512);
        if tail.torn {
            bytes.push(b'\n');
        }
        serde_json::to_writer(&mut bytes, &line)?;
        bytes.push(b'\n');
        // One write call: with O_APPEND a reader never sees half a line but after a crash.
        file.write_all(&bytes)?;
        file.sync_data()?;
        let start = usize::from(tail.torn);
        let written = &bytes[start..bytes.len() - 1];
        // Not synced: a head that is behind its log is one that says less, not one that is wrong.
        if let Err(error) = Head::of(seq, written).write(&head_file) {
            tracing::warn!(%error, "the head of the audit log cannot be written");
        }
        Ok(seq)
    }
}

/// Opens a file of the log, making it, and its directory, where they are not.
fn open(path: &Path, append: bool) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .append(append)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            open()?
        }
        opened => opened?,
    };
    // What root's command line makes first, the service must be able to write after.
    let (own, dir) = (file.metadata()?, fs::metadata(dir)?);
    if own.len() == 0 && own.uid() != dir.uid() && rustix::process::geteuid().is_root() {
        let (owner, group) = (Uid::from_raw(dir.uid()), Gid::from_raw(dir.gid()));
        fchown(&file, Some(owner), Some(group))?;
    }
    Ok(file)
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor() -> Actor {
        Actor {
            name: "token:ops".into(),
            ip: Some("127.0.0.1".into()),
            user_agent: Some("x".repeat(1000)),
            request_id: Some("r1".into()),
        }
    }

    fn record() -> Record {
        Record {
            event: "apikey.created",
            context: "apikey",
            after: Some(serde_json::json!({"name": "CI\nBot"})),
            ..Record::default()
        }
    }

    fn lines(audit: &Audit) -> Vec<Value> {
        std::fs::read_to_string(audit.path())
            .unwrap()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    #[test]
    fn lines_are_numbered_and_chained() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        let now = Timestamp::UNIX_EPOCH;
        let first = audit
            .write(now, &actor(), &record(), Outcome::Intended, None)
            .unwrap();
        let second = audit
            .write(now, &actor(), &record(), Outcome::Ok, Some(first))
            .unwrap();
        assert_eq!((first, second), (1, 2));
        let text = std::fs::read_to_string(audit.path()).unwrap();
        let raw: Vec<&str> = text.lines().collect();
        let parsed = lines(&audit);
        assert_eq!(parsed[0]["prev"], Value::Null);
        assert_eq!(
            parsed[1]["prev"],
            Value::from(hex(&Sha256::digest(raw[0].as_bytes())))
        );
        assert_eq!(parsed[1]["intended"], 1);
        assert_eq!(parsed[1]["outcome"], "ok");
        assert_eq!(parsed[0]["ua"].as_str().unwrap().len(), TEXT_CHARS_MAX);
    }

    #[test]
    fn a_torn_line_is_closed_and_the_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        let now = Timestamp::UNIX_EPOCH;
        audit
            .write(now, &actor(), &record(), Outcome::Ok, None)
            .unwrap();
        let mut file = OpenOptions::new().append(true).open(audit.path()).unwrap();
        file.write_all(b"{\"v\":1,\"seq\":7").unwrap();
        for expected in [2, 3] {
            let seq = audit
                .write(now, &actor(), &record(), Outcome::Ok, None)
                .unwrap();
            assert_eq!(seq, expected);
        }
        assert_eq!(lines(&audit).len(), 3);
    }

    #[test]
    fn a_line_that_lacks_only_its_end_counts() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        let now = Timestamp::UNIX_EPOCH;
        let write = || {
            audit
                .write(now, &actor(), &record(), Outcome::Ok, None)
                .unwrap()
        };
        write();
        let text = std::fs::read_to_string(audit.path()).unwrap();
        std::fs::write(audit.path(), text.trim_end()).unwrap();
        assert_eq!(write(), 2);
        assert_eq!(lines(&audit).len(), 2);
        assert!(verify::verify(&audit.files().unwrap()).is_ok());
    }

    #[test]
    fn writers_in_parallel_share_one_numbering() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let audit = Audit::new(dir.path());
                    for _ in 0..10 {
                        audit
                            .write(
                                Timestamp::UNIX_EPOCH,
                                &actor(),
                                &record(),
                                Outcome::Ok,
                                None,
                            )
                            .unwrap();
                    }
                });
            }
        });
        let numbers: Vec<u64> = lines(&Audit::new(dir.path()))
            .iter()
            .map(|line| line["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    }

    #[test]
    fn the_log_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        audit
            .write(
                Timestamp::UNIX_EPOCH,
                &actor(),
                &record(),
                Outcome::Ok,
                None,
            )
            .unwrap();
        let mode = std::fs::metadata(audit.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
