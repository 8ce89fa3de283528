//! A panic costs one request, or one load, and nothing else; what it says stays within the process.

use crate::http2::{answer_of, ask};
use crate::support::origin::{Origin, answer};
use crate::support::raw::Raw;
use crate::support::server::{AI_TOKEN, Server, Setup};
use crate::support::within;

async fn server(origin: &Origin) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        panic_at: "request=/media/boom,answer=/media/late,request=/v1/chat,answer=/v1/models,\
                   admin=/-/status,reload=Watch",
        ..Setup::default()
    })
    .await
}

async fn panics(server: &Server) -> u64 {
    let metrics = server.admin("GET", "/metrics", "").await.text();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("aqueduct_panics_total "));
    line.expect("the counter").parse().unwrap()
}

/// The log tells where, and not what was said: a message may quote a request.
fn assert_quiet(server: &Server) {
    let log = server.log();
    assert!(log.contains("src/sabotage.rs"), "{log}");
    assert!(!log.contains("on demand"), "{log}");
}

#[tokio::test]
async fn a_panic_before_the_answer_is_a_500_in_the_clients_protocol() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = server(&origin).await;
    let mut client = server.client().await;
    client.send(server.request("GET", "boom").head()).await;
    let failed = client.response().await;
    assert_eq!(
        (failed.status, failed.code().as_str()),
        (500, "InternalError")
    );
    assert!(failed.complete && failed.header("connection") == Some("close"));
    assert!(within("its end", client.ends()).await);

    let mut client = Raw::connect(server.ai).await;
    let body = "{\"model\":\"tiny\",\"messages\":[]}";
    client
        .send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {AI_TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let failed = client.response().await;
    assert_eq!(failed.status, 500);
    assert!(failed.text().contains("server_error"), "{}", failed.text());

    assert_eq!(panics(&server).await, 2);
    assert_quiet(&server);
    let log = server.logged("/media/boom").await;
    let line = log.lines().find(|line| line.contains("/media/boom"));
    assert!(
        line.is_some_and(|line| line.contains("\"status\":500")),
        "{log}"
    );
    // Nothing is left behind by it: the next request finds the same process.
    assert_eq!(server.get("k").await.text(), "body");
}

#[tokio::test]
async fn a_panic_after_the_head_breaks_the_answer_off() {
    let origin = Origin::always(answer::ok(&vec![b'x'; 100_000])).await;
    let server = server(&origin).await;
    let mut client = server.client().await;
    client.send(server.request("GET", "late").head()).await;
    if let Some(broken) = client.try_response().await {
        assert!(!broken.complete, "{broken:?}");
    }
    let mut session = ask(&server, server.request("GET", "late"), true).await;
    assert_eq!(within("a reset", answer_of(&mut session)).await, None);
    assert_eq!(panics(&server).await, 2);
    assert_eq!(server.get("k").await.status, 200);
    assert_quiet(&server);
}

#[tokio::test]
async fn a_panic_in_the_admin_api_is_a_500_in_json() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = server(&origin).await;
    let failed = server.admin("GET", "/-/status", "").await;
    assert_eq!(failed.status, 500, "{}", failed.text());
    let json: serde_json::Value = serde_json::from_slice(&failed.body).unwrap();
    assert_eq!(json["success"], false, "{json}");
    assert_eq!(server.admin("GET", "/readyz", "").await.status, 200);
    assert_eq!(panics(&server).await, 1);
    assert_quiet(&server);
}

#[tokio::test]
async fn a_panic_in_a_reload_keeps_the_config_and_the_thread() {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = server(&origin).await;
    let config = std::fs::read_to_string(server.config("conf.d/keys.toml")).unwrap();
    std::fs::write(
        server.config("conf.d/keys.toml"),
        format!("# looked at\n{config}"),
    )
    .unwrap();
    within("the panic", async {
        while panics(&server).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(server.get("k").await.text(), "body");
    // The panic is counted where it happens, the load that it ended a little later.
    let failed = "aqueduct_config_last_reload_successful 0";
    within("the end of the load", async {
        while !(server.admin("GET", "/metrics", "").await.text()).contains(failed) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    // The same thread loads what the next trigger asks for.
    std::fs::write(
        server.config("conf.d/keys.toml"),
        format!("{config}# changed"),
    )
    .unwrap();
    rustix::process::kill_process(server.pid(), rustix::process::Signal::HUP).unwrap();
    within("the reload", async {
        loop {
            let metrics = server.admin("GET", "/metrics", "").await.text();
            if metrics.contains("aqueduct_config_generation 2") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(server.get("k").await.text(), "body");
    assert_quiet(&server);
}
