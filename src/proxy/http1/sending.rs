//! Writing several pieces of a message as one.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Broken;
use crate::proxy::watchdog::Watchdog;

/// Writes all of `pieces`, in as few calls as the connection takes. `limit` is for the time without any progress: a peer
/// that reads slowly is none that has stopped.
pub async fn send(
    stream: &mut Stream,
    watchdog: &mut Watchdog,
    limit: Option<Duration>,
    mut pieces: &mut [IoSlice<'_>],
) -> Result<(), Broken> {
    // Empty pieces are no reason to call, and a call that writes nothing is an error.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let write = poll_fn(|context| match &*pieces {
            [one] => Pin::new(&mut *stream).poll_write(context, one),
            several => Pin::new(&mut *stream).poll_write_vectored(context, several),
        });
        let written = within(watchdog, limit, write).await?;
        if written == 0 {
            return Err(Broken::Write(io::ErrorKind::WriteZero.into()));
        }
        IoSlice::advance_slices(&mut pieces, written);
    }
    within(watchdog, limit, stream.flush()).await
}

async fn within<T>(
    watchdog: &mut Watchdog,
    limit: Option<Duration>,
    write: impl Future<Output = io::Result<T>>,
) -> Result<T, Broken> {
    let written = watchdog.within(limit, write).await;
    written
        .map_err(|_| Broken::WriteTimeout)?
        .map_err(Broken::Write)
}
