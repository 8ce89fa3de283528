//! The checked config to the [`Snapshot`] that requests use.
//!
//! What did not change is carried over, not rebuilt: a key keeps its derived signing keys, a resource its own, a
//! repository its counters. Nothing takes effect here; the result does when it is installed.

mod credential;
mod keys;
mod masters;
pub(in crate::config) mod process;
mod resource;
mod route;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use toml::Spanned;
use uuid::Uuid;

pub use masters::master_ring;

use self::keys::{KeptKey, Shelves};
use super::check::{At, Checked};
use super::diagnostic::Problem;
use super::model;
use super::parse::Document;
use super::secrets::{Env, Resolver, SecretRef, whole};
use super::snapshot::Snapshot;
use super::snapshot::table::Table;
use super::source::SourceSet;
use super::words::AiTypeWord;
use crate::keys::AiType;
use crate::keys::seal::{Aad, MasterRing};
use crate::policy::limit::{Limiter, Rules, Whose};
use crate::policy::route::{Repository, Resource};
use crate::secret::Secret;
use crate::telemetry::metrics::Metrics;

/// Everything that a compilation takes besides the config.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub metrics: &'a Metrics,
    pub env: Env,
    /// Ids of keys that were revoked.
    pub revoked: &'a HashSet<Uuid>,
    pub memory: &'a Memory,
    pub now: Timestamp,
}

/// What one compilation leaves for the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    masters: Option<Masters>,
    keys: Table<Uuid, KeptKey>,
    resources: HashMap<Arc<str>, Arc<Resource>>,
    /// The same by id, which outlives a name.
    resources_by_id: HashMap<Uuid, Arc<Resource>>,
    limiters: HashMap<Uuid, Arc<Limiter>>,
    everybody: Option<Arc<Limiter>>,
}

impl Memory {
    /// The counters of all requests together.
    fn everybody(&self) -> Arc<Limiter> {
        let known = self.everybody.as_ref().map(Arc::clone);
        known.unwrap_or_else(|| Arc::new(Limiter::new(Whose::Everybody, Rules::default())))
    }
}

#[derive(Clone, Debug)]
struct Masters {
    written: Vec<(String, Secret)>,
    ring: Arc<MasterRing>,
}

/// A snapshot that is ready to be installed.
#[derive(Debug)]
pub struct Compiled {
    pub snapshot: Snapshot,
    pub memory: Memory,
    /// Limits that change when it is installed.
    pub rules: Vec<(Arc<Limiter>, Rules)>,
    pub masters: Arc<MasterRing>,
}

/// How the keys of a set differ from those of the set before.
#[derive(Debug)]
pub struct KeyChange<'a> {
    /// Ids that no file has any more.
    pub gone: &'a HashSet<Uuid>,
    /// New ones, and others under an id that was there.
    pub came: &'a [At<'a, Arc<model::Key>>],
}

/// Compiles what was checked. `None`: a secret that everything depends on could not be resolved.
pub fn compile(
    set: &SourceSet,
    checked: &Checked<'_>,
    inputs: Inputs<'_>,
) -> (Option<Compiled>, Vec<Problem>) {
    let mut problems = Vec::new();
    let masters = masters(set, checked, inputs, &mut problems);
    let mut cx = Cx {
        inputs,
        resolver: Resolver {
            references: &set.references,
            env: inputs.env,
            masters: &masters.ring,
        },
        problems,
    };
    let resources = cx.resources(checked);
    let certificates = process::certificates(&mut cx, checked.root, set);
    let mut rules = Vec::new();
    let repositories: HashMap<&str, Arc<Repository>> = checked
        .repositories
        .iter()
        .filter_map(|at| {
            let repository = cx.repository(at.written, checked, &resources, &mut rules)?;
            Some((at.written.name.get_ref().as_str(), Arc::new(repository)))
        })
        .collect();
    let ring_changed = inputs
        .memory
        .masters
        .as_ref()
        .is_none_or(|before| before.written != masters.written);
    let everybody = inputs.memory.everybody();
    let mut snapshot = process::snapshot(
        checked.root.written,
        set,
        Arc::clone(&everybody),
        inputs.now,
    );
    rules.push((Arc::clone(&everybody), snapshot.limits.requests));
    snapshot.tls.certificates = certificates;
    let mut kept = Table::with_capacity(checked.keys.len());
    let mut shelves = Shelves {
        snapshot: &mut snapshot,
        kept: &mut kept,
        rules: &mut rules,
    };
    shelves.reserve(&checked.keys);
    cx.keys(&checked.keys, &repositories, ring_changed, &mut shelves);
    let problems = cx.problems;
    let blocks = problems
        .iter()
        .any(|problem| problem.severity == super::diagnostic::Severity::Error);
    if blocks {
        return (None, problems);
    }
    snapshot.repositories = repositories.into_values().collect();
    snapshot.repositories.sort_by(|a, b| a.name.cmp(&b.name));
    snapshot.resources = resources.values().map(Arc::clone).collect();
    snapshot.resources.sort_by(|a, b| a.name.cmp(&b.name));
    let limiters = limiters(&snapshot.repositories);
    let compiled = Compiled {
        snapshot,
        rules,
        masters: Arc::clone(&masters.ring),
        memory: Memory {
            masters: Some(masters),
            keys: kept,
            resources_by_id: by_id(&resources),
            resources,
            limiters,
            everybody: Some(everybody),
        },
    };
    (Some(compiled), problems)
}

