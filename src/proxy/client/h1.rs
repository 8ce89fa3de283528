//! HTTP/1.1 from a client: one connection, one request after the other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::request;
use super::{AnswerHead, CLIENT_IDLE, DRAIN_MAX, Head, cut, gone};
use crate::error::{Error, Kind, Result};
use crate::proxy::clock;
use crate::proxy::http1::{self, Broken, Incoming};
use crate::proxy::intake::{self, HEAD_READ};
use crate::proxy::watchdog::{Elapsed, Watchdog};

/// Bytes behind a request that are read before it is answered: watching for a client that leaves finds them. Above it
/// nothing more is read, and so nothing more is noticed.
const PIPELINED_BYTES_MAX: usize = 64 * 1024;
/// A head and a first part of a body up to this many bytes are copied into one.
const WRITE_AT_ONCE_MAX: usize = 4 * 1024;
/// Room for most heads of answers, in bytes.
const USUAL_HEAD: usize = 768;
/// Longest wait for an orderly end of a connection.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// See the module's documentation.
pub struct H1 {
    stream: Stream,
    watchdog: Watchdog,
    incoming: Incoming,
    head: Head,
    said_continue: bool,
    /// What a client that keeps its connection is told of how long, in seconds.
    keep_alive: u64,
    keep: bool,
    answer: Answer,
    /// Written, and waiting for more to leave with.
    unsent: Vec<u8>,
}

/// How far the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    None,
    Begun(StatusCode, Body),
}

/// How the end of an answer's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// So many bytes are still to be written.
    Sized(u64),
    Chunked,
    /// By the end of the connection: of HTTP/1.0 clients, which know no chunks.
    UntilClose,
    /// Nothing more is written.
    Ended,
}

/// How waiting for a request ended.
pub enum Arrival {
    Request,
    /// The client left, or let the wait run out: nobody waits for an answer.
    Gone,
    /// A head that is none; it is answered, and the connection given up.
    Refused(Error),
}

impl H1 {
    pub fn new(stream: Stream, keep_alive: Duration) -> Self {
        Self {
            stream,
            watchdog: Watchdog::default(),
            incoming: Incoming::default(),
            head: no_head(),
            said_continue: false,
            keep_alive: keep_alive.as_secs(),
            keep: false,
            answer: Answer::None,
            unsent: Vec::new(),
        }
    }

    /// Waits at most `limit` for the first bytes of a request; `false`: none came. An idle connection has no buffer.
    pub async fn wait(&mut self, limit: Duration) -> bool {
        if !self.incoming.buffer.is_empty() {
            return true;
        }
        let (stream, buffer) = (&mut self.stream, &mut self.incoming.buffer);
        let read = poll_fn(|context| poll_some(stream, buffer, context));
        let read = self.watchdog.within(Some(limit), read).await;
        matches!(read, Ok(Ok(read)) if read > 0)
    }

    /// Reads the head that has begun, within `deadline`.
    pub async fn arrive(&mut self, deadline: Duration, header_bytes_max: usize) -> Arrival {
        self.said_continue = false;
        self.answer = Answer::None;
        let buffer = &mut self.incoming.buffer;
        let length = match intake::read(&mut self.stream, buffer, deadline, header_bytes_max).await
        {
            intake::Read::Head(length) => length,
            intake::Read::Gone => return Arrival::Gone,
            intake::Read::Refused(error) => return Arrival::Refused(error),
        };
        let raw = buffer.split_to(length).freeze();
        match request::parse(&raw) {
            Ok(parsed) => {
                self.head = parsed.head;
                self.keep = parsed.keep;
                self.incoming.begin(parsed.framing);
                Arrival::Request
            }
            Err(error) => {
                let message = if let Broken::Invalid(why) = &error {
                    format!("The request is not valid HTTP: {why}.")
                } else {
                    "The request is not valid HTTP.".to_owned()
                };
                Arrival::Refused(Error::new(Kind::InvalidRequest, message).with_detail(error))
            }
        }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }

    pub(super) async fn say_continue(&mut self) -> Result<()> {
        self.said_continue = true;
        if self.head.version == Version::HTTP_10 {
            return Ok(());
        }
        self.send(&mut [IoSlice::new(CONTINUE)]).await
    }

