//! The admin API: keys, state and reload, as JSON over a listener of its own.
//!
//! [`handle`] is a plain function from a request to an answer. It knows no server and may block (it writes files
//! and syncs them), so whoever listens calls it where blocking is allowed. The [`gate`] stands before the
//! routes: nothing is looked at before the host, the origin and the token were, but for the two health checks.
//! Every answer is JSON, errors included, because the clients of this API read nothing else.

mod answer;
mod events;
mod gate;
mod keys;
mod models;
mod process;
mod query;
mod repositories;
mod routes;
mod spending;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::config::live::Live;
use crate::config::store::{Caller, KeyStore};
use crate::policy::route::{Repository, Resource};
use crate::sabotage::{self, Point};
use crate::telemetry::audit::{Actor, Audit, Outcome, Record};
use crate::telemetry::labels::AdminRoute;
use crate::telemetry::ledger::Ledger;
use answer::Failure;
pub use answer::{AdminResponse, Code};
use gate::{Identity, Throttle};
pub use models::{Served, Trial};
use routes::{Endpoint, Found};

/// Bytes of a request body. Stops a client with a token from filling memory; the listener should stop reading
/// there too.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// One request, read whole.
#[derive(Clone, Debug)]
pub struct AdminRequest {
    pub method: Method,
    /// Path and query as received.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// `None` for a unix socket.
    pub peer: Option<IpAddr>,
    pub request_id: String,
    pub now: Timestamp,
}

/// What the rest of the process tells the admin API.
pub struct Callbacks {
    /// The metrics in the Prometheus text format.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether requests can be served, or why not.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Members to add to `/-/status`.
    pub status: Box<dyn Fn() -> serde_json::Map<String, serde_json::Value> + Send + Sync>,
    /// Tries an AI resource by asking it.
    pub try_resource: TryResource,
    /// The models that a repository serves, those included that only its resources know.
    pub models: Models,
}

type TryResource = Box<dyn Fn(&Arc<Resource>) -> Trial + Send + Sync>;
type Models = Box<dyn Fn(&Repository) -> Vec<Served> + Send + Sync>;

/// What the admin API works on, for the life of the process.
pub struct AdminState {
    live: Arc<Live>,
    store: Arc<KeyStore>,
    audit: Audit,
    ledger: Arc<Ledger>,
    callbacks: Callbacks,
    throttle: Throttle,
    /// Held while a resource is tried.
    trying: Mutex<()>,
}

impl AdminState {
    pub fn new(
        live: Arc<Live>,
        store: Arc<KeyStore>,
        audit: Audit,
        ledger: Arc<Ledger>,
        callbacks: Callbacks,
    ) -> Self {
        Self {
            live,
            store,
            audit,
            ledger,
            callbacks,
            throttle: Throttle::default(),
            trying: Mutex::new(()),
        }
    }
}

/// Answers one request. Blocks: call it off the threads that serve requests.
pub fn handle(state: &AdminState, request: &AdminRequest) -> AdminResponse {
    let answered = answer_to(state, request).unwrap_or_else(Failure::into_response);
    answered.finish(request)
}

/// What a request is counted as, by its path and query.
pub fn route(target: &str) -> AdminRoute {
    routes::label(target.split('?').next().unwrap_or_default())
}

/// The answer for a request that the listener could not read: too large, malformed, too slow.
pub fn refuse(status: StatusCode, message: &str, request_id: &str) -> AdminResponse {
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::SERVICE_UNAVAILABLE => Code::Degraded,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::InvalidRequest,
    };
    let mut response = Failure::new(code, message.to_owned()).into_response();
    response.status = status;
    response.with_request_id(request_id)
}

