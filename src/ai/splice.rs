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
