//! Uploads by forms: what is refused before the store hears of it, and what the store must never take for whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::signature_v2;
use crate::support::origin::{Origin, Step, answer};
use crate::support::raw::Response;
use crate::support::server::{BUCKET, KEY, SECRET, Server, Setup, UPSTREAM_BUCKET};
use crate::support::sign;

const BOUNDARY: &str = "form-of-a-test";
const CLOSING: &str = "\r\n--form-of-a-test--\r\n";

/// A form before it is put into a message; the fields are what a test bends.
struct Form {
    fields: Vec<(String, String)>,
    file: Vec<u8>,
    behind: String,
    length: Option<usize>,
}

/// A form that is good, with the policy that its fields need and these conditions more.
fn form(fields: &[(&str, &str)], conditions: &str) -> Form {
    let time = sign::jiff_now();
    let date = &time[..8];
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));
    add("x-amz-algorithm", "AWS4-HMAC-SHA256");
    add(
        "x-amz-credential",
        &format!("{KEY}/{date}/us-east-1/s3/aws4_request"),
    );
    add("x-amz-date", &time);
    for (name, value) in fields {
        add(name, value);
    }
    let covered: Vec<String> = all
        .iter()
        .map(|(name, _)| format!("[\"starts-with\", \"${name}\", \"\"]"))
        .collect();
    let policy = STANDARD.encode(format!(
        "{{\"expiration\": \"2999-01-01T00:00:00Z\", \"conditions\": [{{\"bucket\": \"{BUCKET}\"}}, {}{conditions}]}}",
        covered.join(", ")
    ));
    let signature = sign::signature(SECRET, date, &policy);
    all.push(("policy".into(), policy));
    all.push(("x-amz-signature".into(), signature));
    Form {
        fields: all,
        file: b"content".to_vec(),
        behind: CLOSING.to_owned(),
        length: None,
    }
}

/// A form as old clients sign it.
fn version_2() -> Form {
    let policy = STANDARD.encode(format!(
        "{{\"expiration\": \"2999-01-01T00:00:00Z\", \"conditions\": [{{\"bucket\": \"{BUCKET}\"}}, {{\"key\": \"k\"}}]}}"
    ));
    let signature = signature_v2::mac(&policy);
    Form {
        fields: [
            ("key", "k"),
            ("AWSAccessKeyId", KEY),
            ("policy", &policy),
            ("signature", &signature),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        ..form(&[], "")
    }
}

impl Form {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.fields.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    fn message(&self) -> Vec<u8> {
        let part = |name: &str, more: &str, value: &str| {
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}"
            )
        };
        let fields = self.fields.iter();
        let mut parts: Vec<String> = fields
            .map(|(name, value)| part(name, "", value) + "\r\n")
            .collect();
        parts.push(part("file", "; filename=\"f.txt\"", ""));
        let message = parts.concat();
        [message.as_bytes(), &self.file, self.behind.as_bytes()].concat()
    }

    fn head(&self, server: &Server, more: &str) -> String {
        let length = self.length.unwrap_or_else(|| self.message().len());
        format!(
            "POST /{BUCKET} HTTP/1.1\r\nHost: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\
             Content-Length: {length}\r\n{more}\r\n",
            server.s3
        )
    }

    async fn post(&self, server: &Server) -> Response {
        let mut client = server.client().await;
        client.send(self.head(server, "")).await;
        client.send(self.message()).await;
        client.response().await
    }
}

async fn start(origin: &Origin) -> Server {
    Server::start(&Setup {
        storage: Some(origin.address),
        bucket: ", prefix = \"p/\"",
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn a_forms_file_is_stored_as_an_upload() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin).await;
    let fields = [
        ("key", "a/${filename}"),
        ("Content-Type", "text/x"),
        ("x-amz-meta-a", "1"),
        ("success_action_status", "201"),
    ];
    for size in [0, 1, 100, 65_536, 300_000] {
        let mut form = form(&fields, "");
        form.file = vec![b'x'; size];
        let stored = form.post(&server).await;
        assert_eq!(stored.status, 201, "{size}: {}", stored.text());
        assert!(
            stored.text().contains("<Key>a/f.txt</Key>"),
            "{}",
            stored.text()
        );
        let seen = origin.requests().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.complete), ("PUT", true));
        assert_eq!(seen.target, format!("/{UPSTREAM_BUCKET}/p/a/f.txt"));
        assert_eq!(seen.body, form.file);
        assert_eq!(
            (seen.header("content-type"), seen.header("x-amz-meta-a")),
            (Some("text/x"), Some("1"))
        );
        let own: Vec<_> = seen
            .headers
            .iter()
            .filter(|(name, value)| name.contains("success") || value.contains(KEY))
            .collect();
        assert!(own.is_empty(), "{own:?}");
    }
    // A button behind a file that ends soon, as browsers send it.
    let mut form = form(&fields, "");
    form.behind = format!(
        "\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUp{CLOSING}"
    );
    assert_eq!(form.post(&server).await.status, 201);
    assert_eq!(origin.requests().pop().unwrap().body, b"content");
}

