//! The source's answer while its body is sent on: where it breaks off, the rest is asked for and the copy goes on.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Run;
use crate::error::{Error, Result};
use crate::policy::route::Resource;
use crate::proxy::exchange::{Answer, Body};
use crate::proxy::record::{Aside, count_upstream_error};
use crate::proxy::relay;
use crate::proxy::upload::Source;
use crate::storage::s3::copy::Found;
use crate::telemetry::labels::{RetryOutcome, UpstreamError};

/// How often one copy asks for a rest. Stops a source that gives a little at a time from holding a copy for ever.
const RESUMES_MAX: u32 = 3;

/// See the module's documentation.
pub(super) struct Reading<'a> {
    run: &'a Run<'a>,
    found: &'a Found,
    answer: Answer,
    /// Counts the exchange that runs, when it is over.
    aside: Option<Aside>,
    /// Bytes read so far, over all answers.
    pub(super) taken: u64,
    resumes: u32,
    /// The copy failed for the source's sake, and why.
    pub(super) failed: Option<UpstreamError>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        run: &'a Run<'a>,
        found: &'a Found,
        mut answer: Answer,
        aside: Option<Aside>,
    ) -> Self {
        let idle = run.crossing.source.resource.timeouts.idle;
        answer.link.session.set_read_timeout(Some(idle));
        Self {
            run,
            found,
            answer,
            aside,
            taken: 0,
            resumes: 0,
            failed: None,
        }
    }

    /// Ends the reading; the connection is kept where its message has ended.
    pub(super) async fn end(self) {
        drop(self.aside);
        if self.answer.link.session.has_whole_body() {
            self.run.engine.dialer.release(self.answer.link).await;
        }
    }

    fn resource(&self) -> &'a Arc<Resource> {
        &self.run.crossing.source.resource
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        loop {
            let error = match self.answer.link.session.next_chunk().await {
                Ok(chunk) => {
                    self.taken += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                    return Ok(chunk);
                }
                Err(error) => relay::truncated(&error),
            };
            let reason = count_upstream_error(self.resource(), &error, true);
            if self.resumes >= RESUMES_MAX {
                self.failed = reason;
                return Err(error);
            }
            self.resumes += 1;
            if let Err(error) = self.resume(error).await {
                self.failed = reason;
                self.resource().meters.retry(RetryOutcome::Failed);
                return Err(error);
            }
            self.resource().meters.retry(RetryOutcome::Succeeded);
        }
    }

    /// Asks for what is missing, pinned to the object that is being read. Fails with `error` where nothing can be asked.
    async fn resume(&mut self, error: Error) -> Result<()> {
        let transfer = self.run.transfer;
        let Some(request) = transfer.read_on(self.found, self.taken)? else {
            return Err(error);
        };
        let sent = Instant::now();
        let bucket = &self.run.crossing.source;
        let answer = self.run.exchange(bucket, &request, Body::None, true).await;
        let mut answer = answer?;
        self.aside = Some(Aside::new(Arc::clone(&bucket.resource), &answer, sent));
        let head = answer.head()?;
        transfer.goes_on(self.found, self.taken, head.status, &head.headers)?;
        let idle = bucket.resource.timeouts.idle;
        answer.link.session.set_read_timeout(Some(idle));
        self.answer = answer;
        tracing::info!(resource = %bucket.resource.name, %error, "a copy's source broke off and was read on");
        Ok(())
    }
}

impl Source for Reading<'_> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(self.read())
    }

    fn is_done(&self) -> bool {
        self.answer.link.session.has_whole_body()
    }

    fn refused(&mut self, error: &Error) {
        self.failed = count_upstream_error(self.resource(), error, true);
    }
}
