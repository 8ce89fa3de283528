//! Which operation a request head asks for, and which key it presents.
//!
//! A closed table: what it does not list is refused. Paths that keep state in the provider's account (files,
//! conversations, stored responses) are refused whatever the config says, because one account serves many
//! keys and nothing there tells their owners apart.

use std::fmt;

use http::{HeaderMap, Method, header};
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};

/// Longest bearer token looked at: stops hashing of what can be no key.
const TOKEN_BYTES_MAX: usize = 4096;

/// Longest model id in a path, decoded.
const MODEL_BYTES_MAX: usize = 512;

/// A request that is answered by a model named in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inference {
    ChatCompletions,
    Completions,
    Embeddings,
    Responses,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AiOp {
    Infer(Inference),
    /// The list of models.
    Models,
    /// One model, by the name that clients use (decoded; may hold `/`).
    Model(Box<str>),
    /// Any other path below `/v1/`, served only where the repository's `passthrough` lists it.
    Other(OtherPath),
}

/// A path outside the table, checked to hold no escapes and no dot segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherPath {
    /// As received: starts with `/v1/`.
    path: Box<str>,
    /// Without `key`, which is ours.
    query: Option<Box<str>>,
}

/// First segments below `/v1/` that keep state in the provider's account.
const STATEFUL: [&str; 17] = [
    "assistants",
    "batches",
    "chatkit",
    "containers",
    "conversations",
    "evals",
    "files",
    "fine-tunes",
    "fine_tuning",
    "organization",
    "projects",
    "realtime",
    "skills",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
];

/// Decodes a method and an origin-form target (`/v1/...?...`).
pub fn decode(method: &Method, target: &str) -> Result<AiOp> {
    let (path, query) = split_query(target);
    let Some(below) = path.strip_prefix("/v1/") else {
        return Err(no_such_path());
    };
    match below {
        "chat/completions" => infer(method, Inference::ChatCompletions),
        "completions" => infer(method, Inference::Completions),
        "embeddings" => infer(method, Inference::Embeddings),
        "responses" => infer(method, Inference::Responses),
        "models" if *method == Method::GET => Ok(AiOp::Models),
        "models" => Err(wrong_method("GET")),
        _ => match below.strip_prefix("models/") {
            Some(id) => model(method, id),
            None => other(path, below, query),
        },
    }
}

fn infer(method: &Method, inference: Inference) -> Result<AiOp> {
    if *method == Method::POST {
        return Ok(AiOp::Infer(inference));
    }
    if *method == Method::GET && inference == Inference::ChatCompletions {
        return Err(stateful());
    }
    Err(wrong_method("POST"))
}

fn model(method: &Method, id: &str) -> Result<AiOp> {
    if *method == Method::DELETE {
        return Err(Error::unsupported("Models cannot be deleted here."));
    }
    if *method != Method::GET {
        return Err(wrong_method("GET"));
    }
    match percent_decode(id) {
        Some(id) if is_model_name(&id) => Ok(AiOp::Model(id.into())),
        Some(_) | None => Err(no_such_path()),
    }
}

fn other(path: &str, below: &str, query: Option<&str>) -> Result<AiOp> {
    // An escape or a dot segment could be read as another path by the upstream than by `passthrough`.
    let plain = below.split('/').all(|segment| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte))
    });
    if !plain {
        return Err(no_such_path());
    }
    let mut segments = below.split('/');
    let first = segments.next().unwrap_or_default().to_ascii_lowercase();
    // What lies below these is stored by an earlier request.
    let below_stored = matches!(first.as_str(), "responses" | "chat");
    if below_stored || STATEFUL.contains(&first.as_str()) {
        return Err(stateful());
    }
    Ok(AiOp::Other(OtherPath {
        path: path.into(),
        query: query.and_then(without_key),
    }))
}

fn stateful() -> Error {
    Error::unsupported(
        "This path keeps state at the model provider, which is shared between keys here; it is not served.",
    )
}

fn wrong_method(allowed: &'static str) -> Error {
    Error::new(Kind::MethodNotAllowed, "This path takes another method.")
        .with_detail(format_args!("allowed: {allowed}"))
}

fn no_such_path() -> Error {
    Error::new(
        Kind::NotFound,
        "There is no such path. Paths start with /v1/.",
    )
}

