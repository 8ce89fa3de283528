//! The demo's folder: config, objects and state, removed when the demo ends.

use std::fmt::Display;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::model::{EchoModel, MODEL};
use super::store::Store;
use super::{entropy, random};
use crate::error::{Error, Result};
use crate::keys::{generate, hash};
use crate::secret::Secret;

/// The demo's one repository.
pub(super) const REPOSITORY: &str = "demo";
const REPOSITORY_ID: &str = "0de70000-0000-4000-8000-000000000001";

/// Its bucket, as clients see it.
pub(super) const BUCKET: &str = "demo";

/// A temporary folder that its owner alone may read; dropping it removes it.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// Where Aqueduct will listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) s3: SocketAddr,
    pub(super) ai: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl Folder {
    pub(super) fn create() -> Result<Self> {
        let name = format!("aqueduct-demo-{}", random());
        let folder = Self(std::env::temp_dir().join(name));
        for part in ["", "conf.d", "keys.d", "state", "objects", "objects/demo"] {
            let path = folder.0.join(part);
            let mut builder = DirBuilder::new();
            let made = builder.mode(0o700).create(&path);
            made.map_err(|error| at(&path, "create", error))?;
        }
        folder.write("objects/demo/hello.txt", b"Hello from the store.\n")?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.0.join("objects")
    }

    /// Writes the config, and returns the token that opens the admin listener.
    pub(super) fn configure(
        &self,
        addresses: Addresses,
        store: &Store,
        model: &EchoModel,
    ) -> Result<Secret> {
        let master = generate::master_key(&entropy()?);
        let token = generate::admin_token(&entropy()?);
        self.write("master.key", master.expose())?;
        self.write("store.secret", store.secret_access_key().as_bytes())?;
        self.write("model.secret", model.api_key().as_bytes())?;
        self.write("aqueduct.toml", self.process(addresses, &token).as_bytes())?;
        self.write("conf.d/demo.toml", self.workload(store, model).as_bytes())?;
        Ok(token)
    }

    fn process(&self, addresses: Addresses, token: &Secret) -> String {
        let digest = hash::format(&hash::sha256(token.expose()));
        let Addresses { s3, ai, admin } = addresses;
        format!(
            r#"version = 1
[process]
state_dir = {state}
[listen]
s3 = ["{s3}"]
ai = ["{ai}"]
admin = ["{admin}"]
[[admin.token]]
name = "demo"
role = "admin"
token_sha256 = "{digest}"
[[secrets.master]]
id = "demo"
source = {master}
"#,
            state = quoted(self.0.join("state").display()),
            master = self.secret("master.key"),
        )
    }

    fn workload(&self, store: &Store, model: &EchoModel) -> String {
        format!(
            r#"[[s3]]
name = "store"
bucket = "demo"
region = "us-east-1"
endpoint = "{endpoint}"
addressing = "path"
provider = "other"
access_key_id = "{id}"
secret_access_key = {secret}
allow_http = true
allow_private = true
[[ai]]
name = "echo"
type = "other"
base_url = "{base_url}"
api_key = {api_key}
models = ["{MODEL}", {{ alias = "fast", upstream = "{MODEL}" }}]
responses = true
allow_http = true
allow_private = true
[[repository]]
id = "{REPOSITORY_ID}"
name = "{REPOSITORY}"
endpoint = "S3"
buckets = [{{ resource = "store", expose_as = "{BUCKET}" }}]
ai = ["echo"]
"#,
            endpoint = store.endpoint(),
            id = store.access_key_id(),
            secret = self.secret("store.secret"),
            base_url = model.base_url(),
            api_key = self.secret("model.secret"),
        )
    }

    /// A reference to one of the folder's files.
    fn secret(&self, name: &str) -> String {
        quoted(format_args!("file:{}", self.0.join(name).display()))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(content))
            .map_err(|error| at(&path, "write", error))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "could not remove the demo's folder");
        }
    }
}

/// As a TOML string: the system's temporary folder may have any name.
fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn at(path: &Path, what: &str, error: std::io::Error) -> Error {
    Error::internal(format_args!("cannot {what} {}", path.display())).with_source(error)
}
