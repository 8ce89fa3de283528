//! Which files are the config: where they are looked for, and what tells that one changed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::diagnostic::{Place, Problem, Severity};
use crate::config::parse::Role;

/// Files of one set: stops a directory that something else fills from filling memory.
const FILES_MAX: usize = 250_000;

/// Metadata younger than this does not prove that content is unchanged: a second write may carry the same time.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Metadata that changes when the content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether enough time has passed since the last change for a further one to show.
    pub(super) fn is_settled(&self, now: Timestamp) -> bool {
        let newest = self.modified.0.max(self.changed.0);
        let settled_after = i64::try_from(SETTLED_AFTER.as_secs()).unwrap_or(i64::MAX);
        now.as_second().saturating_sub(newest) > settled_after
    }
}

/// A file of the set, found but not read.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) role: Role,
    pub(super) is_link: bool,
    pub(super) stat: io::Result<Stat>,
}

pub(super) struct Listing {
    /// Sorted by the bytes of their paths.
    pub(super) files: Vec<Found>,
    pub(super) problems: Vec<Problem>,
    /// When something that people change was changed last: seconds and nanoseconds. Keys are files that we write,
    /// each in one step, and count for nothing.
    pub(super) newest: (i64, i64),
}

/// The directories under the config directory, and what their files are.
pub(super) const PARTS: &[(&str, Role)] = &[
    ("conf.d", Role::Part),
    ("keys.d", Role::Keys),
    ("managed.d", Role::Part),
];

/// Directories that hold one file for each object made by the admin API.
pub(super) const MANAGED: &[&str] = &["managed.d/repositories", "managed.d/resources"];

/// What a file is by its place, `None` if it is no part of the set.
pub(super) fn role_of(dir: &Path, path: &Path) -> Option<Role> {
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

/// Finds the files of the config in `dir`.
pub(super) fn find(dir: &Path) -> Listing {
    let mut listing = Listing {
        files: Vec::new(),
        problems: Vec::new(),
        newest: (0, 0),
    };
    listing.note(dir);
    let root = dir.join("aqueduct.toml");
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
        listing.directory(&dir.join(name), *role);
    }
    for name in MANAGED {
        listing.directory(&dir.join(name), Role::Part);
    }
    // By bytes: comparing paths part by part takes ten times as long.
    listing
        .files
        .sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    let stats = listing.files.iter().filter(|file| file.role != Role::Keys);
    let newest = stats
        .filter_map(|file| Some(file.stat.as_ref().ok()?.changed))
        .max();
    listing.newest = listing.newest.max(newest.unwrap_or_default());
    if listing.files.len() > FILES_MAX {
        listing.files.truncate(FILES_MAX);
        listing.problems.push(Problem::new(
            Severity::Error,
            "E007",
            Place::file(dir),
            format!("more than {FILES_MAX} files"),
        ));
    }
    listing
}

impl Listing {
    /// Notes when a directory changed, as it does when files come and go.
    fn note(&mut self, dir: &Path) {
        if let Ok(meta) = fs::metadata(dir) {
            self.newest = self.newest.max(Stat::of(&meta).changed);
        }
    }

    fn directory(&mut self, dir: &Path, role: Role) {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.problems.push(unreadable(dir, Severity::Error, &error));
                return;
            }
        };
        if role != Role::Keys {
            self.note(dir);
        }
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.problems.push(unreadable(dir, Severity::Error, &error));
                    continue;
                }
            };
            let path = entry.path();
            if is_ignored(&path) {
                continue;
            }
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            // The entry's own is had without walking the path again.
            let stat = if is_link {
                fs::metadata(&path)
            } else {
                entry.metadata()
            };
            if stat.as_ref().is_ok_and(Metadata::is_dir) {
                continue;
            }
            self.files.push(Found {
                path,
                role,
                is_link,
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

pub(super) fn unreadable(path: &Path, severity: Severity, error: &io::Error) -> Problem {
    Problem::new(
        severity,
        "E007",
        Place::file(path),
        format!("cannot be read: {error}"),
    )
}

/// Adds `path` and, if it or a directory above it is a symbolic link, every link and target on the way.
pub(super) fn follow(path: &Path, steps: &mut Vec<PathBuf>) {
    /// As the kernel has it.
    const HOPS_MAX: usize = 40;
    let mut at = path.to_owned();
    for _ in 0..HOPS_MAX {
        // The innermost link on the way: the path itself, or a directory above it.
        let link = at
            .ancestors()
            .find_map(|step| Some((step.to_owned(), fs::read_link(step).ok()?)));
        steps.push(at.clone());
        let Some((step, target)) = link else { return };
        let Some(above) = step.parent() else { return };
        steps.push(step.clone());
        let rest = at.strip_prefix(&step).map(Path::to_owned);
        let target = above.join(target);
        at = match rest {
            Ok(rest) if !rest.as_os_str().is_empty() => target.join(rest),
            Ok(_) | Err(_) => target,
        };
    }
}
