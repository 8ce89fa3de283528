//! The ledger: what was spent at models, by repository, resource, key and model.
//!
//! A call is added once, when its request ends, with the numbers that the metrics get. Sums outlive reloads here and
//! restarts in [`file`]; nothing is a price.
//!
//! A call costs one look-up and a few additions under its shard's read lock, 0.2 µs with the counters of `/metrics`.
//! What is kept is bound by [`ROWS_MAX`] and [`GONE_ROWS_MAX`]; at a bound sums move to the row of no key, so that
//! totals of a resource and of a model stay exact whatever is forgotten about keys.

pub mod file;

use std::hash::Hash;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::labels::TokenSource;

/// Rows kept: stops very many keys from filling memory and disk. Calls of a key that has no row by then are counted
/// for no key.
pub const ROWS_MAX: usize = 100_000;

/// Rows kept of keys that are no longer in the config. Of more than that, those that were used longest ago move to
/// the row of no key.
pub const GONE_ROWS_MAX: usize = 10_000;

/// Whose row it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Account {
    pub repository: Uuid,
    pub resource: Uuid,
    /// Nil: of keys that are told apart no longer.
    pub key: Uuid,
    /// A configured name, or `other`.
    pub model: Arc<str>,
}

impl Account {
    fn of_no_key(&self) -> Self {
        Self {
            key: Uuid::nil(),
            ..self.clone()
        }
    }
}

/// What a row adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Requests that this resource was asked; a request that goes on to another resource is one of each.
    Calls,
    /// Calls that failed: refused by the resource, not answered, or broken off by it.
    Errors,
    /// Calls whose tokens the resource did not tell.
    Estimated,
    /// Calls that were cut short, and counted as far as they came.
    Partial,
    /// All of the prompts, cached and written to a cache included.
    Input,
    Cached,
    CacheWrite,
    /// All of the answers, reasoning included.
    Output,
    Reasoning,
    /// Time that the resource took, to the last byte.
    Micros,
}

impl Column {
    pub const ALL: [Self; 10] = [
        Self::Calls,
        Self::Errors,
        Self::Estimated,
        Self::Partial,
        Self::Input,
        Self::Cached,
        Self::CacheWrite,
        Self::Output,
        Self::Reasoning,
        Self::Micros,
    ];

    /// In the file.
    const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Errors => "errors",
            Self::Estimated => "estimated",
            Self::Partial => "partial",
            Self::Input => "input",
            Self::Cached => "cached",
            Self::CacheWrite => "cache_write",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::Micros => "micros",
        }
    }
}

/// Tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All of the prompt, `cached` and `cache_write` included.
    pub input: u64,
    pub cached: u64,
    pub cache_write: u64,
    /// All of the answer, `reasoning` included.
    pub output: u64,
    pub reasoning: u64,
}

/// One call that ended.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub tokens: Tokens,
    /// Where the count comes from; `None`: nothing was spent.
    pub source: Option<TokenSource>,
    pub failed: bool,
    pub took: Duration,
    /// Unix seconds.
    pub at: i64,
}

impl From<&Call> for Sums {
    fn from(call: &Call) -> Self {
        let tokens = call.tokens;
        let is = |source| u64::from(call.source == Some(source));
        let mut sums = Self {
            last_at: call.at,
            ..Self::default()
        };
        for column in Column::ALL {
            sums.counts[column as usize] = match column {
                Column::Calls => 1,
                Column::Errors => call.failed.into(),
                Column::Estimated => is(TokenSource::Estimated),
                Column::Partial => is(TokenSource::Partial),
                Column::Input => tokens.input,
                Column::Cached => tokens.cached,
                Column::CacheWrite => tokens.cache_write,
                Column::Output => tokens.output,
                Column::Reasoning => tokens.reasoning,
                Column::Micros => u64::try_from(call.took.as_micros()).unwrap_or(u64::MAX),
            };
        }
        sums
    }
}

