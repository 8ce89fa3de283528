//! RSA private keys of provider accounts, for signing with RS256.
//!
//! The arithmetic is that of the TLS library, which has to have it anyway; no other is brought in for it.

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// See the module's documentation.
#[derive(Clone)]
pub struct RsaKey {
    key: Arc<dyn SigningKey>,
    /// SHA-256 of the key as it was given, to tell two of them apart.
    fingerprint: [u8; 32],
}

impl RsaKey {
    /// A key in PEM, PKCS#8 or PKCS#1; the failure tells nothing of the key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "holds no private key in PEM")?;
        let key = any_supported_type(&der).map_err(|_| "holds a private key that is not valid")?;
        if key
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .is_none()
        {
            return Err("holds a private key that is no RSA key");
        }
        Ok(Self {
            key,
            fingerprint: Sha256::digest(pem).into(),
        })
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signer = signer.ok_or_else(|| Error::internal("not an RSA key"))?;
        signer.sign(message).map_err(Error::internal)
    }
}

impl PartialEq for RsaKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for RsaKey {}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rsa_keys_are_taken() {
        let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let curve = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let good = rsa.serialize_pem();
        let key = RsaKey::from_pem(good.as_bytes()).unwrap();
        assert_eq!(key.sign(b"message").unwrap().len(), 256);
        assert_eq!(format!("{key:?}"), "RsaKey(..)");
        let cut = good.replacen("\nM", "\n", 1);
        for bad in ["", "CANARY", &curve, &cut] {
            let why = RsaKey::from_pem(bad.as_bytes()).unwrap_err();
            assert!(!why.contains("CANARY"));
        }
    }
}
