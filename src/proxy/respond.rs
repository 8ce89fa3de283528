//! Writing an answer of our own.

use http::{HeaderValue, Method, header};

use crate::error::Result;
use crate::message::reply::Reply;
use crate::proxy::client::{AnswerHead, Client};
use crate::proxy::drain;
use crate::sabotage::{self, Point};

/// Headers that are added to those of an answer: our ids, its framing, and those of CORS.
pub const ROOM: usize = 6;

/// Writes `reply` whole; the body of an answer to HEAD is described, not sent. Gives the bytes of the body.
pub async fn respond(client: &mut Client, reply: Reply) -> Result<u64> {
    let mut headers = Vec::with_capacity(reply.headers.len() + 1);
    headers.extend(reply.headers);
    let has_body = !matches!(reply.status.as_u16(), 204 | 304);
    if has_body {
        headers.push((header::CONTENT_LENGTH, HeaderValue::from(reply.body.len())));
    }
    let status = reply.status;
    write_head(client, AnswerHead { status, headers })?;
    let mut bytes = 0;
    if has_body && client.head().method != Method::HEAD {
        bytes = reply.body.len() as u64;
        client.write_body(reply.body).await?;
    }
    client.end().await?;
    Ok(bytes)
}

/// Writes the head of an answer, which leaves with the first bytes of its body.
pub fn write_head(client: &mut Client, head: AnswerHead) -> Result<()> {
    if drain::is_draining() {
        client.close_after();
    }
    client.write_head(head)?;
    sabotage::pass(Point::Answer, || {
        String::from_utf8_lossy(&client.head().target).into_owned()
    });
    Ok(())
}
