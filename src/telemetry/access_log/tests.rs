//! Lines, the queue and its sinks.

use std::fs;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::telemetry::labels::{Op, Proto};

fn entry() -> Entry<'static> {
    Entry {
        at: Timestamp::from_millisecond(1_800_000_000_123).unwrap(),
        request_id: Uuid::from_u128(7),
        trace_id: None,
        proto: Proto::S3,
        op: Op::GetObject,
        method: "GET",
        host: Some(b"s3.example.net"),
        path: b"/media/a b.txt",
        repository: Some("prod"),
        resource: None,
        key_id: Some(Uuid::from_u128(9)),
        bucket: Some("media"),
        status: 200,
        error_code: None,
        detail: None,
        bytes_in: 0,
        bytes_out: 5,
        duration: Duration::from_micros(12_034),
        ttfb: Some(Duration::from_micros(999)),
        upstream: None,
        flags: Flags::NONE,
        client_ip: Some("127.0.0.1".parse().unwrap()),
        tls: false,
        user_agent: Some(b"Boto3/1.44"),
        generation: 3,
        ai: None,
        copy: None,
    }
}

fn render(entry: &Entry<'_>) -> Value {
    let mut line = Vec::new();
    entry.render(&mut line);
    let feeds = line.split(|byte| *byte == b'\n').count() - 1;
    assert_eq!(
        (feeds, line.last()),
        (1, Some(&b'\n')),
        "one line is one line"
    );
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn a_line_holds_what_is_known_and_leaves_out_the_rest() {
    assert_eq!(
        render(&entry()),
        json!({
            "ts": "2027-01-15T08:00:00.123Z", "level": "info",
            "req_id": "00000000-0000-0000-0000-000000000007",
            "proto": "s3", "op": "GetObject", "method": "GET", "host": "s3.example.net",
            "path": "/media/a b.txt", "repo": "prod",
            "key_id": "00000000-0000-0000-0000-000000000009", "bucket": "media",
            "status": 200, "bytes_in": 0, "bytes_out": 5, "dur_ms": 12.034, "ttfb_ms": 0.999,
            "client_ip": "127.0.0.1", "tls": false, "ua": "Boto3/1.44", "gen": 3,
        })
    );
}

#[test]
fn a_copy_shows_where_it_read_and_how_much() {
    let mut copied = entry();
    copied.copy = Some(CopyEntry {
        resource: "origin",
        bucket: "media",
        bytes: 5 << 30,
    });
    let line = render(&copied);
    assert_eq!(
        (
            &line["source_resource"],
            &line["source_bucket"],
            &line["copied_bytes"]
        ),
        (&json!("origin"), &json!("media"), &json!(5_368_709_120_u64))
    );
}

#[test]
fn a_failed_stream_shows_its_upstream_and_its_model() {
    let mut failed = entry();
    failed.status = 502;
    failed.error_code = Some("upstream_error");
    failed.detail = Some("connection refused");
    failed.flags = Flags::NONE
        .with(Flag::UpstreamConnect)
        .with(Flag::DownstreamClosed);
    failed.upstream = Some(UpstreamEntry {
        duration: Duration::from_millis(3),
        status: Some(500),
        request_id: Some(b"req_1"),
        attempts: 2,
        reused: true,
    });
    failed.ai = Some(AiEntry {
        model_requested: "fast",
        model_used: "tiny",
        stream: true,
        tokens_in: Some(3),
        tokens_out: None,
        first_chunk: Some(Duration::from_millis(40)),
        per_chunk: None,
        finish_reason: Some("stop"),
    });
    let line = render(&failed);
    for (field, expected) in [
        ("level", json!("warn")),
        ("error_code", json!("upstream_error")),
        ("detail", json!("connection refused")),
        ("flags", json!("UC,DC")),
        ("upstream_ms", json!(3.0)),
        ("upstream_status", json!(500)),
        ("upstream_req_id", json!("req_1")),
        ("attempts", json!(2)),
        ("reused", json!(true)),
        ("model_req", json!("fast")),
        ("model_used", json!("tiny")),
        ("stream", json!(true)),
        ("tok_in", json!(3)),
        ("ttfc_ms", json!(40.0)),
        ("finish_reason", json!("stop")),
    ] {
        assert_eq!(line[field], expected, "{field}");
    }
    assert_eq!(line.get("tok_out"), None);
}

#[test]
fn what_a_client_wrote_cannot_break_out_of_its_field() {
    for (path, expected) in [
        (&b"a\nb"[..], "a\nb".to_owned()),
        (b"\"},{\"x\":\"", "\"},{\"x\":\"".to_owned()),
        (
            b"back\\slash\0\x1b[31m\x7f",
            "back\\slash\0\u{1b}[31m\u{7f}".to_owned(),
        ),
        (b"\xff\xfeok", "\u{fffd}\u{fffd}ok".to_owned()),
        ("grüße/日本".as_bytes(), "grüße/日本".to_owned()),
        (&[b'x'; 300], "x".repeat(256)),
        // 255 bytes and a character of two: it does not fit in 256.
        (format!("{}ü", "x".repeat(255)).as_bytes(), "x".repeat(255)),
        (&[0x80; 300], "\u{fffd}".repeat(252)),
    ] {
        let mut odd = entry();
        odd.path = path;
        assert_eq!(render(&odd)["path"], json!(expected));
    }
}

fn counter() -> IntCounter {
    IntCounter::new("dropped", "Dropped.").unwrap()
}

#[test]
fn dropping_the_log_writes_every_line_that_was_queued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let dropped = counter();
    let log = AccessLog::open(Sink::File(path.clone()), dropped.clone()).unwrap();
    for _ in 0..1000 {
        log.write(&entry());
    }
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1000);
    assert_eq!(dropped.get(), 0);
}

