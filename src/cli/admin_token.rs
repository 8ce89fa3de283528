//! `aqueduct admin-token`: the token is printed once, its hash goes into `aqueduct.toml`.

use std::path::Path;

use jiff::Timestamp;

use super::{Failed, RoleArg, Streams, entropy, load, say_secret};
use crate::config::store::{KeyStore, NewToken, StoreError, os_random};
use crate::config::words::RoleWord;
use crate::keys::{generate, hash};
use crate::telemetry::audit::Audit;

pub(super) fn create(
    dir: &Path,
    name: &str,
    role: RoleArg,
    now: fn() -> Timestamp,
    streams: &mut Streams<'_>,
) -> Result<(), Failed> {
    let token = generate::admin_token(&entropy()?);
    let digest = hash::format(&hash::sha256(token.expose()));
    let new = NewToken {
        name,
        role: RoleWord::from(role).word(),
        digest: &digest,
    };
    let live = load(dir, now)?;
    let audit = Audit::new(&live.current().process.state_dir);
    let store = KeyStore::new(std::sync::Arc::clone(&live), audit, os_random);
    match store.add_admin_token(&new, &super::keys::caller(now)) {
        Ok(()) => {}
        Err(StoreError::ReadOnly(_)) => {
            writeln!(
                streams.stderr,
                "aqueduct.toml cannot be written here. Add this to it:\n\n{}",
                new.to_toml()
            )?;
        }
        Err(error) => return Err(super::keys::failed(error)),
    }
    say_secret(streams, token.expose())?;
    writeln!(streams.stderr, "The token is shown this once.")?;
    Ok(())
}

impl From<RoleArg> for RoleWord {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Admin => Self::Admin,
            RoleArg::Operator => Self::Operator,
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Metrics => Self::Metrics,
        }
    }
}
