//! Uploads by a browser's form: a `POST` of `multipart/form-data` to a bucket, under a policy that was signed for it.
//!
//! [`FormReader`] takes the message up to the file, within a bound; what it gives, a [`Form`], has every field that
//! counts. Its signature is [`super::auth`]'s business, [`Policy`] says what the signer allowed, and
//! [`Form::request`] makes the `PutObject` that the form stands for: from there on the form goes where every upload
//! goes, [`FilePart`] in front of the usual pipe.
//!
//! A store wants the length before the first byte, and a form tells only its own. So the file must be the last field:
//! what is left of the message, less the closing boundary, is the file. Should the message then end otherwise, the
//! upload is broken off before its last byte and nothing is stored. Only a file that ends within the first
//! [`READ_AHEAD_BYTES`] may be followed by more fields, which are ignored, as S3 does.
//!
//! Manual: <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html>.

mod file;
mod parts;
mod policy;

use std::borrow::Cow;
use std::fmt;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

pub use file::{FilePart, FileUpload};
pub use parts::FormReader;
pub use policy::Policy;

use super::Arrival;
use super::downstream::{self, ReplyHeaders};
use super::names;
use super::route::{self, Op, S3Request, Style};
use super::wire::{self, Part};
use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Slash};
use crate::message::reply::Reply;

/// Bytes of a message up to its file. S3 takes 20,000 bytes of field values; this leaves room for their heads.
pub const FIELDS_BYTES_MAX: usize = 32 << 10;
/// Fields of one form. Stops thousands of empty ones, each of which is looked at for each condition.
const FIELDS_MAX: usize = 200;
/// How much of the file is read before anything is sent, to find its end if it is near.
pub const READ_AHEAD_BYTES: usize = 64 << 10;

const FILE: &str = "file";
pub const POLICY: &str = "policy";
pub const ALGORITHM: &str = "x-amz-algorithm";
pub const CREDENTIAL: &str = "x-amz-credential";
pub const SIGNATURE: &str = "x-amz-signature";

/// Fields that belong to the signature, and never become headers.
const OF_SIGNATURE: [&str; 5] = [ALGORITHM, CREDENTIAL, SIGNATURE, names::DATE, POLICY];

/// Where a form goes to, known before it is read.
#[derive(Debug)]
pub struct Destination {
    pub bucket: Box<str>,
    style: Style,
}

/// Whether a request is a form: a `POST` of the right type to a bucket, without any sub-resource.
pub fn destination(arrival: &Arrival<'_>) -> Result<Option<Destination>> {
    let is_form = arrival.method == Method::POST
        && arrival
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| parts::is_multipart(kind.as_bytes()));
    if !is_form {
        return Ok(None);
    }
    let (path, query) = arrival
        .target
        .split_once('?')
        .unwrap_or((arrival.target, ""));
    let Some((bucket, style)) = route::bucket_of(arrival, path)?.filter(|_| query.is_empty())
    else {
        return Ok(None);
    };
    if arrival.headers.contains_key(AUTHORIZATION) {
        return Err(Error::new(
            Kind::InvalidArgument,
            "Only one auth mechanism allowed; a form brings its own.",
        ));
    }
    Ok(Some(Destination { bucket, style }))
}

/// The fields of a form that stand before its file, by lower-case name, each once.
#[derive(Default)]
pub struct Fields(Vec<(String, String)>);

