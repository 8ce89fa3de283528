//! Requests over [`handle`], as data.

mod events;
mod spending;

use http::header::{HOST, HeaderName};
use serde_json::{Value, json};

use super::*;
use crate::config::store::tests_support::{CANARIES, Fixture, OTHER, REPOSITORY, now, token};

struct Bench {
    fixture: Fixture,
    state: AdminState,
}

fn bench() -> Bench {
    bench_with(|_| {})
}

fn bench_with(prepare: impl FnOnce(&Fixture)) -> Bench {
    let fixture = Fixture::new();
    prepare(&fixture);
    let live = fixture.live();
    let store = Arc::new(fixture.store(&live));
    let callbacks = Callbacks {
        metrics: Box::new(|| "aqueduct_up 1\n".to_owned()),
        ready: Box::new(|| Err("still starting".to_owned())),
        status: Box::new(|| serde_json::Map::from_iter([("connections".to_owned(), 7.into())])),
        try_resource: Box::new(|_| Trial::Bad("the resource refused with status 401".to_owned())),
        models: Box::new(spending::models),
    };
    let audit = Audit::new(&fixture.state());
    Bench {
        state: AdminState::new(live, store, audit, Arc::default(), callbacks),
        fixture,
    }
}

/// A request as the client library sends it, with an operator's token.
fn request(method: &str, target: &str, body: Option<&Value>) -> AdminRequest {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: String| {
        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
    };
    set("host", "localhost:9901".into());
    set("accept", "*/*".into());
    set("user-agent", "node".into());
    set("sec-fetch-mode", "cors".into());
    set("authorization", format!("Bearer {}", token("operator")));
    if body.is_some() {
        set("content-type", "application/json".into());
    }
    AdminRequest {
        method: method.parse().unwrap(),
        target: target.into(),
        headers,
        body: body
            .map(|body| Bytes::from(body.to_string()))
            .unwrap_or_default(),
        peer: Some("127.0.0.1".parse().unwrap()),
        request_id: "req-1".into(),
        now: now(),
    }
}

fn with(mut request: AdminRequest, name: &'static str, value: &str) -> AdminRequest {
    let name = HeaderName::from_static(name);
    if value.is_empty() {
        request.headers.remove(name);
    } else {
        request.headers.insert(name, value.parse().unwrap());
    }
    request
}

fn as_role(request: AdminRequest, role: &str) -> AdminRequest {
    with(request, "authorization", &format!("Bearer {}", token(role)))
}

impl Bench {
    fn ask(&self, request: &AdminRequest) -> (u16, Value) {
        let response = handle(&self.state, request);
        assert_eq!(response.headers["x-request-id"], "req-1");
        assert_eq!(response.headers["cache-control"], "no-store");
        assert_eq!(response.headers["content-type"], "application/json");
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        if !response.status.is_success() {
            assert_eq!(body["success"], false);
            assert_eq!(body["error_message"], body["message"]);
            assert!(!body["message"].as_str().unwrap().is_empty());
        }
        (response.status.as_u16(), body)
    }

    fn code(&self, request: &AdminRequest) -> (u16, String) {
        let (status, body) = self.ask(request);
        (status, body["error_code"].as_str().unwrap_or("").to_owned())
    }
}

fn storage_path() -> String {
    format!("/repo/{REPOSITORY}/apikey")
}

fn ai_path() -> String {
    format!("/repo/{REPOSITORY}/ai/apikey")
}

