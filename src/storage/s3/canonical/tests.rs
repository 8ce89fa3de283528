use bytes::Bytes;
use http::HeaderValue;

use super::*;
use crate::storage::condition::TagMatch;
use crate::storage::object::{Checksum, ChecksumKind, ETag, Encryption, StorageClass};
use crate::storage::op::{ChecksumOver, ListObjects, Piece, Pieces, Start, UploadChecksum, Which};
use crate::storage::s3::tests_support::owned;

type Header<'a> = (&'a str, &'a str);

fn decoded(
    method: &str,
    target: &str,
    headers: &[Header<'_>],
    document: Option<&str>,
) -> Result<Operation> {
    let owned = owned(method, target, headers);
    let request = owned.decode()?;
    let streams = request.row().request_body == crate::storage::s3::route::RequestBody::Stream;
    let op = match document {
        Some(document) => request.with_body(Bytes::copy_from_slice(document.as_bytes()))?,
        None => request.without_body()?,
    };
    operation(&op, &owned.headers, streams.then_some(5))
}

fn refused(method: &str, target: &str, headers: &[Header<'_>]) -> Kind {
    let outcome = decoded(method, target, headers, None);
    outcome.expect_err(target).kind()
}

fn read_of(target: &str, headers: &[Header<'_>]) -> ReadObject {
    let Operation::GetObject(read) = decoded("GET", target, headers, None).unwrap() else {
        panic!("another operation");
    };
    *read
}

fn put_of(headers: &[Header<'_>]) -> PutObject {
    let Operation::PutObject(put) = decoded("PUT", "/bucket/k", headers, None).unwrap() else {
        panic!("another operation");
    };
    *put
}

#[test]
fn reads_carry_ranges_parts_and_conditions() {
    for (header, expected) in [
        (
            "bytes=0-4",
            Selection::Range(ByteRange::Span { first: 0, last: 4 }),
        ),
        ("bytes=7-", Selection::Range(ByteRange::From(7))),
        ("bytes=-3", Selection::Range(ByteRange::Last(3))),
        // S3 answers these with the whole.
        ("bytes=0-1,3-4", Selection::Whole),
        ("bytes=4-0", Selection::Whole),
        ("lines=1-2", Selection::Whole),
    ] {
        let read = read_of("/bucket/k", &[("range", header)]);
        assert_eq!(read.what, expected, "{header}");
    }
    assert_eq!(
        read_of("/bucket/k?partNumber=3", &[]).what,
        Selection::Part(3)
    );
    let read = read_of(
        "/bucket/a%2Fb?versionId=v&response-content-type=a%2Fb",
        &[
            ("if-match", "abc, \"d\""),
            ("if-none-match", "*"),
            ("if-modified-since", "Fri, 24 May 2013 00:00:00 GMT"),
            ("if-unmodified-since", "nonsense"),
            ("x-amz-checksum-mode", "ENABLED"),
        ],
    );
    assert_eq!(
        (&*read.object.key, read.checksums),
        ("a/b", Checksums::Asked)
    );
    assert_eq!(read.object.version, Some(VersionId("v".into())));
    assert_eq!(read.shown.media_type, Some(HeaderValue::from_static("a/b")));
    assert_eq!(
        read.conditions,
        Preconditions {
            if_match: TagMatch::parse("\"abc\", \"d\""),
            if_none_match: Some(TagMatch::Any),
            if_modified_since: Some("2013-05-24T00:00:00Z".parse().unwrap()),
            ..Preconditions::default()
        }
    );
    let both = [("range", "bytes=0-1")];
    assert_eq!(
        refused("GET", "/bucket/k?partNumber=1", &both),
        Kind::InvalidRequest
    );
}

#[test]
fn a_put_carries_all_that_is_stored_beside_the_object() {
    let put = put_of(&[
        ("content-type", "text/plain"),
        ("content-encoding", "aws-chunked,gzip"),
        ("expires", "never"),
        ("x-amz-meta-Name", "=?UTF-8?B?w6Q=?="),
        ("x-amz-meta-name", "raw"),
        ("x-amz-storage-class", "GLACIER_IR"),
        ("x-amz-tagging", "a=1&b+c=%26"),
        ("x-amz-acl", "private"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-website-redirect-location", "/other"),
        ("if-none-match", "*"),
        ("content-md5", "kAFQmDzST7DWlj99KOF/cg=="),
        ("x-amz-checksum-crc32c", "yZRlqg=="),
        ("content-length", "5"),
    ]);
    let attributes = &put.attributes;
    assert_eq!(
        attributes.content.encoding,
        Some(HeaderValue::from_static("gzip"))
    );
    assert_eq!(
        attributes.content.media_type,
        Some(HeaderValue::from_static("text/plain"))
    );
    assert_eq!(
        attributes.user.iter().collect::<Vec<_>>(),
        [("name", "\u{e4},raw")]
    );
    assert_eq!(attributes.class, Some(StorageClass::Cold));
    assert_eq!(
        attributes.tags.iter().collect::<Vec<_>>(),
        [("a", "1"), ("b c", "&")]
    );
    assert_eq!(attributes.encryption, Some(Encryption::Provider));
    assert_eq!(
        attributes.redirect,
        Some(HeaderValue::from_static("/other"))
    );
    assert!(put.conditions.is_absent_only());
    assert_eq!(put.body.length, Some(5));
    let kinds: Vec<_> = put.body.checksums.iter().map(Checksum::kind).collect();
    assert_eq!(kinds, [ChecksumKind::Md5, ChecksumKind::Crc32c]);
    let plain = put_of(&[]);
    let octets = HeaderValue::from_static("binary/octet-stream");
    assert_eq!(plain.attributes.content.media_type, Some(octets));
}

#[test]
fn what_the_model_cannot_say_is_refused_and_never_ignored() {
    for header in [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=x"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-storage-class", "INTELLIGENT_TIERING"),
    ] {
        let kind = refused("PUT", "/bucket/k", &[header]);
        assert_eq!(kind, Kind::Unsupported, "{header:?}");
    }
    for (method, target, header) in [
        ("DELETE", "/bucket/k", ("x-amz-mfa", "1 2")),
        (
            "DELETE",
            "/bucket/k?uploadId=u",
            ("x-amz-if-match-initiated-time", "x"),
        ),
        ("PUT", "/bucket?versioning", ("", "")),
        ("GET", "/bucket?inventory", ("", "")),
        ("GET", "/bucket/k?retention", ("", "")),
    ] {
        let headers: Vec<Header<'_>> = Some(header)
            .filter(|(name, _)| !name.is_empty())
            .into_iter()
            .collect();
        let document = (method == "PUT").then_some("<x/>");
        let error = decoded(method, target, &headers, document).expect_err(target);
        assert_eq!(error.kind(), Kind::Unsupported, "{target}");
    }
    for (header, kind) in [
        (("x-amz-storage-class", "COLD"), Kind::InvalidArgument),
        (("x-amz-tagging", "a=1&a=2"), Kind::InvalidTag),
        (("content-md5", "x"), Kind::InvalidDigest),
        (("x-amz-meta-aqueduct_tags", "x"), Kind::InvalidArgument),
    ] {
        assert_eq!(refused("PUT", "/bucket/k", &[header]), kind, "{header:?}");
    }
    let large = "v".repeat(2050);
    let header = ("x-amz-meta-n", large.as_str());
    assert_eq!(
        refused("PUT", "/bucket/k", &[header]),
        Kind::MetadataTooLarge
    );
}

/// Values that mean something, for every family of headers.
const MEANT: &[Header<'static>] = &[
    ("cache-control", "c"),
    ("content-type", "a/b"),
    ("expires", "e"),
    ("if-match", "x"),
    ("if-none-match", "x"),
    ("range", "bytes=0-1"),
    ("x-amz-acl", "public-read"),
    ("x-amz-bypass-governance-retention", "true"),
    ("x-amz-checksum-algorithm", "CRC32"),
    ("x-amz-checksum-mode", "ENABLED"),
    (
        "x-amz-checksum-sha256",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ),
    ("x-amz-copy-source-if-match", "x"),
    ("x-amz-grant-read", "id=x"),
    ("x-amz-meta-a", "v"),
    ("x-amz-metadata-directive", "REPLACE"),
    ("x-amz-mfa", "1 2"),
    ("x-amz-mp-object-size", "7"),
    ("x-amz-object-lock-mode", "GOVERNANCE"),
    ("x-amz-server-side-encryption", "AES256"),
    ("x-amz-storage-class", "GLACIER"),
    ("x-amz-tagging", "a=1"),
    ("x-amz-website-redirect-location", "/r"),
];

/// What changes nothing, and why that is no loss.
fn is_harmless(op: crate::storage::s3::route::Op, name: &str) -> bool {
    use crate::storage::s3::route::Op;
    match name {
        // There is no retention where we delete.
        "x-amz-bypass-governance-retention" => true,
        // Of the document, which was checked when it was read.
        "content-type" | "x-amz-checksum-sha256" => true,
        // Kept as they are at the source, as S3 does.
        "cache-control"
        | "expires"
        | "x-amz-meta-a"
        | "x-amz-tagging"
        | "x-amz-website-redirect-location" => op == Op::CopyObject,
        _ => false,
    }
}

#[test]
fn every_listed_header_makes_a_difference_or_is_refused() {
    use crate::storage::s3::route::{Level, Op, RequestBody};
    let mut seen = 0;
    for op in Op::ALL {
        let row = crate::storage::s3::route::row_of(*op);
        if row.level == Level::Service {
            continue;
        }
        let path = match row.level {
            Level::Object => "/bucket/k",
            Level::Bucket | Level::Service => "/bucket",
        };
        let query: Vec<String> = row.when.iter().map(|name| format!("{name}=2")).collect();
        let part = row.query.contains(&"partNumber") && row.when.contains(&"uploadId");
        let part = if part { "&partNumber=1" } else { "" };
        let target = format!("{path}?{}{part}", query.join("&"));
        let method = row.method.method();
        let documents = [
            (
                Op::DeleteObjects,
                "<Delete><Object><Key>k</Key></Object></Delete>",
            ),
            (Op::PutObjectTagging, "<Tagging><TagSet/></Tagging>"),
            (
                Op::CompleteMultipartUpload,
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>",
            ),
        ];
        let known = documents.iter().find(|(known, _)| known == op);
        let document = matches!(row.request_body, RequestBody::Document { .. })
            .then(|| known.map_or("", |(_, document)| document));
        let source = row.copies.then_some(("x-amz-copy-source", "/bucket/from"));
        let plain: Vec<Header<'_>> = source.into_iter().collect();
        let without = decoded(method.as_str(), &target, &plain, document);
        for header in MEANT.iter().filter(|(name, _)| row.allows_header(name)) {
            seen += 1;
            let headers = [&plain[..], &[*header]].concat();
            let with = decoded(method.as_str(), &target, &headers, document);
            let Ok(with) = with else {
                continue;
            };
            let same = without.as_ref().is_ok_and(|without| *without == with);
            assert!(
                !same || is_harmless(*op, header.0),
                "{} ignores {}",
                op.name(),
                header.0
            );
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn copies_say_what_they_keep() {
    let copy = |headers: &[Header<'_>]| {
        let source = ("x-amz-copy-source", "/bucket/from%20here?versionId=v");
        let headers: Vec<_> = [&[source], headers].concat();
        decoded("PUT", "/bucket/k", &headers, None).map(|op| {
            let Operation::CopyObject(copy) = op else {
                panic!("another operation");
            };
            *copy
        })
    };
    let kept = copy(&[
        ("x-amz-meta-n", "ignored by S3 as well"),
        ("x-amz-copy-source-if-none-match", "x"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("if-match", "y"),
    ])
    .unwrap();
    assert_eq!((&kept.attributes, &kept.tags), (&None, &None));
    assert_eq!(kept.class, Some(StorageClass::Cool));
    assert_eq!(&*kept.source.object.key, "from here");
    assert_eq!(kept.source.conditions.if_none_match, TagMatch::parse("x"));
    assert_eq!(kept.conditions.if_match, TagMatch::parse("y"));
    let replaced = copy(&[
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-meta-n", "v"),
        ("x-amz-tagging", "a=1"),
    ])
    .unwrap();
    assert_eq!(replaced.attributes.unwrap().user.iter().len(), 1);
    assert_eq!(replaced.tags.unwrap().iter().len(), 1);
    assert_eq!(
        copy(&[("x-amz-metadata-directive", "MERGE")])
            .unwrap_err()
            .kind(),
        Kind::InvalidArgument
    );
    let itself = [("x-amz-copy-source", "/bucket/k")];
    assert_eq!(refused("PUT", "/bucket/k", &itself), Kind::InvalidRequest);
    let onto = [itself[0], ("x-amz-metadata-directive", "REPLACE")];
    assert!(decoded("PUT", "/bucket/k", &onto, None).is_ok());
}

#[test]
fn listings_of_all_three_kinds_are_one() {
    let list = |which, start, max| {
        Operation::ListObjects(ListObjects {
            which,
            prefix: "p".into(),
            delimiter: Some("/".into()),
            start,
            max: Some(max),
        })
    };
    for (target, expected) in [
        (
            "/bucket?list-type=2&prefix=p&delimiter=%2F&start-after=a&max-keys=5&encoding-type=url&fetch-owner=true",
            list(Which::Current, Start::After("a".into()), 5),
        ),
        (
            "/bucket?list-type=2&prefix=p&delimiter=/&continuation-token=t&start-after=a",
            list(Which::Current, Start::Page("t".into()), 1000),
        ),
        (
            "/bucket?prefix=p&delimiter=/&marker=a&max-keys=5000",
            list(Which::Current, Start::After("a".into()), 1000),
        ),
        (
            "/bucket?prefix=p&delimiter=/&marker=&max-keys=0",
            list(Which::Current, Start::First, 0),
        ),
        (
            "/bucket?versions&prefix=p&delimiter=/&key-marker=a&version-id-marker=v",
            list(
                Which::Versions,
                Start::AfterVersion("a".into(), VersionId("v".into())),
                1000,
            ),
        ),
    ] {
        assert_eq!(
            decoded("GET", target, &[], None).unwrap(),
            expected,
            "{target}"
        );
    }
}

#[test]
fn batch_deletes_keep_versions_and_conditions() {
    let document = "<Delete><Quiet>true</Quiet><Object><Key>a</Key><VersionId>null</VersionId></Object><Object><Key>b</Key><ETag>\"x\"</ETag><Size>3</Size></Object></Delete>";
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    let op = decoded("POST", "/bucket?delete", &bypass, Some(document)).unwrap();
    let Operation::DeleteObjects(delete) = op else {
        panic!("{op:?}");
    };
    assert_eq!(
        delete.entries[0].object.version,
        Some(VersionId("null".into()))
    );
    assert_eq!(delete.entries[1].conditions.if_match, TagMatch::parse("x"));
    assert_eq!(delete.entries[1].conditions.if_size, Some(3));
}

fn complete(headers: &[Header<'_>], document: &str) -> Result<CompleteParts> {
    let op = decoded("POST", "/bucket/k?uploadId=u", headers, Some(document))?;
    let Operation::CompleteUpload(complete) = op else {
        panic!("another operation");
    };
    Ok(*complete)
}

type CompleteParts = crate::storage::op::CompleteUpload;

fn part(number: &str, etag: &str, more: &str) -> String {
    format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{more}</Part>")
}

fn whole(parts: &[String]) -> String {
    format!(
        "<CompleteMultipartUpload>{}</CompleteMultipartUpload>",
        parts.concat()
    )
}

#[test]
fn completion_lists_parts_in_order_or_not_at_all() {
    let good = whole(&[part("1", "&quot;aa&quot;", ""), part("7", "bb", "")]);
    let op = complete(&[("if-none-match", "*")], &good).unwrap();
    assert!(op.conditions.is_absent_only());
    let Pieces::Parts(parts) = op.pieces else {
        panic!("another family");
    };
    assert_eq!(parts[0].etag, ETag::parse("aa").unwrap());
    assert_eq!(parts[1].number, 7);
    for (document, kind) in [
        (
            whole(&[part("2", "a", ""), part("1", "b", "")]),
            Kind::InvalidPartOrder,
        ),
        (
            whole(&[part("1", "a", ""), part("1", "b", "")]),
            Kind::InvalidPartOrder,
        ),
        (whole(&[part("0", "a", "")]), Kind::InvalidArgument),
        (whole(&[part("10001", "a", "")]), Kind::InvalidArgument),
        (whole(&[part("1", "", "")]), Kind::InvalidPart),
        (whole(&[part("1", "a", "<Other/>")]), Kind::MalformedBody),
        (whole(&[]), Kind::MalformedBody),
        ("<x/>".to_owned(), Kind::MalformedBody),
    ] {
        assert_eq!(
            complete(&[], &document).unwrap_err().kind(),
            kind,
            "{document}"
        );
    }
}

#[test]
fn a_composite_checksum_is_judged_by_those_of_the_parts() {
    let crc = |text: &str| format!("<ChecksumCRC32>{text}</ChecksumCRC32>");
    let document = whole(&[
        part("1", "a", &crc("AAAAAA==")),
        part("2", "b", &crc("AAAAAA==")),
    ]);
    let op = complete(&[], &document).unwrap();
    let Pieces::Parts(parts) = &op.pieces else {
        panic!("another family");
    };
    let value = composite(ChecksumKind::Crc32, parts).unwrap().base64();
    let right = format!("{value}-2");
    let op = complete(&[("x-amz-checksum-crc32", &right)], &document).unwrap();
    let of = op.checksum.unwrap().0;
    assert_eq!(
        of,
        UploadChecksum {
            kind: ChecksumKind::Crc32,
            over: ChecksumOver::Parts
        }
    );
    let wrong = [("x-amz-checksum-crc32", "AAAAAA==-2")];
    assert_eq!(
        complete(&wrong, &document).unwrap_err().kind(),
        Kind::DigestMismatch
    );
    let none = whole(&[part("1", "a", "")]);
    assert_eq!(
        complete(&wrong, &none).unwrap_err().kind(),
        Kind::InvalidRequest
    );
}

#[test]
fn parts_are_uploaded_copied_and_listed() {
    let op = decoded("PUT", "/bucket/k?partNumber=3&uploadId=u", &[], None).unwrap();
    assert!(matches!(
        op,
        Operation::UploadPiece(piece) if piece.piece == Piece::Part(3) && &*piece.upload.id == "u"
    ));
    let copy = |range: &str| {
        let headers = [
            ("x-amz-copy-source", "/bucket/f"),
            ("x-amz-copy-source-range", range),
        ];
        decoded("PUT", "/bucket/k?partNumber=3&uploadId=u", &headers, None)
    };
    assert!(matches!(
        copy("bytes=0-9").unwrap(),
        Operation::CopyPiece(copy) if copy.range == Some(ByteRange::Span { first: 0, last: 9 })
    ));
    for bad in ["bytes=-9", "bytes=0-", "0-9"] {
        assert_eq!(
            copy(bad).unwrap_err().kind(),
            Kind::InvalidArgument,
            "{bad}"
        );
    }
    let target = "/bucket/k?uploadId=u&part-number-marker=2&max-parts=3";
    assert!(matches!(
        decoded("GET", target, &[], None).unwrap(),
        Operation::ListPieces(list) if list.after == Some(2) && list.max == Some(3)
    ));
    let headers = [("x-amz-checksum-algorithm", "crc64nvme")];
    let op = decoded("POST", "/bucket/k?uploads", &headers, None).unwrap();
    assert!(matches!(
        op,
        Operation::CreateUpload(create) if create.checksum.unwrap().over == ChecksumOver::Object
    ));
    let odd = [
        ("x-amz-checksum-algorithm", "SHA256"),
        ("x-amz-checksum-type", "FULL_OBJECT"),
    ];
    assert_eq!(
        refused("POST", "/bucket/k?uploads", &odd),
        Kind::InvalidRequest
    );
}

#[test]
fn a_clients_key_must_be_whole() {
    let name = |part: &str| format!("x-amz-server-side-encryption-customer-{part}");
    let (algorithm, key, md5) = (name("algorithm"), name("key"), name("key-md5"));
    // 32 bytes of 1, and their MD5.
    let bytes = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let digest = {
        use base64::Engine;
        use md5::Digest;
        base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest([1; 32]))
    };
    let good = [(&*algorithm, "AES256"), (&*key, bytes), (&*md5, &*digest)];
    assert!(read_of("/bucket/k", &good).customer_key.is_some());
    for bad in [
        vec![good[0], good[1]],
        vec![(&*algorithm, "DES"), good[1], good[2]],
        vec![good[0], (&*key, "AQ=="), good[2]],
        vec![good[0], good[1], (&*md5, "AAAA")],
    ] {
        assert_eq!(refused("GET", "/bucket/k", &bad), Kind::InvalidArgument);
    }
}

#[test]
fn questions_about_properties_become_questions_about_existence() {
    for (target, object) in [
        ("/bucket?acl", false),
        ("/bucket?versioning", false),
        ("/bucket?policy", false),
        ("/bucket?location", false),
        ("/bucket/k?acl", true),
        ("/bucket/k?attributes", true),
    ] {
        let op = decoded("GET", target, &[], None).unwrap();
        let looks = matches!(op, Operation::HeadObject(_));
        assert_eq!(
            (looks, op == Operation::HeadBucket),
            (object, !object),
            "{target}"
        );
    }
}

#[test]
fn settings_that_say_what_holds_anyway_are_taken_and_others_are_not() {
    let encryption = |inside: &str| {
        let document = format!(
            "<ServerSideEncryptionConfiguration><Rule>{inside}</Rule></ServerSideEncryptionConfiguration>"
        );
        decoded("PUT", "/bucket?encryption", &[], Some(&document)).map_err(|error| error.kind())
    };
    let by = |algorithm: &str, more: &str| {
        format!(
            "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>{algorithm}</SSEAlgorithm>{more}</ApplyServerSideEncryptionByDefault>"
        )
    };
    let bucket_key = by("AES256", "") + "<BucketKeyEnabled>true</BucketKeyEnabled>";
    assert_eq!(encryption(&by("AES256", "")), Ok(Operation::HeadBucket));
    assert_eq!(encryption(&bucket_key), Ok(Operation::HeadBucket));
    assert_eq!(encryption(&by("aws:kms", "")), Err(Kind::Unsupported));
    let named = by("AES256", "<KMSMasterKeyID>k</KMSMasterKeyID>");
    assert_eq!(encryption(&named), Err(Kind::Unsupported));
    assert_eq!(encryption(""), Err(Kind::MalformedBody));
    let create = |place: &str| {
        let document = format!(
            "<CreateBucketConfiguration><LocationConstraint>{place}</LocationConstraint></CreateBucketConfiguration>"
        );
        match decoded("PUT", "/bucket", &[], Some(&document)) {
            Ok(Operation::CreateBucket(create)) => create.location,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(create("us-east-1"), None);
    assert_eq!(create("EU").as_deref(), Some("EU"));
}

#[test]
fn a_listing_in_no_order_has_no_common_prefixes() {
    let target = "/bucket?allow-unordered=true&delimiter=%2F";
    assert_eq!(refused("GET", target, &[]), Kind::InvalidArgument);
    assert!(decoded("GET", "/bucket?allow-unordered=true", &[], None).is_ok());
}
