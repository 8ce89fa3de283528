//! Secrets planted wherever one may be, and a search of everything that Aqueduct wrote for them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::origin::{Origin, answer};
use crate::support::raw::Raw;
use crate::support::server::{
    ADMIN_TOKEN, AI_TOKEN, REPOSITORY_ID, SECRET, Server, Setup, UPSTREAM_AI_KEY, UPSTREAM_SECRET,
};

#[tokio::test]
async fn no_secret_is_written_anywhere() {
    let origin = Origin::start(|_, index| match index % 3 {
        0 => answer::ok(b"body"),
        1 => answer::error(403, "SignatureDoesNotMatch"),
        _ => answer::error(500, "InternalError"),
    })
    .await;
    let setup = Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        ..Setup::default()
    };
    let server = Server::start(&setup).await;
    let mut secrets = vec![
        SECRET.to_owned(),
        UPSTREAM_SECRET.to_owned(),
        UPSTREAM_AI_KEY.to_owned(),
        ADMIN_TOKEN.to_owned(),
        AI_TOKEN.to_owned(),
    ];
    let mut said = Vec::new();

    for (path, body) in [
        ("apikey", json!({"name": "n", "accessType": "ADMIN"})),
        ("ai/apikey", json!({"name": "n", "aiType": "OPENAI"})),
    ] {
        let path = format!("/repo/{REPOSITORY_ID}/{path}");
        let created = server.admin("POST", &path, &body.to_string()).await;
        let made: Value = serde_json::from_slice(&created.body).unwrap();
        secrets.push(made["secret"].as_str().unwrap().to_owned());
        said.push(server.admin("GET", &path, "").await.text());
    }
    let bearer = secrets.last().unwrap().clone();
    said.extend(storage_answers(&server).await);
    said.extend(ai_answers(&server, &bearer).await);
    for path in ["/repo", "/metrics", "/-/status", "/nothing", "/bucket"] {
        said.push(server.admin("GET", path, "").await.text());
    }
    // Errors in the config are shown with their lines; a pasted secret among them must not be.
    let pasted = "canary-pasted-secret-0123456789abcdef";
    secrets.push(pasted.to_owned());
    let broken = format!(
        "[[s3]]\nname = \"x\"\nsecret_access_key = \"{pasted}\"\nsecret = \"plain:{pasted}\"\n"
    );
    fs::write(server.config("conf.d/broken.toml"), broken).unwrap();
    said.push(server.admin("POST", "/-/reload", "").await.text());
    said.push(server.admin("GET", "/-/status", "").await.text());
    let check = server.run(&["check"]);
    said.push(format!(
        "{}{}",
        String::from_utf8_lossy(&check.stdout),
        String::from_utf8_lossy(&check.stderr)
    ));

    for secret in &secrets {
        for text in &said {
            assert!(
                !text.contains(secret.as_str()),
                "{secret} was said in {text}"
            );
        }
        assert!(
            !server.log().contains(secret.as_str()),
            "{secret} is in the log"
        );
        for (path, text) in written(&server) {
            assert!(!text.contains(secret.as_str()), "{secret} is in {path}");
        }
    }
}

async fn storage_answers(server: &Server) -> Vec<String> {
    let mut said = Vec::new();
    let mut wrong = server.request("GET", "k");
    wrong.secret = "wrong".to_owned();
    let mut presigned = server.request("GET", "k");
    presigned
        .query
        .push(("X-Amz-Signature".to_owned(), "0123456789abcdef".repeat(4)));
    for request in [
        server.request("GET", "k"),
        server.request("GET", "k"),
        server.request("GET", "k"),
        wrong,
        presigned,
    ] {
        let mut client = server.client().await;
        client.send(request.head()).await;
        let answer = client.response().await;
        said.push(format!("{:?}{}", answer.headers, answer.text()));
    }
    said
}

async fn ai_answers(server: &Server, bearer: &str) -> Vec<String> {
    let mut said = Vec::new();
    for (target, header) in [
        (
            "/v1/chat/completions".to_owned(),
            format!("Authorization: Bearer {bearer}"),
        ),
        (
            "/v1/chat/completions".to_owned(),
            format!("x-api-key: {bearer}"),
        ),
        (format!("/v1/models?key={bearer}"), "X: y".to_owned()),
        (
            "/v1/nothing".to_owned(),
            format!("Authorization: Bearer {bearer}"),
        ),
        (
            "/v1/chat/completions".to_owned(),
            format!("Authorization: Bearer {bearer}x"),
        ),
    ] {
        let mut client = Raw::connect(server.ai).await;
        let body = r#"{"model":"tiny","messages":[]}"#;
        let length = body.len();
        client
            .send(format!("POST {target} HTTP/1.1\r\nHost: {}\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}", server.ai))
            .await;
        let answer = client.response().await;
        said.push(format!("{:?}{}", answer.headers, answer.text()));
    }
    said
}

/// What Aqueduct itself wrote to disk: keys and state, not the config that the test wrote.
fn written(server: &Server) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["etc/config/keys.d", "state"] {
        collect(&server.dir.path().join(folder), &mut found);
    }
    assert!(!found.is_empty(), "nothing was written at all");
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
}
