//! Recorded streams, whole and cut at every byte.

use proptest::prelude::*;

use super::*;
use crate::ai::usage::{Source, Usage};
use crate::error::{Error, Kind};

use Inference::{ChatCompletions, Completions, Responses};

struct Seen {
    out: Vec<u8>,
    notes: Notes,
    is_boundary: bool,
}

fn run(inference: Inference, usage_chunk: UsageChunk, parts: impl Iterator<Item = Bytes>) -> Seen {
    let mut tap = SseTap::new(inference, usage_chunk);
    let mut out = Chunks::new();
    for part in parts {
        tap.push(part, &mut out).unwrap();
    }
    tap.finish(End::Clean, &mut out).unwrap();
    Seen {
        out: out.concat(),
        notes: *tap.notes(),
        is_boundary: tap.at_boundary(),
    }
}

/// The stream's output and notes, which must not depend on how it is cut.
fn run_all(inference: Inference, usage_chunk: UsageChunk, stream: &[u8]) -> Seen {
    let whole = Bytes::copy_from_slice(stream);
    let first = run(inference, usage_chunk, std::iter::once(whole.clone()));
    let compare = |parts: &mut dyn Iterator<Item = Bytes>, how: &str| {
        let seen = run(inference, usage_chunk, parts);
        assert_eq!(
            String::from_utf8_lossy(&seen.out),
            String::from_utf8_lossy(&first.out),
            "{how}"
        );
        assert_eq!(seen.notes, first.notes, "{how}");
    };
    for size in 1..9 {
        let mut parts = stream.chunks(size).map(Bytes::copy_from_slice);
        compare(&mut parts, &format!("{size} bytes at a time"));
    }
    for at in 0..stream.len() {
        let mut parts = [whole.slice(..at), whole.slice(at..)].into_iter();
        compare(&mut parts, &format!("cut at {at}"));
    }
    first
}

fn recorded(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/golden/openai/{name}.sse",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).unwrap()
}

/// The stream without the event that holds `mark`, whatever its line ends.
fn without(stream: &[u8], mark: &str) -> String {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let at = text.rfind(mark).unwrap();
    let blank = ["\n\n", "\r\n\r\n", "\r\r"];
    let start = blank
        .iter()
        .filter_map(|end| Some(text[..at].rfind(end)? + end.len()))
        .max()
        .unwrap_or(0);
    let end = blank
        .iter()
        .filter_map(|end| Some(at + text[at..].find(end)? + end.len()))
        .min()
        .unwrap();
    text[..start].to_owned() + &text[end..]
}

/// `input, output, cached, cache_write, reasoning`.
type Tokens = [u64; 5];

#[track_caller]
fn check(
    name: &str,
    inference: Inference,
    tokens: Option<Tokens>,
    complete: &str,
    hidden: Option<&str>,
) {
    let stream = recorded(name);
    let seen = run_all(inference, UsageChunk::Forward, &stream);
    assert_eq!(seen.out, stream, "{name} must pass as it is");
    let expected = tokens.map(|[input, output, cached, cache_write, reasoning]| Usage {
        input,
        output,
        cached,
        cache_write,
        reasoning,
        source: Source::Reported,
    });
    assert_eq!(seen.notes.reported, expected, "{name}");
    let notes = seen.notes;
    let flags: String = [
        (notes.finished, 'f'),
        (notes.failed, 'x'),
        (notes.ended, 'e'),
    ]
    .iter()
    .filter_map(|(set, letter)| set.then_some(*letter))
    .collect();
    assert_eq!(flags, complete, "{name}: finished, failed, ended");
    let seen = run_all(inference, UsageChunk::Hide, &stream);
    let expected = match hidden {
        Some(mark) => without(&stream, mark),
        None => String::from_utf8(stream).unwrap(),
    };
    assert_eq!(
        String::from_utf8_lossy(&seen.out),
        expected,
        "{name} with its usage hidden"
    );
    assert_eq!(seen.notes, notes, "{name}: hiding changes what is read");
}

