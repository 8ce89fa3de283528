use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::ai::front::{Told, request};
use crate::ai::lane::{self, Encoded, Reading, Stream};
use crate::error::Kind;
use crate::message::body::{BodyStep, Chunks, End};
use crate::policy::route::UnsupportedParams;

const MODEL: &str = "gemini-2.5-flash";

fn encoded(model: &str, body: &str) -> Result<(Encoded, Option<String>)> {
    let decoded = request::decode(body.as_bytes())?;
    let (encoded, dropped) = lane::encode(&Google, &decoded, model, UnsupportedParams::Warn)?;
    Ok((encoded, dropped.header()))
}

#[track_caller]
fn check(model: &str, rest: &str, expected: &str, dropped: Option<&str>) {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{rest}}}"#);
    let (encoded, named) = encoded(model, &body).unwrap();
    let sent = String::from_utf8(encoded.body).unwrap();
    let always = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]"#;
    assert_eq!(sent.strip_prefix(always).expect(&sent), expected, "{rest}");
    assert_eq!(named.as_deref(), dropped, "{rest}");
}

#[test]
fn parameters_meet_their_fates() {
    check(MODEL, "", r#","generationConfig":{}}"#, None);
    check(
        MODEL,
        r#","temperature":1.5,"top_p":0.9,"top_k":4,"n":2,"max_tokens":9,"stop":["a"],"seed":1,"presence_penalty":1,
        "frequency_penalty":-1"#,
        r#","generationConfig":{"temperature":1.5,"topP":0.9,"topK":4,"candidateCount":2,"maxOutputTokens":9,"stopSequences":["a"],"presencePenalty":1.0,"frequencyPenalty":-1.0,"seed":1}}"#,
        None,
    );
    check(
        MODEL,
        r#","store":true,"metadata":{"a":"b"},"user":"u","logit_bias":{"1":1}"#,
        r#","generationConfig":{}}"#,
        Some("store, metadata, user, logit_bias"),
    );
    let thinks =
        |config: &str| format!(r#","generationConfig":{{"thinkingConfig":{{{config}}}}}}}"#);
    for (model, effort, config) in [
        (
            MODEL,
            "none",
            r#""includeThoughts":false,"thinkingBudget":0"#,
        ),
        (
            "gemini-2.5-pro",
            "none",
            r#""includeThoughts":false,"thinkingBudget":128"#,
        ),
        (
            MODEL,
            "max",
            r#""includeThoughts":true,"thinkingBudget":24576"#,
        ),
        (
            "gemini-3-flash-preview",
            "minimal",
            r#""includeThoughts":true,"thinkingLevel":"MINIMAL""#,
        ),
        (
            "gemini-3.1-pro",
            "max",
            r#""includeThoughts":true,"thinkingLevel":"HIGH""#,
        ),
    ] {
        check(
            model,
            &format!(r#","reasoning_effort":"{effort}""#),
            &thinks(config),
            None,
        );
    }
    let rest = r#","reasoning_effort":"low""#;
    check(
        "gemini-2.0-flash",
        rest,
        r#","generationConfig":{}}"#,
        Some("reasoning_effort"),
    );
}

#[test]
fn tools_schemas_and_choices_are_mapped() {
    let tool = r#","tools":[{"type":"function","function":{"name":"f","parameters":{"$schema":"x","type":"object","properties":{"z":{"title":"t"},"a":{}}}}}]"#;
    let declared = r#","tools":[{"functionDeclarations":[{"name":"f","description":"","parametersJsonSchema":{"type":"object","properties":{"z":{"title":"t"},"a":{}}}}]}]"#;
    check(
        MODEL,
        tool,
        &format!(r#"{declared},"generationConfig":{{}}}}"#),
        None,
    );
    for (choice, expected) in [
        (r#""auto""#, r#"{"mode":"AUTO"}"#),
        (r#""none""#, r#"{"mode":"NONE"}"#),
        (r#""required""#, r#"{"mode":"ANY"}"#),
        (
            r#"{"type":"function","function":{"name":"f"}}"#,
            r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#,
        ),
    ] {
        check(
            MODEL,
            &format!(r#"{tool},"tool_choice":{choice}"#),
            &format!(
                r#"{declared},"toolConfig":{{"functionCallingConfig":{expected}}},"generationConfig":{{}}}}"#
            ),
            None,
        );
    }
    check(
        MODEL,
        r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1,"a":2}}}"#,
        r#","generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"b":1,"a":2}}}"#,
        None,
    );
}

fn contents(model: &str, messages: &str) -> Result<Value> {
    let (encoded, _) = encoded(model, &format!(r#"{{"messages":[{messages}]}}"#))?;
    Ok(serde_json::from_slice(&encoded.body).unwrap())
}

const TOOL_TURNS: &str = r#"{"role":"developer","content":"s"},{"role":"user","content":"u"},
    {"role":"assistant","content":null,"tool_calls":[
        {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"},"extra_content":{"google":{"thought_signature":"sig"}}},
        {"id":"c2","type":"function","function":{"name":"g","arguments":"{}"}}]},
    {"role":"tool","tool_call_id":"c2","content":"{\"b\": 2}"},{"role":"tool","tool_call_id":"c1","content":"two"},
    {"role":"user","content":"so?"}"#;

#[test]
fn results_are_objects_in_a_turn_of_their_own_under_their_tools_names() {
    let body = contents(MODEL, TOOL_TURNS).unwrap();
    assert_eq!(body["systemInstruction"], json!({"parts":[{"text":"s"}]}));
    assert_eq!(
        body["contents"],
        json!([
            {"role":"user","parts":[{"text":"u"}]},
            {"role":"model","parts":[
                {"functionCall":{"id":"c1","name":"f","args":{"a":1}},"thoughtSignature":"sig"},
                {"functionCall":{"id":"c2","name":"g","args":{}}}]},
            {"role":"user","parts":[
                {"functionResponse":{"id":"c2","name":"g","response":{"b":2}}},
                {"functionResponse":{"id":"c1","name":"f","response":{"result":"two"}}}]},
            {"role":"user","parts":[{"text":"so?"}]}
        ])
    );
}

#[test]
fn a_signature_that_was_lost_is_replaced_where_it_must_be() {
    let lost = TOOL_TURNS.replace(
        r#","extra_content":{"google":{"thought_signature":"sig"}}"#,
        "",
    );
    let calls = |model| contents(model, &lost).unwrap()["contents"][1]["parts"].clone();
    let calls_of = calls("gemini-3-pro-preview");
    assert!(calls_of[0]["thoughtSignature"].is_string());
    assert!(calls_of[1].get("thoughtSignature").is_none());
    assert!(calls(MODEL)[0].get("thoughtSignature").is_none());
}

#[test]
fn media_go_inline_with_their_type_first() {
    let media = |part: &str| {
        encoded(
            MODEL,
            &format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#),
        )
    };
    let (sent, _) =
        media(r#"{"type":"image_url","image_url":{"url":"data:image/jpg;base64,QQ=="}}"#).unwrap();
    let sent = String::from_utf8(sent.body).unwrap();
    assert!(
        sent.contains(r#"{"inlineData":{"mimeType":"image/jpeg","data":"QQ=="}}"#),
        "{sent}"
    );
    let error = media(r#"{"type":"image_url","image_url":{"url":"https://x/y"}}"#).unwrap_err();
    assert_eq!(
        (error.kind(), error.param()),
        (Kind::InvalidArgument, Some("image_url"))
    );
}

#[test]
fn a_model_is_one_segment_of_the_path() {
    let path = |model| {
        encoded(model, r#"{"messages":[{"role":"user","content":"x"}]}"#).map(|it| it.0.path)
    };
    assert_eq!(
        path(MODEL).unwrap(),
        "/models/gemini-2.5-flash:generateContent"
    );
    for (model, expected) in [
        ("a/../b", "/models/a%2F..%2Fb:generateContent"),
        ("a?key=b#c", "/models/a%3Fkey%3Db%23c:generateContent"),
        ("%2e%2e", "/models/%252e%252e:generateContent"),
    ] {
        assert_eq!(path(model).unwrap(), expected);
    }
    assert_eq!(path("..").unwrap_err().param(), Some("model"));
}

/// A thought, text in two alphabets, two calls in chunks of their own, the reason to stop before the last of them.
const STREAM: &str = concat!(
    r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true}]},"index":0}],"usageMetadata":{"promptTokenCount":10},"modelVersion":"gemini-x","responseId":"r1"}"#,
    "\r\n\r\n",
    r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Grüße 世界 🌍","thoughtSignature":"sig"}]}}],"responseId":"r1"}"#,
    "\r\n\r\n",
    r#"data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":"é"}},"thoughtSignature":"s2"}]},"finishReason":"STOP"}],"responseId":"r2"}"#,
    "\r\n\r\n",
    r#"data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"id":"mine","name":"g"}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":2,"cachedContentTokenCount":4,"totalTokenCount":17}}"#,
    "\r\n\r\n",
);

fn told() -> Told {
    Told {
        id: "ours".into(),
        model: "asked".into(),
        created: 1,
        tells_usage: true,
    }
}

fn streamed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<Value>, bool)> {
    let mut stream = Stream::new(&Google, MODEL, Reading::default(), told());
    let mut out = Chunks::new();
    for piece in pieces {
        stream.push(Bytes::copy_from_slice(piece), &mut out)?;
    }
    stream.finish(End::Clean, &mut out)?;
    let text = String::from_utf8(out.concat()).unwrap();
    let chunks = text
        .split_terminator("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).ok());
    Ok((chunks.collect(), stream.notes().is_complete()))
}

#[test]
fn a_stream_is_read_the_same_however_it_is_cut() {
    let bytes = STREAM.as_bytes();
    let (chunks, complete) = streamed(std::iter::once(bytes)).unwrap();
    assert!(complete);
    let deltas: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(deltas[1], &json!({"reasoning_content":"hm"}));
    assert_eq!(deltas[2], &json!({"content":"Grüße 世界 🌍"}));
    assert_eq!(deltas[3]["reasoning_details"][0]["signature"], "sig");
    assert_eq!(
        deltas[3]["reasoning_details"][0]["format"],
        "google-gemini-v1"
    );
    let calls: Vec<&Value> = deltas
        .iter()
        .filter_map(|delta| delta.get("tool_calls"))
        .map(|it| &it[0])
        .collect();
    assert_eq!(
        calls[0]["extra_content"]["google"]["thought_signature"],
        "s2"
    );
    // Every call has an index of its own, whatever chunk it came in, and arguments that parse.
    let told: Vec<_> = calls
        .iter()
        .map(|call| (&call["index"], &call["function"]["arguments"]))
        .collect();
    assert_eq!(
        json!(told),
        json!([[0, ""], [0, "{\"a\":\"é\"}"], [1, ""], [1, "{}"]])
    );
    assert_eq!(calls[2]["id"], "mine");
    let finish: Vec<_> = chunks
        .iter()
        .filter(|chunk| chunk["choices"][0]["finish_reason"].is_string())
        .collect();
    assert_eq!(finish.len(), 1);
    assert_eq!(finish[0]["choices"][0]["finish_reason"], "tool_calls");
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(10), &json!(7))
    );
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 2);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 4);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == "r1" && chunk["model"] == "gemini-x")
    );
    assert_eq!(streamed(bytes.chunks(1)).unwrap().0, chunks);
    for cut in 0..bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(
            streamed([first, second].into_iter()).unwrap().0,
            chunks,
            "{cut}"
        );
    }
}

