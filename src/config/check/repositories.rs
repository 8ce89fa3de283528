//! `[[repository]]`: what it points at, what it shows, and what collides.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::{At, Cx, Resource, Unique, is_bucket_name};
use crate::config::diagnostic::Place;
use crate::config::model::{BucketEntry, Repository};
use crate::config::parse::Document;
use crate::config::words::{Endpoint, Mode};

type Resources<'s> = HashMap<&'s str, Resource<'s>>;

/// Longest key prefix: leaves room for a key of the usual length within S3's 1024 bytes.
const PREFIX_BYTES_MAX: usize = 512;

pub(super) fn check<'s>(
    cx: &mut Cx<'s>,
    resources: &Resources<'s>,
) -> Vec<At<'s, Arc<Repository>>> {
    let all = cx.all(|file| &file.repository);
    let mut names = Unique::new("repository");
    let mut ids = Unique::new("repository id");
    let mut everywhere = Vec::new();
    let mut good = Vec::with_capacity(all.len());
    for repository in all {
        let At { document, written } = repository;
        cx.name(document, &written.name);
        ids.insert(cx, document, *written.id.get_ref(), written.id.span());
        let name = &written.name;
        if names.insert(cx, document, name.get_ref().as_str(), name.span()) {
            good.push(repository);
        }
        kind(cx, repository);
        buckets(cx, repository, resources, &mut everywhere);
        ai(cx, repository, resources);
        rest(cx, document, written);
    }
    across(cx, &everywhere);
    created_buckets(cx, &good, resources, &everywhere);
    good
}

fn kind(cx: &mut Cx<'_>, repository: At<'_, Arc<Repository>>) {
    let At { document, written } = repository;
    match written.endpoint.get_ref() {
        Endpoint::S3 => {}
        endpoint @ (Endpoint::Gcs | Endpoint::Blob) => {
            let message = format!("endpoint {} is not served by this version", endpoint.word());
            cx.error(document, "E030", written.endpoint.span(), message);
        }
        Endpoint::OpenAi => {
            if written.ai.is_empty() {
                let message = "an OPENAI repository needs `ai`";
                cx.error(document, "E031", written.endpoint.span(), message);
            }
            if let Some(bucket) = written.buckets.first() {
                let message = "an OPENAI repository has no buckets";
                cx.error(document, "E031", bucket.resource.span(), message);
            }
        }
    }
    if let Some(mode) = &written.mode
        && *mode.get_ref() == Mode::Mirror
    {
        let message = "mode MIRROR is not served by this version";
        cx.error(document, "E030", mode.span(), message);
    }
}

/// A bucket entry with what it resolves to.
struct Placed<'s> {
    document: &'s Document,
    repository: &'s str,
    entry: &'s BucketEntry,
    resource: Resource<'s>,
    location: String,
    prefix: &'s str,
}

impl Placed<'_> {
    fn span(&self) -> Range<usize> {
        self.entry.resource.span()
    }

    fn place(&self) -> Place {
        self.document.place(self.span())
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.location == other.location
            && (self.prefix.starts_with(other.prefix) || other.prefix.starts_with(self.prefix))
    }
}

fn buckets<'s>(
    cx: &mut Cx<'s>,
    repository: At<'s, Arc<Repository>>,
    resources: &Resources<'s>,
    everywhere: &mut Vec<Placed<'s>>,
) {
    let At { document, written } = repository;
    let mut exposed = Unique::new("bucket");
    let first = everywhere.len();
    for entry in &written.buckets {
        let Some(resource) = storage_resource(cx, document, &entry.resource, resources) else {
            continue;
        };
        let Some(upstream) = resource.bucket() else {
            continue;
        };
        let (name, span) = match &entry.expose_as {
            Some(name) => (name.get_ref(), name.span()),
            None => (upstream.get_ref(), entry.resource.span()),
        };
        if !is_bucket_name(name) {
            let message = format!("`{name}` cannot be a bucket name for S3 clients");
            cx.error(document, "E032", span.clone(), message).hint =
                Some("set `expose_as` to 3 to 63 of a-z, 0-9, - and .".into());
        }
        exposed.insert(cx, document, name.as_str(), span);
        let prefix = entry.prefix.as_ref().map_or("", |prefix| prefix.get_ref());
        if let Some(written) = &entry.prefix {
            check_prefix(cx, document, written);
        }
        let placed = Placed {
            document,
            repository: written.name.get_ref(),
            entry,
            resource,
            location: resource.location(),
            prefix,
        };
        if let Some(other) = everywhere[first..]
            .iter()
            .find(|other| placed.overlaps(other))
        {
            let message = "two entries of this repository reach the same objects";
            let place = other.place();
            let problem = cx.error(document, "E033", placed.span(), message);
            *problem = problem
                .clone()
                .with_hint("give each its own `prefix`, none of which starts with the other")
                .with_related(place, "the other entry");
        }
        everywhere.push(placed);
    }
}

