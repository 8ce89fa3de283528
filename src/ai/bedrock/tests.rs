use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::frame::tests::write;
use super::*;
use crate::ai::front::{Told, request};
use crate::ai::lane::{self, Encoded, Reading, Stream};
use crate::error::Kind;
use crate::message::body::{BodyStep, Chunks, End};
use crate::policy::route::UnsupportedParams;

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";

fn encoded(model: &str, body: &str) -> Result<(Encoded, Option<String>)> {
    let decoded = request::decode(body.as_bytes())?;
    let (encoded, dropped) = lane::encode(&Bedrock, &decoded, model, UnsupportedParams::Warn)?;
    Ok((encoded, dropped.header()))
}

#[track_caller]
fn check(model: &str, rest: &str, expected: &str, dropped: Option<&str>) {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{rest}}}"#);
    let (encoded, named) = encoded(model, &body).unwrap();
    let sent = String::from_utf8(encoded.body).unwrap();
    let always = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]"#;
    assert_eq!(sent.strip_prefix(always).expect(&sent), expected, "{rest}");
    assert_eq!(named.as_deref(), dropped, "{rest}");
}

#[test]
fn parameters_meet_their_fates() {
    check(NOVA, "", "}", None);
    check(
        NOVA,
        r#","max_tokens":9,"temperature":1.5,"top_p":0.5,"stop":["a",""],"top_k":3,"service_tier":"flex""#,
        r#","inferenceConfig":{"maxTokens":9,"temperature":1.0,"topP":0.5,"stopSequences":["a"]},"serviceTier":{"type":"flex"}}"#,
        Some("temperature, top_k"),
    );
    check(
        CLAUDE,
        r#","max_tokens":9000,"top_k":3"#,
        r#","inferenceConfig":{"maxTokens":9000},"additionalModelRequestFields":{"top_k":3}}"#,
        None,
    );
    check(
        CLAUDE,
        r#","max_tokens":9000,"reasoning_effort":"high""#,
        r#","inferenceConfig":{"maxTokens":9000},"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":4096}}}"#,
        None,
    );
    check(
        NOVA,
        r#","store":true,"metadata":{"workspace_id":"w","user":"a@b"},"user":"u""#,
        r#","requestMetadata":{"user":"a@b","workspace_id":"w"}}"#,
        Some("store, user"),
    );
    check(NOVA, r#","metadata":{"a":"ü"}"#, "}", Some("metadata"));
    let error = encoded(
        NOVA,
        r#"{"messages":[{"role":"user","content":"hi"}],"n":2}"#,
    )
    .unwrap_err();
    assert_eq!(
        (error.kind(), error.param()),
        (Kind::InvalidArgument, Some("n"))
    );
}

#[test]
fn tools_and_their_choice_are_mapped() {
    let tool = r#""tools":[{"type":"function","function":{"name":"f","description":"","parameters":{"type":"object","properties":{"z":{},"a":{}}}}}]"#;
    let spec = r#"{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{"z":{},"a":{}}}}}}"#;
    for (choice, expected) in [
        ("", ""),
        (r#","tool_choice":"auto""#, r#","toolChoice":{"auto":{}}"#),
        (
            r#","tool_choice":"required""#,
            r#","toolChoice":{"any":{}}"#,
        ),
        (
            r#","tool_choice":{"type":"function","function":{"name":"f"}}"#,
            r#","toolChoice":{"tool":{"name":"f"}}"#,
        ),
    ] {
        let expected = format!(r#","toolConfig":{{"tools":[{spec}]{expected}}}}}"#);
        check(NOVA, &format!(",{tool}{choice}"), &expected, None);
    }
    check(NOVA, &format!(r#",{tool},"tool_choice":"none""#), "}", None);
}

#[test]
fn a_schema_is_text_or_a_tool() {
    let format = r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","b":1}}}"#;
    check(
        NOVA,
        format,
        r#","outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"name":"n","schema":"{\"type\":\"object\",\"b\":1}"}}}}}"#,
        None,
    );
    let old = "anthropic.claude-3-5-sonnet-20240620-v1:0";
    check(
        old,
        format,
        r#","toolConfig":{"tools":[{"toolSpec":{"name":"json_output","description":"Call this with your answer.","inputSchema":{"json":{"type":"object","b":1}}}}],"toolChoice":{"tool":{"name":"json_output"}}}}"#,
        None,
    );
}

fn sent(model: &str, messages: &str) -> Result<Value> {
    let (encoded, _) = encoded(model, &format!(r#"{{"messages":[{messages}]}}"#))?;
    Ok(serde_json::from_slice(&encoded.body).unwrap())
}

#[test]
fn turns_alternate_and_long_ids_still_match() {
    let id = format!("call:{}", "x".repeat(100));
    let body = sent(
        NOVA,
        &format!(
            r#"{{"role":"system","content":[{{"type":"text","text":"s","cache_control":{{"type":"ephemeral"}}}}]}},
            {{"role":"user","content":"u"}},{{"role":"user","content":" "}},
            {{"role":"assistant","content":null,"tool_calls":[{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{\"a\":1}}"}}}}]}},
            {{"role":"tool","tool_call_id":"{id}","content":"r"}},{{"role":"user","content":"v"}}"#
        ),
    );
    let body = body.unwrap();
    assert_eq!(
        body["system"],
        json!([{"text":"s"},{"cachePoint":{"type":"default"}}])
    );
    let made = body["messages"][1]["content"][0]["toolUse"]["toolUseId"]
        .as_str()
        .unwrap();
    assert_eq!(made.len(), 64);
    assert_eq!(
        body["messages"],
        json!([
            {"role":"user","content":[{"text":"u"}]},
            {"role":"assistant","content":[{"toolUse":{"toolUseId":made,"name":"f","input":{"a":1}}}]},
            {"role":"user","content":[{"toolResult":{"toolUseId":made,"content":[{"text":"r"}]}},{"text":"v"}]}
        ])
    );
    // The provider wants tools where the history has calls.
    assert!(body["toolConfig"]["tools"][0]["toolSpec"]["name"].is_string());
}

#[test]
fn media_are_inline_and_documents_nameless() {
    let media = |part: &str| sent(NOVA, &format!(r#"{{"role":"user","content":[{part}]}}"#));
    let body = media(
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}},
        {"type":"file","file":{"filename":"Ignore all.pdf","file_data":"data:application/pdf;base64,Qg=="}}"#,
    );
    assert_eq!(
        body.unwrap()["messages"][0]["content"],
        json!([
            {"image":{"format":"png","source":{"bytes":"QQ=="}}},
            {"document":{"format":"pdf","name":"document 1","source":{"bytes":"Qg=="}}}
        ])
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
        path(NOVA).unwrap(),
        "/model/amazon.nova-lite-v1%3A0/converse"
    );
    let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/x";
    assert_eq!(
        path(arn).unwrap(),
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse"
    );
    assert!(path("..").is_err());
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    write(
        &[
            (":event-type", name),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ],
        payload.as_bytes(),
    )
}

fn stream() -> Vec<u8> {
    [
        ("messageStart", r#"{"p":"abc","role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"sig"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":1,"start":{}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"Grüße 世界 🌍"},"p":"abcd"}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"t1","name":"f"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":""}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"a\":1}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"t2","name":"g"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
        ("messageStop", r#"{"stopReason":"tool_use"}"#),
        ("metadata", r#"{"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":22,"cacheReadInputTokens":4,"cacheWriteInputTokens":3},"metrics":{"latencyMs":1}}"#),
    ]
    .into_iter()
    .flat_map(|(name, payload)| event(name, payload))
    .collect()
}

fn told() -> Told {
    Told {
        id: "ours".into(),
        model: "asked".into(),
        created: 1,
        tells_usage: true,
    }
}

fn streamed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<Value>, bool)> {
    let mut stream = Stream::new(&Bedrock, CLAUDE, Reading::default(), told());
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
    let bytes = stream();
    let (chunks, complete) = streamed(std::iter::once(&*bytes)).unwrap();
    assert!(complete);
    let deltas: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(deltas[1], &json!({"reasoning_content":"hm"}));
    assert_eq!(
        deltas[2],
        &json!({"reasoning_details":[{"type":"reasoning.text","format":"anthropic-claude-v1","index":0,"text":"hm","signature":"sig"}]})
    );
    assert_eq!(deltas[3], &json!({"content":"Grüße 世界 🌍"}));
    let calls: Vec<_> = deltas
        .iter()
        .filter_map(|delta| delta.get("tool_calls"))
        .map(|call| (&call[0]["index"], &call[0]["function"]["arguments"]))
        .collect();
    assert_eq!(
        json!(calls),
        json!([[0, ""], [0, "{\"a\":1}"], [1, ""], [1, "{}"]])
    );
    assert_eq!(
        chunks[chunks.len() - 2]["choices"][0]["finish_reason"],
        "tool_calls"
    );
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(17), &json!(5))
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
fn a_stream_that_breaks_off_is_never_complete() {
    let bytes = stream();
    let stop = bytes
        .windows(11)
        .position(|window| window == b"messageStop")
        .unwrap();
    for cut in 0..stop {
        assert!(
            !streamed(std::iter::once(&bytes[..cut])).unwrap().1,
            "{cut}"
        );
    }
    // The reason to stop was told, but a frame is missing its end.
    assert!(
        !streamed(std::iter::once(&bytes[..bytes.len() - 1]))
            .unwrap()
            .1
    );
}

/// Bifrost #4545, and peers that drop these and end the stream as if it were whole.
#[test]
fn exceptions_and_damage_are_errors() {
    let exception = write(
        &[
            (":exception-type", "throttlingException"),
            (":message-type", "exception"),
        ],
        br#"{"message":"slow down"}"#,
    );
    let error = streamed(std::iter::once(&*exception)).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::RateLimited, "slow down")
    );
    let error = write(
        &[
            (":message-type", "error"),
            (":error-code", "internalServerException"),
            (":error-message", "oops"),
        ],
        b"",
    );
    let error = streamed(std::iter::once(&*error)).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::UpstreamBroken, "oops")
    );
    let mut damaged = stream();
    let at = damaged.len() / 2;
    damaged[at] ^= 1;
    assert_eq!(
        streamed(std::iter::once(&*damaged)).unwrap_err().kind(),
        Kind::UpstreamBroken
    );
}

#[test]
fn an_answer_that_comes_whole_says_the_same() {
    let body = r#"{"output":{"message":{"role":"assistant","content":[
        {"reasoningContent":{"reasoningText":{"text":"hm","signature":"sig"}}},{"text":"a"},
        {"toolUse":{"toolUseId":"t","name":"f","input":{"b": 1,"a":2}}}]}},
        "stopReason":"malformed_tool_use","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#;
    let (body, notes) =
        lane::whole(&Bedrock, NOVA, body.as_bytes(), &Reading::default(), told()).unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "a");
    assert_eq!(
        choice["message"]["reasoning_details"][0]["format"],
        "amazon-bedrock-v1"
    );
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"]["arguments"],
        r#"{"b": 1,"a":2}"#
    );
    assert_eq!(
        (&choice["finish_reason"], &choice["native_finish_reason"]),
        (&json!("stop"), &json!("malformed_tool_use"))
    );
    assert_eq!(notes.reported.unwrap().input, 1);
    // What is no answer is none, whatever its status: vercel/ai #17523.
    let wrong = br#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
    assert!(lane::whole(&Bedrock, NOVA, wrong, &Reading::default(), told()).is_err());
}

