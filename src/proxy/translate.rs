//! Runs an operation at a resource that speaks another protocol than the client.
//!
//! What is asked and what answers mean is decided in `storage`: a request becomes an operation of the model, a plan says
//! what it takes, the codec of the resource's protocol writes and reads. Here are its exchanges: each signed with the
//! resource's credential, uploads verified on their way and compared with what the store says that it has, objects
//! handed on as they come. What takes several requests is in [`compose`].

mod buckets;
mod compose;
mod lane;
mod upload;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::future::BoxFuture;
use http::HeaderMap;

use crate::error::{Error, Kind, Result};
use crate::pipeline::Hop;
use crate::proxy::client::Client;
use crate::proxy::engine::{Arrived, Engine};
use crate::proxy::exchange::Answer;
use crate::proxy::late::{self, Outcome};
use crate::proxy::record::{Exchanges, Record};
use crate::proxy::{relay, storage};
use crate::storage as model;
use crate::storage::codec::Target;
use crate::storage::op::Operation;
use crate::storage::plan::{self, Machine, Plan, Probe, Settled};
use crate::storage::reply::Reply;
use crate::storage::s3::answer::{self, AnswerBody, Asked};
use crate::storage::s3::auth::Payload;
use crate::storage::s3::canonical;
use crate::storage::s3::error::Failure;
use crate::storage::s3::form::{self, Fields, FileUpload, Form};
use crate::storage::s3::route;
use crate::storage::token::Tokens;
pub use buckets::list_buckets;
use lane::{Lane, Told};
use upload::Upload;

/// Looks at an object that changes between the look and what is done about it.
const LOOKS_MAX: u32 = 3;
/// Pages without an entry that are skipped for one answer. Stops a listing from walking through a whole bucket.
const EMPTY_PAGES_MAX: u32 = 16;

/// Carries out what the client asks for, and answers it.
pub async fn run(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    payload: Option<Payload>,
) -> Result<()> {
    let sent = Sent {
        headers: client.head().headers.clone(),
        upload: upload::upload(engine, client, arrived, record, hop, payload)?,
        form: None,
    };
    boxed(engine, client, arrived, record, hop, sent).await
}

/// Stores the file of a form, and answers as its sender wants. `headers` are those of the upload that it stands for.
pub async fn run_form(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    form: Form,
    (payload, headers): (Payload, HeaderMap),
) -> Result<()> {
    let Form { fields, file } = form;
    let most = hop.object_bytes_max;
    let (plan, pipe) = upload::plan(hop.op.request(), payload, &headers, most)?;
    let step = Box::new(FileUpload { file, pipe });
    let sent = Sent {
        headers,
        upload: Some(upload::of_form(engine, arrived, record, &plan, step)),
        form: Some(fields),
    };
    boxed(engine, client, arrived, record, hop, sent).await
}

/// What a client sent.
struct Sent {
    headers: HeaderMap,
    upload: Option<Upload>,
    /// The fields of a form.
    form: Option<Fields>,
}

/// Boxed by name: the compiler gives up on whether so deep a future may change threads.
fn boxed<'a>(
    engine: &'a Engine,
    client: &'a mut Client,
    arrived: &'a Arrived,
    record: &'a mut Record,
    hop: &'a Hop,
    sent: Sent,
) -> BoxFuture<'a, Result<()>> {
    Box::pin(serve(engine, client, arrived, record, hop, sent))
}

async fn serve(
    engine: &Engine,
    client: &mut Client,
    arrived: &Arrived,
    record: &mut Record,
    hop: &Hop,
    sent: Sent,
) -> Result<()> {
    let Sent {
        headers,
        mut upload,
        form,
    } = sent;
    let resource = &hop.bucket.resource;
    record.bucket = Some(Arc::clone(&hop.bucket));
    record.sending(resource);
    let codec = model::upstream(resource)?;
    let length = upload.as_ref().map(|upload| upload.length);
    let masters = engine.live.masters();
    let tokens = Tokens {
        ring: &masters,
        repository: hop.repository,
        bucket: &hop.bucket,
    };
    let mut op = canonical::operation(&hop.op, &headers, length)?;
    // Ids of uploads at S3 are the store's own: they are forwarded with everything else about them.
    if resource.s3().is_none() {
        tokens.open(&mut op)?;
    }
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
    let source = hop.source.as_ref();
    let source = source.filter(|source| model::copies_natively(source, &hop.bucket));
    let planned = plan::plan(&op, &codec.capability(&hop.bucket), source.is_some())?;
    let lane = Lane {
        engine,
        arrived,
        bucket: &hop.bucket,
        source,
        codec,
        // A browser does not know what became of a form, and repeats it by itself.
        may_repeat: form.is_none() && storage::may_repeat(hop.op.request(), &headers),
    };
    // Bytes that go from one store to another can be stopped; any other request leaves whole, and what the client does
    // afterwards changes nothing.
    let committed = planned != Plan::Compose(Machine::StreamCopy);
    let run = Run {
        lane,
        hop,
        tokens,
        form: form.as_ref(),
        committed: Arc::new(AtomicBool::new(committed)),
    };
    if hop.op.request().row().reply == route::Reply::Late {
        return Box::pin(run.late(client, record, &asked, planned)).await;
    }
    let outcome = run
        .perform(Some(client), record, &op, planned, upload.as_mut())
        .await;
    if let Some(upload) = &upload {
        record.bytes_in += upload.body.bytes_in;
    }
    let (reply, object) = match outcome {
        Ok(told) => (Ok(told.reply), told.object),
        // Of ours or of the connection: answered as everywhere.
        Err(error) if !is_answer(&error) => return Err(error),
        Err(error) => (Err(error), None),
    };
    run.answer(client, record, &asked, reply, object).await
}

