use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::keys::signing::{Scope, SigningKey};
use crate::message::date::BasicDate;
use crate::secret::Secret;
use crate::storage::s3::auth::{ChunkSeed, hex, unhex};
use crate::storage::s3::tests_support::{Owned, owned};

const CAREFUL: S3Quirks = S3Quirks {
    verifies_sha256: false,
    trailers: false,
};
const MODERN: S3Quirks = S3Quirks {
    verifies_sha256: true,
    trailers: true,
};
const CRC_OF_DIGITS: &str = "y/Q5Jg==";
const MAX: u64 = 1 << 40;

/// The key of the manual's examples.
fn manual_seed(signature: &str, trailer: bool) -> ChunkSeed {
    let secret = Secret::new(*b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let scope = Scope {
        date: "20130524",
        region: "us-east-1",
        service: "s3",
    };
    ChunkSeed {
        key: Arc::new(SigningKey::derive(&secret, scope)),
        signature: unhex(signature.as_bytes()).unwrap(),
        date: BasicDate::parse("20130524T000000Z").unwrap().0,
        trailer,
    }
}

fn put(headers: &[(&str, &str)]) -> Owned {
    owned("PUT", "/bkt/k", headers)
}

/// Feeds `pieces`; gives what came out before the end and after it, or the kind of the failure with what had come out.
fn run(
    request: &Owned,
    payload: &Payload,
    quirks: S3Quirks,
    pieces: &[&[u8]],
) -> (Vec<u8>, Result<Vec<u8>, Kind>) {
    let decoded = request.decode().unwrap();
    let planned = plan(&decoded, payload.clone(), &request.headers, quirks, MAX);
    let (form, mut pipe) = match planned {
        Ok(planned) => planned,
        Err(error) => return (Vec::new(), Err(error.kind())),
    };
    let mut out = Chunks::new();
    for piece in pieces {
        if let Err(error) = pipe.push(Bytes::copy_from_slice(piece), &mut out) {
            return (out.concat(), Err(error.kind()));
        }
    }
    let early = out.concat();
    let ended = pipe.finish(End::Clean, &mut out);
    let all = out.concat();
    if ended.is_ok() {
        assert_eq!(
            all.len() as u64,
            form.content_length,
            "the length that was promised"
        );
    } else {
        assert_eq!(all, early, "a failed end hands nothing on");
    }
    (early, ended.map(|()| all).map_err(|error| error.kind()))
}

/// Runs the whole input at once, cut at every byte, and byte by byte: the same result each time, and never all of
/// the content before the end.
fn check(
    request: &Owned,
    payload: &Payload,
    quirks: S3Quirks,
    input: &[u8],
    expected: Result<&[u8], Kind>,
) {
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    let mut cuts: Vec<Vec<&[u8]>> = vec![vec![input], bytes];
    if input.len() < 2000 {
        cuts.extend((0..=input.len()).map(|at| {
            let (left, right) = input.split_at(at);
            vec![left, right]
        }));
    }
    let held = expected.map_or(usize::MAX, <[u8]>::len);
    for pieces in cuts {
        let (early, result) = run(request, payload, quirks, &pieces);
        assert_eq!(result.as_deref().map_err(|kind| *kind), expected);
        assert!(early.len() < held.max(1), "the tail left before the end");
        let whole = early.windows(9).any(|window| window == b"123456789");
        assert!(!whole, "all of the content left before the end");
    }
}

fn sha256_of(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

#[test]
fn a_declared_hash_is_checked_where_the_store_does_not() {
    let request = put(&[("content-length", "9")]);
    let right = Payload::Sha256(sha256_of(b"123456789"));
    let wrong = Payload::Sha256(sha256_of(b"12345678"));
    check(&request, &right, CAREFUL, b"123456789", Ok(b"123456789"));
    check(
        &request,
        &wrong,
        CAREFUL,
        b"123456789",
        Err(Kind::PayloadHashMismatch),
    );
    check(
        &request,
        &right,
        CAREFUL,
        b"12345678",
        Err(Kind::IncompleteBody),
    );
    check(
        &request,
        &right,
        CAREFUL,
        b"1234567890",
        Err(Kind::IncompleteBody),
    );
    // The store gets the same hash, and compares.
    let (early, result) = run(&request, &wrong, MODERN, &[b"123456789"]);
    assert_eq!(
        (early.as_slice(), result),
        (&b"123456789"[..], Ok(b"123456789".to_vec()))
    );
}

#[test]
fn declared_checksums_are_checked_by_cost_and_trust() {
    let sha1 = "98O8HYCOBHMq32eZZczDTKeuNEE=";
    let md5 = "JfnnlDI7RTiF9RgfG2JNCw==";
    for (name, value) in [
        ("x-amz-checksum-crc32", CRC_OF_DIGITS),
        ("x-amz-checksum-crc32c", "4waSgw=="),
        ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
        ("x-amz-checksum-sha1", sha1),
        (
            "x-amz-checksum-sha256",
            "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
        ),
        ("content-md5", md5),
    ] {
        let request = put(&[("content-length", "9"), (name, value)]);
        check(
            &request,
            &Payload::Unsigned,
            CAREFUL,
            b"123456789",
            Ok(b"123456789"),
        );
        check(
            &request,
            &Payload::Unsigned,
            CAREFUL,
            b"123456780",
            Err(Kind::DigestMismatch),
        );
        let cheap = name.contains("crc");
        let (_, result) = run(&request, &Payload::Unsigned, MODERN, &[b"123456780"]);
        assert_eq!(result.is_err(), cheap, "{name}");
    }
    for (headers, expected) in [
        (
            &[("x-amz-checksum-crc32", "AAAA")][..],
            Kind::InvalidRequest,
        ),
        (&[("content-md5", "AAAA")], Kind::InvalidDigest),
        (
            &[
                ("x-amz-checksum-crc32", CRC_OF_DIGITS),
                ("x-amz-checksum-sha1", sha1),
            ],
            Kind::InvalidRequest,
        ),
        (
            &[
                ("x-amz-checksum-crc32", CRC_OF_DIGITS),
                ("x-amz-trailer", "x-amz-checksum-crc32"),
            ],
            Kind::InvalidRequest,
        ),
        (&[("x-amz-trailer", "x-amz-meta-a")], Kind::InvalidRequest),
    ] {
        let mut request = put(headers);
        request.headers.insert("content-length", 9.into());
        let (_, result) = run(&request, &Payload::Unsigned, MODERN, &[b"123456789"]);
        assert_eq!(result, Err(expected), "{headers:?}");
    }
}

#[test]
fn empty_bodies_are_verified_before_a_head_is_sent() {
    let request = put(&[
        ("content-length", "0"),
        ("x-amz-checksum-crc32", CRC_OF_DIGITS),
    ]);
    let (_, result) = run(&request, &Payload::Unsigned, MODERN, &[]);
    assert_eq!(result, Err(Kind::DigestMismatch));
    let request = put(&[("content-length", "0")]);
    let wrong = Payload::Sha256(sha256_of(b"x"));
    let decoded = request.decode().unwrap();
    assert!(plan(&decoded, wrong, &request.headers, CAREFUL, MAX).is_err());
    let chunked = put(&[("x-amz-decoded-content-length", "0")]);
    let decoded = chunked.decode().unwrap();
    let (form, _) = plan(
        &decoded,
        Payload::UnsignedTrailer,
        &chunked.headers,
        CAREFUL,
        MAX,
    )
    .unwrap();
    assert!(form.verify_before_head());
    check(
        &chunked,
        &Payload::UnsignedTrailer,
        CAREFUL,
        b"0\r\n\r\n",
        Ok(b""),
    );
}

#[test]
fn a_presigned_upload_may_carry_the_checksum_of_nothing() {
    let target = "/bkt/k?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32\
                  &X-Amz-Signature=0";
    let request = owned("PUT", target, &[("content-length", "9")]);
    let (_, result) = run(&request, &Payload::Unsigned, CAREFUL, &[b"123456789"]);
    assert_eq!(result, Ok(b"123456789".to_vec()));
    let target = "/bkt/k?x-amz-checksum-crc32=y%2FQ5Jg%3D%3D&X-Amz-Signature=0";
    let request = owned("PUT", target, &[("content-length", "1")]);
    let (_, result) = run(&request, &Payload::Unsigned, CAREFUL, &[b"x"]);
    assert_eq!(result, Err(Kind::DigestMismatch));
}

#[test]
fn lengths_are_mandatory_and_bounded() {
    for (headers, payload, expected) in [
        (&[][..], Payload::Unsigned, Kind::LengthRequired),
        (
            &[("content-length", "9")],
            Payload::UnsignedTrailer,
            Kind::LengthRequired,
        ),
        (
            &[("x-amz-decoded-content-length", "-1")],
            Payload::UnsignedTrailer,
            Kind::InvalidArgument,
        ),
        (
            &[("x-amz-decoded-content-length", "+1")],
            Payload::UnsignedTrailer,
            Kind::InvalidArgument,
        ),
        (
            &[("x-amz-decoded-content-length", "99999999999999999999")],
            Payload::UnsignedTrailer,
            Kind::InvalidArgument,
        ),
        (
            &[("content-length", "1099511627777")],
            Payload::Unsigned,
            Kind::BodyTooLarge,
        ),
    ] {
        let (_, result) = run(&put(headers), &payload, MODERN, &[]);
        assert_eq!(result, Err(expected), "{headers:?}");
    }
}

fn trailing(length: &str) -> Owned {
    put(&[
        ("x-amz-decoded-content-length", length),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("content-encoding", "gzip,aws-chunked"),
    ])
}

#[test]
fn unsigned_chunks_are_peeled_or_cut_again() {
    let input = b"3\r\n123\r\n6\r\n456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
    let framed = b"9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
    let request = trailing("9");
    check(
        &request,
        &Payload::UnsignedTrailer,
        CAREFUL,
        input,
        Ok(b"123456789"),
    );
    check(
        &request,
        &Payload::UnsignedTrailer,
        MODERN,
        input,
        Ok(framed),
    );
    let decoded = request.decode().unwrap();
    for (quirks, encoding, hash, headers) in [
        (CAREFUL, "gzip", PayloadHash::Unsigned, 0),
        (MODERN, "gzip,aws-chunked", PayloadHash::UnsignedTrailer, 2),
    ] {
        let (form, _) = plan(
            &decoded,
            Payload::UnsignedTrailer,
            &request.headers,
            quirks,
            MAX,
        )
        .unwrap();
        assert_eq!(form.content_encoding.unwrap(), encoding);
        assert_eq!((form.payload, form.headers.len()), (hash, headers));
    }
    let empty = b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    check(
        &trailing("0"),
        &Payload::UnsignedTrailer,
        MODERN,
        empty,
        Ok(empty),
    );
}

#[test]
fn broken_framing_is_refused_and_its_tail_never_leaves() {
    let wrong_sum = "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    let long_line = format!("{:0>1100}\r\n", 9);
    let long_trailer = format!("9\r\n123456789\r\n0\r\n{}", "x".repeat(17_000));
    for (input, expected) in [
        (wrong_sum, Kind::DigestMismatch),
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",
            Kind::InvalidRequest,
        ),
        ("9\r\n123456789\r\n0\r\n\r\n", Kind::IncompleteBody),
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n",
            Kind::IncompleteBody,
        ),
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32c:y/Q5Jg==\r\n\r\n",
            Kind::IncompleteBody,
        ),
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\nx-amz-meta-a:b\r\n\r\n",
            Kind::IncompleteBody,
        ),
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\nmore",
            Kind::IncompleteBody,
        ),
        (
            "8\r\n12345678\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n",
            Kind::IncompleteBody,
        ),
        (
            "a\r\n1234567890\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n",
            Kind::IncompleteBody,
        ),
        ("9\r\n1234567890\r\n", Kind::IncompleteBody),
        ("9\n123456789\n0\n\n", Kind::IncompleteBody),
        ("+9\r\n123456789\r\n", Kind::IncompleteBody),
        ("0x9\r\n123456789\r\n", Kind::IncompleteBody),
        ("\r\n", Kind::IncompleteBody),
        ("9;x=y\r\n123456789\r\n", Kind::IncompleteBody),
        ("ffffffffffffffff\r\n", Kind::IncompleteBody),
        ("11111111111111111\r\n", Kind::IncompleteBody),
        ("9\r\n123456789", Kind::IncompleteBody),
        ("", Kind::IncompleteBody),
        (long_line.as_str(), Kind::IncompleteBody),
        (long_trailer.as_str(), Kind::IncompleteBody),
    ] {
        for quirks in [CAREFUL, MODERN] {
            check(
                &trailing("9"),
                &Payload::UnsignedTrailer,
                quirks,
                input.as_bytes(),
                Err(expected),
            );
        }
    }
}

