use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign as oracle_sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::keys::tests_support;
use crate::policy::credential::ReadyCredential;
use crate::policy::route::Addressing;
use crate::storage::head::UpstreamHead;
use crate::storage::s3::tests_support::{Owned, account, owned};

// The worked examples of the manual, "Authenticating Requests (AWS Signature Version 4)".
const EXAMPLE_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const EXAMPLE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const DATE: &str = "20130524T000000Z";

fn key() -> Arc<Key> {
    let mut key = tests_support::key();
    key.key = EXAMPLE_ID.into();
    key.material = Material::Hmac(Secret::new(EXAMPLE_SECRET));
    Arc::new(key)
}

fn verify(request: &Owned) -> Result<Verified<Arc<Key>>> {
    verify_with(request, &key())
}

fn verify_with(request: &Owned, key: &Arc<Key>) -> Result<Verified<Arc<Key>>> {
    let find = |id: &str| (id == EXAMPLE_ID).then(|| Arc::clone(key));
    authenticate(&request.arrival(), find, |_| SignatureV2::Refuse)
}

fn refusal(request: &Owned) -> Kind {
    verify(request).unwrap_err().kind()
}

fn authorization(signed_headers: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={EXAMPLE_ID}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed_headers},Signature={signature}"
    )
}

/// The manual's GET of an object, which verifies.
fn example() -> Owned {
    let authorization = authorization(
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    let mut request = owned(
        "GET",
        "/test.txt",
        &[
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", DATE),
            ("authorization", &authorization),
        ],
    );
    request.host = "examplebucket.s3.amazonaws.com".into();
    request
}

#[test]
fn the_manuals_examples_verify() {
    assert!(verify(&example()).is_ok());
    for (method, target, headers, signed, signature) in [
        (
            "PUT",
            "/test%24file.text",
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-date", DATE),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                (
                    "x-amz-content-sha256",
                    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
                ),
            ][..],
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            &[("x-amz-date", DATE), ("x-amz-content-sha256", EMPTY)],
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?prefix=J&max-keys=2",
            &[("x-amz-date", DATE), ("x-amz-content-sha256", EMPTY)],
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let mut request = owned(method, target, headers);
        request.host = "examplebucket.s3.amazonaws.com".into();
        set(
            &mut request,
            "authorization",
            &authorization(signed, signature),
        );
        assert!(verify(&request).is_ok(), "{target}");
    }
}

#[test]
fn the_manuals_presigned_example_verifies_until_it_expires() {
    let target = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let mut request = owned("GET", target, &[]);
    request.host = "examplebucket.s3.amazonaws.com".into();
    let verified = verify(&request).unwrap();
    assert!(verified.is_presigned());
    assert!(matches!(verified.payload(), Payload::Unsigned));
    let start = request.now;
    for (seconds, expected) in [
        (-901, Some(Kind::RequestExpired)),
        (-900, None),
        (86_400, None),
        (86_401, Some(Kind::RequestExpired)),
    ] {
        request.now = start + SignedDuration::from_secs(seconds);
        assert_eq!(
            verify(&request).err().map(|e| e.kind()),
            expected,
            "{seconds}"
        );
    }
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
        |r| r.target = "/test.txt2".into(),
        Kind::SignatureMismatch,
    ),
    (
        "a query",
        |r| r.target = "/test.txt?acl".into(),
        Kind::SignatureMismatch,
    ),
    (
        "another host",
        |r| r.host = "x.s3.amazonaws.com".into(),
        Kind::SignatureMismatch,
    ),
    (
        "another range",
        |r| set(r, "range", "bytes=0-8"),
        Kind::SignatureMismatch,
    ),
    (
        "a second range",
        |r| add(r, "range", "bytes=0-9"),
        Kind::SignatureMismatch,
    ),
    ("no range", |r| remove(r, "range"), Kind::SignatureMismatch),
    (
        "an unsigned header",
        |r| set(r, "x-amz-acl", "private"),
        Kind::AccessDenied,
    ),
    (
        "an unsigned owner",
        |r| set(r, "x-amz-expected-bucket-owner", "1"),
        Kind::AccessDenied,
    ),
    (
        "another payload",
        |r| set(r, "x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        Kind::SignatureMismatch,
    ),
    (
        "no payload",
        |r| remove(r, "x-amz-content-sha256"),
        Kind::InvalidRequest,
    ),
    (
        "a bad payload",
        |r| set(r, "x-amz-content-sha256", "abc"),
        Kind::InvalidArgument,
    ),
    (
        "two payloads",
        |r| add(r, "x-amz-content-sha256", EMPTY),
        Kind::InvalidArgument,
    ),
    (
        "two dates",
        |r| add(r, "x-amz-date", DATE),
        Kind::InvalidArgument,
    ),
    ("no date", |r| remove(r, "x-amz-date"), Kind::AccessDenied),
    (
        "a late date",
        |r| r.now += SignedDuration::from_secs(901),
        Kind::ClockSkew,
    ),
    (
        "an early date",
        |r| r.now -= SignedDuration::from_secs(901),
        Kind::ClockSkew,
    ),
    (
        "another day",
        |r| set(r, "x-amz-date", "20130523T235900Z"),
        Kind::AuthMalformed,
    ),
    (
        "a token",
        |r| set(r, "x-amz-security-token", "t"),
        Kind::TokenUnsupported,
    ),
    (
        "two credentials",
        |r| r.target = "/?X-Amz-Signature=0".into(),
        Kind::InvalidArgument,
    ),
    (
        "no credential",
        |r| remove(r, "authorization"),
        Kind::AuthMissing,
    ),
    (
        "an old credential beside it",
        |r| r.target = "/?AWSAccessKeyId=a&Signature=b".into(),
        Kind::InvalidArgument,
    ),
    (
        "a bearer",
        |r| set(r, "authorization", "Bearer x"),
        Kind::InvalidRequest,
    ),
];

