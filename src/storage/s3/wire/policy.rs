//! Policies of a bucket that has another name at the store.
//!
//! A policy names its bucket in the ARNs of its resources, and nowhere else that we would understand: these are
//! rewritten, on the way there and back. What else could name a bucket (a pattern of names, a condition on the source
//! of a copy) is refused, since a policy that matches nothing would be stored as if it had an effect.
//!
//! Why not the text alone: a name may be written with escapes, and stand in texts that are no resources.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};
use crate::policy::route::Bucket;

/// Condition keys whose values hold buckets, in lower case: condition keys do not tell case apart.
const NAMING_CONDITIONS: &[&str] = &["aws:sourcearn", "s3:x-amz-copy-source"];

/// The client's policy in the store's names.
pub(in crate::storage::s3) fn for_store(document: &[u8], bucket: &Bucket) -> Result<Bytes> {
    let mut policy = serde_json::from_slice(document)
        .map_err(|_| malformed("Policies must be valid JSON and the first byte must be '{'"))?;
    for statement in statements(&mut policy) {
        check_conditions(statement)?;
        for resource in resources(statement) {
            *resource = rename_for_store(resource, bucket)?;
        }
    }
    write(&policy)
}

/// The store's policy in the client's names.
pub(super) fn for_client(document: &[u8], bucket: &Bucket) -> Result<Bytes> {
    let broken = |error| Error::new(Kind::UpstreamBroken, BROKEN).with_detail(error);
    let mut policy = serde_json::from_slice(document).map_err(broken)?;
    for statement in statements(&mut policy) {
        for resource in resources(statement) {
            if let Some(renamed) = renamed(resource, &bucket.upstream, &bucket.exposed) {
                *resource = renamed;
            }
        }
    }
    write(&policy)
}

const BROKEN: &str = "The store answered with a policy that is not valid.";

/// The statements: one, or a list. What is neither says nothing, and the store refuses it.
fn statements(policy: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let found = policy.get_mut("Statement").into_iter();
    found.flat_map(each).filter_map(Value::as_object_mut)
}

/// What a statement is about: one text, or a list of them.
fn resources(statement: &mut Map<String, Value>) -> impl Iterator<Item = &mut String> {
    let found = statement
        .iter_mut()
        .filter(|(name, _)| matches!(name.as_str(), "Resource" | "NotResource"))
        .flat_map(|(_, value)| each(value));
    found.filter_map(|value| match value {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    })
}

/// A value's own values where it is a list, or itself.
fn each(value: &mut Value) -> std::slice::IterMut<'_, Value> {
    if let Value::Array(values) = value {
        return values.iter_mut();
    }
    std::slice::from_mut(value).iter_mut()
}

fn check_conditions(statement: &Map<String, Value>) -> Result<()> {
    let operators = statement
        .get("Condition")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut keys = operators
        .filter_map(|(_, keys)| keys.as_object())
        .flat_map(Map::keys);
    if keys.any(|key| NAMING_CONDITIONS.contains(&key.to_ascii_lowercase().as_str())) {
        return Err(Error::unsupported(
            "A condition on buckets is not available on a bucket that is exposed under another name.",
        ));
    }
    Ok(())
}

fn rename_for_store(resource: &str, bucket: &Bucket) -> Result<String> {
    if let Some(renamed) = renamed(resource, &bucket.exposed, &bucket.upstream) {
        return Ok(renamed);
    }
    match split(resource).map(|(_, name, _)| name) {
        // It covers the bucket by either name.
        None | Some("*") => Ok(resource.to_owned()),
        Some(pattern) if pattern.contains(['*', '?', '$']) => Err(Error::unsupported(
            "A pattern of bucket names is not available on a bucket that is exposed under another name.",
        )),
        Some(_) => Err(malformed("Policy has invalid resource")),
    }
}

/// The resource in the bucket `to`, where it is in `from`.
fn renamed(resource: &str, from: &str, to: &str) -> Option<String> {
    let (before, _, after) = split(resource).filter(|(_, name, _)| *name == from)?;
    Some([before, to, after].concat())
}

