//! A server on a free port of loopback, for the demo's own upstreams.

use std::error::Error as StdError;
use std::net::{Ipv4Addr, SocketAddr};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::error::{Error, Result};

/// Where a server listens. Its tasks end with their runtime.
#[derive(Debug)]
pub(super) struct Server(SocketAddr);

impl Server {
    pub(super) fn address(&self) -> SocketAddr {
        self.0
    }
}

/// Binds a free port and serves it on the current runtime.
pub(super) async fn serve<S, B>(service: S) -> Result<Server>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let refused = |error| Error::internal("cannot listen on loopback").with_source(error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let runtime = Handle::current();
    runtime.clone().spawn(async move {
        loop {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    // Out of descriptors, or a client that left at once: the next may do better.
                    tracing::warn!(%error, "the demo's upstream could not accept");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service.clone());
            runtime.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the demo's upstream broke");
                }
            });
        }
    });
    Ok(Server(address))
}
