//! Answers as the service writes them.

use std::fmt::Write;

use super::*;

fn decode(op: &Operation, status: u16, headers: &[(&str, &str)], body: &str) -> Result<Reply> {
    decode_seen(op, status, headers, body, &Observed::default())
}

fn decode_seen(
    op: &Operation,
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
    observed: &Observed,
) -> Result<Reply> {
    let bucket = bucket("own", "dir/");
    let (status, headers) = answer(status, headers);
    let head = ReplyHead {
        status,
        headers: &headers,
    };
    Azure.decode_reply(op, &target(&bucket), head, Some(body.as_bytes()), observed)
}

const AT: &str = "Fri, 24 May 2013 00:00:00 GMT";

fn meta(headers: &[(&str, &str)]) -> ObjectMeta {
    let read = Operation::HeadObject(Box::new(ReadObject::new("k")));
    let mut all = vec![
        ("content-length", "10"),
        ("etag", "\"0x8D1\""),
        ("last-modified", AT),
    ];
    all.extend(headers);
    let Reply::Object(head) = decode(&read, 200, &all, "").unwrap() else {
        panic!("another reply");
    };
    head.meta
}

#[test]
fn an_object_tells_all_that_is_beside_it() {
    let told = meta(&[
        ("content-type", "text/plain"),
        ("content-md5", "BwcHBwcHBwcHBwcHBwcHBw=="),
        ("content-encoding", "gzip"),
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-access-tier", "Archive"),
        ("x-ms-archive-status", "rehydrate-pending-to-hot"),
        ("x-ms-tag-count", "2"),
        ("x-ms-meta-Plain_1", "value"),
        ("x-ms-meta-word", "=?utf-8?B?dsOkbHVl?="),
        ("x-ms-meta-other", "=?utf-8?B?%%%?="),
        ("x-ms-meta-aqueduct_meta", "eyJzb21lLm5hbWUiOiJ4In0"),
        ("x-ms-meta-aqueduct_expires", "never"),
        ("x-ms-meta-aqueduct_redirect", "/to"),
        ("x-ms-meta-aqueduct_parts", "3*2,4"),
        ("x-ms-meta-aqueduct_upload", "uid"),
        ("x-ms-meta-aqueduct_checksum", "crc32:AAAAAA==-3"),
        ("x-ms-encryption-key-sha256", "abc"),
    ]);
    let user: Vec<_> = told.user.iter().collect();
    assert_eq!(
        user,
        [
            ("other", "=?utf-8?B?%%%?="),
            ("plain_1", "value"),
            ("some.name", "x"),
            ("word", "v\u{e4}lue"),
        ]
    );
    assert_eq!(told.etag.as_str(), "07070707070707070707070707070707");
    assert_eq!(told.content.media_type.unwrap(), "text/plain");
    assert_eq!(told.content.encoding.unwrap(), "gzip");
    assert_eq!(told.content.expires.unwrap(), "never");
    assert_eq!(told.redirect.unwrap(), "/to");
    assert_eq!(told.class, Some(StorageClass::Archive));
    assert_eq!(told.restore, Some(Restore::Underway));
    assert_eq!(told.tag_count, 2);
    assert_eq!(told.part_sizes, [3, 3, 4]);
    assert_eq!(told.upload.as_deref(), Some("uid"));
    assert_eq!(told.checksums[0].extent, Extent::Parts(3));
    assert_eq!(told.revision, Some(Revision("\"0x8D1\"".into())));
    assert!(told.encrypted_by_customer);
}

#[test]
fn part_sizes_that_are_not_those_of_the_object_are_not_believed() {
    for sizes in [
        "3*2,5",
        "",
        "x",
        "3*99999999999",
        "1*50001",
        "18446744073709551615*2",
        "-1",
    ] {
        let told = meta(&[("x-ms-meta-aqueduct_parts", sizes)]);
        assert!(told.part_sizes.is_empty(), "{sizes}");
    }
}

