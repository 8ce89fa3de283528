//! Names of Azure's protocol.

/// The version of the service's interface that our requests are written for.
pub const API_VERSION: &str = "2025-07-05";

pub const VERSION: &str = "x-ms-version";
pub const DATE: &str = "x-ms-date";
/// Begins every header of the service's own.
pub const X_MS: &str = "x-ms-";
