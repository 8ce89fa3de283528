//! Client to upstream: the request body, verified on its way and never whole in memory. A copy's body takes the same
//! way, from the answer of another upstream.
//!
//! The client's bytes pass one [`BodyStep`] (the protocol's verification and re-framing, which holds back the
//! tail until everything checked out) and are written to the upstream. What was released is remembered up to
//! [`REPLAY_BYTES_MAX`], so that a pooled connection found dead can be replaced without asking the client
//! again; the client's part is never repeated.
//!
//! The server's answer is watched for meanwhile: an early refusal ends the upload and reaches the client.

mod digest;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use smallvec::SmallVec;

use crate::error::{Error, Kind, Result};
use crate::message::body::{BodyStep, Chunks, End};
use crate::proxy::client::{Client, TOO_SLOW};
use crate::proxy::exchange::{INFORMATIONAL_MAX, broken, endless};
use crate::proxy::upstream::Upstream;
use crate::storage::object::{Digests, Observed};
use crate::telemetry::labels::UpstreamError;
use digest::Digesting;

/// Released bytes kept for a second attempt. Above it a PUT is not repeated.
const REPLAY_BYTES_MAX: u64 = 64 * 1024;
/// How far a sender may fall behind the minimum rate, in time spent waiting for it. Bytes earn it back, but no more than
/// this: a fast beginning is no credit for a slow rest. The time that an upstream takes is nobody's delay.
const RATE_GRACE: Duration = Duration::from_secs(10);
/// Longest time in which a body arrives that is read whole: stops a byte now and then from holding a request
/// for ever.
const WHOLE_TIME_MAX: Duration = Duration::from_mins(1);

/// Bytes taken from one client before the others of its worker get their turn. A client whose bytes are always
/// there would else keep the worker, and the hash busy, for seconds.
const TURN_BYTES: u64 = 1024 * 1024;

/// The same where each byte costs something. While one client has its turn, the others' socket buffers fill and no
/// more: a turn longer than these gives the most to whom has most already, whose buffer grew with it.
const TURN_BYTES_VERIFIED: u64 = 128 * 1024;

/// A client's body on its way.
pub struct ClientBody {
    /// `None`: bytes pass as they are.
    step: Option<Box<dyn BodyStep>>,
    /// Asked when all has arrived and before the held tail is released: a key may have been revoked meanwhile.
    may_commit: Option<Box<dyn Fn() -> Result<()> + Send + Sync>>,
    /// The client waits for `100 Continue`.
    expects_continue: bool,
    /// Bytes that must come in a second of waiting; 0 for no minimum.
    min_rate: u64,
    /// How long may still be waited, at most [`RATE_GRACE`].
    patience: Duration,
    /// Bytes read from the client.
    pub bytes_in: u64,
    /// Largest body accepted, in bytes as received.
    bytes_max: u64,
    /// Released before there was a connection to send it on.
    primed: Chunks,
    /// Exact length of what is released, as the head of the upstream's request says it.
    length: u64,
    released: SmallVec<[Bytes; 4]>,
    released_bytes: u64,
    replayable: bool,
    ended: bool,
    /// Digests of what is released.
    digesting: Digesting,
}

/// Who sends a body.
pub enum Sender<'a> {
    Client(&'a mut Client),
    Upstream(&'a mut (dyn Source + 'a)),
}

/// A body that another upstream sends.
pub trait Source: Send {
    /// The next bytes; `None` at the end. May be cancelled.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>>;

    /// Whether the last byte was read.
    fn is_done(&self) -> bool;

    /// What came was not what it should be.
    fn refused(&mut self, error: &Error);

    /// Why the request fails for this one's sake; it has been counted.
    fn failed(&self) -> Option<UpstreamError> {
        None
    }
}

/// What a sender sent, `None` at its end, and how long it was waited for.
struct Read {
    chunk: Option<Bytes>,
    waited: Duration,
}

impl Read {
    const END: Self = Self {
        chunk: None,
        waited: Duration::ZERO,
    };
}

impl Sender<'_> {
    /// The same, lent for a shorter time.
    pub fn by_ref(&mut self) -> Sender<'_> {
        match self {
            Self::Client(client) => Sender::Client(client),
            Self::Upstream(source) => Sender::Upstream(&mut **source),
        }
    }

    async fn read(&mut self) -> Result<Read> {
        let asked = Instant::now();
        let chunk = match self {
            Self::Client(client) => client.read_body().await?,
            Self::Upstream(source) => source.next().await?,
        };
        Ok(Read {
            chunk,
            waited: asked.elapsed(),
        })
    }

    /// The body that came was refused.
    fn refused(&mut self, error: &Error) {
        match self {
            Self::Client(_) => {}
            Self::Upstream(source) => source.refused(error),
        }
    }

    /// Whether the last byte was read.
    fn is_done(&mut self) -> bool {
        match self {
            Self::Client(client) => client.is_body_done(),
            Self::Upstream(source) => source.is_done(),
        }
    }
}