#[test]
fn a_stream_without_a_finished_candidate_is_broken() {
    let end = STREAM
        .find(
            "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"functionCall\"",
        )
        .unwrap();
    let (chunks, complete) = streamed(std::iter::once(&STREAM.as_bytes()[..end])).unwrap();
    assert!(!complete);
    assert!(!chunks.is_empty());
    let error = r#"data: {"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#;
    let error = streamed(std::iter::once(format!("{error}\n\n").as_bytes())).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Overloaded, "busy"));
}

#[test]
fn reasons_to_stop_are_told_in_both_words() {
    for (native, expected) in [
        ("STOP", "stop"),
        ("FUNCTION_CALL", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("SPII", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
    ] {
        let body = format!(r#"{{"candidates":[{{"finishReason":"{native}"}}]}}"#);
        let (body, _) =
            lane::whole(&Google, MODEL, body.as_bytes(), &Reading::default(), told()).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["choices"][0]["finish_reason"], expected, "{native}");
        assert_eq!(answer["choices"][0]["native_finish_reason"], native);
    }
}

#[test]
fn a_blocked_prompt_is_an_answer() {
    let body =
        br#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}"#;
    let (body, notes) = lane::whole(&Google, MODEL, body, &Reading::default(), told()).unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
    assert!(answer["choices"][0]["message"]["refusal"].is_string());
    assert_eq!(notes.reported.unwrap().input, 3);
}

#[test]
fn thoughts_that_the_sum_has_in_the_answer_are_not_added() {
    let body = br#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],
        "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":5,"thoughtsTokenCount":2,"totalTokenCount":8}}"#;
    let (_, notes) = lane::whole(&Google, MODEL, body, &Reading::default(), told()).unwrap();
    let usage = notes.reported.unwrap();
    assert_eq!((usage.output, usage.reasoning), (5, 2));
}

