//! Server certificates that can be replaced while connections run.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::snapshot::TlsSettings;
use crate::error::{Error, Result};

/// Chooses a certificate by the name that the client asks for; the first of the config serves the rest.
#[derive(Debug, Default)]
pub struct Certs(ArcSwap<Vec<Cert>>);

#[derive(Debug)]
struct Cert {
    key: Arc<CertifiedKey>,
}

impl Certs {
    /// Replaces the certificates by those of `settings`.
    pub fn replace(&self, settings: &TlsSettings) -> Result<()> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut certs = Vec::with_capacity(settings.certificates.len());
        for pair in &settings.certificates {
            let chain = CertificateDer::pem_slice_iter(&pair.chain_pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| Error::internal(format_args!("certificate: {error}")))?;
            let key = PrivateKeyDer::from_pem_slice(pair.key_pem.expose())
                .map_err(|error| Error::internal(format_args!("private key: {error}")))?;
            let key = CertifiedKey::from_der(chain, key, &provider)
                .map_err(|error| Error::internal(format_args!("certificate: {error}")))?;
            certs.push(Cert { key: Arc::new(key) });
        }
        self.0.store(Arc::new(certs));
        Ok(())
    }

    /// Common name and end, in seconds since 1970, of each certificate in use; of one name the first to end.
    pub fn not_after(&self) -> Vec<(String, i64)> {
        let mut ends: Vec<(String, i64)> =
            self.0.load().iter().filter_map(Cert::not_after).collect();
        ends.sort();
        ends.dedup_by(|later, first| later.0 == first.0);
        ends
    }
}

impl ResolvesServerCert for Certs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certs = self.0.load();
        let name = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let chosen = name.and_then(|name| certs.iter().find(|cert| cert.serves(&name)));
        chosen
            .or_else(|| certs.first())
            .map(|cert| Arc::clone(&cert.key))
    }
}

impl Cert {
    fn not_after(&self) -> Option<(String, i64)> {
        let (_, parsed) = X509Certificate::from_der(self.key.cert.first()?).ok()?;
        let name = parsed.subject().iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
        Some((name.to_owned(), parsed.validity().not_after.timestamp()))
    }

    fn serves(&self, name: &ServerName<'_>) -> bool {
        let parsed = self.key.cert.first().map(ParsedCertificate::try_from);
        matches!(parsed, Some(Ok(cert)) if verify_server_name(&cert, name).is_ok())
    }
}
