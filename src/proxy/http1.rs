//! HTTP/1.1 as both sides speak it: what a connection reads, where a body is in it, what headers say of both.
//!
//! [`client`](super::client) reads requests with it, [`upstream`](super::upstream) answers. What arrives is not trusted:
//! framing is strict, every buffer has a limit.

pub mod fields;
mod framing;
mod incoming;
mod sending;

use std::io;

pub use framing::Framing;
pub use incoming::Incoming;
pub use sending::send;

/// Why a message cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("nothing was read in time")]
    ReadTimeout,
    #[error("nothing could be written in time")]
    WriteTimeout,
    #[error("not valid HTTP/1.1: {0}")]
    Invalid(&'static str),
    #[error("not valid HTTP/1.1: {0}")]
    Unparsable(#[from] httparse::Error),
    #[error("the body's framing is not valid: {0}")]
    Framing(&'static str),
    #[error("the connection ended before the message did")]
    Ended,
    #[error("a body is not as long as its head says")]
    WrongLength,
    #[error("reading: {0}")]
    Read(io::Error),
    #[error("writing: {0}")]
    Write(io::Error),
}
