//! Where a body is in the bytes of its connection, without I/O.

use bytes::{Buf, BytesMut};
use httparse::Status;

use super::Broken;

/// Longest line with the size of a chunk, extensions included, in bytes. Stops a line that never ends.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// Trailers that are read, and dropped, in bytes. Stops a message that never ends.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// How the end of a body is told, and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are to come.
    Sized(u64),
    Chunked(Chunk),
    /// To the end of the connection. Not even that proves that it was all.
    UntilClose,
    /// The connection of a body with no other end has ended.
    #[default]
    Closed,
}

/// What comes next of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// The line with a chunk's size.
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line break after a chunk.
    DataEnd,
    /// Lines after the last chunk, of which so many bytes have been dropped.
    Trailers(usize),
    Done,
}

/// What stands at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// So many bytes of the body, at least one.
    Data(usize),
    /// More has to be read.
    More,
    End,
}

impl Framing {
    pub fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    pub fn is_done(self) -> bool {
        match self {
            Self::Sized(left) => left == 0,
            Self::Chunked(chunk) => chunk == Chunk::Done,
            Self::UntilClose => false,
            Self::Closed => true,
        }
    }

    /// The connection ended; an error if the body had not.
    pub fn closed(&mut self) -> Result<(), Broken> {
        match self {
            Self::UntilClose => {
                *self = Self::Closed;
                Ok(())
            }
            Self::Sized(_) | Self::Chunked(_) | Self::Closed => Err(Broken::Ended),
        }
    }

    /// Drops framing from the front of `buffer` and says what stands there then. Data that was announced is taken
    /// as read: the caller drops it from the buffer before it asks again.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Next, Broken> {
        loop {
            let chunk = match self {
                Self::Sized(0) | Self::Closed | Self::Chunked(Chunk::Done) => return Ok(Next::End),
                Self::Sized(left) => return Ok(take(left, buffer)),
                Self::Chunked(chunk) => chunk,
                Self::UntilClose if buffer.is_empty() => return Ok(Next::More),
                Self::UntilClose => return Ok(Next::Data(buffer.len())),
            };
            if let Chunk::Data(left) = chunk {
                let next = take(left, buffer);
                if *left == 0 {
                    *chunk = Chunk::DataEnd;
                }
                if let (Chunk::DataEnd, Next::Data(length)) = (*chunk, next) {
                    // As far as it is there, the end is looked at first: a chunk that lies is not handed on.
                    chunk.step(buffer.get(length..).unwrap_or_default())?;
                }
                return Ok(next);
            }
            let (moved, dropped) = chunk.step(buffer)?;
            buffer.advance(dropped);
            let Some(to) = moved else {
                return Ok(Next::More);
            };
            *chunk = to;
        }
    }
}

/// What of `left` bytes is in `buffer`, taken off it.
fn take(left: &mut u64, buffer: &BytesMut) -> Next {
    let here = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    *left -= here as u64;
    if here == 0 {
        Next::More
    } else {
        Next::Data(here)
    }
}

impl Chunk {
    /// One piece of framing at the front of `buffer`: what follows it, if it is whole, and its length.
    fn step(self, buffer: &[u8]) -> Result<(Option<Self>, usize), Broken> {
        match self {
            Self::Size => match httparse::parse_chunk_size(buffer) {
                Ok(Status::Complete((length, _))) if !is_text(buffer.get(..length - 2)) => {
                    Err(Broken::Framing("the extension of a chunk is not valid"))
                }
                Ok(Status::Complete((length, 0))) => Ok((Some(Self::Trailers(0)), length)),
                Ok(Status::Complete((length, size))) => Ok((Some(Self::Data(size)), length)),
                Ok(Status::Partial) if buffer.len() > CHUNK_LINE_BYTES_MAX => {
                    Err(Broken::Framing("the line of a chunk's size is too long"))
                }
                Ok(Status::Partial) => Ok((None, 0)),
                Err(_) => Err(Broken::Framing("the size of a chunk is not valid")),
            },
            Self::DataEnd => match buffer {
                [b'\r', b'\n', ..] => Ok((Some(Self::Size), 2)),
                [] | [b'\r'] => Ok((None, 0)),
                _ => Err(Broken::Framing("a chunk does not end where its size says")),
            },
            Self::Trailers(dropped) => {
                let Some(end) = memchr::memchr(b'\n', buffer) else {
                    return if dropped + buffer.len() > TRAILER_BYTES_MAX {
                        Err(Broken::Framing("the trailers are too long"))
                    } else {
                        Ok((None, 0))
                    };
                };
                let line = end + 1;
                match buffer.get(..line) {
                    Some(b"\r\n") => Ok((Some(Self::Done), line)),
                    Some([trailer @ .., b'\r', b'\n'])
                        if dropped + line <= TRAILER_BYTES_MAX && is_field(trailer) =>
                    {
                        Ok((Some(Self::Trailers(dropped + line)), line))
                    }
                    _ => Err(Broken::Framing("the trailers are not valid")),
                }
            }
            Self::Data(_) | Self::Done => Ok((None, 0)),
        }
    }
}