#[test]
fn recorded_streams_are_read_and_passed_on() {
    let openai = Some([19, 4, 16, 0, 2]);
    let mark = Some("\"choices\":[]");
    check("openai-chat-usage", ChatCompletions, openai, "fe", mark);
    check("openai-chat-no-usage", ChatCompletions, None, "fe", None);
    check("openai-chat-tools", ChatCompletions, openai, "fe", mark);
    check("azure-chat-usage", ChatCompletions, openai, "fe", mark);
    check(
        "vllm-chat-continuous-usage",
        ChatCompletions,
        Some([11, 3, 0, 0, 0]),
        "fe",
        mark,
    );
    check(
        "llamacpp-chat-usage",
        ChatCompletions,
        Some([31, 8, 30, 0, 0]),
        "fe",
        mark,
    );
    check(
        "odd-framing",
        ChatCompletions,
        Some([5, 2, 0, 0, 0]),
        "e",
        mark,
    );
    check(
        "openai-completions-usage",
        Completions,
        Some([5, 2, 0, 0, 0]),
        "fe",
        mark,
    );
    check("openai-chat-error", ChatCompletions, None, "x", None);
    let responses = Some([36, 7, 12, 3, 5]);
    check("openai-responses", Responses, responses, "e", None);
    check(
        "openai-responses-data-only",
        Responses,
        responses,
        "e",
        None,
    );
    check("openai-responses-failed", Responses, None, "xe", None);
}

#[test]
fn streams_of_a_real_server_are_read_and_passed_on() {
    let mark = Some("\"choices\":[]");
    check(
        "recorded-llamacpp-chat",
        ChatCompletions,
        Some([53, 40, 18, 0, 0]),
        "fe",
        mark,
    );
    // Usage stands in the last chunk with a choice, which is never hidden.
    check(
        "recorded-llamacpp-completions",
        Completions,
        Some([3, 8, 2, 0, 0]),
        "fe",
        None,
    );
    check(
        "recorded-llamacpp-responses",
        Responses,
        Some([53, 12, 52, 0, 0]),
        "e",
        None,
    );
}

#[test]
fn a_stream_without_its_end_is_not_complete() {
    for (name, inference) in [
        ("openai-chat-cut", ChatCompletions),
        ("openai-responses-cut", Responses),
    ] {
        let stream = recorded(name);
        let seen = run_all(inference, UsageChunk::Forward, &stream);
        assert!(!seen.notes.is_complete(), "{name}");
        // What follows must start a new event: the unfinished one is not handed on.
        assert!(seen.is_boundary);
        assert!(seen.out.ends_with(b"\n\n"));
        assert!(stream.starts_with(&seen.out));
    }
}

#[test]
fn a_last_event_that_was_cut_is_not_handed_on() {
    let text = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"";
    let seen = run_all(ChatCompletions, UsageChunk::Forward, text.as_bytes());
    assert_eq!((seen.out.len(), seen.notes.is_complete()), (0, false));
    let mut tap = SseTap::new(ChatCompletions, UsageChunk::Forward);
    let mut out = Chunks::new();
    tap.push("data: [DONE]".into(), &mut out).unwrap();
    tap.finish(End::Cut(Error::new(Kind::UpstreamBroken, "")), &mut out)
        .unwrap();
    assert!(out.is_empty());
}

#[test]
fn whole_events_leave_at_once() {
    let stream = recorded("openai-chat-usage");
    let mut tap = SseTap::new(ChatCompletions, UsageChunk::Hide);
    let text = String::from_utf8(stream).unwrap();
    for event in text.split_inclusive("\n\n") {
        let mut out = Chunks::new();
        tap.push(Bytes::copy_from_slice(event.as_bytes()), &mut out)
            .unwrap();
        let is_hidden = event.contains("\"choices\":[]");
        assert_eq!(out.concat().is_empty(), is_hidden, "{event}");
    }
}

