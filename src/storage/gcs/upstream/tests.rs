use std::sync::Arc;

use http::HeaderValue;

use super::*;
use crate::error::Kind;
use crate::policy::credential::{Bearer, SigningKeys};
use crate::policy::route::{GcsAccount, Resource, ResourceKind};
use crate::secret::Secret;
use crate::storage::codec::FAILURE_BYTES_MAX;
use crate::storage::condition::{ByteRange, Pin, Preconditions, Span, TagMatch};
use crate::storage::gcs::tests_support::{answer, bucket, target, text};
use crate::storage::object::{
    Attributes, Checksum, ChecksumKind, CustomerKey, ETag, Encryption, Extent, Revision,
    StorageClass, StoredChecksum, Tags, VersionId,
};
use crate::storage::op::{
    Body, CompleteUpload, CompletedPart, CopyObject, CreateBucket, CreateUpload, DeleteObject,
    DeleteObjects, ListBuckets, ListObjects, ListPieces, ListUploads, NoteUpload, ObjectRef, Piece,
    Pieces, PutObject, PutTags, ReadObject, Selection, Source, Start, UploadPiece, UploadRef,
    Which,
};
use crate::storage::reply::{BucketPage, ListedState, ObjectPage};

fn check(op: &Operation, expected: &str) {
    let bucket = bucket("own", "dir/");
    let request = Gcs.encode(op, &target(&bucket)).unwrap();
    let expected = expected
        .trim_start()
        .replace("HOST", "host: storage.googleapis.com");
    assert_eq!(text(&request), expected, "{}", op.name());
}

fn refused(op: &Operation) -> Kind {
    let bucket = bucket("own", "dir/");
    Gcs.encode(op, &target(&bucket)).unwrap_err().kind()
}

fn object(key: &str) -> ObjectRef {
    ObjectRef {
        key: key.into(),
        version: None,
    }
}

fn upload(key: &str) -> UploadRef {
    UploadRef {
        key: key.into(),
        id: "ID/+".into(),
    }
}

fn generation(generation: &str) -> Preconditions {
    Preconditions {
        pin: Some(Pin::Is(Revision(generation.into()))),
        ..Preconditions::default()
    }
}

fn put() -> PutObject {
    let mut attributes = Attributes::default();
    attributes.content.media_type = Some(HeaderValue::from_static("text/plain"));
    attributes.content.expires = Some(HeaderValue::from_static("never"));
    attributes.user.insert("Some.Name", "v\u{e4}lue").unwrap();
    attributes.tags.insert("a b", "c&d").unwrap();
    attributes.class = Some(StorageClass::Cool);
    PutObject {
        key: "a b/\u{e4}+".into(),
        attributes,
        conditions: Preconditions {
            if_none_match: Some(TagMatch::Any),
            ..Preconditions::default()
        },
        body: Body {
            length: Some(3),
            checksums: vec![
                Checksum::parse_base64(ChecksumKind::Crc32c, "yZRlqg==").unwrap(),
                Checksum::new(ChecksumKind::Sha1, &[7; 20]).unwrap(),
            ],
        },
    }
}

fn copy(attributes: Option<Attributes>, tags: Option<Tags>) -> Operation {
    Operation::CopyObject(Box::new(CopyObject {
        source: Source {
            object: ObjectRef {
                key: "from".into(),
                version: Some(VersionId("17".into())),
            },
            conditions: Preconditions {
                if_match: TagMatch::parse("abc"),
                ..Preconditions::default()
            },
            customer_key: None,
            seen: None,
        },
        key: "to".into(),
        attributes,
        tags,
        class: Some(StorageClass::Archive),
        encryption: None,
        conditions: generation("5"),
        checksum: None,
    }))
}

