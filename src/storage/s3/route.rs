//! From a request head to an operation, by a closed table.

use bytes::Bytes;
use smallvec::SmallVec;

use super::Arrival;
use crate::error::{Error, Result};
use crate::keys::Access;
use crate::policy::authorize::Demand;

/// What an operation addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Service,
    Bucket,
    Object,
}

/// The `class` label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Read,
    Write,
    List,
    Meta,
    Admin,
}

/// How an operation's request body is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    None,
    /// Streamed through [`super::body::UploadPipe`].
    Stream,
    /// Read whole before anything else happens.
    Document {
        bytes_max: usize,
    },
}

/// How an operation's reply is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Forwarded as it is.
    Forward,
    /// A document that names buckets or keys.
    Document,
    /// A document that may come late, or be an error under a 200.
    Late,
    /// Answered by us.
    Local,
}

/// One operation of the table.
#[derive(Debug)]
pub struct Row {
    pub op: Op,
    /// The operation's name in the manual; the `op` label of metrics.
    pub name: &'static str,
    pub level: Level,
    pub access: Access,
    pub class: Class,
    /// Query parameters that are forwarded.
    pub query: &'static [&'static str],
    /// Request headers that are forwarded.
    pub headers: &'static [&'static str],
    pub request_body: RequestBody,
    pub reply: Reply,
    /// May be sent again when the provider's connection broke before an answer.
    pub retryable: bool,
}

/// The operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    GetObject,
}

/// An operation decoded from a head. What it demands is known only once it is a [`WholeOp`].
#[derive(Debug)]
pub struct S3Request {
    row: &'static Row,
    bucket: Option<Box<str>>,
    key: Option<Box<str>>,
    query: SmallVec<[(&'static str, Box<str>); 4]>,
    source: Option<CopySource>,
    access: Access,
}

/// What a copy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    pub bucket: Box<str>,
    pub key: Box<str>,
    pub version_id: Option<Box<str>>,
}

/// Decodes a request head.
pub fn decode(_arrival: &Arrival<'_>) -> Result<S3Request> {
    Err(Error::internal("not built"))
}

impl S3Request {
    pub fn row(&self) -> &'static Row {
        self.row
    }

    pub fn op(&self) -> Op {
        self.row.op
    }

    pub fn bucket(&self) -> Option<&str> {
        self.bucket.as_deref()
    }

    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub fn source(&self) -> Option<&CopySource> {
        self.source.as_ref()
    }

    /// The row's access, or more where a header asks for more.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The forwarded query parameters in the order received, decoded.
    pub fn query_pairs(&self) -> &[(&'static str, Box<str>)] {
        &self.query
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| &**value)
    }

    /// Completes an operation that has no document.
    pub fn without_body(self) -> Result<WholeOp> {
        Err(Error::internal("not built"))
    }

    /// Completes an operation by its verified document.
    pub fn with_body(self, _document: Bytes) -> Result<WholeOp> {
        Err(Error::internal("not built"))
    }
}

/// An operation whose every target is known.
#[derive(Debug)]
pub struct WholeOp {
    request: S3Request,
    document: Option<Bytes>,
}

impl WholeOp {
    pub fn request(&self) -> &S3Request {
        &self.request
    }

    pub fn document(&self) -> Option<&Bytes> {
        self.document.as_ref()
    }

    /// Everything that must be allowed.
    pub fn demands(&self) -> SmallVec<[Demand<'_>; 2]> {
        SmallVec::new()
    }
}