/// `arn:partition:s3:region:account:` with the bucket's name and what follows it.
fn split(resource: &str) -> Option<(&str, &str, &str)> {
    let mut parts = resource.splitn(6, ':');
    let is_s3 = parts.next() == Some("arn") && parts.nth(1) == Some("s3");
    let path = parts.nth(2).filter(|_| is_s3)?;
    let (before, path) = resource.split_at(resource.len() - path.len());
    let (name, after) = path.split_at(path.find('/').unwrap_or(path.len()));
    Some((before, name, after))
}

fn malformed(message: &'static str) -> Error {
    Error::new(Kind::MalformedBody, message).with_param(super::POLICY)
}

fn write(policy: &Value) -> Result<Bytes> {
    serde_json::to_vec(policy)
        .map(Bytes::from)
        .map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::route::Addressing;
    use crate::storage::s3::tests_support::bucket;

    fn policy(statement: &str) -> String {
        format!("{{\"Statement\":[{statement}],\"Version\":\"2012-10-17\"}}")
    }

    #[test]
    fn resources_are_renamed_there_and_back() {
        let bucket = bucket("shown", "hidden", "", Addressing::Path);
        for (client, store) in [
            ("\"arn:aws:s3:::shown\"", "\"arn:aws:s3:::hidden\""),
            (
                "\"arn:aws-cn:s3:::shown/a:b/*\"",
                "\"arn:aws-cn:s3:::hidden/a:b/*\"",
            ),
            (
                "[\"arn:aws:s3:::shown\",\"*\"]",
                "[\"arn:aws:s3:::hidden\",\"*\"]",
            ),
            ("\"arn:aws:s3:::*/shown\"", "\"arn:aws:s3:::*/shown\""),
            ("\"arn:aws:sns:r:a:shown\"", "\"arn:aws:sns:r:a:shown\""),
            ("7", "7"),
        ] {
            for field in ["Resource", "NotResource"] {
                let client = policy(&format!("{{\"{field}\":{client},\"Sid\":\"shown\"}}"));
                let store = policy(&format!("{{\"{field}\":{store},\"Sid\":\"shown\"}}"));
                assert_eq!(for_store(client.as_bytes(), &bucket).unwrap(), store);
                assert_eq!(for_client(store.as_bytes(), &bucket).unwrap(), client);
            }
        }
        let escaped = br#"{"Statement":{"Resource":"arn:aws:s3:::\u0073hown"}}"#;
        let expected = r#"{"Statement":{"Resource":"arn:aws:s3:::hidden"}}"#;
        assert_eq!(for_store(escaped, &bucket).unwrap(), expected);
    }

    #[test]
    fn what_would_name_another_bucket_is_refused() {
        let bucket = bucket("shown", "hidden", "", Addressing::Path);
        for (statement, expected) in [
            (
                r#"{"Resource":"arn:aws:s3:::hidden/*"}"#,
                Kind::MalformedBody,
            ),
            (
                r#"{"Resource":["arn:aws:s3:::other"]}"#,
                Kind::MalformedBody,
            ),
            (r#"{"Resource":"arn:aws:s3:::sho*/x"}"#, Kind::Unsupported),
            (
                r#"{"NotResource":"arn:aws:s3:::${aws:username}"}"#,
                Kind::Unsupported,
            ),
            (
                r#"{"Condition":{"StringLike":{"S3:X-amz-copy-source":"shown/*"}}}"#,
                Kind::Unsupported,
            ),
            ("", Kind::MalformedBody),
        ] {
            let document = match statement {
                "" => "<Policy/>".to_owned(),
                statement => policy(statement),
            };
            let refused = for_store(document.as_bytes(), &bucket).unwrap_err();
            assert_eq!(refused.kind(), expected, "{document}");
        }
        let broken = for_client(b"{", &bucket).unwrap_err();
        assert_eq!(broken.kind(), Kind::UpstreamBroken);
    }
}
