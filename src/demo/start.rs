//! The demo from start to Ctrl-C.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::runtime::{Builder, Runtime};

use super::banner::Banner;
use super::folder::{Addresses, Folder, REPOSITORY};
use super::model::EchoModel;
use super::store::Store;
use super::{Opens, Parts};
use crate::error::{Error, Result};

/// The ports that people expect, where they are free.
const S3_PORT: u16 = 9000;
const AI_PORT: u16 = 9003;
const ADMIN_PORT: u16 = 9901;

/// Starts the upstreams, writes a config, makes keys, and runs Aqueduct until Ctrl-C.
pub fn run(parts: &Parts<'_>) -> Result<()> {
    let folder = Folder::create()?;
    let runtime = upstreams_runtime()?;
    let (store, model) = runtime.block_on(async {
        let store = Store::start(&folder.objects()).await?;
        Ok::<_, Error>((store, EchoModel::start().await?))
    })?;
    let addresses = free_addresses()?;
    let admin_token = folder.configure(addresses, &store, &model)?;
    let banner = Banner {
        addresses,
        admin_token,
        storage: (parts.create_key)(folder.path(), REPOSITORY, Opens::Storage)?,
        ai: (parts.create_key)(folder.path(), REPOSITORY, Opens::Ai)?,
        folder: folder.path().to_owned(),
    };
    let served = (parts.serve)(folder.path(), Box::new(move || show(&banner)));
    // The store may be at a file: it stops before its folder goes.
    drop(runtime);
    served
}

fn upstreams_runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("demo")
        .enable_all()
        .build()
        .map_err(|error| Error::internal("cannot start the demo's runtime").with_source(error))
}

fn show(banner: &Banner) {
    let mut out = io::stdout().lock();
    if let Err(error) = write!(out, "{banner}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "the banner could not be printed");
    }
}

/// The usual ports, or others where those are taken. They are free now; who comes first has them.
fn free_addresses() -> Result<Addresses> {
    // All three are held until all three are known, so that they differ.
    let held = [bind(S3_PORT)?, bind(AI_PORT)?, bind(ADMIN_PORT)?];
    let address = |listener: &TcpListener| listener.local_addr().map_err(refused);
    Ok(Addresses {
        s3: address(&held[0])?,
        ai: address(&held[1])?,
        admin: address(&held[2])?,
    })
}

fn bind(port: u16) -> Result<TcpListener> {
    let on = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    on(port).or_else(|_| on(0)).map_err(refused)
}

fn refused(error: io::Error) -> Error {
    Error::internal("no port of loopback is free").with_source(error)
}
