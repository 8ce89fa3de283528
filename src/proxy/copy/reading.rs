//! A source's answer while its body is sent on: where it breaks off, the rest is asked for and the copy goes on.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::error::{Error, Result};
use crate::policy::route::Resource;
use crate::proxy::dial::Dialer;
use crate::proxy::exchange::Answer;
use crate::proxy::record::{Aside, count_upstream_error};
use crate::proxy::relay;
use crate::proxy::upload::Source;
use crate::telemetry::labels::{RetryOutcome, UpstreamError};

/// How often one copy asks for a rest. Stops a source that gives a little at a time from holding a copy for ever.
const RESUMES_MAX: u32 = 3;

/// Where a source's rest comes from.
pub trait Rest: Sync {
    fn resource(&self) -> &Arc<Resource>;

    /// Asks for what is left after so many bytes, of the very object that is being read. `None`: it cannot be said which
    /// object that was.
    fn rest(&self, taken: u64) -> BoxFuture<'_, Result<Option<Reading>>>;
}

/// An answer whose body is being read.
pub struct Reading {
    answer: Answer,
    /// Counts the exchange, when it is over.
    aside: Option<Aside>,
}

impl Reading {
    pub fn new(mut answer: Answer, aside: Option<Aside>, resource: &Resource) -> Self {
        let idle = resource.timeouts.idle;
        answer.link.session.set_read_timeout(Some(idle));
        Self { answer, aside }
    }
}

/// See the module's documentation.
pub struct Resumed<'a> {
    rest: &'a dyn Rest,
    reading: Reading,
    /// Bytes read so far, over all answers.
    pub taken: u64,
    resumes: u32,
    /// The copy failed for the source's sake, and why.
    failed: Option<UpstreamError>,
}

impl<'a> Resumed<'a> {
    pub fn new(rest: &'a dyn Rest, reading: Reading) -> Self {
        Self {
            rest,
            reading,
            taken: 0,
            resumes: 0,
            failed: None,
        }
    }

    /// Ends the reading; the connection is kept where its message has ended.
    pub async fn end(self, dialer: &Dialer) {
        let Reading { answer, aside } = self.reading;
        drop(aside);
        if answer.link.session.has_whole_body() {
            dialer.release(answer.link).await;
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        loop {
            let error = match self.reading.answer.link.session.next_chunk().await {
                Ok(chunk) => {
                    self.taken += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                    return Ok(chunk);
                }
                Err(error) => relay::truncated(&error),
            };
            let resource = self.rest.resource();
            let reason = count_upstream_error(resource, &error, true);
            if self.resumes >= RESUMES_MAX {
                self.failed = reason;
                return Err(error);
            }
            self.resumes += 1;
            match self.rest.rest(self.taken).await {
                Ok(Some(reading)) => {
                    resource.meters.retry(RetryOutcome::Succeeded);
                    tracing::info!(resource = %resource.name, %error, "a copy's source broke off and was read on");
                    self.reading = reading;
                }
                refused => {
                    self.failed = reason;
                    resource.meters.retry(RetryOutcome::Failed);
                    return Err(refused.err().unwrap_or(error));
                }
            }
        }
    }
}

impl Source for Resumed<'_> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(self.read())
    }

    fn is_done(&self) -> bool {
        self.reading.answer.link.session.has_whole_body()
    }

    fn refused(&mut self, error: &Error) {
        self.failed = count_upstream_error(self.rest.resource(), error, true);
    }

    fn failed(&self) -> Option<UpstreamError> {
        self.failed
    }
}
