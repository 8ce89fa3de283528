//! The set of files that is the config: finding them, reading them at one moment, knowing whether they changed.
//!
//! A file is read again only if its metadata changed or is too young to be trusted, and parsed again only if its
//! content changed, so that a look at 100,000 unchanged key files costs their `stat` calls. The set has one hash
//! over the names and contents of everything, files that secrets live in included: equal hash, nothing to do.

mod find;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use self::find::{Found, MANAGED, PARTS, Stat, find, follow, role_of, unreadable};
use super::diagnostic::{Place, Problem, Severity};
use super::model::Reference;
use super::parse::{self, Document, Role};
use crate::secret::Secret;

/// Bytes of one config file: stops a stray dump in `conf.d` from being read whole.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one referenced file (secret, certificate chain, CA bundle).
const REFERENCE_BYTES_MAX: u64 = 4 << 20;

/// Fewer files are not worth a thread.
const FILES_A_THREAD_MIN: usize = 16;

/// Times that the set is read over because it moved meanwhile.
const READS_MAX: usize = 5;

/// A whole config, read at one moment.
#[derive(Debug)]
pub struct SourceSet {
    /// Sorted by path.
    pub documents: Vec<Arc<Document>>,
    /// Of reading and parsing.
    pub problems: Vec<Problem>,
    /// SHA-256, hex, over everything that was read.
    pub hash: Box<str>,
    /// What `file:` and `credential:` references hold.
    pub references: References,
}

/// The contents of referenced files.
#[derive(Clone, Debug, Default)]
pub struct References {
    dir: PathBuf,
    credentials: Option<PathBuf>,
    contents: HashMap<PathBuf, Result<Secret, Box<str>>>,
}

/// A file as it would be after a write: `None` for removed.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    pub path: &'a Path,
    pub text: Option<&'a str>,
}

/// Reads the set, and remembers what it read.
#[derive(Debug)]
pub struct Loader {
    dir: PathBuf,
    /// What relative references are relative to.
    base: PathBuf,
    /// `$CREDENTIALS_DIRECTORY`.
    credentials: Option<PathBuf>,
    files: HashMap<PathBuf, Kept>,
    /// Files of the set that are symbolic links.
    links: Vec<PathBuf>,
    references: HashMap<PathBuf, KeptReference>,
}

/// What is remembered of a file.
#[derive(Clone, Debug)]
struct Kept {
    stat: Option<Stat>,
    hash: [u8; 32],
    document: Option<Arc<Document>>,
    problems: Arc<[Problem]>,
    /// The newest good parse of a key file.
    last_good: Option<Arc<Document>>,
}

#[derive(Debug)]
struct KeptReference {
    stat: Option<Stat>,
    hash: [u8; 32],
    content: Result<Secret, Box<str>>,
}

/// What reading a file again gave.
enum Reread {
    /// The content that is known, under other metadata.
    Same(Option<Stat>),
    Replaced(Kept),
}

impl Loader {
    pub fn new(dir: &Path, credentials: Option<PathBuf>) -> Self {
        Self {
            dir: dir.to_owned(),
            base: dir.to_owned(),
            credentials,
            links: Vec::new(),
            files: HashMap::new(),
            references: HashMap::new(),
        }
    }

    /// Reads a copy of the config at `dir`, with references as the original at `base` has them.
    pub fn of_copy(dir: &Path, base: &Path, credentials: Option<PathBuf>) -> Self {
        Self {
            base: base.to_owned(),
            ..Self::new(dir, credentials)
        }
    }

    /// Reads the set, over and over while it moves.
    pub fn read(&mut self, now: Timestamp) -> SourceSet {
        let mut found = find(&self.dir);
        for _ in 0..READS_MAX {
            self.refresh(&found.files, now);
            let again = find(&self.dir);
            let still =
                found.files.len() == again.files.len()
                    && found.files.iter().zip(&again.files).all(|(a, b)| {
                        a.path == b.path && a.stat.as_ref().ok() == b.stat.as_ref().ok()
                    });
            found = again;
            if still {
                break;
            }
        }
        let present: std::collections::HashSet<&Path> =
            found.files.iter().map(|file| file.path.as_path()).collect();
        self.files
            .retain(|path, _| present.contains(path.as_path()));
        self.links = found
            .files
            .iter()
            .filter(|file| file.is_link)
            .map(|file| file.path.clone())
            .collect();
        let kept: Vec<(PathBuf, Kept)> = found
            .files
            .iter()
            .filter_map(|file| Some((file.path.clone(), self.files.get(&file.path)?.clone())))
            .collect();
        self.assemble(&kept, found.problems, now)
    }

