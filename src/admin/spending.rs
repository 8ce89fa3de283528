//! `GET /ai/llm/stats`: what was spent at AI resources, from the ledger.
//!
//! Sums stand by resource, as the clients that exist read them: numbers in strings, and each count of tokens twice,
//! as the client's and as the model's. The two are equal: nothing is asked of a model but what a client asked.
//! Policies are not Aqueduct's, so theirs are 0. `details=true` adds the rows of the ledger, by repository, key and
//! model; `aiLlmId`, `repoId`, `repoAiApiKeyId`, `llmModel` and `llmType` choose what is added up.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::AdminResponse;
use super::models::{ai_resources, type_of, wants};
use super::{Call, keys, query};
use crate::policy::route::Resource;
use crate::telemetry::ledger::{Account, Column, Sums};

/// Rows of one resource that are shown, those with the most calls: stops an answer of many megabytes. Choosing by
/// repository or key shows the others.
const DETAILS_MAX: usize = 1000;

/// What was spent at one resource.
struct Spent {
    id: Uuid,
    /// `None`: it is no longer in the config.
    resource: Option<Arc<Resource>>,
    total: Sums,
    rows: Vec<(Account, Sums)>,
}

impl Spent {
    fn name(&self) -> &str {
        self.resource.as_deref().map_or("", |it| &it.name)
    }

    fn llm_type(&self) -> String {
        let known = self.resource.as_deref().map(type_of);
        known.unwrap_or_else(|| "OTHER".to_owned())
    }
}

pub(super) fn stats(call: &Call<'_>) -> AdminResponse {
    let with_details = query::values(call.query, "details") == ["true"];
    let stats: Vec<Value> = collect(call)
        .into_iter()
        .map(|mut spent| {
            let mut view = totals(&spent);
            if with_details {
                add_details(&mut view, &mut spent);
            }
            Value::Object(view)
        })
        .collect();
    AdminResponse::ok(Map::from_iter([("stats".to_owned(), stats.into())]))
}

/// What the query chooses, by resource: those of the config by name, whatever was spent there, then those that are gone.
fn collect(call: &Call<'_>) -> Vec<Spent> {
    let resource = wants(call, "aiLlmId");
    let (repository, key) = (wants(call, "repoId"), wants(call, "repoAiApiKeyId"));
    let (model, llm_type) = (wants(call, "llmModel"), wants(call, "llmType"));
    let snapshot = call.state.live.current();
    let of = |id: Uuid, resource: Option<&Arc<Resource>>| Spent {
        id,
        resource: resource.map(Arc::clone),
        total: Sums::default(),
        rows: Vec::new(),
    };
    let mut all: HashMap<Uuid, Spent> = ai_resources(&snapshot)
        .map(|resource| (resource.id, of(resource.id, Some(resource))))
        .collect();
    for (account, sums) in call.state.ledger.rows() {
        let is_chosen = resource(&account.resource.to_string())
            && repository(&account.repository.to_string())
            && key(&account.key.to_string())
            && model(&account.model);
        if is_chosen {
            let id = account.resource;
            let spent = all.entry(id).or_insert_with(|| of(id, None));
            spent.total += sums;
            spent.rows.push((account, sums));
        }
    }
    let mut all: Vec<Spent> = all
        .into_values()
        .filter(|spent| resource(&spent.id.to_string()) && llm_type(&spent.llm_type()))
        .collect();
    all.sort_by(|a, b| {
        let order = |it: &Spent| (it.resource.is_none(), it.name().to_owned(), it.id);
        order(a).cmp(&order(b))
    });
    all
}

fn totals(spent: &Spent) -> Map<String, Value> {
    let of = |column: Column| -> Value { spent.total.of(column).to_string().into() };
    Map::from_iter(
        [
            ("aiLlmId", spent.id.to_string().into()),
            ("totalApiCalls", of(Column::Calls)),
            ("totalTokensIn", of(Column::Input)),
            ("totalTokensOut", of(Column::Output)),
            ("totalLlmTokensIn", of(Column::Input)),
            ("totalLlmTokensOut", of(Column::Output)),
            ("totalPolicyViolations", "0".into()),
            ("totalAlerts", "0".into()),
            ("totalBlocks", "0".into()),
            ("totalTokensCached", of(Column::Cached)),
            ("totalTokensCacheWrite", of(Column::CacheWrite)),
            ("totalTokensReasoning", of(Column::Reasoning)),
            ("totalErrors", of(Column::Errors)),
            ("totalEstimated", of(Column::Estimated)),
            ("totalPartial", of(Column::Partial)),
            ("latency_ms", latency(&spent.total)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

fn add_details(view: &mut Map<String, Value>, spent: &mut Spent) {
    let llm_type = spent.llm_type();
    spent
        .rows
        .sort_by_key(|(account, sums)| (Reverse(sums.of(Column::Calls)), account.clone()));
    let shown = spent.rows.iter().take(DETAILS_MAX);
    let details: Vec<Value> = shown
        .map(|(account, sums)| detail(account, sums, &llm_type))
        .collect();
    let left_out = spent.rows.len() - details.len();
    view.insert("details".to_owned(), details.into());
    view.insert("detailsLeftOut".to_owned(), left_out.into());
}

fn detail(account: &Account, sums: &Sums, llm_type: &str) -> Value {
    let tokens = |column: Column| sums.of(column).to_string();
    let last = Timestamp::from_second(sums.last_at).ok();
    json!({
        "repoId": account.repository,
        "aiLlmId": account.resource,
        "repoAiApiKeyId": (!account.key.is_nil()).then_some(account.key),
        "llmType": llm_type,
        "llmModel": &*account.model,
        "tokensIn": tokens(Column::Input),
        "tokensOut": tokens(Column::Output),
        "llmTokensIn": tokens(Column::Input),
        "llmTokensOut": tokens(Column::Output),
        "tokensCached": tokens(Column::Cached),
        "tokensCacheWrite": tokens(Column::CacheWrite),
        "tokensReasoning": tokens(Column::Reasoning),
        "apiCalls": sums.of(Column::Calls),
        "errors": sums.of(Column::Errors),
        "estimated": sums.of(Column::Estimated),
        "partial": sums.of(Column::Partial),
        "latency_ms": latency(sums),
        "policyViolations": 0,
        "numAlerts": 0,
        "numBlocks": 0,
        "lastUsedAt": last.map(keys::wire_time),
    })
}

/// Mean of a call, in milliseconds.
fn latency(sums: &Sums) -> Value {
    let calls = sums.of(Column::Calls).max(1);
    (sums.of(Column::Micros) / calls / 1000).into()
}
