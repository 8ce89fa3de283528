use bytes::Bytes;

use super::*;
use crate::message::body::{BodyStep, Chunks, End};
use crate::storage::azure::upstream::CAPABILITY as AZURE;
use crate::storage::condition::{Pin, TagMatch};
use crate::storage::gcs::upstream::CAPABILITY as GCS;
use crate::storage::object::{ContentHeaders, ETag, Revision, StoredChecksum, VersionId};
use crate::storage::op::{CopyObject, CopyPiece, Piece, UploadRef};
use crate::storage::s3::upstream::canonical::CAPABILITY as S3;

const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";

fn found(size: u64) -> ObjectMeta {
    let at = "2026-05-04T03:02:01Z".parse().unwrap();
    let mut meta = ObjectMeta::new(size, ETag::parse(MD5).unwrap(), at);
    meta.revision = Some(Revision("\"mark\"".into()));
    meta.content.media_type = Some("text/plain".parse().unwrap());
    meta.user.insert("a", "1").unwrap();
    meta
}

fn from() -> Source {
    Source {
        object: ObjectRef {
            key: "from".into(),
            version: None,
        },
        conditions: Preconditions::default(),
        customer_key: None,
        seen: None,
    }
}

fn object() -> CopyObject {
    CopyObject {
        source: from(),
        key: "to".into(),
        attributes: None,
        tags: None,
        class: None,
        encryption: None,
        conditions: Preconditions::default(),
        checksum: None,
    }
}

fn copy(change: impl FnOnce(&mut CopyObject)) -> Operation {
    let mut copy = object();
    change(&mut copy);
    Operation::CopyObject(Box::new(copy))
}

fn piece(range: Option<ByteRange>) -> Operation {
    Operation::CopyPiece(Box::new(CopyPiece {
        upload: UploadRef {
            key: "to".into(),
            id: "id".into(),
        },
        piece: Piece::Part(7),
        source: from(),
        range,
        customer_key: None,
    }))
}

fn plan<'a>(op: &'a Operation, found: &'a ObjectMeta) -> Result<Copying<'a>> {
    Copying::plan(op, found, &AZURE, &GCS, u64::MAX)
}

fn kind<T>(result: Result<T>) -> Option<Kind> {
    result.err().map(|error| error.kind())
}

#[test]
fn conditions_on_the_source_fail_the_copy() {
    let tag = |text: &str| TagMatch::parse(text);
    let other = tag("\"00\"");
    let same = tag(MD5);
    for (conditions, expected) in [
        (Preconditions::default(), None),
        (
            Preconditions {
                if_match: same.clone(),
                ..Preconditions::default()
            },
            None,
        ),
        (
            Preconditions {
                if_match: other,
                ..Preconditions::default()
            },
            Some(Kind::PreconditionFailed),
        ),
        (
            Preconditions {
                if_none_match: same,
                ..Preconditions::default()
            },
            Some(Kind::PreconditionFailed),
        ),
    ] {
        let op = copy(|copy| copy.source.conditions = conditions);
        assert_eq!(kind(plan(&op, &found(3))), expected);
    }
}

#[test]
fn a_read_is_pinned_and_goes_on_where_it_broke_off() {
    let (found, op) = (
        found(10),
        piece(Some(ByteRange::Span { first: 2, last: 8 })),
    );
    let copying = plan(&op, &found).unwrap();
    let reads = [Some(copying.read()), copying.rest(3), copying.rest(7)];
    let reads = reads.map(|read| match read {
        Some(Operation::GetObject(read)) => {
            let pin = Some(Pin::Is(Revision("\"mark\"".into())));
            assert_eq!(read.conditions.pin, pin);
            Some(read.what)
        }
        _ => None,
    });
    let span = |first| Selection::Range(ByteRange::Span { first, last: 8 });
    assert_eq!(reads, [Some(span(2)), Some(span(5)), None]);
}

#[test]
fn what_has_no_mark_is_read_once() {
    let mut found = found(10);
    found.revision = None;
    found.version = Some(VersionId("v1".into()));
    let op = copy(|_| {});
    let copying = plan(&op, &found).unwrap();
    let Operation::GetObject(read) = copying.read() else {
        panic!("no read");
    };
    assert_eq!(read.what, Selection::Whole);
    assert_eq!(read.object.version, found.version);
    assert_eq!(copying.rest(1), None);
}

