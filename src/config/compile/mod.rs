//! The checked config to the [`Snapshot`] that requests use.
//!
//! What did not change is carried over, not rebuilt: a key keeps its derived signing keys, a resource its own, a
//! repository its counters. Nothing takes effect here; the result does when it is installed.

mod credential;
mod masters;
pub(in crate::config) mod process;
mod resource;
mod route;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use toml::Spanned;
use uuid::Uuid;

pub use masters::master_ring;

use super::address::parse_net;
use super::check::{At, Checked};
use super::diagnostic::Problem;
use super::model;
use super::parse::Document;
use super::secrets::{Env, Resolver, SecretRef, whole};
use super::snapshot::{KeyEntry, Snapshot};
use super::source::SourceSet;
use super::words::{AccessWord, AiTypeWord, FamilyWord};
use crate::keys::seal::{Aad, MasterRing};
use crate::keys::signing::SigningCache;
use crate::keys::{Access, AiType, Family, Key, Material, hash};
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
#[derive(Debug, Default)]
pub struct Memory {
    masters: Option<Masters>,
    keys: HashMap<Uuid, KeptKey>,
    resources: HashMap<Arc<str>, Arc<Resource>>,
    /// The same by id, which outlives a name.
    resources_by_id: HashMap<Uuid, Arc<Resource>>,
    limiters: HashMap<Uuid, Arc<Limiter>>,
    /// By key id, of keys that have limits.
    key_limiters: HashMap<Uuid, Arc<Limiter>>,
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

#[derive(Clone, Debug)]
struct KeptKey {
    written: Arc<model::Key>,
    repository: Uuid,
    key: Arc<Key>,
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
    let kept = cx.keys(checked, &repositories, ring_changed);
    let problems = cx.problems;
    let blocks = problems
        .iter()
        .any(|problem| problem.severity == super::diagnostic::Severity::Error);
    if blocks {
        return (None, problems);
    }
    let everybody = inputs.memory.everybody();
    let limiter = Arc::clone(&everybody);
    let mut snapshot = process::snapshot(checked.root.written, set, limiter, inputs.now);
    rules.push((Arc::clone(&everybody), snapshot.limits.requests));
    snapshot.tls.certificates = certificates;
    let key_limiters = add_keys(
        &mut snapshot,
        &kept,
        &repositories,
        inputs.memory,
        &mut rules,
    );
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
            key_limiters,
            everybody: Some(everybody),
        },
    };
    (Some(compiled), problems)
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

/// Puts every key where requests look for it; the counters of those that have limits.
fn add_keys(
    snapshot: &mut Snapshot,
    kept: &HashMap<Uuid, KeptKey>,
    repositories: &HashMap<&str, Arc<Repository>>,
    memory: &Memory,
    rules: &mut Vec<(Arc<Limiter>, Rules)>,
) -> HashMap<Uuid, Arc<Limiter>> {
    let mut limiters = HashMap::new();
    for kept in kept.values() {
        let Some(repository) = repositories.get(&*kept.key.repository) else {
            continue;
        };
        let limiter = key_limiter(kept, memory, rules);
        if let Some(limiter) = &limiter {
            limiters.insert(kept.key.id, Arc::clone(limiter));
        }
        add_key(snapshot, &kept.key, repository, limiter);
    }
    limiters
}

/// The counters of a key that has limits: those it had, if it had any.
fn key_limiter(
    kept: &KeptKey,
    memory: &Memory,
    rules: &mut Vec<(Arc<Limiter>, Rules)>,
) -> Option<Arc<Limiter>> {
    let written = &kept.written.limits;
    let rule = Rules {
        rps: written.rps.as_ref().map(|rps| *rps.get_ref()),
        concurrent: written.concurrent.as_ref().map(|it| *it.get_ref()),
    };
    if rule == Rules::default() {
        return None;
    }
    let before = memory.key_limiters.get(&kept.key.id).map(Arc::clone);
    let limiter = before.unwrap_or_else(|| Arc::new(Limiter::new(Whose::Key, rule)));
    rules.push((Arc::clone(&limiter), rule));
    Some(limiter)
}

