//! Client connections: who may have one, how heads are read, and which front answers.
//!
//! # Why an application of our own and not `ProxyHttp`
//!
//! Pingora's `ProxyHttp` chooses an upstream before it has read any body, replays at most 64 KiB, and reads
//! heads with a time limit for each read, not for the head. Routing by body, verification before commit and a
//! head deadline all need the connection itself. What `ProxyHttp` gave (retry on a stale connection, early answers,
//! watching for a client that leaves, hop-by-hop hygiene) is in [`exchange`](super::exchange),
//! [`upload`](super::upload) and [`relay`](super::relay); what its session gave is in [`client`](super::client).

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::Fuse;
use ipnet::IpNet;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;

use crate::config::snapshot::{GlobalLimits, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::protocol::{Front, Protocol};
use crate::proxy::client::h1::{Arrival, H1};
use crate::proxy::client::h2::H2;
use crate::proxy::client::{Client, Head, Peer};
use crate::proxy::engine::{Arrived, Engine, Running};
use crate::proxy::gate::{Place, Visitor};
use crate::proxy::{admin, ai, ambiguity, clock, ids, respond, storage};
use crate::telemetry::labels::{AdminRoute, ConnectionRejection, Op, Proto};
use crate::telemetry::meters::RequestSample;
use crate::telemetry::metrics::Connection;

/// How long a connection that is still new when its listener stops may take to bring its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// One listener: its fronts, and whether its connections are TLS.
pub struct Listener {
    pub engine: Arc<Engine>,
    /// More than one: chosen by `Host` among the base domains.
    pub fronts: Vec<Front>,
}

/// An HTTP/2 connection, whose framing Pingora reads for us.
struct Streams {
    listener: Arc<Listener>,
    connection: Connection,
    peer: Peer,
    options: HttpServerOptions,
    header_bytes: usize,
}

#[async_trait]
impl ServerApp for Listener {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let limits = self.engine.live.current().limits;
        let peer = peer(&stream);
        let _place = match self.enter(peer, limits) {
            Ok(place) => place,
            Err(full) => {
                self.engine.metrics.connection_rejected(self.proto(), full);
                return None;
            }
        };
        let connection = self.engine.metrics.connection(self.proto());
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            let streams = Streams::new(Arc::clone(self), connection, peer, limits);
            return ServerApp::process_new(&Arc::new(streams), stream, shutdown).await;
        }
        self.serve_h1(stream, shutdown, peer, limits, &connection)
            .await;
        None
    }
}

impl Streams {
    fn new(
        listener: Arc<Listener>,
        connection: Connection,
        peer: Peer,
        limits: GlobalLimits,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(limits.keep_alive);
        Self {
            listener,
            connection,
            peer,
            options,
            header_bytes: limits.header_bytes,
        }
    }
}

#[async_trait]
impl HttpServerApp for Streams {
    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_header_list_size(u32::try_from(self.header_bytes).unwrap_or(u32::MAX));
        Some(options)
    }

    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _busy = self.connection.busy();
        let ServerSession::H2(session) = session else {
            return None;
        };
        let mut client = Client::H2(Box::new(H2::new(session)));
        if self.listener.serve(&mut client, self.peer).await
            && let Err(error) = client.end().await
        {
            // Dropped without its end, the stream is reset: the client sees that something is missing.
            tracing::debug!(%error, "an HTTP/2 answer could not be ended");
        }
        None
    }
}

impl Listener {
    /// Takes a place for a connection.
    pub(super) fn enter(
        &self,
        peer: Peer,
        limits: GlobalLimits,
    ) -> Result<Place, ConnectionRejection> {
        let visitor = match self.fronts.as_slice() {
            [Front::Admin] => Visitor::Admin,
            _ => Visitor::Client(peer.address.map(|address| address.ip())),
        };
        let (most, each) = (limits.max_connections, limits.max_connections_per_ip);
        self.engine.gate.enter(visitor, most, each)
    }

