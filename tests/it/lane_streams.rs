//! Streams of every dialect: who leaves ends the work upstream, who reads slowly holds little, and many at once come whole.
//! Issue 5, section E; `AQUEDUCT_LANE_STREAMS` says how many.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::limits::rss_kib;
use crate::overload::allow_myself;
use crate::support::lanes::{self, Lane, chat, chunk, open_stream};
use crate::support::origin::{Origin, Step};
use crate::support::server::{Server, Setup};
use crate::support::within;

const STREAM: &str = r#""stream":true,"#;

/// From a client's end to that of the connection to the provider.
const CANCELLED_MAX: Duration = Duration::from_secs(1);

/// Streams at once, where the environment does not say.
const STREAMS: usize = 60;
const WORDS: usize = 20;
/// A descriptor at the client, two at the server's ends, one at the provider: those here.
const DESCRIPTORS_A_STREAM: usize = 2;

/// Each is translated by a debug build until its sockets are full.
const SLOW_READERS: usize = 30;
/// Those before which the process is not warm.
const FIRST_READERS: usize = 10;
/// Both directions of a stream, 64 KiB each, and as much again for what is being translated.
const KIB_A_STREAM_MAX: usize = 256;
/// Of streams that wait for their provider; and of a process that is not warm yet.
const KIB_AN_OPEN_STREAM_MAX: usize = 100;
const KIB_AT_ALL_MAX: usize = 16 * 1024;
/// What the kernel holds for a client, in bytes.
const RECEIVE_BUFFER: u32 = 16 * 1024;

