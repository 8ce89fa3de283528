//! A config directory without a server that runs it: what the command line asks.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::Uuid;

use super::SecretsMode;
use super::build::build;
use super::writer::check_report;
use crate::config::compile::{Inputs, Memory, master_ring, process};
use crate::config::diagnostic::Report;
use crate::config::model::Root;
use crate::config::parse::Role;
use crate::config::revoked::Revoked;
use crate::config::secrets::{Env, process_env};
use crate::config::source::{Loader, SourceSet};
use crate::keys::seal::MasterRing;
use crate::telemetry::metrics::Metrics;

/// Checks a config directory without running it.
pub fn check_dir(dir: &Path, secrets: SecretsMode, now: Timestamp) -> Report {
    check_dir_with(dir, secrets, now, process_env)
}

/// As [`check_dir`], with the environment handed in.
pub fn check_dir_with(dir: &Path, secrets: SecretsMode, now: Timestamp, env: Env) -> Report {
    let set = Loader::new(dir, credentials(env)).read(now);
    match secrets {
        SecretsMode::Skip => check_report(&set),
        SecretsMode::Resolve => {
            let inputs = Inputs {
                metrics: &Metrics::new(),
                env,
                revoked: &std::collections::HashSet::new(),
                memory: &Memory::default(),
                now,
            };
            match build(&set, None, inputs) {
                Ok(prepared) => prepared.into_report(),
                Err(report) => report,
            }
        }
    }
}

/// Makes a key useless whatever the state of the config; a running server learns it with its next look.
pub fn revoke_in(dir: &Path, id: Uuid, now: Timestamp) -> io::Result<PathBuf> {
    let set = Loader::new(dir, credentials(process_env)).read(now);
    let revoked = Revoked::open(&state_dir(&set))?;
    revoked.add(id)?;
    Ok(revoked.path().to_owned())
}

/// Where a server of this config keeps its state, whatever else is wrong with it.
pub fn state_dir_of(dir: &Path, now: Timestamp) -> PathBuf {
    state_dir(&Loader::new(dir, credentials(process_env)).read(now))
}

/// The master keys of a config directory, whatever else is wrong with it: sealing comes before the config is whole.
pub fn masters(dir: &Path, now: Timestamp) -> Result<MasterRing, Report> {
    let env = process_env;
    let set = Loader::new(dir, credentials(env)).read(now);
    master_ring(&set, env).map_err(|mut problems| {
        problems.extend_from_slice(&set.problems);
        Report::new(problems)
    })
}

pub(super) fn credentials(env: Env) -> Option<PathBuf> {
    let dir = env("CREDENTIALS_DIRECTORY")?;
    Some(PathBuf::from(dir.expose_str()?))
}

pub(super) fn state_dir(set: &SourceSet) -> PathBuf {
    let root = set
        .documents
        .iter()
        .find(|document| document.role == Role::Root);
    match root {
        Some(document) => process::process(&document.file.root).state_dir,
        None => process::process(&Root::default()).state_dir,
    }
}
