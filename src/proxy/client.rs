//! Who asks: a request's head, its body as it comes, and the way to answer it, the same over HTTP/1.1 and HTTP/2.
//!
//! HTTP/1.1 is our own codec ([`h1`]), HTTP/2 is Pingora's ([`h2`]). Errors are those that a front can answer or log: a
//! client that went away, one that is too slow, one whose framing broke.
//!
//! # Why a codec of our own
//!
//! Pingora's server session serves every use of HTTP/1.1. It parses heads leniently, which had to be guarded from
//! outside, keeps a second map of header names for their case, reads bodies 64 KiB at a time and writes an answer's
//! head and body apart. That was a quarter of what a small request cost, and the greater part of what an upload
//! cost; the figures stand in `load/NOTES.md`.

pub mod h1;
pub mod h2;
mod request;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use crate::error::{Error, Kind, Result};
use crate::proxy::http1::Broken;
use h1::H1;
use h2::H2;

/// Longest wait for the client, a body byte or room for one.
const CLIENT_IDLE: Duration = Duration::from_mins(1);
/// How long the rest of a refused upload is read before the connection is given up.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Of a client that lets a wait run out.
pub const TOO_SLOW: &str = "Your socket connection to the server was not read from or written to within the timeout period.";

/// A request's head.
#[derive(Debug)]
pub struct Head {
    pub method: Method,
    /// Path and query as they came.
    pub target: Bytes,
    pub version: Version,
    /// Over HTTP/2 with the `Host` that the client named in a place of its own.
    pub headers: HeaderMap,
}

impl Head {
    /// The host that the client named, with its port.
    pub fn host(&self) -> Option<&str> {
        self.headers.get(header::HOST)?.to_str().ok()
    }

    /// The target as text, which percent-encoding makes of any.
    pub fn target(&self) -> Result<&str> {
        std::str::from_utf8(&self.target).map_err(|_| {
            let message = "The request's target is not percent-encoded.";
            Error::new(Kind::InvalidRequest, message)
        })
    }

    /// The path that the client asked for, without its query.
    pub fn path(&self) -> String {
        let target = String::from_utf8_lossy(&self.target);
        target.split('?').next().unwrap_or_default().to_owned()
    }

    pub fn expects_continue(&self) -> bool {
        self.headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }
}

/// The head of an answer. Its framing is told by `content-length` or `transfer-encoding` among its headers; `date` and
/// what HTTP/1.1 says of the connection are added where it is written.
#[derive(Debug)]
pub struct AnswerHead {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    pub secure: bool,
}

/// See the module's documentation.
pub enum Client {
    H1(Box<H1>),
    H2(Box<H2>),
}

impl Client {
    pub fn head(&self) -> &Head {
        match self {
            Self::H1(client) => client.head(),
            Self::H2(client) => client.head(),
        }
    }

    pub fn head_mut(&mut self) -> &mut Head {
        match self {
            Self::H1(client) => client.head_mut(),
            Self::H2(client) => client.head_mut(),
        }
    }

    pub fn is_http2(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Tells a client that waits for it to send its body.
    pub async fn say_continue(&mut self) -> Result<()> {
        match self {
            Self::H1(client) => client.say_continue().await,
            // Never by itself: the client sends when its window allows, and h2 answers once.
            Self::H2(_) => Ok(()),
        }
    }

    /// The next bytes of the request's body; `None` at its end. May be cancelled.
    pub async fn read_body(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::H1(client) => client.read_body().await,
            Self::H2(client) => client.read_body().await,
        }
    }

    /// What the client still sends, or the news that it left: at the end of the body this waits for nothing else. May be
    /// cancelled.
    pub async fn hear(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::H1(client) => client.hear().await,
            Self::H2(client) => client.hear().await,
        }
    }

    /// Whether the last byte of the body was read.
    pub fn is_body_done(&self) -> bool {
        match self {
            Self::H1(client) => client.is_body_done(),
            Self::H2(client) => client.is_body_done(),
        }
    }

    /// Whether the client waits for our word and will not send its body: nothing to drain, nothing to reuse.
    pub fn waits_for_continue(&self) -> bool {
        let told = match self {
            Self::H1(client) => client.has_said_continue(),
            Self::H2(_) => false,
        };
        !told && !self.is_body_done() && self.answered().is_none() && self.head().expects_continue()
    }

    /// The connection is not kept beyond this answer.
    pub fn close_after(&mut self) {
        match self {
            Self::H1(client) => client.close_after(),
            // Its streams end one by one.
            Self::H2(_) => {}
        }
    }

    /// The status of the answer whose head was written.
    pub fn answered(&self) -> Option<StatusCode> {
        match self {
            Self::H1(client) => client.answered(),
            Self::H2(client) => client.answered(),
        }
    }

    /// Writes an answer's head. It leaves with the first bytes of the body, or with [`flush`](Self::flush).
    pub fn write_head(&mut self, head: AnswerHead) -> Result<()> {
        match self {
            Self::H1(client) => client.write_head(&head),
            Self::H2(client) => client.write_head(head),
        }
    }

    /// Sends what was written and waits for more to come with it.
    pub async fn flush(&mut self) -> Result<()> {
        match self {
            Self::H1(client) => client.flush().await,
            Self::H2(_) => Ok(()),
        }
    }

    /// Writes a part of the answer's body.
    pub async fn write_body(&mut self, chunk: Bytes) -> Result<()> {
        match self {
            Self::H1(client) => client.write_body(&chunk).await,
            Self::H2(client) => client.write_body(chunk).await,
        }
    }

    /// Ends the answer; an error if its body was not written whole.
    pub async fn end(&mut self) -> Result<()> {
        match self {
            Self::H1(client) => client.end().await,
            Self::H2(client) => client.end(),
        }
    }
}

/// A client that went away, whatever that looked like.
pub fn gone(why: impl std::fmt::Display) -> Error {
    Error::new(Kind::ClientGone, "The client went away.").with_detail(why)
}

/// Of a request's body that broke off.
fn cut(error: &Broken) -> Error {
    match error {
        Broken::ReadTimeout => Error::new(Kind::RequestTimeout, TOO_SLOW).with_detail(error),
        Broken::Framing(_) => {
            let message = "The request body's chunked framing is invalid.";
            Error::new(Kind::IncompleteBody, message).with_detail(error)
        }
        Broken::WriteTimeout
        | Broken::Invalid(_)
        | Broken::Unparsable(_)
        | Broken::Ended
        | Broken::WrongLength
        | Broken::Read(_)
        | Broken::Write(_) => gone(error),
    }
}
