//! SIGTERM: what runs ends, nothing new begins, and the process leaves no later than it must.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::http2::{answer_of, ask};
use crate::support::origin::{Origin, Step, answer};
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::within;

/// An idle process is gone by then, and a busy one so long after its last request.
const SOON: Duration = Duration::from_secs(1);

fn write(text: &str) -> Step {
    Step::Write(text.as_bytes().to_vec())
}

/// What is sent of a body before its pause: more than any buffer on the way keeps back.
const FIRST: usize = 64 * 1024;

fn whole() -> Vec<u8> {
    vec![b'f'; FIRST + 4]
}

/// Answers that wait for a word: `head` before their head, anything else in the middle of their body.
async fn origin(word: &Arc<Notify>) -> Origin {
    let word = Arc::clone(word);
    Origin::start(move |request, _| {
        let word = Arc::clone(&word);
        let key = request.target.rsplit('/').next().unwrap_or_default();
        let length = whole().len();
        let head = write(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        match key.split('?').next().unwrap_or_default() {
            "quick" => answer::ok(b"quick"),
            "head" => [vec![Step::Wait(word)], answer::ok(&whole())].concat(),
            _ => vec![
                head,
                Step::Write(vec![b'f'; FIRST]),
                Step::Wait(word),
                write("ffff"),
            ],
        }
    })
    .await
}

async fn server(origin: &Origin, limits: &'static str) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        limits,
        ..Setup::default()
    })
    .await
}

fn term(server: &Server) {
    rustix::process::kill_process(server.pid(), Signal::TERM).unwrap();
}

/// A connection that was used and is kept.
async fn kept(server: &Server) -> Raw {
    let mut client = server.client().await;
    client.send(server.request("GET", "quick").head()).await;
    assert_eq!(client.response().await.text(), "quick");
    client
}

/// Waits until the listener of S3 is closed, which is the last that a drain does at its start.
async fn closed(server: &Server) {
    within("the listener to close", async {
        while TcpStream::connect(server.s3).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    let origin = origin(&Arc::default()).await;
    let mut server = server(&origin, "").await;
    let mut idle = kept(&server).await;
    let mut fresh = server.client().await;
    let mut admin = Raw::connect(server.admin).await;
    admin
        .send(format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n",
            server.admin
        ))
        .await;
    assert_eq!(admin.response().await.status, 200);
    let asked = Instant::now();
    term(&server);
    let status = server.exit().await;
    assert!(asked.elapsed() <= SOON, "{:?}", asked.elapsed());
    assert!(status.success(), "{status:?}");
    for client in [&mut idle, &mut fresh, &mut admin] {
        assert!(within("its end", client.ends()).await);
    }
    // Written by a thread of its own, and all of it before the end.
    assert!(server.log().contains("\"quick\"") || server.log().contains("/quick"));
}

#[tokio::test]
async fn a_stream_is_waited_for_and_nothing_else_begins() {
    for key in ["body", "head"] {
        let word = Arc::new(Notify::new());
        let origin = origin(&word).await;
        let mut server = server(&origin, "").await;
        let mut idle = kept(&server).await;
        let mut client = server.client().await;
        client.send(server.request("GET", key).head()).await;
        origin
            .until("the request", |seen| seen.requests.len() == 2)
            .await;
        let head = match key {
            "body" => Some(client.head().await),
            _ => None,
        };
        term(&server);
        assert!(within("the idle connection's end", idle.ends()).await);
        closed(&server).await;
        let ready = server.admin("GET", "/readyz", "").await;
        assert_eq!(ready.status, 503, "{key}: {}", ready.text());
        // Already there when its turn comes: it is answered, and told to be the last.
        let pipelined = server.request("GET", "quick").head();
        if key == "body" {
            client.send(&pipelined).await;
        }
        word.notify_one();
        let head = match head {
            Some(head) => head,
            None => client.head().await,
        };
        assert_eq!(head.status, 200);
        let (body, complete) = client.body(&head).await;
        assert!(complete && body == whole(), "{key}: {}", body.len());
        let released = Instant::now();
        let closes = |header: Option<&str>| header == Some("close");
        if key == "body" {
            let last = client.response().await;
            assert!(closes(last.header("connection")), "{last:?}");
            assert_eq!(last.text(), "quick");
        } else {
            assert!(closes(head.header("connection")), "{head:?}");
        }
        assert!(within("the connection's end", client.ends()).await);
        assert!(server.exit().await.success());
        assert!(released.elapsed() <= SOON, "{:?}", released.elapsed());
        assert!(
            server.log().contains(&format!("/{key}")),
            "{}",
            server.log()
        );
    }
}

#[tokio::test]
async fn a_stuck_stream_is_cut_at_the_deadline() {
    let origin = origin(&Arc::default()).await;
    let mut server = server(&origin, "drain = \"1s\"").await;
    let mut client = server.client().await;
    client.send(server.request("GET", "body").head()).await;
    let head = client.head().await;
    let asked = Instant::now();
    term(&server);
    let (body, complete) = client.body(&head).await;
    assert!(!complete && body.len() == FIRST, "{}", body.len());
    assert!(server.exit().await.success());
    let took = asked.elapsed();
    let deadline = Duration::from_secs(1);
    assert!(took >= deadline && took < deadline + 2 * SOON, "{took:?}");
    assert!(server.log().contains("were cut"), "{}", server.log());
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let origin = origin(&Arc::default()).await;
    let mut server = server(&origin, "").await;
    let mut client = server.client().await;
    client.send(server.request("GET", "body").head()).await;
    client.head().await;
    term(&server);
    closed(&server).await;
    let asked = Instant::now();
    term(&server);
    server.exit().await;
    assert!(asked.elapsed() <= 2 * SOON, "{:?}", asked.elapsed());
}

/// What a stream has written is not on the wire before its connection has written it.
#[tokio::test]
async fn an_http2_stream_arrives_whole() {
    let word = Arc::new(Notify::new());
    let origin = origin(&word).await;
    let mut server = server(&origin, "").await;
    let mut session = ask(&server, server.request("GET", "body"), true).await;
    origin
        .until("the request", |seen| seen.requests.len() == 1)
        .await;
    term(&server);
    closed(&server).await;
    word.notify_one();
    let answer = within("the answer", answer_of(&mut session)).await;
    assert_eq!(answer, Some((200, whole())));
    let released = Instant::now();
    assert!(server.exit().await.success());
    assert!(released.elapsed() <= SOON, "{:?}", released.elapsed());
}

/// The outcome of an operation that the resource works on is worth waiting for.
#[tokio::test]
async fn a_late_answer_is_waited_for() {
    let word = Arc::new(Notify::new());
    let told = Arc::clone(&word);
    let origin = Origin::start(move |_, _| {
        let document =
            "<CompleteMultipartUploadResult><ETag>\"e-1\"</ETag></CompleteMultipartUploadResult>";
        vec![
            Step::ReadBody,
            Step::Wait(Arc::clone(&told)),
            write(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{document}",
                document.len()
            )),
        ]
    })
    .await;
    let mut server = server(&origin, "").await;
    let body = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"e\"</ETag></Part></CompleteMultipartUpload>";
    let mut request = server.request("POST", "k");
    request.query = vec![("uploadId".to_owned(), "u".to_owned())];
    let length = ("content-length".to_owned(), body.len().to_string());
    request.headers.push(length);
    let mut client = server.client().await;
    client.send(request.head() + body).await;
    origin
        .until("the request", |seen| seen.requests.len() == 1)
        .await;
    term(&server);
    closed(&server).await;
    word.notify_one();
    let answer = client.response().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(server.exit().await.success());
}
