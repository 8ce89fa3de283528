//! Looks names up: one lookup at a time for each, which nobody waits for longer than [`DNS_TIMEOUT`].
//!
//! It keeps no answers: how long one is good is for [`dial`](super::dial) to say.
//!
//! The system's resolver cannot be called off. One that hangs holds a thread for each name, and no more than that,
//! however many requests want the name: who comes while a lookup is overdue is refused at once.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout_at};

/// Longest wait for the resolver.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(5);

/// Who knows the addresses of names.
pub trait Lookup: Send + Sync {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Lookup for System {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        let found = async move {
            let found = tokio::net::lookup_host((&*host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        };
        found.boxed()
    }
}

/// The addresses of a name, or why there are none.
pub type Found = Result<Arc<[IpAddr]>, Arc<str>>;

/// See the module's documentation.
pub struct Names {
    lookup: Box<dyn Lookup>,
    running: DashMap<Box<str>, Running, foldhash::fast::RandomState>,
}

#[derive(Clone)]
struct Running {
    begun: Instant,
    found: Shared<BoxFuture<'static, Found>>,
}

impl Names {
    pub fn new(lookup: Box<dyn Lookup>) -> Self {
        Self {
            lookup,
            running: DashMap::default(),
        }
    }

    /// Asks the resolver, or waits with those who have asked it already.
    pub async fn find(&self, host: &str) -> Found {
        let Some(running) = self.join(host) else {
            return Err("the resolver still owes an earlier answer".into());
        };
        let waited = timeout_at(running.begun + DNS_TIMEOUT, running.found.clone()).await;
        let Ok(found) = waited else {
            return Err("timed out".into());
        };
        self.running
            .remove_if(host, |_, other| other.found.ptr_eq(&running.found));
        found
    }

    /// The lookup of `host` that runs, or a new one. `None`: it has run too long.
    fn join(&self, host: &str) -> Option<Running> {
        match self.running.entry(host.into()) {
            Entry::Vacant(vacant) => Some(vacant.insert(self.begin(host)).clone()),
            Entry::Occupied(mut occupied) => {
                let running = occupied.get();
                if running.begun.elapsed() < DNS_TIMEOUT {
                    return Some(running.clone());
                }
                // Overdue. Once it ends it is too old to be believed, but the next one may begin.
                let _too_late: Found = running.found.clone().now_or_never()?;
                let fresh = self.begin(host);
                occupied.insert(fresh.clone());
                Some(fresh)
            }
        }
    }

    fn begin(&self, host: &str) -> Running {
        let lookup = self.lookup.lookup(host);
        let found = async {
            match lookup.await {
                Ok(found) => Ok(found.into()),
                Err(error) => Err(error.to_string().into()),
            }
        };
        Running {
            begun: Instant::now(),
            found: found.boxed().shared(),
        }
    }
}
