use std::sync::Arc;

use super::*;
use crate::policy::credential::{Bearer, Sas};
use crate::policy::route::Bucket;
use crate::secret::Secret;
use crate::storage::azure::auth;
use crate::storage::azure::tests_support::{bucket, emulated, shared_key, target};
use crate::storage::codec::Upstream;
use crate::storage::object::{ETag, ObjectMeta, Revision};
use crate::storage::op::{CopyObject, ObjectRef, Operation, ReadObject, Source};

const NOW: i64 = 1_700_000_000;

fn copy() -> Operation {
    let at = Timestamp::UNIX_EPOCH;
    let mut seen = ObjectMeta::new(1, ETag::parse("aa-1").unwrap(), at);
    seen.revision = Some(Revision("\"0x1\"".into()));
    Operation::CopyObject(Box::new(CopyObject {
        source: Source {
            object: ObjectRef {
                key: "d/fr\u{f6}m %".into(),
                version: None,
            },
            conditions: crate::storage::condition::Preconditions::default(),
            customer_key: None,
            seen: Some(Box::new(seen)),
        },
        key: "to".into(),
        attributes: None,
        tags: None,
        class: None,
        encryption: None,
        conditions: crate::storage::condition::Preconditions::default(),
        checksum: None,
    }))
}

/// The request as it is sent, signed with `ready`.
fn sent(op: &Operation, bucket: &Bucket, ready: &ReadyCredential) -> UpstreamHead {
    let codec = crate::storage::azure::upstream::Azure;
    let mut head = codec.encode(op, &target(bucket)).unwrap().head;
    let account = bucket.resource.azure().unwrap();
    let now = Timestamp::from_second(NOW).unwrap();
    auth::sign(&mut head, account, ready, now).unwrap();
    head
}

fn source(head: &UpstreamHead) -> &str {
    head.header(names::COPY_SOURCE).unwrap().to_str().unwrap()
}

/// Signatures by another implementation: Python's `hmac` over the documented lines.
#[test]
fn a_key_signs_for_the_one_blob_and_to_read() {
    let own = sent(&copy(), &bucket("own", ""), &shared_key());
    assert_eq!(
        source(&own),
        "https://acct.blob.core.windows.net/own/d/fr%C3%B6m%20%25?sv=2022-11-02&sr=b&sp=rt&se=2023-11-14T22%3A28%3A20Z&sig=rb07b8qVnvHhj%2BvxapDyIooF%2B1hau98BkaCJJbvkqD0%3D"
    );
    let emulated = sent(&copy(), &emulated("own"), &shared_key());
    assert_eq!(
        source(&emulated),
        "https://127.0.0.1/devstoreaccount1/own/d/fr%C3%B6m%20%25?sv=2022-11-02&sr=b&sp=rt&se=2023-11-14T22%3A28%3A20Z&sig=KrdPiPWMeUuxcW9ASZJkBavEIVRw%2FeC5J1b3KfNRVHU%3D"
    );
}

#[test]
fn a_signature_or_token_is_lent() {
    let sas = ReadyCredential::Sas(Arc::new(Sas {
        query: Secret::new(*b"sv=1&sig=a%2Bb"),
        expires_at: None,
    }));
    let head = sent(&copy(), &bucket("own", ""), &sas);
    assert!(source(&head).ends_with("/own/d/fr%C3%B6m%20%25?sv=1&sig=a%2Bb"));
    let token = ReadyCredential::Bearer(Arc::new(Bearer::new("abc").unwrap()));
    let head = sent(&copy(), &bucket("own", ""), &token);
    let lent = head.header(names::COPY_SOURCE_AUTHORIZATION).unwrap();
    assert_eq!(lent, "Bearer abc");
    assert!(lent.is_sensitive());
    assert!(source(&head).ends_with("/own/d/fr%C3%B6m%20%25"));
}

#[test]
fn a_request_without_a_source_gets_nothing() {
    let read = Operation::GetObject(Box::new(ReadObject::new("k")));
    let head = sent(&read, &bucket("own", ""), &shared_key());
    assert!(head.header(names::COPY_SOURCE).is_none());
    assert!(head.header(names::COPY_SOURCE_AUTHORIZATION).is_none());
}
