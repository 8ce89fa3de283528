//! `GET /repo`: the repositories with what is attached to them, without any credential.

use serde_json::{Map, Value, json};

use super::answer::AdminResponse;
use super::{Call, keys, query};
use crate::config::snapshot::KeyEntry;
use crate::config::store::ai_type_word;
use crate::keys::Family;
use crate::policy::route::{Bucket, Repository, Resource, ResourceKind};
use crate::protocol::Protocol;

/// There is one workspace; clients that ask for it get this.
pub(super) const WORKSPACE: &str = "00000000-0000-0000-0000-000000000001";

/// Repositories have no creation date of their own; clients expect one.
pub(super) const CREATED_AT: &str = "2026-01-01T00:00:00.000Z";

pub(super) fn list(call: &Call<'_>) -> AdminResponse {
    let wanted = query::ids(call.query, "repoId");
    let snapshot = call.state.live.current();
    let keys = call.state.store.by_repository();
    let repositories: Vec<Value> = snapshot
        .repositories
        .iter()
        .filter(|repository| wanted.is_empty() || wanted.contains(&repository.id.to_string()))
        .map(|repository| {
            view(
                repository,
                keys.get(&repository.id).map_or(&[], Vec::as_slice),
            )
        })
        .collect();
    AdminResponse::ok(Map::from_iter([("repos".to_owned(), repositories.into())]))
}

fn view(repository: &Repository, keys: &[KeyEntry]) -> Value {
    let of = |family: Family, show: fn(&KeyEntry) -> Value| -> Vec<Value> {
        keys.iter()
            .filter(|entry| entry.key.family == family)
            .map(show)
            .collect()
    };
    let buckets = repository
        .storage
        .as_ref()
        .map_or(&[][..], |storage| &storage.buckets);
    let models = repository.ai.as_ref().map_or(&[][..], |ai| &ai.resources);
    json!({
        "id": repository.id,
        "name": &*repository.name,
        "storageType": storage_type(repository),
        "mode": "NORMAL",
        "workspaceId": WORKSPACE,
        "buckets": buckets.iter().map(|bucket| bucket_view(bucket)).collect::<Vec<_>>(),
        "aiLlms": models.iter().map(|resource| ai_view(resource)).collect::<Vec<_>>(),
        "apiKeys": of(Family::Storage, keys::storage_view),
        "aiApiKeys": of(Family::Ai, keys::ai_view),
        "createdAt": CREATED_AT,
        "disabled": false,
    })
}

fn storage_type(repository: &Repository) -> &'static str {
    match repository.storage.as_ref().map(|storage| storage.protocol) {
        Some(Protocol::S3) => "S3",
        Some(Protocol::Gcs) => "GCS",
        Some(Protocol::Azure) => "BLOB",
        None => "OPENAI",
    }
}

fn bucket_view(bucket: &Bucket) -> Value {
    let resource = &bucket.resource;
    let region = resource.s3().map(|account| &*account.region);
    json!({
        "folder": &*bucket.prefix,
        "master": true,
        "bucketId": resource.id,
        "exposedName": &*bucket.exposed,
        "bucket": {
            "id": resource.id,
            "name": &*resource.name,
            "bucket": &*bucket.upstream,
            "storageType": match &resource.kind {
                ResourceKind::S3(_) | ResourceKind::Ai(_) | ResourceKind::Tokens => "S3",
                ResourceKind::Gcs(_) => "GCS",
                ResourceKind::Azure(_) => "BLOB",
            },
            "endpoint": endpoint(resource),
            "region": region,
            "workspaceId": WORKSPACE,
            "createdAt": keys::wire_time(bucket.created_at),
        },
    })
}

fn ai_view(resource: &Resource) -> Value {
    let ai_type = match &resource.kind {
        ResourceKind::Ai(account) => ai_type_word(account.provider).to_ascii_uppercase(),
        ResourceKind::S3(_)
        | ResourceKind::Gcs(_)
        | ResourceKind::Azure(_)
        | ResourceKind::Tokens => "OTHER".to_owned(),
    };
    json!({
        "id": resource.id,
        "aiLlmId": resource.id,
        "name": &*resource.name,
        "aiType": ai_type,
        "endpoint": endpoint(resource),
        "key": null,
        "workspaceId": WORKSPACE,
        "createdAt": CREATED_AT,
    })
}

pub(super) fn endpoint(resource: &Resource) -> String {
    let origin = &resource.origin;
    let scheme = if origin.tls { "https" } else { "http" };
    let authority = String::from_utf8_lossy(origin.authority.as_bytes());
    format!("{scheme}://{authority}{}", origin.base_path)
}