#[test]
fn what_is_not_as_it_was_signed_is_refused() {
    for (what, change, expected) in CHANGES {
        let mut request = example();
        change(&mut request);
        assert_eq!(refusal(&request), *expected, "{what}");
    }
}

const SIGNED: &str = "host;range;x-amz-content-sha256;x-amz-date";
const SIGNATURE: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";

fn with_authorization(credential: &str, signed: &str, signature: &str) -> Option<Kind> {
    let mut request = example();
    let header = format!(
        "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    );
    set(&mut request, "authorization", &header);
    verify(&request).err().map(|error| error.kind())
}

#[test]
fn credentials_of_another_scope_are_refused() {
    let malformed = Some(Kind::AuthMalformed);
    for (credential, expected) in [
        (
            "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request",
            None,
        ),
        (
            "UNKNOWN/20130524/us-east-1/s3/aws4_request",
            Some(Kind::KeyUnknown),
        ),
        (
            "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/iam/aws4_request",
            malformed,
        ),
        (
            "AKIAIOSFODNN7EXAMPLE/20130523/us-east-1/s3/aws4_request",
            malformed,
        ),
        (
            "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws5_request",
            malformed,
        ),
        ("AKIAIOSFODNN7EXAMPLE/20130524//s3/aws4_request", malformed),
        (
            "AKIAIOSFODNN7EXAMPLE/20130524/eu-west-1/s3/aws4_request",
            Some(Kind::SignatureMismatch),
        ),
        ("/20130524/us-east-1/s3/aws4_request", malformed),
        ("a/b/20130524/us-east-1/s3/aws4_request", malformed),
        ("AKIAIOSFODNN7EXAMPLE", malformed),
    ] {
        assert_eq!(
            with_authorization(credential, SIGNED, SIGNATURE),
            expected,
            "{credential}"
        );
    }
}

#[test]
fn signed_headers_must_be_ascending_and_complete() {
    let credential = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
    for (signed, expected) in [
        ("range;x-amz-content-sha256;x-amz-date", Kind::AccessDenied),
        ("host;range;x-amz-date", Kind::AccessDenied),
        (
            "host;;range;x-amz-content-sha256;x-amz-date",
            Kind::AuthMalformed,
        ),
        (
            "range;host;x-amz-content-sha256;x-amz-date",
            Kind::AuthMalformed,
        ),
        (
            "host;host;range;x-amz-content-sha256;x-amz-date",
            Kind::AuthMalformed,
        ),
        (
            "Host;range;x-amz-content-sha256;x-amz-date",
            Kind::AuthMalformed,
        ),
        (
            "absent;host;range;x-amz-content-sha256;x-amz-date",
            Kind::SignatureMismatch,
        ),
        ("", Kind::AuthMalformed),
    ] {
        assert_eq!(
            with_authorization(credential, signed, SIGNATURE),
            Some(expected),
            "{signed}"
        );
    }
    for signature in ["", "F0E8BDB8", &SIGNATURE.to_uppercase(), &"0".repeat(64)] {
        let kind = with_authorization(credential, SIGNED, signature);
        assert_eq!(kind, Some(Kind::SignatureMismatch), "{signature}");
    }
}

#[test]
fn an_authorization_that_does_not_parse_is_refused() {
    for (header, expected) in [
        ("AWS4-HMAC-SHA256", Kind::AuthMalformed),
        ("AWS4-HMAC-SHA256 ", Kind::AuthMalformed),
        ("AWS4-HMAC-SHA256 Credential=a", Kind::AuthMalformed),
        (
            "AWS4-HMAC-SHA256 Credential=a,Credential=b,SignedHeaders=host,Signature=c",
            Kind::AuthMalformed,
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature=c,Extra=d",
            Kind::AuthMalformed,
        ),
        ("AWS4-ECDSA-P256-SHA256 Credential=a", Kind::InvalidRequest),
    ] {
        let mut request = example();
        set(&mut request, "authorization", header);
        assert_eq!(refusal(&request), expected, "{header}");
    }
}

#[test]
fn a_signing_key_is_kept_only_after_it_verified() {
    let key = key();
    let scope = Scope {
        date: "20130524",
        region: "us-east-1",
        service: "s3",
    };
    let mut request = example();
    request.target = "/other".into();
    assert!(verify_with(&request, &key).is_err());
    assert!(key.signing.cached(scope).is_none());
    assert!(verify_with(&example(), &key).is_ok());
    assert!(key.signing.cached(scope).is_some());
    assert!(verify_with(&example(), &key).is_ok());
}

#[test]
fn keys_without_an_hmac_secret_are_unknown() {
    let mut key = tests_support::key();
    key.material = Material::Digest([0; 32]);
    let key = Arc::new(key);
    assert_eq!(
        verify_with(&example(), &key).unwrap_err().kind(),
        Kind::KeyUnknown
    );
}

#[test]
fn what_botocore_signed_verifies() {
    let golden = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/s3/sigv4-botocore.txt"
    ));
    let mut count = 0;
    for head in golden.split("\n\n").filter(|head| !head.starts_with('#')) {
        let mut lines = head.lines();
        let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
        let verified = verify(&owned(method, target, &headers));
        assert!(verified.is_ok(), "{head}\n{verified:?}");
        count += 1;
    }
    assert_eq!(count, 18);
}

