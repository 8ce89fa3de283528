//! `[[s3]]`, `[[gcs]]`, `[[azure]]` and `[[ai]]`.

use std::collections::HashMap;
use std::time::Duration;

use toml::Spanned;
use uuid::Uuid;

use super::{At, Cx, Resource, Unique, credentials, is_slug};
use crate::config::address::Url;
use crate::config::model::{Ai, Breaker, Model, Retries};
use crate::config::parse::Document;
use crate::config::words::{AiTypeWord, Wire};
use crate::policy::route::is_metadata;

/// Counts of a breaker or a retry budget: more would be no limit.
const COUNT_MAX: u32 = 1_000_000;
/// Attempts of one request after the first. Stops a request from being held for minutes.
const ATTEMPTS_MAX: u32 = 10;
/// A breaker's times.
const SPAN_MIN: Duration = Duration::from_secs(1);
const SPAN_MAX: Duration = Duration::from_hours(1);

pub(super) fn check<'s>(cx: &mut Cx<'s>) -> HashMap<&'s str, Resource<'s>> {
    let all: Vec<Resource<'s>> = cx
        .all(|file| &file.s3)
        .into_iter()
        .map(Resource::S3)
        .chain(cx.all(|file| &file.gcs).into_iter().map(Resource::Gcs))
        .chain(cx.all(|file| &file.azure).into_iter().map(Resource::Azure))
        .chain(cx.all(|file| &file.ai).into_iter().map(Resource::Ai))
        .collect();
    let mut names = Unique::new("resource");
    let mut ids = Unique::new("resource id");
    let mut by_name = HashMap::with_capacity(all.len());
    for resource in all {
        let (document, name) = (resource.document(), resource.name());
        cx.name(document, name);
        if let Some(id) = id(resource) {
            ids.insert(cx, document, *id.get_ref(), id.span());
        }
        one(cx, resource);
        if names.insert(cx, document, name.get_ref().as_str(), name.span()) {
            by_name.insert(name.get_ref().as_str(), resource);
        }
    }
    by_name
}

fn id(resource: Resource<'_>) -> Option<&Spanned<Uuid>> {
    match resource {
        Resource::S3(at) => at.written.id.as_ref(),
        Resource::Gcs(at) => at.written.id.as_ref(),
        Resource::Azure(at) => at.written.id.as_ref(),
        Resource::Ai(at) => at.written.id.as_ref(),
    }
}

fn one(cx: &mut Cx<'_>, resource: Resource<'_>) {
    match resource {
        Resource::S3(At { document, written }) => {
            text(cx, document, "bucket", &written.bucket);
            text(cx, document, "region", &written.region);
            let allowed = Allowed::of(written.allow_private, written.allow_http);
            endpoint(cx, document, written.endpoint.as_ref(), allowed);
            endpoint(cx, document, written.sts_endpoint.as_ref(), allowed);
            credentials::s3(cx, document, written);
            health(cx, document, &written.breaker, &written.retries);
        }
        Resource::Gcs(At { document, written }) => {
            text(cx, document, "bucket", &written.bucket);
            let allowed = Allowed::of(written.allow_private, written.allow_http);
            endpoint(cx, document, written.endpoint.as_ref(), allowed);
            credentials::gcs(cx, document, written);
            health(cx, document, &written.breaker, &written.retries);
        }
        Resource::Azure(At { document, written }) => {
            account(cx, document, &written.account);
            text(cx, document, "container", &written.container);
            let allowed = Allowed::of(written.allow_private, written.allow_http);
            endpoint(cx, document, written.endpoint.as_ref(), allowed);
            endpoint(cx, document, written.authority.as_ref(), allowed);
            credentials::azure(cx, document, written);
            health(cx, document, &written.breaker, &written.retries);
        }
        Resource::Ai(At { document, written }) => ai(cx, document, written),
    }
}

/// An Azure account is a label of its host's name.
fn account(cx: &mut Cx<'_>, document: &Document, account: &Spanned<String>) {
    if !is_slug(account.get_ref()) {
        let message = "`account` must be 1 to 63 of a-z, 0-9 and -";
        cx.error(document, "E013", account.span(), message);
    }
}

