//! Sockets: bound by us before anything is served, so that an address in use is an error and not a panic, and
//! port 0 and systemd's sockets work. Pingora then adopts them.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, RawFd};
use std::sync::Arc;

use listenfd::ListenFd;
use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as Serving;
use pingora::services::listening::Service;
use socket2::SockRef;

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

/// What may wait to be sent to one client, in bytes, while what was sent already is on its way
/// (`TCP_NOTSENT_LOWAT`, `tcp(7)`). The kernel's own limit is the whole send buffer: hundreds of downloads that nobody
/// reads filled it with megabytes each, and everybody else waited for that.
const UNSENT_MAX: u32 = 256 * 1024;

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
    let mut passed = Passed::new();
    listen
        .iter()
        .map(|one| bind_one(one, engine, certs, &mut passed))
        .collect()
}

fn bind_one(
    listen: &Listen,
    engine: &Arc<Engine>,
    certs: &Arc<Certs>,
    passed: &mut Passed,
) -> Result<Bound> {
    let mut fds = Fds::new();
    let (config, address) = match &listen.address {
        ListenAddress::Tcp(address) => {
            let (address, fd) = bind_tcp(*address)?;
            fds.add(address.to_string(), fd);
            (tcp(&address.to_string()), address.to_string())
        }
        ListenAddress::Fd(name) => {
            let fd = passed.take(name)?;
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
    prepare(&listener).map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    Ok((bound, listener.into_raw_fd()))
}

/// What accepted sockets inherit, and what accepting needs: systemd's sockets block, and each wait for a client would
/// hold a thread of the runtime.
fn prepare(listener: &TcpListener) -> std::io::Result<()> {
    SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_MAX)?;
    listener.set_nonblocking(true)
}

fn tcp(address: &str) -> ListenerConfig {
    ListenerConfig::tcp(address)
        .tcp_socket_options(TcpSocketOptions::default())
        .l4_buffer(L4BufferSettings::default().read(0))
}

/// Sockets that systemd passes, by their `FileDescriptorName=` (`sd_listen_fds(3)`).
struct Passed {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Passed {
    fn new() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            sockets: ListenFd::from_env(),
            names: names.split(':').map(str::to_owned).collect(),
        }
    }

    /// Takes a socket.
    fn take(&mut self, name: &str) -> Result<RawFd> {
        let unusable = |why: &dyn std::fmt::Display| {
            // Read by whoever starts the process, not by a client.
            let message = format!("cannot listen on fd:{name}: {why}");
            Error::new(Kind::Internal, message)
        };
        let at = self.names.iter().position(|known| known == name);
        let socket = match at {
            Some(at) => self.sockets.take_tcp_listener(at),
            None => Ok(None),
        };
        let socket = socket
            .map_err(|error| unusable(&error))?
            .ok_or_else(|| unusable(&"systemd passed no socket of this name"))?;
        prepare(&socket).map_err(|error| unusable(&error))?;
        Ok(socket.into_raw_fd())
    }
}
