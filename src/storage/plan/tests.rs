use super::*;
use crate::error::Kind;
use crate::storage::azure::upstream as azure;
use crate::storage::condition::{Pin, TagMatch};
use crate::storage::gcs::upstream as gcs;
use crate::storage::object::{Attributes, ETag, ObjectMeta, Revision, Tags};
use crate::storage::op::{
    Body, Checksums, CompleteUpload, CopyObject, CopyPiece, CreateBucket, CreateUpload,
    DeleteObject, DeleteObjects, Family, ListBuckets, ListObjects, ListPieces, ListUploads, Piece,
    Pieces, PutObject, PutTags, SetAttributes, Source, UploadPiece, UploadRef,
};

/// A store that has next to nothing, and cuts its uploads in blocks.
const BARE: Capability = Capability {
    suffix_ranges: Native::Pinned,
    part_reads: Native::No,
    read_conditions: Native::Pinned,
    write_if_absent: Native::Pinned,
    write_if_match: Native::No,
    delete_if_match: Native::No,
    complete_if: Native::Composed,
    copies: Native::No,
    piece_copies: Native::No,
    sets_attributes: Native::No,
    tags: Native::No,
    sets_tags: Native::No,
    versions: Native::No,
    keeps_full_buckets: Native::No,
    lists_uploads: Native::Composed,
    uploads: Family::Blocks,
    keeps_parts: Native::No,
    delete_batch_max: 1,
    put_bytes_max: 1000,
    copy_bytes_max: 1000,
    piece_bytes_max: 1000,
    pieces_max: 10,
    object_bytes_max: 10_000,
    page_max: 100,
    needs_length: true,
    md5_etags: true,
};

fn object(key: &str) -> ObjectRef {
    ObjectRef {
        key: key.into(),
        version: None,
    }
}

fn read(what: Selection, conditions: Preconditions) -> Operation {
    Operation::GetObject(Box::new(ReadObject {
        what,
        conditions,
        checksums: Checksums::Unasked,
        ..ReadObject::new("k")
    }))
}

fn put(conditions: Preconditions, length: Option<u64>) -> Operation {
    Operation::PutObject(Box::new(PutObject {
        key: "k".into(),
        attributes: Attributes::default(),
        conditions,
        body: Body {
            length,
            checksums: Vec::new(),
        },
    }))
}

fn source() -> Source {
    Source {
        object: object("from"),
        conditions: Preconditions::default(),
        customer_key: None,
        seen: None,
    }
}

fn copy(attributes: Option<Attributes>, tags: Option<Tags>) -> Operation {
    Operation::CopyObject(Box::new(CopyObject {
        source: source(),
        key: "k".into(),
        attributes,
        tags,
        class: None,
        encryption: None,
        conditions: Preconditions::default(),
        checksum: None,
    }))
}

fn delete(conditions: Preconditions) -> DeleteObject {
    DeleteObject {
        object: object("k"),
        conditions,
    }
}

fn upload() -> UploadRef {
    UploadRef {
        key: "k".into(),
        id: "id".into(),
    }
}

fn complete(conditions: Preconditions) -> Operation {
    Operation::CompleteUpload(Box::new(CompleteUpload {
        upload: upload(),
        pieces: Pieces::Parts(Vec::new()),
        conditions,
        size: None,
        checksum: None,
        attributes: None,
        made: None,
    }))
}

fn if_match() -> Preconditions {
    Preconditions {
        if_match: TagMatch::parse("aa"),
        ..Preconditions::default()
    }
}

fn if_absent() -> Preconditions {
    Preconditions {
        if_none_match: Some(TagMatch::Any),
        ..Preconditions::default()
    }
}

fn always() -> Preconditions {
    Preconditions::default()
}

fn of_version(mut op: Operation) -> Operation {
    if let Operation::GetObject(read) = &mut op {
        read.object.version = Some(VersionId("7".into()));
    }
    op
}

