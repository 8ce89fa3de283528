//! Buckets that clients create: under the upstream's names there, under the client's own here.

use crate::support::origin::{Origin, Received, Step, answer};
use crate::support::raw::Response;
use crate::support::server::{BUCKET, Server, Setup};
use crate::support::sign::{self, Request};

const LENT: &str = "default_resource = \"origin\"\nbucket_prefix = \"own-\"";

async fn server(origin: &Origin, repository: &'static str) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        repository,
        ..Setup::default()
    })
    .await
}

async fn ask(
    server: &Server,
    method: &'static str,
    path: &str,
    query: &[(&str, &str)],
) -> Response {
    let mut request: Request = server.request(method, "");
    path.clone_into(&mut request.path);
    request.query = query
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    if matches!(method, "PUT" | "POST") {
        let length = ("content-length".to_owned(), "0".to_owned());
        request.headers.push(length);
    }
    let mut client = server.client().await;
    client.send(request.head()).await;
    client.response().await
}

fn document(text: &str) -> Vec<Step> {
    let length = text.len();
    answer::raw(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"
    ))
}

/// A store with two buckets of ours and one that is not.
fn store(request: &Received) -> Vec<Step> {
    let bucket =
        |name: &str| format!("<Bucket><Name>{name}</Name><CreationDate>d</CreationDate></Bucket>");
    match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/?prefix=own-") => document(&format!(
            "<ListAllMyBucketsResult><Owner><ID>them</ID></Owner><Buckets>{}{}{}</Buckets></ListAllMyBucketsResult>",
            bucket("foreign"),
            bucket("own-new"),
            bucket("own-a-first")
        )),
        ("PUT", "/own-new") => {
            answer::raw("HTTP/1.1 200 OK\r\nLocation: /own-new\r\nContent-Length: 0\r\n\r\n")
        }
        ("DELETE", "/own-new") => answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "/own-new?versions=") => document(
            "<ListVersionsResult><Name>own-new</Name><Version><Key>k</Key></Version></ListVersionsResult>",
        ),
        ("GET", "/own-new?location=") => document("<LocationConstraint/>"),
        ("GET", "/own-new?lifecycle=") => document("<LifecycleConfiguration/>"),
        ("PUT", "/own-new/copied") => {
            document("<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
        }
        ("GET", "/own-gone/k") => answer::error(404, "NoSuchBucket"),
        _ => answer::error(400, "Unexpected"),
    }
}

#[tokio::test]
async fn created_buckets_are_reached_by_the_clients_names() {
    let origin = Origin::start(|request, _| store(request)).await;
    let server = server(&origin, LENT).await;

    let created = ask(&server, "PUT", "/new", &[]).await;
    assert_eq!(
        (created.status, created.header("location")),
        (200, Some("/new"))
    );
    let listed = ask(&server, "GET", "/", &[]).await.text();
    let names: Vec<&str> = listed
        .split("<Name>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap())
        .collect();
    assert_eq!(names, ["a-first", BUCKET, "new"], "{listed}");
    let versions = ask(&server, "GET", "/new", &[("versions", "")]).await;
    assert!(versions.text().contains("<Name>new</Name>"), "{versions:?}");
    for query in ["location", "lifecycle"] {
        assert_eq!(
            ask(&server, "GET", "/new", &[(query, "")]).await.status,
            200,
            "{query}"
        );
    }
    let mut copy = server.put("", 0);
    "/new/copied".clone_into(&mut copy.path);
    copy.headers
        .push(("x-amz-copy-source".into(), "new/k?versionId=v".into()));
    let mut client = server.client().await;
    client.send(copy.head()).await;
    assert_eq!(client.response().await.status, 200);
    let seen = origin.requests();
    let source = seen.last().unwrap().header("x-amz-copy-source");
    assert_eq!(source, Some("/own-new/k?versionId=v"));
    let gone = ask(&server, "GET", "/gone/k", &[]).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "NoSuchBucket"));
    assert!(!gone.text().contains("own-"), "{gone:?}");
    assert_eq!(ask(&server, "DELETE", "/new", &[]).await.status, 204);
}

#[tokio::test]
async fn a_policy_names_the_bucket_as_each_side_knows_it() {
    const HERE: &str = r#"{"Statement":[{"Resource":"arn:aws:s3:::new/*"}]}"#;
    const THERE: &str = r#"{"Statement":[{"Resource":"arn:aws:s3:::own-new/*"}]}"#;
    let origin = Origin::start(|request, _| match request.method.as_str() {
        "GET" => document(THERE),
        _ => answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
    })
    .await;
    let server = server(&origin, LENT).await;
    let mut put = server.request("PUT", "");
    "/new".clone_into(&mut put.path);
    put.query = vec![("policy".into(), String::new())];
    put.payload = sign::sha256(HERE.as_bytes());
    put.headers
        .push(("content-length".into(), HERE.len().to_string()));
    let mut client = server.client().await;
    client.send(put.head()).await;
    client.send(HERE).await;
    assert_eq!(client.response().await.status, 204);
    let seen = origin.requests().pop().unwrap();
    assert_eq!(seen.target, "/own-new?policy=");
    assert_eq!(seen.body, THERE.as_bytes());
    let read = ask(&server, "GET", "/new", &[("policy", "")]).await;
    assert_eq!((read.status, read.text().as_str()), (200, HERE));
}

#[tokio::test]
async fn what_is_not_lent_is_refused_before_the_store_is_asked() {
    let origin = Origin::always(answer::error(500, "Asked")).await;
    let lent = server(&origin, LENT).await;
    let mut longest = "n".repeat(60);
    longest.insert(0, '/');
    for (method, path, query, status, code) in [
        ("PUT", "/media", "", 409, "BucketAlreadyOwnedByYou"),
        ("DELETE", "/media", "", 403, "AccessDenied"),
        ("PUT", "/Bad_Name", "", 400, "InvalidBucketName"),
        ("GET", "/Bad_Name", "", 404, "NoSuchBucket"),
        ("PUT", &longest, "", 400, "InvalidBucketName"),
        ("GET", &longest, "", 404, "NoSuchBucket"),
        ("PUT", "/new", "policy", 400, "MalformedPolicy"),
        ("PUT", "/new", "replication", 501, "NotImplemented"),
    ] {
        let query: &[(&str, &str)] = if query.is_empty() {
            &[]
        } else {
            &[(query, "")]
        };
        let answer = ask(&lent, method, path, query).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{method} {path}"
        );
    }
    drop(lent);
    let own = server(&origin, "").await;
    for (method, path, status, code) in [
        ("PUT", "/new", 403, "AccessDenied"),
        ("DELETE", "/new", 403, "AccessDenied"),
        ("GET", "/new", 404, "NoSuchBucket"),
        ("GET", "/", 200, ""),
    ] {
        let answer = ask(&own, method, path, &[]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{method} {path}"
        );
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_listing_is_whole_or_an_error() {
    for (steps, status) in [
        (answer::error(403, "AccessDenied"), 403),
        (answer::error(503, "SlowDown"), 503),
        (document("<ListAllMyBucketsResult>"), 500),
        (document("<html></html>"), 500),
    ] {
        let origin = Origin::always(steps).await;
        let server = server(&origin, LENT).await;
        let answer = ask(&server, "GET", "/", &[]).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
