use super::*;
use crate::error::Kind;
use crate::policy::route::Addressing;
use crate::storage::s3::tests_support::{bucket, owned};
use crate::storage::s3::upstream::UpstreamRequest;
use http::{HeaderMap, StatusCode};

const MD5_OF_BODY: &str = "\"841a2d689ad86bd1611447453c22c6fc\"";

fn map(headers: &[(&str, &str)]) -> HeaderMap {
    owned("GET", "/", headers).headers
}

/// What `check` gives for a copy of `from/src` in one bucket to `into/dst` in another.
fn with<T>(
    target: &str,
    headers: &[(&str, &str)],
    (source, to): (&Bucket, &Bucket),
    check: impl FnOnce(Result<&Transfer<'_>>) -> T,
) -> T {
    let mut all = vec![("x-amz-copy-source", "from/src")];
    all.extend(headers);
    let request = owned("PUT", target, &all);
    let op = request.decode().unwrap().without_body().unwrap();
    let transfer = Transfer::new(&op, &request.headers, source, to, 1 << 40);
    match transfer {
        Ok(transfer) => check(Ok(&transfer)),
        Err(error) => check(Err(error)),
    }
}

fn buckets() -> (Bucket, Bucket) {
    (
        bucket("from", "theirs", "own/", Addressing::Path),
        bucket("into", "ours", "", Addressing::Virtual),
    )
}

fn header<'a>(request: &'a UpstreamRequest, name: &str) -> Option<&'a str> {
    let found = request.head.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.to_str().unwrap())
}

#[test]
fn each_half_is_asked_in_its_own_names() {
    let (source, target) = buckets();
    with("/into/dst", &[], (&source, &target), |transfer| {
        let transfer = transfer.unwrap();
        let read = transfer.read().unwrap();
        assert_eq!(read.head.target, "/theirs/own/src");
        assert_eq!(header(&read, "x-amz-checksum-mode"), Some("ENABLED"));
        let found = map(&[("content-length", "4"), ("etag", MD5_OF_BODY)]);
        let found = transfer.found(StatusCode::OK, &found).unwrap();
        let (write, form, _) = transfer.write(&found, None).unwrap();
        assert_eq!(write.head.target, "/dst");
        assert_eq!(header(&write, "host"), Some("ours.store.internal"));
        assert_eq!(
            header(&write, "content-md5"),
            Some("hBotaJrYa9FhFEdFPCLG/A==")
        );
        assert_eq!((form.content_length, form.decoded_length), (4, 4));
    });
}

#[test]
fn keys_of_the_client_open_the_source_and_close_the_target() {
    let (source, target) = buckets();
    let headers = [
        (
            "x-amz-copy-source-server-side-encryption-customer-algorithm",
            "AES256",
        ),
        (
            "x-amz-copy-source-server-side-encryption-customer-key",
            "old",
        ),
        ("x-amz-server-side-encryption-customer-key", "new"),
    ];
    with("/into/dst", &headers, (&source, &target), |transfer| {
        let transfer = transfer.unwrap();
        let read = transfer.read().unwrap();
        let key = "x-amz-server-side-encryption-customer-key";
        assert_eq!(header(&read, key), Some("old"));
        let found = map(&[("content-length", "4")]);
        let found = transfer.found(StatusCode::OK, &found).unwrap();
        let (write, ..) = transfer.write(&found, None).unwrap();
        assert_eq!(header(&write, key), Some("new"));
    });
}

#[test]
fn only_an_etag_that_must_be_an_md5_is_taken_for_one() {
    for (headers, expected) in [
        (&[("etag", MD5_OF_BODY)][..], true),
        (&[("etag", "841A2D689AD86BD1611447453C22C6FC")], true),
        (
            &[
                ("etag", MD5_OF_BODY),
                ("x-amz-server-side-encryption", "AES256"),
            ],
            true,
        ),
        (
            &[
                ("etag", MD5_OF_BODY),
                ("x-amz-server-side-encryption", "aws:kms"),
            ],
            false,
        ),
        (
            &[
                ("etag", MD5_OF_BODY),
                ("x-amz-server-side-encryption", "aws:kms:dsse"),
            ],
            false,
        ),
        (
            &[
                ("etag", MD5_OF_BODY),
                ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ],
            false,
        ),
        (&[("etag", "\"841a2d689ad86bd1611447453c22c6fc-1\"")], false),
        (&[("etag", "W/\"841a2d689ad86bd1611447453c22c6fc\"")], false),
        (&[("etag", "\"841a2d689ad86bd1611447453c22c6f\"")], false),
        (&[("etag", "\"+41a2d689ad86bd1611447453c22c6fc\"")], false),
        (&[], false),
    ] {
        assert_eq!(md5_of(&map(headers)).is_some(), expected, "{headers:?}");
    }
}

