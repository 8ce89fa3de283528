//! The S3 protocol, both sides: what clients send us (`downstream`) and what we send a provider (`upstream`).
//!
//! Everything here is pure: no I/O, no clock (`now` comes with the [`Arrival`]), no config. The order of a request:
//! [`route::decode`] finds the operation in a closed table, [`auth::authenticate`] proves the key,
//! [`route::S3Request::without_body`] or [`route::S3Request::with_body`] completes the targets,
//! [`route::WholeOp::demands`] says what must be allowed, [`body::plan`] decides the form of the upload,
//! [`upstream::encode`] writes the request for the provider, [`auth::sign`] signs it, [`downstream::reply`]
//! decides what of the answer the client sees, [`wire`] translates names in documents, [`error`] speaks of failures.
//! A copy that no store can do by itself is two requests: see [`copy`].
//!
//! Manual: <https://docs.aws.amazon.com/AmazonS3/latest/API/>. Out of scope: `SigV4a` signatures, access points,
//! S3 Select's event stream is passed on as bytes.

pub mod answer;
pub mod auth;
pub mod body;
pub mod buckets;
pub mod canonical;
pub mod copy;
pub mod downstream;
pub mod error;
pub mod form;
pub mod names;
pub mod route;
pub mod upstream;
pub mod wire;

#[cfg(test)]
pub(super) mod laws;
#[cfg(test)]
mod tests_support;

use http::{HeaderMap, Method};
use jiff::Timestamp;

use crate::protocol::Front;

/// A request as it came from the wire. Decoding and signature checks work on the same raw bytes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub method: &'a Method,
    /// Path and query exactly as received, before any normalisation.
    pub target: &'a str,
    /// `Host` (or `:authority`), with its port if it had one.
    pub host: &'a str,
    pub headers: &'a HeaderMap,
    /// The client's connection is encrypted.
    pub secure: bool,
    pub now: Timestamp,
    /// Base domains of all fronts; those of S3 make virtual-host buckets.
    pub base_domains: &'a [(Front, Box<str>)],
}
