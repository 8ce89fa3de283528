//! What an operator sees of requests that went well and badly: `/metrics` and the access log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::support::origin::{Origin, Received, Step, answer};
use crate::support::raw::Raw;
use crate::support::server::{
    ADMIN_TOKEN, AI_TOKEN, KEY, REPOSITORY_ID, SECRET, Server, Setup, UPSTREAM_AI_KEY,
    UPSTREAM_SECRET,
};
use crate::support::within;

/// How long after its answer a request may be counted, on a busy machine.
const SETTLED_MAX: Duration = Duration::from_secs(5);

/// Chosen by clients, and a label of nothing.
const STRANGERS: [&str; 5] = [
    "stranger-object",
    "stranger-key",
    "stranger-host",
    "stranger-model",
    "stranger-route",
];

fn answers(request: &Received) -> Vec<Step> {
    let target = request.target.split('?').next().unwrap_or_default();
    if target.ends_with("/good%20one") {
        let text = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nx-amz-request-id: upstream-id-1\r\nContent-Length: 4\r\n\r\nbody";
        answer::raw(text)
    } else if target.ends_with("/missing") {
        answer::error(404, "NoSuchKey")
    } else if target.ends_with("/denied") {
        answer::error(403, "AccessDenied")
    } else if target.ends_with("/cut") {
        let mut steps =
            answer::raw("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 9\r\n\r\ncut");
        steps.push(Step::Close);
        steps
    } else if target.ends_with("/stalled") {
        let mut steps =
            answer::raw("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 9\r\n\r\ncut");
        steps.push(Step::Stall);
        steps
    } else if target.ends_with("/late") {
        vec![Step::ReadBody, Step::Stall]
    } else if target.contains("chat") {
        let length = CHAT.len();
        answer::raw(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: upstream-id-2\r\n\
             Content-Length: {length}\r\n\r\n{CHAT}"
        ))
    } else {
        answer::ok(b"ok")
    }
}

const CHAT: &str = "{\"id\":\"c\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}],\
    \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}";

type Line = Map<String, Value>;

async fn start() -> (Origin, Server) {
    let origin = Origin::start(|request, _| answers(request)).await;
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        ai: Some(origin.address),
        limits: "header_deadline = \"1s\"",
        timeouts: r#"connect = "1s", first_byte = "1s", idle = "1s""#,
        ..Setup::default()
    })
    .await;
    (origin, server)
}

