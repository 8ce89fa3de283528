//! Runs an operation at a resource that speaks another protocol than the client.
//!
//! What is asked and what answers mean is decided in `storage`: a request becomes an operation of the model, a plan says
//! what it takes, the codec of the resource's protocol writes and reads. Here are its exchanges: each signed with the
//! resource's credential, uploads verified on their way and compared with what the store says that it has, objects
//! handed on as they come. What takes a machine of several requests is refused before the first of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use crate::error::{Error, Kind, Result};
use crate::keys::seal::NONCE_BYTES;
use crate::message::body::BodyStep;
use crate::pipeline::Hop;
use crate::policy::credential::ReadyCredential;
use crate::policy::route::{Resource, S3Quirks};
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::{self, Answer, Body, Failed, Outgoing};
use crate::proxy::head::RequestHead;
use crate::proxy::late::{self, Outcome};
use crate::proxy::record::Record;
use crate::proxy::upload::{ClientBody, Sender};
use crate::proxy::{clock, head, ids, relay, storage};
use crate::storage as model;
use crate::storage::codec::{
    ReplyBody, ReplyHead, Target, Upstream, UpstreamBody, UpstreamHead, UpstreamRequest,
};
use crate::storage::object::{Extent, Observed, StoredChecksum};
use crate::storage::op::Operation;
use crate::storage::plan::{self, Plan, Probe, Settled};
use crate::storage::reply::Reply;
use crate::storage::s3::answer::{self, AnswerBody, Asked};
use crate::storage::s3::auth::Payload;
use crate::storage::s3::body::{self, Trailing};
use crate::storage::s3::canonical;
use crate::storage::s3::error::Failure;
use crate::storage::s3::route::{self, RequestBody};
use crate::storage::token::Tokens;

/// Looks at an object that changes between the look and what is done about it.
const LOOKS_MAX: u32 = 3;
/// Pages without an entry that are skipped for one answer. Stops a listing from walking through a whole bucket.
const EMPTY_PAGES_MAX: u32 = 16;
/// Nothing of S3's own integrity is known to the store: all of it is checked here, and framing is peeled.
const ALL_CHECKS_OURS: S3Quirks = S3Quirks {
    verifies_sha256: false,
    trailers: false,
};

/// Carries out what the client asks for, and answers it.
pub async fn run(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    payload: Option<Payload>,
) -> Result<()> {
    let resource = &hop.bucket.resource;
    record.bucket = Some(Arc::clone(&hop.bucket));
    record.sending(resource);
    let codec = model::upstream(resource)?;
    let headers = client.head().headers.clone();
    let mut upload = upload(engine, client, arrived, record, hop, payload)?;
    let length = upload.as_ref().map(|upload| upload.length);
    let masters = engine.live.masters();
    let tokens = Tokens {
        ring: &masters,
        repository: hop.repository,
        bucket: &hop.bucket,
    };
    let mut op = canonical::operation(&hop.op, &headers, length)?;
    tokens.open(&mut op)?;
    let op = op;
    let url = storage::location(client, arrived, &hop.op);
    let asked = Asked {
        op: &hop.op,
        headers: &headers,
        operation: &op,
        bucket: &hop.bucket,
        owner: &hop.owner,
        url: &url,
    };
    if let Some(message) = answer::unasked(&asked) {
        return storage::send(client, arrived, record, message).await;
    }
    let native = hop.source.is_some();
    let planned = plan::plan(&op, &codec.capability(&hop.bucket), native)?;
    let lane = Lane {
        engine,
        arrived,
        hop,
        headers: &headers,
        codec,
        tokens,
    };
    if hop.op.request().row().reply == route::Reply::Late {
        return lane.late(client, record, &asked, planned).await;
    }
    let outcome = match planned {
        Plan::Translate => {
            lane.translate(Some(client), record, &op, upload.as_mut())
                .await
        }
        Plan::Probe(probe) => {
            lane.probe(Some(client), record, &op, probe, upload.as_mut())
                .await
        }
        Plan::Compose(_) => Err(not_composed()),
    };
    if let Some(upload) = &upload {
        record.bytes_in = upload.body.bytes_in;
    }
    let (reply, object) = match outcome {
        Ok(told) => (Ok(told.reply), told.object),
        // Of ours or of the connection: answered as everywhere.
        Err(error) if !is_answer(&error) => return Err(error),
        Err(error) => (Err(error), None),
    };
    lane.answer(client, record, &asked, reply, object).await
}