#[test]
fn many_whole_events_leave_as_one_chunk_uncopied() {
    let input = Bytes::from("data: {}\n\n".repeat(100));
    let mut tap = SseTap::new(ChatCompletions, UsageChunk::Hide);
    let mut out = Chunks::new();
    tap.push(input.clone(), &mut out).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].as_ptr(), input.as_ptr());
}

#[test]
fn nothing_else_with_empty_choices_is_hidden() {
    for event in [
        r#"{"choices":[],"usage":null}"#,
        r#"{"choices":[],"usage":{}}"#,
        r#"{"choices":[]}"#,
        r#"{"choices":[{}],"usage":{"prompt_tokens":1}}"#,
        r#"{"usage":{"prompt_tokens":1}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":1}"#,
        r#"{"choices":[{"delta":{"usage":{"prompt_tokens":1}}}]}"#,
    ] {
        let event = format!("data: {event}\n\n");
        let seen = run_all(ChatCompletions, UsageChunk::Hide, event.as_bytes());
        assert_eq!(seen.out, event.as_bytes());
    }
}

#[test]
fn long_events_pass_as_they_come_and_are_read_at_their_ends() {
    let text = "x".repeat(3 * EVENT_BYTES_MAX);
    let event = format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"output\":\"{text}\",\"usage\":{{\"input_tokens\":4,\"output_tokens\":6}},\"user\":null}}}}\n\n: end\n\n"
    );
    for size in [100, 1460, 16 * 1024, event.len()] {
        let mut tap = SseTap::new(Responses, UsageChunk::Forward);
        let mut out = Chunks::new();
        let mut held_max = 0;
        let mut pushed = 0;
        for part in event.as_bytes().chunks(size) {
            tap.push(Bytes::copy_from_slice(part), &mut out).unwrap();
            pushed += part.len();
            let passed: usize = out.iter().map(Bytes::len).sum();
            held_max = held_max.max(pushed - passed);
        }
        assert!(held_max <= EVENT_BYTES_MAX + size, "{held_max} bytes held");
        assert!(tap.at_boundary());
        assert_eq!(out.concat(), event.as_bytes());
        let usage = tap.notes().reported.unwrap();
        assert_eq!((usage.input, usage.output, tap.notes().ended), (4, 6, true));
    }
}

#[test]
fn inside_a_long_event_is_no_boundary() {
    let mut tap = SseTap::new(ChatCompletions, UsageChunk::Hide);
    let mut out = Chunks::new();
    tap.push(Bytes::from(vec![b'x'; EVENT_BYTES_MAX + 1]), &mut out)
        .unwrap();
    assert!(!tap.at_boundary());
    tap.push("\n\n".into(), &mut out).unwrap();
    assert!(tap.at_boundary());
}

proptest! {
    #[test]
    fn any_bytes_in_any_cuts_pass_the_same(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "\n", "\r", "\r\n", "\n\n", "data:", "data: ", ": x", "event: error", "[DONE]", "{}",
                    "{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", "\u{feff}", "é",
                ]).prop_map(|text| text.as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 0..4),
            ],
            0..24,
        ),
        size in 1_usize..7,
        hide in any::<bool>(),
    ) {
        let usage_chunk = if hide { UsageChunk::Hide } else { UsageChunk::Forward };
        let stream = pieces.concat();
        let cut = stream.chunks(size).map(Bytes::copy_from_slice);
        let cut = run(ChatCompletions, usage_chunk, cut);
        let whole = run(ChatCompletions, usage_chunk, std::iter::once(stream.clone().into()));
        prop_assert_eq!(&cut.out, &whole.out);
        prop_assert_eq!(cut.notes, whole.notes);
        // Nothing is added, and without hiding only an unfinished end is left out.
        prop_assert!(hide || stream.starts_with(&cut.out));
    }
}
