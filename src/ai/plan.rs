//! Which resources may serve a model, in order.
//!
//! The key's own list is asked before existence, so that a key learns nothing about models that it may not use.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::ai::route::Inference;
use crate::error::{Error, Kind, Result};
use crate::keys::Key;
use crate::policy::route::{AiEndpoint, Resource};

/// A resource that may serve a request.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub resource: Arc<Resource>,
    /// The model's name there, where it differs from the one that the client wrote.
    pub rename: Option<Box<str>>,
}

/// First choice first; the others are for failover.
pub type Candidates = SmallVec<[Candidate; 2]>;

/// Finds the resources for `model` as a client wrote it; never empty.
pub fn candidates(
    endpoint: &AiEndpoint,
    key: &Key,
    inference: Inference,
    model: &str,
) -> Result<Candidates> {
    check_model(key, model)?;
    let mut found = known(endpoint, model);
    if found.is_empty() {
        return Err(model_not_found(model));
    }
    found.retain(|candidate| may_use(key, &candidate.resource));
    if found.is_empty() {
        return Err(model_not_allowed(model, "restrict_to_type"));
    }
    if inference == Inference::Responses {
        found.retain(|candidate| candidate.resource.ai().is_some_and(|ai| ai.responses));
        if found.is_empty() {
            return Err(Error::unsupported(
                "This model is not served through the Responses API here; use /v1/chat/completions.",
            ));
        }
    }
    Ok(found)
}

/// The resource for a path outside the table: the first that the key may use.
pub fn passthrough(endpoint: &AiEndpoint, key: &Key) -> Result<Arc<Resource>> {
    // The model in such a body is not read, so a key confined to models cannot be held to its list.
    if !key.models.is_empty() {
        return Err(Error::new(
            Kind::AccessDenied,
            "This key is confined to some models and cannot use this path.",
        ));
    }
    endpoint
        .resources
        .iter()
        .find(|resource| may_use(key, resource))
        .map(Arc::clone)
        .ok_or_else(|| Error::new(Kind::AccessDenied, "This key may not use this path."))
}

/// Checks `model`, as a client wrote it, against the key's own list.
pub fn check_model(key: &Key, model: &str) -> Result<()> {
    if key.models.is_empty() || key.models.iter().any(|allowed| **allowed == *model) {
        return Ok(());
    }
    Err(model_not_allowed(model, "the key's models"))
}

/// Whether a key that is held to its type may use a resource.
pub fn may_use(key: &Key, resource: &Resource) -> bool {
    !key.restrict_to_type
        || resource
            .ai()
            .is_some_and(|ai| key.ai_type == Some(ai.provider))
}

pub fn model_not_found(model: &str) -> Error {
    Error::new(
        Kind::ModelNotFound,
        format!("The model '{model}' does not exist or you do not have access to it."),
    )
    .with_param("model")
}

fn known(endpoint: &AiEndpoint, model: &str) -> Candidates {
    let Some(route) = endpoint.by_name.get(model) else {
        return endpoint
            .open
            .iter()
            .map(|resource| Candidate {
                resource: Arc::clone(resource),
                rename: None,
            })
            .collect();
    };
    route
        .targets
        .iter()
        .map(|target| Candidate {
            resource: Arc::clone(&target.resource),
            rename: (*target.upstream != *model).then(|| target.upstream.clone()),
        })
        .collect()
}

