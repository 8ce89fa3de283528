//! AI resources as the admin API shows and tries them, over providers that answer as a test says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::lanes::{self, Lane, REPOSITORY_ID, answer, chat};
use crate::support::origin::{Origin, Received, Step};
use crate::support::server::{Server, Setup};
use crate::support::within;

async fn start(
    script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    limits: &'static str,
) -> (Origin, Server) {
    let origin = Origin::start(move |request, _| script(request)).await;
    let server = Server::start(&Setup {
        ai: Some(origin.address),
        limits,
        ..Setup::default()
    })
    .await;
    let rules = r#"timeouts = { connect = "1s", first_byte = "1s", idle = "1s" }"#;
    lanes::add(&server, origin.address, rules, &[]).await;
    (origin, server)
}

async fn ask(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = server.admin(method, path, body).await;
    let body = serde_json::from_slice(&answer.body);
    (
        answer.status,
        body.unwrap_or_else(|_| panic!("{}", answer.text())),
    )
}

async fn id(server: &Server, lane: Lane) -> String {
    let (_, listed) = ask(server, "GET", "/ai/llm", "").await;
    let listed = listed["aiLlms"].as_array().unwrap();
    let found = listed.iter().find(|one| one["name"] == lane.name());
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_resource_is_tried_by_asking_for_its_models() {
    let lists = |status: &'static str| {
        move |request: &Received| {
            let path = request.target.split('?').next().unwrap_or_default();
            assert!(path.ends_with("/models"), "{path}");
            answer(
                status,
                r#"{"data":[],"models":[],"error":{"message":"secret words"}}"#,
            )
        }
    };
    for (status, expected, code) in [
        ("200 OK", 200, Value::Null),
        ("401 No", 422, json!("VALIDATION_FAILED")),
        ("404 No", 422, json!("VALIDATION_FAILED")),
        ("503 No", 422, json!("VALIDATION_FAILED")),
    ] {
        let (_origin, server) = start(lists(status), "").await;
        for lane in [Lane::OpenAi, Lane::Anthropic, Lane::Google] {
            let path = format!("/ai/llm/{}/validate", id(&server, lane).await);
            let (told, body) = ask(&server, "POST", &path, "").await;
            assert_eq!((told, &body["error_code"]), (expected, &code), "{lane:?}");
            let text = body.to_string();
            assert!(!text.contains("127.0.0.1") && !text.contains("secret words"));
        }
    }
}

#[tokio::test]
async fn a_resource_that_is_not_there_is_said_without_its_address() {
    let (origin, server) = start(|_| vec![Step::ReadBody, Step::Close], "").await;
    let path = format!("/ai/llm/{}/validate", id(&server, Lane::OpenAi).await);
    let (status, body) = ask(&server, "POST", &path, "").await;
    assert_eq!(
        (status, &body["error_code"]),
        (422, &json!("VALIDATION_FAILED"))
    );
    assert!(!body.to_string().contains("127.0.0.1"), "{body}");
    // This one lists its models at another address, where it is not configured.
    let asked = origin.requests().len();
    let path = format!("/ai/llm/{}/validate", id(&server, Lane::Bedrock).await);
    let (status, body) = ask(&server, "POST", &path, "").await;
    assert_eq!(
        (status, &body["error_code"]),
        (501, &json!("NOT_IMPLEMENTED"))
    );
    assert_eq!(origin.requests().len(), asked);
}

#[tokio::test]
async fn models_that_only_their_resource_knows_are_listed_too() {
    let list = r#"{"object":"list","data":[{"id":"gpt-4o","created":7},{"id":"openai"}]}"#;
    let (_origin, server) = start(move |_| answer("200 OK", list), "").await;
    let path = server.config("conf.d/lanes.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let own = "models = [{ alias = \"openai\", upstream = \"gpt-4o-mini\" }]\n";
    assert!(text.contains(own), "{text}");
    std::fs::write(&path, text.replace(own, "")).unwrap();
    assert_eq!(server.admin("POST", "/-/reload", "").await.status, 200);
    let body = json!({ "repoId": REPOSITORY_ID }).to_string();
    let (status, body) = ask(&server, "POST", "/ai/models", &body).await;
    assert_eq!(status, 200, "{body}");
    let models = body["models"].as_array().unwrap();
    let names: Vec<&str> = models
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["anthropic", "google", "bedrock", "gpt-4o", "openai"]
    );
    assert_eq!(
        models[3],
        json!({"id": "gpt-4o", "name": "gpt-4o", "created": 7, "aiType": "OPENAI",
            "llmType": "OPENAI", "llmProvider": "openai"})
    );
}

#[tokio::test]
async fn the_names_of_conventions_can_be_left_out() {
    for (limits, expected) in [("", true), ("\n[metrics]\ngen_ai = false\n", false)] {
        let whole = Lane::Google.whole();
        let (_origin, server) = start(move |_| answer("200 OK", &whole), limits).await;
        let mut client = lanes::send(&server, &chat("google", "")).await;
        assert_eq!(client.response().await.status, 200);
        // Counted just after its answer; what is told of a request is told together.
        let text = within("the request to be counted", async {
            loop {
                let text = server.admin("GET", "/metrics", "").await.text();
                if text.contains("aqueduct_requests_total{code=\"200\",op=\"ChatCompletions\"") {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(text.contains("gen_ai_"), expected, "{text}");
        assert!(text.contains("aqueduct_ai_tokens_total"), "{text}");
    }
}