#[test]
fn objects_are_read_with_ranges_conditions_and_versions() {
    let mut read = ReadObject::new("k");
    read.object.version = Some(VersionId("12".into()));
    read.what = Selection::Range(ByteRange::Last(5));
    read.conditions = Preconditions {
        if_none_match: TagMatch::parse("\"x\", y"),
        if_modified_since: Some("2013-05-24T00:00:00Z".parse().unwrap()),
        pin: Some(Pin::Is(Revision("9".into()))),
        ..Preconditions::default()
    };
    check(
        &Operation::GetObject(Box::new(read.clone())),
        "
GET /own/dir/k?generation=12
HOST
accept-encoding: gzip
range: bytes=-5
if-none-match: \"x\", \"y\"
if-modified-since: Fri, 24 May 2013 00:00:00 GMT
x-goog-if-generation-match: 9
",
    );
    let mut head = ReadObject::new("k");
    head.object.version = Some(VersionId("null".into()));
    head.customer_key = CustomerKey::parse(&[1; 32]);
    check(
        &Operation::HeadObject(Box::new(head)),
        "
HEAD /own/dir/k
HOST
accept-encoding: gzip
x-goog-encryption-algorithm: AES256
x-goog-encryption-key: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
x-goog-encryption-key-sha256: cs1uhCLEB/ttCYaQ8RMLfe1+wvf14dML2dUh8BU2N5M=
",
    );
    read.object.version = Some(VersionId("latest".into()));
    assert_eq!(
        refused(&Operation::GetObject(Box::new(read))),
        Kind::InvalidArgument
    );
}

#[test]
fn objects_are_stored_with_all_that_is_beside_them() {
    check(
        &Operation::PutObject(Box::new(put())),
        "
PUT /own/dir/a%20b/%C3%A4%2B
HOST
content-type: text/plain
x-goog-meta-some.name: v\u{e4}lue
x-goog-meta-aqueduct_expires: never
x-goog-meta-aqueduct_tags: a%20b=c%26d
x-goog-storage-class: NEARLINE
x-goog-if-generation-match: 0
content-length: 3
x-goog-hash: crc32c=yZRlqg==
x-goog-meta-aqueduct_checksum: sha1:BwcHBwcHBwcHBwcHBwcHBwcHBwc=

(stream)
",
    );
    let mut unpinned = put();
    unpinned.conditions = Preconditions {
        if_match: TagMatch::parse("abc"),
        ..Preconditions::default()
    };
    assert_eq!(
        refused(&Operation::PutObject(Box::new(unpinned))),
        Kind::Internal
    );
    let mut large = put();
    for name in 0..9 {
        let value = "v".repeat(905);
        large
            .attributes
            .user
            .insert(&format!("n{name}"), &value)
            .unwrap();
    }
    assert_eq!(
        refused(&Operation::PutObject(Box::new(large))),
        Kind::MetadataTooLarge
    );
}

#[test]
fn copies_keep_or_replace_what_is_beside_the_object() {
    check(
        &copy(None, None),
        "
PUT /own/dir/to
HOST
x-goog-copy-source: /own/dir/from
x-goog-copy-source-generation: 17
x-goog-copy-source-if-match: \"abc\"
x-goog-if-generation-match: 5
x-goog-metadata-directive: COPY
x-goog-storage-class: ARCHIVE
content-length: 0
",
    );
    let mut attributes = Attributes::default();
    attributes.user.insert("n", "v").unwrap();
    let mut tags = Tags::default();
    tags.insert("a", "1").unwrap();
    check(
        &copy(Some(attributes.clone()), Some(tags)),
        "
PUT /own/dir/to
HOST
x-goog-copy-source: /own/dir/from
x-goog-copy-source-generation: 17
x-goog-copy-source-if-match: \"abc\"
x-goog-if-generation-match: 5
x-goog-metadata-directive: REPLACE
x-goog-meta-n: v
x-goog-meta-aqueduct_tags: a=1
x-goog-storage-class: ARCHIVE
content-length: 0
",
    );
    assert_eq!(refused(&copy(Some(attributes), None)), Kind::Internal);
}

