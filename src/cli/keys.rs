//! `aqueduct key`: over the same store as the admin API.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{AccessArg, AiTypeArg, CreateKey, Failed, Streams, load};
use crate::config::live::Live;
use crate::config::store::{
    Caller, Deleted, KeyRef, KeyStore, NewKey, NewKind, RepositoryRef, StoreError, access_word,
    ai_type_word, os_random, revoke_unloaded,
};
use crate::keys::{Access, AiType, Family};
use crate::telemetry::audit::{Actor, Audit};

pub(super) fn create(
    wanted: &CreateKey,
    now: fn() -> Timestamp,
    streams: &mut Streams<'_>,
) -> Result<(), Failed> {
    let kind = match wanted.ai_type {
        Some(ai_type) => NewKind::Ai {
            ai_type: ai_type.into(),
            restrict_to_type: false,
        },
        None => NewKind::Storage {
            access: wanted.access.map_or(
                if wanted.write_only {
                    Access::Write
                } else {
                    Access::Read
                },
                Access::from,
            ),
            write_only: wanted.write_only,
        },
    };
    let mut new = NewKey::new(&*wanted.name, kind);
    new.expires_at = wanted.expires;
    let live = load(&wanted.config.dir, now)?;
    let created = store(&live)
        .create(RepositoryRef::Name(&wanted.repository), &new, &caller(now))
        .map_err(failed)?;
    let secret = created.secret.expose_str().unwrap_or_default();
    if wanted.json {
        let shown = json!({
            "id": created.id,
            "key": created.key,
            "secret": secret,
            "file": created.file.display().to_string(),
        });
        writeln!(streams.stdout, "{shown}")?;
    } else {
        writeln!(streams.stdout, "id      {}", created.id)?;
        writeln!(streams.stdout, "key     {}", created.key)?;
        writeln!(streams.stdout, "secret  {secret}")?;
        writeln!(
            streams.stderr,
            "The secret is shown this once. The key is in {}.",
            created.file.display()
        )?;
    }
    Ok(())
}

pub(super) fn list(
    dir: &Path,
    repository: &str,
    json: bool,
    now: fn() -> Timestamp,
    streams: &mut Streams<'_>,
) -> Result<(), Failed> {
    let live = load(dir, now)?;
    let keys = store(&live)
        .list(RepositoryRef::Name(repository), None)
        .map_err(failed)?;
    if json {
        let shown: Vec<_> = keys
            .iter()
            .map(|entry| {
                let key = &entry.key;
                json!({
                    "id": key.id,
                    "name": &*key.name,
                    "key": &*key.key,
                    "family": family_word(key.family),
                    "access": access_word(key.access),
                    "write_only": key.write_only,
                    "type": key.ai_type.map(ai_type_word),
                    "created_at": key.created_at.to_string(),
                    "created_by": &*key.created_by,
                    "expires_at": key.expires_at.map(|at| at.to_string()),
                    "disabled": key.disabled,
                })
            })
            .collect();
        writeln!(streams.stdout, "{}", json!(shown))?;
        return Ok(());
    }
    for entry in &keys {
        let key = &entry.key;
        let what = match key.family {
            Family::Storage => access_word(key.access),
            Family::Ai => "AI",
        };
        let state = match (key.disabled, key.expires_at) {
            (true, _) => "disabled".to_owned(),
            (false, Some(at)) if at <= now() => "expired".to_owned(),
            (false, Some(at)) => format!("until {at:.0}"),
            (false, None) => "active".to_owned(),
        };
        writeln!(
            streams.stdout,
            "{}  {:22}  {what:5}  {:.0}  {state:26}  {}",
            key.id, key.key, key.created_at, key.name
        )?;
    }
    Ok(())
}

pub(super) fn revoke(
    dir: &Path,
    id: Uuid,
    now: fn() -> Timestamp,
    streams: &mut Streams<'_>,
) -> Result<(), Failed> {
    let live = match load(dir, now) {
        Ok(live) => live,
        // A revocation does not wait for somebody to mend the config.
        Err(Failed::Config(report)) => {
            revoke_unloaded(dir, id, now())?;
            write!(streams.stderr, "{report}")?;
            let message = "the key is revoked; because the config is not valid, its secret was \
                           not erased from its file, and nobody checked that it was a key's id";
            return Err(Failed::because(message));
        }
        Err(failed) => return Err(failed),
    };
    let which = KeyRef {
        id,
        repository: None,
        family: None,
        if_match: None,
    };
    match store(&live).delete(&which, &caller(now)).map_err(failed)? {
        Deleted::Erased => writeln!(streams.stderr, "The key is revoked and its secret erased.")?,
        Deleted::Revoked(why) => {
            let message = format!("the key is revoked, but its entry could not be changed: {why}");
            return Err(Failed::because(message));
        }
    }
    Ok(())
}

fn store(live: &Arc<Live>) -> KeyStore {
    let audit = Audit::new(&live.current().process.state_dir);
    KeyStore::new(Arc::clone(live), audit, os_random)
}

/// The user behind the command, as the audit log names them.
pub(super) fn caller(now: fn() -> Timestamp) -> Caller {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|user| !user.is_empty());
    let name = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    Caller {
        actor: Actor {
            name: format!("cli:{name}"),
            ..Actor::default()
        },
        now: now(),
    }
}

pub(super) fn failed(error: StoreError) -> Failed {
    match error {
        StoreError::Rejected(report) | StoreError::Conflict(report) => Failed::Config(report),
        StoreError::RepositoryNotFound
        | StoreError::KeyNotFound
        | StoreError::Invalid(_)
        | StoreError::Unsupported(_)
        | StoreError::Busy
        | StoreError::Stale
        | StoreError::ReadOnly(_)
        | StoreError::Degraded { .. }
        | StoreError::Internal(_) => Failed::because(error.to_string()),
    }
}

fn family_word(family: Family) -> &'static str {
    match family {
        Family::Storage => "storage",
        Family::Ai => "ai",
    }
}

impl From<AccessArg> for Access {
    fn from(access: AccessArg) -> Self {
        match access {
            AccessArg::Read => Self::Read,
            AccessArg::Write => Self::Write,
            AccessArg::Admin => Self::Admin,
        }
    }
}

impl From<AiTypeArg> for AiType {
    fn from(ai_type: AiTypeArg) -> Self {
        match ai_type {
            AiTypeArg::OpenAi => Self::OpenAi,
            AiTypeArg::Google => Self::Google,
            AiTypeArg::Anthropic => Self::Anthropic,
            AiTypeArg::Aws => Self::Aws,
            AiTypeArg::Other => Self::Other,
        }
    }
}
