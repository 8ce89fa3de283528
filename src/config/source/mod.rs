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

use self::find::{Found, Listing, MANAGED, PARTS, Stat, find, follow, role_of, unreadable};
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

/// A file as it would be after a write.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

/// Reads the set, and remembers what it read.
#[derive(Debug)]
pub struct Loader {
    dir: PathBuf,
    /// What relative references are relative to.
    base: PathBuf,
    /// `$CREDENTIALS_DIRECTORY`.
    credentials: Option<PathBuf>,
    /// Sorted by the bytes of their paths.
    files: Vec<File>,
    /// Of finding them.
    problems: Vec<Problem>,
    newest: (i64, i64),
    references: HashMap<PathBuf, KeptReference>,
}

/// A file of the set.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    is_link: bool,
    kept: Kept,
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

/// What is on disk at a place of the set, beside what is remembered of it.
struct Slot<'a> {
    found: &'a Found,
    file: Option<File>,
    is_new: bool,
}

impl Loader {
    pub fn new(dir: &Path, credentials: Option<PathBuf>) -> Self {
        Self {
            dir: dir.to_owned(),
            base: dir.to_owned(),
            credentials,
            files: Vec::new(),
            problems: Vec::new(),
            newest: (0, 0),
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
            if !self.take(&mut found, now) {
                // It is the set of the last time, which did not move then.
                break;
            }
            let again = find(&self.dir);
            let still = found.files.len() == again.files.len()
                && found.files.iter().zip(&again.files).all(|(a, b)| {
                    a.path.as_os_str() == b.path.as_os_str()
                        && a.stat.as_ref().ok() == b.stat.as_ref().ok()
                });
            found = again;
            if still {
                break;
            }
        }
        self.assemble(&[], now)
    }

    /// The set as it was read, with `overlays`. Gives the overlaid files too, for [`Loader::adopt`].
    pub fn with(&mut self, overlays: &[Overlay<'_>], now: Timestamp) -> (SourceSet, Vec<File>) {
        let mut files: Vec<File> = overlays
            .iter()
            .filter_map(|overlay| {
                let role = role_of(&self.dir, overlay.path)?;
                let content = Ok(overlay.text.as_bytes().to_vec());
                Some(File {
                    path: overlay.path.to_owned(),
                    is_link: overlay.path.is_symlink(),
                    kept: parse_file(overlay.path, role, None, content, None),
                })
            })
            .collect();
        files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        (self.assemble(&files, now), files)
    }

    /// Remembers files that were just written, as if they had been read: what happens to them later happens to files
    /// that were good.
    pub fn adopt(&mut self, files: Vec<File>) {
        for file in files {
            match self.position(&file.path) {
                Ok(at) => self.files[at] = file,
                Err(at) => self.files.insert(at, file),
            }
        }
    }

    /// The documents of the set as it was read.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.files.iter().filter_map(|file| file.kept.used())
    }

    /// When something of the set that people change was changed last, as it was read.
    pub fn newest(&self) -> Option<Timestamp> {
        let (seconds, nanoseconds) = self.newest;
        Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
    }

    /// The directories that hold the set.
    pub fn roots(&self) -> Vec<PathBuf> {
        let mut roots: Vec<PathBuf> = vec![self.dir.clone()];
        roots.extend(PARTS.iter().map(|(name, _)| self.dir.join(name)));
        roots.extend(MANAGED.iter().map(|name| self.dir.join(name)));
        roots
    }

    fn position(&self, path: &Path) -> Result<usize, usize> {
        self.files
            .binary_search_by(|file| file.path.as_os_str().cmp(path.as_os_str()))
    }

    /// Makes what was found what is known, reading what may have changed. Whether anything did.
    fn take(&mut self, found: &mut Listing, now: Timestamp) -> bool {
        self.newest = found.newest;
        self.problems = std::mem::take(&mut found.problems);
        let (mut slots, mut is_new) = self.slots(&found.files);
        let mut stale: Vec<&mut Slot<'_>> = slots
            .iter_mut()
            .filter(|slot| !slot.is_fresh(now))
            .collect();
        on_all_cores(&mut stale, |slot| slot.reread());
        is_new |= stale.iter().any(|slot| slot.is_new);
        self.files = slots.into_iter().filter_map(|slot| slot.file).collect();
        is_new
    }

