//! One upstream request: connect, send, and wait for the head of the answer, with the retries that are safe.
//!
//! Safe means: nothing of the request reached a server that could have acted on it, or the request may be
//! repeated and everything sent so far is still in our hands. Two cases are retried here, within the budget of
//! the resource. A connection that cannot be made is tried again, after a pause. A pooled connection that the peer had closed meanwhile (no
//! byte of an answer, on a reused connection) is replaced, for requests without a body or whose body so far
//! is held for replay. What the *status* of an answer means is the caller's business.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora::time::timeout;

use crate::error::{Error, Kind, Result};
use crate::policy::route::Resource;
use crate::proxy::client::Client;
use crate::proxy::dial::{Dialer, Link};
use crate::proxy::head::RequestHead;
use crate::proxy::http1::Broken;
use crate::proxy::tries::Tries;
use crate::proxy::upload::{self, ClientBody, Sender, Sent, Source};
use crate::proxy::upstream::Head;

/// Pooled connections found dead before we give up.
const STALE_MAX: u32 = 4;
/// Informational heads swallowed in one exchange. Stops a server that sends nothing else.
pub(super) const INFORMATIONAL_MAX: u32 = 8;
/// After a failed write: how long to look for an answer that was sent before the connection broke.
const LATE_ANSWER: Duration = Duration::from_secs(1);

/// What is sent.
pub struct Outgoing<'a> {
    pub resource: &'a Arc<Resource>,
    /// Makes the head of one attempt: signatures carry a time, so each attempt signs anew.
    pub head: &'a (dyn Fn() -> Result<RequestHead> + Sync),
    pub body: Body<'a>,
    /// May be repeated after it may have reached the server.
    pub idempotent: bool,
    /// From the end of the request to the head of the answer.
    pub first_byte: Duration,
}

/// The body of an upstream request.
pub enum Body<'a> {
    None,
    /// Already whole, within a named limit of its reader.
    Memory(&'a [Bytes]),
    /// Streamed from the client.
    Client(&'a mut ClientBody),
    /// Streamed from the answer of another upstream.
    Upstream(&'a mut ClientBody, &'a mut (dyn Source + 'a)),
}

impl Body<'_> {
    /// The same body, lent for a shorter time.
    pub fn by_ref(&mut self) -> Body<'_> {
        match self {
            Self::None => Body::None,
            Self::Memory(frames) => Body::Memory(frames),
            Self::Client(body) => Body::Client(body),
            Self::Upstream(body, source) => Body::Upstream(body, &mut **source),
        }
    }

    /// A streamed body, and who sends it.
    fn stream<'s>(
        &'s mut self,
        client: Option<&'s mut Client>,
    ) -> Option<(&'s mut ClientBody, Sender<'s>)> {
        match (self, client) {
            (Self::Client(body), Some(client)) => Some((body, Sender::Client(client))),
            (Self::Upstream(body, source), _) => Some((body, Sender::Upstream(&mut **source))),
            (Self::None | Self::Memory(_) | Self::Client(_), _) => None,
        }
    }
}

/// An answer whose head has arrived.
pub struct Answer {
    pub link: Link,
    /// Attempts made, the successful one included.
    pub attempts: u32,
    /// The answer came before the whole request was sent.
    pub early: bool,
}

impl Answer {
    pub fn head(&self) -> Result<&Head> {
        self.link
            .session
            .head()
            .ok_or_else(|| Error::new(Kind::UpstreamBroken, "The resource sent no answer."))
    }

    pub fn status(&self) -> u16 {
        self.link
            .session
            .head()
            .map_or(0, |head| head.status.as_u16())
    }

    pub fn headers(&self) -> Result<&HeaderMap> {
        Ok(&self.head()?.headers)
    }

    /// Gives the connection back, once the answer was read. That of an early answer still waits for a request.
    pub async fn release(self, dialer: &Dialer) {
        if !self.early {
            dialer.release(self.link).await;
        }
    }
}

/// An exchange without an answer.
#[derive(Debug)]
pub struct Failed {
    pub error: Error,
    /// Attempts made.
    pub attempts: u32,
}

/// Runs one exchange up to the head of its answer. With a `client`, its leaving ends the exchange.
pub async fn exchange(
    dialer: &Dialer,
    mut client: Option<&mut Client>,
    mut outgoing: Outgoing<'_>,
) -> Result<Answer, Failed> {
    let mut tries = Tries::begin(outgoing.resource, outgoing.first_byte)
        .map_err(|error| Failed { error, attempts: 0 })?;
    if let Some((body, mut sender)) = outgoing.body.stream(client.as_deref_mut()) {
        body.prime(&mut sender)
            .await
            .map_err(|error| Failed { error, attempts: 0 })?;
    }
    let mut stale = 0;
    let outcome = loop {
        let mut link = match connect(dialer, outgoing.resource, &mut tries).await {
            Ok(link) => link,
            Err(error) => break Err(error),
        };
        match attempt(&mut link, client.as_deref_mut(), &mut outgoing).await {
            Ok(early) => {
                break Ok(Answer {
                    link,
                    attempts: tries.made(),
                    early,
                });
            }
            Err(Failure::Final(error)) => break Err(error),
            Err(Failure::Upstream(error)) => {
                stale += 1;
                let may = link.reused && stale < STALE_MAX && outgoing.may_repeat();
                if !(may && tries.replace()) {
                    break Err(error);
                }
            }
        }
    };
    match &outcome {
        Ok(answer) => tries.answered(answer.status()),
        Err(error) => tries.failed(error),
    }
    let attempts = tries.made();
    outcome.map_err(|error| Failed { error, attempts })
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

enum Failure {
    /// Not the connection's fault, or not repairable by another one.
    Final(Error),
    /// The connection broke before any byte of an answer.
    Upstream(Error),
}

impl Outgoing<'_> {
    fn may_repeat(&self) -> bool {
        match &self.body {
            Body::None | Body::Memory(_) => self.idempotent,
            Body::Client(body) | Body::Upstream(body, _) => self.idempotent && body.is_replayable(),
        }
    }
}

