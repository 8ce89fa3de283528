//! What happened, newest first: the log read from its end, for the admin API.
//!
//! Memory is one block and one line, whatever the log's size; a query that would look at more than
//! [`LOOK_BYTES_MAX`] ends there and says so.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::Audit;
use super::chain::LINE_BYTES_MAX;

/// Bytes read at one time.
const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of the log that one query looks at: some 200,000 lines. Stops a query from keeping a thread for long.
pub const LOOK_BYTES_MAX: u64 = 64 << 20;

/// A line of the log, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Event {
    pub seq: u64,
    /// RFC 3339.
    pub ts: String,
    /// `apikey.created`, ...
    pub event: String,
    pub context: String,
    #[serde(rename = "contextId")]
    pub context_id: Option<String>,
    pub repo: Option<String>,
    pub actor: String,
    pub ip: Option<String>,
    pub file: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// `intended`, `ok`, `failed`, `denied`.
    pub outcome: String,
    pub reason: Option<String>,
}

/// How a look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// At all that was asked for.
    Through,
    /// At [`LOOK_BYTES_MAX`] of it.
    Enough,
}

impl Audit {
    /// Shows the events, newest first, until `show` says `false`. Lines that cannot be read are passed over: whether
    /// the log is whole is another question.
    pub fn newest_first(&self, mut show: impl FnMut(Event) -> bool) -> io::Result<Looked> {
        let mut left = LOOK_BYTES_MAX;
        for path in self.files()?.into_iter().rev() {
            let Some(mut lines) = Backwards::open(path)? else {
                continue;
            };
            while let Some(line) = lines.next()? {
                let length = line.len() as u64 + 1;
                if left < length {
                    return Ok(Looked::Enough);
                }
                left -= length;
                if let Ok(event) = serde_json::from_slice(&line)
                    && !show(event)
                {
                    return Ok(Looked::Through);
                }
            }
        }
        Ok(Looked::Through)
    }
}

/// The lines of a file from its end.
struct Backwards {
    file: File,
    /// Where `block` begins.
    at: u64,
    /// What was read and not given yet: it ends where a line ends.
    block: Vec<u8>,
}

impl Backwards {
    fn open(path: PathBuf) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let at = file.metadata()?.len();
        Ok(Some(Self {
            file,
            at,
            block: Vec::new(),
        }))
    }

    /// The next line upwards, without its newline. One that is longer than there are comes in pieces.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = memchr::memrchr(b'\n', &self.block) {
                let line = self.block.split_off(end + 1);
                self.block.pop();
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            let is_too_long = self.block.len() > LINE_BYTES_MAX;
            if self.at == 0 || is_too_long {
                let line = std::mem::take(&mut self.block);
                return Ok((!line.is_empty()).then_some(line));
            }
            self.fill()?;
        }
    }

    /// Puts the block before this one in front.
    fn fill(&mut self) -> io::Result<()> {
        let length = usize::try_from(self.at)
            .unwrap_or(usize::MAX)
            .min(BLOCK_BYTES);
        self.at -= length as u64;
        let mut block = vec![0; length];
        self.file.read_exact_at(&mut block, self.at)?;
        block.append(&mut self.block);
        self.block = block;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::audit::{Actor, Outcome, Record};
    use jiff::Timestamp;
    use std::fs;

    fn seqs(audit: &Audit, count: usize) -> Vec<u64> {
        let mut seen = Vec::new();
        let looked = audit.newest_first(|event| {
            seen.push(event.seq);
            seen.len() < count
        });
        assert_eq!(looked.unwrap(), Looked::Through);
        seen
    }

    #[test]
    fn events_come_newest_first_over_blocks_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        let write = |count: usize, length: usize| {
            for _ in 0..count {
                let record = Record {
                    event: "apikey.created",
                    context: "apikey",
                    after: Some(Value::from("x".repeat(length))),
                    ..Record::default()
                };
                let now = Timestamp::UNIX_EPOCH;
                audit
                    .write(now, &Actor::default(), &record, Outcome::Ok, None)
                    .unwrap();
            }
        };
        write(20, 10_000);
        fs::rename(audit.path(), dir.path().join("audit.log.1")).unwrap();
        write(20, 10);
        let text = fs::read_to_string(audit.path()).unwrap();
        fs::write(audit.path(), format!("\n\n{text}{{\"v\":1,\"se")).unwrap();
        let all: Vec<u64> = (1..=40).rev().collect();
        assert_eq!(seqs(&audit, usize::MAX), all);
        assert_eq!(seqs(&audit, 3), [40, 39, 38]);
        assert!(seqs(&Audit::new(&dir.path().join("absent")), 1).is_empty());
    }
}