    /// What is known of each file that was found, and whether some are known that were not found. Both lists are
    /// sorted, so this walks them side by side.
    fn slots<'f>(&mut self, found: &'f [Found]) -> (Vec<Slot<'f>>, bool) {
        let mut known = std::mem::take(&mut self.files).into_iter().peekable();
        let mut some_went = false;
        let mut slots = Vec::with_capacity(found.len());
        for found in found {
            let path = found.path.as_os_str();
            while known.next_if(|file| file.path.as_os_str() < path).is_some() {
                some_went = true;
            }
            let mut file = known.next_if(|file| file.path.as_os_str() == path);
            if let Some(file) = &mut file {
                file.is_link = found.is_link;
            }
            slots.push(Slot {
                found,
                file,
                is_new: false,
            });
        }
        (slots, some_went || known.next().is_some())
    }

    fn assemble(&mut self, overlays: &[File], now: Timestamp) -> SourceSet {
        let mut hash = Sha256::new();
        let mut documents = Vec::with_capacity(self.files.len() + overlays.len());
        let mut problems = self.problems.clone();
        for file in overlaid(&self.files, overlays) {
            let name = file.path.strip_prefix(&self.dir).unwrap_or(&file.path);
            hash.update(name.as_os_str().as_encoded_bytes());
            hash.update([0]);
            hash.update(file.kept.hash);
            problems.extend_from_slice(&file.kept.problems);
            documents.extend(file.kept.used().cloned());
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
        let roots = self.roots();
        let links = self.files.iter().filter(|file| file.is_link);
        let referenced = self.references.keys().chain(links.map(|file| &file.path));
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

impl Kept {
    /// What counts: of a key file that is bad now, what it was when it was good.
    fn used(&self) -> Option<&Arc<Document>> {
        let bad = self.problems.iter().any(|p| p.severity == Severity::Key);
        if bad {
            self.last_good.as_ref()
        } else {
            self.document.as_ref()
        }
    }
}

impl Slot<'_> {
    /// Whether the file's metadata proves that it is as it was read.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let stat = self.found.stat.as_ref().ok();
        self.file.as_ref().is_some_and(|file| {
            file.kept.stat.as_ref() == stat && stat.is_some_and(|stat| stat.is_settled(now))
        })
    }

    fn reread(&mut self) {
        let path = &self.found.path;
        let content = read_bounded(path, FILE_BYTES_MAX);
        let stat = content.as_ref().ok().map(|(_, stat)| *stat);
        let content = content.map(|(bytes, _)| bytes);
        if let Some(File { kept, .. }) = &mut self.file {
            let hash = content.as_ref().map(|bytes| digest(bytes));
            if kept.document.is_some() && hash.is_ok_and(|hash| hash == kept.hash) {
                kept.stat = stat;
                return;
            }
        }
        let last_good = self.file.take().and_then(|file| file.kept.last_good);
        self.is_new = true;
        self.file = Some(File {
            path: path.clone(),
            is_link: self.found.is_link,
            kept: parse_file(path, self.found.role, stat, content, last_good),
        });
    }
}

/// Does `work` on each, on all cores where they are many.
fn on_all_cores<T: Send>(items: &mut [T], work: impl Fn(&mut T) + Sync) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let chunk = items.len().div_ceil(threads).max(FILES_A_THREAD_MIN);
    if items.len() <= chunk {
        items.iter_mut().for_each(work);
        return;
    }
    // A panic in one of them goes on in this thread when the scope ends.
    thread::scope(|scope| {
        for chunk in items.chunks_mut(chunk) {
            scope.spawn(|| chunk.iter_mut().for_each(&work));
        }
    });
}

/// `files` with `overlays` in their places; both are sorted.
fn overlaid<'f>(files: &'f [File], overlays: &'f [File]) -> Vec<&'f File> {
    let mut all: Vec<&File> = Vec::with_capacity(files.len() + overlays.len());
    let mut rest = files;
    for overlay in overlays {
        let path = overlay.path.as_os_str();
        let before = rest.partition_point(|file| file.path.as_os_str() < path);
        all.extend(&rest[..before]);
        all.push(overlay);
        rest = &rest[before..];
        if rest
            .first()
            .is_some_and(|file| file.path.as_os_str() == path)
        {
            rest = &rest[1..];
        }
    }
    all.extend(rest);
    all
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
