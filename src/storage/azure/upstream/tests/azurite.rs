//! The codec against Azurite, over a plain connection: what it writes is understood, what it reads is what is said.
//!
//! Wants the test bed: `testbed/with azurite cargo test --lib storage::azure -- --ignored`, which `make test` calls.

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use md5::{Digest, Md5};

use super::*;
use crate::storage::azure::auth;
use crate::storage::azure::tests_support::served;
use crate::storage::codec::UpstreamBody;
use crate::storage::plan::{Probe, Settled};

/// A container of the server's.
struct Server {
    bucket: Bucket,
}

impl Server {
    fn new(container: &str) -> Self {
        let var = |name: &str| env::var(name).expect("the test bed is up");
        let endpoint = var("TESTBED_AZURE_ENDPOINT");
        let authority = endpoint.strip_prefix("http://").unwrap();
        let (authority, _) = authority.split_once('/').unwrap_or((authority, ""));
        let key = STANDARD.decode(var("TESTBED_AZURE_KEY")).unwrap();
        let account = var("TESTBED_AZURE_ACCOUNT");
        Self {
            bucket: served(authority, &account, &key, container),
        }
    }

    /// One operation, as a proxy carries it out. `None`: an object's bytes are not looked at.
    fn run(&self, op: &Operation, body: &[u8]) -> Result<Reply> {
        self.exchange(op, body).map(|(reply, _)| reply)
    }

    fn exchange(&self, op: &Operation, body: &[u8]) -> Result<(Reply, Vec<u8>)> {
        let target = target(&self.bucket);
        let mut request = Azure.encode(op, &target)?;
        let account = self.bucket.resource.azure().unwrap();
        let ready = account.credential.ready().unwrap();
        auth::sign(&mut request.head, account, ready, now())?;
        let body = match &request.body {
            UpstreamBody::None => &[],
            UpstreamBody::Document(document) => &**document,
            UpstreamBody::Stream => body,
        };
        let (status, headers, document) = send(&request, body);
        let head = ReplyHead {
            status,
            headers: &headers,
        };
        if let ReplyBody::Failure { .. } = Azure.reply_body(op, status) {
            return Err(Azure.decode_error(op, head, &document));
        }
        let observed = Observed {
            bytes: body.len() as u64,
            md5: Azure.digests(op).md5.then(|| Md5::digest(body).into()),
            ..Observed::default()
        };
        let reply = Azure.decode_reply(op, &target, head, Some(&document), &observed)?;
        if let Reply::Stored(stored) = &reply {
            stored.verify(&observed)?;
        }
        Ok((reply, document))
    }

    /// A look, and what it makes of the operation.
    fn probe(&self, probe: Probe, op: &Operation, body: &[u8]) -> Result<Reply> {
        let look = probe.request(op).unwrap();
        let found = match self.run(&Operation::HeadObject(Box::new(look)), &[]) {
            Ok(Reply::Object(found)) => Some(found.meta),
            Err(error) if error.kind() == Kind::ObjectNotFound => None,
            other => panic!("{other:?}"),
        };
        match probe.settle(op, found.as_ref())? {
            Settled::Send(op) => self.run(&op, body),
            Settled::NotModified(same) => Ok(Reply::NotModified(same)),
        }
    }

    fn meta(&self, key: &str) -> ObjectMeta {
        let read = Operation::HeadObject(Box::new(ReadObject::new(key)));
        let Reply::Object(found) = self.run(&read, &[]).unwrap() else {
            panic!("another reply");
        };
        found.meta
    }

