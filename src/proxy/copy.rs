//! Runs a copy between two resources: the answer of the one is the request of the other.
//!
//! `storage::s3::copy` says what to send and what answers mean. Here both exchanges run at once, with a chunk between
//! them and the client waiting beside: [`late`] keeps it informed, and its leaving ends the copy as long as the last
//! piece has not left for the target. That is the point of no return: up to it, whatever fails or is cancelled resets
//! the target's connection, and the target keeps nothing. A source that breaks off is asked for the rest ([`reading`]).

pub mod reading;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode};

use crate::error::{Error, Result};
use crate::message::body::BodyStep;
use crate::pipeline::Crossing;
use crate::policy::route::{Bucket, Resource};
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{Answer, Body, Failed, Outgoing, exchange};
use crate::proxy::late::{self, Outcome};
use crate::proxy::record::{Aside, Record};
use crate::proxy::upload::{ClientBody, Sender, Source};
use crate::proxy::{clock, relay, storage};
use crate::storage::s3::body::UploadForm;
use crate::storage::s3::copy::{CopyPipe, Found, Stored, TAGS_BYTES_MAX, Transfer};
use crate::storage::s3::error::FAILURE_BYTES_MAX;
use crate::storage::s3::upstream::UpstreamRequest;
use reading::{Reading, Rest, Resumed};

/// Runs the copy and answers the client.
pub async fn run(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    crossing: &Crossing,
) -> Result<()> {
    record.bucket = Some(Arc::clone(&crossing.target));
    record.copy = Some((Arc::clone(&crossing.source), 0));
    let transfer = Transfer::new(
        &crossing.op,
        &client.head().headers,
        &crossing.source,
        &crossing.target,
        crossing.object_bytes_max,
    )?;
    let run = Run {
        engine,
        arrived,
        crossing,
        transfer: &transfer,
        committed: Arc::new(AtomicBool::new(false)),
    };
    let committed = Arc::clone(&run.committed);
    let ended = late::wait(client, arrived, &committed, run.perform(record)).await?;
    late::finish(client, arrived, record, ended).await
}

struct Run<'a> {
    engine: &'a Engine,
    arrived: &'a Arrived,
    crossing: &'a Crossing,
    transfer: &'a Transfer<'a>,
    /// The last piece may have left: the copy runs to its end, whoever still waits for it.
    committed: Arc<AtomicBool>,
}

