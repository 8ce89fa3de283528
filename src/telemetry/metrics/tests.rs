//! What a scrape shows, and the lint over all of it.

use std::collections::BTreeMap;

use std::time::Duration;

use super::*;
use crate::telemetry::labels::{
    AbortSide, AuthFailure, GenAiOp, KeyFamily, KeyState, LimitScope, ObjectKind, Op, Provider,
    ReloadResult, ReloadTrigger, RetryOutcome, TokenSource, UpstreamError, WatchMode,
};
use crate::telemetry::ledger::Tokens;

/// The labels that may exist. A new one is added on purpose, with its bound in mind.
const VOCABULARY: [&str; 30] = [
    "proto",
    "op",
    "class",
    "repo",
    "resource",
    "code",
    "status",
    "reason",
    "state",
    "scope",
    "model",
    "type",
    "source",
    "side",
    "from",
    "to",
    "trigger",
    "result",
    "hash",
    "kind",
    "mode",
    "family",
    "route",
    "outcome",
    "cn",
    // Those of OpenTelemetry, for its metrics alone.
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_token_type",
    "error_type",
];

fn sample(op: Op, status: u16) -> RequestSample {
    RequestSample {
        proto: Proto::S3,
        op,
        status,
        duration: Duration::from_millis(7),
        ttfb: Some(Duration::from_millis(3)),
        overhead: Duration::from_micros(80),
        bytes_in: 10,
        bytes_out: 20,
    }
}

fn full() -> Metrics {
    let metrics = Metrics::new();
    let (repository, resource) = (metrics.repository("repo-a"), metrics.resource("res-a"));
    repository.request(&sample(Op::GetObject, 200), Some(&resource));
    repository.request(&sample(Op::GetObject, 200), Some(&resource));
    repository.request(&sample(Op::PutObject, 403), None);
    repository.auth_failure(Proto::S3, AuthFailure::Skew);
    repository.limited(LimitScope::Rps);
    repository.set_keys(KeyFamily::Storage, KeyState::Active, 3);
    metrics
        .anonymous()
        .auth_failure(Proto::Ai, AuthFailure::UnknownKey);
    resource.upstream(&UpstreamSample {
        class: Op::GetObject.class(),
        status: 200,
        duration: Duration::from_millis(5),
        ttfb: Some(Duration::from_millis(2)),
    });
    resource.error(UpstreamError::Connect);
    resource.retry(RetryOutcome::Succeeded);
    let model = repository.model(&resource, "tiny");
    spend(&model);
    model.aborted(AbortSide::Client);
    model.fallback(&metrics.resource("res-b"));
    model.first_chunk(Op::ChatCompletions, Duration::from_millis(40));
    model.per_chunk(Op::ChatCompletions, Duration::from_millis(4));
    model.finished(Op::ChatCompletions, Duration::from_secs(1));
    metrics.connection_rejected(Proto::S3, ConnectionRejection::Total);
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    metrics.config.reload(
        ReloadTrigger::Start,
        ReloadResult::Applied,
        Duration::from_millis(9),
        now,
    );
    metrics.config.in_use(1, "abc");
    metrics.config.restart_required(false);
    metrics.config.objects(ObjectKind::Repository, 1);
    metrics.config.watch_mode(WatchMode::Notify);
    metrics.admin_request(AdminRoute::ApiKey, 201);
    metrics.admin_writable(true);
    metrics.audit_write_failures().inc();
    metrics.certificates(&[("s3.example.net".to_owned(), 1_900_000_000)]);
    metrics.panicked();
    let build = Build {
        version: "0.1.0",
        commit: "unknown",
        rustc: "1.95",
    };
    metrics.started(build, now);
    drop(metrics.connection(Proto::S3));
    metrics
}

