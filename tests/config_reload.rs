//! Every way in which files change under a running config: applied within two seconds, in one step.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use aqueduct::config::diagnostic::Report;
use aqueduct::config::live::{
    Fallback, Live, Options, ReloadObserver, ReloadOutcome, Taken, Trigger, revoke_in,
};
use aqueduct::config::source::Overlay;
use aqueduct::config::watch::{Timing, Watch};
use aqueduct::keys::Material;
use aqueduct::keys::file::with_checksum;
use aqueduct::keys::seal::{Aad, MasterRing, NONCE_BYTES};
use aqueduct::secret::Secret;
use aqueduct::telemetry::metrics::Metrics;
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

/// From a change to its effect (ops R6).
const APPLIED_MAX: Duration = Duration::from_secs(2);

const REPOSITORY: &str = "0b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f10";
const KEY: &str = "7d0c9a52-3b0e-4a55-8d2e-1c4f6f1a9b77";

/// A running config in a directory of its own.
struct Running {
    base: TempDir,
    /// The config directory as given to Aqueduct.
    dir: PathBuf,
    live: Arc<Live>,
    watch: Watch,
    seen: Receiver<ReloadOutcome>,
}

struct Observer(Sender<ReloadOutcome>);

impl ReloadObserver for Observer {
    fn reloaded(&self, _: Trigger, outcome: &ReloadOutcome, _: &Report, _: Taken) {
        // The test may have ended.
        drop(self.0.send(outcome.clone()));
    }

    fn restart_required(&self, _: &[&'static str]) {}

    fn watcher_failed(&self, error: &str) {
        panic!("{error}");
    }

    fn watcher_recovered(&self) {}
}

#[expect(clippy::disallowed_methods, reason = "file times are compared with it")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// `conf.d/a.toml` with one number to change.
fn part(rps: u32) -> String {
    format!(
        "[[s3]]\nname = \"assets\"\nbucket = \"acme\"\nregion = \"eu-west-1\"\naccess_key_id = \"A\"\n\
         secret_access_key = \"file:secret\"\n\
         [[repository]]\nid = \"{REPOSITORY}\"\nname = \"prod\"\nendpoint = \"S3\"\n\
         buckets = [{{ resource = \"assets\" }}]\nlimits = {{ rps = {rps} }}\n"
    )
}

fn key(name: &str) -> String {
    with_checksum(&format!(
        "[[key]]\nid = \"{KEY}\"\nrepository = \"prod\"\nfamily = \"storage\"\nname = \"{name}\"\n\
         key = \"AQDTX4T2Q7MZP3R6L5NC\"\nsecret = \"env:KEY\"\n"
    ))
}

/// Raw bytes, each of which is a newline's.
fn master_key() -> [u8; 32] {
    [b'\n'; 32]
}

/// Fills a config directory.
fn fill(dir: &Path, state: &Path) {
    fs::create_dir_all(dir.join("conf.d")).unwrap();
    fs::create_dir_all(dir.join("keys.d")).unwrap();
    let state = state.display();
    let root = format!(
        "version = 1\n[process]\nstate_dir = \"{state}\"\n[listen]\ns3 = [\"127.0.0.1:0\"]\n"
    );
    fs::write(dir.join("aqueduct.toml"), root).unwrap();
    fs::write(dir.join("conf.d/a.toml"), part(1)).unwrap();
    fs::write(dir.join("secret"), "one\n").unwrap();
}

/// Runs `base/current`, which `set_up` makes.
fn run(set_up: impl FnOnce(&Path)) -> Running {
    run_with(set_up, Timing::default())
}

fn run_with(set_up: impl FnOnce(&Path), timing: Timing) -> Running {
    let base = tempfile::tempdir().unwrap();
    set_up(base.path());
    let dir = base.path().join("current");
    let env = |name: &str| (name == "KEY").then(|| Secret::new(*b"secret"));
    let metrics = Arc::new(Metrics::new());
    let live = Live::start_with(&dir, Options::default(), metrics, now, env).unwrap();
    let (send, seen) = channel();
    assert!(live.observe(Arc::new(Observer(send))));
    let watch = Watch::start(Arc::clone(&live), timing).unwrap();
    Running {
        base,
        dir,
        live,
        watch,
        seen,
    }
}

fn simple() -> Running {
    run(|base| fill(&base.join("current"), &base.join("state")))
}

impl Running {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The next outcome that is not "unchanged".
    fn next(&self) -> ReloadOutcome {
        let until = Instant::now() + APPLIED_MAX;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(ReloadOutcome::Unchanged) => {}
                Ok(outcome) => return outcome,
                Err(error) => panic!("nothing within {APPLIED_MAX:?}: {error}"),
            }
        }
    }