#[test]
fn errors_keep_their_meaning() {
    let told = |status: u16, body: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        Google.refusal(status, &HeaderMap::new(), body.as_bytes())
    };
    for (status, word, kind) in [
        (400, "INVALID_ARGUMENT", Kind::InvalidRequest),
        (403, "PERMISSION_DENIED", Kind::UpstreamAuth),
        (404, "NOT_FOUND", Kind::ModelNotFound),
        (500, "INTERNAL", Kind::UpstreamBroken),
        (504, "DEADLINE_EXCEEDED", Kind::UpstreamTimeout),
    ] {
        let body = format!(r#"{{"error":{{"code":{status},"message":"m","status":"{word}"}}}}"#);
        assert_eq!(told(status, &body).kind(), kind, "{word}");
        assert_eq!(
            told(status, &format!("[{body}]")).kind(),
            kind,
            "{word} in an array"
        );
        assert_eq!(told(status, "").kind(), kind, "{status}");
    }
    let body =
        r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}"#;
    assert_eq!(told(400, body).kind(), Kind::UpstreamAuth);
    let body = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x"},{"retryDelay":"34.4s"}]}}"#;
    let limited = told(429, body);
    assert_eq!(limited.kind(), Kind::RateLimited);
    assert_eq!(limited.retry_after().unwrap().as_millis(), 34_400);
}