#[test]
fn objects_are_deleted_alone_and_in_batches() {
    check(
        &Operation::DeleteObject(Box::new(DeleteObject {
            object: object("k"),
            conditions: generation("3"),
        })),
        "
DELETE /own/dir/k
HOST
x-goog-if-generation-match: 3
",
    );
    let entry = |key: &str, version: Option<&str>| DeleteObject {
        object: ObjectRef {
            key: key.into(),
            version: version.map(|version| VersionId(version.into())),
        },
        conditions: Preconditions::default(),
    };
    check(
        &Operation::DeleteObjects(DeleteObjects {
            entries: vec![entry("a<", None), entry("b", Some("7")), entry("c", Some("null"))],
        }),
        "
POST /own?delete=
HOST
content-length: 164
content-type: application/xml
content-md5: oUA3scSG9/szvBYXMwG9gA==

<Delete><Quiet>false</Quiet><Object><Key>dir/a&lt;</Key></Object><Object><Key>dir/b</Key><VersionId>7</VersionId></Object><Object><Key>dir/c</Key></Object></Delete>
",
    );
}

#[test]
fn tags_change_without_the_object() {
    let put = |tags: Tags| {
        Operation::PutTags(PutTags {
            object: object("a/b"),
            tags,
        })
    };
    let mut tags = Tags::default();
    tags.insert("k", "v").unwrap();
    check(
        &put(tags),
        "
PATCH /storage/v1/b/own/o/dir%2Fa%2Fb
HOST
content-type: application/json
content-length: 36

{\"metadata\":{\"aqueduct_tags\":\"k=v\"}}
",
    );
    check(
        &put(Tags::default()),
        "
PATCH /storage/v1/b/own/o/dir%2Fa%2Fb
HOST
content-type: application/json
content-length: 35

{\"metadata\":{\"aqueduct_tags\":null}}
",
    );
}

#[test]
fn listings_begin_where_the_last_ended() {
    let list = |which, start, delimiter: Option<&str>| {
        Operation::ListObjects(ListObjects {
            which,
            prefix: "p/".into(),
            delimiter: delimiter.map(Box::from),
            start,
            max: Some(5000),
        })
    };
    for (start, delimiter, query) in [
        (Start::First, None, ""),
        (Start::After("p/a".into()), None, "&start-after=dir%2Fp%2Fa"),
        (
            Start::After("p/a/".into()),
            Some("/"),
            "&start-after=dir%2Fp%2Fa%2F%F4%8F%BF%BF",
        ),
        (
            Start::After("p/a/b".into()),
            Some("/"),
            "&start-after=dir%2Fp%2Fa%2Fb",
        ),
        (
            Start::At("p/b".into()),
            None,
            "&start-after=dir%2Fp%2Fa%F4%8F%BF%BF",
        ),
        (Start::Page("t=".into()), None, "&continuation-token=t%3D"),
    ] {
        let delimiter_query = delimiter.map_or("", |_| "&delimiter=%2F");
        check(
            &list(Which::Current, start, delimiter),
            &format!(
                "GET /own?list-type=2&encoding-type=url&prefix=dir%2Fp%2F{delimiter_query}&max-keys=1000{query}\nHOST\n"
            ),
        );
    }
    for (start, query) in [
        (
            Start::AfterVersion("p/a".into(), VersionId("4".into())),
            "&key-marker=dir%2Fp%2Fa&version-id-marker=4",
        ),
        (
            Start::AfterVersion("p/a".into(), VersionId("null".into())),
            "&key-marker=dir%2Fp%2Fa",
        ),
        (
            Start::Page("dir/p/a\u{0}4".into()),
            "&key-marker=dir%2Fp%2Fa&version-id-marker=4",
        ),
    ] {
        check(
            &list(Which::Versions, start, None),
            &format!(
                "GET /own?versions=&encoding-type=url&prefix=dir%2Fp%2F&max-keys=1000{query}\nHOST\nx-goog-interop-list-objects-format: enabled\n"
            ),
        );
    }
}

#[test]
fn uploads_in_parts_go_one_to_one() {
    let mut attributes = Attributes::default();
    attributes.user.insert("n", "v").unwrap();
    check(
        &Operation::CreateUpload(Box::new(CreateUpload {
            key: "k".into(),
            attributes,
            checksum: None,
            conditions: Preconditions::default(),
        })),
        "
POST /own/dir/k?uploads=
HOST
x-goog-meta-n: v
content-length: 0
",
    );
    check(
        &Operation::UploadPiece(Box::new(UploadPiece {
            upload: upload("k"),
            piece: Piece::Part(7),
            body: Body {
                length: Some(5),
                checksums: vec![Checksum::new(ChecksumKind::Md5, &[0; 16]).unwrap()],
            },
            customer_key: None,
        })),
        "
PUT /own/dir/k?partNumber=7&uploadId=ID%2F%2B
HOST
content-length: 5
x-goog-hash: md5=AAAAAAAAAAAAAAAAAAAAAA==

(stream)
",
    );
    check(
        &Operation::ListPieces(ListPieces {
            upload: upload("k"),
            after: Some(3),
            max: Some(2),
        }),
        "
GET /own/dir/k?uploadId=ID%2F%2B&max-parts=2&part-number-marker=3
HOST
",
    );
    check(
        &Operation::ListUploads(ListUploads {
            prefix: "".into(),
            delimiter: None,
            after: Some(("k".into(), Some("u".into()))),
            max: Some(10),
        }),
        "
GET /own?uploads=&encoding-type=url&prefix=dir%2F&key-marker=dir%2Fk&upload-id-marker=u&max-uploads=10
HOST
",
    );
    check(
        &Operation::AbortUpload(upload("k")),
        "
DELETE /own/dir/k?uploadId=ID%2F%2B
HOST
",
    );
}

fn complete() -> CompleteUpload {
    CompleteUpload {
        upload: upload("k"),
        pieces: Pieces::Parts(vec![CompletedPart {
            number: 1,
            etag: ETag::parse("aa").unwrap(),
            checksum: None,
        }]),
        conditions: Preconditions::default(),
        size: None,
        checksum: None,
        attributes: None,
        made: None,
    }
}

#[test]
fn completion_names_the_parts_and_takes_no_condition() {
    check(
        &Operation::CompleteUpload(Box::new(complete())),
        "
POST /own/dir/k?uploadId=ID%2F%2B
HOST
content-length: 117
content-type: application/xml
content-md5: KEXL3fjNJKOWqtRlw1BOTw==

<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;aa&quot;</ETag></Part></CompleteMultipartUpload>
",
    );
    let mut conditional = complete();
    conditional.conditions = generation("1");
    let mut sized = complete();
    sized.size = Some(1);
    for op in [conditional, sized] {
        let op = Operation::CompleteUpload(Box::new(op));
        assert_eq!(refused(&op), Kind::Unsupported);
    }
}

#[test]
fn buckets_are_looked_at_made_and_deleted() {
    for (op, expected) in [
        (Operation::HeadBucket, "HEAD /own\nHOST\n"),
        (Operation::DeleteBucket, "DELETE /own\nHOST\n"),
        (
            Operation::CreateBucket(CreateBucket::default()),
            "PUT /own\nHOST\ncontent-length: 0\n",
        ),
    ] {
        check(&op, expected);
    }
}

fn token() -> ReadyCredential {
    ReadyCredential::Bearer(Arc::new(Bearer::new("t").unwrap()))
}

fn keys() -> ReadyCredential {
    let keys = SigningKeys::new("GOOG1E", Secret::new(*b"s"), None);
    ReadyCredential::Hmac(Arc::new(keys))
}

fn account(credential: ReadyCredential, project: Option<&str>) -> Bucket {
    let plain = bucket("own", "dir/");
    let resource = Arc::into_inner(plain.resource).unwrap();
    Bucket {
        resource: Arc::new(Resource {
            kind: ResourceKind::Gcs(GcsAccount {
                bucket: "own".into(),
                credential: Credential::Ready(credential),
                project: project.map(Box::from),
            }),
            ..resource
        }),
        ..plain
    }
}

#[test]
fn buckets_are_made_and_listed_in_a_project_and_with_keys_by_the_xml_api_alone() {
    let list = Operation::ListBuckets(ListBuckets {
        prefix: "a b".into(),
        page: Some("t+".into()),
        max: Some(5000),
    });
    let create = Operation::CreateBucket(CreateBucket {
        location: Some("EU".into()),
    });
    let sent = |bucket: &Bucket, op: &Operation| {
        let request = Gcs.encode(op, &target(bucket)).unwrap();
        let text = text(&request);
        text.replace("host: storage.googleapis.com\n", "")
    };
    let bearer = account(token(), Some("acme"));
    let owned = account(keys(), Some("acme"));
    let unnamed = account(keys(), None);
    assert_eq!(
        sent(&bearer, &list),
        "GET /storage/v1/b?project=acme&fields=items%28name%2CtimeCreated%29%2CnextPageToken&prefix=a%20b&pageToken=t%2B&maxResults=1000\n"
    );
    assert_eq!(sent(&owned, &list), "GET /\nx-goog-project-id: acme\n");
    assert_eq!(sent(&unnamed, &list), "GET /\n");
    assert!(sent(&bearer, &create).starts_with("PUT /own\nx-goog-project-id: acme\n"));
    assert!(sent(&unnamed, &create).starts_with("PUT /own\ncontent-length: "));
}

#[test]
fn a_page_of_buckets_is_read_from_both_apis_and_one_that_may_be_cut_is_none() {
    let read = |bucket: &Bucket, document: &str| {
        let op = Operation::ListBuckets(ListBuckets {
            prefix: "own-".into(),
            ..ListBuckets::default()
        });
        let (status, headers) = answer(200, &[]);
        let head = ReplyHead {
            status,
            headers: &headers,
        };
        let observed = Observed::default();
        let document = Some(document.as_bytes());
        let reply = Gcs.decode_reply(&op, &target(bucket), head, document, &observed)?;
        let Reply::Buckets(page) = reply else {
            panic!("{reply:?}");
        };
        Ok(page)
    };
    let json = account(token(), Some("acme"));
    let xml = account(keys(), None);
    let page: Result<BucketPage> = read(
        &json,
        r#"{"items":[{"name":"own-a","timeCreated":"2026-01-02T03:04:05.678Z","x":1}],"nextPageToken":"n"}"#,
    );
    let page = page.unwrap();
    assert_eq!(page.next.as_deref(), Some("n"));
    assert_eq!(&*page.buckets[0].name, "own-a");
    assert!(page.buckets[0].created_at.is_some());
    assert_eq!(read(&json, "{}").unwrap(), BucketPage::default());
    assert!(read(&json, "<x/>").is_err());
    let listed = |count: usize| {
        let one = "<Bucket><Name>own-a</Name></Bucket><Bucket><Name>b</Name></Bucket>";
        let all = one.repeat(count / 2);
        format!("<ListAllMyBucketsResult><Buckets>{all}</Buckets></ListAllMyBucketsResult>")
    };
    assert_eq!(read(&xml, &listed(2)).unwrap().buckets.len(), 1);
    let cut = read(&xml, &listed(1000)).unwrap_err();
    assert_eq!(cut.kind(), Kind::Unsupported);
}

#[test]
fn keys_that_the_store_would_take_for_others_are_refused() {
    let open = bucket("own", "");
    let inside = bucket("own", "dir/");
    for (bucket, key, kind) in [
        (&open, ".", Some(Kind::InvalidArgument)),
        (&open, "..", Some(Kind::InvalidArgument)),
        (&open, "a\nb", Some(Kind::InvalidArgument)),
        (&open, "a/../b", None),
        (&inside, "a/../b", Some(Kind::AccessDenied)),
        (&inside, &"k".repeat(1024), Some(Kind::KeyTooLong)),
    ] {
        let op = Operation::HeadObject(Box::new(ReadObject::new(key)));
        let request = Gcs.encode(&op, &target(bucket));
        assert_eq!(request.err().map(|error| error.kind()), kind, "{key:?}");
    }
}

fn decoded(op: &Operation, status: u16, headers: &[(&str, &str)], body: &str) -> Result<Reply> {
    let bucket = bucket("own", "dir/");
    let (status, headers) = answer(status, headers);
    let head = ReplyHead {
        status,
        headers: &headers,
    };
    Gcs.decode_reply(
        op,
        &target(&bucket),
        head,
        Some(body.as_bytes()),
        &observed(),
    )
}

fn observed() -> Observed {
    Observed {
        crc32c: Some(0xc994_65aa),
        ..Observed::default()
    }
}

const OBJECT: &[(&str, &str)] = &[
    ("etag", "\"900150983cd24fb0d6963f7d28e17f72\""),
    ("last-modified", "Fri, 24 May 2013 00:00:00 GMT"),
    ("content-type", "text/plain"),
    ("x-goog-generation", "1700000000000001"),
    ("x-goog-meta-n", "v\u{e4}"),
    ("x-goog-meta-aqueduct_tags", "a%20b=c"),
    ("x-goog-meta-aqueduct_expires", "never"),
    (
        "x-goog-meta-aqueduct_checksum",
        "sha1:BwcHBwcHBwcHBwcHBwcHBwcHBwc=",
    ),
    ("x-goog-hash", "crc32c=yZRlqg=="),
    ("x-goog-hash", "md5=kAFQmDzST7DWlj99KOF/cg=="),
    ("x-goog-storage-class", "COLDLINE"),
];

#[test]
fn what_is_beside_an_object_comes_back() {
    let read = Operation::GetObject(Box::new(ReadObject::new("k")));
    let range = ("content-range", "bytes 2-4/10");
    let headers = [OBJECT, &[range, ("content-length", "3")]].concat();
    let Reply::Object(found) = decoded(&read, 206, &headers, "").unwrap() else {
        panic!("another reply");
    };
    assert_eq!(found.span, Some(Span { first: 2, last: 4 }));
    let meta = found.meta;
    assert_eq!(meta.size, 10);
    assert_eq!(meta.user.iter().collect::<Vec<_>>(), [("n", "v\u{e4}")]);
    assert_eq!(
        meta.tags.unwrap().iter().collect::<Vec<_>>(),
        [("a b", "c")]
    );
    assert_eq!(meta.class, Some(StorageClass::Cold));
    assert_eq!(
        meta.content.expires,
        Some(HeaderValue::from_static("never"))
    );
    assert_eq!(meta.revision, Some(Revision("1700000000000001".into())));
    assert_eq!(meta.version, None);
    let kinds: Vec<_> = meta.checksums.iter().map(|c| c.checksum.kind()).collect();
    assert_eq!(
        kinds,
        [ChecksumKind::Sha1, ChecksumKind::Crc32c, ChecksumKind::Md5]
    );
    for missing in ["etag", "last-modified", "content-length"] {
        let headers: Vec<_> = [OBJECT, &[("content-length", "3")]].concat();
        let headers: Vec<_> = headers
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        let error = decoded(&read, 200, &headers, "").unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamBroken, "{missing}");
    }
}

#[test]
fn bytes_that_the_store_has_not_are_not_stored() {
    let put = Operation::PutObject(Box::new(put()));
    let good = decoded(
        &put,
        200,
        &[("etag", "\"aa\""), ("x-goog-hash", "crc32c=yZRlqg==")],
        "",
    );
    let Reply::Stored(stored) = good.unwrap() else {
        panic!("another reply");
    };
    assert_eq!((stored.etag.as_str(), stored.checksums.len()), ("aa", 2));
    stored.verify(&observed()).unwrap();
    let others = [
        ("etag", "\"aa\""),
        ("x-goog-hash", "crc32c=AAAAAA=="),
        ("x-goog-generation", "5"),
    ];
    let Reply::Stored(stored) = decoded(&put, 200, &others, "").unwrap() else {
        panic!("another reply");
    };
    let error = stored.verify(&observed()).unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamBroken);
    check(
        &stored.undo(&put).unwrap(),
        "
DELETE /own/dir/a%20b/%C3%A4%2B?generation=5
HOST
x-goog-if-generation-match: 5
",
    );
}

