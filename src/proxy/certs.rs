//! Server certificates that can be replaced while connections run.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

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
    fn serves(&self, name: &ServerName<'_>) -> bool {
        let parsed = self.key.cert.first().map(ParsedCertificate::try_from);
        matches!(parsed, Some(Ok(cert)) if verify_server_name(&cert, name).is_ok())
    }
}
