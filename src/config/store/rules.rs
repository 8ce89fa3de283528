//! What a key may be, and how it is shown: checks, views and words. Pure.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::delete::Doomed;
use super::{KeyRef, NewKey, NewKind, Patch, RepositoryRef, StoreError};
use crate::config::model;
use crate::config::snapshot::{KeyEntry, Snapshot};
use crate::config::words::FamilyWord;
use crate::keys::{Access, AiType, Family, Key};
use crate::policy::route::Repository;

/// Characters of a key's name.
pub const NAME_CHARS_MAX: usize = 128;

/// Entries of one restriction list. Stops one key from making the config large.
pub const LIST_ENTRIES_MAX: usize = 1000;

/// Characters of one entry of a restriction list: a bucket and an object key.
const ENTRY_CHARS_MAX: usize = 63 + 1 + 1024;

pub(super) fn check_new(new: &NewKey) -> Result<(), StoreError> {
    check_name(&new.name)?;
    if let NewKind::Storage {
        access: Access::Read,
        write_only: true,
    } = new.kind
    {
        return Err(StoreError::Invalid(
            "write_only narrows WRITE or ADMIN; READ writes nothing".into(),
        ));
    }
    if let (Some(from), Some(to)) = (new.not_before, new.expires_at)
        && from >= to
    {
        return Err(StoreError::Invalid(
            "the key would expire before it is valid".into(),
        ));
    }
    for list in [
        &new.allow_ips,
        &new.allow_buckets,
        &new.allow_prefixes,
        &new.models,
    ] {
        let too_long = list.len() > LIST_ENTRIES_MAX
            || list
                .iter()
                .any(|entry| entry.chars().count() > ENTRY_CHARS_MAX);
        if too_long {
            return Err(StoreError::Invalid("a restriction list is too long".into()));
        }
        if list.iter().any(String::is_empty) {
            return Err(StoreError::Invalid(
                "a restriction list has an empty entry".into(),
            ));
        }
    }
    Ok(())
}

pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    let length = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&length) || name.trim().is_empty() {
        return Err(StoreError::Invalid(format!(
            "name must have 1 to {NAME_CHARS_MAX} characters"
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(StoreError::Invalid(
            "name must hold no control characters".into(),
        ));
    }
    Ok(())
}

pub(super) fn check_patch(patch: &Patch, key: &Key) -> Result<(), StoreError> {
    if patch.access.is_some() && key.family == Family::Ai {
        return Err(StoreError::Invalid("an AI key has no access type".into()));
    }
    if patch.access == Some(Access::Read) && key.write_only {
        return Err(StoreError::Invalid(
            "the key is write_only, which READ cannot be".into(),
        ));
    }
    Ok(())
}

pub(super) fn check_match(key: &Key, if_match: Option<&str>) -> Result<(), StoreError> {
    let Some(given) = if_match else {
        return Ok(());
    };
    let current = etag(key);
    if given
        .split(',')
        .any(|one| matches!(one.trim(), "*") || one.trim() == current)
    {
        return Ok(());
    }
    Err(StoreError::Stale)
}

pub(super) fn find_repository<'a>(
    snapshot: &'a Snapshot,
    wanted: RepositoryRef<'_>,
) -> Result<&'a Arc<Repository>, StoreError> {
    snapshot
        .repositories
        .iter()
        .find(|repository| match wanted {
            RepositoryRef::Id(id) => repository.id == id,
            RepositoryRef::Name(name) => *repository.name == *name,
        })
        .ok_or(StoreError::RepositoryNotFound)
}

pub(super) fn find_key<'a>(
    snapshot: &'a Snapshot,
    which: &KeyRef<'_>,
) -> Result<&'a KeyEntry, StoreError> {
    let repository = match which.repository {
        Some(wanted) => Some(find_repository(snapshot, wanted)?.id),
        None => None,
    };
    snapshot
        .key(which.id)
        .filter(|entry| repository.is_none_or(|id| entry.repository.id == id))
        .filter(|entry| which.family.is_none_or(|family| entry.key.family == family))
        .ok_or(StoreError::KeyNotFound)
}

