//! Laws between the folders: what one half writes, the other reads back.
//!
//! GCS speaks S3's documents, so the page that the S3 answer writes must be the page that the GCS codec reads. Whoever
//! breaks one side's names, escapes or order of elements is told here.

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::codec::{ReplyHead, Target, Upstream};
use super::gcs::upstream::Gcs;
use super::object::{ETag, Observed, StorageClass, Tags, VersionId};
use super::op::{
    DeleteObject, DeleteObjects, ListObjects, ListPieces, ListUploads, ObjectRef, Operation,
    UploadRef, Which,
};
use super::reply::{
    Deleted, DeletedEntry, ListedObject, ListedPart, ListedState, ListedUpload, ObjectPage,
    PiecePage, Reply, UploadPage,
};
use super::s3::laws::document;

fn read_back(operation: &Operation, document: &[u8]) -> Reply {
    let bucket = super::gcs::tests_support::bucket("own", "");
    let target = Target {
        bucket: &bucket,
        source: None,
    };
    let head = ReplyHead {
        status: StatusCode::OK,
        headers: &HeaderMap::new(),
    };
    let observed = Observed::default();
    Gcs.decode_reply(operation, &target, head, Some(document), &observed)
        .unwrap()
}

/// Any text that is a key: with what XML and URLs would trip over.
fn key() -> impl Strategy<Value = Box<str>> {
    "[a-z &<>\"'+%\u{1}\n\u{e4}\u{1F980}/]{1,20}".prop_map(Box::from)
}

fn etag() -> impl Strategy<Value = ETag> {
    "[0-9a-f]{32}(-[1-9])?".prop_map(|text| ETag::parse(&text).unwrap())
}

fn time() -> impl Strategy<Value = jiff::Timestamp> {
    (0i64..4_000_000_000_000).prop_map(|at| jiff::Timestamp::from_millisecond(at).unwrap())
}

fn class() -> impl Strategy<Value = Option<StorageClass>> {
    Just(Some(StorageClass::Hot))
}

fn entry(which: Which) -> impl Strategy<Value = ListedObject> {
    let version = "[1-9][0-9]{0,15}".prop_map(|id| VersionId(id.into()));
    (
        key(),
        etag(),
        time(),
        any::<u64>(),
        class(),
        version,
        any::<bool>(),
    )
        .prop_map(
            move |(key, etag, last_modified, size, class, version, latest)| {
                let versions = which == Which::Versions;
                ListedObject {
                    key,
                    state: ListedState::Stored { size, etag, class },
                    last_modified,
                    version: versions.then_some(version),
                    is_latest: latest || !versions,
                }
            },
        )
}

fn page(which: Which) -> impl Strategy<Value = ObjectPage> {
    let entries = proptest::collection::vec(entry(which), 0..5);
    let prefixes = proptest::collection::vec(key(), 0..3);
    (entries, prefixes).prop_map(|(entries, prefixes)| ObjectPage {
        entries,
        prefixes,
        next: None,
    })
}

proptest! {
    #[test]
    fn pages_of_objects_are_read_as_they_were_written(
        page in page(Which::Current), encoded: bool, next: Option<u8>,
    ) {
        let page = ObjectPage { next: next.map(|next| format!("t{next}").into()), ..page };
        let query = if encoded { "&encoding-type=url" } else { "" };
        let operation = Operation::ListObjects(ListObjects::default());
        let written = document(
            &format!("/bucket?list-type=2{query}"), &operation, Reply::Objects(page.clone()),
        );
        let Reply::Objects(read) = read_back(&operation, &written) else { panic!("another") };
        prop_assert_eq!(read, page);
    }

    #[test]
    fn pages_of_versions_are_read_as_they_were_written(page in page(Which::Versions)) {
        let operation = Operation::ListObjects(ListObjects {
            which: Which::Versions,
            ..ListObjects::default()
        });
        let written = document(
            "/bucket?versions&encoding-type=url", &operation, Reply::Objects(page.clone()),
        );
        let Reply::Objects(read) = read_back(&operation, &written) else { panic!("another") };
        prop_assert_eq!(read, page);
    }

    #[test]
    fn uploads_and_their_parts_are_read_as_they_were_written(
        key in key(), etag in etag(), at in time(), size: u64, number in 1u16..10_000,
        class in class(), more: bool,
    ) {
        let uploads = UploadPage {
            uploads: vec![ListedUpload { key: key.clone(), id: "an id".into(), initiated: at, class }],
            prefixes: vec![key.clone()],
            next: more.then(|| (key.clone(), "an id".into())),
        };
        let operation = Operation::ListUploads(ListUploads::default());
        let written = document(
            "/bucket?uploads&encoding-type=url", &operation, Reply::Uploads(uploads.clone()),
        );
        let Reply::Uploads(read) = read_back(&operation, &written) else { panic!("another") };
        prop_assert_eq!(read, uploads);

        let parts = PiecePage {
            parts: vec![ListedPart {
                number, size, etag, last_modified: at, checksums: Vec::new(),
            }],
            next: more.then_some(number),
            class,
        };
        let operation = Operation::ListPieces(ListPieces {
            upload: UploadRef { key, id: "u".into() },
            after: None,
            max: None,
        });
        let written = document(
            "/bucket/k?uploadId=u", &operation, Reply::Pieces(parts.clone()),
        );
        let Reply::Pieces(read) = read_back(&operation, &written) else { panic!("another") };
        prop_assert_eq!(read, parts);
    }

    #[test]
    fn outcomes_of_a_batch_are_read_as_they_were_written(
        keys in proptest::collection::btree_set(key(), 1..5),
    ) {
        let object = |key: &str| ObjectRef { key: key.into(), version: None };
        let operation = Operation::DeleteObjects(DeleteObjects {
            entries: keys.iter().map(|key| DeleteObject {
                object: object(key),
                conditions: super::condition::Preconditions::default(),
            }).collect(),
        });
        let outcomes = keys.iter().map(|key| DeletedEntry {
            key: key.clone(),
            version: None,
            outcome: Ok(Deleted::default()),
        });
        let written = document(
            "/bucket?delete", &operation, Reply::DeletedMany(outcomes.collect()),
        );
        let Reply::DeletedMany(read) = read_back(&operation, &written) else { panic!("another") };
        prop_assert!(read.iter().all(|entry| entry.outcome.is_ok()));
        prop_assert!(read.iter().map(|entry| &entry.key).eq(keys.iter()));
    }
}

#[test]
fn tags_are_kept_whatever_is_in_them() {
    let mut tags = Tags::default();
    tags.insert("a &<=%", "\u{e4}+ /").unwrap();
    let written = document(
        "/bucket/k?tagging",
        &Operation::GetTags(ObjectRef {
            key: "k".into(),
            version: None,
        }),
        Reply::Tags(tags.clone()),
    );
    let text = std::str::from_utf8(&written).unwrap();
    assert_eq!(super::s3::laws::tags(text).unwrap(), tags);
}
