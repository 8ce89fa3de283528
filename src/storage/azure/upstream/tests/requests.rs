//! Requests as they go on the wire.

use super::*;
use crate::storage::compose::blocks::{cut, whole};

fn check(op: &Operation, expected: &str) {
    check_at(&bucket("own", "dir/"), op, expected);
}

fn check_at(bucket: &Bucket, op: &Operation, expected: &str) {
    let request = Azure.encode(op, &target(bucket)).unwrap();
    let expected = expected
        .trim_start()
        .replace("HOST", &format!("host: {}", bucket.resource.origin.host));
    assert_eq!(text(&request), expected, "{}", op.name());
}

fn refused(op: &Operation) -> Kind {
    let bucket = bucket("own", "dir/");
    Azure.encode(op, &target(&bucket)).unwrap_err().kind()
}

#[test]
fn objects_are_read_with_ranges_and_marks() {
    let mut read = ReadObject::new("k//\u{e4} ?%2F");
    read.what = Selection::Range(ByteRange::Span { first: 1, last: 9 });
    read.conditions = pinned("\"0x8D1\"");
    check(
        &Operation::GetObject(Box::new(read.clone())),
        "
GET /own/dir/k//%C3%A4%20%3F%252F
HOST
x-ms-range: bytes=1-9
if-match: \"0x8D1\"
",
    );
    let mut head = ReadObject::new("k");
    head.object.version = Some(VersionId("null".into()));
    head.what = Selection::Range(ByteRange::From(7));
    head.customer_key = CustomerKey::parse(&[1; 32]);
    check_at(
        &emulated("own"),
        &Operation::HeadObject(Box::new(head)),
        "
HEAD /devstoreaccount1/own/k
HOST
x-ms-range: bytes=7-
x-ms-encryption-algorithm: AES256
x-ms-encryption-key: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
x-ms-encryption-key-sha256: cs1uhCLEB/ttCYaQ8RMLfe1+wvf14dML2dUh8BU2N5M=
",
    );
    // What a plan should have looked up, and what there is not.
    read.what = Selection::Range(ByteRange::Last(5));
    assert_eq!(
        refused(&Operation::GetObject(Box::new(read))),
        Kind::Internal
    );
    let mut read = ReadObject::new("k");
    read.conditions.if_match = TagMatch::parse("abc");
    assert_eq!(
        refused(&Operation::GetObject(Box::new(read))),
        Kind::Internal
    );
    let mut read = ReadObject::new("k");
    read.object.version = Some(VersionId("2026-11-28T00:00:00.0000000Z".into()));
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
x-ms-blob-type: BlockBlob
content-length: 3
content-md5: BwcHBwcHBwcHBwcHBwcHBw==
x-ms-blob-content-type: text/plain
x-ms-meta-plain_1: value
x-ms-meta-word: =?utf-8?B?dsOkbHVl?=
x-ms-meta-aqueduct_meta: eyJzb21lLm5hbWUiOiJ4In0
x-ms-meta-aqueduct_expires: never
x-ms-meta-aqueduct_checksum: crc64nvme:rosUhgp5mIg=
x-ms-tags: a%20b=c%2Fd
x-ms-access-tier: Cool
if-none-match: *

(stream)
",
    );
    let changed = |change: fn(&mut PutObject)| {
        let mut put = put();
        change(&mut put);
        refused(&Operation::PutObject(Box::new(put)))
    };
    assert_eq!(changed(|put| put.body.length = None), Kind::LengthRequired);
    assert_eq!(
        changed(|put| put.body.length = Some(names::PUT_BYTES_MAX + 1)),
        Kind::Internal
    );
    assert_eq!(
        changed(|put| put.conditions.if_none_match = TagMatch::parse("abc")),
        Kind::Internal
    );
    assert_eq!(
        changed(|put| put.attributes.tags.insert("k", "\u{e4}").unwrap()),
        Kind::Unsupported
    );
    assert_eq!(
        changed(|put| {
            let value = HeaderValue::from_bytes(b"attachment; filename=\xff").unwrap();
            put.attributes.content.disposition = Some(value);
        }),
        Kind::Unsupported
    );
    assert_eq!(
        changed(|put| {
            put.attributes
                .user
                .insert("long", &"\u{e4}".repeat(3500))
                .unwrap();
        }),
        Kind::MetadataTooLarge
    );
}

