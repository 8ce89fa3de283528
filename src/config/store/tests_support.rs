//! A config directory in a temporary place, for tests of what works on one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Caller, KeyStore, os_random};
use crate::config::live::{Live, Options};
use crate::keys::{generate, hash};
use crate::telemetry::audit::{Actor, Audit};
use crate::telemetry::metrics::Metrics;

/// Planted where secrets belong; must be found nowhere else.
pub(crate) const CANARIES: [&str; 3] = [
    "CANARYupstreamS3secretCANARY",
    "CANARYupstreamAIkeyCANARY",
    // The master key, as its file holds it.
    "paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU=",
];

pub(crate) const REPOSITORY: &str = "0b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f10";
pub(crate) const OTHER: &str = "1b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f11";

pub(crate) const REPOSITORIES: &str = r#"# Media.
[[s3]]
name = "assets"     # the store
bucket = "acme-assets"
region = "us-east-1"
endpoint = "http://127.0.0.1:8333"
allow_private = true
allow_http = true
access_key_id = "AKIAEXAMPLE"
secret_access_key = "file:../s3-secret"

[[ai]]
name = "llama"
type = "other"
base_url = "http://127.0.0.1:8080/v1"
allow_private = true
allow_http = true
models = ["tiny"]
api_key = "file:../ai-secret"

[[repository]]
id = "0b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f10"
name = "prod"
endpoint = "S3"
buckets = [{ resource = "assets" }]
ai = ["llama"]

[[repository]]
id = "1b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f11"
name = "other"
endpoint = "OPENAI"
ai = ["llama"]
"#;

pub(crate) struct Fixture {
    root: tempfile::TempDir,
}

pub(crate) fn now() -> Timestamp {
    // Not the machine's clock: 2026-11-21T00:00:00Z.
    Timestamp::from_second(1_795_219_200).unwrap()
}

pub(crate) fn caller() -> Caller {
    Caller {
        actor: Actor {
            name: "token:test".into(),
            ..Actor::default()
        },
        now: now(),
    }
}

/// The bearer token of a role.
pub(crate) fn token(role: &str) -> String {
    format!("aqadm_token-of-the-role-{role}-for-tests-only")
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self {
            root: tempfile::tempdir().unwrap(),
        };
        for dir in ["config/conf.d", "config/keys.d", "state"] {
            fs::create_dir_all(fixture.root.path().join(dir)).unwrap();
        }
        let mut master = generate::master_key(&[0xa5; 32]).expose().to_vec();
        assert_eq!(master, CANARIES[2].as_bytes());
        master.push(b'\n');
        fs::write(fixture.root.path().join("master"), master).unwrap();
        fs::write(fixture.root.path().join("s3-secret"), CANARIES[0]).unwrap();
        fs::write(fixture.root.path().join("ai-secret"), CANARIES[1]).unwrap();
        fixture.write("aqueduct.toml", &fixture.root_toml());
        fixture.write("conf.d/media.toml", REPOSITORIES);
        fixture
    }

    fn root_toml(&self) -> String {
        let mut text = format!(
            "version = 1   # the first\n\n[process]\nstate_dir = \"{}\"\n\n[listen]\n\
             s3 = [\"127.0.0.1:9000\"]\nai = [\"127.0.0.1:9003\"]\nadmin = [\"127.0.0.1:9901\"]\n\n\
             [admin]\nallow_hosts = [\"localhost:9901\", \"admin.example.net\"]   # two\n\n\
             [[secrets.master]]\nid = \"m1\"\nsource = \"file:../master\"\n\n",
            self.state().display()
        );
        for role in ["admin", "operator", "viewer", "metrics"] {
            let digest = hash::format(&hash::sha256(token(role).as_bytes()));
            text += &format!(
                "[[admin.token]]\nname = \"{role}-token\"   # for tests\nrole = \"{role}\"\n\
                 token_sha256 = \"{digest}\"\n\n"
            );
        }
        text
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("config")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.dir().join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read_to_string(self.dir().join(name)).unwrap()
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        let metrics = Arc::new(Metrics::new());
        Live::start(&self.dir(), Options::default(), metrics, now)
            .unwrap_or_else(|report| panic!("{report}"))
    }

    pub(crate) fn store(&self, live: &Arc<Live>) -> KeyStore {
        KeyStore::new(Arc::clone(live), Audit::new(&self.state()), os_random)
    }

    /// Files in `keys.d`, hidden ones included.
    pub(crate) fn key_files(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = fs::read_dir(self.dir().join("keys.d"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
    }

    pub(crate) fn audit_lines(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.state().join("audit.log")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Everything below the fixture but the files that secrets were planted in.
    pub(crate) fn everything_written(&self) -> String {
        let mut all = String::new();
        let mut pending = vec![self.dir(), self.state()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    all += &String::from_utf8_lossy(&fs::read(path).unwrap());
                }
            }
        }
        all
    }
}