#[test]
fn a_range_tells_the_digest_of_the_whole_apart() {
    let read = Operation::GetObject(Box::new(ReadObject::new("k")));
    let reply = decode(
        &read,
        206,
        &[
            ("content-length", "2"),
            ("content-range", "bytes 3-4/10"),
            ("content-md5", "CAgICAgICAgICAgICAgICA=="),
            ("x-ms-blob-content-md5", "BwcHBwcHBwcHBwcHBwcHBw=="),
            ("etag", "\"0x8D1\""),
            ("last-modified", AT),
        ],
        "",
    );
    let Reply::Object(head) = reply.unwrap() else {
        panic!("another reply");
    };
    assert_eq!(head.span, Some(Span { first: 3, last: 4 }));
    assert_eq!(head.meta.size, 10);
    assert_eq!(head.meta.etag.as_str(), "07070707070707070707070707070707");
}

#[test]
fn an_object_that_others_stored_has_an_etag_that_is_no_md5() {
    let foreign = meta(&[]).etag;
    assert!(foreign.md5().is_none());
    assert_eq!(foreign.parts(), Some(1));
    let page = objects(&ListObjects::default(), &[("k", "")], &[]);
    let ListedState::Stored { etag, .. } = &page.entries[0].state else {
        panic!("no object");
    };
    // The service quotes its marks in headers, and not in listings.
    assert_eq!(*etag, foreign);
    let kept = meta(&[
        ("x-ms-meta-aqueduct_etag", "aa-2"),
        ("content-md5", "BwcHBwcHBwcHBwcHBwcHBw=="),
    ]);
    assert_eq!(kept.etag.as_str(), "aa-2");
}

#[test]
fn broken_answers_are_said_to_be_broken() {
    let read = Operation::GetObject(Box::new(ReadObject::new("k")));
    for headers in [
        &[
            ("content-length", "x"),
            ("etag", "a"),
            ("last-modified", AT),
        ][..],
        &[("content-length", "1"), ("last-modified", AT)],
        &[("content-length", "1"), ("etag", "a")],
        &[
            ("content-length", "1"),
            ("content-range", "bytes 5-4/9"),
            ("etag", "a"),
            ("last-modified", AT),
        ],
        &[
            ("content-length", "1"),
            ("etag", "a"),
            ("last-modified", AT),
            ("x-ms-meta-aqueduct_meta", "!"),
        ],
    ] {
        let error = decode(&read, 200, headers, "").unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamBroken, "{headers:?}");
    }
    let list = Operation::ListObjects(ListObjects::default());
    for body in [
        "",
        "<html/>",
        "<EnumerationResults><Blobs><Blob/></Blobs></EnumerationResults>",
    ] {
        let error = decode(&list, 200, &[], body).unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamBroken, "{body}");
    }
}

fn stored(op: &Operation, headers: &[(&str, &str)], observed: &Observed) -> Stored {
    let reply = decode_seen(op, 201, headers, "", observed).unwrap();
    if let Reply::Copied(copied) = reply {
        return copied.stored;
    }
    let Reply::Stored(stored) = reply else {
        panic!("another reply");
    };
    *stored
}

#[test]
fn an_upload_has_the_md5_of_what_was_sent() {
    let op = |checksums| {
        let mut put = put();
        put.body.checksums = checksums;
        Operation::PutObject(Box::new(put))
    };
    let crc64 = Checksum::parse_base64(ChecksumKind::Crc64Nvme, "rosUhgp5mIg=").unwrap();
    let sent = Observed {
        bytes: 9,
        crc64nvme: Some(0xae8b_1486_0a79_9888),
        md5: Some([7; 16]),
        ..Observed::default()
    };
    let headers = [
        ("etag", "\"0x8D1\""),
        ("last-modified", AT),
        ("content-md5", "BwcHBwcHBwcHBwcHBwcHBw=="),
        ("x-ms-content-crc64", "iJh5CoYUi64="),
    ];
    let told = stored(&op(vec![crc64.clone()]), &headers, &sent);
    assert_eq!(told.etag.as_str(), "07070707070707070707070707070707");
    assert_eq!(told.checksums[0].checksum, crc64);
    assert!(told.verify(&sent).is_ok());
    for other in [
        Observed {
            md5: Some([8; 16]),
            ..sent.clone()
        },
        Observed {
            crc64nvme: Some(1),
            ..sent
        },
    ] {
        assert!(told.verify(&other).is_err());
    }
    let undo = told.undo(&op(Vec::new())).unwrap();
    let Operation::DeleteObject(undo) = undo else {
        panic!("another operation");
    };
    assert_eq!(undo.conditions, pinned("\"0x8D1\""));
    // Declared by the client, and compared by the service.
    let declared = op(vec![Checksum::new(ChecksumKind::Md5, &[9; 16]).unwrap()]);
    assert!(!Azure.digests(&declared).md5);
    let told = stored(&declared, &[], &Observed::default());
    assert_eq!(told.etag, ETag::of_md5([9; 16]));
    assert!(Azure.digests(&op(Vec::new())).md5);
    let unknown = decode(&op(Vec::new()), 201, &[], "").unwrap_err();
    assert_eq!(unknown.kind(), Kind::UpstreamBroken);
}

