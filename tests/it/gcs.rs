//! S3 requests at Google Cloud Storage: what is sent, what its answers become, and what is not sent at all. The stores
//! here answer as scripted; that the whole works with clients is shown by `tests/sdk`.

use crate::support::origin::{Origin, Received, Step, answer};
use crate::support::raw::Response;
use crate::support::server::{GCS_BUCKET, Server, Setup};
use crate::support::sign::Request;

/// CRC32C and MD5 of `hello`.
const HELLO: &str = "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==";
const HELLO_ETAG: &str = "\"5d41402abc4b2a76b9719d911017c592\"";

async fn start(
    script: impl Fn(&Received, usize) -> Vec<Step> + Send + Sync + 'static,
) -> (Origin, Server) {
    let origin = Origin::start(script).await;
    let server = Server::start(&Setup {
        gcs: Some(origin.address),
        repository: "default_resource = \"gcs\"\nbucket_prefix = \"own-\"",
        ..Setup::default()
    })
    .await;
    (origin, server)
}

fn stored(etag: &str, hash: &str) -> Vec<Step> {
    answer::raw(&format!(
        "HTTP/1.1 200 OK\r\nETag: {etag}\r\nx-goog-generation: 7\r\nx-goog-metageneration: 1\r\nx-goog-hash: {hash}\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn object(body: &str) -> Vec<Step> {
    answer::raw(&format!(
        "HTTP/1.1 200 OK\r\nETag: {HELLO_ETAG}\r\nx-goog-generation: 7\r\nx-goog-metageneration: 1\r\nx-goog-stored-content-length: 5\r\nx-goog-hash: {HELLO}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\nx-goog-meta-a: b\r\nServer: UploadServer\r\nContent-Length: 5\r\n\r\n{body}"
    ))
}

fn request(server: &Server, method: &'static str, key: &str) -> Request {
    let mut request = server.request(method, key);
    request.path = format!("/{GCS_BUCKET}/{key}");
    request
}

async fn ask(server: &Server, request: &Request, body: &str) -> Response {
    let mut client = server.client().await;
    client.send(request.head() + body).await;
    client.response().await
}

fn put(server: &Server, headers: &[(&str, &str)]) -> Request {
    let mut put = server.put("k", 5);
    put.path = format!("/{GCS_BUCKET}/k");
    let more = headers.iter();
    put.headers
        .extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    put
}

#[tokio::test]
async fn an_upload_is_signed_in_googles_words_and_compared_with_what_was_stored() {
    let (origin, server) = start(|_, _| stored(HELLO_ETAG, HELLO)).await;
    let put = put(&server, &[("x-amz-meta-a", "b"), ("if-none-match", "*")]);
    let answer = ask(&server, &put, "hello").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("etag"), Some(HELLO_ETAG));
    let seen = origin.requests();
    let [seen] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert!(seen.target.ends_with("/tenant/k"), "{}", seen.target);
    assert_eq!(seen.body, b"hello");
    let signed = seen.header("authorization").unwrap();
    assert!(signed.starts_with("GOOG4-HMAC-SHA256 Credential=GOOG1EUPSTREAM/"));
    for (name, value) in [
        ("x-goog-meta-a", "b"),
        ("x-goog-if-generation-match", "0"),
        ("content-length", "5"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert!(
        seen.headers
            .iter()
            .all(|(name, _)| !name.starts_with("x-amz-"))
    );
}

#[tokio::test]
async fn what_the_store_has_got_wrong_is_taken_back() {
    let (origin, server) = start(|request, _| match request.method.as_str() {
        "PUT" => stored(HELLO_ETAG, "crc32c=AAAAAA=="),
        _ => answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
    })
    .await;
    let answer = ask(&server, &put(&server, &[]), "hello").await;
    assert!(answer.status >= 500, "{}", answer.text());
    let seen = origin.requests();
    let [_, undo] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!(undo.method, "DELETE");
    // Only what was stored just now: not what somebody else has stored since.
    assert_eq!(undo.header("x-goog-if-generation-match"), Some("7"));
}

#[tokio::test]
async fn an_object_comes_as_it_is_with_the_headers_of_s3() {
    let (_origin, server) = start(|_, _| object("hello")).await;
    let answer = ask(&server, &request(&server, "GET", "k"), "").await;
    assert_eq!((answer.status, &*answer.text()), (200, "hello"));
    for (name, value) in [
        ("etag", Some(HELLO_ETAG)),
        ("x-amz-meta-a", Some("b")),
        ("content-type", Some("text/plain")),
        ("content-length", Some("5")),
        ("last-modified", Some("Thu, 01 Jan 2026 00:00:00 GMT")),
        ("server", None),
        ("x-goog-generation", None),
        ("x-goog-hash", None),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn an_object_that_breaks_off_is_not_whole() {
    let (_origin, server) = start(|_, _| {
        let mut steps = object("hel");
        steps.push(Step::Close);
        steps
    })
    .await;
    let mut client = server.client().await;
    client.send(request(&server, "GET", "k").head()).await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    let (body, whole) = client.body(&head).await;
    assert_eq!((&*body, whole), (&b"hel"[..], false));
}

#[tokio::test]
async fn a_condition_on_an_etag_is_held_by_the_generation_that_was_looked_at() {
    let (origin, server) = start(|request, _| match request.method.as_str() {
        "HEAD" => object(""),
        _ => stored(HELLO_ETAG, HELLO),
    })
    .await;
    let same = put(&server, &[("if-match", HELLO_ETAG)]);
    assert_eq!(ask(&server, &same, "hello").await.status, 200);
    let seen = origin.requests();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[1].header("x-goog-if-generation-match"), Some("7"));
    assert_eq!(seen[1].body, b"hello");
    let other = put(&server, &[("if-match", "\"0\"")]);
    let refused = ask(&server, &other, "hello").await;
    assert_eq!(
        (refused.status, &*refused.code()),
        (412, "PreconditionFailed")
    );
    // It was looked at, and nothing was sent.
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_said_there_is_refused_before_anything_is_sent() {
    let (origin, server) = start(|_, _| answer::ok(b"")).await;
    let with = |method, query: &[(&str, &str)], headers: &[(&str, &str)]| {
        let mut request = request(&server, method, "k");
        let pairs = query.iter();
        request
            .query
            .extend(pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let pairs = headers.iter();
        request
            .headers
            .extend(pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        request
    };
    for refused in [
        with("GET", &[("torrent", "")], &[]),
        with("GET", &[("retention", "")], &[]),
        with("GET", &[("legal-hold", "")], &[]),
        put(&server, &[("x-amz-object-lock-mode", "GOVERNANCE")]),
        put(&server, &[("x-amz-acl", "public-read")]),
        put(&server, &[("x-amz-server-side-encryption", "aws:kms")]),
    ] {
        let answer = ask(&server, &refused, "hello").await;
        assert_eq!(
            answer.status,
            501,
            "{}: {}",
            refused.target(),
            answer.text()
        );
        assert_eq!(answer.code(), "NotImplemented", "{}", refused.target());
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn failures_are_told_in_the_words_of_s3_and_name_nothing_of_the_store() {
    for (status, code, expected) in [
        (404, "NoSuchKey", (404, "NoSuchKey")),
        (404, "NoSuchBucket", (404, "NoSuchBucket")),
        (403, "AccessDenied", (403, "AccessDenied")),
        (412, "PreconditionFailed", (412, "PreconditionFailed")),
        (429, "SlowDown", (503, "SlowDown")),
        (401, "AuthenticationRequired", (403, "AccessDenied")),
        (403, "SignatureDoesNotMatch", (403, "AccessDenied")),
    ] {
        let (_origin, server) = start(move |_, _| answer::error(status, code)).await;
        let answer = ask(&server, &request(&server, "GET", "k"), "").await;
        assert_eq!(
            (answer.status, &*answer.code()),
            expected,
            "{status} {code}"
        );
        assert!(!answer.text().contains("tenant/"), "{}", answer.text());
    }
}

#[tokio::test]
async fn ids_and_pages_of_the_store_are_sealed() {
    const ID: &str = "store-s-own-id";
    let (origin, server) = start(|request, _| {
        let body = if request.target.contains("uploads") {
            format!("<InitiateMultipartUploadResult><UploadId>{ID}</UploadId></InitiateMultipartUploadResult>")
        } else {
            String::new()
        };
        answer::raw(&format!(
            "HTTP/1.1 200 OK\r\nETag: {HELLO_ETAG}\r\nx-goog-hash: {HELLO}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    })
    .await;
    let mut create = request(&server, "POST", "k");
    create.query.push(("uploads".to_owned(), String::new()));
    create
        .headers
        .push(("content-length".to_owned(), "0".to_owned()));
    let created = ask(&server, &create, "").await.text();
    assert!(!created.contains(ID), "{created}");
    let (_, id) = created.split_once("<UploadId>").unwrap();
    let (id, _) = id.split_once("</UploadId>").unwrap();
    let part = |key: &str, id: &str| {
        let mut part = server.put(key, 5);
        part.path = format!("/{GCS_BUCKET}/{key}");
        part.query.push(("partNumber".to_owned(), "1".to_owned()));
        part.query.push(("uploadId".to_owned(), id.to_owned()));
        part
    };
    let answer = ask(&server, &part("k", id), "hello").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = origin.requests();
    assert!(sent[1].target.contains(ID), "{}", sent[1].target);
    for (key, id) in [("other", id), ("k", ID)] {
        let answer = ask(&server, &part(key, id), "hello").await;
        assert_eq!(
            (answer.status, &*answer.code()),
            (404, "NoSuchUpload"),
            "{key}"
        );
    }
    assert_eq!(origin.requests().len(), 2);
}

/// A request for a bucket, or for all of them.
fn of_bucket(server: &Server, method: &'static str, path: &str) -> Request {
    let mut request = server.request(method, "");
    path.clone_into(&mut request.path);
    if method == "PUT" {
        let length = ("content-length".to_owned(), "0".to_owned());
        request.headers.push(length);
    }
    request
}

fn document(text: &str) -> Vec<Step> {
    let length = text.len();
    answer::raw(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"
    ))
}

#[tokio::test]
async fn clients_make_list_and_delete_buckets_there() {
    let bucket = |name: &str| {
        let created = "2026-01-02T03:04:05.678Z";
        format!("<Bucket><Name>{name}</Name><CreationDate>{created}</CreationDate></Bucket>")
    };
    let listed = ["foreign", "own-new", "own-Bad_name"].map(bucket).concat();
    let (origin, server) =
        start(
            move |request, _| match (request.method.as_str(), request.target.as_str()) {
                ("GET", "/") => document(&format!(
                    "<ListAllMyBucketsResult><Buckets>{listed}</Buckets></ListAllMyBucketsResult>"
                )),
                ("PUT" | "HEAD", "/own-new") => {
                    answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                }
                ("DELETE", "/own-new") => {
                    let text =
                        "<Error><Code>BucketNotEmpty</Code><Message>own-new</Message></Error>";
                    let length = text.len();
                    answer::raw(&format!(
                        "HTTP/1.1 409 Conflict\r\nContent-Length: {length}\r\n\r\n{text}"
                    ))
                }
                other => panic!("{other:?}"),
            },
        )
        .await;
    let made = ask(&server, &of_bucket(&server, "PUT", "/new"), "").await;
    assert_eq!((made.status, made.header("location")), (200, Some("/new")));
    let list = ask(&server, &of_bucket(&server, "GET", "/"), "").await;
    let text = list.text();
    assert_eq!(list.status, 200, "{text}");
    let shown = "<Name>new</Name><CreationDate>2026-01-02T03:04:05.678Z</CreationDate>";
    assert!(text.contains(shown), "{text}");
    assert!(text.contains(GCS_BUCKET) && !text.contains("own-") && !text.contains("foreign"));
    let head = ask(&server, &of_bucket(&server, "HEAD", "/new"), "").await;
    assert_eq!(head.status, 200);
    let full = ask(&server, &of_bucket(&server, "DELETE", "/new"), "").await;
    assert_eq!(full.status, 409);
    assert!(full.text().contains("<Code>BucketNotEmpty</Code>") && !full.text().contains("own-"));
    assert_eq!(origin.requests().len(), 4);
}
