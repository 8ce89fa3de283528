//! How a resource fares: whether it is asked at all (its breaker), and how often it is asked again (its retry
//! budget). See `ops.md` 4.5.
//!
//! The breaker opens when a resource fails several times in a row, or too large a share of a window's requests.
//! While it is open nobody waits for the resource. After a while one request is let through as a probe: if it
//! goes well all may pass again, otherwise the breaker stays open twice as long. The budget bounds what attempts
//! after the first add to a resource's load, so that a failing one is not hit harder for failing.
//!
//! [`Machine`] is a function of what it is told: the time and chance are arguments. [`Health`] shares it between
//! requests and over reloads, behind a lock that is held for a few additions, twice a request: counting a window
//! without one takes a race or a stripe for each thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::telemetry::labels::BreakerState;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    pub enabled: bool,
    /// Failures in a row that open it.
    pub failures: u32,
    /// More than this share of a window's requests opens it,
    pub failures_percent: u32,
    /// if there were so many.
    pub requests_min: u32,
    pub window: Duration,
    /// How long it stays open at first; doubled each time in a row.
    pub open: Duration,
    pub open_max: Duration,
}

/// How often a request is attempted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRules {
    /// Attempts after the first, of one request.
    pub attempts: u32,
    /// Of the requests in the breaker's window, for all of them together,
    pub budget_percent: u32,
    /// but at least so many a second.
    pub per_second_min: u32,
}

/// The rules of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    pub breaker: BreakerRules,
    pub retries: RetryRules,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            breaker: BreakerRules {
                enabled: true,
                failures: 5,
                failures_percent: 50,
                requests_min: 20,
                window: Duration::from_secs(10),
                open: Duration::from_secs(5),
                open_max: Duration::from_mins(1),
            },
            retries: RetryRules {
                attempts: 2,
                budget_percent: 20,
                per_second_min: 3,
            },
        }
    }
}

/// Whether requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    /// One request is on its way to find out.
    Probing,
}

/// How one attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The resource is there, whatever it answered.
    Good,
    /// It could not be reached, was silent, or failed by its own account.
    Bad,
    /// Nothing was learnt: the client left, or the resource asked for less.
    Unknown,
}

/// Which attempt of a request is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    First,
    /// Spends of the retry budget.
    Again,
}

/// Why an attempt is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    Open { retry_after: Duration },
    OverBudget,
}

/// The right to make one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// What was learnt before the breaker last changed says nothing about after.
    epoch: u32,
    is_probe: bool,
}

/// Parts that a window is counted in; it slides by one of them.
const PARTS: usize = 10;
/// What a request is told to wait for while another one probes.
const WHILE_PROBING: Duration = Duration::from_secs(1);
/// Doublings of the time open: more than lead from any shortest to any longest time.
const DOUBLINGS_MAX: u32 = 16;

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Its number since the start; an older number is an older window's.
    at: u64,
    requests: u32,
    retries: u32,
    good: u32,
    bad: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Machine {
    started: Instant,
    phase: Phase,
    epoch: u32,
    /// Failures since the last success.
    in_a_row: u32,
    /// Times opened since it last closed.
    openings: u32,
    parts: [Part; PARTS],
}

impl Machine {
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            phase: Phase::Closed,
            epoch: 0,
            in_a_row: 0,
            openings: 0,
            parts: [Part::default(); PARTS],
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Asks to make an attempt. Every ticket is to be settled.
    pub fn admit(
        &mut self,
        attempt: Attempt,
        now: Instant,
        rules: &HealthRules,
    ) -> Result<Ticket, Denied> {
        let mut is_probe = false;
        match self.phase {
            _ if !rules.breaker.enabled => {}
            Phase::Closed => {}
            Phase::Open { until } if now < until => {
                let retry_after = until - now;
                return Err(Denied::Open { retry_after });
            }
            Phase::Open { .. } => is_probe = true,
            Phase::Probing => {
                let retry_after = WHILE_PROBING;
                return Err(Denied::Open { retry_after });
            }
        }
        match attempt {
            Attempt::First => self.part(now, rules).requests += 1,
            Attempt::Again => self.spend(now, rules)?,
        }
        if is_probe {
            self.turn(Phase::Probing);
        }
        Ok(Ticket {
            epoch: self.epoch,
            is_probe,
        })
    }

    /// Says how an attempt went. `chance` spreads the ends of what opens together.
    pub fn settle(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
        chance: u32,
        rules: &HealthRules,
    ) {
        if ticket.epoch != self.epoch {
            return;
        }
        match (outcome, ticket.is_probe) {
            (Outcome::Good, true) => self.close(),
            (Outcome::Bad, true) => self.open(now, chance, &rules.breaker),
            // The next request finds out.
            (Outcome::Unknown, true) => self.turn(Phase::Open { until: now }),
            (Outcome::Good, false) => {
                self.in_a_row = 0;
                self.part(now, rules).good += 1;
            }
            (Outcome::Bad, false) => self.failed(now, chance, rules),
            (Outcome::Unknown, false) => {}
        }
    }

    /// A failure that was only found out after its attempt was settled as unknown.
    pub fn failed_after_all(&mut self, now: Instant, chance: u32, rules: &HealthRules) {
        match self.phase {
            Phase::Closed => self.failed(now, chance, rules),
            Phase::Open { until } if until <= now => self.open(now, chance, &rules.breaker),
            Phase::Open { .. } | Phase::Probing => {}
        }
    }

