//! S3: what a request means, what of it leaves, and the bodies on their way.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use aqueduct::message::body::{BodyStep, Chunks, End};
use aqueduct::policy::credential::{Credential, ReadyCredential};
use aqueduct::policy::health::HealthRules;
use aqueduct::policy::route::{
    Addressing, Bucket, Origin, Reach, Resource, ResourceKind, S3Account, S3Quirks, Timeouts,
};
use aqueduct::secret::Secret;
use aqueduct::storage::s3::auth::Payload;
use aqueduct::storage::s3::route::{RequestBody, S3Request};
use aqueduct::storage::s3::{Arrival, body, route as routes, upstream, wire};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;

use super::{Source, pieces};

const OBJECT_BYTES_MAX: u64 = 1 << 20;
const PREFIX: &str = "tenant/";

fn quirks(trailers: bool) -> S3Quirks {
    S3Quirks {
        verifies_sha256: true,
        trailers,
    }
}

fn bucket() -> Bucket {
    let second = Duration::from_secs(1);
    let account = S3Account {
        region: "r".into(),
        bucket: "bucket".into(),
        credential: Credential::Ready(ReadyCredential::s3("id", Secret::new(*b"secret"), None)),
        addressing: Addressing::Path,
        quirks: quirks(true),
    };
    let origin = Origin {
        tls: true,
        host: "store".into(),
        server_name: "store".into(),
        port: 443,
        authority: HeaderValue::from_static("store"),
        base_path: "".into(),
        reach: Reach::Public,
        ca_file: None,
    };
    let timeouts = Timeouts {
        connect: second,
        tls: second,
        first_byte: second,
        idle: second,
        pool_idle: second,
    };
    Bucket {
        exposed: "bkt".into(),
        upstream: "theirs".into(),
        prefix: PREFIX.into(),
        created_at: Timestamp::UNIX_EPOCH,
        resource: Arc::new(Resource {
            name: "res".into(),
            id: uuid::Uuid::nil(),
            origin,
            timeouts,
            kind: ResourceKind::S3(account),
            meters: Arc::default(),
            health_rules: HealthRules::default(),
            health: Arc::default(),
        }),
    }
}

fn decode(method: &Method, target: &str, headers: &HeaderMap) -> Option<S3Request> {
    let arrival = Arrival {
        method,
        target,
        host: "s3.local",
        headers,
        secure: false,
        now: Timestamp::UNIX_EPOCH,
        base_domains: &[],
    };
    routes::decode(&arrival).ok()
}

/// Whatever a client asks for, what leaves is under the bucket and the prefix that are its own.
pub(super) fn route(data: &[u8]) {
    let mut source = Source(data);
    let methods = [
        Method::GET,
        Method::PUT,
        Method::HEAD,
        Method::DELETE,
        Method::POST,
    ];
    let method = &methods[usize::from(source.byte()) % methods.len()];
    let target = source.text();
    let Some(headers) = headers(&mut source) else {
        return;
    };
    let Some(request) = decode(method, &target, &headers) else {
        return;
    };
    let form = match request.row().request_body {
        RequestBody::Stream => {
            let unsigned = Payload::Unsigned;
            match body::plan(&request, unsigned, &headers, quirks(true), OBJECT_BYTES_MAX) {
                Ok((form, _)) => Some(form),
                Err(_) => return,
            }
        }
        RequestBody::None => None,
        RequestBody::Document { .. } => return,
    };
    let Ok(op) = request.without_body() else {
        return;
    };
    let bucket = bucket();
    let copies = op.request().source().map(|_| &bucket);
    let Ok(sent) = upstream::encode(&op, &headers, &bucket, copies, form.as_ref()) else {
        return;
    };
    let path = sent.head.target.split('?').next().unwrap_or_default();
    let path = percent_decoded(path);
    let expected = match op.request().key() {
        Some(_) => "/theirs/tenant/",
        None => "/theirs",
    };
    let became = &sent.head.target;
    assert!(
        path.starts_with(expected.as_bytes()),
        "{target} became {became}"
    );
    let rest = &path[expected.len()..];
    assert!(
        expected.ends_with('/') || matches!(rest, b"" | b"/"),
        "{target} became {became}"
    );
    for (name, value) in &sent.head.headers {
        let bytes = value.as_bytes();
        let breaks = bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        assert!(!breaks, "{name}");
        if name == "x-amz-copy-source" {
            let source = percent_decoded(&String::from_utf8_lossy(bytes));
            let source = source.strip_prefix(b"/").unwrap_or(&source);
            assert!(source.starts_with(b"theirs/tenant/"), "{value:?}");
        }
    }
}