/// Forms whose signature is not good.
fn not_signed() -> Vec<(Form, u16, &'static str)> {
    let key = [("key", "k")];
    let good = || form(&key, "");
    let other_policy =
        STANDARD.encode("{\"expiration\": \"2999-01-01T00:00:00Z\", \"conditions\": []}");
    vec![
        (
            good().with("x-amz-signature", &"0".repeat(64)),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            good().with("x-amz-signature", "short"),
            403,
            "SignatureDoesNotMatch",
        ),
        (good().with("x-amz-signature", ""), 400, "InvalidArgument"),
        (good().with("x-amz-date", ""), 400, "InvalidArgument"),
        (good().with("policy", ""), 400, "InvalidArgument"),
        (
            good().with("policy", &other_policy),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            good().with("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256"),
            400,
            "InvalidRequest",
        ),
        (
            good().with("x-amz-security-token", "token"),
            400,
            "InvalidToken",
        ),
        (good().with("AWSAccessKeyId", KEY), 400, "InvalidArgument"),
        (version_2(), 400, "InvalidRequest"),
    ]
}

/// Forms that are well signed and ask for what they may not.
fn not_allowed() -> Vec<(Form, u16, &'static str)> {
    let key = [("key", "k")];
    let good = || form(&key, "");
    vec![
        (
            good().with("success_action_status", "200"),
            403,
            "AccessDenied",
        ),
        (form(&[("key", ".aqueduct/x")], ""), 403, "AccessDenied"),
        (
            form(&[("key", "../../other/k")], ""),
            400,
            "InvalidArgument",
        ),
        (form(&[("key", "a/../k")], ""), 403, "AccessDenied"),
        (
            form(&[("key", "k"), ("x-amz-copy-source", "/media/k")], ""),
            400,
            "InvalidRequest",
        ),
        (
            form(&[("x", "")], ", [\"starts-with\", \"$key\", \"\"]"),
            400,
            "InvalidArgument",
        ),
        (
            form(&key, ", [\"eq\", \"$key\", \"other\"]"),
            403,
            "AccessDenied",
        ),
        (
            form(&key, ", [\"content-length-range\", 0, 6]"),
            400,
            "EntityTooLarge",
        ),
        (
            form(&key, ", [\"content-length-range\", 8, 9]"),
            400,
            "EntityTooSmall",
        ),
        (form(&key, ", {}"), 400, "InvalidPolicyDocument"),
    ]
}

#[tokio::test]
async fn forms_that_are_not_allowed_reach_nobody() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin).await;
    for (form, status, code) in not_signed().into_iter().chain(not_allowed()) {
        let answer = form.post(&server).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{:?}\n{}",
            form.fields,
            answer.text()
        );
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn heads_that_announce_no_good_form_reach_nobody() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin).await;
    let good = || form(&[("key", "k")], "");
    let mut anonymous = good();
    anonymous.fields = vec![("key".into(), "k".into())];
    assert_eq!(anonymous.post(&server).await.code(), "AccessDenied");
    let mut client = server.client().await;
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=x\r\n";
    client.send(good().head(&server, signed)).await;
    assert_eq!(client.response().await.status, 400);
    let mut client = server.client().await;
    let chunked = good()
        .head(&server, "")
        .replace("Content-Length: ", "Transfer-Encoding: chunked\r\nX-Was: ");
    client.send(chunked).await;
    let answer = client.response().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (411, "MissingContentLength")
    );
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_file_that_ends_otherwise_than_announced_is_not_stored() {
    let endless = vec![
        Step::ReadBody,
        Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ];
    let origin = Origin::always(endless).await;
    let server = start(&origin).await;
    let button = format!(
        "\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUp{CLOSING}"
    );
    for (number, behind) in [
        button.as_str(),
        "\r\n--form-of-a-test--",
        "no boundary at all, but long enough to be one",
    ]
    .into_iter()
    .enumerate()
    {
        let mut form = form(&[("key", "k")], "");
        form.file = vec![b'x'; 300_000];
        behind.clone_into(&mut form.behind);
        let answer = form.post(&server).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "MalformedPOSTRequest"),
            "{behind}"
        );
        origin
            .until("the connection to end", |seen| seen.ended > number)
            .await;
    }
    // The client leaves in the middle.
    let mut form = form(&[("key", "k")], "");
    form.file = vec![b'x'; 300_000];
    let mut client = server.client().await;
    client.send(form.head(&server, "")).await;
    client.send(&form.message()[..200_000]).await;
    origin
        .until("the upload to begin", |seen| seen.requests.len() == 4)
        .await;
    drop(client);
    origin
        .until("the upload to be reset", |seen| seen.ended == 4)
        .await;
    assert!(origin.requests().iter().all(|request| !request.complete));
    assert_eq!(origin.resets(), 4);
}

