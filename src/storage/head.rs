//! The head of a request for a provider, whatever its protocol.

use http::{HeaderName, HeaderValue, Method};
use smallvec::SmallVec;

use crate::error::{Error, Result};

/// A request head for the provider, to be signed and sent.
#[derive(Clone, Debug)]
pub struct UpstreamHead {
    pub method: Method,
    /// Path and query as they go on the wire.
    pub target: String,
    pub headers: SmallVec<[(HeaderName, HeaderValue); 8]>,
}

impl UpstreamHead {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// Adds a header. What it holds was checked before.
pub fn push(head: &mut UpstreamHead, name: &'static str, value: &str) -> Result<()> {
    let value = HeaderValue::from_str(value).map_err(Error::internal)?;
    head.headers.push((HeaderName::from_static(name), value));
    Ok(())
}