/// Makes every kind of request once, each on a connection that has ended when this returns.
async fn use_all(server: &Server) {
    for key in [
        "good%20one",
        "missing",
        "denied",
        "cut",
        "stalled",
        "late",
        "stranger-object",
    ] {
        let mut client = server.client().await;
        client.send(server.request("GET", key).head()).await;
        let _answer = client.try_response().await;
    }
    let mut queried = server.request("GET", "good%20one");
    queried.query = vec![("response-content-type".into(), "stranger-query".into())];
    let mut forged = server.request("GET", "k");
    forged.secret = "wrong".to_owned();
    let mut unknown = server.request("GET", "k");
    unknown.key = "stranger-key".to_owned();
    let mut elsewhere = server.request("GET", "k");
    elsewhere.host = "stranger-host.example".to_owned();
    elsewhere.path = "/stranger-bucket/k".to_owned();
    for request in [queried, forged, unknown, elsewhere] {
        let mut client = server.client().await;
        client.send(request.head()).await;
        let _answer = client.response().await;
    }
    for model in ["tiny", "stranger-model"] {
        ask(server, AI_TOKEN, model).await;
    }
    ask(server, "sk-wrong", "tiny").await;
    let mut slow = server.client().await;
    slow.send("GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(slow.response().await.code(), "RequestTimeout");
    server.admin("GET", "/stranger-route", "").await;
    let path = format!("/repo/{REPOSITORY_ID}/apikey");
    server.admin("GET", &path, "").await;
}

async fn ask(server: &Server, token: &str, model: &str) {
    let mut client = Raw::connect(server.ai).await;
    let (host, body) = (server.ai, format!(r#"{{"model":"{model}","messages":[]}}"#));
    let length = body.len();
    client
        .send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             User-Agent: test\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    client.response().await;
}

async fn scrape(server: &Server) -> String {
    server.admin("GET", "/metrics", "").await.text()
}

/// A scrape in which every series is as expected: some are counted just after the answer.
async fn scrape_until(server: &Server, expected: &[(&str, u64)]) -> String {
    let started = Instant::now();
    loop {
        let text = scrape(server).await;
        let wrong = expected
            .iter()
            .find(|(series, expected)| value(&text, series) != *expected);
        let Some((series, expected)) = wrong else {
            return text;
        };
        let name = series.split('{').next().unwrap_or_default();
        let family: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert!(
            started.elapsed() < SETTLED_MAX,
            "{series} is not {expected}: {family:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of a series; labels in the order in which they are shown.
fn value(text: &str, series: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |line| line.parse().unwrap())
}

/// The access log, once it is as it should be: it is written beside the answers.
async fn lines(server: &Server, done: impl Fn(&[Line]) -> bool) -> Vec<Line> {
    within("the access log", async {
        loop {
            let log = server.log();
            let found: Vec<Line> = log
                .lines()
                .filter(|line| line.contains("\"req_id\""))
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
                .collect();
            if done(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn every_request_moves_its_series_and_leaves_its_line() {
    let (_origin, server) = start().await;
    use_all(&server).await;
    let lines = lines(&server, |lines| lines.len() >= 14).await;
    let text = scrape_until(&server, MOVED).await;
    for stranger in STRANGERS {
        assert!(!text.contains(stranger), "{stranger} is in\n{text}");
    }
    lint(&text);
    check_lines(&lines);
    let log = server.log();
    for secret in [
        SECRET,
        AI_TOKEN,
        ADMIN_TOKEN,
        UPSTREAM_SECRET,
        UPSTREAM_AI_KEY,
        "sk-wrong",
        "AWS4-HMAC-SHA256",
        "Bearer",
        "stranger-query",
        KEY,
    ] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}

const MOVED: &[(&str, u64)] = &[
    (
        r#"aqueduct_requests_total{code="200",op="GetObject",proto="s3",repo="main"}"#,
        5,
    ),
    (
        r#"aqueduct_requests_total{code="404",op="GetObject",proto="s3",repo="main"}"#,
        2,
    ),
    (
        r#"aqueduct_requests_total{code="403",op="Other",proto="s3",repo=""}"#,
        2,
    ),
    (
        r#"aqueduct_requests_total{code="400",op="Other",proto="s3",repo=""}"#,
        1,
    ),
    (
        r#"aqueduct_requests_total{code="200",op="ChatCompletions",proto="ai",repo="main"}"#,
        1,
    ),
    (
        r#"aqueduct_requests_total{code="404",op="ChatCompletions",proto="ai",repo="main"}"#,
        1,
    ),
    (
        r#"aqueduct_response_body_bytes_total{proto="ai",repo="main",resource="model"}"#,
        134,
    ),
    (
        r#"aqueduct_auth_failures_total{proto="s3",reason="bad_signature",repo=""}"#,
        1,
    ),
    (
        r#"aqueduct_auth_failures_total{proto="s3",reason="unknown_key",repo=""}"#,
        1,
    ),
    (
        r#"aqueduct_auth_failures_total{proto="ai",reason="unknown_key",repo=""}"#,
        1,
    ),
    // What the resource refused is not the caller's failure.
    (
        r#"aqueduct_auth_failures_total{proto="s3",reason="scope",repo="main"}"#,
        0,
    ),
    (
        r#"aqueduct_upstream_errors_total{reason="truncated",resource="origin"}"#,
        1,
    ),
    (
        r#"aqueduct_upstream_errors_total{reason="timeout_idle",resource="origin"}"#,
        1,
    ),
    (
        r#"aqueduct_upstream_errors_total{reason="timeout_first_byte",resource="origin"}"#,
        1,
    ),
    (
        r#"aqueduct_upstream_requests_total{class="read",code="200",resource="origin"}"#,
        5,
    ),
    (
        r#"aqueduct_ai_tokens_total{model="tiny",repo="main",resource="model",source="reported",type="output"}"#,
        2,
    ),
    // No stream, no chunks.
    (
        r#"aqueduct_ai_time_to_first_chunk_seconds_count{model="tiny",op="ChatCompletions",resource="model"}"#,
        0,
    ),
    (
        r#"aqueduct_connections_rejected_total{proto="s3",reason="header_deadline"}"#,
        1,
    ),
    (r#"aqueduct_connections{proto="admin",state="active"}"#, 1),
    (r#"aqueduct_connections{proto="s3",state="active"}"#, 0),
    (r#"aqueduct_inflight_requests{proto="s3"}"#, 0),
    (
        r#"aqueduct_admin_requests_total{code="404",route="other"}"#,
        1,
    ),
    (
        r#"aqueduct_admin_requests_total{code="200",route="/repo/{repoId}/apikey"}"#,
        1,
    ),
    ("aqueduct_admin_writable", 1),
    ("aqueduct_config_last_reload_successful", 1),
    ("aqueduct_config_restart_required", 0),
    (
        r#"aqueduct_config_reloads_total{result="applied",trigger="start"}"#,
        1,
    ),
    (r#"aqueduct_config_watch_mode{mode="notify"}"#, 1),
    (r#"aqueduct_config_watch_mode{mode="poll"}"#, 0),
    (r#"aqueduct_config_objects{kind="key"}"#, 2),
    ("aqueduct_panics_total", 0),
    ("aqueduct_audit_write_failures_total", 0),
];

fn check_lines(lines: &[Line]) {
    for line in lines {
        for field in [
            "ts",
            "level",
            "req_id",
            "proto",
            "op",
            "method",
            "host",
            "path",
            "status",
            "bytes_in",
            "bytes_out",
            "dur_ms",
            "ttfb_ms",
            "client_ip",
            "tls",
            "gen",
        ] {
            assert!(line.contains_key(field), "{field} is not in {line:?}");
        }
    }
    check_paths(lines);
    check_refusals(lines);
    check_chat(lines);
}

/// What the line of each path says.
fn check_paths(lines: &[Line]) {
    let of = |path: &str| {
        let found = lines.iter().find(|line| line["path"] == path);
        found.unwrap_or_else(|| panic!("no line for {path}"))
    };
    let good = of("/media/good one");
    for (field, expected) in [
        ("op", "GetObject"),
        ("repo", "main"),
        ("resource", "origin"),
        ("bucket", "media"),
        ("key_id", "00000000-0000-4000-8000-000000000001"),
        ("upstream_req_id", "upstream-id-1"),
    ] {
        assert_eq!(good[field], expected, "{field} of {good:?}");
    }
    assert_eq!(
        (&good["attempts"], &good["upstream_status"]),
        (&1.into(), &200.into())
    );
    assert!(!good.contains_key("error_code") && !good.contains_key("flags"));
    for (path, code, flags) in [
        ("/media/missing", "NoSuchKey", None),
        ("/media/cut", "", Some("UR")),
        ("/media/stalled", "", Some("UT")),
        ("/media/late", "", Some("UT")),
        ("/stranger-bucket/k", "NoSuchBucket", None),
    ] {
        let line = of(path);
        assert_eq!(line.get("flags").and_then(Value::as_str), flags, "{line:?}");
        let logged = line["error_code"].as_str().unwrap();
        assert!(code.is_empty() || logged == code, "{line:?}");
    }
    assert_eq!(of("/media/cut")["bytes_out"], 3);
    assert_eq!(of("/media/late")["attempts"], 1);
}

fn check_refusals(lines: &[Line]) {
    let codes: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line.get("flags").is_some_and(|flags| flags == "AU"))
        .filter_map(|line| line["error_code"].as_str())
        .collect();
    let expected = [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "invalid_api_key",
    ];
    assert!(codes.iter().eq(&expected), "{codes:?}");
}

fn check_chat(lines: &[Line]) {
    let chat = lines
        .iter()
        .find(|line| line.get("model_used").is_some_and(|model| model == "tiny"));
    let chat = chat.expect("a line of a chat");
    assert_eq!(chat["upstream_req_id"], "upstream-id-2");
    assert_eq!((&chat["tok_in"], &chat["tok_out"]), (&7.into(), &2.into()));
    assert_eq!(
        (&chat["model_req"], &chat["ua"]),
        (&"tiny".into(), &"test".into())
    );
}

/// What `promtool check metrics` asks for, over the whole of a live scrape.
fn lint(text: &str) {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut series = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(help.split(' ').next().unwrap()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(kinds.insert(name, kind).is_none(), "{name} twice");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(name), "{name} twice");
            let name = name.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|family| kinds.get(family) == Some(&"histogram"))
                .unwrap_or(name);
            assert!(kinds.contains_key(family), "{line} has no TYPE");
        }
    }
    assert!(
        kinds.keys().eq(helped.iter()),
        "HELP and TYPE come in pairs"
    );
}

#[tokio::test]
async fn each_limit_is_counted_by_its_name() {
    let origin = Origin::start(|request, _| {
        if request.target.ends_with("/held") {
            vec![Step::ReadBody, Step::Stall]
        } else {
            answer::ok(b"ok")
        }
    })
    .await;
    for (rules, expected, other) in [
        ("limits = { rps = 1 }", "rps", "concurrent"),
        ("limits = { concurrent = 1 }", "concurrent", "rps"),
    ] {
        let server = Server::start(&Setup {
            storage: Some(origin.address),
            repository: rules,
            ..Setup::default()
        })
        .await;
        let before = origin.requests().len();
        let mut first = server.client().await;
        first.send(server.request("GET", "held").head()).await;
        origin
            .until("the first request", |seen| seen.requests.len() > before)
            .await;
        // The rate allows a burst of one second's worth.
        let mut refused = false;
        for _ in 0..3 {
            refused = refused || server.get("k").await.status == 503;
        }
        assert!(refused, "{rules} refused nothing");
        // Written after it was counted, which is after it was answered.
        let is_refusal = |line: &Line| line["status"] == 503;
        let lines = lines(&server, |lines| lines.iter().any(is_refusal)).await;
        let line = lines.into_iter().find(is_refusal).unwrap();
        let text = scrape(&server).await;
        let count = |scope| {
            let series =
                format!(r#"aqueduct_ratelimit_rejected_total{{repo="main",scope="{scope}"}}"#);
            value(&text, &series)
        };
        assert!(count(expected) > 0 && count(other) == 0, "{text}");
        assert_eq!(
            (&line["flags"], &line["error_code"]),
            (&"RL".into(), &"SlowDown".into())
        );
    }
}

#[tokio::test]
async fn a_config_that_cannot_be_written_is_shown() {
    let (_origin, server) = start().await;
    let path = format!("/repo/{REPOSITORY_ID}/apikey");
    let body = r#"{"name": "n", "accessType": "READ"}"#;
    // A directory in the log's place: unlike a missing right, that stops root too.
    let audit = server.dir.path().join("state/audit.log");
    let _absent = std::fs::remove_file(&audit);
    std::fs::create_dir(&audit).unwrap();
    assert_eq!(server.admin("POST", &path, body).await.status, 503);
    let text = scrape(&server).await;
    assert_eq!(value(&text, "aqueduct_admin_writable"), 0, "{text}");
    assert_eq!(value(&text, "aqueduct_audit_write_failures_total"), 1);
    std::fs::remove_dir(&audit).unwrap();
    assert_eq!(server.admin("POST", &path, body).await.status, 201);
    let text = scrape(&server).await;
    assert_eq!(value(&text, "aqueduct_admin_writable"), 1);
    let created = r#"aqueduct_admin_requests_total{code="201",route="/repo/{repoId}/apikey"}"#;
    assert_eq!(value(&text, created), 1);
    assert_eq!(value(&text, r#"aqueduct_config_objects{kind="key"}"#), 3);
}
