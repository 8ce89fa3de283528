//! Copies between two resources of different accounts: one origin is read, the other is written, and whatever goes
//! wrong on either side leaves nothing behind that looks whole.

use std::sync::Arc;

use md5::{Digest, Md5};
use tokio::sync::Notify;

use crate::support::origin::{Origin, Received, Step, answer};
use crate::support::raw::Response;
use crate::support::server::{BUCKET, SECOND_BUCKET, Server, Setup, UPSTREAM_BUCKET};
use crate::support::sign::Request;

const QUICK: &str = r#"connect = "1s", first_byte = "5s", idle = "1s""#;
/// More than the sockets between hold.
const LARGE: usize = 8 << 20;

async fn server(source: &Origin, target: &Origin) -> Server {
    Server::start(&Setup {
        storage: Some(source.address),
        second: Some(target.address),
        timeouts: QUICK,
        ..Setup::default()
    })
    .await
}

/// A copy of `media/src` to `archive/dst`.
fn copy(server: &Server, headers: &[(&str, &str)]) -> Request {
    let mut request = server.request("PUT", "dst");
    request.path = format!("/{SECOND_BUCKET}/dst");
    let source = ("x-amz-copy-source", format!("/{BUCKET}/src"));
    request.headers = [source]
        .into_iter()
        .chain(
            headers
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        )
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    request
}

fn part(mut request: Request) -> Request {
    request.query = vec![
        ("partNumber".to_owned(), "2".to_owned()),
        ("uploadId".to_owned(), "id".to_owned()),
    ];
    request
}

async fn send(server: &Server, request: &Request) -> Response {
    let mut client = server.client().await;
    client.send(request.head()).await;
    client.response().await
}

fn write(text: &str) -> Step {
    Step::Write(text.as_bytes().to_vec())
}

fn md5(body: &[u8]) -> String {
    use std::fmt::Write;
    Md5::digest(body)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _written = write!(text, "{byte:02x}");
            text
        })
}

/// An object whose `ETag` is `tag`.
fn object(tag: &str, headers: &str, body: &[u8]) -> Vec<Step> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\n{headers}Content-Length: {length}\r\n\r\n");
    vec![Step::Write([head.as_bytes(), body].concat())]
}