/// What came of a look and of what it made of an operation.
enum Seen {
    Told(Told),
    /// It takes several requests, now that the object is known.
    Machine(Box<Operation>, Machine),
}

/// One request of a client's.
struct Run<'a> {
    lane: Lane<'a>,
    hop: &'a Hop,
    tokens: Tokens<'a>,
    /// What a form says of the answer to it.
    form: Option<&'a Fields>,
    /// From here on it runs to its end, whoever still waits for it.
    committed: Arc<AtomicBool>,
}

impl Run<'_> {
    /// An operation that may take minutes: the client is kept informed meanwhile.
    async fn late(
        &self,
        client: &mut Client,
        record: &mut Record,
        asked: &Asked<'_>,
        planned: Plan,
    ) -> Result<()> {
        let work = async {
            let told = self
                .perform(None, record, asked.operation, planned, None)
                .await;
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
        let ended = late::wait(client, self.lane.arrived, &self.committed, work).await?;
        late::finish(client, self.lane.arrived, record, ended).await
    }

    /// Does what was planned.
    async fn perform(
        &self,
        mut client: Option<&mut Client>,
        record: &mut Record,
        op: &Operation,
        planned: Plan,
        mut upload: Option<&mut Upload>,
    ) -> Result<Told> {
        let told = match planned {
            Plan::Translate => self.translate(client, record, op, upload).await,
            Plan::Probe(probe) => {
                let (heard, body) = (client.as_deref_mut(), upload.as_deref_mut());
                match Box::pin(self.probe(heard, record, op, probe, body)).await {
                    Ok(Seen::Told(told)) => Ok(told),
                    Ok(Seen::Machine(op, machine)) => {
                        Box::pin(self.compose(client, record, &op, machine, upload)).await
                    }
                    Err(error) => Err(error),
                }
            }
            Plan::Compose(machine) => {
                Box::pin(self.compose(client, record, op, machine, upload)).await
            }
        };
        let mut told = match told {
            // What the store cannot copy by itself, it can be sent.
            Err(error)
                if error.kind() == Kind::Unsupported
                    && op.is_copy()
                    && planned != Plan::Compose(Machine::StreamCopy) =>
            {
                let machine = Machine::StreamCopy;
                Box::pin(self.compose(None, record, op, machine, None)).await?
            }
            told => told?,
        };
        self.tokens.seal(op, &mut told.reply)?;
        Ok(told)
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
            .lane
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
                .lane
                .exchange(client.as_deref_mut(), record, &next, None)
                .await?;
        }
        Ok(told)
    }

    /// A look at the object, then the request that it makes of the operation.
    async fn probe(
        &self,
        mut client: Option<&mut Client>,
        record: &mut dyn Exchanges,
        op: &Operation,
        probe: Probe,
        mut upload: Option<&mut Upload>,
    ) -> Result<Seen> {
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
            let looked = self
                .lane
                .exchange_at(&target, heard, record, &look, None)
                .await;
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
                    return Ok(Seen::Told(Told::from(Reply::NotModified(same))));
                }
            };
            let can = self.lane.codec.capability(self.lane.bucket);
            if let Some(machine) = plan::plan_seen(&settled, &can) {
                return Ok(Seen::Machine(settled, machine));
            }
            let told = self
                .lane
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
                told => return told.map(Seen::Told),
            }
        }
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
            let arrived = self.lane.arrived;
            let mut message = answer.message;
            if let Some(fields) = self.form {
                let host = client.head().host().unwrap_or_default();
                let request = self.hop.op.request();
                message = form::reply(fields, request, message.headers, host, arrived.secure);
            }
            return storage::send(client, arrived, record, message).await;
        }
        let (status, headers) = (answer.message.status, answer.message.headers);
        match (answer.body, object) {
            (AnswerBody::Own | AnswerBody::None, _) => {
                let framing = storage::Framing::NoBody;
                storage::start(client, self.lane.arrived, record, status, headers, framing)
            }
            (AnswerBody::Forward, Some(object)) => {
                let framing = storage::Framing::Body;
                storage::start(client, self.lane.arrived, record, status, headers, framing)?;
                let idle = self.hop.bucket.resource.timeouts.idle;
                let bytes = &mut record.bytes_out;
                relay::relay(&self.lane.engine.dialer, object, client, idle, bytes).await
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
        let reply = storage::failure_reply(failure, &path, &self.lane.arrived.id);
        storage::send(client, self.lane.arrived, record, reply).await
    }
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