fn page(op: ListObjects, document: &str) -> Result<ObjectPage> {
    let Reply::Objects(page) = decoded(&Operation::ListObjects(op), 200, &[], document)? else {
        panic!("another reply");
    };
    Ok(page)
}

#[test]
fn pages_hide_the_prefix_and_what_is_ours() {
    let entry = |key: &str| {
        format!(
            "<Contents><Key>{key}</Key><Generation>1</Generation><LastModified>2013-05-24T00:00:00.000Z</LastModified><ETag>\"aa\"</ETag><Size>4</Size></Contents>"
        )
    };
    let document = format!(
        "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'><Name>own</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>tok</NextContinuationToken>{}{}{}<CommonPrefixes><Prefix>dir%2Fq%2F</Prefix></CommonPrefixes><CommonPrefixes><Prefix>dir/.aqueduct/</Prefix></CommonPrefixes></ListBucketResult>",
        entry("dir%2F.aqueduct%2Fx"),
        entry("dir%2Fa+b"),
        entry("dir%2Fp%C3%A4"),
    );
    let list = ListObjects {
        start: Start::After("a b".into()),
        ..ListObjects::default()
    };
    let found = page(list, &document).unwrap();
    let keys: Vec<_> = found.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["p\u{e4}"]);
    assert_eq!(found.prefixes, [Box::<str>::from("q/")]);
    assert_eq!(found.next.as_deref(), Some("tok"));
    let outside = document.replace("dir%2Fp%C3%A4", "elsewhere");
    let error = page(ListObjects::default(), &outside).unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamBroken);
    for broken in [
        "",
        "<x/>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    ] {
        assert!(page(ListObjects::default(), broken).is_err(), "{broken}");
    }
}

