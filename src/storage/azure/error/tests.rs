use super::*;
use crate::storage::azure::tests_support::answer;
use crate::storage::op::{CreateBucket, ReadObject};

fn read() -> Operation {
    Operation::GetObject(Box::new(ReadObject::new("k")))
}

fn decode_of(op: &Operation, status: u16, headers: &[(&str, &str)], body: &str) -> Error {
    let (status, headers) = answer(status, headers);
    let head = ReplyHead {
        status,
        headers: &headers,
    };
    decode(op, head, body.as_bytes())
}

/// As the service writes them, its mark before the document included.
fn document(code: &str) -> String {
    format!(
        "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>own-container says no.\nRequestId:b3c1-01e\nTime:2026-11-28T00:00:00.0000000Z</Message><AuthenticationErrorDetail>acct</AuthenticationErrorDetail></Error>"
    )
}

#[test]
fn every_code_of_the_table_has_its_meaning_whatever_the_status() {
    for (code, kind) in CODES {
        for (headers, body) in [
            (vec![(names::ERROR_CODE, *code)], String::new()),
            (vec![], document(code)),
        ] {
            let error = decode_of(&read(), 400, &headers, &body);
            assert_eq!(error.kind(), *kind, "{code}");
        }
    }
    for code in CREDENTIAL_CODES {
        let error = decode_of(&read(), 403, &[], &document(code));
        assert_eq!(error.kind(), Kind::UpstreamAuth, "{code}");
    }
    assert!(CODES.is_sorted_by_key(|(code, _)| *code));
}

#[test]
fn failures_as_the_store_writes_them() {
    for (status, code, kind) in [
        (404, "BlobNotFound", Kind::ObjectNotFound),
        (404, "ContainerNotFound", Kind::BucketNotFound),
        (409, "ContainerBeingDeleted", Kind::BucketNotFound),
        (409, "BlobAlreadyExists", Kind::PreconditionFailed),
        (412, "ConditionNotMet", Kind::PreconditionFailed),
        (412, "SourceConditionNotMet", Kind::PreconditionFailed),
        (416, "InvalidRange", Kind::InvalidRange),
        (400, "Md5Mismatch", Kind::DigestMismatch),
        (400, "Crc64Mismatch", Kind::DigestMismatch),
        (400, "InvalidBlockList", Kind::InvalidPart),
        (400, "InvalidBlobOrBlock", Kind::Conflict),
        (403, "AuthenticationFailed", Kind::UpstreamAuth),
        (403, "AuthorizationFailure", Kind::AccessDenied),
        (403, "", Kind::AccessDenied),
        (401, "NoAuthenticationInformation", Kind::UpstreamAuth),
        (401, "", Kind::UpstreamAuth),
        (409, "BlobArchived", Kind::ObjectArchived),
        (412, "LeaseIdMissing", Kind::AccessDenied),
        (413, "RequestBodyTooLarge", Kind::BodyTooLarge),
        (400, "OutOfRangeInput", Kind::KeyTooLong),
        (503, "ServerBusy", Kind::Overloaded),
        (500, "OperationTimedOut", Kind::Overloaded),
        (500, "InternalError", Kind::UpstreamUnavailable),
        (502, "", Kind::UpstreamUnavailable),
        (504, "", Kind::UpstreamTimeout),
        (307, "", Kind::UpstreamBroken),
        (418, "Teapot", Kind::InvalidRequest),
    ] {
        let body = if code.is_empty() {
            String::new()
        } else {
            document(code)
        };
        let error = decode_of(&read(), status, &[], &body);
        assert_eq!(error.kind(), kind, "{status} {code}");
        assert!(!error.message().contains("own-container"), "{code}");
        assert!(error.detail().is_some_and(|detail| detail.contains(code)));
    }
}

#[test]
fn what_was_asked_for_tells_what_is_missing_or_taken() {
    assert_eq!(
        decode_of(&read(), 404, &[], "").kind(),
        Kind::ObjectNotFound
    );
    let create = Operation::CreateBucket(CreateBucket::default());
    for (op, code, kind) in [
        (&Operation::HeadBucket, "", Kind::BucketNotFound),
        (
            &Operation::HeadBucket,
            "OutOfRangeInput",
            Kind::InvalidBucketName,
        ),
        (&create, "ContainerBeingDeleted", Kind::Conflict),
        (&create, "ContainerAlreadyExists", Kind::BucketExists),
    ] {
        let code = [(names::ERROR_CODE, code)];
        assert_eq!(decode_of(op, 404, &code, "").kind(), kind, "{code:?}");
    }
}

#[test]
fn what_is_said_is_understood_by_whoever_reads_it() {
    for kind in [
        Kind::ObjectNotFound,
        Kind::BucketNotFound,
        Kind::BucketExists,
        Kind::ObjectArchived,
        Kind::PreconditionFailed,
        Kind::InvalidRange,
        Kind::InvalidDigest,
        Kind::DigestMismatch,
        Kind::MalformedBody,
        Kind::MetadataTooLarge,
        Kind::InvalidTag,
        Kind::InvalidPart,
        Kind::InvalidArgument,
        Kind::InvalidBucketName,
        Kind::KeyTooLong,
        Kind::BodyTooLarge,
        Kind::LengthRequired,
        Kind::MethodNotAllowed,
        Kind::Unsupported,
        Kind::AccessDenied,
        Kind::Overloaded,
        Kind::UpstreamUnavailable,
    ] {
        let (status, code) = super::answer(kind);
        let told = decode_of(&read(), status.as_u16(), &[], &document(code));
        assert_eq!(told.kind(), kind, "{code}");
    }
}

#[test]
fn the_store_is_believed_about_when_to_come_back() {
    let told = decode_of(
        &read(),
        503,
        &[("retry-after", "7")],
        &document("ServerBusy"),
    );
    assert_eq!(told.retry_after(), Some(Duration::from_secs(7)));
    let busy = decode_of(&read(), 503, &[], &document("ServerBusy"));
    assert_eq!(busy.retry_after(), Some(SLOW_DOWN));
}

#[test]
fn broken_documents_still_give_an_answer() {
    for body in ["", "{\"error\":{}}", "<Error><Code>Blob", "\u{0}", "<html>"] {
        for status in [400, 403, 404, 500, 599] {
            assert!(!decode_of(&read(), status, &[], body).message().is_empty());
        }
    }
}
