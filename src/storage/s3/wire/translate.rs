//! A provider's document in the client's names.

use std::borrow::Cow;

use bytes::Bytes;
use quick_xml::Reader;
use quick_xml::events::Event;
use smallvec::SmallVec;

use crate::error::{Error, Kind, Result};
use crate::message::escape::{self, Plus, Slash};
use crate::policy::route::Bucket;
use crate::storage::s3::error::Failure;
use crate::storage::s3::names;
use crate::storage::s3::route::{Op, Reply, WholeOp};

/// What a provider's 200 with a document was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Document(Bytes),
    /// An error under a 200, as copies and completions give it.
    Failure(Failure),
}

/// Rewrites a provider's document from its names to the client's. `location` is the URL of the object as the client
/// knows it.
pub fn translate(op: &WholeOp, bucket: &Bucket, location: &str, body: Bytes) -> Result<Outcome> {
    if op.op() == Op::GetBucketPolicy {
        let renamed = bucket.is_renamed();
        let policy = if renamed {
            super::policy::for_client(&body, bucket)?
        } else {
            body
        };
        return Ok(Outcome::Document(policy));
    }
    let text = std::str::from_utf8(&body).map_err(|_| broken("the document is not UTF-8"))?;
    if op.request().row().reply == Reply::Late && root(text)? == "Error" {
        return Ok(Outcome::Failure(Failure::decode(
            http::StatusCode::OK,
            &http::HeaderMap::new(),
            &body,
            Some(bucket),
        )));
    }
    let names_something = bucket.is_renamed()
        || op.op() == Op::CompleteMultipartUpload
        || !op.refused().is_empty()
        || memchr::memmem::find(&body, b".aqueduct").is_some();
    if !names_something {
        return Ok(Outcome::Document(body));
    }
    let url = memchr::memmem::find(&body, b"<EncodingType>url<").is_some();
    let mut translation = Translation {
        op,
        bucket,
        location,
        text,
        url,
        out: String::with_capacity(text.len()),
        copied: 0,
        entry: None,
        hidden: 0,
        last_hidden: None,
        key_count: None,
        truncated: false,
        has_next_marker: false,
    };
    translation.run()?;
    Ok(Outcome::Document(translation.out.into()))
}

/// What stands in an element's text.
enum Field<'a> {
    /// The bucket.
    Bucket,
    /// A request parameter, repeated.
    Echo(&'static str),
    /// The request's key, repeated.
    Key,
    /// A key or prefix of the upstream's, of the entry around it.
    OfEntry,
    /// A key of the upstream's outside of entries.
    Cursor,
    /// Where the next page starts, in the store's own form.
    Token,
    /// The number of entries.
    KeyCount,
    Truncated,
    Location(&'a str),
}

struct Translation<'a> {
    op: &'a WholeOp,
    bucket: &'a Bucket,
    location: &'a str,
    text: &'a str,
    /// Names in the document are percent-encoded.
    url: bool,
    out: String,
    /// Up to where the input has been taken over.
    copied: usize,
    /// Length of the output where the open entry began, and whether it is to be left out.
    entry: Option<(usize, bool)>,
    hidden: u64,
    last_hidden: Option<String>,
    /// Where the text of `KeyCount` stands in the output.
    key_count: Option<(usize, u64)>,
    truncated: bool,
    has_next_marker: bool,
}

impl<'a> Translation<'a> {
    fn run(&mut self) -> Result<()> {
        let mut reader = Reader::from_str(self.text);
        let mut path: SmallVec<[&'a str; 8]> = SmallVec::new();
        let mut own = String::new();
        let mut content_from = 0;
        let mut has_root = false;
        loop {
            let from = super::position(&reader);
            let event = reader.read_event().map_err(broken)?;
            let to = super::position(&reader);
            has_root |= matches!(event, Event::Start(_) | Event::Empty(_));
            match &event {
                Event::Start(_) => {
                    path.push(self.element(from, path.len())?);
                    own.clear();
                    content_from = to;
                    if path.len() == 2 && is_entry(path[1]) {
                        self.copy_up_to(from);
                        self.entry = Some((self.out.len(), false));
                    }
                }
                Event::Empty(_) => {
                    path.push(self.element(from, path.len())?);
                    self.empty_field(&path, from, to)?;
                    path.pop();
                }
                Event::End(_) => {
                    if let Some(field) = self.field(&path) {
                        self.replace(&field, &own, content_from, from)?;
                    }
                    self.close(&path, from, to);
                    path.pop();
                    own.clear();
                }
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                    super::push_decoded(&mut own, &event)
                        .ok_or_else(|| broken("an unknown entity"))?;
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::DocType(_) => return Err(broken("a DTD")),
                Event::Eof if path.is_empty() && has_root => break,
                Event::Eof => return Err(broken("the document ends early")),
            }
        }
        self.copy_up_to(self.text.len());
        self.fix_key_count();
        Ok(())
    }

    fn element(&self, from: usize, depth: usize) -> Result<&'a str> {
        if depth >= super::DEPTH_MAX {
            return Err(broken("the document is nested too deeply"));
        }
        super::element_name(self.text, from).ok_or_else(|| broken("an element without a name"))
    }