fn add_key(
    snapshot: &mut Snapshot,
    key: &Arc<Key>,
    repository: &Arc<Repository>,
    limiter: Option<Arc<Limiter>>,
) {
    let entry = KeyEntry {
        key: Arc::clone(key),
        repository: Arc::clone(repository),
        limiter,
    };
    match &key.material {
        Material::Hmac(_) => {
            snapshot.s3_keys.insert(key.key.clone(), entry);
        }
        Material::Digest(digest) => {
            snapshot.ai_keys.insert(*digest, entry);
        }
    }
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

    fn keys(
        &mut self,
        checked: &Checked<'_>,
        repositories: &HashMap<&str, Arc<Repository>>,
        ring_changed: bool,
    ) -> HashMap<Uuid, KeptKey> {
        let mut kept = HashMap::with_capacity(checked.keys.len());
        for at in &checked.keys {
            let id = *at.written.id.get_ref();
            if self.inputs.revoked.contains(&id) {
                continue;
            }
            let Some(repository) = repositories.get(at.written.repository.get_ref().as_str())
            else {
                continue;
            };
            let before = self.inputs.memory.keys.get(&id);
            if let Some(one) = self.key(*at, repository.id, before, ring_changed) {
                kept.insert(id, one);
            }
        }
        kept
    }

    fn key(
        &mut self,
        at: At<'_, Arc<model::Key>>,
        repository: Uuid,
        before: Option<&KeptKey>,
        ring_changed: bool,
    ) -> Option<KeptKey> {
        let written = at.written;
        let from_files = matches!(
            written.secret.as_ref().map(Spanned::get_ref),
            None | Some(SecretRef::Sealed(_))
        );
        if let Some(before) = before
            && before.repository == repository
            && (Arc::ptr_eq(&before.written, written) || before.written == *written)
            && from_files
            && !ring_changed
        {
            return Some(KeptKey {
                written: Arc::clone(written),
                ..before.clone()
            });
        }
        // A secret that cannot be had any more is the one it was, so that a lost master key stops no key that
        // works; whatever else the file says of the key holds at once.
        let material = self.material(at, repository).or_else(|| {
            let before = before.filter(|before| before.repository == repository)?;
            Some(before.key.material.clone())
        })?;
        let key = Arc::new(key_of(written, material));
        let key = match before {
            // Sealed again under another master, it is the key that it was.
            Some(before)
                if before.repository == repository
                    && is_same_but_sealing(&before.written, written)
                    && before.key.material == key.material =>
            {
                Arc::clone(&before.key)
            }
            Some(before) => {
                let used = before.key.last_used.load(Ordering::Relaxed);
                key.last_used.store(used, Ordering::Relaxed);
                key
            }
            None => key,
        };
        Some(KeptKey {
            written: Arc::clone(written),
            repository,
            key,
        })
    }

    fn material(&mut self, at: At<'_, Arc<model::Key>>, repository: Uuid) -> Option<Material> {
        let written = at.written;
        match written.family.get_ref() {
            FamilyWord::Storage => {
                let aad = Aad::Key {
                    repository,
                    key: *written.id.get_ref(),
                };
                self.secret(at.document, written.secret.as_ref()?, Some(aad))
                    .map(Material::Hmac)
            }
            FamilyWord::Ai => {
                hash::parse(written.secret_sha256.as_ref()?.get_ref()).map(Material::Digest)
            }
        }
    }
}

fn is_same_but_sealing(a: &model::Key, b: &model::Key) -> bool {
    let mut like_b = a.clone();
    like_b.secret.clone_from(&b.secret);
    like_b == *b
}

fn key_of(written: &model::Key, material: Material) -> Key {
    let family = match written.family.get_ref() {
        FamilyWord::Storage => Family::Storage,
        FamilyWord::Ai => Family::Ai,
    };
    let access = match (family, written.access.as_ref().map(Spanned::get_ref)) {
        (Family::Ai, _) | (_, Some(AccessWord::Write)) => Access::Write,
        (_, Some(AccessWord::Admin)) => Access::Admin,
        (_, Some(AccessWord::Read) | None) => Access::Read,
    };
    let boxed = |list: &[Spanned<String>]| -> Vec<Box<str>> {
        list.iter()
            .map(|text| text.get_ref().as_str().into())
            .collect()
    };
    Key {
        id: *written.id.get_ref(),
        repository: written.repository.get_ref().as_str().into(),
        name: written.name.get_ref().as_str().into(),
        family,
        access,
        write_only: written.write_only.as_ref().is_some_and(|it| *it.get_ref()),
        key: written
            .key
            .as_ref()
            .map_or("", |key| key.get_ref().as_str())
            .into(),
        material,
        ai_type: written.ai_type.as_ref().map(|it| ai_type(*it.get_ref())),
        restrict_to_type: written.restrict_to_type == Some(true),
        created_at: written
            .created_at
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        created_by: written.created_by.as_deref().unwrap_or_default().into(),
        not_before: written.not_before.map(|time| time.0),
        expires_at: written.expires_at.map(|time| time.0),
        disabled: written.disabled == Some(true),
        allow_ips: written
            .allow_ips
            .iter()
            .filter_map(|net| parse_net(net.get_ref()))
            .collect(),
        allow_buckets: boxed(&written.allow_buckets),
        allow_prefixes: boxed(&written.allow_prefixes),
        models: boxed(&written.models),
        signing: SigningCache::new(),
        last_used: AtomicI64::new(0),
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
