//! What is told of tokens is the same everywhere: in the answer, in `/metrics` and at `GET /ai/llm/stats`, on every lane
//! and however an answer ends. Issue 5, section D.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use crate::support::lanes::{
    self, KEY_ID, Lane, REPOSITORY_ID, Usage, answer, chat, json, open_stream, stream,
};
use crate::support::origin::{Origin, Step};
use crate::support::server::{Server, Setup};
use crate::support::within;

const STREAM: &str = r#""stream":true,"#;
const STREAM_WITH_USAGE: &str = r#""stream":true,"stream_options":{"include_usage":true},"#;
const TITAN: &str = "amazon.titan-embed-text-v2:0";

/// A server whose providers all answer as a test said last.
struct Bed {
    origin: Origin,
    server: Server,
    next: Arc<Mutex<Vec<Step>>>,
}

async fn bed(models: &[(Lane, &str, &str)]) -> Bed {
    let next = Arc::new(Mutex::new(Vec::new()));
    let script = Arc::clone(&next);
    let origin = Origin::start(move |_, _| script.lock().clone()).await;
    let server = Server::start(&Setup {
        ai: Some(origin.address),
        ..Setup::default()
    })
    .await;
    let rules = r#"timeouts = { connect = "1s", first_byte = "2s", idle = "2s" }"#;
    lanes::add(&server, origin.address, rules, models).await;
    Bed {
        origin,
        server,
        next,
    }
}

/// What the ledger has of one model.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    usage: Usage,
    calls: u64,
    errors: u64,
    estimated: u64,
    partial: u64,
}

impl Bed {
    /// Asks, with the providers answering by `steps`.
    async fn ask(&self, steps: Vec<Step>, request: &str) -> String {
        *self.next.lock() = steps;
        let mut client = lanes::send(&self.server, request).await;
        client.response().await.text()
    }