/// What a row had added up at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    counts: [u64; Column::ALL.len()],
    /// Of the last call, in Unix seconds.
    pub last_at: i64,
}

impl Sums {
    pub fn of(&self, column: Column) -> u64 {
        self.counts[column as usize]
    }

    /// What was added since `before`. Wraps where a row was emptied meanwhile, and adding it wraps back.
    fn since(&self, before: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|at| self.counts[at].wrapping_sub(before.counts[at])),
            last_at: self.last_at,
        }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        for (sum, more) in self.counts.iter_mut().zip(more.counts) {
            *sum = sum.wrapping_add(more);
        }
        self.last_at = self.last_at.max(more.last_at);
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Ledger {
    rows: DashMap<Account, Row, foldhash::fast::RandomState>,
}

#[derive(Debug, Default)]
struct Row {
    counts: [AtomicU64; Column::ALL.len()],
    last_at: AtomicI64,
}

impl Row {
    fn add(&self, more: &Sums) {
        for (count, more) in self.counts.iter().zip(more.counts) {
            // Most columns of most calls are 0.
            if more != 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
        if self.last_at.load(Ordering::Relaxed) < more.last_at {
            self.last_at.fetch_max(more.last_at, Ordering::Relaxed);
        }
    }

    fn sums(&self) -> Sums {
        Sums {
            counts: std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed)),
            last_at: self.last_at.load(Ordering::Relaxed),
        }
    }
}

impl Ledger {
    /// Adds a call.
    pub fn add(&self, account: &Account, call: &Call) {
        self.add_sums(account, &Sums::from(call));
    }

    fn add_sums(&self, account: &Account, more: &Sums) {
        if let Some(row) = self.rows.get(account) {
            return row.add(more);
        }
        let account = if self.rows.len() < ROWS_MAX {
            account.clone()
        } else {
            account.of_no_key()
        };
        self.rows.entry(account).or_default().add(more);
    }

    /// The rows as they are, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (Account, Sums)> {
        let rows = self.rows.iter();
        rows.map(|row| (row.key().clone(), row.value().sums()))
    }

    /// Moves what is too much of keys that are gone to the rows of no key.
    pub fn prune(&self, is_key: impl Fn(Uuid) -> bool) {
        self.prune_to(GONE_ROWS_MAX, is_key);
    }

    fn prune_to(&self, gone_max: usize, is_key: impl Fn(Uuid) -> bool) {
        let mut gone: Vec<(i64, Account)> = self
            .rows
            .iter()
            .filter(|row| !row.key().key.is_nil() && !is_key(row.key().key))
            .map(|row| (row.last_at.load(Ordering::Relaxed), row.key().clone()))
            .collect();
        let Some(too_many) = gone.len().checked_sub(gone_max).filter(|many| *many > 0) else {
            return;
        };
        gone.sort_unstable();
        for (_, account) in gone.into_iter().take(too_many) {
            // Nobody adds to a row that was taken out: that needs the lock which taking out holds.
            if let Some((account, row)) = self.rows.remove(&account) {
                self.add_sums(&account.of_no_key(), &row.sums());
            }
        }
    }
}

impl Serialize for Sums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("last_at", &self.last_at)?;
        for column in Column::ALL {
            if self.of(column) != 0 {
                map.serialize_entry(column.name(), &self.of(column))?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Sums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Sums;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the sums of a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sums, A::Error> {
                let mut sums = Sums::default();
                while let Some(name) = map.next_key::<Box<str>>()? {
                    if &*name == "last_at" {
                        sums.last_at = map.next_value()?;
                        continue;
                    }
                    let column = Column::ALL.iter().find(|column| column.name() == &*name);
                    let column = column
                        .ok_or_else(|| serde::de::Error::custom(format!("{name} is no column")))?;
                    sums.counts[*column as usize] = map.next_value()?;
                }
                Ok(sums)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests;
