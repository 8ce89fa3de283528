//! 100,000 keys. Run it on the release profile: `cargo test --release --test config_scale -- --ignored --nocapture`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one shows figures"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct::config::live::{Live, Options, ReloadOutcome, Trigger};
use aqueduct::keys::file::with_checksum;
use aqueduct::keys::seal::{Aad, MasterRing};
use aqueduct::secret::Secret;
use aqueduct::telemetry::metrics::Metrics;
use jiff::Timestamp;
use uuid::Uuid;

const KEYS: u32 = 100_000;
const MASTER: [u8; 32] = [5; 32];

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

fn fill(dir: &Path, ring: &MasterRing, files: u32) {
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
    let each = KEYS / files;
    for file in 0..files {
        let keys: String = (file * each..(file + 1) * each)
            .map(|at| key(ring, at, "CI"))
            .collect();
        let path = dir.join(format!("keys.d/k{file}.toml"));
        fs::write(path, with_checksum(&keys)).unwrap();
    }
}

fn measure(files: u32, cold_max: Duration) {
    let ring = MasterRing::new(vec![("m".into(), Secret::new(MASTER))]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &ring, files);
    let begun = Instant::now();
    let metrics = Arc::new(Metrics::new());
    let live = Live::start(dir.path(), Options::default(), metrics, now).unwrap();
    let cold = begun.elapsed();
    assert_eq!(live.load().s3_keys.len(), KEYS as usize);
    let added = dir.path().join("keys.d/new.toml");
    fs::write(added, with_checksum(&key(&ring, KEYS, "new"))).unwrap();
    let begun = Instant::now();
    let outcome = live.reload(Trigger::Watch);
    let warm = begun.elapsed();
    assert_eq!(outcome, ReloadOutcome::Applied { generation: 2 });
    println!("{files} files: cold {cold:?}, after one changed file {warm:?}");
    assert!(cold <= cold_max, "{cold:?}");
    assert!(warm <= Duration::from_millis(500), "{warm:?}");
}

#[test]
#[ignore = "measures; for the release profile"]
fn a_hundred_files() {
    measure(100, Duration::from_secs(2));
}

#[test]
#[ignore = "measures; for the release profile"]
fn a_file_for_each() {
    measure(KEYS, Duration::from_secs(10));
}