/// Whether `name` can be a model's name: stops what would break out of a log line, a header or a path.
pub fn is_model_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MODEL_BYTES_MAX && !name.chars().any(char::is_control)
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

fn without_key(query: &str) -> Option<Box<str>> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !is_key_parameter(pair))
        .collect();
    if kept.iter().all(|pair| pair.is_empty()) {
        return None;
    }
    Some(kept.join("&").into())
}

/// Decoded first: `%6bey=` is `key=` to whoever reads it.
fn is_key_parameter(pair: &str) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    percent_decode(name).is_some_and(|name| name == "key")
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

impl Inference {
    /// The path below the base URL that ends in `/v1`.
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
        }
    }

    /// The value of the `op` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ChatCompletions => "ChatCompletions",
            Self::Completions => "Completions",
            Self::Embeddings => "Embeddings",
            Self::Responses => "Responses",
        }
    }
}

impl AiOp {
    /// The value of the `op` label: one of a handful, never made of what a client sent.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Infer(inference) => inference.label(),
            Self::Models | Self::Model(_) => "Models",
            Self::Other(_) => "Other",
        }
    }
}

impl OtherPath {
    /// Checks the path against a repository's `passthrough`: exact paths, or prefixes that end in `/*`.
    pub fn check_listed(&self, passthrough: &[Box<str>]) -> Result<()> {
        let listed = passthrough
            .iter()
            .any(|entry| match entry.strip_suffix('*') {
                Some(prefix) if prefix.ends_with('/') => {
                    self.path.len() > prefix.len() && self.path.starts_with(prefix)
                }
                Some(_) | None => **entry == *self.path,
            });
        if listed {
            return Ok(());
        }
        Err(Error::unsupported("This path is not served here."))
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Path and query below the `/v1` of the base URL.
    pub fn below_v1(&self) -> String {
        let path = self.path.strip_prefix("/v1").unwrap_or(&self.path);
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }
}

/// SHA-256 of the token that a request presents: the name under which its key is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bearer([u8; 32]);

impl Bearer {
    pub fn digest(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// Headers that hold a bare token.
const TOKEN_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Finds the one bearer token of a request: `Authorization: Bearer`, `x-api-key`, `api-key`, `x-goog-api-key`
/// or `?key=`. More than one is refused, so that two readers of one request cannot see two keys.
pub fn bearer(headers: &HeaderMap, query: Option<&str>) -> Result<Bearer> {
    let mut found: Option<Vec<u8>> = None;
    let mut note = |token: Vec<u8>| match found.replace(token) {
        None => Ok(()),
        Some(_) => Err(Error::new(
            Kind::AuthMalformed,
            "More than one API key was sent. Send exactly one.",
        )),
    };
    for value in headers.get_all(header::AUTHORIZATION) {
        note(after_scheme(value.as_bytes()).unwrap_or_default().to_vec())?;
    }
    for name in TOKEN_HEADERS {
        for value in headers.get_all(name) {
            note(value.as_bytes().trim_ascii().to_vec())?;
        }
    }
    for pair in query.unwrap_or_default().split('&') {
        if is_key_parameter(pair) {
            let value = pair.split_once('=').map_or("", |(_, value)| value);
            note(percent_decode(value).unwrap_or_default().into_bytes())?;
        }
    }
    match found {
        Some(token) if !token.is_empty() && token.len() <= TOKEN_BYTES_MAX => {
            Ok(Bearer(Sha256::digest(&token).into()))
        }
        Some(_) | None => Err(Error::new(
            Kind::AuthMissing,
            "You did not provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'.",
        )),
    }
}

fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &Method, target: &str, expected: Result<&str, Kind>) {
        let answer = decode(method, target);
        let answer = answer
            .map(|op| format!("{op:?}"))
            .map_err(|error| error.kind());
        assert_eq!(answer, expected.map(str::to_owned), "{method} {target}");
    }

