use http::header::{CONTENT_LENGTH, CONTENT_RANGE};

use super::*;
use crate::policy::route::Addressing;
use crate::storage::condition::Span;
use crate::storage::object::{Checksum, ETag, ObjectMeta, Tags, VersionId};
use crate::storage::reply::{
    Deleted, DeletedEntry, ListedObject, ListedState, NotModified, ObjectHead, ObjectPage,
};
use crate::storage::s3::canonical;
use crate::storage::s3::tests_support::{bucket, owned};

type Header<'a> = (&'a str, &'a str);

/// The answer to a request whose outcome is known.
fn answered(
    method: &str,
    target: &str,
    headers: &[Header<'_>],
    document: Option<&str>,
    outcome: Result<Reply>,
) -> Result<Answer, Failure> {
    let owned = owned(method, target, headers);
    let request = owned.decode().unwrap();
    let op = match document {
        Some(document) => request.with_body(document.to_owned().into()).unwrap(),
        None => request.without_body().unwrap(),
    };
    let operation = canonical::operation(&op, &owned.headers, Some(5)).unwrap();
    let bucket = bucket("bucket", "own", "", Addressing::Path);
    answer(
        &Asked {
            op: &op,
            headers: &owned.headers,
            operation: &operation,
            bucket: &bucket,
            owner: "owner",
            url: "http://host/bucket/k",
        },
        outcome,
    )
}

fn body(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.message.body).unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut headers = answer.message.headers.iter();
    let (_, value) = headers.find(|(known, _)| *known == name)?;
    value.to_str().ok()
}

fn meta() -> ObjectMeta {
    let etag = ETag::parse("900150983cd24fb0d6963f7d28e17f72").unwrap();
    let mut meta = ObjectMeta::new(10, etag, "2013-05-24T00:00:00Z".parse().unwrap());
    meta.content.media_type = Some(HeaderValue::from_static("text/plain"));
    meta.user.insert("plain", "v").unwrap();
    meta.user.insert("text", "\u{e4}").unwrap();
    meta.class = Some(StorageClass::Cool);
    meta.tag_count = 2;
    meta.checksums = vec![StoredChecksum {
        checksum: Checksum::parse_base64(ChecksumKind::Crc32c, "yZRlqg==").unwrap(),
        extent: Extent::Whole,
    }];
    meta
}

fn object(meta: ObjectMeta, span: Option<Span>) -> Reply {
    Reply::Object(Box::new(ObjectHead { meta, span }))
}

#[test]
fn an_objects_head_is_that_of_s3() {
    let asked = [("x-amz-checksum-mode", "ENABLED")];
    let answer = answered("GET", "/bucket/k", &asked, None, Ok(object(meta(), None))).unwrap();
    assert_eq!(answer.body, AnswerBody::Forward);
    for (name, value) in [
        ("content-length", "10"),
        ("accept-ranges", "bytes"),
        ("etag", "\"900150983cd24fb0d6963f7d28e17f72\""),
        ("last-modified", "Fri, 24 May 2013 00:00:00 GMT"),
        ("content-type", "text/plain"),
        ("x-amz-meta-plain", "v"),
        ("x-amz-meta-text", "=?UTF-8?B?w6Q=?="),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging-count", "2"),
        ("x-amz-checksum-crc32c", "yZRlqg=="),
        ("x-amz-checksum-type", "FULL_OBJECT"),
    ] {
        assert_eq!(header(&answer, name), Some(value), "{name}");
    }
    let unasked = answered("HEAD", "/bucket/k", &[], None, Ok(object(meta(), None))).unwrap();
    assert_eq!(unasked.body, AnswerBody::None);
    assert_eq!(header(&unasked, CONTENT_LENGTH.as_str()), Some("10"));
    assert_eq!(header(&unasked, "x-amz-checksum-crc32c"), None);
}

#[test]
fn a_range_tells_its_place_and_no_checksum_of_the_whole() {
    let span = Some(Span { first: 2, last: 4 });
    let asked = [("range", "bytes=2-4"), ("x-amz-checksum-mode", "ENABLED")];
    let answer = answered("GET", "/bucket/k", &asked, None, Ok(object(meta(), span))).unwrap();
    assert_eq!(answer.message.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&answer, CONTENT_LENGTH.as_str()), Some("3"));
    assert_eq!(
        header(&answer, CONTENT_RANGE.as_str()),
        Some("bytes 2-4/10")
    );
    assert_eq!(header(&answer, "x-amz-checksum-crc32c"), None);
}

#[test]
fn what_the_client_wants_shown_is_shown() {
    let target = "/bucket/k?response-content-type=a%2Fb&response-cache-control=none";
    let answer = answered("GET", target, &[], None, Ok(object(meta(), None))).unwrap();
    assert_eq!(header(&answer, "content-type"), Some("a/b"));
    assert_eq!(header(&answer, "cache-control"), Some("none"));
}

