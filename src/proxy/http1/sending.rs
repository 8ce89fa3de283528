//! Writing several pieces of a message as one.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Broken;
use crate::proxy::watchdog::Watchdog;

/// Writes all of `pieces`, in as few calls as the connection takes, within `limit`.
pub async fn send(
    stream: &mut Stream,
    watchdog: &mut Watchdog,
    limit: Option<Duration>,
    pieces: &mut [IoSlice<'_>],
) -> Result<(), Broken> {
    let written = async {
        write_all(stream, pieces).await?;
        stream.flush().await
    };
    watchdog
        .within(limit, written)
        .await
        .map_err(|_| Broken::WriteTimeout)?
        .map_err(Broken::Write)
}

async fn write_all(stream: &mut Stream, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Empty pieces are no reason to call, and a call that writes nothing is an error.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let written = poll_fn(|context| {
            let written = match &*pieces {
                [one] => Pin::new(&mut *stream).poll_write(context, one),
                several => Pin::new(&mut *stream).poll_write_vectored(context, several),
            };
            std::task::Poll::Ready(ready!(written))
        });
        let written = written.await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut pieces, written);
    }
    Ok(())
}
