//! How much at once. The rules come from config, the counters live as long as the process: a reload changes
//! the first and keeps the second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::telemetry::labels::LimitScope;

/// When a refused request may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Rules of one repository. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepositoryRules {
    /// Requests a second, with bursts of one second's worth.
    pub rps: Option<u32>,
    /// Requests at once.
    pub concurrent: Option<u32>,
}

/// Counters of one repository, kept over reloads by its name.
#[derive(Debug)]
pub struct RepositoryLimiter {
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
pub struct Entered(Arc<RepositoryLimiter>);

impl RepositoryLimiter {
    pub fn new(rules: RepositoryRules) -> Self {
        let limiter = Self {
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
    pub fn set_rules(&self, rules: RepositoryRules) {
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
            return Err(refused(
                LimitScope::Concurrent,
                "Too many requests at once for this repository.",
            ));
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
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(refused(LimitScope::Rps, "Please reduce your request rate.")),
        }
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
        let limiter = Arc::new(RepositoryLimiter::new(RepositoryRules {
            rps: None,
            concurrent: Some(1),
        }));
        let now = Instant::now();
        let first = limiter.enter(now).unwrap();
        let refused = limiter.enter(now).unwrap_err();
        assert_eq!(refused.scope, LimitScope::Concurrent);
        assert_eq!(refused.error.kind(), Kind::RateLimited);
        limiter.set_rules(RepositoryRules {
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
        let limiter = Arc::new(RepositoryLimiter::new(RepositoryRules {
            rps: Some(10),
            concurrent: None,
        }));
        let start = Instant::now();
        let passed = (0..30).filter(|_| limiter.enter(start).is_ok()).count();
        assert_eq!(passed, 10);
        assert_eq!(limiter.enter(start).unwrap_err().scope, LimitScope::Rps);
        let later = start + Duration::from_millis(500);
        let passed = (0..30).filter(|_| limiter.enter(later).is_ok()).count();
        assert_eq!(passed, 5);
    }
}
