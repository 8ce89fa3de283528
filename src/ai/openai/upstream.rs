//! Requests to an OpenAI-compatible resource, and what its answer's head means for failover.
//!
//! A head is built from nothing: the resource's origin and credential come from config, and of the client's
//! headers only those listed here are copied. What a client sends can thus choose neither server nor account.

use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::ai::openai::error;
use crate::error::{Error, Kind, Result};
use crate::policy::route::Resource;

/// Longest wait that is believed of a `retry-after`: stops an upstream from parking clients for days.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("aqueduct/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Headers of a client that reach the resource.
const COPIED: [HeaderName; 6] = [
    header::ACCEPT,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-client-request-id"),
];

/// Where a request goes and with which headers.
#[derive(Debug)]
pub struct Head {
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
}

/// What a request's body is.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// No body (GET).
    Empty,
    /// JSON that we have read, of this length.
    Json(u64),
    /// Anything else, with the client's own type.
    Opaque {
        content_type: Option<&'a HeaderValue>,
        len: Option<u64>,
    },
}

/// Builds the head of a request to `resource`. `below_v1` is a path that clients write after `/v1`.
///
/// The configured URL is used as SDKs use theirs: the path is put behind it. One without a path gets `/v1`.
pub fn request_head(
    resource: &Resource,
    below_v1: &str,
    client: &HeaderMap,
    content: Content<'_>,
) -> Result<Head> {
    let base = match &*resource.origin.base_path {
        "" => "/v1",
        base => base,
    };
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::HOST, resource.origin.authority.clone());
    headers.insert(header::USER_AGENT, USER_AGENT);
    // Usage is read beside the bytes, which a compressed body would hide.
    headers.insert(header::ACCEPT_ENCODING, IDENTITY);
    for name in COPIED {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    match content {
        Content::Empty => {}
        Content::Json(len) => {
            headers.insert(header::CONTENT_TYPE, JSON);
            headers.insert(header::CONTENT_LENGTH, len.into());
        }
        Content::Opaque { content_type, len } => {
            if let Some(value) = content_type {
                headers.insert(header::CONTENT_TYPE, value.clone());
            }
            if let Some(len) = len {
                headers.insert(header::CONTENT_LENGTH, len.into());
            }
        }
    }
    if let Some(value) = authorization(resource)? {
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(Head {
        target: format!("{base}{below_v1}"),
        headers,
    })
}

fn authorization(resource: &Resource) -> Result<Option<HeaderValue>> {
    let Some(account) = resource.ai() else {
        return Err(Error::internal("an AI request to a storage resource"));
    };
    let Some(api_key) = &account.api_key else {
        return Ok(None);
    };
    let mut text = zeroize::Zeroizing::new(b"Bearer ".to_vec());
    text.extend_from_slice(api_key.expose());
    let mut value = HeaderValue::from_bytes(&text)
        .map_err(|_| Error::internal("the resource's api_key cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Whether an answer of one resource is a reason to ask the next: only before a byte of it went to the client.
pub fn is_failover(status: StatusCode, headers: &HeaderMap) -> bool {
    // What is wrong with this resource (its credential, its models, its load) may be right with the next;
    // what is wrong with the request is wrong everywhere.
    match status.as_u16() {
        401..=404 | 408 | 429 => true,
        409 => should_retry(headers) == Some(true),
        500..=599 => status != StatusCode::NOT_IMPLEMENTED,
        _ => false,
    }
}

/// Whether asking the same resource again may help, as SDKs decide it.
pub fn is_retryable(status: StatusCode, headers: &HeaderMap) -> bool {
    should_retry(headers)
        .unwrap_or_else(|| matches!(status.as_u16(), 408 | 409 | 429) || status.is_server_error())
}

/// The error to answer instead of an upstream's head that must not be passed on: a refusal of our credential, and
/// redirects, which are never followed. Every other status goes to the client with its body.
pub fn refuse(status: StatusCode) -> Option<Error> {
    match status.as_u16() {
        401 | 403 => Some(error::upstream_auth(status)),
        200..=299 | 400.. => None,
        _ => Some(
            Error::new(
                Kind::UpstreamBroken,
                "The model provider sent an answer that is not valid.",
            )
            .with_detail(format_args!("upstream status {status}")),
        ),
    }
}

fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// How long the resource asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let wait = text("retry-after-ms")
        .and_then(|text| seconds(text, 1e-3))
        .or_else(|| {
            let text = text("retry-after")?;
            seconds(text, 1.0).or_else(|| until(text, now))
        })?;
    Some(wait.min(RETRY_AFTER_MAX))
}

fn seconds(text: &str, unit: f64) -> Option<Duration> {
    let value: f64 = text.parse().ok().filter(|value: &f64| !value.is_nan())?;
    // Clamped before converting: a `Duration` of a huge float would be an error, and it only means "long".
    let value = (value * unit).min(RETRY_AFTER_MAX.as_secs_f64());
    Duration::try_from_secs_f64(value).ok()
}

fn until(text: &str, now: Timestamp) -> Option<Duration> {
    let at = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// Whether a refusal blames `stream_options`, which old servers do not know: the next request to the
/// resource goes without it.
pub fn blames_stream_options(status: StatusCode, body: &[u8]) -> bool {
    matches!(status.as_u16(), 400 | 422)
        && (memchr::memmem::find(body, b"stream_options").is_some()
            || memchr::memmem::find(body, b"include_usage").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::plan::tests::resource;
    use crate::keys::AiType;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn paths_go_behind_the_configured_url() {
        for (base, expected) in [
            ("", "/v1/embeddings"),
            ("/v1", "/v1/embeddings"),
            ("/v1beta/openai", "/v1beta/openai/embeddings"),
            ("/serving-endpoints", "/serving-endpoints/embeddings"),
        ] {
            let resource = resource("r", AiType::Other, base);
            let head = request_head(&resource, "/embeddings", &HeaderMap::new(), Content::Empty);
            assert_eq!(head.unwrap().target, expected);
        }
    }

    #[test]
    fn only_listed_headers_reach_the_resource() {
        let client = headers(&[
            ("accept", "text/event-stream"),
            ("accept-encoding", "gzip"),
            ("api-key", "sk-client"),
            ("authorization", "Bearer sk-client"),
            ("content-length", "1"),
            ("content-type", "text/plain"),
            ("cookie", "a=b"),
            ("host", "client.example"),
            ("idempotency-key", "i"),
            ("openai-organization", "org"),
            ("openai-project", "proj"),
            ("traceparent", "00-1-2-01"),
            ("transfer-encoding", "chunked"),
            ("user-agent", "curl"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-goog-api-key", "sk-client"),
            ("x-stainless-lang", "python"),
        ]);
        let resource = resource("r", AiType::OpenAi, "/v1");
        let head = request_head(&resource, "/completions", &client, Content::Json(12)).unwrap();
        let mut sent: Vec<(&str, &str)> = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        sent.sort_unstable();
        assert_eq!(
            sent,
            [
                ("accept", "text/event-stream"),
                ("accept-encoding", "identity"),
                ("authorization", "Bearer sk-upstream"),
                ("content-length", "12"),
                ("content-type", "application/json"),
                ("host", "ai.example"),
                ("idempotency-key", "i"),
                ("traceparent", "00-1-2-01"),
                ("user-agent", USER_AGENT.to_str().unwrap()),
            ]
        );
        assert!(!format!("{head:?}").contains("sk-upstream"));
    }

    #[test]
    fn what_the_next_resource_may_do_better_fails_over() {
        let none = HeaderMap::new();
        for (status, failover, retryable) in [
            (200, false, false),
            (400, false, false),
            (401, true, false),
            (403, true, false),
            (404, true, false),
            (408, true, true),
            (409, false, true),
            (413, false, false),
            (422, false, false),
            (429, true, true),
            (500, true, true),
            (501, false, true),
            (503, true, true),
            (529, true, true),
        ] {
            let code = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_failover(code, &none), failover, "{status}");
            assert_eq!(is_retryable(code, &none), retryable, "{status}");
        }
        let no = headers(&[("x-should-retry", "false")]);
        assert!(!is_retryable(StatusCode::BAD_GATEWAY, &no));
        let yes = headers(&[("x-should-retry", "true")]);
        assert!(is_retryable(StatusCode::BAD_REQUEST, &yes));
    }

    #[test]
    fn redirects_and_refused_credentials_are_not_passed_on() {
        for (status, kind) in [
            (200, None),
            (301, Some(Kind::UpstreamBroken)),
            (101, Some(Kind::UpstreamBroken)),
            (401, Some(Kind::UpstreamAuth)),
            (403, Some(Kind::UpstreamAuth)),
            (404, None),
            (429, None),
            (529, None),
        ] {
            let answer = refuse(StatusCode::from_u16(status).unwrap());
            assert_eq!(answer.map(|error| error.kind()), kind, "{status}");
        }
    }

    #[test]
    fn waits_are_read_in_every_form() {
        let now = Timestamp::from_second(784_111_777).unwrap();
        for (pairs, expected) in [
            (&[("retry-after", "7")][..], Some(7_000)),
            (&[("retry-after", "0.25")], Some(250)),
            (
                &[("retry-after", "7"), ("retry-after-ms", "1500")],
                Some(1_500),
            ),
            (
                &[("retry-after-ms", "x"), ("retry-after", "2")],
                Some(2_000),
            ),
            (
                &[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")],
                Some(10_000),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")], Some(0)),
            (&[("retry-after", "1e300")], Some(86_400_000)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "nan")], None),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ] {
            let wait = retry_after(&headers(pairs), now);
            assert_eq!(wait, expected.map(Duration::from_millis), "{pairs:?}");
        }
    }

    #[test]
    fn a_refused_stream_option_is_recognised() {
        let body = br#"{"error":{"message":"Unrecognized request argument: stream_options"}}"#;
        assert!(blames_stream_options(StatusCode::BAD_REQUEST, body));
        assert!(blames_stream_options(
            StatusCode::UNPROCESSABLE_ENTITY,
            body
        ));
        assert!(!blames_stream_options(
            StatusCode::INTERNAL_SERVER_ERROR,
            body
        ));
        assert!(!blames_stream_options(StatusCode::BAD_REQUEST, b"{}"));
    }
}
