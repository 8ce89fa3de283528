//! AWS: the token service (STS), and the metadata services of instances and containers.

use http::HeaderValue;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::fetch::{Ask, Token, unusable};
use crate::error::{Error, Result};
use crate::policy::credential::{AwsRole, AwsWebIdentity, ReadyCredential};
use crate::secret::Secret;
use crate::storage::head::UpstreamHead;
use crate::storage::sigv4::{self, Service};

/// Carries the session of the instances' metadata service, version 2.
pub(super) const SESSION: &str = "x-aws-ec2-metadata-token";
const SESSION_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// How long the sessions of a role last: what every role allows.
const ROLE_SECONDS: &str = "3600";

pub(super) fn assume(role: &AwsRole) -> Ask {
    let mut fields = vec![
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", &*role.role.arn),
        ("RoleSessionName", &*role.role.session_name),
        ("DurationSeconds", ROLE_SECONDS),
    ];
    if let Some(id) = &role.external_id {
        fields.push(("ExternalId", id));
    }
    sts(&role.sts.0.origin.base_path, &fields)
}

pub(super) fn assume_with_web_identity(identity: &AwsWebIdentity) -> Result<Ask> {
    let token = identity.token.expose_str();
    let token = token.ok_or_else(|| Error::internal("a web identity token that is no text"))?;
    let fields = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", &*identity.role.arn),
        ("RoleSessionName", &*identity.role.session_name),
        ("DurationSeconds", ROLE_SECONDS),
        ("WebIdentityToken", token.trim()),
    ];
    Ok(sts(&identity.sts.0.origin.base_path, &fields))
}

fn sts(base_path: &str, fields: &[(&str, &str)]) -> Ask {
    Ask::form(format!("{base_path}/"), fields)
}

/// Signs a request for STS with what `role` is taken as.
pub(super) fn sign(
    head: &mut UpstreamHead,
    body: &[u8],
    role: &AwsRole,
    base: &ReadyCredential,
    now: Timestamp,
) -> Result<()> {
    let ReadyCredential::S3(keys) = base else {
        return Err(Error::internal("no credential to take a role with"));
    };
    let hash: [u8; 32] = Sha256::digest(body).into();
    let hash = HeaderValue::from_bytes(&sigv4::hex(&hash)).map_err(Error::internal)?;
    let service = Service {
        words: &sigv4::AWS,
        region: &role.region,
        name: "sts",
    };
    sigv4::sign(head, service, keys, hash, now)
}

/// The keys in STS's answer.
pub(super) fn assumed(body: &[u8]) -> Result<Token> {
    let body = std::str::from_utf8(body).map_err(|_| unusable("keys"))?;
    let of = |name: &'static str| element(body, name).ok_or_else(|| unusable(name));
    keys(
        of("AccessKeyId")?,
        of("SecretAccessKey")?,
        of("SessionToken")?,
        of("Expiration")?,
    )
}

/// The word for what STS did not like.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    element(std::str::from_utf8(body).ok()?, "Code").map(str::to_owned)
}

/// The text of the one element of this name, without the markup that none of those that we read has.
fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.contains(['<', '&'])).then(|| text.trim())
}

/// Opens a session with the instances' metadata service: what it takes to be asked is more than a GET that somebody
/// made us send.
pub(super) fn session() -> Ask {
    Ask {
        method: http::Method::PUT,
        ..Ask::get("/latest/api/token")
    }
    .with(SESSION_LIFE, HeaderValue::from_static("300"))
}

pub(super) fn session_header(body: &[u8]) -> Result<HeaderValue> {
    HeaderValue::from_bytes(body.trim_ascii()).map_err(|_| unusable("session"))
}

pub(super) fn role_name() -> Ask {
    Ask::get(ROLES)
}

pub(super) fn role_keys(name: &[u8]) -> Result<Ask> {
    let name = std::str::from_utf8(name).map_err(|_| unusable("role"))?;
    // One role to an instance; a list would be on lines.
    let name = name.lines().next().unwrap_or_default().trim();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(unusable("role"));
    }
    Ok(Ask::get(format!("{ROLES}{name}")))
}

pub(super) fn container(target: &str, authorization: Option<&Secret>) -> Result<Ask> {
    let ask = Ask::get(target);
    let Some(authorization) = authorization else {
        return Ok(ask);
    };
    let value = HeaderValue::from_bytes(authorization.expose()).map_err(Error::internal)?;
    Ok(ask.with("authorization", value))
}

/// The keys in the answer of either metadata service.
pub(super) fn machine_keys(body: &[u8]) -> Result<Token> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        access_key_id: String,
        secret_access_key: String,
        token: String,
        expiration: String,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unusable("keys"))?;
    keys(
        &answer.access_key_id,
        &answer.secret_access_key,
        &answer.token,
        &answer.expiration,
    )
}

fn keys(id: &str, secret: &str, token: &str, expiration: &str) -> Result<Token> {
    if id.is_empty() || secret.is_empty() || token.is_empty() {
        return Err(unusable("keys"));
    }
    let (secret, token) = (Secret::new(secret), Secret::new(token));
    Ok(Token {
        ready: ReadyCredential::s3(id, secret, Some(token)),
        expires_at: expiration.parse().map_err(|_| unusable("end"))?,
    })
}
