//! The `OpenAI` endpoint over an origin that sends what a test wants: events at their own pace, faults, and odd
//! bodies. Issue 2, section E.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::origin::{Origin, Step, answer};
use crate::support::raw::{Raw, Response};
use crate::support::server::{AI_TOKEN, Server, Setup};

const CHAT: &str = "/v1/chat/completions";

async fn start(steps: Vec<Step>) -> (Origin, Server) {
    let origin = Origin::always(steps).await;
    let timeouts = r#"connect = "1s", first_byte = "1s", idle = "2s""#;
    let server = Server::start(&Setup {
        ai: Some(origin.address),
        timeouts,
        ..Setup::default()
    })
    .await;
    (origin, server)
}

async fn post(server: &Server, path: &str, body: &str) -> Raw {
    let mut client = Raw::connect(server.ai).await;
    let (host, length) = (server.ai, body.len());
    client
        .send(format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {AI_TOKEN}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    client
}

async fn ask(server: &Server, path: &str, body: &str) -> Response {
    post(server, path, body).await.response().await
}

fn json(text: &str) -> Vec<Step> {
    let length = text.len();
    answer::raw(&format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}"
    ))
}

fn chunk(text: &str) -> Step {
    Step::Write(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

fn stream_head() -> Vec<Step> {
    answer::raw(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
}

fn delta(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
    )
}

const USAGE: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5,\"total_tokens\":12}}\n\n";
const STREAM: &str =
    r#"{"model":"tiny","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

/// The error object of an answer, which must have OpenAI's shape.
fn error(answer: &Response) -> Value {
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json")),
        "{answer:?}"
    );
    let body: Value =
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
    for field in ["message", "type", "param", "code"] {
        assert!(body["error"].get(field).is_some(), "no {field} in {body}");
    }
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    body["error"].clone()
}

#[tokio::test]
async fn events_are_handed_on_one_by_one() {
    let pause = Duration::from_millis(600);
    let mut steps = stream_head();
    for text in ["one", "two"] {
        steps.extend([chunk(&delta(text)), Step::Pause(pause)]);
    }
    steps.extend([
        chunk(USAGE),
        chunk("data: [DONE]\n\n"),
        Step::Write(b"0\r\n\r\n".to_vec()),
    ]);
    let (origin, server) = start(steps).await;
    let started = Instant::now();
    let mut client = post(&server, CHAT, STREAM).await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    assert!(
        head.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
    );
    // The head may have come together with it.
    let mut text = String::from_utf8_lossy(&client.some().await).into_owned();
    assert!(
        started.elapsed() < pause,
        "the first event came after {:?}",
        started.elapsed()
    );
    while !text.ends_with("0\r\n\r\n") {
        let more = client.some().await;
        assert!(!more.is_empty(), "{text}");
        text += &String::from_utf8_lossy(&more);
    }
    assert!(text.contains("one") && text.contains("two"), "{text}");
    assert!(
        !text.contains("\"usage\""),
        "usage that nobody asked for was shown: {text}"
    );
    let sent: Value = serde_json::from_slice(&origin.requests()[0].body).unwrap();
    assert_eq!(sent["stream_options"]["include_usage"], true);
    let metrics = server.admin("GET", "/metrics", "").await.text();
    let counted = metrics
        .lines()
        .any(|line| line.contains("tokens") && line.contains("output") && line.ends_with(" 5"));
    assert!(counted, "the stream's tokens were not counted");
}

#[tokio::test]
async fn usage_that_was_asked_for_is_shown() {
    let mut steps = stream_head();
    steps.extend([
        chunk(&delta("x")),
        chunk(USAGE),
        chunk("data: [DONE]\n\n"),
        Step::Write(b"0\r\n\r\n".to_vec()),
    ]);
    let (origin, server) = start(steps).await;
    let body = STREAM.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    let answer = ask(&server, CHAT, &body).await;
    assert!(
        answer.complete && answer.text().contains("\"usage\""),
        "{}",
        answer.text()
    );
    assert_eq!(origin.requests()[0].body, body.as_bytes());
}

#[tokio::test]
async fn bodies_are_passed_on_byte_for_byte() {
    let reply = "{ \"id\" : \"x\",\n \"choices\":[], \"big\": 12345678901234567890.10, \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2} }";
    let (origin, server) = start(json(reply)).await;
    let padding = "x".repeat(300_000);
    for body in [
        "{\"model\" : \"tiny\",\"messages\":[] , \"seed\":12345678901234567890, \"t\":1.0e0}".to_owned(),
        "\n\t{\"messages\":[{\"role\":\"user\",\"content\":\"\\u00fc\\ud83c\\udf0d \u{1f30d}\"}],\"model\":\"tiny\"}\n".to_owned(),
        format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{padding}\"}}],\"model\":\"tiny\"}}"),
    ] {
        let answer = ask(&server, CHAT, &body).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, reply));
        let seen = origin.requests().pop().unwrap();
        assert!(seen.complete && seen.body == body.as_bytes(), "the body was changed: {body:.80}");
        assert_eq!(seen.target, CHAT);
    }
}