#[test]
fn a_copy_has_the_etag_of_its_source_if_it_is_one_of_its_bytes() {
    let headers = [
        ("etag", "\"0x8D2\""),
        ("last-modified", AT),
        ("x-ms-copy-status", "success"),
    ];
    let copy_of = |seen: ObjectMeta| Operation::CopyObject(Box::new(copy(Some(seen))));
    let known = stored(&copy_of(seen("aa-2", 1)), &headers, &Observed::default());
    assert_eq!(known.etag.as_str(), "aa-2");
    let foreign = meta(&[]);
    assert_eq!(foreign.revision, Some(Revision("\"0x8D1\"".into())));
    let told = stored(&copy_of(foreign.clone()), &headers, &Observed::default());
    assert_eq!(told.etag, meta_of_mark("\"0x8D2\""));
    assert_ne!(told.etag, foreign.etag);
    let pending = [("etag", "\"0x8D2\""), ("x-ms-copy-status", "pending")];
    let error = decode(&copy_of(foreign), 202, &pending, "").unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamBroken);
}

fn meta_of_mark(mark: &str) -> ETag {
    let read = Operation::HeadObject(Box::new(ReadObject::new("k")));
    let headers = [
        ("content-length", "1"),
        ("etag", mark),
        ("last-modified", AT),
    ];
    let Reply::Object(head) = decode(&read, 200, &headers, "").unwrap() else {
        panic!("another reply");
    };
    head.meta.etag
}

#[test]
fn a_completed_upload_has_the_etag_that_it_was_made_with() {
    let mut op = complete();
    let checksum = Checksum::new(ChecksumKind::Crc32, &[1; 4]).unwrap();
    let of = UploadChecksum {
        kind: ChecksumKind::Crc32,
        over: ChecksumOver::Parts,
    };
    op.checksum = Some((of, checksum));
    let op = Operation::CompleteUpload(Box::new(op));
    let headers = [("etag", "\"0x8D2\""), ("last-modified", AT)];
    let told = stored(&op, &headers, &Observed::default());
    assert_eq!(told.etag.as_str(), "07070707070707070707070707070707-4");
    assert_eq!(told.checksums[0].extent, Extent::Parts(4));
}

/// A page: blobs with their properties, and common prefixes.
fn page_document(blobs: &[(&str, &str)], prefixes: &[&str], next: &str) -> String {
    let mut out = String::from(
        "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://acct.blob.core.windows.net/\" ContainerName=\"own\"><Prefix>dir/</Prefix><Blobs>",
    );
    for (name, more) in blobs {
        write!(
            out,
            "<Blob><Name>dir/{name}</Name><Properties><Creation-Time>{AT}</Creation-Time><Last-Modified>{AT}</Last-Modified><Etag>0x8D1</Etag><Content-Length>10</Content-Length><BlobType>BlockBlob</BlobType><AccessTier>Cool</AccessTier><AccessTierInferred>true</AccessTierInferred>{more}</Properties><Metadata><n>v</n></Metadata><OrMetadata /></Blob>"
        ).unwrap();
    }
    for prefix in prefixes {
        write!(out, "<BlobPrefix><Name>dir/{prefix}</Name></BlobPrefix>").unwrap();
    }
    write!(
        out,
        "</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
    )
    .unwrap();
    out
}

