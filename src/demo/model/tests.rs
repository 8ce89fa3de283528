//! The echo model over real connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Sends one request and reads the connection to its end.
async fn ask(
    model: &EchoModel,
    method: &str,
    path: &str,
    key: &str,
    body: &Value,
) -> (u16, String) {
    let body = body.to_string();
    let mut socket = TcpStream::connect(model.server.address()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let status = answer[9..12].parse().unwrap();
    (status, answer)
}

async fn post(model: &EchoModel, path: &str, body: Value) -> String {
    let (status, answer) = ask(model, "POST", path, model.api_key(), &body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The documents of a stream.
fn events(answer: &str) -> Vec<Value> {
    let data = answer
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn document(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn the_last_words_of_the_user_come_back() {
    let model = EchoModel::start().await.unwrap();
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hello there"}]},
    ]);
    let request = json!({"model": "echo", "messages": messages});
    let answer = document(&post(&model, "/v1/chat/completions", request).await);
    assert_eq!(answer["choices"][0]["message"]["content"], "hello there");
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6})
    );
    let request = json!({"model": "echo", "prompt": "one two"});
    let answer = document(&post(&model, "/v1/completions", request).await);
    assert_eq!(answer["choices"][0]["text"], "one two");
    let request = json!({"model": "echo", "input": "one two"});
    let answer = document(&post(&model, "/v1/responses", request).await);
    assert_eq!(answer["output"][0]["content"][0]["text"], "one two");
}

#[tokio::test]
async fn a_stream_joins_to_the_same_text_and_ends_with_its_mark() {
    let model = EchoModel::start().await.unwrap();
    for (usage, last) in [(false, json!("stop")), (true, Value::Null)] {
        let messages = json!([{"role": "user", "content": "a  b\nc"}]);
        let options = json!({"include_usage": usage});
        let request = json!({"model": "echo", "stream": true, "stream_options": options, "messages": messages});
        let answer = post(&model, "/v1/chat/completions", request).await;
        assert!(answer.contains("content-type: text/event-stream"));
        assert!(answer.contains("data: [DONE]\n\n"));
        let chunks = events(&answer);
        let words = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        assert_eq!(words.collect::<String>(), "a  b\nc");
        let end = chunks.last().unwrap();
        assert_eq!(end["choices"][0]["finish_reason"], last);
        assert_eq!(end["usage"]["total_tokens"].as_u64(), usage.then_some(6));
    }
}

#[tokio::test]
async fn a_streamed_response_has_its_events_in_order() {
    let model = EchoModel::start().await.unwrap();
    let request =
        json!({"model": "echo", "stream": true, "input": [{"role": "user", "content": "x y"}]});
    let all = events(&post(&model, "/v1/responses", request).await);
    let kinds: Vec<&str> = all
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let numbers = all
        .iter()
        .map(|event| event["sequence_number"].as_u64().unwrap());
    assert!(numbers.eq(0..10));
}

#[tokio::test]
async fn an_embedding_is_the_same_in_both_encodings() {
    use base64::Engine as _;

    let model = EchoModel::start().await.unwrap();
    let request = |format| json!({"model": "echo", "input": ["water"], "encoding_format": format});
    let floats = document(&post(&model, "/v1/embeddings", request("float")).await);
    let packed = document(&post(&model, "/v1/embeddings", request("base64")).await);
    let text = packed["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap();
    let unpacked: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|number| f32::from_le_bytes(number.try_into().unwrap()))
        .collect();
    let shown: Vec<f32> = serde_json::from_value(floats["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(shown, unpacked);
}

#[tokio::test]
async fn what_is_wrong_is_refused_as_openai_would() {
    let model = EchoModel::start().await.unwrap();
    let good = model.api_key();
    for (method, path, key, body, expected) in [
        (
            "POST",
            "/v1/chat/completions",
            "wrong",
            json!({"model": "echo"}),
            401,
        ),
        (
            "POST",
            "/v1/chat/completions",
            good,
            json!({"model": "other"}),
            404,
        ),
        ("POST", "/v1/chat/completions", good, json!([1]), 400),
        (
            "POST",
            "/v1/embeddings",
            good,
            json!({"model": "echo", "input": [1]}),
            400,
        ),
        ("POST", "/v1/files", good, json!({"model": "echo"}), 404),
        ("GET", "/v1/models", good, Value::Null, 200),
        ("GET", "/v1/models/echo", good, Value::Null, 200),
        ("GET", "/v1/models/none", good, Value::Null, 404),
    ] {
        let (status, answer) = ask(&model, method, path, key, &body).await;
        assert_eq!(status, expected, "{method} {path} {answer}");
        if status != 200 {
            assert!(
                document(&answer)["error"]["message"].is_string(),
                "{answer}"
            );
        }
    }
}
