//! The wall clock, read once a request and handed on as an argument. What takes time is measured with `Instant`, which
//! no change of this clock touches.

use jiff::Timestamp;

use crate::sabotage;

pub fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    let now = Timestamp::now();
    sabotage::shifted(now)
}
