//! Names of the protocol: headers, query parameters, limits, and what is a name of a bucket or a key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Kind, Result};

/// Objects under this prefix are ours: refused in every request, hidden from every listing.
pub const RESERVED_PREFIX: &str = ".aqueduct/";

/// Longest key in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;

/// Names and values of an object's user metadata together, in bytes.
pub const METADATA_BYTES_MAX: usize = 2048;

/// Longest bucket name that is looked up; the oldest S3 buckets have up to 255 bytes.
const BUCKET_BYTES_MAX: usize = 255;

/// Longest name of a bucket that is made.
pub const NEW_BUCKET_BYTES_MAX: usize = 63;

/// Parts of a multipart upload.
pub const PART_NUMBER_MAX: u32 = 10_000;

pub const XML_NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

pub const X_AMZ: &str = "x-amz-";
pub const X_AMZ_META: &str = "x-amz-meta-";
pub const ACL: &str = "x-amz-acl";
pub const BYPASS_GOVERNANCE: &str = "x-amz-bypass-governance-retention";
pub const CONTENT_SHA256: &str = "x-amz-content-sha256";
pub const COPY_SOURCE: &str = "x-amz-copy-source";
pub const DATE: &str = "x-amz-date";
pub const DECODED_CONTENT_LENGTH: &str = "x-amz-decoded-content-length";
pub const ENCRYPTION: &str = "x-amz-server-side-encryption";
pub const GRANT: &str = "x-amz-grant-";
pub const OBJECT_LOCK: &str = "x-amz-object-lock-";
pub const SECURITY_TOKEN: &str = "x-amz-security-token";
pub const TAGGING: &str = "x-amz-tagging";
pub const TRAILER: &str = "x-amz-trailer";
pub const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// The query parameters of a presigned URL that belong to the signature.
pub const PRESIGN_QUERY: &[&str] = &[
    "X-Amz-Algorithm",
    "X-Amz-Content-Sha256",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// The same of one that is signed with Version 2.
pub const SIGNATURE_V2_QUERY: &[&str] = &["AWSAccessKeyId", "Expires", "Signature"];

/// Query parameters that mean nothing and are dropped: `x-id` is the SDKs' own note of the operation, `metadata` is
/// an extension of `MinIO`'s client that S3 ignores.
pub const DROPPED_QUERY: &[&str] = &["metadata", "x-id"];

/// `x-amz-*` headers that any request may have and that never leave: what belongs to the client's own signature and
/// framing; who pays (our credential's account does); whose bucket it is (the client cannot know the account behind
/// an exposed name, so there is nothing to compare); which checksum the SDK used (the checksum says so itself).
pub const DROPPED_HEADERS: &[&str] = &[
    CONTENT_SHA256,
    DATE,
    DECODED_CONTENT_LENGTH,
    SECURITY_TOKEN,
    TRAILER,
    "x-amz-api-version",
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-source-expected-bucket-owner",
    "x-amz-user-agent",
];

/// Whether a query parameter is one of a URL that is signed with Version 2, and says nothing else.
pub fn is_of_signature_v2(name: &str) -> bool {
    SIGNATURE_V2_QUERY.contains(&name) || matches!(name, "content-md5" | "content-type")
}

/// The lower-case name of a header that a presigned URL carries in its query.
pub fn hoisted(name: &str) -> Option<String> {
    let prefix = name.get(..X_AMZ.len())?;
    prefix
        .eq_ignore_ascii_case(X_AMZ)
        .then(|| name.to_ascii_lowercase())
}

/// Checks the name of a bucket to be looked up. What it lets through need not exist.
pub fn check_bucket(name: &str) -> Result<()> {
    let characters = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if !(3..=BUCKET_BYTES_MAX).contains(&name.len()) || !characters {
        return Err(invalid_bucket());
    }
    Ok(())
}

/// Checks the name of a bucket to be created, by the rules for new ones.
pub fn check_new_bucket(name: &str) -> Result<()> {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    let characters = bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let valid = (3..=NEW_BUCKET_BYTES_MAX).contains(&name.len())
        && characters
        && edge(bytes.first())
        && edge(bytes.last())
        // Labels of a host name.
        && ["..", ".-", "-."].iter().all(|pair| !name.contains(pair))
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !name.starts_with("xn--")
        && !name.ends_with("-s3alias");
    if valid { Ok(()) } else { Err(invalid_bucket()) }
}

/// Checks an object's key: 1 to 1024 bytes, no NUL, not reserved, not above its bucket. Nothing is ever normalised.
pub fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::new(
            Kind::InvalidArgument,
            "The key must not be empty.",
        ));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::new(Kind::KeyTooLong, "Your key is too long"));
    }
    if key.contains('\0') {
        return Err(Error::new(
            Kind::InvalidArgument,
            "The key must not contain NUL.",
        ));
    }
    if climbs(key) {
        return Err(Error::new(
            Kind::InvalidArgument,
            "The key has more parent segments than segments before them.",
        ));
    }
    if is_reserved(key) {
        return Err(Error::new(Kind::AccessDenied, "Access Denied")
            .with_detail("the key is under the reserved prefix"));
    }
    Ok(())
}

