//! `POST /systemevent`: what was changed, newest first, from the audit log.
//!
//! The words and numbers are those of the clients that exist: contexts and events go by their places in two lists.
//! Only changes that were made are events; what was refused or failed stands in the log alone.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Call;
use super::answer::{AdminResponse, Code, Failure};
use super::keys::wire_time;
use crate::telemetry::audit::events::{Event, Looked};

/// In the order of their numbers.
const CONTEXTS: [&str; 14] = [
    "workspace",
    "bucket",
    "repo",
    "user",
    "org",
    "workspaceuser",
    "apikey",
    "usersettings",
    "orgsettings",
    "flashbacknode",
    "orgkey",
    "aillm",
    "aillmapikey",
    "conversation",
];

/// In the order of their numbers.
const EVENTS: [&str; 3] = ["created", "updated", "deleted"];

/// Events of one page, and those where none are asked for.
const TAKE_MAX: u64 = 100;
const TAKE_DEFAULT: u64 = 20;

/// From when on, where that is not said.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// How much earlier a later line may be, because a clock was set back between them.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(2);

/// There is one organisation and one workspace: this installation.
const OWN_ID: &str = "00000000-0000-0000-0000-000000000001";

/// What is asked for.
struct Query {
    from: Timestamp,
    to: Timestamp,
    context_id: Option<String>,
    context: Option<&'static str>,
    event: Option<&'static str>,
    user: Option<String>,
    workspace: Option<String>,
    skip: u64,
    take: u64,
}

pub(super) fn list(call: &Call<'_>) -> Result<AdminResponse, Failure> {
    let query = Query::read(call)?;
    let mut page = Vec::new();
    let mut total: u64 = 0;
    let looked = call.state.audit.newest_first(|event| {
        let Ok(at) = event.ts.parse::<Timestamp>() else {
            return true;
        };
        if query.wants(&event, at) {
            if total >= query.skip && (page.len() as u64) < query.take {
                page.push(view(&event, at));
            }
            total += 1;
        }
        at.saturating_add(CLOCK_SLACK)
            .is_ok_and(|latest| latest >= query.from)
    });
    let looked = looked.map_err(|error| {
        tracing::error!(%error, "the audit log cannot be read");
        Failure::new(Code::Degraded, "the audit log cannot be read")
    })?;
    Ok(AdminResponse::ok(Map::from_iter([
        ("events".to_owned(), page.into()),
        ("total".to_owned(), total.into()),
        ("skip".to_owned(), query.skip.into()),
        ("take".to_owned(), query.take.into()),
        // More than one look reads: `total` is of the newest part.
        ("truncated".to_owned(), (looked == Looked::Enough).into()),
    ])))
}

impl Query {
    fn read(call: &Call<'_>) -> Result<Self, Failure> {
        let body = &call.request.body;
        let members = match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => members,
            _ if body.is_empty() => Map::new(),
            _ => return Err(Failure::invalid("the body is not a JSON object")),
        };
        let to = time(&members, "to_timestamp")?.unwrap_or(call.request.now);
        let from = match time(&members, "from_timestamp")? {
            Some(from) => from,
            None => to.saturating_sub(WINDOW).unwrap_or(Timestamp::MIN),
        };
        if from > to {
            return Err(Failure::invalid("`from_timestamp` is after `to_timestamp`"));
        }
        let take = number(&members, "take")?.unwrap_or(TAKE_DEFAULT);
        if !(1..=TAKE_MAX).contains(&take) {
            return Err(Failure::invalid(format!("`take` is 1 to {TAKE_MAX}")));
        }
        Ok(Self {
            from,
            to,
            context_id: text(&members, "contextId")?,
            context: word(&members, "context", &CONTEXTS)?,
            event: word(&members, "event", &EVENTS)?,
            user: text(&members, "userId")?,
            workspace: text(&members, "workspaceId")?,
            skip: number(&members, "skip")?.unwrap_or(0),
            take,
        })
    }

    fn wants(&self, event: &Event, at: Timestamp) -> bool {
        let Some((context, kind)) = meaning(event) else {
            return false;
        };
        let is = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        (self.from..=self.to).contains(&at)
            && self.context.is_none_or(|wanted| wanted == context)
            && self.event.is_none_or(|wanted| wanted == kind)
            && is(&self.context_id, event.context_id.as_deref())
            && is(&self.user, Some(&event.actor))
            && is(&self.workspace, Some(OWN_ID))
    }
}

/// The context and the kind of an event, if it is one.
fn meaning(event: &Event) -> Option<(&'static str, &'static str)> {
    // A key that could only be revoked is deleted, for whoever holds it.
    let is_made = event.outcome == "ok" || event.reason.as_deref() == Some("REVOKED_ONLY");
    if !is_made {
        return None;
    }
    match event.event.as_str() {
        "config.reloaded" => return Some(("flashbacknode", "updated")),
        "secrets.rotated" => return Some(("orgsettings", "updated")),
        "admintoken.created" => return Some(("orgkey", "created")),
        _ => {}
    }
    let (_, kind) = event.event.split_once('.')?;
    let known = |words: &'static [&'static str], word: &str| {
        words.iter().copied().find(|known| *known == word)
    };
    Some((known(&CONTEXTS, &event.context)?, known(&EVENTS, kind)?))
}

fn view(event: &Event, at: Timestamp) -> Value {
    let (context, kind) = meaning(event).unwrap_or_default();
    let data = json!({
        "repoId": event.repo,
        "ip": event.ip,
        "file": event.file,
        "before": event.before,
        "after": event.after,
    });
    json!({
        "id": event.seq,
        "timestamp": wire_time(at),
        "contextId": event.context_id.as_deref().unwrap_or_default(),
        "context": context,
        "event": kind,
        "orgId": OWN_ID,
        "userId": event.actor,
        "userName": event.actor,
        "userEmail": "",
        "workspaceId": OWN_ID,
        "jsonData": data.to_string(),
        // No marks are kept of what was read.
        "showUnread": true,
    })
}

/// Clients send `null`, an empty text or the word for what they do not say.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "undefined" || text == "null",
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    };
    members.get(name).filter(|value| !is_nothing(value))
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Failure> {
    match member(members, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Failure::invalid(format!("`{name}` must be a string"))),
    }
}

fn number(members: &Map<String, Value>, name: &str) -> Result<Option<u64>, Failure> {
    let Some(value) = member(members, name) else {
        return Ok(None);
    };
    let number = value.as_u64();
    number
        .map(Some)
        .ok_or_else(|| Failure::invalid(format!("`{name}` must be a number from 0")))
}

fn word(
    members: &Map<String, Value>,
    name: &str,
    words: &[&'static str],
) -> Result<Option<&'static str>, Failure> {
    let Some(number) = number(members, name)? else {
        return Ok(None);
    };
    let word = usize::try_from(number).ok().and_then(|at| words.get(at));
    let most = words.len() - 1;
    word.map(|word| Some(*word))
        .ok_or_else(|| Failure::invalid(format!("`{name}` is 0 to {most}")))
}

fn time(members: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text(members, name)? else {
        return Ok(None);
    };
    let time = text.parse();
    time.map(Some)
        .map_err(|_| Failure::invalid(format!("`{name}` is no ISO 8601 time")))
}
