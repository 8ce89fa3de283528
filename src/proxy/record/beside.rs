//! Exchanges of one request that run at once: each is counted for itself, and the request's record knows of none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Aside, Record, count_upstream_error};
use crate::error::Error;
use crate::policy::route::Resource;
use crate::proxy::exchange::{Answer, Failed};
use crate::telemetry::labels::{Class, UpstreamError};
use crate::telemetry::meters::UpstreamSample;

/// Who is told of an exchange.
pub trait Exchanges: Send {
    /// It is about to begin.
    fn sending(&mut self, resource: &Arc<Resource>);
    /// The head of its answer has arrived.
    fn answered(&mut self, answer: &Answer);
    /// It fails for the sake of another one, which has been counted.
    fn aside_failed(&mut self, reason: UpstreamError);
    /// It got no answer.
    fn gave_up(&mut self, failed: Failed) -> Error;
}

impl Exchanges for Record {
    fn sending(&mut self, resource: &Arc<Resource>) {
        Self::sending(self, resource);
    }

    fn answered(&mut self, answer: &Answer) {
        Self::answered(self, answer);
    }

    fn aside_failed(&mut self, reason: UpstreamError) {
        Self::aside_failed(self, reason);
    }

    fn gave_up(&mut self, failed: Failed) -> Error {
        Self::gave_up(self, failed)
    }
}

/// One of several exchanges that run at once.
pub struct Beside {
    class: Class,
    running: Option<Running>,
}

struct Running {
    resource: Arc<Resource>,
    sent: Instant,
    /// Status, and how long it took until the head of the answer.
    answered: Option<(u16, Duration)>,
}

impl Beside {
    pub fn new(class: Class) -> Self {
        Self {
            class,
            running: None,
        }
    }

    /// The exchange goes on while another one runs, and is counted by what is returned.
    pub fn set_aside(mut self) -> Option<Aside> {
        let running = self.running.take()?;
        let (status, ttfb) = running.answered?;
        Some(Aside {
            resource: running.resource,
            status,
            sent: running.sent,
            ttfb: Some(ttfb),
        })
    }

    fn ended(&mut self) {
        if let Some(running) = self.running.take()
            && let Some((status, ttfb)) = running.answered
        {
            running.resource.meters.upstream(&UpstreamSample {
                class: self.class,
                status,
                duration: running.sent.elapsed(),
                ttfb: Some(ttfb),
            });
        }
    }
}

impl Exchanges for Beside {
    fn sending(&mut self, resource: &Arc<Resource>) {
        self.ended();
        self.running = Some(Running {
            resource: Arc::clone(resource),
            sent: Instant::now(),
            answered: None,
        });
    }

    fn answered(&mut self, answer: &Answer) {
        if let Some(running) = &mut self.running {
            running.answered = Some((answer.status(), running.sent.elapsed()));
        }
    }

    fn aside_failed(&mut self, _reason: UpstreamError) {
        self.running = None;
    }

    fn gave_up(&mut self, failed: Failed) -> Error {
        if let Some(running) = self.running.take() {
            count_upstream_error(&running.resource, &failed.error, running.answered.is_some());
        }
        failed.error
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.ended();
    }
}
