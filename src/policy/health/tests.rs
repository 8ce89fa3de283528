use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    machine: Machine,
    rules: HealthRules,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(now),
            rules: HealthRules::default(),
            now,
        }
    }

    fn one(&mut self, outcome: Outcome) -> Result<(), Denied> {
        let ticket = self.machine.admit(Attempt::First, self.now, &self.rules)?;
        self.machine
            .settle(ticket, outcome, self.now, 0, &self.rules);
        Ok(())
    }

    fn many(&mut self, count: usize, outcome: Outcome) {
        for _ in 0..count {
            self.one(outcome).unwrap();
        }
    }

    /// How long it stays open from now.
    fn open_for(&mut self) -> Option<Duration> {
        match self.machine.phase() {
            Phase::Open { until } => Some(until.saturating_duration_since(self.now)),
            Phase::Closed | Phase::Probing => None,
        }
    }
}

#[test]
fn failures_in_a_row_open_it() {
    let mut bench = Bench::new();
    bench.many(4, Outcome::Bad);
    bench.many(1, Outcome::Good);
    bench.many(4, Outcome::Bad);
    // Nothing learnt is neither: it breaks no row and adds to none.
    bench.many(3, Outcome::Unknown);
    assert_eq!(bench.open_for(), None);
    bench.many(1, Outcome::Bad);
    assert_eq!(bench.open_for(), Some(5 * SECOND));
    let denied = bench.one(Outcome::Good).unwrap_err();
    let retry_after = 5 * SECOND;
    assert_eq!(denied, Denied::Open { retry_after });
}

#[test]
fn a_share_of_the_window_opens_it() {
    for (rounds, pause, expected) in [
        (6, Duration::ZERO, false),
        (7, Duration::ZERO, true),
        // As many, but never twenty within ten seconds.
        (30, 2 * SECOND, false),
    ] {
        let mut bench = Bench::new();
        let mut opened = false;
        for _ in 0..rounds {
            for outcome in [Outcome::Good, Outcome::Bad, Outcome::Bad] {
                opened |= bench.one(outcome).is_err();
            }
            opened |= bench.open_for().is_some();
            bench.now += pause;
        }
        assert_eq!(opened, expected, "{rounds} rounds, {pause:?} apart");
    }
    let mut half = Bench::new();
    for _ in 0..50 {
        half.many(1, Outcome::Good);
        half.many(1, Outcome::Bad);
    }
    assert_eq!(half.open_for(), None, "half is not more than half");
}

#[test]
fn one_probe_at_a_time_decides() {
    let mut bench = Bench::new();
    bench.many(5, Outcome::Bad);
    let mut expected = [5, 10, 20, 40, 60, 60].into_iter();
    while let Some(seconds) = expected.next() {
        assert_eq!(bench.open_for(), Some(seconds * SECOND));
        bench.now += seconds * SECOND;
        let rules = bench.rules;
        let probe = bench
            .machine
            .admit(Attempt::First, bench.now, &rules)
            .unwrap();
        assert!(bench.one(Outcome::Good).is_err(), "a second probe");
        let outcome = if expected.len() == 0 {
            Outcome::Good
        } else {
            Outcome::Bad
        };
        bench.machine.settle(probe, outcome, bench.now, 0, &rules);
    }
    assert_eq!(bench.machine.phase(), Phase::Closed);
    bench.many(4, Outcome::Bad);
    assert_eq!(bench.open_for(), None);
    bench.many(1, Outcome::Bad);
    assert_eq!(bench.open_for(), Some(5 * SECOND), "it starts anew");
}

#[test]
fn a_probe_without_an_outcome_makes_room_for_the_next() {
    let mut bench = Bench::new();
    bench.many(5, Outcome::Bad);
    bench.now += 5 * SECOND;
    bench.many(3, Outcome::Unknown);
    bench.machine.failed_after_all(bench.now, 0, &bench.rules);
    assert_eq!(bench.open_for(), Some(10 * SECOND));
}

