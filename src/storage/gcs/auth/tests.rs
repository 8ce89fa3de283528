use std::sync::Arc;

use http::{HeaderName, Method};
use serde_json::Value;
use smallvec::smallvec;

use super::*;
use crate::keys::rsa::RsaKey;
use crate::policy::credential::tests_support::server;
use crate::policy::credential::{Bearer, Credential, ServiceAccount, SigningKeys};
use crate::secret::Secret;

fn account(ready: ReadyCredential) -> GcsAccount {
    GcsAccount {
        bucket: "bucket".into(),
        credential: Credential::Ready(ready),
        project: None,
    }
}

fn head() -> UpstreamHead {
    UpstreamHead {
        method: Method::GET,
        target: "/bucket/object.txt".to_owned(),
        headers: smallvec![
            (
                http::header::HOST,
                HeaderValue::from_static("storage.googleapis.com")
            ),
            (
                HeaderName::from_static("x-goog-meta-a"),
                HeaderValue::from_static("1")
            ),
        ],
    }
}

#[test]
fn a_token_is_sent_as_it_is() {
    let ready = ReadyCredential::Bearer(Arc::new(Bearer::new("token").unwrap()));
    let mut head = head();
    sign(
        &mut head,
        &account(ready.clone()),
        &ready,
        Timestamp::UNIX_EPOCH,
    )
    .unwrap();
    assert_eq!(head.header("authorization").unwrap(), "Bearer token");
    assert_eq!(head.headers.len(), 3);
}

/// What `hmac` and `hashlib` of Python make of the steps in Google's manual ("Authentication: HMAC keys").
#[test]
fn keys_sign_in_googles_own_words() {
    let keys = SigningKeys::new("GOOGEXAMPLE", Secret::new(*b"secret"), None);
    let ready = ReadyCredential::Hmac(Arc::new(keys));
    let now: Timestamp = "2026-11-28T01:02:03Z".parse().unwrap();
    let mut head = head();
    sign(&mut head, &account(ready.clone()), &ready, now).unwrap();
    assert_eq!(
        head.header("authorization").unwrap(),
        "GOOG4-HMAC-SHA256 Credential=GOOGEXAMPLE/20261128/auto/storage/goog4_request, \
         SignedHeaders=host;x-goog-content-sha256;x-goog-date;x-goog-meta-a, \
         Signature=dc625e1a05bd88a06191e90a2d644ab086275468d1d5ab42077989b4b2d4beff"
    );
    assert_eq!(head.header("x-goog-date").unwrap(), "20261128T010203Z");
}

#[test]
fn credentials_of_others_sign_nothing() {
    let ready = ReadyCredential::s3("AKIA", Secret::new(*b"secret"), None);
    let now = Timestamp::UNIX_EPOCH;
    assert!(sign(&mut head(), &account(ready.clone()), &ready, now).is_err());
}

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn claims_are_signed_by_the_account() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let account = ServiceAccount {
        email: "a@p.iam.gserviceaccount.com".into(),
        key_id: "kid".into(),
        key: RsaKey::from_pem(pair.serialize_pem().as_bytes()).unwrap(),
        server: server("/token"),
        token_uri: "https://tokens.example/token".into(),
    };
    let now = Timestamp::from_second(1_000).unwrap();
    for (token, audience) in [
        (self_signed(&account, now).unwrap(), None),
        (
            assertion(&account, now).unwrap(),
            Some("https://tokens.example/token"),
        ),
    ] {
        assert_eq!(
            part(&token, 0),
            json!({ "alg": "RS256", "typ": "JWT", "kid": "kid" })
        );
        let claims = part(&token, 1);
        assert_eq!(claims["iss"], "a@p.iam.gserviceaccount.com");
        assert_eq!(claims["sub"], claims["iss"]);
        assert_eq!(claims["scope"], SCOPE);
        assert_eq!(
            (&claims["iat"], &claims["exp"]),
            (&json!(970), &json!(4570))
        );
        assert_eq!(claims.get("aud").and_then(Value::as_str), audience);
        assert!(is_signed(&token, pair.public_key_raw()));
        assert!(!is_signed(
            &token.replacen('.', "A.", 1),
            pair.public_key_raw()
        ));
    }
}

/// By the TLS library's own verifier.
fn is_signed(token: &str, public_key: &[u8]) -> bool {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut known = provider.signature_verification_algorithms.mapping.iter();
    let scheme = rustls::SignatureScheme::RSA_PKCS1_SHA256;
    let (_, algorithms) = known.find(|(known, _)| *known == scheme).unwrap();
    algorithms.iter().any(|one| {
        one.verify_signature(public_key, message.as_bytes(), &signature)
            .is_ok()
    })
}
