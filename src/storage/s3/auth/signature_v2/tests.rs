use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::keys::tests_support;
use crate::message::escape::{self, Slash};
use crate::protocol::{Front, Protocol};
use crate::secret::Secret;
use crate::storage::s3::auth;
use crate::storage::s3::tests_support::{Owned, owned};

// The worked examples of the manual, "Signing and authenticating REST requests (AWS signature version 2)".
const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const DATE: &str = "Fri, 24 May 2013 00:00:00 GMT";

fn verify_by(request: &Owned, rule: SignatureV2) -> Result<Verified<Arc<Key>>> {
    let mut key = tests_support::key();
    key.key = ID.into();
    key.material = Material::Hmac(Secret::new(SECRET));
    let key = Arc::new(key);
    let find = |id: &str| (id == ID).then(|| Arc::clone(&key));
    auth::authenticate(&request.arrival(), find, |_| rule)
}

fn verify(request: &Owned) -> Result<Verified<Arc<Key>>> {
    verify_by(request, SignatureV2::Allow)
}

fn refusal(request: &Owned) -> Option<Kind> {
    verify(request).err().map(|error| error.kind())
}

fn set(request: &mut Owned, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).unwrap();
    request.headers.insert(name, value);
}

/// Signs what a test wrote down itself.
fn mac(text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn signed(mut request: Owned, text: &str) -> Owned {
    let header = format!("AWS {ID}:{}", mac(text));
    set(&mut request, "authorization", &header);
    request
}

/// A GET of `/bucket/key` that verifies.
fn example() -> Owned {
    let request = owned("GET", "/bucket/key", &[("date", DATE)]);
    signed(request, &format!("GET\n\n\n{DATE}\n/bucket/key"))
}

/// The same, presigned for ten minutes.
fn presigned() -> Owned {
    let signature = mac("GET\n\n\n1369354200\n/bucket/key");
    let mut encoded = Vec::new();
    escape::encode(&mut encoded, signature.as_bytes(), Slash::Encode);
    let signature = String::from_utf8(encoded).unwrap();
    let target =
        format!("/bucket/key?AWSAccessKeyId={ID}&Expires=1369354200&Signature={signature}");
    owned("GET", &target, &[])
}

const OF_BUCKET: &str = "awsexamplebucket1.us-west-1.s3.amazonaws.com";
const OF_NONE: &str = "s3.us-west-1.amazonaws.com";
const UPLOAD: &[(&str, &str)] = &[
    ("date", "Tue, 27 Mar 2007 21:06:08 +0000"),
    ("x-amz-acl", "public-read"),
    ("content-type", "application/x-download"),
    ("content-md5", "4gJE4saaMU4BqNR0kLY+lw=="),
    ("x-amz-meta-reviewedby", "joe@example.com"),
    ("x-amz-meta-reviewedby", "jane@example.com"),
    ("x-amz-meta-filechecksum", "0x02661779"),
    ("x-amz-meta-checksumalgorithm", "crc32"),
    ("content-disposition", "attachment; filename=database.dat"),
];

/// Method, host, target, headers and signature.
type Example = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const EXAMPLES: &[Example] = &[
    (
        "GET",
        OF_BUCKET,
        "/photos/puppy.jpg",
        &[("date", "Tue, 27 Mar 2007 19:36:42 +0000")],
        "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=",
    ),
    (
        "PUT",
        OF_BUCKET,
        "/photos/puppy.jpg",
        &[
            ("date", "Tue, 27 Mar 2007 21:15:45 +0000"),
            ("content-type", "image/jpeg"),
        ],
        "iqRzw+ileNPu1fhspnRs8nOjjIA=",
    ),
    (
        "GET",
        OF_BUCKET,
        "/?prefix=photos&max-keys=50&marker=puppy",
        &[("date", "Tue, 27 Mar 2007 19:42:41 +0000")],
        "m0WP8eCtspQl5Ahe6L1SozdX9YA=",
    ),
    (
        "GET",
        OF_BUCKET,
        "/?acl",
        &[("date", "Tue, 27 Mar 2007 19:44:46 +0000")],
        "82ZHiFIjc+WbcwFKGUVEQspPn+0=",
    ),
    (
        "PUT",
        OF_NONE,
        "/static.example.com/db-backup.dat.gz",
        UPLOAD,
        "jtBQa0Aq+DkULFI8qrpwIjGEx0E=",
    ),
    (
        "GET",
        OF_NONE,
        "/",
        &[("date", "Wed, 28 Mar 2007 01:29:59 +0000")],
        "qGdzdERIC03wnaRNKh6OqZehG9s=",
    ),
    (
        "GET",
        OF_NONE,
        "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
        &[("date", "Wed, 28 Mar 2007 01:49:49 +0000")],
        "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
    ),
];

#[test]
fn the_manuals_examples_verify() {
    for (method, host, target, headers, signature) in EXAMPLES {
        let mut request = owned(method, target, headers);
        request.host = (*host).into();
        request.base_domains = vec![(
            Front::Storage(Protocol::S3),
            "us-west-1.s3.amazonaws.com".into(),
        )];
        request.now = date::parse_http(headers[0].1).unwrap();
        set(
            &mut request,
            "authorization",
            &format!("AWS {ID}:{signature}"),
        );
        let verified = verify(&request);
        assert!(verified.is_ok(), "{target} {verified:?}");
    }
}

#[test]
fn the_manuals_presigned_example_verifies_until_it_expires() {
    let target = "/johnsmith/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE\
        &Expires=1175139620&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D";
    let mut request = owned("GET", target, &[]);
    for (now, expected) in [
        (1_175_139_620, None),
        (1_175_139_621, Some(Kind::RequestExpired)),
    ] {
        request.now = Timestamp::from_second(now).unwrap();
        assert_eq!(refusal(&request), expected);
    }
    request.now = Timestamp::from_second(1_175_000_000).unwrap();
    assert!(verify(&request).unwrap().is_presigned());
}

#[test]
fn what_botocore_signed_verifies() {
    let golden = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/s3/sigv2-botocore.txt"
    ));
    let mut count = 0;
    for head in golden.split("\n\n").filter(|head| !head.starts_with('#')) {
        let mut lines = head.lines();
        let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
        let mut request = owned(method, target, &headers);
        if let Some(host) = request.headers.remove("host") {
            host.to_str().unwrap().clone_into(&mut request.host);
        }
        let verified = verify(&request);
        assert!(verified.is_ok(), "{head}\n{verified:?}");
        count += 1;
    }
    assert_eq!(count, 36);
}

