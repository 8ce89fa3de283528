//! The exchanges with one store: an operation of the model out, signed, and its reply back.
//!
//! An upload is compared with what the store says that it has; where the two differ, it is taken back.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;

use super::upload::Upload;
use crate::error::{Error, Kind, Result};
use crate::policy::credential::ReadyCredential;
use crate::policy::route::{Bucket, Resource};
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{self, Answer, Body, Failed, Outgoing};
use crate::proxy::head::RequestHead;
use crate::proxy::late;
use crate::proxy::record::Exchanges;
use crate::proxy::upload::{ClientBody, Sender, Source};
use crate::proxy::{clock, head, ids, relay};
use crate::storage as model;
use crate::storage::codec::{
    ReplyBody, ReplyHead, Target, Upstream, UpstreamBody, UpstreamHead, UpstreamRequest,
};
use crate::storage::object::{Extent, ObjectMeta, Observed, StoredChecksum};
use crate::storage::op::{Operation, ReadObject};
use crate::storage::reply::Reply;
use crate::storage::s3::body::Trailing;

/// What an exchange told, and the answer whose body is the object.
pub(super) struct Told {
    pub reply: Reply,
    pub object: Option<Answer>,
}

impl From<Reply> for Told {
    /// Of a reply that is no object's bytes.
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            object: None,
        }
    }
}

/// A bucket, and how it is spoken to.
#[derive(Clone, Copy)]
pub(super) struct Lane<'a> {
    pub engine: &'a Engine,
    pub arrived: &'a Arrived,
    pub bucket: &'a Arc<Bucket>,
    /// The bucket that a copy reads from, where the store can do it by itself.
    pub source: Option<&'a Arc<Bucket>>,
    pub codec: &'static dyn Upstream,
    /// Writes that may be sent again: what the client asked for comes to the same.
    pub may_repeat: bool,
}

