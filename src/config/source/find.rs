//! Which files are the config: where they are looked for, and what tells that one changed.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags, makedev, open, statx};

use crate::config::diagnostic::{Place, Problem, Severity};
use crate::config::parse::Role;

/// Files of one set: stops a directory that something else fills from filling memory.
const FILES_MAX: usize = 250_000;

/// Bytes of names and inodes that are had of the kernel at a time.
const LISTING_BYTES: usize = 256 << 10;

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

    /// Of a file that is named in an open directory: the path to it is not walked again.
    fn within(dir: &OwnedFd, name: &[u8]) -> io::Result<Self> {
        let wanted = StatxFlags::INO | StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::CTIME;
        let meta = statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, wanted)?;
        let time = |seconds: i64, nanoseconds: u32| (seconds, i64::from(nanoseconds));
        Ok(Self {
            device: makedev(meta.stx_dev_major, meta.stx_dev_minor),
            inode: meta.stx_ino,
            size: meta.stx_size,
            modified: time(meta.stx_mtime.tv_sec, meta.stx_mtime.tv_nsec),
            changed: time(meta.stx_ctime.tv_sec, meta.stx_ctime.tv_nsec),
        })
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
    /// The inode that the directory names: another one, another file. The file's own where that is not a link.
    pub(super) entry: u64,
    seen: Seen,
}

/// What was looked at of a file.
enum Seen {
    /// Its name in the directory of keys.
    Name,
    /// Its metadata.
    Stat(io::Result<Stat>),
}

impl Found {
    /// Looks at the metadata of a file of which only the name is known, in the directory of keys.
    pub(super) fn look(&mut self, keys: &OwnedFd) {
        if !self.is_looked_at() {
            self.seen = Seen::Stat(Stat::within(keys, name_of(&self.path)));
        }
    }

    pub(super) fn is_looked_at(&self) -> bool {
        matches!(self.seen, Seen::Stat(_))
    }

    /// The metadata, if it was looked at and had.
    pub(super) fn stat(&self) -> Option<&Stat> {
        match &self.seen {
            Seen::Name => None,
            Seen::Stat(stat) => stat.as_ref().ok(),
        }
    }
}

pub(super) struct Listing {
    /// Sorted by the bytes of their paths.
    pub(super) files: Vec<Found>,
    pub(super) problems: Vec<Problem>,
    /// When something that people change was changed last: seconds and nanoseconds. Keys are files that we write,
    /// each in one step, and count for nothing.
    pub(super) newest: (i64, i64),
    /// The directory of keys, open.
    pub(super) keys: Option<OwnedFd>,
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

/// Finds the files of the config in `dir`: all names, and the metadata of everything but plain key files.
/// About `expected` files are there.
pub(super) fn find(dir: &Path, expected: usize) -> Listing {
    let mut listing = Listing {
        // A few may have come.
        files: Vec::with_capacity(expected + 64),
        problems: Vec::new(),
        newest: (0, 0),
        keys: None,
    };
    listing.note(dir);
    let root = dir.join("aqueduct.toml");
    match fs::metadata(&root) {
        Ok(meta) => listing.files.push(Found {
            is_link: root.is_symlink(),
            path: root,
            role: Role::Root,
            entry: meta.ino(),
            seen: Seen::Stat(Ok(Stat::of(&meta))),
        }),
        Err(error) => listing
            .problems
            .push(unreadable(&root, Severity::Error, &error)),
    }
    for (name, role) in PARTS {
        let part = dir.join(name);
        let listed = match role {
            Role::Root | Role::Part => listing.directory(&part, *role),
            Role::Keys => listing.directory_of_keys(&part),
        };
        listing.report(&part, listed);
    }
    for name in MANAGED {
        let part = dir.join(name);
        let listed = listing.directory(&part, Role::Part);
        listing.report(&part, listed);
    }
    // By bytes: comparing paths part by part takes ten times as long.
    listing
        .files
        .sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    let stats = listing.files.iter().filter(|file| file.role != Role::Keys);
    let newest = stats.filter_map(|file| Some(file.stat()?.changed)).max();
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

    /// A directory that is not there is an empty one.
    fn report(&mut self, dir: &Path, listed: io::Result<()>) {
        if let Err(error) = listed
            && error.kind() != io::ErrorKind::NotFound
        {
            self.problems.push(unreadable(dir, Severity::Error, &error));
        }
    }

    fn directory(&mut self, dir: &Path, role: Role) -> io::Result<()> {
        let entries = fs::read_dir(dir)?;
        self.note(dir);
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if is_ignored(name_of(&path)) {
                continue;
            }
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            self.add(path, role, is_link, entry.ino());
            if self.files.len() > FILES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// As [`Self::directory`], for 100,000 files: of a plain one there is one allocation, its path, and its metadata
    /// is left for later.
    fn directory_of_keys(&mut self, dir: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let keys = open(dir, flags, Mode::empty())?;
        let mut buffer = Vec::with_capacity(LISTING_BYTES);
        let mut entries = RawDir::new(&keys, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if is_ignored(name) {
                continue;
            }
            let path = joined(dir, name);
            if entry.file_type() == FileType::RegularFile {
                self.files.push(Found {
                    path,
                    role: Role::Keys,
                    is_link: false,
                    entry: entry.ino(),
                    seen: Seen::Name,
                });
            } else {
                // Some file systems do not say what it is.
                let is_link = path.is_symlink();
                self.add(path, Role::Keys, is_link, entry.ino());
            }
            if self.files.len() > FILES_MAX {
                break;
            }
        }
        self.keys = Some(keys);
        Ok(())
    }

    /// Adds a file with its metadata, if it is no directory.
    fn add(&mut self, path: PathBuf, role: Role, is_link: bool, entry: u64) {
        let meta = fs::metadata(&path);
        if meta.as_ref().is_ok_and(Metadata::is_dir) {
            return;
        }
        self.files.push(Found {
            path,
            role,
            is_link,
            entry,
            seen: Seen::Stat(meta.map(|meta| Stat::of(&meta))),
        });
    }
}

fn joined(dir: &Path, name: &[u8]) -> PathBuf {
    let dir = dir.as_os_str().as_encoded_bytes();
    OsString::from_vec([dir, b"/", name].concat()).into()
}

/// What stands after the last slash.
fn name_of(path: &Path) -> &[u8] {
    let path = path.as_os_str().as_encoded_bytes();
    let start = path.iter().rposition(|byte| *byte == b'/');
    path.get(start.map_or(0, |at| at + 1)..).unwrap_or(path)
}

/// Editors' and tools' leftovers, and whatever is not TOML.
fn is_ignored(name: &[u8]) -> bool {
    !name.ends_with(b".toml")
        || name.starts_with(b".")
        || name.starts_with(b"#")
        || name.contains(&b'~')
        || name.windows(4).any(|part| part == b".tmp")
        || std::str::from_utf8(name).is_err()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_no_part_of_the_set() {
        for name in ["a.toml", "prod--7d0c9a52.toml", "a.b.toml", "é.toml"] {
            assert!(
                !is_ignored(name_of(&Path::new("/x.tmp/~y").join(name))),
                "{name}"
            );
        }
        let others = [
            ".a.toml",
            "#a.toml",
            "a.toml~",
            "a~.toml",
            "a.tmp-1.toml",
            "a.toml.swp",
            "a",
            "atoml",
            ".toml",
            "a.TOML",
        ];
        for name in others {
            assert!(is_ignored(name.as_bytes()), "{name}");
        }
        assert!(is_ignored(b"\xff.toml"));
    }
}
