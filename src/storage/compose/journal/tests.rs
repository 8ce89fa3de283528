use proptest::prelude::*;

use super::*;

fn create(key: &str) -> CreateUpload {
    CreateUpload {
        key: key.into(),
        attributes: Attributes::default(),
        checksum: None,
        conditions: crate::storage::condition::Preconditions::default(),
    }
}

pub(in crate::storage::compose) fn stored(number: u16, size: u64, attempt: u32) -> StoredPart {
    let mut md5 = [0; 16];
    md5[..4].copy_from_slice(&attempt.to_be_bytes());
    StoredPart {
        number,
        size,
        attempt: Attempt(attempt),
        blocks: u16::from(size > 0),
        etag: ETag::of_md5(md5),
        at: Timestamp::UNIX_EPOCH,
        checksums: Vec::new(),
    }
}

#[test]
fn what_was_begun_comes_back_as_it_was() {
    let mut begun_with = create("k \"\u{e4}\n");
    let attributes = &mut begun_with.attributes;
    attributes.content.media_type = Some(HeaderValue::from_static("text/x"));
    attributes.content.expires = Some(HeaderValue::from_bytes("n\u{e4}ver".as_bytes()).unwrap());
    attributes.redirect = Some(HeaderValue::from_static("/to"));
    attributes.user.insert("a-b", "v\u{e4}lue").unwrap();
    attributes.tags.insert("t", "1 2").unwrap();
    attributes.class = Some(StorageClass::Cold);
    begun_with.checksum = Some(UploadChecksum {
        kind: ChecksumKind::Sha256,
        over: ChecksumOver::Parts,
    });
    let records = begun(&begun_with).unwrap();
    let journal = read(&begun_with.key, &records).unwrap();
    assert_eq!(journal.attributes, begun_with.attributes);
    assert_eq!(journal.checksum, begun_with.checksum);
    assert!(journal.parts.is_empty());
    assert_eq!(
        read("other", &records).unwrap_err().kind(),
        Kind::UploadNotFound
    );
}

#[test]
fn a_header_that_is_no_text_is_refused_when_the_upload_begins() {
    let mut odd = create("k");
    odd.attributes.redirect = Some(HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(begun(&odd).unwrap_err().kind(), Kind::InvalidArgument);
}

#[test]
fn a_journal_without_a_record_is_of_an_upload_that_nobody_was_told_of() {
    assert_eq!(read("k", b"").unwrap_err().kind(), Kind::UploadNotFound);
}

#[test]
fn what_is_no_journal_is_the_stores_fault() {
    let begun = begun(&create("k")).unwrap();
    for records in [
        b"garbage\n".to_vec(),
        part(&stored(1, 1, 1)).unwrap().to_vec(),
        [&*begun, b"{\"other\":{}}\n"].concat(),
        [&*begun, b"{\"part\":{\"number\":1}}\n"].concat(),
    ] {
        let error = read("k", &records).unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamBroken);
    }
}

#[test]
fn a_beginning_that_was_written_twice_changes_nothing() {
    let begun = begun(&create("k")).unwrap();
    let record = part(&stored(1, 1, 1)).unwrap();
    let records = [&begun[..], &record, &begun].concat();
    assert_eq!(read("k", &records).unwrap().parts.len(), 1);
}

#[test]
fn the_longest_journal_fits() {
    let mut part_of = stored(10_000, 5 << 30, u32::MAX);
    part_of.etag = ETag::of_parts([7; 16], 1);
    part_of.at = Timestamp::MAX;
    let all = [ChecksumKind::Sha256, ChecksumKind::Crc64Nvme];
    let of = |kind: ChecksumKind| Checksum::new(kind, &vec![7; kind.length()]).unwrap();
    part_of.checksums = all.map(of).to_vec();
    let record = part(&part_of).unwrap().len();
    assert!(50_000 * record <= JOURNAL_BYTES_MAX, "{record}");
}

proptest! {
    #[test]
    fn the_last_record_of_a_part_counts(
        sent in proptest::collection::vec((1u16..6, 0u64..1 << 40, any::<u32>()), 0..30),
    ) {
        let mut records = begun(&create("k")).unwrap().to_vec();
        let mut expected = BTreeMap::new();
        for (number, size, attempt) in sent {
            let mut part_of = stored(number, size, attempt);
            let crc = Checksum::of_crc(ChecksumKind::Crc32, u64::from(attempt)).unwrap();
            part_of.checksums.push(crc);
            records.extend_from_slice(&part(&part_of).unwrap());
            expected.insert(number, part_of);
        }
        prop_assert_eq!(read("k", &records).unwrap().parts, expected);
    }
}
