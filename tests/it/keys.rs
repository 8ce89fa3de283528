//! Keys while Aqueduct runs: made, used, confined, revoked; by the admin API and by the command line.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::origin::{Origin, answer};
use crate::support::server::{REPOSITORY_ID, Server, Setup};
use crate::support::sign::Request;

/// How soon a new key must work, and a revoked one must not.
const SOON: Duration = Duration::from_secs(1);

async fn start() -> (Origin, Server) {
    let origin = Origin::always(answer::ok(b"body")).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        ..Setup::default()
    })
    .await;
    (origin, server)
}

fn signed_by(server: &Server, method: &'static str, made: &Value) -> Request {
    let mut request = server.request(method, "k");
    made["key"].as_str().unwrap().clone_into(&mut request.key);
    made["secret"]
        .as_str()
        .unwrap()
        .clone_into(&mut request.secret);
    request
}

async fn status(server: &Server, request: &Request) -> (u16, String) {
    let mut client = server.client().await;
    client.send(request.head()).await;
    let answer = client.response().await;
    (answer.status, answer.code())
}

/// How soon a change in the files must be served; the command line works on files.
const SOON_BY_FILE: Duration = Duration::from_secs(2);

/// Asks until the status comes, and fails where that takes longer than it may.
async fn soon(server: &Server, request: &Request, expected: u16, soon: Duration) {
    let started = Instant::now();
    loop {
        let (status, code) = status(server, request).await;
        if status == expected {
            return;
        }
        assert!(
            started.elapsed() < soon,
            "still {status} {code} instead of {expected}"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_key_of_the_admin_api_works_at_once_until_it_is_deleted() {
    let (_origin, server) = start().await;
    let keys = format!("/repo/{REPOSITORY_ID}/apikey");
    let body = json!({"name": "CI Bot", "accessType": "READ"}).to_string();
    let created = server.admin("POST", &keys, &body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let made: Value = serde_json::from_slice(&created.body).unwrap();
    assert_eq!(made["success"], true);
    soon(&server, &signed_by(&server, "GET", &made), 200, SOON).await;
    let write = status(&server, &signed_by(&server, "DELETE", &made)).await;
    assert_eq!((write.0, write.1.as_str()), (403, "AccessDenied"));

    let listed = server.admin("GET", &keys, "").await;
    assert!(
        listed.text().contains(made["id"].as_str().unwrap()) && !listed.text().contains("secret")
    );

    let one = format!("{keys}/{}", made["id"].as_str().unwrap());
    let changed = server
        .admin(
            "PUT",
            &one,
            &json!({"name": "CI Bot", "accessType": "WRITE"}).to_string(),
        )
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    soon(&server, &signed_by(&server, "DELETE", &made), 200, SOON).await;

    assert_eq!(server.admin("DELETE", &one, "").await.status, 200);
    soon(&server, &signed_by(&server, "GET", &made), 403, SOON).await;
    assert_eq!(server.admin("DELETE", &one, "").await.status, 404);
    assert!(
        !server
            .admin("GET", &keys, "")
            .await
            .text()
            .contains(made["id"].as_str().unwrap())
    );
}

#[tokio::test]
async fn the_last_use_of_a_key_is_known_after_a_restart() {
    let (_origin, mut server) = start().await;
    let keys = format!("/repo/{REPOSITORY_ID}/apikey");
    let last_used = async |server: &Server| {
        let listed = server.admin("GET", &keys, "").await;
        let listed: Value = serde_json::from_slice(&listed.body).unwrap();
        listed["keys"][0]["lastUsedAt"].clone()
    };
    assert_eq!(last_used(&server).await, Value::Null);
    assert_eq!(server.get("k").await.status, 200);
    let before = last_used(&server).await;
    assert!(before.is_string());
    let pid = server.pid();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(server.ended().await, None);
    server.restart("").await;
    assert_eq!(last_used(&server).await, before);
}

#[tokio::test]
async fn a_key_of_the_command_line_reaches_a_running_server() {
    let (_origin, server) = start().await;
    let output = server.run(&[
        "key",
        "create",
        "--repository",
        "main",
        "--name",
        "cli",
        "--access",
        "WRITE",
        "--json",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    soon(
        &server,
        &signed_by(&server, "GET", &made),
        200,
        SOON_BY_FILE,
    )
    .await;
    let listed = server.run(&["key", "list", "--repository", "main"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(made["id"].as_str().unwrap()));
    let revoked = server.run(&["key", "revoke", made["id"].as_str().unwrap()]);
    assert!(
        revoked.status.success(),
        "{}",
        String::from_utf8_lossy(&revoked.stderr)
    );
    soon(
        &server,
        &signed_by(&server, "GET", &made),
        403,
        SOON_BY_FILE,
    )
    .await;
}

#[tokio::test]
async fn an_ai_key_opens_the_ai_endpoint_alone() {
    let (origin, server) = start().await;
    let keys = format!("/repo/{REPOSITORY_ID}/ai/apikey");
    let created = server
        .admin(
            "POST",
            &keys,
            &json!({"name": "Production AI Key", "aiType": "OPENAI"}).to_string(),
        )
        .await;
    assert_eq!(created.status, 201, "{}", created.text());
    let made: Value = serde_json::from_slice(&created.body).unwrap();
    let secret = made["secret"].as_str().unwrap();
    let ask = async |secret: &str| {
        let mut client = crate::support::raw::Raw::connect(server.ai).await;
        let body = r#"{"model":"tiny","messages":[]}"#;
        client
            .send(format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {secret}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                server.ai,
                body.len()
            ))
            .await;
        client.response().await.status
    };
    let started = Instant::now();
    while ask(secret).await != 200 {
        assert!(
            started.elapsed() < SOON,
            "an AI key of the admin API does not work"
        );
    }
    assert_eq!(
        ask("sk-0000000000000000000000000000000000000000000000000").await,
        401
    );
    let upstream = origin.requests().pop().unwrap();
    assert_eq!(
        upstream.header("authorization"),
        Some(&*format!(
            "Bearer {}",
            crate::support::server::UPSTREAM_AI_KEY
        ))
    );
    let (status, _) = status(&server, &signed_by(&server, "GET", &made)).await;
    assert_eq!(status, 403);
    let one = format!("{keys}/{}", made["id"].as_str().unwrap());
    assert_eq!(server.admin("DELETE", &one, "").await.status, 200);
    let started = Instant::now();
    while ask(secret).await != 401 {
        assert!(started.elapsed() < SOON, "a deleted AI key still works");
    }
}

#[tokio::test]
async fn the_admin_listener_wants_its_token_and_its_host() {
    let (_origin, server) = start().await;
    let ask = async |path: &str, lines: &str| {
        let mut client = crate::support::raw::Raw::connect(server.admin).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\n{lines}\r\n\r\n"))
            .await;
        client.response().await
    };
    let host = format!("Host: {}", server.admin);
    for (path, lines, expected) in [
        ("/repo", host.clone(), 401),
        (
            "/repo",
            format!("{host}\r\nAuthorization: Bearer wrong"),
            401,
        ),
        ("/repo/x.js", host.clone(), 401),
        ("/metrics", host.clone(), 401),
        ("/healthz", host.clone(), 200),
        ("/readyz", host.clone(), 200),
        ("/repo", "Host: evil.example".to_owned(), 421),
        ("/healthz", "Host: evil.example".to_owned(), 421),
    ] {
        let answer = ask(path, &lines).await;
        assert_eq!(answer.status, expected, "{path} {lines}");
        if expected >= 400 {
            assert!(
                answer
                    .header("content-type")
                    .is_some_and(|kind| kind.contains("application/json")),
                "{path}"
            );
            let error: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(error["success"], false);
        }
    }
}
