//! Notices that the config changed.
//!
//! Watches directories, never files: editors and deployments replace files, and a watch on a file stays with the one
//! that is gone. An event is only a hint. After a quiet moment the whole set is read and compared by content, which
//! also happens every 30 seconds, so that a lost event, a network file system or a failed watcher costs time and
//! nothing else. Runs on a thread of its own; loads happen there.
//!
//! The state directory is watched for one file: a revocation by another process is taken in at once, with no look at
//! the config.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::oneshot;

use super::live::{Live, Patience, ReloadOutcome, Trigger};
use super::source::Watched;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Without events for this long, a change is complete.
    pub quiet: Duration,
    /// Changes are looked at no later than this after the first event.
    pub settle_max: Duration,
    /// Between regular looks.
    pub poll: Duration,
    /// How long a running git command is waited for.
    pub git_max: Duration,
    /// Before a file that may be half written is read again.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(300),
            settle_max: Duration::from_secs(3),
            poll: Duration::from_secs(30),
            git_max: Duration::from_secs(10),
            retry: Duration::from_millis(500),
        }
    }
}

/// The watching thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct Watch {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Message {
    /// Something happened to these files. Directories that went away took their watches with them.
    Hint {
        paths: Vec<PathBuf>,
        is_removal: bool,
    },
    WatcherFailed(String),
    Reload {
        trigger: Trigger,
        reply: oneshot::Sender<ReloadOutcome>,
    },
    Stop,
}

impl Watch {
    pub fn start(live: Arc<Live>, timing: Timing) -> io::Result<Self> {
        let (messages, inbox) = channel();
        let mut worker = Worker {
            live,
            timing,
            inbox,
            messages: messages.clone(),
            watcher: None,
            wanted: Watched::default(),
            watched: HashMap::new(),
            last_failure: None,
            change: None,
            poll_at: Instant::now() + timing.poll,
        };
        // Before this returns, so that no later change is missed.
        worker.watch_directories();
        let thread = thread::Builder::new()
            .name("config-watch".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            messages,
            thread: Some(thread),
        })
    }

    /// Asks for a reload, and gives its outcome when it is done: for SIGHUP and `POST /-/reload`. An error means that
    /// the thread has stopped.
    pub fn reload(&self, trigger: Trigger) -> oneshot::Receiver<ReloadOutcome> {
        let (reply, outcome) = oneshot::channel();
        if self
            .messages
            .send(Message::Reload { trigger, reply })
            .is_err()
        {
            tracing::error!("the config watcher has stopped; nothing is reloaded");
        }
        outcome
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An error means that it has stopped already.
        let stopped = self.messages.send(Message::Stop).is_err();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(stopped, "the config watcher panicked");
        }
    }
}

/// A change that is being waited out.
#[derive(Clone, Copy, Debug)]
struct Change {
    first: Instant,
    last: Instant,
    /// Somebody was at work at the last look: this look waits for git alone.
    is_retry: bool,
}

struct Worker {
    live: Arc<Live>,
    timing: Timing,
    inbox: Receiver<Message>,
    messages: Sender<Message>,
    watcher: Option<RecommendedWatcher>,
    /// What the running set wants watched.
    wanted: Watched,
    /// Each directory that is watched.
    watched: HashMap<PathBuf, Identity>,
    last_failure: Option<String>,
    change: Option<Change>,
    poll_at: Instant,
}