fn check_prefix(cx: &mut Cx<'_>, document: &Document, prefix: &Spanned<String>) {
    let text = prefix.get_ref();
    if text.len() > PREFIX_BYTES_MAX || text.starts_with('/') || text.contains(char::is_control) {
        let message =
            format!("a prefix is at most {PREFIX_BYTES_MAX} bytes and does not start with /");
        cx.error(document, "E013", prefix.span(), message);
    } else if !text.is_empty() && !text.ends_with('/') {
        let message = format!("keys will start with `{text}` and no separator");
        cx.warn(document, "W003", prefix.span(), message).hint =
            Some(format!("did you mean \"{text}/\"?"));
    }
}

/// Looks a storage resource up, and says what is wrong with it.
fn storage_resource<'s>(
    cx: &mut Cx<'_>,
    document: &Document,
    name: &Spanned<String>,
    resources: &Resources<'s>,
) -> Option<Resource<'s>> {
    let resource = resource(cx, document, name, resources)?;
    let what = match resource {
        Resource::S3(_) | Resource::Gcs(_) | Resource::Azure(_) => return Some(resource),
        Resource::Ai(_) => "an AI resource, which holds no buckets",
    };
    let message = format!("`{}` is {what}", name.get_ref());
    cx.error(document, "E030", name.span(), message);
    None
}

fn resource<'s>(
    cx: &mut Cx<'_>,
    document: &Document,
    name: &Spanned<String>,
    resources: &Resources<'s>,
) -> Option<Resource<'s>> {
    let text = name.get_ref().as_str();
    if let Some(resource) = resources.get(text) {
        return Some(*resource);
    }
    if !cx.is_broken(text) {
        let message = format!("there is no resource `{text}`");
        let problem = cx.error(document, "E034", name.span(), message);
        *problem = problem
            .clone()
            .with_suggestion(text, resources.keys().copied());
    }
    None
}

fn ai<'s>(cx: &mut Cx<'s>, repository: At<'s, Arc<Repository>>, resources: &Resources<'s>) {
    let At { document, written } = repository;
    let mut names = Unique::new("AI resource");
    for name in &written.ai {
        names.insert(cx, document, name.get_ref().as_str(), name.span());
        let Some(resource) = resource(cx, document, name, resources) else {
            continue;
        };
        if !matches!(resource, Resource::Ai(_)) {
            let message = format!("`{}` is no AI resource", name.get_ref());
            cx.error(document, "E035", name.span(), message);
        }
    }
}

fn rest(cx: &mut Cx<'_>, document: &Document, written: &Repository) {
    for path in &written.passthrough {
        let text = path.get_ref();
        if !text.starts_with("/v1/") || text.contains(['?', '#', ' ']) {
            let message = format!("`{text}` is no path under /v1/");
            cx.error(document, "E013", path.span(), message);
        }
    }
    for limit in [&written.limits.rps, &written.limits.concurrent] {
        if let Some(limit) = limit
            && *limit.get_ref() == 0
        {
            cx.error(document, "E013", limit.span(), "must be at least 1")
                .hint = Some("leave it out for no limit".into());
        }
    }
    if let Some(size) = &written.limits.max_object
        && size.get_ref().0 == 0
    {
        cx.error(document, "E013", size.span(), "must be at least 1 byte");
    }
}

/// The same objects through two repositories are legal, and seldom meant.
fn across(cx: &mut Cx<'_>, everywhere: &[Placed<'_>]) {
    let mut by_location: HashMap<&str, Vec<&Placed<'_>>> = HashMap::new();
    for placed in everywhere {
        let others = by_location.entry(placed.location.as_str()).or_default();
        let other = others
            .iter()
            .find(|other| other.repository != placed.repository && other.overlaps(placed));
        if let Some(other) = other {
            let message = format!("repository `{}` reaches the same objects", other.repository);
            let place = other.place();
            let problem = cx.warn(placed.document, "W004", placed.span(), message);
            *problem = problem.clone().with_related(place, "there");
        }
        others.push(placed);
    }
}

/// A repository whose clients create buckets, with the name space that it owns.
struct Owner<'s> {
    at: At<'s, Arc<Repository>>,
    prefix: &'s Spanned<String>,
    endpoint: String,
}