fn headers(source: &mut Source<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    while !source.0.is_empty() && headers.len() < 16 {
        let line = source.line();
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        headers.append(name, HeaderValue::from_bytes(&line[at + 1..]).ok()?);
    }
    Some(headers)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(decoded) if *byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// A copy's source is decoded once: written again in the plainest way it is the same source.
pub(super) fn copy_source(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-copy-source", value);
    let Some(request) = decode(&Method::PUT, "/bkt/k", &headers) else {
        return;
    };
    let Some(found) = request.source() else {
        return;
    };
    let mut again = format!("{}/", found.bucket);
    for byte in found.key.bytes() {
        let _written = write!(again, "%{byte:02x}");
    }
    let again = HeaderValue::try_from(again).expect("plain text");
    headers.insert("x-amz-copy-source", again);
    let again = decode(&Method::PUT, "/bkt/k", &headers).expect("it was read before");
    let again = again.source().expect("it was read before");
    assert_eq!((&again.bucket, &again.key), (&found.bucket, &found.key));
}

/// Chunks cut from content are that content again, and any bytes come out the same in any pieces.
pub(super) fn aws_chunked(data: &[u8]) {
    let mut source = Source(data);
    let (size, chunk, content) = (source.byte(), source.byte().max(1), source.0);
    let mut framed = Vec::new();
    for part in content.chunks(usize::from(chunk)) {
        framed.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        framed.extend_from_slice(part);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    let (out, ok) = peeled(content.len(), pieces(&framed, size));
    assert!(ok && out == content, "content is lost");
    for length in [0, 5, content.len()] {
        let (whole, ok) = peeled(length, std::iter::once(Bytes::copy_from_slice(content)));
        let (cut, cut_ok) = peeled(length, pieces(content, size));
        assert_eq!(ok, cut_ok);
        if ok {
            assert_eq!(whole, cut);
            assert_eq!(whole.len(), length);
        } else {
            // What is not verified does not become whole.
            assert!(whole.len() < length.max(1) && cut.len() < length.max(1));
        }
    }
}

fn peeled(length: usize, chunks: impl Iterator<Item = Bytes>) -> (Vec<u8>, bool) {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-decoded-content-length", HeaderValue::from(length));
    let request = decode(&Method::PUT, "/bkt/k", &headers).expect("a plain PUT");
    let trailer = Payload::UnsignedTrailer;
    let planned = body::plan(&request, trailer, &headers, quirks(false), OBJECT_BYTES_MAX);
    let (_, mut pipe) = planned.expect("a plain upload");
    let mut out = Chunks::new();
    let mut ok = true;
    for chunk in chunks {
        ok = pipe.push(chunk, &mut out).is_ok();
        if !ok {
            break;
        }
    }
    let ok = ok && pipe.finish(End::Clean, &mut out).is_ok();
    (out.concat(), ok)
}

/// A batch delete that is read is written with the same meaning.
pub(super) fn xml(data: &[u8]) {
    let Ok(delete) = wire::parse_delete(data) else {
        return;
    };
    let written = wire::write_delete(&delete, "");
    let again = wire::parse_delete(&written).expect("what we write we read");
    assert_eq!(again, delete);
}
