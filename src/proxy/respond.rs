//! Writing an answer of our own.

use http::{HeaderMap, HeaderValue, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use crate::error::Result;
use crate::message::reply::Reply;
use crate::proxy::exchange::client_gone;
use crate::proxy::{drain, head};
use crate::sabotage::{self, Point};

/// Headers that are added to those of an answer: our ids, its framing, and Pingora's `date` and `connection`.
pub const ROOM: usize = 6;

/// Writes `reply`; the body of an answer to HEAD is described, not sent.
pub async fn respond(session: &mut ServerSession, reply: Reply, is_head: bool) -> Result<u64> {
    let mut headers = HeaderMap::with_capacity(reply.headers.len() + ROOM);
    for (name, value) in reply.headers {
        headers.append(name, value);
    }
    let has_body = !matches!(reply.status.as_u16(), 204 | 304);
    if has_body {
        headers.append(header::CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    }
    write_head(session, head::response(reply.status, headers)).await?;
    if is_head || !has_body || reply.body.is_empty() {
        end_stream(session)?;
        return Ok(0);
    }
    let bytes = reply.body.len() as u64;
    session
        .write_response_body(reply.body, true)
        .await
        .map_err(|error| client_gone(&error))?;
    Ok(bytes)
}

/// Ends an HTTP/2 answer that has no further bytes; on HTTP/1 its head tells the end.
pub fn end_stream(session: &mut ServerSession) -> Result<()> {
    match session {
        ServerSession::H2(stream) => stream.finish().map_err(|error| client_gone(&error)),
        ServerSession::H1(_) | ServerSession::Subrequest(_) | ServerSession::Custom(_) => Ok(()),
    }
}

pub async fn write_head(session: &mut ServerSession, head: ResponseHeader) -> Result<()> {
    if drain::is_draining() {
        session.set_keepalive(None);
    }
    session
        .write_response_header(Box::new(head))
        .await
        .map_err(|error| client_gone(&error))?;
    sabotage::pass(Point::Answer, || target(session));
    Ok(())
}

fn target(session: &ServerSession) -> String {
    String::from_utf8_lossy(session.req_header().raw_path()).into_owned()
}