/// Says that a write began, and lets it go on when told to.
struct Gate {
    began: SyncSender<usize>,
    go: Receiver<()>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.began.send(bytes.len()).map_err(io::Error::other)?;
        self.go.recv().map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated(dropped: &IntCounter) -> (AccessLog, Receiver<usize>, SyncSender<()>) {
    let (began, writes) = sync_channel(16);
    let (open, go) = sync_channel(16);
    let writer = Writer::new(Sink::Stdout, Box::new(Gate { began, go }), dropped.clone());
    (
        AccessLog::start(writer, dropped.clone()).unwrap(),
        writes,
        open,
    )
}

#[test]
fn a_sink_that_stalls_costs_lines_and_no_time() {
    let dropped = counter();
    let (log, writes, open) = gated(&dropped);
    log.write(&entry());
    writes.recv().unwrap();
    // The writer is inside its write: the queue takes its fill and the rest is counted.
    for _ in 0..QUEUE_MAX + 10 {
        log.write(&entry());
    }
    assert_eq!(dropped.get(), 10);
    drop(open);
    drop(log);
    // A sink that fails drops what it was given: all but nothing arrived.
    assert_eq!(dropped.get(), QUEUE_MAX as u64 + 11);
}

#[test]
fn a_sleeping_writer_is_woken_by_a_line() {
    let dropped = counter();
    let (log, writes, open) = gated(&dropped);
    for _ in 0..3 {
        while !log.shared.asleep.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        log.write(&entry());
        assert!(writes.recv_timeout(Duration::from_secs(10)).is_ok());
        open.send(()).unwrap();
    }
    drop(log);
    assert_eq!(dropped.get(), 0);
}

#[test]
fn a_rotated_file_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let log = AccessLog::open(Sink::File(path.clone()), counter()).unwrap();
    fs::rename(&path, &old).unwrap();
    log.reopen();
    while !path.exists() {
        thread::yield_now();
    }
    log.write(&entry());
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(fs::read_to_string(&old).unwrap(), "");
}
