//! The file of a form on its way: the message's bytes in, the file's bytes out.
//!
//! Where the file's end was not seen before its upload began, its length is what the message leaves for it. All
//! that could be the closing boundary is held, and one byte of the file more: whatever stands at the end instead,
//! the store never gets the last byte.

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use super::malformed;
use crate::error::Result;
use crate::message::body::{BodyStep, Chunks, End};
use crate::storage::s3::body::UploadPipe;

/// See the module's documentation.
#[derive(Debug)]
pub struct FilePart {
    length: u64,
    part: Source,
}

#[derive(Debug)]
enum Source {
    /// All of it is here; what follows in the message is ignored.
    Whole(Bytes),
    Streamed(Box<Streamed>),
}

#[derive(Debug)]
struct Streamed {
    /// What was read with the fields.
    ahead: Bytes,
    delimiter: Finder<'static>,
    /// The closing boundary: delimiter, two dashes, CR, LF.
    tail: Vec<u8>,
    length: u64,
    held: Bytes,
    seen: u64,
}

impl FilePart {
    pub(super) fn whole(file: Bytes) -> Self {
        Self {
            length: file.len() as u64,
            part: Source::Whole(file),
        }
    }

    /// A file of which `ahead` has been read, in a message that has `left` bytes from its start on.
    pub(super) fn streamed(ahead: Bytes, delimiter: &[u8], left: u64) -> Result<Self> {
        let tail = [delimiter, b"--\r\n"].concat();
        let length = left
            .checked_sub(tail.len() as u64)
            .ok_or_else(|| malformed("no room for the closing boundary"))?;
        Ok(Self {
            length,
            part: Source::Streamed(Box::new(Streamed {
                ahead,
                delimiter: Finder::new(delimiter).into_owned(),
                tail,
                length,
                held: Bytes::new(),
                seen: 0,
            })),
        })
    }

    /// Exact length of the file, should the message be well-formed.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl BodyStep for FilePart {
    fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()> {
        match &mut self.part {
            Source::Whole(_) => Ok(()),
            Source::Streamed(streamed) => {
                let ahead = std::mem::take(&mut streamed.ahead);
                streamed.take(&ahead, out)?;
                streamed.take(&input, out)
            }
        }
    }

    fn finish(&mut self, end: End, out: &mut Chunks) -> Result<()> {
        if let End::Cut(error) = end {
            return Err(error);
        }
        match &mut self.part {
            Source::Whole(file) => {
                release(std::mem::take(file), out);
                Ok(())
            }
            Source::Streamed(streamed) => {
                let ahead = std::mem::take(&mut streamed.ahead);
                streamed.take(&ahead, out)?;
                streamed.end(out)
            }
        }
    }
}

impl Streamed {
    fn take(&mut self, data: &Bytes, out: &mut Chunks) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        if let Some(at) = self.boundary_in(data)
            && at != self.length
        {
            return Err(malformed("the file is not the last field of the form"));
        }
        self.seen += data.len() as u64;
        let keep = self.tail.len() + 1;
        if data.len() >= keep {
            let held = std::mem::replace(&mut self.held, data.slice(data.len() - keep..));
            release(held, out);
            release(data.slice(..data.len() - keep), out);
            return Ok(());
        }
        let mut joined = BytesMut::with_capacity(self.held.len() + data.len());
        joined.extend_from_slice(&self.held);
        joined.extend_from_slice(data);
        let mut joined = joined.freeze();
        let free = joined.len().saturating_sub(keep);
        release(joined.split_to(free), out);
        self.held = joined;
        Ok(())
    }

    /// Where in the file a boundary begins that ends in `data`.
    fn boundary_in(&self, data: &Bytes) -> Option<u64> {
        let reach = self.delimiter.needle().len().saturating_sub(1);
        let before = &self.held[self.held.len().saturating_sub(reach)..];
        let seam = [before, &data[..data.len().min(reach)]].concat();
        let in_seam = self.delimiter.find(&seam);
        let start = self.seen - before.len() as u64;
        in_seam.map(|at| start + at as u64).or_else(|| {
            let at = self.delimiter.find(data)?;
            Some(self.seen + at as u64)
        })
    }

    fn end(&mut self, out: &mut Chunks) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let last = held.len().saturating_sub(self.tail.len());
        if self.seen != self.length + self.tail.len() as u64 || held.split_off(last) != self.tail {
            return Err(malformed(
                "the message does not end with its closing boundary",
            ));
        }
        release(held, out);
        Ok(())
    }
}

fn release(data: Bytes, out: &mut Chunks) {
    if !data.is_empty() {
        out.push(data);
    }
}

/// A form's file on its way to the store: out of its message, then through the pipe of every upload.
#[derive(Debug)]
pub struct FileUpload {
    pub file: FilePart,
    pub pipe: UploadPipe,
}

impl BodyStep for FileUpload {
    fn push(&mut self, input: Bytes, out: &mut Chunks) -> Result<()> {
        let mut of_file = Chunks::new();
        self.file.push(input, &mut of_file)?;
        of_file
            .into_iter()
            .try_for_each(|data| self.pipe.push(data, out))
    }

    fn finish(&mut self, end: End, out: &mut Chunks) -> Result<()> {
        let mut of_file = Chunks::new();
        self.file.finish(end, &mut of_file)?;
        for data in of_file {
            self.pipe.push(data, out)?;
        }
        self.pipe.finish(End::Clean, out)
    }
}
