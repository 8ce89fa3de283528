use http::HeaderMap;

use super::*;
use crate::storage::gcs::tests_support::answer;
use crate::storage::op::ReadObject;

fn read() -> Operation {
    Operation::GetObject(Box::new(ReadObject::new("k")))
}

fn decode_of(op: &Operation, status: u16, body: &str) -> Error {
    let (status, headers) = answer(status, &[]);
    let head = ReplyHead {
        status,
        headers: &headers,
    };
    decode(op, head, body.as_bytes())
}

fn document(code: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>own-bucket says no.</Message><Details>projects/123</Details></Error>"
    )
}

#[test]
fn every_code_of_the_table_has_its_meaning_whatever_the_status() {
    for (code, kind) in CODES {
        assert_eq!(
            decode_of(&read(), 400, &document(code)).kind(),
            *kind,
            "{code}"
        );
        assert_eq!(of_code(code, "").kind(), *kind, "{code}");
    }
    for code in CREDENTIAL_CODES {
        let error = decode_of(&read(), 403, &document(code));
        assert_eq!(error.kind(), Kind::UpstreamAuth, "{code}");
    }
}

#[test]
fn failures_as_the_store_writes_them() {
    for (status, code, kind) in [
        (404, "NoSuchKey", Kind::ObjectNotFound),
        (404, "NoSuchBucket", Kind::BucketNotFound),
        (412, "PreconditionFailed", Kind::PreconditionFailed),
        (416, "InvalidRange", Kind::InvalidRange),
        (400, "BadDigest", Kind::DigestMismatch),
        (400, "EntityTooSmall", Kind::BodyTooSmall),
        (400, "InvalidPart", Kind::InvalidPart),
        (404, "NoSuchUpload", Kind::UploadNotFound),
        (429, "SlowDown", Kind::Overloaded),
        (429, "", Kind::Overloaded),
        (403, "AccessDenied", Kind::AccessDenied),
        (401, "AuthenticationRequired", Kind::UpstreamAuth),
        (401, "", Kind::UpstreamAuth),
        (409, "BucketNotEmpty", Kind::BucketNotEmpty),
        (503, "ServiceUnavailable", Kind::UpstreamUnavailable),
        (500, "InternalError", Kind::UpstreamUnavailable),
        (502, "", Kind::UpstreamUnavailable),
        (504, "", Kind::UpstreamTimeout),
        (400, "UserProjectMissing", Kind::UpstreamAuth),
        (307, "", Kind::UpstreamBroken),
        (418, "Teapot", Kind::InvalidRequest),
    ] {
        let body = if code.is_empty() {
            String::new()
        } else {
            document(code)
        };
        let error = decode_of(&read(), status, &body);
        assert_eq!(error.kind(), kind, "{status} {code}");
        assert!(
            !error.message().contains("own-bucket"),
            "{}",
            error.message()
        );
        assert!(error.detail().is_some_and(|detail| detail.contains(code)));
    }
}

#[test]
fn a_missing_thing_without_a_document_is_what_was_asked_for() {
    assert_eq!(decode_of(&read(), 404, "").kind(), Kind::ObjectNotFound);
    let bucket = decode_of(&Operation::HeadBucket, 404, "");
    assert_eq!(bucket.kind(), Kind::BucketNotFound);
}

#[test]
fn the_store_is_believed_about_when_to_come_back() {
    let (status, headers) = answer(503, &[("retry-after", "7")]);
    let head = ReplyHead {
        status,
        headers: &headers,
    };
    let error = decode(&read(), head, b"");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    let throttled = ReplyHead {
        status: StatusCode::TOO_MANY_REQUESTS,
        headers: &HeaderMap::new(),
    };
    assert_eq!(
        decode(&read(), throttled, b"").retry_after(),
        Some(SLOW_DOWN)
    );
}

#[test]
fn broken_documents_still_give_an_answer() {
    for body in ["", "{\"error\":{}}", "<Error><Code>NoSu", "\u{0}", "<html>"] {
        for status in [400, 403, 404, 500, 599] {
            assert!(!decode_of(&read(), status, body).message().is_empty());
        }
    }
}