async fn connect(dialer: &Dialer, resource: &Arc<Resource>, tries: &mut Tries<'_>) -> Result<Link> {
    loop {
        match dialer.connect(resource).await {
            Ok(link) => return Ok(link),
            Err(error) => {
                if !tries.reconnect().await {
                    return Err(error);
                }
            }
        }
    }
}

/// One attempt on one connection; `true`: the answer came early.
async fn attempt(
    link: &mut Link,
    mut client: Option<&mut Client>,
    outgoing: &mut Outgoing<'_>,
) -> Result<bool, Failure> {
    let head = (outgoing.head)().map_err(Failure::Final)?;
    // While the body is sent, the pace is the client's: a pause of its is no silence of the resource's.
    link.session.start(head);
    let sent = match &mut outgoing.body {
        Body::None => Ok(Sent::Whole),
        Body::Memory(frames) => upload::send_memory(&mut link.session, frames).await,
        streamed @ (Body::Client(_) | Body::Upstream(..)) => match streamed
            .stream(client.as_deref_mut())
        {
            Some((body, mut sender)) => upload::pump(&mut link.session, &mut sender, body).await,
            None => Err(upload::Failure::Client(Error::internal(
                "a client's body without a client",
            ))),
        },
    };
    match sent {
        Ok(Sent::Whole) => {}
        Ok(Sent::Answered) => return accept_early(link),
        Err(upload::Failure::Client(error)) => return Err(Failure::Final(error)),
        Err(upload::Failure::Upstream(error)) => {
            return late_answer(link, error).await;
        }
    }
    if let Err(error) = link.session.finish().await {
        return late_answer(link, broken(&error)).await;
    }
    // For the whole head, not for each read of it: a byte now and then must not hold the request.
    link.session.set_head_timeout(outgoing.first_byte);
    read_head(link, client).await.map(|()| false)
}

fn silent(detail: &dyn std::fmt::Display) -> Error {
    let message = "The resource did not answer in time.";
    Error::new(Kind::UpstreamTimeout, message).with_detail(detail)
}

/// Waits for the head of the answer; the client leaving ends the wait.
async fn read_head(link: &mut Link, mut client: Option<&mut Client>) -> Result<(), Failure> {
    if link.session.has_final_head() {
        return Ok(());
    }
    let mut informational = 0;
    while informational < INFORMATIONAL_MAX {
        tokio::select! {
            biased;
            read = link.session.read_head() => read.map_err(|why| no_head(&why))?,
            idle = watch(client.as_deref_mut()) => {
                idle.map_err(Failure::Final)?;
                continue;
            }
        }
        if link.session.has_final_head() {
            return Ok(());
        }
        informational += 1;
    }
    Err(Failure::Final(endless()))
}

/// Of a server that sends interim heads and nothing else.
pub(super) fn endless() -> Error {
    let message = "The resource sent no final answer.";
    Error::new(Kind::UpstreamBroken, message)
}

fn no_head(why: &Broken) -> Failure {
    let error = broken(why);
    match why {
        // No sign of a connection that was closed: asking again would only double the wait.
        Broken::ReadTimeout => Failure::Final(error),
        Broken::WriteTimeout
        | Broken::Invalid(_)
        | Broken::Unparsable(_)
        | Broken::Framing(_)
        | Broken::Ended
        | Broken::WrongLength
        | Broken::Read(_)
        | Broken::Write(_) => Failure::Upstream(error),
    }
}

/// Ends when the client leaves; what it may still send is read and dropped.
pub(super) async fn watch(client: Option<&mut Client>) -> Result<Option<Bytes>> {
    match client {
        Some(client) => client.hear().await,
        None => std::future::pending().await,
    }
}

/// The server answered while we were still sending.
fn accept_early(link: &Link) -> Result<bool, Failure> {
    let success = link
        .session
        .head()
        .is_some_and(|head| head.status.is_success());
    if success {
        // The held tail has not left: whatever it says is done cannot be our object.
        let message = "The resource answered before it had the whole request.";
        return Err(Failure::Final(Error::new(Kind::UpstreamBroken, message)));
    }
    Ok(true)
}

/// After a failed write: the server may have answered (and closed) before it read everything.
async fn late_answer(link: &mut Link, error: Error) -> Result<bool, Failure> {
    let read = timeout(LATE_ANSWER, link.session.read_head()).await;
    if matches!(read, Ok(Ok(()))) && link.session.has_final_head() {
        return accept_early(link);
    }
    Err(Failure::Upstream(error))
}

/// A failure of the upstream connection.
pub(super) fn broken(error: &Broken) -> Error {
    let (kind, message) = match error {
        Broken::ReadTimeout | Broken::WriteTimeout => return silent(error),
        Broken::Invalid(_) | Broken::Unparsable(_) => {
            (Kind::UpstreamBroken, "The resource sent an invalid answer.")
        }
        Broken::WrongLength => return Error::internal(error),
        Broken::Framing(_) | Broken::Ended | Broken::Read(_) | Broken::Write(_) => (
            Kind::UpstreamUnavailable,
            "The connection to the resource broke.",
        ),
    };
    Error::new(kind, message).with_detail(error)
}
