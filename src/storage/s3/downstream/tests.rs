use super::*;
use crate::policy::route::Addressing;
use crate::storage::s3::tests_support::{bucket, owned};

fn whole(method: &str, target: &str) -> WholeOp {
    owned(method, target, &[])
        .decode()
        .unwrap()
        .without_body()
        .unwrap()
}

fn of_a_provider() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("server", "AmazonS3"),
        ("x-amz-request-id", "theirs"),
        ("x-amz-id-2", "theirs"),
        ("set-cookie", "a=b"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("date", "now"),
        ("x-amz-bucket-region", "theirs"),
        ("etag", "\"e\""),
        ("content-length", "5"),
        ("content-type", "text/plain"),
        ("x-amz-meta-a", "1"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
    ] {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

#[test]
fn a_reply_shows_listed_headers_only() {
    let headers = of_a_provider();
    let bucket = bucket("bkt", "up", "", Addressing::Path);
    let shown = |method: &str, target: &str, status: u16| {
        let status = StatusCode::from_u16(status).unwrap();
        let reply = reply(&whole(method, target), status, &headers, &bucket).unwrap();
        let mut names: Vec<String> = reply
            .headers
            .iter()
            .map(|(name, _)| name.as_str().to_owned())
            .collect();
        names.sort_unstable();
        (names.join(" "), reply.body)
    };
    let object = "content-length content-type etag x-amz-checksum-crc32 x-amz-meta-a";
    assert_eq!(
        shown("GET", "/bkt/k", 206),
        (object.into(), ReplyBody::Forward)
    );
    assert_eq!(
        shown("HEAD", "/bkt/k", 200),
        (object.into(), ReplyBody::None)
    );
    let (names, body) = shown("GET", "/bkt", 200);
    assert!(!names.contains("content-length"));
    assert_eq!(
        body,
        ReplyBody::Translate {
            bytes_max: DOCUMENT_BYTES_MAX
        }
    );
    let (names, body) = shown("GET", "/bkt/k", 404);
    assert!(!names.contains("content-type"));
    assert_eq!(
        body,
        ReplyBody::Failure {
            bytes_max: FAILURE_BYTES_MAX
        }
    );
    assert_eq!(
        shown("HEAD", "/bkt/k", 404).1,
        ReplyBody::Failure { bytes_max: 0 }
    );
    assert_eq!(shown("GET", "/bkt/k", 304).1, ReplyBody::None);
    assert_eq!(shown("DELETE", "/bkt/k", 204).1, ReplyBody::None);
    let regions = reply(&whole("HEAD", "/bkt"), StatusCode::OK, &headers, &bucket).unwrap();
    let region: Vec<_> = regions
        .headers
        .iter()
        .filter(|(name, _)| name == "x-amz-bucket-region")
        .map(|(_, value)| value.to_str().unwrap())
        .collect();
    assert_eq!(region, ["eu-west-1"]);
}

#[test]
fn the_location_of_the_first_region_is_empty() {
    let text = |region| String::from_utf8(location(region).to_vec()).unwrap();
    assert!(text("us-east-1").ends_with("/\"></LocationConstraint>"));
    assert!(text("eu-west-1").ends_with(">eu-west-1</LocationConstraint>"));
}

#[test]
fn an_objects_url_is_the_one_that_the_client_used() {
    let path = owned("GET", "/bkt/a%20b/c", &[]).decode().unwrap();
    assert_eq!(object_url(&path, "h:1", false), "http://h:1/bkt/a%20b/c");
    let mut host = owned("GET", "/a%20b/c", &[]);
    host.host = "bkt.s3.example.com".into();
    let url = object_url(&host.decode().unwrap(), &host.host, true);
    assert_eq!(url, "https://bkt.s3.example.com/a%20b/c");
}

#[test]
fn framing_is_no_encoding_of_the_object() {
    let bucket = bucket("bkt", "up", "", Addressing::Path);
    for (stored, shown) in [
        ("aws-chunked", None),
        ("gzip,aws-chunked", Some("gzip")),
        (
            "aws-chunked, deflate, gzip,aws-chunked",
            Some("deflate, gzip"),
        ),
        ("gzip", Some("gzip")),
        ("gzip, br", Some("gzip, br")),
    ] {
        let mut headers = of_a_provider();
        headers.insert("content-encoding", HeaderValue::from_static(stored));
        let reply = reply(&whole("GET", "/bkt/k"), StatusCode::OK, &headers, &bucket).unwrap();
        let found = reply
            .headers
            .iter()
            .find(|(name, _)| *name == "content-encoding");
        assert_eq!(
            found.map(|(_, value)| value.to_str().unwrap()),
            shown,
            "{stored}"
        );
    }
}