    #[test]
    fn supported_paths_decode() {
        check(
            &Method::POST,
            "/v1/chat/completions",
            Ok("Infer(ChatCompletions)"),
        );
        check(
            &Method::POST,
            "/v1/chat/completions?key=x",
            Ok("Infer(ChatCompletions)"),
        );
        check(&Method::POST, "/v1/completions", Ok("Infer(Completions)"));
        check(&Method::POST, "/v1/embeddings", Ok("Infer(Embeddings)"));
        check(&Method::POST, "/v1/responses", Ok("Infer(Responses)"));
        check(&Method::GET, "/v1/models", Ok("Models"));
        check(&Method::GET, "/v1/models/gpt-4o", Ok("Model(\"gpt-4o\")"));
        check(
            &Method::GET,
            "/v1/models/meta/llama%2F3",
            Ok("Model(\"meta/llama/3\")"),
        );
    }

    #[test]
    fn stateful_paths_are_refused_in_any_case() {
        for path in [
            "/v1/files",
            "/v1/Files/x",
            "/v1/responses/resp_1",
            "/v1/responses/resp_1/cancel",
            "/v1/chat/completions/chatcmpl-1",
            "/v1/conversations",
            "/v1/assistants",
            "/v1/batches",
            "/v1/threads/t/runs",
        ] {
            check(&Method::GET, path, Err(Kind::Unsupported));
            check(&Method::POST, path, Err(Kind::Unsupported));
        }
        check(&Method::GET, "/v1/chat/completions", Err(Kind::Unsupported));
        check(&Method::DELETE, "/v1/models/m", Err(Kind::Unsupported));
    }

    #[test]
    fn anything_else_is_not_found() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v2/models",
            "/V1/models",
            "/chat/completions",
            "//v1/models",
            "/v1//models",
            "/v1/audio/../files",
            "/v1/%66iles",
            "/v1/audio/",
            "/v1/models/",
            "/v1/models/%zz",
            "/v1/models/a%0d%0ab",
            "/v1/models/%ff",
            "/v1/a\\b",
        ] {
            check(&Method::GET, path, Err(Kind::NotFound));
        }
        check(&Method::PUT, "/v1/models", Err(Kind::MethodNotAllowed));
        check(&Method::HEAD, "/v1/embeddings", Err(Kind::MethodNotAllowed));
    }

    #[test]
    fn other_paths_are_served_where_listed() {
        let other = |target: &str| match decode(&Method::POST, target) {
            Ok(AiOp::Other(other)) => other,
            answer => panic!("{target}: {answer:?}"),
        };
        let list: Vec<Box<str>> = vec!["/v1/rerank".into(), "/v1/audio/*".into(), "/v1/im*".into()];
        for (target, listed) in [
            ("/v1/rerank", true),
            ("/v1/rerank2", false),
            ("/v1/rerank/x", false),
            ("/v1/audio/speech", true),
            ("/v1/audio", false),
            ("/v1/images/generations", false),
        ] {
            assert_eq!(
                other(target).check_listed(&list).is_ok(),
                listed,
                "{target}"
            );
        }
        assert_eq!(
            other("/v1/rerank?a=1&%6bey=secret&b=2").below_v1(),
            "/rerank?a=1&b=2"
        );
        assert_eq!(other("/v1/rerank?key=secret").below_v1(), "/rerank");
    }

    #[test]
    fn one_token_is_found_wherever_it_stands() {
        let digest: [u8; 32] = Sha256::digest(b"sk-abc").into();
        for (name, value) in [
            ("authorization", "Bearer sk-abc"),
            ("authorization", "bearer  sk-abc "),
            ("x-api-key", "sk-abc"),
            ("api-key", "sk-abc"),
            ("x-goog-api-key", "sk-abc"),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(
                bearer(&headers, Some("a=b")).unwrap().digest(),
                &digest,
                "{name}"
            );
            let twice = bearer(&headers, Some("key=sk-abc")).unwrap_err();
            assert_eq!(twice.kind(), Kind::AuthMalformed, "{name}");
        }
        let none = HeaderMap::new();
        assert_eq!(
            bearer(&none, Some("a=b&key=sk%2Dabc")).unwrap().digest(),
            &digest
        );
    }

    #[test]
    fn no_usable_token_is_a_missing_one() {
        for value in ["", "Bearer", "Bearer ", "Basic dTpw", "sk-abc"] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            let error = bearer(&headers, None).unwrap_err();
            assert_eq!(error.kind(), Kind::AuthMissing, "{value}");
        }
        assert_eq!(
            bearer(&HeaderMap::new(), None).unwrap_err().kind(),
            Kind::AuthMissing
        );
        assert!(!format!("{:?}", Bearer([7; 32])).contains('7'));
    }
}
