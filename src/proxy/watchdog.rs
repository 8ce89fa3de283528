//! Time limits that are moved with every read and write, and hardly ever reached.
//!
//! # Why not a timer for each wait
//!
//! A request waits three or four times, each time with a limit, and a timer that is made, registered and
//! cancelled costs more than the wait's own bookkeeping. A connection has one timer here, which stays registered
//! between waits. It is moved when a limit ends before it; one that ends later leaves it where it is, and when it
//! fires too early it looks at the clock and is set anew. So a busy connection touches its timer once in a limit's
//! time, not once in a wait.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A limit so far away that it is none: stops a config's largest duration from overflowing the clock.
const LIMIT_MAX: Duration = Duration::from_hours(24 * 365);

/// The timer of one connection; see the module's documentation.
#[derive(Debug, Default)]
pub struct Watchdog(Option<Pin<Box<Sleep>>>);

/// A limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl Watchdog {
    /// Runs `work` for at most `limit`, or for ever without one. Reads no clock unless the work has to wait.
    pub async fn within<T>(
        &mut self,
        limit: Option<Duration>,
        work: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let Some(limit) = limit else {
            return Ok(work.await);
        };
        let mut work = pin!(work);
        let mut deadline = None;
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            let deadline = *deadline.get_or_insert_with(|| after(limit));
            self.poll_until(deadline, context).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Runs `work` until `deadline` at the latest, or for ever without one.
    pub async fn until<T>(
        &mut self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let Some(deadline) = deadline else {
            return Ok(work.await);
        };
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(done));
            }
            self.poll_until(deadline, context).map(|()| Err(Elapsed))
        })
        .await
    }

    fn poll_until(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            // Set for an earlier wait, which is over.
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// The time when `limit` will have passed.
pub fn after(limit: Duration) -> Instant {
    Instant::now() + limit.min(LIMIT_MAX)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn limits_hold_in_whatever_order_they_come() {
        let mut watchdog = Watchdog::default();
        let started = Instant::now();
        let mut expected = Duration::ZERO;
        for seconds in [5, 1, 7, 7, 2, 30] {
            let limit = SECOND * seconds;
            let over = watchdog.within(Some(limit), pending::<()>()).await;
            assert_eq!(over, Err(Elapsed));
            expected += limit;
            let took = started.elapsed();
            assert!(took >= expected && took < expected + SECOND, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_of_an_earlier_wait_ends_no_later_one() {
        let mut watchdog = Watchdog::default();
        let quick = tokio::time::sleep(SECOND);
        assert_eq!(watchdog.within(Some(SECOND * 3), quick).await, Ok(()));
        // The timer stands at 3 s; this wait may go on until 11 s.
        let slow = tokio::time::sleep(SECOND * 9);
        assert_eq!(watchdog.within(Some(SECOND * 10), slow).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_done_needs_no_timer() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.within(Some(SECOND), ready(1)).await, Ok(1));
        assert!(watchdog.0.is_none());
        assert_eq!(watchdog.within(None, ready(2)).await, Ok(2));
    }
}
