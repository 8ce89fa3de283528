//! `[[key]]`: that a key is whole, unique, and opens what it says.
//!
//! What must be unique is claimed by its hash first, which is all there is to it where nothing is claimed twice. Only
//! a set in which something is (or in which two hashes meet) is walked again with places, to say what was declared
//! first. The claims outlive the check, so that a few more keys can be checked against all others without them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use super::{At, Cx, Resource, Unique};
use crate::config::address::parse_net;
use crate::config::model::{Key, Repository};
use crate::config::snapshot::table::Table;
use crate::config::words::{AccessWord, Endpoint, FamilyWord};
use crate::keys::hash;

/// What a key needs to know of its repository.
#[derive(Debug)]
pub(super) struct Opens {
    storage: bool,
    ai: bool,
    buckets: HashSet<String>,
    /// Clients may create buckets, so that any name may come to exist.
    any_bucket: bool,
}

/// All repositories, by name, as keys need to know them.
pub(super) type AllOpen = HashMap<String, Opens>;

pub(super) fn check<'s>(
    cx: &mut Cx<'s>,
    all: Vec<At<'s, Arc<Key>>>,
    repositories: &AllOpen,
    claims: &mut Claims,
) -> Vec<At<'s, Arc<Key>>> {
    for at in &all {
        claims.claim(at.written);
    }
    let mut uniques = claims.is_contested.then(Uniques::new);
    let mut good = Vec::with_capacity(all.len());
    for at in all {
        let id = &at.written.id;
        let first = uniques.as_mut().is_none_or(|uniques| {
            let ids = &mut uniques.ids;
            ids.insert(cx, at.document, *id.get_ref(), id.span())
        });
        if !first || at.written.deleted_at.is_some() {
            continue;
        }
        let before = cx.problems.len();
        one(cx, at, repositories, uniques.as_mut());
        let refused = cx.problems[before..]
            .iter()
            .any(|problem| problem.severity != crate::config::diagnostic::Severity::Warning);
        if !refused {
            good.push(at);
        }
    }
    good
}

/// What is taken of what must be unique, as hashes.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    taken: Table<u64, ()>,
    hasher: RandomState,
    /// Something was claimed that was taken: who may have it is for the whole set to decide.
    is_contested: bool,
}

impl Claims {
    pub(in crate::config) fn is_contested(&self) -> bool {
        self.is_contested
    }

    fn claim(&mut self, key: &Key) {
        for hash in self.hashes(key).into_iter().flatten() {
            self.is_contested |= self.taken.insert(hash, ()).is_some();
        }
    }

    /// With room for what so many keys claim.
    pub(super) fn with_capacity(keys: usize) -> Self {
        Self {
            taken: Table::with_capacity(2 * keys),
            ..Self::default()
        }
    }

    /// Gives up what a key claimed, which is in no file any more.
    pub(in crate::config) fn release(&mut self, key: &Key) {
        for hash in self.hashes(key).into_iter().flatten() {
            self.taken.remove(&hash);
        }
    }

    /// The id, and what clients show: each for its own namespace.
    fn hashes(&self, key: &Key) -> [Option<u64>; 2] {
        let id = self.hash("id", key.id.get_ref());
        let shown = match key.family.get_ref() {
            FamilyWord::Storage => key.key.as_ref().map(|key| self.hash("key", key.get_ref())),
            FamilyWord::Ai => key
                .secret_sha256
                .as_ref()
                .map(|digest| self.hash("digest", &digest.get_ref().to_ascii_lowercase())),
        };
        // What a deleted key showed is free.
        [Some(id), shown.filter(|_| key.deleted_at.is_none())]
    }

    fn hash(&self, space: &str, value: &(impl Hash + ?Sized)) -> u64 {
        self.hasher.hash_one((space, value))
    }
}

/// The same with places, where something is claimed twice.
struct Uniques<'s> {
    ids: Unique<'s, uuid::Uuid>,
    public: Unique<'s, &'s str>,
    digests: Unique<'s, String>,
}

impl Uniques<'_> {
    fn new() -> Self {
        Self {
            ids: Unique::new("key id"),
            public: Unique::new("access key id"),
            digests: Unique::new("secret_sha256"),
        }
    }
}

pub(super) fn all_open<'s>(
    repositories: &[At<'s, Arc<Repository>>],
    resources: &HashMap<&'s str, Resource<'s>>,
) -> AllOpen {
    let named =
        |at: &At<'s, Arc<Repository>>| (at.written.name.get_ref().clone(), opens(at, resources));
    repositories.iter().map(named).collect()
}

fn opens<'s>(at: &At<'s, Arc<Repository>>, resources: &HashMap<&'s str, Resource<'s>>) -> Opens {
    let written = at.written;
    let buckets = written
        .buckets
        .iter()
        .filter_map(|entry| {
            if let Some(name) = &entry.expose_as {
                return Some(name.get_ref().clone());
            }
            let resource = resources.get(entry.resource.get_ref().as_str())?;
            Some(resource.bucket()?.get_ref().clone())
        })
        .collect();
    Opens {
        storage: *written.endpoint.get_ref() != Endpoint::OpenAi,
        ai: !written.ai.is_empty(),
        buckets,
        any_bucket: written.default_resource.is_some(),
    }
}