    /// Serves one connection until it is no longer kept.
    async fn serve_h1(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
        peer: Peer,
        limits: GlobalLimits,
        connection: &Connection,
    ) {
        let mut client = Client::H1(Box::new(H1::new(stream, limits.keep_alive)));
        let mut served_before = false;
        let mut stop = shutdown.clone();
        // Nobody is left to tell it where the process ends.
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        let mut stopped = pin!(stopped.fuse());
        loop {
            let Client::H1(h1) = &mut client else { return };
            let wait = Wait::of(&limits, served_before);
            if !first_bytes(h1, wait, shutdown, stopped.as_mut()).await {
                return;
            }
            match h1.arrive(limits.header_deadline, limits.header_bytes).await {
                Arrival::Request => {}
                Arrival::Gone => return,
                Arrival::Refused(error) => return self.refuse(client, &error).await,
            }
            let _busy = connection.busy();
            let served = self.serve(&mut client, peer).await && client.end().await.is_ok();
            let Client::H1(h1) = &mut client else { return };
            if !(served && h1.recycle().await) {
                break;
            }
            served_before = true;
        }
        if let Client::H1(h1) = client {
            h1.close().await;
        }
    }

    /// Answers one request; `false`: the connection cannot be used again.
    async fn serve(&self, client: &mut Client, peer: Peer) -> bool {
        let _running = Running::new(&self.engine);
        let snapshot = self.engine.live.current();
        let now = clock::now();
        let request_id = ids::request_id(now);
        let arrived = Arrived {
            id: request_id.hyphenated().to_string().into(),
            request_id,
            trace: ids::trace(&client.head().headers),
            now,
            started: Instant::now(),
            peer: client_ip(client.head(), peer, &snapshot.trusted_proxies),
            secure: peer.secure,
            snapshot,
        };
        let checked = ambiguity::check_head(client, arrived.snapshot.limits.header_bytes);
        if checked.is_err() {
            // Where such a message ends is anybody's guess.
            client.close_after();
        }
        let front = self.front(client.head(), &arrived.snapshot);
        let served = self.answer(client, &arrived, front, checked);
        if let Ok(whole) = AssertUnwindSafe(served).catch_unwind().await {
            return whole;
        }
        // The panic is counted and its place logged. What it left of the client is good for one answer, if none has
        // begun, and for nothing after it.
        client.close_after();
        let failed = Err(Error::internal("a panic"));
        let answered = self.answer(client, &arrived, front, failed);
        drop(AssertUnwindSafe(answered).catch_unwind().await);
        false
    }

    /// Answers in the dialect of the front.
    async fn answer(
        &self,
        client: &mut Client,
        arrived: &Arrived,
        front: Front,
        checked: Result<()>,
    ) -> bool {
        // Boxed: an idle connection must not keep room for a request's whole state.
        match front {
            Front::Storage(Protocol::S3) => {
                Box::pin(storage::serve(&self.engine, client, arrived, checked)).await
            }
            Front::Ai => Box::pin(ai::serve(&self.engine, client, arrived, checked)).await,
            Front::Admin => Box::pin(admin::serve(&self.engine, client, arrived, checked)).await,
            // Refused by config's check: no listener of this version speaks them.
            Front::Storage(Protocol::Gcs | Protocol::Azure) => false,
        }
    }

    /// The `proto` label of what is counted for the connection itself.
    pub(super) fn proto(&self) -> Proto {
        self.fronts
            .first()
            .map_or(Proto::S3, |front| Proto::from(*front))
    }

    /// The front that a request is for: the listener's, or by `Host` where several share it.
    fn front(&self, head: &Head, snapshot: &Snapshot) -> Front {
        let [first, _, ..] = self.fronts.as_slice() else {
            return self
                .fronts
                .first()
                .copied()
                .unwrap_or(Front::Storage(Protocol::S3));
        };
        let host = head.host();
        let named = snapshot.base_domains.iter().find(|(front, domain)| {
            self.fronts.contains(front) && host.is_some_and(|host| is_under(host, domain))
        });
        named.map_or(*first, |(front, _)| *front)
    }

