//! Heads of requests for resources, written as they go on the wire.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::error::{Error, Result};

/// A request's head as it goes on the wire, and what follows from it.
#[derive(Debug)]
pub struct RequestHead {
    pub wire: Vec<u8>,
    /// What `content-length` says, 0 without one.
    pub content_length: u64,
    /// The method is HEAD: the answer has no body, whatever it says.
    pub answers_head: bool,
}

/// A request's head; `target` is a path, with or without a query.
pub fn request(method: &Method, target: &str, headers: &HeaderMap) -> Result<RequestHead> {
    request_of(method, target, headers.iter())
}

/// The same from headers in the order in which they are sent.
pub fn request_of<'a>(
    method: &Method,
    target: &str,
    headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Result<RequestHead> {
    let is_sound =
        target.starts_with('/') && target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if !is_sound {
        return Err(Error::internal(
            "a target that cannot stand in a request line",
        ));
    }
    /// Room for most heads, in bytes.
    const USUAL: usize = 1024;
    let mut wire = Vec::with_capacity(USUAL);
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        wire.extend_from_slice(part.as_bytes());
    }
    let mut content_length = 0;
    for (name, value) in headers {
        if name == header::CONTENT_LENGTH {
            let said = value.to_str().ok().and_then(|said| said.parse().ok());
            content_length = said.ok_or_else(|| Error::internal("a length that is no number"))?;
        }
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    Ok(RequestHead {
        wire,
        content_length,
        answers_head: method == Method::HEAD,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_in_the_order_of_their_headers() {
        let headers = [
            (header::HOST, HeaderValue::from_static("h")),
            (header::CONTENT_LENGTH, HeaderValue::from_static("12")),
            (header::RANGE, HeaderValue::from_static("bytes=0-1")),
        ];
        let pairs = headers.iter().map(|(name, value)| (name, value));
        let head = request_of(&Method::HEAD, "//b/%41?x=%2F&y", pairs).unwrap();
        let expected = "HEAD //b/%41?x=%2F&y HTTP/1.1\r\nhost: h\r\ncontent-length: 12\r\n\
             range: bytes=0-1\r\n\r\n";
        assert_eq!(String::from_utf8(head.wire).unwrap(), expected);
        assert_eq!((head.content_length, head.answers_head), (12, true));
    }

    #[test]
    fn targets_that_would_split_the_request_line_are_refused() {
        for target in ["", "a", "/a b", "/a\r\nx: y", "/a\0", "*", "/\u{7f}"] {
            assert!(
                request(&Method::GET, target, &HeaderMap::new()).is_err(),
                "{target:?}"
            );
        }
        assert!(request(&Method::GET, "/\u{e9}", &HeaderMap::new()).is_ok());
    }
}
