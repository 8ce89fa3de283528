use proptest::prelude::*;

use super::*;
use crate::storage::compose::journal::tests::stored;
use crate::storage::condition::Preconditions;
use crate::storage::object::Attributes;
use crate::storage::op::{BlockState, UploadRef};

const BIG: u64 = PART_BYTES_MIN;

fn journal(parts: impl IntoIterator<Item = StoredPart>) -> Journal {
    Journal {
        attributes: Attributes::default(),
        checksum: None,
        parts: parts.into_iter().map(|part| (part.number, part)).collect(),
    }
}

fn named(part: &StoredPart) -> CompletedPart {
    CompletedPart {
        number: part.number,
        etag: part.etag.clone(),
        checksum: None,
    }
}

fn asked(parts: Vec<CompletedPart>) -> CompleteUpload {
    CompleteUpload {
        upload: UploadRef {
            key: "k".into(),
            id: "00112233445566ff".into(),
        },
        pieces: Pieces::Parts(parts),
        conditions: Preconditions::default(),
        size: None,
        checksum: None,
        attributes: None,
        made: None,
    }
}

fn refused(asked: &CompleteUpload, journal: &Journal) -> Kind {
    complete(asked, journal).unwrap_err().kind()
}

fn crc(kind: ChecksumKind, bytes: &[u8]) -> Checksum {
    let algorithm = if kind == ChecksumKind::Crc32 {
        crc_fast::CrcAlgorithm::Crc32IsoHdlc
    } else {
        crc_fast::CrcAlgorithm::Crc64Nvme
    };
    Checksum::of_crc(kind, crc_fast::checksum(algorithm, bytes)).unwrap()
}

#[test]
fn an_object_is_made_of_the_blocks_of_the_attempts_that_count() {
    let mut large = stored(1, 5 << 30, 0xaabb);
    large.blocks = 2;
    let parts = [large, stored(7, 0, 1), stored(9, 3, 2)];
    let journal = journal(parts.clone());
    // An empty part may be the last, and nothing else.
    assert_eq!(
        refused(&asked(parts.iter().map(named).collect()), &journal),
        Kind::BodyTooSmall
    );
    let made = complete(&asked(vec![named(&parts[0]), named(&parts[2])]), &journal).unwrap();
    let Pieces::Blocks(blocks) = made.pieces else {
        panic!("no blocks");
    };
    let id = UploadId::parse("00112233445566ff").unwrap();
    let expected = [(1, 0, 0xaabb), (1, 1, 0xaabb), (9, 0, 2)];
    let expected = expected.map(|(part, slice, attempt)| {
        let block = id.block(part, slice, Attempt(attempt));
        (block, BlockState::Uncommitted)
    });
    assert_eq!(blocks, expected);
    let made = made.made.unwrap();
    assert_eq!(made.part_sizes, [5 << 30, 3]);
    assert_eq!(made.etag.parts(), Some(2));
    let empty = complete(&asked(vec![named(&parts[1])]), &journal).unwrap();
    assert_eq!(empty.pieces, Pieces::Blocks(Vec::new()));
    assert_eq!(empty.made.unwrap().part_sizes, [0]);
}

#[test]
fn the_etag_is_the_digest_of_the_parts_digests_and_their_number() {
    // MD5s of "a" and "b", and the MD5 of both.
    let md5 = |text: &str| ETag::parse(text).unwrap();
    let mut parts = [stored(1, BIG, 1), stored(2, 1, 2)];
    parts[0].etag = md5("0cc175b9c0f1b6a831c399e269772661");
    parts[1].etag = md5("92eb5ffee6ae2fec3ad71c777531578f");
    let journal = journal(parts.clone());
    let made = complete(&asked(parts.iter().map(named).collect()), &journal).unwrap();
    let both = [parts[0].etag.md5().unwrap(), parts[1].etag.md5().unwrap()];
    let expected = ETag::of_parts(Md5::digest(both.concat()).into(), 2);
    assert_eq!(made.made.unwrap().etag, expected);
}

#[test]
fn parts_that_are_not_those_that_were_sent_are_refused() {
    let parts = [stored(1, BIG, 1), stored(2, 1, 2)];
    let journal = journal(parts.clone());
    let [one, two] = parts.each_ref().map(named);
    let other = |change: fn(&mut CompletedPart)| {
        let mut changed = two.clone();
        change(&mut changed);
        refused(&asked(vec![one.clone(), changed]), &journal)
    };
    assert_eq!(other(|part| part.number = 3), Kind::InvalidPart);
    assert_eq!(
        other(|part| part.etag = ETag::of_md5([9; 16])),
        Kind::InvalidPart
    );
    assert_eq!(
        other(|part| part.checksum = Some(crc(ChecksumKind::Crc32, b"x"))),
        Kind::InvalidPart
    );
    let mut wrong = asked(vec![one, two.clone()]);
    wrong.size = Some(BIG);
    assert_eq!(refused(&wrong, &journal), Kind::InvalidRequest);
    wrong.size = Some(BIG + 1);
    assert!(complete(&wrong, &journal).is_ok());
    wrong.upload.id = "x".into();
    assert_eq!(refused(&wrong, &journal), Kind::UploadNotFound);
}

#[test]
fn a_small_part_may_only_be_the_last() {
    let parts = [stored(1, BIG - 1, 1), stored(2, 1, 2)];
    let journal = journal(parts.clone());
    let both = asked(parts.iter().map(named).collect());
    assert_eq!(refused(&both, &journal), Kind::BodyTooSmall);
    assert!(complete(&asked(vec![named(&parts[0])]), &journal).is_ok());
}