#[test]
fn a_client_that_leaves_gets_nothing_committed() {
    let request = trailing("9");
    let decoded = request.decode().unwrap();
    let (_, mut pipe) = plan(
        &decoded,
        Payload::UnsignedTrailer,
        &request.headers,
        MODERN,
        MAX,
    )
    .unwrap();
    let mut out = Chunks::new();
    pipe.push(Bytes::from_static(b"9\r\n123456789"), &mut out)
        .unwrap();
    let gone = Error::new(Kind::ClientGone, "gone");
    assert!(pipe.finish(End::Cut(gone), &mut out).is_err());
    assert!(out.is_empty());
}

// The manual's example "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".
#[test]
fn the_manuals_signed_chunks_verify() {
    let seed = manual_seed(
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        false,
    );
    let payload = Payload::SignedChunks(seed);
    let request = put(&[
        ("x-amz-decoded-content-length", "66560"),
        ("content-encoding", "aws-chunked"),
    ]);
    let content = vec![b'a'; 66_560];
    let (big, small) = content.split_at(65_536);
    let mut input = b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n".to_vec();
    input.extend_from_slice(big);
    input.extend_from_slice(b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n");
    input.extend_from_slice(small);
    input.extend_from_slice(b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n");
    assert_eq!(input.len(), 66_824);
    check(&request, &payload, MODERN, &input, Ok(&content));
    for at in [20, 100, 65_800, 66_700, 66_800] {
        let mut bad = input.clone();
        bad[at] ^= 1;
        let (early, result) = run(&request, &payload, MODERN, &[&bad]);
        assert!(result.is_err(), "{at}");
        assert!(early.len() < content.len());
    }
    for cut in [66_823, 66_700, 65_700, 10] {
        let (_, result) = run(&request, &payload, MODERN, &[&input[..cut]]);
        assert_eq!(result, Err(Kind::IncompleteBody), "{cut}");
    }
}

// The manual's example with a trailing checksum.
#[test]
fn the_manuals_signed_trailer_verifies() {
    let seed = manual_seed(
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        true,
    );
    let payload = Payload::SignedChunks(seed);
    let request = put(&[
        ("x-amz-decoded-content-length", "66560"),
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
    ]);
    let content = vec![b'a'; 66_560];
    let (big, small) = content.split_at(65_536);
    let mut input = b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n".to_vec();
    input.extend_from_slice(big);
    input.extend_from_slice(b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n");
    input.extend_from_slice(small);
    input.extend_from_slice(b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n");
    let checksum = "x-amz-checksum-crc32c:sOO8/Q==";
    let signature =
        "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    for (trailer, expected) in [
        (format!("{checksum}\r\n{signature}\r\n\r\n"), None),
        (format!("{checksum}\n\r\n{signature}\r\n\r\n"), None),
        (format!("{checksum}\r\n\r\n"), Some(Kind::IncompleteBody)),
        (
            format!("{signature}\r\n{checksum}\r\n\r\n"),
            Some(Kind::SignatureMismatch),
        ),
        (
            format!("{checksum}\r\n{}\r\n\r\n", signature.replace("d8", "d9")),
            Some(Kind::SignatureMismatch),
        ),
        (
            format!("{}\r\n{signature}\r\n\r\n", checksum.replace("sO", "sP")),
            Some(Kind::SignatureMismatch),
        ),
    ] {
        let mut whole = input.clone();
        whole.extend_from_slice(trailer.as_bytes());
        let (early, result) = run(&request, &payload, CAREFUL, &[&whole]);
        assert_eq!(result.as_ref().err(), expected.as_ref(), "{trailer}");
        assert!(early.len() < content.len());
        if let Ok(all) = result {
            assert_eq!(all, content);
        }
    }
}

/// Chunks signed as a client would.
fn signed_chunks(seed: &ChunkSeed, content: &[u8], size: usize) -> Vec<u8> {
    let mut previous = seed.signature;
    let mut input = Vec::new();
    let nothing: &[u8] = &[];
    for chunk in content.chunks(size).chain([nothing]) {
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
            seed.date.as_str(),
            seed.key.scope(),
            String::from_utf8_lossy(&hex(&previous)),
            String::from_utf8_lossy(&hex(&sha256_of(b""))),
            String::from_utf8_lossy(&hex(&sha256_of(chunk))),
        );
        previous = seed.key.sign(to_sign.as_bytes());
        let signature = hex(&previous);
        let head = format!("{:x};chunk-signature=", chunk.len());
        for part in [head.as_bytes(), &signature, b"\r\n", chunk] {
            input.extend_from_slice(part);
        }
        if !chunk.is_empty() {
            input.extend_from_slice(b"\r\n");
        }
    }
    input.extend_from_slice(b"\r\n");
    input
}

#[test]
fn small_signed_chunks_verify_however_they_are_cut() {
    let seed = manual_seed(&"0".repeat(64), false);
    let input = signed_chunks(&seed, b"123456789", 4);
    let request = put(&[("x-amz-decoded-content-length", "9")]);
    let payload = Payload::SignedChunks(seed);
    check(&request, &payload, MODERN, &input, Ok(b"123456789"));
    for at in 0..input.len() {
        let mut bad = input.clone();
        bad[at] ^= 0x40;
        let (early, result) = run(&request, &payload, MODERN, &[&bad]);
        assert!(result.is_err(), "{at}");
        assert!(early.len() < 9);
    }
}

proptest! {
    #[test]
    fn any_content_in_any_chunks_in_any_pieces_comes_out_whole(
        content in proptest::collection::vec(any::<u8>(), 1..600),
        chunk in 1usize..200,
        piece in 1usize..100,
    ) {
        let length = content.len().to_string();
        let seed = manual_seed(&"0".repeat(64), false);
        let input = signed_chunks(&seed, &content, chunk);
        let pieces: Vec<&[u8]> = input.chunks(piece).collect();
        let request = put(&[("x-amz-decoded-content-length", &length)]);
        let (early, result) = run(&request, &Payload::SignedChunks(seed), MODERN, &pieces);
        prop_assert!(early.len() < content.len());
        prop_assert_eq!(result, Ok(content.clone()));

        let mut input = Vec::new();
        for part in content.chunks(chunk) {
            input.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
            input.extend_from_slice(part);
            input.extend_from_slice(b"\r\n");
        }
        let sum = STANDARD.encode(sha256_of(&content));
        input.extend_from_slice(format!("0\r\nx-amz-checksum-sha256: {sum}\r\n\r\n").as_bytes());
        let pieces: Vec<&[u8]> = input.chunks(piece).collect();
        let request = put(&[
            ("x-amz-decoded-content-length", &length),
            ("x-amz-trailer", "x-amz-checksum-sha256"),
        ]);
        let (_, peeled) = run(&request, &Payload::UnsignedTrailer, CAREFUL, &pieces);
        prop_assert_eq!(peeled, Ok(content.clone()));
        let (early, framed) = run(&request, &Payload::UnsignedTrailer, MODERN, &pieces);
        let framed = framed.unwrap();
        prop_assert!(early.len() < framed.len());
        // What we cut reads back as what it was cut from.
        let (_, again) = run(&request, &Payload::UnsignedTrailer, CAREFUL, &[&framed]);
        prop_assert_eq!(again, Ok(content));
    }

    #[test]
    fn any_bytes_as_chunks_are_answered_without_a_panic(input: Vec<u8>, piece in 1usize..20) {
        let pieces: Vec<&[u8]> = input.chunks(piece).collect();
        let _ = run(&trailing("9"), &Payload::UnsignedTrailer, MODERN, &pieces);
    }
}

#[test]
fn the_promised_length_holds_across_many_frames() {
    for length in [
        1u64,
        15,
        16,
        FRAME_BYTES - 1,
        FRAME_BYTES,
        FRAME_BYTES + 1,
        3 * FRAME_BYTES + 5,
    ] {
        let mut frames = Frames::new(Algorithm::Crc32, length);
        let mut out = Chunks::new();
        let mut left = length;
        while left > 0 {
            let size = left.min(700_001);
            frames.push(vec![0; usize::try_from(size).unwrap()].into(), &mut out);
            left -= size;
        }
        frames.end(CRC_OF_DIGITS, &mut out);
        let total: usize = out.iter().map(Bytes::len).sum();
        assert_eq!(
            total as u64,
            framed_length(length, Algorithm::Crc32),
            "{length}"
        );
    }
}

#[test]
fn documents_are_checked_whole() {
    let request = |headers: &[(&str, &str)]| owned("PUT", "/bkt/k?tagging", headers);
    let verify = |request: &Owned, payload: Payload, raw: &'static [u8]| {
        let decoded = request.decode().unwrap();
        verify_document(&decoded, payload, &request.headers, Bytes::from_static(raw))
            .map_err(|error| error.kind())
    };
    let digits = Payload::Sha256(sha256_of(b"123456789"));
    assert_eq!(
        verify(&request(&[]), digits.clone(), b"123456789").unwrap(),
        "123456789"
    );
    assert_eq!(
        verify(&request(&[]), digits, b"1234"),
        Err(Kind::PayloadHashMismatch)
    );
    let wrong = request(&[("x-amz-checksum-crc32", "AAAAAA==")]);
    assert_eq!(
        verify(&wrong, Payload::Unsigned, b"1"),
        Err(Kind::DigestMismatch)
    );
    let chunked = request(&[
        ("x-amz-decoded-content-length", "9"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ]);
    let raw = b"9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
    assert_eq!(
        verify(&chunked, Payload::UnsignedTrailer, raw).unwrap(),
        "123456789"
    );
    // The checksum of a completion is the object's.
    for value in ["AAAAAA==", "AAAAAA==-3"] {
        let complete = owned(
            "POST",
            "/bkt/k?uploadId=u",
            &[("x-amz-checksum-crc32", value)],
        );
        assert!(verify(&complete, Payload::Unsigned, b"<a/>").is_ok());
    }
}