fn set(request: &mut Owned, name: &'static str, value: &str) {
    request
        .headers
        .insert(name, HeaderValue::from_str(value).unwrap());
}

fn add(request: &mut Owned, name: &'static str, value: &str) {
    request
        .headers
        .append(name, HeaderValue::from_str(value).unwrap());
}

fn remove(request: &mut Owned, name: &'static str) {
    request.headers.remove(name);
}

type Pairs = Vec<(String, String)>;

/// What the SDK's own signer adds to a request.
fn oracle(request: &Owned, location: SignatureLocation, body: SignableBody<'_>) -> (Pairs, Pairs) {
    let identity = Credentials::new(EXAMPLE_ID, EXAMPLE_SECRET, None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.signature_location = location;
    if location == SignatureLocation::QueryParams {
        settings.expires_in = Some(Duration::from_mins(10));
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    }
    let seconds = u64::try_from(request.now.as_second()).unwrap();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("s3")
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = format!("https://{}{}", request.host, request.target);
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let signable =
        SignableRequest::new(request.method.as_str(), uri, headers.into_iter(), body).unwrap();
    let (instructions, _) = oracle_sign(signable, &params).unwrap().into_parts();
    let (headers, query) = instructions.into_parts();
    (
        headers
            .into_iter()
            .map(|header| (header.name().to_owned(), header.value().to_owned()))
            .collect(),
        query
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_owned()))
            .collect(),
    )
}

fn encoded(text: &str, slash: crate::message::escape::Slash) -> String {
    let mut out = Vec::new();
    crate::message::escape::encode(&mut out, text.as_bytes(), slash);
    String::from_utf8(out).unwrap()
}

fn target(key: &str, query: &[(String, String)]) -> String {
    use crate::message::escape::Slash;
    let mut target = format!("/bucket/{}", encoded(key, Slash::Keep));
    for (at, (name, value)) in query.iter().enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        target.push_str(&encoded(name, Slash::Encode));
        target.push('=');
        target.push_str(&encoded(value, Slash::Encode));
    }
    target
}