#[test]
fn failures_are_s3s_own() {
    let failed = |method: &str, target: &str, kind: Kind| {
        answered(method, target, &[], None, Err(Error::new(kind, "m")))
    };
    for (kind, status, code) in [
        (Kind::ObjectNotFound, 404, "NoSuchKey"),
        (Kind::BucketNotFound, 404, "NoSuchBucket"),
        (Kind::PreconditionFailed, 412, "PreconditionFailed"),
        (Kind::InvalidRange, 416, "InvalidRange"),
        (Kind::ObjectArchived, 403, "InvalidObjectState"),
        (Kind::UpstreamAuth, 403, "AccessDenied"),
        (Kind::Overloaded, 503, "SlowDown"),
        (Kind::UpstreamUnavailable, 503, "ServiceUnavailable"),
        (Kind::Unsupported, 501, "NotImplemented"),
        (Kind::InvalidPart, 400, "InvalidPart"),
        (Kind::InvalidPartOrder, 400, "InvalidPartOrder"),
        (Kind::BodyTooSmall, 400, "EntityTooSmall"),
        (Kind::BodyTooLarge, 400, "EntityTooLarge"),
        (Kind::DigestMismatch, 400, "BadDigest"),
        (Kind::InvalidDigest, 400, "InvalidDigest"),
        (Kind::UploadNotFound, 404, "NoSuchUpload"),
        (Kind::BucketNotEmpty, 409, "BucketNotEmpty"),
        (Kind::BucketTaken, 409, "BucketAlreadyExists"),
        (Kind::MetadataTooLarge, 400, "MetadataTooLarge"),
        (Kind::InvalidTag, 400, "InvalidTag"),
        (Kind::KeyTooLong, 400, "KeyTooLongError"),
        (Kind::Conflict, 409, "OperationAborted"),
    ] {
        let failure = failed("GET", "/bucket/k", kind).unwrap_err();
        assert_eq!((failure.status.as_u16(), &*failure.code), (status, code));
    }
    let gone = failed("DELETE", "/bucket/k", Kind::ObjectNotFound).unwrap();
    assert_eq!(gone.message.status, StatusCode::NO_CONTENT);
    assert!(failed("DELETE", "/bucket/k", Kind::BucketNotFound).is_err());
    let error = Error::new(Kind::PreconditionFailed, "m").with_param("If-Match");
    let failure = answered("PUT", "/bucket/k", &[], None, Err(error)).unwrap_err();
    assert_eq!(failure.details, [("Condition", "If-Match".to_owned())]);
}

#[test]
fn a_reader_that_has_it_gets_its_validators() {
    let reply = Reply::NotModified(Box::new(NotModified {
        etag: ETag::parse("aa"),
        last_modified: None,
    }));
    let answer = answered("GET", "/bucket/k", &[], None, Ok(reply)).unwrap();
    assert_eq!(answer.message.status, StatusCode::NOT_MODIFIED);
    assert_eq!(
        (header(&answer, "etag"), answer.body),
        (Some("\"aa\""), AnswerBody::None)
    );
}

fn page(next: Option<&str>) -> Reply {
    let entry = |key: &str| ListedObject {
        key: key.into(),
        state: ListedState::Stored {
            size: 3,
            etag: ETag::parse("aa").unwrap(),
            class: None,
        },
        last_modified: "2013-05-24T00:00:00Z".parse().unwrap(),
        version: None,
        is_latest: true,
    };
    Reply::Objects(ObjectPage {
        entries: vec![entry("a b"), entry("c<")],
        prefixes: vec!["p/".into()],
        next: next.map(Box::from),
        resume: None,
    })
}

