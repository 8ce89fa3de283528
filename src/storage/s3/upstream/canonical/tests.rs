//! The law: what this half writes, the downstream half reads back; what that one answers, this one reads.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::error::Kind;
use crate::policy::route::Addressing;
use crate::storage::codec::UpstreamBody;
use crate::storage::condition::{ByteRange, Pin, Preconditions, TagMatch};
use crate::storage::object::{
    Attributes, Checksum, ChecksumKind, ContentHeaders, CustomerKey, ETag, Encryption, Extent,
    ObjectMeta, Revision, StorageClass, StoredChecksum, Tags, UserMetadata, VersionId,
};
use crate::storage::op::{
    Body, ChecksumOver, Checksums, CompleteUpload, CompletedPart, CreateUpload, DeleteObject,
    ObjectRef, Piece, Pieces, PutObject, PutTags, ReadObject, Selection, UploadChecksum,
    UploadPiece, UploadRef,
};
use crate::storage::reply::{ObjectHead, Stored};
use crate::storage::s3::answer::{Asked, answer};
use crate::storage::s3::canonical;
use crate::storage::s3::tests_support::{self, owned};

const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";

fn bucket(prefix: &str) -> Bucket {
    tests_support::bucket("bucket", "bucket", prefix, Addressing::Path)
}

fn encode(op: &Operation, prefix: &str) -> UpstreamRequest {
    let bucket = bucket(prefix);
    let target = Target {
        bucket: &bucket,
        source: None,
    };
    S3.encode(op, &target).unwrap()
}

/// What the downstream half reads of a request.
fn read_back(request: &UpstreamRequest) -> Operation {
    let head = &request.head;
    let mut of_client = owned(head.method.as_str(), &head.target, &[]);
    of_client.headers.extend(head.headers.iter().cloned());
    let length = head.header("content-length");
    let length = length.map(|length| length.to_str().unwrap().parse().unwrap());
    let decoded = of_client.decode().unwrap();
    let op = match &request.body {
        UpstreamBody::Document(document) => decoded.with_body(document.clone()).unwrap(),
        UpstreamBody::None | UpstreamBody::Stream => decoded.without_body().unwrap(),
    };
    let length = length.filter(|_| request.body == UpstreamBody::Stream);
    canonical::operation(&op, &of_client.headers, length).unwrap()
}

fn reference(key: &str) -> ObjectRef {
    ObjectRef {
        key: key.into(),
        version: None,
    }
}

fn upload() -> UploadRef {
    UploadRef {
        key: "a/b ä".into(),
        id: "id+/=".into(),
    }
}

fn tags() -> Tags {
    let mut tags = Tags::default();
    tags.insert("k &", "ä=").unwrap();
    tags.insert("n", "").unwrap();
    tags
}

fn attributes() -> Attributes {
    let value = |text: &'static str| Some(HeaderValue::from_static(text));
    let mut user = UserMetadata::default();
    user.insert("plain", "1").unwrap();
    user.insert("umlaut", "zürich").unwrap();
    Attributes {
        content: ContentHeaders {
            cache_control: value("no-cache"),
            disposition: value("inline"),
            encoding: value("gzip"),
            language: value("de"),
            media_type: value("text/plain"),
            expires: value("Wed, 21 Oct 2026 07:28:00 GMT"),
        },
        user,
        class: Some(StorageClass::Cool),
        tags: tags(),
        encryption: None,
        redirect: value("/elsewhere"),
    }
}

fn put(change: impl FnOnce(&mut PutObject)) -> Operation {
    let mut put = PutObject {
        key: "a/b ä".into(),
        attributes: attributes(),
        conditions: Preconditions::default(),
        body: Body {
            length: Some(3),
            checksums: Vec::new(),
        },
    };
    change(&mut put);
    Operation::PutObject(Box::new(put))
}

fn read(change: impl FnOnce(&mut ReadObject)) -> Operation {
    let mut read = ReadObject::new("a/b ä");
    change(&mut read);
    Operation::GetObject(Box::new(read))
}

fn key() -> Option<CustomerKey> {
    CustomerKey::parse(&[7; CustomerKey::BYTES])
}

fn checksum(kind: ChecksumKind) -> Checksum {
    Checksum::new(kind, &vec![9; kind.length()]).unwrap()
}

fn tag(text: &str) -> Option<TagMatch> {
    TagMatch::parse(text)
}

