//! Signed uploads that bring a byte a second: those of S1 of the security bar that an attacker with a key can make.
//! They are ended by the configured rate, give back what they held, and cost nobody else anything.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::http2;
use crate::overload::allow_myself;
use crate::support::origin::{Origin, answer};
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::sign::{Request, sha256};
use crate::support::within;

/// Of each kind.
const SLOW: usize = 100;
const LENGTH: usize = 1 << 20;
/// Time that an upload has before its rate counts.
const GRACE: Duration = Duration::from_secs(10);
/// A byte a second is checked when it comes; the rest is for a busy machine.
const ENDED_BY: Duration = Duration::from_secs(20);
/// The slowest clean answer that passes, of a debug build on two processors.
const CLEAN_MAX: Duration = Duration::from_secs(3);

/// Heads of uploads that are verified in each way, and what begins their bodies.
fn kinds(server: &Server) -> [(&'static str, Request, &'static str); 3] {
    let mut hashed = server.put("slow/hashed", LENGTH);
    hashed.payload = sha256(b"never to be had");
    let mut chunked = server.request("PUT", "slow/chunked");
    chunked.payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned();
    let length = LENGTH.to_string();
    for (name, value) in [
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", &length),
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ("transfer-encoding", "chunked"),
    ] {
        chunked.headers.push((name.to_owned(), value.to_owned()));
    }
    [
        ("unsigned", server.put("slow/unsigned", LENGTH), ""),
        ("hashed", hashed, ""),
        // A frame of HTTP and a chunk of S3, both far from whole.
        ("chunked", chunked, "100010\r\n100000\r\n"),
    ]
}

/// Brings a byte a second until it is answered or cut off; how, and after how long.
async fn trickle(mut client: Raw, head: String) -> (Option<u16>, Duration) {
    let began = Instant::now();
    client.send(head).await;
    loop {
        let gone = client.try_send("x").await.is_err();
        // A second is what is tested: slower than any rate, faster than any limit on a single read.
        let wait = if gone {
            ENDED_BY
        } else {
            Duration::from_secs(1)
        };
        match tokio::time::timeout(wait, client.try_head()).await {
            Ok(head) => return (head.map(|head| head.status), began.elapsed()),
            Err(_) if gone || began.elapsed() > ENDED_BY => return (None, began.elapsed()),
            Err(_) => {}
        }
    }
}

fn descriptors(server: &Server) -> usize {
    let pid = server.pid().as_raw_nonzero();
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

/// Downloads and uploads without a pause; the slowest answer.
async fn clean(server: &Server) -> Duration {
    let mut client = server.client().await;
    let mut slowest = Duration::ZERO;
    for upload in [false, true].into_iter().cycle().take(10) {
        let began = Instant::now();
        if upload {
            client.send(server.put("clean", LENGTH / 4).head()).await;
            client.send(vec![b'x'; LENGTH / 4]).await;
        } else {
            client.send(server.request("GET", "clean").head()).await;
        }
        let answer = client.response().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

async fn inflight(server: &Server) -> u64 {
    server
        .metric("aqueduct_inflight_requests{proto=\"s3\"} ")
        .await
}

#[tokio::test]
async fn slow_signed_uploads_are_ended_and_cost_nobody_else_anything() {
    allow_myself(4096);
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        // Room for the slow ones and ten more, so that places which are not given back are missed.
        limits: "max_connections_per_ip = 10000\nmin_body_rate = \"1KiB/s\"\nconcurrent = 310",
        ..Setup::default()
    })
    .await;
    clean(&server).await;
    let before = descriptors(&server);
    let mut slow = JoinSet::new();
    for (kind, request, begins) in kinds(&server) {
        for _ in 0..SLOW {
            let (client, head) = (server.client().await, request.head() + begins);
            slow.spawn(async move { (kind, trickle(client, head).await) });
        }
    }
    let mut ended = 0;
    let mut slowest = Duration::ZERO;
    let mut most = 0;
    while !slow.is_empty() {
        most = most.max(inflight(&server).await);
        slowest = slowest.max(clean(&server).await);
        while let Some(done) = slow.try_join_next() {
            let (kind, (status, after)) = done.unwrap();
            assert!(
                matches!(status, Some(400)),
                "{kind}: {status:?} after {after:?}"
            );
            assert!(after >= GRACE && after < ENDED_BY, "{kind}: {after:?}");
            ended += 1;
        }
    }
    assert_eq!(ended, 3 * SLOW);
    assert!(most >= 3 * SLOW as u64, "{most} were in flight at most");
    assert!(slowest < CLEAN_MAX, "a clean request took {slowest:?}");
    within("places and descriptors", async {
        while inflight(&server).await > 0 || descriptors(&server) > before + 8 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let stored = origin.requests();
    let is_slow = |target: &str| target.contains("/slow/");
    assert!(
        stored
            .iter()
            .all(|one| !(one.complete && is_slow(&one.target)))
    );
    // Who comes later has all the room there was.
    assert_eq!(server.get("k").await.status, 200);
    let log = server.logged("RequestTimeout").await;
    assert!(log.contains("/slow/"), "{log}");
}

#[tokio::test]
async fn slow_signed_uploads_over_http2_are_ended_too() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        limits: "min_body_rate = \"1KiB/s\"",
        ..Setup::default()
    })
    .await;
    let began = Instant::now();
    let mut session = http2::ask(&server, server.put("slow", LENGTH), false).await;
    while session
        .write_request_body(Bytes::from_static(b"x"), false)
        .await
        .is_ok()
        && began.elapsed() < ENDED_BY
    {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(
        began.elapsed() >= GRACE && began.elapsed() < ENDED_BY,
        "{:?}",
        began.elapsed()
    );
    let (status, body) = within("an answer", http2::answer_of(&mut session))
        .await
        .unwrap();
    assert_eq!(status, 400, "{}", String::from_utf8_lossy(&body));
    assert!(String::from_utf8_lossy(&body).contains("RequestTimeout"));
    assert_eq!(server.get("k").await.status, 200);
}

#[tokio::test]
async fn a_fast_beginning_is_no_credit() {
    const CREDIT: usize = 64 << 10;
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        limits: "min_body_rate = \"1KiB/s\"",
        ..Setup::default()
    })
    .await;
    let head = server.put("slow", LENGTH).head();
    let begins = head + &"x".repeat(CREDIT);
    let (status, after) = trickle(server.client().await, begins).await;
    assert_eq!(status, Some(400), "after {after:?}");
}
