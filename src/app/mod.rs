//! The composition root: the only place that knows everybody.
//!
//! [`serve`] loads the config, binds the sockets, starts the runtime and waits for a signal. Draining is ours
//! (Pingora's own server sleeps its whole grace period, busy or idle); see [`drain`].

mod admin;
pub mod command;
mod drain;
mod keep;
mod listeners;
mod observer;
mod signals;

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::config::diagnostic::Report;
use crate::config::live::{Fallback, Live, Options, Trigger};
use crate::config::snapshot::Snapshot;
use crate::config::watch::{Timing, Watch};
use crate::error::{Error, Result};
use crate::protocol::Front;
use crate::proxy::ai::AiState;
use crate::proxy::certs::Certs;
use crate::proxy::clock;
use crate::proxy::credential::Credentials;
use crate::proxy::dial::Dialer;
use crate::proxy::engine::Engine;
use crate::proxy::gate::Gate;
use crate::telemetry::access_log::{AccessLog, Sink};
use crate::telemetry::labels::{ReloadResult, ReloadTrigger, WatchMode};
use crate::telemetry::ledger::Ledger;
use crate::telemetry::metrics::{Build, Metrics};
use drain::Stops;
use listeners::Bound;
use observer::Observer;
use signals::{Asked, Signals};

/// How often idle connections to resources are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often the names of resources are looked through.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// How often tokens that are about to end are looked for.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// What was built. The commit and the compiler are told by the `Makefile` (`AQUEDUCT_COMMIT`,
/// `AQUEDUCT_RUSTC`); a plain `cargo build` does not know them.
const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: known(option_env!("AQUEDUCT_COMMIT")),
    rustc: known(option_env!("AQUEDUCT_RUSTC")),
};

const fn known(value: Option<&'static str>) -> &'static str {
    match value {
        Some(value) if !value.is_empty() => value,
        Some(_) | None => "unknown",
    }
}

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
    count_panics(&metrics);
    let options = Options { fallback };
    let loading = Instant::now();
    let live =
        Live::start(dir, options, Arc::clone(&metrics), clock::now).map_err(StartError::Config)?;
    let snapshot = live.current();
    let took = loading.elapsed();
    start_logging(&snapshot);
    let config = &metrics.config;
    config.reload(
        ReloadTrigger::Start,
        ReloadResult::Applied,
        took,
        clock::now(),
    );
    config.restart_required(false);
    // The watch says so where it is not.
    config.watch_mode(WatchMode::Notify);
    metrics.started(BUILD, clock::now());
    let certs = Arc::new(Certs::default());
    certs.replace(&snapshot.tls)?;
    let engine = Arc::new(engine(&live, &metrics, &snapshot)?);
    let observer = Arc::new(Observer::new(&engine, &certs));
    observer.applied(&snapshot);
    live.observe(observer);
    let watch = Arc::new(watch(&live)?);
    let keeping = |error| Error::internal("cannot keep what is counted").with_source(error);
    let kept = [
        keep::last_used(&live).map_err(keeping)?,
        keep::ledger(&live, &engine.ledger).map_err(keeping)?,
    ];
    let admin = admin::state(&engine, &live);
    if engine.admin.set(admin).is_err() {
        return Err(Error::internal("the admin API was composed twice").into());
    }
    let bound = listeners::bind(&snapshot.listen, &engine, &certs)?;
    let runtime = runtime(&snapshot)?;
    runtime.block_on(run(&engine, &watch, bound, on_ready))?;
    // What still runs is past its deadline.
    runtime.shutdown_background();
    drop(kept);
    engine.log.close();
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

/// Counts panics and says where they were, but not with what: a message may quote a request.
fn count_panics(metrics: &Arc<Metrics>) {
    let metrics = Arc::clone(metrics);
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panicked();
        let place = panic.location().map(ToString::to_string);
        let place = place.as_deref().unwrap_or("unknown");
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name().unwrap_or("unnamed"), "panic");
    }));
}

/// How many descriptors the process may open, which is from now on as many as it may ask for.
fn descriptors() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of file descriptors stays");
            limit.current
        }
    }
}

fn start_logging(snapshot: &Snapshot) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::util::SubscriberInitExt;
    let settings = &snapshot.log;
    // Libraries warn at most: at their lower levels they print messages, credentials included.
    let levels = Targets::new()
        .with_default(settings.level.min(LevelFilter::WARN))
        .with_target("aqueduct", settings.level);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if settings.json {
        lines.json().boxed()
    } else {
        lines.with_ansi(false).boxed()
    };
    // Fails only where a subscriber is set already, as in a test that starts two servers.
    let _set = tracing_subscriber::registry()
        .with(lines.with_filter(levels))
        .try_init();
    // The bridge from the `log` crate asks no filter of ours.
    log::set_max_level(log::LevelFilter::Warn);
}

fn engine(live: &Arc<Live>, metrics: &Arc<Metrics>, snapshot: &Snapshot) -> Result<Engine> {
    let ai_bytes = snapshot
        .limits
        .ai_body_bytes_total
        .min(Semaphore::MAX_PERMITS);
    Ok(Engine {
        live: Arc::clone(live),
        dialer: Dialer::new(),
        credentials: Credentials::default(),
        metrics: Arc::clone(metrics),
        ledger: Arc::new(Ledger::default()),
        log: AccessLog::open(Sink::Stdout, metrics.log_dropped())?,
        gate: Arc::new(Gate::new(descriptors())),
        ai: AiState::default(),
        ai_bytes: Arc::new(Semaphore::new(ai_bytes)),
        admin: OnceLock::new(),
        inflight: AtomicUsize::new(0),
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
    let stops = Stops::new();
    let mut endpoints = Vec::with_capacity(bound.len());
    for one in bound {
        let stopping = stops.of(&one.fronts);
        endpoints.push(Endpoint {
            address: one.address,
            fronts: one.fronts,
            tls: one.tls,
        });
        let (mut service, fds) = (one.service, one.fds);
        #[expect(clippy::disallowed_methods, reason = "this is app")]
        tokio::spawn(async move { service.start_service(Some(fds), stopping, 1).await });
    }
    let sweeping = Arc::clone(engine);
    #[expect(clippy::disallowed_methods, reason = "this is app")]
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            sweeping.dialer.sweep();
        }
    });
    let refreshing = Arc::clone(engine);
    #[expect(clippy::disallowed_methods, reason = "this is app")]
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(REFRESH_EVERY).await;
            refreshing.dialer.refresh().await;
        }
    });
    let tending = Arc::clone(engine);
    #[expect(clippy::disallowed_methods, reason = "this is app")]
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(TEND_EVERY).await;
            tending.credentials.tend(&tending.dialer).await;
        }
    });
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
    drain::run(engine, &stops, &mut signals).await;
    Ok(())
}
