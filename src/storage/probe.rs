//! What `aqueduct check --online` asks a storage resource, and what its answers say of the credential.
//!
//! One page of one name, and one byte of one object: nothing is written, and nothing that costs more is asked.

use std::sync::Arc;

use http::header::{HOST, RANGE};
use http::{HeaderValue, Method};
use jiff::Timestamp;
use smallvec::smallvec;

use super::head::UpstreamHead;
use super::s3::auth::PayloadHash;
use super::{azure, gcs, s3};
use crate::error::{Error, Result};
use crate::message::escape::{self, Slash};
use crate::policy::credential::ReadyCredential;
use crate::policy::route::{Bucket, Resource, ResourceKind};

/// A name that no object has: it is reserved.
pub const NO_KEY: &str = ".aqueduct/check";

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// The first name of the bucket.
    List,
    /// The first byte of this object.
    Read(&'a str),
}

/// The question for `resource`, signed; `None` where it is no storage resource.
pub fn ask(
    resource: &Arc<Resource>,
    question: Question<'_>,
    ready: &ReadyCredential,
    now: Timestamp,
) -> Result<Option<UpstreamHead>> {
    let origin = &resource.origin;
    let mut head = UpstreamHead {
        method: Method::GET,
        target: String::new(),
        headers: smallvec![(HOST, origin.authority.clone())],
    };
    if let Question::Read(_) = question {
        let first = HeaderValue::from_static("bytes=0-0");
        head.headers.push((RANGE, first));
    }
    let base = &origin.base_path;
    match &resource.kind {
        ResourceKind::S3(account) => {
            let bucket = bucket(resource, &account.bucket);
            head.headers[0].1 = s3::upstream::host(&bucket)?;
            let (key, query) = match question {
                Question::List => (None, "?list-type=2&max-keys=1"),
                Question::Read(key) => (Some(key), ""),
            };
            let path = s3::upstream::path(&bucket, account, key)?;
            head.target = String::from_utf8(path).map_err(Error::internal)? + query;
            s3::auth::sign(&mut head, PayloadHash::Unsigned, account, ready, now)?;
        }
        ResourceKind::Gcs(account) => {
            let bucket = encoded(&account.bucket, Slash::Encode);
            // Keys open the XML API alone; the other is what compatible servers know best.
            let is_xml = matches!(ready, ReadyCredential::Hmac(_));
            head.target = match (question, is_xml) {
                (Question::List, true) => format!("{base}/{bucket}?max-keys=1"),
                (Question::Read(key), true) => {
                    format!("{base}/{bucket}/{}", encoded(key, Slash::Keep))
                }
                (Question::List, false) => format!(
                    "{base}/storage/v1/b/{bucket}/o?maxResults=1&fields=items%2Fname%2CnextPageToken"
                ),
                (Question::Read(key), false) => {
                    let key = encoded(key, Slash::Encode);
                    format!("{base}/storage/v1/b/{bucket}/o/{key}?alt=media")
                }
            };
            gcs::auth::sign(&mut head, account, ready, now)?;
        }
        ResourceKind::Azure(account) => {
            let container = encoded(&account.container, Slash::Encode);
            head.target = match question {
                Question::List => {
                    format!("{base}/{container}?restype=container&comp=list&maxresults=1")
                }
                Question::Read(key) => {
                    format!("{base}/{container}/{}", encoded(key, Slash::Keep))
                }
            };
            azure::auth::sign(&mut head, account, ready, now)?;
        }
        ResourceKind::Ai(_) | ResourceKind::Tokens => return Ok(None),
    }
    Ok(Some(head))
}

fn bucket(resource: &Arc<Resource>, name: &str) -> Bucket {
    Bucket {
        exposed: name.into(),
        upstream: name.into(),
        prefix: "".into(),
        created_at: Timestamp::UNIX_EPOCH,
        resource: Arc::clone(resource),
    }
}

fn encoded(text: &str, slash: Slash) -> String {
    let mut out = Vec::with_capacity(text.len());
    escape::encode(&mut out, text.as_bytes(), slash);
    // Nothing but ASCII was put in.
    String::from_utf8(out).unwrap_or_default()
}

/// The first name in the answer to [`Question::List`], where there is one that needs no decoding.
pub fn first_key(document: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?;
    if text.trim_start().starts_with('{') {
        let listing: serde_json::Value = serde_json::from_str(text).ok()?;
        let name = listing.get("items")?.get(0)?.get("name")?;
        return Some(name.as_str()?.to_owned());
    }
    let (_, blob) = text.split_once("<Blob>").unwrap_or(("", text));
    let name = element(blob, "Name").filter(|_| text.contains("<Blob>"));
    let name = name.or_else(|| element(text, "Key"))?;
    (!name.is_empty() && !name.contains('&')).then(|| name.to_owned())
}

/// The provider's word in a refusal.
pub fn code(headers: &http::HeaderMap, document: &[u8]) -> Option<String> {
    let header = headers.get("x-ms-error-code");
    let header = header.and_then(|code| code.to_str().ok());
    let text = std::str::from_utf8(document).ok();
    let code = header.or_else(|| element(text?, "Code")).map(str::to_owned);
    let code = code.or_else(|| {
        let answer: serde_json::Value = serde_json::from_str(text?).ok()?;
        let errors = answer.get("error")?.get("errors")?;
        Some(errors.get(0)?.get("reason")?.as_str()?.to_owned())
    })?;
    let is_word = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    is_word.then_some(code)
}

fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.contains('<')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_is_found_in_each_listing() {
        for (document, expected) in [
            (
                "<ListBucketResult><Name>bkt</Name><Contents><Key>a/b</Key>",
                Some("a/b"),
            ),
            (
                "<ListBucketResult><Name>bkt</Name></ListBucketResult>",
                None,
            ),
            (
                "<EnumerationResults><Blobs><Blob><Name>c d</Name><Properties/></Blob></Blobs>",
                Some("c d"),
            ),
            ("<EnumerationResults><Blobs /></EnumerationResults>", None),
            ("{\"items\":[{\"name\":\"e\"}]}", Some("e")),
            ("{\"kind\":\"storage#objects\"}", None),
            ("<Contents><Key>a&amp;b</Key>", None),
            ("\u{0}", None),
        ] {
            let found = first_key(document.as_bytes());
            assert_eq!(found.as_deref(), expected, "{document}");
        }
    }

    #[test]
    fn refusals_have_a_word() {
        let mut headers = http::HeaderMap::new();
        for (document, expected) in [
            (
                "<Error><Code>AccessDenied</Code></Error>",
                Some("AccessDenied"),
            ),
            (
                "{\"error\":{\"errors\":[{\"reason\":\"forbidden\"}]}}",
                Some("forbidden"),
            ),
            ("<Code>no word</Code>", None),
            ("", None),
        ] {
            let found = code(&headers, document.as_bytes());
            assert_eq!(found.as_deref(), expected, "{document}");
        }
        let azure = HeaderValue::from_static("AuthenticationFailed");
        headers.insert("x-ms-error-code", azure);
        assert_eq!(code(&headers, b"").as_deref(), Some("AuthenticationFailed"));
    }
}
