//! The access log: one JSON line for each request, written by a thread of its own.
//!
//! A request makes its line and puts it in a bounded queue; it never waits. A full queue or a failing sink
//! drops lines and counts them (`aqueduct_log_dropped_total`). Nothing secret goes in: no query, no header
//! but `Host` and `User-Agent`, no body, and the path is the decoded key, cut short. Everything that a
//! client wrote is escaped, so a line stays a line.
//!
//! Why not `tracing`: its subscriber writes on the request's thread, under a lock. Why the writer polls: a
//! wake-up is a system call, so under load it looks every [`POLL`] on its own, and only a writer that
//! found nothing twice has to be woken.

mod entry;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;

pub use entry::{AiEntry, CopyEntry, Entry, Flag, Flags, UpstreamEntry};
use writer::Writer;

use crate::error::{Error, Result};

/// Lines that wait for the writer: stops a stalled sink from taking memory. At 400 bytes a line 3 MiB,
/// and 400 000 lines a second before one is lost.
const QUEUE_MAX: usize = 8192;

/// How long a busy writer lets lines gather.
const POLL: Duration = Duration::from_millis(20);

/// How long dropping the log waits for a sink that does not take its lines.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    Stdout,
    /// Appended to; made if it does not exist.
    File(PathBuf),
}

/// See the module's documentation. Dropping it writes what waits.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Vec<u8>>,
    dropped: IntCounter,
    shared: Arc<Shared>,
    thread: Thread,
    /// Locked only to wait for the end.
    done: Mutex<Receiver<()>>,
}

/// What the writer and the requests tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// The writer waits to be woken.
    asleep: AtomicBool,
    stop: AtomicBool,
    reopen: AtomicBool,
}

impl AccessLog {
    /// Opens the sink and starts the writer. `dropped` counts what is lost.
    pub fn open(sink: Sink, dropped: IntCounter) -> Result<Self> {
        let writer = Writer::open(sink, dropped.clone())?;
        Self::start(writer, dropped)
    }

    fn start(mut writer: Writer, dropped: IntCounter) -> Result<Self> {
        let (queue, lines) = mpsc::sync_channel::<Vec<u8>>(QUEUE_MAX);
        let (finished, done) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                run(&mut writer, &lines, &seen);
                // Nobody waits any more if the log's owner gave up after `FLUSH_MAX`.
                let _ = finished.try_send(());
            })
            .map_err(|error| Error::internal("cannot start the access log").with_source(error))?;
        Ok(Self {
            queue,
            dropped,
            shared,
            thread: thread.thread().clone(),
            done: Mutex::new(done),
        })
    }

    /// Queues the line. Never blocks.
    pub fn write(&self, entry: &Entry<'_>) {
        let mut line = Vec::with_capacity(entry::LINE_USUAL);
        entry.render(&mut line);
        if self.queue.try_send(line).is_err() {
            self.dropped.inc();
            return;
        }
        // Pairs with the fence in `sleep`: either the writer sees the line, or we see it asleep.
        fence(Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::Relaxed)
            && self.shared.asleep.swap(false, Ordering::Relaxed)
        {
            self.thread.unpark();
        }
    }

    /// Opens a file sink anew, after it was renamed by log rotation.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

impl AccessLog {
    /// Writes what waits, and nothing after it: for the end of a process, where nobody may be left to drop it.
    pub fn close(&self) {
        if self.shared.stop.swap(true, Ordering::AcqRel) {
            return;
        }
        self.thread.unpark();
        if self.done.lock().recv_timeout(FLUSH_MAX).is_err() {
            tracing::warn!("the access log's sink does not take its last lines");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(writer: &mut Writer, lines: &Receiver<Vec<u8>>, shared: &Shared) {
    let mut idle = false;
    loop {
        // Read before the queue is emptied: lines queued before the stop are written.
        let stop = shared.stop.load(Ordering::Acquire);
        if shared.reopen.swap(false, Ordering::Relaxed) {
            writer.reopen();
        }
        let mut some = false;
        while let Ok(line) = lines.try_recv() {
            writer.push(&line);
            some = true;
        }
        writer.flush();
        if stop {
            return;
        }
        if some || !idle {
            idle = !some;
            thread::park_timeout(POLL);
        } else {
            sleep(writer, lines, shared);
            idle = false;
        }
    }
}

/// Waits to be woken by a line, a stop or a reopening.
fn sleep(writer: &mut Writer, lines: &Receiver<Vec<u8>>, shared: &Shared) {
    shared.asleep.store(true, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    match lines.try_recv() {
        Ok(line) => writer.push(&line),
        Err(_) if shared.stop.load(Ordering::Acquire) => {}
        Err(_) => thread::park(),
    }
    shared.asleep.store(false, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
