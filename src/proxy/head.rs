//! Heads for Pingora, made whole from header maps.
//!
//! Pingora's own builders parse each name anew and keep a second map with the case that names came in. A head of
//! ours never had another case: its names go out as Pingora writes the common ones, the others in lower case.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::error::{Error, Result};

/// A request's head; `target` is a path, with or without a query.
pub fn request(method: Method, target: &str, headers: HeaderMap) -> Result<RequestHeader> {
    let target = Bytes::copy_from_slice(target.as_bytes());
    let target = PathAndQuery::from_maybe_shared(target).map_err(Error::internal)?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.uri = Uri::from(target);
    parts.headers = headers;
    Ok(parts.into())
}

/// An answer's head.
pub fn response(status: StatusCode, headers: HeaderMap) -> ResponseHeader {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    parts.into()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, header};

    use super::*;

    #[test]
    fn heads_are_written_as_pingora_writes_them() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::HOST, "h"),
            (HeaderName::from_static("x-amz-date"), "d"),
            (header::RANGE, "bytes=0-1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut wire = Vec::new();
        let head = request(Method::GET, "//b/%41?x=%2F&y", headers.clone()).unwrap();
        head.header_to_h1_wire(&mut wire);
        assert_eq!(head.raw_path(), b"//b/%41?x=%2F&y");
        assert_eq!(wire, b"Host: h\r\nx-amz-date: d\r\nrange: bytes=0-1\r\n");
        assert_eq!(head.version, http::Version::HTTP_11);
        let answer = response(StatusCode::PARTIAL_CONTENT, headers);
        assert_eq!(answer.get_reason_phrase(), Some("Partial Content"));
    }
}
