//! Signing a request for Bedrock: AWS's signature over a body that is held whole.

use bytes::Bytes;
use http::{HeaderValue, Method};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::ai::lane::head::Head;
use crate::error::{Error, Result};
use crate::policy::credential::ReadyCredential;
use crate::proxy::head::{self, RequestHead};
use crate::storage::head::UpstreamHead;
use crate::storage::sigv4::{self, AWS, Service};

/// What one attempt is signed with.
pub(super) struct Signer<'a> {
    region: &'a str,
    ready: ReadyCredential,
    sha256: HeaderValue,
}

impl<'a> Signer<'a> {
    pub(super) fn new(region: &'a str, ready: ReadyCredential, frames: &[Bytes]) -> Result<Self> {
        let mut hash = Sha256::new();
        for frame in frames {
            hash.update(frame);
        }
        let hash = sigv4::hex(&hash.finalize().into());
        Ok(Self {
            region,
            ready,
            sha256: HeaderValue::from_bytes(&hash).map_err(Error::internal)?,
        })
    }

    /// The head as it goes on the wire.
    ///
    /// Every service but S3 signs a path whose escapes are escaped once more; what is sent keeps them as they are.
    pub(super) fn sign(&self, head: &Head, now: Timestamp) -> Result<RequestHead> {
        let ReadyCredential::S3(keys) = &self.ready else {
            return Err(Error::internal("a credential that signs nothing"));
        };
        let headers = head.headers.iter();
        let mut signed = UpstreamHead {
            method: Method::POST,
            target: head.target.replace('%', "%25"),
            headers: headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        };
        let service = Service {
            words: &AWS,
            region: self.region,
            name: "bedrock",
        };
        sigv4::sign(&mut signed, service, keys, self.sha256.clone(), now)?;
        let headers = signed.headers.iter().map(|(name, value)| (name, value));
        head::request_of(&head.method, &head.target, headers)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
    };
    use aws_sigv4::sign::v4;
    use http::HeaderMap;

    use super::*;
    use crate::secret::Secret;

    const ID: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const PATH: &str = "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse";

    /// AWS's own signer is the oracle.
    #[test]
    fn a_path_with_escapes_is_signed_as_aws_does() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let identity = Credentials::from_keys(ID, SECRET, None).into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("bedrock")
            .time(SystemTime::from(now))
            .settings(settings)
            .build()
            .unwrap();
        let request = SignableRequest::new(
            "POST",
            format!("https://bedrock-runtime.us-east-1.amazonaws.com{PATH}"),
            [("content-type", "application/json")].into_iter(),
            SignableBody::Bytes(b"{}"),
        );
        let (expected, _) = sign(request.unwrap(), &params.into()).unwrap().into_parts();
        let (headers, _) = expected.into_parts();
        let expected = headers
            .iter()
            .find(|header| header.name() == "authorization");
        let expected = expected.unwrap().value();

        let mut headers = HeaderMap::new();
        headers.insert(
            "host",
            HeaderValue::from_static("bedrock-runtime.us-east-1.amazonaws.com"),
        );
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", HeaderValue::from_static("2"));
        let head = Head {
            method: Method::POST,
            target: PATH.to_owned(),
            headers,
        };
        let ready = ReadyCredential::s3(ID, Secret::new(SECRET.as_bytes().to_vec()), None);
        let signer = Signer::new("us-east-1", ready, &[Bytes::from_static(b"{}")]).unwrap();
        let wire = String::from_utf8(signer.sign(&head, now).unwrap().wire).unwrap();
        assert!(
            wire.starts_with(&format!("POST {PATH} HTTP/1.1\r\n")),
            "{wire}"
        );
        assert!(wire.contains(expected), "{wire}\n{expected}");
    }
}
