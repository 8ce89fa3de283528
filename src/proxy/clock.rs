//! The wall clock, read once a request and handed on as an argument.

use jiff::Timestamp;

pub fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    Timestamp::now()
}
