//! AI resources, their models, and what was spent at them.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::telemetry::labels::TokenSource;
use crate::telemetry::ledger::{Account, Call, Tokens};

/// The configured models, as the process's own answer has them.
pub(super) fn models(repository: &Repository) -> Vec<Served> {
    let routes = repository.ai.iter().flat_map(|ai| &ai.models);
    routes
        .map(|route| Served {
            name: route.name.clone(),
            created: 0,
            resource: Arc::clone(&route.targets[0].resource),
        })
        .collect()
}

fn llama(bench: &Bench) -> Uuid {
    let snapshot = bench.state.live.current();
    let found = snapshot.resources.iter().find(|one| &*one.name == "llama");
    found.unwrap().id
}

fn spend(bench: &Bench, repository: &str, key: u128, model: &str, tokens: Tokens) {
    let account = Account {
        repository: repository.parse().unwrap(),
        resource: llama(bench),
        key: Uuid::from_u128(key),
        model: model.into(),
    };
    let call = Call {
        tokens,
        source: Some(TokenSource::Reported),
        failed: false,
        took: Duration::from_millis(30),
        at: now().as_second(),
    };
    bench.state.ledger.add(&account, &call);
}

fn tokens(input: u64, output: u64) -> Tokens {
    Tokens {
        input,
        output,
        cached: input / 2,
        cache_write: 1,
        reasoning: output / 2,
    }
}

fn get(bench: &Bench, query: &str) -> Value {
    let (status, body) = bench.ask(&request("GET", &format!("/ai/llm/stats{query}"), None));
    assert_eq!((status, &body["success"]), (200, &json!(true)));
    body["stats"].clone()
}

#[test]
fn what_was_spent_is_told_as_clients_read_it() {
    let bench = bench();
    let id = llama(&bench).to_string();
    let zero = get(&bench, "");
    assert_eq!(zero[0]["aiLlmId"], *id);
    assert_eq!(zero[0]["totalApiCalls"], "0");
    spend(&bench, REPOSITORY, 1, "tiny", tokens(100, 40));
    spend(&bench, REPOSITORY, 1, "tiny", tokens(10, 4));
    spend(&bench, OTHER, 2, "other", tokens(1000, 400));
    let stats = get(&bench, "");
    assert_eq!(stats.as_array().unwrap().len(), 1);
    assert_eq!(
        stats[0],
        json!({
            "aiLlmId": id, "totalApiCalls": "3",
            "totalTokensIn": "1110", "totalTokensOut": "444",
            "totalLlmTokensIn": "1110", "totalLlmTokensOut": "444",
            "totalPolicyViolations": "0", "totalAlerts": "0", "totalBlocks": "0",
            "totalTokensCached": "555", "totalTokensCacheWrite": "3", "totalTokensReasoning": "222",
            "totalErrors": "0", "totalEstimated": "0", "totalPartial": "0", "latency_ms": 30,
        })
    );
}

#[test]
fn what_is_added_up_can_be_chosen() {
    let bench = bench();
    let id = llama(&bench);
    spend(&bench, REPOSITORY, 1, "tiny", tokens(1, 0));
    spend(&bench, REPOSITORY, 2, "tiny", tokens(10, 0));
    spend(&bench, OTHER, 3, "claude:1", tokens(100, 0));
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for (query, expected) in [
        (format!("?aiLlmId={id}"), "111"),
        ("?aiLlmId=undefined&repoId=null".to_owned(), "111"),
        (format!("?repoId={REPOSITORY}"), "11"),
        (
            format!("?repoId={}%2C{OTHER}", REPOSITORY.to_uppercase()),
            "111",
        ),
        (format!("?repoAiApiKeyId={two}"), "10"),
        (format!("?repoAiApiKeyId={one},{two}"), "11"),
        ("?llmModel=claude%3A1".to_owned(), "100"),
        ("?llmType=other".to_owned(), "111"),
        (format!("?repoId={OTHER}&llmModel=tiny"), "0"),
    ] {
        assert_eq!(get(&bench, &query)[0]["totalTokensIn"], expected, "{query}");
    }
    assert_eq!(get(&bench, "?llmType=GOOGLE"), json!([]));
    assert_eq!(get(&bench, &format!("?aiLlmId={one}")), json!([]));
}

