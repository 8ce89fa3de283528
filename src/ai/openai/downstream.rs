//! Heads towards clients: what an answer of a resource shows of itself, what errors of ours carry, and what
//! a client's own head says about its patience.

use std::time::Duration;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use crate::error::{Error, Kind, Result};

/// Longest deadline that is believed of a client; config's own limits are shorter.
const CLIENT_DEADLINE_MAX: Duration = Duration::from_hours(24);

/// Headers of a resource's answer that reach the client, besides `x-ratelimit-*`.
const COPIED: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::RETRY_AFTER,
    HeaderName::from_static("openai-model"),
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("openai-version"),
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-should-retry"),
];

const RATE_LIMIT_PREFIX: &str = "x-ratelimit-";
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FALSE: HeaderValue = HeaderValue::from_static("false");

/// How an answer came about, told in headers.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// Ours; an upstream's own id is passed on in its place, and ours beside it.
    pub request_id: &'a str,
    pub resource: &'a str,
    /// Resources and retries asked, this one included.
    pub attempts: u32,
    /// The model's name at the resource, where the client wrote an alias.
    pub alias_of: Option<&'a str>,
    pub upstream_limits: UpstreamLimits,
    /// The parameters that the model's provider cannot take, and that were left out.
    pub dropped_params: Option<&'a str>,
}

/// What becomes of an upstream's `x-ratelimit-*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamLimits {
    /// Passed on under their names.
    AsTheyAre,
    /// The repository has limits of its own, which take those names: passed on as `x-upstream-ratelimit-*`.
    Renamed,
}

/// How the body will be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// As the upstream framed it: `content-length` is passed on.
    Exact,
    /// An event stream, which may lose or gain events on its way.
    Events,
}

/// Whether an answer is an event stream.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .map(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
        })
        .is_some_and(|essence| {
            essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
}

/// Whether an answer's bytes can be read: a compressed body is passed on, and its usage estimated.
pub fn is_readable(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_ENCODING)
        .is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The headers of an answer for the client, out of the resource's.
pub fn response_head(upstream: &HeaderMap, served: Served<'_>, framing: Framing) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    for name in COPIED {
        if let Some(value) = upstream.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    rate_limits(upstream, &mut headers, served.upstream_limits);
    match framing {
        Framing::Exact => {
            if let Some(value) = upstream.get(header::CONTENT_LENGTH) {
                headers.insert(header::CONTENT_LENGTH, value.clone());
            }
        }
        Framing::Events => event_stream_head(&mut headers),
    }
    if served.attempts > 1 {
        // We have retried already: retries of the client's SDK would multiply ours.
        headers.insert(SHOULD_RETRY, FALSE);
    }
    own_headers(&mut headers, served);
    headers
}

fn rate_limits(upstream: &HeaderMap, headers: &mut HeaderMap, limits: UpstreamLimits) {
    for (name, value) in upstream {
        let Some(what) = name.as_str().strip_prefix(RATE_LIMIT_PREFIX) else {
            continue;
        };
        let name = match limits {
            UpstreamLimits::AsTheyAre => Ok(name.clone()),
            UpstreamLimits::Renamed => format!("x-upstream-ratelimit-{what}").parse(),
        };
        if let Ok(name) = name {
            headers.insert::<HeaderName>(name, value.clone());
        }
    }
}

/// The headers that keep an event stream from being held or cached on its way.
pub fn event_stream_head(headers: &mut HeaderMap) {
    let fixed = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The headers of an error of ours. `attempts` counts the resources that were asked: 0 for none.
pub fn error_head(error: &Error, request_id: &str, attempts: u32) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    insert(&mut headers, REQUEST_ID, request_id);
    if let Some(after) = error.retry_after() {
        // Rounded up: a client that comes back early is refused again.
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, millis.div_ceil(1000).into());
        headers.insert(HeaderName::from_static("retry-after-ms"), millis.into());
    }
    if attempts > 1 || is_final(error.kind()) {
        headers.insert(SHOULD_RETRY, FALSE);
    }
    headers
}

/// Errors that SDKs would retry by their status and that no retry can help.
fn is_final(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Unsupported | Kind::UpstreamAuth | Kind::BucketExists | Kind::Conflict
    )
}

fn own_headers(headers: &mut HeaderMap, served: Served<'_>) {
    if !headers.contains_key(&REQUEST_ID) {
        insert(headers, REQUEST_ID, served.request_id);
    }
    let name = HeaderName::from_static;
    insert(headers, name("x-aqueduct-request-id"), served.request_id);
    insert(headers, name("x-aqueduct-resource"), served.resource);
    headers.insert(name("x-aqueduct-attempts"), served.attempts.into());
    if let Some(names) = served.dropped_params {
        insert(headers, name("x-aqueduct-dropped-params"), names);
    }
    if let Some(model) = served.alias_of {
        insert(headers, name("x-aqueduct-model"), model);
    }
}

/// Leaves a header out whose value cannot stand in one: it informs, nothing depends on it.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Refuses a request body that is not plain JSON text.
pub fn check_request(headers: &HeaderMap) -> Result<()> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Error::new(
            Kind::InvalidRequest,
            "Compressed request bodies are not supported; send plain JSON.",
        ));
    }
    Ok(())
}