#[tokio::test]
async fn bodies_that_two_parsers_may_read_differently_are_refused() {
    let (origin, server) = start(json("{}")).await;
    for body in [
        r#"{"model":"tiny","model":"other","messages":[]}"#,
        r#"{"model":"tiny","mod\u0065l":"other","messages":[]}"#,
        r#"{"messages":[]}"#,
        r#"{"model":7,"messages":[]}"#,
        r#"["model"]"#,
        r#"{"model":"tiny""#,
        "nonsense",
        "",
    ] {
        let answer = ask(&server, CHAT, body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(error(&answer)["type"], "invalid_request_error", "{body}");
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn refusals_have_the_protocols_shape() {
    let (origin, server) = start(json("{}")).await;
    let unknown = ask(&server, CHAT, r#"{"model":"nobody","messages":[]}"#).await;
    assert_eq!(
        (unknown.status, error(&unknown)["code"].as_str()),
        (404, Some("model_not_found"))
    );
    let path = ask(&server, "/v1/nothing", "{}").await;
    assert!(matches!(path.status, 404 | 501), "{}", path.status);
    error(&path);
    for lines in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Basic dTpw\r\n",
    ] {
        let mut client = Raw::connect(server.ai).await;
        client
            .send(format!(
                "GET /v1/models HTTP/1.1\r\nHost: {}\r\n{lines}\r\n",
                server.ai
            ))
            .await;
        let answer = client.response().await;
        assert_eq!(answer.status, 401, "{lines}");
        error(&answer);
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_stream_upstream() {
    let mut steps = stream_head();
    steps.extend([chunk(&delta("x")), Step::Stall]);
    let (origin, server) = start(steps).await;
    let mut client = post(&server, CHAT, STREAM).await;
    assert_eq!(client.head().await.status, 200);
    let left = Instant::now();
    drop(client);
    origin
        .until("the stream to be given up", |seen| {
            seen.ended == seen.opened
        })
        .await;
    assert!(
        left.elapsed() < Duration::from_secs(1),
        "{:?}",
        left.elapsed()
    );
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_not_presented_as_complete() {
    for last in [Step::Close, Step::Reset, Step::Stall] {
        let mut steps = stream_head();
        steps.extend([chunk(&delta("x")), last.clone()]);
        let (_origin, server) = start(steps).await;
        let answer = ask(&server, CHAT, STREAM).await;
        let told = answer.text().contains("\"error\"");
        assert!(
            !answer.text().contains("[DONE]") && (!answer.complete || told),
            "{last:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn failures_of_the_server_are_told_once_and_in_shape() {
    let limited = "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Type: application/json\r\nContent-Length: 61\r\n\r\n\
                   {\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":\"c\"}}";
    for (what, steps, statuses) in [
        (
            "silent",
            vec![Step::ReadBody, Step::Stall],
            &[408, 503, 504][..],
        ),
        (
            "closed",
            vec![Step::ReadBody, Step::Close],
            &[500, 502, 503][..],
        ),
        (
            "limited",
            answer::raw(&limited.replace(
                "61",
                &limited.split("\r\n\r\n").nth(1).unwrap().len().to_string(),
            )),
            &[429][..],
        ),
        (
            "refused credential",
            answer::raw("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}"),
            &[500, 502, 503][..],
        ),
    ] {
        let (origin, server) = start(steps).await;
        let answer = ask(&server, CHAT, r#"{"model":"tiny","messages":[]}"#).await;
        assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
        error(&answer);
        if what == "limited" {
            assert_eq!(answer.header("retry-after"), Some("7"));
        }
        // A POST whose bytes were sent may have been paid for already.
        assert!(
            what == "limited" || origin.requests().len() == 1,
            "{what}: asked {} times",
            origin.requests().len()
        );
    }
}

/// A second resource of the same model, which takes over where the first fails.
async fn add_second(server: &Server, second: &Origin) {
    let path = server.config("conf.d/main.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let address = second.address;
    let text = text.replace(r#"ai = ["model"]"#, r#"ai = ["model", "second"]"#);
    let resource = format!(
        "[[ai]]\nname = \"second\"\ntype = \"other\"\nbase_url = \"http://{address}/v1\"\nmodels = [\"tiny\"]\n\
         allow_http = true\nallow_private = true\n"
    );
    std::fs::write(&path, format!("{resource}{text}")).unwrap();
    let reloaded = server.admin("POST", "/-/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
}

#[tokio::test]
async fn silence_is_measured_past_the_comments_that_keep_a_stream_alive() {
    let mut steps = stream_head();
    steps.extend([chunk(&delta("x")), Step::Stall]);
    let origin = Origin::always(steps).await;
    let server = Server::start(&Setup {
        ai: Some(origin.address),
        timeouts: r#"first_byte = "1s", idle = "17s""#,
        ..Setup::default()
    })
    .await;
    let started = Instant::now();
    let mut client = post(&server, CHAT, STREAM).await;
    let mut text = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut text);
    let ended = tokio::time::timeout(Duration::from_secs(25), read).await;
    let text = String::from_utf8_lossy(&text);
    assert!(ended.is_ok(), "a silent stream was kept for ever: {text}");
    assert!(started.elapsed() > Duration::from_secs(16), "{text}");
    assert!(
        text.contains(": ping") && text.contains("upstream_timeout"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stream_that_starts_with_an_error_is_asked_of_the_next_resource() {
    const ERROR: &str =
        "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n";
    let end = Step::Write(b"0\r\n\r\n".to_vec());
    let mut failing = stream_head();
    failing.extend([chunk(ERROR), end.clone()]);
    let mut working = stream_head();
    working.extend([chunk(&delta("second")), chunk("data: [DONE]\n\n"), end]);
    let (_first, server) = start(failing).await;
    // With nobody else to ask, the resource's own words are the answer.
    let alone = ask(&server, CHAT, STREAM).await;
    assert!(alone.text().contains("overloaded"), "{}", alone.text());
    let second = Origin::always(working).await;
    add_second(&server, &second).await;
    let answer = ask(&server, CHAT, STREAM).await;
    assert!(
        answer.complete && answer.text().contains("second"),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("overloaded"), "{}", answer.text());
}

#[tokio::test]
async fn a_stream_that_is_compressed_against_our_wish_is_handed_on_as_it_is() {
    let body = "\u{1f}not read";
    let length = body.len();
    let (_origin, server) = start(answer::raw(&format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n{body}"
    )))
    .await;
    let answer = ask(&server, CHAT, STREAM).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, body));
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn a_refusal_that_repeats_a_clients_words_does_not_end_the_counting_of_tokens() {
    let text = r#"{"error":{"message":"no such value: stream_options"}}"#;
    let length = text.len();
    let (origin, server) = start(answer::raw(&format!(
        "HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}"
    )))
    .await;
    for _ in 0..2 {
        let answer = ask(&server, CHAT, STREAM).await;
        assert_eq!((answer.status, answer.text().as_str()), (400, text));
    }
    let asked: Vec<bool> = origin
        .requests()
        .iter()
        .map(|seen| String::from_utf8_lossy(&seen.body).contains("include_usage"))
        .collect();
    assert_eq!(asked, [true, false, true, false]);
}

#[tokio::test]
async fn a_refused_client_that_waits_for_our_word_is_let_go_at_once() {
    let (_origin, server) = start(json("{}")).await;
    let mut client = Raw::connect(server.ai).await;
    client
        .send(format!(
            "POST {CHAT} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer wrong\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            server.ai
        ))
        .await;
    let mut text = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut text);
    let ended = tokio::time::timeout(Duration::from_secs(2), read).await;
    let text = String::from_utf8_lossy(&text);
    assert!(ended.is_ok() && text.starts_with("HTTP/1.1 401"), "{text}");
}

#[tokio::test]
async fn of_resources_without_a_list_the_one_that_has_the_model_is_asked() {
    let list = |model: &str| format!(r#"{{"object":"list","data":[{{"id":"{model}"}}]}}"#);
    let (first, server) = start(json(&list("one"))).await;
    let second = Origin::always(json(&list("two"))).await;
    add_second(&server, &second).await;
    let path = server.config("conf.d/main.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("models = [\"tiny\"]\n", "")).unwrap();
    let reloaded = server.admin("POST", "/-/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    for (model, expected) in [("two", "two"), ("one", "one"), ("neither", "one")] {
        let body = format!(r#"{{"model":"{model}","messages":[]}}"#);
        let answer = ask(&server, CHAT, &body).await;
        assert_eq!(answer.text(), list(expected), "{model}");
    }
    let lists = first.requests();
    let lists = lists.iter().filter(|seen| seen.target == "/v1/models");
    assert_eq!(lists.count(), 1, "the list is not kept");
}