/// Every operation, with what makes a difference to how it is done.
fn operations() -> Vec<(&'static str, Operation)> {
    [of_buckets(), of_objects(), of_uploads()].concat()
}

fn of_buckets() -> Vec<(&'static str, Operation)> {
    vec![
        ("", Operation::ListBuckets(ListBuckets::default())),
        ("", Operation::HeadBucket),
        ("", Operation::CreateBucket(CreateBucket::default())),
        ("", Operation::DeleteBucket),
        ("", Operation::ListObjects(ListObjects::default())),
    ]
}

fn of_objects() -> Vec<(&'static str, Operation)> {
    let batch = |count, conditions: Preconditions| {
        Operation::DeleteObjects(DeleteObjects {
            entries: vec![delete(conditions); count],
        })
    };
    let all = Some(Attributes::default());
    vec![
        ("", read(Selection::Whole, always())),
        ("of a version", of_version(read(Selection::Whole, always()))),
        (
            "a-b",
            read(
                Selection::Range(ByteRange::Span { first: 1, last: 2 }),
                always(),
            ),
        ),
        ("-n", read(Selection::Range(ByteRange::Last(2)), always())),
        ("part", read(Selection::Part(1), always())),
        ("if-match", read(Selection::Whole, if_match())),
        ("", put(always(), Some(5))),
        ("large", put(always(), Some(5000))),
        ("of unknown length", put(always(), None)),
        ("if absent", put(if_absent(), Some(5))),
        ("if-match", put(if_match(), Some(5))),
        ("", copy(None, None)),
        ("replacing metadata", copy(all, None)),
        (
            "",
            Operation::SetAttributes(Box::new(SetAttributes {
                object: object("k"),
                attributes: Attributes::default(),
                conditions: always(),
            })),
        ),
        ("", Operation::DeleteObject(Box::new(delete(always())))),
        (
            "if-match",
            Operation::DeleteObject(Box::new(delete(if_match()))),
        ),
        ("of 2", batch(2, always())),
        ("of 2 if-match", batch(2, if_match())),
        ("of 1001", batch(1001, always())),
        ("", Operation::GetTags(object("k"))),
        (
            "",
            Operation::PutTags(PutTags {
                object: object("k"),
                tags: Tags::default(),
            }),
        ),
    ]
}

fn of_uploads() -> Vec<(&'static str, Operation)> {
    let part = |length| {
        Operation::UploadPiece(Box::new(UploadPiece {
            upload: upload(),
            piece: Piece::Part(1),
            body: Body {
                length: Some(length),
                checksums: Vec::new(),
            },
            customer_key: None,
        }))
    };
    vec![
        (
            "",
            Operation::CreateUpload(Box::new(CreateUpload {
                key: "k".into(),
                attributes: Attributes::default(),
                checksum: None,
                conditions: always(),
            })),
        ),
        ("", part(5)),
        (
            "",
            Operation::CopyPiece(Box::new(CopyPiece {
                upload: upload(),
                piece: Piece::Part(1),
                source: source(),
                range: None,
                customer_key: None,
            })),
        ),
        (
            "",
            Operation::ListPieces(ListPieces {
                upload: upload(),
                after: None,
                max: None,
            }),
        ),
        ("", Operation::ListUploads(ListUploads::default())),
        ("", complete(always())),
        ("if absent", complete(if_absent())),
        ("", Operation::AbortUpload(upload())),
    ]
}

fn told(plan: Result<Plan>) -> String {
    match plan {
        Ok(plan) => format!("{plan:?}"),
        Err(error) => format!("refused: {:?}", error.kind()),
    }
}

#[test]
fn the_matrix_is_the_printed_one() {
    let mut printed = String::from("operation | gcs | azure | a bare store\n");
    for (how, op) in operations() {
        let name = [op.name(), how].join(" ");
        let cells =
            [&gcs::CAPABILITY, &azure::CAPABILITY, &BARE].map(|can| told(plan(&op, can, true)));
        printed.extend([name.trim(), " | ", &cells.join(" | "), "\n"]);
    }
    let expected = include_str!("matrix.txt");
    assert_eq!(printed, expected, "\n{printed}");
}