fn model_not_allowed(model: &str, why: &'static str) -> Error {
    Error::new(
        Kind::ModelNotAllowed,
        format!("This API key may not use the model '{model}'."),
    )
    .with_param("model")
    .with_detail(why)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use uuid::Uuid;

    use super::*;
    use crate::keys::{AiType, Family, tests_support};
    use crate::policy::health::HealthRules;
    use crate::policy::route::{
        AiAccount, ModelRoute, ModelTarget, Origin, Reach, ResourceKind, Timeouts,
        UnsupportedParams, UsageInjection,
    };
    use crate::protocol::Dialect;
    use crate::secret::Secret;
    use crate::telemetry::metrics::Metrics;

    pub(in crate::ai) fn resource(name: &str, provider: AiType, base_path: &str) -> Arc<Resource> {
        Arc::new(Resource {
            name: name.into(),
            id: Uuid::nil(),
            origin: Origin {
                tls: true,
                host: "ai.example".into(),
                server_name: "ai.example".into(),
                port: 443,
                authority: HeaderValue::from_static("ai.example"),
                base_path: base_path.into(),
                reach: Reach::Public,
                ca_file: None,
            },
            timeouts: Timeouts {
                connect: Duration::from_secs(1),
                tls: Duration::from_secs(1),
                first_byte: Duration::from_secs(1),
                idle: Duration::from_secs(1),
                pool_idle: Duration::from_secs(1),
            },
            health_rules: HealthRules::default(),
            health: Arc::default(),
            kind: ResourceKind::Ai(AiAccount {
                dialect: Dialect::OpenAi,
                provider,
                api_key: (provider == AiType::OpenAi).then(|| Secret::new(*b"sk-upstream")),
                signing: None,
                usage_injection: UsageInjection::Auto,
                responses: provider == AiType::OpenAi,
            }),
            meters: Metrics::new().resource(name),
        })
    }

    pub(in crate::ai) fn key() -> Key {
        Key {
            family: Family::Ai,
            ai_type: Some(AiType::OpenAi),
            ..tests_support::key()
        }
    }

    /// `cloud` (OPENAI) and `gpu` (OTHER) list models, `open` (OTHER) does not. `fast` is an alias of both.
    pub(in crate::ai) fn endpoint() -> AiEndpoint {
        let cloud = resource("cloud", AiType::OpenAi, "/v1");
        let gpu = resource("gpu", AiType::Other, "");
        let open = resource("open", AiType::Other, "/api/v1");
        let route = |name: &str, is_alias, targets: &[(&Arc<Resource>, &str)]| {
            Arc::new(ModelRoute {
                name: name.into(),
                is_alias,
                targets: targets
                    .iter()
                    .map(|(resource, upstream)| ModelTarget {
                        resource: Arc::clone(resource),
                        upstream: (*upstream).into(),
                    })
                    .collect(),
            })
        };
        let models = vec![
            route("gpt", false, &[(&cloud, "gpt")]),
            route("llama", false, &[(&gpu, "llama")]),
            route("fast", true, &[(&gpu, "llama"), (&cloud, "gpt")]),
        ];
        AiEndpoint {
            by_name: models
                .iter()
                .map(|model| (model.name.clone(), Arc::clone(model)))
                .collect(),
            models,
            open: vec![Arc::clone(&open)],
            resources: vec![cloud, gpu, open],
            passthrough: Vec::new(),
            unsupported_params: UnsupportedParams::Warn,
        }
    }

    #[track_caller]
    fn check(
        key: &Key,
        inference: Inference,
        model: &str,
        expected: Result<&[(&str, Option<&str>)], Kind>,
    ) {
        let answer = candidates(&endpoint(), key, inference, model);
        let answer = answer.as_ref().map(|found| {
            found
                .iter()
                .map(|candidate| (&*candidate.resource.name, candidate.rename.as_deref()))
                .collect::<Vec<_>>()
        });
        let answer = answer.as_deref().map_err(|error| error.kind());
        assert_eq!(answer, expected, "{model}");
    }

    #[test]
    fn models_lead_to_their_resources_in_order() {
        let chat = Inference::ChatCompletions;
        let key = key();
        check(&key, chat, "gpt", Ok(&[("cloud", None)]));
        check(
            &key,
            chat,
            "fast",
            Ok(&[("gpu", Some("llama")), ("cloud", Some("gpt"))]),
        );
        check(&key, chat, "unknown", Ok(&[("open", None)]));
        check(
            &key,
            Inference::Responses,
            "fast",
            Ok(&[("cloud", Some("gpt"))]),
        );
        check(&key, Inference::Responses, "llama", Err(Kind::Unsupported));
    }

    #[test]
    fn a_keys_models_are_checked_before_existence() {
        let key = Key {
            models: vec!["fast".into()],
            ..key()
        };
        for model in ["gpt", "unknown", "Fast", "fast "] {
            check(
                &key,
                Inference::Embeddings,
                model,
                Err(Kind::ModelNotAllowed),
            );
        }
        assert!(candidates(&endpoint(), &key, Inference::Embeddings, "fast").is_ok());
        assert!(passthrough(&endpoint(), &key).is_err());
        let mut closed = endpoint();
        closed.open.clear();
        let error = candidates(
            &closed,
            &super::tests::key(),
            Inference::Embeddings,
            "unknown",
        );
        assert_eq!(error.unwrap_err().kind(), Kind::ModelNotFound);
    }

    #[test]
    fn a_restricted_key_uses_its_type_only() {
        let key = Key {
            restrict_to_type: true,
            ..key()
        };
        let chat = Inference::ChatCompletions;
        check(&key, chat, "fast", Ok(&[("cloud", Some("gpt"))]));
        check(&key, chat, "llama", Err(Kind::ModelNotAllowed));
        check(&key, chat, "unknown", Err(Kind::ModelNotAllowed));
        assert_eq!(&*passthrough(&endpoint(), &key).unwrap().name, "cloud");
    }
}
