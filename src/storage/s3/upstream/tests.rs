use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::*;
use crate::storage::s3::route::S3Request;
use crate::storage::s3::tests_support::{Owned, bucket, owned};

fn whole(request: &Owned) -> WholeOp {
    let decoded: S3Request = request.decode().unwrap();
    match decoded.row().request_body {
        RequestBody::Document { .. } if decoded.op() == Op::CreateBucket => {
            decoded.with_body(Bytes::new()).unwrap()
        }
        RequestBody::Document { .. } => decoded
            .with_body("<Delete><Object><Key>a&amp;</Key></Object></Delete>".into())
            .unwrap(),
        RequestBody::None | RequestBody::Stream => decoded.without_body().unwrap(),
    }
}

fn form(length: u64) -> UploadForm {
    UploadForm {
        content_length: length,
        decoded_length: length,
        payload: PayloadHash::Unsigned,
        headers: SmallVec::new(),
        content_encoding: None,
    }
}

fn encoded(request: &Owned, bucket: &Bucket) -> Result<UpstreamRequest> {
    let form = form(5);
    encode(
        &whole(request),
        &request.headers,
        bucket,
        Some(bucket),
        Some(&form),
    )
}

fn header(request: &UpstreamRequest, name: &str) -> Option<String> {
    let mut values = request
        .head
        .headers
        .iter()
        .filter(|(known, _)| known == name);
    let value = values
        .next()
        .map(|(_, value)| value.to_str().unwrap().to_owned());
    assert!(values.next().is_none(), "{name} is given once");
    value
}

#[test]
fn targets_carry_bucket_prefix_and_key_encoded_once() {
    let same = bucket("bkt", "bkt", "", Addressing::Path);
    let renamed = bucket("bkt", "up.stream", "fol der/", Addressing::Path);
    let virtual_host = bucket("bkt", "up", "", Addressing::Virtual);
    for (target, bucket, expected) in [
        ("/bkt/k", &same, "/bkt/k"),
        ("/bkt//a/../b", &same, "/bkt//a/../b"),
        (
            "/bkt/a%2Fb+c%20d(%C3%A9)",
            &same,
            "/bkt/a/b%2Bc%20d%28%C3%A9%29",
        ),
        (
            "/bkt/k?versionId=a%2Bb&x-id=GetObject",
            &same,
            "/bkt/k?versionId=a%2Bb",
        ),
        ("/bkt/k?tagging", &same, "/bkt/k?tagging="),
        ("/bkt", &same, "/bkt"),
        (
            "/bkt?prefix=&delimiter=%2F&list-type=2",
            &same,
            "/bkt?delimiter=%2F&list-type=2",
        ),
        (
            "/bkt?list-type=2&continuation-token=",
            &same,
            "/bkt?continuation-token=&list-type=2",
        ),
        (
            "/bkt?list-type=2&continuation-token=",
            &renamed,
            "/up.stream?list-type=2&prefix=fol%20der%2F",
        ),
        ("/bkt/k", &renamed, "/up.stream/fol%20der/k"),
        ("/bkt", &renamed, "/up.stream?prefix=fol%20der%2F"),
        (
            "/bkt?list-type=2&prefix=p&start-after=s&continuation-token=a3Q",
            &renamed,
            "/up.stream?continuation-token=fol%20der%2Ft&list-type=2&prefix=fol%20der%2Fp&start-after=fol%20der%2Fs",
        ),
        (
            "/bkt?marker=m",
            &renamed,
            "/up.stream?marker=fol%20der%2Fm&prefix=fol%20der%2F",
        ),
        (
            "/bkt?versions&key-marker=k&version-id-marker=v",
            &renamed,
            "/up.stream?key-marker=fol%20der%2Fk&prefix=fol%20der%2F&version-id-marker=v&versions=",
        ),
        (
            "/bkt?uploads",
            &renamed,
            "/up.stream?prefix=fol%20der%2F&uploads=",
        ),
        ("/bkt?versioning", &renamed, "/up.stream?versioning="),
        ("/bkt/k", &virtual_host, "/k"),
        ("/bkt", &virtual_host, "/"),
    ] {
        let request = encoded(&owned("GET", target, &[]), bucket).unwrap();
        assert_eq!(request.head.target, expected, "{target}");
        assert_eq!(header(&request, "content-length"), None);
    }
    let request = encoded(&owned("GET", "/bkt/k", &[]), &virtual_host).unwrap();
    assert_eq!(header(&request, "host").unwrap(), "up.store.internal");
}