#[test]
fn a_copy_without_common_ground_goes_through_us() {
    for op in [copy(None, None), copy(Some(Attributes::default()), None)] {
        assert_eq!(
            plan(&op, &gcs::CAPABILITY, false).unwrap(),
            Plan::Compose(Machine::StreamCopy)
        );
    }
}

fn found(etag: &str) -> ObjectMeta {
    let mut found = ObjectMeta::new(
        10,
        ETag::parse(etag).unwrap(),
        "2013-05-24T00:00:00.5Z".parse().unwrap(),
    );
    found.revision = Some(Revision("17".into()));
    found.tags = Some(Tags::default());
    found
}

fn settle(op: &Operation, found: Option<&ObjectMeta>) -> Result<Settled, Kind> {
    Probe::Object
        .settle(op, found)
        .map_err(|error| error.kind())
}

#[test]
fn a_write_is_pinned_to_what_its_conditions_held_for() {
    let here = found("aa");
    let other = found("bb");
    let is = |revision: &str| Preconditions {
        pin: Some(Pin::Is(Revision(revision.into()))),
        ..always()
    };
    let absent = Preconditions {
        pin: Some(Pin::Absent),
        ..always()
    };
    let not_aa = Preconditions {
        if_none_match: TagMatch::parse("aa"),
        ..always()
    };
    for (conditions, found, expected) in [
        (if_match(), Some(&here), Ok(is("17"))),
        (if_match(), Some(&other), Err(Kind::PreconditionFailed)),
        (if_match(), None, Err(Kind::ObjectNotFound)),
        (if_absent(), Some(&here), Err(Kind::PreconditionFailed)),
        (if_absent(), None, Ok(absent.clone())),
        (not_aa.clone(), Some(&here), Err(Kind::PreconditionFailed)),
        (not_aa.clone(), Some(&other), Ok(is("17"))),
        (not_aa, None, Ok(absent)),
    ] {
        let expected = expected.map(|pinned| Settled::Send(Box::new(put(pinned, Some(5)))));
        assert_eq!(settle(&put(conditions, Some(5)), found), expected);
    }
    let mut unmarked = found("aa");
    unmarked.revision = None;
    assert_eq!(
        settle(&put(if_match(), Some(5)), Some(&unmarked)),
        Err(Kind::Internal)
    );
}

#[test]
fn a_read_is_resolved_to_bytes() {
    let mut here = found("aa");
    let resolved = |what, found: &ObjectMeta| {
        let Settled::Send(op) = settle(&read(what, always()), Some(found))? else {
            panic!("not sent");
        };
        let Operation::GetObject(read) = *op else {
            panic!("another operation");
        };
        Ok(read.what)
    };
    let span = |first, last| Ok(Selection::Range(ByteRange::Span { first, last }));
    let last = |count| Selection::Range(ByteRange::Last(count));
    assert_eq!(resolved(last(3), &here), span(7, 9));
    assert_eq!(resolved(last(30), &here), span(0, 9));
    assert_eq!(resolved(last(0), &here), Err(Kind::InvalidRange));
    assert_eq!(resolved(Selection::Part(1), &here), Ok(Selection::Whole));
    assert_eq!(resolved(Selection::Part(2), &here), Err(Kind::InvalidRange));
    let of_parts = found("aa-2");
    assert_eq!(
        resolved(Selection::Part(1), &of_parts),
        Err(Kind::Unsupported)
    );
    here.part_sizes = vec![6, 4];
    assert_eq!(resolved(Selection::Part(1), &here), span(0, 5));
    assert_eq!(resolved(Selection::Part(2), &here), span(6, 9));
    assert_eq!(resolved(Selection::Part(3), &here), Err(Kind::InvalidRange));
}

