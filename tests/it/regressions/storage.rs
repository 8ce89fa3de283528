//! Who may read and write which object, and what a request has to prove.

use super::{lab, query, unsigned, with};
use crate::support::server::{AI_TOKEN, BUCKET, KEY};
use crate::support::sign::{self, Request};

/// `MinIO` checked no signature where the payload was an unsigned trailer: on snowball uploads, and with the
/// credential in the query.
#[tokio::test]
async fn cve_2026_40344_unsigned_trailer_without_a_signature() {
    let lab = lab().await;
    let mut trailer = with(lab.request("PUT", "k"), "x-amz-decoded-content-length", "1");
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER".clone_into(&mut trailer.payload);
    let body = "1\r\na\r\n0\r\n\r\n";
    let length = format!("Content-Length: {}", body.len());
    let snowball = with(trailer.clone(), "x-amz-meta-snowball-auto-extract", "true");
    let mut forged = vec![trailer.clone(), snowball];
    for request in &mut forged {
        request.secret.push('x');
    }
    let credential = format!("{KEY}%2F20260101%2F{}%2Fs3%2Faws4_request", sign::REGION);
    let by_query = format!(
        "PUT /{BUCKET}/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential} HTTP/1.1\r\nHost: h\r\n\
         x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 1\r\n{length}\r\n\r\n{body}"
    );
    let forged = forged
        .iter()
        .map(|request| unsigned(request, &length) + body);
    lab.refused(forged.chain([by_query])).await;
}

/// `MinIO` took an unsigned trailer's request with any signature at all.
#[tokio::test]
async fn cve_2025_31489_unsigned_trailer_with_a_wrong_signature() {
    let lab = lab().await;
    let mut request = with(lab.request("PUT", "k"), "x-amz-decoded-content-length", "1");
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER".clone_into(&mut request.payload);
    let head = unsigned(&request, "Content-Length: 11");
    let at = head.find("Signature=").unwrap() + "Signature=".len();
    let forged = format!("{}{}{}", &head[..at], "0".repeat(64), &head[at + 64..]);
    lab.refused([forged + "1\r\na\r\n0\r\n\r\n"]).await;
}

/// `MinIO` let a writer past the governance of an object's retention.
#[tokio::test]
async fn cve_2023_25812_bypass_of_governance() {
    let lab = lab().await;
    let bypass = |request| with(request, "x-amz-bypass-governance-retention", "true").head();
    lab.refused([bypass(lab.narrow("DELETE", "public/k"))])
        .await;
    assert_eq!(
        lab.raw(bypass(lab.request("DELETE", "k"))).await.status,
        200
    );
}

/// versitygw and `SeaweedFS` acted on `x-amz-` headers that nobody had signed.
#[tokio::test]
async fn versitygw_57747021_and_seaweedfs_9121_unsigned_headers() {
    let lab = lab().await;
    let put = lab.request("PUT", "k");
    lab.refused(
        [
            "x-amz-copy-source: /media/secret",
            "x-amz-acl: public-read",
            "x-amz-meta-a: b",
            "X-Amz-Tagging: a=b",
            "x-amz-bypass-governance-retention: true",
        ]
        .map(|line| unsigned(&put, &format!("{line}\r\nContent-Length: 0"))),
    )
    .await;
}

/// versitygw decoded a copy's source twice: `%252F` became a slash.
#[tokio::test]
async fn versitygw_67aaa80d_copy_source_decoded_twice() {
    let lab = lab().await;
    for source in ["a%252Fb", "a%2525", "..%252F..%252Fx"] {
        let request = with(
            lab.request("PUT", "k"),
            "x-amz-copy-source",
            &format!("/{BUCKET}/{source}"),
        );
        let answer = lab.raw(unsigned(&request, "Content-Length: 0")).await;
        assert_eq!(answer.status, 200, "{source}: {}", answer.text());
        let sent = lab.origin.requests().pop().unwrap();
        let sent = sent.header("x-amz-copy-source").unwrap_or_default();
        assert!(sent.ends_with(source), "{source} became {sent}");
    }
}