fn ai(cx: &mut Cx<'_>, document: &Document, written: &Ai) {
    let allowed = Allowed::of(written.allow_private, written.allow_http);
    endpoint(cx, document, written.base_url.as_ref(), allowed);
    health(cx, document, &written.breaker, &written.retries);
    match written.r#type.get_ref() {
        AiTypeWord::OpenAi => {}
        AiTypeWord::Other => {
            if written.base_url.is_none() {
                let message = "`type = \"other\"` needs a `base_url`";
                cx.error(document, "E004", written.r#type.span(), message);
            }
        }
        AiTypeWord::Anthropic | AiTypeWord::Google => {}
        AiTypeWord::Aws => {
            let is_compatible = written.wire == Some(Wire::OpenAi);
            if written.region.is_none() && !(is_compatible && written.base_url.is_some()) {
                let message = "`type = \"aws\"` needs a `region`";
                cx.error(document, "E004", written.r#type.span(), message);
            }
        }
    }
    credentials::ai(cx, document, written);
    let mut names = Unique::new("model");
    for model in written.models.iter().flatten() {
        let name = match model.get_ref() {
            Model::Name(name) => name,
            Model::Alias(alias) => &alias.alias,
        };
        let name = name.as_str();
        if name.is_empty() || name.contains(char::is_control) {
            cx.error(document, "E013", model.span(), "a model needs a name");
        }
        names.insert(cx, document, name, model.span());
    }
}

/// Stops rules by which a resource would never be asked, or without end.
fn health(cx: &mut Cx<'_>, document: &Document, breaker: &Breaker, retries: &Retries) {
    let counts = [
        (&breaker.failures, 1..=COUNT_MAX),
        (&breaker.failures_percent, 1..=100),
        (&breaker.requests_min, 1..=COUNT_MAX),
        (&retries.attempts, 0..=ATTEMPTS_MAX),
        (&retries.budget_percent, 0..=100),
        (&retries.per_second_min, 0..=COUNT_MAX),
    ];
    for (written, allowed) in counts {
        if let Some(count) = written
            && !allowed.contains(count.get_ref())
        {
            let message = format!("must be {} to {}", allowed.start(), allowed.end());
            cx.error(document, "E013", count.span(), message);
        }
    }
    for written in [&breaker.window, &breaker.open, &breaker.open_max] {
        if let Some(span) = written
            && !(SPAN_MIN..=SPAN_MAX).contains(&span.get_ref().0)
        {
            let message = "must be a second to an hour";
            cx.error(document, "E013", span.span(), message);
        }
    }
}

pub(super) fn text(cx: &mut Cx<'_>, document: &Document, field: &str, value: &Spanned<String>) {
    let text = value.get_ref();
    let good = !text.is_empty()
        && text
            .chars()
            .all(|c| !c.is_control() && !c.is_whitespace() && c != '/');
    if !good {
        let message = format!("`{field}` must not be empty nor hold spaces or slashes");
        cx.error(document, "E013", value.span(), message);
    }
}

#[derive(Clone, Copy)]
struct Allowed {
    private: bool,
    http: bool,
}

impl Allowed {
    fn of(private: Option<bool>, http: Option<bool>) -> Self {
        Self {
            private: private == Some(true),
            http: http == Some(true),
        }
    }
}

fn endpoint(
    cx: &mut Cx<'_>,
    document: &Document,
    endpoint: Option<&Spanned<String>>,
    allowed: Allowed,
) {
    let Some(endpoint) = endpoint else { return };
    let url = match Url::parse(endpoint.get_ref()) {
        Ok(url) => url,
        Err(message) => {
            let message = format!("the URL {message}");
            cx.error(document, "E023", endpoint.span(), message);
            return;
        }
    };
    if !url.tls && !allowed.http {
        cx.error(
            document,
            "E024",
            endpoint.span(),
            "an http: endpoint sends everything readable",
        )
        .hint = Some("use https:, or set allow_http = true for this resource".into());
    }
    if url.host.parse().is_ok_and(is_metadata) {
        let message = format!(
            "`{}` is where machines are told their own credentials",
            url.host
        );
        cx.error(document, "E025", endpoint.span(), message).hint =
            Some("for those, set machine_identity = true".into());
    } else if url.is_private() && !allowed.private {
        let message = format!("`{}` is not a public address", url.host);
        cx.error(document, "E025", endpoint.span(), message).hint =
            Some("set allow_private = true for this resource if that is meant".into());
    }
}
