//! From a request head to an operation.
//!
//! [`decode`] works on the raw target and headers alone. What it gives, an [`S3Request`], cannot state its demands:
//! those of a batch delete are in its body. [`S3Request::without_body`] and [`S3Request::with_body`] make the
//! [`WholeOp`] that can. Checking the signature is [`super::auth`]'s business and comes first.

mod address;
mod rows;
mod table;

use std::cell::LazyCell;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use address::{Address, address, decode_text, parse_copy_source};
pub use table::{Class, Level, Op, Renaming, Reply, RequestBody, Row, Verb, takes_header};

use super::error::Failure;
use super::wire::{self, Delete, DeleteEntry};
use super::{Arrival, names};
use crate::error::{Error, Kind, Result};
use crate::keys::Access;
use crate::message::escape::Plus;
use crate::message::text;
use crate::policy::authorize::{Demand, Scope};

/// Query parameters of one request. Stops a request from making us search long lists; no operation has half as many.
const QUERY_PAIRS_MAX: usize = 128;

static COPY_SOURCE: HeaderName = HeaderName::from_static(names::COPY_SOURCE);

/// An operation decoded from a head. What it demands is known only once it is a [`WholeOp`].
#[derive(Debug)]
pub struct S3Request {
    row: &'static Row,
    bucket: Option<Box<str>>,
    key: Option<Box<str>>,
    query: SmallVec<[(&'static str, Box<str>); 4]>,
    hoisted: Vec<(HeaderName, HeaderValue)>,
    source: Option<CopySource>,
    access: Access,
    style: Style,
}

/// Where the bucket stood in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Path,
    VirtualHost,
}

/// What a copy reads, by the client's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    pub bucket: Box<str>,
    pub key: Box<str>,
    pub version_id: Option<Box<str>>,
}

/// Decodes a request head.
pub fn decode(arrival: &Arrival<'_>) -> Result<S3Request> {
    let method = Verb::parse(arrival.method).ok_or_else(method_not_allowed)?;
    let (path, query) = text::split_once(arrival.target, b'?').unwrap_or((arrival.target, ""));
    let Address { bucket, key, style } = address(arrival, path)?;
    let query = parse_query(query)?;
    let copy_source = one_header(arrival.headers, &query.hoisted, &COPY_SOURCE)?;
    let level = match (&bucket, &key) {
        (None, _) => Level::Service,
        (Some(_), None) => Level::Bucket,
        (Some(_), Some(_)) => Level::Object,
    };
    let copies = copy_source.is_some() && level == Level::Object && method == Verb::Put;
    let row = table::find(level, method, &query.selectors, copies)
        .ok_or_else(|| no_row(level, method, &query.selectors))?;
    if let Some(bucket) = &bucket {
        if row.op == Op::CreateBucket {
            names::check_new_bucket(bucket)?;
        } else {
            names::check_bucket(bucket)?;
        }
    }
    if let Some(key) = &key {
        names::check_key(key)?;
    }
    let source = match copy_source {
        Some(value) if row.copies => Some(parse_copy_source(value.as_bytes())?),
        _ => None,
    };
    let mut access = row.access;
    for (name, value) in arrival
        .headers
        .iter()
        .chain(query.hoisted.iter().map(|(name, value)| (name, value)))
    {
        access = access.max(check_header(row, name.as_str(), value)?);
    }
    if let Some((name, _)) = query
        .hoisted
        .iter()
        .find(|(name, _)| arrival.headers.contains_key(name))
    {
        return Err(
            invalid("The header is given twice, as a header and in the query.")
                .with_param(name.as_str().to_owned()),
        );
    }
    check_query(row, &query.pairs)?;
    check_no_body(row, arrival.headers)?;
    Ok(S3Request {
        row,
        bucket,
        key,
        query: query.pairs,
        hoisted: query.hoisted,
        source,
        access,
        style,
    })
}

