//! Client connections: who may have one, how heads are read, and which front answers.
//!
//! # Why an application of our own and not `ProxyHttp`
//!
//! Pingora's `ProxyHttp` chooses an upstream before it has read any body, replays at most 64 KiB, and reads
//! heads with a time limit for each read, not for the head. Routing by body, verification before commit and a
//! head deadline all need the session itself. Both shells were measured around the same relay and cost the
//! same to within 2 %; the figures stand in the commit that chose this one. What `ProxyHttp` gave (retry on a stale connection,
//! early answers, watching for a client that leaves, hop-by-hop hygiene) is in [`exchange`](super::exchange),
//! [`upload`](super::upload) and [`relay`](super::relay).

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Version, header};
use ipnet::IpNet;
use pingora::apps::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp,
};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use pingora::time::timeout;
use tokio::io::AsyncReadExt;

use crate::config::snapshot::{GlobalLimits, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::protocol::{Front, Protocol};
use crate::proxy::engine::{Arrived, Engine, Running};
use crate::proxy::{admin, ai, clock, ids, respond, storage};
use crate::telemetry::labels::{AdminRoute, ConnectionRejection, Op, Proto};
use crate::telemetry::meters::RequestSample;
use crate::telemetry::metrics::Connection;

/// First read of a request head, in bytes; most heads fit.
const HEAD_READ: usize = 4096;
/// Longest path and query, in bytes. A key has 1024 bytes, three each when percent-encoded.
const TARGET_BYTES_MAX: usize = 16 * 1024;
/// Longest wait for the client, a body byte or room for one.
const CLIENT_IDLE: Duration = Duration::from_mins(1);
/// How long a connection that is still new when its listener stops may take to bring its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(250);
/// How long the rest of a refused upload is read before the connection is given up.
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(5);

/// One listener: its fronts, and whether its connections are TLS.
pub struct Listener {
    pub engine: Arc<Engine>,
    /// More than one: chosen by `Host` among the base domains.
    pub fronts: Vec<Front>,
}

/// An HTTP/2 connection, whose framing Pingora reads for us.
struct H2 {
    listener: Arc<Listener>,
    connection: Connection,
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
        let peer = client_address(&stream);
        let entered = self.engine.gate.enter(
            peer.map(|peer| peer.ip()),
            limits.max_connections,
            limits.max_connections_per_ip,
        );
        let _place = match entered {
            Ok(place) => place,
            Err(full) => {
                self.engine.metrics.connection_rejected(self.proto(), full);
                return None;
            }
        };
        let connection = self.engine.metrics.connection(self.proto());
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            let http2 = H2::new(Arc::clone(self), connection, limits);
            return ServerApp::process_new(&Arc::new(http2), stream, shutdown).await;
        }
        self.serve_h1(stream, shutdown, limits, &connection).await;
        None
    }
}

impl H2 {
    fn new(listener: Arc<Listener>, connection: Connection, limits: GlobalLimits) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(limits.keep_alive);
        Self {
            listener,
            connection,
            options,
            header_bytes: limits.header_bytes,
        }
    }
}

#[async_trait]
impl HttpServerApp for H2 {
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
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _busy = self.connection.busy();
        session.set_read_timeout(Some(CLIENT_IDLE));
        session.set_write_timeout(Some(CLIENT_IDLE));
        session.set_total_drain_timeout(Some(DRAIN_MAX));
        if matches!(session.read_request().await, Ok(true))
            && self.listener.serve(&mut session).await
            && let Err(error) = respond::end_stream(&mut session)
        {
            // Dropped without its end, the stream is reset: the client sees that something is missing.
            tracing::debug!(%error, "an HTTP/2 answer could not be ended");
        }
        None
    }
}

