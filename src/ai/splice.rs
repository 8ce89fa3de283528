//! Changes a few bytes of a request body and leaves the rest as it is, uncopied.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::ai::route::Inference;
use crate::ai::scan::{Scan, Span, StreamOptions};

/// One replacement. An empty span inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub at: Span,
    pub with: Bytes,
}

/// In the order of their spans, which do not overlap.
pub type Edits = SmallVec<[Edit; 4]>;

/// Whether to ask for token usage in a stream whose client did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskUsage {
    Yes,
    No,
}

/// What is changed, and what that means for the answer.
#[derive(Clone, Debug)]
pub struct Changes {
    pub edits: Edits,
    /// The client did not ask for usage and we do: the answer's usage chunk must be hidden from it.
    pub hide_usage: bool,
}

/// Works out the changes to a scanned body: `rename` is the model's name at the resource where it differs.
pub fn changes(scan: &Scan, inference: Inference, rename: Option<&str>, ask: AskUsage) -> Changes {
    let mut edits = Edits::new();
    let mut head = Vec::new();
    let mut hide_usage = false;
    if inference == Inference::Responses {
        store_false(scan, &mut head, &mut edits);
    }
    let can_ask = match inference {
        Inference::ChatCompletions | Inference::Completions => scan.stream,
        Inference::Embeddings | Inference::Responses => false,
    };
    if can_ask && ask == AskUsage::Yes && !scan.asks_usage() {
        hide_usage = true;
        ask_usage(scan, &mut head, &mut edits);
    }
    if !head.is_empty() {
        edits.push(Edit {
            at: Span::empty(scan.open),
            with: head.into(),
        });
    }
    if let Some(name) = rename {
        edits.push(Edit {
            at: scan.model.span,
            with: quoted(name),
        });
    }
    edits.sort_by_key(|edit| edit.at.start);
    Changes { edits, hide_usage }
}

/// `store` is true where it is absent or null, and would keep the answer in the provider's account.
fn store_false(scan: &Scan, head: &mut Vec<u8>, edits: &mut Edits) {
    match scan.store {
        None => head.extend_from_slice(b"\"store\":false,"),
        Some(span) if span.is_null => edits.push(Edit {
            at: span.at,
            with: Bytes::from_static(b"false"),
        }),
        Some(_) => {}
    }
}

fn ask_usage(scan: &Scan, head: &mut Vec<u8>, edits: &mut Edits) {
    const ASK: &str = "\"include_usage\":true";
    match scan.stream_options {
        None => head.extend_from_slice(b"\"stream_options\":{\"include_usage\":true},"),
        Some(StreamOptions::Null { at }) => edits.push(Edit {
            at,
            with: Bytes::from_static(b"{\"include_usage\":true}"),
        }),
        Some(StreamOptions::Object {
            open,
            is_empty,
            include_usage,
        }) => edits.push(match include_usage {
            Some(asked) => Edit {
                at: asked.at,
                with: Bytes::from_static(b"true"),
            },
            None if is_empty => Edit {
                at: Span::empty(open),
                with: Bytes::from_static(ASK.as_bytes()),
            },
            None => Edit {
                at: Span::empty(open),
                with: Bytes::from_static(b"\"include_usage\":true,"),
            },
        }),
    }
}

/// `text` as a JSON string.
fn quoted(text: &str) -> Bytes {
    serde_json::Value::from(text).to_string().into()
}

/// Applies edits to a body that came in frames. Returns the new frames and their total length.
pub fn splice(frames: &[Bytes], edits: &[Edit]) -> (Vec<Bytes>, u64) {
    let mut out = Out {
        frames: Vec::with_capacity(frames.len() + 2 * edits.len()),
        len: 0,
    };
    let mut edits = edits.iter().peekable();
    // Where the next byte that is kept stands, and where the current frame starts.
    let mut at = 0;
    let mut base = 0;
    for frame in frames {
        let end = base + frame.len();
        while let Some(edit) = edits.next_if(|edit| edit.at.start < end) {
            out.push(part(frame, base, at, edit.at.start));
            out.push(edit.with.clone());
            at = at.max(edit.at.end);
        }
        out.push(part(frame, base, at, end));
        base = end;
        at = at.max(end);
    }
    for edit in edits {
        out.push(edit.with.clone());
    }
    (out.frames, out.len)
}