    /// Does `change`, and sees it applied in time and in one step.
    fn applies(&self, what: &str, change: impl FnOnce()) {
        let before = self.live.load().generation;
        change();
        let generation = before + 1;
        assert_eq!(self.next(), ReloadOutcome::Applied { generation }, "{what}");
        let again = self.watch.reload(Trigger::Signal).blocking_recv();
        assert_eq!(again, Ok(ReloadOutcome::Unchanged), "{what}");
        assert_eq!(self.live.load().generation, generation, "{what}");
    }

    fn fails(&self, what: &str, change: impl FnOnce()) {
        let before = self.live.load().generation;
        change();
        assert!(matches!(self.next(), ReloadOutcome::Failed(_)), "{what}");
        assert!(self.live.last_report().blocks());
        assert_eq!(self.live.load().generation, before, "{what}");
    }
}

#[test]
fn editors_and_in_place_writes() {
    let running = simple();
    let file = running.path("conf.d/a.toml");
    running.applies("vim renames the old file and writes a new one", || {
        fs::rename(&file, running.path("conf.d/a.toml~")).unwrap();
        fs::write(&file, part(2)).unwrap();
        fs::remove_file(running.path("conf.d/a.toml~")).unwrap();
    });
    running.applies("sed -i renames a temporary file over it", || {
        let temporary = running.path("conf.d/sedAbCdEf");
        fs::write(&temporary, part(3)).unwrap();
        fs::rename(&temporary, &file).unwrap();
    });
    running.applies("cat > truncates and writes", || {
        use std::io::Write;
        let text = part(4);
        let (one, two) = text.split_at(text.len() / 2);
        let mut open = fs::File::create(&file).unwrap();
        open.write_all(one.as_bytes()).unwrap();
        open.sync_all().unwrap();
        open.write_all(two.as_bytes()).unwrap();
    });
}

#[test]
fn tools_that_copy_files() {
    let running = simple();
    let file = running.path("conf.d/a.toml");
    running.applies(
        "rsync -a renames a dot file over it, with an old time",
        || {
            let temporary = running.path("conf.d/.a.toml.Xy12Ab");
            fs::write(&temporary, part(2)).unwrap();
            let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            let open = fs::File::options().write(true).open(&temporary).unwrap();
            open.set_modified(long_ago).unwrap();
            fs::rename(&temporary, &file).unwrap();
        },
    );
    running.applies("cp onto it writes its content in place", || {
        let other = running.base.path().join("other.toml");
        fs::write(&other, part(3)).unwrap();
        fs::copy(&other, &file).unwrap();
    });
    running.applies("the same size and the same time, another content", || {
        let meta = fs::metadata(&file).unwrap();
        fs::write(&file, part(4)).unwrap();
        let open = fs::File::options().write(true).open(&file).unwrap();
        open.set_modified(meta.modified().unwrap()).unwrap();
    });
}

/// A directory whose events do not come, as on a network file system, or after the queue of events overflowed.
#[test]
fn what_no_event_tells_is_found_by_looking() {
    let running = run_with(
        |base| fill(&base.join("current"), &base.join("state")),
        Timing {
            // No event is ever old enough to be looked at.
            quiet: Duration::from_mins(10),
            settle_max: Duration::from_mins(10),
            poll: Duration::from_millis(500),
            ..Timing::default()
        },
    );
    running.applies("a file changes", || {
        fs::write(running.path("conf.d/a.toml"), part(2)).unwrap();
    });
}

#[test]
fn a_work_tree_of_git_is_turned_to_another_commit() {
    let git = |dir: &Path, arguments: &[&str]| {
        let done = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@localhost"])
            .args(arguments)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    };
    let running = run(|base| {
        let (store, dir) = (base.join("store"), base.join("current"));
        fill(&store, &base.join("state"));
        git(&store, &["init", "-q", "-b", "one"]);
        git(&store, &["add", "-A"]);
        git(&store, &["commit", "-q", "-m", "one"]);
        git(&store, &["checkout", "-q", "-b", "two"]);
        fs::write(store.join("conf.d/a.toml"), part(2)).unwrap();
        git(&store, &["commit", "-q", "-a", "-m", "two"]);
        git(
            &store,
            &[
                "worktree",
                "add",
                "-q",
                "--detach",
                dir.to_str().unwrap(),
                "one",
            ],
        );
    });
    running.applies("git checkout in a linked work tree", || {
        git(&running.dir, &["checkout", "-q", "--detach", "two"]);
    });
    running.applies("git stash", || {
        fs::write(running.path("conf.d/a.toml"), part(3)).unwrap();
        git(&running.dir, &["stash", "-q"]);
        git(&running.dir, &["checkout", "-q", "--detach", "one"]);
    });
}