/// The bucket that a request addresses as such, without a key.
pub fn bucket_of(arrival: &Arrival<'_>, path: &str) -> Result<Option<(Box<str>, Style)>> {
    let Address { bucket, key, style } = address(arrival, path)?;
    Ok(bucket
        .filter(|_| key.is_none())
        .map(|bucket| (bucket, style)))
}

/// The bucket before a base domain in the host.
pub fn virtual_host_bucket(arrival: &Arrival<'_>) -> Result<Option<Box<str>>> {
    let Address { bucket, style, .. } = address(arrival, "/")?;
    Ok(bucket.filter(|_| style == Style::VirtualHost))
}

impl S3Request {
    pub fn row(&self) -> &'static Row {
        self.row
    }

    pub fn op(&self) -> Op {
        self.row.op
    }

    /// The operation's name in the manual; the `op` label of metrics.
    pub fn name(&self) -> &'static str {
        self.row.name()
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

    pub fn style(&self) -> Style {
        self.style
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

    /// Headers that a presigned URL carries in its query.
    pub fn hoisted(&self) -> &[(HeaderName, HeaderValue)] {
        &self.hoisted
    }

    /// Completes an operation that has no document.
    pub fn without_body(self) -> Result<WholeOp> {
        match self.row.request_body {
            RequestBody::None | RequestBody::Stream => Ok(WholeOp {
                request: self,
                document: None,
                delete: Delete::default(),
                refused: Vec::new(),
            }),
            RequestBody::Document { .. } => Err(Error::internal(format_args!(
                "{} was not given its document",
                self.name()
            ))),
        }
    }

    /// Completes an operation by its document, which [`super::body::verify_document`] has checked.
    pub fn with_body(self, document: Bytes) -> Result<WholeOp> {
        match self.row.request_body {
            RequestBody::Document { bytes_max } if document.len() <= bytes_max => {}
            RequestBody::Document { .. } => return Err(document_too_large()),
            RequestBody::None | RequestBody::Stream => {
                return Err(Error::internal(format_args!(
                    "{} has no document",
                    self.name()
                )));
            }
        }
        let delete = if self.row.op == Op::DeleteObjects {
            wire::parse_delete(&document)?
        } else {
            Delete::default()
        };
        let mut op = WholeOp {
            request: self,
            document: Some(document),
            delete,
            refused: Vec::new(),
        };
        op.refuse(names::check_key);
        Ok(op)
    }
}

/// An operation whose every target is known.
#[derive(Debug)]
pub struct WholeOp {
    request: S3Request,
    document: Option<Bytes>,
    delete: Delete,
    refused: Vec<RefusedEntry>,
}

/// An entry of a batch delete that is not carried out, and why.
#[derive(Debug)]
pub struct RefusedEntry {
    pub entry: DeleteEntry,
    pub failure: Failure,
}

impl WholeOp {
    pub fn request(&self) -> &S3Request {
        &self.request
    }

    pub fn op(&self) -> Op {
        self.request.row.op
    }

    /// The client's document, by the client's names.
    pub fn document(&self) -> Option<&Bytes> {
        self.document.as_ref()
    }

    /// The entries of a batch delete that are carried out; empty for any other operation.
    pub fn delete(&self) -> &Delete {
        &self.delete
    }

    /// The entries of a batch delete that are answered without being carried out.
    pub fn refused(&self) -> &[RefusedEntry] {
        &self.refused
    }

    /// Takes the entries out of a batch delete that may not be carried out: the others do not fall with them.
    pub fn refuse(&mut self, check: impl Fn(&str) -> Result<()>) {
        for entry in std::mem::take(&mut self.delete.entries) {
            match check(&entry.key) {
                Ok(()) => self.delete.entries.push(entry),
                Err(error) => self.refused.push(RefusedEntry {
                    entry,
                    failure: Failure::from(&error),
                }),
            }
        }
    }

