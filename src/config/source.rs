//! The set of files that is the config: finding them, reading them at one moment, knowing whether they changed.
//!
//! A file is read again only if its metadata changed or is too young to be trusted, and parsed again only if its
//! content changed, so that a look at 100,000 unchanged key files costs their `stat` calls. The set has one hash
//! over the names and contents of everything, files that secrets live in included: equal hash, nothing to do.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::diagnostic::{Place, Problem, Severity};
use super::model::Reference;
use super::parse::{self, Document, Role};
use crate::secret::Secret;

/// Bytes of one config file: stops a stray dump in `conf.d` from being read whole.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one referenced file (secret, certificate chain, CA bundle).
const REFERENCE_BYTES_MAX: u64 = 4 << 20;

/// Files of one set: stops a directory that something else fills from filling memory.
const FILES_MAX: usize = 250_000;

/// Times that the set is read over because it moved meanwhile.
const READS_MAX: usize = 5;

/// Metadata younger than this does not prove that content is unchanged: a second write may carry the same time.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

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

/// Metadata that changes when the content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether enough time has passed since the last change for a further one to show.
    fn is_settled(&self, now: Timestamp) -> bool {
        let newest = self.modified.0.max(self.changed.0);
        let settled_after = i64::try_from(SETTLED_AFTER.as_secs()).unwrap_or(i64::MAX);
        now.as_second().saturating_sub(newest) > settled_after
    }
}

