//! AI resources and the models they serve: `/ai/llm` and `/ai/models`. Config makes them, so they are only shown and
//! tried here; what was spent at them is told by [`super::spending`].

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::{AdminResponse, Code, Failure};
use super::repositories::{CREATED_AT, WORKSPACE, endpoint};
use super::{Call, keys, query};
use crate::config::snapshot::Snapshot;
use crate::config::store::{StoreError, ai_type_word};
use crate::keys::AiType;
use crate::policy::route::{Repository, Resource};

/// What came of trying a resource.
#[derive(Debug, PartialEq, Eq)]
pub enum Trial {
    Good,
    /// What is wrong, in words that tell nothing of where it was asked.
    Bad(String),
    /// It cannot be tried without spending something.
    NotTried,
}

/// A model that a repository serves.
#[derive(Clone, Debug)]
pub struct Served {
    /// The name that clients use.
    pub name: Box<str>,
    /// Unix seconds; 0 where nobody says.
    pub created: u64,
    /// The resource that is asked first.
    pub resource: Arc<Resource>,
}

/// `GET /ai/llm`, and `GET /ai/llm/available`: there is one workspace, to which all of them are open.
pub(super) fn list(call: &Call<'_>) -> AdminResponse {
    let snapshot = call.state.live.current();
    let mut repositories: HashMap<Uuid, Vec<&Repository>> = HashMap::new();
    for repository in &snapshot.repositories {
        for resource in repository.ai.iter().flat_map(|ai| &ai.resources) {
            let of = repositories.entry(resource.id).or_default();
            of.push(repository);
        }
    }
    let shown: Vec<Value> = ai_resources(&snapshot)
        .map(|resource| {
            let attached = repositories.get(&resource.id).into_iter().flatten();
            let attached: Vec<Value> = attached
                .map(|one| json!({ "id": one.id, "name": &*one.name, "createdAt": CREATED_AT }))
                .collect();
            json!({
                "id": resource.id,
                "orgId": WORKSPACE,
                "workspaceId": WORKSPACE,
                "userId": WORKSPACE,
                "name": &*resource.name,
                "aiType": type_of(resource),
                "endpoint": endpoint(resource),
                "key": null,
                "createdAt": CREATED_AT,
                "repos": attached,
            })
        })
        .collect();
    AdminResponse::ok(Map::from_iter([("aiLlms".to_owned(), shown.into())]))
}

/// `POST /ai/llm/{id}/validate`: asks the resource for its list of models. One at a time: it makes a real call.
pub(super) fn validate(call: &Call<'_>) -> Result<AdminResponse, Failure> {
    let wanted = call.parameters.first().copied().unwrap_or_default();
    let wanted = Uuid::try_parse(wanted).ok();
    let snapshot = call.state.live.current();
    let resource = ai_resources(&snapshot).find(|resource| Some(resource.id) == wanted);
    let Some(resource) = resource else {
        let message = "there is no such AI resource";
        return Err(Failure::new(Code::NotFound, message));
    };
    let Some(_alone) = call.state.trying.try_lock() else {
        let message = "another resource is being tried; try again";
        return Err(Failure::new(Code::RateLimited, message));
    };
    match (call.state.callbacks.try_resource)(resource) {
        Trial::Good => Ok(AdminResponse::ok(Map::from_iter([(
            "message".to_owned(),
            "The resource takes its credential and lists its models.".into(),
        )]))),
        Trial::Bad(why) => Err(Failure::new(Code::ValidationFailed, why)),
        Trial::NotTried => Err(Failure::new(
            Code::NotImplemented,
            "this provider can be tried only by a call that costs something",
        )),
    }
}

/// `POST /ai/models`: the models of a repository, by the names that its clients use.
pub(super) fn models(call: &Call<'_>) -> Result<AdminResponse, Failure> {
    let body = keys::members(&call.request.body)?;
    let id =
        keys::string(&body, "repoId")?.ok_or_else(|| Failure::invalid("`repoId` is required"))?;
    let ai_type = keys::ai_type(&body)?.map(wire_type);
    let llm_type = keys::string(&body, "llmType")?;
    let id = Uuid::try_parse(id).ok();
    let snapshot = call.state.live.current();
    let repository = snapshot.repositories.iter().find(|one| Some(one.id) == id);
    let repository = repository.ok_or(StoreError::RepositoryNotFound)?;
    let served = (call.state.callbacks.models)(repository);
    let shown: Vec<Value> = served
        .iter()
        .filter(|model| {
            let own = type_of(&model.resource);
            ai_type.as_ref().is_none_or(|wanted| own == *wanted)
                && llm_type.is_none_or(|wanted| own.eq_ignore_ascii_case(wanted))
        })
        .map(|model| {
            let own = type_of(&model.resource);
            json!({
                "id": &*model.name,
                "name": &*model.name,
                "created": model.created,
                "aiType": own,
                "llmType": own,
                "llmProvider": &*model.resource.name,
            })
        })
        .collect();
    Ok(AdminResponse::ok(Map::from_iter([(
        "models".to_owned(),
        shown.into(),
    )])))
}

pub(super) fn ai_resources(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Resource>> {
    let resources = snapshot.resources.iter();
    resources.filter(|resource| resource.ai().is_some())
}

/// The provider of an AI resource, as clients of this API write it.
pub(super) fn type_of(resource: &Resource) -> String {
    wire_type(resource.ai().map_or(AiType::Other, |ai| ai.provider))
}

fn wire_type(ai_type: AiType) -> String {
    ai_type_word(ai_type).to_ascii_uppercase()
}

/// Whether a query names nothing, or this among others.
pub(super) fn wants(call: &Call<'_>, name: &str) -> impl Fn(&str) -> bool + use<> {
    let wanted = query::ids(call.query, name);
    move |id| wanted.is_empty() || wanted.iter().any(|one| one.eq_ignore_ascii_case(id))
}