    fn failed(&mut self, now: Instant, chance: u32, rules: &HealthRules) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.part(now, rules).bad += 1;
        let breaker = &rules.breaker;
        if !breaker.enabled {
            return;
        }
        let seen = self.window(now, rules);
        let (bad, all) = (u64::from(seen.bad), u64::from(seen.bad + seen.good));
        let too_many = all >= u64::from(breaker.requests_min)
            && bad * 100 > all * u64::from(breaker.failures_percent);
        if self.in_a_row >= breaker.failures || too_many {
            self.open(now, chance, breaker);
        }
    }

    /// Spends one retry, if there is one.
    fn spend(&mut self, now: Instant, rules: &HealthRules) -> Result<(), Denied> {
        let retries = &rules.retries;
        let seen = self.window(now, rules);
        let floor = u64::from(retries.per_second_min) * rules.breaker.window.as_secs().max(1);
        let share = u64::from(seen.requests) * u64::from(retries.budget_percent) / 100;
        if u64::from(seen.retries) >= floor.max(share) {
            return Err(Denied::OverBudget);
        }
        self.part(now, rules).retries += 1;
        Ok(())
    }

    fn open(&mut self, now: Instant, chance: u32, rules: &BreakerRules) {
        let doubled = 1 << self.openings.min(DOUBLINGS_MAX);
        let whole = rules.open.saturating_mul(doubled).min(rules.open_max);
        // Between four fifths and the whole: what opened together does not probe together.
        let spread = whole.mul_f64(0.2 * f64::from(chance) / f64::from(u32::MAX));
        self.openings = self.openings.saturating_add(1);
        let until = now + whole.saturating_sub(spread);
        self.turn(Phase::Open { until });
    }

    fn close(&mut self) {
        self.openings = 0;
        self.turn(Phase::Closed);
    }

    fn turned_since(&self, epoch: u32) -> Option<Phase> {
        (self.epoch != epoch).then_some(self.phase)
    }

    fn turn(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch = self.epoch.wrapping_add(1);
        self.in_a_row = 0;
        for part in &mut self.parts {
            (part.good, part.bad) = (0, 0);
        }
    }

    /// The part of the window that is counted in now.
    fn part(&mut self, now: Instant, rules: &HealthRules) -> &mut Part {
        let at = self.at(now, rules);
        let part = &mut self.parts[usize::try_from(at % PARTS as u64).unwrap_or(0)];
        if part.at != at {
            *part = Part {
                at,
                ..Part::default()
            };
        }
        part
    }

    fn at(&self, now: Instant, rules: &HealthRules) -> u64 {
        let part_ms = (rules.breaker.window.as_millis() / PARTS as u128).max(1);
        let since = now.saturating_duration_since(self.started).as_millis();
        u64::try_from(since / part_ms).unwrap_or(u64::MAX)
    }

    /// The window that ends now, as one.
    fn window(&self, now: Instant, rules: &HealthRules) -> Part {
        let at = self.at(now, rules);
        let mut sum = Part::default();
        for part in &self.parts {
            if part.at <= at && at - part.at < PARTS as u64 {
                sum.requests += part.requests;
                sum.retries += part.retries;
                sum.good += part.good;
                sum.bad += part.bad;
            }
        }
        sum
    }
}

/// The health of one resource, for as long as the process lives.
#[derive(Debug)]
pub struct Health(Mutex<Machine>);

impl Health {
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Machine::new(now)))
    }

    /// Asks to make an attempt.
    pub fn admit(
        self: &Arc<Self>,
        attempt: Attempt,
        now: Instant,
        rules: &HealthRules,
    ) -> Result<Pass, Denied> {
        let ticket = self.0.lock().admit(attempt, now, rules)?;
        Ok(Pass {
            health: Arc::clone(self),
            ticket: Some(ticket),
            rules: *rules,
            since: now,
        })
    }

    /// Spends one retry of an attempt that was admitted, if there is one.
    pub fn may_repeat(&self, now: Instant, rules: &HealthRules) -> bool {
        self.0.lock().spend(now, rules).is_ok()
    }

    /// See [`Machine::failed_after_all`]; what the breaker turned to.
    pub fn failed_after_all(
        &self,
        now: Instant,
        chance: u32,
        rules: &HealthRules,
    ) -> Option<Phase> {
        let mut machine = self.0.lock();
        let before = machine.epoch;
        machine.failed_after_all(now, chance, rules);
        machine.turned_since(before)
    }

    pub fn phase(&self) -> Phase {
        self.0.lock().phase()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl From<Phase> for BreakerState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Closed => Self::Closed,
            Phase::Open { .. } => Self::Open,
            Phase::Probing => Self::HalfOpen,
        }
    }
}

/// The right to make one attempt; dropped without a word, nothing was learnt.
#[derive(Debug)]
pub struct Pass {
    health: Arc<Health>,
    ticket: Option<Ticket>,
    rules: HealthRules,
    since: Instant,
}

impl Pass {
    /// Says how the attempt went; what the breaker turned to by it.
    pub fn settle(mut self, outcome: Outcome, now: Instant, chance: u32) -> Option<Phase> {
        let ticket = self.ticket.take()?;
        let mut machine = self.health.0.lock();
        let before = machine.epoch;
        machine.settle(ticket, outcome, now, chance, &self.rules);
        machine.turned_since(before)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            // For a probe: open until when it began, which is over.
            let mut machine = self.health.0.lock();
            machine.settle(ticket, Outcome::Unknown, self.since, 0, &self.rules);
        }
    }
}

#[cfg(test)]
mod tests;
