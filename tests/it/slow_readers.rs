//! Clients that ask for much and read nothing: what is held for each is bounded, however much the upstream has to
//! send. Test M1 of the reliability bar: a hundred readers, or as many as `AQUEDUCT_STALLED_READERS` says.

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use crate::limits::rss_kib;
use crate::overload::allow_myself;
use crate::support::origin::{Origin, Step, answer};
use crate::support::server::{AI_TOKEN, Server, Setup};
use crate::support::within;

/// Both directions of a stream, 64 KiB each.
const KIB_A_STREAM_MAX: usize = 128;
const READERS_OF_OBJECTS: usize = 100;
/// Each has a descriptor here, as a client, and one at the origin.
const DESCRIPTORS_A_READER: usize = 2;
/// Fewer: megabytes of events are scanned for each, by a debug build, before its sockets are full.
const READERS_OF_EVENTS: usize = 20;
const KIB_AT_ALL_MAX: usize = 64 * 1024;
/// What the kernel holds for a client, in bytes, so that a thousand of them fit into a small machine.
const RECEIVE_BUFFER: u32 = 16 * 1024;

/// An object, and a stream of events, without end.
async fn start() -> (Origin, Server) {
    let origin = Origin::start(|request, _| {
        if request.target.ends_with("/endless") {
            let head =
                b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 4000000000000\r\n\r\n".to_vec();
            vec![
                Step::ReadBody,
                Step::Write(head),
                Step::Flood(vec![0; 1 << 16]),
            ]
        } else if request.method == "POST" {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            let event = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
            let events = event.repeat(800);
            let chunk = format!("{:x}\r\n{events}\r\n", events.len());
            vec![
                Step::ReadBody,
                Step::Write(head.into()),
                Step::Flood(chunk.into_bytes()),
            ]
        } else {
            answer::ok(b"body")
        }
    })
    .await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        limits: "max_connections_per_ip = 10000",
        ..Setup::default()
    })
    .await;
    assert_eq!(server.get("k").await.status, 200);
    (origin, server)
}

/// Sends one request, and reads nothing.
async fn ask(address: SocketAddr, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    let mut stream = within("a connection", socket.connect(address))
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    stream
}

async fn memory_is_bounded(
    count: usize,
    address: impl Fn(&Server) -> SocketAddr,
    head: impl Fn(&Server) -> String,
) {
    allow_myself((1024 + count * DESCRIPTORS_A_READER) as u64);
    let (origin, server) = start().await;
    let before = rss_kib(&server);
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(ask(address(&server), &head(&server)).await);
    }
    origin
        .until("every request", |seen| seen.requests.len() > count)
        .await;
    origin.until_held_back().await;
    let grown = rss_kib(&server).saturating_sub(before);
    assert!(
        grown < count * KIB_A_STREAM_MAX + KIB_AT_ALL_MAX,
        "{grown} KiB for {count} slow readers"
    );
    for stream in &held {
        // Still there, with something to read.
        assert!(stream.peek(&mut [0; 1]).await.unwrap() == 1);
    }
    assert_eq!(server.get("k").await.text(), "body");
    drop(held);
    origin
        .until("the end of every download", |seen| seen.ended >= count)
        .await;
}

#[tokio::test]
async fn slow_readers_of_objects_hold_little() {
    let asked = std::env::var("AQUEDUCT_STALLED_READERS").ok();
    let count = asked.map_or(READERS_OF_OBJECTS, |count| count.parse().unwrap());
    memory_is_bounded(
        count,
        |server| server.s3,
        |server| server.request("GET", "endless").head(),
    )
    .await;
}

#[tokio::test]
async fn slow_readers_of_events_hold_little() {
    let body = r#"{"model":"tiny","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let length = body.len();
    memory_is_bounded(
        READERS_OF_EVENTS,
        |server| server.ai,
        |_| {
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {AI_TOKEN}\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        },
    )
    .await;
}
