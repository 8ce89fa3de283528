//! Writing config files so that a crash at any instant leaves the old file or the new one.
//!
//! A new content is written beside its target under a dot name, synced, and renamed over it; then the directory
//! is synced. Names that a crash left behind are swept at start, under the same lock that writers hold.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, Mode, Uid, fchmod, fchown, flock};

use super::step::{Step, reached};

/// The name of the lock file in the config directory.
pub(super) const LOCK_NAME: &str = ".aqueduct.lock";

/// Bytes of a file that is edited. Stops a stray dump from being read whole.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What stands between a temporary file's name and its random part.
const TEMPORARY: &str = ".tmp-";

/// Characters of a temporary name's random part.
const TEMPORARY_CHARS: usize = 16;

/// Held while the config directory is written; writers of other processes wait. Closing the file frees it.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] Option<File>);

impl Lock {
    /// Waits for the lock. The lock file may belong to another user: reading is enough to lock. Where there is none
    /// and we may not make one, we may not write a file either, and nothing needs a lock.
    pub(super) fn take(dir: &Path) -> io::Result<Self> {
        let path = dir.join(LOCK_NAME);
        let made = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o644)
            .open(&path);
        let file = match made {
            Ok(file) => file,
            Err(error) if is_refusal(&error) => match File::open(&path) {
                Ok(file) => file,
                Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(Self(None)),
                Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(Some(file)))
    }
}

/// Whether an error says that we may not write here, rather than that we cannot now.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Makes `text` the content of `path`, if what is there is `before`; `None`: whatever is there, or nothing. A file
/// that was there keeps its owner and mode; a new one is private, and belongs to the owner of its directory.
///
/// Others who write here (an editor, git) take no lock: what they wrote meanwhile is left alone, and the error is
/// [`is_moved`].
pub(super) fn replace(
    path: &Path,
    before: Option<&str>,
    text: &str,
    random: u64,
) -> io::Result<()> {
    let (Some(dir), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let temporary = dir.join(format!(".{name}{TEMPORARY}{random:0TEMPORARY_CHARS$x}"));
    let written = write_private(&temporary, path, dir, text.as_bytes())
        .and_then(|()| before.map_or(Ok(()), |before| compare(path, before)))
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // What is left is swept at the next start; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    reached(Step::Renamed);
    sync_dir(dir)?;
    reached(Step::DirSynced);
    Ok(())
}

/// Whether a file was not replaced because somebody else had changed it.
pub(super) fn is_moved(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Moved>)
}

#[derive(Debug, thiserror::Error)]
#[error("somebody else changed the file meanwhile")]
struct Moved;

fn compare(path: &Path, before: &str) -> io::Result<()> {
    match read(path) {
        Ok(text) if text == before => Ok(()),
        Ok(_) => Err(io::Error::other(Moved)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::other(Moved)),
        Err(error) => Err(error),
    }
}

fn write_private(temporary: &Path, target: &Path, dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    match fs::metadata(target) {
        Ok(old) => {
            give(&file, &old)?;
            fchmod(&file, Mode::from_raw_mode(old.mode() & 0o7777))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => give(&file, &fs::metadata(dir)?)?,
        Err(error) => return Err(error),
    }
    reached(Step::Created);
    file.write_all(bytes)?;
    file.sync_all()?;
    reached(Step::Synced);
    Ok(())
}

/// Gives a new file to the owner of `like`: what root writes, the service must be able to read.
fn give(file: &File, like: &fs::Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if own.uid() == like.uid() && own.gid() == like.gid() {
        return Ok(());
    }
    let is_root = rustix::process::geteuid().is_root();
    if own.uid() == like.uid() || is_root {
        let owner = is_root.then(|| Uid::from_raw(like.uid()));
        fchown(file, owner, Some(Gid::from_raw(like.gid())))?;
        return Ok(());
    }
    // A directory shared by a group: our own file in it is ours.
    if like.is_dir() {
        return Ok(());
    }
    Err(io::ErrorKind::PermissionDenied.into())
}

/// Gives a file that root made to the owner of its directory.
pub(super) fn adopt(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    give(&File::open(path)?, &fs::metadata(parent)?)
}

/// Makes a directory that only its owner can read, if it is not there.
pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            let parent = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
            give(&File::open(path)?, &fs::metadata(parent)?)?;
            sync_dir(parent)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a rename in `dir` survive a crash.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes temporary files that a crash left in `dir`, and says which. Call it under the lock.
pub(super) fn sweep(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut swept = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_temporary) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            swept.push(entry.path());
        }
    }
    Ok(swept)
}

fn is_temporary(name: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|rest| rest.rsplit_once(TEMPORARY))
        .is_some_and(|(name, random)| {
            name.as_bytes().ends_with(b".toml")
                && random.len() == TEMPORARY_CHARS
                && random.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_files_are_private_and_old_ones_keep_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        replace(&path, None, "one", 1).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, Some("one"), "two", 2).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        fs::write(&path, "theirs").unwrap();
        let error = replace(&path, Some("as it was read"), "ours", 1).unwrap_err();
        assert!(is_moved(&error));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        fs::remove_file(&path).unwrap();
        assert!(is_moved(&replace(&path, Some("x"), "ours", 1).unwrap_err()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_our_own_leftovers_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let keep = [
            "a.toml",
            ".hidden",
            ".a.toml.tmp-12",
            ".a.toml.swp",
            ".a.txt.tmp-0123456789abcdef",
            "a.toml.tmp-0123456789abcdef",
        ];
        for name in keep {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(dir.path().join(".a.toml.tmp-0123456789abcdef"), "").unwrap();
        let swept = sweep(dir.path()).unwrap();
        assert_eq!(swept, [dir.path().join(".a.toml.tmp-0123456789abcdef")]);
        for name in keep {
            assert!(dir.path().join(name).exists(), "{name}");
        }
        assert!(sweep(&dir.path().join("absent")).unwrap().is_empty());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(replace(&path, None, "text", 1).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
