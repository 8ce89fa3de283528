use super::*;
use crate::ai::chat::Family;
use crate::ai::usage::Source;
use crate::error::Kind;

fn told(tells_usage: bool) -> Told {
    Told {
        id: "id".into(),
        model: "m".into(),
        created: 7,
        tells_usage,
    }
}

const USAGE: Usage = Usage {
    input: 5,
    output: 3,
    cached: 2,
    cache_write: 1,
    reasoning: 1,
    source: Source::Reported,
};

fn text(text: &str) -> Event {
    Event::Text {
        choice: 0,
        text: text.into(),
    }
}

fn call(name: &str) -> Event {
    Event::Call {
        choice: 0,
        id: Some(format!("id-{name}")),
        name: name.into(),
        seal: None,
    }
}

fn arguments(call: u32, json: &str) -> Event {
    Event::Arguments {
        choice: 0,
        call,
        json: json.into(),
    }
}

fn finish(stop: Stop) -> Event {
    Event::Finish {
        choice: 0,
        stop,
        native: "native".into(),
    }
}

/// What each chunk says besides what all chunks repeat.
fn streamed(tells_usage: bool, events: Vec<Event>) -> Vec<String> {
    let mut chunks = Chunks::new(told(tells_usage));
    let mut out = Vec::new();
    for event in events {
        chunks.write(event, &mut out).unwrap();
    }
    let out = String::from_utf8(out).unwrap();
    let repeated = r#"{"id":"id","object":"chat.completion.chunk","created":7,"model":"m","#;
    out.split_terminator("\n\n")
        .map(|event| {
            event
                .strip_prefix("data: ")
                .unwrap()
                .replacen(repeated, "{", 1)
        })
        .collect()
}

fn choice(delta: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}]}}"#)
}

const ROLE: &str = r#"{"role":"assistant","content":""}"#;

#[test]
fn nothing_leaves_before_the_model_says_something() {
    let start = Event::Start {
        id: Some("id".into()),
        model: None,
    };
    assert_eq!(
        streamed(true, vec![start, Event::Ping, Event::Usage(USAGE)]),
        [""; 0]
    );
}

#[test]
fn a_stream_keeps_to_the_rules() {
    let events = vec![
        text("a"),
        finish(Stop::Length),
        finish(Stop::End),
        Event::Usage(USAGE),
        Event::End,
    ];
    let null = |chunk: &str| chunk.replacen("}]}", r#"}],"usage":null}"#, 1);
    assert_eq!(
        streamed(true, events),
        [
            null(&choice(ROLE)),
            null(&choice(r#"{"content":"a"}"#)),
            r#"{"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length","native_finish_reason":"native"}],"usage":null}"#.into(),
            concat!(
                r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8,"#,
                r#""prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":1},"#,
                r#""completion_tokens_details":{"reasoning_tokens":1}}}"#
            )
            .into(),
            "[DONE]".into(),
        ]
    );
    let unasked = streamed(
        false,
        vec![
            text("a"),
            finish(Stop::End),
            Event::Usage(USAGE),
            Event::End,
        ],
    );
    assert!(
        unasked.iter().all(|chunk| !chunk.contains("usage")),
        "{unasked:?}"
    );
}

#[test]
fn calls_are_counted_and_never_without_arguments() {
    let ended = |call| Event::CallEnded { choice: 0, call };
    let chunks = streamed(
        false,
        vec![
            call("f"),
            arguments(0, ""),
            arguments(0, "{\"a\""),
            arguments(0, ":1}"),
            ended(0),
            call("g"),
            ended(1),
        ],
    );
    let fragment =
        |index, rest: &str| choice(&format!(r#"{{"tool_calls":[{{"index":{index},{rest}}}]}}"#));
    let begun = |index, name| {
        let rest = format!(
            r#""id":"id-{name}","type":"function","function":{{"name":"{name}","arguments":""}}"#
        );
        fragment(index, &rest)
    };
    assert_eq!(
        chunks,
        [
            choice(ROLE),
            begun(0, "f"),
            fragment(0, r#""function":{"arguments":"{\"a\""}"#),
            fragment(0, r#""function":{"arguments":":1}"}"#),
            begun(1, "g"),
            fragment(1, r#""function":{"arguments":"{}"}"#),
        ]
    );
}

#[test]
fn a_thought_is_told_again_with_its_seal() {
    let thought = |text: &str| Event::Thought {
        choice: 0,
        text: text.into(),
    };
    let sealed = Event::ThoughtSealed {
        choice: 0,
        seal: Seal {
            family: Family::Claude,
            data: "sig".into(),
            redacted: false,
        },
    };
    let chunks = streamed(false, vec![thought("a"), thought("b"), sealed]);
    assert_eq!(
        chunks[3],
        choice(
            r#"{"reasoning_details":[{"type":"reasoning.text","format":"anthropic-claude-v1","index":0,"text":"ab","signature":"sig"}]}"#
        )
    );
}

#[test]
fn the_same_events_make_one_document() {
    let mut whole = Whole::new(told(false));
    let no_id = Event::Call {
        choice: 0,
        id: None,
        name: "g".into(),
        seal: None,
    };
    for event in [
        text("a"),
        text("b"),
        call("f"),
        arguments(0, "{}"),
        no_id,
        Event::CallEnded { choice: 0, call: 1 },
        finish(Stop::Tools),
        Event::Usage(USAGE),
    ] {
        whole.take(event).unwrap();
    }
    assert_eq!(whole.body().unwrap_err().kind(), Kind::UpstreamBroken);
    whole.take(Event::End).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&whole.body().unwrap()).unwrap();
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["content"], "ab");
    assert_eq!(choice["message"]["tool_calls"][0]["id"], "id-f");
    assert!(
        choice["message"]["tool_calls"][1]["id"]
            .as_str()
            .unwrap()
            .starts_with("call_")
    );
    assert_eq!(
        choice["message"]["tool_calls"][1]["function"]["arguments"],
        "{}"
    );
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(body["usage"]["total_tokens"], 8);
    assert!(choice["message"]["refusal"].is_null());
}