/// A client's body, on its way through verification.
struct Upload {
    body: ClientBody,
    /// Of the object or piece.
    length: u64,
    verify_before_head: bool,
    /// A checksum that comes behind the body.
    trailing: Option<Trailing>,
}

fn upload(
    engine: &Engine,
    client: &Client,
    arrived: &Arrived,
    record: &Record,
    hop: &Hop,
    payload: Option<Payload>,
) -> Result<Option<Upload>> {
    let request = hop.op.request();
    let streams = request.row().request_body == RequestBody::Stream;
    let Some(payload) = payload.filter(|_| streams) else {
        return Ok(None);
    };
    let head = client.head();
    let most = hop.object_bytes_max;
    let (form, pipe) = body::plan(request, payload, &head.headers, ALL_CHECKS_OURS, most)?;
    let trailing = pipe.trailing();
    let step = Some(Box::new(pipe) as Box<dyn BodyStep>);
    let min_rate = arrived.snapshot.limits.min_body_rate;
    let received_max = storage::received_max(&form);
    let length = form.content_length;
    let expects_continue = head.expects_continue();
    let body = ClientBody::new(step, expects_continue, min_rate, received_max, length)
        .commit_if(storage::still_valid(engine, record));
    Ok(Some(Upload {
        body,
        length,
        verify_before_head: form.verify_before_head(),
        trailing,
    }))
}

/// What an exchange told, and the answer whose body is the object.
struct Told {
    reply: Reply,
    object: Option<Answer>,
}

/// The exchanges of one request.
struct Lane<'a> {
    engine: &'a Engine,
    arrived: &'a Arrived,
    hop: &'a Hop,
    /// The client's.
    headers: &'a HeaderMap,
    codec: &'static dyn Upstream,
    tokens: Tokens<'a>,
}

