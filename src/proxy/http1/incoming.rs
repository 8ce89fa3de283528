//! The bytes of a body, read into one buffer and lent or given from it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt;

use super::Broken;
use super::framing::{Framing, Next};
use crate::proxy::watchdog::Watchdog;

/// First read of a body of unknown length, in bytes: the whole of a small one.
const FIRST_READ: usize = 16 * 1024;
/// One read of a body, in bytes, and so what a reader that takes nothing costs.
const BODY_READ: usize = 64 * 1024;
/// One read of a body whose reader takes it: fewer system calls, and fewer wake-ups of the peer; see `load/NOTES.md`.
const BODY_READ_LARGE: usize = 256 * 1024;
/// Bytes of a body of unknown length after which more is expected; one whose head says that it is larger than
/// [`BODY_READ`] is read large from its start.
const LARGE_AFTER: u64 = 256 * 1024;
/// Large reads at once, in the whole process: a reader may stop at any time, and a thousand such must not hold a
/// thousand large buffers.
const LARGE_READS_MAX: usize = 128;
/// Room below which a buffer that was handed on in part is replaced by a new one.
const ROOM_MIN: usize = 4 * 1024;

/// What a connection has read and nobody has taken yet, and the body that it is in.
#[derive(Debug, Default)]
pub struct Incoming {
    pub buffer: BytesMut,
    framing: Framing,
    /// At the front of `buffer`: handed out by the last [`lend`](Self::lend).
    lent: usize,
    /// Bytes of the body that were read.
    body_bytes: u64,
    /// The last read of the body took all the room there was: more is there.
    was_full: bool,
    /// The right to a large buffer.
    large: Option<LargeRead>,
}

/// One of [`LARGE_READS_MAX`], until it is dropped.
#[derive(Debug)]
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

impl Incoming {
    /// A body begins at the front of the buffer.
    pub fn begin(&mut self, framing: Framing) {
        self.framing = framing;
        self.body_bytes = 0;
        self.was_full = false;
    }

    /// The body is over: keeps what was read behind it, and no room for more.
    pub fn end(&mut self) {
        self.take_back();
        self.large = None;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Whether the body was read to its end.
    pub fn is_done(&self) -> bool {
        self.framing.is_done()
    }

    /// The next bytes of the body where they were read; `None` at its end. May be cancelled.
    pub async fn lend(
        &mut self,
        stream: &mut Stream,
        watchdog: &mut Watchdog,
        limit: Option<Duration>,
    ) -> Result<Option<&[u8]>, Broken> {
        match self.available(stream, watchdog, limit, usize::MAX).await? {
            0 => Ok(None),
            length => {
                self.lent = length;
                Ok(self.buffer.get(..length))
            }
        }
    }

    /// What the last [`lend`](Self::lend) gave.
    pub fn lent(&self) -> &[u8] {
        self.buffer.get(..self.lent).unwrap_or_default()
    }

    /// The same, to be kept beyond the connection.
    pub fn keep_lent(&mut self) -> Bytes {
        let lent = std::mem::take(&mut self.lent);
        self.buffer.split_to(lent).freeze()
    }

    /// The next bytes of the body, to be kept; `None` at its end. May be cancelled.
    pub async fn next(
        &mut self,
        stream: &mut Stream,
        watchdog: &mut Watchdog,
        limit: Option<Duration>,
    ) -> Result<Option<Bytes>, Broken> {
        match self.available(stream, watchdog, limit, ROOM_MIN).await? {
            0 => Ok(None),
            length => Ok(Some(self.buffer.split_to(length).freeze())),
        }
    }

    /// Reads until there is something of the body at the front of the buffer; 0: it has ended. Room is made where there
    /// is less than `room_min`.
    async fn available(
        &mut self,
        stream: &mut Stream,
        watchdog: &mut Watchdog,
        limit: Option<Duration>,
        room_min: usize,
    ) -> Result<usize, Broken> {
        self.take_back();
        loop {
            match self.framing.next(&mut self.buffer)? {
                Next::Data(length) => return Ok(length),
                Next::End => return Ok(0),
                Next::More => {}
            }
            if self.large.is_none() && self.wants_large() {
                self.large = LargeRead::claim();
            }
            let room = self.room();
            if self.buffer.capacity() - self.buffer.len() < room_min.min(room) {
                self.buffer.reserve(room);
            }
            let read = watchdog.within(limit, stream.read_buf(&mut self.buffer));
            let read = read.await.map_err(|_| Broken::ReadTimeout)?;
            let read = read.map_err(Broken::Read)?;
            if read == 0 {
                self.framing.closed()?;
            }
            self.body_bytes += read as u64;
            self.was_full = self.buffer.len() == self.buffer.capacity();
        }
    }

    fn wants_large(&self) -> bool {
        match self.framing {
            Framing::Sized(left) => left > BODY_READ as u64,
            Framing::Chunked(_) | Framing::UntilClose | Framing::Closed => {
                self.body_bytes >= LARGE_AFTER
            }
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

    fn take_back(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        self.buffer.advance(lent);
    }
}