#[tokio::test]
async fn a_store_that_refuses_is_heard() {
    let origin = Origin::always(answer::error(403, "AccessDenied")).await;
    let server = start(&origin).await;
    let redirected = [("key", "k"), ("success_action_redirect", "http://a.b/")];
    let refused = form(&redirected, "").post(&server).await;
    assert_eq!((refused.status, refused.header("location")), (403, None));

    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin).await;
    let stored = form(&redirected, "").post(&server).await;
    let to = "http://a.b/?bucket=media&key=k&etag=%22e%22";
    assert_eq!((stored.status, stored.header("location")), (303, Some(to)));
    let mut client = server.client().await;
    let form = form(&[("key", "k")], "");
    client
        .send(form.head(&server, "Expect: 100-continue\r\n"))
        .await;
    assert_eq!(client.head().await.status, 100);
    client.send(form.message()).await;
    let stored = client.response().await;
    assert_eq!(stored.status, 204);
    let url = format!("http://{}/media/k", server.s3);
    assert_eq!(stored.header("location"), Some(url.as_str()));
}

/// SeaweedFS #9123: fields that no condition covered became headers of the upload.
#[tokio::test]
async fn seaweedfs_9123_no_field_counts_that_the_policy_does_not_cover() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin).await;
    for (name, value) in [
        ("acl", "public-read"),
        ("content-type", "text/html"),
        ("x-amz-meta-a", "1"),
        ("x-amz-storage-class", "GLACIER"),
        ("tagging", "<Tagging><TagSet/></Tagging>"),
        ("bucket", "other"),
    ] {
        let answer = form(&[("key", "k")], "")
            .with(name, value)
            .post(&server)
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "AccessDenied"),
            "{name}"
        );
    }
    // A second field of one name: the policy would be held against the one and the upload made with the other.
    let mut twice = form(&[("key", "k")], "");
    twice.fields.push(("KEY".into(), "other".into()));
    assert_eq!(twice.post(&server).await.code(), "InvalidArgument");
    assert!(origin.requests().is_empty());
}

/// versitygw eecc1a77: the key of a form was not checked as that of an upload is; nor the name that a file brings.
#[tokio::test]
async fn versitygw_eecc1a77_a_forms_key_is_checked_as_any_other() {
    let origin = Origin::always(answer::ok(b"")).await;
    let server = start(&origin).await;
    for key in [
        "../other/k",
        "a/../../k",
        "a/../k",
        "./k",
        ".aqueduct/k",
        "a\0b",
        "${filename}/../../k",
    ] {
        let answer = form(&[("key", key)], "").post(&server).await;
        assert!(matches!(answer.status, 400 | 403), "{key}: {answer:?}");
    }
    assert!(origin.requests().is_empty());
    // Of a file's name only the last part counts, however a browser writes it.
    for name in ["../../up/f.txt", "C:\\..\\f.txt", "/etc/f.txt"] {
        let form = form(&[("key", "in/${filename}")], "");
        let message = String::from_utf8(form.message()).unwrap();
        let message = message.replace("filename=\"f.txt\"", &format!("filename=\"{name}\""));
        let head = Form {
            length: Some(message.len()),
            ..form
        }
        .head(&server, "");
        let mut client = server.client().await;
        client.send(head).await;
        client.send(message).await;
        assert_eq!(client.response().await.status, 204, "{name}");
        let target = origin.requests().pop().unwrap().target;
        assert_eq!(target, format!("/{UPSTREAM_BUCKET}/p/in/f.txt"), "{name}");
    }
}