/// A key that is in a file and not served, if it is the one that is meant.
pub(super) fn written_doomed(
    snapshot: &Snapshot,
    which: &KeyRef<'_>,
    written: &model::Key,
) -> Result<Doomed, StoreError> {
    let family = match written.family.get_ref() {
        FamilyWord::Storage => Family::Storage,
        FamilyWord::Ai => Family::Ai,
    };
    let name = written.repository.get_ref().as_str();
    let own = find_repository(snapshot, RepositoryRef::Name(name)).ok();
    let is_own = match (which.repository, own) {
        (None, _) => true,
        (Some(wanted), Some(own)) => {
            find_repository(snapshot, wanted).is_ok_and(|wanted| wanted.id == own.id)
        }
        (Some(RepositoryRef::Name(wanted)), None) => wanted == name,
        // The id that the repository had is not known any more. It is not that of another one.
        (Some(wanted @ RepositoryRef::Id(_)), None) => find_repository(snapshot, wanted).is_err(),
    };
    let is_meant = is_own && which.family.is_none_or(|wanted| wanted == family);
    if !is_meant || written.deleted_at.is_some() {
        return Err(StoreError::KeyNotFound);
    }
    if which.if_match.is_some_and(|given| given.trim() != "*") {
        // Nothing is served that an etag could be of.
        return Err(StoreError::Stale);
    }
    Ok(Doomed {
        family,
        repository: own.map(|own| own.id),
        before: Some(json!({
            "id": written.id.get_ref(),
            "name": written.name.get_ref(),
            "repository": name,
            "key": written.key.as_ref().map(toml::Spanned::get_ref),
        })),
        found: Doomed::nowhere(),
    })
}

pub(super) fn entries(snapshot: &Snapshot) -> impl Iterator<Item = &KeyEntry> {
    snapshot.s3_keys.values().chain(snapshot.ai_keys.values())
}

/// Newest first.
pub(super) fn sort(keys: &mut [KeyEntry]) {
    keys.sort_by(|a, b| {
        let order = |entry: &KeyEntry| (entry.key.created_at, entry.key.id);
        order(b).cmp(&order(a))
    });
}

/// When the key last authenticated a request, if it did since it was loaded.
pub fn last_used_at(key: &Key) -> Option<Timestamp> {
    let seconds = key.last_used.load(Ordering::Relaxed);
    (seconds > 0)
        .then(|| Timestamp::from_second(seconds).ok())
        .flatten()
}

/// Changes with everything that can be changed of a key, and with nothing else.
pub fn etag(key: &Key) -> String {
    let digest = Sha256::digest(whitelisted(key).to_string());
    let mut text = String::from("\"");
    for byte in digest.iter().take(8) {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text.push('"');
    text
}

/// What the audit log may hold of a key.
pub(super) fn whitelisted(key: &Key) -> Value {
    json!({
        "id": key.id,
        "name": &*key.name,
        "access": access_word(key.access),
        "write_only": key.write_only,
        "key": &*key.key,
        "ai_type": key.ai_type.map(ai_type_word),
        "restrict_to_type": key.restrict_to_type,
        "not_before": key.not_before.map(|at| at.to_string()),
        "expires_at": key.expires_at.map(|at| at.to_string()),
        "disabled": key.disabled,
        "allow_ips": key.allow_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "allow_buckets": key.allow_buckets,
        "allow_prefixes": key.allow_prefixes,
        "models": key.models,
    })
}

pub(super) fn whitelisted_new(new: &NewKey, key: &str) -> Value {
    let (access, write_only, ai_type) = match new.kind {
        NewKind::Storage { access, write_only } => (Some(access_word(access)), write_only, None),
        NewKind::Ai { ai_type, .. } => (None, false, Some(ai_type_word(ai_type))),
    };
    json!({
        "name": new.name,
        "access": access,
        "write_only": write_only,
        "key": key,
        "ai_type": ai_type,
        "not_before": new.not_before.map(|at| at.to_string()),
        "expires_at": new.expires_at.map(|at| at.to_string()),
        "allow_ips": new.allow_ips,
        "allow_buckets": new.allow_buckets,
        "allow_prefixes": new.allow_prefixes,
        "models": new.models,
    })
}

/// The word of the files and of the admin API.
pub fn access_word(access: Access) -> &'static str {
    match access {
        Access::Read => "READ",
        Access::Write => "WRITE",
        Access::Admin => "ADMIN",
    }
}

/// The word of the files; the admin API has it in capitals.
pub fn ai_type_word(ai_type: AiType) -> &'static str {
    match ai_type {
        AiType::OpenAi => "openai",
        AiType::Google => "google",
        AiType::Anthropic => "anthropic",
        AiType::Aws => "aws",
        AiType::Other => "other",
    }
}
