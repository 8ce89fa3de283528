//! How messages are framed, routed and answered.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{lab, unsigned, with};
use crate::support::origin::{Origin, Step, answer};
use crate::support::server::{BUCKET, Server, Setup};

/// Pingora before 0.8 let bytes behind an Upgrade through before the upstream had agreed to it.
#[tokio::test]
async fn cve_2026_2833_premature_upgrade() {
    let lab = lab().await;
    let hidden = lab.request("GET", "smuggled").head();
    for upgrade in ["websocket", "h2c", "x"] {
        let lines = format!(
            "Connection: Upgrade\r\nUpgrade: {upgrade}\r\nContent-Length: {}",
            hidden.len()
        );
        let answer = lab
            .raw(unsigned(&lab.request("PUT", "k"), &lines) + &hidden)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = lab.origin.requests().pop().unwrap();
        assert_eq!(
            (seen.header("upgrade"), seen.body.len()),
            (None, hidden.len())
        );
        assert!(!seen.target.contains("smuggled"));
    }
}

/// Pingora before 0.8 took chunks in HTTP/1.0, which has none, and ended the message elsewhere than others.
#[tokio::test]
async fn cve_2026_2835_chunks_in_http_1_0() {
    let lab = lab().await;
    let head = unsigned(&lab.request("PUT", "k"), "Transfer-Encoding: chunked");
    let old = head.replacen("HTTP/1.1", "HTTP/1.0", 1);
    lab.refused([old + "0\r\n\r\n" + &lab.request("GET", "smuggled").head()])
        .await;
}

/// Pingora's default cache key left out the host: one tenant's answer was another's.
#[tokio::test]
async fn cve_2026_2836_one_cache_for_all_hosts() {
    let lab = lab().await;
    for host in ["a.example", "b.example", "a.example"] {
        let mut request = lab.request("GET", "k");
        host.clone_into(&mut request.host);
        assert_eq!(lab.raw(request.head()).await.status, 200);
    }
    assert_eq!(lab.origin.requests().len(), 3, "an answer was kept");
}

/// Pingora before 0.5 read a body that nobody had read as the next request.
#[tokio::test]
async fn cve_2025_4366_undrained_body() {
    let lab = lab().await;
    let hidden = lab.request("GET", "smuggled").head();
    let mut refused = lab.request("PUT", "k");
    refused.secret.push('x');
    let refused = with(refused, "content-length", &hidden.len().to_string());
    let mut client = lab.server.client().await;
    client.send(refused.head() + &hidden).await;
    assert_eq!(client.response().await.status, 403);
    client.send(lab.request("GET", "k").head()).await;
    assert_eq!(client.response().await.status, 200);
    let seen = lab.origin.requests();
    assert!(
        seen.len() == 1 && seen[0].target.ends_with("/k"),
        "{seen:?}"
    );
}

/// `MinIO` kept a place for connections that had gone.
#[tokio::test]
async fn cve_2022_31028_connections_that_leak() {
    let lab = lab().await;
    for _ in 0..64 {
        let mut client = lab.server.client().await;
        client.send("GET / HTTP/1.1\r\nHost").await;
        client.stream.set_zero_linger().unwrap();
    }
    let none = "aqueduct_connections{proto=\"s3\",state=\"active\"} 0";
    crate::support::within("their end", async {
        while !lab
            .server
            .admin("GET", "/metrics", "")
            .await
            .text()
            .contains(none)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// `SeaweedFS` followed a redirect of its upstream, to a page of its own.
#[tokio::test]
async fn seaweedfs_4f4315391_redirects_followed() {
    let evil = Origin::always(answer::ok(b"secrets")).await;
    let target = evil.address;
    let origin = Origin::start(move |_, index| {
        let status = [301, 302, 303, 307, 308][index % 5];
        answer::raw(&format!(
            "HTTP/1.1 {status} R\r\nLocation: http://{target}/status\r\nContent-Length: 0\r\n\r\n"
        ))
    })
    .await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        ..Setup::default()
    })
    .await;
    for _ in 0..5 {
        let answer = server.get("k").await;
        assert!(!answer.text().contains("secrets"));
        let shown = format!("{answer:?}");
        assert!(!shown.contains(&target.to_string()), "{shown}");
    }
    assert_eq!(evil.opened(), 0);
}

/// `LiteLLM` took the way to its health check, which needs no key, from the Host header.
#[tokio::test]
async fn cve_2026_49468_and_48710_route_by_host() {
    let lab = lab().await;
    for host in [
        "h/health",
        "h?x=/health",
        "h#/health",
        "h/health#",
        "health",
        "localhost/v1/models?",
        "h%2Fhealth",
        "/health",
    ] {
        let answer = lab
            .ask_ai(
                &format!("Host: {host}"),
                "/v1/chat/completions",
                r#"{"model":"tiny","messages":[]}"#,
            )
            .await;
        assert!(matches!(answer.status, 400 | 401), "{host}: {answer:?}");
        let s3 = lab
            .raw(format!("GET /{BUCKET}/k HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert!(matches!(s3.status, 400 | 403), "{host}: {s3:?}");
    }
    assert_eq!(lab.origin.requests().len(), 0);
}

/// A proxy for all: what an upstream sends about itself is not the client's to know, and sets nothing for it.
#[tokio::test]
async fn header_injection_by_the_upstream() {
    let steps = Arc::new(Mutex::new(Vec::<Step>::new()));
    let script = Arc::clone(&steps);
    let origin = Origin::start(move |_, _| script.lock().clone()).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ..Setup::default()
    })
    .await;
    *steps.lock() = answer::raw(
        "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nSet-Cookie: a=b\r\nServer: MinIO\r\nX-Powered-By: x\r\nAlt-Svc: h3=\":443\"\r\n\
         Refresh: 0;url=http://evil\r\nConnection: x-hidden\r\nX-Hidden: y\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = server.get("k").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    for name in [
        "set-cookie",
        "server",
        "x-powered-by",
        "alt-svc",
        "refresh",
        "x-hidden",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}
