//! Client keys: their secrets opened, what did not change carried over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use toml::Spanned;
use uuid::Uuid;

use super::{Cx, Memory, ai_type};
use crate::config::address::parse_net;
use crate::config::check::At;
use crate::config::model;
use crate::config::secrets::SecretRef;
use crate::config::snapshot::table::Table;
use crate::config::snapshot::{KeyEntry, Snapshot};
use crate::config::words::{AccessWord, FamilyWord};
use crate::keys::seal::Aad;
use crate::keys::signing::SigningCache;
use crate::keys::{Access, Family, Key, Material, hash};
use crate::policy::limit::{Limiter, Rules, Whose};
use crate::policy::route::Repository;

/// A key as it was compiled, and what of.
#[derive(Clone, Debug)]
pub(super) struct KeptKey {
    written: Arc<model::Key>,
    repository: Uuid,
    key: Arc<Key>,
    /// Where it has limits of its own.
    limiter: Option<Arc<Limiter>>,
}

/// Where keys are put.
pub(super) struct Shelves<'a> {
    pub(super) snapshot: &'a mut Snapshot,
    pub(super) kept: &'a mut Table<Uuid, KeptKey>,
    pub(super) rules: &'a mut Vec<(Arc<Limiter>, Rules)>,
}

impl Shelves<'_> {
    /// Makes room for so many keys, where none are yet.
    pub(super) fn reserve(&mut self, keys: &[At<'_, Arc<model::Key>>]) {
        let is_ai = |at: &&At<'_, Arc<model::Key>>| *at.written.family.get_ref() == FamilyWord::Ai;
        let ai = keys.iter().filter(is_ai).count();
        self.snapshot.reserve_keys(keys.len() - ai, ai);
    }

    fn put(&mut self, one: KeptKey, repository: &Arc<Repository>) {
        let is_there = self.snapshot.key(one.key.id).is_some_and(|there| {
            Arc::ptr_eq(&there.key, &one.key)
                && Arc::ptr_eq(&there.repository, repository)
                && is_same_limiter(there.limiter.as_ref(), one.limiter.as_ref())
        });
        if !is_there {
            self.snapshot.add_key(KeyEntry {
                key: Arc::clone(&one.key),
                repository: Arc::clone(repository),
                limiter: one.limiter.clone(),
            });
        }
        self.kept.insert(one.key.id, one);
    }

    pub(super) fn remove(&mut self, id: Uuid) {
        self.snapshot.remove_key(id);
        self.kept.remove(&id);
    }
}

fn is_same_limiter(a: Option<&Arc<Limiter>>, b: Option<&Arc<Limiter>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Cx<'_> {
    /// Compiles `keys` and puts them where they belong; takes away those that cannot be.
    pub(super) fn keys(
        &mut self,
        keys: &[At<'_, Arc<model::Key>>],
        repositories: &HashMap<&str, Arc<Repository>>,
        ring_changed: bool,
        shelves: &mut Shelves<'_>,
    ) {
        for at in keys {
            let id = *at.written.id.get_ref();
            let repository = repositories.get(at.written.repository.get_ref().as_str());
            let repository = repository.filter(|_| !self.inputs.revoked.contains(&id));
            let before = self.inputs.memory.keys.get(&id);
            let one = repository.and_then(|repository| {
                let one = self.key(*at, repository.id, before, ring_changed)?;
                Some((one, repository))
            });
            match one {
                Some((mut one, repository)) => {
                    one.limiter = limiter(&one, self.inputs.memory, shelves.rules);
                    shelves.put(one, repository);
                }
                None => shelves.remove(id),
            }
        }
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
                repository,
                key: Arc::clone(&before.key),
                limiter: None,
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
            limiter: None,
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

/// The counters of a key that has limits: those it had, if it had any.
fn limiter(
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
    let before = memory.keys.get(&kept.key.id);
    let before = before.and_then(|before| before.limiter.as_ref().map(Arc::clone));
    let limiter = before.unwrap_or_else(|| Arc::new(Limiter::new(Whose::Key, rule)));
    rules.push((Arc::clone(&limiter), rule));
    Some(limiter)
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
