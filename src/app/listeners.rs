//! Sockets: bound by us before anything is served, so that an address in use is an error and not a panic, and
//! port 0 and systemd's sockets work. Pingora then adopts them.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, RawFd};
use std::sync::Arc;

use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as Serving;
use pingora::services::listening::Service;

use crate::config::snapshot::{Listen, ListenAddress};
use crate::error::{Error, Kind, Result};
use crate::protocol::Front;
use crate::proxy::certs::Certs;
use crate::proxy::engine::Engine;
use crate::proxy::handshake::TlsListener;
use crate::proxy::service::Listener;

/// Read buffer under TLS, in bytes, for records that are read in small pieces. Pingora's default of 64 KiB more than
/// doubles what an idle connection costs and gains nothing that could be measured. Without TLS there is none: heads
/// and bodies are read into buffers of their own.
const TLS_READ_BUFFER: usize = 8 * 1024;
/// First descriptor that systemd passes (`sd_listen_fds(3)`).
const SYSTEMD_FDS_START: RawFd = 3;

/// A listener that is ready to be started.
pub(super) struct Bound {
    pub service: Box<dyn Serving>,
    pub fds: ListenFds,
    /// What it is bound to, with the port that port 0 became.
    pub address: String,
    pub fronts: Vec<Front>,
    pub tls: bool,
}

/// Binds every address of the config.
pub(super) fn bind(
    listen: &[Listen],
    engine: &Arc<Engine>,
    certs: &Arc<Certs>,
) -> Result<Vec<Bound>> {
    let passed = passed_by_systemd();
    listen
        .iter()
        .map(|one| bind_one(one, engine, certs, &passed))
        .collect()
}

fn bind_one(
    listen: &Listen,
    engine: &Arc<Engine>,
    certs: &Arc<Certs>,
    passed: &HashMap<String, RawFd>,
) -> Result<Bound> {
    let mut fds = Fds::new();
    let (config, address) = match &listen.address {
        ListenAddress::Tcp(address) => {
            let (address, fd) = bind_tcp(*address)?;
            fds.add(address.to_string(), fd);
            (tcp(&address.to_string()), address.to_string())
        }
        ListenAddress::Fd(name) => {
            let fd = *passed.get(&**name).ok_or_else(|| {
                Error::internal(format_args!("systemd passed no socket named {name:?}"))
            })?;
            let address = format!("fd:{name}");
            fds.add(address.clone(), fd);
            (tcp(&address), address)
        }
        ListenAddress::Unix(path) => {
            let path = path.display().to_string();
            let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            (
                ListenerConfig::uds(&path).permissions(owner_only),
                format!("unix:{path}"),
            )
        }
    };
    let listener = Listener {
        engine: Arc::clone(engine),
        fronts: listen.fronts.clone(),
    };
    let name = format!("listener {address}");
    let service: Box<dyn Serving> = if listen.tls {
        let buffer = L4BufferSettings::default().read(TLS_READ_BUFFER);
        let mut service = Service::new(name, TlsListener::new(listener, certs)?);
        service.add_listener(config.l4_buffer(buffer));
        Box::new(service)
    } else {
        let mut service = Service::new(name, listener);
        service.add_listener(config);
        Box::new(service)
    };
    Ok(Bound {
        service,
        fds: Arc::new(parking_lot::Mutex::new(fds)),
        address,
        fronts: listen.fronts.clone(),
        tls: listen.tls,
    })
}

fn bind_tcp(address: SocketAddr) -> Result<(SocketAddr, RawFd)> {
    let cannot = |error: std::io::Error| {
        // Read by whoever starts the process, not by a client.
        Error::new(
            Kind::Internal,
            format!("cannot listen on {address}: {error}"),
        )
    };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    Ok((bound, listener.into_raw_fd()))
}

fn tcp(address: &str) -> ListenerConfig {
    ListenerConfig::tcp(address)
        .tcp_socket_options(TcpSocketOptions::default())
        .l4_buffer(L4BufferSettings::default().read(0))
}

/// Sockets by their `FileDescriptorName=`.
fn passed_by_systemd() -> HashMap<String, RawFd> {
    let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    if !ours {
        return HashMap::new();
    }
    names
        .split(':')
        .map(str::to_owned)
        .zip(SYSTEMD_FDS_START..)
        .collect()
}
