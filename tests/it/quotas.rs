//! Limits of a key, a repository and everybody: what they refuse, how they say so, and that a reload changes the
//! rules and keeps the counts.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::support::origin::{Origin, Step, answer};
use crate::support::raw::{Raw, Response};
use crate::support::server::{AI_TOKEN, Server, Setup};

/// Answers `held` when told to, anything else at once.
async fn origin(word: &Arc<Notify>) -> Origin {
    let word = Arc::clone(word);
    Origin::start(move |request, _| {
        let mut steps = answer::ok(b"body");
        if request.target.contains("held") {
            steps.insert(0, Step::Wait(Arc::clone(&word)));
        }
        steps
    })
    .await
}

async fn server(origin: &Origin, limits: &'static str, repository: &'static str) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        limits,
        repository,
        ..Setup::default()
    })
    .await
}

/// Edits a file of the config and has it applied.
async fn edit(server: &Server, name: &str, from: &str, to: &str) {
    let path = server.config(name);
    let config = std::fs::read_to_string(&path).unwrap();
    assert!(config.contains(from), "{config}");
    std::fs::write(&path, config.replace(from, to)).unwrap();
    let reloaded = server.admin("POST", "/-/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
}

/// Sends a request that stays in flight until the word.
async fn hold(server: &Server, origin: &Origin) -> Raw {
    let before = origin.requests().len();
    let mut client = server.client().await;
    client.send(server.request("GET", "held").head()).await;
    origin
        .until("the request", |seen| seen.requests.len() == before + 1)
        .await;
    client
}

fn assert_slow_down(refused: &Response) {
    assert_eq!((refused.status, refused.code().as_str()), (503, "SlowDown"));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
}

async fn rejected(server: &Server, scope: &str) -> bool {
    let metrics = server.admin("GET", "/metrics", "").await.text();
    let series = format!("aqueduct_ratelimit_rejected_total{{repo=\"main\",scope=\"{scope}\"}} ");
    metrics.lines().any(|line| line.starts_with(&series))
}

#[tokio::test]
async fn a_reload_changes_the_rules_and_keeps_the_counts() {
    const KEY: &str = "access = \"ADMIN\"";
    let whole = "[limits]\n";
    for (scope, file, from, rule) in [
        (
            "key_concurrent",
            "conf.d/keys.toml",
            KEY,
            "\nlimits = { concurrent = N }",
        ),
        (
            "concurrent",
            "conf.d/main.toml",
            "ai = [\"model\"]",
            "\nlimits = { concurrent = N }",
        ),
        (
            "global_concurrent",
            "aqueduct.toml",
            whole,
            "concurrent = N\n",
        ),
    ] {
        let word = Arc::new(Notify::new());
        let origin = origin(&word).await;
        let server = server(&origin, "", "").await;
        let ruled = |count: &str| format!("{from}{}", rule.replace('N', count));
        edit(&server, file, from, &ruled("1")).await;
        let mut first = hold(&server, &origin).await;
        assert_slow_down(&server.get("k").await);
        // One more place, and the one that is taken stays taken.
        edit(&server, file, &ruled("1"), &ruled("2")).await;
        let mut second = hold(&server, &origin).await;
        assert_slow_down(&server.get("k").await);
        assert!(rejected(&server, scope).await, "{scope}");
        word.notify_waiters();
        assert_eq!(first.response().await.text(), "body");
        assert_eq!(second.response().await.text(), "body");
        assert_eq!(server.get("k").await.status, 200);
    }
}

#[tokio::test]
async fn an_ai_key_that_asks_too_often_is_told_so_by_openais_words() {
    let origin = origin(&Arc::default()).await;
    let server = server(&origin, "", "").await;
    let name = "name = \"test ai\"";
    let limited = format!("{name}\nlimits = {{ rps = 2 }}");
    edit(&server, "conf.d/keys.toml", name, &limited).await;
    let mut refused = None;
    for _ in 0..4 {
        let mut client = Raw::connect(server.ai).await;
        client
            .send(format!(
                "GET /v1/models HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {AI_TOKEN}\r\n\r\n"
            ))
            .await;
        let answer = client.response().await;
        if answer.status == 429 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("a refusal");
    assert!(
        refused.text().contains("rate_limit_exceeded"),
        "{}",
        refused.text()
    );
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // The other key of the repository is not meant.
    assert_eq!(server.get("k").await.status, 200);
    assert!(rejected(&server, "key_rps").await);
}
