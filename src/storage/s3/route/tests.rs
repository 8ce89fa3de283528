use super::*;
use crate::storage::s3::tests_support::owned;

/// The operation, or the kind of the refusal.
fn outcome(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Op, Kind> {
    owned(method, target, headers)
        .decode()
        .map(|request| request.op())
        .map_err(|error| error.kind())
}

/// A target that selects `op`, with its row.
pub(in crate::storage::s3) fn sample(op: Op) -> (&'static Row, String) {
    let row = table::of(op);
    let mut target = match row.level {
        Level::Service => "/".to_owned(),
        Level::Bucket => "/bkt".to_owned(),
        Level::Object => "/bkt/k".to_owned(),
    };
    let part = matches!(op, Op::UploadPart | Op::UploadPartCopy).then_some("partNumber");
    for (at, name) in row.when.iter().copied().chain(part).enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push_str(match name {
            "list-type" => "=2",
            "id" | "uploadId" | "partNumber" => "=1",
            _ => "",
        });
    }
    (row, target)
}

#[test]
fn operations_are_selected_by_method_level_and_sub_resource() {
    for (method, target, expected) in [
        ("GET", "/", Op::ListBuckets),
        ("GET", "/bkt", Op::ListObjects),
        ("GET", "/bkt/", Op::ListObjects),
        ("GET", "/bkt?list-type=2&prefix=a", Op::ListObjectsV2),
        ("GET", "/bkt?versions", Op::ListObjectVersions),
        ("GET", "/bkt?uploads=", Op::ListMultipartUploads),
        ("GET", "/bkt?location", Op::GetBucketLocation),
        ("GET", "/bkt?versioning", Op::GetBucketVersioning),
        (
            "GET",
            "/bkt?analytics",
            Op::ListBucketAnalyticsConfigurations,
        ),
        (
            "GET",
            "/bkt?analytics&id=x",
            Op::GetBucketAnalyticsConfiguration,
        ),
        ("HEAD", "/bkt", Op::HeadBucket),
        ("PUT", "/bkt", Op::CreateBucket),
        ("DELETE", "/bkt", Op::DeleteBucket),
        ("PUT", "/bkt?policy", Op::PutBucketPolicy),
        ("POST", "/bkt?delete", Op::DeleteObjects),
        ("GET", "/bkt/k", Op::GetObject),
        (
            "GET",
            "/bkt/k?x-id=GetObject&versionId=v&partNumber=1",
            Op::GetObject,
        ),
        ("GET", "/bkt/k?response-content-type=a%2Fb", Op::GetObject),
        ("HEAD", "/bkt/k", Op::HeadObject),
        ("PUT", "/bkt/k", Op::PutObject),
        ("DELETE", "/bkt/k", Op::DeleteObject),
        ("PUT", "/bkt/k?acl", Op::PutObjectAcl),
        ("GET", "/bkt/k?tagging", Op::GetObjectTagging),
        ("GET", "/bkt/k?attributes", Op::GetObjectAttributes),
        ("PUT", "/bkt/k?legal-hold", Op::PutObjectLegalHold),
        ("POST", "/bkt/k?uploads", Op::CreateMultipartUpload),
        ("PUT", "/bkt/k?partNumber=1&uploadId=u", Op::UploadPart),
        ("POST", "/bkt/k?uploadId=u", Op::CompleteMultipartUpload),
        ("DELETE", "/bkt/k?uploadId=u", Op::AbortMultipartUpload),
        ("GET", "/bkt/k?uploadId=u", Op::ListParts),
        ("POST", "/bkt/k?restore", Op::RestoreObject),
        (
            "POST",
            "/bkt/k?select&select-type=2",
            Op::SelectObjectContent,
        ),
    ] {
        assert_eq!(
            outcome(method, target, &[]),
            Ok(expected),
            "{method} {target}"
        );
    }
    let copy = [("x-amz-copy-source", "/bkt/src")];
    assert_eq!(outcome("PUT", "/bkt/k", &copy), Ok(Op::CopyObject));
    assert_eq!(
        outcome("PUT", "/bkt/k?uploadId=u&partNumber=2", &copy),
        Ok(Op::UploadPartCopy)
    );
}

