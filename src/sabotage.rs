//! Panics, sudden ends and clock jumps on demand, so that tests can see what they leave standing. A release build has
//! none of it.
//!
//! The environment says where, and is read once: `AQUEDUCT_PANIC_AT=request=/media/boom,reload=Watch` panics in
//! every request whose target holds `/media/boom`, and in every reload that files set off.
//! `AQUEDUCT_CRASH_AT=renamed` kills the process when a change of the config has got so far, `renamed:3` the third time.
//! `AQUEDUCT_CLOCK=/a/file` puts the wall clock so many seconds forward or back as the file says at that moment.

use jiff::Timestamp;

/// Where a panic can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Once a request is admitted.
    Request,
    /// Once the head of an answer is written.
    Answer,
    /// Within a load of the config.
    Reload,
    /// Within the admin API.
    Admin,
}

/// Panics where the environment asks for it.
#[cfg(debug_assertions)]
pub fn pass(point: Point, subject: impl FnOnce() -> String) {
    static ASKED: std::sync::OnceLock<Vec<(Point, String)>> = std::sync::OnceLock::new();
    let asked = ASKED.get_or_init(asked);
    if asked.is_empty() {
        return;
    }
    let subject = subject();
    let is_meant = |(at, part): &(Point, String)| *at == point && subject.contains(part);
    assert!(
        !asked.iter().any(is_meant),
        "a panic on demand at {subject}"
    );
}

/// Nothing: the panics on demand are not in this build.
#[cfg(not(debug_assertions))]
pub fn pass(_point: Point, _subject: impl FnOnce() -> String) {}

#[cfg(debug_assertions)]
fn asked() -> Vec<(Point, String)> {
    let text = std::env::var("AQUEDUCT_PANIC_AT").unwrap_or_default();
    let entries = text.split(',').filter_map(|entry| entry.split_once('='));
    entries
        .filter_map(|(name, part)| {
            let point = match name {
                "request" => Point::Request,
                "answer" => Point::Answer,
                "reload" => Point::Reload,
                "admin" => Point::Admin,
                _ => return None,
            };
            Some((point, part.to_owned()))
        })
        .collect()
}

/// Ends the process, without a chance to clean up, where the environment asks for it.
#[cfg(debug_assertions)]
pub fn end_at(step: &'static str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static TIMES: AtomicU32 = AtomicU32::new(0);
    let Ok(asked) = std::env::var("AQUEDUCT_CRASH_AT") else {
        return;
    };
    let (name, times) = asked.split_once(':').unwrap_or((&asked, "1"));
    if name == step && times.parse() == Ok(TIMES.fetch_add(1, Ordering::Relaxed) + 1) {
        let (own, signal) = (rustix::process::getpid(), rustix::process::Signal::KILL);
        let killed = rustix::process::kill_process(own, signal);
        tracing::error!(?killed, step, "asked to end here");
    }
}

/// Nothing: sudden ends are not in this build.
#[cfg(not(debug_assertions))]
pub fn end_at(_step: &'static str) {}

/// The time by a clock that was put forward or back as the environment asks.
#[cfg(debug_assertions)]
pub fn shifted(now: Timestamp) -> Timestamp {
    static FILE: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("AQUEDUCT_CLOCK"));
    let text = file.as_ref().and_then(|file| std::fs::read(file).ok());
    let text = text.and_then(|text| String::from_utf8(text).ok());
    let seconds = text.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let shift = jiff::SignedDuration::from_secs(seconds);
    now.checked_add(shift).unwrap_or(now)
}

/// The time as it is: clock jumps are not in this build.
#[cfg(not(debug_assertions))]
pub fn shifted(now: Timestamp) -> Timestamp {
    now
}
