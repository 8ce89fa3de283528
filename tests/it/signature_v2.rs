//! Signature Version 2: refused unless the repository takes it, never sent on, and no way around what it leaves open.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::support::origin::{Origin, answer};
use crate::support::raw::Response;
use crate::support::server::{BUCKET, KEY, SECRET, Server, Setup, UPSTREAM_SECRET};
use crate::support::sign::{self, is_signed};

/// A signature, written apart from the crate's own.
pub(crate) fn mac(text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

async fn start(origin: &Origin, repository: &'static str) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        repository,
        ..Setup::default()
    })
    .await
}

/// Sends a request of `/BUCKET/k` that is signed in its head.
async fn send(server: &Server, method: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let date = sign::jiff_now();
    let mut amz = vec![("x-amz-date", date.as_str())];
    amz.extend(
        headers
            .iter()
            .filter(|(name, _)| name.starts_with("x-amz-")),
    );
    amz.sort_unstable();
    let lines = amz.iter().fold(String::new(), |mut lines, (name, value)| {
        let _written = writeln!(lines, "{name}:{value}");
        lines
    });
    let signature = mac(&format!("{method}\n\n\n\n{lines}/{BUCKET}/k"));
    let mut head = format!(
        "{method} /{BUCKET}/k HTTP/1.1\r\nhost: {}\r\nx-amz-date: {date}\r\nauthorization: AWS {KEY}:{signature}\r\n\
         content-length: {}\r\n",
        server.s3,
        body.len()
    );
    for (name, value) in headers {
        let _written = write!(head, "{name}: {value}\r\n");
    }
    let mut client = server.client().await;
    client.send(format!("{head}\r\n{body}")).await;
    client.response().await
}

/// Sends a GET whose URL was presigned, with more behind it.
async fn follow(server: &Server, more: &str) -> Response {
    let signature = mac(&format!("GET\n\n\n9999999999\n/{BUCKET}/k")).replace('+', "%2B");
    let mut client = server.client().await;
    client
        .send(format!(
            "GET /{BUCKET}/k?AWSAccessKeyId={KEY}&Expires=9999999999&Signature={signature}{more} HTTP/1.1\r\n\
             host: {}\r\n\r\n",
            server.s3
        ))
        .await;
    client.response().await
}

#[tokio::test]
async fn it_is_refused_by_default_and_told_what_to_use() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin, "").await;
    for answer in [
        send(&server, "GET", &[], "").await,
        send(&server, "PUT", &[], "content").await,
        follow(&server, "").await,
    ] {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "InvalidRequest")
        );
        assert!(
            answer.text().contains("AWS4-HMAC-SHA256"),
            "{}",
            answer.text()
        );
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn where_it_is_taken_the_store_sees_nothing_of_it() {
    let origin = Origin::always(answer::ok(b"content")).await;
    let server = start(&origin, "signature_v2 = \"allow\"").await;
    assert_eq!(send(&server, "GET", &[], "").await.status, 200);
    assert_eq!(send(&server, "PUT", &[], "content").await.status, 200);
    assert_eq!(follow(&server, "&x-id=GetObject").await.status, 200);
    let seen = origin.requests();
    assert_eq!(seen.len(), 3);
    for received in seen {
        assert!(is_signed(&received, UPSTREAM_SECRET), "{received:?}");
        for word in ["AWSAccessKeyId", "Expires", "Signature=", KEY] {
            assert!(!received.target.contains(word), "{received:?}");
        }
    }
}

#[tokio::test]
async fn what_it_does_not_sign_chooses_nothing() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin, "signature_v2 = \"allow\"").await;
    for (more, code) in [
        ("&acl", "SignatureDoesNotMatch"),
        ("&a%63l", "SignatureDoesNotMatch"),
        ("&attributes", "InvalidRequest"),
        ("&retention", "InvalidRequest"),
        ("&x-amz-acl=private", "SignatureDoesNotMatch"),
        ("&X-Amz-Signature=0", "InvalidArgument"),
        ("&Signature=0", "InvalidArgument"),
    ] {
        assert_eq!(follow(&server, more).await.code(), code, "{more}");
    }
    let streaming = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let refused = send(
        &server,
        "PUT",
        &[("x-amz-content-sha256", streaming)],
        "0\r\n\r\n",
    )
    .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "InvalidRequest")
    );
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn its_payload_is_an_unsigned_one() {
    let origin = Origin::always(answer::ok(b"")).await;
    let rules = "signature_v2 = \"allow\"\nunsigned_payload = \"tls-only\"";
    let server = start(&origin, rules).await;
    let refused = send(&server, "PUT", &[], "content").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "AccessDenied")
    );
    assert!(origin.requests().is_empty());
    assert_eq!(send(&server, "GET", &[], "").await.status, 200);
    // One whose hash is among its signed headers is not.
    let hash = sign::sha256(b"content");
    let declared = [("x-amz-content-sha256", hash.as_str())];
    assert_eq!(send(&server, "PUT", &declared, "content").await.status, 200);
    assert_eq!(
        send(&server, "PUT", &declared, "another").await.code(),
        "XAmzContentSHA256Mismatch"
    );
}

#[tokio::test]
async fn on_plain_connections_it_may_be_refused_alone() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin, "signature_v2 = \"tls-only\"").await;
    for answer in [
        send(&server, "GET", &[], "").await,
        follow(&server, "").await,
    ] {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "AccessDenied")
        );
    }
    assert!(origin.requests().is_empty());
}
