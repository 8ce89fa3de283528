//! The end of the queue: gathers lines and hands them to the sink in large writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use prometheus::IntCounter;

use super::Sink;
use crate::error::{Error, Result};

/// Bytes gathered before they are written in any case.
const BATCH_BYTES_MAX: usize = 256 * 1024;

pub(super) struct Writer {
    sink: Sink,
    out: Box<dyn Write + Send>,
    batch: Vec<u8>,
    lines: u64,
    dropped: IntCounter,
    /// The last write failed; said once, until one works again.
    failing: bool,
}

impl Writer {
    pub(super) fn open(sink: Sink, dropped: IntCounter) -> Result<Self> {
        let out: Box<dyn Write + Send> = match &sink {
            Sink::Stdout => Box::new(io::stdout()),
            Sink::File(path) => Box::new(append(path).map_err(|error| {
                Error::internal(format_args!("cannot open {}", path.display())).with_source(error)
            })?),
        };
        Ok(Self::new(sink, out, dropped))
    }

    pub(super) fn new(sink: Sink, out: Box<dyn Write + Send>, dropped: IntCounter) -> Self {
        Self {
            sink,
            out,
            batch: Vec::with_capacity(BATCH_BYTES_MAX),
            lines: 0,
            dropped,
            failing: false,
        }
    }

    pub(super) fn push(&mut self, line: &[u8]) {
        self.batch.extend_from_slice(line);
        self.lines += 1;
        if self.batch.len() >= BATCH_BYTES_MAX {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self
            .out
            .write_all(&self.batch)
            .and_then(|()| self.out.flush())
        {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.dropped.inc_by(self.lines);
                if !self.failing {
                    tracing::warn!(%error, "the access log cannot be written; lines are dropped");
                }
                self.failing = true;
            }
        }
        self.batch.clear();
        self.lines = 0;
    }

    pub(super) fn reopen(&mut self) {
        let Sink::File(path) = &self.sink else {
            return;
        };
        match append(path) {
            Ok(file) => self.out = Box::new(file),
            Err(error) => {
                tracing::warn!(%error, "the access log cannot be reopened; the old file stays in use");
            }
        }
    }
}

/// Readable for the group, as logs are; never for everybody.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).open(path)
}
