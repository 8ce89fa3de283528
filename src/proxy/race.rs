//! Several addresses of one name: the first that takes a connection wins (RFC 8305, "happy eyeballs").
//!
//! Each address has a head start over the next, so that one which answers is alone; one that is a black hole costs
//! no more than the head start, and one that refuses costs nothing.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Head start of one address over the next (RFC 8305, section 8).
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// Runs attempts `0..count` until one succeeds; with its number, or the last failure. The others are dropped.
pub(super) async fn first<T, E, F>(
    count: usize,
    attempt: impl Fn(usize) -> F,
) -> Result<(usize, T), Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let attempt = &attempt;
    let mut running = FuturesUnordered::new();
    let mut begun = 0;
    let mut last = None;
    loop {
        if begun < count {
            let at = begun;
            running.push(async move { (at, attempt(at).await) });
            begun += 1;
        }
        let head_start = async {
            if begun < count {
                tokio::time::sleep(HEAD_START).await;
            } else {
                pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            done = running.next() => match done {
                Some((at, Ok(made))) => return Ok((at, made)),
                Some((_, Err(error))) => last = Some(error),
                None => return Err(last),
            },
            () = head_start => {}
        }
    }
}

/// The first addresses of a name, the families by turns: a family that leads nowhere must not be all that is tried.
pub(super) fn by_turns(found: &[SocketAddr], most: usize) -> Vec<SocketAddr> {
    let Some(first) = found.first() else {
        return Vec::new();
    };
    let of = |same: bool| {
        let family = first.is_ipv6();
        found
            .iter()
            .filter(move |address| (address.is_ipv6() == family) == same)
    };
    let (mut preferred, mut other) = (of(true), of(false));
    let mut turns = Vec::with_capacity(most.min(found.len()));
    while turns.len() < most {
        let pair = [preferred.next(), other.next()];
        if pair == [None, None] {
            break;
        }
        turns.extend(pair.into_iter().flatten());
    }
    turns.truncate(most);
    turns
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// How an address takes a connection: after so long, or not; `None`: never.
    type Manner = (u64, Option<bool>);

    async fn check(manners: &[Manner]) -> (Result<usize, bool>, Duration) {
        let began = Instant::now();
        let raced = first(manners.len(), |at| async move {
            let (after, outcome) = manners[at];
            sleep(Duration::from_millis(after)).await;
            match outcome {
                Some(true) => Ok(()),
                Some(false) => Err(at),
                None => pending().await,
            }
        })
        .await;
        let raced = raced.map(|(at, ())| at).map_err(|last| last.is_some());
        (raced, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_wins() {
        const HOLE: Manner = (0, None);
        let ms = Duration::from_millis;
        for (manners, expected, took) in [
            (vec![(10, Some(true)), (0, Some(true))], Ok(0), ms(10)),
            // Refused at once: the next is not kept waiting.
            (vec![(1, Some(false)), (1, Some(true))], Ok(1), ms(2)),
            // A black hole costs the head start.
            (vec![HOLE, (5, Some(true))], Ok(1), ms(255)),
            (vec![HOLE, HOLE, (5, Some(true))], Ok(2), ms(505)),
            // A slow one may still win.
            (vec![(300, Some(true)), (100, Some(true))], Ok(0), ms(300)),
            (vec![(300, Some(true)), (10, Some(false))], Ok(0), ms(300)),
            (vec![(5, Some(false)), (5, Some(false))], Err(true), ms(10)),
            (vec![], Err(false), ms(0)),
        ] {
            let (winner, time) = check(&manners).await;
            assert_eq!(winner, expected, "{manners:?}");
            assert!(time >= took && time <= took + ms(2), "{manners:?} {time:?}");
        }
    }

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        for (found, expected) in [
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"][..],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1"][..],
            ),
            (&["1.1.1.1:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1"]),
            (&["1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
            (&[], &[]),
        ] {
            assert_eq!(by_turns(&parse(found), 3), parse(expected), "{found:?}");
        }
    }
}
