//! HTTP/1.1 towards a resource: one connection, one exchange after the other.
//!
//! # Why a codec of our own
//!
//! Pingora's client session serves every use of HTTP/1.1; an exchange of ours needs little of it: a request whose
//! length is known, an answer, and the connection back. Pingora's makes a session with two header maps and a case
//! map for each exchange, registers a timer for each wait, reads into a buffer and copies out of it, and its pool
//! runs a task for each idle connection. That was a third of what a small request cost; the figures stand in
//! `load/NOTES.md`. Connecting, TLS included, is still Pingora's.
//!
//! What arrives is not trusted: heads are strict ([`head`]) and so are bodies ([`http1`](super::http1)), every buffer has a
//! limit, and a connection is used again only after a message that ended by its own framing, with nothing behind it.

mod head;

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use crate::proxy::head::RequestHead;
use crate::proxy::http1::{self, Broken, Framing, Incoming};
use crate::proxy::watchdog::{self, Watchdog};
pub use head::Head;

/// One read while an answer's head is waited for, in bytes: it, and the whole of a small body.
const HEAD_READ: usize = 16 * 1024;
/// Longest wait for an orderly end of a connection that is not used again.
const SHUTDOWN_MAX: Duration = Duration::from_millis(100);

/// A connection to a resource.
pub struct Upstream {
    stream: Stream,
    watchdog: Watchdog,
    /// When the final head must be there.
    head_by: Option<Instant>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// A head that waits for the first bytes of its body, to leave with them.
    unsent: Vec<u8>,
    /// What the head said of the body and was not written yet.
    to_send: u64,
    answers_head: bool,
    incoming: Incoming,
    /// How much of what was read was searched for the end of a head.
    searched: usize,
    head: Option<Head>,
    keep: bool,
}

impl Upstream {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            watchdog: Watchdog::default(),
            head_by: None,
            read_timeout: None,
            write_timeout: None,
            unsent: Vec::new(),
            to_send: 0,
            answers_head: false,
            incoming: Incoming::default(),
            searched: 0,
            head: None,
            keep: false,
        }
    }

    /// Longest wait, from now, for the head of the answer.
    pub fn set_head_timeout(&mut self, limit: Duration) {
        self.head_by = Some(watchdog::after(limit));
    }

    /// Longest wait for the next byte of the body; `None` for no limit.
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) {
        self.read_timeout = limit;
    }

    /// Longest wait for room for the next byte; `None` for no limit.
    pub fn set_write_timeout(&mut self, limit: Option<Duration>) {
        self.write_timeout = limit;
    }

    /// Starts an exchange. Nothing is written before the first byte of the body, or [`finish`](Self::finish).
    pub fn start(&mut self, head: RequestHead) {
        self.unsent = head.wire;
        self.to_send = head.content_length;
        self.answers_head = head.answers_head;
        // While the body is sent, the pace is the client's: a pause of its is no silence of the resource's.
        self.head_by = None;
        self.head = None;
        self.incoming.begin(Framing::Closed);
        self.keep = false;
    }

    /// Writes a part of the body.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), Broken> {
        let left = self.to_send.checked_sub(chunk.len() as u64);
        self.to_send = left.ok_or(Broken::WrongLength)?;
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&mut [IoSlice::new(&unsent), IoSlice::new(chunk)])
            .await
    }

    /// Ends the request; an error if its body was not written whole.
    pub async fn finish(&mut self) -> Result<(), Broken> {
        if self.to_send > 0 {
            return Err(Broken::WrongLength);
        }
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&mut [IoSlice::new(&unsent)]).await
    }

    async fn send(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<(), Broken> {
        let (stream, watchdog) = (&mut self.stream, &mut self.watchdog);
        http1::send(stream, watchdog, self.write_timeout, pieces).await
    }

    /// Reads the next head of the answer: informational ones, then the final one. May be cancelled.
    pub async fn read_head(&mut self) -> Result<(), Broken> {
        if self.has_final_head() {
            return Ok(());
        }
        loop {
            let buffer = &mut self.incoming.buffer;
            if let Some(end) = head::end(buffer, self.searched) {
                let raw = buffer.split_to(end).freeze();
                self.searched = 0;
                let parsed = head::parse(&raw, self.answers_head)?;
                self.head = Some(parsed.head);
                self.incoming.begin(parsed.framing);
                self.keep = parsed.keep;
                return Ok(());
            }
            if buffer.len() > head::HEAD_BYTES_MAX {
                return Err(Broken::Invalid("the head is too large"));
            }
            if !head::may_start(buffer) {
                return Err(Broken::Invalid("this is not HTTP/1"));
            }
            self.searched = buffer.len();
            buffer.reserve(HEAD_READ);
            let read = self
                .watchdog
                .until(self.head_by, self.stream.read_buf(buffer));
            let read = read.await.map_err(|_| Broken::ReadTimeout)?;
            if read.map_err(Broken::Read)? == 0 {
                return Err(Broken::Ended);
            }
        }
    }

    /// The last head that was read.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Whether the head of the answer itself is there, and not only one that announces it.
    pub fn has_final_head(&self) -> bool {
        self.head
            .as_ref()
            .is_some_and(|head| !head.status.is_informational())
    }

    /// Whether the last byte of the body was handed out, as far as its framing tells beforehand.
    pub fn has_whole_body(&self) -> bool {
        self.has_final_head() && self.is_read()
    }

    /// The next bytes of the body where they were read; `None` at its end. May be cancelled.
    pub async fn read_body(&mut self) -> Result<Option<&[u8]>, Broken> {
        let (stream, watchdog) = (&mut self.stream, &mut self.watchdog);
        self.incoming
            .lend(stream, watchdog, self.read_timeout)
            .await
    }

    /// What the last [`read_body`](Self::read_body) gave.
    pub fn lent(&self) -> &[u8] {
        self.incoming.lent()
    }

    /// The same, to be kept beyond the connection.
    pub fn keep_lent(&mut self) -> Bytes {
        self.incoming.keep_lent()
    }

    /// Whether a part of the body came with what was read already.
    pub fn has_more_at_hand(&self) -> bool {
        !self.incoming.buffer.is_empty()
    }

    /// Whether the body was read to its end.
    pub fn is_read(&self) -> bool {
        self.incoming.is_done()
    }

    /// The next bytes of the body, to be kept; `None` at its end. May be cancelled.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        let (stream, watchdog) = (&mut self.stream, &mut self.watchdog);
        self.incoming
            .next(stream, watchdog, self.read_timeout)
            .await
    }

    /// Forgets the exchange that ended; `false`: the connection cannot have another one.
    pub fn recycle(&mut self) -> bool {
        // An idle connection keeps no memory for bytes.
        self.incoming.end();
        let is_over = self.has_whole_body()
            && self.incoming.buffer.is_empty()
            && self.unsent.is_empty()
            && self.to_send == 0;
        self.head = None;
        is_over && self.keep
    }

    /// Whether the server has neither closed the connection nor sent what nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut read = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.stream)
            .poll_read(&mut context, &mut read)
            .is_pending()
    }

    /// Ends a connection in order.
    pub async fn close(mut self: Box<Self>) {
        let stream = &mut self.stream;
        let closed = AsyncWriteExt::shutdown(stream);
        // It is dropped in any case.
        let _ended = self.watchdog.within(Some(SHUTDOWN_MAX), closed).await;
    }
}
