//! What resources say they serve, kept for a while: one that is down keeps its last answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use futures_util::future::join_all;
use http::{HeaderMap, Method};
use uuid::Uuid;

use crate::ai::lane::Lane;
use crate::ai::lane::head::{self as lane_head, Content};
use crate::ai::models::{self, Listed, Model};
use crate::ai::openai::upstream;
use crate::ai::plan::Candidate;
use crate::ai::route::is_model_name;
use crate::error::{Error, Kind, Result};
use crate::keys::Key;
use crate::policy::route::{AiEndpoint, Resource};
use crate::proxy::engine::Engine;
use crate::proxy::exchange::{Body, Outgoing, exchange};
use crate::proxy::{head, record, relay};

/// How long an answer is used.
const FRESH: Duration = Duration::from_mins(1);
/// Longest wait for one resource's list: the others' models are shown without it.
const WAIT: Duration = Duration::from_secs(5);
/// Most pages of one list.
const PAGES_MAX: usize = 20;
/// Largest page of a list, in bytes.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct ModelCache(DashMap<Uuid, Known>);

#[derive(Debug, Clone)]
struct Known {
    resource: Arc<Resource>,
    /// When it was asked last, whatever it answered.
    asked_at: Instant,
    listed: Option<Arc<Vec<Listed>>>,
}

impl ModelCache {
    /// The models of a repository that `key` may use.
    pub(super) async fn list(
        &self,
        engine: &Engine,
        endpoint: &AiEndpoint,
        key: &Key,
    ) -> Vec<Model> {
        let stale = endpoint
            .open
            .iter()
            .filter(|resource| !self.is_fresh(resource));
        join_all(stale.map(|resource| self.refresh(engine, resource))).await;
        models::merge(endpoint, key, |resource| {
            self.0
                .get(&resource.id)
                .and_then(|known| known.listed.clone())
        })
    }

    /// What the resources without a list of their own say they serve, one that is down what it said last.
    pub(super) async fn of_open(
        &self,
        engine: &Engine,
        endpoint: &AiEndpoint,
    ) -> Vec<(Arc<Resource>, Arc<Vec<Listed>>)> {
        let open = endpoint.open.iter();
        let stale = open.clone().filter(|resource| !self.is_fresh(resource));
        join_all(stale.map(|resource| self.refresh(engine, resource))).await;
        open.filter_map(|resource| {
            let listed = self.0.get(&resource.id)?.listed.clone()?;
            Some((Arc::clone(resource), listed))
        })
        .collect()
    }

    /// Puts the resources first that say they serve `model`: one that does not may answer with another model.
    pub(super) async fn prefer(&self, engine: &Engine, candidates: &mut [Candidate], model: &str) {
        let says_so = |candidate: &Candidate| {
            self.0
                .get(&candidate.resource.id)
                .and_then(|known| known.listed.clone())
                .is_some_and(|listed| listed.iter().any(|one| *one.id == *model))
        };
        if !candidates.iter().any(says_so) {
            let stale = candidates
                .iter()
                .filter(|candidate| !self.is_fresh(&candidate.resource));
            join_all(stale.map(|candidate| self.refresh(engine, &candidate.resource))).await;
        }
        // Stable: among equals the config's order stands.
        candidates.sort_by_key(|candidate| !says_so(candidate));
    }

    fn is_fresh(&self, resource: &Arc<Resource>) -> bool {
        self.0.get(&resource.id).is_some_and(|known| {
            Arc::ptr_eq(&known.resource, resource) && known.asked_at.elapsed() < FRESH
        })
    }

    async fn refresh(&self, engine: &Engine, resource: &Arc<Resource>) {
        let answer = pingora::time::timeout(WAIT, fetch(engine, resource)).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Error::new(
                Kind::UpstreamTimeout,
                "The resource did not list its models in time.",
            ))
        });
        let listed = match answer {
            Ok(listed) => Some(Arc::new(listed)),
            Err(error) => {
                record::count_upstream_error(resource, &error, false);
                tracing::warn!(resource = %resource.name, %error, "models not listed");
                self.0
                    .get(&resource.id)
                    .and_then(|known| known.listed.clone())
            }
        };
        let resource = Arc::clone(resource);
        self.0.insert(
            resource.id,
            Known {
                resource,
                asked_at: Instant::now(),
                listed,
            },
        );
    }
}

async fn fetch(engine: &Engine, resource: &Arc<Resource>) -> Result<Vec<Listed>> {
    if let Some(lane) = super::lane::of(resource) {
        return fetch_pages(engine, resource, lane).await;
    }
    let head = upstream::request_head(
        resource,
        "/models",
        &HeaderMap::new(),
        upstream::Content::Empty,
    )?;
    models::parse(&get(engine, resource, &head.target, &head.headers).await?)
}

/// The list of a provider of another dialect, page by page.
async fn fetch_pages(
    engine: &Engine,
    resource: &Arc<Resource>,
    lane: &dyn Lane,
) -> Result<Vec<Listed>> {
    let mut models = Vec::new();
    let mut page = None;
    for _ in 0..PAGES_MAX {
        let Some((path, given)) = lane.list(page.as_deref()) else {
            break;
        };
        let none = HeaderMap::new();
        let head = lane_head::request_head(resource, &path, given, &none, Content::Nothing)?;
        let body = get(engine, resource, &head.target, &head.headers).await?;
        let listed = lane.page(&body)?;
        models.extend(listed.models);
        page = listed.next;
        if page.is_none() {
            break;
        }
    }
    models.retain(|model| is_model_name(&model.id));
    Ok(models)
}

async fn get(
    engine: &Engine,
    resource: &Arc<Resource>,
    target: &str,
    headers: &HeaderMap,
) -> Result<Vec<u8>> {
    let make_head = || head::request(&Method::GET, target, headers);
    let outgoing = Outgoing {
        resource,
        head: &make_head,
        body: Body::None,
        idempotent: true,
        first_byte: WAIT,
    };
    let mut answer = exchange(&engine.dialer, None, outgoing).await?;
    let status = answer.head()?.status;
    let body = relay::collect(&mut answer, WAIT, LIST_BYTES_MAX).await?;
    engine.dialer.release(answer.link).await;
    if !status.is_success() {
        return Err(
            Error::new(Kind::UpstreamBroken, "The resource lists no models.")
                .with_detail(format_args!("status {status}")),
        );
    }
    Ok(body)
}