#[test]
fn objects_are_deleted_with_their_snapshots() {
    check(
        &Operation::DeleteObject(Box::new(DeleteObject {
            object: object("k"),
            conditions: pinned("\"0x8D1\""),
        })),
        "
DELETE /own/dir/k
HOST
x-ms-delete-snapshots: include
if-match: \"0x8D1\"
",
    );
    assert_eq!(
        refused(&Operation::DeleteObjects(DeleteObjects::default())),
        Kind::Internal
    );
}

#[test]
fn containers_are_looked_at_made_deleted_and_listed() {
    for (op, method) in [
        (Operation::HeadBucket, "HEAD"),
        (Operation::DeleteBucket, "DELETE"),
    ] {
        check(&op, &format!("{method} /own?restype=container\nHOST\n"));
    }
    let create = |location: Option<&str>| {
        Operation::CreateBucket(CreateBucket {
            location: location.map(Box::from),
        })
    };
    check(
        &create(None),
        "
PUT /own?restype=container
HOST
content-length: 0
",
    );
    assert_eq!(refused(&create(Some("eu"))), Kind::LocationRefused);
    for name in ["ab", "a--b", "-ab", "ab-", "a.b", "Abc", &"a".repeat(64)] {
        let bucket = bucket(name, "");
        let error = Azure.encode(&create(None), &target(&bucket)).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidBucketName, "{name}");
    }
    check_at(
        &emulated("own"),
        &Operation::ListBuckets(ListBuckets {
            prefix: "pre-".into(),
            page: Some("/acct/pre-x".into()),
            max: Some(7),
        }),
        "
GET /devstoreaccount1/?comp=list&prefix=pre-&marker=%2Facct%2Fpre-x&maxresults=7
HOST
",
    );
}

#[test]
fn pages_begin_where_they_are_to() {
    let list = |start| {
        Operation::ListObjects(ListObjects {
            which: Which::Current,
            prefix: "p /".into(),
            delimiter: Some("/".into()),
            start,
            max: Some(9999),
        })
    };
    let page = "/own?restype=container&comp=list&include=metadata&prefix=dir%2Fp%20%2F&delimiter=%2F&maxresults=5000";
    check(&list(Start::First), &format!("GET {page}\nHOST\n"));
    let from = format!("GET {page}&startFrom=dir%2Fk\nHOST\nx-ms-version: 2026-02-06\n");
    check(&list(Start::After("k".into())), &from);
    check(&list(Start::At("k".into())), &from);
    let version = |version: &str| Start::AfterVersion("k".into(), VersionId(version.into()));
    check(&list(version("null")), &from);
    assert_eq!(refused(&list(version("1"))), Kind::InvalidArgument);
    let marked = format!("GET {page}&marker=2%2192\nHOST\n");
    check(&list(Start::Page("2!92".into())), &marked);
    check(&list(Start::Page("2!92\0behind\0k".into())), &marked);
    let all = Operation::ListObjects(ListObjects::default());
    check_at(
        &emulated("own"),
        &all,
        "
GET /devstoreaccount1/own?restype=container&comp=list&include=metadata
HOST
",
    );
}

#[test]
fn tags_are_read_and_written() {
    check(
        &Operation::GetTags(object("k")),
        "
GET /own/dir/k?comp=tags
HOST
",
    );
    let mut tags = Tags::default();
    tags.insert("a b", "1").unwrap();
    check(
        &Operation::PutTags(PutTags {
            object: object("k"),
            tags: tags.clone(),
        }),
        "
PUT /own/dir/k?comp=tags
HOST
content-length: 109
content-type: application/xml

<?xml version=\"1.0\" encoding=\"utf-8\"?><Tags><TagSet><Tag><Key>a b</Key><Value>1</Value></Tag></TagSet></Tags>
",
    );
    tags.insert("<", "1").unwrap();
    let object = object("k");
    assert_eq!(
        refused(&Operation::PutTags(PutTags { object, tags })),
        Kind::Unsupported
    );
}

#[test]
fn small_copies_take_all_that_is_beside_the_object() {
    let mut tagged = seen("aa-2", 256 << 20);
    tagged.tag_count = 1;
    check(
        &Operation::CopyObject(Box::new(CopyObject {
            class: Some(StorageClass::Archive),
            conditions: Preconditions {
                if_none_match: Some(TagMatch::Any),
                ..Preconditions::default()
            },
            ..copy(Some(tagged))
        })),
        "
PUT /own/dir/to
HOST
x-ms-copy-source: https://acct.blob.core.windows.net/own/dir/fr%C3%B6m
x-ms-source-if-match: \"0x8D1\"
x-ms-requires-sync: true
x-ms-access-tier: Archive
x-ms-copy-source-tag-option: COPY
if-none-match: *
content-length: 0
",
    );
}

