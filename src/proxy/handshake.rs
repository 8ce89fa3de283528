//! TLS handshakes with clients: within a deadline and the limits on connections, and counted where they fail.
//!
//! # Why not Pingora's
//!
//! It gives every client a minute for it, beside all limits, and tells nobody but its log how it ended. The handshake
//! itself is still Pingora's, so that everything behind it finds the stream that it knows.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::server::ShutdownWatch;
use rustls::ServerConfig;

use crate::error::{Error, Result};
use crate::proxy::certs::Certs;
use crate::proxy::service::{self, Listener};
use crate::telemetry::labels::ConnectionRejection;

/// A listener whose connections begin with a handshake.
pub struct TlsListener {
    listener: Arc<Listener>,
    acceptor: Acceptor,
}

impl TlsListener {
    pub fn new(listener: Listener, certs: &Arc<Certs>) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(certs) as Arc<dyn rustls::server::ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            listener: Arc::new(listener),
            acceptor: Acceptor::from_server_config(Arc::new(config)),
        })
    }

    /// The stream behind the handshake. `None` is counted.
    async fn handshake(&self, stream: Stream) -> Option<Stream> {
        let engine = &self.listener.engine;
        let limits = engine.live.load().limits;
        // Given back with the end of the handshake: a connection takes its own.
        let shaken = match self.listener.enter(service::peer(&stream), limits) {
            Ok(_place) => {
                let shaking = self.shake(stream);
                tokio::time::timeout(limits.header_deadline, shaking)
                    .await
                    .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
                    .map_err(|error| {
                        tracing::debug!(%error, "a TLS handshake failed");
                        ConnectionRejection::TlsHandshake
                    })
            }
            Err(full) => Err(full),
        };
        let proto = self.listener.proto();
        shaken
            .inspect_err(|reason| engine.metrics.connection_rejected(proto, *reason))
            .ok()
    }

    async fn shake(&self, stream: Stream) -> io::Result<Stream> {
        let stream = stream.into_any().downcast::<TcpStream>();
        let stream = stream.map_err(|_| io::Error::other("not a stream of the system's"))?;
        let shaken = self.acceptor.tls_handshake(*stream).await;
        Ok(Box::new(shaken.map_err(io::Error::other)?))
    }
}

#[async_trait]
impl ServerApp for TlsListener {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        // Boxed: a connection outlives its handshake by far.
        let stream = Box::pin(self.handshake(stream)).await?;
        ServerApp::process_new(&self.listener, stream, shutdown).await
    }
}
