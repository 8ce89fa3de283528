use super::*;
use crate::policy::route::Addressing;
use crate::storage::s3::tests_support::bucket;

fn decode(status: u16, body: &str) -> Failure {
    let bucket = bucket("shown", "hidden-bucket", "folder/", Addressing::Path);
    Failure::decode(
        StatusCode::from_u16(status).unwrap(),
        &HeaderMap::new(),
        body.as_bytes(),
        Some(&bucket),
    )
}

fn document(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
}

#[test]
fn a_providers_status_and_code_are_kept_where_they_are_the_clients_business() {
    for (status, code, kind) in [
        (404, "NoSuchKey", Kind::ObjectNotFound),
        (404, "NoSuchBucket", Kind::BucketNotFound),
        (404, "NoSuchLifecycleConfiguration", Kind::ObjectNotFound),
        (404, "NoSuchUpload", Kind::UploadNotFound),
        (412, "PreconditionFailed", Kind::PreconditionFailed),
        (416, "InvalidRange", Kind::InvalidRange),
        (400, "EntityTooSmall", Kind::InvalidRequest),
        (400, "BadDigest", Kind::DigestMismatch),
        (403, "AccessDenied", Kind::AccessDenied),
        (403, "InvalidObjectState", Kind::AccessDenied),
        (409, "BucketNotEmpty", Kind::Conflict),
        (501, "NotImplemented", Kind::Unsupported),
        (500, "InternalError", Kind::UpstreamUnavailable),
    ] {
        let failure = decode(status, &document(code, "why"));
        assert_eq!(failure.status.as_u16(), status);
        assert_eq!(failure.code, code);
        assert_eq!(failure.kind, kind, "{code}");
        assert_eq!(failure.message, "why");
    }
}

#[test]
fn a_refused_credential_is_never_the_clients_fault() {
    for (status, code) in [
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (400, "ExpiredToken"),
        (403, "RequestTimeTooSkewed"),
        (401, "Whatever"),
    ] {
        let failure = decode(status, &document(code, "AKIAUPSTREAM is wrong"));
        assert_eq!(failure.kind, Kind::UpstreamAuth, "{code}");
        assert_eq!(
            (failure.status.as_u16(), &*failure.code),
            (403, "AccessDenied")
        );
        assert_eq!(failure.message, "The resource's credential was refused.");
    }
}

#[test]
fn messages_that_name_the_upstream_are_replaced() {
    for message in [
        "bucket hidden-bucket does not exist",
        "at https://store.internal/",
        "key folder/x",
        "User: arn:aws:iam::123:user/x is not authorized",
        "AKIAUPSTREAM",
    ] {
        let failure = decode(403, &document("AccessDenied", message));
        assert_eq!(failure.message, "Access Denied", "{message}");
        assert!(
            failure
                .detail
                .is_some_and(|detail| detail.contains(message))
        );
    }
}

#[test]
fn throttling_and_redirects_are_ours_to_explain() {
    let throttled = decode(429, "");
    assert_eq!(
        (throttled.status.as_u16(), throttled.kind),
        (503, Kind::UpstreamUnavailable)
    );
    assert_eq!(throttled.retry_after, Some(SLOW_DOWN));
    for status in [301, 307] {
        let redirected = decode(status, &document("PermanentRedirect", "hidden-bucket.s3"));
        assert_eq!(redirected.kind, Kind::UpstreamBroken);
        assert_eq!(redirected.status.as_u16(), 500);
    }
}

#[test]
fn broken_documents_still_give_an_answer() {
    for body in [
        "",
        "<html>no</html>",
        "<Error><Code>Ac",
        "\u{0}",
        "<Error><Code>a b</Code></Error>",
    ] {
        for status in [400, 403, 404, 500, 599] {
            let failure = decode(status, body);
            assert_eq!(failure.status.as_u16(), status, "{body}");
            assert!(is_code(&failure.code), "{body}");
            assert!(!failure.message.is_empty());
        }
    }
    let late = decode(200, &document("InternalError", "try again"));
    assert_eq!((late.status.as_u16(), &*late.code), (503, "InternalError"));
}

#[test]
fn documents_escape_what_they_quote_and_keep_details() {
    let mut failure = decode(412, &document("PreconditionFailed", "no"));
    failure.details.push(("Condition", "If-Match".into()));
    let text = failure.encode("/b/<k>&", "id-1");
    let text = std::str::from_utf8(&text).unwrap();
    assert!(text.contains("<Condition>If-Match</Condition>"));
    assert!(text.contains("<Resource>/b/&lt;k&gt;&amp;</Resource><RequestId>id-1</RequestId>"));
    let again = decode(412, text);
    assert_eq!((again.code, again.message), (failure.code, failure.message));
}

#[test]
fn query_credentials_have_a_code_of_their_own() {
    let error = Error::new(Kind::AuthMalformed, "bad").with_param("X-Amz-Date");
    assert_eq!(
        Failure::from(&error).code,
        "AuthorizationQueryParametersError"
    );
    let error = Error::new(Kind::AuthMalformed, "bad").with_param("Credential");
    assert_eq!(Failure::from(&error).code, "AuthorizationHeaderMalformed");
}
