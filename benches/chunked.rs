//! `aws-chunked` bodies: 8 MiB in chunks of 64 KiB, in pieces of 16 KiB as they come from a socket, peeled and cut
//! again for the store, with a CRC over them.

use std::hint::black_box;

use aqueduct::message::body::{BodyStep, Chunks, End};
use aqueduct::policy::route::S3Quirks;
use aqueduct::storage::s3::auth::Payload;
use aqueduct::storage::s3::{Arrival, body, route};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;

const LENGTH: usize = 8 << 20;
const CHUNK: usize = 64 << 10;
const PIECE: usize = 16 << 10;

fn input(content: &[u8]) -> Bytes {
    let mut input = Vec::with_capacity(content.len() + content.len() / 1000);
    for chunk in content.chunks(CHUNK) {
        input.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        input.extend_from_slice(chunk);
        input.extend_from_slice(b"\r\n");
    }
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, content).to_be_bytes();
    use base64::Engine;
    let crc = base64::engine::general_purpose::STANDARD.encode(crc);
    input.extend_from_slice(format!("0\r\nx-amz-checksum-crc64nvme:{crc}\r\n\r\n").as_bytes());
    input.into()
}

fn run(input: &Bytes, headers: &HeaderMap, quirks: S3Quirks) -> usize {
    let arrival = Arrival {
        method: &Method::PUT,
        target: "/bucket/key",
        host: "s3.local",
        headers,
        secure: true,
        now: Timestamp::UNIX_EPOCH,
        base_domains: &[],
    };
    let request = route::decode(&arrival).expect("a good request");
    let (_, mut pipe) = body::plan(
        &request,
        Payload::UnsignedTrailer,
        headers,
        quirks,
        u64::MAX,
    )
    .expect("a good upload");
    let mut out = Chunks::new();
    let mut total = 0;
    let mut rest = input.clone();
    while !rest.is_empty() {
        let piece = rest.split_to(PIECE.min(rest.len()));
        pipe.push(piece, &mut out).expect("good chunks");
        total += out.drain(..).map(|bytes| bytes.len()).sum::<usize>();
    }
    pipe.finish(End::Clean, &mut out).expect("a good trailer");
    total + out.iter().map(Bytes::len).sum::<usize>()
}

fn benches(criterion: &mut Criterion) {
    let content = vec![7; LENGTH];
    let input = input(&content);
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-decoded-content-length", LENGTH.into());
    headers.insert(
        "x-amz-trailer",
        HeaderValue::from_static("x-amz-checksum-crc64nvme"),
    );
    let mut group = criterion.benchmark_group("unsigned trailer");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    for (name, trailers) in [("peeled", false), ("cut again", true)] {
        let quirks = S3Quirks {
            verifies_sha256: true,
            trailers,
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| run(black_box(&input), &headers, quirks));
        });
    }
    group.finish();
}

criterion_group!(chunked, benches);
criterion_main!(chunked);