#[test]
fn a_reader_that_has_it_is_told_so() {
    let conditions = Preconditions {
        if_none_match: TagMatch::parse("aa"),
        ..always()
    };
    let here = found("aa");
    assert!(matches!(
        settle(&read(Selection::Whole, conditions.clone()), Some(&here)),
        Ok(Settled::NotModified(_))
    ));
    assert_eq!(
        settle(&read(Selection::Whole, conditions), None),
        Err(Kind::ObjectNotFound)
    );
}

#[test]
fn a_copy_keeps_what_it_does_not_replace() {
    let mut from = found("aa");
    from.user.insert("n", "v").unwrap();
    let mut tags = Tags::default();
    tags.insert("t", "1").unwrap();
    from.tags = Some(tags.clone());
    let settled = |attributes, tags| {
        let settled = Probe::Source.settle(&copy(attributes, tags), Some(&from));
        let Settled::Send(op) = settled.unwrap() else {
            panic!("not sent");
        };
        let Operation::CopyObject(copy) = *op else {
            panic!("another operation");
        };
        copy
    };
    let replacing = settled(Some(Attributes::default()), None);
    assert_eq!(replacing.tags, Some(tags));
    assert!(
        replacing
            .attributes
            .is_some_and(|attributes| attributes.user.is_empty())
    );
    assert_eq!(
        replacing.source.conditions.pin,
        Some(Pin::Is(Revision("17".into())))
    );
    let retagging = settled(None, Some(Tags::default()));
    assert_eq!(retagging.attributes.unwrap().user, from.user);
    let gone = Probe::Source.settle(&copy(None, None), None).unwrap_err();
    assert_eq!(gone.kind(), Kind::ObjectNotFound);
}

#[test]
fn a_copied_piece_is_pinned_to_its_source_and_lies_within_it() {
    let piece = |range, conditions| {
        Operation::CopyPiece(Box::new(CopyPiece {
            upload: upload(),
            piece: Piece::Part(1),
            source: Source {
                conditions,
                ..source()
            },
            range,
            customer_key: None,
        }))
    };
    let from = found("aa");
    let settled = |range, conditions, found: Option<&ObjectMeta>| {
        let settled = Probe::Source.settle(&piece(range, conditions), found);
        let Settled::Send(op) = settled.map_err(|error| error.kind())? else {
            panic!("not sent");
        };
        let Operation::CopyPiece(piece) = *op else {
            panic!("another operation");
        };
        let pin = piece.source.conditions.pin.unwrap();
        assert_eq!(pin, Pin::Is(Revision("17".into())));
        assert_eq!(piece.source.seen.unwrap().size, 10);
        Ok(piece.range)
    };
    let span = |first, last| Some(ByteRange::Span { first, last });
    assert_eq!(settled(None, always(), Some(&from)), Ok(None));
    assert_eq!(settled(span(2, 9), always(), Some(&from)), Ok(span(2, 9)));
    for outside in [span(0, 10), span(10, 10)] {
        assert_eq!(
            settled(outside, always(), Some(&from)),
            Err(Kind::InvalidArgument)
        );
    }
    let other = found("bb");
    assert_eq!(
        settled(None, if_match(), Some(&other)),
        Err(Kind::PreconditionFailed)
    );
    assert_eq!(settled(None, always(), None), Err(Kind::ObjectNotFound));
}

#[test]
fn a_copy_is_cut_where_its_source_is_too_large_for_one_request() {
    let of_size = |size| {
        let mut from = found("aa");
        from.size = size;
        let settled = Probe::Source
            .settle(&copy(None, None), Some(&from))
            .unwrap();
        let Settled::Send(op) = settled else {
            panic!("not sent");
        };
        plan_seen(&op, &BARE)
    };
    assert_eq!(of_size(BARE.copy_bytes_max), None);
    assert_eq!(of_size(BARE.copy_bytes_max + 1), Some(Machine::SplitCopy));
    assert_eq!(plan_seen(&copy(None, None), &BARE), None);
}
