//! Whether the process drains: connections are not kept any more.
//!
//! A process drains once and for good, so this is a flag of the process and nobody's field: whoever writes a
//! head asks it, and most of them know no engine.

use std::sync::atomic::{AtomicBool, Ordering};

static DRAINING: AtomicBool = AtomicBool::new(false);

/// From now on nothing is kept.
pub fn begin() {
    DRAINING.store(true, Ordering::Relaxed);
}

pub fn is_draining() -> bool {
    DRAINING.load(Ordering::Relaxed)
}
