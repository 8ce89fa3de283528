//! A request's head as bytes: read whole, within our own limits, before anything parses it.
//!
//! Parsers take what two readers may see differently: a line that ends without CR, a target with a space in it. What
//! passes here has its end, its lines and the three parts of its first line where every parser sees them.
//! Names and values are the parser's business. RFC 9112, sections 2.2 and 3.

use std::time::Duration;

use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::{Error, Kind, Result};

/// First read of a request head, in bytes; most heads fit.
pub(super) const HEAD_READ: usize = 4096;
/// Longest path and query, in bytes. A key has 1024 bytes, three each when percent-encoded.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// Longest first line: the target, and room for a method and a version.
const FIRST_LINE_BYTES_MAX: usize = TARGET_BYTES_MAX + 64;
/// Header lines of one request: as many as Envoy and Apache take. Stops heads that are costly for their size.
pub const HEADERS_MAX: usize = 100;
/// Empty lines before the first, which RFC 9112 asks to overlook. Stops a client that sends nothing else.
const EMPTY_LINES_MAX: usize = 2;
/// What is read of a refused request so that the client sees the refusal, and for how long: what is unread when a
/// connection closes makes the kernel reset it, which throws the answer away.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
const LINGER_MAX: Duration = Duration::from_secs(2);

/// Looks for a head's end, in bytes that come in pieces; every byte is looked at once.
#[derive(Debug, Default)]
pub struct HeadScan {
    /// Bytes looked at.
    at: usize,
    /// Where the line begins that has not ended yet.
    line: usize,
    /// Where the header lines begin; 0 before the first line has ended.
    headers: usize,
    /// Header lines, or before the first line, empty ones.
    lines: usize,
}

impl HeadScan {
    /// Looks at what has arrived: all that was there before, and more. The length of the head once it is whole.
    pub fn advance(&mut self, bytes: &[u8], header_bytes_max: usize) -> Result<Option<usize>> {
        let fresh = bytes.get(self.at..).unwrap_or_default();
        for found in memchr::memchr_iter(b'\n', fresh) {
            let end = self.at + found;
            let line = bytes.get(self.line..end).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last().map(|(last, line)| (*last, line)) else {
                return Err(invalid());
            };
            self.line = end + 1;
            if self.line_ended(line)? {
                self.check_size(self.line, header_bytes_max)?;
                return Ok(Some(self.line));
            }
        }
        self.at = bytes.len();
        self.check_size(self.at, header_bytes_max)?;
        Ok(None)
    }

    /// Takes a line without its end; `true`: it was the empty one behind the headers.
    fn line_ended(&mut self, line: &[u8]) -> Result<bool> {
        if self.headers != 0 {
            self.lines += 1;
            if self.lines > HEADERS_MAX + usize::from(line.is_empty()) {
                return Err(too_many());
            }
            return Ok(line.is_empty());
        }
        if line.is_empty() {
            self.lines += 1;
            return if self.lines > EMPTY_LINES_MAX {
                Err(invalid())
            } else {
                Ok(false)
            };
        }
        check_first_line(line)?;
        self.headers = self.line;
        self.lines = 0;
        Ok(false)
    }

    fn check_size(&self, end: usize, header_bytes_max: usize) -> Result<()> {
        if self.headers == 0 {
            return if end - self.line > FIRST_LINE_BYTES_MAX {
                Err(too_long())
            } else {
                Ok(())
            };
        }
        // The empty line is not the headers'.
        if end - self.headers > header_bytes_max + 2 {
            return Err(too_large());
        }
        Ok(())
    }
}

/// Method, target and version, with one space between them and nothing else that separates.
fn check_first_line(line: &[u8]) -> Result<()> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(_), Some(target), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid());
    };
    if target.len() > TARGET_BYTES_MAX {
        return Err(too_long());
    }
    // A fragment is no part of a target, and some readers drop it.
    if line
        .iter()
        .any(|byte| byte.is_ascii_control() || *byte == b'#')
    {
        return Err(invalid());
    }
    Ok(())
}

fn invalid() -> Error {
    Error::new(Kind::InvalidRequest, "The request is not valid HTTP.")
}

pub(super) fn too_long() -> Error {
    Error::new(Kind::UriTooLong, "The request's target is too long.")
}

pub(super) fn too_large() -> Error {
    Error::new(
        Kind::HeadersTooLarge,
        "The request's headers are too large.",
    )
}

pub(super) fn too_many() -> Error {
    Error::new(
        Kind::HeadersTooLarge,
        "The request has too many header lines.",
    )
}

/// How reading a head ended.
pub(super) enum Read {
    /// Whole: so many bytes at the front of the buffer.
    Head(usize),
    /// The client left: nobody waits for an answer.
    Gone,
    Refused(Error),
}