async fn start(
    script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static,
    rules: &str,
) -> (Origin, Server) {
    let origin = Origin::start(move |_, index| script(index)).await;
    let server = Server::start(&Setup {
        ai: Some(origin.address),
        limits: "max_connections_per_ip = 10000",
        ..Setup::default()
    })
    .await;
    lanes::add(&server, origin.address, rules, &[]).await;
    (origin, server)
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_work_upstream_within_a_second() {
    let rules = r#"timeouts = { first_byte = "60s", idle = "60s" }"#;
    for lane in Lane::ALL {
        let mut begun = open_stream(lane, &["word"]);
        begun.push(Step::Stall);
        let silent = vec![Step::ReadBody, Step::Stall];
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
        let half = vec![Step::ReadBody, Step::Write(head.into()), Step::Stall];
        for (what, steps, more) in [
            ("in a stream", begun, STREAM),
            ("before a stream's head", silent.clone(), STREAM),
            ("before an answer", silent, ""),
            ("in an answer", half, ""),
        ] {
            let (origin, server) = start(move |_| steps.clone(), rules).await;
            let mut client = lanes::send(&server, &chat(lane.name(), more)).await;
            origin
                .until("the request", |seen| {
                    seen.requests
                        .first()
                        .is_some_and(|request| request.complete)
                })
                .await;
            if what == "in a stream" {
                client.read_until(&mut String::new(), "word").await;
            }
            let left = Instant::now();
            drop(client);
            origin
                .until("the end of the work", |seen| seen.ended == seen.opened)
                .await;
            let took = left.elapsed();
            assert!(took < CANCELLED_MAX, "{lane:?} {what}: {took:?}");
        }
    }
}

/// Sends a request, and reads nothing.
async fn ask_and_wait(address: SocketAddr, request: &str) -> TcpStream {
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

#[tokio::test]
async fn slow_readers_hold_little_on_every_lane() {
    for lane in [Lane::Anthropic, Lane::Google, Lane::Bedrock] {
        let words = lane.text("word").repeat(400);
        let Step::Write(endless) = chunk(&words) else {
            unreachable!("a chunk is written");
        };
        let mut steps = open_stream(lane, &[]);
        steps.push(Step::Flood(endless));
        let (origin, server) = start(move |_| steps.clone(), "").await;
        let (mut held, mut grown) = (Vec::new(), 0);
        for readers in [FIRST_READERS, FIRST_READERS + SLOW_READERS] {
            let before = rss_kib(&server);
            while held.len() < readers {
                held.push(ask_and_wait(server.ai, &chat(lane.name(), STREAM)).await);
            }
            origin
                .until("every request", |seen| seen.requests.len() == readers)
                .await;
            origin.until_held_back().await;
            grown = rss_kib(&server).saturating_sub(before);
        }
        assert!(
            grown < SLOW_READERS * KIB_A_STREAM_MAX,
            "{lane:?}: {grown} KiB for {SLOW_READERS} slow readers"
        );
        for stream in &held {
            assert_eq!(stream.peek(&mut [0; 1]).await.unwrap(), 1, "{lane:?}");
        }
        let readers = held.len();
        drop(held);
        origin
            .until("the end of every stream", |seen| seen.ended == readers)
            .await;
    }
}

/// The text of a stream, which must be whole and of one stream alone.
fn content(stream: &str) -> String {
    let mut ids = HashSet::new();
    let mut text = String::new();
    let mut finished = 0;
    for data in stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
    {
        if data == "[DONE]" {
            break;
        }
        let event: Value = serde_json::from_str(data).unwrap_or_else(|_| panic!("{data}"));
        ids.insert(event["id"].as_str().unwrap().to_owned());
        let Some(choice) = event["choices"].get(0) else {
            continue;
        };
        text += choice["delta"]["content"].as_str().unwrap_or_default();
        finished += usize::from(choice["finish_reason"].is_string());
    }
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    assert_eq!((ids.len(), finished), (1, 1), "{stream}");
    text
}

#[tokio::test]
async fn many_streams_at_once_come_whole_on_every_lane() {
    let asked = std::env::var("AQUEDUCT_LANE_STREAMS").ok();
    let count = asked.map_or(STREAMS, |count| count.parse().unwrap());
    allow_myself((1024 + count * DESCRIPTORS_A_STREAM) as u64);
    for lane in [Lane::Anthropic, Lane::Google, Lane::Bedrock] {
        // Nobody gets a second word before everybody has the first.
        let go = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&go);
        let script = move |index: usize| {
            let word = |number| lane.text(&format!("s{index}w{number};"));
            let mut steps = open_stream(lane, &[]);
            steps.push(chunk(&word(0)));
            steps.push(Step::Permit(Arc::clone(&gate)));
            steps.extend((1..WORDS).map(|number| chunk(&word(number))));
            steps.push(chunk(&lane.end()));
            steps.push(Step::Write(b"0\r\n\r\n".to_vec()));
            steps
        };
        let (origin, server) = start(script, "").await;
        let before = rss_kib(&server);
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let request = chat(lane.name(), STREAM);
            let mut client = lanes::send(&server, &request).await;
            clients.spawn(async move {
                let head = client.head().await;
                assert_eq!(head.status, 200);
                let (body, complete) = client.body(&head).await;
                assert!(complete);
                content(&String::from_utf8(body).unwrap())
            });
        }
        origin
            .until("every stream to wait", |seen| seen.waiting == count)
            .await;
        let grown = rss_kib(&server).saturating_sub(before);
        assert!(
            grown < count * KIB_AN_OPEN_STREAM_MAX + KIB_AT_ALL_MAX,
            "{lane:?}: {grown} KiB for {count} open streams"
        );
        go.add_permits(count);
        let mut texts = HashSet::new();
        while let Some(text) = within("a stream", clients.join_next()).await {
            texts.insert(text.unwrap());
        }
        let expected: HashSet<String> = (0..count)
            .map(|index| {
                let words = (0..WORDS).map(|number| format!("s{index}w{number};"));
                words.collect()
            })
            .collect();
        assert_eq!(texts, expected, "{lane:?}");
        assert_eq!(origin.opened(), count, "{lane:?}: they ran at once");
    }
}

#[tokio::test]
async fn a_provider_that_is_silent_ends_the_wait_and_is_told() {
    let rules = r#"timeouts = { first_byte = "1s", idle = "1s" }"#;
    for lane in [Lane::Anthropic, Lane::Google, Lane::Bedrock] {
        let (_origin, server) = start(|_| vec![Step::ReadBody, Step::Stall], rules).await;
        let mut client = lanes::send(&server, &chat(lane.name(), STREAM)).await;
        let answer = client.response().await;
        assert_eq!(answer.status, 504, "{lane:?}: {answer:?}");
        let text = answer.text();
        assert!(text.contains("\"error\""), "{lane:?}: {text}");
    }
}