/// Whether nothing in it could end a line for somebody.
fn is_text(line: Option<&[u8]>) -> bool {
    line.is_some_and(|line| {
        line.iter()
            .all(|byte| *byte == b'\t' || !byte.is_ascii_control())
    })
}

/// Whether a line is a name and a value that every reader sees in the same way.
fn is_field(line: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
    let Some(colon) = memchr::memchr(b':', line) else {
        return false;
    };
    let (name, value) = line.split_at(colon);
    !name.is_empty() && name.iter().all(is_token) && is_text(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` in pieces of `size`; the body, and what was left over.
    fn read(mut framing: Framing, wire: &[u8], size: usize) -> Result<(Vec<u8>, usize), Broken> {
        let mut buffer = BytesMut::new();
        let mut body = Vec::new();
        let mut pieces = wire.chunks(size);
        loop {
            match framing.next(&mut buffer)? {
                Next::Data(length) => body.extend_from_slice(&buffer.split_to(length)),
                Next::End => {
                    return Ok((body, buffer.len() + pieces.map(<[u8]>::len).sum::<usize>()));
                }
                Next::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => framing.closed()?,
                },
            }
        }
    }

    #[test]
    fn bodies_are_read_whole_however_they_are_cut() {
        let chunked = Framing::chunked();
        let cases: [(Framing, &[u8], &[u8], usize); 8] = [
            (Framing::Sized(5), b"hello", b"hello", 0),
            (Framing::Sized(5), b"hello more", b"hello", 5),
            (Framing::Sized(0), b"", b"", 0),
            (Framing::UntilClose, b"to the end", b"to the end", 0),
            (chunked, b"0\r\n\r\n", b"", 0),
            (
                chunked,
                b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n",
                b"hello!",
                0,
            ),
            (
                chunked,
                b"00a\r\n0123456789\r\n0\r\nx: y\r\nz: \r\n\r\nrest",
                b"0123456789",
                4,
            ),
            (chunked, b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", 0),
        ];
        for (framing, wire, body, over) in cases {
            for size in 1..=wire.len().max(1) {
                let read = read(framing, wire, size).unwrap();
                assert_eq!(read, (body.to_vec(), over), "{framing:?} by {size}");
            }
        }
    }

    #[test]
    fn bodies_that_break_off_or_lie_are_errors() {
        let chunked = Framing::chunked();
        let cases: [(Framing, &[u8]); 17] = [
            (Framing::Sized(5), b"hell"),
            (chunked, b""),
            (chunked, b"5"),
            (chunked, b"5\r\nhel"),
            (chunked, b"5\r\nhello"),
            (chunked, b"5\r\nhello\r\n"),
            (chunked, b"5\r\nhello\r\n0\r\n"),
            (chunked, b"5\r\nhello world\r\n0\r\n\r\n"),
            (chunked, b"zz\r\nxx\r\n0\r\n\r\n"),
            (chunked, b"-1\r\nx\r\n0\r\n\r\n"),
            (chunked, b"10000000000000000\r\nx\r\n0\r\n\r\n"),
            (chunked, b"0\r\nx: y\n\r\n"),
            (chunked, b"0\r\nx: y\rz\r\n\r\n"),
            (chunked, b"0\r\nno field\r\n\r\n"),
            (chunked, b"1;a\nb\r\nx\r\n0\r\n\r\n"),
            (chunked, b"1;a\0\r\nx\r\n0\r\n\r\n"),
            (chunked, b"0\r\nx : y\r\n\r\n"),
        ];
        for (framing, wire) in cases {
            for size in 1..=wire.len().max(1) {
                assert!(read(framing, wire, size).is_err(), "{wire:?} by {size}");
            }
        }
    }

    #[test]
    fn endless_framing_is_cut() {
        let extension = [b"1;".as_slice(), &b"x".repeat(2 * CHUNK_LINE_BYTES_MAX)].concat();
        let trailers = [b"0\r\n".as_slice(), &b"x: y\r\n".repeat(TRAILER_BYTES_MAX)].concat();
        let trailer = [b"0\r\n".as_slice(), &b"x".repeat(2 * TRAILER_BYTES_MAX)].concat();
        for wire in [extension, trailers, trailer] {
            let cut = read(Framing::chunked(), &wire, 1024);
            assert!(matches!(cut, Err(Broken::Framing(_))), "{cut:?}");
        }
    }
}