#[test]
fn details_are_the_rows_of_the_ledger() {
    let bench = bench();
    spend(&bench, REPOSITORY, 1, "tiny", tokens(6, 3));
    spend(&bench, REPOSITORY, 0, "tiny", tokens(4, 2));
    spend(&bench, REPOSITORY, 0, "tiny", tokens(4, 2));
    let stats = get(&bench, "?details=true");
    let details = stats[0]["details"].as_array().unwrap();
    assert_eq!((details.len(), &stats[0]["detailsLeftOut"]), (2, &json!(0)));
    // Of keys that are told apart no longer.
    assert_eq!(details[0]["repoAiApiKeyId"], Value::Null);
    assert_eq!(details[0]["apiCalls"], 2);
    assert_eq!(
        details[1],
        json!({
            "repoId": REPOSITORY, "aiLlmId": llama(&bench), "repoAiApiKeyId": Uuid::from_u128(1),
            "llmType": "OTHER", "llmModel": "tiny", "tokensIn": "6", "tokensOut": "3",
            "llmTokensIn": "6", "llmTokensOut": "3", "tokensCached": "3", "tokensCacheWrite": "1",
            "tokensReasoning": "1", "apiCalls": 1, "errors": 0, "estimated": 0, "partial": 0,
            "latency_ms": 30, "policyViolations": 0, "numAlerts": 0, "numBlocks": 0,
            "lastUsedAt": "2026-11-21T00:00:00.000Z",
        })
    );
}

#[test]
fn ai_resources_are_listed_without_their_credentials() {
    let bench = bench();
    for path in ["/ai/llm?workspaceId=x", "/ai/llm/available"] {
        let (status, body) = bench.ask(&request("GET", path, None));
        assert_eq!(status, 200);
        let listed = body["aiLlms"].as_array().unwrap();
        assert_eq!(listed.len(), 1, "{body}");
        let one = &listed[0];
        assert_eq!(one["name"], "llama");
        assert_eq!(
            (&one["aiType"], &one["key"]),
            (&json!("OTHER"), &Value::Null)
        );
        let repositories: Vec<&Value> = one["repos"].as_array().unwrap().iter().collect();
        let names: Vec<&Value> = repositories.iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["other", "prod"]);
        for canary in CANARIES {
            assert!(!body.to_string().contains(canary));
        }
    }
    assert_eq!(
        bench.code(&request("POST", "/ai/llm", Some(&json!({})))).0,
        501
    );
}

#[test]
fn trying_a_resource_needs_an_admin_and_a_resource() {
    let bench = bench();
    let path = format!("/ai/llm/{}/validate", llama(&bench));
    let mut asked = request("POST", &path, None);
    asked = with(asked, "content-length", "0");
    assert_eq!(bench.code(&asked), (403, "FORBIDDEN".into()));
    let asked = as_role(asked, "admin");
    let (status, body) = bench.ask(&asked);
    assert_eq!(
        (status, &body["error_code"]),
        (422, &json!("VALIDATION_FAILED"))
    );
    assert_eq!(body["message"], "the resource refused with status 401");
    for unknown in [OTHER, "nonsense"] {
        let path = format!("/ai/llm/{unknown}/validate");
        let asked = as_role(request("POST", &path, None), "admin");
        assert_eq!(bench.code(&asked), (404, "NOT_FOUND".into()));
    }
    let _other = bench.state.trying.lock();
    assert_eq!(bench.code(&asked), (429, "RATE_LIMITED".into()));
}

#[test]
fn the_models_of_a_repository_are_listed() {
    let bench = bench();
    let ask = |body: &Value| bench.ask(&request("POST", "/ai/models", Some(body)));
    let (status, body) = ask(&json!({"repoId": REPOSITORY}));
    assert_eq!(status, 200);
    assert_eq!(
        body["models"],
        json!([{"id": "tiny", "name": "tiny", "created": 0, "aiType": "OTHER", "llmType": "OTHER",
            "llmProvider": "llama"}])
    );
    for (body, count) in [
        (
            json!({"repoId": OTHER, "aiType": "OTHER", "llmType": "other"}),
            1,
        ),
        (json!({"repoId": OTHER, "aiType": "GOOGLE"}), 0),
    ] {
        assert_eq!(ask(&body).1["models"].as_array().unwrap().len(), count);
    }
    assert_eq!(ask(&json!({})).0, 400);
    assert_eq!(ask(&json!({"repoId": "nonsense"})).0, 404);
}
