//! All models of a repository, for those who run it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::admin::Served;
use crate::policy::route::Repository;
use crate::proxy::engine::Engine;

/// The models under the names that clients use: the configured ones, then what resources without a list say they have.
pub async fn catalog(engine: &Engine, repository: &Repository) -> Vec<Served> {
    let Some(endpoint) = &repository.ai else {
        return Vec::new();
    };
    let mut seen: HashSet<Box<str>> = HashSet::new();
    let mut models = Vec::new();
    for route in &endpoint.models {
        let Some(target) = route.targets.first() else {
            continue;
        };
        if seen.insert(route.name.clone()) {
            models.push(Served {
                name: route.name.clone(),
                created: 0,
                resource: Arc::clone(&target.resource),
            });
        }
    }
    for (resource, listed) in engine.ai.models.of_open(engine, endpoint).await {
        for model in listed.iter() {
            if seen.insert(model.id.clone()) {
                models.push(Served {
                    name: model.id.clone(),
                    created: model.created,
                    resource: Arc::clone(&resource),
                });
            }
        }
    }
    models
}
