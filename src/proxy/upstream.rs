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
//! What arrives is not trusted: framing is strict ([`head`], [`framing`]), every buffer has a limit, and a
//! connection is used again only after a message that ended by its own framing, with nothing behind it.

mod framing;
mod head;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use crate::proxy::head::RequestHead;
use crate::proxy::watchdog::{self, Watchdog};
use framing::{Framing, Next};
pub use head::Head;

/// First read of an answer, in bytes: its head, and the whole of a small body.
const FIRST_READ: usize = 16 * 1024;
/// One read of a body, in bytes, and so what a client that takes nothing costs.
const BODY_READ: usize = 64 * 1024;
/// One read of a body whose client takes it: fewer system calls, and fewer wake-ups of the peer; see `load/NOTES.md`.
const BODY_READ_LARGE: usize = 256 * 1024;
/// Bytes of a body after which its client is known to take it: more than the sockets between us hold.
const LARGE_AFTER: u64 = 256 * 1024;
/// Large reads at once, in the whole process: sockets may hold megabytes of a client that has stopped, so a client that
/// has taken much may still stall, and a thousand such must not hold a thousand large buffers.
const LARGE_READS_MAX: usize = 128;
/// Room below which a buffer that was handed on in part is replaced by a new one.
const ROOM_MIN: usize = 4 * 1024;
/// A head and a first part of a body up to this many bytes are written as one.
const WRITE_AT_ONCE_MAX: usize = 16 * 1024;
/// Longest wait for an orderly end of a connection that is not used again.
const SHUTDOWN_MAX: Duration = Duration::from_millis(100);

/// Why an exchange cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("nothing was read in time")]
    ReadTimeout,
    #[error("nothing could be written in time")]
    WriteTimeout,
    #[error("not valid HTTP/1.1: {0}")]
    Invalid(&'static str),
    #[error("not valid HTTP/1.1: {0}")]
    Unparsable(#[from] httparse::Error),
    #[error("the body's framing is not valid: {0}")]
    Framing(&'static str),
    #[error("the connection ended before the message did")]
    Ended,
    #[error("the request's body is not as long as its head says")]
    WrongLength,
    #[error("reading: {0}")]
    Read(io::Error),
    #[error("writing: {0}")]
    Write(io::Error),
}

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
    /// Read and not taken.
    buffer: BytesMut,
    /// At the front of `buffer`: handed out by the last [`read_body`](Self::read_body).
    lent: usize,
    /// How much of `buffer` was searched for the end of a head.
    searched: usize,
    head: Option<Head>,
    framing: Framing,
    /// Bytes of the body that were read.
    body_bytes: u64,
    /// The last read of the body took all the room there was: more is there.
    was_full: bool,
    /// The right to a large buffer.
    large: Option<LargeRead>,
    keep: bool,
}

/// One of [`LARGE_READS_MAX`], until it is dropped.
struct LargeRead;

/// Claimed large reads.
static LARGE_READS: AtomicUsize = AtomicUsize::new(0);

impl LargeRead {
    fn claim() -> Option<Self> {
        let more = |claimed| (claimed < LARGE_READS_MAX).then_some(claimed + 1);
        LARGE_READS
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Self)
    }
}

