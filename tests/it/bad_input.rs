//! Requests that no honest client sends: each gets the protocol's own error or none, harms nobody else, and
//! reaches the origin at most once. The security bar's table of malformed requests.

use std::time::{Duration, Instant};

use crate::support::origin::{Origin, answer};
use crate::support::raw::Raw;
use crate::support::server::{AI_TOKEN, BUCKET, Server, Setup};

async fn start(limits: &'static str) -> (Origin, Server) {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        limits,
        ..Setup::default()
    })
    .await;
    (origin, server)
}

/// A signed PUT's head whose framing lines are replaced by others.
fn framed(server: &Server, framing: &str) -> String {
    server
        .request("PUT", "k")
        .head()
        .replacen("\r\n\r\n", &format!("\r\n{framing}\r\n\r\n"), 1)
}

#[tokio::test]
async fn ambiguous_framing_reaches_the_origin_never() {
    let (origin, server) = start("").await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for (framing, body) in [
        (
            "Content-Length: 6\r\nTransfer-Encoding: chunked",
            "0\r\n\r\nG",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 6",
            "0\r\n\r\nG",
        ),
        ("Content-Length: 3\r\nContent-Length: 4", "abc"),
        ("Content-Length: 3, 4", "abc"),
        ("Content-Length: +3", "abc"),
        ("Content-Length: -3", "abc"),
        ("Content-Length: 0x3", "abc"),
        ("Content-Length: 3 3", "abc"),
        ("Content-Length: 99999999999999999999", "abc"),
        ("Content-Length:", "abc"),
        ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
        ("Transfer-Encoding: identity, chunked, chunked", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "0\r\n\r\n",
        ),
        ("Transfer-Encoding : chunked", "0\r\n\r\n"),
        ("Transfer-Encoding:\x0bchunked", "0\r\n\r\n"),
        (" Transfer-Encoding: chunked", "0\r\n\r\n"),
        ("X: a\r\n Transfer-Encoding: chunked", "0\r\n\r\n"),
        ("X: a\r\n\tb", ""),
        ("X: a\0b", ""),
        ("X\0: a", ""),
        ("X: a\rb", ""),
        ("X Y: a", ""),
        ("no colon at all", ""),
        (": no name", ""),
    ] {
        let mut client = server.client().await;
        client
            .send(format!("{}{body}{smuggled}", framed(&server, framing)))
            .await;
        // Half closed, so that a parser which waits for more gives up as well.
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
            .await
            .unwrap();
        if let Some(answer) = client.try_response().await {
            assert!(
                (400..=501).contains(&answer.status),
                "{framing:?}: {answer:?}"
            );
            client.ends().await;
        }
        assert_eq!(origin.requests().len(), 0, "{framing:?} reached the origin");
    }
    assert_eq!(server.get("k").await.text(), "body");
}

/// Ways to write a framing header that some parser takes for it and another does not.
fn mutations(name: &str, value: &str) -> Vec<Vec<u8>> {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    let mut all = Vec::new();
    for byte in (0..=0x20).chain([0x22, 0x27, 0x2c, 0x3b, 0x5f, 0x7f, 0x80, 0xa0, 0xff]) {
        let byte = [byte];
        all.push([&byte, name, b":", value].concat());
        all.push([name, &byte, b":", value].concat());
        all.push([name, b":", &byte, value].concat());
        all.push([name, b":", value, &byte].concat());
    }
    all
}

#[tokio::test]
async fn nothing_rides_behind_a_mutated_header() {
    let (origin, server) = start("").await;
    let head = server.request("PUT", "k").head();
    let lines = head.strip_suffix("\r\n").unwrap();
    let smuggled = server.request("GET", "smuggled").head();
    // To the plain header all of the body is one body; to the mutated one its end is another request.
    let by_length = format!("0\r\n\r\n{smuggled}");
    let by_chunks = format!("{:x}\r\n12345{smuggled}\r\n0\r\n\r\n", smuggled.len() + 5);
    let long = format!("Content-Length: {}", by_length.len());
    let chunked = "Transfer-Encoding: chunked".to_owned();
    for (name, value, plain, body) in [
        ("Transfer-Encoding", "chunked", long, by_length),
        ("Content-Length", "10", chunked, by_chunks),
    ] {
        for line in mutations(name, value) {
            let before = origin.requests().len();
            let mut client = server.client().await;
            client
                .send(
                    [
                        lines.as_bytes(),
                        &line,
                        b"\r\n",
                        plain.as_bytes(),
                        b"\r\n\r\n",
                        body.as_bytes(),
                    ]
                    .concat(),
                )
                .await;
            tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
                .await
                .unwrap();
            client.ends().await;
            let seen = &origin.requests()[before..];
            let shown = String::from_utf8_lossy(&line).into_owned();
            assert!(
                seen.iter()
                    .all(|request| !request.target.contains("smuggled")),
                "{shown:?}: {seen:?}"
            );
        }
    }
    assert_eq!(server.get("k").await.text(), "body");
}

