//! Connections to one address that wait for work.
//!
//! Last in, first out: a quiet hour leaves the few in use that are needed, and the others grow old. Whether one is
//! still open is asked when it is taken, without waiting; what waits too long is closed by whoever comes next, or
//! by the sweep that `app` starts.
//!
//! # Why not Pingora's
//!
//! It runs a task with a timer for each idle connection, made when one is given back and ended when it is taken:
//! a tenth of what a small request cost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::proxy::upstream::Upstream;

/// Idle connections to one address. Stops a burst from leaving descriptors behind.
const IDLE_MAX: usize = 256;

/// See the module's documentation.
#[derive(Default)]
pub struct Idle(Mutex<VecDeque<Kept>>);

struct Kept {
    session: Box<Upstream>,
    since: Instant,
}

impl Idle {
    /// The connection that was given back last, if it still is one.
    pub fn take(&self, idle_max: Duration) -> Option<Box<Upstream>> {
        loop {
            let mut kept = self.0.lock().pop_back()?;
            if kept.since.elapsed() < idle_max && kept.session.is_quiet() {
                return Some(kept.session);
            }
        }
    }

    pub fn put(&self, session: Box<Upstream>, idle_max: Duration) {
        let now = Instant::now();
        let mut kept = self.0.lock();
        // What makes room is dropped behind the lock.
        let oldest = kept
            .front()
            .is_some_and(|oldest| now - oldest.since >= idle_max);
        let dropped = if oldest || kept.len() >= IDLE_MAX {
            kept.pop_front()
        } else {
            None
        };
        kept.push_back(Kept {
            session,
            since: now,
        });
        drop(kept);
        drop(dropped);
    }

    /// Closes what waited too long, and what its peer has closed.
    pub fn sweep(&self, idle_max: Duration) {
        let now = Instant::now();
        let mut kept = self.0.lock();
        kept.retain_mut(|one| now - one.since < idle_max && one.session.is_quiet());
    }
}
