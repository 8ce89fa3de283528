//! What is loaded change by change is what a start would load.
//!
//! A load builds on the one before it where nothing but keys differs; here, after each of many random changes, it is
//! held against a process that knows nothing of any before.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use aqueduct::config::live::{Live, Options, ReloadOutcome, Trigger};
use aqueduct::config::snapshot::KeyEntry;
use aqueduct::keys::file::with_checksum;
use aqueduct::secret::Secret;
use aqueduct::telemetry::metrics::Metrics;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

const FILES: usize = 4;

/// Few ids, names and secrets for many keys, so that they meet.
const POOL: u8 = 5;

/// One way in which a config changes.
#[derive(Clone, Debug)]
enum Change {
    /// A key file, of which the keys are these; none: it goes.
    Keys(usize, Vec<Key>),
    /// Its keys are in another file.
    Rename(usize, usize),
    /// Whether the repository `other` is there, with another limit.
    Repositories(bool, u8),
    Revoke(u8),
}

#[derive(Clone, Debug)]
struct Key {
    id: u8,
    shown: u8,
    is_ai: bool,
    is_other: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Limited,
    Deleted,
    /// Refused for what it says.
    Wrong,
    /// Served with a warning.
    Odd,
}

fn key() -> impl Strategy<Value = Key> {
    let kind = prop_oneof![
        4 => Just(Kind::Plain),
        1 => Just(Kind::Limited),
        1 => Just(Kind::Deleted),
        1 => Just(Kind::Wrong),
        1 => Just(Kind::Odd),
    ];
    let fields = (0..POOL, 0..POOL, any::<bool>(), any::<bool>(), kind);
    fields.prop_map(|(id, shown, is_ai, is_other, kind)| Key {
        id,
        shown,
        is_ai,
        is_other,
        kind,
    })
}

fn change() -> impl Strategy<Value = Change> {
    let keys = proptest::collection::vec(key(), 0..3);
    prop_oneof![
        12 => (0..FILES, keys).prop_map(|(file, keys)| Change::Keys(file, keys)),
        2 => (0..FILES, 0..FILES).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => (any::<bool>(), 1..4_u8).prop_map(|(other, rps)| Change::Repositories(other, rps)),
        1 => (0..POOL).prop_map(Change::Revoke),
    ]
}

fn id(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

fn text(keys: &[Key]) -> String {
    let mut text = String::new();
    for key in keys {
        let repository = if key.is_other { "other" } else { "prod" };
        let id = id(key.id);
        let family = if key.is_ai { "ai" } else { "storage" };
        writeln!(
            text,
            "[[key]]\nid = \"{id}\"\nrepository = \"{repository}\"\nfamily = \"{family}\"\nname = \"k\""
        )
        .unwrap();
        let shown = key.shown;
        if key.is_ai {
            writeln!(text, "secret_sha256 = \"sha256:{shown:064x}\"").unwrap();
        } else {
            writeln!(text, "key = \"AQDT{shown}\"\nsecret = \"env:KEY\"").unwrap();
        }
        match key.kind {
            Kind::Plain => {}
            Kind::Limited => writeln!(text, "limits = {{ rps = 7 }}").unwrap(),
            Kind::Deleted => writeln!(text, "deleted_at = 2026-11-21T01:59:08Z").unwrap(),
            Kind::Wrong => writeln!(text, "allow_ips = [\"nowhere\"]").unwrap(),
            Kind::Odd => writeln!(
                text,
                "not_before = 2027-01-01T00:00:00Z\nexpires_at = 2026-01-01T00:00:00Z"
            )
            .unwrap(),
        }
    }
    with_checksum(&text)
}

fn repositories(has_other: bool, rps: u8) -> String {
    let mut text = format!(
        "[[s3]]\nname = \"assets\"\nbucket = \"acme\"\nregion = \"eu-west-1\"\naccess_key_id = \"A\"\n\
         secret_access_key = \"env:KEY\"\n[[ai]]\nname = \"llama\"\ntype = \"openai\"\napi_key = \"env:KEY\"\n\
         [[repository]]\nid = \"{}\"\nname = \"prod\"\nendpoint = \"S3\"\n\
         buckets = [{{ resource = \"assets\" }}]\nai = [\"llama\"]\nlimits = {{ rps = {rps} }}\n",
        id(200)
    );
    if has_other {
        let id = id(201);
        write!(
            text,
            "[[repository]]\nid = \"{id}\"\nname = \"other\"\nendpoint = \"OPENAI\"\nai = [\"llama\"]\n"
        )
        .unwrap();
    }
    text
}

fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("conf.d")).unwrap();
    fs::create_dir_all(dir.join("keys.d")).unwrap();
    let state = dir.join("state");
    fs::create_dir_all(&state).unwrap();
    let root = format!(
        "version = 1\n[process]\nstate_dir = \"{}\"\n[listen]\ns3 = [\"127.0.0.1:0\"]\n",
        state.display()
    );
    fs::write(dir.join("aqueduct.toml"), root).unwrap();
    fs::write(dir.join("conf.d/a.toml"), repositories(true, 1)).unwrap();
}

