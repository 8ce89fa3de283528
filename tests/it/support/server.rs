//! A running Aqueduct: the built binary over a config of its own, on free ports, with its log at hand.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::raw::{Raw, Response};
use super::sign::{self, Request};
use super::within;

/// The bucket as clients see it, and as the origin does.
pub(crate) const BUCKET: &str = "media";
pub(crate) const UPSTREAM_BUCKET: &str = "upstream-bucket";
/// The bucket of the second resource, under the same name on both sides.
pub(crate) const SECOND_BUCKET: &str = "archive";
pub(crate) const REPOSITORY_ID: &str = "0b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f10";

/// What must never be seen in anything that Aqueduct writes.
pub(crate) const KEY: &str = "AQDTAAAAAAAAAAAAAAAA";
pub(crate) const SECRET: &str = "canary-client-secret-0123456789abcdefghi";
pub(crate) const AI_TOKEN: &str = "canary-ai-client-token-0123456789abcdefghij";
pub(crate) const ADMIN_TOKEN: &str = "canary-admin-token-0123456789abcdefghijklmnop";
pub(crate) const GCS_BUCKET: &str = "cloud";
pub(crate) const GCS_PREFIX: &str = "tenant/";
pub(crate) const AZURE_BUCKET: &str = "blobs";
/// 64 bytes, as an account's key has.
const AZURE_KEY: &str =
    "Y2FuYXJ5LWF6dXJlLWtleS0wMTIzNDU2Nzg5YWJjZGVmY2FuYXJ5LWF6dXJlLWtleS0wMTIzNDU2Nzg5YWJjZA==";
pub(crate) const UPSTREAM_SECRET: &str = "canary-upstream-secret-0123456789abcdef";
pub(crate) const UPSTREAM_AI_KEY: &str = "sk-canary-upstream-ai-0123456789abcdef";
const MASTER: &str = "Y2FuYXJ5LW1hc3Rlci1rZXktMDEyMzQ1Njc4OWFiY2Q=";

/// Says how fast the server's clock is; see `aqueduct::sabotage`.
const CLOCK: &str = "clock";

/// How long a process may take to start on a busy machine.
const START_MAX: Duration = Duration::from_secs(20);

/// What a test's config says beyond the usual.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) storage: Option<SocketAddr>,
    /// A second resource, of another account, exposed as [`SECOND_BUCKET`].
    pub(crate) second: Option<SocketAddr>,
    /// A resource at Google Cloud Storage, exposed as [`GCS_BUCKET`] with a prefix.
    pub(crate) gcs: Option<SocketAddr>,
    /// A resource at Azure Blob Storage, exposed as [`AZURE_BUCKET`].
    pub(crate) azure: Option<SocketAddr>,
    pub(crate) ai: Option<SocketAddr>,
    /// Lines for `[limits]`.
    pub(crate) limits: &'static str,
    /// `timeouts` of the resources.
    pub(crate) timeouts: &'static str,
    /// Lines for the bucket's entry in the repository, such as `, prefix = "a/"`.
    pub(crate) bucket: &'static str,
    /// Lines for the repository, such as `limits = { max_object = "1MiB" }`.
    pub(crate) repository: &'static str,
    /// Lines for the S3 resource, such as `trailers = false`.
    pub(crate) resource: &'static str,
    /// `breaker` of the resources.
    pub(crate) breaker: &'static str,
    /// Where to panic: see `aqueduct::sabotage`.
    pub(crate) panic_at: &'static str,
    /// The step of an admin write at which the process kills itself, such as `renamed:2` (`config::store`).
    pub(crate) crash_at: &'static str,
    pub(crate) around: Around,
    /// A socket that listens for S3 already, passed on as systemd does.
    pub(crate) passed: Option<Arc<TcpListener>>,
}

/// What the process finds around itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Around {
    #[default]
    Usual,
    /// A standard output, where the access log goes, that takes nothing.
    FullStdout,
    /// `keys.d` and the state directory are file systems of 1 MiB each, which only the process sees.
    OwnMounts,
    /// No more than 256 file descriptors.
    FewDescriptors,
}