#[test]
fn models_that_chat_or_embed_are_listed() {
    let body = br#"{"models":[{"name":"models/a","supportedGenerationMethods":["generateContent"]},
        {"name":"models/b","supportedGenerationMethods":["predict"]}],"nextPageToken":"t/1"}"#;
    let page = Google.page(body).unwrap();
    assert_eq!((page.models.len(), &*page.models[0].id), (1, "a"));
    assert_eq!(
        Google.list(page.next.as_deref()).unwrap().0,
        "/models?pageSize=1000&pageToken=t%2F1"
    );
}

#[test]
fn embeddings_are_asked_for_in_one_batch() {
    let request = crate::ai::embed::EmbedRequest {
        texts: vec!["a".into(), "b".into()],
        dimensions: Some(8),
        encoding: crate::ai::embed::Encoding::Float,
    };
    let encoded = Google
        .embed(&request, &request.texts, "gemini-embedding-001")
        .unwrap();
    assert_eq!(
        encoded.path,
        "/models/gemini-embedding-001:batchEmbedContents"
    );
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let asked = |text| json!({"model":"models/gemini-embedding-001","content":{"parts":[{"text":text}]},"outputDimensionality":8});
    assert_eq!(body, json!({"requests":[asked("a"), asked("b")]}));
    let answer = br#"{"embeddings":[{"values":[0.5,1]},{"values":[2,-3e-1]}]}"#;
    let embedded = Google.embedded(MODEL, &HeaderMap::new(), answer).unwrap();
    assert_eq!(embedded.vectors, [[0.5, 1.0], [2.0, -0.3]]);
    assert_eq!(Google.embed_max(MODEL), None);
}
