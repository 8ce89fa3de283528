//! Repositories: exposed buckets and models.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::date;
use jiff::tz::TimeZone;

use super::Cx;
use super::resource::for_all_buckets;
use crate::config::check::{Checked, Resource as Written};
use crate::config::model::{self, Model};
use crate::config::words::{Endpoint, Payload, SignatureV2Word, UnsupportedWord};
use crate::policy::limit::{Limiter, Rules, Whose};
use crate::policy::route::{
    AiEndpoint, Bucket, CreatedBuckets, ModelRoute, ModelTarget, Repository, Resource, SignatureV2,
    StorageEndpoint, UnsignedPayload, UnsupportedParams,
};
use crate::protocol::Protocol;

/// What S3 itself takes: 10,000 parts of 5 GiB.
const OBJECT_BYTES_MAX: u64 = 10_000 * (5 << 30);

type Resources = HashMap<Arc<str>, Arc<Resource>>;

impl Cx<'_> {
    /// `None` where a resource of it is missing, which was reported.
    pub(super) fn repository(
        &mut self,
        written: &model::Repository,
        checked: &Checked<'_>,
        resources: &Resources,
        rules: &mut Vec<(Arc<Limiter>, Rules)>,
    ) -> Option<Repository> {
        let id = *written.id.get_ref();
        let name = written.name.get_ref().as_str();
        let storage = match written.endpoint.get_ref() {
            Endpoint::S3 => Some(storage(written, checked, resources)?),
            Endpoint::OpenAi => None,
            Endpoint::Gcs | Endpoint::Blob => return None,
        };
        let ai = match written.ai.as_slice() {
            [] => None,
            [..] => Some(ai(written, checked, resources)?),
        };
        let rule = Rules {
            rps: written.limits.rps.as_ref().map(|rps| *rps.get_ref()),
            concurrent: written.limits.concurrent.as_ref().map(|it| *it.get_ref()),
        };
        let limiter = match self.inputs.memory.limiters.get(&id) {
            Some(limiter) => Arc::clone(limiter),
            None => Arc::new(Limiter::new(Whose::Repository, rule)),
        };
        rules.push((Arc::clone(&limiter), rule));
        Some(Repository {
            id,
            name: name.into(),
            storage,
            ai,
            limiter,
            meters: self.inputs.metrics.repository(name),
        })
    }
}

fn storage(
    written: &model::Repository,
    checked: &Checked<'_>,
    resources: &Resources,
) -> Option<StorageEndpoint> {
    let mut buckets = Vec::with_capacity(written.buckets.len());
    for entry in &written.buckets {
        let name = entry.resource.get_ref().as_str();
        let upstream = checked.resources.get(name)?.bucket()?.get_ref();
        let exposed = entry.expose_as.as_ref().map_or(upstream, |it| it.get_ref());
        let prefix = entry.prefix.as_ref().map_or("", |it| it.get_ref());
        buckets.push(Arc::new(Bucket {
            exposed: exposed.as_str().into(),
            upstream: upstream.as_str().into(),
            prefix: prefix.into(),
            created_at: entry.created_at.map_or_else(default_created_at, |it| it.0),
            resource: Arc::clone(resources.get(name)?),
        }));
    }
    buckets.sort_by(|a, b| a.exposed.cmp(&b.exposed));
    let created_buckets = match (&written.default_resource, &written.bucket_prefix) {
        (Some(name), Some(prefix)) => Some(CreatedBuckets {
            resource: for_all_buckets(resources.get(name.get_ref().as_str())?),
            bucket_prefix: prefix.get_ref().as_str().into(),
        }),
        (_, None) | (None, _) => None,
    };
    Some(StorageEndpoint {
        protocol: Protocol::S3,
        by_name: buckets
            .iter()
            .map(|bucket| (bucket.exposed.clone(), Arc::clone(bucket)))
            .collect(),
        buckets,
        unsigned_payload: match written.unsigned_payload {
            None | Some(Payload::Allow) => UnsignedPayload::Allow,
            Some(Payload::TlsOnly) => UnsignedPayload::TlsOnly,
        },
        signature_v2: match written.signature_v2 {
            None | Some(SignatureV2Word::Refuse) => SignatureV2::Refuse,
            Some(SignatureV2Word::TlsOnly) => SignatureV2::TlsOnly,
            Some(SignatureV2Word::Allow) => SignatureV2::Allow,
        },
        object_bytes_max: written
            .limits
            .max_object
            .as_ref()
            .map_or(OBJECT_BYTES_MAX, |size| size.get_ref().0),
        created_buckets,
    })
}

/// Shown for buckets whose entry gives no date: fixed, so that listings do not change from one reload to the next.
fn default_created_at() -> Timestamp {
    date(2026, 1, 1)
        .to_zoned(TimeZone::UTC)
        .map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
}

fn ai(
    written: &model::Repository,
    checked: &Checked<'_>,
    resources: &Resources,
) -> Option<AiEndpoint> {
    let mut routes: Vec<ModelRoute> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut open = Vec::new();
    let mut all = Vec::with_capacity(written.ai.len());
    for name in &written.ai {
        let name = name.get_ref().as_str();
        let resource = resources.get(name)?;
        all.push(Arc::clone(resource));
        let Written::Ai(ai) = checked.resources.get(name)? else {
            return None;
        };
        let Some(models) = &ai.written.models else {
            open.push(Arc::clone(resource));
            continue;
        };
        for model in models {
            let (name, upstream, is_alias) = match model.get_ref() {
                Model::Name(name) => (name, name, false),
                Model::Alias(alias) => (&alias.alias, &alias.upstream, true),
            };
            let at = *by_name.entry(name.as_str()).or_insert_with(|| {
                routes.push(ModelRoute {
                    name: name.as_str().into(),
                    is_alias: false,
                    targets: Vec::new(),
                });
                routes.len() - 1
            });
            if let Some(route) = routes.get_mut(at) {
                route.is_alias |= is_alias;
                route.targets.push(ModelTarget {
                    resource: Arc::clone(resource),
                    upstream: upstream.as_str().into(),
                });
            }
        }
    }
    let models: Vec<Arc<ModelRoute>> = routes.into_iter().map(Arc::new).collect();
    Some(AiEndpoint {
        by_name: models
            .iter()
            .map(|route| (route.name.clone(), Arc::clone(route)))
            .collect(),
        models,
        open,
        resources: all,
        passthrough: written
            .passthrough
            .iter()
            .map(|path| path.get_ref().as_str().into())
            .collect(),
        unsupported_params: match written.unsupported_params {
            None | Some(UnsupportedWord::Warn) => UnsupportedParams::Warn,
            Some(UnsupportedWord::Strict) => UnsupportedParams::Strict,
        },
    })
}