    pub(super) fn has_said_continue(&self) -> bool {
        self.said_continue
    }

    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let (stream, watchdog) = (&mut self.stream, &mut self.watchdog);
        let read = self.incoming.next(stream, watchdog, Some(CLIENT_IDLE));
        read.await.map_err(|error| cut(&error))
    }

    /// See [`Client::hear`](super::Client::hear).
    pub async fn hear(&mut self) -> Result<Option<Bytes>> {
        if !self.is_body_done()
            && let Some(chunk) = self.read_body().await?
        {
            return Ok(Some(chunk));
        }
        loop {
            if self.incoming.buffer.len() >= PIPELINED_BYTES_MAX {
                return std::future::pending().await;
            }
            let (stream, buffer) = (&mut self.stream, &mut self.incoming.buffer);
            match poll_fn(|context| poll_some(stream, buffer, context)).await {
                // The next request, before this one is answered.
                Ok(read) if read > 0 => {}
                Ok(_) => return Err(gone(Broken::Ended)),
                Err(error) => return Err(gone(error)),
            }
        }
    }

    pub(super) fn is_body_done(&self) -> bool {
        self.incoming.is_done()
    }

    pub(super) fn close_after(&mut self) {
        self.keep = false;
    }

    pub(super) fn answered(&self) -> Option<StatusCode> {
        match self.answer {
            Answer::None => None,
            Answer::Begun(status, _) => Some(status),
        }
    }

    pub(super) fn write_head(&mut self, head: &AnswerHead) -> Result<()> {
        if self.answer != Answer::None {
            return Err(Error::internal("a second head for one request"));
        }
        let body = self.body_of(head)?;
        // Who waited for our word may send the body after all, or the next request in its place: nobody can tell.
        let was_waiting =
            self.head.expects_continue() && !self.said_continue && !self.is_body_done();
        self.keep &= body != Body::UntilClose && !was_waiting;
        self.unsent.reserve(USUAL_HEAD);
        self.push_head(head);
        self.answer = Answer::Begun(head.status, body);
        Ok(())
    }

    /// How the head tells the end of its body.
    fn body_of(&self, head: &AnswerHead) -> Result<Body> {
        if self.head.method == Method::HEAD || matches!(head.status.as_u16(), 204 | 304) {
            return Ok(Body::Ended);
        }
        let told = |wanted| head.headers.iter().find(|(name, _)| *name == wanted);
        if let Some((_, length)) = told(header::CONTENT_LENGTH) {
            let length = length.to_str().ok().and_then(|said| said.parse().ok());
            let length = length.ok_or_else(|| Error::internal("a length that is no number"))?;
            return Ok(Body::Sized(length));
        }
        let is_chunked =
            told(header::TRANSFER_ENCODING).is_some() && self.head.version == Version::HTTP_11;
        Ok(if is_chunked {
            Body::Chunked
        } else {
            Body::UntilClose
        })
    }

    fn push_head(&mut self, head: &AnswerHead) {
        let keep = self.keep;
        let is_http11 = self.head.version == Version::HTTP_11;
        let out = &mut self.unsent;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(head.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(
            head.status
                .canonical_reason()
                .unwrap_or_default()
                .as_bytes(),
        );
        out.extend_from_slice(b"\r\n");
        for (name, value) in &head.headers {
            if *name == header::TRANSFER_ENCODING && !is_http11 {
                continue;
            }
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        push_date(out);
        if keep {
            out.extend_from_slice(b"connection: keep-alive\r\nkeep-alive: timeout=");
            // Writing to memory does not fail.
            let _written = write!(out, "{}", self.keep_alive);
            out.extend_from_slice(b"\r\n\r\n");
        } else {
            out.extend_from_slice(b"connection: close\r\n\r\n");
        }
    }

    pub(super) async fn flush(&mut self) -> Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&mut [IoSlice::new(&unsent)]).await
    }

    /// Writes a part of the answer's body, with the head if that is still here.
    pub async fn write_body(&mut self, chunk: &[u8]) -> Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        let Answer::Begun(_, body) = &mut self.answer else {
            return Err(Error::internal("a body before its head"));
        };
        let mut unsent = std::mem::take(&mut self.unsent);
        match body {
            Body::Sized(left) => {
                let after = left.checked_sub(chunk.len() as u64);
                *left = after.ok_or_else(|| Error::internal(Broken::WrongLength))?;
            }
            Body::Chunked => {
                let _written = write!(unsent, "{:x}\r\n", chunk.len());
                let mut pieces = [&unsent[..], chunk, b"\r\n"].map(IoSlice::new);
                return self.send(&mut pieces).await;
            }
            Body::UntilClose => {}
            Body::Ended => return Err(Error::internal("a body behind its end")),
        }
        if !unsent.is_empty() && unsent.len() + chunk.len() <= WRITE_AT_ONCE_MAX {
            unsent.extend_from_slice(chunk);
            return self.send(&mut [IoSlice::new(&unsent)]).await;
        }
        self.send(&mut [IoSlice::new(&unsent), IoSlice::new(chunk)])
            .await
    }

    pub(super) async fn end(&mut self) -> Result<()> {
        let Answer::Begun(_, body) = &mut self.answer else {
            return Err(Error::internal("an end before its head"));
        };
        match std::mem::replace(body, Body::Ended) {
            Body::Chunked => self.unsent.extend_from_slice(LAST_CHUNK),
            Body::Sized(0) | Body::UntilClose | Body::Ended => {}
            Body::Sized(_) => {
                self.keep = false;
                return Err(Error::internal(Broken::WrongLength));
            }
        }
        self.flush().await
    }

    async fn send(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<()> {
        let (stream, watchdog) = (&mut self.stream, &mut self.watchdog);
        http1::send(stream, watchdog, Some(CLIENT_IDLE), pieces)
            .await
            .map_err(gone)
    }

    /// Puts the exchange behind it, once its answer ended; `false`: the connection cannot have another one.
    pub async fn recycle(&mut self) -> bool {
        let was_chunked = self.head.headers.contains_key(header::TRANSFER_ENCODING);
        if !(self.keep && self.drain().await) {
            return false;
        }
        self.incoming.end();
        // An idle connection keeps no memory for heads.
        self.head = no_head();
        self.unsent = Vec::new();
        // Whoever reads the chunks differently finds a request in them; honest clients wait for the answer.
        self.incoming.buffer.is_empty() || !was_chunked
    }

    /// Reads what is left of a body that nobody wanted.
    async fn drain(&mut self) -> bool {
        if self.is_body_done() {
            return true;
        }
        let rest = async {
            loop {
                match self.read_body().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
        };
        timeout(DRAIN_MAX, rest).await.unwrap_or(false)
    }

    /// Ends the connection in order, with what was written of an answer that broke off. Who has a whole answer and is
    /// still sending gets the time to read it.
    pub async fn close(mut self) {
        // The client may be gone already, and is told nothing in either case.
        if self.flush().await.is_err() {
            return;
        }
        let is_whole = matches!(self.answer, Answer::Begun(_, Body::Ended | Body::Sized(0)));
        if is_whole && !self.is_body_done() {
            return self.linger().await;
        }
        let closed = AsyncWriteExt::shutdown(&mut self.stream);
        let _ended: Result<_, Elapsed> = self.watchdog.within(Some(SHUTDOWN_MAX), closed).await;
    }

    /// Closes a connection whose last request was refused unread, so that its client sees the refusal.
    pub async fn linger(self) {
        intake::linger(self.stream).await;
    }
}

/// Where there is no request.
fn no_head() -> Head {
    Head {
        method: Method::GET,
        target: Bytes::new(),
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
    }
}

thread_local! {
    /// The second, and its line in a head.
    static DATE: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// Writes the `date` line: made once a second.
fn push_date(out: &mut Vec<u8>) {
    let now = clock::now();
    DATE.with_borrow_mut(|(second, line)| {
        if *second != now.as_second() {
            *second = now.as_second();
            let date = httpdate::fmt_http_date(now.into());
            *line = ["date: ", &date, "\r\n"].concat();
        }
        out.extend_from_slice(line.as_bytes());
    });
}

/// Reads what there is. Room is made when there is something to put in it.
fn poll_some(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut bytes = [MaybeUninit::uninit(); HEAD_READ];
    let mut read = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(stream).poll_read(context, &mut read))?;
    if buffer.is_empty() {
        buffer.reserve(HEAD_READ);
    }
    buffer.extend_from_slice(read.filled());
    Poll::Ready(Ok(read.filled().len()))
}
