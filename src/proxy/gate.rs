//! How many client connections at once: in all, from one address, and for as many file descriptors as there are.
//!
//! A process without descriptors serves nobody: it can neither accept, nor connect, nor read its config. So client
//! connections get no more than half of what the limit leaves (each may need another one upstream), and whoever
//! looks after a full process still gets in.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::telemetry::labels::ConnectionRejection;

/// Descriptors that belong to no client: listeners, logs, watched directories, files being read, admin connections.
const RESERVED: u64 = 64;
/// The least that is let in, however low the limit of descriptors.
const PLACES_MIN: usize = 8;
/// Connections to admin listeners beyond the limit on all.
const ADMIN_PLACES: usize = 32;

/// Who enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// `None` for a Unix socket.
    Client(Option<IpAddr>),
    Admin,
}

/// Counts open client connections; see [`Gate::enter`].
#[derive(Debug)]
pub struct Gate {
    /// What the descriptors of the process allow.
    places: usize,
    open: AtomicUsize,
    per_ip: DashMap<IpAddr, usize, foldhash::fast::RandomState>,
}

/// An open connection's place; dropping it frees the place.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    ip: Option<IpAddr>,
}

impl Gate {
    /// A gate of a process that may open so many descriptors; `None` for any number.
    pub fn new(descriptors: Option<u64>) -> Self {
        let places = descriptors.map_or(usize::MAX, |all| {
            let half = all.saturating_sub(RESERVED) / 2;
            usize::try_from(half).unwrap_or(usize::MAX)
        });
        Self {
            places: places.max(PLACES_MIN),
            open: AtomicUsize::new(0),
            per_ip: DashMap::default(),
        }
    }

    /// Takes a place for a connection.
    pub fn enter(
        self: &Arc<Self>,
        visitor: Visitor,
        total_max: usize,
        per_ip_max: usize,
    ) -> Result<Place, ConnectionRejection> {
        let most = self.places.min(total_max);
        let (most, ip) = match visitor {
            Visitor::Client(ip) => (most, ip),
            Visitor::Admin => (most.saturating_add(ADMIN_PLACES), None),
        };
        if self.open.fetch_add(1, Ordering::Relaxed) >= most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(if self.places < total_max {
                ConnectionRejection::Descriptors
            } else {
                ConnectionRejection::Total
            });
        }
        if let Some(ip) = ip {
            let mut count = self.per_ip.entry(ip).or_insert(0);
            if *count >= per_ip_max {
                drop(count);
                self.open.fetch_sub(1, Ordering::Relaxed);
                return Err(ConnectionRejection::PerIp);
            }
            *count += 1;
        }
        Ok(Place {
            gate: Arc::clone(self),
            ip,
        })
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        let Some(ip) = self.ip else { return };
        self.gate.per_ip.remove_if_mut(&ip, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_freed() {
        let gate = Arc::new(Gate::new(None));
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let two: IpAddr = "10.0.0.2".parse().unwrap();
        let first = gate.enter(Visitor::Client(Some(one)), 3, 1).unwrap();
        assert_eq!(
            gate.enter(Visitor::Client(Some(one)), 3, 1).unwrap_err(),
            ConnectionRejection::PerIp
        );
        let second = gate.enter(Visitor::Client(Some(two)), 3, 1).unwrap();
        let third = gate.enter(Visitor::Client(None), 3, 1).unwrap();
        assert_eq!(
            gate.enter(Visitor::Client(None), 3, 1).unwrap_err(),
            ConnectionRejection::Total
        );
        drop((first, second, third));
        assert_eq!(gate.open(), 0);
        assert!(gate.per_ip.is_empty());
        assert!(gate.enter(Visitor::Client(Some(one)), 3, 1).is_ok());
    }

    #[test]
    fn descriptors_bound_clients_and_leave_room_for_admins() {
        for (descriptors, places) in [(256, 96), (1024, 480), (10, PLACES_MIN)] {
            let gate = Arc::new(Gate::new(Some(descriptors)));
            let enter = |visitor| gate.enter(visitor, 20_000, 20_000);
            let clients: Vec<Place> =
                std::iter::from_fn(|| enter(Visitor::Client(None)).ok()).collect();
            assert_eq!(clients.len(), places, "{descriptors}");
            let refused = enter(Visitor::Client(None)).unwrap_err();
            assert_eq!(refused, ConnectionRejection::Descriptors);
            let admins: Vec<Place> = std::iter::from_fn(|| enter(Visitor::Admin).ok()).collect();
            assert_eq!(admins.len(), ADMIN_PLACES, "{descriptors}");
        }
    }
}