#[test]
fn files_that_come_go_and_cannot_be_read() {
    let running = simple();
    running.applies("a file appears", || {
        fs::write(running.path("keys.d/k.toml"), key("one")).unwrap();
    });
    assert_eq!(running.live.load().s3_keys.len(), 1);
    running.applies("it is removed", || {
        fs::remove_file(running.path("keys.d/k.toml")).unwrap();
    });
    assert!(running.live.load().s3_keys.is_empty());
    running.fails("a file that cannot be read", || {
        symlink("nowhere", running.path("conf.d/b.toml")).unwrap();
    });
    let before = running.live.load().generation;
    fs::remove_file(running.path("conf.d/b.toml")).unwrap();
    let healed = running.watch.reload(Trigger::Admin).blocking_recv();
    assert_eq!(healed, Ok(ReloadOutcome::Unchanged));
    assert!(!running.live.last_report().blocks());
    assert_eq!(running.live.load().generation, before);
    running.applies("a secret's file changes", || {
        fs::write(running.path("secret"), "two\n").unwrap();
    });
}

#[test]
fn git_checkout_replaces_files_one_by_one() {
    let running = simple();
    let lock = running.base.path().join(".git/index.lock");
    running.applies("git checkout", || {
        fs::create_dir(running.base.path().join(".git")).unwrap();
        fs::write(&lock, "").unwrap();
        fs::remove_file(running.path("conf.d/a.toml")).unwrap();
        fs::write(running.path("conf.d/b.toml"), "[[ai]]\n").unwrap();
        fs::write(running.path("conf.d/b.toml"), part(7)).unwrap();
        fs::remove_file(&lock).unwrap();
    });
}

#[test]
fn a_directory_is_removed_and_made_again() {
    let running = simple();
    running.applies("conf.d is replaced", || {
        fs::remove_dir_all(running.path("conf.d")).unwrap();
        fs::create_dir(running.path("conf.d")).unwrap();
        fs::write(running.path("conf.d/a.toml"), part(8)).unwrap();
    });
    running.applies("and is still watched", || {
        fs::write(running.path("conf.d/a.toml"), part(9)).unwrap();
    });
    running.applies("the whole directory is replaced", || {
        fs::rename(&running.dir, running.base.path().join("old")).unwrap();
        fill(&running.dir, &running.base.path().join("state"));
    });
    running.applies("and is still watched", || {
        fs::write(running.path("conf.d/a.toml"), part(10)).unwrap();
    });
}

#[test]
fn symbolic_links_flip() {
    let running = run(|base| {
        for release in ["1", "2"] {
            fill(&base.join("releases").join(release), &base.join("state"));
        }
        fs::write(base.join("releases/2/conf.d/a.toml"), part(11)).unwrap();
        symlink("releases/1", base.join("current")).unwrap();
    });
    let base = running.base.path();
    running.applies("current -> releases/2", || {
        symlink("releases/2", base.join("next")).unwrap();
        fs::rename(base.join("next"), base.join("current")).unwrap();
    });
    running.applies("the new release is watched", || {
        fs::write(running.path("conf.d/a.toml"), part(12)).unwrap();
    });
}

#[test]
fn kubernetes_swaps_its_data_directory() {
    let running = run(|base| {
        let dir = base.join("current");
        fill(&dir, &base.join("state"));
        fs::remove_file(dir.join("conf.d/a.toml")).unwrap();
        for (version, rps) in [("..2026_01", 1), ("..2026_02", 13)] {
            fs::create_dir(dir.join("conf.d").join(version)).unwrap();
            fs::write(dir.join("conf.d").join(version).join("a.toml"), part(rps)).unwrap();
        }
        symlink("..2026_01", dir.join("conf.d/..data")).unwrap();
        symlink("..data/a.toml", dir.join("conf.d/a.toml")).unwrap();
    });
    running.applies("..data -> ..2026_02", || {
        symlink("..2026_02", running.path("conf.d/..data_tmp")).unwrap();
        fs::rename(
            running.path("conf.d/..data_tmp"),
            running.path("conf.d/..data"),
        )
        .unwrap();
        fs::remove_dir_all(running.path("conf.d/..2026_01")).unwrap();
    });
}

