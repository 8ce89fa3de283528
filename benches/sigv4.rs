//! `SigV4`: verifying a client's GET with a warm signing key, and signing the same for a provider.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use aqueduct::keys::signing::SigningCache;
use aqueduct::keys::{Access, Family, Key, Material};
use aqueduct::policy::credential::{Credential, ReadyCredential};
use aqueduct::policy::route::{Addressing, S3Account, S3Quirks, SignatureV2};
use aqueduct::secret::Secret;
use aqueduct::storage::head::UpstreamHead;
use aqueduct::storage::s3::Arrival;
use aqueduct::storage::s3::auth::{PayloadHash, authenticate, sign};
use aqueduct::storage::s3::route;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use uuid::Uuid;

const ID: &str = "AQDTTESTTESTTESTTEST";
const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TARGET: &str = "/bucket/some/folder/object-0001.bin?x-id=GetObject";
const HOST: &str = "s3.local:9000";

fn key() -> Arc<Key> {
    Arc::new(Key {
        id: Uuid::nil(),
        repository: "r".into(),
        name: "bench".into(),
        family: Family::Storage,
        access: Access::Read,
        write_only: false,
        key: ID.into(),
        material: Material::Hmac(Secret::new(SECRET)),
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
    })
}

fn account() -> S3Account {
    S3Account {
        bucket: "bucket".into(),
        region: "us-east-1".into(),
        credential: Credential::Ready(ReadyCredential::s3(ID, Secret::new(SECRET), None)),
        addressing: Addressing::Path,
        quirks: S3Quirks {
            verifies_sha256: true,
            trailers: true,
        },
    }
}

fn head() -> UpstreamHead {
    UpstreamHead {
        method: Method::GET,
        target: TARGET.to_owned(),
        headers: [
            ("host", HOST),
            ("range", "bytes=0-1023"),
            ("x-amz-checksum-mode", "ENABLED"),
        ]
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect(),
    }
}

fn benches(criterion: &mut Criterion) {
    let now = Timestamp::from_second(1_790_000_000).expect("a time");
    let account = account();
    let mut signed = head();
    sign(
        &mut signed,
        PayloadHash::Unsigned,
        &account,
        account.credential.ready().expect("keys"),
        now,
    )
    .expect("a head that can be signed");
    let headers: HeaderMap = signed.headers.iter().cloned().collect();
    let arrival = Arrival {
        method: &Method::GET,
        target: TARGET,
        host: HOST,
        headers: &headers,
        secure: false,
        now,
        base_domains: &[],
    };
    let key = key();
    let find = |id: &str| (id == ID).then(|| Arc::clone(&key));

    criterion.bench_function("verify, warm", |bencher| {
        bencher.iter(|| {
            authenticate(black_box(&arrival), find, |_| SignatureV2::Refuse)
                .expect("a good signature")
        });
    });
    criterion.bench_function("decode", |bencher| {
        bencher.iter(|| route::decode(black_box(&arrival)).expect("a good request"));
    });
    criterion.bench_function("sign, warm", |bencher| {
        bencher.iter_batched(
            head,
            |mut head| {
                sign(
                    &mut head,
                    PayloadHash::Unsigned,
                    &account,
                    account.credential.ready().expect("keys"),
                    now,
                )
                .expect("a good head");
                head
            },
            criterion::BatchSize::SmallInput,
        );
    });
}

criterion_group!(sigv4, benches);
criterion_main!(sigv4);