impl Run<'_> {
    async fn perform(self, record: &mut Record) -> Result<Outcome> {
        let bucket = &self.crossing.source;
        let request = self.transfer.read()?;
        let mut answer = self.read(record, &request).await?;
        let status = answer.head()?.status;
        if !status.is_success() {
            let document = document(&mut answer, bucket, FAILURE_BYTES_MAX).await;
            let failure =
                self.transfer
                    .refused(status, answer.headers()?, &document.unwrap_or_default());
            self.engine.dialer.release(answer.link).await;
            return Ok(Outcome::Failed(failure));
        }
        let found = self.transfer.found(status, answer.headers()?)?;
        let aside = record.set_aside();
        let tags = match self.transfer.read_tags(&found)? {
            Some(request) => match self.tags(record, &request).await? {
                Ok(tags) => Some(tags),
                Err(failed) => return Ok(failed),
            },
            None => None,
        };
        let (request, form, pipe) = self.transfer.write(&found, tags)?;
        let rest = RestOf {
            run: &self,
            found: &found,
        };
        let reading = Reading::new(answer, aside, &bucket.resource);
        let mut source = Resumed::new(&rest, reading);
        let sent = self.send(record, &mut source, &request, &form, pipe).await;
        record.copy = Some((Arc::clone(bucket), source.taken));
        let sent = sent.map_err(|failed| {
            if let Some(reason) = source.failed() {
                record.aside_failed(reason);
            }
            record.gave_up(failed)
        })?;
        source.end(&self.engine.dialer).await;
        self.conclude(record, &found, sent).await
    }

    /// Asks the source.
    async fn read(&self, record: &mut Record, request: &UpstreamRequest) -> Result<Answer> {
        let bucket = &self.crossing.source;
        let answer = self.ask(record, bucket, request, Body::None, true).await;
        answer.map_err(|failed| record.gave_up(failed))
    }

    /// Reads the source's tags.
    async fn tags(
        &self,
        record: &mut Record,
        request: &UpstreamRequest,
    ) -> Result<Result<HeaderValue, Outcome>> {
        let bucket = &self.crossing.source;
        let mut answer = self.read(record, request).await?;
        let status = answer.head()?.status;
        let document = document(&mut answer, bucket, TAGS_BYTES_MAX).await?;
        let tags = if status == StatusCode::OK {
            Ok(self.transfer.tags(&document)?)
        } else {
            let failure = self.transfer.refused(status, answer.headers()?, &document);
            Err(Outcome::Failed(failure))
        };
        self.engine.dialer.release(answer.link).await;
        Ok(tags)
    }

    /// Sends the source's body to the target.
    async fn send(
        &self,
        record: &mut Record,
        source: &mut Resumed<'_>,
        request: &UpstreamRequest,
        form: &UploadForm,
        pipe: CopyPipe,
    ) -> Result<Answer, Failed> {
        let still_valid = storage::still_valid(self.engine, record);
        let committed = Arc::clone(&self.committed);
        let step: Box<dyn BodyStep> = Box::new(pipe);
        // A store has no minimum rate, and its length is known: silence is its idle time, and excess the pipe's to see.
        let mut body = ClientBody::new(Some(step), false, 0, u64::MAX, form.content_length)
            .commit_if(move || {
                still_valid()?;
                committed.store(true, Ordering::Relaxed);
                Ok(())
            });
        let bucket = &self.crossing.target;
        let streamed = if form.verify_before_head() {
            let read = body.read_empty(Sender::Upstream(source)).await;
            read.map_err(|error| Failed { error, attempts: 0 })?;
            Body::None
        } else {
            Body::Upstream(&mut body, source)
        };
        let idempotent = self.transfer.may_repeat();
        self.ask(record, bucket, request, streamed, idempotent)
            .await
    }

    /// What the target's answer comes to.
    async fn conclude(
        &self,
        record: &mut Record,
        found: &Found,
        mut answer: Answer,
    ) -> Result<Outcome> {
        let bucket = &self.crossing.target;
        let status = answer.head()?.status;
        let document = document(&mut answer, bucket, FAILURE_BYTES_MAX).await;
        let headers = answer.headers()?;
        if !status.is_success() {
            let document = document.unwrap_or_default();
            let failure = self.transfer.not_stored(status, headers, &document);
            return Ok(Outcome::Failed(failure));
        }
        let stored = self.transfer.stored(found, headers, clock::now())?;
        self.engine.dialer.release(answer.link).await;
        match stored {
            Stored::Done(reply) => Ok(Outcome::Done(reply)),
            Stored::Wrong(undo, error) => {
                record.upstream_failed(&error);
                if let Some(undo) = undo {
                    self.take_back(record, &undo).await;
                }
                Err(error)
            }
        }
    }

    /// Deletes a copy that is not what it should be.
    async fn take_back(&self, record: &mut Record, undo: &UpstreamRequest) {
        let bucket = &self.crossing.target;
        let resource = &bucket.resource.name;
        match self.ask(record, bucket, undo, Body::None, true).await {
            Ok(answer) if answer.status() < 300 => {
                tracing::warn!(%resource, "a copy came out wrong and was deleted");
            }
            Ok(answer) => {
                let status = answer.status();
                tracing::error!(%resource, status, "a copy came out wrong and was not deleted");
            }
            Err(Failed { error, .. }) => {
                tracing::error!(%resource, %error, "a copy came out wrong and was not deleted");
            }
        }
    }

    /// One exchange of the record's, up to the head of its answer.
    async fn ask(
        &self,
        record: &mut Record,
        bucket: &Bucket,
        request: &UpstreamRequest,
        body: Body<'_>,
        idempotent: bool,
    ) -> Result<Answer, Failed> {
        record.sending(&bucket.resource);
        let answer = self.exchange(bucket, request, body, idempotent).await?;
        record.answered(&answer);
        Ok(answer)
    }

    async fn exchange(
        &self,
        bucket: &Bucket,
        request: &UpstreamRequest,
        mut body: Body<'_>,
        idempotent: bool,
    ) -> Result<Answer, Failed> {
        let resource: &Arc<Resource> = &bucket.resource;
        let engine = self.engine;
        let ready = engine.credentials.ready(&engine.dialer, resource).await;
        let ready = ready.map_err(|error| Failed { error, attempts: 0 })?;
        let head = || {
            let account = resource.s3();
            let account = account.ok_or_else(|| Error::internal("not an S3 resource"))?;
            storage::signed(request, account, &ready, self.arrived)
        };
        let outgoing = Outgoing {
            resource,
            head: &head,
            body: body.by_ref(),
            idempotent,
            first_byte: resource.timeouts.first_byte,
        };
        // `late` watches the client.
        exchange(&self.engine.dialer, None, outgoing).await
    }
}

/// What is left of an object whose reading broke off.
struct RestOf<'a> {
    run: &'a Run<'a>,
    found: &'a Found,
}

impl RestOf<'_> {
    async fn ask(&self, taken: u64) -> Result<Option<Reading>> {
        let transfer = self.run.transfer;
        let Some(request) = transfer.read_on(self.found, taken)? else {
            return Ok(None);
        };
        let sent = Instant::now();
        let bucket = &self.run.crossing.source;
        let answer = self.run.exchange(bucket, &request, Body::None, true).await;
        let answer = answer?;
        let aside = Aside::new(Arc::clone(&bucket.resource), &answer, sent);
        let head = answer.head()?;
        transfer.goes_on(self.found, taken, head.status, &head.headers)?;
        Ok(Some(Reading::new(answer, Some(aside), &bucket.resource)))
    }
}

impl Rest for RestOf<'_> {
    fn resource(&self) -> &Arc<Resource> {
        &self.run.crossing.source.resource
    }

    fn rest(&self, taken: u64) -> BoxFuture<'_, Result<Option<Reading>>> {
        Box::pin(self.ask(taken))
    }
}

/// A short body, whole.
async fn document(answer: &mut Answer, bucket: &Bucket, bytes_max: usize) -> Result<Vec<u8>> {
    relay::collect(answer, bucket.resource.timeouts.idle, bytes_max).await
}