/// The bytes of `frame`, which starts at `base`, from `from` to `to`; nothing where they are not in it.
fn part(frame: &Bytes, base: usize, from: usize, to: usize) -> Bytes {
    let from = from.max(base).min(base + frame.len());
    let to = to.max(from).min(base + frame.len());
    frame.slice(from - base..to - base)
}

struct Out {
    frames: Vec<Bytes>,
    len: u64,
}

impl Out {
    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len() as u64;
            self.frames.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::scan::scan;

    const RENAME: Option<&str> = Some("real/\"é\"");

    /// Cuts the body everywhere: the result is the same, and its length is right.
    #[track_caller]
    fn check(inference: Inference, rename: Option<&str>, body: &str, expected: &str) -> Changes {
        let whole = Bytes::copy_from_slice(body.as_bytes());
        let scan = scan(inference, std::slice::from_ref(&whole)).unwrap();
        let changes = changes(&scan, inference, rename, AskUsage::Yes);
        for at in 0..=body.len() {
            let bytes = body.as_bytes().chunks(1).map(Bytes::copy_from_slice);
            for frames in [vec![whole.slice(..at), whole.slice(at..)], bytes.collect()] {
                let (frames, len) = splice(&frames, &changes.edits);
                let joined = frames.concat();
                assert_eq!(String::from_utf8_lossy(&joined), expected, "cut at {at}");
                assert_eq!(len, joined.len() as u64);
            }
        }
        changes
    }

    #[test]
    fn nothing_to_change_keeps_every_byte() {
        for body in [
            "\n{ \"n\" : 1.0 , \"seed\":12345678901234567890123, \"model\":\"m\",\"a\":\"\\u00e9\" }\r\n",
            r#"{"model":"m","stream":false,"stream_options":{"include_usage":false}}"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        ] {
            let changes = check(Inference::ChatCompletions, None, body, body);
            assert!(changes.edits.is_empty());
            assert!(!changes.hide_usage);
        }
        let body = r#"{"model":"m","stream":true}"#;
        check(Inference::Embeddings, None, body, body);
        let body = r#"{"model":"m","stream":true,"store":false}"#;
        check(Inference::Responses, None, body, body);
    }

    #[test]
    fn an_alias_is_replaced() {
        for (body, expected) in [
            (r#"{"model":"m"}"#, r#"{"model":"real/\"é\""}"#),
            (
                r#"{"messages":["model"], "model" : "m\/\u0041","n":1}"#,
                r#"{"messages":["model"], "model" : "real/\"é\"","n":1}"#,
            ),
        ] {
            check(Inference::ChatCompletions, RENAME, body, expected);
        }
    }

    #[test]
    fn usage_is_asked_for_in_streams_that_do_not() {
        for (body, expected) in [
            (
                r#"{ "model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true}, "model":"real/\"é\"","stream":true}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options": null}"#,
                r#"{"model":"real/\"é\"","stream":true,"stream_options": {"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options":{ },"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true },"model":"real/\"é\"","stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_obfuscation":false},"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"model":"real/\"é\"","stream":true}"#,
            ),
            (
                r#"{"stream_options":{"a":1,"include_usage": false},"model":"m","stream":true}"#,
                r#"{"stream_options":{"a":1,"include_usage": true},"model":"real/\"é\"","stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":null},"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"real/\"é\"","stream":true}"#,
            ),
        ] {
            let changes = check(Inference::ChatCompletions, RENAME, body, expected);
            assert!(changes.hide_usage);
        }
    }

    #[test]
    fn responses_are_never_stored() {
        for (body, expected) in [
            (r#"{"model":"m"}"#, r#"{"store":false,"model":"m"}"#),
            (
                r#"{"model":"m","store": null }"#,
                r#"{"model":"m","store": false }"#,
            ),
        ] {
            check(Inference::Responses, None, body, expected);
        }
    }

    #[test]
    fn usage_is_not_asked_of_servers_that_refuse_it() {
        let body = Bytes::from_static(br#"{"model":"m","stream":true}"#);
        let scan = scan(Inference::ChatCompletions, &[body]).unwrap();
        let changes = changes(&scan, Inference::ChatCompletions, None, AskUsage::No);
        assert!(changes.edits.is_empty() && !changes.hide_usage);
    }
}