impl Lane<'_> {
    /// An operation that may take minutes: the client is kept informed meanwhile.
    async fn late(
        &self,
        client: &mut Client,
        record: &mut Record,
        asked: &Asked<'_>,
        planned: Plan,
    ) -> Result<()> {
        // The whole request leaves at once: what the client does afterwards changes nothing.
        let committed = AtomicBool::new(true);
        let work = async {
            let told = match planned {
                Plan::Translate => self.translate(None, record, asked.operation, None).await,
                Plan::Probe(probe) => self.probe(None, record, asked.operation, probe, None).await,
                Plan::Compose(_) => Err(not_composed()),
            };
            let reply = match told {
                Ok(told) => Ok(told.reply),
                Err(error) if is_answer(&error) => Err(error),
                Err(error) => return Err(error),
            };
            Ok(match answer::answer(asked, reply) {
                Ok(answer) => Outcome::Done(Box::new(answer.message)),
                Err(failure) => Outcome::Failed(failure),
            })
        };
        let ended = late::wait(client, self.arrived, &committed, work).await?;
        late::finish(client, self.arrived, record, ended).await
    }

    /// One request, or as many as a listing takes to find something.
    async fn translate(
        &self,
        mut client: Option<&mut Client>,
        record: &mut Record,
        op: &Operation,
        upload: Option<&mut Upload>,
    ) -> Result<Told> {
        let mut told = self
            .exchange(client.as_deref_mut(), record, op, upload)
            .await?;
        let mut skipped = 0;
        while let (Operation::ListObjects(list), Reply::Objects(page)) = (op, &told.reply)
            && let Some(next) = list.next(page)
            && skipped < EMPTY_PAGES_MAX
        {
            skipped += 1;
            let next = Operation::ListObjects(next);
            told = self
                .exchange(client.as_deref_mut(), record, &next, None)
                .await?;
        }
        self.tokens.seal(op, &mut told.reply, nonce)?;
        Ok(told)
    }

    /// A look at the object, then the request that it makes of the operation.
    async fn probe(
        &self,
        mut client: Option<&mut Client>,
        record: &mut Record,
        op: &Operation,
        probe: Probe,
        mut upload: Option<&mut Upload>,
    ) -> Result<Told> {
        let mut looks = 0;
        loop {
            looks += 1;
            let look = probe.request(op);
            let look = look.ok_or_else(|| Error::internal("a look without an object"))?;
            let look = Operation::HeadObject(Box::new(look));
            // The look at a copy's source goes to its bucket; everything else to that of the request.
            let bucket = match (probe, &self.hop.source) {
                (Probe::Source, Some(source)) => source,
                (Probe::Source | Probe::Object, _) => &self.hop.bucket,
            };
            let target = Target {
                bucket,
                source: None,
            };
            // A client that is heard meanwhile would lose what it sends: that is the body of the upload.
            let heard = client.as_deref_mut().filter(|_| upload.is_none());
            let looked = self.exchange_at(&target, heard, record, &look, None).await;
            let found = match looked {
                Ok(told) => {
                    let Reply::Object(found) = told.reply else {
                        return Err(Error::internal("no answer to a look"));
                    };
                    Some(found.meta)
                }
                Err(error) if error.kind() == Kind::ObjectNotFound => None,
                Err(error) => return Err(error),
            };
            let settled = match probe.settle(op, found.as_ref())? {
                Settled::Send(op) => op,
                Settled::NotModified(same) => {
                    return Ok(Told {
                        reply: Reply::NotModified(same),
                        object: None,
                    });
                }
            };
            let told = self
                .exchange(
                    client.as_deref_mut(),
                    record,
                    &settled,
                    upload.as_deref_mut(),
                )
                .await;
            match told {
                // It changed since the look. What was uploaded is gone; a reader may look again.
                Err(error)
                    if error.kind() == Kind::PreconditionFailed
                        && op.only_reads()
                        && looks < LOOKS_MAX => {}
                told => return told,
            }
        }
    }

    /// One request of the operation's own target and its answer.
    async fn exchange(
        &self,
        client: Option<&mut Client>,
        record: &mut Record,
        op: &Operation,
        upload: Option<&mut Upload>,
    ) -> Result<Told> {
        let target = Target {
            bucket: &self.hop.bucket,
            source: self.hop.source.as_deref(),
        };
        self.exchange_at(&target, client, record, op, upload).await
    }

    /// One request and its answer, an object's bytes excepted.
    async fn exchange_at(
        &self,
        target: &Target<'_>,
        mut client: Option<&mut Client>,
        record: &mut Record,
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
        let mut answer = self
            .send(client, record, op, &request, upload.as_deref_mut())
            .await?;
        let trailing = upload.as_deref().and_then(|upload| upload.trailing.clone());
        let observed = upload.map_or_else(Observed::default, |upload| upload.body.observed());
        let status = answer.head()?.status;
        let idle = self.hop.bucket.resource.timeouts.idle;
        let bytes_max = match self.codec.reply_body(op, status) {
            ReplyBody::Forward => {
                let head = reply_head(&answer)?;
                let reply = self.codec.decode_reply(op, target, head, None, &observed)?;
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
            .decode_reply(op, target, head, Some(&document), &observed)?;
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
            && let Err(differs) = stored.verify(&observed)
        {
            if let Some(undo) = stored.undo(op) {
                let undone = Box::pin(self.exchange(None, record, &undo, None)).await;
                undone.inspect_err(|error| {
                    tracing::error!(%error, "an object that differs from what was sent stays");
                })?;
            }
            return Err(differs);
        }
        Ok(Told {
            reply,
            object: None,
        })
    }

    /// Sends one request, signed, and waits for the head of its answer.
    async fn send(
        &self,
        client: Option<&mut Client>,
        record: &mut Record,
        op: &Operation,
        request: &UpstreamRequest,
        upload: Option<&mut Upload>,
    ) -> Result<Answer> {
        let engine = self.engine;
        let resource = &self.hop.bucket.resource;
        record.sending(resource);
        let ready = engine.credentials.ready(&engine.dialer, resource).await;
        let ready = ready.map_err(|error| record.gave_up(Failed { error, attempts: 0 }))?;
        let documents: [Bytes; 1];
        let body = match (&request.body, upload) {
            (UpstreamBody::None, _) => Body::None,
            (UpstreamBody::Document(document), _) => {
                documents = [document.clone()];
                Body::Memory(&documents)
            }
            (UpstreamBody::Stream, Some(upload)) => Body::Client(&mut upload.body),
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
            idempotent: op.only_reads() || storage::may_repeat(self.hop.op.request(), self.headers),
            first_byte,
        };
        let answer = exchange::exchange(&engine.dialer, client, sending).await;
        let answer = answer.map_err(|failed| record.gave_up(failed))?;
        record.answered(&answer);
        Ok(answer)
    }

    /// Notes what a refusal says of our own credential: the next request may do better with another token.
    fn refused(&self, error: Error) -> Error {
        if error.kind() == Kind::UpstreamAuth {
            self.engine.credentials.refused(&self.hop.bucket.resource);
        }
        error
    }

    /// Tells the client.
    async fn answer(
        &self,
        client: &mut Client,
        record: &mut Record,
        asked: &Asked<'_>,
        reply: Result<Reply>,
        object: Option<Answer>,
    ) -> Result<()> {
        let answer = match answer::answer(asked, reply) {
            Ok(answer) => answer,
            Err(failure) => return self.fail(client, record, &failure).await,
        };
        if answer.body == AnswerBody::Own {
            return storage::send(client, self.arrived, record, answer.message).await;
        }
        let (status, headers) = (answer.message.status, answer.message.headers);
        match (answer.body, object) {
            (AnswerBody::Own | AnswerBody::None, _) => {
                let framing = storage::Framing::NoBody;
                storage::start(client, self.arrived, record, status, headers, framing)
            }
            (AnswerBody::Forward, Some(object)) => {
                let framing = storage::Framing::Body;
                storage::start(client, self.arrived, record, status, headers, framing)?;
                let idle = self.hop.bucket.resource.timeouts.idle;
                let bytes = &mut record.bytes_out;
                relay::relay(&self.engine.dialer, object, client, idle, bytes).await
            }
            (AnswerBody::Forward, None) => Err(Error::internal("an object without its bytes")),
        }
    }

    async fn fail(
        &self,
        client: &mut Client,
        record: &mut Record,
        failure: &Failure,
    ) -> Result<()> {
        record.failed(failure.kind, &failure.code);
        let path = client.head().path();
        let reply = storage::failure_reply(failure, &path, &self.arrived.id);
        storage::send(client, self.arrived, record, reply).await
    }
}

/// Fresh random bytes for a token.
fn nonce() -> Result<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(Error::internal)?;
    Ok(nonce)
}

fn reply_head(answer: &Answer) -> Result<ReplyHead<'_>> {
    let head = answer.head()?;
    Ok(ReplyHead {
        status: head.status,
        headers: &head.headers,
    })
}

/// Whether an error is the store's word about the operation, and so has a translation; all others are answered, logged
/// and counted as those of forwarded requests.
fn is_answer(error: &Error) -> bool {
    !matches!(
        error.kind(),
        Kind::ClientGone
            | Kind::IncompleteBody
            | Kind::Internal
            | Kind::RequestTimeout
            | Kind::UpstreamBroken
            | Kind::UpstreamTimeout
            | Kind::UpstreamUnavailable
    )
}

fn not_composed() -> Error {
    Error::unsupported(
        "This request takes several at the store of this bucket, which is not implemented.",
    )
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