impl Listener {
    /// Serves one connection until it is no longer kept.
    async fn serve_h1(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
        limits: GlobalLimits,
        connection: &Connection,
    ) {
        let mut kept: Option<(HttpPersistentSettings, Option<BytesMut>)> = None;
        loop {
            let (settings, pipelined) = match kept.take() {
                Some((settings, pipelined)) => (Some(settings), pipelined),
                None => (None, None),
            };
            let head = if let Some(bytes) = pipelined {
                bytes
            } else {
                let wait = Wait::of(&limits, settings.is_some());
                let Some(bytes) = first_bytes(&mut stream, wait, shutdown).await else {
                    return;
                };
                bytes
            };
            let _busy = connection.busy();
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            // Once the process drains, the writing of the head says otherwise.
            session.set_keepalive(Some(limits.keep_alive.as_secs()));
            session.set_pipelining_enabled(true);
            session.set_pipelined_prefix(head);
            session.set_read_timeout(Some(CLIENT_IDLE));
            session.set_write_timeout(Some(CLIENT_IDLE));
            session.set_total_drain_timeout(Some(DRAIN_MAX));
            session.set_close_on_response_before_downstream_finish(false);
            let reusable = match timeout(limits.header_deadline, session.read_request()).await {
                Ok(Ok(true)) => self.serve(&mut session).await,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    self.refuse_head(&mut session, Kind::InvalidRequest, &error)
                        .await;
                    return;
                }
                Err(elapsed) => {
                    let metrics = &self.engine.metrics;
                    metrics.connection_rejected(self.proto(), ConnectionRejection::HeaderDeadline);
                    self.refuse_head(&mut session, Kind::RequestTimeout, &elapsed)
                        .await;
                    return;
                }
            };
            if !reusable {
                session.shutdown().await;
                return;
            }
            let settings = HttpPersistentSettings::for_session(&session);
            let Ok(Some(reusable)) = session.finish().await else {
                return;
            };
            let (next, pipelined) = reusable.into_parts();
            stream = next;
            kept = Some((settings, pipelined));
        }
    }

    /// Answers one request; `false`: the connection cannot be used again.
    async fn serve(&self, session: &mut ServerSession) -> bool {
        let _running = Running::new(&self.engine);
        let snapshot = self.engine.live.current();
        let now = clock::now();
        let request_id = ids::request_id(now);
        let arrived = Arrived {
            id: request_id.hyphenated().to_string().into(),
            request_id,
            trace: ids::trace(&session.req_header().headers),
            now,
            started: Instant::now(),
            peer: client_ip(session, &snapshot.trusted_proxies),
            secure: session
                .digest()
                .is_some_and(|digest| digest.ssl_digest.is_some()),
            snapshot,
        };
        let checked = check_head(session, &arrived.snapshot.limits);
        let front = self.front(session, &arrived.snapshot);
        let served = self.answer(session, &arrived, front, checked);
        if let Ok(reusable) = AssertUnwindSafe(served).catch_unwind().await {
            return reusable;
        }
        // The panic is counted and its place logged. What it left of the session is good for one answer, if none
        // has begun, and for nothing after it.
        session.set_keepalive(None);
        let failed = Err(Error::internal("a panic"));
        let answered = self.answer(session, &arrived, front, failed);
        drop(AssertUnwindSafe(answered).catch_unwind().await);
        false
    }

    /// Answers in the dialect of the front.
    async fn answer(
        &self,
        session: &mut ServerSession,
        arrived: &Arrived,
        front: Front,
        checked: Result<()>,
    ) -> bool {
        // Boxed: an idle connection must not keep room for a request's whole state.
        match front {
            Front::Storage(Protocol::S3) => {
                Box::pin(storage::serve(&self.engine, session, arrived, checked)).await
            }
            Front::Ai => Box::pin(ai::serve(&self.engine, session, arrived, checked)).await,
            Front::Admin => Box::pin(admin::serve(&self.engine, session, arrived, checked)).await,
            // Refused by config's check: no listener of this version speaks them.
            Front::Storage(Protocol::Gcs | Protocol::Azure) => false,
        }
    }

    /// The `proto` label of what is counted for the connection itself.
    fn proto(&self) -> Proto {
        self.fronts
            .first()
            .map_or(Proto::S3, |front| Proto::from(*front))
    }

    /// The front that a request is for: the listener's, or by `Host` where several share it.
    fn front(&self, session: &ServerSession, snapshot: &Snapshot) -> Front {
        let [first, _, ..] = self.fronts.as_slice() else {
            return self
                .fronts
                .first()
                .copied()
                .unwrap_or(Front::Storage(Protocol::S3));
        };
        let host = host(session);
        let named = snapshot.base_domains.iter().find(|(front, domain)| {
            self.fronts.contains(front) && host.is_some_and(|host| is_under(host, domain))
        });
        named.map_or(*first, |(front, _)| *front)
    }

    /// Answers a head that could not be read, in the listener's dialect, and gives the connection up.
    async fn refuse_head(
        &self,
        session: &mut ServerSession,
        kind: Kind,
        why: &(dyn std::fmt::Debug + Sync),
    ) {
        let message = if kind == Kind::RequestTimeout {
            "The request's head did not arrive in time."
        } else {
            "The request is not valid HTTP."
        };
        let error = Error::new(kind, message).with_detail(format_args!("{why:?}"));
        let started = Instant::now();
        let id = ids::request_id(clock::now()).hyphenated().to_string();
        let first = self
            .fronts
            .first()
            .copied()
            .unwrap_or(Front::Storage(Protocol::S3));
        let reply = match first {
            Front::Storage(_) => storage::refusal(&error, "/", &id),
            Front::Ai => ai::refusal(&error, &id),
            Front::Admin => admin::refusal(&error, &id),
        };
        session.set_keepalive(None);
        let status = reply.status.as_u16();
        // The client may be gone already: then nobody waits for this answer.
        let written = respond::respond(session, reply, false).await;
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
        session.shutdown().await;
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

/// Waits for the first bytes of a request. What has arrived when the listener stops is served all the same.
async fn first_bytes(
    stream: &mut Stream,
    wait: Wait,
    shutdown: &ShutdownWatch,
) -> Option<BytesMut> {
    let mut head = BytesMut::with_capacity(HEAD_READ);
    let mut shutdown = shutdown.clone();
    let stopped = async {
        // Nobody is left to tell it where the process ends.
        drop(shutdown.wait_for(|stop| *stop).await);
        pingora::time::sleep(wait.stopping).await;
    };
    let read = tokio::select! {
        biased;
        read = timeout(wait.keep_alive, stream.read_buf(&mut head)) => read,
        () = stopped => return None,
    };
    match read {
        Ok(Ok(read)) if read > 0 => Some(head),
        _ => None,
    }
}

/// Refuses heads that are too large or ambiguous, whatever the front.
fn check_head(session: &ServerSession, limits: &GlobalLimits) -> Result<()> {
    let head = session.req_header();
    if head.raw_path().len() > TARGET_BYTES_MAX {
        return Err(Error::new(
            Kind::UriTooLong,
            "The request's target is too long.",
        ));
    }
    let size: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size > limits.header_bytes {
        return Err(Error::new(
            Kind::HeadersTooLarge,
            "The request's headers are too large.",
        ));
    }
    if head.method == Method::CONNECT {
        return Err(Error::new(Kind::MethodNotAllowed, "CONNECT is not served."));
    }
    if !session.is_http2() {
        check_host(&head.headers, head.version)?;
        check_framing(session, &head.headers)?;
    }
    Ok(())
}

fn check_host(headers: &HeaderMap, version: Version) -> Result<()> {
    let bad = || {
        Error::new(
            Kind::InvalidRequest,
            "The Host header is missing or not valid.",
        )
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let valid = host.as_bytes().iter().all(|byte| {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_')
            });
            if valid && !host.is_empty() {
                Ok(())
            } else {
                Err(bad())
            }
        }
        (None, _) if version == Version::HTTP_10 => Ok(()),
        _ => Err(bad()),
    }
}

