//! The threads that keep in the state directory what is counted in memory: when keys were used last, and the ledger.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::last_used::LastUsed;
use crate::config::live::Live;
use crate::proxy::clock;
use crate::telemetry::ledger::Ledger;
use crate::telemetry::ledger::file::LedgerFile;

/// How often what is new is written; a crash takes what is newer.
const LAST_USED_EVERY: Duration = Duration::from_mins(1);
const LEDGER_EVERY: Duration = Duration::from_secs(10);

/// Dropping it writes once more and ends the thread.
pub(super) struct Keeper {
    what: &'static str,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Reads when keys were used last, and keeps it from now on.
pub(super) fn last_used(live: &Arc<Live>) -> io::Result<Keeper> {
    let live = Arc::clone(live);
    let mut last_used = LastUsed::open(&live.load().process.state_dir);
    last_used.restore(&live.current());
    Keeper::start("last-used", LAST_USED_EVERY, move || {
        last_used.flush(&live.current())
    })
}

/// Reads what was spent, and keeps it from now on.
pub(super) fn ledger(live: &Arc<Live>, ledger: &Arc<Ledger>) -> io::Result<Keeper> {
    let (live, ledger) = (Arc::clone(live), Arc::clone(ledger));
    let mut file = LedgerFile::open(&live.load().process.state_dir, &ledger, clock::now());
    Keeper::start("ledger", LEDGER_EVERY, move || {
        let snapshot = live.current();
        file.flush(&ledger, |key| snapshot.key(key).is_some(), clock::now())
    })
}

impl Keeper {
    /// `flush` writes what is new.
    fn start(
        what: &'static str,
        every: Duration,
        mut flush: impl FnMut() -> io::Result<bool> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let thread = thread::Builder::new().name(what.into()).spawn(move || {
            let mut is_failing = false;
            loop {
                let is_last = match stopped.recv_timeout(every) {
                    Err(RecvTimeoutError::Timeout) => false,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
                };
                let flushed = flush();
                if let Err(error) = &flushed
                    && !is_failing
                {
                    tracing::warn!(what, %error, "what is counted cannot be kept");
                }
                is_failing = flushed.is_err();
                if is_last {
                    return;
                }
            }
        })?;
        Ok(Self {
            what,
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
            tracing::error!(what = self.what, "the thread that keeps it panicked");
        }
    }
}
