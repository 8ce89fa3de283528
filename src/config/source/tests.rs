use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

#[expect(clippy::disallowed_methods, reason = "file times are compared with it")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn fill(dir: &Path) {
    for part in ["conf.d", "keys.d"] {
        fs::create_dir(dir.join(part)).unwrap();
    }
    fs::write(dir.join("aqueduct.toml"), "version = 1\n").unwrap();
    fs::write(dir.join("conf.d/a.toml"), "# A.\n").unwrap();
    fs::write(dir.join("keys.d/k.toml"), "# K.\n").unwrap();
}

#[test]
fn one_look_is_enough_where_nothing_changed() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path();
    fill(dir);
    fs::write(dir.join("keys.d/binary.toml"), [0xff]).unwrap();
    fs::write(dir.join("elsewhere"), "# Linked.\n").unwrap();
    for part in ["conf.d", "keys.d"] {
        symlink("nowhere", dir.join(part).join("broken.toml")).unwrap();
        symlink("../elsewhere", dir.join(part).join("linked.toml")).unwrap();
        fs::create_dir(dir.join(part).join("directory.toml")).unwrap();
    }
    let mut loader = Loader::new(dir, None);
    let first = loader.read(now());
    assert_eq!(loader.files.len(), 8);
    assert!(!loader.look(now()), "what cannot be read is not new again");
    let second = loader.read(now());
    assert_eq!(first.hash, second.hash);
    assert!(Arc::ptr_eq(&first.documents, &second.documents));
    // Old enough for its metadata to be trusted.
    let later = now() + jiff::SignedDuration::from_mins(1);
    assert!(!loader.look(later));
}

#[test]
fn every_change_is_seen_by_one_look_and_confirmed_by_the_next() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path();
    fill(dir);
    let mut loader = Loader::new(dir, None);
    // Long after, so that nothing is read for being young.
    let later = now() + jiff::SignedDuration::from_mins(1);
    let mut hash = loader.read(later).hash;
    let mut check_at = |at: Timestamp, what: &str, change: &dyn Fn()| {
        change();
        assert!(loader.look(at), "{what}");
        assert!(!loader.look(at), "{what}");
        let set = loader.read(at);
        assert_ne!(set.hash, hash, "{what}");
        hash = set.hash;
        let files: Vec<_> = loader.files.iter().map(|file| file.path.clone()).collect();
        assert!(files.is_sorted());
    };
    for name in ["conf.d/a.toml", "keys.d/k.toml"] {
        let path = dir.join(name);
        let other = dir.join("other");
        let mut check = |what: &str, change: &dyn Fn()| check_at(later, what, change);
        check("written in place", &|| {
            fs::write(&path, "# Longer.\n").unwrap();
        });
        check("renamed over", &|| {
            fs::write(&other, "# Renamed.\n").unwrap();
            fs::rename(&other, &path).unwrap();
        });
        check("removed", &|| fs::remove_file(&path).unwrap());
        check("there again", &|| {
            fs::write(&path, "# Again.\n").unwrap();
        });
        check("a link", &|| {
            fs::write(&other, "# Linked.\n").unwrap();
            fs::remove_file(&path).unwrap();
            symlink(&other, &path).unwrap();
        });
        check("what it points at", &|| {
            fs::write(&other, "# To.\n").unwrap();
        });
        check("a file", &|| {
            fs::remove_file(&path).unwrap();
            fs::write(&path, "# File.\n").unwrap();
        });
        // Its metadata may be the same to the tick: it is read for being young.
        check_at(now(), "in place, as long and as old", &|| {
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "# Life.\n").unwrap();
            let open = fs::File::options().write(true).open(&path).unwrap();
            open.set_modified(modified).unwrap();
        });
    }
}

#[test]
fn what_was_written_ahead_is_known_when_it_is_there() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path();
    fill(dir);
    let mut loader = Loader::new(dir, None);
    loader.read(now());
    for name in ["keys.d/k.toml", "keys.d/new.toml"] {
        let path = dir.join(name);
        let text = "# Ahead.\n";
        let overlay = Overlay { path: &path, text };
        let (set, ahead) = loader.with(&[overlay], now());
        fs::write(&path, text).unwrap();
        loader.adopt(ahead);
        assert!(!loader.look(now()), "{name}");
        assert_eq!(loader.read(now()).hash, set.hash, "{name}");
        assert_eq!(Loader::new(dir, None).read(now()).hash, set.hash, "{name}");
    }
}