impl Around {
    /// Whether this machine lets us have it.
    pub(crate) fn is_possible(self) -> bool {
        let mut command = match self {
            Self::Usual | Self::FullStdout | Self::FewDescriptors => return true,
            Self::OwnMounts => unshare(),
        };
        let tried = command
            .args(["mount", "-t", "tmpfs", "none", "/mnt"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    }

    fn command(self, dir: &Path) -> Command {
        match self {
            Self::Usual | Self::FullStdout => command(),
            Self::FewDescriptors => {
                let mut command = Command::new("sh");
                command
                    .args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\""])
                    .env_remove("RUST_LOG")
                    .arg(env!("CARGO_BIN_EXE_aqueduct"));
                command
            }
            Self::OwnMounts => {
                let mount = |name: &str| {
                    format!(
                        "mount -t tmpfs -o size=1m none '{}'",
                        dir.join(name).display()
                    )
                };
                let script = format!(
                    "{} && {} && exec \"$@\"",
                    mount("etc/config/keys.d"),
                    mount("state")
                );
                let mut command = unshare();
                command
                    .args(["sh", "-c", &script, "sh"])
                    .arg(env!("CARGO_BIN_EXE_aqueduct"))
                    .env_remove("RUST_LOG");
                command
            }
        }
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
}

/// What becomes of a process that was to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Ends,
    Hangs,
}

/// Dropping it kills the process and removes its files.
pub(crate) struct Server {
    pub(crate) s3: SocketAddr,
    /// The same listener behind TLS, with HTTP/2.
    pub(crate) tls: SocketAddr,
    pub(crate) ai: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) dir: TempDir,
    child: Child,
}