/// Whether `..` segments lead above where the name starts. S3 refuses such keys; at a store that collapses paths they
/// would reach another bucket of the same account. `//` is counted as such a store counts it, as `/`.
pub fn climbs(name: &str) -> bool {
    // Nearly always that is all there is to look at.
    if memchr::memmem::find(name.as_bytes(), b"..").is_none() {
        return false;
    }
    let mut depth = 0u32;
    for segment in name.split('/') {
        match (segment, depth) {
            ("" | ".", _) => {}
            ("..", 0) => return true,
            ("..", _) => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

pub fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED_PREFIX)
}

/// A page token of the store's as the client of a prefixed bucket gets it: some stores write the last key into it,
/// and the prefix is not the client's business.
pub fn token_for_client(token: &str, prefix: &str) -> String {
    let (kind, rest) = match token.strip_prefix(prefix) {
        Some(rest) => ("k", rest),
        None => ("t", token),
    };
    URL_SAFE_NO_PAD.encode([kind, rest].concat())
}

/// The store's page token of one that [`token_for_client`] made.
pub fn token_of_client(token: &str, prefix: &str) -> Result<String> {
    let bad = || {
        Error::new(
            Kind::InvalidArgument,
            "The continuation token provided is incorrect",
        )
    };
    let decoded = URL_SAFE_NO_PAD.decode(token).ok();
    let decoded = decoded
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(bad)?;
    match decoded.split_at_checked(1) {
        Some(("k", rest)) => Ok([prefix, rest].concat()),
        Some(("t", rest)) => Ok(rest.to_owned()),
        Some(_) | None => Err(bad()),
    }
}

pub fn invalid_bucket() -> Error {
    Error::new(
        Kind::InvalidBucketName,
        "The specified bucket is not valid.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_buckets_follow_the_published_rules() {
        for (name, valid) in [
            ("abc", true),
            ("a.b-c.d", true),
            ("ab", false),
            ("Abc", false),
            ("a_b", false),
            ("a..b", false),
            ("abc-.def", false),
            ("abc.-def", false),
            ("-abc", false),
            ("abc.", false),
            ("10.0.0.1", false),
            ("xn--abc", false),
        ] {
            assert_eq!(check_new_bucket(name).is_ok(), valid, "{name}");
        }
    }

    #[test]
    fn page_tokens_hide_the_prefix_and_come_back() {
        for token in ["own/a/b", "own/", "opaque+/=", "", "é"] {
            let sent = token_for_client(token, "own/");
            assert!(!sent.contains("own"), "{sent}");
            assert_eq!(token_of_client(&sent, "own/").unwrap(), token);
        }
        for bad in ["", "own/a", "eA", "*"] {
            assert!(token_of_client(bad, "own/").is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_refused_by_length_nul_and_reserved_prefix_only() {
        let longest = "k".repeat(1024);
        let longer = "k".repeat(1025);
        for (key, expected) in [
            ("//a/../b/./", None),
            ("\u{1F980}\n\t+%2F", None),
            (longest.as_str(), None),
            (longer.as_str(), Some(Kind::KeyTooLong)),
            ("", Some(Kind::InvalidArgument)),
            ("a\0b", Some(Kind::InvalidArgument)),
            ("..", Some(Kind::InvalidArgument)),
            ("a/../../b", Some(Kind::InvalidArgument)),
            ("a//../../b", Some(Kind::InvalidArgument)),
            ("./../b", Some(Kind::InvalidArgument)),
            ("a/..", None),
            ("..a/...", None),
            (".aqueduct/x", Some(Kind::AccessDenied)),
            (".aqueduct", None),
            ("a/.aqueduct/", None),
        ] {
            assert_eq!(check_key(key).err().map(|e| e.kind()), expected, "{key:?}");
        }
    }
}