#[test]
fn what_no_row_lists_is_refused() {
    for (method, target, expected) in [
        ("GET", "/bkt?unknown", Kind::Unsupported),
        ("GET", "/bkt/k?torrent", Kind::Unsupported),
        ("GET", "/bkt?session", Kind::Unsupported),
        ("GET", "/bkt?acl&policy", Kind::Unsupported),
        ("GET", "/bkt/k?uploads", Kind::Unsupported),
        ("GET", "/bkt/k?prefix=a", Kind::Unsupported),
        ("GET", "/bkt/k?t=1", Kind::Unsupported),
        ("GET", "/bkt?x-amz-acl=public-read", Kind::Unsupported),
        ("POST", "/bkt", Kind::PreconditionFailed),
        ("POST", "/bkt/k", Kind::MethodNotAllowed),
        ("PUT", "/", Kind::MethodNotAllowed),
        ("PATCH", "/bkt/k", Kind::MethodNotAllowed),
        ("GET", "/bkt?list-type=1", Kind::InvalidArgument),
        ("GET", "/bkt?prefix=a&prefix=b", Kind::InvalidArgument),
        ("DELETE", "/bkt/k?versionId=", Kind::InvalidArgument),
        ("PUT", "/bkt/k?uploadId=u", Kind::InvalidArgument),
        (
            "PUT",
            "/bkt/k?uploadId=u&partNumber=0",
            Kind::InvalidArgument,
        ),
        (
            "PUT",
            "/bkt/k?uploadId=u&partNumber=10001",
            Kind::InvalidArgument,
        ),
        ("DELETE", "/bkt/k?uploadId=", Kind::InvalidArgument),
        ("GET", "/bkt?max-keys=-1", Kind::InvalidArgument),
        ("GET", "/b", Kind::InvalidBucketName),
        ("GET", "/bk%2Ft/k", Kind::InvalidBucketName),
        ("PUT", "/Bkt", Kind::InvalidBucketName),
        ("GET", "//k", Kind::InvalidBucketName),
        ("GET", "/bkt/a%00", Kind::InvalidArgument),
        ("GET", "/bkt/../other/k", Kind::InvalidArgument),
        ("GET", "/bkt/%2E%2E%2Fother", Kind::InvalidArgument),
        ("GET", "/bkt?prefix=../other/", Kind::InvalidArgument),
        ("GET", "/bkt/%FF", Kind::InvalidRequest),
        ("GET", "/bkt/%zz", Kind::InvalidRequest),
        ("GET", "/bkt/.aqueduct/x", Kind::AccessDenied),
        ("GET", "/bkt/%2Eaqueduct%2Fx", Kind::AccessDenied),
        ("GET", "http://h/bkt", Kind::InvalidRequest),
    ] {
        assert_eq!(
            outcome(method, target, &[]),
            Err(expected),
            "{method} {target}"
        );
    }
}

#[test]
fn headers_that_no_row_lists_are_refused_and_meaningless_ones_are_not() {
    for (method, target, header, expected) in [
        (
            "GET",
            "/bkt/k",
            ("x-amz-unknown", "1"),
            Err(Kind::Unsupported),
        ),
        (
            "GET",
            "/bkt/k",
            ("x-amz-acl", "private"),
            Err(Kind::Unsupported),
        ),
        (
            "GET",
            "/bkt/k",
            ("x-amz-copy-source", "/a/b"),
            Err(Kind::Unsupported),
        ),
        (
            "HEAD",
            "/bkt/k",
            ("x-amz-server-side-encryption", "AES256"),
            Err(Kind::InvalidArgument),
        ),
        (
            "HEAD",
            "/bkt/k",
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            Ok(Op::HeadObject),
        ),
        (
            "PUT",
            "/bkt/k?acl",
            ("x-amz-copy-source", "/bkt/b"),
            Err(Kind::Unsupported),
        ),
        (
            "GET",
            "/bkt/k",
            ("x-amz-request-payer", "requester"),
            Ok(Op::GetObject),
        ),
        (
            "GET",
            "/bkt/k",
            ("x-amz-expected-bucket-owner", "1"),
            Ok(Op::GetObject),
        ),
        ("GET", "/bkt/k", ("x-unknown", "1"), Ok(Op::GetObject)),
        (
            "PUT",
            "/bkt/k",
            ("x-amz-meta-anything", "1"),
            Ok(Op::PutObject),
        ),
        (
            "GET",
            "/bkt/k",
            ("content-length", "5"),
            Err(Kind::InvalidRequest),
        ),
        ("GET", "/bkt/k", ("content-length", "0"), Ok(Op::GetObject)),
    ] {
        assert_eq!(
            outcome(method, target, &[header]),
            expected,
            "{method} {target} {header:?}"
        );
    }
}

