//! Buckets and answers for unit tests.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use crate::policy::credential::{Credential, ReadyCredential, SharedKey};
use crate::policy::health::HealthRules;
use crate::policy::route::{AzureAccount, Bucket, Origin, Reach, Resource, ResourceKind, Timeouts};
use crate::secret::Secret;
use crate::storage::codec::{Target, UpstreamBody, UpstreamRequest};

/// A container as its account's own host has it.
pub(super) fn bucket(upstream: &str, prefix: &str) -> Bucket {
    at("acct.blob.core.windows.net", "", "acct", upstream, prefix)
}

/// A container as an emulator has it.
pub(super) fn emulated(upstream: &str) -> Bucket {
    at(
        "127.0.0.1",
        "/devstoreaccount1",
        "devstoreaccount1",
        upstream,
        "",
    )
}

/// A container of a server that listens without TLS, its account in the path.
pub(super) fn served(authority: &str, account: &str, key: &[u8], upstream: &str) -> Bucket {
    let mut bucket = at(authority, &format!("/{account}"), account, upstream, "");
    let resource = Arc::get_mut(&mut bucket.resource).unwrap();
    resource.origin.tls = false;
    if let ResourceKind::Azure(azure) = &mut resource.kind {
        let key = SharedKey::new(Secret::new(key));
        azure.credential = Credential::Ready(ReadyCredential::SharedKey(Arc::new(key)));
    }
    bucket
}

fn at(host: &str, base_path: &str, account: &str, upstream: &str, prefix: &str) -> Bucket {
    let second = Duration::from_secs(1);
    Bucket {
        exposed: "shown".into(),
        upstream: upstream.into(),
        prefix: prefix.into(),
        created_at: Timestamp::UNIX_EPOCH,
        resource: Arc::new(Resource {
            name: "res".into(),
            id: uuid::Uuid::nil(),
            origin: Origin {
                tls: true,
                host: host.into(),
                server_name: host.into(),
                port: 443,
                authority: HeaderValue::from_str(host).unwrap(),
                base_path: base_path.into(),
                reach: Reach::Public,
                ca_file: None,
            },
            timeouts: Timeouts {
                connect: second,
                tls: second,
                first_byte: second,
                idle: second,
                pool_idle: second,
            },
            health_rules: HealthRules::default(),
            health: Arc::default(),
            kind: ResourceKind::Azure(AzureAccount {
                container: upstream.into(),
                account: account.into(),
                credential: Credential::Ready(shared_key()),
            }),
            meters: Arc::default(),
        }),
    }
}

/// An account's key of thirty-two bytes.
pub(super) fn shared_key() -> ReadyCredential {
    ReadyCredential::SharedKey(Arc::new(SharedKey::new(Secret::new([7; 32]))))
}

pub(super) fn target(bucket: &Bucket) -> Target<'_> {
    Target {
        bucket,
        source: Some(bucket),
    }
}

/// A request as it goes on the wire, for comparison.
pub(super) fn text(request: &UpstreamRequest) -> String {
    let head = &request.head;
    let mut out = format!("{} {}\n", head.method, head.target);
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        out.extend([name.as_str(), ": ", &*value, "\n"]);
    }
    match &request.body {
        UpstreamBody::None => {}
        UpstreamBody::Stream => out.push_str("\n(stream)\n"),
        UpstreamBody::Document(document) => {
            out.push('\n');
            out.push_str(std::str::from_utf8(document).unwrap());
            out.push('\n');
        }
    }
    out
}

/// An answer's status and headers.
pub(super) fn answer(status: u16, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    (StatusCode::from_u16(status).unwrap(), map)
}