#[test]
fn small_copies_may_have_other_metadata() {
    let mut attributes = Attributes::default();
    attributes.user.insert("new", "1").unwrap();
    check(
        &Operation::CopyObject(Box::new(CopyObject {
            attributes: Some(attributes),
            tags: Some(Tags::default()),
            ..copy(Some(seen("aa-2", 1)))
        })),
        "
PUT /own/dir/to
HOST
x-ms-copy-source: https://acct.blob.core.windows.net/own/dir/fr%C3%B6m
x-ms-source-if-match: \"0x8D1\"
x-ms-requires-sync: true
x-ms-meta-new: 1
x-ms-meta-aqueduct_etag: aa-2
content-length: 0
",
    );
}

#[test]
fn large_copies_and_those_with_other_headers_are_new_blobs_of_the_same_bytes() {
    let mut large = seen("07070707070707070707070707070707", (256 << 20) + 1);
    large.content.media_type = Some(HeaderValue::from_static("a/b"));
    large.checksums.push(StoredChecksum {
        checksum: Checksum::new(ChecksumKind::Sha1, &[7; 20]).unwrap(),
        extent: Extent::Parts(3),
    });
    check(
        &Operation::CopyObject(Box::new(copy(Some(large)))),
        "
PUT /own/dir/to
HOST
x-ms-copy-source: https://acct.blob.core.windows.net/own/dir/fr%C3%B6m
x-ms-source-if-match: \"0x8D1\"
x-ms-blob-type: BlockBlob
x-ms-copy-source-blob-properties: false
x-ms-blob-content-md5: BwcHBwcHBwcHBwcHBwcHBw==
x-ms-blob-content-type: a/b
x-ms-meta-old: 1
x-ms-meta-aqueduct_checksum: sha1:BwcHBwcHBwcHBwcHBwcHBwcHBwc=-3
content-length: 0
",
    );
    let mut tags = Tags::default();
    tags.insert("t", "1").unwrap();
    let mut other = seen("aa-2", 1);
    other.content.media_type = Some(HeaderValue::from_static("a/b"));
    check(
        &Operation::CopyObject(Box::new(CopyObject {
            attributes: Some(Attributes::default()),
            tags: Some(tags),
            ..copy(Some(other))
        })),
        "
PUT /own/dir/to
HOST
x-ms-copy-source: https://acct.blob.core.windows.net/own/dir/fr%C3%B6m
x-ms-source-if-match: \"0x8D1\"
x-ms-blob-type: BlockBlob
x-ms-copy-source-blob-properties: false
x-ms-meta-aqueduct_etag: aa-2
x-ms-tags: t=1
content-length: 0
",
    );
}

#[test]
fn copies_that_cannot_be_made_here_are_refused() {
    let copies = |change: fn(&mut CopyObject)| {
        let mut copy = copy(Some(seen("aa-2", 1)));
        change(&mut copy);
        Operation::CopyObject(Box::new(copy))
    };
    for (op, kind) in [
        (copies(|copy| copy.source.seen = None), Kind::Internal),
        (
            copies(|copy| copy.checksum = Some(ChecksumKind::Sha256)),
            Kind::Unsupported,
        ),
        (
            copies(|copy| {
                let key = CustomerKey::parse(&[1; 32]).unwrap();
                copy.encryption = Some(Encryption::Customer(key));
            }),
            Kind::Unsupported,
        ),
        (
            copies(|copy| copy.source.customer_key = CustomerKey::parse(&[1; 32])),
            Kind::Unsupported,
        ),
    ] {
        assert_eq!(refused(&op), kind);
    }
    let (own, other) = (bucket("own", ""), emulated("own"));
    let between = Target {
        bucket: &own,
        source: Some(&other),
    };
    let error = Azure.encode(&copies(|_| ()), &between).unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
}