/// Reads the rest of a head whose first bytes are in `buffer`, within `deadline`.
pub(super) async fn read(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    deadline: Duration,
    header_bytes_max: usize,
) -> Read {
    let mut scan = HeadScan::default();
    // Mostly it is there with its first byte, and no timer is needed.
    match scan.advance(buffer, header_bytes_max) {
        Ok(Some(length)) => return Read::Head(length),
        Ok(None) => {}
        Err(error) => return Read::Refused(error),
    }
    let rest = async {
        loop {
            buffer.reserve(HEAD_READ);
            match stream.read_buf(buffer).await {
                Ok(read) if read > 0 => {}
                Ok(_) => return Read::Refused(invalid().with_detail("cut off")),
                Err(_) => return Read::Gone,
            }
            match scan.advance(buffer, header_bytes_max) {
                Ok(Some(length)) => return Read::Head(length),
                Ok(None) => {}
                Err(error) => return Read::Refused(error),
            }
        }
    };
    timeout(deadline, rest).await.unwrap_or_else(|elapsed| {
        let message = "The request's head did not arrive in time.";
        Read::Refused(Error::new(Kind::RequestTimeout, message).with_detail(elapsed))
    })
}

/// Closes a connection whose last request was refused unread: our side first, then, a little later, all of it.
pub(super) async fn linger(mut stream: Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let rest = async {
        let mut rest = BytesMut::with_capacity(HEAD_READ);
        let mut read = 0;
        while read < LINGER_BYTES_MAX {
            rest.clear();
            match stream.read_buf(&mut rest).await {
                Ok(more) if more > 0 => read += more,
                _ => return,
            }
        }
    };
    // Whoever is still sending then has had the time to read.
    let _elapsed = timeout(LINGER_MAX, rest).await;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1000;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, Kind> {
        HeadScan::default()
            .advance(bytes, MAX)
            .map_err(|error| error.kind())
    }

    #[test]
    fn a_head_ends_with_its_empty_line() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for (text, expected) in [
            (head.to_owned(), Ok(Some(head.len()))),
            (format!("{head}body\n\n\r\n"), Ok(Some(head.len()))),
            (format!("\r\n\r\n{head}"), Ok(Some(head.len() + 4))),
            (head[..head.len() - 1].to_owned(), Ok(None)),
            (String::new(), Ok(None)),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), Ok(Some(18))),
        ] {
            assert_eq!(scan(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_two_parsers_may_see_differently_is_refused() {
        let long = "x".repeat(TARGET_BYTES_MAX);
        let lines = "a: b\r\n".repeat(HEADERS_MAX);
        for (text, kind) in [
            (
                "GET / HTTP/1.1\nHost: h\r\n\r\n".to_owned(),
                Kind::InvalidRequest,
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\n\r\n".to_owned(),
                Kind::InvalidRequest,
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\n\n".to_owned(),
                Kind::InvalidRequest,
            ),
            ("\nGET / HTTP/1.1\r\n\r\n".to_owned(), Kind::InvalidRequest),
            ("\r\n\r\n\r\nGET".to_owned(), Kind::InvalidRequest),
            ("GET /\r\n\r\n".to_owned(), Kind::InvalidRequest),
            ("GET /a b HTTP/1.1\r\n".to_owned(), Kind::InvalidRequest),
            ("GET  / HTTP/1.1\r\n".to_owned(), Kind::InvalidRequest),
            ("GET /\t HTTP/1.1\r\n".to_owned(), Kind::InvalidRequest),
            ("GET /\0 HTTP/1.1\r\n".to_owned(), Kind::InvalidRequest),
            ("GET /\rx HTTP/1.1\r\n".to_owned(), Kind::InvalidRequest),
            ("GET /a#b HTTP/1.1\r\n".to_owned(), Kind::InvalidRequest),
            (format!("GET /{long} HTTP/1.1\r\n"), Kind::UriTooLong),
            (format!("GET /{long}{long}"), Kind::UriTooLong),
            (
                format!("GET / HTTP/1.1\r\na: {long}"),
                Kind::HeadersTooLarge,
            ),
            (
                format!("GET / HTTP/1.1\r\n{lines}a: b\r\n\r\n"),
                Kind::HeadersTooLarge,
            ),
        ] {
            assert_eq!(scan(text.as_bytes()), Err(kind), "{text:.60?}");
        }
        let most = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        assert_eq!(scan(most.as_bytes()), Ok(Some(most.len())));
    }

    proptest! {
        /// Pieces make no difference, and what is taken is what a plain search for the empty line finds.
        #[test]
        fn any_split_gives_the_same(
            lines in prop::collection::vec("[ -~\\r\\n]{0,12}", 0..6),
            cuts in prop::collection::vec(0_usize..80, 0..5),
        ) {
            let text = format!("GET / HTTP/1.1\r\n{}\r\n\r\nrest", lines.join("\r\n"));
            let bytes = text.as_bytes();
            let whole = scan(bytes);
            if let Ok(Some(length)) = whole {
                let plain = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
                prop_assert_eq!(Some(length), plain);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut scan = HeadScan::default();
            let mut last = Ok(None);
            for cut in cuts {
                last = scan.advance(&bytes[..cut], MAX).map_err(|error| error.kind());
                if last != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(last, whole);
        }
    }
}
