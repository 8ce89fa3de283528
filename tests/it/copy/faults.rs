//! Copies of which one side fails, leaves or is slow: whatever happens, nothing is left behind that looks whole.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{LARGE, copy, last, md5, object, send, server, stored, write};
use crate::http2::ask;
use crate::support::origin::{Origin, Step, answer};
use crate::support::server::{Server, Setup};
use crate::support::within;

#[tokio::test]
async fn a_source_that_breaks_off_leaves_nothing_at_the_target() {
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {LARGE}\r\n\r\n");
    let half = Step::Write([head.as_bytes(), &vec![7; LARGE / 2]].concat());
    let wrong = object(&md5(b"something else"), "", &vec![7; LARGE]);
    let crc = object("e", "x-amz-checksum-crc32: AAAAAA==\r\n", &vec![7; LARGE]);
    let chunked =
        write("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    for (what, steps, sent) in [
        ("reset", vec![half.clone(), Step::Reset], true),
        (
            "closed before its length",
            vec![half.clone(), Step::Close],
            true,
        ),
        ("stalled", vec![half, Step::Stall], true),
        ("other bytes than its ETag says", wrong, true),
        ("other bytes than its checksum says", crc, true),
        ("no length", vec![chunked, Step::Close], false),
    ] {
        let source = Origin::always(steps).await;
        let target = Origin::always(stored("e")).await;
        let server = server(&source, &target).await;
        let answer = send(&server, &copy(&server, &[])).await;
        assert!(matches!(answer.status, 500 | 503), "{what}: {answer:?}");
        assert!(!answer.code().is_empty(), "{what}");
        if sent {
            target.until(what, |seen| seen.ended == seen.opened).await;
            assert!(target.requests().iter().all(|put| !put.complete), "{what}");
            assert_eq!(target.resets(), target.opened(), "{what}");
        } else {
            assert_eq!(target.opened(), 0, "{what}");
        }
    }
}

/// A source that breaks off after half, and what it says to who asks for the rest.
async fn breaking(body: &[u8], tag: &str, rest: Vec<Step>) -> Origin {
    let head = format!(
        "HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nx-amz-version-id: v7\r\nContent-Length: {LARGE}\r\n\r\n"
    );
    let half = [head.as_bytes(), &body[..LARGE / 2]].concat();
    Origin::start(move |_, index| match index {
        0 => vec![Step::Write(half.clone()), Step::Close],
        _ => rest.clone(),
    })
    .await
}

#[tokio::test]
async fn a_source_that_breaks_off_is_read_on_where_it_is_still_the_same() {
    let body: Vec<u8> = (0..LARGE)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    let tag = md5(&body);
    let rest = |from: usize, tag: &str| {
        let (last, length) = (LARGE - 1, LARGE - from);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"{tag}\"\r\nContent-Range: bytes {from}-{last}/{LARGE}\r\nContent-Length: {length}\r\n\r\n"
        );
        vec![Step::Write([head.as_bytes(), &body[from..]].concat())]
    };
    let half = LARGE / 2;
    for (what, steps, expected) in [
        ("the rest", rest(half, &tag), 200),
        ("another range", rest(half - 1, &tag), 500),
        ("another object", rest(half, "other"), 500),
        ("a refusal", answer::error(412, "PreconditionFailed"), 500),
        ("the whole again", object(&tag, "", &body), 500),
    ] {
        let source = breaking(&body, &tag, steps).await;
        let target = Origin::always(stored(&tag)).await;
        let server = server(&source, &target).await;
        let answer = send(
            &server,
            &copy(&server, &[("x-amz-copy-source-if-none-match", "\"x\"")]),
        )
        .await;
        assert_eq!(answer.status, expected, "{what}: {}", answer.text());
        let asked = last(&source);
        assert_eq!(source.requests().len(), 2, "{what}");
        assert!(
            asked.target.ends_with("/src?versionId=v7"),
            "{}",
            asked.target
        );
        assert_eq!(
            asked.header("range"),
            Some(&*format!("bytes={half}-{}", LARGE - 1))
        );
        assert_eq!(asked.header("if-match"), Some(&*format!("\"{tag}\"")));
        assert_eq!(asked.header("if-none-match"), None);
        target
            .until(what, |seen| seen.ended == usize::from(expected != 200))
            .await;
        assert_eq!(last(&target).complete, expected == 200, "{what}");
        assert!(expected != 200 || last(&target).body == body, "{what}");
    }
}

