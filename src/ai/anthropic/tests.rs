use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ai::front::{Told, request};
use crate::ai::lane::{self, Encoded, Reading, Stream};
use crate::error::Kind;
use crate::message::body::{BodyStep, Chunks, End};
use crate::policy::route::UnsupportedParams;

const MODEL: &str = "claude-sonnet-4-5-20250929";

fn encoded(model: &str, body: &str) -> Result<(Encoded, Option<String>)> {
    let decoded = request::decode(body.as_bytes())?;
    let (encoded, dropped) = lane::encode(&Anthropic, &decoded, model, UnsupportedParams::Warn)?;
    Ok((encoded, dropped.header()))
}

#[track_caller]
fn check(model: &str, rest: &str, expected: &str, dropped: Option<&str>) {
    let body =
        format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":9000{rest}}}"#);
    let (encoded, named) = encoded(model, &body).unwrap();
    let sent = String::from_utf8(encoded.body).unwrap();
    let always = format!(
        r#"{{"model":"{model}","max_tokens":9000,"messages":[{{"role":"user","content":[{{"type":"text","text":"hi"}}]}}]"#
    );
    assert_eq!(sent.strip_prefix(&always).expect(&sent), expected, "{rest}");
    assert_eq!(named.as_deref(), dropped, "{rest}");
}

