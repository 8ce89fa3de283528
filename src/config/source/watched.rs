//! Which directories to watch for changes of the set, and which of their events count.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Loader;
use super::find::follow;

impl Loader {
    /// What to watch.
    pub fn watched(&self) -> Watched {
        let roots = self.roots();
        let links = self.files.iter().filter(|file| file.is_link);
        let referenced = self.referred.paths().chain(links.map(|file| &file.path));
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
