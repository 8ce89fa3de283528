//! `[[s3]]`, `[[gcs]]`, `[[azure]]` and `[[ai]]`.

use std::collections::HashMap;

use toml::Spanned;
use uuid::Uuid;

use super::{At, Cx, Resource, Unique};
use crate::config::address::Url;
use crate::config::model::{Ai, Model};
use crate::config::parse::Document;
use crate::config::words::AiTypeWord;

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
            text(cx, document, "access_key_id", &written.access_key_id);
            cx.secret(document, "secret_access_key", &written.secret_access_key);
            if let Some(token) = &written.session_token {
                cx.secret(document, "session_token", token);
            }
            let allowed = Allowed::of(written.allow_private, written.allow_http);
            endpoint(cx, document, written.endpoint.as_ref(), allowed);
        }
        Resource::Gcs(At { document, written }) => {
            text(cx, document, "bucket", &written.bucket);
            cx.secret(document, "credentials", &written.credentials);
            let allowed = Allowed::of(written.allow_private, written.allow_http);
            endpoint(cx, document, written.endpoint.as_ref(), allowed);
            unserved(cx, document, &written.name, "GCS resources are");
        }
        Resource::Azure(At { document, written }) => {
            text(cx, document, "account", &written.account);
            text(cx, document, "container", &written.container);
            cx.secret(document, "account_key", &written.account_key);
            let allowed = Allowed::of(written.allow_private, written.allow_http);
            endpoint(cx, document, written.endpoint.as_ref(), allowed);
            unserved(cx, document, &written.name, "Azure resources are");
        }
        Resource::Ai(At { document, written }) => ai(cx, document, written),
    }
}

fn ai(cx: &mut Cx<'_>, document: &Document, written: &Ai) {
    if let Some(key) = &written.api_key {
        cx.secret(document, "api_key", key);
    }
    let allowed = Allowed::of(written.allow_private, written.allow_http);
    endpoint(cx, document, written.base_url.as_ref(), allowed);
    match written.r#type.get_ref() {
        AiTypeWord::OpenAi => {}
        AiTypeWord::Other => {
            if written.base_url.is_none() {
                let message = "`type = \"other\"` needs a `base_url`";
                cx.error(document, "E004", written.r#type.span(), message);
            }
        }
        kind @ (AiTypeWord::Anthropic | AiTypeWord::Google | AiTypeWord::Aws) => {
            let what = format!("AI resources of type `{}` are", kind.word());
            unserved(cx, document, &written.name, &what);
        }
    }
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

fn unserved(cx: &mut Cx<'_>, document: &Document, name: &Spanned<String>, what: &str) {
    let message = format!("{what} not served by this version");
    cx.warn(document, "W010", name.span(), message);
}

fn text(cx: &mut Cx<'_>, document: &Document, field: &str, value: &Spanned<String>) {
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
    if url.is_private() && !allowed.private {
        let message = format!("`{}` is not a public address", url.host);
        cx.error(document, "E025", endpoint.span(), message).hint =
            Some("set allow_private = true for this resource if that is meant".into());
    }
}
