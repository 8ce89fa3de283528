//! 100,000 keys, in 100 files and in a file each: what a cold start, a reload after one changed file and a write of
//! the admin API take, beside what they may take. `AQUEDUCT_SCALE_KEYS` sets another number of keys.
//!
//! A file changes in the ways that cost differently: another one appears, one is renamed over, one is written in
//! place, and one that is not a key file changes. Writes are of keys that Aqueduct made, each in a file named for it,
//! and of keys that a person wrote.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking, and shows figures"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct::config::live::{Live, Options, ReloadOutcome, Trigger};
use aqueduct::config::store::{
    Caller, KeyRef, KeyStore, NewKey, NewKind, Patch, RepositoryRef, os_random,
};
use aqueduct::keys::Access;
use aqueduct::keys::file::with_checksum;
use aqueduct::keys::seal::{Aad, MasterRing};
use aqueduct::secret::Secret;
use aqueduct::telemetry::audit::{Actor, Audit};
use aqueduct::telemetry::metrics::Metrics;
use jiff::Timestamp;
use uuid::Uuid;

/// The server's.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u32 = 100_000;
const MASTER: [u8; 32] = [5; 32];

/// Times that each change is made.
const CHANGES: u32 = 10;

const CHANGE_MAX: Duration = Duration::from_millis(500);

#[expect(clippy::disallowed_methods, reason = "file times are compared with it")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A config directory with its files.
struct Bench {
    dir: PathBuf,
    ring: MasterRing,
    keys: u32,
    files: u32,
}

impl Bench {
    fn key(&self, at: u32, name: &str) -> String {
        let id = Uuid::from_u128(u128::from(at));
        let aad = Aad::Key {
            repository: Uuid::nil(),
            key: id,
        };
        let sealed = self.ring.seal(aad, b"secret", [7; 24]).unwrap();
        format!(
            "[[key]]\nid = \"{id}\"\nrepository = \"prod\"\nfamily = \"storage\"\nname = \"{name}\"\n\
             access = \"WRITE\"\nkey = \"AQDT{at:016}\"\nsecret = \"{sealed}\"\n\
             created_at = 2026-11-21T01:59:08Z\ncreated_by = \"ops\"\nallow_prefixes = [\"acme/ci/\"]\n"
        )
    }

    /// The path and the text of a file, with the name that its keys have.
    fn file(&self, file: u32, name: &str) -> (PathBuf, String) {
        let each = self.keys / self.files;
        let keys: String = (file * each..(file + 1) * each)
            .map(|at| self.key(at, name))
            .collect();
        let path = self.dir.join(format!("keys.d/k{file}.toml"));
        (path, with_checksum(&keys))
    }

    fn fill(&self) {
        let dir = &self.dir;
        fs::create_dir_all(dir.join("conf.d")).unwrap();
        fs::create_dir_all(dir.join("keys.d")).unwrap();
        let state = dir.join("state");
        let root = format!(
            "version = 1\n[process]\nstate_dir = \"{}\"\n[listen]\ns3 = [\"127.0.0.1:0\"]\n\
             [[secrets.master]]\nid = \"m\"\nsource = \"file:master\"\n",
            state.display()
        );
        fs::write(dir.join("aqueduct.toml"), root).unwrap();
        fs::write(dir.join("master"), MASTER).unwrap();
        fs::write(dir.join("conf.d/a.toml"), part(1)).unwrap();
        for file in 0..self.files {
            let (path, text) = self.file(file, "CI");
            fs::write(path, text).unwrap();
        }
    }

    fn row(&self, what: &str, times: &[Duration], most: Duration) {
        let mut times = times.to_vec();
        times.sort();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        let verdict = if longest <= most { "" } else { "   OVER" };
        let what = format!("{} files: {what}", self.files);
        println!("| {what:<50} | {median:>9.3?} | {longest:>9.3?} | {most:>7.1?} |{verdict}");
    }

    fn changes(&self, what: &str, mut change: impl FnMut(u32) -> Duration) {
        let times: Vec<Duration> = (0..CHANGES).map(&mut change).collect();
        self.row(what, &times, CHANGE_MAX);
    }

    fn reloads(&self, live: &Live, what: &str, mut change: impl FnMut(u32)) {
        self.changes(what, |turn| {
            change(turn);
            timed(|| {
                let outcome = live.reload(Trigger::Watch);
                let is_applied = matches!(outcome, ReloadOutcome::Applied { .. });
                assert!(is_applied, "{outcome:?}");
            })
        });
    }
}

