//! Credentials that others give out: who is asked, how often, and what is used meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct::keys::rsa::RsaKey;
use aqueduct::policy::credential::{
    AwsMachine, ClientProof, Credential, EntraClient, Fetched, ReadyCredential, ServiceAccount,
    Source, TokenServer,
};
use aqueduct::policy::health::HealthRules;
use aqueduct::policy::route::{
    AzureAccount, Origin as Place, Reach, Resource, ResourceKind, Timeouts,
};
use aqueduct::proxy::credential::Credentials;
use aqueduct::proxy::dial::Dialer;
use aqueduct::secret::Secret;
use futures_util::future::join_all;
use http::HeaderValue;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::support::origin::{Origin, Received, Step, answer};
use crate::support::raw::Response;
use crate::support::server::{Server, Setup, UPSTREAM_SECRET};
use crate::support::within;

const CLIENT_SECRET: &str = "canary-entra-client-secret";

struct Bed {
    credentials: Credentials,
    dialer: Dialer,
}

impl Bed {
    fn new() -> Self {
        // Fails where another test was first.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self {
            credentials: Credentials::default(),
            dialer: Dialer::new(),
        }
    }

    async fn ready(&self, resource: &Resource) -> aqueduct::error::Result<ReadyCredential> {
        self.credentials.ready(&self.dialer, resource).await
    }

    async fn bearer(&self, resource: &Resource) -> String {
        let ready = self.ready(resource).await.unwrap();
        let ReadyCredential::Bearer(bearer) = ready else {
            panic!("{ready:?}");
        };
        bearer.header.to_str().unwrap().to_owned()
    }
}

fn resource(kind: ResourceKind, at: SocketAddr) -> Arc<Resource> {
    let second = Duration::from_secs(1);
    Arc::new(Resource {
        name: "reports".into(),
        id: Uuid::new_v4(),
        origin: Place {
            tls: false,
            host: at.ip().to_string().into(),
            server_name: at.ip().to_string().into(),
            port: at.port(),
            authority: HeaderValue::try_from(at.to_string()).unwrap(),
            base_path: "".into(),
            reach: Reach::Private,
            ca_file: None,
        },
        timeouts: Timeouts {
            connect: second,
            tls: second,
            first_byte: second,
            idle: second,
            pool_idle: second,
        },
        health_rules: HealthRules::default(),
        health: Arc::default(),
        kind,
        meters: Arc::default(),
    })
}

fn token_server(at: SocketAddr) -> TokenServer {
    TokenServer(resource(ResourceKind::Tokens, at))
}

/// A resource of this source; whose credential it is, is no matter here.
fn of(source: Source, owner: Uuid) -> Arc<Resource> {
    let credential = Credential::Fetched(Arc::new(Fetched {
        owner,
        owner_name: "reports".into(),
        source,
    }));
    let account = AzureAccount {
        container: "container".into(),
        account: "acct".into(),
        credential,
    };
    let unused = SocketAddr::from(([127, 0, 0, 1], 9));
    resource(ResourceKind::Azure(account), unused)
}

fn entra(at: SocketAddr, proof: ClientProof) -> Source {
    Source::Entra(EntraClient {
        authority: token_server(at),
        tenant: "tenant".into(),
        client_id: "client".into(),
        proof,
    })
}

fn by_secret(at: SocketAddr) -> Arc<Resource> {
    let proof = ClientProof::Secret(Secret::new(CLIENT_SECRET));
    of(entra(at, proof), Uuid::new_v4())
}