/// Takes an upload whole and gives it this `ETag`.
fn stored(tag: &str) -> Vec<Step> {
    answer::raw(&format!(
        "HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nDate: Fri, 24 May 2013 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn last(origin: &Origin) -> Received {
    origin.requests().pop().expect("a request")
}

#[tokio::test]
async fn bytes_and_attributes_go_from_one_account_to_the_other() {
    let body: Vec<u8> = (0..LARGE)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    let tag = md5(&body);
    let attributes = "Content-Type: text/x\r\nCache-Control: no-cache\r\nContent-Encoding: gzip\r\n\
                      x-amz-meta-colour: blue\r\nx-amz-version-id: v7\r\nServer: its own\r\nx-amz-storage-class: GLACIER_IR\r\n\
                      x-amz-server-side-encryption: AES256\r\n";
    let source = Origin::always(object(&tag, attributes, &body)).await;
    let target = Origin::always(stored(&tag)).await;
    let server = server(&source, &target).await;
    let answer = send(
        &server,
        &copy(&server, &[("x-amz-storage-class", "STANDARD_IA")]),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.text(),
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LastModified>2013-05-24T00:00:00.000Z</LastModified><ETag>&quot;{tag}&quot;</ETag></CopyObjectResult>"
        )
    );
    assert_eq!(answer.header("x-amz-copy-source-version-id"), Some("v7"));
    let (read, written) = (last(&source), last(&target));
    assert_eq!(read.target, format!("/{UPSTREAM_BUCKET}/src"));
    assert_eq!(written.target, format!("/{SECOND_BUCKET}/dst"));
    assert!(
        read.header("authorization")
            .unwrap()
            .contains("AKIAUPSTREAM/")
    );
    assert!(
        written
            .header("authorization")
            .unwrap()
            .contains("AKIASECOND/")
    );
    assert!(written.complete && written.body == body);
    for (name, expected) in [
        ("content-type", Some("text/x")),
        ("cache-control", Some("no-cache")),
        ("content-encoding", Some("gzip")),
        ("x-amz-meta-colour", Some("blue")),
        ("x-amz-storage-class", Some("STANDARD_IA")),
        ("content-length", Some("8388608")),
        ("x-amz-server-side-encryption", None),
        ("x-amz-copy-source", None),
        ("server", None),
    ] {
        assert_eq!(written.header(name), expected, "{name}");
    }
    // Both connections are whole, and kept.
    assert_eq!(send(&server, &copy(&server, &[])).await.status, 200);
    assert_eq!((source.opened(), target.opened()), (1, 1));
}

#[tokio::test]
async fn attributes_and_tags_come_from_the_request_where_it_says_so() {
    let source = Origin::start(|request, _| {
        if request.target.contains("?tagging=") {
            let tag = "<Tag><Key>a b</Key><Value>&amp;</Value></Tag>";
            return answer::ok(format!("<Tagging><TagSet>{tag}</TagSet></Tagging>").as_bytes());
        }
        let headers = "Content-Type: text/x\r\nx-amz-meta-old: 1\r\nx-amz-tagging-count: 1\r\nx-amz-version-id: v/7\r\n";
        object("e", headers, b"body")
    })
    .await;
    let target = Origin::always(stored("e")).await;
    let server = server(&source, &target).await;
    let replace = [
        ("x-amz-metadata-directive", "REPLACE"),
        ("content-type", "text/new"),
        ("x-amz-meta-new", "2"),
        ("x-amz-tagging", "of=request"),
    ];
    let copied = [
        ("content-type", "text/new"),
        ("x-amz-tagging", "of=request"),
    ];
    let tags = [
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-tagging", "of=request"),
    ];
    for (headers, kind, old, new, tags, requests) in [
        (
            &replace[..],
            "text/new",
            None,
            Some("2"),
            Some("a%20b=%26"),
            2,
        ),
        (&copied[..], "text/x", Some("1"), None, Some("a%20b=%26"), 2),
        (&tags[..], "text/x", Some("1"), None, Some("of=request"), 1),
    ] {
        let before = source.requests().len();
        let answer = send(&server, &copy(&server, headers)).await;
        assert_eq!(answer.status, 200, "{headers:?} {}", answer.text());
        let written = last(&target);
        assert_eq!(written.header("content-type"), Some(kind), "{headers:?}");
        assert_eq!(written.header("x-amz-meta-old"), old, "{headers:?}");
        assert_eq!(written.header("x-amz-meta-new"), new, "{headers:?}");
        assert_eq!(written.header("x-amz-tagging"), tags, "{headers:?}");
        assert_eq!(source.requests().len() - before, requests, "{headers:?}");
    }
    let asked = source.requests();
    let pinned = format!("/{UPSTREAM_BUCKET}/src?tagging=&versionId=v%2F7");
    assert!(
        asked.iter().any(|request| request.target == pinned),
        "{asked:?}"
    );
}

#[tokio::test]
async fn conditions_on_the_source_are_asked_of_the_source_and_fail_as_412() {
    for (name, value, plain, refusal, expected) in [
        (
            "x-amz-copy-source-if-match",
            "\"e\"",
            "if-match",
            None,
            (200, ""),
        ),
        (
            "x-amz-copy-source-if-match",
            "\"x\"",
            "if-match",
            Some(412),
            (412, "PreconditionFailed"),
        ),
        (
            "x-amz-copy-source-if-none-match",
            "\"e\"",
            "if-none-match",
            Some(304),
            (412, "PreconditionFailed"),
        ),
        (
            "x-amz-copy-source-if-modified-since",
            "Fri, 24 May 2013 00:00:00 GMT",
            "if-modified-since",
            Some(304),
            (412, "PreconditionFailed"),
        ),
        (
            "x-amz-copy-source-if-unmodified-since",
            "Fri, 24 May 2013 00:00:00 GMT",
            "if-unmodified-since",
            Some(412),
            (412, "PreconditionFailed"),
        ),
    ] {
        let source = Origin::start(move |_, _| match refusal {
            Some(304) => answer::raw("HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n"),
            Some(status) => answer::error(status, "PreconditionFailed"),
            None => object("e", "", b"body"),
        })
        .await;
        let target = Origin::always(stored("e")).await;
        let server = server(&source, &target).await;
        let answer = send(&server, &copy(&server, &[(name, value)])).await;
        assert_eq!((answer.status, answer.code().as_str()), expected, "{name}");
        assert_eq!(last(&source).header(plain), Some(value), "{name}");
        assert_eq!(
            target.requests().len(),
            usize::from(refusal.is_none()),
            "{name}"
        );
    }
}

/// A store that has ten bytes and answers some ranges oddly.
fn ten_bytes(request: &Received, _: usize) -> Vec<Step> {
    let ranged = |range: &str, body: &str| {
        let length = body.len();
        answer::raw(&format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"e\"\r\nContent-Range: bytes {range}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    };
    match request.header("range") {
        Some("bytes=1-3") => ranged("1-3/10", "bcd"),
        // Beyond the object: the store gives what there is.
        Some("bytes=8-12") => ranged("8-9/10", "ij"),
        Some("bytes=10-12") => answer::error(416, "InvalidRange"),
        Some("bytes=2-5") => ranged("3-5/10", "def"),
        _ => object("e", "", b"abcdefghij"),
    }
}

#[tokio::test]
async fn a_part_is_the_range_that_was_asked_for_or_nothing() {
    let source = Origin::start(ten_bytes).await;
    let target = Origin::always(stored("e")).await;
    let server = server(&source, &target).await;
    for (range, asked, expected) in [
        ("bytes=1-3", 1, Ok("bcd")),
        ("bytes=0-9", 1, Ok("abcdefghij")),
        ("bytes=8-12", 1, Err((400, "InvalidArgument"))),
        ("bytes=10-12", 1, Err((400, "InvalidArgument"))),
        ("bytes=0-10", 1, Err((400, "InvalidArgument"))),
        ("bytes=2-5", 1, Err((500, "InternalError"))),
        ("bytes=4-6", 1, Err((500, "InternalError"))),
        ("bytes=3-1", 0, Err((400, "InvalidArgument"))),
        ("bytes=1-", 0, Err((400, "InvalidArgument"))),
        ("bytes=-3", 0, Err((400, "InvalidArgument"))),
        ("bytes=0-2,3-5", 0, Err((400, "InvalidArgument"))),
        (
            "bytes=0-18446744073709551615",
            0,
            Err((400, "InvalidArgument")),
        ),
        ("0-2", 0, Err((400, "InvalidArgument"))),
    ] {
        let before = (source.requests().len(), target.requests().len());
        let request = part(copy(&server, &[("x-amz-copy-source-range", range)]));
        let answer = send(&server, &request).await;
        let text = answer.text();
        let seen = (
            source.requests().len() - before.0,
            target.requests().len() - before.1,
        );
        assert_eq!(seen, (asked, usize::from(expected.is_ok())), "{range}");
        let Ok(body) = expected else {
            let refusal = (answer.status, answer.code());
            assert_eq!(Err((refusal.0, &*refusal.1)), expected, "{range} {text}");
            continue;
        };
        assert!(text.contains("<CopyPartResult "), "{text}");
        let written = last(&target);
        assert_eq!(
            written.target,
            format!("/{SECOND_BUCKET}/dst?partNumber=2&uploadId=id")
        );
        assert!(
            written.complete && written.body == body.as_bytes(),
            "{range}"
        );
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_leaves_nothing_at_the_target() {
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {LARGE}\r\n\r\n");
    let half = Step::Write([head.as_bytes(), &vec![7; LARGE / 2]].concat());
    let wrong = object(&md5(b"something else"), "", &vec![7; LARGE]);
    let crc = object("e", "x-amz-checksum-crc32: AAAAAA==\r\n", &vec![7; LARGE]);
    let chunked =
        write("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    for (what, steps, sent) in [
        ("reset", vec![half.clone(), Step::Reset], true),
        (
            "closed before its length",
            vec![half.clone(), Step::Close],
            true,
        ),
        ("stalled", vec![half, Step::Stall], true),
        ("other bytes than its ETag says", wrong, true),
        ("other bytes than its checksum says", crc, true),
        ("no length", vec![chunked, Step::Close], false),
    ] {
        let source = Origin::always(steps).await;
        let target = Origin::always(stored("e")).await;
        let server = server(&source, &target).await;
        let answer = send(&server, &copy(&server, &[])).await;
        assert!(matches!(answer.status, 500 | 503), "{what}: {answer:?}");
        assert!(!answer.code().is_empty(), "{what}");
        if sent {
            target.until(what, |seen| seen.ended == seen.opened).await;
            assert!(target.requests().iter().all(|put| !put.complete), "{what}");
            assert_eq!(target.resets(), target.opened(), "{what}");
        } else {
            assert_eq!(target.opened(), 0, "{what}");
        }
    }
}

#[tokio::test]
async fn bytes_beyond_the_sources_length_reach_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let source = Origin::start(move |_, index| match index {
        0 => answer::raw(evil),
        _ => object("e", "", b"good"),
    })
    .await;
    let target = Origin::always(stored("e")).await;
    let server = server(&source, &target).await;
    for expected in ["body", "good"] {
        assert_eq!(send(&server, &copy(&server, &[])).await.status, 200);
        assert_eq!(last(&target).body, expected.as_bytes());
    }
}

#[tokio::test]
async fn an_empty_object_is_copied() {
    let source = Origin::always(object(&md5(b""), "", b"")).await;
    let target = Origin::always(stored(&md5(b""))).await;
    let server = server(&source, &target).await;
    assert_eq!(send(&server, &copy(&server, &[])).await.status, 200);
    assert_eq!(last(&target).header("content-length"), Some("0"));
}

#[tokio::test]
async fn a_target_that_refuses_is_told_to_the_client() {
    let early = vec![
        Step::ReadBytes(1000),
        write(
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 51\r\n\r\n<Error><Code>QuotaExceeded</Code><Message/></Error>",
        ),
        Step::Stall,
    ];
    for (what, steps, expected) in [
        ("at once", early, (403, "QuotaExceeded")),
        (
            "after all",
            answer::error(500, "InternalError"),
            (500, "InternalError"),
        ),
        (
            "its bucket is gone",
            answer::error(404, "NoSuchBucket"),
            (404, "NoSuchBucket"),
        ),
        (
            "the condition",
            answer::error(412, "PreconditionFailed"),
            (412, "PreconditionFailed"),
        ),
        // The digest was not the client's.
        (
            "other bytes",
            answer::error(400, "BadDigest"),
            (500, "InternalError"),
        ),
        (
            "without a word",
            vec![Step::ReadBytes(1000), Step::Reset],
            (503, "ServiceUnavailable"),
        ),
    ] {
        let source = Origin::always(object("e", "", &vec![7; LARGE])).await;
        let target = Origin::always(steps).await;
        let server = server(&source, &target).await;
        let answer = send(&server, &copy(&server, &[("if-none-match", "*")])).await;
        assert_eq!((answer.status, answer.code().as_str()), expected, "{what}");
        assert_eq!(target.requests()[0].header("if-none-match"), Some("*"));
        assert_eq!(
            target.requests().len(),
            1,
            "{what}: a conditional upload is not repeated"
        );
    }
}

#[tokio::test]
async fn a_copy_that_came_out_wrong_is_deleted() {
    let source = Origin::always(object(&md5(b"body"), "", b"body")).await;
    for (headers, target_of_delete, condition) in [
        (
            "",
            "/archive/dst",
            Some("\"d41d8cd98f00b204e9800998ecf8427e\""),
        ),
        (
            "x-amz-version-id: v+8\r\n",
            "/archive/dst?versionId=v%2B8",
            None,
        ),
    ] {
        let target = Origin::start(move |request, _| match request.method.as_str() {
            "PUT" => answer::raw(&format!(
                "HTTP/1.1 200 OK\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n{headers}Content-Length: 0\r\n\r\n"
            )),
            _ => answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        })
        .await;
        let server = server(&source, &target).await;
        let answer = send(&server, &copy(&server, &[])).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (500, "InternalError")
        );
        let [put, delete] = &target.requests()[..] else {
            panic!("{:?}", target.requests())
        };
        assert_eq!(put.header("content-md5"), Some("hBotaJrYa9FhFEdFPCLG/A=="));
        assert_eq!(
            (delete.method.as_str(), delete.target.as_str()),
            ("DELETE", target_of_delete)
        );
        assert_eq!(delete.header("if-match"), condition);
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_before_anyone_is_asked() {
    let source = Origin::always(object("e", "", b"body")).await;
    let target = Origin::always(stored("e")).await;
    let server = server(&source, &target).await;
    for (name, value, expected) in [
        (
            "x-amz-metadata-directive",
            "MERGE",
            (400, "InvalidArgument"),
        ),
        ("x-amz-tagging-directive", "", (400, "InvalidArgument")),
        ("x-amz-checksum-algorithm", "MD4", (400, "InvalidRequest")),
        // This store takes no trailers.
        ("x-amz-checksum-algorithm", "CRC32", (501, "NotImplemented")),
        (
            "x-amz-checksum-type",
            "FULL_OBJECT",
            (501, "NotImplemented"),
        ),
    ] {
        let answer = send(&server, &copy(&server, &[(name, value)])).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            expected,
            "{name}: {value}"
        );
    }
    assert_eq!((source.opened(), target.opened()), (0, 0));
    // Too large by its head alone: S3's limit for one copy.
    let huge = Origin::always(vec![
        write("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 5368709121\r\n\r\n"),
        Step::Stall,
    ])
    .await;
    let server = self::server(&huge, &target).await;
    let answer = send(&server, &copy(&server, &[])).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "InvalidRequest")
    );
    assert_eq!(target.opened(), 0);
}

#[tokio::test]
async fn a_checksum_that_was_asked_for_travels_in_a_trailer() {
    let source = Origin::always(object(&md5(b"123456789"), "", b"123456789")).await;
    let target = Origin::always(stored("e")).await;
    let server = Server::start(&Setup {
        storage: Some(source.address),
        second: Some(target.address),
        resource: "trailers = true",
        ..Setup::default()
    })
    .await;
    let answer = send(
        &server,
        &copy(&server, &[("x-amz-checksum-algorithm", "CRC32")]),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let written = last(&target);
    assert_eq!(
        written.header("x-amz-trailer"),
        Some("x-amz-checksum-crc32")
    );
    assert_eq!(written.header("x-amz-decoded-content-length"), Some("9"));
    assert_eq!(
        String::from_utf8(written.body).unwrap(),
        "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n"
    );
}

/// An origin that stops in the middle of a large object until the test says `go`.
async fn halting(go: &Arc<Notify>, then: Vec<Step>) -> Origin {
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {LARGE}\r\n\r\n");
    let half = Step::Write([head.as_bytes(), &vec![7; LARGE / 2]].concat());
    Origin::always([vec![half, Step::Wait(Arc::clone(go))], then].concat()).await
}

async fn patient(source: &Origin, target: &Origin) -> Server {
    Server::start(&Setup {
        storage: Some(source.address),
        second: Some(target.address),
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn a_client_that_leaves_ends_both_exchanges() {
    let go = Arc::new(Notify::new());
    let source = halting(&go, vec![Step::Stall]).await;
    let target = Origin::always(stored("e")).await;
    let server = patient(&source, &target).await;
    let mut client = server.client().await;
    client.send(copy(&server, &[]).head()).await;
    target
        .until("the upload", |seen| seen.requests.len() == 1)
        .await;
    drop(client);
    target
        .until("the end of the upload", |seen| seen.ended == 1)
        .await;
    assert_eq!(target.resets(), 1);
    assert!(!last(&target).complete);
    go.notify_one();
    source
        .until("the end of the read", |seen| seen.ended == 1)
        .await;
}

#[tokio::test]
async fn a_key_that_is_revoked_meanwhile_completes_no_copy() {
    let go = Arc::new(Notify::new());
    let source = halting(&go, vec![Step::Write(vec![7; LARGE - LARGE / 2])]).await;
    let target = Origin::always(stored("e")).await;
    let server = patient(&source, &target).await;
    let mut client = server.client().await;
    client.send(copy(&server, &[]).head()).await;
    target
        .until("the upload", |seen| seen.requests.len() == 1)
        .await;
    let revoked = server.run(&["key", "revoke", "00000000-0000-4000-8000-000000000001"]);
    assert!(revoked.status.success(), "{revoked:?}");
    while server.get("k").await.status != 403 {}
    go.notify_one();
    let answer = client.response().await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    target
        .until("the end of the upload", |seen| seen.ended == 1)
        .await;
    assert!(!last(&target).complete);
    assert_eq!(target.resets(), 1);
}

/// A copy that takes longer than clients wait is answered at once and concluded in the body.
#[tokio::test]
async fn a_slow_copy_is_answered_late_whatever_comes_of_it() {
    let good = vec![Step::Write(vec![7; LARGE - LARGE / 2])];
    let check = async |then: Vec<Step>, expected: &str| {
        let go = Arc::new(Notify::new());
        let source = halting(&go, then).await;
        let target = Origin::always(stored("e")).await;
        let server = patient(&source, &target).await;
        let mut client = server.client().await;
        client.send(copy(&server, &[]).head()).await;
        let head = client.head().await;
        assert_eq!(
            (head.status, head.header("content-type")),
            (200, Some("application/xml"))
        );
        go.notify_one();
        let (body, complete) = client.body(&head).await;
        let text = String::from_utf8(body).unwrap();
        assert!(
            complete && text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n "),
            "{text}"
        );
        assert_eq!(text.matches("<?xml").count(), 1, "{text}");
        assert!(text.contains(expected), "{text}");
    };
    tokio::join!(
        check(good, "<ETag>&quot;e&quot;</ETag></CopyObjectResult>"),
        check(vec![Step::Reset], "<Error><Code>InternalError</Code>"),
    );
}

#[tokio::test]
async fn both_resources_are_counted_and_the_one_that_failed_is_named() {
    let short = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 100\r\n\r\nshort";
    let source = Origin::start(move |_, index| {
        if index == 0 {
            return object("e", "", b"body");
        }
        vec![write(short), Step::Close]
    })
    .await;
    let target = Origin::always(stored("e")).await;
    let server = server(&source, &target).await;
    assert_eq!(send(&server, &copy(&server, &[])).await.status, 200);
    assert_eq!(send(&server, &copy(&server, &[])).await.status, 500);
    let metrics = server.admin("GET", "/metrics", "").await.text();
    for line in [
        r#"aqueduct_upstream_requests_total{class="read",code="200",resource="origin"} 2"#,
        r#"aqueduct_upstream_requests_total{class="write",code="200",resource="second"} 1"#,
        r#"aqueduct_upstream_errors_total{reason="truncated",resource="origin"} 1"#,
    ] {
        assert!(
            metrics.lines().any(|known| known == line),
            "{line}\n{metrics}"
        );
    }
    assert!(
        !metrics
            .contains(r#"aqueduct_upstream_errors_total{reason="truncated",resource="second"}"#)
    );
}
