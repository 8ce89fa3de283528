//! How much at once. The rules come from config, the counters live as long as the process: a reload changes
//! the first and keeps the second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::telemetry::labels::LimitScope;

/// When a refused request may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much at once. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Requests a second, with bursts of one second's worth.
    pub rps: Option<u32>,
    /// Requests at once.
    pub concurrent: Option<u32>,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Key,
    Repository,
    Everybody,
}

/// Counters of one key, one repository or everybody, kept over reloads.
#[derive(Debug)]
pub struct Limiter {
    whose: Whose,
    rps: AtomicU32,
    concurrent: AtomicU32,
    inflight: AtomicU32,
    /// GCRA's theoretical arrival time, nanoseconds since `started`.
    arrival_ns: AtomicU64,
    started: Instant,
}

/// No place was left.
#[derive(Debug)]
pub struct Refused {
    /// The limit that refused.
    pub scope: LimitScope,
    pub error: Error,
}

/// Held while a request runs; dropping it frees its place.
#[derive(Debug)]
pub struct Entered(Arc<Limiter>);

/// The limits of one request, narrowest first: what one of them refuses costs the wider ones nothing.
#[derive(Debug)]
pub struct Limits<'a> {
    pub key: Option<&'a Arc<Limiter>>,
    pub repository: &'a Arc<Limiter>,
    pub everybody: &'a Arc<Limiter>,
}

/// The places of one request.
pub type Places = (Option<Entered>, Entered, Option<Entered>);

impl Limits<'_> {
    /// Takes a place of each, or says when to come back.
    pub fn enter(&self, now: Instant) -> Result<Places, Refused> {
        let key = self.key.map(|key| key.enter(now)).transpose()?;
        let repository = self.repository.enter(now)?;
        // Every request would count in the same place, which is not free: only where somebody asked for it.
        let counted = self.everybody.has_rules();
        let everybody = counted.then(|| self.everybody.enter(now)).transpose()?;
        Ok((key, repository, everybody))
    }
}

impl Limiter {
    pub fn new(whose: Whose, rules: Rules) -> Self {
        let limiter = Self {
            whose,
            rps: AtomicU32::new(0),
            concurrent: AtomicU32::new(0),
            inflight: AtomicU32::new(0),
            arrival_ns: AtomicU64::new(0),
            started: Instant::now(),
        };
        limiter.set_rules(rules);
        limiter
    }

    /// Replaces the rules and keeps the counters.
    pub fn set_rules(&self, rules: Rules) {
        self.rps.store(rules.rps.unwrap_or(0), Ordering::Relaxed);
        self.concurrent
            .store(rules.concurrent.unwrap_or(0), Ordering::Relaxed);
    }

    /// Takes a place, or says when to come back.
    pub fn enter(self: &Arc<Self>, now: Instant) -> Result<Entered, Refused> {
        let concurrent = self.concurrent.load(Ordering::Relaxed);
        let before = self.inflight.fetch_add(1, Ordering::Relaxed);
        let entered = Entered(Arc::clone(self));
        if concurrent != 0 && before >= concurrent {
            let (scope, message) = match self.whose {
                Whose::Key => (
                    LimitScope::KeyConcurrent,
                    "Too many requests at once for this key.",
                ),
                Whose::Repository => (
                    LimitScope::Concurrent,
                    "Too many requests at once for this repository.",
                ),
                Whose::Everybody => (LimitScope::GlobalConcurrent, "Too many requests at once."),
            };
            return Err(refused(scope, message));
        }
        self.take_token(now)?;
        Ok(entered)
    }

    /// Whether any limit is set.
    pub fn has_rules(&self) -> bool {
        self.rps.load(Ordering::Relaxed) != 0 || self.concurrent.load(Ordering::Relaxed) != 0
    }

    pub fn inflight(&self) -> u32 {
        self.inflight.load(Ordering::Relaxed)
    }

    fn take_token(&self, now: Instant) -> Result<(), Refused> {
        let rps = self.rps.load(Ordering::Relaxed);
        if rps == 0 {
            return Ok(());
        }
        const SECOND_NS: u64 = 1_000_000_000;
        let interval = SECOND_NS / u64::from(rps);
        let now = u64::try_from(now.saturating_duration_since(self.started).as_nanos())
            .unwrap_or(u64::MAX);
        let taken = self
            .arrival_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival| {
                let arrival = arrival.max(now);
                (arrival - now < SECOND_NS).then_some(arrival + interval)
            });
        if taken.is_ok() {
            return Ok(());
        }
        let scope = match self.whose {
            Whose::Key => LimitScope::KeyRps,
            Whose::Repository => LimitScope::Rps,
            Whose::Everybody => LimitScope::GlobalRps,
        };
        Err(refused(scope, "Please reduce your request rate."))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.inflight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn refused(scope: LimitScope, message: &'static str) -> Refused {
    let error = Error::new(Kind::RateLimited, message).with_retry_after(RETRY_AFTER);
    Refused { scope, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrency_is_freed_on_drop_and_survives_new_rules() {
        let limiter = Arc::new(Limiter::new(
            Whose::Repository,
            Rules {
                rps: None,
                concurrent: Some(1),
            },
        ));
        let now = Instant::now();
        let first = limiter.enter(now).unwrap();
        let refused = limiter.enter(now).unwrap_err();
        assert_eq!(refused.scope, LimitScope::Concurrent);
        assert_eq!(refused.error.kind(), Kind::RateLimited);
        limiter.set_rules(Rules {
            rps: None,
            concurrent: Some(2),
        });
        let second = limiter.enter(now).unwrap();
        assert!(limiter.enter(now).is_err());
        drop((first, second));
        assert_eq!(limiter.inflight(), 0);
    }

    #[test]
    fn rate_allows_a_second_of_burst_then_the_rate() {
        let limiter = Arc::new(Limiter::new(
            Whose::Repository,
            Rules {
                rps: Some(10),
                concurrent: None,
            },
        ));
        let start = Instant::now();
        let passed = (0..30).filter(|_| limiter.enter(start).is_ok()).count();
        assert_eq!(passed, 10);
        assert_eq!(limiter.enter(start).unwrap_err().scope, LimitScope::Rps);
        let later = start + Duration::from_millis(500);
        let passed = (0..30).filter(|_| limiter.enter(later).is_ok()).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn what_the_key_refuses_costs_the_repository_nothing() {
        let limiter = |whose, concurrent| {
            let rules = Rules {
                rps: None,
                concurrent,
            };
            Arc::new(Limiter::new(whose, rules))
        };
        let key = limiter(Whose::Key, Some(1));
        let repository = limiter(Whose::Repository, Some(2));
        let everybody = limiter(Whose::Everybody, Some(3));
        let limits = |key| Limits {
            key,
            repository: &repository,
            everybody: &everybody,
        };
        let now = Instant::now();
        let first = limits(Some(&key)).enter(now).unwrap();
        let scope = |key| limits(key).enter(now).unwrap_err().scope;
        assert_eq!(scope(Some(&key)), LimitScope::KeyConcurrent);
        assert_eq!(repository.inflight(), 1);
        let second = limits(None).enter(now).unwrap();
        assert_eq!(scope(None), LimitScope::Concurrent);
        everybody.set_rules(Rules {
            rps: None,
            concurrent: Some(1),
        });
        drop(first);
        assert_eq!(scope(None), LimitScope::GlobalConcurrent);
        drop(second);
        assert_eq!((repository.inflight(), everybody.inflight()), (0, 0));
    }
}