fn hostile_text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("([ -~]|[\u{e9}\u{1F980}\u{301}]|//|/\\.\\./|%2F){1,20}")
        .unwrap()
}

fn hostile_query() -> impl Strategy<Value = Vec<(String, String)>> {
    let pair = ("[a-zA-Z;+ \u{e9}-]{1,8}", "[ -~\u{e9}]{0,12}");
    proptest::collection::vec(pair, 0..5)
}

proptest! {
    #[test]
    fn what_the_sdk_signs_in_headers_verifies(key in hostile_text(), query in hostile_query(), value in "[!-~ ]{0,20}") {
        let mut request = owned("PUT", &target(&key, &query), &[("x-amz-meta-a", value.trim())]);
        let (headers, _) = oracle(&request, SignatureLocation::Headers, SignableBody::Bytes(b"body"));
        for (name, value) in headers {
            request.headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(&value).unwrap(),
            );
        }
        let verified = verify(&request).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(matches!(verified.payload(), Payload::Sha256(_)));
    }

    #[test]
    fn what_the_sdk_presigns_verifies(key in hostile_text(), query in hostile_query()) {
        let mut request = owned("GET", &target(&key, &query), &[]);
        let (_, mut added) = oracle(&request, SignatureLocation::QueryParams, SignableBody::UnsignedPayload);
        let mut all = query;
        all.append(&mut added);
        request.target = target(&key, &all);
        let verified = verify(&request).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(verified.is_presigned());
    }

    #[test]
    fn what_we_sign_is_what_the_sdk_would_have_signed(key in hostile_text(), query in hostile_query()) {
        let target = target(&key, &query);
        let mut head = UpstreamHead {
            method: http::Method::PUT,
            target: target.clone(),
            headers: smallvec::smallvec![
                (http::header::HOST, HeaderValue::from_static("s3.local:8080")),
                (http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain")),
                (HeaderName::from_static("x-amz-meta-a"), HeaderValue::from_static(" a  b ")),
            ],
        };
        let request = owned("PUT", &target, &[("content-type", "text/plain"), ("x-amz-meta-a", " a  b ")]);
        let account = crate::policy::route::S3Account {
            region: "eu-central-1".into(),
            ..account(Addressing::Path)
        };
        sign(&mut head, PayloadHash::Unsigned, &account, &example_keys(None), request.now).unwrap();
        let (headers, _) = oracle(&request, SignatureLocation::Headers, SignableBody::UnsignedPayload);
        let ours = header(&head, "authorization");
        let theirs = headers.into_iter().find(|(name, _)| name == "authorization").map(|(_, value)| value);
        prop_assert_eq!(ours, theirs);
    }
}

fn example_keys(session_token: Option<Secret>) -> ReadyCredential {
    ReadyCredential::s3(EXAMPLE_ID, Secret::new(EXAMPLE_SECRET), session_token)
}

fn header(head: &UpstreamHead, name: &str) -> Option<String> {
    head.headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.to_str().unwrap().to_owned())
}

#[test]
fn what_we_sign_we_verify() {
    for (payload, token) in [
        (PayloadHash::Unsigned, None),
        (PayloadHash::UnsignedTrailer, None),
        (PayloadHash::Sha256([7; 32]), None),
        (PayloadHash::Unsigned, Some(Secret::new(*b"token"))),
    ] {
        let account = account(Addressing::Path);
        let is_temporary = token.is_some();
        let keys = example_keys(token);
        let request = owned("GET", "/b/k?b=2&a", &[]);
        let mut head = UpstreamHead {
            method: http::Method::GET,
            target: request.target.clone(),
            headers: smallvec::smallvec![
                (
                    http::header::HOST,
                    HeaderValue::from_static("s3.local:8080")
                ),
                (
                    HeaderName::from_static("x-amz-meta-a"),
                    HeaderValue::from_static("1")
                ),
                (
                    HeaderName::from_static("x-amz-meta-a"),
                    HeaderValue::from_static("2")
                ),
            ],
        };
        sign(&mut head, payload, &account, &keys, request.now).unwrap();
        let mut again = request;
        for (name, value) in &head.headers {
            again.headers.append(name, value.clone());
        }
        if is_temporary {
            assert_eq!(refusal(&again), Kind::TokenUnsupported);
            let authorization = header(&head, "authorization").unwrap();
            assert!(authorization.contains(";x-amz-security-token,"));
        } else {
            assert!(verify(&again).is_ok(), "{payload:?}");
        }
    }
}