#[test]
fn each_listing_has_its_own_form() {
    let list = |query: &str, next| {
        let target = format!("/bucket{query}");
        let answer = answered("GET", &target, &[], None, Ok(page(next))).unwrap();
        body(&answer).to_owned()
    };
    for (query, next, there, not_there) in [
        (
            "?list-type=2&delimiter=/&max-keys=3&start-after=0",
            Some("t<"),
            &[
                "<MaxKeys>3</MaxKeys>",
                "<KeyCount>3</KeyCount>",
                "<IsTruncated>true</IsTruncated>",
                "<NextContinuationToken>t&lt;</NextContinuationToken>",
                "<StartAfter>0</StartAfter>",
                "<Delimiter>/</Delimiter>",
                "<Key>c&lt;</Key>",
                "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>",
                "<StorageClass>STANDARD</StorageClass>",
            ][..],
            &["<Owner>", "NextMarker", "EncodingType"][..],
        ),
        (
            "?list-type=2&fetch-owner=true&encoding-type=url",
            None,
            &[
                "<Owner><ID>owner</ID>",
                "<Key>a%20b</Key>",
                "<EncodingType>url</EncodingType>",
            ],
            &["NextContinuationToken"],
        ),
        (
            "?delimiter=/&marker=0",
            Some("t"),
            &[
                "<Marker>0</Marker>",
                "<NextMarker>p/</NextMarker>",
                "<Owner>",
            ],
            &["KeyCount", "NextContinuationToken"],
        ),
        ("", Some("t"), &["<Marker></Marker>"], &["NextMarker"]),
        (
            "?versions",
            Some("t"),
            &[
                "<ListVersionsResult",
                "<Version><Key>a b</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>",
                "<NextKeyMarker>p/</NextKeyMarker>",
            ],
            &["<Contents>", "NextVersionIdMarker"],
        ),
    ] {
        let document = list(query, next);
        for text in there {
            assert!(document.contains(text), "{query}: {text} in\n{document}");
        }
        for text in not_there {
            assert!(!document.contains(text), "{query}: {text} in\n{document}");
        }
    }
}

#[test]
fn a_page_of_nothing_asks_nobody() {
    let owned = owned("GET", "/bucket?list-type=2&max-keys=0", &[]);
    let op = owned.decode().unwrap().without_body().unwrap();
    let operation = canonical::operation(&op, &owned.headers, None).unwrap();
    let bucket = bucket("bucket", "own", "", Addressing::Path);
    let asked = Asked {
        op: &op,
        headers: &owned.headers,
        operation: &operation,
        bucket: &bucket,
        owner: "owner",
        url: "",
    };
    let message = unasked(&asked).unwrap();
    let text = std::str::from_utf8(&message.body).unwrap();
    assert!(text.contains("<IsTruncated>false</IsTruncated>"), "{text}");
    assert!(text.contains("<MaxKeys>0</MaxKeys>"), "{text}");
}

#[test]
fn a_quiet_batch_tells_of_failures_alone() {
    let outcomes = || {
        let entry = |key: &str, outcome| DeletedEntry {
            key: key.into(),
            version: Some(VersionId("null".into())),
            outcome,
        };
        Ok(Reply::DeletedMany(vec![
            entry("a", Ok(Deleted::default())),
            entry("b", Err(Error::new(Kind::ObjectNotFound, "m"))),
            entry("c", Err(Error::new(Kind::AccessDenied, "m"))),
        ]))
    };
    let delete = |quiet: &str| {
        let document =
            format!("<Delete><Quiet>{quiet}</Quiet><Object><Key>a</Key></Object></Delete>");
        let answer = answered("POST", "/bucket?delete", &[], Some(&document), outcomes());
        body(&answer.unwrap()).to_owned()
    };
    let loud = delete("false");
    assert!(
        loud.contains("<Deleted><Key>a</Key><VersionId>null</VersionId></Deleted>"),
        "{loud}"
    );
    assert!(loud.contains("<Deleted><Key>b</Key>"), "{loud}");
    let failed = "<Error><Key>c</Key><VersionId>null</VersionId><Code>AccessDenied</Code>";
    assert!(loud.contains(failed), "{loud}");
    let quiet = delete("true");
    assert!(
        !quiet.contains("<Deleted>") && quiet.contains(failed),
        "{quiet}"
    );
}

#[test]
fn uploads_are_answered_by_their_documents() {
    let etag = || ETag::parse("aa-2").unwrap();
    let started = answered(
        "POST",
        "/bucket/k?uploads",
        &[("x-amz-checksum-algorithm", "CRC32")],
        None,
        Ok(Reply::Upload("an id".into())),
    )
    .unwrap();
    assert!(
        body(&started).contains("<Bucket>bucket</Bucket><Key>k</Key><UploadId>an id</UploadId>")
    );
    assert_eq!(header(&started, "x-amz-checksum-algorithm"), Some("CRC32"));
    assert_eq!(header(&started, "x-amz-checksum-type"), Some("COMPOSITE"));
    let stored = || Ok(Reply::Stored(Box::new(Stored::new(etag()))));
    let part = answered(
        "PUT",
        "/bucket/k?partNumber=1&uploadId=u",
        &[],
        None,
        stored(),
    )
    .unwrap();
    assert_eq!(header(&part, "etag"), Some("\"aa-2\""));
    let document = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>";
    let done = answered(
        "POST",
        "/bucket/k?uploadId=u",
        &[],
        Some(document),
        stored(),
    )
    .unwrap();
    assert!(body(&done).contains("<Location>http://host/bucket/k</Location>"));
    assert!(body(&done).contains("<ETag>&quot;aa-2&quot;</ETag>"));
    assert_eq!(header(&done, "etag"), None);
    let gone = answered("DELETE", "/bucket/k?uploadId=u", &[], None, Ok(Reply::Done)).unwrap();
    assert_eq!(gone.message.status, StatusCode::NO_CONTENT);
}

