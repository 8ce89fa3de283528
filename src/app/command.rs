//! `aqueduct serve` and `aqueduct demo`, from the command line's word to an exit code.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::StreamExt;

use crate::app::{self, StartError};
use crate::cli::EXIT_CONFIG;
use crate::config::live::{Fallback, Live, Options};
use crate::config::store::{Caller, KeyStore, NewKey, NewKind, RepositoryRef};
use crate::demo::{self, Opens, Parts};
use crate::error::{Error, Result};
use crate::keys::generate::Generated;
use crate::keys::{Access, AiType};
use crate::proxy::clock;
use crate::proxy::credential::Credentials;
use crate::proxy::dial::Dialer;
use crate::proxy::probe::{self, Finding};
use crate::telemetry::audit::{Actor, Audit};
use crate::telemetry::metrics::Metrics;

/// Resources that `check --online` tries at one time.
const TRIED_AT_ONCE: usize = 16;

/// Serves a config directory until a signal ends it.
pub fn serve(dir: &Path) -> ExitCode {
    match app::serve(dir, Fallback::Refuse, Box::new(|_| ())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Config(report)) => complain(&report, EXIT_CONFIG),
        Err(StartError::Other(error)) => complain(&format_args!("aqueduct: {error}"), 1),
    }
}

/// Tries each resource of a config directory that was found valid, some at a time, and says on a line what it can do.
pub fn check_online(dir: &Path, out: &mut dyn Write) -> std::io::Result<bool> {
    app::harden();
    let metrics = Arc::new(Metrics::new());
    let live = Live::start(dir, Options::default(), metrics, clock::now);
    let live = live.map_err(std::io::Error::other)?;
    let resources = &live.current().resources;
    let (dialer, credentials) = (Dialer::new(), Credentials::default());
    let trying = futures_util::stream::iter(resources)
        .map(|resource| probe::probe(&dialer, &credentials, resource))
        .buffered(TRIED_AT_ONCE);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let findings: Vec<Finding> = runtime.block_on(trying.collect());
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    Ok(findings.iter().all(Finding::is_good))
}

/// Runs the demo until Ctrl-C.
pub fn demo() -> ExitCode {
    let serve = |dir: &Path, on_ready: demo::OnReady| {
        app::serve(dir, Fallback::Refuse, Box::new(move |_| on_ready())).map_err(
            |error| match error {
                StartError::Config(report) => Error::internal(report),
                StartError::Other(error) => error,
            },
        )
    };
    match demo::run(&Parts {
        create_key: &create_key,
        serve: &serve,
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format_args!("aqueduct: {error}"), 1),
    }
}

/// Makes a key as `aqueduct key create` does.
fn create_key(dir: &Path, repository: &str, opens: Opens) -> Result<Generated> {
    let live = Live::start(
        dir,
        Options::default(),
        Arc::new(Metrics::new()),
        clock::now,
    )
    .map_err(Error::internal)?;
    let audit = Audit::new(&live.current().process.state_dir);
    let store = KeyStore::new(Arc::clone(&live), audit, app::admin::random);
    let kind = match opens {
        Opens::Storage => NewKind::Storage {
            access: Access::Write,
            write_only: false,
        },
        Opens::Ai => NewKind::Ai {
            ai_type: AiType::OpenAi,
            restrict_to_type: false,
        },
    };
    let caller = Caller {
        actor: Actor {
            name: "demo".to_owned(),
            ..Actor::default()
        },
        now: clock::now(),
    };
    let repository = RepositoryRef::Name(repository);
    let created = store
        .create(repository, &NewKey::new("demo", kind), &caller)
        .map_err(Error::internal)?;
    Ok(Generated {
        key: created.key,
        secret: created.secret,
    })
}

fn complain(what: &dyn Display, code: u8) -> ExitCode {
    // Nowhere is left to say that stderr is closed.
    let _written = writeln!(std::io::stderr(), "{what}");
    ExitCode::from(code)
}