#[tokio::test]
async fn bytes_beyond_the_sources_length_reach_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let source = Origin::start(move |_, index| match index {
        0 => answer::raw(evil),
        _ => object("e", "", b"good"),
    })
    .await;
    let target = Origin::always(stored("e")).await;
    let server = server(&source, &target).await;
    for expected in ["body", "good"] {
        assert_eq!(send(&server, &copy(&server, &[])).await.status, 200);
        assert_eq!(last(&target).body, expected.as_bytes());
    }
}

#[tokio::test]
async fn a_target_that_refuses_is_told_to_the_client() {
    let early = vec![
        Step::ReadBytes(1000),
        write(
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 51\r\n\r\n<Error><Code>QuotaExceeded</Code><Message/></Error>",
        ),
        Step::Stall,
    ];
    for (what, steps, expected) in [
        ("at once", early, (403, "QuotaExceeded")),
        (
            "after all",
            answer::error(500, "InternalError"),
            (500, "InternalError"),
        ),
        (
            "its bucket is gone",
            answer::error(404, "NoSuchBucket"),
            (404, "NoSuchBucket"),
        ),
        (
            "the condition",
            answer::error(412, "PreconditionFailed"),
            (412, "PreconditionFailed"),
        ),
        // The digest was not the client's.
        (
            "other bytes",
            answer::error(400, "BadDigest"),
            (500, "InternalError"),
        ),
        (
            "without a word",
            vec![Step::ReadBytes(1000), Step::Reset],
            (503, "ServiceUnavailable"),
        ),
    ] {
        let source = Origin::always(object("e", "", &vec![7; LARGE])).await;
        let target = Origin::always(steps).await;
        let server = server(&source, &target).await;
        let answer = send(&server, &copy(&server, &[("if-none-match", "*")])).await;
        assert_eq!((answer.status, answer.code().as_str()), expected, "{what}");
        assert_eq!(target.requests()[0].header("if-none-match"), Some("*"));
        assert_eq!(
            target.requests().len(),
            1,
            "{what}: a conditional upload is not repeated"
        );
    }
}

#[tokio::test]
async fn a_copy_that_came_out_wrong_is_deleted() {
    let source = Origin::always(object(&md5(b"body"), "", b"body")).await;
    for (headers, target_of_delete, condition) in [
        (
            "",
            "/archive/dst",
            Some("\"d41d8cd98f00b204e9800998ecf8427e\""),
        ),
        (
            "x-amz-version-id: v+8\r\n",
            "/archive/dst?versionId=v%2B8",
            None,
        ),
    ] {
        let target = Origin::start(move |request, _| match request.method.as_str() {
            "PUT" => answer::raw(&format!(
                "HTTP/1.1 200 OK\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n{headers}Content-Length: 0\r\n\r\n"
            )),
            _ => answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        })
        .await;
        let server = server(&source, &target).await;
        let answer = send(&server, &copy(&server, &[])).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (500, "InternalError")
        );
        let [put, delete] = &target.requests()[..] else {
            panic!("{:?}", target.requests())
        };
        assert_eq!(put.header("content-md5"), Some("hBotaJrYa9FhFEdFPCLG/A=="));
        assert_eq!(
            (delete.method.as_str(), delete.target.as_str()),
            ("DELETE", target_of_delete)
        );
        assert_eq!(delete.header("if-match"), condition);
    }
}

