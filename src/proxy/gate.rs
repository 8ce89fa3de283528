//! How many client connections at once, in all and from one address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::telemetry::labels::ConnectionRejection;

/// Counts open client connections; see [`Gate::enter`].
#[derive(Debug, Default)]
pub struct Gate {
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
    /// Takes a place for a connection from `ip` (`None` for a Unix socket).
    pub fn enter(
        self: &Arc<Self>,
        ip: Option<IpAddr>,
        total_max: usize,
        per_ip_max: usize,
    ) -> Result<Place, ConnectionRejection> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= total_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(ConnectionRejection::Total);
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
        let gate = Arc::new(Gate::default());
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let two: IpAddr = "10.0.0.2".parse().unwrap();
        let first = gate.enter(Some(one), 3, 1).unwrap();
        assert_eq!(
            gate.enter(Some(one), 3, 1).unwrap_err(),
            ConnectionRejection::PerIp
        );
        let second = gate.enter(Some(two), 3, 1).unwrap();
        let third = gate.enter(None, 3, 1).unwrap();
        assert_eq!(
            gate.enter(None, 3, 1).unwrap_err(),
            ConnectionRejection::Total
        );
        drop((first, second, third));
        assert_eq!(gate.open(), 0);
        assert!(gate.per_ip.is_empty());
        assert!(gate.enter(Some(one), 3, 1).is_ok());
    }
}
