//! Requests, keys and buckets for unit tests.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;

use super::Arrival;
use super::route::{self, S3Request};
use crate::error::Result;
use crate::policy::credential::{Credential, ReadyCredential};
use crate::policy::health::HealthRules;
use crate::policy::route::{
    Addressing, Bucket, Origin, Reach, Resource, ResourceKind, S3Account, S3Quirks, Timeouts,
};
use crate::protocol::{Front, Protocol};
use crate::secret::Secret;

/// A request that owns its parts.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub method: Method,
    pub target: String,
    pub host: String,
    pub headers: HeaderMap,
    pub now: Timestamp,
    pub base_domains: Vec<(Front, Box<str>)>,
}

pub(super) fn owned(method: &str, target: &str, headers: &[(&str, &str)]) -> Owned {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    Owned {
        method: method.parse().unwrap(),
        target: target.to_owned(),
        host: "s3.local:8080".to_owned(),
        headers: map,
        now: Timestamp::from_second(1_369_353_600).unwrap(),
        base_domains: vec![
            (Front::Storage(Protocol::S3), "s3.example.com".into()),
            (Front::Storage(Protocol::Gcs), "gcs.example.com".into()),
        ],
    }
}

impl Owned {
    pub(super) fn arrival(&self) -> Arrival<'_> {
        Arrival {
            method: &self.method,
            target: &self.target,
            host: &self.host,
            headers: &self.headers,
            secure: false,
            now: self.now,
            base_domains: &self.base_domains,
        }
    }

    pub(super) fn decode(&self) -> Result<S3Request> {
        route::decode(&self.arrival())
    }
}

pub(super) fn account(addressing: Addressing) -> S3Account {
    S3Account {
        bucket: "bucket".into(),
        region: "eu-west-1".into(),
        credential: Credential::Ready(ReadyCredential::s3(
            "AKIAUPSTREAM",
            Secret::new(*b"upstream-secret"),
            None,
        )),
        addressing,
        quirks: S3Quirks {
            verifies_sha256: true,
            trailers: true,
        },
    }
}

pub(super) fn bucket(
    exposed: &str,
    upstream: &str,
    prefix: &str,
    addressing: Addressing,
) -> Bucket {
    let second = Duration::from_secs(1);
    Bucket {
        exposed: exposed.into(),
        upstream: upstream.into(),
        prefix: prefix.into(),
        created_at: Timestamp::UNIX_EPOCH,
        resource: Arc::new(Resource {
            name: "res".into(),
            id: uuid::Uuid::nil(),
            origin: Origin {
                tls: true,
                host: "store.internal".into(),
                server_name: "store.internal".into(),
                port: 443,
                authority: HeaderValue::from_static("store.internal"),
                base_path: "".into(),
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
            kind: ResourceKind::S3(account(addressing)),
            meters: Arc::default(),
        }),
    }
}