#[test]
fn downstream_reads_what_upstream_writes() {
    let at = "2026-05-04T03:02:01Z".parse().unwrap();
    let ops = vec![
        read(|_| {}),
        read(|read| read.object.version = Some(VersionId("v/1".into()))),
        read(|read| read.what = Selection::Range(ByteRange::Last(5))),
        read(|read| read.what = Selection::Range(ByteRange::Span { first: 1, last: 2 })),
        read(|read| read.what = Selection::Part(3)),
        read(|read| read.checksums = Checksums::Asked),
        read(|read| read.customer_key = key()),
        read(|read| {
            read.conditions = Preconditions {
                if_match: tag("\"a\", \"b\""),
                if_none_match: tag("*"),
                if_modified_since: Some(at),
                if_unmodified_since: Some(at),
                ..Preconditions::default()
            };
        }),
        put(|_| {}),
        put(|put| put.conditions.if_none_match = tag("*")),
        put(|put| put.conditions.if_match = tag("\"a\"")),
        put(|put| put.attributes.encryption = key().map(Encryption::Customer)),
        put(|put| put.attributes.encryption = Some(Encryption::Provider)),
        put(|put| {
            put.body.checksums = [ChecksumKind::Md5, ChecksumKind::Crc32c]
                .map(checksum)
                .to_vec();
        }),
    ];
    for op in ops.into_iter().chain(others()) {
        assert_eq!(read_back(&encode(&op, "")), op);
    }
}

fn others() -> Vec<Operation> {
    vec![
        Operation::DeleteObject(Box::new(DeleteObject {
            object: ObjectRef {
                key: "k".into(),
                version: Some(VersionId("v".into())),
            },
            conditions: Preconditions::default(),
        })),
        Operation::GetTags(reference("k")),
        Operation::PutTags(PutTags {
            object: reference("k"),
            tags: tags(),
        }),
        Operation::PutTags(PutTags {
            object: reference("k"),
            tags: Tags::default(),
        }),
        Operation::CreateUpload(Box::new(CreateUpload {
            key: "k".into(),
            attributes: attributes(),
            checksum: Some(UploadChecksum {
                kind: ChecksumKind::Sha256,
                over: ChecksumOver::Parts,
            }),
            conditions: Preconditions::default(),
        })),
        Operation::UploadPiece(Box::new(UploadPiece {
            upload: upload(),
            piece: Piece::Part(7),
            body: Body {
                length: Some(3),
                checksums: vec![checksum(ChecksumKind::Crc64Nvme)],
            },
            customer_key: key(),
        })),
        Operation::CompleteUpload(Box::new(CompleteUpload {
            upload: upload(),
            pieces: Pieces::Parts(vec![CompletedPart {
                number: 1,
                etag: ETag::parse(MD5).unwrap(),
                checksum: Some(checksum(ChecksumKind::Crc32)),
            }]),
            conditions: Preconditions {
                if_match: tag("\"a\""),
                ..Preconditions::default()
            },
            size: None,
            checksum: None,
            attributes: None,
            made: None,
        })),
        Operation::AbortUpload(upload()),
    ]
}

#[test]
fn keys_are_under_the_prefix_and_lengths_are_told() {
    let request = encode(&put(|_| {}), "own/");
    assert_eq!(request.head.target, "/bucket/own/a/b%20%C3%A4");
    assert_eq!(request.head.header("content-length").unwrap(), "3");
    assert_eq!(request.head.header("host").unwrap(), "store.internal");
    assert_eq!(request.body, UpstreamBody::Stream);
    let bucket = bucket("own/");
    let target = Target {
        bucket: &bucket,
        source: None,
    };
    let unknown = put(|put| put.body.length = None);
    let refused = S3.encode(&unknown, &target).unwrap_err();
    assert_eq!(refused.kind(), Kind::LengthRequired);
    for op in [Operation::HeadBucket, Operation::DeleteBucket] {
        let refused = S3.encode(&op, &target).unwrap_err();
        assert_eq!(refused.kind(), Kind::Unsupported);
    }
}