#[test]
fn an_answer_must_be_of_the_object_that_was_found() {
    let (found, op) = (found(10), copy(|_| {}));
    let copying = plan(&op, &found).unwrap();
    let told = |change: &dyn Fn(&mut ObjectHead)| {
        let mut head = ObjectHead {
            meta: found.clone(),
            span: Some(Span { first: 4, last: 9 }),
        };
        change(&mut head);
        kind(copying.check(4, &head))
    };
    assert_eq!(told(&|_| {}), None);
    let changed = Some(Kind::PreconditionFailed);
    assert_eq!(told(&|head| head.meta.size = 11), changed);
    assert_eq!(told(&|head| head.meta.revision = None), changed);
    let broken = Some(Kind::UpstreamBroken);
    assert_eq!(told(&|head| head.span = None), broken);
    let other = Some(Span { first: 3, last: 9 });
    assert_eq!(told(&|head| head.span = other), broken);
}

#[test]
fn a_copy_keeps_what_it_does_not_replace() {
    let mut found = found(3);
    let mut tags = Tags::default();
    tags.insert("k", "v").unwrap();
    found.tags = Some(tags.clone());
    let put = |op: &Operation| {
        let write = plan(op, &found).unwrap().write(None).unwrap();
        let Operation::PutObject(put) = write else {
            panic!("{write:?}");
        };
        *put
    };
    let kept = put(&copy(|_| {}));
    assert_eq!(kept.attributes.content, found.content);
    assert_eq!(kept.attributes.user, found.user);
    assert_eq!(kept.attributes.tags, tags);
    let replaced = put(&copy(|copy| {
        copy.attributes = Some(Attributes::default());
        copy.tags = Some(Tags::default());
    }));
    assert_eq!(replaced.attributes.content, ContentHeaders::default());
    assert!(replaced.attributes.user.is_empty() && replaced.attributes.tags.is_empty());
}

#[test]
fn tags_are_asked_for_where_there_are_some_that_are_kept() {
    let mut found = found(3);
    for (count, replaces, expected) in [(0, false, false), (1, false, true), (1, true, false)] {
        found.tag_count = count;
        let op = copy(|copy| copy.tags = replaces.then(Tags::default));
        assert_eq!(plan(&op, &found).unwrap().tags().is_some(), expected);
    }
}

#[test]
fn digests_of_the_whole_go_with_the_whole_alone() {
    let checksums = |op: &Operation, found: &ObjectMeta, from: &Capability| {
        let copying = Copying::plan(op, found, from, &GCS, u64::MAX).unwrap();
        let write = copying.write(None).unwrap();
        let kinds = write.body().unwrap().checksums.iter().map(Checksum::kind);
        kinds.collect::<Vec<_>>()
    };
    let mut found = found(3);
    let crc = Checksum::new(ChecksumKind::Crc32c, &[1, 2, 3, 4]).unwrap();
    found.checksums = vec![StoredChecksum {
        checksum: crc,
        extent: Extent::Whole,
    }];
    let (whole, part) = (
        copy(|_| {}),
        piece(Some(ByteRange::Span { first: 0, last: 1 })),
    );
    let both = vec![ChecksumKind::Crc32c, ChecksumKind::Md5];
    assert_eq!(checksums(&whole, &found, &AZURE), both);
    // There an ETag may look like an MD5 and be none.
    assert_eq!(checksums(&whole, &found, &S3), [ChecksumKind::Crc32c]);
    assert_eq!(checksums(&part, &found, &AZURE), []);
    found.checksums[0].extent = Extent::Parts(2);
    assert_eq!(checksums(&whole, &found, &AZURE), [ChecksumKind::Md5]);
}

#[test]
fn a_checksum_that_nobody_knows_is_refused() {
    let found = found(3);
    let by_store = Digests {
        crc32c: true,
        ..Digests::default()
    };
    for (asked, digests, refused) in [
        (ChecksumKind::Md5, Digests::default(), false),
        (ChecksumKind::Sha256, Digests::default(), true),
        (ChecksumKind::Crc32c, Digests::default(), true),
        (ChecksumKind::Crc32c, by_store, false),
    ] {
        let op = copy(|copy| copy.checksum = Some(asked));
        let asked = plan(&op, &found).unwrap().check_asked(digests);
        assert_eq!(kind(asked), refused.then_some(Kind::Unsupported));
    }
}

