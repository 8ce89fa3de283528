//! A request as it grows: path, query, headers, body.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method};
use smallvec::smallvec;

use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Slash};
use crate::policy::authorize;
use crate::policy::route::Bucket;
use crate::storage::azure::names;
use crate::storage::codec::{UpstreamBody, UpstreamHead, UpstreamRequest};
use crate::storage::object::VersionId;
use crate::storage::op::ObjectRef;

/// A request that is being written.
pub(super) struct Draft {
    pub(super) head: UpstreamHead,
    path: Vec<u8>,
    asks: bool,
}

impl Draft {
    fn new(bucket: &Bucket, path: Vec<u8>) -> Self {
        let host = bucket.resource.origin.authority.clone();
        Self {
            head: UpstreamHead {
                method: Method::GET,
                target: String::new(),
                headers: smallvec![(HOST, host)],
            },
            path,
            asks: false,
        }
    }

    pub(super) fn account(bucket: &Bucket) -> Self {
        let mut path = bucket.resource.origin.base_path.as_bytes().to_vec();
        path.push(b'/');
        Self::new(bucket, path)
    }

    pub(super) fn container(bucket: &Bucket) -> Self {
        let mut path = Vec::new();
        push_container(&mut path, bucket);
        let mut draft = Self::new(bucket, path);
        draft.query("restype", "container");
        draft
    }

    pub(super) fn blob(bucket: &Bucket, key: &str) -> Result<Self> {
        let mut path = Vec::with_capacity(128);
        push_blob(&mut path, bucket, key)?;
        Ok(Self::new(bucket, path))
    }

    pub(super) fn object(bucket: &Bucket, object: &ObjectRef) -> Result<Self> {
        check_version(object.version.as_ref())?;
        Self::blob(bucket, &object.key)
    }

    pub(super) fn query(&mut self, name: &str, value: &str) {
        self.path.push(if self.asks { b'&' } else { b'?' });
        self.asks = true;
        escape::encode(&mut self.path, name.as_bytes(), Slash::Encode);
        self.path.push(b'=');
        escape::encode(&mut self.path, value.as_bytes(), Slash::Encode);
    }

    /// A parameter that holds a name of the client's.
    pub(super) fn query_name(&mut self, name: &str, bucket: &Bucket, value: &str) -> Result<()> {
        if authorize::has_dot_segment(value) && !bucket.prefix.is_empty() {
            return Err(outside());
        }
        self.query(name, &[&*bucket.prefix, value].concat());
        Ok(())
    }

    pub(super) fn finish(mut self, method: Method, body: UpstreamBody) -> UpstreamRequest {
        self.head.method = method;
        // Escapes are ASCII, and the configured path is text.
        self.head.target = String::from_utf8_lossy(&self.path).into_owned();
        UpstreamRequest {
            head: self.head,
            body,
        }
    }

    pub(super) fn empty(mut self, method: Method) -> UpstreamRequest {
        if matches!(method, Method::PUT | Method::POST) {
            let none = HeaderValue::from_static("0");
            self.head.headers.push((CONTENT_LENGTH, none));
        }
        self.finish(method, UpstreamBody::None)
    }

    pub(super) fn document(mut self, method: Method, document: Bytes) -> UpstreamRequest {
        self.push_length(&document);
        let xml = HeaderValue::from_static("application/xml");
        self.head.headers.push((CONTENT_TYPE, xml));
        self.finish(method, UpstreamBody::Document(document))
    }

    pub(super) fn bytes(mut self, method: Method, bytes: Bytes) -> UpstreamRequest {
        self.push_length(&bytes);
        self.finish(method, UpstreamBody::Document(bytes))
    }

    fn push_length(&mut self, bytes: &Bytes) {
        let length = HeaderValue::from(bytes.len());
        self.head.headers.push((CONTENT_LENGTH, length));
    }
}

fn push_container(path: &mut Vec<u8>, bucket: &Bucket) {
    path.extend_from_slice(bucket.resource.origin.base_path.as_bytes());
    path.push(b'/');
    escape::encode(path, bucket.upstream.as_bytes(), Slash::Encode);
}

fn push_blob(path: &mut Vec<u8>, bucket: &Bucket, key: &str) -> Result<()> {
    check_key(&bucket.prefix, key)?;
    push_container(path, bucket);
    path.push(b'/');
    escape::encode(path, bucket.prefix.as_bytes(), Slash::Keep);
    escape::encode(path, key.as_bytes(), Slash::Keep);
    Ok(())
}

/// A blob's address, for the store to read it by itself.
pub(super) fn url(bucket: &Bucket, key: &str) -> Result<HeaderValue> {
    let origin = &bucket.resource.origin;
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(if origin.tls { b"https://" } else { b"http://" });
    out.extend_from_slice(origin.authority.as_bytes());
    push_blob(&mut out, bucket, key)?;
    HeaderValue::try_from(out).map_err(Error::internal)
}

/// Versions are not asked for: the object as it is, is the only one.
pub(super) fn check_version(version: Option<&VersionId>) -> Result<()> {
    if version.is_none_or(VersionId::is_null) {
        return Ok(());
    }
    let error = Error::new(Kind::InvalidArgument, "Invalid version id specified");
    Err(error.with_param("versionId"))
}

/// What Azure would take for another name, or for none: it folds `\` to `/`, drops dots at the end of a segment, and
/// its servers refuse control characters.
pub(super) fn check_key(prefix: &str, key: &str) -> Result<()> {
    let chars: usize = [prefix, key]
        .iter()
        .map(|text| text.encode_utf16().count())
        .sum();
    if chars > names::KEY_CHARS_MAX {
        return Err(Error::new(Kind::KeyTooLong, "Your key is too long"));
    }
    if !prefix.is_empty() && authorize::has_dot_segment(key) {
        return Err(outside());
    }
    let segments = [prefix, key].map(|text| text.matches('/').count());
    let refused = key.contains(|c: char| c == '\\' || c.is_control())
        || key.split('/').any(|segment| segment.ends_with('.'))
        || segments.iter().sum::<usize>() >= names::SEGMENTS_MAX;
    if refused {
        return Err(Error::new(
            Kind::InvalidArgument,
            "The store cannot hold a key of this name.",
        ));
    }
    Ok(())
}

/// What a container may be called.
pub(super) fn check_container(name: &str) -> Result<()> {
    let valid = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if valid {
        return Ok(());
    }
    Err(Error::new(
        Kind::InvalidBucketName,
        "The specified bucket is not valid.",
    ))
}

fn outside() -> Error {
    Error::new(Kind::AccessDenied, "Access Denied")
        .with_detail("a dot segment under the bucket's prefix")
}
