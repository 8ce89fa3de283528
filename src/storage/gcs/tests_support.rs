//! Buckets and answers for unit tests.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use crate::keys::AiType;
use crate::policy::health::HealthRules;
use crate::policy::route::{
    AiAccount, Bucket, Origin, Reach, Resource, ResourceKind, Timeouts, UsageInjection,
};
use crate::protocol::Dialect;
use crate::storage::codec::{Target, UpstreamBody, UpstreamRequest};

pub(in crate::storage) fn bucket(upstream: &str, prefix: &str) -> Bucket {
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
                host: "storage.googleapis.com".into(),
                server_name: "storage.googleapis.com".into(),
                port: 443,
                authority: HeaderValue::from_static("storage.googleapis.com"),
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
            // The codec reads the origin alone.
            kind: ResourceKind::Ai(AiAccount {
                dialect: Dialect::OpenAi,
                provider: AiType::Other,
                api_key: None,
                signing: None,
                usage_injection: UsageInjection::Never,
                responses: false,
            }),
            meters: Arc::default(),
        }),
    }
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