#[test]
fn parameters_meet_their_fates() {
    check(MODEL, "", "}", None);
    check(MODEL, r#","stream":true"#, r#","stream":true}"#, None);
    check(
        MODEL,
        r#","temperature":0.5,"top_p":0.9,"top_k":4,"stop":["a"," "],"user":"a@b""#,
        r#","temperature":0.5,"top_p":0.9,"top_k":4,"stop_sequences":["a"],"metadata":{"user_id":"7508d8b5018ea640b85269861a101203"}}"#,
        None,
    );
    check(
        MODEL,
        r#","temperature":1.5"#,
        r#","temperature":1.0}"#,
        Some("temperature"),
    );
    // What the existing clients send with every request.
    check(
        MODEL,
        r#","temperature":0.7,"store":true,"metadata":{"workspace_id":"w","user_id":"u"}"#,
        r#","temperature":0.7}"#,
        Some("store, metadata"),
    );
    check(
        "claude-opus-4-7",
        r#","temperature":0.5,"top_p":0.5"#,
        "}",
        Some("temperature, top_p"),
    );
    check(
        MODEL,
        r#","reasoning_effort":"high","temperature":0.5"#,
        r#","thinking":{"type":"enabled","budget_tokens":4096}}"#,
        Some("temperature"),
    );
    check(
        MODEL,
        r#","reasoning_effort":"max""#,
        "}",
        Some("reasoning_effort"),
    );
    check(
        "claude-opus-4-6",
        r#","reasoning_effort":"minimal""#,
        r#","thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"low"}}"#,
        None,
    );
    check(
        "claude-3-5-haiku-latest",
        r#","reasoning_effort":"low""#,
        "}",
        Some("reasoning_effort"),
    );
    check(
        MODEL,
        r#","service_tier":"default""#,
        r#","service_tier":"standard_only"}"#,
        None,
    );
    for param in [
        "n\":2",
        "logprobs\":true",
        "logit_bias\":{\"1\":1}",
        "prediction\":{}",
        "audio\":{}",
    ] {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"{param}}}"#);
        let error = encoded(MODEL, &body).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{param}");
        assert!(param.starts_with(error.param().unwrap()), "{param}");
    }
}

#[test]
fn a_strict_repository_refuses_what_would_be_left_out() {
    let decoded =
        request::decode(br#"{"messages":[{"role":"user","content":"hi"}],"seed":1}"#).unwrap();
    let strict = UnsupportedParams::Strict;
    let error = lane::encode(&Anthropic, &decoded, MODEL, strict).unwrap_err();
    assert_eq!(
        (error.kind(), error.param()),
        (Kind::InvalidArgument, Some("seed"))
    );
}

#[test]
fn tools_and_their_choice_are_mapped() {
    let tool = r#"{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"z":{},"a":{}}}}}"#;
    let bare = r#"{"type":"function","function":{"name":"g g"}}"#;
    let f = r#"{"name":"f","description":"d","input_schema":{"type":"object","properties":{"z":{},"a":{}}}}"#;
    let g = r#"{"name":"_gg_4a9b66a9ffd0","input_schema":{"type":"object","properties":{}}}"#;
    let g = g.replace(
        "_gg_4a9b66a9ffd0",
        &crate::ai::names::fit(
            "g g",
            crate::ai::names::Rule {
                bytes_max: 128,
                also: b"",
                starts_as_word: false,
            },
        ),
    );
    check(
        MODEL,
        &format!(r#","tools":[{tool},{bare}]"#),
        &format!(r#","tools":[{f},{g}]}}"#),
        None,
    );
    for (choice, expected) in [
        (r#""tool_choice":"required""#, r#"{"type":"any"}"#),
        (r#""tool_choice":"none""#, r#"{"type":"none"}"#),
        (
            r#""parallel_tool_calls":false"#,
            r#"{"type":"auto","disable_parallel_tool_use":true}"#,
        ),
        (
            r#""tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false"#,
            r#"{"type":"tool","name":"f","disable_parallel_tool_use":true}"#,
        ),
    ] {
        check(
            MODEL,
            &format!(r#","tools":[{tool}],{choice}"#),
            &format!(r#","tools":[{f}],"tool_choice":{expected}}}"#),
            None,
        );
    }
    // No tools, no choice: the provider would refuse it.
    check(MODEL, r#","parallel_tool_calls":false"#, "}", None);
}

#[test]
fn a_schema_is_kept_to_by_grammar_or_by_a_tool() {
    let format = r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"b":{"type":"string","minLength":1}}}}}"#;
    check(
        MODEL,
        format,
        r#","output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"b":{"type":"string"}},"additionalProperties":false}}}}"#,
        None,
    );
    check(
        "claude-3-5-haiku-latest",
        format,
        r#","tools":[{"name":"json_output","description":"Call this with your answer.","input_schema":{"type":"object","properties":{"b":{"type":"string","minLength":1}}}}],"tool_choice":{"type":"tool","name":"json_output"}}"#,
        None,
    );
}

fn messages(messages: &str) -> Result<String> {
    let (encoded, _) = encoded(
        MODEL,
        &format!(r#"{{"max_tokens":1,"messages":[{messages}]}}"#),
    )?;
    let body: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
    let system = body
        .get("system")
        .map(ToString::to_string)
        .unwrap_or_default();
    Ok(format!("{system}{}", body["messages"]))
}

#[test]
fn turns_are_joined_results_first() {
    let sent = messages(
        r#"{"role":"system","content":"s"},{"role":"developer","content":"d"},{"role":"user","content":"u"},
        {"role":"assistant","content":"","tool_calls":[{"id":"call.1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},
        {"id":"c2","type":"function","function":{"name":"f","arguments":""}}]},
        {"role":"tool","tool_call_id":"call.1","content":"r1"},{"role":"user","content":"then"},
        {"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"r2"}]},{"role":"system","content":"late"},
        {"role":"assistant","content":"so "}"#,
    );
    let id = "_call1_";
    let sent = sent.unwrap();
    let at = sent.find(id).unwrap();
    let id = sent[at..at + id.len() + 12].to_owned();
    let expected = concat!(
        r#"[{"text":"s","type":"text"},{"text":"d","type":"text"}]"#,
        r#"[{"content":[{"text":"u","type":"text"}],"role":"user"},"#,
        r#"{"content":[{"id":"ID","input":{"a":1},"name":"f","type":"tool_use"},"#,
        r#"{"id":"c2","input":{},"name":"f","type":"tool_use"}],"role":"assistant"},"#,
        r#"{"content":[{"content":[{"text":"r1","type":"text"}],"tool_use_id":"ID","type":"tool_result"},"#,
        r#"{"content":[{"text":"r2","type":"text"}],"tool_use_id":"c2","type":"tool_result"},"#,
        r#"{"text":"then","type":"text"},{"text":"late","type":"text"}],"role":"user"},"#,
        r#"{"content":[{"text":"so","type":"text"}],"role":"assistant"}]"#
    );
    assert_eq!(sent, expected.replace("ID", &id));
}

#[test]
fn content_is_never_left_out() {
    let media = |part: &str| messages(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    let sent = media(r#"{"type":"image_url","image_url":{"url":"https://x/y.png"}}"#).unwrap();
    assert!(
        sent.contains(r#"{"source":{"type":"url","url":"https://x/y.png"},"type":"image"}"#),
        "{sent}"
    );
    let sent = media(
        r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,QQ=="}}"#,
    );
    let sent = sent.unwrap();
    assert!(
        sent.contains(r#""title":"a.pdf","type":"document""#),
        "{sent}"
    );
    let audio = r#"{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}"#;
    assert_eq!(media(audio).unwrap_err().kind(), Kind::InvalidArgument);
    let bitmap = r#"{"type":"image_url","image_url":{"url":"data:image/bmp;base64,QQ=="}}"#;
    assert_eq!(media(bitmap).unwrap_err().kind(), Kind::InvalidRequest);
    let error = messages(r#"{"role":"assistant","content":"x"}"#).unwrap_err();
    assert_eq!(
        (error.kind(), error.param()),
        (Kind::InvalidRequest, Some("messages"))
    );
}

#[test]
fn thoughts_go_back_to_their_own_family_only() {
    let with = |format: &str| {
        messages(&format!(
            r#"{{"role":"user","content":"u"}},{{"role":"assistant","content":"a","reasoning_content":"t","reasoning_details":[
            {{"type":"reasoning.text","format":"{format}","text":"t","signature":"s"}},
            {{"type":"reasoning.encrypted","format":"{format}","data":"d"}}]}},{{"role":"user","content":"v"}}"#
        ))
        .unwrap()
    };
    let sent = with("anthropic-claude-v1");
    assert!(
        sent.contains(r#"[{"signature":"s","thinking":"t","type":"thinking"},{"data":"d","type":"redacted_thinking"},{"text":"a""#),
        "{sent}"
    );
    assert!(!with("google-gemini-v1").contains("thinking"));
}

#[test]
fn the_last_four_marks_are_kept() {
    let part = r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}"#;
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[{}]}}]}}"#,
        [part; 6].join(",")
    );
    let (encoded, dropped) = encoded(MODEL, &body).unwrap();
    let sent = String::from_utf8(encoded.body).unwrap();
    assert_eq!(sent.matches("cache_control").count(), 4);
    assert!(sent.contains(r#""content":[{"type":"text","text":"x"},{"type":"text","text":"x"},{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}"#));
    assert_eq!(dropped.as_deref(), Some("cache_control"));
}

/// Thinking, text in two alphabets, two calls of which one has no arguments, usage at both ends.
const STREAM: &str = concat!(
    "event: message_start\n",
    r#"data: {"type":"message_start","message":{"id":"msg_1","model":"claude-x","role":"assistant","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":1}}}"#,
    "\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n",
    r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}"#,
    "\n\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
    "\r\n\r\n",
    r#"data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Grüße 世界 🌍"}}"#,
    "\r\n\r\n",
    r#"data: {"type":"content_block_stop","index":1}"#,
    "\n\n",
    r#"data: {"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
    "\n\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
    r#"data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}"#,
    "\n\n",
    r#"data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\":\"é\"}"}}"#,
    "\n\ndata: {\"type\":\"content_block_stop\",\"index\":3}\n\n",
    r#"data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_2","name":"g","input":{}}}"#,
    "\n\ndata: {\"type\":\"content_block_stop\",\"index\":4}\n\n",
    r#"data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":20}}"#,
    "\n\ndata: {\"type\":\"message_stop\"}\n\n",
);

const EXPECTED: &str = concat!(
    r#"{"delta":{"role":"assistant","content":""}}"#,
    r#"{"delta":{"reasoning_content":"hm"}}"#,
    r#"{"delta":{"reasoning_details":[{"type":"reasoning.text","format":"anthropic-claude-v1","index":0,"text":"hm","signature":"sig"}]}}"#,
    r#"{"delta":{"content":"Grüße 世界 🌍"}}"#,
    r#"{"delta":{"tool_calls":[{"index":0,"id":"toolu_1","type":"function","function":{"name":"f","arguments":""}}]}}"#,
    r#"{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":\"é\"}"}}]}}"#,
    r#"{"delta":{"tool_calls":[{"index":1,"id":"toolu_2","type":"function","function":{"name":"g","arguments":""}}]}}"#,
    r#"{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}}"#,
    r#"{"delta":{},"finish":"tool_calls","native":"tool_use"}"#,
    r#"{"usage":{"prompt_tokens":17,"completion_tokens":20,"total_tokens":37,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":3},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
    "[DONE]",
);

fn told() -> Told {
    Told {
        id: "chatcmpl-ours".into(),
        model: "asked".into(),
        created: 1,
        tells_usage: true,
    }
}

/// Feeds a stream in the given pieces; what the client sees of it, without what all chunks repeat.
fn streamed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(String, Stream)> {
    let mut stream = Stream::new(&Anthropic, MODEL, Reading::default(), told());
    let mut out = Chunks::new();
    for piece in pieces {
        stream.push(Bytes::copy_from_slice(piece), &mut out)?;
    }
    stream.finish(End::Clean, &mut out)?;
    let text = String::from_utf8(out.concat()).unwrap();
    let seen = text
        .replace("data: ", "")
        .replace("\n\n", "")
        .replace(r#"{"id":"msg_1","object":"chat.completion.chunk","created":1,"model":"claude-x","choices":[{"index":0,"#, "{")
        .replace(r#"{"id":"msg_1","object":"chat.completion.chunk","created":1,"model":"claude-x","choices":[],"#, "{")
        .replace(r#","logprobs":null,"finish_reason":null}],"usage":null}"#, "}")
        .replace(r#","logprobs":null,"finish_reason":"#, r#","finish":"#)
        .replace(r#""native_finish_reason""#, r#""native""#)
        .replace(r#"}],"usage":null}"#, "}");
    Ok((seen, stream))
}

#[test]
fn a_stream_is_read_the_same_however_it_is_cut() {
    let bytes = STREAM.as_bytes();
    let (seen, stream) = streamed(std::iter::once(bytes)).unwrap();
    assert_eq!(seen, EXPECTED);
    assert!(stream.notes().is_complete());
    assert_eq!(stream.notes().reported.unwrap().input, 17);
    assert_eq!(streamed(bytes.chunks(1)).unwrap().0, EXPECTED);
    for cut in 0..bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(
            streamed([first, second].into_iter()).unwrap().0,
            EXPECTED,
            "{cut}"
        );
    }
}

#[test]
fn a_stream_that_breaks_off_is_never_complete() {
    let end = STREAM.rfind("data: ").unwrap();
    for cut in (0..end).step_by(7) {
        let Ok((seen, stream)) = streamed(std::iter::once(&STREAM.as_bytes()[..cut])) else {
            // A line that is cut in its middle is no JSON.
            continue;
        };
        assert!(!stream.notes().is_complete(), "{cut}");
        assert!(!seen.contains("[DONE]"), "{cut}");
    }
}

#[test]
fn an_error_in_a_stream_is_one() {
    let error =
        r#"data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let error = format!("{error}\n\n");
    let failed = streamed(std::iter::once(error.as_bytes())).err().unwrap();
    assert_eq!(
        (failed.kind(), failed.message()),
        (Kind::Overloaded, "Overloaded")
    );
}

#[test]
fn a_repeated_start_changes_nothing() {
    let start =
        r#"data: {"type":"message_start","message":{"id":"other","model":"other","usage":{}}}"#;
    let spliced = STREAM.replacen(
        "data: {\"type\":\"content_block_start\",\"index\":1",
        &format!("{start}\n\ndata: {{\"type\":\"content_block_start\",\"index\":1"),
        1,
    );
    assert_ne!(spliced, STREAM);
    assert_eq!(
        streamed(std::iter::once(spliced.as_bytes())).unwrap().0,
        EXPECTED
    );
}

/// As recorded of a call that the model's own code made: no delta follows.
#[test]
fn arguments_that_come_with_the_start_of_a_call_count() {
    let stream = concat!(
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"m\",\"usage\":{}}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",",
        "\"name\":\"f\",\"input\":{\"city\":\"Boston\"}}}\n\n",
        "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
    );
    let (text, _) = streamed(std::iter::once(stream.as_bytes())).unwrap();
    assert_eq!(text.matches("Boston").count(), 1, "{text}");
}

/// Envoy #2290, Portkey #1509: servers that tell the prompt's tokens with the last message only.
#[test]
fn counts_of_the_last_message_replace_those_before() {
    let late = STREAM
        .replace(r#""input_tokens":10,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":1"#, r#""input_tokens":0,"output_tokens":0"#)
        .replace(r#""usage":{"output_tokens":20}"#, r#""usage":{"input_tokens":10,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":20}"#);
    assert_eq!(
        streamed(std::iter::once(late.as_bytes())).unwrap().0,
        EXPECTED
    );
}

fn whole(body: &str, reading: &Reading) -> serde_json::Value {
    let (body, _) = lane::whole(&Anthropic, MODEL, body.as_bytes(), reading, told()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn an_answer_that_comes_whole_says_the_same() {
    let body = r#"{"id":"msg_1","type":"message","model":"claude-x","content":[{"type":"thinking","thinking":"hm","signature":"sig"},
        {"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"server_tool_use","id":"s","name":"w","input":{}},
        {"type":"tool_use","id":"t","name":"f","input":{"b": 1,"a":2}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"cache_read_input_tokens":2,"output_tokens":3}}"#;
    let answer = whole(body, &Reading::default());
    let message = &answer["choices"][0]["message"];
    assert_eq!(answer["id"], "msg_1");
    assert_eq!(message["content"], "ab");
    assert_eq!(message["reasoning_content"], "hm");
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    assert_eq!(
        message["tool_calls"][0]["function"]["arguments"],
        r#"{"b": 1,"a":2}"#
    );
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    let unwrapped = whole(
        r#"{"content":[{"type":"tool_use","id":"t","name":"json_output","input":{"a":1}}],"stop_reason":"tool_use"}"#,
        &Reading {
            json_tool: true,
            ..Reading::default()
        },
    );
    let choice = &unwrapped["choices"][0];
    assert_eq!(choice["message"]["content"], r#"{"a":1}"#);
    assert_eq!(choice["finish_reason"], "stop");
    assert!(choice["message"].get("tool_calls").is_none());
}

#[test]
fn reasons_to_stop_are_told_in_both_words() {
    for (native, expected) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("yet_unknown", "stop"),
    ] {
        let body =
            format!(r#"{{"content":[{{"type":"text","text":"x"}}],"stop_reason":"{native}"}}"#);
        let answer = whole(&body, &Reading::default());
        assert_eq!(answer["choices"][0]["finish_reason"], expected, "{native}");
        assert_eq!(answer["choices"][0]["native_finish_reason"], native);
    }
}

#[test]
fn errors_keep_their_meaning() {
    let told = |status: u16, body: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        Anthropic.refusal(status, &HeaderMap::new(), body.as_bytes())
    };
    let body = |word: &str| {
        format!(r#"{{"type":"error","error":{{"type":"{word}","message":"m"}},"request_id":"r"}}"#)
    };
    for (status, word, kind) in [
        (400, "invalid_request_error", Kind::InvalidRequest),
        (401, "authentication_error", Kind::UpstreamAuth),
        (402, "billing_error", Kind::UpstreamAuth),
        (403, "permission_error", Kind::UpstreamAuth),
        (404, "not_found_error", Kind::ModelNotFound),
        (413, "request_too_large", Kind::BodyTooLarge),
        (429, "rate_limit_error", Kind::RateLimited),
        (504, "timeout_error", Kind::UpstreamTimeout),
        (500, "api_error", Kind::UpstreamBroken),
        (529, "overloaded_error", Kind::Overloaded),
    ] {
        assert_eq!(told(status, &body(word)).kind(), kind, "{word}");
        assert_eq!(told(status, "<html>").kind(), kind, "{status}");
    }
    let auth = told(401, &body("authentication_error"));
    assert!(!auth.message().contains('m') || auth.message().contains("not at fault"));
}

#[test]
fn limits_are_told_under_the_clients_names() {
    let mut headers = HeaderMap::new();
    headers.insert("request-id", HeaderValue::from_static("req_1"));
    headers.insert("set-cookie", HeaderValue::from_static("a=b"));
    headers.insert(
        "anthropic-ratelimit-requests-remaining",
        HeaderValue::from_static("7"),
    );
    headers.insert(
        "anthropic-ratelimit-requests-reset",
        HeaderValue::from_static("2026-01-01T00:06:05Z"),
    );
    let head = Anthropic.answer_head(&headers, "2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(head["x-request-id"], "req_1");
    assert_eq!(head["x-ratelimit-remaining-requests"], "7");
    assert_eq!(head["x-ratelimit-reset-requests"], "6m5s");
    assert_eq!(head.len(), 3);
}

proptest! {
    #[test]
    fn cuts_at_random_change_nothing(mut cuts in prop::collection::vec(0..STREAM.len(), 0..40)) {
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&STREAM.as_bytes()[from..cut]);
            from = cut;
        }
        pieces.push(&STREAM.as_bytes()[from..]);
        prop_assert_eq!(streamed(pieces.into_iter()).unwrap().0, EXPECTED);
    }

    #[test]
    fn text_of_every_kind_comes_through(said in "\\PC{0,60}") {
        let delta = serde_json::json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":said}});
        let input = format!("data: {delta}\n\ndata: {{\"type\":\"message_stop\"}}\n\n");
        let mut stream = Stream::new(&Anthropic, MODEL, Reading::default(), told());
        let mut out = Chunks::new();
        stream.push(input.into(), &mut out).unwrap();
        let text = String::from_utf8(out.concat()).unwrap();
        let heard: String = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
        prop_assert_eq!(heard, said);
    }
}

#[test]
fn models_are_listed_page_by_page() {
    let (path, headers) = Anthropic.list(None).unwrap();
    assert_eq!(path, "/models?limit=1000");
    assert_eq!(headers["anthropic-version"], "2023-06-01");
    assert_eq!(
        Anthropic.list(Some("a&b")).unwrap().0,
        "/models?limit=1000&after_id=a%26b"
    );
    let body = br#"{"data":[{"id":"a","created_at":"2026-01-01T00:00:00Z"},{"id":"b"}],"has_more":true,"last_id":"b"}"#;
    let page = Anthropic.page(body).unwrap();
    assert_eq!(page.models[0].created, 1_767_225_600);
    assert_eq!((page.models.len(), page.next.as_deref()), (2, Some("b")));
}
