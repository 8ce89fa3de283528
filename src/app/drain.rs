//! The end of the process: what runs may end, and nothing new begins (`ops.md` 7.3).
//!
//! The order is what a load balancer needs. Readiness turns to 503 first, and the admin listener stays open to
//! say so. The other listeners close, connections without a request close at once, HTTP/2 clients get GOAWAY,
//! and answers say `Connection: close`. The process ends when the last request did, or at the deadline of
//! `limits.drain`, or at a second signal.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::signals::{Asked, Signals};
use crate::protocol::Front;
use crate::proxy::drain;
use crate::proxy::engine::Engine;

/// How often a drain looks whether the last request has ended.
const LOOK: Duration = Duration::from_millis(10);
/// After the last request: for HTTP/2 connections to write what their streams left, and for connections that
/// have not brought their first request.
const LAST_BYTES: Duration = Duration::from_millis(500);

/// Tells listeners to stop.
pub(super) struct Stops {
    clients: watch::Sender<bool>,
    /// Stays open longest: it is asked for `/readyz` and `/metrics`.
    admin: watch::Sender<bool>,
}

impl Stops {
    pub(super) fn new() -> Self {
        Self {
            clients: watch::channel(false).0,
            admin: watch::channel(false).0,
        }
    }

    /// What a listener with these fronts waits for.
    pub(super) fn of(&self, fronts: &[Front]) -> watch::Receiver<bool> {
        if fronts.contains(&Front::Admin) {
            self.admin.subscribe()
        } else {
            self.clients.subscribe()
        }
    }
}

/// Lets the requests in flight end, and nothing new begin.
pub(super) async fn run(engine: &Engine, stops: &Stops, signals: &mut Signals) {
    drain::begin();
    let deadline = Instant::now() + engine.live.load().limits.drain;
    tracing::info!(inflight = inflight(engine), "draining");
    stops.clients.send_replace(true);
    tokio::select! {
        () = until(deadline, || inflight(engine) == 0) => {}
        () = asked_again(signals) => tracing::warn!("asked again to stop, not waiting"),
    }
    stops.admin.send_replace(true);
    until(Instant::now() + LAST_BYTES, || engine.gate.open() == 0).await;
    let left = inflight(engine);
    if left > 0 {
        tracing::warn!(left, "requests were cut at the end of the drain");
    }
}

fn inflight(engine: &Engine) -> usize {
    engine.inflight.load(Ordering::Relaxed)
}

async fn until(deadline: Instant, holds: impl Fn() -> bool) {
    while !holds() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}

async fn asked_again(signals: &mut Signals) {
    while signals.next().await != Asked::Stop {}
}