#[test]
fn pages_of_versions_go_on_behind_a_version() {
    let document = "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>dir/a</NextKeyMarker><NextVersionIdMarker>6</NextVersionIdMarker><Version><Key>dir/a</Key><VersionId>7</VersionId><IsLatest>true</IsLatest><LastModified>2013-05-24T00:00:00Z</LastModified><ETag>\"aa\"</ETag><Size>4</Size><StorageClass>NEARLINE</StorageClass></Version></ListVersionsResult>";
    let list = ListObjects {
        which: Which::Versions,
        ..ListObjects::default()
    };
    let found = page(list, document).unwrap();
    assert_eq!(found.next.as_deref(), Some("dir/a\u{0}6"));
    let entry = &found.entries[0];
    assert_eq!(entry.version, Some(VersionId("7".into())));
    assert!(entry.is_latest);
    assert!(matches!(
        entry.state,
        ListedState::Stored {
            size: 4,
            class: Some(StorageClass::Cool),
            ..
        }
    ));
}

#[test]
fn each_entry_of_a_batch_has_its_own_outcome() {
    let entry = |key: &str| DeleteObject {
        object: object(key),
        conditions: Preconditions::default(),
    };
    let op = Operation::DeleteObjects(DeleteObjects {
        entries: vec![entry("b"), entry("a"), entry("c")],
    });
    let document = "<DeleteResult><Deleted><Key>dir/a</Key></Deleted><Error><Key>dir/b</Key><Code>AccessDenied</Code><Message>m</Message></Error></DeleteResult>";
    let Reply::DeletedMany(entries) = decoded(&op, 200, &[], document).unwrap() else {
        panic!("another reply");
    };
    let outcomes: Vec<_> = entries
        .iter()
        .map(|entry| (&*entry.key, entry.outcome.as_ref().err().map(Error::kind)))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("b", Some(Kind::AccessDenied)),
            ("a", None),
            ("c", Some(Kind::UpstreamBroken)),
        ]
    );
}

