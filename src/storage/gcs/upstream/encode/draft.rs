//! A request as it grows: path, query, headers, body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method};
use md5::{Digest, Md5};
use smallvec::smallvec;

use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Slash};
use crate::policy::authorize;
use crate::policy::route::Bucket;
use crate::storage::codec::{UpstreamBody, UpstreamHead, UpstreamRequest};
use crate::storage::gcs::names;
use crate::storage::gcs::upstream::headers::push;
use crate::storage::object::VersionId;

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

    pub(super) fn service(bucket: &Bucket) -> Self {
        let mut path = bucket.resource.origin.base_path.as_bytes().to_vec();
        path.push(b'/');
        Self::new(bucket, path)
    }

    pub(super) fn bucket(bucket: &Bucket) -> Self {
        let mut draft = Self::service(bucket);
        escape::encode(&mut draft.path, bucket.upstream.as_bytes(), Slash::Encode);
        draft
    }

    pub(super) fn object(bucket: &Bucket, key: &str) -> Result<Self> {
        check_key(&bucket.prefix, key)?;
        let mut draft = Self::bucket(bucket);
        draft.path.push(b'/');
        escape::encode(&mut draft.path, bucket.prefix.as_bytes(), Slash::Keep);
        escape::encode(&mut draft.path, key.as_bytes(), Slash::Keep);
        Ok(draft)
    }

    /// All buckets, in the JSON API.
    pub(super) fn json_buckets(bucket: &Bucket) -> Self {
        let mut draft = Self::service(bucket);
        draft.path.extend_from_slice(b"storage/v1/b");
        draft
    }

    /// An object in the JSON API, where its whole name is one segment.
    pub(super) fn json(bucket: &Bucket, key: &str) -> Result<Self> {
        check_key(&bucket.prefix, key)?;
        let mut draft = Self::service(bucket);
        draft.path.extend_from_slice(b"storage/v1/b/");
        escape::encode(&mut draft.path, bucket.upstream.as_bytes(), Slash::Encode);
        draft.path.extend_from_slice(b"/o/");
        escape::encode(&mut draft.path, bucket.prefix.as_bytes(), Slash::Encode);
        escape::encode(&mut draft.path, key.as_bytes(), Slash::Encode);
        Ok(draft)
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

    /// The generation that a version's name is. The only version of a store without versions is the object itself.
    pub(super) fn version(&mut self, version: Option<&VersionId>) -> Result<()> {
        if let Some(version) = version.filter(|version| !version.is_null()) {
            self.query("generation", generation(version)?);
        }
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

    pub(super) fn document(mut self, method: Method, document: Bytes) -> Result<UpstreamRequest> {
        let length = HeaderValue::from(document.len());
        self.head.headers.push((CONTENT_LENGTH, length));
        if document.is_empty() {
            return Ok(self.finish(method, UpstreamBody::None));
        }
        let known = self.head.header(CONTENT_TYPE.as_str()).is_some();
        if !known {
            let xml = HeaderValue::from_static("application/xml");
            self.head.headers.push((CONTENT_TYPE, xml));
        }
        // Batch deletes demand it, and it costs nothing.
        push(
            &mut self.head,
            "content-md5",
            &STANDARD.encode(Md5::digest(&document)),
        )?;
        Ok(self.finish(method, UpstreamBody::Document(document)))
    }
}

pub(super) fn generation(version: &VersionId) -> Result<&str> {
    let valid = !version.0.is_empty() && version.0.bytes().all(|b| b.is_ascii_digit());
    if !valid {
        return Err(
            Error::new(Kind::InvalidArgument, "Invalid version id specified")
                .with_param("versionId"),
        );
    }
    Ok(&version.0)
}

/// What GCS would take for another name, or for none.
pub(super) fn check_key(prefix: &str, key: &str) -> Result<()> {
    if prefix.len() + key.len() > names::KEY_BYTES_MAX {
        return Err(Error::new(Kind::KeyTooLong, "Your key is too long"));
    }
    if !prefix.is_empty() && authorize::has_dot_segment(key) {
        return Err(outside());
    }
    let refused = key.contains(['\r', '\n'])
        || prefix.is_empty()
            && (matches!(key, "." | "..") || key.starts_with(".well-known/acme-challenge/"));
    if refused {
        return Err(Error::new(
            Kind::InvalidArgument,
            "The store cannot hold a key of this name.",
        ));
    }
    Ok(())
}

fn outside() -> Error {
    Error::new(Kind::AccessDenied, "Access Denied")
        .with_detail("a dot segment under the bucket's prefix")
}