/// How sending went.
pub enum Sent {
    /// Everything was handed to the connection; the head of the answer may be there already.
    Whole,
    /// The head of an answer arrived before everything was sent.
    Answered,
}

pub enum Failure {
    /// The sender sent something wrong, too slowly, or left.
    Client(Error),
    /// The upstream connection broke.
    Upstream(Error),
}

impl ClientBody {
    pub fn new(
        step: Option<Box<dyn BodyStep>>,
        expects_continue: bool,
        min_rate: u64,
        bytes_max: u64,
        length: u64,
    ) -> Self {
        Self {
            step,
            may_commit: None,
            expects_continue,
            min_rate,
            patience: RATE_GRACE,
            bytes_in: 0,
            bytes_max,
            primed: Chunks::new(),
            length,
            released: SmallVec::new(),
            released_bytes: 0,
            replayable: true,
            ended: false,
            digesting: Digesting::default(),
        }
    }

    /// Sets what is asked before the held tail is released.
    #[must_use]
    pub fn commit_if(mut self, may: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        self.may_commit = Some(Box::new(may));
        self
    }

    /// Takes these digests of what is released from now on.
    pub fn observe(&mut self, digests: Digests) {
        self.digesting = Digesting::new(digests, self.length);
    }

    /// What was released.
    pub fn observed(&self) -> Observed {
        self.digesting.observed()
    }

    /// Whether everything released so far could be sent again.
    pub fn is_replayable(&self) -> bool {
        self.replayable
    }

    /// Reads until the first bytes are released, or the whole of a short body checked out. Before that nothing
    /// goes to the upstream: there are stores that keep a body cut off before its first byte as an empty object.
    pub async fn prime(&mut self, sender: &mut Sender<'_>) -> Result<()> {
        self.say_continue(sender).await?;
        let mut out = Chunks::new();
        while !self.ended && out.iter().all(Bytes::is_empty) {
            let read = sender.read().await?;
            self.take(read, sender, &mut out)?;
        }
        self.primed = out;
        Ok(())
    }

    /// The next bytes that may leave, for whoever sends them in requests of its own; `None`: all have, and all was
    /// verified. May be cancelled.
    pub async fn next_released(&mut self, sender: &mut Sender<'_>) -> Result<Option<Bytes>> {
        self.say_continue(sender).await?;
        self.digesting.advance().await?;
        loop {
            while !self.primed.is_empty() {
                let chunk = self.primed.remove(0);
                if !chunk.is_empty() {
                    self.digesting.update(&chunk);
                    return Ok(Some(chunk));
                }
            }
            if self.ended {
                self.digesting.finish().await?;
                return Ok(None);
            }
            let read = sender.read().await?;
            let mut out = Chunks::new();
            // A failed check drops what it handed on.
            self.take(read, sender, &mut out)?;
            self.primed = out;
        }
    }

    async fn say_continue(&mut self, sender: &mut Sender<'_>) -> Result<()> {
        if let Sender::Client(client) = sender
            && std::mem::take(&mut self.expects_continue)
        {
            client.say_continue().await?;
        }
        Ok(())
    }

    /// Reads and verifies a message that holds no content, so that nothing is sent before it checked out.
    pub async fn read_empty(&mut self, mut sender: Sender<'_>) -> Result<()> {
        self.say_continue(&mut sender).await?;
        let mut out = Chunks::new();
        while !self.ended {
            let read = sender.read().await?;
            self.advance(read, &mut out)?;
        }
        Ok(())
    }

    /// Whether the upstream has the whole message, though the client's end may not have been read yet.
    fn is_released(&self) -> bool {
        self.released_bytes >= self.length
    }

    fn remember(&mut self, chunk: &Bytes) {
        self.digesting.update(chunk);
        self.released_bytes += chunk.len() as u64;
        if self.released_bytes > REPLAY_BYTES_MAX {
            self.replayable = false;
            self.released.clear();
        } else if self.replayable {
            self.released.push(chunk.clone());
        }
    }

    /// Passes one chunk through the step, and the end with it where that was the last: the server may answer as
    /// soon as it has the last byte, which must not look like an answer to half a request.
    fn take(&mut self, read: Read, sender: &mut Sender<'_>, out: &mut Chunks) -> Result<()> {
        let mut taken = self.advance(read, out);
        if taken.is_ok() && !self.ended && sender.is_done() {
            taken = self.advance(Read::END, out);
        }
        taken.inspect_err(|error| sender.refused(error))
    }