#[test]
fn an_error_under_a_200_is_an_error() {
    let op = Operation::CompleteUpload(Box::new(complete()));
    let late = "<?xml version='1.0'?><Error><Code>InvalidPart</Code></Error>";
    assert_eq!(
        decoded(&op, 200, &[], late).unwrap_err().kind(),
        Kind::InvalidPart
    );
    let done =
        "<CompleteMultipartUploadResult><ETag>\"ab-1\"</ETag></CompleteMultipartUploadResult>";
    assert!(matches!(
        decoded(&op, 200, &[], done),
        Ok(Reply::Stored(stored)) if stored.etag.as_str() == "ab-1"
    ));
}

#[test]
fn bodies_are_streamed_for_objects_alone() {
    let read = Operation::GetObject(Box::new(ReadObject::new("k")));
    let head = Operation::HeadObject(Box::new(ReadObject::new("k")));
    for (op, status, expected) in [
        (&read, 206, ReplyBody::Forward),
        (&read, 304, ReplyBody::None),
        (
            &read,
            404,
            ReplyBody::Failure {
                bytes_max: FAILURE_BYTES_MAX,
            },
        ),
        (&head, 404, ReplyBody::Failure { bytes_max: 0 }),
        (&head, 200, ReplyBody::None),
        (&Operation::HeadBucket, 200, ReplyBody::None),
        (
            &Operation::ListObjects(ListObjects::default()),
            200,
            ReplyBody::Document {
                bytes_max: DOCUMENT_BYTES_MAX,
            },
        ),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            Gcs.reply_body(op, status),
            expected,
            "{} {status}",
            op.name()
        );
    }
}

