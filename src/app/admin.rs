//! What the admin API is told of the rest of the process.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::BUILD;
use crate::admin::{AdminState, Callbacks, Trial};
use crate::config::live::Live;
use crate::config::snapshot::Snapshot;
use crate::config::store::KeyStore;
use crate::error::{Error, Kind};
use crate::keys::Family;
use crate::policy::health::Phase;
use crate::policy::route::Resource;
use crate::proxy::ai;
use crate::proxy::clock;
use crate::proxy::drain;
use crate::proxy::engine::Engine;
use crate::proxy::probe::{self, Can, Verdict};
use crate::telemetry::audit::Audit;
use crate::telemetry::labels::{BreakerState, KeyFamily, KeyState, ObjectKind};

/// Longest time that trying a resource may take.
const TRY_MAX: Duration = Duration::from_secs(10);

/// Composes the admin API, and clears away what a writer that was cut off left behind.
pub(super) fn state(engine: &Arc<Engine>, live: &Arc<Live>) -> Arc<AdminState> {
    let state_dir = live.load().process.state_dir.clone();
    let failures = engine.metrics.audit_write_failures();
    let audit = Audit::new(&state_dir).counting(failures);
    let store = KeyStore::new(Arc::clone(live), audit.clone(), random);
    match store.sweep() {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => tracing::warn!(files = swept.len(), "removed what an unfinished write left"),
        // A config that cannot be written is no reason not to serve it.
        Err(error) => tracing::warn!(%error, "the config directory cannot be swept"),
    }
    Arc::new(AdminState::new(
        Arc::clone(live),
        Arc::new(store),
        audit,
        Arc::clone(&engine.ledger),
        callbacks(engine),
    ))
}

fn callbacks(engine: &Arc<Engine>) -> Callbacks {
    let (metrics, status) = (Arc::clone(engine), Arc::clone(engine));
    let (trying, listing) = (Arc::clone(engine), Arc::clone(engine));
    Callbacks {
        metrics: Box::new(move || render(&metrics)),
        ready: Box::new(|| {
            if drain::is_draining() {
                Err("draining".to_owned())
            } else {
                Ok(())
            }
        }),
        status: Box::new(move || describe(&status)),
        try_resource: Box::new(move |resource| {
            Handle::current().block_on(try_resource(&trying, resource))
        }),
        models: Box::new(move |repository| {
            Handle::current().block_on(ai::catalog(&listing, repository))
        }),
    }
}

/// Asks a resource for its models. Of what went wrong no more is told than helps: not where it was asked.
async fn try_resource(engine: &Engine, resource: &Arc<Resource>) -> Trial {
    let probing = probe::probe(&engine.dialer, &engine.credentials, resource);
    let Ok(found) = tokio::time::timeout(TRY_MAX, probing).await else {
        return Trial::Bad("the resource did not answer in time".to_owned());
    };
    match found.result {
        Ok(Can::Models(Verdict::Yes | Verdict::YesOnNothing)) => Trial::Good,
        Ok(Can::Models(Verdict::No(status, _))) => {
            Trial::Bad(format!("the resource refused with status {status}"))
        }
        Ok(Can::Storage { .. }) => Trial::NotTried,
        Err(error) if error.kind() == Kind::Unsupported => Trial::NotTried,
        Err(error) => Trial::Bad(error.message().to_owned()),
    }
}

fn render(engine: &Engine) -> String {
    // Keys come and go without a reload: what is in use is read when asked.
    let snapshot = engine.live.current();
    engine
        .metrics
        .config
        .in_use(snapshot.generation, &snapshot.hash);
    engine.metrics.config.objects(
        ObjectKind::Key,
        snapshot.s3_keys.len() + snapshot.ai_keys.len(),
    );
    count_keys(&snapshot);
    for resource in &snapshot.resources {
        let now = Instant::now();
        resource.meters.breaker(match resource.health.phase() {
            // The next request is the probe.
            Phase::Open { until } if until <= now => BreakerState::HalfOpen,
            phase @ (Phase::Closed | Phase::Open { .. } | Phase::Probing) => phase.into(),
        });
    }
    engine.metrics.render()
}

/// Counts the keys of each repository by whether they work now.
fn count_keys(snapshot: &Snapshot) {
    let now = clock::now();
    let all = snapshot.s3_keys.values().chain(snapshot.ai_keys.values());
    let mut counts: HashMap<(Uuid, KeyFamily, KeyState), usize> = HashMap::new();
    for entry in all {
        let key = &entry.key;
        let family = match key.family {
            Family::Storage => KeyFamily::Storage,
            Family::Ai => KeyFamily::Ai,
        };
        let state = if key.disabled {
            KeyState::Disabled
        } else if key.check_active(now).is_err() {
            KeyState::Expired
        } else {
            KeyState::Active
        };
        *counts
            .entry((entry.repository.id, family, state))
            .or_default() += 1;
    }
    for repository in &snapshot.repositories {
        for family in [KeyFamily::Storage, KeyFamily::Ai] {
            for state in [KeyState::Active, KeyState::Expired, KeyState::Disabled] {
                let count = counts.get(&(repository.id, family, state));
                repository
                    .meters
                    .set_keys(family, state, count.copied().unwrap_or_default());
            }
        }
    }
}

fn describe(engine: &Engine) -> Map<String, Value> {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("version", BUILD.version.into());
    add("commit", BUILD.commit.into());
    add("connections", engine.gate.open().into());
    add("draining", drain::is_draining().into());
    members
}

pub(super) fn random(out: &mut [u8]) -> io::Result<()> {
    getrandom::fill(out).map_err(|error| io::Error::other(Error::internal(error)))
}
