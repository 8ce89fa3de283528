//! What model servers answer: `OpenAI`'s way, and in the words of Anthropic, Google and Bedrock where a path is theirs.
//!
//! The answer is always the same. With `"stream":true`, or by a path that streams, it is a stream of as many events as
//! the request's limit of tokens says (64 by default), each written by itself; `delay-ms=20` anywhere in the request
//! waits so long before each.

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crc_fast::CrcAlgorithm;

use crate::{HEADERS, find, head_of};

const EVENTS: u64 = 64;

/// How each provider calls the limit of an answer's tokens.
const LIMITS: [&[u8]; 3] = [
    b"\"max_tokens\":",
    b"\"maxOutputTokens\":",
    b"\"maxTokens\":",
];

/// Whose words a request is in.
#[derive(Clone, Copy)]
enum Wire {
    OpenAi,
    Anthropic,
    Google,
    Bedrock,
}

/// A stream as it goes out: what comes first, what is repeated, what comes last.
struct Events {
    content_type: &'static str,
    before: Vec<u8>,
    each: Vec<u8>,
    after: Vec<u8>,
}

/// Whether a path is one of Google's models.
pub(crate) fn is_googles(target: &str) -> bool {
    target.contains("enerateContent")
}

/// Answers a `POST` that no store knows.
pub(crate) fn answer(socket: &mut TcpStream, target: &str, body: &[u8]) -> io::Result<()> {
    let wire = Wire::of(target);
    if wire.streams(target, body) {
        return stream(socket, &wire.events(body)?, body);
    }
    let text = wire.whole();
    head_of(socket, "200 OK", "application/json", text.len(), text)
}

impl Wire {
    fn of(target: &str) -> Self {
        if target.ends_with("/messages") {
            Self::Anthropic
        } else if is_googles(target) {
            Self::Google
        } else if target.contains("/converse") {
            Self::Bedrock
        } else {
            Self::OpenAi
        }
    }

    fn streams(self, target: &str, body: &[u8]) -> bool {
        match self {
            Self::OpenAi | Self::Anthropic => {
                has(body, br#""stream":true"#) || has(body, br#""stream": true"#)
            }
            Self::Google => target.contains(":streamGenerateContent"),
            Self::Bedrock => target.ends_with("/converse-stream"),
        }
    }

    fn whole(self) -> &'static str {
        match self {
            Self::OpenAi => concat!(
                r#"{"id":"chatcmpl-origin","object":"chat.completion","created":1767225600,"model":"bench","#,
                r#""choices":[{"index":0,"message":{"role":"assistant","content":"Water flows where the channel "#,
                r#"leads, and stays clean where the channel is kept."},"logprobs":null,"finish_reason":"stop"}],"#,
                r#""usage":{"prompt_tokens":180,"completion_tokens":16,"total_tokens":196}}"#,
            ),
            Self::Anthropic => concat!(
                r#"{"id":"msg_origin","type":"message","role":"assistant","model":"bench","content":[{"type":"text","#,
                r#""text":"Water flows where the channel leads, and stays clean where the channel is kept."}],"#,
                r#""stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":180,"output_tokens":16}}"#,
            ),
            Self::Google => concat!(
                r#"{"candidates":[{"content":{"parts":[{"text":"Water flows where the channel leads, and stays "#,
                r#"clean where the channel is kept."}],"role":"model"},"finishReason":"STOP","index":0}],"#,
                r#""usageMetadata":{"promptTokenCount":180,"candidatesTokenCount":16,"totalTokenCount":196},"#,
                r#""modelVersion":"bench","responseId":"origin"}"#,
            ),
            Self::Bedrock => concat!(
                r#"{"metrics":{"latencyMs":1},"output":{"message":{"role":"assistant","content":[{"text":"Water flows "#,
                r#"where the channel leads, and stays clean where the channel is kept."}]}},"stopReason":"end_turn","#,
                r#""usage":{"inputTokens":180,"outputTokens":16,"totalTokens":196}}"#,
            ),
        }
    }

    fn events(self, body: &[u8]) -> io::Result<Events> {
        match self {
            Self::OpenAi => open_ai(body),
            Self::Anthropic => anthropic(),
            Self::Google => google(),
            Self::Bedrock => bedrock(),
        }
    }
}