#[test]
fn parts_are_blocks_named_by_upload_and_number() {
    let piece = |checksums| {
        Operation::UploadPiece(Box::new(UploadPiece {
            upload: upload("k"),
            piece: Piece::Block(block(1)),
            body: Body {
                length: Some(3),
                checksums,
            },
            customer_key: None,
        }))
    };
    let crc64 = Checksum::parse_base64(ChecksumKind::Crc64Nvme, "rosUhgp5mIg=").unwrap();
    let md5 = Checksum::new(ChecksumKind::Md5, &[7; 16]).unwrap();
    let target = "/own/dir/k?comp=block&blockid=AAAAAAAAAAAAAAAAAAAAAQ%3D%3D";
    // The same CRC, its bytes the other way round.
    check(
        &piece(vec![crc64.clone()]),
        &format!(
            "PUT {target}\nHOST\ncontent-length: 3\nx-ms-content-crc64: iJh5CoYUi64=\n\n(stream)\n"
        ),
    );
    check(
        &piece(vec![crc64, md5]),
        &format!(
            "PUT {target}\nHOST\ncontent-length: 3\ncontent-md5: BwcHBwcHBwcHBwcHBwcHBw==\n\n(stream)\n"
        ),
    );
    let copied = Operation::CopyPiece(Box::new(CopyPiece {
        upload: upload("k"),
        piece: Piece::Block(block(1)),
        source: copy(None).source,
        range: Some(ByteRange::Span { first: 0, last: 9 }),
        customer_key: None,
    }));
    check(
        &copied,
        &format!(
            "PUT {target}\nHOST\nx-ms-copy-source: https://acct.blob.core.windows.net/own/dir/fr%C3%B6m\nx-ms-source-if-match: \"0x8D1\"\nx-ms-source-range: bytes=0-9\ncontent-length: 0\n"
        ),
    );
    let mut empty = piece(Vec::new());
    if let Operation::UploadPiece(piece) = &mut empty {
        piece.body.length = Some(0);
    }
    assert_eq!(refused(&empty), Kind::Internal);
    let mut numbered = piece(Vec::new());
    if let Operation::UploadPiece(piece) = &mut numbered {
        piece.piece = Piece::Part(1);
    }
    assert_eq!(refused(&numbered), Kind::Internal);
}

#[test]
fn uploads_are_completed_with_their_blocks_and_all_that_is_beside_the_object() {
    check(
        &Operation::CompleteUpload(Box::new(complete())),
        "
PUT /own/dir/k?comp=blocklist
HOST
x-ms-meta-aqueduct_etag: 07070707070707070707070707070707-4
x-ms-meta-aqueduct_parts: 5*2,0,7
x-ms-meta-aqueduct_upload: 00112233445566ff
if-none-match: *
content-length: 163
content-type: application/xml

<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><Uncommitted>AAAAAAAAAAAAAAAAAAAAAQ==</Uncommitted><Uncommitted>AAAAAAAAAAAAAAAAAAAAAg==</Uncommitted></BlockList>
",
    );
    let changed = |change: fn(&mut CompleteUpload)| {
        let mut complete = complete();
        change(&mut complete);
        refused(&Operation::CompleteUpload(Box::new(complete)))
    };
    assert_eq!(changed(|it| it.attributes = None), Kind::Internal);
    assert_eq!(changed(|it| it.pieces = Pieces::Ranges(5)), Kind::Internal);
    assert_eq!(
        changed(|it| it.pieces = Pieces::Parts(Vec::new())),
        Kind::Internal
    );
}

#[test]
fn an_object_that_was_sent_in_one_has_its_md5_where_the_store_keeps_it() {
    let sent_in_one = CompleteUpload {
        made: Some(Made {
            etag: ETag::of_md5([7; 16]),
            part_sizes: Vec::new(),
        }),
        ..complete()
    };
    let bucket = bucket("own", "");
    let op = Operation::CompleteUpload(Box::new(sent_in_one));
    let text = text(&Azure.encode(&op, &target(&bucket)).unwrap());
    assert!(text.contains("x-ms-blob-content-md5: BwcHBwcHBwcHBwcHBwcHBw==\n"));
    assert!(!text.contains("aqueduct_etag") && !text.contains("aqueduct_parts"));
}

#[test]
fn blocks_of_a_client_are_committed_as_it_says() {
    let named = CompleteUpload {
        pieces: Pieces::Blocks(vec![
            (block(1), BlockState::Latest),
            (block(1), BlockState::Committed),
        ]),
        made: None,
        ..complete()
    };
    let bucket = bucket("own", "");
    let op = Operation::CompleteUpload(Box::new(named));
    let request = Azure.encode(&op, &target(&bucket)).unwrap();
    let text = text(&request);
    assert!(text.contains("<BlockList><Latest>AAAAAAAAAAAAAAAAAAAAAQ==</Latest><Committed>"));
    assert!(!text.contains("aqueduct_"));
}

