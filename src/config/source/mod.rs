//! The set of files that is the config: finding them, reading them at one moment, knowing whether they changed.
//!
//! A file is read again only if its metadata changed or is too young to be trusted, and parsed again only if its
//! content changed. The set has one hash over the names and contents of everything, files that secrets live in
//! included: equal hash, nothing to do.
//!
//! # What a look costs
//!
//! A look at 100,000 unchanged key files lists their directory (a third of the time) and asks for the metadata of
//! each (two thirds, on all cores). A set is loaded only after a look that found everything as it had been read, so
//! what is loaded was on disk together. Hence one change costs two looks; but the listing alone tells most: a file
//! that came, went, or was renamed over another has another name or inode. So what differs in the listing is read
//! first, and the full look that follows proves both that nothing was written in place and that nothing moved
//! meanwhile. Only a key file that is written in place, its inode kept, costs two full looks.
//!
//! Rejected: to believe the directory's own time of change, which a write in place leaves alone; to believe the events
//! of the watcher, which get lost; to leave out the last look for key files, since a load between two steps of a
//! deployment would serve a mixture.

mod difference;
mod file;
mod find;
mod references;
mod watched;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use self::file::Slot;
use self::find::{Found, MANAGED, PARTS, find, role_of};
use self::references::Referred;
use super::diagnostic::Problem;
use super::parse::Document;
pub use difference::Difference;
pub use file::File;
pub use references::References;
pub use watched::Watched;

/// Fewer files are not worth a thread.
const FILES_A_THREAD_MIN: usize = 16;

/// Times that the set is looked at because it moved meanwhile.
const LOOKS_MAX: usize = 6;

/// A whole config, read at one moment.
#[derive(Debug)]
pub struct SourceSet {
    /// Sorted by path.
    pub documents: Arc<[Arc<Document>]>,
    /// Of reading and parsing.
    pub problems: Vec<Problem>,
    /// SHA-256, hex, over everything that was read.
    pub hash: Box<str>,
    /// What `file:` and `credential:` references hold.
    pub references: References,
}

/// A file as it would be after a write.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

/// Files that are about to be written, and the set with them.
#[derive(Debug)]
pub struct Ahead {
    files: Vec<File>,
    gathered: Gathered,
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
    /// What `files` come to, if they are as they were when that was gathered.
    gathered: Option<Gathered>,
    referred: Referred,
}