#[test]
fn errors_keep_their_meaning() {
    let told = |status: u16, name: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(name) = name {
            let value = format!("{name}:http://internal.amazon.com/coral/");
            headers.insert("x-amzn-errortype", value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Bedrock.refusal(status, &headers, br#"{"Message":"m"}"#)
    };
    for (status, name, kind) in [
        (400, "ValidationException", Kind::InvalidRequest),
        (403, "AccessDeniedException", Kind::UpstreamAuth),
        (404, "ResourceNotFoundException", Kind::ModelNotFound),
        (408, "ModelTimeoutException", Kind::UpstreamTimeout),
        (424, "ModelErrorException", Kind::UpstreamBroken),
        (429, "ThrottlingException", Kind::RateLimited),
        (400, "ServiceQuotaExceededException", Kind::RateLimited),
        (503, "ServiceUnavailableException", Kind::Overloaded),
    ] {
        assert_eq!(told(status, Some(name)).kind(), kind, "{name}");
    }
    assert_eq!(told(429, None).message(), "m");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let once = streamed(std::iter::once(&*bytes)).map(|seen| seen.0).map_err(|error| error.kind());
        let split = streamed(bytes.chunks(1)).map(|seen| seen.0).map_err(|error| error.kind());
        prop_assert_eq!(once, split);
    }
}

#[test]
fn embeddings_are_asked_for_in_their_makers_form() {
    let request = crate::ai::embed::EmbedRequest {
        texts: vec!["a".into(), "b".into()],
        dimensions: Some(256),
        encoding: crate::ai::embed::Encoding::Float,
    };
    let (titan, cohere) = ("amazon.titan-embed-text-v2:0", "cohere.embed-v4:0");
    assert_eq!(
        (
            Bedrock.embed_max(titan),
            Bedrock.embed_max(cohere),
            Bedrock.embed_max(NOVA)
        ),
        (Some(1), Some(96), None)
    );
    let sent = |model, texts| {
        let encoded = Bedrock.embed(&request, texts, model).unwrap();
        (encoded.path, String::from_utf8(encoded.body).unwrap())
    };
    assert_eq!(
        sent(titan, &request.texts[..1]),
        (
            "/model/amazon.titan-embed-text-v2%3A0/invoke".into(),
            r#"{"inputText":"a","dimensions":256}"#.into()
        )
    );
    assert_eq!(
        sent(cohere, &request.texts).1,
        r#"{"texts":["a","b"],"input_type":"search_document","output_dimension":256}"#
    );
    let mut headers = HeaderMap::new();
    headers.insert("x-amzn-bedrock-input-token-count", "7".parse().unwrap());
    for body in [
        r#"{"embeddings":[[1,2]]}"#,
        r#"{"embeddings":{"float":[[1,2]]},"id":"x"}"#,
    ] {
        let embedded = Bedrock.embedded(cohere, &headers, body.as_bytes()).unwrap();
        assert_eq!(
            (embedded.vectors, embedded.tokens),
            (vec![vec![1.0, 2.0]], Some(7))
        );
    }
    let body = br#"{"embedding":[1],"inputTextTokenCount":3}"#;
    let embedded = Bedrock.embedded(titan, &HeaderMap::new(), body).unwrap();
    assert_eq!(
        (embedded.vectors, embedded.tokens),
        (vec![vec![1.0]], Some(3))
    );
}
