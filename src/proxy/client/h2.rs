//! One request over HTTP/2, whose framing Pingora reads for us.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::v2::server::HttpSession;
use tokio::time::timeout;

use super::{AnswerHead, CLIENT_IDLE, Head, TOO_SLOW, gone};
use crate::error::{Error, Kind, Result};

/// See the module's documentation.
pub struct H2 {
    session: HttpSession,
    head: Head,
}

impl H2 {
    pub fn new(mut session: HttpSession) -> Self {
        session.set_write_timeout(Some(CLIENT_IDLE));
        let head = head(&session);
        Self { session, head }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }

    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>> {
        match timeout(CLIENT_IDLE, self.session.read_body_bytes()).await {
            Ok(read) => read.map_err(gone),
            Err(elapsed) => Err(Error::new(Kind::RequestTimeout, TOO_SLOW).with_detail(elapsed)),
        }
    }

    /// After trailers the session says that the body goes on and, at once and every time, that it has ended: whoever
    /// asked again and again would never give its thread back. So the end is never reported, but waited behind.
    pub(super) async fn hear(&mut self) -> Result<Option<Bytes>> {
        match self.session.read_body_or_idle(false).await.map_err(gone)? {
            Some(chunk) => Ok(Some(chunk)),
            None => self.session.read_body_or_idle(true).await.map_err(gone),
        }
    }

    pub(super) fn is_body_done(&self) -> bool {
        self.session.is_body_done()
    }

    pub(super) fn answered(&self) -> Option<StatusCode> {
        self.session.response_written().map(|head| head.status)
    }

    pub(super) fn write_head(&mut self, head: AnswerHead) -> Result<()> {
        let mut headers = HeaderMap::with_capacity(head.headers.len() + 1);
        for (name, value) in head.headers {
            headers.append(name, value);
        }
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = head.status;
        parts.headers = headers;
        let head: ResponseHeader = parts.into();
        self.session
            .write_response_header(Box::new(head), false)
            .map_err(gone)
    }

    pub(super) async fn write_body(&mut self, chunk: Bytes) -> Result<()> {
        self.session.write_body(chunk, false).await.map_err(gone)
    }

    pub(super) fn end(&mut self) -> Result<()> {
        self.session.finish().map_err(gone)
    }
}

/// The request's head, with the host that it named in a place of its own.
fn head(session: &HttpSession) -> Head {
    let request = session.req_header();
    let mut headers = request.headers.clone();
    if let Some(authority) = request.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
        && !headers.contains_key(header::HOST)
    {
        headers.insert(header::HOST, host);
    }
    Head {
        method: request.method.clone(),
        target: Bytes::copy_from_slice(request.raw_path()),
        version: request.version,
        headers,
    }
}