#[tokio::test]
async fn broken_chunks_end_the_upload_without_an_object() {
    let (origin, server) = start("").await;
    let before = origin.requests().len();
    for body in [
        "zz\r\nab\r\n0\r\n\r\n",
        "2\r\nabcdef\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "+2\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nab\r\n",
    ] {
        let mut client = server.client().await;
        client
            .send(format!(
                "{}{body}",
                framed(&server, "Transfer-Encoding: chunked")
            ))
            .await;
        if let Some(answer) = client.try_response().await {
            assert!((400..=501).contains(&answer.status), "{body:?}: {answer:?}");
        }
        assert!(
            origin.requests()[before..]
                .iter()
                .all(|request| !request.complete),
            "{body:?} was stored"
        );
    }
}

#[tokio::test]
async fn request_lines_and_hosts_are_strict() {
    let (origin, server) = start("").await;
    let target = format!("/{BUCKET}/k");
    let host = server.s3;
    for head in [
        format!("GET {target} HTTP/1.1\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nHost: evil\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: user@evil\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost: a?b#c\r\n\r\n"),
        format!("GET {target} HTTP/1.1\r\nHost:\r\n\r\n"),
        format!("GET http://evil{target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET {target}\r\n\r\n"),
        format!("GET {target} HTTP/9.9\r\nHost: {host}\r\n\r\n"),
        format!("GET  {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("G\0T {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /{BUCKET}/a\0b HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("CONNECT evil:443 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03".to_owned() + &"x".repeat(300) + "\r\n\r\n",
    ] {
        let mut client = server.client().await;
        client.send(&head).await;
        // Half closed, so that a parser which waits for more gives up as well.
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
            .await
            .unwrap();
        if let Some(answer) = client.try_response().await {
            assert!((400..=505).contains(&answer.status), "{head:?}: {answer:?}");
        }
        assert_eq!(origin.requests().len(), 0, "{head:?} reached the origin");
    }
    assert_eq!(server.get("k").await.text(), "body");
}

#[tokio::test]
async fn an_error_has_the_protocols_shape() {
    let (origin, server) = start("").await;
    let mut client = server.client().await;
    let host = server.s3;
    for (head, status, code) in [
        (
            format!("GET /{BUCKET}/k HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            403,
            "AccessDenied",
        ),
        (
            format!(
                "GET /{BUCKET}/k HTTP/1.1\r\nHost: {host}\r\nAuthorization: AWS4-HMAC-SHA256 nonsense\r\n\r\n"
            ),
            400,
            "AuthorizationHeaderMalformed",
        ),
        (
            format!("GET /{BUCKET}/k HTTP/1.1\r\nHost: {host}\r\nAuthorization: AWS a:b\r\n\r\n"),
            403,
            "AccessDenied",
        ),
    ] {
        client.send(&head).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{head}"
        );
        assert_eq!(answer.header("content-type"), Some("application/xml"));
        assert!(
            answer.text().contains("<RequestId>") && answer.header("x-amz-request-id").is_some(),
            "{answer:?}"
        );
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn heads_and_targets_have_limits() {
    let (origin, server) = start("header_bytes = \"16KiB\"").await;
    let with = |name: String, value: String| {
        let mut request = server.request("GET", "k");
        request.headers.push((name, value));
        request.head()
    };
    let many = "X-Many: v\r\n".repeat(1000);
    let many =
        server
            .request("GET", "k")
            .head()
            .replacen("\r\n\r\n", &format!("\r\n{many}\r\n"), 1);
    let mut long = server.request("GET", "k");
    long.path += &"p".repeat(1 << 20);
    let mut query = server.request("GET", "k");
    query.query = (0..100_000)
        .map(|n| (format!("q{n}"), "1".to_owned()))
        .collect();
    for (what, head) in [
        (
            "a header over the limit",
            with("x-amz-meta-big".to_owned(), "v".repeat(17 << 10)),
        ),
        (
            "a huge header",
            with("x-amz-meta-big".to_owned(), "v".repeat(10 << 20)),
        ),
        ("too many headers", many),
        ("a huge path", long.head()),
        ("a huge query", query.head()),
    ] {
        let mut client = server.client().await;
        client.send(head).await;
        if let Some(answer) = client.try_response().await {
            assert!(
                matches!(answer.status, 400 | 414 | 431),
                "{what}: {answer:?}"
            );
        }
        assert_eq!(origin.requests().len(), 0, "{what}");
    }
    assert_eq!(server.get("k").await.text(), "body");
}

#[tokio::test]
async fn bodies_have_limits() {
    let origin = Origin::always(answer::ok(b"")).await;
    let setup = Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        limits: "ai_body_bytes = \"1MiB\"",
        repository: "limits = { max_object = \"1MiB\" }",
        ..Setup::default()
    };
    let server = Server::start(&setup).await;
    let mut client = server.client().await;
    client.send(server.put("k", (1 << 20) + 1).head()).await;
    let answer = client.response().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "EntityTooLarge")
    );
    let mut client = Raw::connect(server.ai).await;
    client
        .send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {AI_TOKEN}\r\nContent-Length: 2000000\r\n\r\n"
        ))
        .await;
    let answer = client.response().await;
    assert!(
        answer.status == 413 && answer.text().contains("\"error\""),
        "{answer:?}"
    );
    assert_eq!(origin.requests().len(), 0);
    let mut client = server.client().await;
    client.send(server.put("k", 1 << 20).head()).await;
    client.send(vec![b'x'; 1 << 20]).await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let (_origin, server) = start("max_connections_per_ip = 8").await;
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut client = server.client().await;
        client.send("GET / HTTP/1.1\r\n").await;
        held.push(client);
    }
    let mut closed = 0;
    for client in &mut held {
        let wait = std::time::Duration::from_millis(300);
        closed += usize::from(tokio::time::timeout(wait, client.ends()).await.is_ok());
    }
    assert!((20..=23).contains(&closed), "{closed} of 30 were closed");
    drop(held);
    let started = Instant::now();
    loop {
        let mut client = server.client().await;
        client.send(server.request("GET", "k").head()).await;
        if client
            .try_response()
            .await
            .is_some_and(|answer| answer.status == 200)
        {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "the connections are not given back"
        );
    }
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_meets_its_deadline() {
    let (origin, server) = start("header_deadline = \"1s\"").await;
    let head = server.request("GET", "k").head();
    let started = Instant::now();
    let mut client = server.client().await;
    for byte in head.as_bytes() {
        if client.try_send([*byte]).await.is_err() {
            break;
        }
        // Slow is what is tested: each byte comes well within any time limit of a single read.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if started.elapsed() > Duration::from_secs(4) {
            break;
        }
    }
    client.ends().await;
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn slow_heads_do_not_hold_up_others() {
    let (_origin, server) = start("header_deadline = \"5s\"").await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut client = server.client().await;
        client.send("GET /").await;
        slow.push(client);
    }
    let started = Instant::now();
    assert_eq!(server.get("k").await.text(), "body");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_or_refused() {
    let origin = Origin::start(|request, _| answer::ok(request.target.as_bytes())).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ..Setup::default()
    })
    .await;
    let mut client = server.client().await;
    let two = server.request("GET", "one").head() + &server.request("GET", "two").head();
    client.send(two).await;
    assert!(client.response().await.text().contains("/one"));
    if let Some(second) = client.try_response().await {
        assert!(
            second.text().contains("/two") || second.status >= 400,
            "{second:?}"
        );
    }
}

/// Who asked for our word before its body may send that body after all, or the next request in its place.
#[tokio::test]
async fn an_answer_in_the_place_of_a_continue_is_the_last_of_its_connection() {
    let (_origin, server) = start("").await;
    for (asked, kept) in [("Expect: 100-continue\r\n", false), ("", true)] {
        let mut client = server.client().await;
        let head = format!("GET /health HTTP/1.1\r\nHost: h\r\n{asked}Content-Length: 4\r\n\r\n");
        client.send(head).await;
        let answer = client.response().await;
        assert_eq!(answer.status, 200, "{asked}");
        let next = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";
        // A client that closes first is as good as one that is answered no more.
        let _gone = client.try_send(format!("body{next}")).await;
        let second = client.try_response().await;
        assert_eq!(
            second.map(|answer| answer.status),
            kept.then_some(200),
            "{asked}"
        );
    }
}