    /// Everything that must be allowed.
    pub fn demands(&self) -> SmallVec<[Demand<'_>; 2]> {
        let request = &self.request;
        let access = request.access;
        let mut demands = SmallVec::new();
        let Some(bucket) = request.bucket() else {
            demands.push(Demand {
                access,
                scope: Scope::Repository,
            });
            return demands;
        };
        if let Some(source) = &request.source {
            demands.push(Demand {
                access: Access::Read,
                scope: Scope::Object {
                    bucket: &source.bucket,
                    key: &source.key,
                },
            });
        }
        match (request.row.op, request.row.class) {
            (Op::DeleteObjects, _) => {
                demands.push(Demand {
                    access,
                    scope: Scope::Inside(bucket),
                });
                demands.extend(self.delete.entries.iter().map(|entry| Demand {
                    access,
                    scope: Scope::Object {
                        bucket,
                        key: &entry.key,
                    },
                }));
            }
            (_, Class::List) if request.key.is_none() => demands.push(Demand {
                access,
                scope: Scope::Prefix {
                    bucket,
                    prefix: request.query("prefix").unwrap_or_default(),
                },
            }),
            _ => demands.push(Demand {
                access,
                scope: match request.key() {
                    Some(key) => Scope::Object { bucket, key },
                    None => Scope::Bucket(bucket),
                },
            }),
        }
        demands
    }
}

#[derive(Default)]
struct Query {
    selectors: SmallVec<[&'static str; 2]>,
    pairs: SmallVec<[(&'static str, Box<str>); 4]>,
    hoisted: Vec<(HeaderName, HeaderValue)>,
}

fn parse_query(raw: &str) -> Result<Query> {
    let mut query = Query::default();
    if raw.is_empty() {
        return Ok(query);
    }
    // What may be here because of it, the signature has covered.
    let presigned_v2 = LazyCell::new(|| raw.contains("AWSAccessKeyId="));
    let presigned = LazyCell::new(|| raw.contains("X-Amz-Signature=") || *presigned_v2);
    for (count, pair) in raw.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count >= QUERY_PAIRS_MAX {
            return Err(invalid("Too many query parameters."));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode_text(name.as_bytes(), Plus::Space)?;
        let value = decode_text(value.as_bytes(), Plus::Space)?;
        if names::PRESIGN_QUERY.contains(&&*name) || names::DROPPED_QUERY.contains(&&*name) {
            continue;
        }
        if names::is_of_signature_v2(&name) && *presigned_v2 {
            continue;
        }
        if let Some(name) = names::hoisted(&name) {
            if !*presigned {
                return Err(unknown_parameter(&name));
            }
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| unknown_parameter(&name))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| invalid("A header in the query is not valid."))?;
            query.hoisted.push((header, value));
            continue;
        }
        let (name, selects) = match (table::selector(&name), table::parameter(&name)) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => return Err(unknown_parameter(&name)),
        };
        if query.pairs.iter().any(|(known, _)| *known == name) {
            return Err(invalid("A query parameter is given twice.").with_param(name));
        }
        if selects {
            query.selectors.push(name);
        }
        query.pairs.push((name, value.into()));
    }
    Ok(query)
}

/// Checks one header against the row; returns the access that it asks for.
fn check_header(row: &Row, name: &str, value: &HeaderValue) -> Result<Access> {
    if !name.starts_with(names::X_AMZ) || names::DROPPED_HEADERS.contains(&name) {
        return Ok(Access::Read);
    }
    if name == names::COPY_SOURCE && row.copies {
        return Ok(Access::Read);
    }
    if !row.allows_header(name) {
        if row.level == Level::Object && name.starts_with(names::ENCRYPTION) {
            // How the object was stored decides, not the one who asks for it; S3 says so instead of ignoring it.
            let message = "A server-side encryption header is not supported for this operation.";
            return Err(invalid(message).with_param(name.to_owned()));
        }
        return Err(Error::unsupported(
            "A header you provided implies functionality that is not implemented.",
        )
        .with_param(name.to_owned()));
    }
    let harmless_acl =
        name == names::ACL && matches!(value.as_bytes(), b"private" | b"bucket-owner-full-control");
    let asks_more = name == names::ACL
        || name == names::BYPASS_GOVERNANCE
        || name.starts_with(names::GRANT)
        || name.starts_with(names::OBJECT_LOCK);
    if asks_more && !harmless_acl {
        return Ok(Access::Admin);
    }
    Ok(Access::Read)
}