    fn field(&self, path: &[&str]) -> Option<Field<'a>> {
        let op = self.op.op();
        match (op, path.get(1..)?) {
            (
                Op::ListObjects
                | Op::ListObjectsV2
                | Op::ListObjectVersions
                | Op::ListMultipartUploads,
                path,
            ) => match path {
                ["Name" | "Bucket"] => Some(Field::Bucket),
                ["NextMarker" | "NextKeyMarker"] => Some(Field::Cursor),
                ["KeyCount"] => Some(Field::KeyCount),
                ["IsTruncated"] => Some(Field::Truncated),
                [entry, "Key" | "Prefix"] if is_entry(entry) => Some(Field::OfEntry),
                // Without a prefix the store's own repetition of what it was asked is the client's.
                [_] if self.bucket.prefix.is_empty() => None,
                ["Prefix"] => Some(Field::Echo("prefix")),
                ["Marker"] => Some(Field::Echo("marker")),
                ["StartAfter"] => Some(Field::Echo("start-after")),
                ["KeyMarker"] => Some(Field::Echo("key-marker")),
                ["ContinuationToken"] => Some(Field::Echo("continuation-token")),
                ["NextContinuationToken"] => Some(Field::Token),
                _ => None,
            },
            (Op::DeleteObjects, ["Deleted" | "Error", "Key"]) => Some(Field::Cursor),
            (
                Op::CreateMultipartUpload | Op::CompleteMultipartUpload | Op::ListParts,
                ["Bucket"],
            ) => Some(Field::Bucket),
            (Op::CreateMultipartUpload | Op::CompleteMultipartUpload | Op::ListParts, ["Key"]) => {
                Some(Field::Key)
            }
            (Op::CompleteMultipartUpload, ["Location"]) => Some(Field::Location(self.location)),
            _ => None,
        }
    }

    /// Replaces the text between `from` and `to`, which decodes to `text`.
    fn replace(&mut self, field: &Field<'a>, text: &str, from: usize, to: usize) -> Result<()> {
        let new: Cow<'_, str> = match field {
            Field::Bucket => Cow::Borrowed(&*self.bucket.exposed),
            Field::Echo(name) => self.echo(self.op.request().query(name).unwrap_or_default()),
            Field::Key => Cow::Borrowed(self.op.request().key().unwrap_or_default()),
            Field::Location(location) => Cow::Borrowed(location),
            Field::Cursor | Field::Token if text.is_empty() => return Ok(()),
            Field::Token => Cow::Owned(names::token_for_client(text, &self.bucket.prefix)),
            Field::Cursor => {
                self.has_next_marker = true;
                Cow::Owned(self.strip(text)?.to_owned())
            }
            Field::OfEntry => {
                let stripped = self.strip(text)?;
                if self.is_reserved(stripped) {
                    self.last_hidden = Some(stripped.to_owned());
                    self.entry = self.entry.map(|(at, _)| (at, true));
                }
                Cow::Owned(stripped.to_owned())
            }
            Field::KeyCount => {
                self.copy_up_to(from);
                let count = text.trim().parse().map_err(broken)?;
                self.key_count = Some((self.out.len(), count));
                return Ok(());
            }
            Field::Truncated => {
                self.truncated = text.trim() == "true";
                return Ok(());
            }
        };
        self.copy_up_to(from);
        super::push_text(&mut self.out, &new);
        self.copied = to;
        Ok(())
    }

    /// An element written as `<Name/>`: it is filled where the client's value is not empty.
    fn empty_field(&mut self, path: &[&str], from: usize, to: usize) -> Result<()> {
        if let ([root], false) = (path, self.op.refused().is_empty()) {
            // A quiet batch delete without an error of the store's.
            self.copy_up_to(to.saturating_sub("/>".len()));
            self.out.push('>');
            super::push_refused(&mut self.out, self.op.refused());
            self.out.push_str("</");
            self.out.push_str(root);
            self.out.push('>');
            self.copied = to;
            return Ok(());
        }
        let value = match self.field(path) {
            Some(Field::Echo(name)) => self
                .echo(self.op.request().query(name).unwrap_or_default())
                .into_owned(),
            Some(Field::OfEntry) if !self.bucket.prefix.is_empty() => {
                return Err(broken("an empty name"));
            }
            Some(
                Field::Bucket
                | Field::Key
                | Field::OfEntry
                | Field::Cursor
                | Field::Token
                | Field::KeyCount
                | Field::Truncated
                | Field::Location(_),
            )
            | None => String::new(),
        };
        if let (false, Some(name)) = (value.is_empty(), path.last()) {
            self.copy_up_to(from);
            super::push_element(&mut self.out, name, &value);
            self.copied = to;
        }
        Ok(())
    }

    /// Leaves an element: drops a hidden entry, and ends a listing whose last entries were hidden with a marker.
    fn close(&mut self, path: &[&str], from: usize, to: usize) {
        if path.len() == 2
            && let Some((at, hide)) = self.entry.take_if(|_| is_entry(path[1]))
            && hide
        {
            self.out.truncate(at);
            self.copied = to;
            self.hidden += 1;
        }
        if path.len() == 1 && !self.op.refused().is_empty() {
            self.copy_up_to(from);
            super::push_refused(&mut self.out, self.op.refused());
        }
        let needs_marker = path.len() == 1
            && self.op.op() == Op::ListObjects
            && self.truncated
            && !self.has_next_marker;
        if needs_marker && let Some(last) = self.last_hidden.take() {
            self.copy_up_to(from);
            super::push_element(&mut self.out, "NextMarker", &last);
        }
    }

    fn copy_up_to(&mut self, at: usize) {
        if let Some(text) = self.text.get(self.copied..at) {
            self.out.push_str(text);
            self.copied = at;
        }
    }

    fn fix_key_count(&mut self) {
        let Some((at, count)) = self.key_count.filter(|_| self.hidden > 0) else {
            return;
        };
        let length = self.out[at..].find('<').unwrap_or(0);
        let visible = count.saturating_sub(self.hidden).to_string();
        self.out.replace_range(at..at + length, &visible);
    }

    fn echo<'v>(&self, value: &'v str) -> Cow<'v, str> {
        if !self.url {
            return Cow::Borrowed(value);
        }
        let mut out = Vec::with_capacity(value.len());
        escape::encode(&mut out, value.as_bytes(), Slash::Keep);
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// Takes the bucket's prefix off an upstream name.
    fn strip<'t>(&self, name: &'t str) -> Result<&'t str> {
        let prefix = &*self.bucket.prefix;
        let stripped = if self.url {
            escape::strip_prefix(name.as_bytes(), prefix.as_bytes(), Plus::Space)
                .and_then(|rest| name.get(name.len() - rest.len()..))
        } else {
            name.strip_prefix(prefix)
        };
        stripped.ok_or_else(|| broken("a name outside the bucket's prefix"))
    }

    fn is_reserved(&self, name: &str) -> bool {
        if self.url {
            let reserved = names::RESERVED_PREFIX.as_bytes();
            return escape::strip_prefix(name.as_bytes(), reserved, Plus::Space).is_some();
        }
        names::is_reserved(name)
    }
}

fn is_entry(name: &str) -> bool {
    matches!(
        name,
        "CommonPrefixes" | "Contents" | "DeleteMarker" | "Upload" | "Version"
    )
}

/// The local name of a document's root.
fn root(text: &str) -> Result<&str> {
    let mut reader = Reader::from_str(text);
    loop {
        let from = super::position(&reader);
        match reader.read_event().map_err(broken)? {
            Event::Start(_) | Event::Empty(_) => {
                return super::element_name(text, from)
                    .ok_or_else(|| broken("an element without a name"));
            }
            Event::Eof => return Err(broken("an empty document")),
            Event::Text(_)
            | Event::CData(_)
            | Event::GeneralRef(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::End(_) => {}
        }
    }
}

fn broken(detail: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The store answered with a document that is not valid.",
    )
    .with_detail(detail)
}

#[cfg(test)]
mod tests;