#[test]
fn only_listed_headers_leave() {
    let request = owned(
        "PUT",
        "/bkt/k?x-amz-meta-h=2&X-Amz-Signature=0",
        &[
            ("authorization", "AWS4-HMAC-SHA256 x"),
            ("connection", "keep-alive"),
            ("content-encoding", "aws-chunked"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("cookie", "a=b"),
            ("expect", "100-continue"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-meta-a", "1"),
            ("x-amz-request-payer", "requester"),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
            ("x-aqueduct-internal", "1"),
            ("x-forwarded-for", "1.2.3.4"),
        ],
    );
    let bucket = bucket("bkt", "bkt", "", Addressing::Path);
    let encoded = encoded(&request, &bucket).unwrap();
    let mut names: Vec<_> = encoded
        .head
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    let expected = [
        "content-length",
        "content-type",
        "host",
        "x-amz-meta-a",
        "x-amz-meta-h",
    ];
    assert_eq!(names, expected);
    assert_eq!(encoded.head.method, Method::PUT);
}

#[test]
fn a_batch_delete_gets_the_prefix_and_a_digest_of_its_own() {
    let request = owned(
        "POST",
        "/bkt?delete",
        &[
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("content-type", "application/xml"),
        ],
    );
    let plain = encoded(&request, &bucket("bkt", "up", "", Addressing::Path)).unwrap();
    assert_eq!(header(&plain, "x-amz-checksum-crc32").unwrap(), "AAAAAA==");
    assert_eq!(plain.document.as_ref(), whole(&request).document());
    let prefixed = encoded(&request, &bucket("bkt", "up", "p/", Addressing::Path)).unwrap();
    let document = prefixed.document.clone().unwrap();
    assert!(
        document
            .windows(17)
            .any(|window| window == b"<Key>p/a&amp;</Ke")
    );
    assert_eq!(header(&prefixed, "x-amz-checksum-crc32"), None);
    assert!(header(&prefixed, "content-md5").is_some());
    assert_eq!(
        header(&prefixed, "content-length").unwrap(),
        document.len().to_string()
    );
    assert_eq!(
        prefixed.payload,
        PayloadHash::Sha256(Sha256::digest(&document).into())
    );
}

#[test]
fn copies_read_the_upstream_source_of_the_same_account_only() {
    let source = [("x-amz-copy-source", "/bkt/a%20b?versionId=v%2B")];
    let request = owned("PUT", "/bkt/k", &source);
    let here = bucket("bkt", "up", "p/", Addressing::Path);
    let copied = encoded(&request, &here).unwrap();
    assert_eq!(
        header(&copied, "x-amz-copy-source").unwrap(),
        "/up/p/a%20b?versionId=v%2B"
    );
    assert_eq!(header(&copied, "content-length").unwrap(), "0");
    let twin = bucket("twin", "other", "", Addressing::Path);
    let copied = encode(&whole(&request), &request.headers, &here, Some(&twin), None).unwrap();
    assert_eq!(
        header(&copied, "x-amz-copy-source").unwrap(),
        "/other/a%20b?versionId=v%2B"
    );
    let mut there = bucket("bkt", "up", "", Addressing::Path);
    let resource = std::sync::Arc::get_mut(&mut there.resource).unwrap();
    resource.origin.host = "elsewhere.internal".into();
    let refused = encode(
        &whole(&request),
        &request.headers,
        &here,
        Some(&there),
        None,
    );
    assert_eq!(refused.unwrap_err().kind(), Kind::Internal);
}

#[test]
fn ranges_of_copies_leave_only_where_they_are_valid() {
    let bucket = bucket("bkt", "up", "", Addressing::Path);
    for (range, expected) in [
        ("bytes=0-2", None),
        ("0-2", Some(Kind::InvalidArgument)),
        ("bytes=0", Some(Kind::InvalidArgument)),
        ("bytes=2-", Some(Kind::InvalidArgument)),
        ("bytes=0-2,3-5", Some(Kind::InvalidArgument)),
        ("bytes=2-1", Some(Kind::InvalidArgument)),
    ] {
        let headers = [
            ("x-amz-copy-source", "/bkt/a"),
            ("x-amz-copy-source-range", range),
        ];
        let request = owned("PUT", "/bkt/k?uploadId=u&partNumber=1", &headers);
        let outcome = encoded(&request, &bucket);
        assert_eq!(outcome.err().map(|error| error.kind()), expected, "{range}");
    }
}

#[test]
fn a_prefix_is_never_left() {
    let prefixed = bucket("bkt", "bkt", "p/", Addressing::Path);
    let renamed = bucket("bkt", "up", "", Addressing::Path);
    let longest = format!("/bkt/{}", "k".repeat(1023));
    for (method, target, bucket, expected) in [
        ("GET", "/bkt/a/../x", &prefixed, Some(Kind::AccessDenied)),
        (
            "GET",
            "/bkt?prefix=a/../x",
            &prefixed,
            Some(Kind::AccessDenied),
        ),
        (
            "GET",
            "/bkt/a/%2E%2E/x",
            &prefixed,
            Some(Kind::AccessDenied),
        ),
        ("GET", "/bkt/a/../x", &renamed, None),
        ("GET", longest.as_str(), &prefixed, Some(Kind::KeyTooLong)),
        ("GET", longest.as_str(), &renamed, None),
        ("GET", "/bkt?versioning", &prefixed, None),
        ("PUT", "/bkt?versioning", &prefixed, Some(Kind::Unsupported)),
        ("PUT", "/bkt?versioning", &renamed, None),
        ("DELETE", "/bkt", &prefixed, Some(Kind::Unsupported)),
        ("GET", "/bkt?policy", &prefixed, Some(Kind::Unsupported)),
        ("GET", "/bkt?policy", &renamed, None),
        ("GET", "/bkt?lifecycle", &prefixed, Some(Kind::Unsupported)),
    ] {
        let outcome = encoded(&owned(method, target, &[]), bucket);
        assert_eq!(
            outcome.err().map(|error| error.kind()),
            expected,
            "{method} {target}"
        );
    }
}

proptest! {
    // The law of the folder: what `upstream` writes, `downstream` reads back.
    #[test]
    fn what_is_written_reads_back_as_the_same_operation(
        key in "([ -~]|[\u{e9}\u{1F980}]|//|%2F){1,30}",
        method in 0usize..3,
        version in "[!-~]{1,10}",
        addressing in 0usize..2,
    ) {
        let addressing = [Addressing::Path, Addressing::Virtual][addressing];
        let mut path = Vec::new();
        escape::encode(&mut path, key.as_bytes(), Slash::Keep);
        let mut query = Vec::new();
        escape::encode(&mut query, version.as_bytes(), Slash::Encode);
        let target = format!(
            "/bkt/{}?versionId={}",
            String::from_utf8(path).unwrap(),
            String::from_utf8(query).unwrap()
        );
        let method = ["GET", "HEAD", "DELETE"][method];
        let request = owned(method, &target, &[]);
        prop_assume!(request.decode().is_ok());
        let bucket = bucket("bkt", "bkt", "", addressing);
        let written = encoded(&request, &bucket).unwrap();
        let mut again = owned(written.head.method.as_str(), &written.head.target, &[]);
        again.host = header(&written, "host").unwrap();
        again.base_domains = vec![(
            crate::protocol::Front::Storage(crate::protocol::Protocol::S3),
            "store.internal".into(),
        )];
        again.headers = HeaderMap::new();
        let (first, second) = (request.decode().unwrap(), again.decode().unwrap());
        prop_assert_eq!(first.op(), second.op());
        prop_assert_eq!(first.bucket(), second.bucket());
        prop_assert_eq!(first.key(), second.key());
        prop_assert_eq!(first.query_pairs(), second.query_pairs());
    }
}

#[test]
fn every_operation_is_written_and_reads_back() {
    let bucket = bucket("bkt", "bkt", "", Addressing::Path);
    for op in Op::ALL {
        let (row, target) = crate::storage::s3::route::sample(*op);
        if row.level == crate::storage::s3::route::Level::Service {
            continue;
        }
        let copy = [("x-amz-copy-source", "/bkt/s")];
        let headers: &[(&str, &str)] = if row.copies { &copy } else { &[] };
        let request = owned(row.method.method().as_str(), &target, headers);
        let written = encoded(&request, &bucket).unwrap();
        let mut again = owned(written.head.method.as_str(), &written.head.target, &[]);
        for (name, value) in &written.head.headers {
            again.headers.append(name, value.clone());
        }
        assert_eq!(again.decode().unwrap().op(), *op, "{}", op.name());
    }
}