/// What the files of a set come to.
#[derive(Clone, Debug)]
struct Gathered {
    documents: Arc<[Arc<Document>]>,
    problems: Vec<Problem>,
    /// Over the names and contents of the files.
    hash: Sha256,
    /// What the documents refer to, sorted.
    referred: Vec<PathBuf>,
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
            gathered: None,
            referred: Referred::default(),
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
        for _ in 0..LOOKS_MAX {
            if !self.look(now) {
                break;
            }
        }
        let gathered = match self.gathered.take() {
            Some(gathered) => gathered,
            None => self.gather(&[]),
        };
        let set = self.set(&gathered, now);
        self.gathered = Some(gathered);
        set
    }

    /// The set as it was read, with `overlays`. Gives the overlaid files too, for [`Loader::adopt`].
    pub fn with(&mut self, overlays: &[Overlay<'_>], now: Timestamp) -> (SourceSet, Ahead) {
        let mut files: Vec<File> = overlays
            .iter()
            .filter_map(|overlay| {
                let role = role_of(&self.dir, overlay.path)?;
                Some(File::to_be(overlay.path, role, overlay.text))
            })
            .collect();
        files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        let gathered = self.gather(&files);
        let set = self.set(&gathered, now);
        (set, Ahead { files, gathered })
    }

    /// Remembers files that were just written, as if they had been read: what happens to them later happens to files
    /// that were good. Nothing may have been read since they were made.
    pub fn adopt(&mut self, ahead: Ahead) {
        for file in ahead.files {
            match self.position(&file.path) {
                Ok(at) => self.files[at] = file,
                Err(at) => self.files.insert(at, file),
            }
        }
        self.gathered = Some(ahead.gathered);
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

    /// Looks at everything, and reads what may have changed. Whether anything did: then it is looked at again.
    fn look(&mut self, now: Timestamp) -> bool {
        let mut listing = find(&self.dir, self.files.len());
        self.newest = listing.newest;
        self.problems = std::mem::take(&mut listing.problems);
        let some_went = self.align(&listing.files);
        let found = listing.files.iter_mut();
        let mut slots: Vec<Slot<'_>> = found.zip(&mut self.files).map(Slot::of).collect();
        let (mut others, mut rest): (Vec<_>, Vec<_>) = slots.iter_mut().partition(|slot| {
            !slot.is_there() || (slot.found.is_looked_at() && !slot.is_fresh(now))
        });
        on_all_cores(&mut others, |slot| slot.reread());
        let mut is_new = some_went || others.iter().any(|slot| slot.is_new);
        if !is_new && let Some(keys) = &listing.keys {
            on_all_cores(&mut rest, |slot| {
                slot.found.look(keys);
                if !slot.is_fresh(now) {
                    slot.reread();
                }
            });
            is_new = rest.iter().any(|slot| slot.is_new);
        }
        if is_new {
            self.gathered = None;
        }
        is_new
    }

    /// Makes the files that are known those that were found, one for one. Whether some are known that were not found.
    /// Both lists are sorted, so this walks them side by side; mostly they are the same, and nothing is moved.
    fn align(&mut self, found: &[Found]) -> bool {
        let is_same = |(file, found): (&File, &Found)| {
            file.path.as_os_str() == found.path.as_os_str() && file.is_link == found.is_link
        };
        if self.files.len() == found.len() && self.files.iter().zip(found).all(is_same) {
            return false;
        }
        let mut known = std::mem::take(&mut self.files).into_iter().peekable();
        let mut some_went = false;
        self.files.reserve(found.len());
        for found in found {
            let path = found.path.as_os_str();
            while known.next_if(|file| file.path.as_os_str() < path).is_some() {
                some_went = true;
            }
            let file = known.next_if(|file| file.path.as_os_str() == path);
            let mut file = file.unwrap_or_else(|| File::unread(&found.path));
            file.is_link = found.is_link;
            self.files.push(file);
        }
        some_went || known.next().is_some()
    }

    fn gather(&self, overlays: &[File]) -> Gathered {
        // By bytes: comparing paths part by part takes ten times as long.
        let dir = self.dir.as_os_str().as_encoded_bytes();
        let mut hash = Sha256::new();
        let mut documents = Vec::with_capacity(self.files.len() + overlays.len());
        let mut problems = Vec::new();
        for file in overlaid(&self.files, overlays) {
            let path = file.path.as_os_str().as_encoded_bytes();
            let name = path.strip_prefix(dir).unwrap_or(path);
            hash.update(name.strip_prefix(b"/").unwrap_or(name));
            hash.update([0]);
            hash.update(file.kept.hash);
            problems.extend_from_slice(&file.kept.problems);
            documents.extend(file.kept.used().cloned());
        }
        let references = self.references();
        let mut referred: Vec<PathBuf> = documents
            .iter()
            .filter(|document| document.has_references)
            .flat_map(|document| document.file.references())
            .filter_map(|reference| references.path(reference))
            .collect();
        referred.sort();
        referred.dedup();
        Gathered {
            documents: documents.into(),
            problems,
            hash,
            referred,
        }
    }

    fn set(&mut self, gathered: &Gathered, now: Timestamp) -> SourceSet {
        let references = self.references();
        let references = self.referred.read(&gathered.referred, references, now);
        let hash = gathered.hash.clone().chain_update(references.hash);
        SourceSet {
            documents: Arc::clone(&gathered.documents),
            problems: [&*self.problems, &*gathered.problems].concat(),
            hash: hex(&hash.finalize()).into(),
            references,
        }
    }

    fn references(&self) -> References {
        References::none(&self.base, self.credentials.clone())
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

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests;