/// How long the client says it waits: `x-stainless-read-timeout` (Python) or `x-stainless-timeout` (Node),
/// in seconds. An upper bound for the wait for the first byte.
pub fn client_deadline(headers: &HeaderMap) -> Option<Duration> {
    ["x-stainless-read-timeout", "x-stainless-timeout"]
        .into_iter()
        .filter_map(|name| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0)
        .filter_map(|seconds| {
            Duration::try_from_secs_f64(seconds.min(CLIENT_DEADLINE_MAX.as_secs_f64())).ok()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn listed(headers: &HeaderMap) -> Vec<(&str, &str)> {
        let mut listed: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        listed.sort_unstable();
        listed
    }

    const SERVED: Served<'_> = Served {
        request_id: "req_ours",
        resource: "cloud",
        attempts: 1,
        alias_of: None,
        upstream_limits: UpstreamLimits::AsTheyAre,
        dropped_params: None,
    };

    #[test]
    fn only_listed_headers_reach_the_client() {
        let upstream = headers(&[
            ("alt-svc", "h3"),
            ("connection", "keep-alive"),
            ("content-length", "5"),
            ("content-type", "application/json"),
            ("openai-organization", "org"),
            ("openai-processing-ms", "9"),
            ("openai-project", "proj"),
            ("retry-after-ms", "20"),
            ("server", "cloudflare"),
            ("set-cookie", "a=b"),
            ("x-ratelimit-remaining-tokens", "7"),
            ("x-request-id", "req_theirs"),
        ]);
        assert_eq!(
            listed(&response_head(&upstream, SERVED, Framing::Exact)),
            [
                ("content-length", "5"),
                ("content-type", "application/json"),
                ("openai-processing-ms", "9"),
                ("retry-after-ms", "20"),
                ("x-aqueduct-attempts", "1"),
                ("x-aqueduct-request-id", "req_ours"),
                ("x-aqueduct-resource", "cloud"),
                ("x-ratelimit-remaining-tokens", "7"),
                ("x-request-id", "req_theirs"),
            ]
        );
    }

    #[test]
    fn a_repositorys_own_limits_take_the_names() {
        let upstream = headers(&[("x-ratelimit-limit-requests", "7")]);
        let served = Served {
            upstream_limits: UpstreamLimits::Renamed,
            ..SERVED
        };
        let head = response_head(&upstream, served, Framing::Exact);
        assert_eq!(head["x-upstream-ratelimit-limit-requests"], "7");
        assert!(!head.contains_key("x-ratelimit-limit-requests"));
    }

    #[test]
    fn streams_are_neither_measured_nor_cached() {
        let upstream = headers(&[
            ("content-length", "5"),
            ("content-type", "text/event-stream"),
        ]);
        let served = Served {
            attempts: 2,
            alias_of: Some("llama"),
            ..SERVED
        };
        assert_eq!(
            listed(&response_head(&upstream, served, Framing::Events)),
            [
                ("cache-control", "no-cache"),
                ("content-type", "text/event-stream; charset=utf-8"),
                ("x-accel-buffering", "no"),
                ("x-aqueduct-attempts", "2"),
                ("x-aqueduct-model", "llama"),
                ("x-aqueduct-request-id", "req_ours"),
                ("x-aqueduct-resource", "cloud"),
                ("x-request-id", "req_ours"),
                ("x-should-retry", "false"),
            ]
        );
        assert!(is_event_stream(&headers(&[(
            "content-type",
            "Text/Event-Stream ; charset=utf-8"
        )])));
        assert!(!is_event_stream(&headers(&[(
            "content-type",
            "application/json"
        )])));
        assert!(!is_readable(&headers(&[("content-encoding", "gzip")])));
    }

    #[test]
    fn errors_say_when_to_come_back_or_not_to() {
        let limited =
            Error::new(Kind::RateLimited, "").with_retry_after(Duration::from_millis(1200));
        assert_eq!(
            listed(&error_head(&limited, "r", 0)),
            [
                ("content-type", "application/json"),
                ("retry-after", "2"),
                ("retry-after-ms", "1200"),
                ("x-request-id", "r"),
            ]
        );
        let should_retry = |kind, attempts| {
            let head = error_head(&Error::new(kind, ""), "r", attempts);
            !head.contains_key(SHOULD_RETRY)
        };
        assert!(should_retry(Kind::UpstreamUnavailable, 1));
        assert!(!should_retry(Kind::UpstreamUnavailable, 2));
        assert!(!should_retry(Kind::Unsupported, 0));
        assert!(!should_retry(Kind::UpstreamAuth, 1));
    }

    #[test]
    fn a_clients_patience_is_read() {
        for (pairs, expected) in [
            (&[("x-stainless-read-timeout", "600")][..], Some(600_000)),
            (&[("x-stainless-timeout", "2.5")], Some(2_500)),
            (
                &[
                    ("x-stainless-timeout", "9"),
                    ("x-stainless-read-timeout", "5"),
                ],
                Some(5_000),
            ),
            (&[("x-stainless-read-timeout", "NOT_GIVEN")], None),
            (&[("x-stainless-read-timeout", "-1")], None),
            (&[("x-stainless-read-timeout", "nan")], None),
            (&[("x-stainless-read-timeout", "inf")], Some(86_400_000)),
            (&[], None),
        ] {
            let deadline = client_deadline(&headers(pairs));
            assert_eq!(deadline, expected.map(Duration::from_millis), "{pairs:?}");
        }
    }

    #[test]
    fn compressed_requests_are_refused() {
        assert!(check_request(&headers(&[("content-encoding", "gzip")])).is_err());
        assert!(check_request(&headers(&[("content-encoding", "identity")])).is_ok());
    }
}