/// A token that tells which request it answers.
fn granted(number: usize, seconds: u32) -> Vec<Step> {
    answer::ok(format!(r#"{{"access_token":"t{number}","expires_in":{seconds}}}"#).as_bytes())
}

#[tokio::test]
async fn one_asks_and_the_others_wait_for_its_answer() {
    let origin = Origin::start(|_, number| granted(number, 3600)).await;
    let (bed, resource) = (Bed::new(), by_secret(origin.address));
    let all = join_all((0..50).map(|_| bed.bearer(&resource))).await;
    assert!(all.iter().all(|token| token == "Bearer t0"), "{all:?}");
    let asked = origin.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target, "/tenant/oauth2/v2.0/token");
    let body = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(
        body.contains(&format!("client_secret={CLIENT_SECRET}")),
        "{body}"
    );
}

#[tokio::test]
async fn who_asked_may_leave_and_the_next_one_asks() {
    let word = Arc::new(Notify::new());
    let held = Arc::clone(&word);
    let origin = Origin::start(move |_, number| match number {
        0 => vec![Step::Wait(Arc::clone(&held)), Step::Close],
        _ => granted(number, 3600),
    })
    .await;
    let (bed, resource) = (Bed::new(), by_secret(origin.address));
    tokio::select! {
        _ = bed.ready(&resource) => panic!("there is no answer yet"),
        () = origin.until("the first request", |seen| seen.requests.len() == 1) => {}
    }
    assert_eq!(bed.bearer(&resource).await, "Bearer t1");
    word.notify_one();
}

#[tokio::test]
async fn a_refusal_names_the_resource_and_is_not_repeated_at_once() {
    let told = format!(r#"{{"error":"invalid_client","error_description":"{CLIENT_SECRET}"}}"#);
    let length = told.len();
    let answer = format!("HTTP/1.1 401 No\r\nContent-Length: {length}\r\n\r\n{told}");
    let origin = Origin::always(answer::raw(&answer)).await;
    let (bed, resource) = (Bed::new(), by_secret(origin.address));
    for _ in 0..3 {
        let error = bed.ready(&resource).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("reports") && shown.contains("invalid_client"),
            "{shown}"
        );
        assert!(!shown.contains(CLIENT_SECRET), "{shown}");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn the_old_token_serves_while_the_new_one_is_fetched_and_when_it_cannot_be_had() {
    let word = Arc::new(Notify::new());
    let held = Arc::clone(&word);
    let origin = Origin::start(move |_, number| match number {
        0 => granted(number, 8),
        1 => [
            vec![Step::Wait(Arc::clone(&held))],
            answer::error(503, "busy"),
        ]
        .concat(),
        _ => granted(number, 3600),
    })
    .await;
    let (bed, resource) = (Bed::new(), by_secret(origin.address));
    assert_eq!(bed.bearer(&resource).await, "Bearer t0");
    let tending = async {
        loop {
            bed.credentials.tend(&bed.dialer).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let using = async {
        origin
            .until("the renewal", |seen| seen.requests.len() == 2)
            .await;
        let asked = Instant::now();
        assert_eq!(bed.bearer(&resource).await, "Bearer t0");
        assert!(asked.elapsed() < Duration::from_millis(500));
        word.notify_one();
        // The renewal failed; the next one does not, and nobody noticed.
        origin
            .until("the next renewal", |seen| seen.requests.len() == 3)
            .await;
        within("the new token", async {
            while bed.bearer(&resource).await != "Bearer t2" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    tokio::select! {
        () = tending => {}
        () = using => {}
    }
}

#[tokio::test]
async fn what_nobody_uses_is_not_renewed() {
    let origin = Origin::start(|_, number| granted(number, 1)).await;
    let (bed, resource) = (Bed::new(), by_secret(origin.address));
    assert_eq!(bed.bearer(&resource).await, "Bearer t0");
    // The first renewal is for the use above, and nothing follows.
    within("one renewal", async {
        while origin.requests().len() < 2 {
            bed.credentials.tend(&bed.dialer).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        bed.credentials.tend(&bed.dialer).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn a_new_proof_of_the_same_application_keeps_the_token() {
    let origin = Origin::start(|_, number| granted(number, 3600)).await;
    let (bed, owner) = (Bed::new(), Uuid::new_v4());
    let assertion = |token: &str| ClientProof::Assertion(Secret::new(token));
    let before = of(entra(origin.address, assertion("one")), owner);
    let after = of(entra(origin.address, assertion("two")), owner);
    let other = of(
        entra(origin.address, ClientProof::Secret(Secret::new("x"))),
        owner,
    );
    assert_eq!(bed.bearer(&before).await, "Bearer t0");
    assert_eq!(bed.bearer(&after).await, "Bearer t0");
    assert_eq!(bed.bearer(&other).await, "Bearer t1");
    let other_resource = of(entra(origin.address, assertion("two")), Uuid::new_v4());
    assert_eq!(bed.bearer(&other_resource).await, "Bearer t2");
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_is_not_asked_for_again() {
    let origin = Origin::start(|_, number| granted(number, 3600)).await;
    let (bed, resource) = (Bed::new(), by_secret(origin.address));
    let ready = bed.ready(&resource).await.unwrap();
    assert!(!bed.credentials.invalidate(&resource, &ready));
    assert_eq!(bed.bearer(&resource).await, "Bearer t0");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn claims_that_are_refused_are_exchanged_from_then_on() {
    let origin = Origin::start(|_, number| granted(number, 3600)).await;
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let account = ServiceAccount {
        email: "a@p.iam.gserviceaccount.com".into(),
        key_id: "kid".into(),
        key: RsaKey::from_pem(pair.serialize_pem().as_bytes()).unwrap(),
        server: token_server(origin.address),
        token_uri: "https://oauth2.googleapis.com/token".into(),
    };
    let resource = of(Source::GoogleServiceAccount(account), Uuid::new_v4());
    let bed = Bed::new();
    let claim = bed.ready(&resource).await.unwrap();
    assert!(bed.bearer(&resource).await.starts_with("Bearer eyJ"));
    assert_eq!(origin.requests().len(), 0);
    assert!(bed.credentials.invalidate(&resource, &claim));
    assert_eq!(bed.bearer(&resource).await, "Bearer t0");
    let body = String::from_utf8(origin.requests()[0].body.clone()).unwrap();
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJ";
    assert!(body.starts_with(grant), "{body}");
    // The claim is long gone: that it is told to be refused once more changes nothing.
    assert!(bed.credentials.invalidate(&resource, &claim));
    assert_eq!(bed.bearer(&resource).await, "Bearer t0");
}

#[tokio::test]
async fn instances_are_asked_within_a_session() {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let origin = Origin::start(|request: &Received, _| {
        if request.method == "PUT" {
            return answer::ok(b"session");
        }
        if request.header("x-aws-ec2-metadata-token") != Some("session") {
            return answer::error(401, "no");
        }
        match request.target.strip_prefix(ROLES) {
            Some("") => answer::ok(b"role"),
            Some("role") => answer::ok(
                br#"{"AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"#,
            ),
            _ => answer::error(404, "no"),
        }
    })
    .await;
    let machine = AwsMachine::Instance(token_server(origin.address));
    let resource = of(Source::AwsMachine(machine), Uuid::new_v4());
    let ready = Bed::new().ready(&resource).await.unwrap();
    let secret = Secret::new(*b"s");
    let expected = ReadyCredential::s3("ASIA", secret, Some(Secret::new(*b"t")));
    assert_eq!(ready, expected);
    assert_eq!(origin.requests().len(), 3);
}

const SESSION: &str = "canary-session-token";

/// A token service that gives out one role, to whom it knows.
async fn sts() -> Origin {
    Origin::start(|_, _| {
        answer::ok(
            format!(
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
                 <SecretAccessKey>canary-role-secret</SecretAccessKey><SessionToken>{SESSION}</SessionToken>\
                 <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
            )
            .as_bytes(),
        )
    })
    .await
}

#[tokio::test]
async fn requests_go_out_as_the_role() {
    let (sts, origin) = (sts().await, Origin::always(answer::ok(b"body")).await);
    let resource = format!(
        "role_arn = \"arn:aws:iam::111122223333:role/assets\"\nexternal_id = \"acme-7f3a\"\n\
         sts_endpoint = \"http://{}\"",
        sts.address
    );
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        resource: resource.leak(),
        ..Setup::default()
    })
    .await;
    for _ in 0..3 {
        let response: Response = server.get("key").await;
        assert_eq!((response.status, response.text().as_str()), (200, "body"));
    }
    let asked = sts.requests();
    assert_eq!(asked.len(), 1);
    let body = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(body.contains("&ExternalId=acme-7f3a"), "{body}");
    let authorization = asked[0].header("authorization").unwrap();
    assert!(
        authorization.contains("Credential=AKIAUPSTREAM/"),
        "{authorization}"
    );
    assert!(
        authorization.contains("/us-east-1/sts/aws4_request"),
        "{authorization}"
    );
    for request in origin.requests() {
        assert_eq!(request.header("x-amz-security-token"), Some(SESSION));
        let authorization = request.header("authorization").unwrap();
        assert!(
            authorization.contains("Credential=ASIAROLE/"),
            "{authorization}"
        );
    }
    let log = server.log();
    for secret in [SESSION, UPSTREAM_SECRET, "canary-role-secret"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn without_a_credential_nothing_goes_upstream() {
    let sts = Origin::always(answer::error(403, "AccessDenied")).await;
    let origin = Origin::always(answer::ok(b"body")).await;
    let resource = format!(
        "role_arn = \"arn:aws:iam::111122223333:role/assets\"\nsts_endpoint = \"http://{}\"",
        sts.address
    );
    let server = Server::start(&Setup {
        storage: Some(origin.address),
        resource: resource.leak(),
        ..Setup::default()
    })
    .await;
    let response = server.get("key").await;
    assert_eq!(response.status, 403);
    assert!(!response.text().contains("assets"), "{}", response.text());
    let line = server.logged("answered 403: AccessDenied").await;
    assert!(line.contains("origin"), "{line}");
    assert_eq!(origin.requests().len(), 0);
}
