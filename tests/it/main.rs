//! Integration tests: the layering of the source, and the built binary between raw clients and faulty origins.
//!
//! The modules are under `cfg(test)` so that the lints know them for tests; the target exists only as one.

#[cfg(test)]
mod admin_writes;
#[cfg(test)]
mod ai;
#[cfg(test)]
mod ai_resources;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod batch_delete;
#[cfg(test)]
mod breaker;
#[cfg(test)]
mod buckets;
#[cfg(test)]
mod canary;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod credentials;
#[cfg(feature = "demo")]
#[cfg(test)]
mod demo;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod gcs;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lane_streams;
#[cfg(test)]
mod layering;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod names;
#[cfg(test)]
mod object_store;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod regressions;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod signature_v2;
#[cfg(test)]
mod slow_readers;
#[cfg(test)]
mod slow_uploads;
#[cfg(test)]
mod smuggling;
#[cfg(test)]
mod smuggling_h2;
#[cfg(test)]
mod support;
#[cfg(test)]
mod upstream_faults;