/// Content-Length and Transfer-Encoding together are a smuggler's tool: Pingora lets the second win and closes
/// the connection; we refuse (RFC 9112, section 6.3).
fn check_framing(session: &ServerSession, headers: &HeaderMap) -> Result<()> {
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    if has_length(&session.to_h1_raw()) {
        return Err(Error::new(
            Kind::InvalidRequest,
            "Content-Length and Transfer-Encoding cannot be used together.",
        ));
    }
    Ok(())
}

/// Whether a head, as it came, has a Content-Length: Pingora drops it where there is a Transfer-Encoding.
fn has_length(raw: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n')
        .any(|line| line.len() > 14 && line[..14].eq_ignore_ascii_case(b"content-length"))
}

/// The host that the client named, with its port.
pub fn host(session: &ServerSession) -> Option<&str> {
    let head = session.req_header();
    match head.headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => head.uri.authority().map(http::uri::Authority::as_str),
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
fn client_ip(session: &ServerSession, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = session.client_addr()?.as_inet()?.ip().to_canonical();
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let forwarded = session.req_header().headers.get_all("x-forwarded-for");
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

fn client_address(stream: &Stream) -> Option<SocketAddr> {
    stream.get_socket_digest()?.peer_addr()?.as_inet().copied()
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

    #[test]
    fn one_well_formed_host_is_required() {
        let check = |values: &[&'static str], version| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::HOST, http::HeaderValue::from_static(value));
            }
            check_host(&headers, version).is_ok()
        };
        let v11 = Version::HTTP_11;
        assert!(check(&["a.b:80"], v11));
        assert!(check(&["[::1]:80"], v11));
        assert!(check(&[], Version::HTTP_10));
        for bad in [
            &[][..],
            &["a", "b"],
            &["a,b"],
            &["a/b"],
            &["a@b"],
            &["a?b"],
            &[""],
            &["a b"],
        ] {
            assert!(!check(bad, v11), "{bad:?}");
        }
    }
}
