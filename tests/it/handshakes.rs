//! TLS handshakes that do not come to an end: counted, within the deadline of heads and the limits on connections.

use std::time::{Duration, Instant};

use crate::http2::{answer_of, ask};
use crate::support::origin::{Origin, answer};
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::within;

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

async fn rejected(server: &Server, reason: &str) -> u64 {
    let series =
        format!("aqueduct_connections_rejected_total{{proto=\"s3\",reason=\"{reason}\"}} ");
    let metrics = server.admin("GET", "/metrics", "").await.text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0, |value| value.parse().unwrap())
}

async fn until_rejected(server: &Server, reason: &str, count: u64) {
    within("the count", async {
        while rejected(server, reason).await < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(rejected(server, reason).await, count);
}

async fn assert_served(server: &Server) {
    let mut session = ask(server, server.request("GET", "k"), true).await;
    let (status, body) = answer_of(&mut session).await.unwrap();
    assert_eq!((status, &*body), (200, &b"body"[..]));
}

/// The head of a record, and a hello that offers no version of ours.
const OLD_HELLO: &[u8] = b"\x16\x03\x00\x00\x2d\x01\x00\x00\x29\x03\x00\
    0123456789abcdef0123456789abcdef\x00\x00\x02\x00\x05\x01\x00";

#[tokio::test]
async fn handshakes_that_fail_are_counted_and_hurt_nobody() {
    let (_origin, server) = start("").await;
    assert_served(&server).await;
    assert_eq!(rejected(&server, "tls_handshake").await, 0);
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\xff\xff",
        OLD_HELLO,
        b"",
    ];
    for bytes in garbage {
        let mut client = Raw::connect(server.tls).await;
        client.send(bytes).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
            .await
            .unwrap();
        assert!(client.ends().await);
    }
    until_rejected(&server, "tls_handshake", 4).await;
    assert_served(&server).await;
    // Somebody else's mistake is no line in the log.
    assert!(!server.log().contains("andshake"), "{}", server.log());
}

#[tokio::test]
async fn a_handshake_has_the_deadline_of_a_head() {
    let (_origin, server) = start("header_deadline = \"1s\"").await;
    let began = Instant::now();
    let mut silent = Raw::connect(server.tls).await;
    let mut begun = Raw::connect(server.tls).await;
    begun.send(&OLD_HELLO[..20]).await;
    assert!(silent.ends().await && begun.ends().await);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    until_rejected(&server, "tls_handshake", 2).await;
}

#[tokio::test]
async fn connections_that_do_not_shake_hands_count_as_connections() {
    let (_origin, server) = start("max_connections_per_ip = 8").await;
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(Raw::connect(server.tls).await);
    }
    until_rejected(&server, "max_connections_per_ip", 22).await;
    drop(held);
    until_rejected(&server, "tls_handshake", 8).await;
    // Their places are free again, and a whole connection takes one, not two.
    let mut sessions = Vec::new();
    for _ in 0..8 {
        let mut session = ask(&server, server.request("GET", "k"), true).await;
        assert!(answer_of(&mut session).await.is_some());
        sessions.push(session);
    }
    assert_eq!(rejected(&server, "max_connections_per_ip").await, 22);
}
