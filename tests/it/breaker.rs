//! A resource that fails is left alone for a while, and not hit harder for failing: U5 of the reliability bar, and
//! what of U4 is about asking again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::origin::{Origin, Step, answer};
use crate::support::raw::{Raw, Response};
use crate::support::server::{AI_TOKEN, Server, Setup};
use crate::support::within;

/// Short times, so that a probe comes within a test.
const RULES: &str = r#"open = "1s", open_max = "2s""#;

async fn server(storage: SocketAddr, breaker: &'static str) -> Server {
    Server::start(&Setup {
        storage: Some(storage),
        breaker,
        timeouts: r#"connect = "1s", first_byte = "1s""#,
        ..Setup::default()
    })
    .await
}

async fn metric(server: &Server, series: &str) -> u64 {
    let metrics = server.admin("GET", "/metrics", "").await.text();
    let found = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.map_or(0, |value| value.parse().unwrap())
}

async fn state(server: &Server) -> u64 {
    metric(server, r#"aqueduct_breaker_state{resource="origin"}"#).await
}

fn retry_after(answer: &Response) -> Option<u64> {
    answer.header("retry-after")?.parse().ok()
}

/// Asks until the breaker lets one through.
async fn until_ok(server: &Server) {
    within("the breaker to close", async {
        while server.get("k").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_storm_of_failures_reaches_the_resource_no_more() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let origin = Origin::start(move |_, _| {
        if is_broken.load(Ordering::Relaxed) {
            answer::error(500, "InternalError")
        } else {
            answer::ok(b"body")
        }
    })
    .await;
    let server = server(origin.address, RULES).await;
    assert_eq!(state(&server).await, 0);
    for _ in 0..40 {
        let failed = server.get("k").await;
        assert!(matches!(failed.status, 500 | 503), "{failed:?}");
    }
    // Five in a row, and as many probes as there were seconds.
    let asked = origin.requests().len();
    assert!((5..=8).contains(&asked), "{asked}");
    let refused = server.get("k").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "SlowDown"));
    assert!(
        retry_after(&refused).is_some_and(|after| after >= 1),
        "{refused:?}"
    );
    assert_eq!(state(&server).await, 1);
    server.logged("\"flags\":\"BO\"").await;

    // A reload keeps what is known of the resource.
    let asked = origin.requests().len();
    let config = std::fs::read_to_string(server.config("conf.d/main.toml")).unwrap();
    let config = config.replace("open_max = \"2s\"", "open_max = \"3s\"");
    std::fs::write(server.config("conf.d/main.toml"), config).unwrap();
    assert_eq!(server.admin("POST", "/-/reload", "").await.status, 200);
    assert!(state(&server).await > 0);

    // The first that gets through finds it well again, and then everybody passes.
    broken.store(false, Ordering::Relaxed);
    until_ok(&server).await;
    for _ in 0..5 {
        assert_eq!(server.get("k").await.status, 200);
    }
    assert_eq!(state(&server).await, 0);
    assert!(origin.requests().len() - asked <= 8);
    let turns = r#"aqueduct_breaker_transitions_total{resource="origin",to="open"}"#;
    assert!(metric(&server, turns).await >= 1);
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn a_resource_that_is_not_there_is_known_within_seconds() {
    let address = nobody().await;
    let server = server(address, RULES).await;
    let started = Instant::now();
    while state(&server).await != 1 {
        assert!(matches!(server.get("k").await.status, 500..=504));
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "not open after {took:?}");
    }
    let asked = Instant::now();
    let refused = server.get("k").await;
    assert_eq!(refused.code(), "SlowDown");
    assert!(asked.elapsed() < Duration::from_millis(500), "it was tried");
}

/// What is asked to slow down, and what is the client's own fault, is no sickness.
#[tokio::test]
async fn refusals_do_not_open_it() {
    for (status, code) in [
        (404, "NoSuchKey"),
        (403, "AccessDenied"),
        (429, "TooManyRequests"),
        (503, "SlowDown"),
        (501, "NotImplemented"),
    ] {
        let origin = Origin::always(answer::error(status, code)).await;
        let server = server(origin.address, RULES).await;
        for _ in 0..12 {
            server.get("k").await;
        }
        assert_eq!(origin.requests().len(), 12, "{status}");
    }
    // The same status for another reason is.
    let origin = Origin::always(answer::error(503, "ServiceUnavailable")).await;
    let server = server(origin.address, RULES).await;
    for _ in 0..12 {
        server.get("k").await;
    }
    assert!(origin.requests().len() <= 6, "{}", origin.requests().len());
}

#[tokio::test]
async fn a_client_that_is_in_a_hurry_opens_nothing_for_the_others() {
    let origin = Origin::always(vec![Step::ReadBody, Step::Stall]).await;
    let server = Server::start(&Setup {
        ai: Some(origin.address),
        timeouts: r#"first_byte = "20s""#,
        ..Setup::default()
    })
    .await;
    let body = r#"{"model":"tiny","messages":[]}"#;
    for _ in 0..8 {
        let mut client = Raw::connect(server.ai).await;
        client
            .send(chat(body, "x-stainless-timeout: 0.05\r\n"))
            .await;
        client.try_response().await;
    }
    assert_eq!(origin.requests().len(), 8);
}

fn chat(body: &str, extra: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {AI_TOKEN}\r\n{extra}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Many at once onto a resource that takes connections and closes them: what arrives there is bounded by the
/// requests and a fifth of them, whatever they attempt again.
#[tokio::test]
async fn attempts_are_no_multiple_of_requests() {
    let origin = Origin::always(vec![Step::Reset]).await;
    let bounded = async |storage| {
        Server::start(&Setup {
            storage: Some(storage),
            breaker: "enabled = false",
            resource: "retries = { attempts = 5, budget_percent = 20, per_second_min = 1 }",
            ..Setup::default()
        })
        .await
    };
    let server = Arc::new(bounded(origin.address).await);
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let server = Arc::clone(&server);
        clients.spawn(async move {
            for _ in 0..10 {
                server.get("k").await;
            }
        });
    }
    while clients.join_next().await.is_some() {}
    let asked = origin.requests().len();
    assert!((200..=240).contains(&asked), "{asked}");

    let gone = nobody().await;
    let server = bounded(gone).await;
    for _ in 0..30 {
        server.get("k").await;
    }
    let retries = r#"aqueduct_upstream_retries_total{outcome="failed",resource="origin"}"#;
    // One a second of the window is the least that is allowed; each of these counts once.
    assert!(metric(&server, retries).await <= 10);
}

#[tokio::test]
async fn a_stale_pooled_connection_costs_a_deletion_nothing() {
    for (condition, expected) in [(None, 204), (Some("if-match"), 503)] {
        let origin = Origin::start(|_, index| match index {
            0 => answer::ok(b""),
            1 => vec![Step::Close],
            _ => answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        })
        .await;
        let server = server(origin.address, "").await;
        assert_eq!(server.get("k").await.status, 200);
        let mut request = server.request("DELETE", "k");
        if let Some(name) = condition {
            request.headers.push((name.to_owned(), "\"e\"".to_owned()));
        }
        let mut client = server.client().await;
        client.send(request.head()).await;
        assert_eq!(client.response().await.status, expected, "{condition:?}");
    }
}

/// Starts a server whose one model is served by two resources, in this order.
async fn two_models(first: SocketAddr, second: SocketAddr) -> Server {
    let server = Server::start(&Setup {
        ai: Some(first),
        ..Setup::default()
    })
    .await;
    let path = server.config("conf.d/main.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let second = format!(
        "[[ai]]\nname = \"second\"\ntype = \"openai\"\nbase_url = \"http://{second}/v1\"\nmodels = [\"tiny\"]\n\
         allow_http = true\nallow_private = true\n"
    );
    let config = config.replace("ai = [\"model\"]", "ai = [\"model\", \"second\"]");
    std::fs::write(path, second + &config).unwrap();
    assert_eq!(server.admin("POST", "/-/reload", "").await.status, 200);
    server
}

fn json(status: u16, body: &str) -> Vec<Step> {
    answer::raw(&format!(
        "HTTP/1.1 {status} S\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

async fn ask(server: &Server) -> Response {
    let mut client = Raw::connect(server.ai).await;
    client
        .send(chat(r#"{"model":"tiny","messages":[]}"#, ""))
        .await;
    client.response().await
}

#[tokio::test]
async fn the_next_resource_serves_while_the_first_is_open() {
    let first = Origin::always(json(500, "{}")).await;
    let second = Origin::always(json(200, r#"{"id":"c","choices":[]}"#)).await;
    let server = two_models(first.address, second.address).await;
    for _ in 0..12 {
        assert_eq!(ask(&server).await.status, 200);
    }
    assert_eq!(first.requests().len(), 5);
    assert_eq!(second.requests().len(), 12);
    let state = r#"aqueduct_breaker_state{resource="model"}"#;
    assert_eq!(metric(&server, state).await, 1);
}

#[tokio::test]
async fn all_resources_open_is_overloaded() {
    let (first, second) = (nobody().await, nobody().await);
    let server = two_models(first, second).await;
    for _ in 0..6 {
        ask(&server).await;
    }
    let refused = ask(&server).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("overloaded"), "{}", refused.text());
    assert!(retry_after(&refused).is_some(), "{refused:?}");
}

/// Of several failures the client is told the one that it can do something about.
#[tokio::test]
async fn the_most_helpful_refusal_is_the_answer() {
    let limited =
        r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
    for (first, second, expected) in [
        (Some(429), None, 429),
        (Some(429), Some(500), 429),
        (Some(500), Some(429), 429),
        (Some(401), Some(503), 503),
        (None, Some(404), 404),
        (Some(500), None, 500),
    ] {
        let mut origins = Vec::new();
        let mut addresses = Vec::new();
        for status in [first, second] {
            addresses.push(match status {
                Some(status) => {
                    let origin = Origin::always(json(status, limited)).await;
                    let address = origin.address;
                    origins.push(origin);
                    address
                }
                None => nobody().await,
            });
        }
        let server = two_models(addresses[0], addresses[1]).await;
        let answer = ask(&server).await;
        assert_eq!(answer.status, expected, "{first:?} {second:?}");
        assert!(answer.complete);
    }
}