fn objects_next(
    list: &ListObjects,
    blobs: &[(&str, &str)],
    prefixes: &[&str],
    next: &str,
) -> ObjectPage {
    let op = Operation::ListObjects(list.clone());
    let Reply::Objects(page) =
        decode(&op, 200, &[], &page_document(blobs, prefixes, next)).unwrap()
    else {
        panic!("another reply");
    };
    page
}

fn objects(list: &ListObjects, blobs: &[(&str, &str)], prefixes: &[&str]) -> ObjectPage {
    objects_next(list, blobs, prefixes, "")
}

#[test]
fn pages_show_clients_their_own_names() {
    let md5 = "<Content-MD5>BwcHBwcHBwcHBwcHBwcHBw==</Content-MD5>";
    let page = objects_next(
        &ListObjects {
            which: Which::Versions,
            ..ListObjects::default()
        },
        &[
            ("a &amp; b", md5),
            (".aqueduct/stage/x", ""),
            ("\u{e4}", ""),
        ],
        &["p/", ".aqueduct/"],
        "2!92!x",
    );
    let keys: Vec<_> = page.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["a & b", "\u{e4}"]);
    assert_eq!(page.prefixes, [Box::<str>::from("p/")]);
    assert_eq!(page.next.as_deref(), Some("2!92!x"));
    let entry = &page.entries[0];
    let stored = ListedState::Stored {
        size: 10,
        etag: ETag::of_md5([7; 16]),
        class: Some(StorageClass::Cool),
    };
    assert_eq!(entry.state, stored);
    assert_eq!(entry.version, Some(VersionId("null".into())));
    assert!(entry.is_latest);
}

#[test]
fn names_that_xml_cannot_hold_are_decoded() {
    let document = page_document(&[("x", ""), ("%EF%BF%BF%25", "")], &["p%2F"], "")
        .replace("<Name>dir/%EF", "<Name Encoded=\"true\">dir/%EF");
    let op = Operation::ListObjects(ListObjects::default());
    let Reply::Objects(page) = decode(&op, 200, &[], &document).unwrap() else {
        panic!("another reply");
    };
    assert_eq!(&*page.entries[1].key, "\u{FFFF}%");
    // This one is called so.
    assert_eq!(page.prefixes, [Box::<str>::from("p%2F")]);
}

/// Where the service began too early, or with the key itself.
#[test]
fn what_comes_too_early_is_left_out_until_the_beginning_was_reached() {
    let list = |start| ListObjects {
        delimiter: Some("/".into()),
        start,
        ..ListObjects::default()
    };
    let shown = |start, blobs: &[&str], prefixes: &[&str]| {
        let blobs: Vec<_> = blobs.iter().map(|name| (*name, "")).collect();
        let page = objects_next(&list(start), &blobs, prefixes, "m");
        let keys = page.entries.iter().map(|entry| entry.key.to_string());
        let keys: Vec<_> = keys
            .chain(page.prefixes.iter().map(ToString::to_string))
            .collect();
        (keys.join(" "), page.next.unwrap().to_string())
    };
    let after = |key: &str| Start::After(key.into());
    let is = |keys: &str, next: &str| (keys.to_owned(), next.to_owned());
    assert_eq!(shown(after("b"), &["a", "b"], &[]), is("", "m\0behind\0b"));
    assert_eq!(
        shown(after("b"), &["a", "b", "c"], &["a/", "d/"]),
        is("c d/", "m")
    );
    assert_eq!(shown(after("p/"), &["q"], &["p/"]), is("q", "m"));
    assert_eq!(shown(after("p/x"), &["q"], &["o/", "p/"]), is("q p/", "m"));
    assert_eq!(
        shown(Start::At("b".into()), &["a"], &[]),
        is("", "m\0with\0b")
    );
    assert_eq!(shown(Start::At("b".into()), &["a", "b"], &[]), is("b", "m"));
    let page = |token: &str| Start::Page(token.into());
    assert_eq!(shown(page("l\0behind\0b"), &["b", "c"], &[]), is("c", "m"));
    assert_eq!(shown(page("l\0with\0b"), &["a"], &[]), is("", "m\0with\0b"));
    assert_eq!(shown(page("l"), &["a"], &[]), is("a", "m"));
}

