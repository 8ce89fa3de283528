//! Providers of each dialect at one origin: how they are configured, and what they send.

use std::net::SocketAddr;

use crc_fast::CrcAlgorithm;
use serde_json::Value;

use super::origin::Step;
use super::raw::Raw;
use super::server::Server;
use super::sign;

pub(crate) const TOKEN: &str = "canary-lanes-client-token-0123456789abcdefghij";
pub(crate) const KEY_ID: &str = "00000000-0000-4000-8000-000000000003";
pub(crate) const REPOSITORY_ID: &str = "3d1f9b64-2c7a-4e0b-8a55-9e6c1d0f7b21";
pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A dialect that a resource speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    OpenAi,
    Anthropic,
    Google,
    Bedrock,
}

impl Lane {
    pub(crate) const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Google, Self::Bedrock];

    /// The resource's name, which is a model's too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Google => "google",
            Self::Bedrock => "bedrock",
        }
    }

    pub(crate) fn upstream_model(self) -> &'static str {
        match self {
            Self::OpenAi => "gpt-4o-mini",
            Self::Anthropic => "claude-sonnet-4-5",
            Self::Google => "gemini-2.5-flash",
            Self::Bedrock => "anthropic.claude-3-5-sonnet-20240620-v1:0",
        }
    }

    fn settings(self, at: SocketAddr) -> String {
        let key = "api_key = \"plain:upstream-key\"";
        match self {
            Self::OpenAi => format!("type = \"openai\"\nbase_url = \"http://{at}/v1\"\n{key}"),
            Self::Anthropic => {
                format!("type = \"anthropic\"\nbase_url = \"http://{at}/v1\"\n{key}")
            }
            Self::Google => format!("type = \"google\"\nbase_url = \"http://{at}/v1beta\"\n{key}"),
            Self::Bedrock => format!(
                "type = \"aws\"\nregion = \"us-east-1\"\nbase_url = \"http://{at}\"\n\
                 access_key_id = \"AKIDEXAMPLE\"\nsecret_access_key = \"plain:upstream-secret\""
            ),
        }
    }

    /// The head of a stream.
    pub(crate) fn stream_head(self) -> Vec<u8> {
        let kind = match self {
            Self::OpenAi | Self::Anthropic | Self::Google => "text/event-stream",
            Self::Bedrock => "application/vnd.amazon.eventstream",
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        head.into()
    }

    /// What comes before the first text, with what is told of the prompt by then.
    pub(crate) fn begin(self) -> Vec<u8> {
        match self {
            Self::OpenAi => Vec::new(),
            Self::Google => event(
                r#"{"candidates":[],"usageMetadata":{"promptTokenCount":50,"cachedContentTokenCount":20,"totalTokenCount":50}}"#,
            ),
            Self::Anthropic => [
                event(r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":1}}}"#),
                event(r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#),
            ]
            .concat(),
            Self::Bedrock => frame("messageStart", r#"{"role":"assistant"}"#),
        }
    }

    /// A piece of text.
    pub(crate) fn text(self, text: &str) -> Vec<u8> {
        match self {
            Self::OpenAi => event(&format!(
                r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#
            )),
            Self::Anthropic => event(&format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
            )),
            Self::Google => event(&format!(
                r#"{{"candidates":[{{"index":0,"content":{{"role":"model","parts":[{{"text":"{text}"}}]}}}}]}}"#
            )),
            Self::Bedrock => frame(
                "contentBlockDelta",
                &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}}}}"#),
            ),
        }
    }

    /// The end, with [`Self::usage`].
    pub(crate) fn end(self) -> Vec<u8> {
        match self {
            Self::OpenAi => [
                event(r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#),
                event(&format!(r#"{{"id":"c","choices":[],"usage":{OPENAI_USAGE}}}"#)),
                event("[DONE]"),
            ]
            .concat(),
            Self::Anthropic => [
                event(r#"{"type":"content_block_stop","index":0}"#),
                event(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15,"output_tokens_details":{"thinking_tokens":4}}}"#),
                event(r#"{"type":"message_stop"}"#),
            ]
            .concat(),
            Self::Google => event(&format!(
                r#"{{"candidates":[{{"index":0,"finishReason":"STOP"}}],"usageMetadata":{GOOGLE_USAGE}}}"#
            )),
            Self::Bedrock => [
                frame("contentBlockStop", r#"{"contentBlockIndex":0}"#),
                frame("messageStop", r#"{"stopReason":"end_turn"}"#),
                frame("metadata", &format!(r#"{{"usage":{BEDROCK_USAGE}}}"#)),
            ]
            .concat(),
        }
    }

    /// An answer that comes whole, with [`Self::usage`].
    pub(crate) fn whole(self) -> String {
        match self {
            Self::OpenAi => format!(
                r#"{{"id":"c","choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop"}}],"usage":{OPENAI_USAGE}}}"#
            ),
            Self::Anthropic => r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":15,"output_tokens_details":{"thinking_tokens":4}}}"#.into(),
            Self::Google => format!(
                r#"{{"candidates":[{{"index":0,"content":{{"role":"model","parts":[{{"text":"hi"}}]}},"finishReason":"STOP"}}],"usageMetadata":{GOOGLE_USAGE}}}"#
            ),
            Self::Bedrock => format!(
                r#"{{"output":{{"message":{{"role":"assistant","content":[{{"text":"hi"}}]}}}},"stopReason":"end_turn","usage":{BEDROCK_USAGE}}}"#
            ),
        }
    }

    /// What [`Self::whole`] and [`Self::end`] tell, as a client of `OpenAI`'s reads it.
    pub(crate) fn usage(self) -> Usage {
        let [input, cached, cache_write, output, reasoning] = match self {
            Self::OpenAi => [70, 50, 3, 15, 9],
            // Counted without what was cached.
            Self::Anthropic => [60, 30, 20, 15, 4],
            // Thoughts are counted beside the text, and a tool's prompt beside the client's.
            Self::Google => [55, 20, 0, 16, 9],
            Self::Bedrock => [40, 20, 10, 5, 0],
        };
        Usage {
            input,
            cached,
            cache_write,
            output,
            reasoning,
        }
    }
}

const OPENAI_USAGE: &str = r#"{"prompt_tokens":70,"completion_tokens":15,"total_tokens":85,"prompt_tokens_details":{"cached_tokens":50,"cache_write_tokens":3},"completion_tokens_details":{"reasoning_tokens":9}}"#;
const GOOGLE_USAGE: &str = r#"{"promptTokenCount":50,"toolUsePromptTokenCount":5,"cachedContentTokenCount":20,"candidatesTokenCount":7,"thoughtsTokenCount":9,"totalTokenCount":71}"#;
const BEDROCK_USAGE: &str = r#"{"inputTokens":10,"outputTokens":5,"totalTokens":45,"cacheReadInputTokens":20,"cacheWriteInputTokens":10}"#;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) cache_write: u64,
    pub(crate) output: u64,
    pub(crate) reasoning: u64,
}

impl Usage {
    /// What an answer tells, whole or streamed.
    pub(crate) fn told(answer: &str) -> Option<Self> {
        let lines = answer
            .lines()
            .map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let documents = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let usage = documents
            .map(|document| document["usage"].clone())
            .rfind(Value::is_object)?;
        let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        Some(Self {
            input: count("/prompt_tokens"),
            cached: count("/prompt_tokens_details/cached_tokens"),
            cache_write: count("/prompt_tokens_details/cache_write_tokens"),
            output: count("/completion_tokens"),
            reasoning: count("/completion_tokens_details/reasoning_tokens"),
        })
    }
}

fn event(data: &str) -> Vec<u8> {
    format!("data: {data}\n\n").into()
}

/// A frame of AWS's event streams.
pub(crate) fn frame(kind: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":event-type", kind), (":message-type", "event")] {
        headers.push(u8::try_from(name.len()).unwrap());
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let word = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    let mut out = Vec::new();
    out.extend(word(12 + headers.len() + payload.len() + 4));
    out.extend(word(headers.len()));
    out.extend(crc(&out));
    out.extend(headers);
    out.extend(payload.as_bytes());
    out.extend(crc(&out));
    out
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let sum = crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes);
    u32::try_from(sum).unwrap().to_be_bytes()
}

/// A chunk of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Step {
    let size = format!("{:x}\r\n", bytes.len());
    Step::Write([size.as_bytes(), bytes, b"\r\n"].concat())
}

/// A stream of these texts, from its head to its end.
pub(crate) fn stream(lane: Lane, texts: &[&str]) -> Vec<Step> {
    let mut steps = open_stream(lane, texts);
    steps.push(chunk(&lane.end()));
    steps.push(Step::Write(b"0\r\n\r\n".to_vec()));
    steps
}

/// The same without its end.
pub(crate) fn open_stream(lane: Lane, texts: &[&str]) -> Vec<Step> {
    let mut steps = vec![Step::ReadBody, Step::Write(lane.stream_head())];
    let begin = lane.begin();
    if !begin.is_empty() {
        steps.push(chunk(&begin));
    }
    steps.extend(texts.iter().map(|text| chunk(&lane.text(text))));
    steps
}

pub(crate) fn json(text: &str) -> Vec<Step> {
    answer("200 OK", text)
}

pub(crate) fn answer(status: &str, text: &str) -> Vec<Step> {
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    vec![
        Step::ReadBody,
        Step::Write([head.as_bytes(), text.as_bytes()].concat()),
    ]
}

/// Adds a repository `lanes` with a resource of each dialect at `at`, whose models are its name and `models`, each
/// a name with the one that the provider calls it by.
pub(crate) async fn add(
    server: &Server,
    at: SocketAddr,
    rules: &str,
    models: &[(Lane, &str, &str)],
) {
    let resources = Lane::ALL.map(|lane| {
        let own = (lane, lane.name(), lane.upstream_model());
        let names: Vec<String> = std::iter::once(&own)
            .chain(models)
            .filter(|(of, ..)| *of == lane)
            .map(|(_, name, upstream)| {
                format!("{{ alias = \"{name}\", upstream = \"{upstream}\" }}")
            })
            .collect();
        format!(
            "[[ai]]\nname = \"{}\"\n{}\nmodels = [{}]\nallow_http = true\nallow_private = true\n{rules}\n",
            lane.name(),
            lane.settings(at),
            names.join(", ")
        )
    });
    let (resources, token) = (resources.join("\n"), sign::sha256(TOKEN.as_bytes()));
    let text = format!(
        "{resources}\n[[repository]]\nid = \"{REPOSITORY_ID}\"\nname = \"lanes\"\nendpoint = \"OPENAI\"\n\
         ai = [\"anthropic\", \"google\", \"bedrock\", \"openai\"]\n\n\
         [[key]]\nid = \"{KEY_ID}\"\nrepository = \"lanes\"\nfamily = \"ai\"\nname = \"lanes\"\n\
         secret_sha256 = \"sha256:{token}\"\n"
    );
    std::fs::write(server.config("conf.d/lanes.toml"), text).unwrap();
    let reloaded = server.admin("POST", "/-/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
}

/// A request with the key of the repository `lanes`.
pub(crate) fn request(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

pub(crate) fn chat(model: &str, more: &str) -> String {
    let body = format!(
        r#"{{"model":"{model}",{more}"messages":[{{"role":"user","content":"say something"}}]}}"#
    );
    request(CHAT, &body)
}

pub(crate) async fn send(server: &Server, request: &str) -> Raw {
    let mut client = Raw::connect(server.ai).await;
    client.send(request).await;
    client
}