impl Worker {
    /// Goes on after a panic: the next look comes with the next event, or when it is time to poll.
    fn run(&mut self) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    self.change = None;
                    self.poll_at = Instant::now() + self.timing.poll;
                }
            }
        }
    }

    /// Takes one message, or looks when it is time. `false`: stop.
    fn turn(&mut self) -> bool {
        let wait = self.wake_at().saturating_duration_since(Instant::now());
        match self.inbox.recv_timeout(wait) {
            Ok(Message::Hint { paths, is_removal }) => {
                if self.take_hint(&paths, is_removal) {
                    self.note_change();
                }
            }
            Ok(Message::WatcherFailed(error)) => {
                self.fail(&error);
                self.note_change();
            }
            Ok(Message::Reload { trigger, reply }) => return self.answer(trigger, reply),
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => self.wake(),
        }
        true
    }

    fn wake_at(&self) -> Instant {
        match self.change {
            Some(change) => self.settled_at(change).min(self.poll_at),
            None => self.poll_at,
        }
    }

    fn settled_at(&self, change: Change) -> Instant {
        if change.is_retry {
            return change.last + self.timing.retry;
        }
        (change.last + self.timing.quiet).min(change.first + self.timing.settle_max)
    }

    fn note_change(&mut self) {
        let now = Instant::now();
        match &mut self.change {
            // A retry looks at its time, whatever else happens.
            Some(change) if change.is_retry => {}
            Some(change) => change.last = now,
            None => {
                self.change = Some(Change {
                    first: now,
                    last: now,
                    is_retry: false,
                });
            }
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        if let Some(change) = self.change
            && now >= self.settled_at(change)
        {
            self.look(change, now);
        } else if now >= self.poll_at {
            let done = self.live.try_reload(Trigger::Poll, Patience::Young);
            self.poll_at = now + self.timing.poll;
            if done.is_some() {
                self.finish();
            } else {
                self.look_again(now, now);
            }
        }
    }

    /// Looks at a change that has settled.
    fn look(&mut self, change: Change, now: Instant) {
        let patience = if now >= change.first + self.timing.git_max {
            Patience::None
        } else if change.is_retry {
            Patience::Whole
        } else {
            Patience::Young
        };
        if self.live.try_reload(Trigger::Watch, patience).is_some() {
            self.finish();
        } else {
            // Not extended by `first`: settled again after another quiet moment.
            self.look_again(change.first, now);
            self.watch_directories();
        }
    }

    fn look_again(&mut self, first: Instant, last: Instant) {
        self.change = Some(Change {
            first,
            last,
            is_retry: true,
        });
    }

    fn done(&mut self, trigger: Trigger) -> ReloadOutcome {
        let outcome = self.live.reload(trigger);
        self.finish();
        outcome
    }

    fn finish(&mut self) {
        self.change = None;
        self.poll_at = Instant::now() + self.timing.poll;
        self.watch_directories();
    }

    /// Answers a request, and all that wait behind it, with one load. `false`: stop.
    fn answer(&mut self, trigger: Trigger, reply: oneshot::Sender<ReloadOutcome>) -> bool {
        let mut replies = vec![reply];
        let mut go_on = true;
        let mut hinted = false;
        let mut hints = Vec::new();
        for message in self.inbox.try_iter() {
            match message {
                Message::Reload { reply, .. } => replies.push(reply),
                Message::Hint { paths, is_removal } => hints.push((paths, is_removal)),
                Message::WatcherFailed(error) => {
                    tracing::warn!(%error, "the config watcher failed; polling goes on");
                    hinted = true;
                }
                Message::Stop => go_on = false,
            }
        }
        for (paths, is_removal) in hints {
            hinted |= self.take_hint(&paths, is_removal);
        }
        let outcome = self.done(trigger);
        if hinted {
            self.note_change();
        }
        for reply in replies {
            // An asker that is gone needs no answer.
            drop(reply.send(outcome.clone()));
        }
        go_on
    }

    /// Whether an event may have changed the set; one that names nothing may.
    fn take_hint(&mut self, paths: &[PathBuf], is_removal: bool) -> bool {
        if is_removal {
            // Another directory of the same name may have the same inode.
            for path in paths {
                self.watched.remove(path);
            }
        }
        if paths.iter().any(|path| path == self.live.revoked_path()) {
            self.live.refresh_revoked();
        }
        paths.is_empty() || paths.iter().any(|path| self.wanted.concerns(path))
    }

    /// Watches what is to be watched now: directories come, go and are replaced under the same name.
    fn watch_directories(&mut self) {
        if self.watcher.is_none() {
            match watcher(self.messages.clone()) {
                Ok(watcher) => {
                    self.watcher = Some(watcher);
                    self.watched.clear();
                }
                Err(error) => {
                    self.fail(&error.to_string());
                    return;
                }
            }
        }
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        self.wanted = self.live.watched();
        let mut wanted = self.wanted.directories.clone();
        if let Some(state_dir) = self.live.revoked_path().parent()
            && state_dir.is_dir()
            && let Err(at) = wanted.binary_search_by(|path| path.as_path().cmp(state_dir))
        {
            wanted.insert(at, state_dir.to_owned());
        }
        let mut appeared = false;
        let mut failure = None;
        self.watched.retain(|path, inode| {
            let keep = wanted.binary_search(path).is_ok() && identity(path) == Some(*inode);
            if !keep && let Err(error) = watcher.unwatch(path) {
                // It went with its directory.
                tracing::debug!(path = %path.display(), %error, "not unwatched");
            }
            keep
        });
        for path in &wanted {
            let Some(inode) = identity(path) else {
                continue;
            };
            if self.watched.contains_key(path) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), inode);
                    appeared = true;
                }
                Err(error) => failure = Some(format!("{}: {error}", path.display())),
            }
        }
        match failure {
            Some(error) => self.fail(&error),
            None => {
                if self.last_failure.take().is_some()
                    && let Some(observer) = self.live.observer()
                {
                    observer.watcher_recovered();
                }
            }
        }
        if appeared {
            // What happened there before the watch is seen by one more look.
            self.note_change();
        }
    }

    /// Says once that events may be missed.
    fn fail(&mut self, error: &str) {
        if self.last_failure.as_deref() == Some(error) {
            return;
        }
        self.last_failure = Some(error.to_owned());
        tracing::warn!(%error, "config changes are only noticed by polling");
        if let Some(observer) = self.live.observer() {
            observer.watcher_failed(error);
        }
    }
}

fn watcher(messages: Sender<Message>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        let message = match event {
            Ok(event) if is_change(event.kind) => Message::Hint {
                is_removal: matches!(event.kind, EventKind::Remove(_)),
                paths: event.paths,
            },
            Ok(_) => return,
            Err(error) => Message::WatcherFailed(error.to_string()),
        };
        // An error means that nobody watches any more.
        drop(messages.send(message));
    })
}

/// Whether an event may have changed the set. Our own reading must not count.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// Tells a directory from another of the same name: device, inode, and birth, because inodes are used again.
type Identity = (u64, u64, Option<SystemTime>);

fn identity(path: &Path) -> Option<Identity> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.created().ok()))
}
