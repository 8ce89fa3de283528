//! The process itself: health, metrics, status, reload, and the config that runs.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{AdminResponse, Code, Failure};
use super::keys::wire_time;
use super::routes::Endpoint;
use super::{AdminState, Call, repositories};
use crate::config::live::{ReloadOutcome, Trigger};
use crate::config::snapshot::ListenAddress;
use crate::policy::route::ResourceKind;
use crate::telemetry::audit::{Outcome, Record};

/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Endpoints that may be asked without a token.
pub(super) fn answer_public(
    state: &AdminState,
    endpoint: Endpoint,
) -> Result<AdminResponse, Failure> {
    match endpoint {
        Endpoint::Health => Ok(AdminResponse::ok(status_member("alive"))),
        Endpoint::Ready => match (state.callbacks.ready)() {
            Ok(()) => Ok(AdminResponse::ok(status_member("ready"))),
            Err(why) => Err(Failure::new(Code::Degraded, why)),
        },
        Endpoint::Metrics => {
            let text = (state.callbacks.metrics)();
            Ok(AdminResponse::text(StatusCode::OK, METRICS_TYPE, text))
        }
        Endpoint::Status
        | Endpoint::Reload
        | Endpoint::Config
        | Endpoint::Repositories
        | Endpoint::CreateKey(_)
        | Endpoint::ListKeys(_)
        | Endpoint::UpdateKey(_)
        | Endpoint::DeleteKey(_)
        | Endpoint::Events
        | Endpoint::AiResources
        | Endpoint::AiStats
        | Endpoint::ValidateAi
        | Endpoint::AiModels
        | Endpoint::NotBuilt => Err(Failure::new(Code::NotFound, "there is no such path")),
    }
}

fn status_member(status: &str) -> Map<String, Value> {
    Map::from_iter([("status".to_owned(), status.into())])
}

/// `GET /-/status`
pub(super) fn status(call: &Call<'_>) -> AdminResponse {
    let live = &call.state.live;
    let snapshot = live.current();
    // Why what lies on disk is not what runs, where that is so.
    let report = live.last_report();
    let mut members = Map::from_iter([
        ("version".to_owned(), env!("CARGO_PKG_VERSION").into()),
        (
            "config".to_owned(),
            json!({
                "generation": snapshot.generation,
                "hash": &*snapshot.hash,
                "loadedAt": wire_time(snapshot.loaded_at),
                "repositories": snapshot.repositories.len(),
                "resources": snapshot.resources.len(),
                "keys": { "s3": snapshot.s3_keys.len(), "ai": snapshot.ai_keys.len() },
                "applied": !report.blocks(),
                "problems": report.to_json().get("problems"),
                "restartRequired": &*live.restart_required(),
            }),
        ),
        ("token".to_owned(), json!({ "name": &*call.identity.name })),
    ]);
    members.extend((call.state.callbacks.status)());
    AdminResponse::ok(members)
}

/// `POST /-/reload`
pub(super) fn reload(call: &Call<'_>) -> Result<AdminResponse, Failure> {
    let now = call.request.now;
    let outcome = call.state.live.reload(Trigger::Admin);
    let generation = call.state.live.current().generation;
    let record = Record {
        event: "config.reloaded",
        context: "config",
        config_generation: Some(generation),
        ..Record::default()
    };
    let recorded = match &outcome {
        ReloadOutcome::Unchanged | ReloadOutcome::Applied { .. } => Outcome::Ok,
        ReloadOutcome::Failed(_) => Outcome::Failed("VALIDATION_FAILED"),
    };
    let written = call
        .state
        .audit
        .write(now, &call.caller.actor, &record, recorded, None);
    if let Err(error) = written {
        tracing::error!(%error, "cannot write the audit log");
    }
    let word = match outcome {
        ReloadOutcome::Unchanged => "unchanged",
        ReloadOutcome::Applied { .. } => "applied",
        ReloadOutcome::Failed(report) => {
            let message = "the config is not valid; the running one stays";
            return Err(Failure::of_config(Code::ValidationFailed, message, &report));
        }
    };
    Ok(AdminResponse::ok(Map::from_iter([
        ("outcome".to_owned(), word.into()),
        ("generation".to_owned(), generation.into()),
    ])))
}

/// `GET /-/config`: what runs, field by field, so that no secret can come along.
pub(super) fn config(call: &Call<'_>) -> AdminResponse {
    let snapshot = call.state.live.current();
    let listen: Vec<Value> = snapshot
        .listen
        .iter()
        .map(|listen| {
            let address = match &listen.address {
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix(path) => format!("unix:{}", path.display()),
                ListenAddress::Fd(name) => format!("fd:{name}"),
            };
            let fronts: Vec<&str> = listen.fronts.iter().map(|front| front.label()).collect();
            json!({ "address": address, "tls": listen.tls, "fronts": fronts })
        })
        .collect();
    let resources: Vec<Value> = snapshot
        .resources
        .iter()
        .map(|resource| {
            let kind = match &resource.kind {
                ResourceKind::S3(_) => "s3",
                ResourceKind::Gcs(_) => "gcs",
                ResourceKind::Azure(_) => "azure",
                ResourceKind::Tokens => "tokens",
                ResourceKind::Ai(_) => "ai",
            };
            json!({
                "id": resource.id,
                "name": &*resource.name,
                "kind": kind,
                "endpoint": repositories::endpoint(resource),
            })
        })
        .collect();
    let repositories: Vec<Value> = snapshot
        .repositories
        .iter()
        .map(|repository| json!({ "id": repository.id, "name": &*repository.name }))
        .collect();
    let tokens: Vec<&str> = snapshot
        .admin
        .tokens
        .iter()
        .map(|token| &*token.name)
        .collect();
    let etag = format!("\"{}-{}\"", snapshot.generation, snapshot.hash);
    AdminResponse::ok(Map::from_iter([
        ("generation".to_owned(), snapshot.generation.into()),
        ("hash".to_owned(), (*snapshot.hash).into()),
        ("listen".to_owned(), listen.into()),
        ("resources".to_owned(), resources.into()),
        ("repositories".to_owned(), repositories.into()),
        ("adminTokens".to_owned(), tokens.into()),
    ]))
    .with_etag(&etag)
}