/// Two parts with checksums, and what their bytes are.
fn with_checksums(kind: ChecksumKind) -> ([StoredPart; 2], Checksum) {
    let front = vec![7; usize::try_from(BIG).unwrap()];
    let mut parts = [stored(1, BIG, 1), stored(2, 3, 2)];
    parts[0].checksums.push(crc(kind, &front));
    parts[1].checksums.push(crc(kind, b"abc"));
    (parts, crc(kind, &[&front[..], b"abc"].concat()))
}

#[test]
fn the_checksum_of_the_whole_is_computed_and_compared() {
    let kind = ChecksumKind::Crc64Nvme;
    let (parts, whole) = with_checksums(kind);
    let mut journal = journal(parts.clone());
    let mut asked = asked(parts.iter().map(named).collect());
    let of = UploadChecksum {
        kind,
        over: ChecksumOver::Object,
    };
    let made = |asked: &CompleteUpload, journal: &Journal| {
        complete(asked, journal).map(|made| made.checksum)
    };
    // Nobody asked: it is the one that the protocol has by default.
    assert_eq!(made(&asked, &journal).unwrap(), Some((of, whole.clone())));
    journal.checksum = Some(of);
    assert_eq!(made(&asked, &journal).unwrap(), Some((of, whole.clone())));
    asked.checksum = Some((of, whole));
    assert!(made(&asked, &journal).is_ok());
    asked.checksum = Some((of, crc(kind, b"other")));
    assert_eq!(refused(&asked, &journal), Kind::DigestMismatch);
    let crc32 = UploadChecksum {
        kind: ChecksumKind::Crc32,
        ..of
    };
    asked.checksum = Some((crc32, crc(ChecksumKind::Crc32, b"")));
    assert_eq!(refused(&asked, &journal), Kind::InvalidRequest);
    // A part without one: without a demand there is none, with one it is refused.
    journal.parts.get_mut(&2).unwrap().checksums.clear();
    asked.checksum = None;
    assert_eq!(refused(&asked, &journal), Kind::InvalidRequest);
    journal.checksum = None;
    assert_eq!(made(&asked, &journal).unwrap(), None);
}

#[test]
fn a_checksum_of_parts_wants_that_of_each() {
    let kind = ChecksumKind::Crc32;
    let (parts, _) = with_checksums(kind);
    let of = UploadChecksum {
        kind,
        over: ChecksumOver::Parts,
    };
    let mut journal = journal(parts.clone());
    journal.checksum = Some(of);
    let unnamed: Vec<_> = parts.iter().map(named).collect();
    assert_eq!(
        refused(&asked(unnamed.clone()), &journal),
        Kind::InvalidRequest
    );
    let mut named = unnamed;
    for (named, part) in named.iter_mut().zip(&parts) {
        named.checksum = part.checksums.first().cloned();
    }
    let made = complete(&asked(named.clone()), &journal).unwrap();
    let both: Vec<u8> = parts
        .iter()
        .flat_map(|part| part.checksums[0].value().to_vec())
        .collect();
    assert_eq!(made.checksum, Some((of, crc(kind, &both))));
    named[1].checksum = Some(crc(kind, b"other"));
    assert_eq!(refused(&asked(named), &journal), Kind::InvalidPart);
}

proptest! {
    #[test]
    fn pages_show_each_part_once_in_order(
        numbers in proptest::collection::btree_set(1u16..60, 0..30), max in 1u32..7,
    ) {
        let journal = journal(numbers.iter().map(|number| stored(*number, 1, 1)));
        let mut list = ListPieces {
            upload: asked(Vec::new()).upload,
            after: None,
            max: Some(max),
        };
        let mut shown = Vec::new();
        loop {
            let page = page(&list, &journal);
            prop_assert!(page.parts.len() <= usize::try_from(max).unwrap());
            shown.extend(page.parts.iter().map(|part| part.number));
            list.after = page.next;
            if list.after.is_none() {
                break;
            }
        }
        prop_assert_eq!(shown, numbers.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn the_etag_of_a_copied_part_is_an_md5_where_somebody_knows_it() {
    let source = |etag: ETag| ObjectMeta::new(10, etag, Timestamp::UNIX_EPOCH);
    let block = |size, bytes: &[u8]| CopiedBlock {
        size,
        told: vec![crc(ChecksumKind::Crc64Nvme, bytes)],
    };
    let part = |blocks: &[CopiedBlock], source: &ObjectMeta| {
        copied(1, Attempt(7), blocks, source, Timestamp::UNIX_EPOCH).unwrap()
    };
    let known = source(ETag::of_md5([7; 16]));
    let all = [block(4, b"0123"), block(6, b"456789")];
    let of_all = part(&all, &known);
    assert_eq!((of_all.size, of_all.blocks), (10, 2));
    assert_eq!(of_all.etag, ETag::of_md5([7; 16]));
    assert_eq!(
        of_all.checksums,
        [crc(ChecksumKind::Crc64Nvme, b"0123456789")]
    );
    // Of a range, or of an object whose MD5 nobody knows, no ETag looks like one.
    assert_eq!(part(&all[..1], &known).etag.parts(), Some(1));
    let unknown = part(&all, &source(ETag::of_parts([7; 16], 3)));
    assert_eq!(unknown.etag.parts(), Some(1));
    let told = CopiedBlock {
        size: 4,
        told: vec![Checksum::new(ChecksumKind::Md5, &[9; 16]).unwrap()],
    };
    assert_eq!(part(&[told], &known).etag, ETag::of_md5([9; 16]));
    let empty = part(&[], &known);
    assert_eq!((empty.size, empty.blocks), (0, 0));
    assert_eq!(empty.etag.as_str(), "d41d8cd98f00b204e9800998ecf8427e");
}
