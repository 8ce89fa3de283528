//! What operators see: metrics, the access log and the ledger. A leaf; nothing here knows a request's type.
//!
//! - [`labels`]: every label value there is, as closed enums.
//! - [`metrics`]: every metric there is, and the process-wide ones' handles.
//! - [`meters`]: the handles of one repository and of one resource, resolved once.
//! - [`ledger`]: what was spent at models, by key.
//! - `process`: `process_*`, read from `/proc/self` when scraped.

pub mod access_log;
pub mod audit;
pub mod config_meters;
pub mod labels;
pub mod ledger;
pub mod meters;
pub mod metrics;
mod process;
mod registry;
pub mod trace;