    /// Passes one chunk of the client, or its end, through the step.
    fn advance(&mut self, read: Read, out: &mut Chunks) -> Result<()> {
        let Some(chunk) = read.chunk else {
            self.ended = true;
            if let Some(may_commit) = &self.may_commit {
                may_commit()?;
            }
            return match &mut self.step {
                Some(step) => step.finish(End::Clean, out),
                None => Ok(()),
            };
        };
        self.bytes_in += chunk.len() as u64;
        if self.bytes_in > self.bytes_max {
            return Err(Error::new(
                Kind::BodyTooLarge,
                "Your proposed upload exceeds the maximum allowed size.",
            ));
        }
        self.check_rate(read.waited, chunk.len())?;
        if let Some(step) = &mut self.step {
            step.push(chunk, out)
        } else {
            out.push(chunk);
            Ok(())
        }
    }

    fn check_rate(&mut self, waited: Duration, bytes: usize) -> Result<()> {
        if self.min_rate == 0 {
            return Ok(());
        }
        let earned = Duration::from_millis((bytes as u64).saturating_mul(1000) / self.min_rate);
        let Some(left) = (self.patience + earned).checked_sub(waited) else {
            return Err(Error::new(Kind::RequestTimeout, TOO_SLOW));
        };
        self.patience = left.min(RATE_GRACE);
        Ok(())
    }
}

/// Reads a body that has to be whole before anything is done about it: at most `bytes_max`, within a minute.
pub async fn read_whole(client: &mut Client, bytes_max: usize) -> Result<Bytes> {
    let whole = async {
        if client.head().expects_continue() {
            client.say_continue().await?;
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = client.read_body().await? {
            if body.len() + chunk.len() > bytes_max {
                let message = "Your request was larger than the maximum allowed size.";
                return Err(Error::new(Kind::BodyTooLarge, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let read = pingora::time::timeout(WHOLE_TIME_MAX, whole).await;
    read.unwrap_or_else(|_| Err(Error::new(Kind::RequestTimeout, TOO_SLOW)))
}

/// Sends a body that is already whole.
pub async fn send_memory(upstream: &mut Upstream, frames: &[Bytes]) -> Result<Sent, Failure> {
    for frame in frames {
        write(upstream, frame).await?;
    }
    Ok(Sent::Whole)
}

/// Sends a body on: first what an earlier attempt had released, then what the sender still has.
pub async fn pump(
    upstream: &mut Upstream,
    sender: &mut Sender<'_>,
    body: &mut ClientBody,
) -> Result<Sent, Failure> {
    for chunk in body.released.clone() {
        write(upstream, &chunk).await?;
    }
    let mut out = std::mem::take(&mut body.primed);
    send_released(upstream, body, &mut out).await?;
    let is_costly = body.step.as_ref().is_some_and(|step| step.is_costly());
    let turn_bytes = if is_costly {
        TURN_BYTES_VERIFIED
    } else {
        TURN_BYTES
    };
    let mut turn_ends = body.bytes_in + turn_bytes;
    let mut informational = 0;
    while !body.ended {
        if body.bytes_in >= turn_ends {
            turn_ends = body.bytes_in + turn_bytes;
            tokio::task::yield_now().await;
        }
        let read = tokio::select! {
            biased;
            answered = upstream.read_head() => {
                answered.map_err(|error| Failure::Upstream(broken(&error)))?;
                if upstream.has_final_head() {
                    if !body.is_released() {
                        return Ok(Sent::Answered);
                    }
                    break;
                }
                informational += 1;
                if informational > INFORMATIONAL_MAX {
                    return Err(Failure::Upstream(endless()));
                }
                continue;
            }
            read = sender.read() => read.map_err(Failure::Client)?,
        };
        // A failed check drops what it handed on: the upstream must see a broken message, not a whole one.
        body.take(read, sender, &mut out).map_err(Failure::Client)?;
        send_released(upstream, body, &mut out).await?;
    }
    body.digesting.finish().await.map_err(Failure::Client)?;
    Ok(Sent::Whole)
}

/// All of it is remembered before any of it is sent: a failed write must not lose what stood behind it.
async fn send_released(
    upstream: &mut Upstream,
    body: &mut ClientBody,
    out: &mut Chunks,
) -> Result<(), Failure> {
    for chunk in out.iter() {
        body.remember(chunk);
    }
    for chunk in out.drain(..) {
        write(upstream, &chunk).await?;
    }
    body.digesting.advance().await.map_err(Failure::Client)
}

async fn write(upstream: &mut Upstream, chunk: &[u8]) -> Result<(), Failure> {
    if chunk.is_empty() {
        return Ok(());
    }
    upstream
        .write(chunk)
        .await
        .map_err(|error| Failure::Upstream(broken(&error)))
}