fn open_ai(body: &[u8]) -> io::Result<Events> {
    let chunk = |rest: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-origin\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\
             \"model\":\"bench\",{rest}}}\n\n"
        )
    };
    let choice = |delta: &str, reason: &str| {
        chunk(&format!(
            "\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":{reason}}}]"
        ))
    };
    let mut last = vec![choice("", "\"stop\"")];
    if has(body, br#""include_usage":true"#) || has(body, br#""include_usage": true"#) {
        last.push(chunk(
            r#""choices":[],"usage":{"prompt_tokens":180,"completion_tokens":64,"total_tokens":244}"#,
        ));
    }
    last.push("data: [DONE]\n\n".to_owned());
    Ok(Events {
        content_type: "text/event-stream",
        before: Vec::new(),
        each: chunks([choice(r#""content":" water""#, "null").as_bytes()])?,
        after: chunks(last.iter().map(String::as_bytes))?,
    })
}

fn anthropic() -> io::Result<Events> {
    let event = |kind: &str, rest: &str| {
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n").into_bytes()
    };
    let before = [
        event(
            "message_start",
            concat!(
                r#","message":{"id":"msg_origin","type":"message","role":"assistant","model":"bench","content":[],"#,
                r#""stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":180,"output_tokens":1}}"#,
            ),
        ),
        event(
            "content_block_start",
            r#","index":0,"content_block":{"type":"text","text":""}"#,
        ),
    ];
    let after = [
        event("content_block_stop", r#","index":0"#),
        event(
            "message_delta",
            r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":64}"#,
        ),
        event("message_stop", ""),
    ];
    let each = event(
        "content_block_delta",
        r#","index":0,"delta":{"type":"text_delta","text":" water"}"#,
    );
    Ok(Events {
        content_type: "text/event-stream",
        before: chunks(before.iter().map(Vec::as_slice))?,
        each: chunks([each.as_slice()])?,
        after: chunks(after.iter().map(Vec::as_slice))?,
    })
}

fn google() -> io::Result<Events> {
    let event = |text: &str, end: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}}{end},\
             \"index\":0}}],\"usageMetadata\":{{\"promptTokenCount\":180,\"candidatesTokenCount\":64,\
             \"totalTokenCount\":244}},\"modelVersion\":\"bench\",\"responseId\":\"origin\"}}\r\n\r\n"
        )
    };
    Ok(Events {
        content_type: "text/event-stream",
        before: Vec::new(),
        each: chunks([event(" water", "").as_bytes()])?,
        after: chunks([event("", ",\"finishReason\":\"STOP\"").as_bytes()])?,
    })
}

fn bedrock() -> io::Result<Events> {
    let before = [frame("messageStart", r#"{"p":"abcd","role":"assistant"}"#)?];
    let each = frame(
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"text":" water"},"p":"abcdefghijkl"}"#,
    )?;
    let after = [
        frame("contentBlockStop", r#"{"contentBlockIndex":0,"p":"abc"}"#)?,
        frame("messageStop", r#"{"p":"ab","stopReason":"end_turn"}"#)?,
        frame(
            "metadata",
            r#"{"metrics":{"latencyMs":1},"p":"a","usage":{"inputTokens":180,"outputTokens":64,"totalTokens":244}}"#,
        )?,
    ];
    Ok(Events {
        content_type: "application/vnd.amazon.eventstream",
        before: chunks(before.iter().map(Vec::as_slice))?,
        each: chunks([each.as_slice()])?,
        after: chunks(after.iter().map(Vec::as_slice))?,
    })
}

/// A frame of an AWS event stream.
fn frame(kind: &str, payload: &str) -> io::Result<Vec<u8>> {
    let mut headers = Vec::new();
    for (name, value) in [
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ] {
        headers.push(u8::try_from(name.len()).map_err(io::Error::other)?);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7); // a string
        let length = u16::try_from(value.len()).map_err(io::Error::other)?;
        headers.extend_from_slice(&length.to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    let mut frame = Vec::new();
    frame.extend_from_slice(&length(headers.len() + payload.len() + 16)?.to_be_bytes());
    frame.extend_from_slice(&length(headers.len())?.to_be_bytes());
    frame.extend_from_slice(&crc(&frame)?.to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc(&frame)?.to_be_bytes());
    Ok(frame)
}

fn crc(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes)).map_err(io::Error::other)
}

fn stream(socket: &mut TcpStream, events: &Events, body: &[u8]) -> io::Result<()> {
    let count = LIMITS.iter().find_map(|limit| number_after(body, limit));
    let delay = number_after(body, b"delay-ms=").map(Duration::from_millis);
    let mut message = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n{HEADERS}\r\n",
        events.content_type
    )
    .into_bytes();
    message.extend_from_slice(&events.before);
    for _ in 0..count.unwrap_or(EVENTS) {
        if let Some(delay) = delay {
            // The head, or the event before this one, goes out first.
            socket.write_all(&message)?;
            message.clear();
            thread::sleep(delay);
        }
        message.extend_from_slice(&events.each);
        socket.write_all(&message)?;
        message.clear();
    }
    message.extend_from_slice(&events.after);
    message.extend_from_slice(b"0\r\n\r\n");
    socket.write_all(&message)
}

/// Each piece as a chunk of its own.
fn chunks<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        write!(out, "{:x}\r\n", piece.len())?;
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    Ok(out)
}

fn has(body: &[u8], words: &[u8]) -> bool {
    find(body, words).is_some()
}

fn number_after(body: &[u8], word: &[u8]) -> Option<u64> {
    let at = find(body, word)? + word.len();
    let rest = body[at..].trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let text: String = digits.map(|byte| char::from(*byte)).collect();
    text.parse().ok()
}
