//! Keys of a repository: storage keys under `apikey`, AI keys under `ai/apikey`.
//!
//! The two lists differ in their member's name (`keys`, `apiKeys`) and the two requests in their members; the
//! clients that exist depend on it. Members that we do not know are ignored, as those clients send many.

use http::StatusCode;
use http::header::IF_MATCH;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Call;
use super::answer::{AdminResponse, Failure};
use crate::config::snapshot::KeyEntry;
use crate::config::store::{
    self, Deleted, KeyRef, NewKey, NewKind, Patch, RepositoryRef, access_word, ai_type_word,
};
use crate::config::words::{AccessWord, AiTypeWord};
use crate::keys::{Access, AiType, Family};

/// `POST`: makes a key, and shows its secret this once.
pub(super) fn create(call: &Call<'_>, family: Family) -> Result<AdminResponse, Failure> {
    let repository = repository(call)?;
    let body = body(call, repository)?;
    let name = string(&body, "name")?.ok_or_else(|| Failure::invalid("`name` is required"))?;
    let kind = match family {
        Family::Storage => NewKind::Storage {
            access: access(&body)?.ok_or_else(|| Failure::invalid("`accessType` is required"))?,
            write_only: false,
        },
        Family::Ai => NewKind::Ai {
            ai_type: ai_type(&body)?.ok_or_else(|| Failure::invalid("`aiType` is required"))?,
            restrict_to_type: false,
        },
    };
    let created = call.state.store.create(
        RepositoryRef::Id(repository),
        &NewKey::new(name, kind),
        &call.caller,
    )?;
    let body = json!({
        "success": true,
        "id": created.id,
        "key": created.key,
        "secret": created.secret.expose_str(),
        "message": "The secret is shown this once.",
    });
    Ok(AdminResponse::json(StatusCode::CREATED, &body))
}

/// `GET`: the keys that are not deleted, newest first, without secrets.
pub(super) fn list(call: &Call<'_>, family: Family) -> Result<AdminResponse, Failure> {
    let repository = repository(call)?;
    let keys = call
        .state
        .store
        .list(RepositoryRef::Id(repository), Some(family))?;
    let (member, show): (_, fn(&KeyEntry) -> Value) = match family {
        Family::Storage => ("keys", storage_view),
        Family::Ai => ("apiKeys", ai_view),
    };
    let shown: Vec<Value> = keys.iter().map(show).collect();
    Ok(AdminResponse::ok(Map::from_iter([(
        member.to_owned(),
        shown.into(),
    )])))
}

/// `PUT`: changes the name, and of a storage key the access; either alone will do.
pub(super) fn update(call: &Call<'_>, family: Family) -> Result<AdminResponse, Failure> {
    let repository = repository(call)?;
    let id = key_id(call)?;
    let body = body(call, repository)?;
    let patch = Patch {
        name: string(&body, "name")?.map(str::to_owned),
        access: match family {
            Family::Storage => access(&body)?,
            Family::Ai => None,
        },
    };
    if family == Family::Storage && patch.name.is_none() && patch.access.is_none() {
        return Err(Failure::invalid("`name` or `accessType` is required"));
    }
    let entry = call.state.store.update(
        &key_ref(call, repository, family, id)?,
        &patch,
        &call.caller,
    )?;
    let message = Map::from_iter([("message".to_owned(), "The key was updated.".into())]);
    Ok(AdminResponse::ok(message).with_etag(&store::etag(&entry.key)))
}

/// `DELETE`: the key is refused from now on; a second time it is not found.
pub(super) fn delete(call: &Call<'_>, family: Family) -> Result<AdminResponse, Failure> {
    let repository = repository(call)?;
    let id = key_id(call)?;
    let key = key_ref(call, repository, family, id)?;
    let message = match call.state.store.delete(&key, &call.caller)? {
        Deleted::Erased => "The key was deleted.".to_owned(),
        Deleted::Revoked(why) => {
            format!("The key is revoked, but its entry in the config could not be changed: {why}")
        }
    };
    Ok(AdminResponse::ok(Map::from_iter([(
        "message".to_owned(),
        message.into(),
    )])))
}

/// A storage key as it is listed.
pub(super) fn storage_view(entry: &KeyEntry) -> Value {
    let mut view = common_view(entry);
    let key = &entry.key;
    view.insert("accessType".into(), access_word(key.access).into());
    view.insert("writeOnly".into(), key.write_only.into());
    Value::Object(view)
}