impl Server {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start(setup: &Setup) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("aqueduct-it-")
            .tempdir()
            .unwrap();
        let [own, tls, ai, admin] = free_addresses();
        let passed = setup.passed.as_deref();
        let s3 = passed.map_or(own, |passed| passed.local_addr().unwrap());
        for folder in [
            "etc/config/conf.d",
            "etc/config/keys.d",
            "secrets",
            "state",
            "tls",
        ] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let write = |name: &str, text: String| {
            fs::write(dir.path().join("etc/config").join(name), text).unwrap();
        };
        write(
            "aqueduct.toml",
            process_config(dir.path().to_str().unwrap(), [s3, tls, ai, admin], setup),
        );
        write_certificate(&dir.path().join("tls"));
        write("conf.d/main.toml", workload_config(setup));
        write("conf.d/keys.toml", key_config());
        fs::write(dir.path().join("secrets/master"), MASTER).unwrap();
        let clock = dir.path().join(CLOCK);
        let asked = [
            ("AQUEDUCT_PANIC_AT", setup.panic_at),
            ("AQUEDUCT_CRASH_AT", setup.crash_at),
            ("AQUEDUCT_CLOCK", clock.to_str().unwrap()),
        ];
        let child = spawn(dir.path(), &asked, setup.around, passed);
        let mut server = Self {
            s3,
            tls,
            ai,
            admin,
            dir,
            child,
        };
        server.ready().await;
        server
    }

    /// Waits until the process has ended by itself or was killed, and says which signal did it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.signal();
            }
            assert!(started.elapsed() < START_MAX, "still there\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts the process anew on the same files and addresses, after it ended.
    pub(crate) async fn restart(&mut self, crash_at: &str) {
        self.child = spawn(
            self.dir.path(),
            &[("AQUEDUCT_CRASH_AT", crash_at)],
            Around::Usual,
            None,
        );
        self.ready().await;
    }

    /// Nothing tells when a process listens, so it is asked again and again.
    async fn ready(&mut self) {
        let started = Instant::now();
        loop {
            let exited = self.child.try_wait().unwrap();
            assert!(
                exited.is_none() && started.elapsed() < START_MAX,
                "did not start: {exited:?}\n{}",
                self.log()
            );
            if tokio::net::TcpStream::connect(self.admin).await.is_ok()
                && self
                    .ask_admin("GET", "/readyz", "")
                    .await
                    .is_some_and(|answer| answer.status == 200)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes the server's wall clock so many seconds fast, from its next look at it on.
    pub(crate) fn set_clock(&self, fast: i64) {
        let clock = self.dir.path().join(CLOCK);
        let written = clock.with_extension("new");
        fs::write(&written, fast.to_string()).unwrap();
        fs::rename(written, clock).unwrap();
    }

    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.dir.path().join("etc/config").join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The log once it holds `words`: the access log is written beside the answers.
    pub(crate) async fn logged(&self, words: &str) -> String {
        within(words, async {
            loop {
                let log = self.log();
                if log.contains(words) {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Starts the binary on the same socket and a config that is no good, or stops it before it has begun.
    pub(crate) fn spawn_beside(&self, passed: &TcpListener, fate: Fate) -> Child {
        let (mut command, stdin) = passing(passed);
        if fate == Fate::Hangs {
            let script = "kill -STOP $$; exec sleep 60";
            command = Command::new("sh");
            command.args(["-c", script]);
        }
        let missing = self.dir.path().join("missing");
        command.args(["serve", "--config"]).arg(missing);
        command.stdin(stdin).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        super::within("the process's end", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Runs another command of the binary on the same config.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_until(arguments, "")
    }

    /// As [`Server::run`], killed at the step of a write that `crash_at` names.
    pub(crate) fn run_until(&self, arguments: &[&str], crash_at: &str) -> Output {
        let mut command = command();
        command.args(arguments).arg("--config").arg(self.config(""));
        command.env("AQUEDUCT_CRASH_AT", crash_at).output().unwrap()
    }

    /// A metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.admin("GET", "/metrics", "").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|rest| rest.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> Response {
        self.ask_admin(method, path, body)
            .await
            .expect("an answer of the admin listener")
    }

    /// As [`Server::admin`], with a line more in the head; `None` where the connection ended without an answer.
    pub(crate) async fn ask_admin_with(
        &self,
        method: &str,
        path: &str,
        body: &str,
        line: &str,
    ) -> Option<Response> {
        let mut client = Raw::connect(self.admin).await;
        let address = self.admin;
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let length = body.len();
        client
            .send(format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n{kind}{line}\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ))
            .await;
        client.try_response().await
    }

    async fn ask_admin(&self, method: &str, path: &str, body: &str) -> Option<Response> {
        self.ask_admin_with(method, path, body, "").await
    }

    /// The number of the snapshot that is served, by `/-/status`.
    pub(crate) async fn generation(&self) -> u64 {
        let status = self.admin("GET", "/-/status", "").await;
        let json: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
        json["config"]["generation"]
            .as_u64()
            .unwrap_or_else(|| panic!("no generation in {json}"))
    }

    /// A request for a key of the bucket, to be bent and signed.
    pub(crate) fn request(&self, method: &'static str, key: &str) -> Request {
        Request {
            method,
            path: format!("/{BUCKET}/{key}"),
            query: Vec::new(),
            host: self.s3.to_string(),
            headers: Vec::new(),
            payload: sign::UNSIGNED.to_owned(),
            key: KEY.to_owned(),
            secret: SECRET.to_owned(),
        }
    }

    pub(crate) fn put(&self, key: &str, length: usize) -> Request {
        let mut request = self.request("PUT", key);
        request
            .headers
            .push(("content-length".to_owned(), length.to_string()));
        request
    }

    pub(crate) async fn client(&self) -> Raw {
        Raw::connect(self.s3).await
    }

    /// Sends a signed GET on a connection of its own.
    pub(crate) async fn get(&self, key: &str) -> Response {
        let mut client = self.client().await;
        client.send(self.request("GET", key).head()).await;
        client.response().await
    }
}

impl Drop for Server {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test shows what the server had to say"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("ended by itself: {:?}", self.child.try_wait());
            // Asked to end by itself, it writes out its log first.
            let pid = rustix::process::Pid::from_child(&self.child);
            let _asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let asked = Instant::now();
            while matches!(self.child.try_wait(), Ok(None))
                && asked.elapsed() < Duration::from_secs(2)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            let kept = format!(
                "{}/aqueduct-{}.log",
                env!("CARGO_TARGET_TMPDIR"),
                self.s3.port()
            );
            let log = self.log();
            let warnings: Vec<&str> = log
                .lines()
                .filter(|line| !line.contains("\"level\":\"info\""))
                .collect();
            let last = &warnings[warnings.len().saturating_sub(12)..];
            eprintln!(
                "{}\nall of it: {kept} {:?}",
                last.join("\n"),
                fs::write(&kept, &log)
            );
        }
        // It may have ended by itself already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn spawn(
    dir: &Path,
    environment: &[(&str, &str)],
    around: Around,
    passed: Option<&TcpListener>,
) -> Child {
    let log = dir.join("log");
    let mut options = fs::OpenOptions::new();
    let log = options.create(true).append(true).open(log).unwrap();
    let stdout = match around {
        Around::Usual | Around::OwnMounts | Around::FewDescriptors => log.try_clone().unwrap(),
        Around::FullStdout => options.create(false).open("/dev/full").unwrap(),
    };
    let (mut command, stdin) = match passed {
        Some(passed) => passing(passed),
        None => (around.command(dir), Stdio::null()),
    };
    command
        .args(["serve", "--config"])
        .arg(dir.join("etc/config"))
        .envs(environment.iter().copied())
        .stdin(stdin)
        .stdout(stdout)
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The binary with a socket as its descriptor 3, named `s3` (`sd_listen_fds(3)`).
fn passing(listener: &TcpListener) -> (Command, Stdio) {
    const SCRIPT: &str =
        "exec 3<&0 </dev/null && LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=s3 exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT])
        .arg(env!("CARGO_BIN_EXE_aqueduct"))
        .env_remove("RUST_LOG");
    let own = OwnedFd::from(listener.try_clone().unwrap());
    (command, Stdio::from(own))
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aqueduct"));
    command.env_remove("RUST_LOG");
    command
}

/// Addresses that no other test of this run gets, below the range that the kernel takes ports from by itself.
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 97;
    std::array::from_fn(|_| {
        let mut ports = std::iter::from_fn(|| {
            Some(22_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 6_000)
        });
        let mut addresses = ports
            .by_ref()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap())));
        addresses
            .find(|address| TcpListener::bind(address).is_ok())
            .unwrap()
    })
}

fn write_certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

fn process_config(dir: &str, [s3, tls, ai, admin]: [SocketAddr; 4], setup: &Setup) -> String {
    let token = sign::sha256(ADMIN_TOKEN.as_bytes());
    let limits = setup.limits;
    let plain = match &setup.passed {
        Some(_) => "fd:s3".to_owned(),
        None => s3.to_string(),
    };
    format!(
        r#"version = 1

[process]
state_dir = "{dir}/state"
allow_plaintext_secrets = true

[listen]
s3 = ["{plain}", "tls:{tls}"]
ai = ["{ai}"]
admin = ["{admin}"]
base_domains = {{ s3 = ["s3.localhost"] }}

[tls]
certs = [{{ cert = "{dir}/tls/cert.pem", key = "file:{dir}/tls/key.pem" }}]

[[admin.token]]
name = "test"
role = "admin"
token_sha256 = "sha256:{token}"

[[secrets.master]]
id = "test"
source = "file:{dir}/secrets/master"

[limits]
{limits}
"#
    )
}

fn workload_config(setup: &Setup) -> String {
    let table = |name: &str, members: &str| {
        if members.is_empty() {
            String::new()
        } else {
            format!("{name} = {{ {members} }}")
        }
    };
    let rules = [
        table("timeouts", setup.timeouts),
        table("breaker", setup.breaker),
    ]
    .join("\n");
    let unused = SocketAddr::from(([127, 0, 0, 1], 9));
    let (storage, ai) = (setup.storage.unwrap_or(unused), setup.ai.unwrap_or(unused));
    let (resource, bucket, repository) = (setup.resource, setup.bucket, setup.repository);
    let (second, second_bucket) = setup.second.map_or_else(Default::default, |at| {
        let entry = format!(", {{ resource = \"second\", expose_as = \"{SECOND_BUCKET}\" }}");
        (second_resource(at, resource, &rules), entry)
    });
    let (gcs, gcs_bucket) = setup.gcs.map_or_else(Default::default, |at| {
        let entry = format!(
            ", {{ resource = \"gcs\", expose_as = \"{GCS_BUCKET}\", prefix = \"{GCS_PREFIX}\" }}"
        );
        (gcs_resource(at, &rules), entry)
    });
    let (azure, azure_bucket) = setup.azure.map_or_else(Default::default, |at| {
        let entry = format!(", {{ resource = \"azure\", expose_as = \"{AZURE_BUCKET}\" }}");
        (azure_resource(at, &rules), entry)
    });
    format!(
        r#"[[s3]]
name = "origin"
bucket = "{UPSTREAM_BUCKET}"
region = "us-east-1"
endpoint = "http://{storage}"
access_key_id = "AKIAUPSTREAM"
secret_access_key = "plain:{UPSTREAM_SECRET}"
allow_http = true
allow_private = true
{resource}
{rules}

[[ai]]
name = "model"
type = "openai"
base_url = "http://{ai}/v1"
api_key = "plain:{UPSTREAM_AI_KEY}"
models = ["tiny"]
allow_http = true
allow_private = true
{rules}

[[repository]]
id = "{REPOSITORY_ID}"
name = "main"
endpoint = "S3"
buckets = [{{ resource = "origin", expose_as = "{BUCKET}"{bucket} }}{second_bucket}{gcs_bucket}{azure_bucket}]
ai = ["model"]
{repository}
{second}
{gcs}
{azure}
"#
    )
}

fn second_resource(at: SocketAddr, resource: &str, rules: &str) -> String {
    format!(
        r#"[[s3]]
name = "second"
bucket = "{SECOND_BUCKET}"
region = "us-east-1"
endpoint = "http://{at}"
access_key_id = "AKIASECOND"
secret_access_key = "plain:{UPSTREAM_SECRET}"
allow_http = true
allow_private = true
{resource}
{rules}
"#
    )
}

fn gcs_resource(at: SocketAddr, rules: &str) -> String {
    format!(
        r#"[[gcs]]
name = "gcs"
bucket = "{UPSTREAM_BUCKET}"
endpoint = "http://{at}"
access_key_id = "GOOG1EUPSTREAM"
secret_access_key = "plain:{UPSTREAM_SECRET}"
allow_http = true
allow_private = true
{rules}
"#
    )
}

fn azure_resource(at: SocketAddr, rules: &str) -> String {
    format!(
        r#"[[azure]]
name = "azure"
account = "account"
container = "{UPSTREAM_BUCKET}"
endpoint = "http://{at}/account"
account_key = "plain:{AZURE_KEY}"
allow_http = true
allow_private = true
{rules}
"#
    )
}

fn key_config() -> String {
    let token = sign::sha256(AI_TOKEN.as_bytes());
    format!(
        r#"[[key]]
id = "00000000-0000-4000-8000-000000000001"
repository = "main"
family = "storage"
name = "test"
access = "ADMIN"
key = "{KEY}"
secret = "plain:{SECRET}"

[[key]]
id = "00000000-0000-4000-8000-000000000002"
repository = "main"
family = "ai"
name = "test ai"
secret_sha256 = "sha256:{token}"
"#
    )
}