/// A file of the set, found but not read.
struct Found {
    path: PathBuf,
    role: Role,
    is_link: bool,
    stat: io::Result<Stat>,
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
        let mut found = self.find();
        for _ in 0..READS_MAX {
            self.refresh(&found.files, now);
            let again = self.find();
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
        let found = self.find();
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

    /// Reads what changed of `found`.
    fn refresh(&mut self, found: &[Found], now: Timestamp) {
        for file in found {
            let known = self.files.get(&file.path);
            let stat = file.stat.as_ref().ok().copied();
            if let Some(known) = known
                && known.stat.is_some()
                && known.stat == stat
                && stat.is_some_and(|stat| stat.is_settled(now))
            {
                continue;
            }
            let content = read_bounded(&file.path, FILE_BYTES_MAX);
            let unchanged = known.is_some_and(|known| {
                known.document.is_some()
                    && content
                        .as_ref()
                        .is_ok_and(|(bytes, _)| digest(bytes) == known.hash)
            });
            let stat = content.as_ref().ok().map(|(_, stat)| *stat);
            if unchanged {
                if let Some(known) = self.files.get_mut(&file.path) {
                    known.stat = stat;
                }
                continue;
            }
            let last_good = known.and_then(|known| known.last_good.clone());
            let content = content.map(|(bytes, _)| bytes);
            let kept = parse_file(&file.path, file.role, stat, content, last_good);
            self.files.insert(file.path.clone(), kept);
        }
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

    /// Directories whose changes may change the set.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut roots: Vec<PathBuf> = vec![self.dir.clone()];
        roots.extend(PARTS.iter().map(|(name, _)| self.dir.join(name)));
        roots.extend(MANAGED.iter().map(|name| self.dir.join(name)));
        let referenced = self.references.keys().chain(&self.links);
        let mut dirs = Vec::new();
        for path in roots.iter().chain(referenced) {
            follow(path, &mut dirs);
        }
        dirs.extend(roots);
        dirs.sort();
        dirs.dedup();
        dirs.retain(|dir| dir.is_dir());
        dirs
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

/// The directories under the config directory, and what their files are.
const PARTS: &[(&str, Role)] = &[
    ("conf.d", Role::Part),
    ("keys.d", Role::Keys),
    ("managed.d", Role::Part),
];

/// Directories that hold one file for each object made by the admin API.
const MANAGED: &[&str] = &["managed.d/repositories", "managed.d/resources"];

/// What a file is by its place, `None` if it is no part of the set.
fn role_of(dir: &Path, path: &Path) -> Option<Role> {
    let name = path.strip_prefix(dir).ok()?;
    if name == Path::new("aqueduct.toml") {
        return Some(Role::Root);
    }
    let first = name.components().next()?;
    PARTS
        .iter()
        .find(|(part, _)| first.as_os_str() == *part)
        .map(|(_, role)| *role)
}

struct Listing {
    files: Vec<Found>,
    problems: Vec<Problem>,
}

impl Loader {
    fn find(&self) -> Listing {
        let mut listing = Listing {
            files: Vec::new(),
            problems: Vec::new(),
        };
        let root = self.dir.join("aqueduct.toml");
        match fs::metadata(&root) {
            Ok(meta) => listing.files.push(Found {
                is_link: root.is_symlink(),
                path: root,
                role: Role::Root,
                stat: Ok(Stat::of(&meta)),
            }),
            Err(error) => listing
                .problems
                .push(unreadable(&root, Severity::Error, &error)),
        }
        for (name, role) in PARTS {
            listing.directory(&self.dir.join(name), *role);
        }
        for name in MANAGED {
            listing.directory(&self.dir.join(name), Role::Part);
        }
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        if listing.files.len() > FILES_MAX {
            listing.files.truncate(FILES_MAX);
            listing.problems.push(Problem::new(
                Severity::Error,
                "E007",
                Place::file(&self.dir),
                format!("more than {FILES_MAX} files"),
            ));
        }
        listing
    }
}

impl Listing {
    fn directory(&mut self, dir: &Path, role: Role) {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.problems.push(unreadable(dir, Severity::Error, &error));
                return;
            }
        };
        for entry in entries {
            let (path, kind) = match entry {
                Ok(entry) => (entry.path(), entry.file_type()),
                Err(error) => {
                    self.problems.push(unreadable(dir, Severity::Error, &error));
                    continue;
                }
            };
            if is_ignored(&path) {
                continue;
            }
            let stat = fs::metadata(&path);
            if stat.as_ref().is_ok_and(Metadata::is_dir) {
                continue;
            }
            self.files.push(Found {
                path,
                role,
                is_link: kind.is_ok_and(|kind| kind.is_symlink()),
                stat: stat.map(|meta| Stat::of(&meta)),
            });
            if self.files.len() > FILES_MAX {
                return;
            }
        }
    }
}

/// Editors' and tools' leftovers, and whatever is not TOML.
fn is_ignored(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return true;
    };
    path.extension().is_none_or(|extension| extension != "toml")
        || name.starts_with(['.', '#'])
        || name.contains(".tmp")
        || name.contains('~')
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

fn unreadable(path: &Path, severity: Severity, error: &io::Error) -> Problem {
    Problem::new(
        severity,
        "E007",
        Place::file(path),
        format!("cannot be read: {error}"),
    )
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

/// Adds the directories of `path` and of every hop, if it or a directory above it is a symbolic link.
fn follow(path: &Path, dirs: &mut Vec<PathBuf>) {
    /// As the kernel has it.
    const HOPS_MAX: usize = 40;
    let mut at = path.to_owned();
    for _ in 0..HOPS_MAX {
        let Some(parent) = at.parent().map(Path::to_owned) else {
            return;
        };
        // The innermost link on the way: the path itself, or a directory above it.
        let link = at
            .ancestors()
            .find_map(|step| Some((step.to_owned(), fs::read_link(step).ok()?)));
        dirs.push(parent);
        let Some((step, target)) = link else { return };
        let Some(above) = step.parent() else { return };
        dirs.push(above.to_owned());
        let rest = at.strip_prefix(&step).map(Path::to_owned);
        let target = above.join(target);
        at = match rest {
            Ok(rest) if !rest.as_os_str().is_empty() => target.join(rest),
            Ok(_) | Err(_) => target,
        };
    }
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
