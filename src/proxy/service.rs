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

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::Fuse;
use http::header;
use ipnet::IpNet;
use pingora::apps::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp,
};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, ReadBuf};

use crate::config::snapshot::{GlobalLimits, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::protocol::{Front, Protocol};
use crate::proxy::engine::{Arrived, Engine, Running};
use crate::proxy::gate::Visitor;
use crate::proxy::watchdog::Watchdog;
use crate::proxy::{admin, ai, ambiguity, clock, ids, intake, respond, storage};
use crate::telemetry::labels::{AdminRoute, ConnectionRejection, Op, Proto};
use crate::telemetry::meters::RequestSample;
use crate::telemetry::metrics::Connection;

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
        let visitor = match self.fronts.as_slice() {
            [Front::Admin] => Visitor::Admin,
            _ => Visitor::Client(peer.map(|peer| peer.ip())),
        };
        let entered = self.engine.gate.enter(
            visitor,
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
        let mut watchdog = Watchdog::default();
        let mut stop = shutdown.clone();
        // Nobody is left to tell it where the process ends.
        let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
        let mut stopped = pin!(stopped.fuse());
        loop {
            let (settings, pipelined) = match kept.take() {
                Some((settings, pipelined)) => (Some(settings), pipelined),
                None => (None, None),
            };
            let head = if let Some(bytes) = pipelined {
                bytes
            } else {
                let wait = Wait::of(&limits, settings.is_some());
                let stopped = stopped.as_mut();
                let read = first_bytes(&mut stream, wait, &mut watchdog, shutdown, stopped);
                let Some(bytes) = read.await else {
                    return;
                };
                bytes
            };
            let (deadline, header_bytes) = (limits.header_deadline, limits.header_bytes);
            let head = match intake::read(&mut stream, head, deadline, header_bytes).await {
                intake::Read::Head(head) => head,
                intake::Read::Gone => return,
                intake::Read::Refused(error) => return self.refuse_head(stream, &error).await,
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
            let reusable = match session.read_request().await {
                Ok(true) => self.serve(&mut session).await,
                Ok(false) => return,
                Err(error) => {
                    let message = "The request is not valid HTTP.";
                    let refused = Error::new(Kind::InvalidRequest, message).with_detail(error);
                    return self.refuse(session, &refused).await;
                }
            };
            if !reusable {
                session.shutdown().await;
                return;
            }
            let settings = HttpPersistentSettings::for_session(&session);
            let chunked = is_chunked(&session);
            let Ok(Some(reusable)) = session.finish().await else {
                return;
            };
            let (next, pipelined) = reusable.into_parts();
            // Whoever reads the chunks differently finds a request in them; honest clients wait for the answer.
            if chunked && pipelined.as_ref().is_some_and(|bytes| !bytes.is_empty()) {
                return;
            }
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
        let checked = ambiguity::to_origin_form(session)
            .and_then(|()| ambiguity::check_head(session, &arrived.snapshot.limits));
        if checked.is_err() {
            // Where such a message ends is anybody's guess.
            session.set_keepalive(None);
        }
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

    /// Answers what could not be parsed, before there was anything to parse it with.
    async fn refuse_head(&self, stream: Stream, error: &Error) {
        if error.kind() == Kind::RequestTimeout {
            let metrics = &self.engine.metrics;
            metrics.connection_rejected(self.proto(), ConnectionRejection::HeaderDeadline);
        }
        let mut session = ServerSession::new_http1(stream);
        session.set_write_timeout(Some(CLIENT_IDLE));
        self.refuse(session, error).await;
    }

    /// Answers a head that is none, in the listener's dialect, and gives the connection up.
    async fn refuse(&self, mut session: ServerSession, error: &Error) {
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
        session.set_keepalive(None);
        let status = reply.status.as_u16();
        // The client may be gone already: then nobody waits for this answer.
        let written = respond::respond(&mut session, reply, false).await;
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
        if let ServerSession::H1(session) = session {
            intake::linger(session.into_inner()).await;
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

/// Waits for the first bytes of a request. What has arrived when the listener stops is served all the same.
async fn first_bytes(
    stream: &mut Stream,
    wait: Wait,
    watchdog: &mut Watchdog,
    shutdown: &ShutdownWatch,
    stopped: Pin<&mut Fuse<impl Future<Output = ()>>>,
) -> Option<BytesMut> {
    let stopped = async {
        // Ends once only.
        if !*shutdown.borrow() {
            stopped.await;
        }
        tokio::time::sleep(wait.stopping).await;
    };
    let read = tokio::select! {
        biased;
        read = watchdog.within(Some(wait.keep_alive), poll_fn(|context| poll_head(stream, context))) => read,
        () = stopped => return None,
    };
    match read {
        Ok(Ok(head)) if !head.is_empty() => Some(head),
        _ => None,
    }
}

/// Reads what there is. The buffer is made when there is something to put in it: an idle connection has none.
fn poll_head(stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
    let mut bytes = [MaybeUninit::uninit(); intake::HEAD_READ];
    let mut read = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(stream).poll_read(context, &mut read))?;
    let mut head = BytesMut::with_capacity(intake::HEAD_READ);
    head.extend_from_slice(read.filled());
    Poll::Ready(Ok(head))
}

fn is_chunked(session: &ServerSession) -> bool {
    session
        .req_header()
        .headers
        .contains_key(header::TRANSFER_ENCODING)
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
}