#[test]
fn sizes_of_parts_that_would_fill_the_metadata_are_not_kept() {
    let sizes: Vec<u64> = (5 << 20..).take(10_000).collect();
    let many = CompleteUpload {
        made: Some(Made {
            etag: ETag::of_parts([7; 16], sizes.len()),
            part_sizes: sizes,
        }),
        ..complete()
    };
    let bucket = bucket("own", "");
    let op = Operation::CompleteUpload(Box::new(many));
    let head = Azure.encode(&op, &target(&bucket)).unwrap().head;
    assert!(head.header("x-ms-meta-aqueduct_parts").is_none());
    assert!(head.header("x-ms-meta-aqueduct_etag").is_some());
}

#[test]
fn the_largest_uploads_fit() {
    // 10,000 parts of 5 GiB, each two blocks.
    let parts = 10_000;
    let slices = cut(whole(5 << 30), names::BLOCK_BYTES_MAX).count() as u64;
    assert_eq!(slices, 2);
    assert!(parts * slices <= u64::from(names::BLOCKS_MAX));
    assert!(parts * (5 << 30) <= names::BLOB_BYTES_MAX);
}

#[test]
fn a_journal_lies_under_our_own_prefix_below_that_of_the_bucket() {
    // The digest is that of "k", by `printf k | sha256sum`.
    let name = "/own/dir/.aqueduct/uploads/8254c329a92850f6d539dd376f4816ee/00112233445566ff";
    let attributes = Attributes {
        class: Some(StorageClass::Cool),
        ..Attributes::default()
    };
    let create = Journal::Create(Box::new(CreateJournal {
        upload: upload("k"),
        attributes,
    }));
    check(
        &Operation::Journal(create),
        &format!(
            "PUT {name}\nHOST\nx-ms-blob-type: AppendBlob\nif-none-match: *\nx-ms-meta-aqueduct_key: k\nx-ms-meta-aqueduct_tier: Cool\ncontent-length: 0\n"
        ),
    );
    let append = Journal::Append {
        upload: upload("k"),
        records: "{}\n".into(),
    };
    check(
        &Operation::Journal(append),
        &format!("PUT {name}?comp=appendblock\nHOST\ncontent-length: 3\n\n{{}}\n\n"),
    );
    for (journal, method) in [
        (Journal::Read(upload("k")), "GET"),
        (Journal::Delete(upload("k")), "DELETE"),
    ] {
        check(
            &Operation::Journal(journal),
            &format!("{method} {name}\nHOST\n"),
        );
    }
    check(
        &Operation::Journal(Journal::List(Some("m".into()))),
        "GET /own?restype=container&comp=list&include=metadata&prefix=dir%2F.aqueduct%2Fuploads%2F&marker=m\nHOST\n",
    );
}

#[test]
fn attributes_that_the_object_could_not_have_are_refused_when_its_upload_begins() {
    let refused_with = |change: fn(&mut Attributes)| {
        let mut attributes = Attributes::default();
        change(&mut attributes);
        refused(&Operation::Journal(Journal::Create(Box::new(
            CreateJournal {
                upload: upload("k"),
                attributes,
            },
        ))))
    };
    assert_eq!(
        refused_with(|it| it.user.insert("m", &"x".repeat(7000)).unwrap()),
        Kind::MetadataTooLarge
    );
    assert_eq!(
        refused_with(|it| it.tags.insert("t", "\u{e4}").unwrap()),
        Kind::Unsupported
    );
}

#[test]
fn names_that_the_store_would_change_are_refused() {
    let long = "a/".repeat(254);
    for (key, kind) in [
        ("a\\b", Kind::InvalidArgument),
        ("a.", Kind::InvalidArgument),
        ("a./b", Kind::InvalidArgument),
        ("a\u{1}", Kind::InvalidArgument),
        ("a\u{81}", Kind::InvalidArgument),
        ("a\n", Kind::InvalidArgument),
        ("a/../b", Kind::AccessDenied),
        (&*long, Kind::InvalidArgument),
        (&*"\u{e4}".repeat(1021), Kind::KeyTooLong),
    ] {
        let read = Operation::GetObject(Box::new(ReadObject::new(key)));
        assert_eq!(refused(&read), kind, "{key:?}");
    }
    for key in [
        "a//b",
        "/a",
        "a/",
        "//",
        ".a",
        "a.b",
        "\u{1F980}\u{e4} +%&?#",
    ] {
        let read = Operation::GetObject(Box::new(ReadObject::new(key)));
        let bucket = bucket("own", "");
        assert!(Azure.encode(&read, &target(&bucket)).is_ok(), "{key:?}");
    }
}
