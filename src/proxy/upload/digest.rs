//! Digests of what an upload releases. An MD5 costs more than all else about a byte, so that of a large upload is taken
//! beside the worker, on a thread for what blocks, a batch at a time: a client that stalls holds no thread.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::storage::object::{Digests, Observed, Observer};

/// Uploads up to this length are hashed where they pass.
const BESIDE_BYTES_MIN: u64 = 1024 * 1024;
/// What one batch holds, in bytes. One is hashed while the next comes together, and no more are held.
const BATCH_BYTES: usize = 1024 * 1024;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Digesting {
    observer: Observer,
    beside: Option<Beside>,
}

/// The hash of a large upload, where it is.
struct Beside {
    state: State,
    batch: Vec<Bytes>,
    batch_bytes: usize,
}

enum State {
    Here(Md5),
    Running(JoinHandle<Md5>),
    /// Its thread was lost.
    Lost,
}

impl Digesting {
    /// `length` of the whole upload.
    pub(super) fn new(wanted: Digests, length: u64) -> Self {
        let beside = wanted.md5 && length > BESIDE_BYTES_MIN;
        Self {
            observer: Observer::new(Digests {
                md5: wanted.md5 && !beside,
                ..wanted
            }),
            beside: beside.then(|| Beside {
                state: State::Here(Md5::new()),
                batch: Vec::new(),
                batch_bytes: 0,
            }),
        }
    }

    pub(super) fn update(&mut self, chunk: &Bytes) {
        self.observer.update(chunk);
        if let Some(beside) = &mut self.beside {
            beside.batch_bytes += chunk.len();
            beside.batch.push(chunk.clone());
        }
    }

    /// Hands a batch on that is full, once the one before it is done. May be cancelled.
    pub(super) async fn advance(&mut self) -> Result<()> {
        match &mut self.beside {
            Some(beside) if beside.batch_bytes >= BATCH_BYTES => beside.start().await,
            Some(_) | None => Ok(()),
        }
    }

    /// Waits for the end of it.
    pub(super) async fn finish(&mut self) -> Result<()> {
        let Some(beside) = &mut self.beside else {
            return Ok(());
        };
        beside.start().await?;
        let md5 = beside.join().await?;
        beside.state = State::Here(md5);
        Ok(())
    }

    /// Once it is finished.
    pub(super) fn observed(&self) -> Observed {
        let mut observed = self.observer.observed();
        if let Some(Beside {
            state: State::Here(md5),
            ..
        }) = &self.beside
        {
            observed.md5 = Some(md5.clone().finalize().into());
        }
        observed
    }
}

impl Beside {
    async fn start(&mut self) -> Result<()> {
        let mut md5 = self.join().await?;
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.state = State::Running(tokio::task::spawn_blocking(move || {
            for chunk in &batch {
                md5.update(chunk);
            }
            md5
        }));
        Ok(())
    }

    /// May be cancelled: what runs stays known until it is done.
    async fn join(&mut self) -> Result<Md5> {
        if let State::Running(task) = &mut self.state {
            let joined = task.await;
            self.state = joined.map_or(State::Lost, State::Here);
        }
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Here(md5) => Ok(md5),
            State::Running(_) | State::Lost => {
                Err(Error::internal("the hash of an upload was lost"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batches_beside_the_worker_have_the_digests_of_the_whole() {
        let chunk = Bytes::from(vec![7; 300_000]);
        let wanted = Digests {
            md5: true,
            crc64nvme: true,
            crc32c: false,
        };
        for count in [1, 3, 4, 11] {
            let length = (chunk.len() * count) as u64;
            let mut digesting = Digesting::new(wanted, length);
            let mut whole = Observer::new(wanted);
            for _ in 0..count {
                digesting.update(&chunk);
                digesting.advance().await.unwrap();
                whole.update(&chunk);
            }
            digesting.finish().await.unwrap();
            // A second attempt asks again.
            digesting.finish().await.unwrap();
            assert_eq!(digesting.observed(), whole.observed());
            assert_eq!(digesting.beside.is_some(), length > BESIDE_BYTES_MIN);
        }
    }
}
