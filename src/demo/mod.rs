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

use std::path::Path;

#[cfg(feature = "demo")]
pub use model::EchoModel;
#[cfg(feature = "demo")]
pub use start::run;
#[cfg(feature = "demo")]
pub use store::Store;

use crate::error::Result;
use crate::keys::generate::Generated;

/// What a client key of the demo opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// The S3 endpoint, reading and writing.
    Storage,
    /// The `OpenAI` endpoint.
    Ai,
}

/// What the composition root lends the demo.
pub struct Parts<'a> {
    /// Makes a key as `aqueduct key create` does, in the config folder, for the repository of this name.
    pub create_key: &'a dyn Fn(&Path, &str, Opens) -> Result<Generated>,
    /// Runs Aqueduct with a config folder, calls back once it listens, and returns after Ctrl-C.
    pub serve: &'a dyn Fn(&Path, OnReady) -> Result<()>,
}

/// Called once Aqueduct listens.
pub type OnReady = Box<dyn FnOnce() + Send>;

/// Random bytes from the system.
#[cfg(feature = "demo")]
fn entropy<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        crate::error::Error::internal(format_args!("the system gives no random bytes: {error}"))
    })?;
    Ok(bytes)
}

/// 32 random hex digits: a secret of the demo's own upstreams, or a name that nobody guesses.
#[cfg(feature = "demo")]
fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Says how to build with the demo in.
#[cfg(not(feature = "demo"))]
pub fn run(_: &Parts<'_>) -> Result<()> {
    Err(crate::error::Error::unsupported(
        "this binary was built without the demo: run `make demo`, or `cargo run --features demo -- demo`",
    ))
}
