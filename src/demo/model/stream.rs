//! The same answers as server-sent events.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use super::MODEL;
use super::answer::{self, CREATED, conversation, input, text_of, usage, words};

pub(super) fn chat(request: &Value, number: u64) -> VecDeque<Bytes> {
    let (prompt, reply) = conversation(request);
    let chunk = |choices: Value| {
        json!({
            "id": format!("chatcmpl-echo-{number}"),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": MODEL,
            "choices": choices,
        })
    };
    let delta = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]))
    };
    let mut chunks = vec![delta(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    let said = words(&reply);
    chunks.extend(
        said.iter()
            .map(|word| delta(json!({"content": word}), Value::Null)),
    );
    chunks.push(delta(json!({}), json!("stop")));
    finish(request, chunks, chunk(json!([])), &usage(&prompt, &reply))
}

pub(super) fn completion(request: &Value, number: u64) -> VecDeque<Bytes> {
    let prompt = text_of(&request["prompt"]);
    let chunk = |choices: Value| {
        json!({
            "id": format!("cmpl-echo-{number}"),
            "object": "text_completion",
            "created": CREATED,
            "model": MODEL,
            "choices": choices,
        })
    };
    let text = |text: &str, finish: Value| {
        chunk(json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}]))
    };
    let said = words(&prompt);
    let mut chunks: Vec<Value> = said.iter().map(|word| text(word, Value::Null)).collect();
    chunks.push(text("", json!("stop")));
    finish(request, chunks, chunk(json!([])), &usage(&prompt, &prompt))
}

/// Adds the usage where it was asked for, and the end mark.
fn finish(
    request: &Value,
    mut chunks: Vec<Value>,
    mut last: Value,
    usage: &Value,
) -> VecDeque<Bytes> {
    if request["stream_options"]["include_usage"] == true {
        for chunk in &mut chunks {
            chunk["usage"] = Value::Null;
        }
        last["usage"] = usage.clone();
        chunks.push(last);
    }
    let lines = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\n\n").into());
    lines
        .chain([Bytes::from_static(b"data: [DONE]\n\n")])
        .collect()
}

pub(super) fn response(request: &Value, number: u64) -> VecDeque<Bytes> {
    let (_, reply) = input(request);
    let whole = answer::response(request, number);
    let mut begun = whole.clone();
    begun["status"] = json!("in_progress");
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    let item = answer::message(number, &reply, "completed");
    let mut opened = answer::message(number, "", "in_progress");
    opened["content"] = json!([]);
    let place = json!({"item_id": item["id"], "output_index": 0, "content_index": 0});

    let mut events = vec![
        ("response.created", json!({"response": begun})),
        ("response.in_progress", json!({"response": begun})),
        (
            "response.output_item.added",
            json!({"output_index": 0, "item": opened}),
        ),
        (
            "response.content_part.added",
            with(&place, "part", answer::part("")),
        ),
    ];
    for word in words(&reply) {
        let mut event = with(&place, "delta", json!(word));
        event["logprobs"] = json!([]);
        events.push(("response.output_text.delta", event));
    }
    let mut done = with(&place, "text", json!(reply));
    done["logprobs"] = json!([]);
    events.extend([
        ("response.output_text.done", done),
        (
            "response.content_part.done",
            with(&place, "part", answer::part(&reply)),
        ),
        (
            "response.output_item.done",
            json!({"output_index": 0, "item": item}),
        ),
        ("response.completed", json!({"response": whole})),
    ]);
    let numbered = events.into_iter().enumerate();
    numbered
        .map(|(sequence, (kind, mut event))| {
            event["type"] = json!(kind);
            event["sequence_number"] = json!(sequence);
            format!("event: {kind}\ndata: {event}\n\n").into()
        })
        .collect()
}

fn with(base: &Value, name: &str, value: Value) -> Value {
    let mut event = base.clone();
    event[name] = value;
    event
}
