//! The Rust `object_store` crate as a client. Needs the test bed: `tests/sdk/run` sets it up and names it in
//! `AQUEDUCT_BED`, so these are ignored elsewhere.

use std::fs;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Certificate, ClientOptions, Error, GetOptions, GetRange, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions,
};
use serde_json::Value;

const PART: usize = 5 << 20;

fn bed() -> Value {
    let path = std::env::var("AQUEDUCT_BED").expect("tests/sdk/run sets AQUEDUCT_BED");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn builder(scheme: &str, bucket: &str) -> Option<AmazonS3Builder> {
    let bed = bed();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let endpoint = bed[scheme].as_str()?.to_owned();
    let mut options = ClientOptions::new().with_allow_http(true);
    if let Some(ca) = bed["ca"].as_str() {
        let pem = fs::read(ca).unwrap();
        options = options.with_root_certificate(Certificate::from_pem(&pem).unwrap());
    }
    let builder = AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_region(text(&bed["region"]))
        .with_access_key_id(text(&bed["keys"]["admin"][0]))
        .with_secret_access_key(text(&bed["keys"]["admin"][1]))
        .with_bucket_name(text(&bed["buckets"][bucket]["name"]))
        .with_client_options(options);
    Some(builder)
}

fn stores() -> Vec<AmazonS3> {
    let schemes = ["http", "https"];
    schemes
        .iter()
        .filter_map(|scheme| builder(scheme, "one"))
        .map(|builder| builder.build().unwrap())
        .collect()
}

/// A folder that no other test and no other run uses.
fn fresh(name: &str) -> Path {
    Path::from(format!("rust-{name}-{}", uuid::Uuid::new_v4()))
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect()
}

#[tokio::test]
#[ignore = "needs the test bed: tests/sdk/run"]
async fn object_store_puts_gets_and_deletes() {
    for store in stores() {
        let path = fresh("put").join("a b+ü").join("日本.bin");
        let body = bytes(100_000);
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, "text/rust"),
            (Attribute::CacheControl, "no-store"),
        ]);
        let options = PutOptions {
            attributes: attributes.clone(),
            ..PutOptions::default()
        };
        let put = store
            .put_opts(&path, body.clone().into(), options)
            .await
            .unwrap();
        let got = store.get(&path).await.unwrap();
        assert_eq!(
            (got.meta.e_tag.clone(), &got.attributes),
            (put.e_tag, &attributes)
        );
        assert_eq!(got.bytes().await.unwrap(), body);
        assert_eq!(store.head(&path).await.unwrap().size, 100_000);
        assert_eq!(store.get_range(&path, 10..20).await.unwrap(), body[10..20]);
        let suffix = GetOptions {
            range: Some(GetRange::Suffix(7)),
            ..GetOptions::default()
        };
        let suffix = store
            .get_opts(&path, suffix)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        assert_eq!(suffix, body[body.len() - 7..]);
        store.delete(&path).await.unwrap();
        assert!(matches!(
            store.get(&path).await,
            Err(Error::NotFound { .. })
        ));
    }
}

#[tokio::test]
#[ignore = "needs the test bed: tests/sdk/run"]
async fn object_store_writes_on_conditions() {
    for store in stores() {
        let path = fresh("if").join("k");
        let first = store
            .put_opts(&path, "1".into(), PutMode::Create.into())
            .await
            .unwrap();
        assert!(matches!(
            store
                .put_opts(&path, "2".into(), PutMode::Create.into())
                .await,
            Err(Error::AlreadyExists { .. })
        ));
        store
            .put_opts(
                &path,
                "3".into(),
                PutMode::Update(first.clone().into()).into(),
            )
            .await
            .unwrap();
        let stale = store
            .put_opts(&path, "4".into(), PutMode::Update(first.into()).into())
            .await;
        assert!(
            matches!(stale, Err(Error::Precondition { .. })),
            "{stale:?}"
        );
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "3");
    }
}

#[tokio::test]
#[ignore = "needs the test bed: tests/sdk/run"]
async fn object_store_lists_and_deletes_many() {
    for store in stores() {
        let at = fresh("list");
        for name in ["a", "b/1", "b/2", "c d", "e+f"] {
            store
                .put(&Path::from(format!("{at}/{name}")), "x".into())
                .await
                .unwrap();
        }
        let mut found: Vec<Path> = store
            .list(Some(&at))
            .map_ok(|meta| meta.location)
            .try_collect()
            .await
            .unwrap();
        found.sort();
        assert_eq!(found.len(), 5, "{found:?}");
        let folders = store.list_with_delimiter(Some(&at)).await.unwrap();
        assert_eq!(
            (folders.objects.len(), folders.common_prefixes.len()),
            (3, 1)
        );
        let after = store.list_with_offset(Some(&at), &found[2]).count().await;
        assert_eq!(after, 2);
        let all = futures_util::stream::iter(found.clone().into_iter().map(Ok)).boxed();
        let deleted: Vec<Path> = store.delete_stream(all).try_collect().await.unwrap();
        assert_eq!(deleted.len(), 5);
        assert_eq!(store.list(Some(&at)).count().await, 0);
    }
}

#[tokio::test]
#[ignore = "needs the test bed: tests/sdk/run"]
async fn object_store_uploads_in_parts_and_copies() {
    for store in stores() {
        let at = fresh("parts");
        let body = bytes(2 * PART + 17);
        let path = at.clone().join("big");
        let mut upload = store.put_multipart(&path).await.unwrap();
        for part in body.chunks(PART) {
            upload.put_part(part.to_vec().into()).await.unwrap();
        }
        upload.complete().await.unwrap();
        let copy = at.join("copy");
        store.copy(&path, &copy).await.unwrap();
        assert_eq!(store.get(&copy).await.unwrap().bytes().await.unwrap(), body);
        let mut aborted = store.put_multipart(&path).await.unwrap();
        aborted
            .put_part(body[..PART].to_vec().into())
            .await
            .unwrap();
        aborted.abort().await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs the test bed: tests/sdk/run"]
async fn object_store_signs_payloads_each_way() {
    for scheme in ["http", "https"] {
        let Some(builder) = builder(scheme, "two") else {
            continue;
        };
        for store in [
            builder.clone().with_unsigned_payload(true),
            builder.clone().with_unsigned_payload(false),
            builder.clone().with_checksum_algorithm(Checksum::SHA256),
        ] {
            let store = store.build().unwrap();
            let path = fresh("sum").join("k");
            store.put(&path, bytes(70_000).into()).await.unwrap();
            assert_eq!(
                store.get(&path).await.unwrap().bytes().await.unwrap(),
                bytes(70_000)
            );
        }
    }
}