#[test]
fn the_repository_decides_whether_it_is_taken() {
    for request in [example(), presigned()] {
        assert!(verify_by(&request, SignatureV2::Allow).is_ok());
        let refused = verify_by(&request, SignatureV2::Refuse).unwrap_err();
        assert_eq!(refused.kind(), Kind::InvalidRequest);
        assert!(refused.message().contains("AWS4-HMAC-SHA256"));
        let refused = verify_by(&request, SignatureV2::TlsOnly).unwrap_err();
        assert_eq!(refused.kind(), Kind::AccessDenied);
        assert!(check_rule(SignatureV2::TlsOnly, true).is_ok());
    }
    // The rule comes before the signature: nobody learns here whether a secret is right.
    let mut request = example();
    set(&mut request, "authorization", &format!("AWS {ID}:xyz="));
    let refused = verify_by(&request, SignatureV2::Refuse).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidRequest);
}

type Change = fn(&mut Owned);

const CHANGES: &[(&str, Change, Kind)] = &[
    (
        "another method",
        |r| r.method = http::Method::HEAD,
        Kind::SignatureMismatch,
    ),
    (
        "another key",
        |r| r.target = "/bucket/key2".into(),
        Kind::SignatureMismatch,
    ),
    (
        "a sub-resource",
        |r| r.target = "/bucket/key?acl".into(),
        Kind::SignatureMismatch,
    ),
    (
        "a sub-resource that is written otherwise",
        |r| r.target = "/bucket/key?%61cl".into(),
        Kind::SignatureMismatch,
    ),
    (
        "a sub-resource that is never signed",
        |r| r.target = "/bucket/key?retention".into(),
        Kind::InvalidRequest,
    ),
    (
        "a header in the query",
        |r| r.target = "/bucket/key?x-amz-acl=public-read".into(),
        Kind::SignatureMismatch,
    ),
    (
        "a header",
        |r| set(r, "x-amz-acl", "private"),
        Kind::SignatureMismatch,
    ),
    (
        "a content type",
        |r| set(r, "content-type", "text/plain"),
        Kind::SignatureMismatch,
    ),
    (
        "an MD5",
        |r| set(r, "content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        Kind::SignatureMismatch,
    ),
    (
        "another date",
        |r| set(r, "date", "Fri, 24 May 2013 00:00:01 GMT"),
        Kind::SignatureMismatch,
    ),
    (
        "no date",
        |r| drop(r.headers.remove("date")),
        Kind::AccessDenied,
    ),
    (
        "no real date",
        |r| set(r, "x-amz-date", "Bad Date"),
        Kind::AccessDenied,
    ),
    (
        "a late date",
        |r| r.now += SignedDuration::from_secs(901),
        Kind::ClockSkew,
    ),
    (
        "a token",
        |r| set(r, "x-amz-security-token", "t"),
        Kind::TokenUnsupported,
    ),
    (
        "a credential in the query as well",
        |r| r.target = presigned().target,
        Kind::InvalidArgument,
    ),
    (
        "a credential of Version 4 as well",
        |r| r.target = "/bucket/key?X-Amz-Signature=0".into(),
        Kind::InvalidArgument,
    ),
    (
        "chunks",
        |r| {
            set(
                r,
                "x-amz-content-sha256",
                "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            );
        },
        Kind::InvalidRequest,
    ),
    (
        "an unknown key",
        |r| set(r, "authorization", "AWS AKIA:FWeDfwojDSdS2Ztmpfeubhd9isU="),
        Kind::KeyUnknown,
    ),
    (
        "no signature",
        |r| set(r, "authorization", "AWS AKIAIOSFODNN7EXAMPLE:"),
        Kind::SignatureMismatch,
    ),
    (
        "no key",
        |r| set(r, "authorization", "AWS nothing"),
        Kind::InvalidArgument,
    ),
];

#[test]
fn what_is_not_as_it_was_signed_is_refused() {
    assert_eq!(refusal(&example()), None);
    for (what, change, expected) in CHANGES {
        let mut request = example();
        change(&mut request);
        assert_eq!(refusal(&request), Some(*expected), "{what}");
    }
}

#[test]
fn presigned_queries_must_be_whole() {
    let good = presigned().target;
    for (change, expected) in [
        (
            good.replace("Expires=1369354200", "x-id=GetObject"),
            Kind::AccessDenied,
        ),
        (good.replace("1369354200", "soon"), Kind::AccessDenied),
        (
            good.replace("1369354200", "1369354201"),
            Kind::SignatureMismatch,
        ),
        (good.replace("AWSAccessKeyId", "x-id"), Kind::AccessDenied),
        (format!("{good}&Expires=1"), Kind::InvalidArgument),
        (format!("{good}&X-Amz-Date=1"), Kind::InvalidArgument),
        (
            format!("{good}&x-amz-security-token=t"),
            Kind::TokenUnsupported,
        ),
        (format!("{good}&x-amz-acl=private"), Kind::SignatureMismatch),
        (format!("{good}&versionId=1"), Kind::SignatureMismatch),
        (format!("{good}&attributes"), Kind::InvalidRequest),
    ] {
        let request = owned("GET", &change, &[]);
        assert_eq!(refusal(&request), Some(expected), "{change}");
    }
    // What does no harm was never signed.
    assert_eq!(
        refusal(&owned("GET", &format!("{good}&x-id=GetObject"), &[])),
        None
    );
}

#[test]
fn every_parameter_that_selects_is_signed_or_refused() {
    for name in query::UNSIGNED {
        assert!(
            *name == "list-type" || !route::selects(name),
            "{name} chooses an operation"
        );
    }
}

#[test]
fn the_own_date_leaves_its_line_empty() {
    let headers = [
        ("date", "Fri, 24 May 2013 00:10:00 GMT"),
        ("x-amz-date", DATE),
    ];
    let request = owned("DELETE", "/bucket/key", &headers);
    let text = format!("DELETE\n\n\n\nx-amz-date:{DATE}\n/bucket/key");
    assert_eq!(refusal(&signed(request, &text)), None);
}

#[test]
fn a_declared_hash_is_kept_and_nothing_else_is_signed() {
    let hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let headers = [("date", DATE), ("x-amz-content-sha256", hash)];
    let request = owned("PUT", "/bucket/key", &headers);
    let text = format!("PUT\n\n\n{DATE}\nx-amz-content-sha256:{hash}\n/bucket/key");
    let verified = verify(&signed(request, &text)).unwrap();
    assert!(matches!(verified.payload(), Payload::Sha256(_)));
    let verified = verify(&example()).unwrap();
    assert!(matches!(verified.payload(), Payload::Unsigned));
}

#[test]
fn a_slash_behind_a_bucket_alone_may_be_signed_without_being_sent() {
    for (target, path, expected) in [
        ("/bucket", "/bucket", None),
        ("/bucket", "/bucket/", None),
        ("/bucket?acl", "/bucket/?acl", None),
        ("/bucket/", "/bucket", Some(Kind::SignatureMismatch)),
        ("/bucket/key", "/bucket/key/", Some(Kind::SignatureMismatch)),
        ("/", "//", Some(Kind::SignatureMismatch)),
    ] {
        let request = owned("GET", target, &[("date", DATE)]);
        let request = signed(request, &format!("GET\n\n\n{DATE}\n{path}"));
        assert_eq!(refusal(&request), expected, "{target}");
    }
}

proptest! {
    /// Any change of what is covered is noticed, whatever the names are.
    #[test]
    fn a_changed_sub_resource_is_noticed(value in "[ -~]{1,20}", other in "[ -~]{1,20}") {
        prop_assume!(value != other);
        let target = |value: &str| {
            let mut out = b"/bucket/key?versionId=".to_vec();
            escape::encode(&mut out, value.as_bytes(), Slash::Encode);
            String::from_utf8(out).unwrap()
        };
        let text = format!("GET\n\n\n{DATE}\n/bucket/key?versionId={value}");
        let mut request = signed(owned("GET", &target(&value), &[("date", DATE)]), &text);
        prop_assert_eq!(refusal(&request), None);
        request.target = target(&other);
        prop_assert_eq!(refusal(&request), Some(Kind::SignatureMismatch));
    }
}
