//! The composition root: the only place that knows everybody.
//!
//! [`serve`] loads the config, binds the sockets, starts the runtime and waits for a signal. Draining is ours
//! (Pingora's own server sleeps its whole grace period, busy or idle): readiness turns to 503, listeners
//! close, kept connections are closed after their answer, and the process ends when the last request did, or
//! at the deadline of `limits.drain`.

mod admin;
pub mod command;
mod listeners;
mod observer;
mod signals;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pingora::services::Service as _;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use crate::config::diagnostic::Report;
use crate::config::live::{Fallback, Live, Options, Trigger};
use crate::config::watch::{Timing, Watch};
use crate::config::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::protocol::Front;
use crate::proxy::ai::AiState;
use crate::proxy::certs::Certs;
use crate::proxy::clock;
use crate::proxy::dial::Dialer;
use crate::proxy::engine::Engine;
use crate::proxy::gate::Gate;
use crate::telemetry::access_log::{AccessLog, Sink};
use crate::telemetry::metrics::{Build, Metrics};
use listeners::Bound;
use observer::Observer;
use signals::{Asked, Signals};

/// How often a drain looks whether the last request has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("AQUEDUCT_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
    rustc: env!("CARGO_PKG_RUST_VERSION"),
};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the config is not valid\n{0}")]
    Config(Report),
    #[error(transparent)]
    Other(#[from] Error),
}

/// An address that is served.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `HOST:PORT`, `unix:PATH` or `fd:NAME`; the port is the one that port 0 became.
    pub address: String,
    pub fronts: Vec<Front>,
    pub tls: bool,
}

/// Told where a server listens, once it does.
pub type OnReady = Box<dyn FnOnce(&[Endpoint]) + Send>;

/// Serves the config in `dir` until a signal ends it.
pub fn serve(dir: &Path, fallback: Fallback, on_ready: OnReady) -> Result<(), StartError> {
    harden();
    let metrics = Arc::new(Metrics::new());
    let options = Options { fallback };
    let live =
        Live::start(dir, options, Arc::clone(&metrics), clock::now).map_err(StartError::Config)?;
    let snapshot = live.current();
    start_logging(&snapshot);
    metrics.started(BUILD, clock::now());
    let certs = Arc::new(Certs::default());
    certs.replace(&snapshot.tls)?;
    let engine = Arc::new(engine(&live, &metrics, &snapshot)?);
    let observer = Arc::new(Observer::new(&engine, &certs));
    observer.applied(&snapshot);
    live.observe(observer);
    let watch = Arc::new(watch(&live)?);
    let admin = admin::state(&engine, &live)?;
    if engine.admin.set(admin).is_err() {
        return Err(Error::internal("the admin API was composed twice").into());
    }
    let bound = listeners::bind(&snapshot.listen, &engine, &certs)?;
    let runtime = runtime(&snapshot)?;
    runtime.block_on(run(&engine, &watch, bound, on_ready))?;
    // What still runs is past its deadline.
    runtime.shutdown_background();
    Ok(())
}

fn watch(live: &Arc<Live>) -> Result<Watch> {
    Watch::start(Arc::clone(live), Timing::default())
        .map_err(|error| Error::internal("cannot start the config watcher").with_source(error))
}

/// What the whole process needs before its first secret is read.
fn harden() {
    // Fails only if a provider is installed already, and then it is this one.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let not_dumpable = rustix::process::DumpableBehavior::NotDumpable;
    if let Err(error) = rustix::process::set_dumpable_behavior(not_dumpable) {
        tracing::warn!(%error, "core dumps of this process cannot be forbidden");
    }
}

fn start_logging(snapshot: &Snapshot) {
    use tracing_subscriber::fmt;
    let settings = &snapshot.log;
    let builder = fmt()
        .with_max_level(settings.level)
        .with_writer(std::io::stderr);
    // Fails only where a subscriber is set already, as in a test that starts two servers.
    let _set = if settings.json {
        builder.json().try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
}

fn engine(live: &Arc<Live>, metrics: &Arc<Metrics>, snapshot: &Snapshot) -> Result<Engine> {
    let ai_bytes = snapshot
        .limits
        .ai_body_bytes_total
        .min(Semaphore::MAX_PERMITS);
    Ok(Engine {
        live: Arc::clone(live),
        dialer: Dialer::new(),
        metrics: Arc::clone(metrics),
        log: AccessLog::open(Sink::Stdout, metrics.log_dropped())?,
        gate: Arc::new(Gate::default()),
        ai: AiState::default(),
        ai_bytes: Arc::new(Semaphore::new(ai_bytes)),
        admin: OnceLock::new(),
        inflight: AtomicUsize::new(0),
        draining: AtomicBool::new(false),
    })
}

fn runtime(snapshot: &Snapshot) -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if snapshot.process.worker_threads > 0 {
        builder.worker_threads(snapshot.process.worker_threads);
    }
    builder
        .enable_all()
        .thread_name("aqueduct")
        .build()
        .map_err(|error| Error::internal("cannot start the runtime").with_source(error))
}

async fn run(
    engine: &Arc<Engine>,
    watch: &Watch,
    bound: Vec<Bound>,
    on_ready: OnReady,
) -> Result<()> {
    let mut signals = Signals::listen()?;
    let (stop, stopping) = watch::channel(false);
    let mut endpoints = Vec::with_capacity(bound.len());
    for one in bound {
        endpoints.push(Endpoint {
            address: one.address,
            fronts: one.fronts,
            tls: one.tls,
        });
        let (mut service, fds, stopping) = (one.service, one.fds, stopping.clone());
        #[expect(clippy::disallowed_methods, reason = "this is app")]
        tokio::spawn(async move { service.start_service(Some(fds), stopping, 1).await });
    }
    tracing::info!(
        version = BUILD.version,
        generation = engine.live.load().generation,
        "serving"
    );
    on_ready(&endpoints);
    loop {
        match signals.next().await {
            Asked::Stop => break,
            Asked::ReopenLog => engine.log.reopen(),
            // The outcome is the observer's to tell.
            Asked::Reload => drop(watch.reload(Trigger::Signal)),
        }
    }
    drain(engine, &stop).await;
    Ok(())
}

/// Lets the requests in flight end, and nothing new begin.
async fn drain(engine: &Engine, stop: &watch::Sender<bool>) {
    engine.draining.store(true, Ordering::Relaxed);
    let limit = engine.live.load().limits.drain;
    let deadline = Instant::now() + limit;
    tracing::info!(
        inflight = engine.inflight.load(Ordering::Relaxed),
        "draining"
    );
    // Nobody listens only where every service has ended by itself.
    let _told = stop.send(true);
    while engine.inflight.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
    let left = engine.inflight.load(Ordering::Relaxed);
    if left > 0 {
        tracing::warn!(left, "requests were cut at the drain deadline");
    }
}
