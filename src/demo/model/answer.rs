//! What the echo model answers: pure functions of the request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::MODEL;

/// A creation time that never changes: the demo's answers can be compared.
pub(super) const CREATED: u64 = 1_767_225_600;

/// Numbers in an embedding unless `dimensions` says otherwise.
const DIMENSIONS: u64 = 8;
const DIMENSIONS_MAX: u64 = 4096;

pub(super) fn models() -> Value {
    json!({"object": "list", "data": [model()]})
}

pub(super) fn model() -> Value {
    json!({"id": MODEL, "object": "model", "created": CREATED, "owned_by": "aqueduct-demo"})
}

pub(super) fn chat(request: &Value, number: u64) -> Value {
    let (prompt, reply) = conversation(request);
    json!({
        "id": format!("chatcmpl-echo-{number}"),
        "object": "chat.completion",
        "created": CREATED,
        "model": MODEL,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": reply, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": usage(&prompt, &reply),
    })
}

pub(super) fn completion(request: &Value, number: u64) -> Value {
    let prompt = text_of(&request["prompt"]);
    json!({
        "id": format!("cmpl-echo-{number}"),
        "object": "text_completion",
        "created": CREATED,
        "model": MODEL,
        "choices": [{"index": 0, "text": prompt, "logprobs": null, "finish_reason": "stop"}],
        "usage": usage(&prompt, &prompt),
    })
}

pub(super) fn response(request: &Value, number: u64) -> Value {
    let (prompt, reply) = input(request);
    let (asked, said) = (tokens(&prompt), tokens(&reply));
    json!({
        "id": format!("resp_echo_{number}"),
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "error": null,
        "incomplete_details": null,
        "instructions": request["instructions"],
        "metadata": {},
        "model": MODEL,
        "output": [message(number, &reply, "completed")],
        "parallel_tool_calls": true,
        "store": false,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + said,
        },
    })
}

/// The one output item of a response.
pub(super) fn message(number: u64, text: &str, status: &str) -> Value {
    json!({
        "id": format!("msg_echo_{number}"),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part(text)],
    })
}

pub(super) fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

/// `None` if `input` is neither a text nor a list of texts.
pub(super) fn embeddings(request: &Value) -> Option<Value> {
    let one = std::slice::from_ref(&request["input"]);
    let inputs = request["input"].as_array().map_or(one, Vec::as_slice);
    let size = request["dimensions"].as_u64().unwrap_or(DIMENSIONS);
    let size = size.clamp(1, DIMENSIONS_MAX);
    let mut data = Vec::with_capacity(inputs.len());
    let mut asked = 0;
    for (index, input) in inputs.iter().enumerate() {
        let text = input.as_str()?;
        asked += tokens(text);
        let vector = embedding(text, size);
        let shown = if request["encoding_format"] == "base64" {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        data.push(json!({"object": "embedding", "index": index, "embedding": shown}));
    }
    let usage = json!({"prompt_tokens": asked, "total_tokens": asked});
    Some(json!({"object": "list", "data": data, "model": MODEL, "usage": usage}))
}

/// The same text has the same direction; that is all it promises.
fn embedding(text: &str, size: u64) -> Vec<f32> {
    let mut vector = vec![0_f32; usize::try_from(size).unwrap_or(1)];
    let length = vector.len();
    for (at, byte) in text.bytes().enumerate() {
        vector[(at * 31 + usize::from(byte)) % length] += f32::from(byte) / 255.0;
    }
    let norm = vector
        .iter()
        .map(|number| number * number)
        .sum::<f32>()
        .sqrt();
    if norm > 0.0 {
        for number in &mut vector {
            *number /= norm;
        }
    }
    vector
}

/// All that was said in a chat, and what is said back: the last user's words.
pub(super) fn conversation(request: &Value) -> (String, String) {
    let messages = request["messages"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let texts: Vec<String> = messages
        .iter()
        .map(|message| text_of(&message["content"]))
        .collect();
    let last = messages
        .iter()
        .rposition(|message| message["role"] == "user");
    let reply = last.map(|at| texts[at].clone()).unwrap_or_default();
    (texts.join(" "), reply)
}

/// The same of a response's `input`: a text, or a list of messages.
pub(super) fn input(request: &Value) -> (String, String) {
    let input = &request["input"];
    match input.as_str() {
        Some(text) => (text.to_owned(), text.to_owned()),
        None => conversation(&json!({"messages": input})),
    }
}

/// A text, or the texts of a list of parts, or of texts.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .filter_map(|part| part.as_str().or_else(|| part["text"].as_str()));
            texts.collect::<Vec<_>>().join(" ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

pub(super) fn usage(prompt: &str, reply: &str) -> Value {
    let (asked, said) = (tokens(prompt), tokens(reply));
    json!({"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said})
}

/// A word is a token.
fn tokens(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The words with the white space before them, so that they join to the same text.
pub(super) fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (at, letter) in text.char_indices() {
        if letter.is_whitespace() && in_word {
            words.push(&text[start..at]);
            start = at;
        }
        in_word = !letter.is_whitespace();
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}