/// What was compiled before, with other keys and nothing else that differs. `None`: nothing was compiled before.
pub fn compile_more(
    set: &SourceSet,
    before: &Snapshot,
    change: &KeyChange<'_>,
    inputs: Inputs<'_>,
) -> Option<(Compiled, Vec<Problem>)> {
    let mut memory = inputs.memory.clone();
    let ring = Arc::clone(&memory.masters.as_ref()?.ring);
    let mut cx = Cx {
        inputs,
        resolver: Resolver {
            references: &set.references,
            env: inputs.env,
            masters: &ring,
        },
        problems: Vec::new(),
    };
    let mut snapshot = before.clone();
    snapshot.hash.clone_from(&set.hash);
    snapshot.loaded_at = inputs.now;
    let repositories: HashMap<&str, Arc<Repository>> = before
        .repositories
        .iter()
        .map(|repository| (&*repository.name, Arc::clone(repository)))
        .collect();
    let mut rules = Vec::new();
    let mut shelves = Shelves {
        snapshot: &mut snapshot,
        kept: &mut memory.keys,
        rules: &mut rules,
    };
    for id in change.gone.iter().chain(inputs.revoked) {
        shelves.remove(*id);
    }
    cx.keys(change.came, &repositories, false, &mut shelves);
    let problems = cx.problems;
    let compiled = Compiled {
        snapshot,
        memory,
        rules,
        masters: ring,
    };
    Some((compiled, problems))
}

fn by_id(resources: &HashMap<Arc<str>, Arc<Resource>>) -> HashMap<Uuid, Arc<Resource>> {
    let resources = resources.values();
    resources.map(|one| (one.id, Arc::clone(one))).collect()
}

fn limiters(repositories: &[Arc<Repository>]) -> HashMap<Uuid, Arc<Limiter>> {
    let repositories = repositories.iter();
    repositories
        .map(|one| (one.id, Arc::clone(&one.limiter)))
        .collect()
}

fn masters(
    set: &SourceSet,
    checked: &Checked<'_>,
    inputs: Inputs<'_>,
    problems: &mut Vec<Problem>,
) -> Masters {
    let document = checked.root.document;
    let mut written = Vec::new();
    let secrets = checked.root.written.secrets.iter();
    for master in secrets.flat_map(|secrets| &secrets.master) {
        match whole(master.source.get_ref(), &set.references, inputs.env) {
            Ok(secret) => written.push((master.id.get_ref().clone(), secret)),
            Err(error) => problems.push(problem(document, "E050", &master.source, &error)),
        }
    }
    let ring = match MasterRing::new(written.clone()) {
        Ok(ring) => ring,
        Err(error) => {
            let place = checked.root.written.secrets.iter();
            if let Some(master) = place.flat_map(|secrets| &secrets.master).next() {
                problems.push(problem(
                    document,
                    "E050",
                    &master.source,
                    &error.to_string(),
                ));
            }
            MasterRing::default()
        }
    };
    Masters {
        written,
        ring: Arc::new(ring),
    }
}

fn problem<T>(document: &Document, code: &'static str, at: &Spanned<T>, message: &str) -> Problem {
    Problem::new(
        document.severity(),
        code,
        document.place(at.span()),
        format!("the secret cannot be had: {message}"),
    )
}

struct Cx<'a> {
    inputs: Inputs<'a>,
    resolver: Resolver<'a>,
    problems: Vec<Problem>,
}

impl Cx<'_> {
    /// Resolves a secret, or reports it.
    fn secret(
        &mut self,
        document: &Document,
        secret: &Spanned<SecretRef>,
        aad: Option<Aad<'_>>,
    ) -> Option<Secret> {
        match self.resolver.resolve(secret.get_ref(), aad) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.problems
                    .push(problem(document, "E050", secret, &error));
                None
            }
        }
    }
}

fn ai_type(word: AiTypeWord) -> AiType {
    match word {
        AiTypeWord::OpenAi => AiType::OpenAi,
        AiTypeWord::Other => AiType::Other,
        AiTypeWord::Anthropic => AiType::Anthropic,
        AiTypeWord::Google => AiType::Google,
        AiTypeWord::Aws => AiType::Aws,
    }
}
