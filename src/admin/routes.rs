//! The paths of the admin API: a closed table, exact segments, nothing decoded.
//!
//! What Flashback's API has and we do not provide is listed too, because clients tell "not here" from "no such
//! thing" by it.

use http::{HeaderValue, Method};

use crate::keys::Family;
use crate::telemetry::labels::AdminRoute;

/// The same API is served under this, for tools that want a version.
const VERSION_PREFIX: &str = "/api/v1";

/// Segments of a path. Stops a long path from being compared with every row.
const SEGMENTS_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Health,
    Ready,
    Metrics,
    Status,
    Reload,
    Config,
    Repositories,
    CreateKey(Family),
    ListKeys(Family),
    UpdateKey(Family),
    DeleteKey(Family),
    /// What was changed.
    Events,
    AiResources,
    /// What was spent at them.
    AiStats,
    ValidateAi,
    AiModels,
    /// Ours, in a later version.
    NotBuilt,
}

/// What a role must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Metrics,
    View,
    Operate,
    /// What makes calls of our own.
    Administer,
}

impl Endpoint {
    pub(super) fn needs(self) -> Need {
        match self {
            Self::Metrics => Need::Metrics,
            Self::Health
            | Self::Ready
            | Self::Status
            | Self::Config
            | Self::Repositories
            | Self::ListKeys(_)
            | Self::Events
            | Self::AiResources
            | Self::AiStats
            | Self::AiModels
            | Self::NotBuilt => Need::View,
            Self::Reload | Self::CreateKey(_) | Self::UpdateKey(_) | Self::DeleteKey(_) => {
                Need::Operate
            }
            Self::ValidateAi => Need::Administer,
        }
    }
}

#[derive(Debug)]
pub(super) enum Found<'a> {
    Endpoint(Matched<'a>),
    WrongMethod {
        allow: HeaderValue,
    },
    /// Known, and not ours.
    NotOurs,
    Nothing,
}

#[derive(Debug)]
pub(super) struct Matched<'a> {
    pub(super) endpoint: Endpoint,
    /// The variable segments, in order.
    pub(super) parameters: Vec<&'a str>,
}

/// What a path is counted as: a closed list, whatever is asked for.
pub(super) fn label(path: &str) -> AdminRoute {
    let Some(segments) = segments(path) else {
        return AdminRoute::Other;
    };
    match segments.as_slice() {
        ["healthz"] => AdminRoute::Health,
        ["readyz"] => AdminRoute::Ready,
        ["metrics"] => AdminRoute::Metrics,
        ["-", "status"] => AdminRoute::Status,
        ["-", "reload"] => AdminRoute::Reload,
        ["-", "config"] => AdminRoute::Config,
        ["repo"] => AdminRoute::Repositories,
        ["systemevent"] => AdminRoute::Events,
        ["ai", "llm"] | ["ai", "llm", "available"] => AdminRoute::AiResources,
        ["ai", "llm", "stats"] => AdminRoute::AiStats,
        ["ai", "llm", _, "validate"] => AdminRoute::ValidateAi,
        ["ai", "models"] => AdminRoute::AiModels,
        ["repo", _, "apikey"] => AdminRoute::ApiKeys,
        ["repo", _, "apikey", _] => AdminRoute::ApiKey,
        ["repo", _, "ai", "apikey"] => AdminRoute::AiApiKeys,
        ["repo", _, "ai", "apikey", _] => AdminRoute::AiApiKey,
        _ => AdminRoute::Other,
    }
}

/// The segments of a path, without the version's prefix.
fn segments(path: &str) -> Option<Vec<&str>> {
    let path = path
        .strip_prefix(VERSION_PREFIX)
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(path);
    let path = path.strip_prefix('/')?;
    Some(path.split('/').take(SEGMENTS_MAX + 1).collect())
}

/// Looks a path up.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let Some(segments) = segments(path) else {
        return Found::Nothing;
    };
    for (pattern, methods) in ROUTES {
        let Some(parameters) = matches(pattern, &segments) else {
            continue;
        };
        // HEAD is GET without the body.
        let wanted = if *method == Method::HEAD {
            "GET"
        } else {
            method.as_str()
        };
        return match methods.iter().find(|(method, _)| *method == wanted) {
            Some((_, endpoint)) => Found::Endpoint(Matched {
                endpoint: *endpoint,
                parameters,
            }),
            None => Found::WrongMethod {
                allow: allow(methods),
            },
        };
    }
    let not_ours = NOT_OURS.iter().any(|prefix| segments.starts_with(prefix));
    if not_ours {
        Found::NotOurs
    } else {
        Found::Nothing
    }
}

fn matches<'a>(pattern: &str, segments: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut parameters = Vec::new();
    let mut expected = pattern.split('/');
    for segment in segments {
        match expected.next()? {
            "*" if !segment.is_empty() => parameters.push(*segment),
            literal if literal == *segment => {}
            _ => return None,
        }
    }
    expected.next().is_none().then_some(parameters)
}

fn allow(methods: &[(&str, Endpoint)]) -> HeaderValue {
    let mut names: Vec<&str> = methods.iter().map(|(method, _)| *method).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("GET"))
}

