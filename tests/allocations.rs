//! What a GET allocates between its head and the resource's, and back: held to a budget, since each allocation comes
//! with its freeing and its cache misses. Counted are the steps of the pipeline; what Pingora does is not ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use allocation_counter::measure;
use aqueduct::config::live::{Fallback, Live, Options};
use aqueduct::config::snapshot::Snapshot;
use aqueduct::keys::file::with_checksum;
use aqueduct::keys::seal::{Aad, MasterRing};
use aqueduct::pipeline::{self, Plan};
use aqueduct::policy::credential::{Credential, ReadyCredential};
use aqueduct::policy::route::{Addressing, S3Account, S3Quirks};
use aqueduct::proxy::head;
use aqueduct::secret::Secret;
use aqueduct::storage::head::UpstreamHead;
use aqueduct::storage::s3::auth::{self, PayloadHash};
use aqueduct::storage::s3::upstream;
use aqueduct::storage::s3::{Arrival, downstream};
use aqueduct::telemetry::metrics::Metrics;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use smallvec::smallvec;
use uuid::Uuid;

/// Allocations of ours for one GET.
const BUDGET: u64 = 8;
const MASTER: [u8; 32] = [5; 32];
const HOST: &str = "s3.example.net";
const TARGET: &str = "/media/some/folder/object-0001.bin?x-id=GetObject";
const KEY: &str = "AQDTTESTTESTTESTTEST";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

/// One repository over one resource, and one key.
fn snapshot(dir: &std::path::Path) -> Arc<Snapshot> {
    for part in ["conf.d", "keys.d"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    let root = format!(
        "version = 1\n[process]\nstate_dir = \"{}\"\n[listen]\ns3 = [\"127.0.0.1:0\"]\n\
         [[secrets.master]]\nid = \"m\"\nsource = \"file:master\"\n",
        dir.join("state").display()
    );
    fs::write(dir.join("aqueduct.toml"), root).unwrap();
    fs::write(dir.join("master"), MASTER).unwrap();
    let part = "[[s3]]\nname = \"assets\"\nbucket = \"acme\"\nregion = \"eu-west-1\"\naccess_key_id = \"A\"\n\
                secret_access_key = \"file:master\"\n[[repository]]\n\
                id = \"00000000-0000-0000-0000-000000000000\"\nname = \"prod\"\nendpoint = \"S3\"\n\
                buckets = [{ resource = \"assets\", expose_as = \"media\" }]\n";
    fs::write(dir.join("conf.d/a.toml"), part).unwrap();
    let ring = MasterRing::new(vec![("m".into(), Secret::new(MASTER))]).unwrap();
    let id = Uuid::from_u128(1);
    let aad = Aad::Key {
        repository: Uuid::nil(),
        key: id,
    };
    let sealed = ring.seal(aad, SECRET.as_bytes(), [7; 24]).unwrap();
    let key = format!(
        "[[key]]\nid = \"{id}\"\nrepository = \"prod\"\nfamily = \"storage\"\nname = \"k\"\n\
         access = \"READ\"\nkey = \"{KEY}\"\nsecret = \"{sealed}\"\n\
         created_at = 2026-11-21T01:59:08Z\ncreated_by = \"ops\"\n"
    );
    fs::write(dir.join("keys.d/k.toml"), with_checksum(&key)).unwrap();
    let options = Options {
        fallback: Fallback::Refuse,
    };
    Live::start(dir, options, Arc::new(Metrics::new()), now)
        .unwrap()
        .current()
}

/// What a client sends: signed by the same code that signs for resources, as another account.
fn request() -> HeaderMap {
    let account = S3Account {
        bucket: "bucket".into(),
        region: "us-east-1".into(),
        credential: Credential::Ready(ReadyCredential::s3(KEY, Secret::new(SECRET), None)),
        addressing: Addressing::Path,
        quirks: S3Quirks {
            verifies_sha256: true,
            trailers: true,
        },
    };
    let mut head = UpstreamHead {
        method: Method::GET,
        target: TARGET.to_owned(),
        headers: smallvec![(http::header::HOST, HeaderValue::from_static(HOST))],
    };
    auth::sign(
        &mut head,
        PayloadHash::Unsigned,
        &account,
        account.credential.ready().unwrap(),
        now(),
    )
    .unwrap();
    head.headers.into_iter().collect()
}

/// What a store answers.
fn answer() -> HeaderMap {
    let headers = [
        ("content-type", "application/octet-stream"),
        ("content-length", "1024"),
        ("etag", "\"0123456789abcdef0123456789abcdef\""),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("accept-ranges", "bytes"),
        ("x-amz-request-id", "0123456789ABCDEF"),
    ];
    let headers = headers.into_iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    headers.collect()
}

/// Everything between the two sockets.
fn get(snapshot: &Snapshot, request: &HeaderMap, answer: &HeaderMap) {
    let arrival = Arrival {
        method: &Method::GET,
        target: TARGET,
        host: HOST,
        headers: request,
        secure: false,
        now: now(),
        base_domains: &snapshot.base_domains,
    };
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let identified = pipeline::identify(snapshot, &arrival, Some(peer)).unwrap();
    let op = identified.request.without_body().unwrap();
    let permitted = pipeline::permit(identified.key, identified.repository, op).unwrap();
    let Plan::Forward(hop) = pipeline::plan(permitted).unwrap() else {
        unreachable!("a GET is forwarded");
    };
    let account = hop.bucket.resource.s3().unwrap();
    let mut outgoing = upstream::encode(&hop.op, request, &hop.bucket, None, None).unwrap();
    auth::sign(
        &mut outgoing.head,
        outgoing.payload,
        account,
        account.credential.ready().unwrap(),
        now(),
    )
    .unwrap();
    let headers = outgoing.head.headers.iter();
    let headers = headers.map(|(name, value)| (name, value));
    head::request_of(&outgoing.head.method, &outgoing.head.target, headers).unwrap();
    downstream::reply(&hop.op, StatusCode::OK, answer, &hop.bucket).unwrap();
}

#[test]
fn a_get_stays_within_its_budget_of_allocations() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = snapshot(dir.path());
    let (request, answer) = (request(), answer());
    // The first derives signing keys and fills the scratch buffers.
    get(&snapshot, &request, &answer);
    let warm = measure(|| get(&snapshot, &request, &answer));
    assert!(warm.count_total <= BUDGET, "{warm:?}");
    assert_eq!(warm.count_current, 0, "{warm:?}");
}
