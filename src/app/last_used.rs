//! The thread that keeps when keys were used last.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::last_used::LastUsed;
use crate::config::live::Live;

/// How often what is new is written.
const FLUSH_EVERY: Duration = Duration::from_mins(1);

/// Dropping it writes once more and ends the thread.
pub(super) struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Reads what is kept, and keeps it from now on.
    pub(super) fn start(live: &Arc<Live>) -> io::Result<Self> {
        let live = Arc::clone(live);
        let mut last_used = LastUsed::open(&live.load().process.state_dir);
        last_used.restore(&live.current());
        let (stop, stopped) = channel::<()>();
        let thread = thread::Builder::new()
            .name("last-used".into())
            .spawn(move || {
                let mut is_failing = false;
                loop {
                    let is_last = match stopped.recv_timeout(FLUSH_EVERY) {
                        Err(RecvTimeoutError::Timeout) => false,
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
                    };
                    let flushed = last_used.flush(&live.current());
                    if let Err(error) = &flushed
                        && !is_failing
                    {
                        tracing::warn!(%error, "when keys were used last cannot be written");
                    }
                    is_failing = flushed.is_err();
                    if is_last {
                        return;
                    }
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the last use of keys panicked");
        }
    }
}
