//! The attempts of one exchange: asks the resource's health before each, tells it after, and pauses in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::error::{Error, Fault, Kind, Result};
use crate::policy::health::{Attempt, Denied, Outcome, Pass, Phase};
use crate::policy::route::{Resource, ResourceKind};
use crate::storage::s3::error::Failure;
use crate::telemetry::labels::RetryOutcome;

/// Longest pause before the second attempt; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(50);
/// Doublings of the pause. Stops a long list of attempts from pausing for minutes.
const DOUBLINGS_MAX: u32 = 6;

/// See the module's documentation.
pub(super) struct Tries<'a> {
    resource: &'a Arc<Resource>,
    pass: Option<Pass>,
    made: u32,
    /// The wait for the answer is the resource's own, and not cut short by the client.
    full_wait: bool,
}

impl<'a> Tries<'a> {
    /// Begins the first attempt, unless the breaker is open. `first_byte`: how long an answer will be waited for.
    pub(super) fn begin(resource: &'a Arc<Resource>, first_byte: Duration) -> Result<Self> {
        let pass = resource
            .health
            .admit(Attempt::First, Instant::now(), &resource.health_rules)
            .map_err(refused)?;
        Ok(Self {
            resource,
            pass: Some(pass),
            made: 1,
            full_wait: first_byte >= resource.timeouts.first_byte,
        })
    }

    /// Attempts that were made.
    pub(super) fn made(&self) -> u32 {
        self.made
    }

    /// No connection could be made: whether to attempt it again, after a pause.
    pub(super) async fn reconnect(&mut self) -> bool {
        self.settle(Outcome::Bad);
        let rules = &self.resource.health_rules;
        if self.made > rules.retries.attempts {
            return false;
        }
        tokio::time::sleep(pause(self.made)).await;
        let admitted = self
            .resource
            .health
            .admit(Attempt::Again, Instant::now(), rules);
        let Ok(pass) = admitted else {
            return false;
        };
        self.pass = Some(pass);
        self.made += 1;
        true
    }

    /// The connection was an old one, and closed: whether another may be used.
    pub(super) fn replace(&mut self) -> bool {
        let rules = &self.resource.health_rules;
        let may = self.resource.health.may_repeat(Instant::now(), rules);
        self.made += u32::from(may);
        may
    }

    /// The head of an answer is there.
    pub(super) fn answered(&mut self, status: u16) {
        let outcome = match (status, &self.resource.kind) {
            // S3's own way to ask for less: what else it may mean is in the document.
            (503, ResourceKind::S3(_)) => Outcome::Unknown,
            // Asks for less; or says nothing of how the resource fares.
            (429 | 529 | 501 | 505, _) => Outcome::Unknown,
            (500.., _) => Outcome::Bad,
            (..500, _) => Outcome::Good,
        };
        self.settle(outcome);
        self.count(RetryOutcome::Succeeded);
    }

    /// No answer came.
    pub(super) fn failed(&mut self, error: &Error) {
        let kind = error.kind();
        let is_bad =
            kind == Kind::UpstreamUnavailable || (kind == Kind::UpstreamTimeout && self.full_wait);
        if is_bad {
            self.settle(Outcome::Bad);
        }
        self.count(RetryOutcome::Failed);
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(pass) = self.pass.take() {
            let turned = pass.settle(outcome, Instant::now(), chance());
            if let Some(phase) = turned {
                tell(self.resource, phase);
            }
        }
    }

    fn count(&self, outcome: RetryOutcome) {
        if self.made > 1 {
            self.resource.meters.retry(outcome);
        }
    }
}

/// A store's 503 was taken for its way to ask for less. One that says neither that nor until when is a failure.
pub(super) fn understood(resource: &Resource, status: StatusCode, failure: &Failure) {
    if status != StatusCode::SERVICE_UNAVAILABLE || failure.retry_after.is_some() {
        return;
    }
    let rules = &resource.health_rules;
    let turned = resource
        .health
        .failed_after_all(Instant::now(), chance(), rules);
    if let Some(phase) = turned {
        tell(resource, phase);
    }
}

fn tell(resource: &Resource, phase: Phase) {
    resource.meters.breaker_turned(phase.into());
    match phase {
        Phase::Open { .. } => {
            tracing::warn!(resource = %resource.name, "the resource fails, its breaker is open");
        }
        Phase::Closed => tracing::info!(resource = %resource.name, "the breaker is closed again"),
        Phase::Probing => {}
    }
}

fn refused(denied: Denied) -> Error {
    let message = "The resource is not available at the moment. Please try again.";
    let error = Error::new(Kind::Overloaded, message).with_fault(Fault::BreakerOpen);
    match denied {
        Denied::Open { retry_after } => error.with_retry_after(retry_after),
        Denied::OverBudget => error,
    }
}

/// Full jitter: anything up to the longest pause.
fn pause(made: u32) -> Duration {
    let longest = PAUSE * (1 << made.saturating_sub(1).min(DOUBLINGS_MAX));
    longest.mul_f64(f64::from(chance()) / f64::from(u32::MAX))
}

/// Any number. Without chance, things happen together, and nothing worse.
fn chance() -> u32 {
    getrandom::u32().unwrap_or_default()
}
