//! One process takes over from another on the same listening socket, as a supervisor has it that keeps the socket:
//! what of R7 and R9 of the reliability bar does not need the upgrade that Aqueduct would start by itself.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::origin::{Origin, Step, answer};
use crate::support::raw::Raw;
use crate::support::server::{Fate, Server, Setup};
use crate::support::sign::Request;
use crate::support::within;

/// Downloads that run across the change, and as many uploads.
const LONG: usize = 25;
/// Clients that connect anew for each request, all the while.
const CALLERS: usize = 8;
const HALF: usize = 1 << 17;

/// Stops in the middle of what is called `long` until it is told to go on.
async fn origin(word: &Arc<Notify>) -> Origin {
    let word = Arc::clone(word);
    Origin::start(move |request, _| {
        if request.method != "GET" || !request.target.ends_with("/long") {
            return answer::ok(b"body");
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {}\r\n\r\n",
            2 * HALF
        );
        vec![
            Step::Write([head.into_bytes(), vec![b'x'; HALF]].concat()),
            Step::Wait(Arc::clone(&word)),
            Step::Write(vec![b'y'; HALF]),
        ]
    })
    .await
}

async fn start(origin: &Origin, socket: &Arc<TcpListener>) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        limits: "drain = \"15s\"",
        passed: Some(Arc::clone(socket)),
        ..Setup::default()
    })
    .await
}

fn listen() -> Arc<TcpListener> {
    Arc::new(TcpListener::bind("127.0.0.1:0").unwrap())
}

/// Calls again and again, each time over a new connection; how often that went well, and what went wrong.
struct Callers {
    tasks: JoinSet<Vec<String>>,
    served: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Callers {
    fn start(server: &Server) -> Self {
        let (served, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..CALLERS {
            let (address, request) = (server.s3, server.request("GET", "k"));
            let (served, stop) = (Arc::clone(&served), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match call(address, &request).await {
                        Ok(()) => drop(served.fetch_add(1, Ordering::Relaxed)),
                        Err(failure) => failures.push(failure),
                    }
                }
                failures
            });
        }
        Self {
            tasks,
            served,
            stop,
        }
    }

    /// Waits until so many more calls were served.
    async fn serve(&self, more: usize) {
        let until = self.served.load(Ordering::Relaxed) + more;
        within("calls to be served", async {
            while self.served.load(Ordering::Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn assert_none_failed(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.tasks.join_all().await.concat();
        assert!(failures.is_empty(), "{failures:?}");
    }
}

async fn call(address: std::net::SocketAddr, request: &Request) -> Result<(), String> {
    // Panics where it is refused.
    let mut client = Raw::connect(address).await;
    client.send(request.head()).await;
    match client.try_response().await {
        Some(answer) if answer.status == 200 && answer.text() == "body" => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test]
async fn a_process_takes_over_and_nobody_notices() {
    let word = Arc::new(Notify::new());
    let origin = origin(&word).await;
    let socket = listen();
    let mut old = start(&origin, &socket).await;
    let mut downloads = Vec::new();
    let mut uploads = Vec::new();
    for _ in 0..LONG {
        let mut client = old.client().await;
        client.send(old.request("GET", "long").head()).await;
        let head = client.head().await;
        downloads.push((client, head));
        let mut client = old.client().await;
        client.send(old.put("long", 2 * HALF).head()).await;
        client.send(vec![b'x'; HALF]).await;
        uploads.push(client);
    }
    let running = 2 * LONG;
    origin
        .until("what is long", |seen| seen.requests.len() >= running)
        .await;
    let callers = Callers::start(&old);
    callers.serve(50).await;

    let new = start(&origin, &socket).await;
    kill_process(old.pid(), Signal::TERM).unwrap();
    let told = Instant::now();
    within("the old one to drain", async {
        while old.admin("GET", "/readyz", "").await.status != 503 {}
    })
    .await;
    // All of them come to the new one now.
    callers.serve(200).await;
    assert!(
        told.elapsed() < Duration::from_secs(10),
        "{:?}",
        told.elapsed()
    );
    let by_new = new.metric(
        "aqueduct_requests_total{code=\"200\",op=\"GetObject\",proto=\"s3\",repo=\"main\"} ",
    );
    assert!(by_new.await >= 100);

    // Those that began before the change end as if there had been none.
    word.notify_waiters();
    for (mut client, head) in downloads {
        let (body, complete) = client.body(&head).await;
        assert!(complete && body.len() == 2 * HALF, "{} bytes", body.len());
    }
    for mut client in uploads {
        client.send(vec![b'x'; HALF]).await;
        assert_eq!(client.response().await.status, 200);
    }
    assert!(old.exit().await.success());
    callers.serve(50).await;
    callers.assert_none_failed().await;
    let kept = origin.requests();
    let puts = kept.iter().filter(|request| request.method == "PUT");
    assert_eq!(puts.filter(|request| request.complete).count(), LONG);
}

#[tokio::test]
async fn a_successor_that_fails_or_hangs_changes_nothing() {
    let origin = origin(&Arc::default()).await;
    let socket = listen();
    let old = start(&origin, &socket).await;
    let callers = Callers::start(&old);
    callers.serve(20).await;
    let mut failed = old.spawn_beside(&socket, Fate::Ends);
    let status = tokio::task::spawn_blocking(move || failed.wait().unwrap()).await;
    assert_eq!(status.unwrap().code(), Some(78));
    callers.serve(50).await;
    let mut hangs = old.spawn_beside(&socket, Fate::Hangs);
    callers.serve(100).await;
    assert!(hangs.try_wait().unwrap().is_none());
    hangs.kill().unwrap();
    hangs.wait().unwrap();
    callers.serve(50).await;
    assert_eq!(old.admin("GET", "/readyz", "").await.status, 200);
    callers.assert_none_failed().await;
}