#[test]
fn what_was_admitted_before_a_change_says_nothing_after_it() {
    let mut bench = Bench::new();
    let rules = bench.rules;
    let admit = |bench: &mut Bench| bench.machine.admit(Attempt::First, bench.now, &rules);
    let old: Vec<Ticket> = (0..10).map(|_| admit(&mut bench).unwrap()).collect();
    bench.many(5, Outcome::Bad);
    bench.now += 5 * SECOND;
    let probe = admit(&mut bench).unwrap();
    for ticket in &old[..5] {
        bench
            .machine
            .settle(*ticket, Outcome::Good, bench.now, 0, &rules);
    }
    assert_eq!(bench.machine.phase(), Phase::Probing);
    bench
        .machine
        .settle(probe, Outcome::Good, bench.now, 0, &rules);
    for ticket in &old[5..] {
        bench
            .machine
            .settle(*ticket, Outcome::Bad, bench.now, 0, &rules);
    }
    assert_eq!(bench.machine.phase(), Phase::Closed);
}

#[test]
fn retries_are_a_share_of_requests_with_a_floor() {
    for (requests, expected) in [(1, 30), (100, 30), (1000, 200)] {
        let mut bench = Bench::new();
        bench.many(requests, Outcome::Good);
        let (now, rules) = (bench.now, bench.rules);
        let again = |bench: &mut Bench| bench.machine.admit(Attempt::Again, now, &rules).is_ok();
        let made = (0..1000).filter(|_| again(&mut bench)).count();
        assert_eq!(made, expected, "of {requests}");
    }
}

#[test]
fn a_breaker_that_is_off_lets_all_pass() {
    let mut bench = Bench::new();
    bench.rules.breaker.enabled = false;
    bench.many(100, Outcome::Bad);
    assert_eq!(bench.machine.phase(), Phase::Closed);
}

#[test]
fn a_pass_that_is_dropped_frees_the_probe() {
    let now = Instant::now();
    let rules = HealthRules::default();
    let health = Arc::new(Health::new(now));
    for _ in 0..5 {
        let pass = health.admit(Attempt::First, now, &rules).unwrap();
        pass.settle(Outcome::Bad, now, u32::MAX);
    }
    let later = now + 4 * SECOND;
    let probe = health.admit(Attempt::First, later, &rules).unwrap();
    assert!(health.admit(Attempt::First, later, &rules).is_err());
    drop(probe);
    assert!(health.admit(Attempt::First, later, &rules).is_ok());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Request(Outcome),
    Wait(u64),
    Again,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Request(Outcome::Good)),
        6 => Just(Step::Request(Outcome::Bad)),
        1 => Just(Step::Request(Outcome::Unknown)),
        3 => (0..20_000_u64).prop_map(Step::Wait),
        3 => Just(Step::Again),
    ]
}

proptest! {
    /// Whatever happens: never open longer than its limit, never shut for good, open after so many failures in a
    /// row, and no more retries than the budget in any window.
    #[test]
    fn it_keeps_its_promises(steps in prop::collection::vec(step(), 1..400), chance: u32) {
        let mut bench = Bench::new();
        let rules = bench.rules;
        let mut in_a_row = 0;
        let mut retries: Vec<Instant> = Vec::new();
        let mut requests: Vec<Instant> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(ms) => bench.now += Duration::from_millis(ms),
                Step::Request(outcome) => {
                    let was_open = bench.machine.phase() != Phase::Closed;
                    let Ok(ticket) = bench.machine.admit(Attempt::First, bench.now, &rules) else {
                        prop_assert!(was_open);
                        continue;
                    };
                    requests.push(bench.now);
                    bench.machine.settle(ticket, outcome, bench.now, chance, &rules);
                    in_a_row = match outcome {
                        Outcome::Good => 0,
                        Outcome::Bad => in_a_row + 1,
                        Outcome::Unknown => in_a_row,
                    };
                    prop_assert!(in_a_row < 5 || bench.machine.phase() != Phase::Closed);
                    prop_assert!(bench.machine.phase() != Phase::Probing);
                }
                Step::Again => {
                    if let Ok(ticket) = bench.machine.admit(Attempt::Again, bench.now, &rules) {
                        retries.push(bench.now);
                        bench.machine.settle(ticket, Outcome::Unknown, bench.now, chance, &rules);
                    }
                }
            }
            if let Some(open) = bench.open_for() {
                prop_assert!(open <= rules.breaker.open_max);
            }
            let recent = |times: &[Instant], window: Duration| {
                times.iter().filter(|at| bench.now.duration_since(**at) < window).count()
            };
            // The window slides by a tenth: what is counted is at least nine tenths of it.
            let made = recent(&retries, rules.breaker.window * 9 / 10);
            prop_assert!(made <= 30.max(recent(&requests, rules.breaker.window) / 5));
        }
    }
}