/// A call that went well, and one that did not.
fn spend(model: &AiMeters) {
    let tokens = Tokens {
        input: 5,
        output: 3,
        cached: 2,
        ..Tokens::default()
    };
    model.spent(tokens, TokenSource::Reported);
    model.gen_ai(Provider::Anthropic).call(
        GenAiOp::Chat,
        &GenAiSample {
            tokens: Some(tokens),
            client: Duration::from_millis(300),
            server: Some(Duration::from_millis(310)),
            first_chunk: Some(Duration::from_millis(30)),
            per_chunk: Some(Duration::from_millis(20)),
            first_token: Some(Duration::from_millis(40)),
            per_token: Some(Duration::from_millis(80)),
            error: None,
        },
    );
    model.gen_ai(Provider::Anthropic).call(
        GenAiOp::Chat,
        &GenAiSample {
            error: Some("529"),
            ..GenAiSample::default()
        },
    );
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[test]
fn what_is_counted_is_shown() {
    let metrics = full();
    let busy = metrics.inflight(Proto::Ai);
    let connections = [metrics.connection(Proto::S3), metrics.connection(Proto::S3)];
    let requests = [connections[0].busy(), connections[0].busy()];
    let text = metrics.render();
    for (series, expected) in [
        (
            r#"aqueduct_requests_total{code="200",op="GetObject",proto="s3",repo="repo-a"}"#,
            2.0,
        ),
        (
            r#"aqueduct_requests_total{code="403",op="PutObject",proto="s3",repo="repo-a"}"#,
            1.0,
        ),
        (
            r#"aqueduct_response_body_bytes_total{proto="s3",repo="repo-a",resource="res-a"}"#,
            40.0,
        ),
        (
            r#"aqueduct_response_body_bytes_total{proto="s3",repo="repo-a",resource=""}"#,
            20.0,
        ),
        (
            r#"aqueduct_auth_failures_total{proto="ai",reason="unknown_key",repo=""}"#,
            1.0,
        ),
        (r#"aqueduct_inflight_requests{proto="ai"}"#, 1.0),
        (r#"aqueduct_connections{proto="s3",state="active"}"#, 1.0),
        (r#"aqueduct_connections{proto="s3",state="idle"}"#, 1.0),
        (
            r#"aqueduct_upstream_requests_total{class="read",code="200",resource="res-a"}"#,
            1.0,
        ),
        (
            r#"aqueduct_request_duration_seconds_bucket{class="read",proto="s3",repo="repo-a",status="2xx",le="0.01"}"#,
            2.0,
        ),
        (
            r#"aqueduct_keys{family="storage",repo="repo-a",state="active"}"#,
            3.0,
        ),
        ("aqueduct_config_last_reload_successful", 1.0),
        ("aqueduct_log_dropped_total", 0.0),
        ("process_start_time_seconds", 1_800_000_000.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    drop(requests);
    drop(connections);
    let text = metrics.render();
    for state in ["active", "idle"] {
        let series = format!(r#"aqueduct_connections{{proto="s3",state="{state}"}}"#);
        assert_eq!(value(&text, &series), Some(0.0), "{series}");
    }
    drop(busy);
    assert_eq!(
        value(
            &metrics.render(),
            r#"aqueduct_inflight_requests{proto="ai"}"#
        ),
        Some(0.0)
    );
}

#[test]
fn calls_of_models_are_shown_in_our_names_and_in_those_of_conventions() {
    let text = full().render();
    for (series, expected) in [
        (
            r#"aqueduct_ai_tokens_total{model="tiny",repo="repo-a",resource="res-a",source="reported",type="input"}"#,
            5.0,
        ),
        (
            r#"aqueduct_ai_fallbacks_total{from="res-a",model="tiny",repo="repo-a",to="res-b"}"#,
            1.0,
        ),
        (
            r#"gen_ai_client_token_usage_bucket{gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="tiny",gen_ai_token_type="input",resource="res-a",le="4"}"#,
            0.0,
        ),
        (
            r#"gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="tiny",gen_ai_token_type="output",resource="res-a"}"#,
            3.0,
        ),
        (
            r#"gen_ai_client_operation_duration_seconds_count{error_type="",gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="tiny",resource="res-a"}"#,
            1.0,
        ),
        (
            r#"gen_ai_client_operation_duration_seconds_count{error_type="529",gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="tiny",resource="res-a"}"#,
            1.0,
        ),
        (
            r#"gen_ai_server_time_per_output_token_seconds_bucket{gen_ai_operation_name="chat",gen_ai_provider_name="anthropic",gen_ai_request_model="tiny",resource="res-a",le="0.1"}"#,
            1.0,
        ),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
}

#[test]
fn a_name_has_the_same_handles_until_it_leaves_the_config() {
    let metrics = full();
    let before = metrics.repository("repo-a");
    assert!(Arc::ptr_eq(&before, &metrics.repository("repo-a")));
    metrics.retain(&["repo-a"], &["res-b"]);
    let text = metrics.render();
    assert!(Arc::ptr_eq(&before, &metrics.repository("repo-a")));
    assert!(!text.contains("res-a"), "{text}");
    assert!(text.contains("repo-a"));
    metrics.retain(&[], &[]);
    assert!(!metrics.render().contains("repo-a"));
    // The name returns and starts from nothing; the old handles count unseen and break nothing.
    before.request(&sample(Op::GetObject, 200), None);
    metrics
        .repository("repo-a")
        .request(&sample(Op::GetObject, 200), None);
    let text = metrics.render();
    let series = r#"aqueduct_requests_total{code="200",op="GetObject",proto="s3",repo="repo-a"}"#;
    assert_eq!(value(&text, series), Some(1.0));
}

#[test]
fn models_beyond_the_bound_are_counted_together() {
    let metrics = Metrics::new();
    let (repository, resource) = (metrics.repository("r"), metrics.resource("s"));
    for number in 0..1100 {
        let model = repository.model(&resource, &format!("m{number}"));
        let tokens = Tokens {
            output: 1,
            ..Tokens::default()
        };
        model.spent(tokens, TokenSource::Reported);
    }
    let text = metrics.render();
    let other = r#"aqueduct_ai_tokens_total{model="other",repo="r",resource="s",source="reported",type="output"}"#;
    assert_eq!(value(&text, other), Some(100.0));
}

#[test]
fn every_metric_follows_the_conventions() {
    let text = full().render();
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(help.len() > 5, "{name} has no help");
            helped.push(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(kinds.insert(name, kind).is_none(), "{name} twice");
            lint_name(name, kind);
        } else {
            lint_series(line, &kinds);
        }
    }
    helped.sort_unstable();
    assert!(kinds.keys().eq(&helped), "HELP and TYPE come in pairs");
}

fn lint_name(name: &str, kind: &str) {
    let prefixes = ["aqueduct_", "gen_ai_", "process_"];
    assert!(
        prefixes.iter().any(|prefix| name.starts_with(prefix)),
        "{name}"
    );
    assert_eq!(
        name.ends_with("_total"),
        kind == "counter",
        "{name} is a {kind}"
    );
    for unit in ["_ms", "_milliseconds", "_kb", "_count", "_sum", "_bucket"] {
        assert!(!name.ends_with(unit), "{name}");
    }
    if kind == "histogram" {
        let counts_tokens = name == "gen_ai_client_token_usage";
        assert!(name.ends_with("_seconds") || counts_tokens, "{name}");
    }
}

fn lint_series(line: &str, kinds: &BTreeMap<&str, &str>) {
    let (series, _) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let of_conventions = name.starts_with("gen_ai_");
    let family = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .filter(|family| kinds.get(family) == Some(&"histogram"))
        .unwrap_or(name);
    assert!(kinds.contains_key(family), "{name} has no TYPE");
    for pair in labels
        .trim_end_matches('}')
        .split("\",")
        .filter(|pair| !pair.is_empty())
    {
        let (label, _) = pair.split_once('=').unwrap();
        let is_theirs = label.starts_with("gen_ai_") || label == "error_type";
        assert!(of_conventions || !is_theirs, "{label} of {name}");
        let known = VOCABULARY.contains(&label)
            || (label == "le" && name.ends_with("_bucket"))
            || (family == "aqueduct_build_info" && ["version", "commit", "rustc"].contains(&label));
        assert!(known, "{label} of {name} is not in the vocabulary");
    }
}