fn answer_to(state: &AdminState, request: &AdminRequest) -> Result<AdminResponse, Failure> {
    sabotage::pass(Point::Admin, || request.target.clone());
    let snapshot = state.live.current();
    gate::check_host(&snapshot.admin, request)?;
    gate::check_origin(request)?;
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((request.target.as_str(), ""));
    let found = routes::find(&request.method, path);
    if let Some(public) = public_endpoint(&found, snapshot.admin.metrics_public) {
        return process::answer_public(state, public);
    }
    let identity = gate::authenticate(&snapshot.admin, request)
        .map_err(|failure| deny(state, request, failure))?;
    let matched = match found {
        Found::Endpoint(matched) => matched,
        Found::WrongMethod { allow } => return Err(Failure::method_not_allowed(allow)),
        Found::NotOurs => {
            let what = "this part of the API is not provided by Aqueduct";
            return Err(Failure::new(Code::NotOurs, what));
        }
        Found::Nothing => return Err(Failure::new(Code::NotFound, "there is no such path")),
    };
    if !gate::may(identity.role, matched.endpoint.needs()) {
        let failure = Failure::new(Code::Forbidden, "the token's role does not allow this");
        record_denial(state, request, &identity.name, "FORBIDDEN");
        return Err(failure);
    }
    if request.body.len() > BODY_BYTES_MAX {
        return Err(Failure::new(Code::BodyTooLarge, "the body is too large"));
    }
    gate::check_content_type(request)?;
    let call = Call {
        state,
        request,
        query,
        caller: caller(request, &identity),
        identity,
        parameters: matched.parameters,
    };
    dispatch(matched.endpoint, &call)
}

/// One request that passed the gate.
struct Call<'a> {
    state: &'a AdminState,
    request: &'a AdminRequest,
    query: &'a str,
    caller: Caller,
    identity: Identity,
    /// The variable segments of the path.
    parameters: Vec<&'a str>,
}

fn dispatch(endpoint: Endpoint, call: &Call<'_>) -> Result<AdminResponse, Failure> {
    match endpoint {
        Endpoint::Health | Endpoint::Ready | Endpoint::Metrics => {
            process::answer_public(call.state, endpoint)
        }
        Endpoint::Status => Ok(process::status(call)),
        Endpoint::Reload => process::reload(call),
        Endpoint::Config => Ok(process::config(call)),
        Endpoint::Repositories => Ok(repositories::list(call)),
        Endpoint::CreateKey(family) => keys::create(call, family),
        Endpoint::ListKeys(family) => keys::list(call, family),
        Endpoint::UpdateKey(family) => keys::update(call, family),
        Endpoint::DeleteKey(family) => keys::delete(call, family),
        Endpoint::Events => events::list(call),
        Endpoint::AiResources => Ok(models::list(call)),
        Endpoint::AiStats => Ok(spending::stats(call)),
        Endpoint::ValidateAi => models::validate(call),
        Endpoint::AiModels => models::models(call),
        Endpoint::NotBuilt => Err(Failure::new(
            Code::NotImplemented,
            "this endpoint is not part of this version",
        )),
    }
}

/// The endpoint, if it needs no token.
fn public_endpoint(found: &Found<'_>, metrics_public: bool) -> Option<Endpoint> {
    let Found::Endpoint(matched) = found else {
        return None;
    };
    match matched.endpoint {
        Endpoint::Health | Endpoint::Ready => Some(matched.endpoint),
        Endpoint::Metrics => metrics_public.then_some(matched.endpoint),
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
        | Endpoint::NotBuilt => None,
    }
}

/// Counts a failed authentication and puts it on record, while there are not too many of them.
fn deny(state: &AdminState, request: &AdminRequest, failure: Failure) -> Failure {
    if let Err(throttled) = state.throttle.count(request.peer, request.now) {
        return throttled;
    }
    record_denial(state, request, "unknown", "UNAUTHORIZED");
    failure
}

fn record_denial(state: &AdminState, request: &AdminRequest, name: &str, reason: &str) {
    let record = Record {
        event: "admin.denied",
        context: "admin",
        ..Record::default()
    };
    let written = state.audit.write(
        request.now,
        &actor(request, name),
        &record,
        Outcome::Denied(reason),
        None,
    );
    if let Err(error) = written {
        tracing::error!(%error, "cannot write the audit log");
    }
}

fn caller(request: &AdminRequest, identity: &Identity) -> Caller {
    Caller {
        actor: actor(request, &identity.name),
        now: request.now,
    }
}

fn actor(request: &AdminRequest, name: &str) -> Actor {
    let user_agent = request.headers.get(http::header::USER_AGENT);
    Actor {
        name: format!("token:{name}"),
        ip: request.peer.map(|peer| peer.to_canonical().to_string()),
        user_agent: user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        request_id: Some(request.request_id.clone()),
    }
}

#[cfg(test)]
mod tests;
