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
