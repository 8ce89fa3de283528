//! The head of an answer: parsed, and what it says of the body and the connection.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use httparse::{ParserConfig, Status};

use crate::proxy::http1::{Broken, Framing, fields};

/// Largest head of an answer, in bytes. Stops a server from filling memory before it has said anything.
pub(super) const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Most headers of an answer; more than any store sends, user metadata included.
const HEADERS_MAX: usize = 256;

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// A head with what follows from it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) head: Head,
    pub(super) framing: Framing,
    /// The connection may carry another exchange after this one.
    pub(super) keep: bool,
}

/// Where the head ends that `buffer` starts with. `searched` says how much of it was looked at before.
pub(super) fn end(buffer: &[u8], searched: usize) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let from = searched.saturating_sub(END.len() - 1);
    let at = memchr::memmem::find(buffer.get(from..)?, END)?;
    Some(from + at + END.len())
}

/// Whether `buffer` may be the start of an answer, as far as it goes: what speaks another protocol is not waited for.
pub(super) fn may_start(buffer: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let length = buffer.len().min(START.len());
    buffer.get(..length) == START.get(..length)
}

/// Parses a whole head; its values share its memory.
///
/// Lenient where RFC 9112 asks a proxy to repair (white space before a colon, folded lines), strict where framing
/// is at stake: lengths that differ, are no numbers or stand beside a coding, and codings that nobody asked for.
pub(super) fn parse(raw: &Bytes, answers_head: bool) -> Result<Parsed, Broken> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    config.allow_obsolete_multiline_headers_in_responses(true);
    match config.parse_response_with_uninit_headers(&mut answer, raw, &mut headers) {
        Ok(Status::Complete(length)) if length == raw.len() => {}
        Ok(_) => return Err(Broken::Invalid("the head ends in a wrong place")),
        Err(error) => return Err(error.into()),
    }
    let status = StatusCode::from_u16(answer.code.unwrap_or_default())
        .map_err(|_| Broken::Invalid("the status is no status"))?;
    let is_http11 = answer.version == Some(1);
    let headers = fields::headers(raw, answer.headers)?;
    let framing = framing(status, answers_head, is_http11, &headers)?;
    let keep = framing != Framing::UntilClose && fields::keeps(is_http11, &headers);
    Ok(Parsed {
        head: Head { status, headers },
        framing,
        keep,
    })
}

/// RFC 9112, section 6.3, without the repairs that it allows: an answer whose end two readers could see in different
/// places has no place in a connection that is used again.
fn framing(
    status: StatusCode,
    answers_head: bool,
    is_http11: bool,
    headers: &HeaderMap,
) -> Result<Framing, Broken> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Broken::Invalid("nobody asked for another protocol"));
    }
    let told = match (
        fields::is_chunked(headers)?,
        fields::content_length(headers)?,
    ) {
        (false, None) => Framing::UntilClose,
        (false, Some(length)) => Framing::Sized(length),
        (true, None) if is_http11 => Framing::chunked(),
        (true, _) => return Err(Broken::Invalid("ambiguous framing")),
    };
    let no_body = answers_head || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    Ok(if no_body { Framing::Sized(0) } else { told })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, answers_head: bool) -> Result<(u16, Framing, bool), Broken> {
        let raw = Bytes::copy_from_slice(head.replace('\n', "\r\n").as_bytes());
        assert_eq!(end(&raw, 0), Some(raw.len()), "{head:?}");
        let parsed = parse(&raw, answers_head)?;
        Ok((parsed.head.status.as_u16(), parsed.framing, parsed.keep))
    }

    #[test]
    fn framing_follows_from_the_head() {
        let sized = Framing::Sized;
        let cases = [
            (
                "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
                (200, sized(5), true),
            ),
            (
                "HTTP/1.1 200\nContent-Length: 5, 5\nContent-Length: 5\n\n",
                (200, sized(5), true),
            ),
            (
                "HTTP/1.1 200 OK\nContent-Length : 5\n\n",
                (200, sized(5), true),
            ),
            ("HTTP/1.1 200 OK\n\n", (200, Framing::UntilClose, false)),
            ("HTTP/1.1 204 \n\n", (204, sized(0), true)),
            (
                "HTTP/1.1 304 \nContent-Length: 9\n\n",
                (304, sized(0), true),
            ),
            ("HTTP/1.1 100 \n\n", (100, sized(0), true)),
            (
                "HTTP/1.1 200 OK\nTransfer-Encoding: Chunked\n\n",
                (200, Framing::chunked(), true),
            ),
            (
                "HTTP/1.1 200 OK\nContent-Length: 1\nConnection: x, Close\n\n",
                (200, sized(1), false),
            ),
            (
                "HTTP/1.0 200 OK\nContent-Length: 1\n\n",
                (200, sized(1), false),
            ),
            (
                "HTTP/1.0 200 OK\nContent-Length: 1\nConnection: keep-alive\n\n",
                (200, sized(1), true),
            ),
        ];
        for (head, expected) in cases {
            assert_eq!(check(head, false).unwrap(), expected, "{head:?}");
        }
        let head = "HTTP/1.1 200 OK\nContent-Length: 5\n\n";
        assert_eq!(check(head, true).unwrap(), (200, sized(0), true));
    }

    #[test]
    fn heads_that_could_be_read_two_ways_are_refused() {
        let cases = [
            "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6\n\n",
            "HTTP/1.1 200 OK\nContent-Length: 5, 6\n\n",
            "HTTP/1.1 200 OK\nContent-Length: +5\n\n",
            "HTTP/1.1 200 OK\nContent-Length: \n\n",
            "HTTP/1.1 200 OK\nContent-Length: 18446744073709551616\n\n",
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 5\n\n",
            "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n",
            "HTTP/1.1 200 OK\nTransfer-Encoding: gzip\n\n",
            "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n\n",
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n",
            "HTTP/1.1 101 Switching\n\n",
            "HTTP/1.1 099 Low\n\n",
            "HTTP/2 200 OK\n\n",
            "\n\n",
            "HTTP/1.1 200 OK\nbad name: x\n\n",
        ];
        for head in cases {
            assert!(check(head, false).is_err(), "{head:?}");
        }
    }

    #[test]
    fn folded_lines_become_one() {
        let raw = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx: a\r\n b\r\n\r\n");
        let parsed = parse(&raw, false).unwrap();
        let folded = parsed.head.headers.get("x").unwrap();
        assert_eq!(
            folded
                .to_str()
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn another_protocol_is_known_by_its_first_bytes() {
        for start in ["", "H", "HTTP/1", "HTTP/1.1 200"] {
            assert!(may_start(start.as_bytes()), "{start:?}");
        }
        for start in ["\r", "\x15\x03\x01", "HTTP/2", "http/1.1", "SSH-2.0"] {
            assert!(!may_start(start.as_bytes()), "{start:?}");
        }
    }

    #[test]
    fn an_end_is_found_wherever_the_reads_cut_it() {
        let whole = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nbody";
        for cut in 0..whole.len() {
            let found = end(&whole[..cut], 0).or_else(|| end(whole, cut));
            assert_eq!(found, Some(whole.len() - 4), "{cut}");
        }
    }
}
