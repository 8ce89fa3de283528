//! Cost of finding the model in a request body, at the sizes of `OpenAI` requests. The model stands last: the
//! worst case.

use std::hint::black_box;

use aqueduct::ai::route::Inference;
use aqueduct::ai::scan::scan;
use aqueduct::ai::splice::{AskUsage, changes, splice};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// How a client's body arrives.
const FRAME_BYTES: usize = 64 * 1024;

fn text_body(len: usize) -> Vec<u8> {
    let mut body = br#"{"messages":[{"role":"user","content":""#.to_vec();
    while body.len() < len {
        // An escape every few words, as source code has.
        body.extend_from_slice(br"word word\n");
    }
    body.extend_from_slice(br#""}],"stream":true,"model":"gpt-4o-mini"}"#);
    body
}

fn image_body(len: usize) -> Vec<u8> {
    let mut body = br#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,"#.to_vec();
    while body.len() < len {
        body.extend_from_slice(b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB");
    }
    body.extend_from_slice(br#""}}]}],"stream":true,"model":"gpt-4o-mini"}"#);
    body
}

fn model_scan(c: &mut Criterion) {
    let cases = [
        ("0.3 KB text", text_body(300)),
        ("4 KB text", text_body(4 << 10)),
        ("100 KB text", text_body(100 << 10)),
        ("1 MB image", image_body(1 << 20)),
    ];
    let mut group = c.benchmark_group("model_scan");
    for (name, body) in cases {
        let body = Bytes::from(body);
        let frames: Vec<Bytes> = (0..body.len())
            .step_by(FRAME_BYTES)
            .map(|at| body.slice(at..body.len().min(at + FRAME_BYTES)))
            .collect();
        let inference = Inference::ChatCompletions;
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("scan {name}"), |b| {
            b.iter(|| scan(inference, black_box(&frames)));
        });
        let found = scan(inference, &frames).expect("the bodies above are valid");
        group.bench_function(format!("splice {name}"), |b| {
            b.iter(|| {
                let changes = changes(&found, inference, Some("other"), AskUsage::Yes);
                splice(black_box(&frames), &changes.edits)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, model_scan);
criterion_main!(benches);
