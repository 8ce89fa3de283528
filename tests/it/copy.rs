//! Copies between two resources of different accounts: one origin is read, the other is written.

mod faults;

use md5::{Digest, Md5};

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
async fn an_empty_object_is_copied() {
    let source = Origin::always(object(&md5(b""), "", b"")).await;
    let target = Origin::always(stored(&md5(b""))).await;
    let server = server(&source, &target).await;
    assert_eq!(send(&server, &copy(&server, &[])).await.status, 200);
    assert_eq!(last(&target).header("content-length"), Some("0"));
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

#[tokio::test]
async fn buckets_that_clients_created_are_copied_from() {
    let source = Origin::always(object("e", "", b"body")).await;
    let target = Origin::always(stored("e")).await;
    let server = Server::start(&Setup {
        storage: Some(source.address),
        second: Some(target.address),
        repository: "default_resource = \"origin\"\nbucket_prefix = \"own-\"",
        ..Setup::default()
    })
    .await;
    let mut request = copy(&server, &[]);
    "/made/src".clone_into(&mut request.headers[0].1);
    let answer = send(&server, &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(last(&source).target, "/own-made/src");
    assert_eq!(last(&target).body, b"body");
}
