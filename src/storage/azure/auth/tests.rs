use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;

use super::*;
use crate::policy::credential::{Bearer, Credential};
use crate::secret::Secret;

/// Requests of real clients, captured by a logging proxy: see the folder's README.
const CAPTURED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/azure/signatures.jsonl"
));

#[derive(Deserialize)]
struct Captured {
    client: String,
    account: String,
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
    must: String,
}

fn captured() -> (BTreeMap<String, SharedKey>, Vec<Captured>) {
    #[derive(Deserialize)]
    struct Keys {
        keys: BTreeMap<String, String>,
    }
    let (first, rest) = CAPTURED.split_once('\n').unwrap();
    let keys: Keys = serde_json::from_str(first).unwrap();
    let key = |text: String| {
        let base64 = text.split(' ').next().unwrap().to_owned();
        SharedKey::new(Secret::new(STANDARD.decode(base64).unwrap()))
    };
    let keys = keys
        .keys
        .into_iter()
        .map(|(account, text)| (account, key(text)));
    let rest = rest.lines().map(|line| serde_json::from_str(line).unwrap());
    (keys.collect(), rest.collect())
}

fn head(captured: &Captured) -> UpstreamHead {
    let headers = captured.headers.iter();
    UpstreamHead {
        method: Method::from_bytes(captured.method.as_bytes()).unwrap(),
        target: captured.target.clone(),
        headers: headers
            .map(|(name, value)| {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), value)
            })
            .collect(),
    }
}

#[test]
fn we_sign_as_the_clients_of_the_service_do() {
    let (keys, captured) = captured();
    let mut by_client: BTreeMap<&str, usize> = BTreeMap::new();
    for one in &captured {
        let Some(authorization) = one.headers.get("authorization") else {
            continue;
        };
        if !authorization.starts_with("SharedKey ") {
            continue;
        }
        let mut head = head(one);
        head.headers.retain(|(name, _)| *name != AUTHORIZATION);
        let signed = |order| {
            let to_sign = string_to_sign(&head, &one.account, order).unwrap();
            let signature = STANDARD.encode(keys[&one.account].keyed.sign(&to_sign));
            format!("SharedKey {}:{signature}", one.account)
        };
        let service = signed(HeaderOrder::Service) == *authorization;
        let bytes = signed(HeaderOrder::Bytes) == *authorization;
        let shown = format!("{} {} {}", one.client, one.method, one.target);
        assert_eq!(service || bytes, one.must == "verify", "{shown}");
        let is_go = ["azcopy", "rclone"]
            .iter()
            .any(|name| one.client.to_lowercase().contains(name));
        assert!(
            service || is_go || one.must != "verify",
            "not in the service's order: {shown}"
        );
        *by_client.entry(&one.client).or_default() += 1;
    }
    assert!(by_client.len() >= 4, "{by_client:?}");
    assert!(by_client.values().sum::<usize>() >= 80, "{by_client:?}");
}

#[test]
fn hyphens_count_only_where_nothing_else_differs() {
    let sorted = [
        "x-ms-blob-type",
        "x-ms-date",
        "x-ms-meta-a_b",
        "x-ms-meta-a1",
        "x-ms-meta-ab",
        "x-ms-meta-a-b",
        "x-ms-meta-ac",
        "x-ms-meta-foo_bar",
        "x-ms-meta-foo1",
        "x-ms-version",
    ];
    for (at, left) in sorted.iter().enumerate() {
        for (other, right) in sorted.iter().enumerate() {
            assert_eq!(
                in_service_order(left, right),
                at.cmp(&other),
                "{left} {right}"
            );
        }
    }
}

fn account(ready: ReadyCredential) -> AzureAccount {
    AzureAccount {
        container: "container".into(),
        account: "acct".into(),
        credential: Credential::Ready(ready),
    }
}

fn bare(target: &str) -> UpstreamHead {
    UpstreamHead {
        method: Method::GET,
        target: target.to_owned(),
        headers: SmallVec::new(),
    }
}

#[test]
fn what_is_signed_is_the_whole_request() {
    let mut head = bare("/acct/c/a%2Fb?restype=container&comp=list&prefix=a%20%2B&X=2&x=1");
    head.headers.push((
        HeaderName::from_static("content-length"),
        HeaderValue::from_static("0"),
    ));
    let version = HeaderValue::from_static("2020-01-01");
    head.headers
        .push((HeaderName::from_static(names::VERSION), version));
    push_date(&mut head, Timestamp::UNIX_EPOCH).unwrap();
    let to_sign = string_to_sign(&head, "acct", HeaderOrder::Service).unwrap();
    assert_eq!(
        String::from_utf8(to_sign).unwrap(),
        "GET\n\n\n\n\n\n\n\n\n\n\n\n\
         x-ms-date:Thu, 01 Jan 1970 00:00:00 GMT\nx-ms-version:2020-01-01\n\
         /acct/acct/c/a%2Fb\ncomp:list\nprefix:a +\nrestype:container\nx:1,2"
    );
}

#[test]
fn each_kind_of_credential_is_put_where_it_belongs() {
    let now = Timestamp::UNIX_EPOCH;
    let sas = ReadyCredential::Sas(Arc::new(Sas {
        query: Secret::new(*b"sv=2025-07-05&sig=a%2Bb%3D"),
        expires_at: None,
    }));
    for (target, expected) in [
        ("/c/b", "/c/b?sv=2025-07-05&sig=a%2Bb%3D"),
        ("/c?comp=list", "/c?comp=list&sv=2025-07-05&sig=a%2Bb%3D"),
    ] {
        let mut head = bare(target);
        sign(&mut head, &account(sas.clone()), &sas, now).unwrap();
        assert_eq!(head.target, expected);
        assert!(head.header("authorization").is_none());
        assert_eq!(head.header(names::VERSION).unwrap(), names::API_VERSION);
    }
    let bearer = ReadyCredential::Bearer(Arc::new(Bearer::new("token").unwrap()));
    let mut head = bare("/c/b");
    sign(&mut head, &account(bearer.clone()), &bearer, now).unwrap();
    assert_eq!(head.header("authorization").unwrap(), "Bearer token");
    assert!(head.header("authorization").unwrap().is_sensitive());
    assert!(head.header(names::DATE).is_some());

    let other = ReadyCredential::s3("AKIA", Secret::new(*b"s"), None);
    assert!(sign(&mut bare("/c/b"), &account(other.clone()), &other, now).is_err());
}