#[test]
fn a_broken_config_leaves_the_running_one() {
    let running = simple();
    running.fails("a mistake", || {
        fs::write(running.path("conf.d/a.toml"), "[[s3]]\nbuckt = 1\n").unwrap();
    });
    assert!(running.live.load().repository("prod").is_some());
    running.applies("the mistake is corrected", || {
        fs::write(running.path("conf.d/a.toml"), part(14)).unwrap();
    });
    assert!(!running.live.last_report().blocks());
}

#[test]
fn a_bad_key_file_keeps_its_key_and_stops_nothing() {
    let running = simple();
    let file = running.path("keys.d/k.toml");
    running.applies("a key", || fs::write(&file, key("one")).unwrap());
    let before = Arc::clone(&running.live.load().s3_keys["AQDTX4T2Q7MZP3R6L5NC"].key);
    running.applies("its file is cut short, and something else changes", || {
        let text = key("one");
        fs::write(&file, &text[..text.len() / 2]).unwrap();
        fs::write(running.path("conf.d/a.toml"), part(15)).unwrap();
    });
    assert!(!running.live.last_report().passes());
    let after = Arc::clone(&running.live.load().s3_keys["AQDTX4T2Q7MZP3R6L5NC"].key);
    assert!(Arc::ptr_eq(&before, &after));
}

#[test]
fn unchanged_things_are_carried_over_and_counters_kept() {
    let running = simple();
    running.applies("a key", || {
        fs::write(running.path("keys.d/k.toml"), key("one")).unwrap();
    });
    let before = running.live.current();
    running.applies("a limit", || {
        fs::write(running.path("conf.d/a.toml"), part(16)).unwrap();
    });
    let after = running.live.current();
    let public = "AQDTX4T2Q7MZP3R6L5NC";
    assert!(Arc::ptr_eq(
        &before.s3_keys[public].key,
        &after.s3_keys[public].key
    ));
    assert!(Arc::ptr_eq(&before.resources[0], &after.resources[0]));
    assert!(Arc::ptr_eq(
        &before.repositories[0].limiter,
        &after.repositories[0].limiter
    ));
    running.applies("the secret", || {
        fs::write(running.path("secret"), "three").unwrap();
    });
    let last = running.live.current();
    assert!(!Arc::ptr_eq(&after.resources[0], &last.resources[0]));
}

#[test]
fn restart_only_settings_are_reported_and_not_applied() {
    let running = simple();
    let before = running.live.load().listen.clone();
    running.applies("another listener", || {
        let text = fs::read_to_string(running.path("aqueduct.toml")).unwrap();
        let text = text.replace("127.0.0.1:0", "127.0.0.2:0");
        fs::write(running.path("aqueduct.toml"), text).unwrap();
    });
    assert_eq!(*running.live.restart_required(), vec!["listen"]);
    assert_eq!(running.live.load().listen, before);
}

#[test]
fn a_revocation_needs_no_config_and_outlives_it() {
    let running = simple();
    running.applies("a key", || {
        fs::write(running.path("keys.d/k.toml"), key("one")).unwrap();
    });
    running.fails("a mistake", || {
        fs::write(running.path("conf.d/a.toml"), "[[").unwrap();
    });
    let id: Uuid = KEY.parse().unwrap();
    running.live.revoke(id).unwrap();
    assert!(running.live.load().s3_keys.is_empty());
    running.applies("the correction does not bring it back", || {
        fs::write(running.path("conf.d/a.toml"), part(17)).unwrap();
    });
    assert!(running.live.load().s3_keys.is_empty());
}

#[test]
fn another_process_revokes_at_once_while_the_config_is_broken() {
    let running = run(|base| {
        fs::create_dir(base.join("state")).unwrap();
        fill(&base.join("current"), &base.join("state"));
    });
    running.applies("a key", || {
        fs::write(running.path("keys.d/k.toml"), key("one")).unwrap();
    });
    running.fails("a mistake", || {
        fs::write(running.path("conf.d/a.toml"), "[[").unwrap();
    });
    revoke_in(&running.dir, KEY.parse().unwrap(), now()).unwrap();
    let written = Instant::now();
    while !running.live.load().s3_keys.is_empty() {
        assert!(written.elapsed() < Duration::from_secs(1), "still known");
        std::thread::yield_now();
    }
}

