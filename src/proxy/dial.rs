//! The one way out: addresses, their policy, and pooled connections.
//!
//! Every outbound connection is made here, so that the address policy cannot be walked around: it is applied
//! to the *resolved* address (a name that resolves to a private address is refused like the address itself),
//! and no redirect is ever followed. See `ops.md` 5.1, SSRF.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::tls::CaType;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};
use pingora::{ErrorType, OrErr};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use uuid::Uuid;

use crate::error::{Error, Fault, Kind, Result};
use crate::policy::route::{Reach, Resource, is_metadata};
use crate::proxy::pool::Idle;
use crate::proxy::race;
use crate::proxy::upstream::Upstream;

/// How long a resolved name is used before it is looked up again.
const DNS_FRESH: Duration = Duration::from_secs(30);
/// How long an old answer stands in when the resolver fails.
const DNS_STALE_MAX: Duration = Duration::from_hours(1);
/// Longest wait for the resolver.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried. Stops a name with hundreds of addresses from holding a request.
const ADDRESSES_MAX: usize = 4;
/// Connects to resources, over HTTP/1.1.
pub struct Dialer {
    connector: TransportConnector,
    peers: DashMap<Uuid, Arc<Peers>>,
}

/// The addresses of one resource: built once, so a request clones nothing.
struct Peers {
    resource: Arc<Resource>,
    resolved_at: Instant,
    list: Vec<Peer>,
}

/// One address, and its connections that wait for work.
struct Peer {
    target: HttpPeer,
    address: SocketAddr,
    idle: Arc<Idle>,
}

/// A connection that is ready for one exchange.
pub struct Link {
    /// Boxed: an answer is handed on a few times, and this is most of it.
    pub session: Box<Upstream>,
    /// Taken from the pool: the peer may have closed it meanwhile.
    pub reused: bool,
    peers: Arc<Peers>,
    at: usize,
}

impl Dialer {
    pub fn new() -> Self {
        let options = ConnectorOptions::from_server_conf(&ServerConf::default());
        Self {
            connector: TransportConnector::new(Some(options)),
            peers: DashMap::new(),
        }
    }

    /// A connection to `resource`: pooled, or new to the first of its addresses that answers.
    pub async fn connect(&self, resource: &Arc<Resource>) -> Result<Link> {
        let peers = self.peers(resource).await?;
        let timeouts = &resource.timeouts;
        let link = |mut session: Box<Upstream>, reused, at| {
            session.set_write_timeout(Some(timeouts.idle));
            Link {
                session,
                reused,
                peers: Arc::clone(&peers),
                at,
            }
        };
        for (at, peer) in peers.list.iter().enumerate() {
            if let Some(kept) = peer.idle.take(timeouts.pool_idle) {
                return Ok(link(kept, true, at));
            }
        }
        // Boxed: connecting takes 9 KB of state, which most requests never need.
        let raced = Box::pin(race::first(peers.list.len(), |at| {
            self.connector.new_stream(&peers.list[at].target)
        }));
        let last = match raced.await {
            Ok((at, stream)) => return Ok(link(Box::new(Upstream::new(stream)), false, at)),
            Err(last) => last,
        };
        let fault = last
            .as_ref()
            .map_or(Fault::Connect, |error| fault(error.etype()));
        Err(
            Error::new(Kind::UpstreamUnavailable, "The resource cannot be reached.")
                .with_fault(fault)
                .with_detail(
                    last.map_or_else(|| "no address".to_owned(), |error| error.to_string()),
                ),
        )
    }

    /// Gives a connection back after a complete exchange.
    pub async fn release(&self, link: Link) {
        let mut session = link.session;
        match link.peers.list.get(link.at) {
            Some(peer) if session.recycle() => {
                peer.idle
                    .put(session, link.peers.resource.timeouts.pool_idle);
            }
            _ => session.close().await,
        }
    }

    /// Closes idle connections that waited too long, or whose peer has closed them.
    pub fn sweep(&self) {
        for peers in &self.peers {
            for peer in &peers.list {
                peer.idle.sweep(peers.resource.timeouts.pool_idle);
            }
        }
    }

    /// Forgets the addresses of resources that are gone.
    pub fn retain(&self, resources: &[Arc<Resource>]) {
        self.peers.retain(|_, peers| {
            resources
                .iter()
                .any(|kept| Arc::ptr_eq(kept, &peers.resource))
        });
    }

    async fn peers(&self, resource: &Arc<Resource>) -> Result<Arc<Peers>> {
        let known = self
            .peers
            .get(&resource.id)
            .map(|entry| Arc::clone(entry.value()));
        let known = known.filter(|peers| Arc::ptr_eq(&peers.resource, resource));
        if let Some(peers) = &known
            && peers.resolved_at.elapsed() < DNS_FRESH
        {
            return Ok(Arc::clone(peers));
        }
        match resolve(resource).await {
            Ok(addresses) => {
                let roots = roots(resource).await?;
                let list = addresses
                    .into_iter()
                    .map(|address| Peer {
                        target: peer(resource, address, roots.as_ref()),
                        address,
                        idle: known
                            .as_deref()
                            .and_then(|known| known.idle(address))
                            .unwrap_or_default(),
                    })
                    .collect();
                let resolved_at = Instant::now();
                let peers = Arc::new(Peers {
                    resource: Arc::clone(resource),
                    resolved_at,
                    list,
                });
                self.peers.insert(resource.id, Arc::clone(&peers));
                Ok(peers)
            }
            Err(error) => match known {
                Some(peers) if peers.resolved_at.elapsed() < DNS_STALE_MAX => {
                    tracing::warn!(resource = %resource.name, %error, "name not resolved, using the last address");
                    Ok(peers)
                }
                _ => Err(error),
            },
        }
    }
}

