//! `aqueduct demo`: the real Aqueduct, with a temporary config, over an S3 server and a model server of its
//! own on loopback. It shows the path that production takes; nothing of Aqueduct is replaced.
//!
//! Behind the cargo feature `demo`, because the S3 server brings forty crates. Without it, [`run`] says how
//! to build with it.

#[cfg(feature = "demo")]
mod banner;
#[cfg(feature = "demo")]
mod folder;
#[cfg(feature = "demo")]
mod listen;
#[cfg(feature = "demo")]
mod model;
#[cfg(feature = "demo")]
mod start;
#[cfg(feature = "demo")]
mod store;

#[cfg(feature = "demo")]
pub use model::EchoModel;
#[cfg(feature = "demo")]
pub use start::run;
#[cfg(feature = "demo")]
pub use store::Store;

/// 32 random hex digits: a secret of the demo's own upstreams, or a name that nobody guesses.
#[cfg(feature = "demo")]
fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Says how to build with the demo in.
#[cfg(not(feature = "demo"))]
pub fn run() -> Result<(), crate::app::StartError> {
    let how = "this binary was built without the demo: run `make demo`, or \
               `cargo run --features demo -- demo`";
    Err(crate::error::Error::unsupported(how).into())
}
