use http::HeaderValue;

use super::*;
use crate::error::Kind;
use crate::storage::azure::tests_support::{answer, bucket, emulated, target, text};
use crate::storage::condition::{ByteRange, Pin, Preconditions, Span, TagMatch};
use crate::storage::object::{
    Attributes, Checksum, CustomerKey, ETag, Encryption, Extent, ObjectMeta, Restore, Revision,
    StorageClass, StoredChecksum, Tags, VersionId,
};
use crate::storage::op::{
    BlockId, BlockState, Body, ChecksumOver, CompleteUpload, CopyObject, CopyPiece, CreateBucket,
    CreateJournal, DeleteObject, DeleteObjects, ListBuckets, ListObjects, Made, ObjectRef, Piece,
    Pieces, PutObject, PutTags, ReadObject, Selection, Source, Start, UploadChecksum, UploadPiece,
    UploadRef, Which,
};
use crate::storage::reply::{ListedState, ObjectPage, Stored};

mod azurite;
mod laws;
mod replies;
mod requests;

fn object(key: &str) -> ObjectRef {
    ObjectRef {
        key: key.into(),
        version: None,
    }
}

fn upload(key: &str) -> UploadRef {
    UploadRef {
        key: key.into(),
        id: "00112233445566ff".into(),
    }
}

fn pinned(revision: &str) -> Preconditions {
    Preconditions {
        pin: Some(Pin::Is(Revision(revision.into()))),
        ..Preconditions::default()
    }
}

fn put() -> PutObject {
    let mut attributes = Attributes::default();
    attributes.content.media_type = Some(HeaderValue::from_static("text/plain"));
    attributes.content.expires = Some(HeaderValue::from_static("never"));
    attributes.user.insert("plain_1", "value").unwrap();
    attributes.user.insert("word", "v\u{e4}lue").unwrap();
    attributes.user.insert("Some.Name", "x").unwrap();
    attributes.tags.insert("a b", "c/d").unwrap();
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
                Checksum::parse_base64(ChecksumKind::Crc64Nvme, "rosUhgp5mIg=").unwrap(),
                Checksum::new(ChecksumKind::Md5, &[7; 16]).unwrap(),
            ],
        },
    }
}

fn seen(etag: &str, size: u64) -> ObjectMeta {
    let at = "2013-05-24T00:00:00Z".parse().unwrap();
    let mut seen = ObjectMeta::new(size, ETag::parse(etag).unwrap(), at);
    seen.revision = Some(Revision("\"0x8D1\"".into()));
    seen.user.insert("old", "1").unwrap();
    seen
}

fn copy(seen: Option<ObjectMeta>) -> CopyObject {
    CopyObject {
        source: Source {
            object: object("fr\u{f6}m"),
            conditions: pinned("\"0x8D1\""),
            customer_key: None,
            seen: seen.map(Box::new),
        },
        key: "to".into(),
        attributes: None,
        tags: None,
        class: None,
        encryption: None,
        conditions: Preconditions::default(),
        checksum: None,
    }
}

fn block(number: u8) -> BlockId {
    BlockId([&[0; 15][..], &[number]].concat().into())
}

fn complete() -> CompleteUpload {
    CompleteUpload {
        upload: upload("k"),
        pieces: Pieces::Blocks(vec![
            (block(1), BlockState::Uncommitted),
            (block(2), BlockState::Uncommitted),
        ]),
        conditions: Preconditions {
            if_none_match: Some(TagMatch::Any),
            ..Preconditions::default()
        },
        size: None,
        checksum: None,
        attributes: Some(Attributes::default()),
        made: Some(Made {
            etag: ETag::of_parts([7; 16], 4),
            part_sizes: vec![5, 5, 0, 7],
        }),
    }
}