    /// Answers a head that is none, in the listener's dialect, and gives the connection up.
    async fn refuse(&self, mut client: Client, error: &Error) {
        if error.kind() == Kind::RequestTimeout {
            let metrics = &self.engine.metrics;
            metrics.connection_rejected(self.proto(), ConnectionRejection::HeaderDeadline);
        }
        let started = Instant::now();
        let id = ids::request_id(clock::now()).hyphenated().to_string();
        let first = self
            .fronts
            .first()
            .copied()
            .unwrap_or(Front::Storage(Protocol::S3));
        let reply = match first {
            Front::Storage(_) => storage::refusal(error, "/", &id),
            Front::Ai => ai::refusal(error, &id),
            Front::Admin => admin::refusal(error, &id),
        };
        client.close_after();
        let status = reply.status.as_u16();
        // The client may be gone already: then nobody waits for this answer.
        let written = respond::respond(&mut client, reply).await;
        tracing::debug!(%error, written = written.is_ok(), "refused a request head");
        if first == Front::Admin {
            let metrics = &self.engine.metrics;
            metrics.admin_request(AdminRoute::Other, status);
        } else {
            self.count_refused(
                first,
                status,
                started.elapsed(),
                written.unwrap_or_default(),
            );
        }
        if let Client::H1(h1) = client {
            h1.linger().await;
        }
    }
}

impl Listener {
    /// Counts a request that was refused before anything was known of it.
    fn count_refused(&self, front: Front, status: u16, took: Duration, bytes_out: u64) {
        let sample = RequestSample {
            proto: Proto::from(front),
            op: Op::Other,
            status,
            duration: took,
            ttfb: None,
            overhead: took,
            bytes_in: 0,
            bytes_out,
        };
        self.engine.metrics.anonymous().request(&sample, None);
    }
}

/// How long a request is waited for.
#[derive(Clone, Copy)]
struct Wait {
    keep_alive: Duration,
    /// After the listener was told to stop.
    stopping: Duration,
}

impl Wait {
    fn of(limits: &GlobalLimits, served_before: bool) -> Self {
        let stopping = if served_before {
            Duration::ZERO
        } else {
            FIRST_REQUEST
        };
        Self {
            keep_alive: limits.keep_alive,
            stopping,
        }
    }
}

/// Waits for the first bytes of a request; `false`: none came. What has arrived when the listener stops is served all
/// the same.
async fn first_bytes(
    client: &mut H1,
    wait: Wait,
    shutdown: &ShutdownWatch,
    stopped: Pin<&mut Fuse<impl Future<Output = ()>>>,
) -> bool {
    let stopped = async {
        // Ends once only.
        if !*shutdown.borrow() {
            stopped.await;
        }
        tokio::time::sleep(wait.stopping).await;
    };
    tokio::select! {
        biased;
        arrived = client.wait(wait.keep_alive) => arrived,
        () = stopped => false,
    }
}

/// Whether `host` (with or without a port) is `domain` or below it.
pub fn is_under(host: &str, domain: &str) -> bool {
    let name = without_port(host);
    let Some(at) = name.len().checked_sub(domain.len()) else {
        return false;
    };
    let (front, tail) = name.as_bytes().split_at(at);
    tail.eq_ignore_ascii_case(domain.as_bytes()) && (front.is_empty() || front.ends_with(b"."))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The client's address: the connection's, or what a trusted proxy says it is. Proxies append, so the list is
/// read from its end, past the proxies that we trust.
fn client_ip(head: &Head, peer: Peer, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer.address?.ip().to_canonical();
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let forwarded = head.headers.get_all("x-forwarded-for");
    let mut listed = forwarded
        .iter()
        .rev()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','));
    // What cannot be read was not written by a proxy that we trust: nothing before it counts either.
    let client = listed.find_map(|entry| match entry.trim().parse::<IpAddr>() {
        Ok(ip) if is_trusted(&ip.to_canonical()) => None,
        Ok(ip) => Some(Some(ip.to_canonical())),
        Err(_) => Some(None),
    });
    client.flatten().or(Some(peer))
}

pub(super) fn peer(stream: &Stream) -> Peer {
    let address = stream.get_socket_digest();
    let address = address.and_then(|digest| digest.peer_addr()?.as_inet().copied());
    Peer {
        address,
        secure: stream.get_ssl_digest().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_matched_by_whole_labels() {
        let cases = [
            ("s3.example.net", true),
            ("S3.Example.net:9000", true),
            ("bucket.s3.example.net", true),
            ("a.b.s3.example.net:443", true),
            ("xs3.example.net", false),
            ("example.net", false),
            ("s3.example.net.evil", false),
        ];
        for (host, expected) in cases {
            assert_eq!(is_under(host, "s3.example.net"), expected, "{host}");
        }
    }
}
