//! Signing what we send to a provider.

use http::HeaderValue;
use jiff::Timestamp;

use super::SERVICE;
use crate::error::{Error, Result};
use crate::policy::credential::ReadyCredential;
use crate::policy::route::S3Account;
use crate::storage::canonical;
use crate::storage::head::UpstreamHead;
use crate::storage::s3::upstream::NO_PAYLOAD;
use crate::storage::sigv4::{self, Service};

/// [`NO_PAYLOAD`] as it is written.
const HEX_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The payload of a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadHash {
    Unsigned,
    Sha256([u8; 32]),
    UnsignedTrailer,
}

/// Signs `head` for `account` with `ready`: see [`sigv4::sign`].
pub fn sign(
    head: &mut UpstreamHead,
    payload: PayloadHash,
    account: &S3Account,
    ready: &ReadyCredential,
    now: Timestamp,
) -> Result<()> {
    let keys = match ready {
        ReadyCredential::S3(keys) => keys,
        ReadyCredential::SharedKey(_)
        | ReadyCredential::Sas(_)
        | ReadyCredential::Bearer(_)
        | ReadyCredential::Hmac(_) => {
            return Err(Error::internal("no credential for an S3 resource"));
        }
    };
    let hash = match payload {
        PayloadHash::Unsigned => HeaderValue::from_static("UNSIGNED-PAYLOAD"),
        PayloadHash::UnsignedTrailer => {
            HeaderValue::from_static("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        }
        NO_PAYLOAD => HeaderValue::from_static(HEX_OF_NOTHING),
        PayloadHash::Sha256(hash) => {
            HeaderValue::from_bytes(&canonical::hex(&hash)).map_err(Error::internal)?
        }
    };
    let service = Service {
        words: &sigv4::AWS,
        region: &account.region,
        name: SERVICE,
    };
    sigv4::sign(head, service, keys, hash, now)
}
