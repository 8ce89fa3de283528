//! For laws between the folders: documents of this one, as its clients would get them.

use bytes::Bytes;
use http::HeaderMap;

use super::answer::{Asked, answer};
use super::tests_support::{bucket, owned};
use crate::error::Result;
use crate::policy::route::Addressing;
use crate::storage::object::Tags;
use crate::storage::op::Operation;
use crate::storage::reply::Reply;

/// The body of the answer to a request.
pub(in crate::storage) fn document(target: &str, operation: &Operation, reply: Reply) -> Bytes {
    let method = if target.ends_with("?delete") {
        "POST"
    } else {
        "GET"
    };
    let request = owned(method, target, &[]).decode().unwrap();
    let op = match method {
        "POST" => request
            .with_body("<Delete><Object><Key>k</Key></Object></Delete>".into())
            .unwrap(),
        _ => request.without_body().unwrap(),
    };
    let bucket = bucket("bucket", "own", "", Addressing::Path);
    let asked = Asked {
        op: &op,
        headers: &HeaderMap::new(),
        operation,
        bucket: &bucket,
        owner: "owner",
        url: "http://host/bucket/k",
    };
    answer(&asked, Ok(reply)).unwrap().message.body
}

pub(in crate::storage) fn tags(document: &str) -> Result<Tags> {
    super::canonical::tag_document(document.as_bytes())
}