#[test]
fn copies_are_told_when_they_were_made() {
    let mut stored = Stored::new(ETag::parse("aa").unwrap());
    stored.last_modified = Some("2013-05-24T00:00:00Z".parse().unwrap());
    let reply = Reply::Copied(Box::new(Copied {
        stored,
        source_version: Some(VersionId("7".into())),
    }));
    let source = [("x-amz-copy-source", "/bucket/from")];
    let answer = answered("PUT", "/bucket/k", &source, None, Ok(reply)).unwrap();
    assert!(body(&answer).contains(
        "<CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LastModified>2013-05-24T00:00:00.000Z</LastModified><ETag>&quot;aa&quot;</ETag>"
    ));
    assert_eq!(header(&answer, "x-amz-copy-source-version-id"), Some("7"));
}

#[test]
fn what_was_never_configured_is_answered_as_s3_does() {
    let found = || Ok(Reply::Bucket(BucketInfo::default()));
    let get = |query: &str| answered("GET", &format!("/bucket?{query}"), &[], None, found());
    for (query, text) in [
        ("acl", "<Permission>FULL_CONTROL</Permission>"),
        ("versioning", "<VersioningConfiguration"),
        ("encryption", "<SSEAlgorithm>AES256</SSEAlgorithm>"),
        ("location", "<LocationConstraint"),
        ("requestPayment", "<Payer>BucketOwner</Payer>"),
    ] {
        let answer = get(query).unwrap();
        assert!(body(&answer).contains(text), "{query}: {}", body(&answer));
    }
    for (query, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("cors", "NoSuchCORSConfiguration"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("tagging", "NoSuchTagSet"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
    ] {
        let failure = get(query).unwrap_err();
        assert_eq!((failure.status.as_u16(), &*failure.code), (404, code));
    }
    let missing = Err(Error::new(Kind::BucketNotFound, "m"));
    let failure = answered("GET", "/bucket?policy", &[], None, missing).unwrap_err();
    assert_eq!(failure.code, "NoSuchBucket");
    let head = answered("HEAD", "/bucket", &[], None, found()).unwrap();
    assert_eq!(header(&head, "x-amz-bucket-region"), Some("us-east-1"));
}

#[test]
fn attributes_are_those_that_were_asked_for() {
    let asked = [(
        "x-amz-object-attributes",
        "ETag, ObjectSize,StorageClass,Checksum",
    )];
    let answer = answered(
        "GET",
        "/bucket/k?attributes",
        &asked,
        None,
        Ok(object(meta(), None)),
    );
    let answer = answer.unwrap();
    let text = body(&answer);
    for part in [
        "<ETag>900150983cd24fb0d6963f7d28e17f72</ETag>",
        "<ObjectSize>10</ObjectSize>",
        "<StorageClass>STANDARD_IA</StorageClass>",
        "<Checksum><ChecksumCRC32C>yZRlqg==</ChecksumCRC32C>",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let mut of_parts = meta();
    of_parts.etag = ETag::of_parts([7; 16], 4);
    of_parts.part_sizes = vec![3, 3, 3, 1];
    let asked = [
        ("x-amz-object-attributes", "ObjectParts"),
        ("x-amz-max-parts", "2"),
        ("x-amz-part-number-marker", "1"),
    ];
    let reply = Ok(object(of_parts, None));
    let answer = answered("GET", "/bucket/k?attributes", &asked, None, reply).unwrap();
    let page = "<ObjectParts><PartsCount>4</PartsCount><PartNumberMarker>1</PartNumberMarker>\
        <NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>2</MaxParts><IsTruncated>true</IsTruncated>\
        <Part><PartNumber>2</PartNumber><Size>3</Size></Part>\
        <Part><PartNumber>3</PartNumber><Size>3</Size></Part></ObjectParts>";
    assert!(body(&answer).contains(page), "{}", body(&answer));
    for bad in ["", "Secrets"] {
        let asked = [("x-amz-object-attributes", bad)];
        let failure = answered(
            "GET",
            "/bucket/k?attributes",
            &asked,
            None,
            Ok(object(meta(), None)),
        );
        assert_eq!(failure.unwrap_err().code, "InvalidArgument");
    }
}

#[test]
fn tags_are_a_document() {
    let mut tags = Tags::default();
    tags.insert("a", "<1>").unwrap();
    let answer = answered("GET", "/bucket/k?tagging", &[], None, Ok(Reply::Tags(tags))).unwrap();
    assert!(body(&answer).contains("<Tag><Key>a</Key><Value>&lt;1&gt;</Value></Tag>"));
}