fn created_buckets<'s>(
    cx: &mut Cx<'s>,
    repositories: &[At<'s, Arc<Repository>>],
    resources: &Resources<'s>,
    everywhere: &[Placed<'s>],
) {
    let mut owners: Vec<Owner<'s>> = Vec::new();
    for at in repositories {
        let At { document, written } = *at;
        let (default, prefix) = match (&written.default_resource, &written.bucket_prefix) {
            (None, None) => continue,
            (Some(default), Some(prefix)) => (default, prefix),
            (Some(default), None) => {
                let message = "`default_resource` needs a `bucket_prefix`";
                cx.error(document, "E036", default.span(), message);
                continue;
            }
            (None, Some(prefix)) => {
                let message = "`bucket_prefix` needs a `default_resource`";
                cx.error(document, "E036", prefix.span(), message);
                continue;
            }
        };
        let text = prefix.get_ref();
        if text.len() > 40 || !is_bucket_name(&format!("{text}aaa")) {
            let message = format!("`{text}` cannot start a bucket name");
            cx.error(document, "E032", prefix.span(), message);
        }
        let Some(resource) = storage_resource(cx, document, default, resources) else {
            continue;
        };
        lendable(cx, document, default, prefix, resource);
        let owner = Owner {
            at: *at,
            prefix,
            endpoint: endpoint_of(resource),
        };
        for other in &owners {
            shared_prefix(cx, &owner, other);
        }
        for placed in everywhere {
            lent_bucket(cx, &owner, placed);
        }
        owners.push(owner);
    }
}

/// Whether buckets can be made at a resource, under this prefix.
fn lendable(
    cx: &mut Cx<'_>,
    document: &Document,
    default: &Spanned<String>,
    prefix: &Spanned<String>,
    resource: Resource<'_>,
) {
    match resource {
        Resource::S3(_) | Resource::Ai(_) => {}
        Resource::Gcs(at) => {
            let gcs = at.written;
            // The key of a service account names its project, and so may owners of interoperability keys at Google.
            let known = gcs.project.is_some() || gcs.machine_identity.is_none();
            if !known {
                let message = format!(
                    "`{}` does not say in which project buckets are made",
                    default.get_ref()
                );
                cx.error(document, "E036", default.span(), message).hint =
                    Some("set `project` there".into());
            }
        }
        Resource::Azure(_) => {
            let text = prefix.get_ref();
            if text.contains('.') || text.contains("--") {
                let message = format!("`{text}` cannot start the name of a container");
                cx.error(document, "E032", prefix.span(), message).hint =
                    Some("Azure knows a-z, 0-9 and single - alone".into());
            }
        }
    }
}

fn endpoint_of(resource: Resource<'_>) -> String {
    match resource {
        Resource::S3(at) => at
            .written
            .endpoint
            .as_ref()
            .map_or_else(|| "aws".to_owned(), |url| url.get_ref().clone()),
        Resource::Gcs(at) => at
            .written
            .endpoint
            .as_ref()
            .map_or_else(|| "gcs".to_owned(), |url| url.get_ref().clone()),
        Resource::Azure(at) => format!("azure {}", at.written.account.get_ref()),
        Resource::Ai(_) => String::new(),
    }
}

fn shared_prefix(cx: &mut Cx<'_>, owner: &Owner<'_>, other: &Owner<'_>) {
    let (one, two) = (owner.prefix.get_ref(), other.prefix.get_ref());
    if !one.starts_with(two.as_str()) && !two.starts_with(one.as_str()) {
        return;
    }
    let message = format!(
        "repository `{}` has a `bucket_prefix` that shares names with this one",
        other.at.written.name.get_ref()
    );
    let place = other.at.document.place(other.prefix.span());
    let problem = cx.error(owner.at.document, "E037", owner.prefix.span(), message);
    *problem = problem.clone().with_related(place, "the other one");
}

/// A configured bucket that a client could reach by naming it, whatever its entry says of it.
fn lent_bucket(cx: &mut Cx<'_>, owner: &Owner<'_>, placed: &Placed<'_>) {
    let Some(bucket) = placed.resource.bucket() else {
        return;
    };
    if endpoint_of(placed.resource) != owner.endpoint
        || !bucket
            .get_ref()
            .starts_with(owner.prefix.get_ref().as_str())
    {
        return;
    }
    let message = format!(
        "clients could reach bucket `{}` of repository `{}` under this prefix",
        bucket.get_ref(),
        placed.repository
    );
    let place = placed.place();
    let problem = cx.error(owner.at.document, "E037", owner.prefix.span(), message);
    *problem = problem.clone().with_related(place, "that bucket's entry");
}
