//! What links the lines: where the log ends, by its last line and by its head.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Longest line. Stops a request from making the log's end unreadable; texts in it are cut long before.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// The head's name in the state directory.
pub(super) const HEAD_NAME: &str = "audit.head";

/// Bytes of the head, which is two members. Stops a wrong file from being read whole.
const HEAD_BYTES_MAX: u64 = 256;

/// The newest line by number and hash, kept beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) seq: u64,
    /// SHA-256, hex, of the line without its newline.
    pub(super) hash: String,
}

impl Head {
    pub(super) fn of(seq: u64, line: &[u8]) -> Self {
        Self {
            seq,
            hash: hash(line),
        }
    }

    /// The head, if there is one. One that a crash has torn says nothing.
    pub(super) fn read(mut file: &File) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.take(HEAD_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// That of the log at `path`.
    pub(super) fn beside(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path.with_file_name(HEAD_NAME)) {
            Ok(file) => Self::read(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// In one write over the old one, which is never longer.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        file.write_all_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)
    }
}

/// What the end of the log says.
#[derive(Debug, Default)]
pub(super) struct Last {
    pub(super) seq: u64,
    /// Of the last whole line.
    pub(super) hash: Option<String>,
    /// The last line lacks its end: a crash cut it off.
    pub(super) torn: bool,
}

impl Last {
    pub(super) fn read(file: &mut File) -> io::Result<Self> {
        let end = file.seek(SeekFrom::End(0))?;
        let start = end.saturating_sub(2 * LINE_BYTES_MAX as u64);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(end - start).read_to_end(&mut bytes)?;
        let torn = bytes.last().is_some_and(|last| *last != b'\n');
        // A torn line that a later write closed is no JSON: the last one that is gives the number.
        for line in bytes.rsplit(|byte| *byte == b'\n') {
            if let Some(seq) = seq_of(line) {
                return Ok(Self {
                    seq,
                    hash: Some(hash(line)),
                    torn,
                });
            }
        }
        Ok(Self {
            torn,
            ..Self::default()
        })
    }

    /// Where the next line goes on: after the head, if the log has less than that. It is a new file, or lines were
    /// cut off its end, and the gap is to stay visible.
    pub(super) fn after(self, head: Option<&Head>) -> Self {
        match head {
            Some(head) if head.seq > self.seq => {
                if self.seq > 0 {
                    tracing::error!(
                        log = self.seq,
                        written = head.seq,
                        "lines are missing at the end of the audit log"
                    );
                }
                Self {
                    seq: head.seq,
                    hash: Some(head.hash.clone()),
                    torn: self.torn,
                }
            }
            Some(_) | None => self,
        }
    }
}

pub(super) fn seq_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(line)
        .ok()?
        .get("seq")?
        .as_u64()
}

pub(super) fn hash(line: &[u8]) -> String {
    hex(&Sha256::digest(line))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}
