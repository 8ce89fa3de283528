//! The list of models: what resources say they have, merged under the names that clients use.
//!
//! Pure: whoever calls holds the cache of each resource's reply and its age.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ai::plan::{check_model, may_use};
use crate::ai::route::is_model_name;
use crate::error::{Error, Kind, Result};
use crate::keys::{AiType, Key};
use crate::policy::route::{AiEndpoint, Resource};

/// Largest reply to a list of models: stops an upstream from filling memory.
pub const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most models taken from one resource.
const MODELS_MAX: usize = 20_000;

/// A model as its resource lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: Box<str>,
    /// Unix seconds; 0 where the resource does not say.
    pub created: u64,
}

/// A model as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    pub id: Box<str>,
    object: &'static str,
    pub created: u64,
    pub owned_by: Box<str>,
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<ReplyModel>,
}

#[derive(Deserialize)]
struct ReplyModel {
    id: String,
    created: Option<f64>,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: &'a [Model],
}

/// Reads a resource's reply to `GET /models`, in its order and without duplicates.
pub fn parse(reply: &[u8]) -> Result<Vec<Listed>> {
    if reply.len() > REPLY_BYTES_MAX {
        return Err(broken("the list of models is too large"));
    }
    let reply: Reply = serde_json::from_slice(reply).map_err(broken)?;
    let mut seen = HashSet::new();
    Ok(reply
        .data
        .into_iter()
        .filter(|model| is_model_name(&model.id) && seen.insert(model.id.clone()))
        .take(MODELS_MAX)
        .map(|model| Listed {
            id: model.id.into(),
            created: created(model.created),
        })
        .collect())
}

/// Some servers write a float, and one out of range must not lose the list.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a nonsensical time may become any"
)]
fn created(seconds: Option<f64>) -> u64 {
    seconds.unwrap_or_default() as u64
}

/// The models that `key` may use: the configured ones in config order, then what the resources without a list
/// of their own say they have. `listing` gives a resource's last known reply, `None` where there is none: one
/// resource that is down never fails the list.
pub fn merge(
    endpoint: &AiEndpoint,
    key: &Key,
    listing: impl Fn(&Resource) -> Option<Arc<Vec<Listed>>>,
) -> Vec<Model> {
    let mut models = Vec::new();
    let mut seen: HashSet<Box<str>> = HashSet::new();
    for route in &endpoint.models {
        seen.insert(route.name.clone());
        let target = route
            .targets
            .iter()
            .find(|target| may_use(key, &target.resource));
        let Some(target) = target else { continue };
        if check_model(key, &route.name).is_ok() {
            let created = listing(&target.resource)
                .and_then(|listed| {
                    let listed = listed.iter().find(|model| model.id == target.upstream)?;
                    Some(listed.created)
                })
                .unwrap_or_default();
            models.push(model(route.name.clone(), created, &target.resource));
        }
    }
    for resource in &endpoint.open {
        if !may_use(key, resource) {
            continue;
        }
        for listed in listing(resource).iter().flat_map(|listed| listed.iter()) {
            if check_model(key, &listed.id).is_ok() && seen.insert(listed.id.clone()) {
                models.push(model(listed.id.clone(), listed.created, resource));
            }
        }
    }
    models
}

/// The body of `GET /v1/models`.
pub fn encode_list(models: &[Model]) -> Result<Bytes> {
    let list = List {
        object: "list",
        data: models,
    };
    serde_json::to_vec(&list)
        .map(Bytes::from)
        .map_err(Error::internal)
}

/// The body of `GET /v1/models/{id}`.
pub fn encode_one(model: &Model) -> Result<Bytes> {
    serde_json::to_vec(model)
        .map(Bytes::from)
        .map_err(Error::internal)
}

fn model(id: Box<str>, created: u64, resource: &Resource) -> Model {
    Model {
        id,
        object: "model",
        created,
        owned_by: owner(resource).into(),
    }
}

fn owner(resource: &Resource) -> &str {
    match resource.ai().map(|account| account.provider) {
        Some(AiType::OpenAi) => "openai",
        Some(AiType::Google) => "google",
        Some(AiType::Anthropic) => "anthropic",
        Some(AiType::Aws) => "aws",
        Some(AiType::Other) | None => &resource.name,
    }
}

fn broken(detail: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::UpstreamBroken,
        "The model provider sent a list of models that is not valid.",
    )
    .with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::plan::tests::{endpoint, key};

    fn listing(resource: &Resource) -> Option<Arc<Vec<Listed>>> {
        let reply: &[u8] = match &*resource.name {
            "cloud" => br#"{"object":"list","data":[{"id":"gpt","created":17,"owned_by":"system"}]}"#,
            "open" => br#"{"data":[{"id":"a/b","created":1.5},{"id":"gpt"},{"id":"a/b"},{"id":""},{"id":"x\n"},{"id":"c"}],"models":[]}"#,
            _ => return None,
        };
        Some(Arc::new(parse(reply).unwrap()))
    }

    fn ids(key: &Key) -> Vec<Box<str>> {
        merge(&endpoint(), key, listing)
            .into_iter()
            .map(|model| model.id)
            .collect()
    }

    #[test]
    fn configured_models_come_first_and_once() {
        let models = merge(&endpoint(), &key(), listing);
        assert_eq!(
            encode_list(&models).unwrap(),
            concat!(
                r#"{"object":"list","data":["#,
                r#"{"id":"gpt","object":"model","created":17,"owned_by":"openai"},"#,
                r#"{"id":"llama","object":"model","created":0,"owned_by":"gpu"},"#,
                r#"{"id":"fast","object":"model","created":0,"owned_by":"gpu"},"#,
                r#"{"id":"a/b","object":"model","created":1,"owned_by":"open"},"#,
                r#"{"id":"c","object":"model","created":0,"owned_by":"open"}]}"#
            )
        );
        assert_eq!(
            encode_one(&models[0]).unwrap(),
            r#"{"id":"gpt","object":"model","created":17,"owned_by":"openai"}"#
        );
    }

    #[test]
    fn a_key_sees_what_it_may_use() {
        let restricted = Key {
            restrict_to_type: true,
            ..key()
        };
        assert_eq!(ids(&restricted), [Box::<str>::from("gpt"), "fast".into()]);
        let listed = Key {
            models: vec!["c".into(), "fast".into(), "none".into()],
            ..key()
        };
        assert_eq!(ids(&listed), [Box::<str>::from("fast"), "c".into()]);
    }

    #[test]
    fn replies_that_are_no_lists_are_refused() {
        for reply in [
            "",
            "[]",
            "{}",
            r#"{"data":{}}"#,
            r#"{"data":[{}]}"#,
            "<html>",
        ] {
            assert_eq!(
                parse(reply.as_bytes()).unwrap_err().kind(),
                Kind::UpstreamBroken,
                "{reply}"
            );
        }
        assert!(parse(&vec![b' '; REPLY_BYTES_MAX + 1]).is_err());
        assert!(parse(br#"{"data":[]}"#).unwrap().is_empty());
    }
}