fn check_query(row: &Row, pairs: &[(&'static str, Box<str>)]) -> Result<()> {
    for (name, value) in pairs {
        if !row.when.contains(name) && !row.query.contains(name) {
            return Err(unknown_parameter(name));
        }
        let valid = match *name {
            // An empty one would turn the operation into that on the latest version, or on the object itself.
            "versionId" | "uploadId" | "id" => !value.is_empty(),
            "list-type" => &**value == "2",
            "select-type" => &**value == "2",
            "partNumber" => value
                .parse::<u32>()
                .is_ok_and(|part| (1..=names::PART_NUMBER_MAX).contains(&part)),
            "encoding-type" => value.is_empty() || &**value == "url",
            "max-keys" | "max-parts" | "max-uploads" | "part-number-marker" => {
                value.is_empty() || value.parse::<i32>().is_ok_and(|number| number >= 0)
            }
            "prefix" => !names::climbs(value),
            _ => true,
        };
        if !valid {
            return Err(invalid("A query parameter is not valid.").with_param(*name));
        }
    }
    let has = |wanted: &str| pairs.iter().any(|(name, _)| *name == wanted);
    let of_part = matches!(row.op, Op::UploadPart | Op::UploadPartCopy);
    if of_part && !has("partNumber") {
        return Err(invalid("This operation needs a part number.").with_param("partNumber"));
    }
    Ok(())
}

/// An operation without a request body that is sent one is refused: nobody would read it.
fn check_no_body(row: &Row, headers: &HeaderMap) -> Result<()> {
    if row.request_body != RequestBody::None {
        return Ok(());
    }
    let length = headers.get(http::header::CONTENT_LENGTH);
    if length.is_some_and(|length| length.as_bytes() != b"0") {
        return Err(Error::new(
            Kind::InvalidRequest,
            "This operation takes no request body.",
        ));
    }
    Ok(())
}

/// The one value of a header, wherever it stands.
fn one_header<'a>(
    headers: &'a HeaderMap,
    hoisted: &'a [(HeaderName, HeaderValue)],
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>> {
    let mut values = headers.get_all(name).iter().chain(
        hoisted
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value),
    );
    let first = values.next();
    if values.next().is_some() {
        return Err(invalid("A header is given twice.").with_param(name.as_str().to_owned()));
    }
    Ok(first)
}

fn no_row(level: Level, method: Verb, selectors: &[&str]) -> Error {
    let is_form = level == Level::Bucket && method == Verb::Post && selectors.is_empty();
    if is_form {
        return Error::new(
            Kind::PreconditionFailed,
            "Bucket POST must be of the enclosure-type multipart/form-data",
        );
    }
    if selectors.is_empty() {
        return method_not_allowed();
    }
    Error::unsupported("The operation you requested is not implemented.")
}

fn unknown_parameter(name: &str) -> Error {
    Error::unsupported(
        "A query parameter you provided implies functionality that is not implemented.",
    )
    .with_param(name.to_owned())
}

fn method_not_allowed() -> Error {
    Error::new(
        Kind::MethodNotAllowed,
        "The specified method is not allowed against this resource.",
    )
}

fn document_too_large() -> Error {
    Error::new(Kind::BodyTooLarge, "The request document is too large.")
}

fn invalid(message: &'static str) -> Error {
    Error::new(Kind::InvalidArgument, message)
}

#[cfg(test)]
pub(super) use table::{row_of, selects};
#[cfg(test)]
pub(super) use tests::sample;

#[cfg(test)]
mod tests;