#[test]
fn a_storage_key_lives_from_creation_to_deletion() {
    let bench = bench();
    let body = json!({"repoId": REPOSITORY, "name": "CI Bot", "accessType": "READ",
        "walletAddress": "undefined", "bucket": {"nested": [1, 2]}});
    let (status, made) = bench.ask(&request("POST", &storage_path(), Some(&body)));
    assert_eq!((status, &made["success"]), (201, &json!(true)));
    let id = made["id"].as_str().unwrap();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 40);
    let snapshot = bench.state.live.current();
    assert!(snapshot.s3_keys.contains_key(made["key"].as_str().unwrap()));

    let (status, list) = bench.ask(&request("GET", &storage_path(), None));
    assert_eq!(status, 200);
    let shown = &list["keys"][0];
    assert_eq!(shown["id"], id);
    assert_eq!(shown["accessType"], "READ");
    assert_eq!(shown["createdAt"], "2026-11-21T00:00:00.000Z");
    assert_eq!(shown["lastUsedAt"], Value::Null);
    assert!(shown.get("secret").is_none() && list.get("apiKeys").is_none());
    assert!(!list.to_string().contains(secret));

    let one = format!("{}/{id}", storage_path());
    let patch = json!({"name": "CI Bot v2", "accessType": "READ-WRITE"});
    let (status, updated) = bench.ask(&request("PUT", &one, Some(&patch)));
    assert_eq!((status, &updated["success"]), (200, &json!(true)));
    let (_, list) = bench.ask(&request("GET", &storage_path(), None));
    assert_eq!(list["keys"][0]["accessType"], "WRITE");
    assert_eq!(list["keys"][0]["name"], "CI Bot v2");

    assert_eq!(bench.ask(&request("DELETE", &one, None)).0, 200);
    assert!(bench.state.live.current().s3_keys.is_empty());
    let again = bench.code(&request("DELETE", &one, None));
    assert_eq!(again, (404, "NOT_FOUND".into()));
    let (_, list) = bench.ask(&request("GET", &storage_path(), None));
    assert_eq!(list["keys"], json!([]));
}

#[test]
fn an_ai_key_lives_from_creation_to_deletion() {
    let bench = bench();
    let body = json!({"name": "Production AI Key", "aiType": "OPENAI"});
    let (status, made) = bench.ask(&request("POST", &ai_path(), Some(&body)));
    assert_eq!(status, 201);
    assert!(made["key"].as_str().unwrap().starts_with("FB_AI_"));
    let digest = crate::keys::hash::sha256(made["secret"].as_str().unwrap().as_bytes());
    assert!(bench.state.live.current().ai_keys.contains_key(&digest));
    let (_, list) = bench.ask(&request("GET", &ai_path(), None));
    let shown = &list["apiKeys"][0];
    assert_eq!(shown["aiType"], "OPENAI");
    assert_eq!(shown["repoId"], REPOSITORY);
    assert_eq!(shown["deletedAt"], Value::Null);
    assert!(list.get("keys").is_none());
    // Each family has its own paths.
    let id = made["id"].as_str().unwrap();
    let wrong = format!("{}/{id}", storage_path());
    assert_eq!(bench.code(&request("DELETE", &wrong, None)).0, 404);
    let one = format!("/api/v1{}/{id}", ai_path());
    assert_eq!(
        bench
            .ask(&request("PUT", &one, Some(&json!({"name": "n"}))))
            .0,
        200
    );
    assert_eq!(bench.ask(&request("DELETE", &one, None)).0, 200);
    assert!(bench.state.live.current().ai_keys.is_empty());
}

#[test]
fn bodies_that_are_wrong_are_refused_and_write_nothing() {
    let bench = bench();
    let post = |body: &Value| request("POST", &storage_path(), Some(body));
    let ai = |body: &Value| request("POST", &ai_path(), Some(body));
    let mut cases = vec![
        post(&json!({})),
        post(&json!([])),
        post(&json!({"name": "x"})),
        post(&json!({"accessType": "READ"})),
        post(&json!({"name": 7, "accessType": "READ"})),
        post(&json!({"name": "", "accessType": "READ"})),
        post(&json!({"name": "x".repeat(129), "accessType": "READ"})),
        post(&json!({"name": "x", "accessType": "OWNER"})),
        post(&json!({"name": "x", "accessType": "READ", "repoId": OTHER})),
        ai(&json!({"name": "x"})),
        ai(&json!({"name": "x", "aiType": "MISTRAL"})),
        request("POST", &storage_path(), None),
    ];
    let mut broken = post(&json!({}));
    broken.body = Bytes::from_static(b"{\"name\":");
    cases.push(broken);
    for case in cases {
        assert_eq!(
            bench.code(&case),
            (400, "INVALID_REQUEST".into()),
            "{:?}",
            case.body
        );
    }
    let access = post(&json!({"name": "x", "access": "WRITE", "repoId": null}));
    assert_eq!(bench.ask(&access).0, 201);
    assert_eq!(bench.fixture.key_files().len(), 1);
}