    /// The set as it would be with `overlays`, without remembering them.
    pub fn read_with(&mut self, overlays: &[Overlay<'_>], now: Timestamp) -> SourceSet {
        let found = find(&self.dir);
        self.refresh(&found.files, now);
        let mut kept: Vec<(PathBuf, Kept)> = found
            .files
            .iter()
            .filter(|file| overlays.iter().all(|overlay| overlay.path != file.path))
            .filter_map(|file| Some((file.path.clone(), self.files.get(&file.path)?.clone())))
            .collect();
        for overlay in overlays {
            if let (Some(text), Some(role)) = (overlay.text, role_of(&self.dir, overlay.path)) {
                let content = Ok(text.as_bytes().to_vec());
                let parsed = parse_file(overlay.path, role, None, content, None);
                kept.push((overlay.path.to_owned(), parsed));
            }
        }
        kept.sort_by(|a, b| a.0.cmp(&b.0));
        self.assemble(&kept, found.problems, now)
    }

    /// Reads what changed of `found`, on all cores where it is much.
    fn refresh(&mut self, found: &[Found], now: Timestamp) {
        let stale: Vec<&Found> = found
            .iter()
            .filter(|file| !self.is_fresh(file, now))
            .collect();
        let files = &self.files;
        let reread = |chunk: &[&Found]| -> Vec<(PathBuf, Reread)> {
            chunk
                .iter()
                .map(|file| (file.path.clone(), reread(file, files.get(&file.path))))
                .collect()
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let chunk = stale.len().div_ceil(threads).max(FILES_A_THREAD_MIN);
        let results: Vec<(PathBuf, Reread)> = if stale.len() <= chunk {
            reread(&stale)
        } else {
            thread::scope(|scope| {
                let running: Vec<_> = stale
                    .chunks(chunk)
                    .map(|chunk| scope.spawn(move || reread(chunk)))
                    .collect();
                running
                    .into_iter()
                    .flat_map(|thread| match thread.join() {
                        Ok(results) => results,
                        Err(panic) => std::panic::resume_unwind(panic),
                    })
                    .collect()
            })
        };
        for (path, result) in results {
            match result {
                Reread::Replaced(kept) => {
                    self.files.insert(path, kept);
                }
                Reread::Same(stat) => {
                    if let Some(kept) = self.files.get_mut(&path) {
                        kept.stat = stat;
                    }
                }
            }
        }
    }

    /// Whether a file's metadata proves that it is as it was read.
    fn is_fresh(&self, file: &Found, now: Timestamp) -> bool {
        let stat = file.stat.as_ref().ok();
        self.files.get(&file.path).is_some_and(|known| {
            known.stat.as_ref() == stat && stat.is_some_and(|stat| stat.is_settled(now))
        })
    }

    fn assemble(
        &mut self,
        kept: &[(PathBuf, Kept)],
        mut problems: Vec<Problem>,
        now: Timestamp,
    ) -> SourceSet {
        let mut hash = Sha256::new();
        let mut documents = Vec::with_capacity(kept.len());
        for (path, kept) in kept {
            let name = path.strip_prefix(&self.dir).unwrap_or(path);
            hash.update(name.as_os_str().as_encoded_bytes());
            hash.update([0]);
            hash.update(kept.hash);
            problems.extend_from_slice(&kept.problems);
            let bad = kept.problems.iter().any(|p| p.severity == Severity::Key);
            let used = if bad { &kept.last_good } else { &kept.document };
            documents.extend(used.clone());
        }
        let references = self.read_references(&documents, &mut hash, now);
        SourceSet {
            documents,
            problems,
            hash: hex(&hash.finalize()).into(),
            references,
        }
    }

    fn read_references(
        &mut self,
        documents: &[Arc<Document>],
        hash: &mut Sha256,
        now: Timestamp,
    ) -> References {
        let mut references = References {
            dir: self.base.clone(),
            credentials: self.credentials.clone(),
            contents: HashMap::new(),
        };
        let mut paths: Vec<PathBuf> = documents
            .iter()
            .flat_map(|document| document.file.references())
            .filter_map(|reference| references.path(reference))
            .collect();
        paths.sort();
        paths.dedup();
        self.references
            .retain(|path, _| paths.binary_search(path).is_ok());
        for path in paths {
            let kept = self.reference(&path, now);
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update([1]);
            hash.update(kept.hash);
            references.contents.insert(path, kept.content.clone());
        }
        references
    }

    fn reference(&mut self, path: &Path, now: Timestamp) -> &KeptReference {
        let stat = fs::metadata(path).ok().map(|meta| Stat::of(&meta));
        let fresh = self.references.get(path).is_some_and(|kept| {
            kept.stat.is_some()
                && kept.stat == stat
                && stat.is_some_and(|stat| stat.is_settled(now))
        });
        if !fresh {
            let kept = match read_bounded(path, REFERENCE_BYTES_MAX) {
                Ok((bytes, stat)) => KeptReference {
                    stat: Some(stat),
                    hash: digest(&bytes),
                    content: Ok(Secret::new(bytes)),
                },
                Err(error) => KeptReference {
                    stat: None,
                    hash: digest(error.to_string().as_bytes()),
                    content: Err(error.to_string().into()),
                },
            };
            self.references.insert(path.to_owned(), kept);
        }
        &self.references[path]
    }

    /// What to watch.
    pub fn watched(&self) -> Watched {
        let mut roots: Vec<PathBuf> = vec![self.dir.clone()];
        roots.extend(PARTS.iter().map(|(name, _)| self.dir.join(name)));
        roots.extend(MANAGED.iter().map(|name| self.dir.join(name)));
        let referenced = self.references.keys().chain(&self.links);
        let mut entries = Vec::new();
        for path in roots.iter().chain(referenced) {
            follow(path, &mut entries);
        }
        let above = entries
            .iter()
            .filter_map(|entry| entry.parent())
            .map(Path::to_owned);
        let mut directories: Vec<PathBuf> = above.chain(roots.iter().cloned()).collect();
        directories.sort();
        directories.dedup();
        directories.retain(|directory| directory.is_dir());
        // Events name files by the directory that is watched, which may be a link's target.
        let real = roots.iter().filter_map(|root| root.canonicalize().ok());
        let roots = real.chain(roots.iter().cloned()).collect();
        Watched {
            directories,
            roots,
            entries: entries.into_iter().collect(),
        }
    }
}

/// Where changes may change the set, and which do.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Directories to watch, sorted.
    pub directories: Vec<PathBuf>,
    /// Directories in which everything counts.
    roots: HashSet<PathBuf>,
    /// Elsewhere, the paths that count: a busy neighbour must not keep a change from settling.
    entries: HashSet<PathBuf>,
}

impl Watched {
    /// Whether a change of `path` may change the set.
    pub fn concerns(&self, path: &Path) -> bool {
        self.entries.contains(path)
            || self.roots.contains(path)
            || path
                .parent()
                .is_some_and(|parent| self.roots.contains(parent))
    }
}

impl References {
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

fn reread(file: &Found, known: Option<&Kept>) -> Reread {
    let content = read_bounded(&file.path, FILE_BYTES_MAX);
    let stat = content.as_ref().ok().map(|(_, stat)| *stat);
    let content = content.map(|(bytes, _)| bytes);
    let is_same = known.is_some_and(|known| {
        let hash = content.as_ref().map(|bytes| digest(bytes));
        known.document.is_some() && hash.is_ok_and(|hash| hash == known.hash)
    });
    if is_same {
        return Reread::Same(stat);
    }
    let last_good = known.and_then(|known| known.last_good.clone());
    Reread::Replaced(parse_file(&file.path, file.role, stat, content, last_good))
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
    let bytes = match content {
        Ok(bytes) => bytes,
        Err(error) => {
            let hash = digest(error.to_string().as_bytes());
            return failed(hash, unreadable(path, severity, &error));
        }
    };
    let hash = digest(&bytes);
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
fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, Stat)> {
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

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(out, "{byte:02x}");
        out
    })
}
