//! 100,000 keys: what a cold start, a reload after one changed file and a write of the admin API take, beside what
//! they may take. `AQUEDUCT_SCALE_KEYS` sets another number of keys.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking, and shows figures"
)]

use std::fs;
use std::path::Path;
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

const KEYS: u32 = 100_000;
const MASTER: [u8; 32] = [5; 32];

/// Writes of each kind.
const WRITES: u32 = 10;

const CHANGE_MAX: Duration = Duration::from_millis(500);

#[expect(clippy::disallowed_methods, reason = "file times are compared with it")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn key(ring: &MasterRing, at: u32, name: &str) -> String {
    let id = Uuid::from_u128(u128::from(at));
    let aad = Aad::Key {
        repository: Uuid::nil(),
        key: id,
    };
    let sealed = ring.seal(aad, b"secret", [7; 24]).unwrap();
    format!(
        "[[key]]\nid = \"{id}\"\nrepository = \"prod\"\nfamily = \"storage\"\nname = \"{name}\"\n\
         access = \"WRITE\"\nkey = \"AQDT{at:016}\"\nsecret = \"{sealed}\"\n\
         created_at = 2026-11-21T01:59:08Z\ncreated_by = \"ops\"\nallow_prefixes = [\"acme/ci/\"]\n"
    )
}

fn fill(dir: &Path, ring: &MasterRing, keys: u32, files: u32) {
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
    let part = "[[s3]]\nname = \"assets\"\nbucket = \"acme\"\nregion = \"eu-west-1\"\naccess_key_id = \"A\"\n\
                secret_access_key = \"file:master\"\n[[repository]]\n\
                id = \"00000000-0000-0000-0000-000000000000\"\nname = \"prod\"\nendpoint = \"S3\"\n\
                buckets = [{ resource = \"assets\" }]\n";
    fs::write(dir.join("conf.d/a.toml"), part).unwrap();
    let each = keys / files;
    for file in 0..files {
        let keys: String = (file * each..(file + 1) * each)
            .map(|at| key(ring, at, "CI"))
            .collect();
        let path = dir.join(format!("keys.d/k{file}.toml"));
        fs::write(path, with_checksum(&keys)).unwrap();
    }
}

fn row(what: &str, took: Duration, most: Duration) {
    let verdict = if took <= most { "" } else { "   OVER" };
    println!("| {what:<44} | {took:>9.3?} | {most:>7.1?} |{verdict}");
}

/// How long `work` takes: the longest of some times.
fn longest(mut work: impl FnMut(u32)) -> Duration {
    let times = (0..WRITES).map(|turn| {
        let begun = Instant::now();
        work(turn);
        begun.elapsed()
    });
    times.max().unwrap_or_default()
}

fn writes(store: &KeyStore, files: u32) {
    let caller = Caller {
        actor: Actor::default(),
        now: now(),
    };
    let kind = NewKind::Storage {
        access: Access::Read,
        write_only: false,
    };
    let mut made = Vec::new();
    let took = longest(|_| {
        let new = NewKey::new("made", kind);
        let created = store.create(RepositoryRef::Name("prod"), &new, &caller);
        made.push(created.unwrap().id);
    });
    row(&format!("{files} files: create a key"), took, CHANGE_MAX);
    let which = |turn: u32| KeyRef {
        id: made[turn as usize],
        repository: None,
        family: None,
        if_match: None,
    };
    let took = longest(|turn| {
        let patch = Patch {
            name: Some("renamed".to_owned()),
            access: None,
        };
        store.update(&which(turn), &patch, &caller).unwrap();
    });
    row(&format!("{files} files: rename a key"), took, CHANGE_MAX);
    let took = longest(|turn| {
        store.delete(&which(turn), &caller).unwrap();
    });
    row(&format!("{files} files: delete a key"), took, CHANGE_MAX);
}

fn measure(keys: u32, files: u32, cold_max: Duration) {
    let ring = MasterRing::new(vec![("m".into(), Secret::new(MASTER))]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &ring, keys, files);
    let begun = Instant::now();
    let metrics = Arc::new(Metrics::new());
    let live = Live::start(dir.path(), Options::default(), metrics, now).unwrap();
    row(
        &format!("{files} files: cold start"),
        begun.elapsed(),
        cold_max,
    );
    assert_eq!(live.load().s3_keys.len(), keys as usize);
    let begun = Instant::now();
    assert_eq!(live.reload(Trigger::Watch), ReloadOutcome::Unchanged);
    row(
        &format!("{files} files: look, nothing changed"),
        begun.elapsed(),
        CHANGE_MAX,
    );
    let mut next = keys;
    let took = longest(|_| {
        let added = dir.path().join(format!("keys.d/new{next}.toml"));
        fs::write(added, with_checksum(&key(&ring, next, "new"))).unwrap();
        next += 1;
        let outcome = live.reload(Trigger::Watch);
        assert!(
            matches!(outcome, ReloadOutcome::Applied { .. }),
            "{outcome:?}"
        );
    });
    row(
        &format!("{files} files: reload after one changed"),
        took,
        CHANGE_MAX,
    );
    let audit = Audit::new(&dir.path().join("state"));
    writes(&KeyStore::new(live, audit, os_random), files);
}

fn main() {
    let asked = std::env::var("AQUEDUCT_SCALE_KEYS").ok();
    let keys = asked.and_then(|text| text.parse().ok()).unwrap_or(KEYS);
    println!("\n{keys} keys; the longest of {WRITES} times, and what it may be for {KEYS}\n");
    println!("| {:<44} | {:>9} | {:>7} |", "what", "took", "at most");
    println!("|{:-<46}|{:-<11}|{:-<9}|", "", "", "");
    measure(keys, 100.min(keys), Duration::from_secs(2));
    measure(keys, keys, Duration::from_secs(10));
}
