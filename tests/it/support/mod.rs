//! What the integration tests stand on: a faulty origin, a raw client, a signer, and a running Aqueduct.

pub(crate) mod lanes;
pub(crate) mod origin;
pub(crate) mod raw;
pub(crate) mod server;
pub(crate) mod sign;

use std::future::Future;
use std::time::Duration;

/// The longest that anything in these tests may take; what is not there by then will not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come, and fails by name where it does not.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_elapsed| panic!("waited in vain for {what}"))
}
