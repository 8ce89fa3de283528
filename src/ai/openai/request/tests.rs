use super::*;
use crate::ai::chat::{Cache, MediaKind, Part, Role, Source, ToolChoice};

fn read(body: &str) -> Decoded<'_> {
    decode(body.as_bytes()).unwrap()
}

fn with(rest: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{rest}}}"#)
}

#[track_caller]
fn check_refused(body: &str, kind: Kind, param: &str) {
    let error = decode(body.as_bytes()).unwrap_err();
    assert_eq!(
        (error.kind(), error.param()),
        (kind, Some(param)),
        "{body}: {error}"
    );
}

#[test]
fn only_what_says_something_is_given() {
    let body = with(
        r#","n":1,"logprobs":false,"store":false,"presence_penalty":0,"logit_bias":{ },"tool_choice":null,
        "parallel_tool_calls":true,"service_tier":"auto","modalities":["text"],"response_format":{"type":"text"},
        "metadata":{},"verbosity":"medium""#,
    );
    assert_eq!(read(&body).given, []);
    let body = with(
        r#","n":2,"store":true,"max_tokens":4000,"metadata":{"a":"b"},"temperature":0,"stop":"x","top_k":5,
        "logprobs":true,"top_logprobs":3,"reasoning_effort":"high","parallel_tool_calls":false"#,
    );
    let decoded = read(&body);
    let names: Vec<_> = decoded.given.iter().map(|param| param.name()).collect();
    assert_eq!(
        names,
        [
            "n",
            "store",
            "max_tokens",
            "metadata",
            "temperature",
            "stop",
            "top_k",
            "logprobs",
            "top_logprobs",
            "reasoning_effort",
            "parallel_tool_calls"
        ]
    );
    let request = decoded.request;
    assert_eq!((request.choices, request.max_tokens), (Some(2), Some(4000)));
    assert_eq!(
        (request.stop, request.logprobs),
        (vec!["x".to_owned()], Some(3))
    );
    assert_eq!(request.effort, Some(Effort::High));
    assert_eq!(request.parallel_tool_calls, Some(false));
}

