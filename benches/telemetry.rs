//! What counting and logging cost one request.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aqueduct::telemetry::access_log::{AccessLog, Entry, Flags, Sink, UpstreamEntry};
use aqueduct::telemetry::labels::{GenAiOp, Op, Proto, Provider, TokenSource};
use aqueduct::telemetry::ledger::{Account, Call, Ledger, Tokens};
use aqueduct::telemetry::metrics::{GenAiSample, Metrics, RequestSample, UpstreamSample};
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use uuid::Uuid;

fn counting(criterion: &mut Criterion) {
    let metrics = Metrics::new();
    let (repository, resource) = (metrics.repository("prod"), metrics.resource("assets"));
    let request = RequestSample {
        proto: Proto::S3,
        op: Op::GetObject,
        status: 200,
        duration: Duration::from_micros(900),
        ttfb: Some(Duration::from_micros(700)),
        overhead: Duration::from_micros(60),
        bytes_in: 0,
        bytes_out: 1024,
    };
    let upstream = UpstreamSample {
        class: Op::GetObject.class(),
        status: 200,
        duration: Duration::from_micros(800),
        ttfb: Some(Duration::from_micros(650)),
    };
    criterion.bench_function("metrics/request and upstream", |bencher| {
        bencher.iter(|| {
            let _inflight = metrics.inflight(Proto::S3);
            repository.request(black_box(&request), Some(&resource));
            resource.upstream(black_box(&upstream));
        });
    });
    criterion.bench_function("metrics/op from its name", |bencher| {
        bencher.iter(|| Op::from_name(black_box("ListObjectsV2")));
    });
    criterion.bench_function("metrics/scrape", |bencher| {
        bencher.iter(|| metrics.render());
    });
}

fn calls_of_models(criterion: &mut Criterion) {
    let metrics = Metrics::new();
    let (repository, resource) = (metrics.repository("prod"), metrics.resource("openai"));
    let call = Call {
        tokens: Tokens {
            input: 900,
            output: 80,
            cached: 500,
            ..Tokens::default()
        },
        source: Some(TokenSource::Reported),
        failed: false,
        took: Duration::from_millis(900),
        at: 1_800_000_000,
    };
    let ledger = Ledger::default();
    criterion.bench_function("ledger/a call", |bencher| {
        bencher.iter(|| {
            let meters = repository.model(&resource, black_box("gpt-4o-mini"));
            meters.spent(call.tokens, TokenSource::Reported);
            let account = Account {
                repository: Uuid::from_u128(1),
                resource: Uuid::from_u128(2),
                key: Uuid::from_u128(3),
                model: Arc::clone(meters.model()),
            };
            ledger.add(&account, black_box(&call));
        });
    });
    let meters = repository.model(&resource, "gpt-4o-mini");
    let sample = GenAiSample {
        tokens: Some(call.tokens),
        error: None,
        client: Duration::from_millis(900),
        server: Some(Duration::from_millis(901)),
        first_chunk: Some(Duration::from_millis(90)),
        per_chunk: Some(Duration::from_millis(9)),
        first_token: Some(Duration::from_millis(91)),
        per_token: Some(Duration::from_millis(10)),
    };
    criterion.bench_function("metrics/a call in OpenTelemetry's names", |bencher| {
        bencher.iter(|| {
            let meters = meters.gen_ai(black_box(Provider::OpenAi));
            meters.call(GenAiOp::Chat, black_box(&sample));
        });
    });
}

fn logging(criterion: &mut Criterion) {
    let entry = entry();
    let mut line = Vec::new();
    criterion.bench_function("access log/render", |bencher| {
        bencher.iter(|| {
            line.clear();
            black_box(&entry).render(&mut line);
        });
    });
    let metrics = Metrics::new();
    let sink = Sink::File(PathBuf::from("/dev/null"));
    let log = AccessLog::open(sink, metrics.log_dropped()).expect("the null device can be written");
    // Faster than any server: most lines find the queue full, which costs about the same.
    criterion.bench_function("access log/write", |bencher| {
        bencher.iter(|| log.write(black_box(&entry)));
    });
}

fn entry() -> Entry<'static> {
    Entry {
        at: Timestamp::UNIX_EPOCH,
        request_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
        trace_id: None,
        proto: Proto::S3,
        op: Op::GetObject,
        method: "GET",
        host: Some(b"s3.example.net:9000"),
        path: b"/assets/2026/11/21/part-00017.parquet",
        repository: Some("prod-eu-data"),
        resource: Some("assets-eu"),
        key_id: Some(Uuid::from_u128(7)),
        bucket: Some("assets"),
        status: 200,
        error_code: None,
        detail: None,
        bytes_in: 0,
        bytes_out: 1024,
        duration: Duration::from_micros(900),
        ttfb: Some(Duration::from_micros(700)),
        upstream: Some(UpstreamEntry {
            duration: Duration::from_micros(800),
            status: Some(200),
            request_id: Some(b"0123456789ABCDEF"),
            attempts: 1,
            reused: true,
        }),
        flags: Flags::NONE,
        client_ip: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        tls: false,
        user_agent: Some(b"Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1"),
        generation: 12,
        ai: None,
        copy: None,
    }
}

criterion_group!(benches, counting, calls_of_models, logging);
criterion_main!(benches);
