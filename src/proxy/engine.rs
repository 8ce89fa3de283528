//! What every request shares, for the life of the process.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::admin::AdminState;
use crate::config::live::Live;
use crate::config::snapshot::Snapshot;
use crate::error::Result;
use crate::policy::limit::{Limiter, Limits, Places};
use crate::policy::route::Repository;
use crate::proxy::ai::AiState;
use crate::proxy::credential::Credentials;
use crate::proxy::dial::Dialer;
use crate::proxy::gate::Gate;
use crate::proxy::record::Record;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::ledger::Ledger;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::TraceParent;

/// See the module's documentation.
pub struct Engine {
    pub live: Arc<Live>,
    pub dialer: Dialer,
    pub credentials: Credentials,
    pub metrics: Arc<Metrics>,
    pub ledger: Arc<Ledger>,
    pub log: AccessLog,
    pub gate: Arc<Gate>,
    pub ai: AiState,
    /// Bytes of AI request bodies that may still be held.
    pub ai_bytes: Arc<Semaphore>,
    /// Set once, by whoever composes the process.
    pub admin: OnceLock<Arc<AdminState>>,
    /// Requests between their head's last byte and their answer's.
    pub inflight: AtomicUsize,
}

/// A request in flight: counted until dropped, so that a drain can wait for it.
pub struct Running<'a>(&'a Engine);

impl<'a> Running<'a> {
    pub fn new(engine: &'a Engine) -> Self {
        engine.inflight.fetch_add(1, Ordering::Relaxed);
        Self(engine)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.inflight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request, from its head's last byte.
pub struct Arrived {
    pub snapshot: Arc<Snapshot>,
    /// `x-amz-request-id`, `x-request-id`: the same value everywhere.
    pub id: Box<str>,
    pub request_id: Uuid,
    /// The caller's trace, continued.
    pub trace: Option<TraceParent>,
    pub now: Timestamp,
    pub started: Instant,
    /// `None` for a Unix socket.
    pub peer: Option<IpAddr>,
    pub secure: bool,
}

impl Arrived {
    /// Takes the request's places under its limits, or notes which one refused.
    pub fn enter(
        &self,
        record: &mut Record,
        key: Option<&Arc<Limiter>>,
        repository: &Repository,
    ) -> Result<Places> {
        let limits = Limits {
            key,
            repository: &repository.limiter,
            everybody: &self.snapshot.limiter,
        };
        let entered = limits.enter(self.started);
        entered.map_err(|refused| record.limited(refused))
    }
}