#[test]
fn a_prepared_write_is_installed_once() {
    let running = simple();
    let file = running.path("keys.d/k.toml");
    let text = key("one");
    let before = running.live.load().generation;
    {
        let mut writer = running.live.writer();
        assert_eq!(writer.reload(Trigger::Write), ReloadOutcome::Unchanged);
        let bad = Overlay {
            path: &file,
            text: &text[1..],
        };
        assert!(writer.prepare(&[bad]).is_err());
        let good = Overlay {
            path: &file,
            text: &text,
        };
        let prepared = writer.prepare(&[good]).unwrap();
        assert!(running.live.load().s3_keys.is_empty());
        fs::write(&file, &text).unwrap();
        assert_eq!(writer.install(prepared), before + 1);
    }
    assert_eq!(running.live.load().s3_keys.len(), 1);
    let again = running.watch.reload(Trigger::Watch).blocking_recv();
    assert_eq!(again, Ok(ReloadOutcome::Unchanged));
}

#[test]
fn a_sealed_secret_opens_for_its_own_key_alone() {
    let ring = MasterRing::new(vec![("m".into(), Secret::new(master_key()))]).unwrap();
    let repository: Uuid = REPOSITORY.parse().unwrap();
    let sealed = |key: &str| {
        let aad = Aad::Key {
            repository,
            key: key.parse().unwrap(),
        };
        ring.seal(aad, b"CANARY", [7; NONCE_BYTES]).unwrap()
    };
    let running = run(|base| {
        let dir = base.join("current");
        fill(&dir, &base.join("state"));
        let root = fs::read_to_string(dir.join("aqueduct.toml")).unwrap();
        let master = format!("{root}[[secrets.master]]\nid = \"m\"\nsource = \"file:master\"\n");
        fs::write(dir.join("aqueduct.toml"), master).unwrap();
        fs::write(dir.join("master"), master_key()).unwrap();
    });
    let write = |sealed: &str| {
        let body = key("one").replace("env:KEY", sealed);
        let body = &body[..body.find("# sha256:").unwrap()];
        fs::write(running.path("keys.d/k.toml"), with_checksum(body)).unwrap();
    };
    running.applies("a secret sealed for another key", || {
        write(&sealed("7d0c9a52-3b0e-4a55-8d2e-1c4f6f1a9b78"));
    });
    assert!(running.live.load().s3_keys.is_empty());
    let report = running.live.last_report();
    assert!(!report.passes() && !report.blocks(), "{report}");
    running.applies("its own", || write(&sealed(KEY)));
    let snapshot = running.live.current();
    let entry = &snapshot.s3_keys["AQDTX4T2Q7MZP3R6L5NC"];
    assert_eq!(entry.key.material, Material::Hmac(Secret::new(*b"CANARY")));
    assert!(!format!("{snapshot:?}").contains("CANARY"));
}

#[test]
fn the_last_good_config_starts_where_the_real_one_does_not_check() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("config");
    fill(&dir, &base.path().join("state"));
    fs::write(dir.join("keys.d/k.toml"), key("one")).unwrap();
    let env = |name: &str| (name == "KEY").then(|| Secret::new(*b"secret"));
    let start = |fallback| {
        let metrics = Arc::new(Metrics::new());
        Live::start_with(&dir, Options { fallback }, metrics, now, env)
    };
    drop(start(Fallback::LastGood).unwrap());
    fs::write(dir.join("conf.d/a.toml"), "[[s3]]\n").unwrap();
    assert!(start(Fallback::Refuse).is_err());
    let live = start(Fallback::LastGood).unwrap();
    assert_eq!(live.load().s3_keys.len(), 1);
    assert!(matches!(
        live.reload(Trigger::Poll),
        ReloadOutcome::Failed(_)
    ));
    live.revoke(KEY.parse().unwrap()).unwrap();
    drop(live);
    let live = start(Fallback::LastGood).unwrap();
    assert!(live.load().s3_keys.is_empty());
    fs::write(dir.join("conf.d/a.toml"), part(2)).unwrap();
    assert!(matches!(
        live.reload(Trigger::Poll),
        ReloadOutcome::Applied { .. }
    ));
}
