//! What finding a key in the running snapshot costs: the swap's load and one hash lookup.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use aqueduct::config::snapshot::KeyEntry;
use aqueduct::config::snapshot::table::Table;
use aqueduct::keys::signing::SigningCache;
use aqueduct::keys::{Access, Family, Key, Material};
use aqueduct::policy::limit::{Limiter, Rules, Whose};
use aqueduct::policy::route::Repository;
use aqueduct::secret::Secret;
use aqueduct::telemetry::metrics::Metrics;
use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use uuid::Uuid;

type Keys = Table<Box<str>, KeyEntry>;

const COUNT: u32 = 10_000;

fn lookup(criterion: &mut Criterion) {
    let ids: Vec<String> = (0..COUNT)
        .map(|number| format!("AQDT{number:016}"))
        .collect();
    let keys = Arc::new(ArcSwap::from_pointee(keys(&ids)));
    let mut next = 0;
    criterion.bench_function("snapshot/key of 10,000", |bencher| {
        bencher.iter(|| {
            next = (next + 7919) % ids.len();
            let keys = keys.load();
            keys.get(black_box(ids[next].as_str()))
                .map(|entry| entry.key.access)
        });
    });
    let mut cached = arc_swap::Cache::new(Arc::clone(&keys));
    criterion.bench_function("snapshot/key of 10,000, cached load", |bencher| {
        bencher.iter(|| {
            next = (next + 7919) % ids.len();
            let keys = cached.load();
            keys.get(black_box(ids[next].as_str()))
                .map(|entry| entry.key.access)
        });
    });
    criterion.bench_function("snapshot/unknown key", |bencher| {
        bencher.iter(|| keys.load().contains_key(black_box("AQDTUNKNOWNUNKNOWN12")));
    });
}

fn keys(ids: &[String]) -> Keys {
    let repository = Arc::new(Repository {
        id: Uuid::from_u128(1),
        name: "prod".into(),
        storage: None,
        ai: None,
        limiter: Arc::new(Limiter::new(Whose::Repository, Rules::default())),
        meters: Metrics::new().repository("prod"),
    });
    let entry = |id: &String| KeyEntry {
        key: Arc::new(key(id)),
        repository: Arc::clone(&repository),
        limiter: None,
    };
    ids.iter()
        .map(|id| (id.as_str().into(), entry(id)))
        .collect()
}

fn key(id: &str) -> Key {
    Key {
        id: Uuid::from_u128(2),
        repository: "prod".into(),
        name: "bench".into(),
        family: Family::Storage,
        access: Access::Read,
        write_only: false,
        key: id.into(),
        material: Material::Hmac(Secret::new("secret")),
        ai_type: None,
        restrict_to_type: false,
        created_at: Timestamp::UNIX_EPOCH,
        created_by: "bench".into(),
        not_before: None,
        expires_at: None,
        disabled: false,
        allow_ips: Vec::new(),
        allow_buckets: Vec::new(),
        allow_prefixes: Vec::new(),
        models: Vec::new(),
        signing: SigningCache::new(),
        last_used: AtomicI64::new(0),
    }
}

criterion_group!(benches, lookup);
criterion_main!(benches);
