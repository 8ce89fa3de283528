//! Bucket and object names on their way to the upstream: byte for byte, under the upstream's bucket and prefix.

use crate::support::origin::{Origin, answer};
use crate::support::server::{BUCKET, Server, Setup, UPSTREAM_BUCKET};

/// As a client writes them in a path. Proxies are known to decode, collapse or re-encode each of these.
const KEYS: &[&str] = &[
    "plain",
    "a//b",
    "/leading",
    "trailing/",
    "a/./b",
    "a/../b",
    "../up",
    "..",
    "a%2Fb",
    "a%2fb",
    "a%252Fb",
    "a%20b",
    "a+b",
    "a%2Bb",
    "%C3%BC%E6%97%A5%F0%9F%8C%8D",
    "a%5Cb",
    "a%3Fb%23c",
    "a%25b",
    "a=b&c;d,e:f@g!h'i(j)k*l$m",
    "~-_.",
    "%E2%80%AEreversed",
    "a%0Ab",
];

/// What a key means, for comparing: two ways to write the same bytes are equal, `/` and `%2F` are too.
fn decoded(path: &str) -> Vec<u8> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = path
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

async fn check(bucket: &'static str, prefix: &str, refused: &[&str]) {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        bucket,
        ..Setup::default()
    })
    .await;
    let mut client = server.client().await;
    for key in KEYS {
        let before = origin.requests().len();
        client.send(server.request("GET", key).head()).await;
        let answer = client.response().await;
        if refused.contains(key) {
            assert!(matches!(answer.status, 400 | 403), "{key}: {answer:?}");
            assert_eq!(origin.requests().len(), before, "{key}");
            continue;
        }
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        let seen = origin.requests().pop().unwrap();
        let sent = decoded(&format!("/{UPSTREAM_BUCKET}/{prefix}{key}"));
        assert_eq!(
            decoded(&seen.target),
            sent,
            "{key} arrived as {}",
            seen.target
        );
    }
}

#[tokio::test]
async fn odd_keys_arrive_byte_for_byte() {
    // AWS, too, refuses to climb above the bucket, and only that.
    check("", "", &["../up", ".."]).await;
}

#[tokio::test]
async fn a_prefix_is_put_before_them_and_cannot_be_left() {
    let dots = ["a/./b", "a/../b", "../up", ".."];
    check(", prefix = \"team/one/\"", "team/one/", &dots).await;
}

#[tokio::test]
async fn the_virtual_host_style_means_the_same() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ..Setup::default()
    })
    .await;
    let port = server.s3.port();
    let mut request = server.request("GET", "k");
    request.path = "/a//b%20c".to_owned();
    request.host = format!("{BUCKET}.s3.localhost:{port}");
    let mut client = server.client().await;
    client.send(request.head()).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(
        origin.requests()[0].target,
        format!("/{UPSTREAM_BUCKET}/a//b%20c")
    );
}

#[tokio::test]
async fn requests_are_signed_anew_and_carry_nothing_of_the_client() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ..Setup::default()
    })
    .await;
    let mut request = server.request("GET", "k");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6"),
        ("cookie", "canary=1"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("x-aqueduct-internal", "1"),
        ("range", "bytes=0-1"),
        ("x-amz-checksum-mode", "ENABLED"),
    ] {
        request.headers.push((name.to_owned(), value.to_owned()));
    }
    let mut client = server.client().await;
    client.send(request.head()).await;
    assert_eq!(client.response().await.status, 200);
    let seen = &origin.requests()[0];
    let authorization = seen.header("authorization").unwrap();
    assert!(
        authorization.contains("Credential=AKIAUPSTREAM/"),
        "{authorization}"
    );
    for name in [
        "x-forwarded-for",
        "cookie",
        "x-hop",
        "te",
        "x-aqueduct-internal",
    ] {
        assert_eq!(seen.header(name), None, "{name} was passed on");
    }
    assert_eq!(
        (seen.header("range"), seen.header("x-amz-checksum-mode")),
        (Some("bytes=0-1"), Some("ENABLED"))
    );
    assert_eq!(
        seen.header("host"),
        Some(origin.address.to_string().as_str())
    );
}