#[test]
fn containers_are_listed() {
    let document = format!(
        "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://acct.blob.core.windows.net/\"><Prefix>p</Prefix><Containers><Container><Name>p-a</Name><Properties><Last-Modified>{AT}</Last-Modified><Etag>\"0x8D1\"</Etag></Properties></Container></Containers><NextMarker>/acct/p-b</NextMarker></EnumerationResults>"
    );
    let op = Operation::ListBuckets(ListBuckets::default());
    let Reply::Buckets(page) = decode(&op, 200, &[], &document).unwrap() else {
        panic!("another reply");
    };
    assert_eq!(&*page.buckets[0].name, "p-a");
    assert!(page.buckets[0].created_at.is_some());
    assert_eq!(page.next.as_deref(), Some("/acct/p-b"));
}

#[test]
fn tags_come_in_a_document() {
    let document = "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?><Tags><TagSet><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value/></Tag></TagSet></Tags>";
    let op = Operation::GetTags(object("k"));
    let Reply::Tags(tags) = decode(&op, 200, &[], document).unwrap() else {
        panic!("another reply");
    };
    assert_eq!(tags.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "")]);
}

#[test]
fn uploads_are_found_by_their_journals() {
    let blob = |name: &str, metadata: &str| {
        format!(
            "<Blob><Name>{name}</Name><Properties><Creation-Time>{AT}</Creation-Time><Last-Modified>Sat, 25 May 2013 00:00:00 GMT</Last-Modified><Etag>0x8D1</Etag><Content-Length>9</Content-Length></Properties><Metadata>{metadata}</Metadata></Blob>"
        )
    };
    let blobs = [
        blob(
            "dir/.aqueduct/uploads/ab/00112233445566ff",
            "<aqueduct_key>=?utf-8?B?w6Q=?=</aqueduct_key><aqueduct_tier>Cool</aqueduct_tier>",
        ),
        blob("dir/.aqueduct/uploads/other", ""),
        blob(
            "dir/.aqueduct/uploads/cd/1",
            "<aqueduct_key>k</aqueduct_key>",
        ),
    ];
    let document = format!(
        "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{}</Blobs><NextMarker>m</NextMarker></EnumerationResults>",
        blobs.concat()
    );
    let op = Operation::Journal(Journal::List(None));
    let Reply::Journals(page) = decode(&op, 200, &[], &document).unwrap() else {
        panic!("another reply");
    };
    let at: jiff::Timestamp = "2013-05-24T00:00:00Z".parse().unwrap();
    let found = page.uploads.iter();
    let found: Vec<_> = found
        .map(|it| (&*it.key, &*it.id, it.class, it.initiated))
        .collect();
    assert_eq!(
        found,
        [
            ("\u{e4}", "00112233445566ff", Some(StorageClass::Cool), at),
            ("k", "1", None, at),
        ]
    );
    assert_eq!(page.next.as_deref(), Some("m"));
}

#[test]
fn a_journal_that_is_gone_is_an_upload_that_is_over() {
    for journal in [
        Journal::Read(upload("k")),
        Journal::Delete(upload("k")),
        Journal::Append {
            upload: upload("k"),
            records: "{}\n".into(),
        },
    ] {
        let (status, headers) = answer(404, &[("x-ms-error-code", "BlobNotFound")]);
        let head = ReplyHead {
            status,
            headers: &headers,
        };
        let error = Azure.decode_error(&Operation::Journal(journal), head, b"");
        assert_eq!(error.kind(), Kind::UploadNotFound);
    }
}

#[test]
fn what_becomes_of_bodies() {
    let read = Operation::GetObject(Box::new(ReadObject::new("k")));
    let head = Operation::HeadObject(Box::new(ReadObject::new("k")));
    let list = Operation::ListObjects(ListObjects::default());
    let of = |op: &Operation, status| Azure.reply_body(op, StatusCode::from_u16(status).unwrap());
    assert_eq!(of(&read, 206), ReplyBody::Forward);
    assert_eq!(of(&read, 304), ReplyBody::None);
    assert_eq!(of(&head, 404), ReplyBody::Failure { bytes_max: 0 });
    assert!(matches!(
        of(&read, 404),
        ReplyBody::Failure { bytes_max: 1.. }
    ));
    assert!(matches!(of(&list, 200), ReplyBody::Document { .. }));
}
