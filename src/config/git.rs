//! Whether git is changing the files that are the config.
//!
//! A checkout removes, makes and rewrites files one by one, under `index.lock`, and ends by replacing the index.
//! What is read while that file exists, or while the index became another, may be a mixture of two commits.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of a `.git` file, which names one directory.
const GIT_FILE_BYTES_MAX: u64 = 8192;

/// The state of the repositories above the config. Two that are equal, with a read between them: no command of git
/// changed a file meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment(Vec<Index>);

/// Tells an index from the one that replaced it: inode, size, and time of change.
type Index = (PathBuf, Option<(u64, u64, i64, i64)>);

/// The moment, or `None` while a command is at work. `roots` are the directories that hold config files; what a
/// link among them points to counts too.
pub(super) fn moment(roots: &[PathBuf]) -> Option<Moment> {
    let mut seen = Vec::new();
    for root in roots {
        let real = root.canonicalize();
        let paths = [Some(root.as_path()), real.as_deref().ok()];
        for above in paths.into_iter().flatten().flat_map(Path::ancestors) {
            let Some(dir) = git_dir(above) else { continue };
            if seen.iter().any(|(known, _)| *known == dir) {
                continue;
            }
            if dir.join("index.lock").exists() {
                return None;
            }
            let index = fs::metadata(dir.join("index")).ok();
            let index =
                index.map(|meta| (meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()));
            seen.push((dir, index));
        }
    }
    Some(Moment(seen))
}

/// Where git keeps what it knows of the work tree at `above`, if that is one. In a linked work tree `.git` is a file
/// that says where.
fn git_dir(above: &Path) -> Option<PathBuf> {
    let git = above.join(".git");
    let meta = fs::metadata(&git).ok()?;
    if meta.is_dir() {
        return Some(git);
    }
    if !meta.is_file() || meta.len() > GIT_FILE_BYTES_MAX {
        return None;
    }
    let text = fs::read_to_string(&git).ok()?;
    Some(above.join(text.strip_prefix("gitdir:")?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_above_the_config_or_behind_a_link_is_seen() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        for dir in ["etc/config", "etc/.git", "checkout/conf", "store/trees/one"] {
            fs::create_dir_all(base.join(dir)).unwrap();
        }
        fs::write(base.join("checkout/.git"), "gitdir: ../store/trees/one\n").unwrap();
        let conf = base.join("etc/config/conf.d");
        std::os::unix::fs::symlink(base.join("checkout/conf"), &conf).unwrap();
        let roots = [base.join("etc/config"), conf];
        let quiet = moment(&roots).unwrap();
        assert_eq!(moment(&roots), Some(quiet.clone()));
        for git in ["etc/.git", "store/trees/one"] {
            fs::write(base.join(git).join("index.lock"), "").unwrap();
            assert_eq!(moment(&roots), None, "{git}");
            fs::rename(
                base.join(git).join("index.lock"),
                base.join(git).join("index"),
            )
            .unwrap();
            assert_ne!(moment(&roots), Some(quiet.clone()), "{git}");
        }
    }
}
