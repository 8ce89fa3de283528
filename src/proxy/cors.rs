//! CORS, from the `[cors]` table alone: a preflight carries no credential, so no repository is looked up.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::config::snapshot::Cors;
use crate::error::{Error, Kind, Result};
use crate::message::reply::Reply;

/// Answers a preflight.
pub fn preflight(cors: Option<&Cors>, request: &HeaderMap) -> Result<Reply> {
    let refused = || {
        Error::new(
            Kind::AccessDenied,
            "CORSResponse: This CORS request is not allowed.",
        )
    };
    let cors = cors.ok_or_else(refused)?;
    let origin = allowed_origin(cors, request).ok_or_else(refused)?;
    let method = text(request, &header::ACCESS_CONTROL_REQUEST_METHOD).ok_or_else(refused)?;
    if !cors
        .allow_methods
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(method))
    {
        return Err(refused());
    }
    let wanted = text(request, &header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let headers_allowed = wanted
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .all(|name| {
            cors.allow_headers
                .iter()
                .any(|allowed| **allowed == *"*" || allowed.eq_ignore_ascii_case(name))
        });
    if !headers_allowed {
        return Err(refused());
    }
    let reply = Reply::new(StatusCode::OK)
        .with(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)
        .with(header::VARY, HeaderValue::from_static("Origin"))
        .with_text(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            &cors.allow_methods.join(", "),
        )
        .with_text(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted)
        .with(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from(cors.max_age.as_secs()),
        );
    Ok(reply)
}

/// What an answer to a cross-origin request adds.
pub fn headers(cors: Option<&Cors>, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let Some(cors) = cors else { return Vec::new() };
    let Some(origin) = allowed_origin(cors, request) else {
        return Vec::new();
    };
    let mut added = vec![
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
        (header::VARY, HeaderValue::from_static("Origin")),
    ];
    if !cors.expose_headers.is_empty()
        && let Ok(exposed) = HeaderValue::from_str(&cors.expose_headers.join(", "))
    {
        added.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed));
    }
    added
}

fn allowed_origin(cors: &Cors, request: &HeaderMap) -> Option<HeaderValue> {
    let origin = request.get(header::ORIGIN)?;
    if cors.allow_origins.iter().any(|allowed| **allowed == *"*") {
        return Some(HeaderValue::from_static("*"));
    }
    let allowed = cors
        .allow_origins
        .iter()
        .any(|allowed| allowed.as_bytes() == origin.as_bytes());
    allowed.then(|| origin.clone())
}

fn text<'a>(request: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    request.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cors() -> Cors {
        Cors {
            allow_origins: vec!["https://app.example.net".into()],
            allow_methods: vec!["GET".into(), "PUT".into()],
            allow_headers: vec!["authorization".into(), "x-amz-date".into()],
            expose_headers: vec!["etag".into()],
            max_age: Duration::from_mins(10),
        }
    }

    fn request(origin: &'static str, method: &'static str, wanted: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers.insert(
            header::ACCESS_CONTROL_REQUEST_METHOD,
            HeaderValue::from_static(method),
        );
        headers.insert(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static(wanted),
        );
        headers
    }

    #[test]
    fn preflight_allows_only_what_is_listed() {
        let app = "https://app.example.net";
        let cases = [
            (app, "PUT", "Authorization, X-Amz-Date", true),
            (app, "PUT", "", true),
            (app, "DELETE", "", false),
            (app, "GET", "x-other", false),
            ("https://evil.example.net", "GET", "", false),
        ];
        for (origin, method, wanted, allowed) in cases {
            let answer = preflight(Some(&cors()), &request(origin, method, wanted));
            assert_eq!(answer.is_ok(), allowed, "{origin} {method} {wanted}");
        }
        assert!(preflight(None, &request(app, "GET", "")).is_err());
    }

    #[test]
    fn answers_name_the_origin_only_when_allowed() {
        let cors = cors();
        assert_eq!(
            headers(Some(&cors), &request("https://app.example.net", "GET", "")).len(),
            3
        );
        assert!(headers(Some(&cors), &request("https://evil.example.net", "GET", "")).is_empty());
        assert!(headers(None, &request("https://app.example.net", "GET", "")).is_empty());
    }
}