/// An origin that stops in the middle of a large object until the test says `go`.
async fn halting(go: &Arc<Notify>, then: Vec<Step>) -> Origin {
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {LARGE}\r\n\r\n");
    let half = Step::Write([head.as_bytes(), &vec![7; LARGE / 2]].concat());
    Origin::always([vec![half, Step::Wait(Arc::clone(go))], then].concat()).await
}

async fn patient(source: &Origin, target: &Origin) -> Server {
    Server::start(&Setup {
        storage: Some(source.address),
        second: Some(target.address),
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn a_client_that_leaves_ends_both_exchanges() {
    let go = Arc::new(Notify::new());
    let source = halting(&go, vec![Step::Stall]).await;
    let target = Origin::always(stored("e")).await;
    let server = patient(&source, &target).await;
    let mut client = server.client().await;
    client.send(copy(&server, &[]).head()).await;
    target
        .until("the upload", |seen| seen.requests.len() == 1)
        .await;
    drop(client);
    target
        .until("the end of the upload", |seen| seen.ended == 1)
        .await;
    assert_eq!(target.resets(), 1);
    assert!(!last(&target).complete);
    go.notify_one();
    source
        .until("the end of the read", |seen| seen.ended == 1)
        .await;
}

#[tokio::test]
async fn a_key_that_is_revoked_meanwhile_completes_no_copy() {
    let go = Arc::new(Notify::new());
    let source = halting(&go, vec![Step::Write(vec![7; LARGE - LARGE / 2])]).await;
    let target = Origin::always(stored("e")).await;
    let server = patient(&source, &target).await;
    let mut client = server.client().await;
    client.send(copy(&server, &[]).head()).await;
    target
        .until("the upload", |seen| seen.requests.len() == 1)
        .await;
    let revoked = server.run(&["key", "revoke", "00000000-0000-4000-8000-000000000001"]);
    assert!(revoked.status.success(), "{revoked:?}");
    // Asked of Aqueduct alone: the source halts for whoever asks it.
    let mut location = server.request("GET", "");
    location.query.push(("location".to_owned(), String::new()));
    within("the revocation", async {
        loop {
            let mut other = server.client().await;
            other.send(location.head()).await;
            if other.response().await.status == 403 {
                break;
            }
        }
    })
    .await;
    go.notify_one();
    let answer = client.response().await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    target
        .until("the end of the upload", |seen| seen.ended == 1)
        .await;
    assert!(!last(&target).complete);
    assert_eq!(target.resets(), 1);
}

/// A copy that takes longer than clients wait is answered at once and concluded in the body.
#[tokio::test]
async fn a_slow_copy_is_answered_late_whatever_comes_of_it() {
    let good = vec![Step::Write(vec![7; LARGE - LARGE / 2])];
    let check = async |then: Vec<Step>, expected: &str| {
        let go = Arc::new(Notify::new());
        let source = halting(&go, then).await;
        let target = Origin::always(stored("e")).await;
        let server = patient(&source, &target).await;
        let mut client = server.client().await;
        client.send(copy(&server, &[]).head()).await;
        let head = client.head().await;
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, Some("application/xml"))
        );
        go.notify_one();
        let (body, complete) = client.body(&head).await;
        let text = String::from_utf8(body).unwrap();
        assert!(
            complete && text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n "),
            "{text}"
        );
        assert_eq!(text.matches("<?xml").count(), 1, "{text}");
        assert!(text.contains(expected), "{text}");
    };
    tokio::join!(
        check(good, "<ETag>&quot;e&quot;</ETag></CopyObjectResult>"),
        check(vec![Step::Reset], "<Error><Code>InternalError</Code>"),
    );
}

#[tokio::test]
async fn both_resources_are_counted_and_the_one_that_failed_is_named() {
    let short = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 100\r\n\r\nshort";
    let source = Origin::start(move |_, index| {
        if index == 0 {
            return object("e", "", b"body");
        }
        vec![write(short), Step::Close]
    })
    .await;
    let target = Origin::always(stored("e")).await;
    let server = server(&source, &target).await;
    assert_eq!(send(&server, &copy(&server, &[])).await.status, 200);
    assert_eq!(send(&server, &copy(&server, &[])).await.status, 500);
    let copied = "\"source_resource\":\"origin\",\"source_bucket\":\"media\",\"copied_bytes\":4}";
    server.logged(copied).await;
    let metrics = server.admin("GET", "/metrics", "").await.text();
    for line in [
        // The third was for the rest, and brought the start again.
        r#"aqueduct_upstream_requests_total{class="read",code="200",resource="origin"} 3"#,
        r#"aqueduct_upstream_requests_total{class="write",code="200",resource="second"} 1"#,
        r#"aqueduct_upstream_errors_total{reason="truncated",resource="origin"} 1"#,
    ] {
        assert!(
            metrics.lines().any(|known| known == line),
            "{line}\n{metrics}"
        );
    }
    assert!(
        !metrics
            .contains(r#"aqueduct_upstream_errors_total{reason="truncated",resource="second"}"#)
    );
}

/// From the last piece on the target may have the object: the copy is seen through.
#[tokio::test]
async fn a_client_that_leaves_after_the_last_piece_ends_nothing() {
    let go = Arc::new(Notify::new());
    let source = Origin::always(object("e", "", b"body")).await;
    let word = Arc::clone(&go);
    let target = Origin::start(move |_, index| {
        let wait = (index == 0).then(|| Step::Wait(Arc::clone(&word)));
        let steps = [Step::ReadBody].into_iter().chain(wait);
        steps.chain(stored("e")).collect()
    })
    .await;
    let server = patient(&source, &target).await;
    let mut client = server.client().await;
    client.send(copy(&server, &[]).head()).await;
    target
        .until("the upload", |seen| {
            seen.requests.iter().any(|put| put.complete)
        })
        .await;
    drop(client);
    assert_eq!(server.get("k").await.status, 200);
    go.notify_one();
    server.logged("CopyObject").await;
    // Answered on the first connection, which is then used again.
    assert_eq!(send(&server, &copy(&server, &[])).await.status, 200);
    assert_eq!((target.opened(), target.resets()), (1, 0));
}

#[tokio::test]
async fn a_drain_waits_for_a_copy() {
    let go = Arc::new(Notify::new());
    let source = halting(&go, vec![Step::Write(vec![7; LARGE - LARGE / 2])]).await;
    let target = Origin::always(stored("e")).await;
    let mut server = patient(&source, &target).await;
    let mut client = server.client().await;
    client.send(copy(&server, &[]).head()).await;
    target
        .until("the upload", |seen| seen.requests.len() == 1)
        .await;
    rustix::process::kill_process(server.pid(), rustix::process::Signal::TERM).unwrap();
    server.logged("draining").await;
    go.notify_one();
    assert_eq!(client.response().await.status, 200);
    assert!(server.exit().await.success());
    assert!(last(&target).complete);
}

#[tokio::test]
async fn http2_clients_are_answered_late_and_missed_when_they_leave() {
    let go = Arc::new(Notify::new());
    let source = halting(&go, vec![Step::Write(vec![7; LARGE - LARGE / 2])]).await;
    let target = Origin::always(stored("e")).await;
    let server = patient(&source, &target).await;
    let mut client = ask(&server, copy(&server, &[]), true).await;
    let head = within("a late head", client.read_response_header()).await;
    head.unwrap();
    go.notify_one();
    let mut body = Vec::new();
    while let Some(chunk) = within("the outcome", client.read_response_body())
        .await
        .unwrap()
    {
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(body).unwrap();
    assert!(text.ends_with("</CopyObjectResult>"), "{text}");

    let client = ask(&server, copy(&server, &[]), true).await;
    target
        .until("the upload", |seen| seen.requests.len() == 2)
        .await;
    drop(client);
    target
        .until("the end of the upload", |seen| seen.ended == 1)
        .await;
    assert_eq!(target.resets(), 1);
    go.notify_one();
}