    fn page(&self, list: ListObjects) -> ObjectPage {
        let Reply::Objects(page) = self.run(&Operation::ListObjects(list), &[]).unwrap() else {
            panic!("another reply");
        };
        page
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server compares it with its own"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

fn send(request: &UpstreamRequest, body: &[u8]) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let head = &request.head;
    let host = head.header("host").unwrap().to_str().unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let mut out = format!("{} {} HTTP/1.1\r\n", head.method, head.target).into_bytes();
    for (name, value) in &head.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"connection: close\r\n\r\n");
    out.extend_from_slice(body);
    stream.write_all(&out).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = answer.split_at(end);
    let mut lines = std::str::from_utf8(head).unwrap().lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(
            http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let chunked = headers.contains_key("transfer-encoding");
    let body = if chunked { joined(body) } else { body.to_vec() };
    (status, headers, body)
}

fn joined(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let line = body.windows(2).position(|at| at == b"\r\n").unwrap();
        let size = std::str::from_utf8(&body[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 2 + size + 2..];
    }
}

fn upload_of(key: &str, body: &[u8]) -> PutObject {
    let mut put = put();
    put.key = key.into();
    put.conditions = Preconditions::default();
    put.body = Body {
        length: Some(body.len() as u64),
        checksums: Vec::new(),
    };
    put
}

fn created(container: &str) -> Server {
    let server = Server::new(container);
    let create = Operation::CreateBucket(CreateBucket::default());
    if let Err(error) = server.run(&create, &[]) {
        assert_eq!(error.kind(), Kind::BucketExists, "{error}");
        server.run(&Operation::DeleteBucket, &[]).unwrap();
        server.run(&create, &[]).unwrap();
    }
    server
}

#[test]
#[ignore = "wants Azurite"]
fn azurite_keeps_objects_with_all_that_is_beside_them() {
    let server = created("aq-objects");
    assert!(server.run(&Operation::HeadBucket, &[]).is_ok());
    let key = "a b//\u{e4}+%2F\u{1F980}/";
    let put = upload_of(key, b"hello");
    let expected = put.attributes.clone();
    let op = Operation::PutObject(Box::new(put.clone()));
    let Reply::Stored(stored) = server.run(&op, b"hello").unwrap() else {
        panic!("not stored");
    };
    assert_eq!(stored.etag.as_str(), "5d41402abc4b2a76b9719d911017c592");
    let told = server.meta(key);
    assert_eq!(told.etag, stored.etag);
    assert_eq!(told.user, expected.user);
    assert_eq!(told.content.media_type, expected.content.media_type);
    assert_eq!(told.content.expires, expected.content.expires);
    assert_eq!(told.class, Some(StorageClass::Cool));
    assert_eq!(told.tag_count, 1);
    assert_eq!(told.revision, stored.revision);
    let get = |what| {
        let mut read = ReadObject::new(key);
        read.what = what;
        Operation::GetObject(Box::new(read))
    };
    let (_, bytes) = server.exchange(&get(Selection::Whole), &[]).unwrap();
    assert_eq!(bytes, b"hello");
    let some = Selection::Range(ByteRange::Span { first: 1, last: 9 });
    let (reply, bytes) = server.exchange(&get(some), &[]).unwrap();
    let Reply::Object(head) = reply else {
        panic!("no object");
    };
    assert_eq!((&*bytes, head.meta.size), (&b"ello"[..], 5));
    assert_eq!(head.meta.etag, stored.etag);
    let far = Selection::Range(ByteRange::From(9));
    assert_eq!(
        server.run(&get(far), &[]).unwrap_err().kind(),
        Kind::InvalidRange
    );
}

#[test]
#[ignore = "wants Azurite"]
fn azurite_keeps_tags_and_forgets_objects() {
    let server = created("aq-tags");
    let put = upload_of("k", b"hello");
    let op = Operation::PutObject(Box::new(put.clone()));
    server.run(&op, b"hello").unwrap();
    let key = "k";
    let mut tags = Tags::default();
    tags.insert("k 1", "v/2").unwrap();
    let object = object(key);
    let tag = Operation::PutTags(PutTags {
        object: object.clone(),
        tags: tags.clone(),
    });
    server.run(&tag, &[]).unwrap();
    let Reply::Tags(told) = server
        .run(&Operation::GetTags(object.clone()), &[])
        .unwrap()
    else {
        panic!("no tags");
    };
    assert_eq!(told, tags);
    // Other bytes than were declared: this server has another code for it than the service.
    let mut wrong = put;
    wrong.body.checksums = vec![Checksum::new(ChecksumKind::Md5, &[1; 16]).unwrap()];
    let wrong = Operation::PutObject(Box::new(wrong));
    let kind = server.run(&wrong, b"hello").unwrap_err().kind();
    assert!(
        matches!(kind, Kind::DigestMismatch | Kind::InvalidRequest),
        "{kind:?}"
    );
    let delete = Operation::DeleteObject(Box::new(DeleteObject {
        object,
        conditions: Preconditions::default(),
    }));
    server.run(&delete, &[]).unwrap();
    assert_eq!(
        server.run(&delete, &[]).unwrap_err().kind(),
        Kind::ObjectNotFound
    );
    let head = Operation::HeadObject(Box::new(ReadObject::new(key)));
    assert_eq!(
        server.run(&head, &[]).unwrap_err().kind(),
        Kind::ObjectNotFound
    );
}

#[test]
#[ignore = "wants Azurite"]
fn azurite_compares_the_marks_that_conditions_became() {
    let server = created("aq-conditions");
    let write = |conditions: Preconditions, body: &[u8]| {
        let mut put = upload_of("k", body);
        put.conditions = conditions;
        Operation::PutObject(Box::new(put))
    };
    let absent = Preconditions {
        if_none_match: Some(TagMatch::Any),
        ..Preconditions::default()
    };
    server.run(&write(absent.clone(), b"1"), b"1").unwrap();
    let taken = server.run(&write(absent, b"2"), b"2").unwrap_err();
    assert_eq!(taken.kind(), Kind::PreconditionFailed);
    let first = server.meta("k");
    let is_first = Preconditions {
        if_match: TagMatch::parse(first.etag.as_str()),
        ..Preconditions::default()
    };
    let over = write(is_first.clone(), b"22");
    server.probe(Probe::Object, &over, b"22").unwrap();
    let again = server.probe(Probe::Object, &over, b"22").unwrap_err();
    assert_eq!(again.kind(), Kind::PreconditionFailed);
    // It changed between the look and the write.
    let stale = write(pinned(&first.revision.unwrap().0), b"3");
    assert_eq!(
        server.run(&stale, b"3").unwrap_err().kind(),
        Kind::PreconditionFailed
    );
    let mut read = ReadObject::new("k");
    read.what = Selection::Range(ByteRange::Last(1));
    read.conditions.if_none_match = is_first.if_match;
    let read = Operation::GetObject(Box::new(read));
    let Reply::Object(head) = server.probe(Probe::Object, &read, &[]).unwrap() else {
        panic!("no object");
    };
    assert_eq!(head.span, Some(Span { first: 1, last: 1 }));
}

#[test]
#[ignore = "wants Azurite"]
fn azurite_lists_page_by_page() {
    let server = created("aq-listing");
    for key in ["a", "b/1", "b/2", "c", "\u{e4} &", ".aqueduct/x"] {
        let put = Operation::PutObject(Box::new(upload_of(key, b"x")));
        server.run(&put, b"x").unwrap();
    }
    let names = |page: &ObjectPage| {
        let keys = page.entries.iter().map(|entry| entry.key.to_string());
        let all = keys.chain(page.prefixes.iter().map(ToString::to_string));
        all.collect::<Vec<_>>()
    };
    let list = |start, max| ListObjects {
        delimiter: Some("/".into()),
        start,
        max,
        ..ListObjects::default()
    };
    let whole = server.page(list(Start::First, None));
    assert_eq!(names(&whole), ["a", "c", "\u{e4} &", "b/"]);
    let ListedState::Stored { size, etag, .. } = &whole.entries[0].state else {
        panic!("no object");
    };
    assert_eq!((*size, etag), (1, &server.meta("a").etag));
    for (start, expected) in [
        (Start::After("a".into()), &["c", "\u{e4} &", "b/"][..]),
        (Start::After("b/".into()), &["c", "\u{e4} &"]),
        (Start::At("c".into()), &["c", "\u{e4} &"]),
    ] {
        // All pages of one entry, some of them empty.
        let mut found = Vec::new();
        let mut next = Some(list(start.clone(), Some(1)));
        while let Some(list) = next {
            let page = server.page(list.clone());
            found.extend(names(&page));
            next = page.next.map(|token| ListObjects {
                start: Start::Page(token),
                ..list
            });
        }
        found.sort();
        let mut expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        assert_eq!(found, expected, "{start:?}");
    }
    let buckets = Operation::ListBuckets(ListBuckets {
        prefix: "aq-listing".into(),
        ..ListBuckets::default()
    });
    let Reply::Buckets(buckets) = server.run(&buckets, &[]).unwrap() else {
        panic!("no buckets");
    };
    assert_eq!(&*buckets.buckets[0].name, "aq-listing");
}

#[test]
#[ignore = "wants Azurite"]
fn azurite_copies_with_a_signature_for_the_source() {
    let server = created("aq-copies");
    let put = upload_of("fr\u{f6}m", b"hello");
    let expected = put.attributes.user.clone();
    server
        .run(&Operation::PutObject(Box::new(put)), b"hello")
        .unwrap();
    let mut all = copy(None);
    all.source.conditions = Preconditions::default();
    let op = Operation::CopyObject(Box::new(all));
    let Reply::Copied(copied) = server.probe(Probe::Source, &op, &[]).unwrap() else {
        panic!("not copied");
    };
    let told = server.meta("to");
    assert_eq!(told.etag, copied.stored.etag);
    assert_eq!(told.user, expected);
    assert_eq!(told.etag.as_str(), "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(told.tag_count, 1);
    // Other metadata, the headers as they were.
    let mut other = copy(None);
    other.source.conditions = Preconditions::default();
    other.attributes = Some(Attributes {
        content: told.content.clone(),
        ..Attributes::default()
    });
    other.tags = Some(Tags::default());
    let op = Operation::CopyObject(Box::new(other));
    server.probe(Probe::Source, &op, &[]).unwrap();
    let retold = server.meta("to");
    assert_eq!(retold.etag, told.etag);
    assert_eq!(retold.content, told.content);
    assert!(retold.user.is_empty());
    assert_eq!(retold.tag_count, 0);
}

/// Versions before 3.37 make no blocks of other blobs, and none so far makes a whole blob of another's bytes.
#[test]
#[ignore = "wants Azurite"]
fn azurite_makes_blocks_of_other_objects() {
    let server = created("aq-copied-blocks");
    let put = upload_of("fr\u{f6}m", b"hello");
    let put = Operation::PutObject(Box::new(put));
    server.run(&put, b"hello").unwrap();
    let mut source = copy(None).source;
    source.conditions = Preconditions::default();
    let op = Operation::CopyPiece(Box::new(CopyPiece {
        upload: upload("k"),
        piece: Piece::Block(block(1)),
        source,
        range: Some(ByteRange::Span { first: 1, last: 3 }),
        customer_key: None,
    }));
    match server.run(&op, &[]) {
        Ok(_) => {
            let commit = CompleteUpload {
                pieces: Pieces::Blocks(vec![(block(1), BlockState::Uncommitted)]),
                made: None,
                ..complete()
            };
            let commit = Operation::CompleteUpload(Box::new(commit));
            server.run(&commit, &[]).unwrap();
            assert_eq!(server.meta("k").size, 3);
        }
        Err(error) => assert_eq!(error.kind(), Kind::Unsupported, "{error}"),
    }
    let mut anew = copy(None);
    anew.source.conditions = Preconditions::default();
    anew.attributes = Some(Attributes::default());
    let op = Operation::CopyObject(Box::new(anew));
    match server.probe(Probe::Source, &op, &[]) {
        Ok(_) => assert!(server.meta("to").user.is_empty()),
        Err(error) => assert_eq!(error.kind(), Kind::Unsupported, "{error}"),
    }
}

#[test]
#[ignore = "wants Azurite"]
fn azurite_makes_objects_of_blocks() {
    let server = created("aq-blocks");
    let piece = |number, body: &[u8], checksums| {
        Operation::UploadPiece(Box::new(UploadPiece {
            upload: upload("k"),
            piece: Piece::Block(block(number)),
            body: Body {
                length: Some(body.len() as u64),
                checksums,
            },
            customer_key: None,
        }))
    };
    let stored = |op: &Operation, body: &[u8]| {
        let Reply::Stored(stored) = server.run(op, body).unwrap() else {
            panic!("not stored");
        };
        stored.etag
    };
    stored(&piece(2, b"old", Vec::new()), b"old");
    stored(&piece(2, b"second", Vec::new()), b"second");
    stored(&piece(1, b"123456789", Vec::new()), b"123456789");
    // Of nine digits, this is the published check value.
    let crc64 = Checksum::parse_base64(ChecksumKind::Crc64Nvme, "rosUhgp5mIg=").unwrap();
    let wrong = piece(1, b"12345678x", vec![crc64.clone()]);
    let kind = server.run(&wrong, b"12345678x").unwrap_err().kind();
    // Versions before 3.36 know no CRC64, and refuse it.
    if kind != Kind::UpstreamUnavailable {
        assert_eq!(kind, Kind::DigestMismatch);
        stored(&piece(1, b"123456789", vec![crc64]), b"123456789");
    }
    let op = Operation::CompleteUpload(Box::new(CompleteUpload {
        attributes: Some(put().attributes),
        made: Some(Made {
            etag: ETag::of_parts([7; 16], 2),
            part_sizes: vec![9, 6],
        }),
        ..complete()
    }));
    let etag = stored(&op, &[]);
    assert_eq!(etag.parts(), Some(2));
    let told = server.meta("k");
    assert_eq!(told.etag, etag);
    assert_eq!(told.part_sizes, [9, 6]);
    assert_eq!(told.user, put().attributes.user);
    assert_eq!(told.upload.as_deref(), Some("00112233445566ff"));
    let mut read = ReadObject::new("k");
    read.what = Selection::Part(2);
    let read = Operation::GetObject(Box::new(read));
    let Reply::Object(head) = server.probe(Probe::Object, &read, &[]).unwrap() else {
        panic!("no object");
    };
    assert_eq!(head.span, Some(Span { first: 9, last: 14 }));
    let again = server.run(&op, &[]).unwrap_err();
    assert_eq!(again.kind(), Kind::PreconditionFailed);
}

#[test]
#[ignore = "wants Azurite"]
fn azurite_keeps_journals() {
    let server = created("aq-journals");
    let run = |journal: Journal| server.run(&Operation::Journal(journal), &[]);
    let create = || {
        let attributes = Attributes {
            class: Some(StorageClass::Cool),
            ..Attributes::default()
        };
        Journal::Create(Box::new(CreateJournal {
            upload: upload("k \u{e4}"),
            attributes,
        }))
    };
    let append = |records: &'static str| Journal::Append {
        upload: upload("k \u{e4}"),
        records: records.into(),
    };
    run(create()).unwrap();
    assert_eq!(run(create()).unwrap_err().kind(), Kind::PreconditionFailed);
    run(append("one\n")).unwrap();
    run(append("two\n")).unwrap();
    let Reply::Journal(records) = run(Journal::Read(upload("k \u{e4}"))).unwrap() else {
        panic!("no journal");
    };
    assert_eq!(records, "one\ntwo\n");
    let Reply::Journals(page) = run(Journal::List(None)).unwrap() else {
        panic!("no listing");
    };
    let found: Vec<_> = page.uploads.iter().map(|it| (&*it.key, &*it.id)).collect();
    assert_eq!(found, [("k \u{e4}", "00112233445566ff")]);
    assert_eq!(page.uploads[0].class, Some(StorageClass::Cool));
    run(Journal::Delete(upload("k \u{e4}"))).unwrap();
    for gone in [
        append("x\n"),
        Journal::Read(upload("k \u{e4}")),
        Journal::Delete(upload("k \u{e4}")),
    ] {
        assert_eq!(run(gone).unwrap_err().kind(), Kind::UploadNotFound);
    }
}