impl Lane<'_> {
    /// One request of the operation's own target and its answer.
    pub(super) async fn exchange(
        &self,
        client: Option<&mut Client>,
        record: &mut dyn Exchanges,
        op: &Operation,
        upload: Option<&mut Upload>,
    ) -> Result<Told> {
        // Boxed, here and below: a future is moved on its way into the one that awaits it, and this one is large.
        Box::pin(self.exchange_at(&self.target(), client, record, op, upload)).await
    }

    /// What is known of an object, if there is one.
    pub(super) async fn look(
        &self,
        record: &mut dyn Exchanges,
        look: ReadObject,
    ) -> Result<Option<ObjectMeta>> {
        let look = Operation::HeadObject(Box::new(look));
        match self.exchange(None, record, &look, None).await {
            Ok(told) => {
                let Reply::Object(found) = told.reply else {
                    return Err(Error::internal("no answer to a look"));
                };
                Ok(Some(found.meta))
            }
            Err(error) if error.kind() == Kind::ObjectNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One request whose body comes from `source`, and its answer.
    pub(super) async fn exchange_from(
        &self,
        record: &mut dyn Exchanges,
        op: &Operation,
        body: &mut ClientBody,
        source: &mut dyn Source,
    ) -> Result<Told> {
        let target = self.target();
        let request = self.codec.encode(op, &target)?;
        body.observe(self.codec.digests(op));
        let stream = Some(Body::Upstream(body, source));
        let answer = self.send(None, record, op, &request, stream).await?;
        let observed = body.observed();
        self.receive(&target, record, op, answer, &observed, None)
            .await
    }

    /// One request and its answer, an object's bytes excepted.
    pub(super) async fn exchange_at(
        &self,
        target: &Target<'_>,
        mut client: Option<&mut Client>,
        record: &mut dyn Exchanges,
        op: &Operation,
        mut upload: Option<&mut Upload>,
    ) -> Result<Told> {
        let request = self.codec.encode(op, target)?;
        if let (Some(upload), Some(client)) = (upload.as_deref_mut(), client.as_deref_mut()) {
            upload.body.observe(self.codec.digests(op));
            if upload.verify_before_head {
                // The store would commit on the head alone.
                upload.body.read_empty(Sender::Client(client)).await?;
            }
        }
        let stream = upload.as_deref_mut();
        let stream = stream.map(|upload| Body::Client(&mut upload.body));
        let answer = self.send(client, record, op, &request, stream).await?;
        let trailing = upload.as_deref().and_then(|upload| upload.trailing.clone());
        let observed = upload.map_or_else(Observed::default, |upload| upload.body.observed());
        self.receive(target, record, op, answer, &observed, trailing)
            .await
    }

    /// Where the operation goes.
    pub(super) fn target(&self) -> Target<'_> {
        Target {
            bucket: self.bucket,
            source: self.source.map(|source| &**source),
        }
    }

    /// Reads an answer, and compares what was stored with what was sent.
    async fn receive(
        &self,
        target: &Target<'_>,
        record: &mut dyn Exchanges,
        op: &Operation,
        mut answer: Answer,
        observed: &Observed,
        trailing: Option<Trailing>,
    ) -> Result<Told> {
        let status = answer.head()?.status;
        let idle = target.bucket.resource.timeouts.idle;
        let bytes_max = match self.codec.reply_body(op, status) {
            ReplyBody::Forward => {
                let head = reply_head(&answer)?;
                let reply = self.codec.decode_reply(op, target, head, None, observed)?;
                return Ok(Told {
                    reply,
                    object: Some(answer),
                });
            }
            ReplyBody::None => 0,
            ReplyBody::Document { bytes_max } => bytes_max,
            ReplyBody::Failure { bytes_max } => {
                let document = relay::collect(&mut answer, idle, bytes_max).await;
                let document = document.unwrap_or_default();
                let error = self.codec.decode_error(op, reply_head(&answer)?, &document);
                answer.release(&self.engine.dialer).await;
                return Err(self.refused(error));
            }
        };
        let document = relay::collect(&mut answer, idle, bytes_max).await?;
        let head = reply_head(&answer)?;
        let mut reply = self
            .codec
            .decode_reply(op, target, head, Some(&document), observed)?;
        answer.release(&self.engine.dialer).await;
        if let (Reply::Stored(stored), Some(checksum)) = (
            &mut reply,
            trailing.and_then(|trailing| trailing.checksum()),
        ) {
            // Verified here, though the store was not told: its head had left before.
            stored.checksums.push(StoredChecksum {
                checksum,
                extent: Extent::Whole,
            });
        }
        if let Reply::Stored(stored) = &reply
            && let Err(differs) = stored.verify(observed)
        {
            if let Some(undo) = stored.undo(op) {
                let undone = Box::pin(self.exchange(None, record, &undo, None)).await;
                undone.inspect_err(|error| {
                    tracing::error!(%error, "an object that differs from what was sent stays");
                })?;
            }
            return Err(differs);
        }
        Ok(Told::from(reply))
    }

    /// Sends one request, signed, and waits for the head of its answer.
    async fn send(
        &self,
        client: Option<&mut Client>,
        record: &mut dyn Exchanges,
        op: &Operation,
        request: &UpstreamRequest,
        mut stream: Option<Body<'_>>,
    ) -> Result<Answer> {
        let engine = self.engine;
        let resource = &self.bucket.resource;
        record.sending(resource);
        let ready = engine.credentials.ready(&engine.dialer, resource).await;
        let ready = ready.map_err(|error| record.gave_up(Failed { error, attempts: 0 }))?;
        let documents: [Bytes; 1];
        let body = match (&request.body, &mut stream) {
            (UpstreamBody::None, _) => Body::None,
            (UpstreamBody::Document(document), _) => {
                documents = [document.clone()];
                Body::Memory(&documents)
            }
            (UpstreamBody::Stream, Some(stream)) => stream.by_ref(),
            (UpstreamBody::Stream, None) => {
                return Err(Error::internal("an upload without its body"));
            }
        };
        let first_byte = if op.is_copy() || matches!(op, Operation::CompleteUpload(_)) {
            resource.timeouts.first_byte.max(late::FIRST_BYTE_MIN)
        } else {
            resource.timeouts.first_byte
        };
        let sending = Outgoing {
            resource,
            head: &|| signed(&request.head, resource, &ready, self.arrived),
            body,
            idempotent: op.only_reads() || self.may_repeat,
            first_byte,
        };
        let answer = exchange::exchange(&engine.dialer, client, sending).await;
        let answer = answer.map_err(|failed| {
            if let Some(Body::Upstream(_, source)) = &stream
                && let Some(reason) = source.failed()
            {
                record.aside_failed(reason);
            }
            record.gave_up(failed)
        })?;
        record.answered(&answer);
        Ok(answer)
    }

    /// Notes what a refusal says of our own credential: the next request may do better with another token.
    fn refused(&self, error: Error) -> Error {
        if error.kind() == Kind::UpstreamAuth {
            self.engine.credentials.refused(&self.bucket.resource);
        }
        error
    }
}

fn reply_head(answer: &Answer) -> Result<ReplyHead<'_>> {
    let head = answer.head()?;
    Ok(ReplyHead {
        status: head.status,
        headers: &head.headers,
    })
}

/// The head of one attempt, signed now.
fn signed(
    head: &UpstreamHead,
    resource: &Resource,
    ready: &ReadyCredential,
    arrived: &Arrived,
) -> Result<RequestHead> {
    let mut head = head.clone();
    model::sign(&mut head, resource, ready, clock::now())?;
    if let Some(trace) = arrived.trace.and_then(ids::trace_header) {
        let name = HeaderName::from_static("traceparent");
        head.headers.push((name, trace));
    }
    let headers = head.headers.iter().map(|(name, value)| (name, value));
    head::request_of(&head.method, &head.target, headers)
}