/// A resource and its repository, with a number to change.
fn part(rps: u32) -> String {
    format!(
        "[[s3]]\nname = \"assets\"\nbucket = \"acme\"\nregion = \"eu-west-1\"\naccess_key_id = \"A\"\n\
         secret_access_key = \"file:master\"\n[[repository]]\n\
         id = \"00000000-0000-0000-0000-000000000000\"\nname = \"prod\"\nendpoint = \"S3\"\n\
         buckets = [{{ resource = \"assets\" }}]\nlimits = {{ rps = {rps} }}\n"
    )
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn replace(path: &Path, text: &str) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text).unwrap();
    fs::rename(&temporary, path).unwrap();
}

fn all_reloads(bench: &Bench, live: &Live) {
    bench.changes("look, nothing changed", |_| {
        timed(|| assert_eq!(live.reload(Trigger::Watch), ReloadOutcome::Unchanged))
    });
    bench.reloads(live, "reload, a key file came", |turn| {
        let path = bench.dir.join(format!("keys.d/new{turn}.toml"));
        fs::write(path, with_checksum(&bench.key(bench.keys + turn, "new"))).unwrap();
    });
    bench.reloads(live, "reload, a key file renamed over another", |turn| {
        let (path, text) = bench.file(turn % bench.files, "replaced");
        replace(&path, &text);
    });
    bench.reloads(live, "reload, a key file written in place", |turn| {
        let (path, text) = bench.file(turn % bench.files, &format!("again {turn}"));
        fs::write(path, text).unwrap();
    });
    bench.reloads(live, "reload, a key file went", |turn| {
        fs::remove_file(bench.dir.join(format!("keys.d/new{turn}.toml"))).unwrap();
    });
    // What people change is loaded once it is quiet, which is not what is measured here.
    let quiet = || std::thread::sleep(Duration::from_millis(150));
    bench.reloads(live, "reload, a repository changed", |turn| {
        fs::write(bench.dir.join("conf.d/a.toml"), part(2 + turn)).unwrap();
        quiet();
    });
}

fn which(id: Uuid) -> KeyRef<'static> {
    KeyRef {
        id,
        repository: None,
        family: None,
        if_match: None,
    }
}

fn all_writes(bench: &Bench, store: &KeyStore) {
    let caller = Caller {
        actor: Actor::default(),
        now: now(),
    };
    let kind = NewKind::Storage {
        access: Access::Read,
        write_only: false,
    };
    let mut made = Vec::new();
    bench.changes("create a key", |_| {
        let new = NewKey::new("made", kind);
        timed(|| {
            let created = store.create(RepositoryRef::Name("prod"), &new, &caller);
            made.push(created.unwrap().id);
        })
    });
    let rename = |id: Uuid| {
        let patch = Patch {
            name: Some("renamed".to_owned()),
            access: None,
        };
        timed(|| drop(store.update(&which(id), &patch, &caller).unwrap()))
    };
    let delete = |id: Uuid| timed(|| drop(store.delete(&which(id), &caller).unwrap()));
    bench.changes("rename a key", |turn| rename(made[turn as usize]));
    bench.changes("delete a key", |turn| delete(made[turn as usize]));
    // Far from the first file in which it would be looked for.
    let written = |turn: u32| Uuid::from_u128(u128::from(bench.keys / 2 + turn));
    bench.changes("rename a key of another's file", |turn| {
        rename(written(turn))
    });
    bench.changes("delete a key of another's file", |turn| {
        delete(written(turn))
    });
}

fn measure(keys: u32, files: u32, cold_max: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench {
        dir: dir.path().to_owned(),
        ring: MasterRing::new(vec![("m".into(), Secret::new(MASTER))]).unwrap(),
        keys,
        files,
    };
    bench.fill();
    let mut started = None;
    let took = timed(|| {
        let metrics = Arc::new(Metrics::new());
        started = Some(Live::start(&bench.dir, Options::default(), metrics, now).unwrap());
    });
    let live = started.unwrap();
    bench.row("cold start", &[took], cold_max);
    assert_eq!(live.load().s3_keys.len(), keys as usize);
    all_reloads(&bench, &live);
    assert_eq!(live.load().s3_keys.len(), keys as usize);
    let audit = Audit::new(&bench.dir.join("state"));
    all_writes(&bench, &KeyStore::new(live, audit, os_random));
}

fn main() {
    let asked = std::env::var("AQUEDUCT_SCALE_KEYS").ok();
    let keys = asked.and_then(|text| text.parse().ok()).unwrap_or(KEYS);
    println!("\n{keys} keys; {CHANGES} times each change, and what it may take with {KEYS}\n");
    let (what, median, longest, most) = ("what", "median", "longest", "at most");
    println!("| {what:<50} | {median:>9} | {longest:>9} | {most:>7} |");
    println!("|{:-<52}|{:-<11}|{:-<11}|{:-<9}|", "", "", "", "");
    measure(keys, 100.min(keys), Duration::from_secs(2));
    measure(keys, keys, Duration::from_secs(10));
}
