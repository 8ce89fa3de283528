//! More connections than there are file descriptors: M2 of the reliability bar.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::origin::{Origin, Step, answer};
use crate::support::server::{Around, Server, Setup};
use crate::support::within;

const FLOOD: usize = 1000;

/// The test itself holds as many connections.
pub(crate) fn allow_myself(descriptors: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < descriptors) {
        let current = Some(descriptors);
        let maximum = limit.maximum;
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    }
}

#[tokio::test]
async fn a_flood_of_connections_costs_nobody_else_anything() {
    allow_myself(4 * FLOOD as u64);
    let word = Arc::new(Notify::new());
    let told = Arc::clone(&word);
    let origin = Origin::start(move |request, _| {
        let mut steps = answer::ok(b"body");
        if request.target.contains("held") {
            steps.insert(0, Step::Wait(Arc::clone(&told)));
        }
        steps
    })
    .await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        around: Around::FewDescriptors,
        limits: "max_connections_per_ip = 20000",
        ..Setup::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut client = server.client().await;
        client.send(server.request("GET", "held").head()).await;
        held.push(client);
    }
    origin
        .until("the requests", |seen| seen.requests.len() == held.len())
        .await;
    // Some are refused, some wait in the backlog: none is answered.
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let connect = TcpStream::connect(server.s3);
        if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(1), connect).await {
            flood.push(stream);
        }
    }
    let metrics = server.admin("GET", "/metrics", "").await;
    assert_eq!(metrics.status, 200);
    let series = "aqueduct_connections_rejected_total{proto=\"s3\",reason=\"file_descriptors\"}";
    assert!(metrics.text().contains(series), "{}", metrics.text());
    assert_eq!(server.admin("GET", "/readyz", "").await.status, 200);
    // It has descriptors left for its own work, too.
    assert_eq!(server.admin("POST", "/-/reload", "").await.status, 200);
    word.notify_waiters();
    for client in &mut held {
        assert_eq!(client.response().await.text(), "body");
    }
    drop(flood);
    drop(held);
    within("the recovery", async {
        loop {
            let mut client = server.client().await;
            client.send(server.request("GET", "k").head()).await;
            if let Some(answer) = client.try_response().await {
                assert_eq!(answer.text(), "body");
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