type Row = (&'static str, &'static [(&'static str, Endpoint)]);

use Endpoint::{
    AiModels, AiResources, AiStats, Config, CreateKey, DeleteKey, Events, Health, ListKeys,
    Metrics, NotBuilt, Ready, Reload, Repositories, Status, UpdateKey, ValidateAi,
};
use Family::{Ai, Storage};

/// First match wins, so literal segments stand before variable ones.
const ROUTES: &[Row] = &[
    ("healthz", &[("GET", Health)]),
    ("readyz", &[("GET", Ready)]),
    ("metrics", &[("GET", Metrics)]),
    ("-/status", &[("GET", Status)]),
    ("-/reload", &[("POST", Reload)]),
    ("-/config", &[("GET", Config)]),
    ("-/config/check", &[("POST", NotBuilt)]),
    ("-/log-level", &[("POST", NotBuilt)]),
    ("repo", &[("GET", Repositories), ("POST", NotBuilt)]),
    ("repo/validate", &[("POST", NotBuilt)]),
    ("repo/stats", &[("GET", NotBuilt)]),
    ("repo/*", &[("PUT", NotBuilt), ("DELETE", NotBuilt)]),
    ("repo/*/validate", &[("POST", NotBuilt)]),
    (
        "repo/*/apikey",
        &[("GET", ListKeys(Storage)), ("POST", CreateKey(Storage))],
    ),
    (
        "repo/*/apikey/*",
        &[("PUT", UpdateKey(Storage)), ("DELETE", DeleteKey(Storage))],
    ),
    ("repo/*/apikey/*/rotate", &[("POST", NotBuilt)]),
    (
        "repo/*/ai/apikey",
        &[("GET", ListKeys(Ai)), ("POST", CreateKey(Ai))],
    ),
    (
        "repo/*/ai/apikey/*",
        &[("PUT", UpdateKey(Ai)), ("DELETE", DeleteKey(Ai))],
    ),
    ("bucket", &[("GET", NotBuilt), ("POST", NotBuilt)]),
    ("bucket/available", &[("GET", NotBuilt)]),
    ("bucket/stats", &[("GET", NotBuilt)]),
    ("unit/stats", &[("GET", NotBuilt)]),
    ("bucket/*", &[("PUT", NotBuilt), ("DELETE", NotBuilt)]),
    ("bucket/*/validate", &[("POST", NotBuilt)]),
    ("bucket/*/status", &[("GET", NotBuilt)]),
    ("bucket/*/stats", &[("POST", NotBuilt)]),
    ("ai/llm", &[("GET", AiResources), ("POST", NotBuilt)]),
    ("ai/llm/available", &[("GET", AiResources)]),
    ("ai/llm/stats", &[("GET", AiStats)]),
    ("ai/llm/*", &[("PUT", NotBuilt), ("DELETE", NotBuilt)]),
    ("ai/llm/*/validate", &[("POST", ValidateAi)]),
    ("ai/models", &[("POST", AiModels)]),
    ("apikeys", &[("GET", NotBuilt), ("POST", NotBuilt)]),
    ("apikeys/*", &[("PUT", NotBuilt), ("DELETE", NotBuilt)]),
    ("stats/daily", &[("GET", NotBuilt)]),
    ("stats/minute", &[("GET", NotBuilt)]),
    ("stats/nodes/minute", &[("GET", NotBuilt)]),
    ("stats/nodes/daily", &[("GET", NotBuilt)]),
    ("aistats/daily", &[("GET", NotBuilt)]),
    ("aistats/minute", &[("GET", NotBuilt)]),
    ("v2/stats/storage", &[("GET", NotBuilt)]),
    ("v2/stats/storage/breakdown/*", &[("GET", NotBuilt)]),
    ("v2/stats/ai", &[("GET", NotBuilt)]),
    ("v2/stats/ai/breakdown/*", &[("GET", NotBuilt)]),
    ("node", &[("GET", NotBuilt)]),
    ("systemevent", &[("POST", Events)]),
    (
        "systemevent/read",
        &[("POST", NotBuilt), ("DELETE", NotBuilt)],
    ),
    ("workspace", &[("GET", NotBuilt)]),
    ("user/profile", &[("GET", NotBuilt)]),
];

/// Parts of Flashback's API that are about its own service: accounts, billing, policies, chat.
const NOT_OURS: &[&[&str]] = &[
    &["auth"],
    &["user"],
    &["token"],
    &["mfa"],
    &["device"],
    &["devices"],
    &["session"],
    &["sessions"],
    &["subscription"],
    &["subscriptions"],
    &["credit"],
    &["credits"],
    &["link"],
    &["links"],
    &["email"],
    &["organization"],
    &["workspace"],
    &["register"],
    &["unregister"],
    &["settings"],
    &["policy"],
    &["conversation"],
    &["api", "agentengine"],
    &["cloud-apikey"],
    &["cloud"],
    &["providers"],
    &["private-chat"],
    &["v2", "stats", "private-chat"],
    &["v2", "stats", "credits"],
];