#[test]
fn sources_are_as_large_as_one_request_of_the_target() {
    let whole = copy(|_| {});
    for (op, to, size, expected) in [
        (&whole, &S3, 5 << 30, None),
        (&whole, &GCS, (5 << 30) + 1, Some(Kind::InvalidRequest)),
        (&whole, &AZURE, AZURE.put_bytes_max, None),
        (
            &whole,
            &AZURE,
            AZURE.put_bytes_max + 1,
            Some(Kind::InvalidRequest),
        ),
        (
            &piece(None),
            &GCS,
            (5 << 30) + 1,
            Some(Kind::InvalidRequest),
        ),
    ] {
        let found = found(size);
        let planned = Copying::plan(op, &found, &GCS, to, u64::MAX);
        assert_eq!(kind(planned), expected, "{size}");
    }
    let limited = Copying::plan(&whole, &found(3), &GCS, &S3, 2).map(|_| ());
    assert_eq!(kind(limited), Some(Kind::BodyTooLarge));
}

#[test]
fn a_part_lies_within_its_source() {
    for (range, expected) in [
        (ByteRange::Span { first: 0, last: 9 }, None),
        (
            ByteRange::Span { first: 0, last: 10 },
            Some(Kind::InvalidArgument),
        ),
        (
            ByteRange::Span {
                first: 10,
                last: 10,
            },
            Some(Kind::InvalidArgument),
        ),
    ] {
        let (op, found) = (piece(Some(range)), found(10));
        assert_eq!(kind(plan(&op, &found)), expected);
    }
}

#[test]
fn other_bytes_at_the_target_are_seen() {
    let (found, op) = (found(3), copy(|_| {}));
    let copying = plan(&op, &found).unwrap();
    let told = |digest: [u8; 16]| {
        let mut stored = Stored::new(ETag::of_md5(digest));
        stored.told = Checksum::new(ChecksumKind::Md5, &digest)
            .into_iter()
            .collect();
        copying.differs(&stored)
    };
    assert!(told([0; 16]));
    assert!(!told(found.etag.md5().unwrap()));
    let refused = copying.not_stored(Error::new(Kind::DigestMismatch, "theirs"));
    assert_eq!(refused.kind(), Kind::UpstreamBroken);
}

/// What a step hands on of these pieces, and its verdict.
fn pass(step: &mut Checked, pieces: &[&[u8]]) -> (Vec<u8>, Result<()>) {
    let mut out = Chunks::new();
    let mut verdict = Ok(());
    for piece in pieces {
        verdict = verdict.and_then(|()| step.push(Bytes::copy_from_slice(piece), &mut out));
    }
    let verdict = verdict.and_then(|()| step.finish(End::Clean, &mut out));
    (out.concat(), verdict)
}

#[test]
fn bytes_are_handed_on_whole_or_not_to_their_end() {
    let md5 = ETag::parse(MD5).unwrap().md5().unwrap();
    let told = || Checksum::new(ChecksumKind::Md5, &md5);
    for cut in 0..=3 {
        let (front, rest) = b"abc".split_at(cut);
        let (out, verdict) = pass(&mut Checked::new(3, told()), &[front, rest]);
        assert_eq!((out.as_slice(), kind(verdict)), (&b"abc"[..], None));
        for (length, bytes) in [(3, b"abd"), (4, b"abc"), (2, b"abc")] {
            let (front, rest) = bytes.split_at(cut);
            let (out, verdict) = pass(&mut Checked::new(length, told()), &[front, rest]);
            assert!(out.len() < 3, "{length}");
            assert_eq!(kind(verdict), Some(Kind::UpstreamBroken));
        }
    }
    let (out, verdict) = pass(&mut Checked::new(0, None), &[]);
    assert_eq!((out.len(), kind(verdict)), (0, None));
}

#[test]
fn every_digest_is_computed_as_it_is_told() {
    let kinds = [
        (ChecksumKind::Crc32, "y/Q5Jg=="),
        (ChecksumKind::Crc32c, "4waSgw=="),
        (ChecksumKind::Crc64Nvme, "rosUhgp5mIg="),
        (ChecksumKind::Md5, "JfnnlDI7RTiF9RgfG2JNCw=="),
        (ChecksumKind::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
        (
            ChecksumKind::Sha256,
            "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
        ),
    ];
    for (kind_of, text) in kinds {
        let told = Checksum::parse_base64(kind_of, text);
        assert!(told.is_some(), "{text}");
        let (_, verdict) = pass(&mut Checked::new(9, told), &[b"123456789"]);
        let computed = verdict.map_err(|error| error.to_string());
        assert_eq!(computed, Ok(()), "{kind_of:?}");
    }
}
