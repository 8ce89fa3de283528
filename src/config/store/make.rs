//! Making a new key: its secret, the form that secret is kept in, and the text of its file.

use uuid::Uuid;

use super::{
    Caller, KeyStore, NewKey, NewKind, StoreError, access_word, ai_type_word, edit, invalid,
};
use crate::keys::generate::{self, Generated};
use crate::keys::hash;
use crate::keys::seal::Aad;
use crate::policy::route::Repository;
use crate::protocol::Protocol;

/// A new key with the field and the text that keep it at rest.
pub(super) struct Made {
    pub(super) shown: Generated,
    field: &'static str,
    at_rest: String,
}

impl KeyStore {
    /// A new key, and what is kept of it.
    pub(super) fn generate(
        &self,
        new: &NewKey,
        repository: &Repository,
        id: Uuid,
    ) -> Result<Made, StoreError> {
        match new.kind {
            NewKind::Storage { .. } => {
                let Some(endpoint) = &repository.storage else {
                    return Err(invalid("the repository has no storage endpoint"));
                };
                if endpoint.protocol != Protocol::S3 {
                    let what = "keys of GCS and Azure endpoints are not made by this version";
                    return Err(StoreError::Unsupported(what.into()));
                }
                let shown = generate::s3_key(&self.entropy()?);
                let aad = Aad::Key {
                    repository: repository.id,
                    key: id,
                };
                let sealed = self
                    .live
                    .masters()
                    .seal(aad, shown.secret.expose(), self.entropy()?)
                    .map_err(|error| invalid(format!("cannot seal the secret: {error}")))?;
                Ok(Made {
                    shown,
                    field: "secret",
                    at_rest: sealed,
                })
            }
            NewKind::Ai { .. } => {
                if repository.ai.is_none() {
                    return Err(invalid("the repository has no AI endpoint"));
                }
                let shown = generate::ai_key(&self.entropy()?);
                let digest = hash::format(&hash::sha256(shown.secret.expose()));
                Ok(Made {
                    shown,
                    field: "secret_sha256",
                    at_rest: digest,
                })
            }
        }
    }
}

pub(super) fn render(
    new: &NewKey,
    repository: &Repository,
    id: Uuid,
    made: &Made,
    caller: &Caller,
) -> String {
    let (family, access, write_only) = match new.kind {
        NewKind::Storage { access, write_only } => {
            ("storage", Some(access_word(access)), write_only)
        }
        NewKind::Ai { .. } => ("ai", None, false),
    };
    let (ai_type, restrict_to_type) = match new.kind {
        NewKind::Storage { .. } => (None, false),
        NewKind::Ai {
            ai_type,
            restrict_to_type,
        } => (Some(ai_type_word(ai_type)), restrict_to_type),
    };
    edit::key_file(&edit::KeyEntry {
        id,
        repository: &repository.name,
        family,
        name: &new.name,
        access,
        write_only,
        key: &made.shown.key,
        secret: (made.field, &made.at_rest),
        ai_type,
        restrict_to_type,
        created_at: caller.now,
        created_by: &caller.actor.name,
        not_before: new.not_before,
        expires_at: new.expires_at,
        lists: [
            ("allow_ips", &new.allow_ips),
            ("allow_buckets", &new.allow_buckets),
            ("allow_prefixes", &new.allow_prefixes),
            ("models", &new.models),
        ],
    })
}
