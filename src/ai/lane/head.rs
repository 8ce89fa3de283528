//! The head of a request to a resource of another dialect, built from nothing: what a client sends chooses neither
//! server nor account.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::error::{Error, Result};
use crate::policy::route::{AiAccount, Resource};
use crate::protocol::Dialect;
use crate::secret::Secret;

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("aqueduct/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Headers of a client that reach the resource.
const COPIED: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Where a request goes and with which headers. What signs a whole request is not in them yet.
#[derive(Debug)]
pub struct Head {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
}

/// What is sent behind the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// GET.
    Nothing,
    Json(u64),
}

/// Builds a head: `path` stands behind the resource's URL, which ends with the version as SDKs have theirs.
pub fn request_head(
    resource: &Resource,
    path: &str,
    given: HeaderMap,
    client: &HeaderMap,
    content: Content,
) -> Result<Head> {
    let account = resource
        .ai()
        .ok_or_else(|| Error::internal("an AI request to a storage resource"))?;
    let base = match (&*resource.origin.base_path, account.dialect) {
        ("", Dialect::Anthropic | Dialect::OpenAi) => "/v1",
        ("", Dialect::Google) => "/v1beta",
        ("", Dialect::Bedrock) => "",
        (base, _) => base,
    };
    let mut headers = given;
    headers.insert(header::HOST, resource.origin.authority.clone());
    headers.insert(header::USER_AGENT, USER_AGENT);
    // The answer is read here.
    headers.insert(header::ACCEPT_ENCODING, IDENTITY);
    for name in COPIED {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let method = match content {
        Content::Nothing => Method::GET,
        Content::Json(len) => {
            headers.insert(header::CONTENT_TYPE, JSON);
            headers.insert(header::CONTENT_LENGTH, len.into());
            Method::POST
        }
    };
    authorize(&mut headers, account)?;
    Ok(Head {
        method,
        target: format!("{base}{path}"),
        headers,
    })
}

/// Puts an API key where its provider wants it.
fn authorize(headers: &mut HeaderMap, account: &AiAccount) -> Result<()> {
    let Some(key) = &account.api_key else {
        return Ok(());
    };
    let (name, scheme) = match account.dialect {
        Dialect::Anthropic => (HeaderName::from_static("x-api-key"), ""),
        Dialect::Google => (HeaderName::from_static("x-goog-api-key"), ""),
        Dialect::Bedrock | Dialect::OpenAi => (header::AUTHORIZATION, "Bearer "),
    };
    headers.insert(name, secret(scheme, key)?);
    Ok(())
}

fn secret(scheme: &str, key: &Secret) -> Result<HeaderValue> {
    let mut text = zeroize::Zeroizing::new(scheme.as_bytes().to_vec());
    text.extend_from_slice(key.expose());
    let mut value = HeaderValue::from_bytes(&text)
        .map_err(|_| Error::internal("the resource's api_key cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}
