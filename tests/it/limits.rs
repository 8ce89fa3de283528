//! How large a request may be, and what it costs to send a larger one. Tests S2 and S3 of the security bar.

use std::fmt::Write;

use crate::support::origin::{Origin, answer};
use crate::support::raw::Raw;
use crate::support::server::{AI_TOKEN, Server, Setup};

/// What a connection may cost that sends more than it may, in KiB.
const KIB_A_CONNECTION_MAX: usize = 1024;
const CONNECTIONS: usize = 48;

async fn start(limits: &'static str) -> (Origin, Server) {
    let origin = Origin::always(answer::ok(b"{}")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        limits,
        repository: "limits = { max_object = \"1MiB\" }",
        ..Setup::default()
    })
    .await;
    (origin, server)
}

/// `count` header lines, of which none means anything.
fn lines(count: usize) -> String {
    (0..count).fold(String::new(), |mut lines, number| {
        let _written = write!(lines, "X-{number}: v\r\n");
        lines
    })
}

/// What is too large, with the status in S3's words (RFC 6585 is younger than S3) and in the others'.
fn oversized() -> [(&'static str, String, u16, &'static str, u16); 8] {
    let target = |text: String| format!("GET /{text} HTTP/1.1\r\nHost: h\r\n\r\n");
    let headers = |lines: String| format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let query: String = (0..1_000_000).fold(String::from("k?"), |mut query, number| {
        let _written = write!(query, "q{number}&");
        query
    });
    let too_large = "RequestHeaderSectionTooLarge";
    [
        (
            "a path of 70 KB",
            target("p".repeat(70_000)),
            414,
            "URITooLong",
            414,
        ),
        (
            "a path of 1 MiB",
            target("p".repeat(1 << 20)),
            414,
            "URITooLong",
            414,
        ),
        (
            "a query of a million entries",
            target(query),
            414,
            "URITooLong",
            414,
        ),
        ("101 headers", headers(lines(100)), 400, too_large, 431),
        ("257 headers", headers(lines(256)), 400, too_large, 431),
        (
            "100,000 headers",
            headers(lines(100_000)),
            400,
            too_large,
            431,
        ),
        (
            "a header of 64 KiB and one byte",
            headers(format!("X: {}\r\n", "v".repeat((64 << 10) + 1))),
            400,
            too_large,
            431,
        ),
        (
            "a header of 10 MiB",
            headers(format!("X: {}\r\n", "v".repeat(10 << 20))),
            400,
            too_large,
            431,
        ),
    ]
}

#[tokio::test]
async fn what_is_too_large_is_told_so_and_costs_little() {
    let (origin, server) = start("").await;
    let before = rss_kib(&server);
    for (what, head, status, code, others) in oversized() {
        let mut client = server.client().await;
        client.send(&head).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{what}"
        );
        assert!(client.ends().await, "{what}");
        let mut client = Raw::connect(server.ai).await;
        client.send(&head).await;
        let answer = client.response().await;
        assert_eq!(answer.status, others, "{what}: {}", answer.text());
        assert!(
            answer.text().contains("\"error\""),
            "{what}: {}",
            answer.text()
        );
    }
    // As large as may be.
    let mut request = server.request("GET", "k");
    request.headers = (0..80)
        .map(|number| (format!("x-note-{number}"), "v".to_owned()))
        .collect();
    request
        .headers
        .push(("x-note-large".to_owned(), "v".repeat(60 << 10)));
    request.path += &"p".repeat(1000);
    let mut client = server.client().await;
    client.send(request.head()).await;
    assert_eq!(client.response().await.status, 200);
    let grown = rss_kib(&server).saturating_sub(before);
    assert!(
        grown < 32 * KIB_A_CONNECTION_MAX,
        "{grown} KiB after requests that were refused"
    );
    assert_eq!(origin.requests().len(), 1);
}

/// Heads that stop just short of what may be held, all at once.
#[tokio::test]
async fn unfinished_heads_cost_less_than_a_mebibyte_each() {
    let (_origin, server) = start("max_connections_per_ip = 200").await;
    assert_eq!(server.get("k").await.status, 200);
    let before = rss_kib(&server);
    let head = format!(
        "GET /{} HTTP/1.1\r\nHost: h\r\nX: {}",
        "p".repeat(15_000),
        "v".repeat(64_000)
    );
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = server.client().await;
        client.send(&head).await;
        held.push(client);
    }
    // Served after them, so they have been read.
    assert_eq!(server.get("k").await.status, 200);
    let grown = rss_kib(&server).saturating_sub(before);
    assert!(
        grown < CONNECTIONS * KIB_A_CONNECTION_MAX,
        "{grown} KiB for {CONNECTIONS} connections"
    );
}

/// Resident memory of the server, in KiB.
pub(crate) fn rss_kib(server: &Server) -> usize {
    let pid = server.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_body_that_outgrows_what_was_said_is_not_stored() {
    let (origin, server) = start("ai_body_bytes = \"1MiB\"").await;
    let said = |length: &str| {
        let mut request = server.request("PUT", "k");
        request.payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned();
        request
            .headers
            .push(("content-encoding".to_owned(), "aws-chunked".to_owned()));
        request
            .headers
            .push(("x-amz-decoded-content-length".to_owned(), length.to_owned()));
        request
            .headers
            .push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        request.head()
    };
    let framed = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (what, length, body) in [
        ("more than it said", "4", "8\r\nabcdefgh\r\n0\r\n\r\n"),
        ("less than it said", "16", "8\r\nabcdefgh\r\n0\r\n\r\n"),
        ("more than may be", "1048577", "8\r\nabcdefgh\r\n0\r\n\r\n"),
        (
            "a length that is no number",
            "8x",
            "8\r\nabcdefgh\r\n0\r\n\r\n",
        ),
        (
            "bytes behind the end",
            "8",
            "8\r\nabcdefgh\r\n0\r\n\r\nmore",
        ),
    ] {
        let mut client = server.client().await;
        client.send(said(length) + &framed(body)).await;
        let answer = client.response().await;
        assert!((400..=413).contains(&answer.status), "{what}: {answer:?}");
        assert!(!answer.code().is_empty(), "{what}");
    }
    // Chunks without end, against the limit of what is held.
    let mut client = Raw::connect(server.ai).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(1 << 16));
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {AI_TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    client.send(head + &chunk.repeat(40)).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(client.try_response().await.is_none());
    let stored = origin.requests();
    assert!(stored.iter().all(|request| !request.complete), "{stored:?}");
    assert_eq!(server.get("k").await.status, 200);
}
