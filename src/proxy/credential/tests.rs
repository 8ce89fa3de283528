//! What token servers are asked, and what is read of their answers.

use std::sync::Arc;

use super::fetch::Ask;
use super::*;
use crate::policy::credential::tests_support::server;
use crate::policy::credential::{
    AwsRole, AwsWebIdentity, AzureMachine, AzureMachineService, ClientProof, EntraClient, Role,
    RoleBase, SigningKeys,
};
use crate::secret::Secret;

fn role() -> Role {
    Role {
        arn: "arn:aws:iam::1:role/r".into(),
        session_name: "aqueduct".into(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn body(ask: &Ask) -> &str {
    std::str::from_utf8(&ask.body).unwrap()
}

fn bearer(token: &Token) -> &str {
    let ReadyCredential::Bearer(bearer) = &token.ready else {
        panic!("a bearer token");
    };
    bearer.header.to_str().unwrap()
}

#[test]
fn a_role_is_taken_by_a_signed_form() {
    let keys = SigningKeys::new("AKIA", Secret::new(*b"secret"), None);
    let keys = Arc::new(keys);
    let role = AwsRole {
        sts: server("/sts"),
        region: "eu-central-1".into(),
        role: role(),
        external_id: Some("a b&c".into()),
        base: RoleBase::Keys(Arc::clone(&keys)),
    };
    let ask = aws::assume(&role);
    assert_eq!(ask.target, "/sts/");
    assert_eq!(
        body(&ask),
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr\
         &RoleSessionName=aqueduct&DurationSeconds=3600&ExternalId=a%20b%26c"
    );
    let mut head = crate::storage::head::UpstreamHead {
        method: ask.method.clone(),
        target: ask.target.clone(),
        headers: smallvec::SmallVec::new(),
    };
    aws::sign(
        &mut head,
        &ask.body,
        &role,
        &ReadyCredential::S3(keys),
        at(0),
    )
    .unwrap();
    let authorization = head.header("authorization").unwrap().to_str().unwrap();
    let scope = "Credential=AKIA/19700101/eu-central-1/sts/aws4_request,";
    assert!(authorization.contains(scope), "{authorization}");
}

#[test]
fn a_web_identity_is_its_own_proof() {
    let ask = aws::assume_with_web_identity(&AwsWebIdentity {
        sts: server(""),
        role: role(),
        token: Secret::new(*b"a.b-c_d\n"),
    });
    let ask = ask.unwrap();
    assert_eq!(ask.target, "/");
    assert!(body(&ask).starts_with("Action=AssumeRoleWithWebIdentity&"));
    assert!(
        body(&ask).ends_with("&WebIdentityToken=a.b-c_d"),
        "{}",
        body(&ask)
    );
}

#[test]
fn keys_are_read_of_sts() {
    let answer = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
        <SecretAccessKey>s+/=</SecretAccessKey>\n<SessionToken>tok</SessionToken>\
        <Expiration>2026-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    let token = aws::assumed(answer.as_bytes()).unwrap();
    let expected = ReadyCredential::s3("ASIA", Secret::new(*b"s+/="), Some(Secret::new(*b"tok")));
    assert_eq!(token.ready, expected);
    assert_eq!(token.expires_at, "2026-01-01T00:00:00Z".parse().unwrap());
    for (from, to) in [
        ("ASIA", ""),
        ("tok", "<b/>"),
        ("s+/=", "&lt;"),
        ("2026-01", "soon"),
        ("SessionToken", "Token"),
    ] {
        let bent = answer.replace(from, to);
        assert!(aws::assumed(bent.as_bytes()).is_err(), "{bent}");
    }
    let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>";
    assert_eq!(
        aws::error_code(refusal.as_bytes()).as_deref(),
        Some("AccessDenied")
    );
}

#[test]
fn metadata_of_instances_is_asked_with_a_session() {
    assert_eq!(aws::session().method, http::Method::PUT);
    let ask = aws::role_keys(b"my-role_1\n").unwrap();
    assert_eq!(
        ask.target,
        "/latest/meta-data/iam/security-credentials/my-role_1"
    );
    for name in [&b""[..], b"a/b", b"a b", b"<html>", b"\xff"] {
        assert!(aws::role_keys(name).is_err(), "{name:?}");
    }
    let keys = br#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIA","SecretAccessKey":"s",
        "Token":"t","Expiration":"2026-01-01T00:00:00Z"}"#;
    assert!(aws::machine_keys(keys).is_ok());
    assert!(aws::machine_keys(br#"{"Code":"Failed"}"#).is_err());
}

#[test]
fn an_application_of_entra_proves_itself_in_two_ways() {
    let client = |proof| EntraClient {
        authority: server(""),
        tenant: "ten/ant".into(),
        client_id: "id".into(),
        proof,
    };
    let ask = azure::entra(&client(ClientProof::Secret(Secret::new(*b"s&~"))));
    let ask = ask.unwrap();
    assert_eq!(ask.target, "/ten%2Fant/oauth2/v2.0/token");
    assert_eq!(
        body(&ask),
        "grant_type=client_credentials&client_id=id\
         &scope=https%3A%2F%2Fstorage.azure.com%2F.default&client_secret=s%26~"
    );
    let ask = azure::entra(&client(ClientProof::Assertion(Secret::new(*b"a.b.c\n"))));
    let ask = ask.unwrap();
    assert!(
        body(&ask).ends_with("jwt-bearer&client_assertion=a.b.c"),
        "{}",
        body(&ask)
    );
}

#[test]
fn machines_at_azure_are_asked_where_they_run() {
    let machine = |service, client_id: Option<&str>| {
        let machine = AzureMachine {
            server: server(""),
            service,
            client_id: client_id.map(Into::into),
        };
        azure::machine(&machine).unwrap().target
    };
    assert_eq!(
        machine(AzureMachineService::Instance, Some("a&b")),
        "/metadata/identity/oauth2/token?api-version=2018-02-01\
         &resource=https%3A%2F%2Fstorage.azure.com%2F&client_id=a%26b"
    );
    let app = AzureMachineService::App {
        target: "/msi/token".into(),
        header: Secret::new(*b"h"),
    };
    assert_eq!(
        machine(app, None),
        "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com%2F"
    );
}

#[test]
fn tokens_end_when_their_servers_say() {
    for (answer, end) in [
        (r#"{"access_token":"t","expires_in":3599}"#, Some(3699)),
        (r#"{"access_token":"t","expires_in":"3599"}"#, Some(3699)),
        (
            r#"{"access_token":"t","expires_on":"5000","expires_in":"1"}"#,
            Some(5000),
        ),
        (r#"{"access_token":"t","expires_on":5000}"#, Some(5000)),
        (r#"{"access_token":"t"}"#, None),
        (r#"{"access_token":"t","expires_in":"soon"}"#, None),
        (r#"{"access_token":"","expires_in":1}"#, None),
        (r#"{"access_token":"a\nb","expires_in":1}"#, None),
        (r#"{"expires_in":1}"#, None),
        ("<html>", None),
    ] {
        let granted = azure::granted(answer.as_bytes(), at(100));
        let got = granted.as_ref().ok().map(|token| token.expires_at);
        assert_eq!(got, end.map(at), "{answer}");
    }
    let granted = google::granted(br#"{"access_token":"t","expires_in":10}"#, at(100)).unwrap();
    assert_eq!(
        (bearer(&granted), granted.expires_at),
        ("Bearer t", at(110))
    );
    assert!(google::granted(br#"{"access_token":"t"}"#, at(100)).is_err());
}

#[test]
fn tokens_are_renewed_early_and_used_until_shortly_before_their_end() {
    for (life, renew, usable) in [
        (3600, 2880..=3024, 3540),
        (86_400, 69_120..=72_576, 86_340),
        (1200, 900..=960, 1140),
        (600, 300..=360, 540),
        (100, 50..=60, 90),
        (0, 0..=0, 0),
    ] {
        let token = Token {
            ready: google::bearer("t").unwrap(),
            expires_at: at(life),
        };
        let held = Held::new(token, at(0));
        assert!(
            renew.contains(&held.renew_at.as_second()),
            "{life}: {}",
            held.renew_at
        );
        assert_eq!(held.usable_until, at(usable), "{life}");
    }
}

#[test]
fn pauses_grow_and_end_growing() {
    let mut failed: Option<Failed> = None;
    let now = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let error = Error::new(Kind::UpstreamAuth, "no");
        let next = Failed::new(&error, failed.as_ref(), now);
        pauses.push((next.until - now).as_secs());
        failed = Some(next);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    let patient =
        Error::new(Kind::UpstreamUnavailable, "no").with_retry_after(Duration::from_hours(1));
    assert_eq!((Failed::new(&patient, None, now).until - now).as_secs(), 30);
}