#[test]
fn the_newer_name_of_the_limit_wins_wherever_it_stands() {
    for rest in [
        r#","max_tokens":1,"max_completion_tokens":2"#,
        r#","max_completion_tokens":2,"max_tokens":1"#,
    ] {
        assert_eq!(read(&with(rest)).request.max_tokens, Some(2));
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    use Kind::{InvalidArgument, InvalidRequest};
    check_refused(
        &with(r#","chat_template_kwargs":{}"#),
        InvalidArgument,
        "chat_template_kwargs",
    );
    check_refused(
        &with(r#","temperature":"hot""#),
        InvalidRequest,
        "temperature",
    );
    check_refused(&with(r#","temperature":3"#), InvalidRequest, "temperature");
    check_refused(&with(r#","n":0"#), InvalidRequest, "n");
    check_refused(
        &with(r#","reasoning_effort":"huge""#),
        InvalidRequest,
        "reasoning_effort",
    );
    check_refused(
        &with(r#","tools":[{"type":"custom","custom":{}}]"#),
        InvalidArgument,
        "tools[0].type",
    );
    check_refused(
        &with(r#","response_format":{"type":"json_schema"}"#),
        InvalidRequest,
        "response_format.json_schema",
    );
    check_refused(r#"{"model":"m"}"#, InvalidRequest, "messages");
    check_refused(r#"{"messages":[]}"#, InvalidRequest, "messages");
    check_refused(
        r#"{"messages":[{"role":"robot"}]}"#,
        InvalidArgument,
        "messages[0].role",
    );
    check_refused(
        r#"{"messages":[{"role":"user","contents":"x"}]}"#,
        InvalidRequest,
        "messages[0]",
    );
    check_refused(
        r#"{"messages":[{"role":"user","content":[{"type":"video"}]}]}"#,
        InvalidArgument,
        "messages[0].content[0].type",
    );
    check_refused(
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc"}}]}]}"#,
        InvalidRequest,
        "messages[0].content[0]",
    );
    check_refused(
        r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}"#,
        InvalidArgument,
        "messages[0].content[0].file.file_id",
    );
    assert_eq!(
        decode(br#"{"messages":[],"top_p":1,"top_p":2}"#)
            .unwrap_err()
            .kind(),
        Kind::MalformedBody
    );
}

#[test]
fn results_answer_calls_that_were_made() {
    let call = |arguments: &str| {
        format!(
            r#"{{"messages":[{{"role":"assistant","content":null,"tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":{arguments}}}}}]}},{{"role":"tool","tool_call_id":"c","content":"4"}}]}}"#
        )
    };
    for (arguments, expected) in [(r#""""#, "{}"), (r#""{\"a\": 1}""#, r#"{"a": 1}"#)] {
        let body = call(arguments);
        let request = read(&body).request;
        let Part::Call(called) = &request.messages[0].parts[0] else {
            panic!("no call");
        };
        assert_eq!(called.arguments.get(), expected);
        let Part::Result(result) = &request.messages[1].parts[0] else {
            panic!("no result");
        };
        assert_eq!((&*result.id, &*result.name), ("c", "f"));
    }
    for arguments in [r#""[1]""#, r#""{""#, r#""{} x""#] {
        let param = "messages[0].tool_calls[0].function.arguments";
        check_refused(&call(arguments), Kind::InvalidRequest, param);
    }
    check_refused(
        r#"{"messages":[{"role":"tool","tool_call_id":"c","content":"4"}]}"#,
        Kind::InvalidRequest,
        "messages[0].tool_call_id",
    );
}

#[test]
fn media_are_taken_out_of_data_urls_uncopied() {
    let body = r#"{"messages":[{"role":"user","content":[
        {"type":"text","text":"","cache_control":{"type":"ephemeral"}},
        {"type":"text","text":"see","cache_control":{"type":"ephemeral","ttl":"1h"}},
        {"type":"image_url","image_url":{"url":"data:image/jpg;base64,QUJD","detail":"high"}},
        {"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,QQ=="}},
        {"type":"input_audio","input_audio":{"data":"QQ==","format":"mp3"}}]}]}"#;
    let decoded = read(body);
    let parts = &decoded.request.messages[0].parts;
    assert_eq!(parts.len(), 4);
    assert_eq!(parts[0].text().unwrap().cache, Some(Cache::Hour));
    let media: Vec<_> = parts[1..]
        .iter()
        .map(|part| {
            let Part::Media(media) = part else {
                panic!("{part:?}")
            };
            let Source::Inline { mime, data } = &media.source else {
                panic!("{media:?}")
            };
            (media.kind, &**mime, &**data)
        })
        .collect();
    assert_eq!(
        media,
        [
            (MediaKind::Image, "image/jpeg", "QUJD"),
            (MediaKind::Document, "application/pdf", "QQ=="),
            (MediaKind::Audio, "audio/mpeg", "QQ=="),
        ]
    );
    let Part::Media(image) = &parts[1] else {
        panic!("no image")
    };
    assert!(matches!(
        image.source,
        Source::Inline {
            data: Cow::Borrowed(_),
            ..
        }
    ));
    assert_eq!(
        decoded.dropped.header().as_deref(),
        Some("messages[].image_url.detail")
    );
}

#[test]
fn choices_of_tools_are_read() {
    for (choice, expected) in [
        (r#""required""#, ToolChoice::Required),
        (
            r#"{"type":"function","function":{"name":"f"}}"#,
            ToolChoice::Named("f".into()),
        ),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}"#,
            ToolChoice::Allowed {
                names: vec!["f".into()],
                required: false,
            },
        ),
    ] {
        let body = with(&format!(r#","tool_choice":{choice}"#));
        assert_eq!(read(&body).request.tool_choice, Some(expected));
    }
}

#[test]
fn only_sealed_thoughts_are_taken_back() {
    let body = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"r",
        "reasoning_details":[{"type":"reasoning.text","format":"anthropic-claude-v1","text":"t","signature":"s","index":0},
        {"type":"reasoning.text","format":"unknown","text":"t","signature":"s"},
        {"type":"reasoning.encrypted","format":"anthropic-claude-v1","data":"d"},
        {"type":"reasoning.text","format":"anthropic-claude-v1","text":"unsealed"}]}]}"#;
    let decoded = read(body);
    let message = &decoded.request.messages[1];
    assert_eq!(message.role, Role::Assistant);
    let seals: Vec<_> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Thought(thought) => thought
                .seal
                .as_ref()
                .map(|seal| (&*seal.data, seal.redacted)),
            Part::Text(_) | Part::Media(_) | Part::Call(_) | Part::Result(_) => None,
        })
        .collect();
    assert_eq!(seals, [("s", false), ("d", true)]);
}
