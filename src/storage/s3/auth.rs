//! `SigV4`: verifying what clients sent, signing what we send.

use std::sync::Arc;

use jiff::Timestamp;

use super::Arrival;
use super::upstream::UpstreamHead;
use crate::error::{Error, Result};
use crate::keys::Key;
use crate::keys::signing::SigningKey;
use crate::policy::route::S3Account;

/// A request whose signature was checked. Made by [`authenticate`] alone.
#[derive(Debug)]
pub struct Verified<K> {
    key: K,
    payload: Payload,
    presigned: bool,
}

impl<K> Verified<K> {
    pub fn key(&self) -> &K {
        &self.key
    }

    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    pub fn is_presigned(&self) -> bool {
        self.presigned
    }

    pub fn into_parts(self) -> (K, Payload) {
        (self.key, self.payload)
    }
}

/// How the payload was declared in the signature.
#[derive(Clone, Debug)]
pub enum Payload {
    /// `UNSIGNED-PAYLOAD`, and every presigned URL.
    Unsigned,
    /// The payload's SHA-256.
    Sha256([u8; 32]),
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, with or without `-TRAILER`.
    SignedChunks(ChunkSeed),
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

/// What the first chunk's signature is chained to.
#[derive(Clone, Debug)]
pub struct ChunkSeed {
    pub key: Arc<SigningKey>,
    /// The request's own signature.
    pub signature: [u8; 32],
    /// `YYYYMMDDTHHMMSSZ`.
    pub date: [u8; 16],
    pub trailer: bool,
}

/// Proves which key sent a request. `find` looks an access key id up; what it returns gives the key by `AsRef`.
pub fn authenticate<K: AsRef<Key>>(
    _arrival: &Arrival<'_>,
    _find: impl Fn(&str) -> Option<K>,
) -> Result<Verified<K>> {
    Err(Error::internal("not built"))
}

/// The payload of a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadHash {
    Unsigned,
    Sha256([u8; 32]),
    UnsignedTrailer,
}

/// Signs `head` for `account`: appends `x-amz-date`, `x-amz-content-sha256`, the session token and `authorization`.
/// Everything else, `host` included, must be in place.
pub fn sign(
    _head: &mut UpstreamHead,
    _payload: PayloadHash,
    _account: &S3Account,
    _now: Timestamp,
) -> Result<()> {
    Err(Error::internal("not built"))
}
