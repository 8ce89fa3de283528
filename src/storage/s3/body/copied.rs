//! Uploads whose bytes come from another store: of a known length, with the digests that the other store declared.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::checksum::{Algorithm, Check, Value};
use super::{
    Declared, Frames, Ours, UploadForm, UploadPipe, content_encoding, framed_length,
    trailer_headers,
};
use crate::error::{Error, Result};
use crate::policy::route::S3Quirks;
use crate::storage::s3::auth::{Payload, PayloadHash};

/// What is known of the bytes before they come.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    pub md5: Option<[u8; 16]>,
    pub checksum: Option<(Algorithm, HeaderValue)>,
    /// A checksum that shall be stored though nobody knows it yet. Only for stores that take trailers.
    pub trailer: Option<Algorithm>,
}

/// Decides form and pipe for `length` bytes of another store's. `attributes` has the object's `Content-Encoding`.
///
/// The target is given each digest, so that it refuses what does not match; the pipe holds the last piece back in any
/// case: the copy can be stopped up to there.
pub fn plan_copied(
    length: u64,
    digests: &Digests,
    attributes: &HeaderMap,
    quirks: S3Quirks,
) -> Result<(UploadForm, UploadPipe)> {
    let trailer = digests.trailer;
    // `Content-MD5` is that of the message, which framing changes.
    let sends_md5 = trailer.is_none();
    let ours = if quirks.verifies_sha256 && sends_md5 {
        Ours::Crcs
    } else {
        Ours::All
    };
    let mut headers = SmallVec::new();
    let mut checksum = None;
    if let Some((algorithm, value)) = &digests.checksum {
        checksum = Some((*algorithm, algorithm.parse(value.as_bytes())?));
        headers.push((HeaderName::from_static(algorithm.header()), value.clone()));
    }
    if let Some(md5) = digests.md5.filter(|_| sends_md5) {
        let value = HeaderValue::try_from(STANDARD.encode(md5)).map_err(Error::internal)?;
        headers.push((HeaderName::from_static("content-md5"), value));
    }
    headers.extend(
        trailer
            .into_iter()
            .flat_map(|algorithm| trailer_headers(algorithm, length)),
    );
    let declared = Declared {
        checksum,
        md5: digests.md5.map(|md5| Value::from_slice(&md5)),
        trailer,
    };
    let mut pipe = UploadPipe::new(&declared, Payload::Unsigned, None, ours, length);
    pipe.holds = true;
    if let Some(algorithm) = trailer {
        pipe.checks.push(Check::computed(algorithm));
        pipe.frames = Some(Frames::new(algorithm, length));
    }
    let form = UploadForm {
        content_length: trailer.map_or(length, |algorithm| framed_length(length, algorithm)),
        decoded_length: length,
        payload: match trailer {
            Some(_) => PayloadHash::UnsignedTrailer,
            None => PayloadHash::Unsigned,
        },
        headers,
        content_encoding: content_encoding(attributes, trailer.is_some())?,
    };
    Ok((form, pipe))
}