#[test]
fn headers_raise_the_access_that_is_needed() {
    for (header, expected) in [
        (("x-amz-acl", "private"), Access::Write),
        (("x-amz-acl", "bucket-owner-full-control"), Access::Write),
        (("x-amz-acl", "public-read"), Access::Admin),
        (("x-amz-grant-read", "id=1"), Access::Admin),
        (("x-amz-object-lock-mode", "GOVERNANCE"), Access::Admin),
        (("x-amz-storage-class", "GLACIER"), Access::Write),
    ] {
        let request = owned("PUT", "/bkt/k", &[header]).decode().unwrap();
        assert_eq!(request.access(), expected, "{header:?}");
    }
    let hoisted = owned("PUT", "/bkt/k?x-amz-acl=public-read&X-Amz-Signature=0", &[])
        .decode()
        .unwrap();
    assert_eq!(hoisted.access(), Access::Admin);
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    let request = owned("DELETE", "/bkt/k?versionId=v", &bypass)
        .decode()
        .unwrap();
    assert_eq!(request.access(), Access::Admin);
}

#[test]
fn bucket_and_key_are_read_byte_exact_in_either_style() {
    let longest = "k".repeat(1024);
    let long_target = format!("/bkt/{longest}");
    for (host, target, bucket, key) in [
        ("s3.local", "/bkt/a", Some("bkt"), Some("a")),
        (
            "s3.local",
            "/bkt//a/../b/./",
            Some("bkt"),
            Some("/a/../b/./"),
        ),
        ("s3.local", "/bkt/a%2Fb", Some("bkt"), Some("a/b")),
        ("s3.local", "/bkt/a%252Fb", Some("bkt"), Some("a%2Fb")),
        ("s3.local", "/bkt/a+b%20c", Some("bkt"), Some("a+b c")),
        (
            "s3.local",
            "/bkt/e%CC%81%C3%A9",
            Some("bkt"),
            Some("e\u{301}\u{e9}"),
        ),
        ("s3.local", "/bkt/\u{1F980}", Some("bkt"), Some("\u{1F980}")),
        (
            "s3.local",
            long_target.as_str(),
            Some("bkt"),
            Some(longest.as_str()),
        ),
        ("[::1]:9000", "/bkt/a", Some("bkt"), Some("a")),
        ("s3.example.com", "/bkt/a", Some("bkt"), Some("a")),
        ("s3.example.com:8443", "/", None, None),
        ("bkt.s3.example.com", "/a/b", Some("bkt"), Some("a/b")),
        ("BKT.S3.Example.COM:8080", "//a", Some("bkt"), Some("/a")),
        (
            "a.dotted.bkt.s3.example.com",
            "/",
            Some("a.dotted.bkt"),
            None,
        ),
        ("bkt.gcs.example.com", "/other/a", Some("other"), Some("a")),
        ("xs3.example.com", "/bkt/a", Some("bkt"), Some("a")),
    ] {
        let mut request = owned("GET", target, &[]);
        request.host = host.to_owned();
        let decoded = request.decode().unwrap();
        assert_eq!(decoded.bucket(), bucket, "{host} {target}");
        assert_eq!(decoded.key(), key, "{host} {target}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for host in [
        "", "a,b", "a/b", "a?b", "a#b", "a@b", "a:b", "a:123456", "[::1", "[x]", "a b",
    ] {
        let mut request = owned("GET", "/", &[]);
        request.host = host.to_owned();
        assert_eq!(
            request.decode().unwrap_err().kind(),
            Kind::InvalidRequest,
            "{host}"
        );
    }
}

#[test]
fn copy_sources_are_decoded_once() {
    for (value, expected) in [
        ("/bkt/a", Some(("bkt", "a", None))),
        ("bkt/a%2520b+c", Some(("bkt", "a%20b+c", None))),
        ("bkt%2Fa", Some(("bkt", "a", None))),
        ("bkt//a/../b", Some(("bkt", "/a/../b", None))),
        ("bkt/a?versionId=v1", Some(("bkt", "a", Some("v1")))),
        (
            "bkt/a%3FversionId=v1",
            Some(("bkt", "a?versionId=v1", None)),
        ),
        ("bkt/\u{e9}", Some(("bkt", "\u{e9}", None))),
        ("", None),
        ("/", None),
        ("bkt", None),
        ("bkt/", None),
        ("bkt/a?versionId=", None),
        ("bkt/.aqueduct/x", None),
        ("bkt/a%00", None),
        ("bkt/../other/a", None),
        ("arn:aws:s3:eu:1:accesspoint/x/object/k", None),
    ] {
        let request = owned("PUT", "/bkt/k", &[("x-amz-copy-source", value)]).decode();
        let source = request.ok().and_then(|request| request.source().cloned());
        let expected = expected.map(|(bucket, key, version)| CopySource {
            bucket: bucket.into(),
            key: key.into(),
            version_id: version.map(Into::into),
        });
        assert_eq!(source, expected, "{value}");
    }
}

#[test]
fn demands_name_every_target() {
    let object = |access, bucket, key| Demand {
        access,
        scope: Scope::Object { bucket, key },
    };
    let prefix = |access, prefix| Demand {
        access,
        scope: Scope::Prefix {
            bucket: "bkt",
            prefix,
        },
    };
    let copy = [("x-amz-copy-source", "/src/s")];
    for (method, target, headers, expected) in [
        (
            "GET",
            "/bkt/k",
            &[][..],
            vec![object(Access::Read, "bkt", "k")],
        ),
        (
            "GET",
            "/bkt?prefix=a%2F",
            &[],
            vec![prefix(Access::Read, "a/")],
        ),
        ("GET", "/bkt?uploads", &[], vec![prefix(Access::Write, "")]),
        (
            "GET",
            "/bkt/k?uploadId=u",
            &[],
            vec![object(Access::Write, "bkt", "k")],
        ),
        (
            "PUT",
            "/bkt/k",
            &copy,
            vec![
                object(Access::Read, "src", "s"),
                object(Access::Write, "bkt", "k"),
            ],
        ),
        (
            "GET",
            "/bkt?policy",
            &[],
            vec![Demand {
                access: Access::Admin,
                scope: Scope::Bucket("bkt"),
            }],
        ),
        (
            "GET",
            "/",
            &[],
            vec![Demand {
                access: Access::Read,
                scope: Scope::Repository,
            }],
        ),
    ] {
        let whole = owned(method, target, headers)
            .decode()
            .unwrap()
            .without_body()
            .unwrap();
        assert_eq!(whole.demands().as_slice(), expected, "{method} {target}");
    }
}

#[test]
fn a_batch_delete_states_its_demands_only_with_its_document() {
    let request = || owned("POST", "/bkt?delete", &[]).decode().unwrap();
    assert!(request().without_body().is_err());
    let document = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>";
    let whole = request().with_body(document.into()).unwrap();
    let keys: Vec<_> = whole.demands().iter().map(|demand| demand.scope).collect();
    let object = |key| Scope::Object { bucket: "bkt", key };
    assert_eq!(keys, [Scope::Inside("bkt"), object("a"), object("b")]);
    assert!(request().with_body("<Delete/>".into()).is_err());
    assert!(
        owned("GET", "/bkt/k", &[])
            .decode()
            .unwrap()
            .with_body(Bytes::new())
            .is_err()
    );
}

#[test]
fn entries_of_a_batch_delete_are_refused_one_by_one() {
    let request = owned("POST", "/bkt?delete", &[]).decode().unwrap();
    let entries =
        ["a", ".aqueduct/x", "../b", "c"].map(|key| format!("<Object><Key>{key}</Key></Object>"));
    let document = format!("<Delete>{}</Delete>", entries.concat());
    let mut whole = request.with_body(document.into()).unwrap();
    whole.refuse(|key| {
        if key == "c" {
            Err(invalid("no c"))
        } else {
            Ok(())
        }
    });
    let kept: Vec<&str> = whole
        .delete()
        .entries
        .iter()
        .map(|entry| &*entry.key)
        .collect();
    assert_eq!(kept, ["a"]);
    let refused: Vec<_> = whole
        .refused()
        .iter()
        .map(|refused| (&*refused.entry.key, &*refused.failure.code))
        .collect();
    let expected = [
        (".aqueduct/x", "AccessDenied"),
        ("../b", "InvalidArgument"),
        ("c", "InvalidArgument"),
    ];
    assert_eq!(refused, expected);
    let keys: Vec<_> = whole.demands().iter().map(|demand| demand.scope).collect();
    let object = |key| Scope::Object { bucket: "bkt", key };
    assert_eq!(keys, [Scope::Inside("bkt"), object("a")]);
}

proptest::proptest! {
    #[test]
    fn any_head_is_answered_without_a_panic(
        target in "/[ -~]{0,60}",
        host in "[ -~]{0,30}",
        header in "[ -~]{0,40}",
        method in 0usize..6,
    ) {
        let method = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"][method];
        let mut request = owned(method, &target, &[("x-amz-copy-source", &header)]);
        request.host = host;
        let _ = request.decode();
    }
}