#[test]
fn checksums_of_whole_objects_travel_and_those_of_parts_do_not() {
    let (source, target) = buckets();
    for (headers, expected) in [
        (
            &[("x-amz-checksum-crc32", "y/Q5Jg==")][..],
            Some("y/Q5Jg=="),
        ),
        (
            &[
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ],
            Some("y/Q5Jg=="),
        ),
        (
            &[
                ("x-amz-checksum-crc32", "y/Q5Jg=="),
                ("x-amz-checksum-type", "COMPOSITE"),
            ],
            None,
        ),
        (&[("x-amz-checksum-crc32", "y/Q5Jg==-2")], None),
    ] {
        with("/into/dst", &[], (&source, &target), |transfer| {
            let transfer = transfer.unwrap();
            let mut found = map(headers);
            found.insert("content-length", HeaderValue::from_static("9"));
            let found = transfer.found(StatusCode::OK, &found).unwrap();
            let (write, ..) = transfer.write(&found, None).unwrap();
            assert_eq!(
                header(&write, "x-amz-checksum-crc32"),
                expected,
                "{headers:?}"
            );
        });
    }
}

#[test]
fn a_copy_onto_itself_must_change_something() {
    let (source, _) = buckets();
    let other = bucket("other", "theirs", "", Addressing::Path);
    for (key, headers, refused) in [
        ("own/src", &[][..], true),
        ("own/src", &[("x-amz-metadata-directive", "REPLACE")], false),
        ("own/src", &[("x-amz-storage-class", "GLACIER")], false),
        (
            "own/src",
            &[("x-amz-copy-source", "from/src?versionId=1")],
            false,
        ),
        ("src", &[], false),
    ] {
        let target = format!("/other/{key}");
        let kind = |transfer: Result<&Transfer<'_>>| transfer.err().map(|error| error.kind());
        let headers: Vec<_> = headers.to_vec();
        let refusal = if let [("x-amz-copy-source", versioned)] = headers[..] {
            let request = owned("PUT", &target, &[("x-amz-copy-source", versioned)]);
            let op = request.decode().unwrap().without_body().unwrap();
            Transfer::new(&op, &request.headers, &source, &other, 1 << 40)
                .err()
                .map(|error| error.kind())
        } else {
            with(&target, &headers, (&source, &other), kind)
        };
        assert_eq!(
            refusal,
            refused.then_some(Kind::InvalidRequest),
            "{key} {headers:?}"
        );
    }
}

#[test]
fn sources_that_are_too_large_or_tell_too_little_are_refused() {
    let (source, target) = buckets();
    for (headers, expected) in [
        (&[("content-length", "5368709120")][..], None),
        (
            &[("content-length", "5368709121")],
            Some(Kind::InvalidRequest),
        ),
        (&[], Some(Kind::UpstreamBroken)),
        (
            &[("content-length", "4"), ("x-amz-missing-meta", "1")],
            Some(Kind::Unsupported),
        ),
    ] {
        with("/into/dst", &[], (&source, &target), |transfer| {
            let found = transfer.unwrap().found(StatusCode::OK, &map(headers));
            assert_eq!(
                found.err().map(|error| error.kind()),
                expected,
                "{headers:?}"
            );
        });
    }
}

#[test]
fn refusals_of_the_source_are_told_in_the_words_of_a_copy() {
    let (source, target) = buckets();
    let error =
        |code: &str| format!("<Error><Code>{code}</Code><Condition>If-Match</Condition></Error>");
    with("/into/dst", &[], (&source, &target), |transfer| {
        let transfer = transfer.unwrap();
        let refused = |status, code: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            transfer.refused(status, &HeaderMap::new(), error(code).as_bytes())
        };
        let archived = refused(403, "InvalidObjectState");
        assert_eq!(archived.code, "ObjectNotInActiveTierError");
        let condition = refused(412, "PreconditionFailed");
        assert_eq!(
            condition.details,
            [("Condition", "x-amz-copy-source-If-Match".to_owned())]
        );
        let gone = refused(404, "NoSuchKey");
        assert_eq!((gone.status.as_u16(), &*gone.code), (404, "NoSuchKey"));
        let unmodified = refused(304, "");
        assert_eq!(
            (unmodified.status.as_u16(), &*unmodified.code),
            (412, "PreconditionFailed")
        );
    });
}