#[test]
fn paths_and_methods_have_their_answers() {
    let bench = bench();
    let nil = "00000000-0000-4000-8000-000000000000";
    let key = format!("{}/{nil}", storage_path());
    let cases: &[(&str, &str, u16, &str)] = &[
        ("GET", "/repo/stats?repoId=a%2Cb", 501, "NOT_IMPLEMENTED"),
        ("POST", "/repo", 501, "NOT_IMPLEMENTED"),
        ("POST", "/bucket/x/validate", 501, "NOT_IMPLEMENTED"),
        (
            "GET",
            "/bucket?workspaceId=undefined",
            501,
            "NOT_IMPLEMENTED",
        ),
        (
            "GET",
            "/v2/stats/ai/breakdown/models",
            501,
            "NOT_IMPLEMENTED",
        ),
        ("GET", "/user/profile", 501, "NOT_IMPLEMENTED"),
        ("DELETE", "/systemevent/read", 501, "NOT_IMPLEMENTED"),
        ("POST", "/auth/login", 404, "NOT_IMPLEMENTED"),
        ("GET", "/user/settings", 404, "NOT_IMPLEMENTED"),
        ("GET", "/policy", 404, "NOT_IMPLEMENTED"),
        ("GET", "/api/agentengine/run", 404, "NOT_IMPLEMENTED"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/repo/", 404, "NOT_FOUND"),
        ("GET", "//repo", 404, "NOT_FOUND"),
        ("GET", "/repo/../repo", 404, "NOT_FOUND"),
        ("GET", "/api/v1", 404, "NOT_FOUND"),
        ("GET", "/api/v1x/repo", 404, "NOT_FOUND"),
        ("GET", "/repo.js", 404, "NOT_FOUND"),
        ("PATCH", "/repo", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/-/reload", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/repo", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", &key, 404, "NOT_FOUND"),
        ("GET", "/repo/prod/apikey", 404, "NOT_FOUND"),
        ("GET", &format!("/repo/{nil}/apikey"), 404, "NOT_FOUND"),
        ("GET", &format!("/repo/{nil}/ai/apikey"), 404, "NOT_FOUND"),
    ];
    for (method, target, status, code) in cases {
        let got = bench.code(&request(method, target, None));
        assert_eq!(got, (*status, (*code).to_owned()), "{method} {target}");
    }
    let response = handle(&bench.state, &request("PATCH", "/repo", None));
    assert_eq!(response.headers["allow"], "GET, POST, HEAD");
    let response = handle(&bench.state, &request("HEAD", "/repo", None));
    assert_eq!((response.status.as_u16(), response.body.len()), (200, 0));
}

#[test]
fn tokens_and_roles_decide() {
    let bench = bench();
    let body = json!({"name": "x", "accessType": "READ"});
    let cases: &[(&str, &str, &str, u16)] = &[
        ("viewer", "GET", "/repo", 200),
        ("viewer", "GET", "/-/status", 200),
        ("viewer", "GET", "/-/config", 200),
        ("viewer", "POST", "/-/reload", 403),
        ("viewer", "POST", &storage_path(), 403),
        ("viewer", "DELETE", &format!("{}/x", ai_path()), 403),
        ("metrics", "GET", "/repo", 403),
        ("metrics", "GET", "/-/status", 403),
        ("operator", "POST", "/-/reload", 200),
        ("admin", "GET", &storage_path(), 200),
        ("nobody", "GET", "/repo", 401),
        ("nobody", "GET", "/nothing", 401),
        ("nobody", "GET", "/auth/login", 401),
    ];
    for (role, method, target, status) in cases {
        let sent = (*method == "POST").then_some(&body);
        let (got, _) = bench.ask(&as_role(request(method, target, sent), role));
        assert_eq!(got, *status, "{role} {method} {target}");
    }
    for value in ["", "Basic abc", "Bearer", "Bearer ", "bearer x", "x"] {
        let (status, _) = bench.ask(&with(request("GET", "/repo", None), "authorization", value));
        assert!(matches!(status, 401 | 429), "{value}");
    }
    assert!(bench.fixture.key_files().is_empty());
    let denied = bench.fixture.audit_lines();
    assert!(denied.iter().any(|line| line["outcome"] == "denied"
        && line["actor"] == "token:viewer-token"
        && line["reason"] == "FORBIDDEN"));
}

#[test]
fn failures_are_throttled_and_good_tokens_are_not() {
    let bench = bench();
    let bad = as_role(request("GET", "/repo", None), "nobody");
    let mut seen = Vec::new();
    for _ in 0..15 {
        seen.push(bench.ask(&bad).0);
    }
    assert_eq!(seen[..10], [401; 10]);
    assert_eq!(seen[10..], [429; 5]);
    let response = handle(&bench.state, &bad);
    assert_eq!(response.headers["retry-after"], "60");
    assert_eq!(bench.fixture.audit_lines().len(), 10);
    assert_eq!(bench.ask(&request("GET", "/repo", None)).0, 200);
    let mut elsewhere = bad.clone();
    elsewhere.peer = Some("127.0.0.2".parse().unwrap());
    assert_eq!(bench.ask(&elsewhere).0, 401);
    let mut later = bad.clone();
    later.now = Timestamp::from_second(now().as_second() + 60).unwrap();
    assert_eq!(bench.ask(&later).0, 401);
    assert_eq!(
        handle(&bench.state, &later).headers["www-authenticate"],
        "Bearer"
    );
}

#[test]
fn hosts_and_origins_are_checked_before_the_token() {
    let bench = bench();
    let ask = |name: &'static str, value: &str| {
        bench
            .ask(&with(request("GET", "/repo", None), name, value))
            .0
    };
    let cases: &[(&'static str, &str, u16)] = &[
        ("host", "LOCALHOST:9901", 200),
        ("host", "admin.example.net", 200),
        ("host", "admin.example.net:8443", 200),
        ("host", "localhost", 421),
        ("host", "localhost:80", 421),
        ("host", "evil.example", 421),
        ("host", "localhost:9901.evil.example", 421),
        ("host", "", 400),
        ("host", "localhost:9901/x", 400),
        ("host", "user@localhost:9901", 400),
        ("origin", "http://localhost:9901", 200),
        ("origin", "http://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-mode", "cors", 200),
        ("sec-fetch-mode", "navigate", 200),
    ];
    for (name, value, status) in cases {
        assert_eq!(ask(name, value), *status, "{name}: {value}");
    }
    let mut twice = request("GET", "/repo", None);
    twice
        .headers
        .append(HOST, "localhost:9901".parse().unwrap());
    assert_eq!(bench.ask(&twice).0, 400);
    // A unix socket has no name to rebind.
    let mut socket = with(request("GET", "/repo", None), "host", "localhost");
    socket.peer = None;
    assert_eq!(bench.ask(&socket).0, 200);
}

#[test]
fn bodies_need_a_type_and_a_size() {
    let bench = bench();
    let body = json!({"name": "x", "accessType": "READ"});
    let post = || request("POST", &storage_path(), Some(&body));
    for (kind, status) in [
        ("application/json; charset=utf-8", 201),
        ("Application/JSON", 201),
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
    ] {
        let (got, _) = bench.ask(&with(post(), "content-type", kind));
        assert_eq!(got, status, "{kind}");
    }
    let mut large = post();
    large.body = Bytes::from(vec![b' '; BODY_BYTES_MAX + 1]);
    assert_eq!(bench.code(&large), (413, "INVALID_REQUEST".into()));
    let refused = refuse(StatusCode::PAYLOAD_TOO_LARGE, "too large", "r\n9");
    assert_eq!(refused.status.as_u16(), 413);
    assert_eq!(refused.headers["x-request-id"], "r9");
    assert_eq!(refused.headers["content-type"], "application/json");
}

#[test]
fn health_needs_no_token_and_metrics_do_unless_public() {
    let private = bench();
    let bare = |target: &str| with(request("GET", target, None), "authorization", "");
    assert_eq!(private.ask(&bare("/healthz")).0, 200);
    assert_eq!(private.code(&bare("/readyz")), (503, "DEGRADED".into()));
    assert_eq!(private.ask(&bare("/metrics")).0, 401);
    assert_eq!(private.ask(&bare("/healthz/x")).0, 401);
    let metrics = as_role(request("GET", "/metrics", None), "metrics");
    let response = handle(&private.state, &metrics);
    assert_eq!(&response.body[..], b"aqueduct_up 1\n");
    assert!(
        response.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    let public = bench_with(|fixture| {
        let text = fixture.read("aqueduct.toml");
        let text = text.replace("[admin]\n", "[admin]\nmetrics_public = true\n");
        fixture.write("aqueduct.toml", &text);
    });
    assert_eq!(
        handle(&public.state, &bare("/metrics")).status.as_u16(),
        200
    );
}

#[test]
fn repositories_are_listed_with_what_is_attached_and_no_credential() {
    let bench = bench();
    let body = json!({"name": "x", "accessType": "READ"});
    bench.ask(&request("POST", &storage_path(), Some(&body)));
    let (_, all) = bench.ask(&request(
        "GET",
        "/repo?workspaceId=undefined&repoId=undefined&walletAddress=null",
        None,
    ));
    assert_eq!(all["repos"].as_array().unwrap().len(), 2);
    let (_, one) = bench.ask(&request("GET", &format!("/repo?repoId={REPOSITORY}"), None));
    let repo = &one["repos"][0];
    assert_eq!(repo["name"], "prod");
    assert_eq!(repo["storageType"], "S3");
    assert_eq!(repo["buckets"][0]["bucket"]["bucket"], "acme-assets");
    assert_eq!(repo["aiLlms"][0]["key"], Value::Null);
    assert_eq!(repo["apiKeys"].as_array().unwrap().len(), 1);
    assert_eq!(repo["aiApiKeys"], json!([]));
    let two = format!("/repo?repoId={REPOSITORY}%2C{OTHER}");
    let (_, two) = bench.ask(&request("GET", &two, None));
    assert_eq!(two["repos"].as_array().unwrap().len(), 2);
    let (_, none) = bench.ask(&request("GET", "/repo?repoId=nope", None));
    assert_eq!(none["repos"], json!([]));
    for canary in CANARIES {
        assert!(!all.to_string().contains(canary));
    }
}

#[test]
fn reload_and_status_tell_what_runs() {
    let bench = bench();
    let (_, status) = bench.ask(&request("GET", "/-/status", None));
    assert_eq!(status["config"]["generation"], 1);
    assert_eq!(status["connections"], 7);
    let reload = || bench.ask(&request("POST", "/-/reload", None));
    assert_eq!(reload().1["outcome"], "unchanged");
    let text = bench.fixture.read("conf.d/media.toml");
    bench
        .fixture
        .write("conf.d/media.toml", &format!("{text}\n# more\n"));
    let (code, applied) = reload();
    assert_eq!((code, &applied["outcome"]), (200, &json!("applied")));
    bench.fixture.write("conf.d/media.toml", "[[s3]\n");
    let (code, failed) = reload();
    assert_eq!(
        (code, &failed["error_code"]),
        (422, &json!("VALIDATION_FAILED"))
    );
    assert!(
        failed["problems"][0]["file"]
            .as_str()
            .unwrap()
            .ends_with("media.toml")
    );
    let body = json!({"name": "x", "accessType": "READ"});
    let (code, conflict) = bench.ask(&request("POST", &storage_path(), Some(&body)));
    assert_eq!(
        (code, &conflict["error_code"]),
        (409, &json!("CONFIG_CONFLICT"))
    );
}

#[test]
fn an_etag_that_is_stale_is_refused() {
    let bench = bench();
    let body = json!({"name": "x", "accessType": "READ"});
    let (_, made) = bench.ask(&request("POST", &storage_path(), Some(&body)));
    let one = format!("{}/{}", storage_path(), made["id"].as_str().unwrap());
    let put = |name: &str, etag: &str| {
        let body = json!({ "name": name });
        with(request("PUT", &one, Some(&body)), "if-match", etag)
    };
    let (_, list) = bench.ask(&request("GET", &storage_path(), None));
    let etag = list["keys"][0]["etag"].as_str().unwrap().to_owned();
    let response = handle(&bench.state, &put("a", &etag));
    assert_eq!(response.status.as_u16(), 200);
    assert_ne!(response.headers["etag"], etag.as_str());
    assert_eq!(
        bench.code(&put("b", &etag)),
        (412, "PRECONDITION_FAILED".into())
    );
    assert_eq!(bench.ask(&put("b", "*")).0, 200);
}