/// An AI key as it is listed.
pub(super) fn ai_view(entry: &KeyEntry) -> Value {
    let mut view = common_view(entry);
    let ai_type = entry.key.ai_type.unwrap_or(AiType::Other);
    view.insert("repoId".into(), entry.repository.id.to_string().into());
    view.insert(
        "aiType".into(),
        ai_type_word(ai_type).to_ascii_uppercase().into(),
    );
    view.insert("deletedAt".into(), Value::Null);
    Value::Object(view)
}

fn common_view(entry: &KeyEntry) -> Map<String, Value> {
    let key = &entry.key;
    let time = |at: Option<Timestamp>| at.map_or(Value::Null, |at| wire_time(at).into());
    Map::from_iter([
        ("id".to_owned(), key.id.to_string().into()),
        ("name".to_owned(), (*key.name).into()),
        ("key".to_owned(), (*key.key).into()),
        ("createdAt".to_owned(), wire_time(key.created_at).into()),
        ("createdBy".to_owned(), (*key.created_by).into()),
        ("lastUsedAt".to_owned(), time(store::last_used_at(key))),
        ("expiresAt".to_owned(), time(key.expires_at)),
        ("disabled".to_owned(), key.disabled.into()),
        ("etag".to_owned(), store::etag(key).into()),
    ])
}

/// RFC 3339, UTC, milliseconds: what JavaScript's dates print.
pub(super) fn wire_time(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn key_ref<'a>(
    call: &'a Call<'_>,
    repository: Uuid,
    family: Family,
    id: Uuid,
) -> Result<KeyRef<'a>, Failure> {
    let if_match = call.request.headers.get(IF_MATCH);
    Ok(KeyRef {
        id,
        repository: Some(RepositoryRef::Id(repository)),
        family: Some(family),
        if_match: if_match
            .map(|value| value.to_str())
            .transpose()
            .map_err(|_| Failure::invalid("the If-Match header is malformed"))?,
    })
}

fn repository(call: &Call<'_>) -> Result<Uuid, Failure> {
    // What is no uuid names no repository: not found, as for any other id.
    let id = call.parameters.first().and_then(|id| uuid(id));
    id.ok_or_else(|| store::StoreError::RepositoryNotFound.into())
}

fn key_id(call: &Call<'_>) -> Result<Uuid, Failure> {
    let id = call.parameters.get(1).and_then(|id| uuid(id));
    id.ok_or_else(|| store::StoreError::KeyNotFound.into())
}

/// A uuid in its usual form, in either case.
fn uuid(text: &str) -> Option<Uuid> {
    let hyphenated = text.len() == 36;
    hyphenated.then(|| Uuid::try_parse(text).ok()).flatten()
}

/// The members of a body; none of an empty one.
pub(super) fn members(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(Failure::invalid("the body is not a JSON object")),
    }
}

/// The members of a body. A `repoId` in it must be the path's.
fn body(call: &Call<'_>, repository: Uuid) -> Result<Map<String, Value>, Failure> {
    let members = members(&call.request.body)?;
    match members.get("repoId") {
        None | Some(Value::Null) => {}
        Some(Value::String(id)) if uuid(id) == Some(repository) => {}
        Some(_) => {
            return Err(Failure::invalid("`repoId` in the body is not the path's"));
        }
    }
    Ok(members)
}

pub(super) fn string<'a>(
    body: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, Failure> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Failure::invalid(format!("`{name}` must be a string"))),
    }
}

fn access(body: &Map<String, Value>) -> Result<Option<Access>, Failure> {
    let given = match string(body, "accessType")? {
        Some(given) => Some(given),
        None => string(body, "access")?,
    };
    let Some(given) = given else {
        return Ok(None);
    };
    match AccessWord::parse(given) {
        Some(AccessWord::Read) => Ok(Some(Access::Read)),
        Some(AccessWord::Write) => Ok(Some(Access::Write)),
        Some(AccessWord::Admin) => Ok(Some(Access::Admin)),
        None => Err(Failure::invalid(
            "`accessType` must be READ, WRITE or ADMIN",
        )),
    }
}

pub(super) fn ai_type(body: &Map<String, Value>) -> Result<Option<AiType>, Failure> {
    let Some(given) = string(body, "aiType")? else {
        return Ok(None);
    };
    match AiTypeWord::parse(given) {
        Some(AiTypeWord::OpenAi) => Ok(Some(AiType::OpenAi)),
        Some(AiTypeWord::Google) => Ok(Some(AiType::Google)),
        Some(AiTypeWord::Anthropic) => Ok(Some(AiType::Anthropic)),
        Some(AiTypeWord::Aws) => Ok(Some(AiType::Aws)),
        Some(AiTypeWord::Other) => Ok(Some(AiType::Other)),
        None => Err(Failure::invalid(
            "`aiType` must be OPENAI, GOOGLE, ANTHROPIC, AWS or OTHER",
        )),
    }
}
