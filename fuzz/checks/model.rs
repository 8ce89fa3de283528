//! Models: the request's body and the stream of events.

use aqueduct::ai::route::Inference;
use aqueduct::ai::scan;
use aqueduct::ai::sse::Boundaries;
use aqueduct::ai::tap::{SseTap, UsageChunk};
use aqueduct::error::Kind;
use aqueduct::message::body::{BodyStep, Chunks, End};
use bytes::Bytes;

use super::{Source, pieces};

/// What is read of a request is what a strict parser reads, however it is cut.
pub(super) fn json(data: &[u8]) {
    let mut source = Source(data);
    let size = source.byte();
    let body = source.0;
    let whole = scan::scan(Inference::ChatCompletions, &[Bytes::copy_from_slice(body)]);
    let cut: Vec<Bytes> = pieces(body, size).collect();
    let cut = scan::scan(Inference::ChatCompletions, &cut);
    match (&whole, &cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (Err(whole), Err(cut)) => assert_eq!(whole.kind(), cut.kind()),
        (whole, cut) => panic!("{whole:?} in one piece, {cut:?} in pieces"),
    }
    match (&whole, serde_json::from_slice::<serde_json::Value>(body)) {
        (Ok(found), Ok(value)) => {
            assert_eq!(Some(&*found.model.name), value["model"].as_str());
        }
        (Ok(_), Err(error)) => {
            // Legal JSON that this parser does not represent.
            let text = error.to_string();
            let known = [
                "surrogate",
                "number out of range",
                "hex escape",
                "recursion",
            ];
            assert!(known.iter().any(|known| text.contains(known)), "{text}");
        }
        (Err(error), Ok(value)) if value.is_object() => {
            assert_ne!(error.kind(), Kind::MalformedBody, "{error}");
        }
        (Err(_), Ok(_) | Err(_)) => {}
    }
}

/// A stream comes out the same however it is cut, and nothing is added to it.
pub(super) fn sse(data: &[u8]) {
    let mut source = Source(data);
    let (size, hide) = (source.byte(), source.byte().is_multiple_of(2));
    let stream = source.0;
    let (whole, notes) = tapped(std::iter::once(Bytes::copy_from_slice(stream)), hide);
    let (cut, cut_notes) = tapped(pieces(stream, size), hide);
    assert_eq!(whole, cut);
    assert_eq!(notes, cut_notes);
    assert!(hide || stream.starts_with(&whole));
    let mut boundaries = Boundaries::new();
    let mut rest = stream;
    while let Some(end) = boundaries.event_end(rest) {
        assert!(end > 0 && end <= rest.len());
        rest = &rest[end..];
    }
}

fn tapped(chunks: impl Iterator<Item = Bytes>, hide: bool) -> (Vec<u8>, String) {
    let usage = if hide {
        UsageChunk::Hide
    } else {
        UsageChunk::Forward
    };
    let mut tap = SseTap::new(Inference::ChatCompletions, usage);
    let mut out = Chunks::new();
    for chunk in chunks {
        tap.push(chunk, &mut out).expect("a tap refuses nothing");
    }
    tap.finish(End::Clean, &mut out)
        .expect("a tap refuses nothing");
    (out.concat(), format!("{:?}", tap.notes()))
}