fn key_file(dir: &Path, number: usize) -> std::path::PathBuf {
    dir.join(format!("keys.d/k{number}.toml"))
}

fn make(change: &Change, dir: &Path, live: &Live) {
    match change {
        Change::Keys(file, keys) if keys.is_empty() => {
            // It may not have been there.
            let _ = fs::remove_file(key_file(dir, *file));
        }
        Change::Keys(file, keys) => fs::write(key_file(dir, *file), text(keys)).unwrap(),
        Change::Rename(from, to) => {
            // As above.
            let _ = fs::rename(key_file(dir, *from), key_file(dir, *to));
        }
        Change::Repositories(has_other, rps) => {
            fs::write(dir.join("conf.d/a.toml"), repositories(*has_other, *rps)).unwrap();
        }
        Change::Revoke(number) => live.revoke(id(*number)).unwrap(),
    }
}

#[expect(clippy::disallowed_methods, reason = "file times are compared with it")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn start(dir: &Path) -> Arc<Live> {
    let env = |name: &str| (name == "KEY").then(|| Secret::new(*b"secret"));
    let metrics = Arc::new(Metrics::new());
    Live::start_with(dir, Options::default(), metrics, now, env).unwrap()
}

/// Everything of a config that a client or an operator can tell from another.
fn told(live: &Live) -> (String, BTreeMap<String, String>) {
    let snapshot = live.current();
    let one = |entry: &KeyEntry| {
        let KeyEntry {
            key,
            repository,
            limiter,
        } = entry;
        assert!(Arc::ptr_eq(
            repository,
            snapshot.repository(&key.repository).unwrap()
        ));
        assert!(Arc::ptr_eq(key, &snapshot.key(key.id).unwrap().key));
        let limited = limiter.is_some();
        format!("{key:?} {:?} {limited}", key.material)
    };
    let shown = |entry: &KeyEntry| format!("{} {:?}", entry.key.key, entry.key.material);
    let all = snapshot.s3_keys.values().chain(snapshot.ai_keys.values());
    let keys: BTreeMap<_, _> = all.map(|entry| (shown(entry), one(entry))).collect();
    assert_eq!(keys.len(), snapshot.s3_keys.len() + snapshot.ai_keys.len());
    let report = format!("{}{}", live.last_report(), snapshot.hash);
    (report, keys)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn step_by_step_and_at_once_come_to_the_same(
        changes in proptest::collection::vec(change(), 1..16),
    ) {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path();
        fill(dir);
        let live = start(dir);
        for change in &changes {
            make(change, dir, &live);
            let outcome = live.reload(Trigger::Watch);
            prop_assert!(!matches!(outcome, ReloadOutcome::Failed(_)), "{outcome:?}");
            prop_assert_eq!(told(&live), told(&start(dir)), "after {:?}", change);
        }
    }
}

#[test]
fn a_changed_key_leaves_everything_else_as_it_is() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path();
    fill(dir);
    let plain = |number: u8| Key {
        id: number,
        shown: number,
        is_ai: false,
        is_other: false,
        kind: Kind::Limited,
    };
    fs::write(key_file(dir, 0), text(&[plain(0)])).unwrap();
    fs::write(key_file(dir, 1), text(&[plain(1)])).unwrap();
    let live = start(dir);
    let before = live.current();
    let renamed = text(&[plain(1)]).replace("\"k\"", "\"renamed\"");
    let body = &renamed[..renamed.find("# sha256:").unwrap()];
    fs::write(key_file(dir, 1), with_checksum(body)).unwrap();
    let outcome = live.reload(Trigger::Watch);
    assert_eq!(outcome, ReloadOutcome::Applied { generation: 2 });
    let after = live.current();
    assert_eq!(&*after.key(id(1)).unwrap().key.name, "renamed");
    let limiter = |entry: Option<&KeyEntry>| Arc::clone(entry.unwrap().limiter.as_ref().unwrap());
    for number in [0, 1] {
        let (a, b) = (before.key(id(number)), after.key(id(number)));
        assert!(Arc::ptr_eq(&limiter(a), &limiter(b)), "its counters");
    }
    let same = |number| {
        let key = |snapshot: &aqueduct::config::snapshot::Snapshot| {
            Arc::clone(&snapshot.key(id(number)).unwrap().key)
        };
        Arc::ptr_eq(&key(&before), &key(&after))
    };
    assert!(same(0) && !same(1));
    // Built anew, it would be another.
    assert!(Arc::ptr_eq(&before.repositories[0], &after.repositories[0]));
}