    /// The rows of a model, by their resource, once so many calls are counted: that is just after their answers.
    async fn rows(&self, model: &str, calls: u64) -> Vec<(String, Row)> {
        let path = format!("/ai/llm/stats?details=true&llmModel={model}&repoId={REPOSITORY_ID}");
        within("the calls to be counted", async {
            loop {
                let stats = self.server.admin("GET", &path, "").await.text();
                let stats: Value = serde_json::from_str(&stats).unwrap();
                let rows = rows(&stats);
                if rows.iter().map(|(_, row)| row.calls).sum::<u64>() >= calls {
                    return rows;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Checks the one call of a model: what the ledger and the metrics have of it.
    async fn check(&self, lane: Lane, model: &str, expected: &Row) {
        let rows = self.rows(model, 1).await;
        let [(_, row)] = rows.as_slice() else {
            panic!("{model}: {rows:?}");
        };
        assert_eq!(row, expected, "{model}");
        let source = match (expected.estimated, expected.partial) {
            (0, 0) => "reported",
            (_, 0) => "estimated",
            _ => "partial",
        };
        self.check_metrics(lane, model, source, expected.usage)
            .await;
    }

    async fn check_metrics(&self, lane: Lane, model: &str, source: &str, usage: Usage) {
        let text = self.server.admin("GET", "/metrics", "").await.text();
        let resource = lane.name();
        let counted = |kind: &str| {
            let series = format!(
                r#"aqueduct_ai_tokens_total{{model="{model}",repo="lanes",resource="{resource}",source="{source}",type="{kind}"}}"#
            );
            value(&text, &series)
        };
        let shown = Usage {
            input: counted("input"),
            cached: counted("cached"),
            cache_write: counted("cache_write"),
            output: counted("output"),
            reasoning: counted("reasoning"),
        };
        assert_eq!(shown, usage, "{model} in the metrics");
        let all: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("aqueduct_ai_tokens_total{"))
            .filter(|line| line.contains(&format!("model=\"{model}\"")))
            .filter(|line| !line.contains(&format!("source=\"{source}\"")))
            .collect();
        assert!(all.is_empty(), "{model}: {all:?}");
        let of_conventions = |kind: &str| {
            let found = text.lines().find(|line| {
                line.starts_with("gen_ai_client_token_usage_sum{")
                    && line.contains(&format!("gen_ai_request_model=\"{model}\""))
                    && line.contains(&format!("gen_ai_token_type=\"{kind}\""))
            });
            found.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        };
        let reported = (source == "reported" && usage != Usage::default()).then_some(usage);
        assert_eq!(
            (of_conventions("input"), of_conventions("output")),
            (
                reported.map(|usage| usage.input),
                reported.map(|usage| usage.output)
            ),
            "{model}"
        );
    }
}

fn rows(stats: &Value) -> Vec<(String, Row)> {
    let details = stats["stats"].as_array().unwrap().iter().flat_map(|one| {
        let name = one["aiLlmId"].as_str().unwrap();
        let details = one["details"].as_array().unwrap();
        details.iter().map(move |detail| (name.to_owned(), detail))
    });
    details
        .map(|(name, detail)| {
            assert_eq!(detail["repoAiApiKeyId"], KEY_ID, "{detail}");
            let tokens = |member: &str| detail[member].as_str().unwrap().parse().unwrap();
            assert_eq!(detail["tokensIn"], detail["llmTokensIn"]);
            assert_eq!(detail["tokensOut"], detail["llmTokensOut"]);
            let count = |member: &str| detail[member].as_u64().unwrap();
            let row = Row {
                usage: Usage {
                    input: tokens("tokensIn"),
                    cached: tokens("tokensCached"),
                    cache_write: tokens("tokensCacheWrite"),
                    output: tokens("tokensOut"),
                    reasoning: tokens("tokensReasoning"),
                },
                calls: count("apiCalls"),
                errors: count("errors"),
                estimated: count("estimated"),
                partial: count("partial"),
            };
            (name, row)
        })
        .collect()
}

fn value(text: &str, series: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |line| line.parse().unwrap())
}

fn reported(usage: Usage) -> Row {
    Row {
        usage,
        calls: 1,
        ..Row::default()
    }
}

/// The length of a request's body.
fn body_bytes(request: &str) -> u64 {
    request.split("\r\n\r\n").nth(1).unwrap().len() as u64
}

#[tokio::test]
async fn what_a_provider_reports_is_the_same_everywhere() {
    let names: Vec<(Lane, String)> = Lane::ALL
        .into_iter()
        .flat_map(|lane| {
            ["whole", "stream", "hidden"].map(|how| (lane, format!("{}-{how}", lane.name())))
        })
        .collect();
    let models: Vec<_> = names
        .iter()
        .map(|(lane, name)| (*lane, name.as_str(), lane.upstream_model()))
        .collect();
    let bed = bed(&models).await;
    for (lane, name) in &names {
        let (steps, more) = match name.rsplit('-').next().unwrap() {
            "whole" => (json(&lane.whole()), ""),
            "stream" => (stream(*lane, &["hello ", "world"]), STREAM_WITH_USAGE),
            _ => (stream(*lane, &["hello ", "world"]), STREAM),
        };
        let answer = bed.ask(steps, &chat(name, more)).await;
        let told = (more != STREAM).then(|| lane.usage());
        assert_eq!(Usage::told(&answer), told, "{name}: {answer}");
        bed.check(*lane, name, &reported(lane.usage())).await;
    }
    // Whatever was asked for, the upstream was asked to tell.
    let streamed = bed.origin.requests();
    let streamed = streamed.iter().filter(|seen| seen.target == lanes::CHAT);
    assert_eq!(streamed.count(), 3);
}

#[tokio::test]
async fn embeddings_are_counted() {
    let models = [
        (Lane::OpenAi, "embed-openai", "text-embedding-3-small"),
        (Lane::Bedrock, "embed-titan", TITAN),
        (Lane::Google, "embed-google", "gemini-embedding-001"),
    ];
    let bed = bed(&models).await;
    let input = |input| Usage {
        input,
        ..Usage::default()
    };
    let request = |model: &str| {
        let body =
            format!(r#"{{"model":"{model}","input":["one","two"],"encoding_format":"float"}}"#);
        lanes::request("/v1/embeddings", &body)
    };
    let openai = r#"{"object":"list","data":[],"usage":{"prompt_tokens":9,"total_tokens":9}}"#;
    let titan = r#"{"embedding":[1,0.5],"inputTextTokenCount":4}"#;
    // One call a text, and one call of the client's.
    for (lane, model, text, tokens) in [
        (Lane::OpenAi, "embed-openai", openai, 9),
        (Lane::Bedrock, "embed-titan", titan, 8),
    ] {
        let answer = bed.ask(json(text), &request(model)).await;
        assert_eq!(Usage::told(&answer), Some(input(tokens)), "{answer}");
        bed.check(lane, model, &reported(input(tokens))).await;
    }
    // This provider tells nothing: the answer makes nothing up, the ledger estimates and says so.
    let google = r#"{"embeddings":[{"values":[1,0.5]},{"values":[1,0.5]}]}"#;
    let asked = request("embed-google");
    let answer = bed.ask(json(google), &asked).await;
    assert_eq!(Usage::told(&answer), Some(input(0)), "{answer}");
    let expected = Row {
        estimated: 1,
        ..reported(input(body_bytes(&asked) / 4))
    };
    bed.check(Lane::Google, "embed-google", &expected).await;
}

#[tokio::test]
async fn an_answer_without_usage_is_estimated_and_says_so() {
    let models = [
        (Lane::OpenAi, "silent", "a"),
        (Lane::OpenAi, "packed", "b"),
        (Lane::Anthropic, "silent-lane", "c"),
    ];
    let bed = bed(&models).await;
    let text = r#"{"id":"c","choices":[]}"#;
    let asked = chat("silent", "");
    bed.ask(json(text), &asked).await;
    let estimate = |asked: &str, output: usize| Row {
        estimated: 1,
        ..reported(Usage {
            input: body_bytes(asked) / 4,
            output: output as u64 / 4,
            ..Usage::default()
        })
    };
    bed.check(Lane::OpenAi, "silent", &estimate(&asked, text.len()))
        .await;
    // Compressed although we asked for none: not read, and counted all the same.
    let asked = chat("packed", "");
    let packed = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 40\r\n\r\n";
    let packed = vec![
        Step::ReadBody,
        Step::Write([packed.as_bytes(), &[31; 40]].concat()),
    ];
    bed.ask(packed, &asked).await;
    bed.check(Lane::OpenAi, "packed", &estimate(&asked, 40))
        .await;
    let text = r#"{"id":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}"#;
    let asked = chat("silent-lane", "");
    let answer = bed.ask(json(text), &asked).await;
    bed.check(
        Lane::Anthropic,
        "silent-lane",
        &estimate(&asked, answer.len()),
    )
    .await;
}

#[tokio::test]
async fn what_is_cut_short_is_counted_as_far_as_it_came() {
    let ends = ["broken", "left", "unanswered"];
    let names: Vec<(Lane, String)> = Lane::ALL
        .into_iter()
        .flat_map(|lane| ends.map(|end| (lane, format!("{}-{end}", lane.name()))))
        .collect();
    let models: Vec<_> = names
        .iter()
        .map(|(lane, name)| (*lane, name.as_str(), "m"))
        .collect();
    let bed = bed(&models).await;
    for (lane, name) in &names {
        let asked = chat(name, STREAM);
        let prompt = body_bytes(&asked) / 4;
        // What was told of the prompt by then stands, and three pieces went by.
        let (input, cached, cache_write) = match lane {
            Lane::Anthropic => (60, 30, 20),
            Lane::Google => (50, 20, 0),
            Lane::OpenAi | Lane::Bedrock => (prompt, 0, 0),
        };
        let mut expected = Row {
            partial: 1,
            ..reported(Usage {
                input,
                cached,
                cache_write,
                output: 3,
                reasoning: 0,
            })
        };
        let mut steps = open_stream(*lane, &["one", "two", "three"]);
        if name.ends_with("broken") {
            steps.push(Step::Close);
            let answer = bed.ask(steps, &asked).await;
            assert!(
                answer.contains("\"error\"") && !answer.contains("[DONE]"),
                "{answer}"
            );
            expected.errors = 1;
        } else if name.ends_with("left") {
            steps.push(Step::Stall);
            *bed.next.lock() = steps;
            let mut client = lanes::send(&bed.server, &asked).await;
            client.read_until(&mut String::new(), "three").await;
        } else {
            *bed.next.lock() = vec![Step::ReadBody, Step::Stall];
            let before = bed.origin.requests().len();
            let client = lanes::send(&bed.server, &asked).await;
            bed.origin
                .until("the request", |seen| {
                    seen.requests.len() > before && seen.requests[before].complete
                })
                .await;
            drop(client);
            expected.usage = Usage {
                input: prompt,
                ..Usage::default()
            };
        }
        bed.check(*lane, name, &expected).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_a_whole_answer_has_spent_its_prompt() {
    let names: Vec<(Lane, String)> = Lane::ALL
        .into_iter()
        .map(|lane| (lane, format!("{}-gone", lane.name())))
        .collect();
    let models: Vec<_> = names
        .iter()
        .map(|(lane, name)| (*lane, name.as_str(), "m"))
        .collect();
    let bed = bed(&models).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n";
    for (lane, name) in &names {
        let asked = chat(name, "");
        let before = bed.origin.requests().len();
        *bed.next.lock() = vec![Step::ReadBody, Step::Write(head.into()), Step::Stall];
        let client = lanes::send(&bed.server, &asked).await;
        bed.origin
            .until("the request", |seen| {
                seen.requests.len() > before && seen.requests[before].complete
            })
            .await;
        drop(client);
        let expected = Row {
            partial: 1,
            ..reported(Usage {
                input: body_bytes(&asked) / 4,
                ..Usage::default()
            })
        };
        bed.check(*lane, name, &expected).await;
    }
}

#[tokio::test]
async fn refusals_are_errors_that_spend_nothing() {
    let names: Vec<(Lane, String)> = Lane::ALL
        .into_iter()
        .flat_map(|lane| ["400", "500"].map(|status| (lane, format!("{}-{status}", lane.name()))))
        .collect();
    let models: Vec<_> = names
        .iter()
        .map(|(lane, name)| (*lane, name.as_str(), "m"))
        .collect();
    let bed = bed(&models).await;
    for (lane, name) in &names {
        let status = name.rsplit('-').next().unwrap();
        let steps = answer(&format!("{status} No"), r#"{"error":{"message":"no"}}"#);
        bed.ask(steps, &chat(name, "")).await;
        let expected = Row {
            calls: 1,
            errors: 1,
            ..Row::default()
        };
        bed.check(*lane, name, &expected).await;
    }
    // Refused here, it was no call.
    bed.ask(Vec::new(), &chat("nobody", "")).await;
    assert_eq!(bed.rows("nobody", 0).await, []);
    let text = bed.server.admin("GET", "/metrics", "").await.text();
    let failed = text.lines().any(|line| {
        line.starts_with("gen_ai_client_operation_duration_seconds_count{error_type=\"500\"")
            && line.contains("gen_ai_provider_name=\"anthropic\"")
    });
    assert!(failed, "{text}");
}

#[tokio::test]
async fn each_resource_that_was_asked_has_its_call() {
    let models = [
        (Lane::Anthropic, "either", "claude"),
        (Lane::Google, "either", "gemini"),
    ];
    let bed = bed(&models).await;
    let overloaded = answer("529 Overloaded", r#"{"error":{"type":"overloaded_error"}}"#);
    let google = json(&Lane::Google.whole());
    let script = Origin::start(move |request, _| {
        if request.target.contains("messages") {
            overloaded.clone()
        } else {
            google.clone()
        }
    })
    .await;
    lanes::add(&bed.server, script.address, "", &models).await;
    let mut client = lanes::send(&bed.server, &chat("either", "")).await;
    let answer = client.response().await;
    assert_eq!(answer.header("x-aqueduct-resource"), Some("google"));
    assert_eq!(Usage::told(&answer.text()), Some(Lane::Google.usage()));
    let mut rows: Vec<Row> = bed
        .rows("either", 2)
        .await
        .into_iter()
        .map(|it| it.1)
        .collect();
    rows.sort_by_key(|row| row.errors);
    let failed = Row {
        calls: 1,
        errors: 1,
        ..Row::default()
    };
    assert_eq!(rows, [reported(Lane::Google.usage()), failed]);
}

#[tokio::test]
async fn what_a_call_of_several_parts_spent_before_it_failed_is_counted() {
    let models = [(Lane::Bedrock, "parts", TITAN)];
    let bed = bed(&models).await;
    let script = Origin::start(|_, index| {
        if index == 0 {
            json(r#"{"embedding":[1,0.5],"inputTextTokenCount":4}"#)
        } else {
            answer("400 No", r#"{"message":"no"}"#)
        }
    })
    .await;
    lanes::add(&bed.server, script.address, "", &models).await;
    let body = r#"{"model":"parts","input":["one","two"],"encoding_format":"float"}"#;
    let asked = lanes::request("/v1/embeddings", body);
    let mut client = lanes::send(&bed.server, &asked).await;
    assert_eq!(client.response().await.status, 400);
    let expected = Row {
        calls: 1,
        errors: 1,
        partial: 1,
        usage: Usage {
            input: 4,
            ..Usage::default()
        },
        ..Row::default()
    };
    bed.check(Lane::Bedrock, "parts", &expected).await;
}

#[tokio::test]
async fn a_crash_takes_no_more_than_what_came_after_the_last_write() {
    let mut bed = bed(&[]).await;
    bed.ask(json(&Lane::Google.whole()), &chat("google", ""))
        .await;
    let file = bed.server.dir.path().join("state/ledger.json");
    within("the ledger to be written", async {
        while !file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    let pid = bed.server.pid();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    bed.server.ended().await;
    bed.server.restart("").await;
    let rows = bed.rows("google", 1).await;
    assert_eq!(rows[0].1, reported(Lane::Google.usage()));
}

#[tokio::test]
async fn what_was_spent_outlives_a_restart_a_reload_and_the_key() {
    let mut bed = bed(&[]).await;
    bed.ask(json(&Lane::Google.whole()), &chat("google", ""))
        .await;
    bed.check(Lane::Google, "google", &reported(Lane::Google.usage()))
        .await;
    let pid = bed.server.pid();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(bed.server.exit().await.success());
    bed.server.restart("").await;
    bed.ask(json(&Lane::Google.whole()), &chat("google", ""))
        .await;
    let rows = bed.rows("google", 2).await;
    assert_eq!((rows.len(), rows[0].1.usage.input), (1, 110));
    // The key goes, what it spent stays.
    let path = bed.server.config("conf.d/lanes.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.split("[[key]]").next().unwrap()).unwrap();
    let reloaded = bed.server.admin("POST", "/-/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(bed.rows("google", 2).await, rows);
}

#[tokio::test]
async fn a_resource_that_is_left_alone_has_no_calls() {
    let bed = bed(&[]).await;
    let close = vec![Step::ReadBody, Step::Close];
    for _ in 0..8 {
        bed.ask(close.clone(), &chat("google", "")).await;
    }
    let asked = bed.origin.requests().len() as u64;
    assert!((1..8).contains(&asked), "the breaker is open: {asked}");
    let failed = Row {
        calls: asked,
        errors: asked,
        ..Row::default()
    };
    assert_eq!(bed.rows("google", asked).await[0].1, failed);
}
