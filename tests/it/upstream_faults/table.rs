//! The faults of an upstream, as a table.

use std::time::Duration;

use super::{Afterwards, Fault, Lane, Sees, text};
use crate::support::origin::Step;

/// A head with `fields` for its framing.
fn head(lane: Lane, fields: &str) -> String {
    let (kind, more) = (lane.kind(), lane.fields());
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}{fields}\r\n")
}

pub(super) fn sized(lane: Lane, length: usize) -> String {
    head(lane, &format!("Content-Length: {length}\r\n"))
}

fn chunked(lane: Lane, chunks: &str) -> String {
    head(lane, "Transfer-Encoding: chunked\r\n") + chunks
}

pub(super) fn half(lane: Lane) -> &'static str {
    &lane.body()[..lane.body().len() / 2]
}

fn chunk(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

fn then(steps: Vec<Step>, last: Step) -> Vec<Step> {
    [vec![Step::ReadBody], steps, vec![last]].concat()
}

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        what: "accepts and closes",
        steps: |_| vec![Step::Close],
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("reset"),
    },
    Fault {
        what: "accepts and resets",
        steps: |_| vec![Step::Reset],
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("reset"),
    },
    Fault {
        what: "reads the request and closes",
        steps: |_| then(vec![], Step::Close),
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("reset"),
    },
    Fault {
        what: "says nothing",
        steps: |_| then(vec![], Step::Stall),
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("timeout_first_byte"),
    },
    Fault {
        what: "sends its head one byte at a time, for ever",
        steps: |lane| {
            let head = head(lane, &"X-Slow: of these\r\n".repeat(1000));
            then(
                vec![Step::Drip(head.into_bytes(), Duration::from_millis(100))],
                Step::Stall,
            )
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("timeout_first_byte"),
    },
    Fault {
        what: "breaks off within its head",
        steps: |_| then(vec![text("HTTP/1.1 200 OK\r\nContent-")], Step::Close),
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("reset"),
    },
    Fault {
        what: "speaks another protocol",
        steps: |_| then(vec![text("SSH-2.0-OpenSSH_9.9\r\n\r\n")], Step::Stall),
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "sends a TLS alert",
        steps: |_| {
            let alert = Step::Write(b"\x15\x03\x03\x00\x02\x02\x28".to_vec());
            then(vec![alert], Step::Close)
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "sends interim answers without end",
        steps: |_| {
            let interim = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
            then(vec![], Step::Flood(interim))
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "switches protocols unasked",
        steps: |_| {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nbytes";
            then(vec![text(switch)], Step::Close)
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "sends headers without end",
        steps: |lane| {
            then(
                vec![text(head(lane, &"X: y\r\n".repeat(100_000)))],
                Step::Stall,
            )
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "sends one header without end",
        steps: |lane| {
            then(
                vec![text(head(lane, &format!("X: {}\r\n", "y".repeat(4 << 20))))],
                Step::Stall,
            )
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "says two lengths",
        steps: |lane| {
            let head = head(lane, "Content-Length: 3\r\nContent-Length: 4\r\n");
            then(vec![text(head + "body")], Step::Stall)
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "says a length that is no number",
        steps: |lane| {
            then(
                vec![text(head(lane, "Content-Length: 0x4\r\n") + "body")],
                Step::Stall,
            )
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "says the same length twice",
        steps: |lane| {
            let length = format!("Content-Length: {}\r\n", lane.body().len());
            then(vec![], text(head(lane, &length.repeat(2)) + lane.body()))
        },
        sees: Sees::Whole,
        afterwards: Afterwards::Either,
        reason: None,
    },
    Fault {
        what: "closes before its length",
        steps: |lane| {
            then(
                vec![text(sized(lane, lane.body().len()) + half(lane))],
                Step::Close,
            )
        },
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "resets before its length",
        steps: |lane| {
            then(
                vec![text(sized(lane, lane.body().len()) + half(lane))],
                Step::Reset,
            )
        },
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "stalls before its length",
        steps: |lane| {
            then(
                vec![text(sized(lane, lane.body().len()) + half(lane))],
                Step::Stall,
            )
        },
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("timeout_idle"),
    },
    Fault {
        what: "says a length and sends nothing",
        steps: |lane| then(vec![text(sized(lane, lane.body().len()))], Step::Close),
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "sends more than its length",
        steps: |lane| then(vec![], text(sized(lane, half(lane).len()) + lane.body())),
        sees: Sees::AsDeclared,
        afterwards: Afterwards::Closed,
        reason: None,
    },
    Fault {
        what: "sends its body slowly",
        steps: |lane| {
            let (first, last) = lane.body().split_at(lane.body().len() - 9);
            let slow = Step::Drip(last.as_bytes().to_vec(), Duration::from_millis(200));
            then(vec![text(sized(lane, lane.body().len()) + first)], slow)
        },
        sees: Sees::Whole,
        afterwards: Afterwards::Either,
        reason: None,
    },
    Fault {
        what: "closes without the last chunk",
        steps: |lane| then(vec![text(chunked(lane, &chunk(half(lane))))], Step::Close),
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "closes within a chunk",
        steps: |lane| {
            then(
                vec![text(chunked(lane, "ff\r\n") + half(lane))],
                Step::Close,
            )
        },
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "resets between chunks",
        steps: |lane| then(vec![text(chunked(lane, &chunk(half(lane))))], Step::Reset),
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "stalls between chunks",
        steps: |lane| then(vec![text(chunked(lane, &chunk(half(lane))))], Step::Stall),
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("timeout_idle"),
    },
    Fault {
        what: "sends a chunk size that is no number",
        steps: |lane| {
            then(
                vec![text(chunked(
                    lane,
                    &(chunk(half(lane)) + "zz\r\nxx\r\n0\r\n\r\n"),
                ))],
                Step::Stall,
            )
        },
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "sends a chunk size that wraps",
        steps: |lane| {
            let wraps = "10000000000000001\r\nx\r\n0\r\n\r\n";
            then(
                vec![text(chunked(lane, &(chunk(half(lane)) + wraps)))],
                Step::Stall,
            )
        },
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "sends a chunk longer than its size",
        steps: |lane| {
            let longer = "2\r\nabcdef\r\n0\r\n\r\n";
            then(
                vec![text(chunked(lane, &(chunk(half(lane)) + longer)))],
                Step::Stall,
            )
        },
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "sends more after the last chunk",
        steps: |lane| {
            let more = "0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            then(vec![], text(chunked(lane, &(chunk(lane.body()) + more))))
        },
        sees: Sees::Whole,
        afterwards: Afterwards::Closed,
        reason: None,
    },
    Fault {
        what: "sends trailers",
        steps: |lane| {
            let trailers = "0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n";
            then(
                vec![],
                text(chunked(lane, &(chunk(lane.body()) + trailers))),
            )
        },
        sees: Sees::Whole,
        afterwards: Afterwards::Either,
        reason: None,
    },
    Fault {
        what: "says both a length and chunks",
        steps: |lane| {
            let head = head(lane, "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n");
            then(vec![], text(head + &chunk(lane.body()) + "0\r\n\r\n"))
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "encodes in a way that it was not asked for",
        steps: |lane| {
            then(
                vec![text(head(lane, "Transfer-Encoding: gzip\r\n") + "\x1f")],
                Step::Stall,
            )
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
    Fault {
        what: "says no length and resets",
        steps: |lane| then(vec![text(head(lane, "") + half(lane))], Step::Reset),
        sees: Sees::Cut,
        afterwards: Afterwards::Closed,
        reason: Some("truncated"),
    },
    Fault {
        what: "speaks HTTP/1.0 and ends with its connection",
        steps: |lane| {
            let head = head(lane, "").replace("HTTP/1.1", "HTTP/1.0");
            then(vec![text(head + lane.body())], Step::Close)
        },
        sees: Sees::Whole,
        afterwards: Afterwards::Closed,
        reason: None,
    },
    Fault {
        what: "speaks HTTP/1.0 with chunks",
        steps: |lane| {
            let text10 = chunked(lane, &chunk(lane.body())).replace("HTTP/1.1", "HTTP/1.0");
            then(vec![text(text10 + "0\r\n\r\n")], Step::Close)
        },
        sees: Sees::Error,
        afterwards: Afterwards::Closed,
        reason: Some("bad_response"),
    },
];