#[test]
fn a_provider_encrypts_anyway() {
    let mut plain = put();
    plain.attributes.encryption = Some(Encryption::Provider);
    let bucket = bucket("own", "");
    let op = Operation::PutObject(Box::new(plain));
    let request = Gcs.encode(&op, &target(&bucket)).unwrap();
    assert!(!text(&request).contains("encryption"));
}

#[test]
fn what_an_upload_was_made_of_is_noted_and_read_again() {
    let checksum = StoredChecksum {
        checksum: Checksum::new(ChecksumKind::Crc32c, &[1, 2, 3, 4]).unwrap(),
        extent: Extent::Parts(3),
    };
    let note = |part_sizes| {
        Operation::NoteUpload(Box::new(NoteUpload {
            key: "k".into(),
            revision: Revision("9".into()),
            upload: "mark".into(),
            part_sizes,
            checksum: Some(checksum.clone()),
        }))
    };
    check(
        &note(vec![5, 5, 1]),
        "
PATCH /storage/v1/b/own/o/dir%2Fk?ifGenerationMatch=9
HOST
content-type: application/json
content-length: 104

{\"metadata\":{\"aqueduct_checksum\":\"crc32c:AQIDBA==-3\",\"aqueduct_parts\":\"5*2,1\",\"aqueduct_upload\":\"mark\"}}
",
    );
    // More than there is room for is left out, and the rest kept.
    let bucket = bucket("own", "dir/");
    let request = Gcs
        .encode(&note((0..2000).collect()), &target(&bucket))
        .unwrap();
    assert!(text(&request).contains("\"aqueduct_parts\":null"));
    let (_, headers) = answer(
        200,
        &[
            ("etag", "\"0123456789abcdef0123456789abcdef-3\""),
            ("last-modified", "Fri, 24 May 2013 00:00:00 GMT"),
            ("content-length", "11"),
            ("x-goog-generation", "9"),
            ("x-goog-hash", "crc32c=BAMCAQ=="),
            ("x-goog-meta-aqueduct_parts", "5*2,1"),
            ("x-goog-meta-aqueduct_upload", "mark"),
            ("x-goog-meta-aqueduct_checksum", "crc32c:AQIDBA==-3"),
        ],
    );
    let meta = headers::object(&headers, false).unwrap().meta;
    assert_eq!(meta.part_sizes, [5, 5, 1]);
    assert_eq!(meta.upload.as_deref(), Some("mark"));
    assert_eq!(meta.checksums[0], checksum);
    assert_eq!(meta.user.iter().count(), 0);
}