impl fmt::Debug for Fields {
    /// The names alone: policy and signature together let anybody upload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Fields {
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Adds one. Of two with one name the policy might be held against the one and the upload made with the other.
    fn push(&mut self, name: String, value: String) -> Result<()> {
        if self.0.len() >= FIELDS_MAX {
            return Err(too_large());
        }
        if !is_ignored(&name) && self.field(&name).is_some() {
            return Err(
                Error::new(Kind::InvalidArgument, "A form field is given twice.").with_param(name),
            );
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Puts the file's name where fields ask for it.
    fn fill_in(&mut self, filename: &str) {
        for (name, value) in &mut self.0 {
            if !OF_SIGNATURE.contains(&name.as_str()) && value.contains("${filename}") {
                *value = value.replace("${filename}", filename);
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// A form, read up to its file.
#[derive(Debug)]
pub struct Form {
    pub fields: Fields,
    pub file: FilePart,
}

impl Form {
    /// Holds the form against its policy. The signature of both must have been checked.
    pub fn check_policy(&self, to: &Destination, now: jiff::Timestamp) -> Result<()> {
        let text = self.fields.field(POLICY).unwrap_or_default();
        let policy = Policy::parse(text)?;
        policy.check(&self.fields, &to.bucket, now)?;
        policy.check_length(self.file.length())
    }

    /// The upload that the form stands for: a `PutObject` with its headers.
    pub fn request(
        &self,
        arrival: &Arrival<'_>,
        to: &Destination,
    ) -> Result<(S3Request, HeaderMap)> {
        let key = self.fields.field("key").filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| missing("key"))?;
        let mut target = b"/".to_vec();
        if to.style == Style::Path {
            escape::encode(&mut target, to.bucket.as_bytes(), Slash::Encode);
            target.push(b'/');
        }
        escape::encode(&mut target, key.as_bytes(), Slash::Keep);
        let target = String::from_utf8(target).map_err(Error::internal)?;
        let headers = self.headers()?;
        let request = route::decode(&Arrival {
            method: &Method::PUT,
            target: &target,
            headers: &headers,
            ..*arrival
        })?;
        if request.op() != Op::PutObject {
            return Err(Error::unsupported("A form can only upload its own file."));
        }
        Ok((request, headers))
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.fields.iter().filter(|(_, value)| !value.is_empty()) {
            let bad = || {
                Error::new(Kind::InvalidArgument, "A form field is not valid.")
                    .with_param(name.to_owned())
            };
            let (name, value) = match name {
                "acl" => (names::ACL, value.to_owned()),
                "tagging" => (names::TAGGING, tagging(value)?),
                "cache-control"
                | "content-disposition"
                | "content-encoding"
                | "content-language"
                | "content-md5"
                | "content-type"
                | "expires" => (name, value.to_owned()),
                _ if OF_SIGNATURE.contains(&name) || names::DROPPED_HEADERS.contains(&name) => {
                    continue;
                }
                _ if name.starts_with(names::X_AMZ) => (name, value.to_owned()),
                _ => continue,
            };
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
            headers.append(name, value);
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.file.length()));
        Ok(headers)
    }
}

/// The answer to a form whose file was stored. `shown` is what the client sees of the store's headers, `host` the one
/// that it asked.
pub fn reply(
    form: &Fields,
    request: &S3Request,
    shown: ReplyHeaders,
    host: &str,
    secure: bool,
) -> Reply {
    let (bucket, key) = (
        request.bucket().unwrap_or_default(),
        request.key().unwrap_or_default(),
    );
    let etag = shown
        .iter()
        .find(|(name, _)| name == "etag")
        .and_then(|(_, value)| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let redirect = form
        .field("success_action_redirect")
        .or_else(|| form.field("redirect"));
    let url = downstream::object_url(request, host, secure);
    let mut reply = if let Some(to) = redirect.and_then(|to| redirection(to, bucket, key, &etag)) {
        Reply::new(StatusCode::SEE_OTHER).with(LOCATION, to)
    } else {
        let reply = match form.field("success_action_status") {
            Some("200") => Reply::new(StatusCode::OK),
            Some("201") => Reply::new(StatusCode::CREATED)
                .with_body("application/xml", stored(&url, bucket, key, &etag)),
            Some(_) | None => Reply::new(StatusCode::NO_CONTENT),
        };
        reply.with_text(LOCATION, &url)
    };
    let of_file = |name: &HeaderName| *name != CONTENT_LENGTH && *name != CONTENT_TYPE;
    reply
        .headers
        .extend(shown.into_iter().filter(|(name, _)| of_file(name)));
    reply
}

fn stored(url: &str, bucket: &str, key: &str, etag: &str) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>");
    for (name, value) in [
        ("Location", url),
        ("Bucket", bucket),
        ("Key", key),
        ("ETag", etag),
    ] {
        wire::push_element(&mut out, name, value);
    }
    out.push_str("</PostResponse>");
    out
}

/// Where the browser is sent, with what was stored in the query. `None`: that is no place to go to.
fn redirection(to: &str, bucket: &str, key: &str, etag: &str) -> Option<HeaderValue> {
    let uri: Uri = to.parse().ok()?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
        return None;
    }
    let (to, _) = to.split_once('#').unwrap_or((to, ""));
    let mut out = to.as_bytes().to_vec();
    let mut separator = if to.contains('?') { b'&' } else { b'?' };
    for (name, value) in [("bucket", bucket), ("key", key), ("etag", etag)] {
        out.push(separator);
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        escape::encode(&mut out, value.as_bytes(), Slash::Encode);
        separator = b'&';
    }
    HeaderValue::from_bytes(&out).ok()
}

/// A `tagging` field's document as the header that `PutObject` takes.
fn tagging(document: &str) -> Result<String> {
    let (mut tags, mut key) = (Vec::new(), Cow::default());
    wire::walk(document, |node| {
        match (node.path, node.part) {
            (["Tagging"] | ["Tagging", "TagSet"] | ["Tagging", "TagSet", "Tag"], _)
            | (["Tagging", "TagSet", "Tag", "Key" | "Value"], Part::Open) => {}
            (["Tagging", "TagSet", "Tag", "Key"], Part::Close(text)) => key = text,
            (["Tagging", "TagSet", "Tag", "Value"], Part::Close(text)) => {
                if !tags.is_empty() {
                    tags.push(b'&');
                }
                escape::encode(&mut tags, key.as_bytes(), Slash::Encode);
                tags.push(b'=');
                escape::encode(&mut tags, text.as_bytes(), Slash::Encode);
            }
            _ => return Err(wire::malformed()),
        }
        Ok(())
    })?;
    String::from_utf8(tags).map_err(Error::internal)
}

/// Fields that S3 lets pass without a word in the policy, and without any meaning.
fn is_ignored(name: &str) -> bool {
    name.starts_with("x-ignore-")
}

/// A field that must be there, before the file.
pub fn missing(name: &str) -> Error {
    Error::new(
        Kind::InvalidArgument,
        format!(
            "Bucket POST must contain a field named '{name}'. If it is specified, please check the order of the fields."
        ),
    )
    .with_param(name.to_owned())
}

fn malformed(detail: &'static str) -> Error {
    Error::new(
        Kind::MalformedForm,
        "The body of your POST request is not well-formed multipart/form-data.",
    )
    .with_detail(detail)
}

fn too_large() -> Error {
    Error::new(
        Kind::FormTooLarge,
        "Your POST request fields preceding the upload file were too large.",
    )
}

#[cfg(test)]
mod tests;
