//! The head of a request: parsed, and what it says of the body and the connection.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{Method, Version};
use httparse::{ParserConfig, Status};

use super::Head;
use crate::proxy::http1::{Broken, Framing, fields};
use crate::proxy::intake::HEADERS_MAX;

/// A head with what follows from it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) head: Head,
    pub(super) framing: Framing,
    /// The client keeps the connection for another request.
    pub(super) keep: bool,
}

/// Parses a whole head, which [`intake`](crate::proxy::intake) has looked at; its target and values share its memory.
///
/// Nothing is repaired: what two readers could understand differently is refused (RFC 9112, sections 5.1, 5.2 and 6.3).
pub(super) fn parse(raw: &Bytes) -> Result<Parsed, Broken> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match ParserConfig::default().parse_request_with_uninit_headers(&mut request, raw, &mut headers)
    {
        Ok(Status::Complete(length)) if length == raw.len() => {}
        Ok(_) => return Err(Broken::Invalid("the head ends in a wrong place")),
        Err(error) => return Err(error.into()),
    }
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes())
        .map_err(|_| Broken::Invalid("the method is not valid"))?;
    let target = raw.slice_ref(request.path.unwrap_or_default().as_bytes());
    let is_http11 = request.version == Some(1);
    let version = if is_http11 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let headers = fields::headers(raw, request.headers)?;
    let framing = match (
        fields::is_chunked(&headers)?,
        fields::content_length(&headers)?,
    ) {
        (false, length) => Framing::Sized(length.unwrap_or(0)),
        (true, None) if is_http11 => Framing::chunked(),
        (true, None) => return Err(Broken::Invalid("HTTP/1.0 has no transfer encodings")),
        (true, Some(_)) => {
            let both = "Content-Length and Transfer-Encoding cannot be used together";
            return Err(Broken::Invalid(both));
        }
    };
    Ok(Parsed {
        keep: fields::keeps(is_http11, &headers),
        head: Head {
            method,
            target,
            version,
            headers,
        },
        framing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str) -> Result<(String, Framing, bool), Broken> {
        let raw = Bytes::copy_from_slice(head.replace('\n', "\r\n").as_bytes());
        let parsed = parse(&raw)?;
        let target = String::from_utf8(parsed.head.target.to_vec()).unwrap();
        Ok((target, parsed.framing, parsed.keep))
    }

    #[test]
    fn heads_say_where_their_bodies_end_and_what_becomes_of_the_connection() {
        let sized = Framing::Sized;
        for (head, expected) in [
            ("GET / HTTP/1.1\n\n", ("/", sized(0), true)),
            ("\nGET /a?b HTTP/1.1\n\n", ("/a?b", sized(0), true)),
            (
                "PUT * HTTP/1.1\nContent-Length: 5\n\n",
                ("*", sized(5), true),
            ),
            (
                "PUT / HTTP/1.1\nContent-Length:5\nconnection: x, Close\n\n",
                ("/", sized(5), false),
            ),
            (
                "PUT / HTTP/1.1\nTransfer-Encoding: Chunked\n\n",
                ("/", Framing::chunked(), true),
            ),
            ("GET / HTTP/1.0\n\n", ("/", sized(0), false)),
            (
                "GET / HTTP/1.0\nConnection: keep-alive\n\n",
                ("/", sized(0), true),
            ),
        ] {
            let (target, framing, keep) = check(head).unwrap();
            assert_eq!((&*target, framing, keep), expected, "{head:?}");
        }
    }

    #[test]
    fn heads_that_could_be_read_two_ways_are_refused() {
        for head in [
            "PUT / HTTP/1.1\nContent-Length: 5\nContent-Length: 6\n\n",
            "PUT / HTTP/1.1\nContent-Length: +5\n\n",
            "PUT / HTTP/1.1\nContent-Length: \n\n",
            "PUT / HTTP/1.1\nContent-Length: 0x5\n\n",
            "PUT / HTTP/1.1\nContent-Length: 18446744073709551616\n\n",
            "PUT / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 5\n\n",
            "PUT / HTTP/1.1\nTransfer-Encoding: gzip, chunked\n\n",
            "PUT / HTTP/1.1\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n",
            "PUT / HTTP/1.1\nTransfer-Encoding: \n\n",
            "PUT / HTTP/1.0\nTransfer-Encoding: chunked\n\n",
            "PUT / HTTP/1.1\nContent-Length : 5\n\n",
            "PUT / HTTP/1.1\nx: a\n b\n\n",
            "PUT / HTTP/1.1\n: a\n\n",
            "PUT / HTTP/2\n\n",
            "P(T / HTTP/1.1\n\n",
            "PUT / HTTP/1.1\nx: a\0b\n\n",
        ] {
            assert!(check(head).is_err(), "{head:?}");
        }
    }
}
