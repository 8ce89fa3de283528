//! What the admin API is told of the rest of the process.

use std::io;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::BUILD;
use crate::admin::{AdminState, Callbacks};
use crate::config::live::Live;
use crate::config::store::KeyStore;
use crate::error::{Error, Result};
use crate::proxy::engine::Engine;
use crate::telemetry::audit::Audit;

/// Composes the admin API, and clears away what a writer that was cut off left behind.
pub fn state(engine: &Arc<Engine>, live: &Arc<Live>) -> Result<Arc<AdminState>> {
    let state_dir = live.load().process.state_dir.clone();
    let store = KeyStore::new(Arc::clone(live), Audit::new(&state_dir), random);
    match store.sweep() {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => tracing::warn!(files = swept.len(), "removed what an unfinished write left"),
        // A config that cannot be written is no reason not to serve it.
        Err(error) => tracing::warn!(%error, "the config directory cannot be swept"),
    }
    let audit = Audit::new(&state_dir);
    Ok(Arc::new(AdminState::new(Arc::clone(live), Arc::new(store), audit, callbacks(engine))))
}

fn callbacks(engine: &Arc<Engine>) -> Callbacks {
    let (metrics, ready, status) = (Arc::clone(engine), Arc::clone(engine), Arc::clone(engine));
    Callbacks {
        metrics: Box::new(move || render(&metrics)),
        ready: Box::new(move || {
            if ready.is_draining() { Err("draining".to_owned()) } else { Ok(()) }
        }),
        status: Box::new(move || describe(&status)),
    }
}

fn render(engine: &Engine) -> String {
    // Keys come and go without a reload: what is in use is read when asked.
    let snapshot = engine.live.current();
    engine.metrics.config.in_use(snapshot.generation, &snapshot.hash);
    engine.metrics.render()
}

fn describe(engine: &Engine) -> Map<String, Value> {
    let members = json!({
        "version": BUILD.version,
        "commit": BUILD.commit,
        "connections": engine.gate.open(),
        "draining": engine.is_draining(),
    });
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

pub(super) fn random(out: &mut [u8]) -> io::Result<()> {
    getrandom::fill(out).map_err(|error| io::Error::other(Error::internal(error)))
}