fn one<'s>(
    cx: &mut Cx<'s>,
    at: At<'s, Arc<Key>>,
    repositories: &AllOpen,
    uniques: Option<&mut Uniques<'s>>,
) {
    let At { document, written } = at;
    let name = written.repository.get_ref().as_str();
    let opens = repositories.get(name);
    if opens.is_none() && !cx.is_broken(name) {
        let message = format!("there is no repository `{name}`");
        let problem = cx.error(document, "E040", written.repository.span(), message);
        *problem = problem
            .clone()
            .with_suggestion(name, repositories.keys().map(String::as_str));
    }
    match written.family.get_ref() {
        FamilyWord::Storage => {
            if opens.is_some_and(|opens| !opens.storage) {
                let message = format!("repository `{name}` has no storage endpoint");
                cx.error(document, "E041", written.family.span(), message);
            }
            storage(cx, at, uniques);
        }
        FamilyWord::Ai => {
            if opens.is_some_and(|opens| !opens.ai) {
                let message = format!("repository `{name}` has no `ai`");
                cx.error(document, "E041", written.family.span(), message);
            }
            ai(cx, at, uniques);
        }
    }
    narrowing(cx, at, opens);
}

fn storage<'s>(cx: &mut Cx<'s>, at: At<'s, Arc<Key>>, uniques: Option<&mut Uniques<'s>>) {
    let At { document, written } = at;
    match &written.key {
        Some(key) => {
            let text = key.get_ref().as_str();
            let good = (3..=128).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good {
                let message = "an access key id is 3 to 128 letters and digits";
                cx.error(document, "E042", key.span(), message);
            }
            if let Some(uniques) = uniques {
                uniques.public.insert(cx, document, text, key.span());
            }
        }
        None => {
            cx.error(
                document,
                "E042",
                written.id.span(),
                "a storage key needs its `key`",
            );
        }
    }
    match &written.secret {
        Some(secret) => cx.secret(document, "secret", secret),
        None => {
            cx.error(
                document,
                "E042",
                written.id.span(),
                "a storage key needs its `secret`",
            );
        }
    }
    if let Some(digest) = &written.secret_sha256 {
        let message = "a storage key has a `secret`; only AI keys are kept hashed";
        cx.error(document, "E042", digest.span(), message);
    }
    if let Some(public) = &written.public_key {
        let message = "`public_key` is for GCS keys, which this version does not serve";
        cx.error(document, "E030", public.span(), message);
    }
    if let Some(write_only) = &written.write_only
        && *write_only.get_ref()
        && written.access.as_ref().map(toml::Spanned::get_ref) != Some(&AccessWord::Write)
    {
        let message = "`write_only` narrows `access = \"WRITE\"`";
        cx.error(document, "E043", write_only.span(), message);
    }
    if let Some(model) = written.models.first() {
        cx.error(document, "E043", model.span(), "`models` is for AI keys");
    }
}

fn ai<'s>(cx: &mut Cx<'s>, at: At<'s, Arc<Key>>, uniques: Option<&mut Uniques<'s>>) {
    let At { document, written } = at;
    if let Some(digest) = &written.secret_sha256 {
        if hash::parse(digest.get_ref()).is_none() {
            let message = "`secret_sha256` is not `sha256:` and 64 hex digits";
            cx.error(document, "E042", digest.span(), message);
        }
        if let Some(uniques) = uniques {
            let text = digest.get_ref().to_ascii_lowercase();
            uniques.digests.insert(cx, document, text, digest.span());
        }
    } else {
        let message = "an AI key needs its `secret_sha256`";
        cx.error(document, "E042", written.id.span(), message).hint =
            Some("`aqueduct hash` makes it of a token".into());
    }
    if let Some(secret) = &written.secret {
        let message = "an AI key is kept as `secret_sha256` only";
        cx.error(document, "E042", secret.span(), message);
    }
    if let Some(bucket) = written
        .allow_buckets
        .first()
        .or(written.allow_prefixes.first())
    {
        let message = "`allow_buckets` and `allow_prefixes` are for storage keys";
        cx.error(document, "E043", bucket.span(), message);
    }
    if let Some(write_only) = &written.write_only {
        cx.error(
            document,
            "E043",
            write_only.span(),
            "`write_only` is for storage keys",
        );
    }
    if written.restrict_to_type == Some(true) && written.ai_type.is_none() {
        let message = "`restrict_to_type` needs an `ai_type`";
        cx.error(document, "E043", written.id.span(), message);
    }
}

fn narrowing(cx: &mut Cx<'_>, at: At<'_, Arc<Key>>, opens: Option<&Opens>) {
    let At { document, written } = at;
    for net in &written.allow_ips {
        if parse_net(net.get_ref()).is_none() {
            let message = format!("`{}` is no address or network", net.get_ref());
            cx.error(document, "E013", net.span(), message);
        }
    }
    if let (Some(from), Some(until)) = (written.not_before, written.expires_at)
        && from.0 >= until.0
    {
        cx.warn(
            document,
            "W005",
            written.id.span(),
            "the key expires before it begins",
        );
    }
    for limit in [&written.limits.rps, &written.limits.concurrent] {
        if let Some(limit) = limit
            && *limit.get_ref() == 0
        {
            cx.error(document, "E013", limit.span(), "must be at least 1")
                .hint = Some("leave it out for no limit".into());
        }
    }
    let buckets = written
        .allow_buckets
        .iter()
        .map(|name| (name, name.get_ref().as_str()));
    let prefixes = written.allow_prefixes.iter().map(|prefix| {
        let bucket = prefix.get_ref().split('/').next().unwrap_or_default();
        (prefix, bucket)
    });
    for (place, bucket) in buckets.chain(prefixes) {
        if bucket.is_empty() {
            cx.error(
                document,
                "E013",
                place.span(),
                "must start with a bucket's name",
            );
        } else if let Some(opens) = opens
            && !opens.any_bucket
            && !opens.buckets.contains(bucket)
        {
            let message = format!("the repository shows no bucket `{bucket}`");
            let problem = cx.warn(document, "W006", place.span(), message);
            *problem = problem
                .clone()
                .with_suggestion(bucket, opens.buckets.iter().map(String::as_str));
        }
    }
}
