//! Azure: Entra ID, and the identities that it gives to machines.

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};

use super::fetch::{Ask, Token, unusable};
use super::google::bearer;
use crate::error::{Error, Result};
use crate::message::escape::{self, Slash};
use crate::policy::credential::{AzureMachine, AzureMachineService, ClientProof, EntraClient};

/// What a token is asked for: the storage service of any account.
const RESOURCE: &str = "https://storage.azure.com/";
const SCOPE: &str = "https://storage.azure.com/.default";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(super) fn entra(client: &EntraClient) -> Result<Ask> {
    let no_text = || Error::internal("a client secret that is no text");
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("client_id", &*client.client_id),
        ("scope", SCOPE),
    ];
    match &client.proof {
        ClientProof::Secret(secret) => {
            fields.push(("client_secret", secret.expose_str().ok_or_else(no_text)?));
        }
        ClientProof::Assertion(token) => {
            let token = token.expose_str().ok_or_else(no_text)?;
            fields.push(("client_assertion_type", JWT_BEARER));
            fields.push(("client_assertion", token.trim()));
        }
    }
    let base = &client.authority.0.origin.base_path;
    let target = format!("{base}/{}/oauth2/v2.0/token", encoded(&client.tenant));
    Ok(Ask::form(target, &fields))
}

pub(super) fn machine(machine: &AzureMachine) -> Result<Ask> {
    let (path, version, name, value) = match &machine.service {
        AzureMachineService::Instance => (
            "/metadata/identity/oauth2/token",
            "2018-02-01",
            "metadata",
            HeaderValue::from_static("true"),
        ),
        AzureMachineService::App { target, header } => (
            &**target,
            "2019-08-01",
            "x-identity-header",
            HeaderValue::from_bytes(header.expose()).map_err(Error::internal)?,
        ),
    };
    let mut target = format!(
        "{path}?api-version={version}&resource={}",
        encoded(RESOURCE)
    );
    if let Some(id) = &machine.client_id {
        target.push_str("&client_id=");
        target.push_str(&encoded(id));
    }
    Ok(Ask::get(target).with(name, value))
}

/// The token in the answer of any of them: Entra says how long it lives, in a number; the others when it ends, in text.
pub(super) fn granted(body: &[u8], now: Timestamp) -> Result<Token> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
        #[serde(default, deserialize_with = "seconds")]
        expires_in: Option<i64>,
        #[serde(default, deserialize_with = "seconds")]
        expires_on: Option<i64>,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unusable("token"))?;
    let expires_at = match (answer.expires_on, answer.expires_in) {
        (Some(at), _) => Timestamp::from_second(at).map_err(|_| unusable("end"))?,
        (None, Some(life)) => now
            .checked_add(SignedDuration::from_secs(life))
            .map_err(|_| unusable("end"))?,
        (None, None) => return Err(unusable("end")),
    };
    Ok(Token {
        ready: bearer(&answer.access_token)?,
        expires_at,
    })
}

/// A number, or text that is one.
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    Ok(match Option::<Either>::deserialize(from)? {
        Some(Either::Number(number)) => Some(number),
        Some(Either::Text(text)) => text.parse().ok(),
        None => None,
    })
}

fn encoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    escape::encode(&mut out, text.as_bytes(), Slash::Encode);
    // Nothing but ASCII was put in.
    String::from_utf8(out).unwrap_or_default()
}
