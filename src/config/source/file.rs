//! One file of the set: read with the metadata that goes with its content, parsed, and remembered.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::find::{Found, Stat, unreadable};
use crate::config::diagnostic::{Place, Problem, Severity};
use crate::config::parse::{self, Document, Role};

/// Bytes of one config file: stops a stray dump in `conf.d` from being read whole.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A file of the set.
#[derive(Debug)]
pub struct File {
    pub(super) path: PathBuf,
    /// The inode that its directory names. 0: not known.
    pub(super) entry: u64,
    pub(super) is_link: bool,
    pub(super) kept: Kept,
}

/// What is remembered of a file.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) stat: Option<Stat>,
    pub(super) hash: [u8; 32],
    document: Option<Arc<Document>>,
    pub(super) problems: Arc<[Problem]>,
    /// The newest good parse of a key file.
    last_good: Option<Arc<Document>>,
}

impl File {
    /// A file of which nothing is known but that it is there.
    pub(super) fn unread(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            entry: 0,
            is_link: false,
            kept: Kept {
                stat: None,
                hash: [0; 32],
                document: None,
                problems: Arc::from([]),
                last_good: None,
            },
        }
    }

    /// A file as it will be written.
    pub(super) fn to_be(path: &Path, role: Role, text: &str) -> Self {
        let content = Ok(text.as_bytes().to_vec());
        Self {
            path: path.to_owned(),
            entry: 0,
            is_link: path.is_symlink(),
            kept: parse_file(path, role, None, content, None),
        }
    }
}

impl Kept {
    /// What counts: of a key file that is bad now, what it was when it was good.
    pub(super) fn used(&self) -> Option<&Arc<Document>> {
        let bad = self.problems.iter().any(|p| p.severity == Severity::Key);
        if bad {
            self.last_good.as_ref()
        } else {
            self.document.as_ref()
        }
    }

    /// Whether the content was had, whatever it was.
    fn is_read(&self) -> bool {
        self.stat.is_some() || self.document.is_some()
    }
}

/// What is on disk at a place of the set, beside what is remembered of it.
pub(super) struct Slot<'a> {
    pub(super) found: &'a mut Found,
    file: &'a mut File,
    pub(super) is_new: bool,
}

impl<'a> Slot<'a> {
    pub(super) fn of((found, file): (&'a mut Found, &'a mut File)) -> Self {
        Self {
            found,
            file,
            is_new: false,
        }
    }

    /// Whether the directory has the file that was read. What is in it may have changed.
    pub(super) fn is_there(&self) -> bool {
        self.file.entry != 0 && self.file.entry == self.found.entry
    }

    /// Whether the file's metadata, where it was looked at, proves that it is as it was read.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let stat = self.found.stat();
        self.file.kept.stat.as_ref() == stat && stat.is_some_and(|stat| stat.is_settled(now))
    }

    /// Reads the file, and parses it if its content is another.
    pub(super) fn reread(&mut self) {
        let path = &self.found.path;
        let content = read_bounded(path, FILE_BYTES_MAX);
        let stat = content.as_ref().ok().map(|(_, stat)| *stat);
        let content = content.map(|(bytes, _)| bytes);
        self.file.entry = self.found.entry;
        let kept = &mut self.file.kept;
        if kept.is_read() == content.is_ok() && kept.hash == hash_of(&content) {
            kept.stat = stat;
            return;
        }
        self.is_new = true;
        let last_good = kept.last_good.take();
        *kept = parse_file(path, self.found.role, stat, content, last_good);
    }
}

fn parse_file(
    path: &Path,
    role: Role,
    stat: Option<Stat>,
    content: io::Result<Vec<u8>>,
    last_good: Option<Arc<Document>>,
) -> Kept {
    let severity = match role {
        Role::Root | Role::Part => Severity::Error,
        Role::Keys => Severity::Key,
    };
    let failed = |hash, problem| Kept {
        stat,
        hash,
        document: None,
        problems: Arc::from([problem]),
        last_good: last_good.clone(),
    };
    let hash = hash_of(&content);
    let bytes = match content {
        Ok(bytes) => bytes,
        Err(error) => return failed(hash, unreadable(path, severity, &error)),
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let problem = Problem::new(severity, "E001", Place::file(path), "not UTF-8");
        return failed(hash, problem);
    };
    let (document, problems) = parse::document(path, role, text);
    let document = Arc::new(document);
    Kept {
        stat,
        hash,
        last_good: if problems.is_empty() {
            (role == Role::Keys).then(|| Arc::clone(&document))
        } else {
            last_good
        },
        document: Some(document),
        problems: problems.into(),
    }
}

/// Reads a file and the metadata that goes with what was read.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Stat)> {
    let file = fs::File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(bytes_max)).unwrap_or(0));
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    Ok((bytes, Stat::of(&meta)))
}

/// Of what a file holds, or of why that is not known.
fn hash_of(content: &io::Result<Vec<u8>>) -> [u8; 32] {
    match content {
        Ok(bytes) => digest(bytes),
        Err(error) => digest(error.to_string().as_bytes()),
    }
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
