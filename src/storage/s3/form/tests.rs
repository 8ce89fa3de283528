use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use crate::message::body::{BodyStep, Chunks, End};
use crate::storage::s3::tests_support::owned;

const TYPE: &str = "multipart/form-data; boundary=bound";

/// A message with these fields, a file, and what comes behind it.
fn message(fields: &[(&str, &str)], file: &str, behind: &str) -> String {
    let parts: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            format!("--bound\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        })
        .collect();
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\f.txt\"\r\nContent-Type: a/b";
    format!("{}--bound\r\n{head}\r\n\r\n{file}{behind}", parts.concat())
}

const CLOSING: &str = "\r\n--bound--\r\n";

/// Reads a message in chunks of `size`, and what the store would get of its file.
fn read(content_type: &str, message: &str, size: usize) -> Result<(Fields, u64, String)> {
    let mut reader = FormReader::new(content_type.as_bytes(), message.len() as u64)?;
    let mut chunks = message.as_bytes().chunks(size);
    let mut enough = false;
    while !enough {
        let Some(chunk) = chunks.next() else { break };
        enough = reader.push(chunk)?;
    }
    let mut form = reader.finish(!enough)?;
    let mut out = Chunks::new();
    for chunk in chunks {
        form.file.push(Bytes::copy_from_slice(chunk), &mut out)?;
    }
    form.file.finish(End::Clean, &mut out)?;
    let file = String::from_utf8(out.concat()).unwrap();
    Ok((form.fields, form.file.length(), file))
}

#[test]
fn a_form_is_read_however_it_is_cut() {
    let fields = [
        ("Key", "a/${filename}"),
        ("x-amz-meta-a", "\r\n--boun"),
        ("policy", "${filename}"),
        ("empty", ""),
    ];
    for (file, behind) in [
        ("", CLOSING),
        ("content", CLOSING),
        ("\r\n--boun\r\n-bound\r\n", CLOSING),
        ("content", "\r\n--bound--"),
        (
            "content",
            "\r\n--bound\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n--bound--\r\n",
        ),
    ] {
        let message = message(&fields, file, behind);
        for size in (1..80).chain([message.len()]) {
            let (fields, length, read) = read(TYPE, &message, size).unwrap();
            let named: Vec<_> = fields.iter().collect();
            let expected = [
                ("key", "a/f.txt"),
                ("x-amz-meta-a", "\r\n--boun"),
                ("policy", "${filename}"),
                ("empty", ""),
            ];
            assert_eq!(named, expected, "by {size}");
            assert_eq!(
                (read.as_str(), length),
                (file, file.len() as u64),
                "by {size}"
            );
        }
    }
}

#[test]
fn a_long_file_is_what_the_message_leaves_for_it() {
    let file = "0123456789abcde\n".repeat(6000) + "end\r\n--boun";
    let with = |behind: &str| message(&[("key", "k")], &file, behind);
    for size in [1, 7, 1000, 65_536, 70_000, 200_000] {
        let (_, length, read) = read(TYPE, &with(CLOSING), size).unwrap();
        assert_eq!(
            (length, read == file),
            (file.len() as u64, true),
            "by {size}"
        );
    }
    for behind in [
        "\r\n--bound--",
        "\r\n--bound",
        "",
        "\r\n--bound\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n--bound--\r\n",
    ] {
        for size in [7, 1000, 70_000] {
            let kind = read(TYPE, &with(behind), size).unwrap_err().kind();
            assert_eq!(kind, Kind::MalformedForm, "{behind:?} by {size}");
        }
    }
}

#[test]
fn the_last_byte_is_held_until_the_message_has_ended_well() {
    const DELIMITER: &[u8] = b"\r\n--bound";
    for file in [
        "x",
        "0123456789",
        "0123456789abcdef\r\n--boun",
        "a\r\n--boundless",
    ] {
        for ending in ["\r\n--bound--\r\n", "\r\n--bound\r\nab", "more than enough"] {
            let ending = &ending[..CLOSING.len().min(ending.len())];
            let message = [file, ending].concat();
            for cut in 0..message.len() {
                let left = message.len() as u64;
                let ahead = Bytes::copy_from_slice(&message.as_bytes()[..cut]);
                let mut part = FilePart::streamed(ahead, DELIMITER, left).unwrap();
                let mut out = Chunks::new();
                let mut outcome = Ok(());
                for byte in &message.as_bytes()[cut..] {
                    let byte = Bytes::copy_from_slice(&[*byte]);
                    outcome = outcome.and_then(|()| part.push(byte, &mut out));
                }
                assert!(out.concat().len() < file.len(), "{message:?} at {cut}");
                outcome = outcome.and_then(|()| part.finish(End::Clean, &mut out));
                let good = ending == CLOSING && !file.contains("--bound");
                assert_eq!(outcome.is_ok(), good, "{message:?} at {cut}");
                if good {
                    assert_eq!(out.concat(), file.as_bytes());
                } else {
                    assert!(out.concat().len() < file.len());
                }
            }
        }
    }
}

#[test]
fn what_is_no_form_is_refused() {
    let part = |head: &str| format!("--bound\r\n{head}\r\n\r\nv\r\n--bound--\r\n");
    let many =
        "--bound\r\nContent-Disposition: form-data; name=\"x-ignore-a\"\r\n\r\n\r\n".repeat(201);
    let long = message(&[("key", &"k".repeat(FIELDS_BYTES_MAX))], "f", CLOSING);
    for (content_type, message, expected) in [
        ("multipart/form-data", String::new(), Kind::MalformedForm),
        (
            "multipart/form-data; boundary=",
            String::new(),
            Kind::MalformedForm,
        ),
        (
            "multipart/form-data; boundary=\"\u{e9}\"",
            String::new(),
            Kind::MalformedForm,
        ),
        (TYPE, String::new(), Kind::MalformedForm),
        (TYPE, "--other\r\n".into(), Kind::MalformedForm),
        (TYPE, "--boundless\r\n".into(), Kind::MalformedForm),
        (TYPE, "--bound--\r\n".into(), Kind::FormWithoutFile),
        (
            TYPE,
            part("Content-Disposition: form-data; name=\"key\""),
            Kind::FormWithoutFile,
        ),
        (
            TYPE,
            part("Content-Disposition: form-data"),
            Kind::MalformedForm,
        ),
        (
            TYPE,
            part("Content-Disposition: attachment; name=\"key\""),
            Kind::MalformedForm,
        ),
        (
            TYPE,
            part("Content-Disposition: form-data; name=a; name=b"),
            Kind::MalformedForm,
        ),
        (TYPE, part("Content-Type: text/plain"), Kind::MalformedForm),
        (TYPE, part("no colon"), Kind::MalformedForm),
        (
            TYPE,
            message(&[("key", "a"), ("KEY", "b")], "f", CLOSING),
            Kind::InvalidArgument,
        ),
        (
            TYPE,
            message(&[("key", "a")], "f", "\r\n--boundless"),
            Kind::MalformedForm,
        ),
        (TYPE, message(&[("key", "a")], "f", ""), Kind::MalformedForm),
        (TYPE, long, Kind::FormTooLarge),
        (TYPE, many + "--bound--", Kind::FormTooLarge),
    ] {
        for size in [1000, message.len().max(1)] {
            let kind = read(content_type, &message, size)
                .map(|_| ())
                .map_err(|error| error.kind());
            assert_eq!(kind, Err(expected), "{content_type} {message:.100}");
        }
    }
}

#[test]
fn names_of_files_come_in_many_forms() {
    for (parameter, expected) in [
        ("filename=\"a b;c.txt\"", "a b;c.txt"),
        ("filename=plain.txt", "plain.txt"),
        ("filename=\"/home/u/f\"", "f"),
        ("filename=\"a\\\"b%22c\"", "a\"b\"c"),
        ("filename=\"x\"; filename*=UTF-8''%C3%BC.txt", "\u{fc}.txt"),
        ("filename=\"\u{fc}.txt\"", "\u{fc}.txt"),
        ("", ""),
    ] {
        let head = format!("Content-Disposition: form-data; name=file; {parameter}");
        let key =
            "--bound\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n<${filename}>\r\n";
        let message = format!("\r\n{key}--bound\r\n{head}\r\n\r\nf{CLOSING}");
        let (fields, ..) = read(
            "Multipart/Form-Data; charset=x; boundary=\"bound\"",
            &message,
            9,
        )
        .unwrap();
        assert_eq!(
            fields.field("key"),
            Some(format!("<{expected}>").as_str()),
            "{parameter}"
        );
    }
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in pairs {
        fields
            .push((*name).to_owned(), (*value).to_owned())
            .unwrap();
    }
    fields
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn policy(conditions: &str) -> String {
    STANDARD.encode(format!(
        "{{\"expiration\": \"2026-01-02T00:00:00.000Z\", \"conditions\": {conditions}}}"
    ))
}

#[test]
fn policies_that_cannot_be_read_are_refused() {
    let whole = |text: &str| STANDARD.encode(text);
    for text in [
        String::new(),
        "***".into(),
        whole("{}"),
        whole("{\"expiration\": \"soon\", \"conditions\": [{\"a\": \"b\"}]}"),
        whole("{\"expiration\": \"2026-01-02T00:00:00\", \"conditions\": [{\"a\": \"b\"}]}"),
        whole("{\"EXPIRATION\": \"2026-01-02T00:00:00Z\", \"conditions\": [{\"a\": \"b\"}]}"),
        whole("{\"expiration\": \"2026-01-02T00:00:00Z\"}"),
        whole(
            "{\"expiration\": \"2026-01-02T00:00:00Z\", \"conditions\": [{\"a\": \"b\"}], \"more\": 1}",
        ),
        policy("[]"),
        policy("[{}]"),
        policy("[{\"a\": \"b\", \"c\": \"d\"}]"),
        policy("[{\"a\": 1}]"),
        policy("[\"a\"]"),
        policy("[[\"eq\", \"$a\"]]"),
        policy("[[\"eq\", \"a\", \"b\"]]"),
        policy("[[\"matches\", \"$a\", \"b\"]]"),
        policy("[[\"content-length-range\", 1]]"),
        policy("[[\"content-length-range\", -1, 1]]"),
        policy("[[\"content-length-range\", \"a\", 1]]"),
        policy(&format!("[{}]", vec!["{\"a\": \"b\"}"; 201].join(","))),
    ] {
        let kind = Policy::parse(&text).map_err(|error| error.kind());
        assert_eq!(kind, Err(Kind::InvalidPolicy), "{text}");
    }
}

type Field = (&'static str, &'static str);

/// More conditions, one more field, and why that is refused.
const HELD: &[(&str, Option<Field>, Option<&str>)] = &[
    ("", None, None),
    (", {\"acl\": \"private\"}", Some(("acl", "private")), None),
    (
        ", {\"acl\": \"private\"}",
        Some(("acl", "Private")),
        Some("Condition failed: [\"eq\", \"$acl\", \"private\"]"),
    ),
    (
        ", {\"acl\": \"private\"}",
        None,
        Some("Condition failed: [\"eq\", \"$acl\", \"private\"]"),
    ),
    (
        "",
        Some(("acl", "private")),
        Some("Extra input fields: acl"),
    ),
    (
        "",
        Some(("x-amz-date", "d")),
        Some("Extra input fields: x-amz-date"),
    ),
    (
        ", [\"starts-with\", \"$x-amz-meta-a\", \"\"]",
        Some(("x-amz-meta-a", "any")),
        None,
    ),
    (
        ", [\"starts-with\", \"$Content-Type\", \"image/\"]",
        Some(("content-type", "image/png, image/gif")),
        None,
    ),
    (
        ", [\"starts-with\", \"$Content-Type\", \"image/\"]",
        Some(("content-type", "image/png,text/html")),
        Some("Condition failed: [\"starts-with\", \"$content-type\", \"image/\"]"),
    ),
    (
        ", [\"eq\", \"$name\", \"\\$a\\\\$b\"]",
        Some(("name", "$a\\$b")),
        None,
    ),
    (
        ", {\"bucket\": \"other\"}",
        None,
        Some("Condition failed: [\"eq\", \"$bucket\", \"other\"]"),
    ),
    (
        "",
        Some(("bucket", "other")),
        Some("Condition failed: the bucket is another one."),
    ),
    ("", Some(("bucket", "bkt")), None),
];

const BASE: &str = "{\"BUCKET\": \"bkt\"}, [\"StArTs-WiTh\", \"$kEy\", \"up/\"]";
const ALLOWED: [(&str, &str); 4] = [
    ("key", "up/k"),
    ("policy", "p"),
    ("x-amz-signature", "s"),
    ("x-ignore-a", "1"),
];

#[test]
fn every_field_is_held_against_the_policy() {
    for (conditions, more, refused) in HELD {
        let policy = Policy::parse(&policy(&format!("[{BASE}{conditions}]"))).unwrap();
        let pairs: Vec<_> = ALLOWED.into_iter().chain(*more).collect();
        let outcome = policy.check(&fields(&pairs), "bkt", now());
        let message = outcome.map_err(|error| (error.kind(), error.message().to_owned()));
        let expected = refused.map_or(Ok(()), |why| {
            let policy = if why.starts_with("Condition") {
                "Policy "
            } else {
                ""
            };
            Err((
                Kind::AccessDenied,
                format!("Invalid according to Policy: {policy}{why}"),
            ))
        });
        assert_eq!(message, expected, "{conditions} {more:?}");
    }
}

#[test]
fn bucket_and_key_need_a_condition_and_policies_expire() {
    for (conditions, name) in [
        ("[{\"bucket\": \"bkt\"}]", "key"),
        ("[[\"starts-with\", \"$key\", \"\"]]", "bucket"),
    ] {
        let outcome =
            Policy::parse(&policy(conditions))
                .unwrap()
                .check(&fields(&ALLOWED), "bkt", now());
        assert!(
            outcome
                .unwrap_err()
                .message()
                .ends_with(&format!("Extra input fields: {name}"))
        );
    }
    let policy = Policy::parse(&policy(&format!("[{BASE}]"))).unwrap();
    for (at, good) in [
        ("2026-01-01T23:59:59Z", true),
        ("2026-01-02T00:00:00Z", false),
    ] {
        let outcome = policy.check(&fields(&ALLOWED), "bkt", at.parse().unwrap());
        assert_eq!(outcome.is_ok(), good, "{at}");
    }
}

#[test]
fn the_length_is_held_against_the_policy() {
    let policy = Policy::parse(&policy(
        "[[\"content-length-range\", 1, \"10\"], [\"content-length-range\", 0, 5]]",
    ));
    let policy = policy.unwrap();
    for (length, expected) in [
        (0, Some(Kind::BodyTooSmall)),
        (1, None),
        (5, None),
        (6, Some(Kind::BodyTooLarge)),
        (11, Some(Kind::BodyTooLarge)),
    ] {
        let kind = policy.check_length(length).err().map(|error| error.kind());
        assert_eq!(kind, expected, "{length}");
    }
}

fn form(pairs: &[(&str, &str)]) -> Form {
    Form {
        fields: fields(pairs),
        file: FilePart::whole("12345".into()),
    }
}

fn posted(target: &str, host: &str) -> crate::storage::s3::tests_support::Owned {
    let mut post = owned(
        "POST",
        target,
        &[("content-type", TYPE), ("x-amz-acl", "public-read")],
    );
    post.host = host.to_owned();
    post
}

#[test]
fn forms_are_posts_of_their_type_to_a_bucket() {
    for (method, target, host, content_type, expected) in [
        ("POST", "/bkt", "h", TYPE, Some("bkt")),
        ("POST", "/bkt/", "h", TYPE, Some("bkt")),
        (
            "POST",
            "/",
            "bkt.s3.example.com",
            "MULTIPART/form-data;boundary=b",
            Some("bkt"),
        ),
        ("POST", "/bkt?delete", "h", TYPE, None),
        ("POST", "/bkt/key", "h", TYPE, None),
        ("POST", "/", "h", TYPE, None),
        ("POST", "/bkt", "h", "multipart/form-database", None),
        ("POST", "/bkt", "h", "application/xml", None),
        ("PUT", "/bkt", "h", TYPE, None),
    ] {
        let mut request = owned(method, target, &[("content-type", content_type)]);
        request.host = host.to_owned();
        let to = destination(&request.arrival()).unwrap();
        assert_eq!(
            to.as_ref().map(|to| &*to.bucket),
            expected,
            "{method} {target} {content_type}"
        );
    }
}

#[test]
fn a_form_becomes_the_upload_that_it_stands_for() {
    let form = form(&[
        ("key", "a b/\u{fc}?#.txt"),
        ("policy", "p"),
        ("x-amz-date", "d"),
        ("x-amz-signature", "s"),
        ("content-type", "text/plain"),
        ("x-amz-meta-a", "1"),
        ("x-amz-content-sha256", "dropped"),
        (
            "tagging",
            "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>",
        ),
        ("success_action_status", "201"),
        ("submit", "Upload"),
        ("expires", ""),
    ]);
    for (target, host) in [("/bkt", "h"), ("/", "bkt.s3.example.com")] {
        let post = posted(target, host);
        let to = destination(&post.arrival()).unwrap().unwrap();
        let (request, headers) = form.request(&post.arrival(), &to).unwrap();
        assert_eq!(
            (request.bucket(), request.key()),
            (Some("bkt"), Some("a b/\u{fc}?#.txt"))
        );
        assert_eq!(request.access(), crate::keys::Access::Write);
        let mut named: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        named.sort_unstable();
        let expected = [
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("x-amz-meta-a", "1"),
            ("x-amz-tagging", "a%20b=1%262&c="),
        ];
        assert_eq!(named, expected, "{target}");
    }
}

#[test]
fn forms_ask_for_no_more_than_an_upload() {
    let post = posted("/bkt", "h");
    let to = destination(&post.arrival()).unwrap().unwrap();
    let outcome = |pairs: &[(&str, &str)]| {
        let made = form(pairs).request(&post.arrival(), &to);
        made.map(|(request, _)| request.access())
            .map_err(|error| error.kind())
    };
    use crate::keys::Access;
    for (key, field, value, expected) in [
        ("k", "acl", "private", Ok(Access::Write)),
        ("k", "acl", "public-read", Ok(Access::Admin)),
        ("k", "x-amz-grant-read", "id=1", Ok(Access::Admin)),
        (
            "k",
            "x-amz-object-lock-mode",
            "GOVERNANCE",
            Ok(Access::Admin),
        ),
        (
            "k",
            "x-amz-copy-source",
            "/other/k",
            Err(Kind::InvalidRequest),
        ),
        ("k", "x-amz-unheard-of", "1", Err(Kind::Unsupported)),
        (
            "k",
            "x-amz-meta-a",
            "1\r\nhost: b",
            Err(Kind::InvalidArgument),
        ),
        ("k", "tagging", "a=b", Err(Kind::MalformedBody)),
        ("", "x", "", Err(Kind::InvalidArgument)),
        ("../k", "x", "", Err(Kind::InvalidArgument)),
        (".aqueduct/k", "x", "", Err(Kind::AccessDenied)),
        ("k\0", "x", "", Err(Kind::InvalidArgument)),
    ] {
        assert_eq!(
            outcome(&[("key", key), (field, value)]),
            expected,
            "{key:?} {field}"
        );
    }
}

/// Status, `Location` and body of the answer to a form with one more field.
fn answered(field: (&str, &str)) -> (u16, String, String) {
    let post = posted("/bkt", "h:1");
    let to = destination(&post.arrival()).unwrap().unwrap();
    let form = form(&[("key", "a/k&1"), field]);
    let (request, _) = form.request(&post.arrival(), &to).unwrap();
    let etag = (
        HeaderName::from_static("etag"),
        HeaderValue::from_static("\"e\""),
    );
    let shown = [etag, (CONTENT_LENGTH, HeaderValue::from(0))];
    let reply = reply(
        &form.fields,
        &request,
        shown.into_iter().collect(),
        "h:1",
        false,
    );
    assert!(reply.headers.iter().any(|(name, _)| name == "etag"));
    let mut locations = reply.headers.iter().filter(|(name, _)| name == "location");
    let location = locations.next().unwrap().1.to_str().unwrap().to_owned();
    let body = String::from_utf8(reply.body.to_vec()).unwrap();
    (reply.status.as_u16(), location, body)
}

#[test]
fn the_browser_is_answered_as_it_asked() {
    let url = "http://h:1/bkt/a/k%261";
    let stored = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{url}</Location><Bucket>bkt</Bucket>\
         <Key>a/k&amp;1</Key><ETag>&quot;e&quot;</ETag></PostResponse>"
    );
    let query = "bucket=bkt&key=a%2Fk%261&etag=%22e%22";
    for (name, value, status, location, body) in [
        ("x", "", 204, url.to_owned(), ""),
        ("success_action_status", "200", 200, url.to_owned(), ""),
        (
            "success_action_status",
            "201",
            201,
            url.to_owned(),
            stored.as_str(),
        ),
        ("success_action_status", "404", 204, url.to_owned(), ""),
        (
            "success_action_redirect",
            "https://a.b/c",
            303,
            format!("https://a.b/c?{query}"),
            "",
        ),
        (
            "success_action_redirect",
            "http://a.b/?x=1#f",
            303,
            format!("http://a.b/?x=1&{query}"),
            "",
        ),
        (
            "redirect",
            "http://a.b/",
            303,
            format!("http://a.b/?{query}"),
            "",
        ),
        (
            "success_action_redirect",
            "javascript:alert(1)",
            204,
            url.to_owned(),
            "",
        ),
        (
            "success_action_redirect",
            "http://a.b/\r\nx: y",
            204,
            url.to_owned(),
            "",
        ),
        (
            "success_action_redirect",
            "/relative",
            204,
            url.to_owned(),
            "",
        ),
    ] {
        let answer = answered((name, value));
        assert_eq!(
            answer,
            (status, location, body.to_owned()),
            "{name}: {value}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_message_is_answered_without_a_panic(
        message in proptest::collection::vec(
            proptest::sample::select(vec!["--b", "\r\n", "--", "Content-Disposition: form-data; name=", "file", "\"", ";", "=", "x", ": "]),
            0..40,
        ),
        size in 1usize..50,
    ) {
        let message = message.concat();
        let _ = read("multipart/form-data; boundary=b", &message, size);
        let _ = Policy::parse(&STANDARD.encode(&message));
    }
}