/// versitygw, Envoy, Istio, OPA and an S3 proxy judged one path and served another: dots, `%2F`, `//`, NUL.
#[tokio::test]
async fn cd0b4e6d_cve_2026_42882_cve_2021_29492_cve_2019_9901_cve_2026_26205_paths_of_two_meanings()
{
    let lab = lab().await;
    let keys = [
        "public/../private/k",
        "public%2F..%2Fprivate%2Fk",
        "public/%2e%2e/private",
        "public/./../private",
        "public//../../private",
        "/public/k",
        "private/k",
        "%2Fpublic/k",
        "public",
        "publicx/k",
        "Public/k",
        "public%00/../private",
        "public/k%00",
        "./public/k",
        "public/..%2f..%2fprivate",
        "public/%2E%2E",
        "public/..",
        "public%5C..%5Cprivate/../x",
    ];
    lab.refused(keys.map(|key| lab.narrow("GET", key).head()))
        .await;
    for key in ["public/k", "public//k", "public/a%2Fb", "public/..a"] {
        let answer = lab.raw(lab.narrow("GET", key).head()).await;
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        let seen = lab.origin.requests().pop().unwrap();
        assert!(seen.target.contains("/public/"), "{key}: {}", seen.target);
    }
}

/// `SeaweedFS` believed headers of its own that a client had sent.
#[tokio::test]
async fn seaweedfs_9120_identity_told_by_the_client() {
    let lab = lab().await;
    let lines = "X-SeaweedFS-Identity-Id: admin\r\nX-Forwarded-User: admin\r\nX-Aqueduct-Key: admin\r\nX-Auth-Request-User: admin\r\nX-Real-IP: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.1";
    let anonymous = format!("GET /{BUCKET}/k HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
    lab.refused([anonymous]).await;
    assert_eq!(
        lab.raw(unsigned(&lab.request("GET", "k"), lines))
            .await
            .status,
        200
    );
    let seen = lab.origin.requests().pop().unwrap();
    for line in lines.lines() {
        let name = line.split(':').next().unwrap_or_default();
        assert_eq!(seen.header(name), None, "{name} was handed on");
    }
}

/// `SeaweedFS` asked whether the target may be written, and not whether the source may be read.
#[tokio::test]
async fn seaweedfs_9555_and_c61d22761_copy_source_not_authorized() {
    let lab = lab().await;
    let part = |request| query(request, &[("partNumber", "1"), ("uploadId", "u")]);
    let copy = |request: Request, source: &str| {
        unsigned(
            &with(request, "x-amz-copy-source", source),
            "Content-Length: 0",
        )
    };
    let own = format!("/{BUCKET}/private/k");
    let mut requests = Vec::new();
    for source in [
        &*own,
        "media/private/k",
        "/media/public/../private/k",
        "/other/public/k",
        "media%2Fprivate%2Fk",
    ] {
        requests.push(copy(lab.narrow("PUT", "public/k"), source));
        requests.push(copy(part(lab.narrow("PUT", "public/k")), source));
    }
    lab.refused(requests).await;
}

/// `SeaweedFS` checked the path, and not what stood in headers and documents.
#[tokio::test]
async fn seaweedfs_9931_dots_by_way_of_a_document() {
    let lab = lab().await;
    for key in ["public/../private/k", "../k", "private/k", "/public/k"] {
        let document = format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
        let mut request = query(lab.narrow("POST", ""), &[("delete", "")]);
        request.path = format!("/{BUCKET}");
        request.payload = sign::sha256(document.as_bytes());
        let head = unsigned(&request, &format!("Content-Length: {}", document.len()));
        let answer = lab.raw(head + &document).await;
        let refused = answer.status != 200 || answer.text().contains("<Error>");
        assert!(refused, "{key}: {}", answer.text());
        let reached = lab.origin.requests();
        assert!(
            reached
                .iter()
                .all(|seen| !String::from_utf8_lossy(&seen.body).contains("private")),
            "{key}"
        );
    }
}

/// `SeaweedFS` made a token to write with for whoever had none.
#[tokio::test]
async fn seaweedfs_10434_anonymous_writes() {
    let lab = lab().await;
    lab.refused(["PUT", "DELETE", "POST", "GET"].map(|method| {
        format!("{method} /{BUCKET}/k HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    }))
    .await;
}

/// `SeaweedFS` made a path of an upload's id.
#[tokio::test]
async fn seaweedfs_10436_traversal_by_upload_id() {
    let lab = lab().await;
    for id in ["..%2F..%2Fx", "%2e%2e", "a%2F..%2Fb"] {
        let request = query(lab.request("GET", "k"), &[("uploadId", id)]);
        let _answer = lab.raw(request.head()).await;
        for seen in lab.origin.requests() {
            let path = seen.target.split('?').next().unwrap_or_default();
            assert_eq!(path, "/upstream-bucket/k", "{id}");
            assert!(!seen.target.contains("/.."), "{}", seen.target);
        }
    }
}

/// `SeaweedFS` preferred a token in the query to the header's: who chooses the link chooses the identity.
#[tokio::test]
async fn seaweedfs_10440_and_5cac980b3_two_credentials() {
    let lab = lab().await;
    let scope = format!("{KEY}%2F20260101%2F{}%2Fs3%2Faws4_request", sign::REGION);
    let pairs = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", &scope),
        ("X-Amz-Signature", "00"),
    ];
    let both = query(lab.request("GET", "k"), &pairs).head();
    let twice = lab.request("GET", "k").head().replacen(
        "authorization: ",
        "authorization: AWS a:b\r\nauthorization: ",
        1,
    );
    let jwt = query(lab.request("GET", "k"), &[("jwt", "x.y.z")]).head();
    lab.refused([both, twice, jwt]).await;
    let answer = lab
        .ask_ai(
            &format!("Host: h\r\nAuthorization: Bearer {AI_TOKEN}\r\nAuthorization: Bearer x"),
            "/v1/chat/completions",
            "{}",
        )
        .await;
    assert!(matches!(answer.status, 400 | 401), "{answer:?}");
}

/// `SeaweedFS` answered a sub-resource that it did not know with the listing of the bucket.
#[tokio::test]
async fn seaweedfs_10814_unknown_subresource() {
    let lab = lab().await;
    let mut requests = Vec::new();
    for name in ["unknown", "policyx", "ACL", "x-id-x", "list-type-3"] {
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let mut request = query(lab.request(method, ""), &[(name, "")]);
            request.path = format!("/{BUCKET}");
            requests.push(unsigned(&request, "Content-Length: 0"));
        }
    }
    lab.refused(requests).await;
}

/// s3proxy served the parent of its root, as a bucket called `..`.
#[tokio::test]
async fn s3proxy_bd2c2294_cve_2025_24961_buckets_that_climb() {
    let lab = lab().await;
    lab.refused(
        [
            "/../k",
            "/%2e%2e/k",
            "/./k",
            "/%2E/k",
            "//k",
            "/..%2Fetc/k",
            "/media%2F..%2Fother/k",
            "/media\\..\\x/k",
            "/%00/k",
        ]
        .map(|path| {
            let mut request = lab.request("GET", "");
            path.clone_into(&mut request.path);
            request.head()
        }),
    )
    .await;
}

/// RGW fell over an empty `x-amz-copy-source`.
#[tokio::test]
async fn ceph_72669_empty_copy_source() {
    let lab = lab().await;
    let mut requests = Vec::new();
    for source in [
        "",
        "/",
        "//",
        "media",
        "/media",
        "/media/",
        "?versionId=x",
        "/media/k?versionId=",
        "%",
        "/media/%zz",
    ] {
        let copy = with(lab.request("PUT", "k"), "x-amz-copy-source", source);
        requests.push(unsigned(
            &query(copy.clone(), &[("partNumber", "1"), ("uploadId", "u")]),
            "Content-Length: 0",
        ));
        requests.push(unsigned(&copy, "Content-Length: 0"));
    }
    lab.refused(requests).await;
}