#[test]
fn a_pin_stands_for_all_conditions() {
    let of = |pin: Pin, name: &str| {
        let op = put(|put| put.conditions.pin = Some(pin));
        let request = encode(&op, "");
        let value = request.head.header(name).cloned();
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let revision = Pin::Is(Revision("\"abc\"".into()));
    assert_eq!(of(revision, "if-match").as_deref(), Some("\"abc\""));
    assert_eq!(of(Pin::Absent, "if-none-match").as_deref(), Some("*"));
}

#[test]
fn what_was_stored_is_taken_back_by_its_version_or_by_its_mark() {
    let mut stored = Stored::new(ETag::parse(MD5).unwrap());
    stored.revision = Some(Revision("\"abc\"".into()));
    let undo = |stored: &Stored| encode(&stored.undo(&put(|_| {})).unwrap(), "").head;
    let by_mark = undo(&stored);
    assert_eq!(by_mark.header("if-match").unwrap(), "\"abc\"");
    stored.made = Some(VersionId("v1".into()));
    let by_version = undo(&stored);
    assert_eq!(by_version.header("if-match"), None);
    assert!(by_version.target.ends_with("?versionId=v1"));
}

#[test]
fn upstream_reads_what_downstream_answers() {
    let at = "2026-05-04T03:02:01Z".parse().unwrap();
    let mut meta = ObjectMeta::new(10, ETag::parse(MD5).unwrap(), at);
    let stored = attributes();
    meta.content = stored.content;
    meta.user = stored.user;
    meta.class = stored.class;
    meta.redirect = stored.redirect;
    meta.tag_count = 2;
    meta.version = Some(VersionId("v1".into()));
    meta.revision = Some(Revision(format!("\"{MD5}\"").into()));
    let of_whole = |checksum| StoredChecksum {
        checksum,
        extent: Extent::Whole,
    };
    let md5 = Checksum::new(ChecksumKind::Md5, &meta.etag.md5().unwrap()).unwrap();
    meta.checksums = [checksum(ChecksumKind::Crc64Nvme), md5]
        .map(of_whole)
        .to_vec();
    let operation = read(|read| read.checksums = Checksums::Asked);
    let headers = answered(&operation, &meta);
    let head = ReplyHead {
        status: StatusCode::OK,
        headers: &headers,
    };
    let bucket = bucket("");
    let target = Target {
        bucket: &bucket,
        source: None,
    };
    let observed = Observed::default();
    let told = S3.decode_reply(&operation, &target, head, None, &observed);
    let Reply::Object(told) = told.unwrap() else {
        panic!("no object");
    };
    assert_eq!(*told, ObjectHead { meta, span: None });
}

fn answered(operation: &Operation, meta: &ObjectMeta) -> HeaderMap {
    let request = owned("GET", "/bucket/k", &[("x-amz-checksum-mode", "ENABLED")]);
    let op = request.decode().unwrap().without_body().unwrap();
    let bucket = bucket("");
    let asked = Asked {
        op: &op,
        headers: &request.headers,
        operation,
        bucket: &bucket,
        owner: "owner",
        url: "http://host/bucket/k",
    };
    let found = ObjectHead {
        meta: meta.clone(),
        span: None,
    };
    let answer = answer(&asked, Ok(Reply::Object(Box::new(found)))).unwrap();
    answer.message.headers.into_iter().collect()
}

#[test]
fn an_etag_that_is_no_md5_is_told_as_none() {
    for (headers, knows) in [
        (vec![], true),
        (vec![("x-amz-server-side-encryption", "AES256")], true),
        (vec![("x-amz-server-side-encryption", "aws:kms")], false),
        (
            vec![("x-amz-server-side-encryption-customer-algorithm", "AES256")],
            false,
        ),
    ] {
        let mut map = HeaderMap::new();
        map.insert("etag", HeaderValue::try_from(format!("\"{MD5}\"")).unwrap());
        for (name, value) in headers {
            map.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let head = ReplyHead {
            status: StatusCode::OK,
            headers: &map,
        };
        let bucket = bucket("");
        let target = Target {
            bucket: &bucket,
            source: None,
        };
        let told = S3.decode_reply(&put(|_| {}), &target, head, None, &Observed::default());
        let Reply::Stored(stored) = told.unwrap() else {
            panic!("nothing stored");
        };
        assert_eq!(!stored.told.is_empty(), knows);
    }
}

#[test]
fn failures_are_read_by_their_codes() {
    for (status, code, expected) in [
        (404, "NoSuchKey", Kind::ObjectNotFound),
        (404, "NoSuchBucket", Kind::BucketNotFound),
        (404, "NoSuchUpload", Kind::UploadNotFound),
        (412, "PreconditionFailed", Kind::PreconditionFailed),
        (403, "InvalidObjectState", Kind::ObjectArchived),
        (403, "AccessDenied", Kind::AccessDenied),
        (403, "SignatureDoesNotMatch", Kind::UpstreamAuth),
        (400, "BadDigest", Kind::DigestMismatch),
        (400, "EntityTooSmall", Kind::BodyTooSmall),
        (409, "BucketNotEmpty", Kind::BucketNotEmpty),
        (503, "SlowDown", Kind::UpstreamUnavailable),
        (404, "", Kind::ObjectNotFound),
        (403, "", Kind::AccessDenied),
    ] {
        let body = format!("<Error><Code>{code}</Code><Message>bucket own</Message></Error>");
        let body = if code.is_empty() { "" } else { &body };
        let head = ReplyHead {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &HeaderMap::new(),
        };
        let error = S3.decode_error(&read(|_| {}), head, body.as_bytes());
        assert_eq!(error.kind(), expected, "{status} {code}");
        assert!(!error.message().contains("own"));
    }
}