impl Drop for LargeRead {
    fn drop(&mut self) {
        LARGE_READS.fetch_sub(1, Ordering::Relaxed);
    }
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
            buffer: BytesMut::new(),
            lent: 0,
            searched: 0,
            head: None,
            framing: Framing::Closed,
            body_bytes: 0,
            was_full: false,
            large: None,
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
        self.framing = Framing::Closed;
        self.body_bytes = 0;
        self.was_full = false;
        self.keep = false;
    }

    /// Writes a part of the body.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), Broken> {
        let left = self.to_send.checked_sub(chunk.len() as u64);
        self.to_send = left.ok_or(Broken::WrongLength)?;
        if self.unsent.is_empty() {
            return self.send(chunk).await;
        }
        if self.unsent.len() + chunk.len() <= WRITE_AT_ONCE_MAX {
            self.unsent.extend_from_slice(chunk);
            return self.send_unsent().await;
        }
        self.send_unsent().await?;
        self.send(chunk).await
    }

    /// Ends the request; an error if its body was not written whole.
    pub async fn finish(&mut self) -> Result<(), Broken> {
        if self.to_send > 0 {
            return Err(Broken::WrongLength);
        }
        if self.unsent.is_empty() {
            return Ok(());
        }
        self.send_unsent().await
    }

    async fn send_unsent(&mut self) -> Result<(), Broken> {
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&unsent).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let stream = &mut self.stream;
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        self.watchdog
            .within(self.write_timeout, written)
            .await
            .map_err(|_| Broken::WriteTimeout)?
            .map_err(Broken::Write)
    }

    /// Reads the next head of the answer: informational ones, then the final one. May be cancelled.
    pub async fn read_head(&mut self) -> Result<(), Broken> {
        if self.has_final_head() {
            return Ok(());
        }
        loop {
            if let Some(end) = head::end(&self.buffer, self.searched) {
                let raw = self.buffer.split_to(end).freeze();
                self.searched = 0;
                let parsed = head::parse(&raw, self.answers_head)?;
                self.head = Some(parsed.head);
                self.framing = parsed.framing;
                self.keep = parsed.keep;
                return Ok(());
            }
            if self.buffer.len() > head::HEAD_BYTES_MAX {
                return Err(Broken::Invalid("the head is too large"));
            }
            if !head::may_start(&self.buffer) {
                return Err(Broken::Invalid("this is not HTTP/1"));
            }
            self.searched = self.buffer.len();
            self.buffer.reserve(FIRST_READ);
            let read = self.stream.read_buf(&mut self.buffer);
            let read = self.watchdog.until(self.head_by, read).await;
            if read
                .map_err(|_| Broken::ReadTimeout)?
                .map_err(Broken::Read)?
                == 0
            {
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
        self.has_final_head() && self.framing.is_done()
    }

    /// The next bytes of the body where they were read; `None` at its end. May be cancelled.
    pub async fn read_body(&mut self) -> Result<Option<&[u8]>, Broken> {
        match self.available(usize::MAX).await? {
            0 => Ok(None),
            length => {
                self.lent = length;
                Ok(self.buffer.get(..length))
            }
        }
    }

    /// What the last [`read_body`](Self::read_body) gave.
    pub fn lent(&self) -> &[u8] {
        self.buffer.get(..self.lent).unwrap_or_default()
    }

    /// The same, to be kept beyond the connection.
    pub fn keep_lent(&mut self) -> Bytes {
        self.buffer
            .split_to(std::mem::take(&mut self.lent))
            .freeze()
    }

    /// Whether the body was read to its end.
    pub fn is_read(&self) -> bool {
        self.framing.is_done()
    }

    /// The next bytes of the body, to be kept; `None` at its end. May be cancelled.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.available(ROOM_MIN).await? {
            0 => Ok(None),
            length => Ok(Some(self.buffer.split_to(length).freeze())),
        }
    }

    /// Reads until there is something of the body at the front of the buffer; 0: it has ended. Room is made where there
    /// is less than `room_min`.
    async fn available(&mut self, room_min: usize) -> Result<usize, Broken> {
        self.buffer.advance(std::mem::take(&mut self.lent));
        loop {
            match self.framing.next(&mut self.buffer)? {
                Next::Data(length) => return Ok(length),
                Next::End => return Ok(0),
                Next::More => {}
            }
            if self.large.is_none() && self.body_bytes >= LARGE_AFTER {
                self.large = LargeRead::claim();
            }
            let room = self.room();
            if self.buffer.capacity() - self.buffer.len() < room_min.min(room) {
                self.buffer.reserve(room);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            let read = self.watchdog.within(self.read_timeout, read).await;
            let read = read
                .map_err(|_| Broken::ReadTimeout)?
                .map_err(Broken::Read)?;
            if read == 0 {
                self.framing.closed()?;
            }
            self.body_bytes += read as u64;
            self.was_full = self.buffer.len() == self.buffer.capacity();
        }
    }

    /// Room for the next read of the body: as much as is surely there, and little for a stream of small pieces.
    fn room(&self) -> usize {
        let most = if self.large.is_some() {
            BODY_READ_LARGE
        } else {
            BODY_READ
        };
        match self.framing {
            Framing::Sized(left) => {
                usize::try_from(left).map_or(most, |left| left.clamp(ROOM_MIN, most))
            }
            Framing::Chunked(_) | Framing::UntilClose | Framing::Closed if self.was_full => most,
            Framing::Chunked(_) | Framing::UntilClose | Framing::Closed => FIRST_READ,
        }
    }

    /// Forgets the exchange that ended; `false`: the connection cannot have another one.
    pub fn recycle(&mut self) -> bool {
        self.buffer.advance(std::mem::take(&mut self.lent));
        let is_over = self.has_final_head()
            && self.framing.is_done()
            && self.buffer.is_empty()
            && self.unsent.is_empty()
            && self.to_send == 0;
        if !is_over || !self.keep {
            return false;
        }
        self.head = None;
        // An idle connection keeps no memory for bytes.
        self.buffer = BytesMut::new();
        self.large = None;
        true
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