impl Peers {
    /// The connections that wait at `address`, so that a name resolved anew keeps them.
    fn idle(&self, address: SocketAddr) -> Option<Arc<Idle>> {
        let peer = self.list.iter().find(|peer| peer.address == address)?;
        Some(Arc::clone(&peer.idle))
    }
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new()
    }
}

fn peer(resource: &Resource, address: SocketAddr, roots: Option<&Arc<CaType>>) -> HttpPeer {
    let origin = &resource.origin;
    let sni = if origin.tls {
        origin.server_name.to_string()
    } else {
        String::new()
    };
    let mut peer = HttpPeer::new(address, origin.tls, sni);
    let timeouts = &resource.timeouts;
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect + timeouts.tls);
    peer.options.ca = roots.map(Arc::clone);
    // A connection that is dropped in the middle of a message must not look finished: some stores take the orderly
    // end of a body that never came for an empty object. A reset cannot be mistaken.
    peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(|socket| {
        socket
            .set_zero_linger()
            .or_err(ErrorType::SocketError, "setting SO_LINGER")
    }));
    peer
}

/// The resource's own roots, where it has some.
async fn roots(resource: &Resource) -> Result<Option<Arc<CaType>>> {
    let Some(path) = &resource.origin.ca_file else {
        return Ok(None);
    };
    let unusable = |why: &dyn std::fmt::Display| {
        Error::new(Kind::UpstreamUnavailable, "The resource cannot be reached.")
            .with_fault(Fault::Tls)
            .with_detail(format_args!("ca_file {path}: {why}"))
    };
    let pem = tokio::fs::read(&**path)
        .await
        .map_err(|error| unusable(&error))?;
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|error| unusable(&error))?;
        // Pingora's own parser panics where this one fails.
        x509_parser::parse_x509_certificate(&der).map_err(|error| unusable(&error))?;
        certificates.push(WrappedX509::new(der.to_vec(), parse_x509));
    }
    Ok(Some(certificates.into()))
}

async fn resolve(resource: &Resource) -> Result<Vec<SocketAddr>> {
    let origin = &resource.origin;
    let found: Vec<SocketAddr> = if let Ok(ip) = origin.server_name.parse::<IpAddr>() {
        vec![SocketAddr::new(ip, origin.port)]
    } else {
        let lookup = tokio::net::lookup_host((&*origin.server_name, origin.port));
        let found = tokio::time::timeout(DNS_TIMEOUT, lookup)
            .await
            .map_err(|_| unresolved("timed out"))?
            .map_err(unresolved)?;
        found.collect()
    };
    let allowed: Vec<SocketAddr> = found
        .iter()
        .copied()
        .filter(|address| may_reach(origin.reach, address.ip()))
        .collect();
    let allowed = race::by_turns(&allowed, ADDRESSES_MAX);
    if allowed.is_empty() {
        let why = if found.is_empty() {
            "no address"
        } else {
            "no address that may be connected to (see allow_private)"
        };
        return Err(unresolved(why));
    }
    Ok(allowed)
}

fn unresolved(why: impl std::fmt::Display) -> Error {
    Error::new(Kind::UpstreamUnavailable, "The resource cannot be reached.")
        .with_fault(Fault::Dns)
        .with_detail(why)
}

/// What failed of a connection that was not made.
fn fault(error: &pingora::ErrorType) -> Fault {
    use pingora::ErrorType as E;
    let tls = matches!(
        error,
        E::TLSHandshakeFailure
            | E::TLSHandshakeTimedout
            | E::TLSWantX509Lookup
            | E::InvalidCert
            | E::HandshakeError
    );
    if tls { Fault::Tls } else { Fault::Connect }
}

fn may_reach(reach: Reach, ip: IpAddr) -> bool {
    match reach {
        Reach::Public => is_public(ip),
        Reach::Private => !is_metadata(ip),
        Reach::Metadata => is_metadata(ip) || ip.to_canonical().is_loopback(),
    }
}

/// Whether an address may be connected to without `allow_private`: globally reachable unicast.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b)) // RFC 6598, carrier-grade NAT
        || (a == 192 && b == 0 && c == 0) // RFC 6890
        || (a == 198 && (b == 18 || b == 19))) // RFC 2544, benchmarking
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    // Only 2000::/3 is global unicast; of it, documentation, Teredo and 6to4 lead elsewhere.
    first & 0xe000 == 0x2000
        && !(first == 0x2001 && (second == 0x0db8 || second == 0))
        && first != 0x2002
        && first != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_reached_by_its_own_allowance_alone() {
        for (text, private, metadata) in [
            ("169.254.169.254", false, true),
            ("169.254.170.2", false, true),
            ("::ffff:169.254.169.254", false, true),
            ("fd00:ec2::254", false, true),
            ("fe80::1", false, true),
            ("127.0.0.1", true, true),
            ("10.0.0.1", true, false),
            ("fd00::1", true, false),
            ("8.8.8.8", true, false),
        ] {
            let ip = text.parse().unwrap();
            assert_eq!(may_reach(Reach::Private, ip), private, "{text}");
            assert_eq!(may_reach(Reach::Metadata, ip), metadata, "{text}");
        }
        let link_local = "169.254.169.254".parse().unwrap();
        assert!(!may_reach(Reach::Public, link_local));
    }

    #[test]
    fn only_global_unicast_is_public() {
        let cases = [
            ("8.8.8.8", true),
            ("1.1.1.1", true),
            ("2606:4700::1111", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("2002:7f00:1::", false),
            ("64:ff9b::7f00:1", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
        }
    }
}
