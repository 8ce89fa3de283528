"""What the scripts under load/ share: processes and what they cost, the origin, Aqueduct with its config and
keys, signed heads, the peers' packages."""

import atexit
import base64
import contextlib
import datetime
import hashlib
import hmac
import html
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "load/out"
BED = pathlib.Path(os.environ.get("TESTBED_DIR", ROOT / ".testbed")).resolve()
VENV = BED / "peers"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RELEASE = TARGET / "release"
BUCKET = "bench"
REGION = "us-east-1"
AZURE_ACCOUNT = "bench"
AZURE_KEY = base64.b64encode(b"not checked by the origin, but of the right length: 64 bytes....").decode()
REPOSITORY_ID = "0b6f3c1e-6f0e-4d57-9a63-0d6f8a4f3f11"
UNSIGNED = "UNSIGNED-PAYLOAD"


def say(text):
    print(f"{pathlib.Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def die(text):
    raise SystemExit(f"{pathlib.Path(sys.argv[0]).name}: {text}")


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        die(f"{' '.join(str(part) for part in command[:3])} failed: {done.stderr}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def build():
    say("building (release)")
    command = [ROOT / "scripts/setup-build", "cargo", "build", "--release", "--locked", "--bins", "--examples"]
    if subprocess.run(command, cwd=ROOT).returncode:
        die("the build failed")


def machine():
    """Date, commit and machine, for the head of a table."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    git = ["git", "-C", ROOT]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout
    return (f"{datetime.date.today()}, commit {commit or 'unknown'}{' with changes' if changed else ''}, "
            f"{model}, {os.cpu_count()} CPUs, Linux {os.uname().release}")


# ---- packages of others --------------------------------------------------------------------------------------


def installed(name):
    """Installs one package of load/peers.txt, by hash, and gives its version; None where it is not to be had."""
    block, wanted = [], None
    for line in (ROOT / "load/peers.txt").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            wanted = line.split("==")[0] == name
        if wanted:
            block.append(line)
    version = block[0].split("==")[1].split()[0]
    mark = VENV / f".{name}-{version}"
    if mark.exists():
        return version
    say(f"installing {name} {version}")
    BED.mkdir(exist_ok=True)
    if not (VENV / "bin/pip").exists():
        run(sys.executable, "-m", "venv", VENV)
    needs = VENV / f"{name}.txt"
    needs.write_text("\n".join(block) + "\n")
    done = subprocess.run([VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                           "--only-binary", ":all:", "--require-hashes", "-r", needs], capture_output=True, text=True)
    if done.returncode:
        say(f"{name} cannot be installed here: {done.stderr.strip()[-300:]}")
        return None
    mark.touch()
    return version


def environment(name, *packages):
    """A virtual environment of its own with packages and all they need; gives its Python, or None."""
    folder, mark = BED / name, " ".join(packages)
    python, marked = folder / "bin/python", folder / ".installed"
    if marked.exists() and marked.read_text() == mark:
        return python
    say(f"installing {mark}")
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "venv", folder)
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
                          capture_output=True, text=True)
    if done.returncode:
        say(f"{name} cannot be installed here: {done.stderr.strip()[-300:]}")
        return None
    marked.write_text(mark)
    return python


def node_package(name, version):
    """A package from npm; gives its folder, or None."""
    folder = BED / "peers-node" / name.replace("/", "-")
    found = folder / "node_modules" / name
    if not found.exists() or json.loads((found / "package.json").read_text())["version"] != version:
        if not shutil.which("npm"):
            return None
        say(f"installing {name} {version}")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, f"{name}@{version}"],
                              capture_output=True, text=True)
        if done.returncode:
            say(f"{name} cannot be installed here: {done.stderr.strip()[-300:]}")
            return None
    return found


# ---- processes -----------------------------------------------------------------------------------------------


def prepared(cpu):
    """For preexec_fn: pins to a CPU (on a machine of one, or for None, nothing is pinned) and allows many files."""
    several = cpu is not None and len(os.sched_getaffinity(0)) > 1

    def prepare():
        if several:
            os.sched_setaffinity(0, {cpu})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    return prepare


class Processes:
    """What was started, and its end."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.running = []
        atexit.register(self.stop)
        # Else a run that is ended from outside leaves its servers behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def start(self, name, command, port, cpu, seconds=20, **environment):
        """Waits until somebody listens; gives the pid."""
        log = open(self.folder / f"{name}.log", "wb")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                   preexec_fn=prepared(cpu), env={**os.environ, **environment}, cwd=self.folder)
        self.running.append(process)
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return process.pid
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{(self.folder / f'{name}.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self):
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


def family(pid):
    """A process and its children."""
    pids = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        pids += [int(child) for child in (task / "children").read_text().split()]
    return pids


def cpu_seconds(pids):
    """To the nanosecond, of threads that live on, as a proxy's do."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def cpu_seconds_coarse(pids):
    """To the hundredth of a second, of ended threads too: the origin has one for each connection."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def memory(pids):
    """Resident bytes now."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


# ---- the origin and Aqueduct ---------------------------------------------------------------------------------


def start_origin(processes, cpu=0):
    port = free_port()
    return processes.start("origin", [RELEASE / "examples/origin", f"127.0.0.1:{port}"], port, cpu), port


def secret(path, text):
    path.touch(mode=0o600)
    path.write_text(text)


class Aqueduct:
    """Its config, in a folder of its own, and its keys; `start` runs it."""

    def __init__(self, folder, origin_port, workers=1, limits=""):
        self.config = pathlib.Path(folder) / "aqueduct"
        self.binary = RELEASE / "aqueduct"
        self.s3, self.ai, self.admin = free_port(), free_port(), free_port()
        for part in ["", "conf.d", "keys.d", "state"]:
            (self.config / part).mkdir(mode=0o700)
        secret(self.config / "master.key", run(self.binary, "keygen"))
        secret(self.config / "upstream.secret", "not-checked-by-the-origin")
        secret(self.config / "azure.secret", AZURE_KEY)
        (self.config / "aqueduct.toml").write_text(f"""version = 1
[process]
state_dir = "{self.config}/state"
worker_threads = {workers}
[listen]
s3 = ["127.0.0.1:{self.s3}"]
ai = ["127.0.0.1:{self.ai}"]
admin = ["127.0.0.1:{self.admin}"]
[[secrets.master]]
id = "bench"
source = "file:{self.config}/master.key"
{limits}
""")
        self.workload = self.config / "conf.d/bench.toml"
        self.workload.write_text(f"""[[s3]]
name = "origin"
bucket = "{BUCKET}"
region = "{REGION}"
endpoint = "http://127.0.0.1:{origin_port}"
addressing = "path"
provider = "other"
access_key_id = "UPSTREAM"
secret_access_key = "file:{self.config}/upstream.secret"
allow_http = true
allow_private = true
[[gcs]]
name = "gcs"
bucket = "{BUCKET}-gcs"
endpoint = "http://127.0.0.1:{origin_port}"
access_key_id = "GOOGUPSTREAM"
secret_access_key = "file:{self.config}/upstream.secret"
allow_http = true
allow_private = true
[[azure]]
name = "azure"
account = "{AZURE_ACCOUNT}"
container = "{BUCKET}-azure"
endpoint = "http://127.0.0.1:{origin_port}/{AZURE_ACCOUNT}"
account_key = "file:{self.config}/azure.secret"
allow_http = true
allow_private = true
[[ai]]
name = "model"
type = "other"
base_url = "http://127.0.0.1:{origin_port}/v1"
models = ["bench", {{ alias = "bench-alias", upstream = "bench" }}]
allow_http = true
allow_private = true
[[ai]]
name = "anthropic"
type = "anthropic"
base_url = "http://127.0.0.1:{origin_port}/v1"
api_key = "file:{self.config}/upstream.secret"
models = ["bench-anthropic"]
allow_http = true
allow_private = true
[[ai]]
name = "google"
type = "google"
base_url = "http://127.0.0.1:{origin_port}/v1beta"
api_key = "file:{self.config}/upstream.secret"
models = ["bench-google"]
allow_http = true
allow_private = true
[[ai]]
name = "bedrock"
type = "aws"
region = "{REGION}"
base_url = "http://127.0.0.1:{origin_port}"
access_key_id = "UPSTREAM"
secret_access_key = "file:{self.config}/upstream.secret"
models = ["bench-bedrock"]
allow_http = true
allow_private = true
[[repository]]
id = "{REPOSITORY_ID}"
name = "bench"
endpoint = "S3"
buckets = [{{ resource = "origin" }}, {{ resource = "gcs" }}, {{ resource = "azure" }}]
ai = ["model", "anthropic", "google", "bedrock"]
""")
        self.storage_key = self.create_key("bench storage", "--access", "WRITE")
        self.ai_key = self.create_key("bench model", "--type", "OTHER")

    def create_key(self, name, *options):
        made = run(self.binary, "key", "create", "--config", self.config, "--repository", "bench", "--json",
                   "--name", name, *options)
        return json.loads(made)

    def create_admin_token(self, role):
        made = run(self.binary, "admin-token", "create", "--config", self.config, "--name", role, "--role", role)
        return made.strip().splitlines()[-1]

    def start(self, processes, cpu=1):
        command = [self.binary, "serve", "--config", self.config]
        self.pid = processes.start("aqueduct", command, self.s3, cpu)
        return self.pid


# ---- requests ------------------------------------------------------------------------------------------------


def signed_head(method, path, host, key, length=0, payload=UNSIGNED):
    """The bytes of a head with a SigV4 signature. The path needs no escapes; a query is in its canonical form."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    names = "host;x-amz-content-sha256;x-amz-date"
    bare, _, query = path.partition("?")
    canonical = (f"{method}\n{bare}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{now}\n\n"
                 f"{names}\n{payload}")
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    derived = b"AWS4" + key["secret"].encode()
    for part in scope.split("/"):
        derived = hmac.digest(derived, part.encode(), "sha256")
    signature = hmac.digest(derived, text.encode(), "sha256").hex()
    sized = f"Content-Length: {length}\r\n" if length or method in ("PUT", "POST") else ""
    return (f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nx-amz-date: {now}\r\nx-amz-content-sha256: {payload}\r\n"
            f"{sized}Authorization: AWS4-HMAC-SHA256 Credential={key['key']}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}\r\n\r\n").encode()


def begin_upload(port, path, key):
    """Begins an upload in parts; gives its id as it stands in a canonical query."""
    host = f"127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(signed_head("POST", path + "?uploads=", host, key).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        answer = b"".join(iter(lambda: peer.recv(65536), b"")).decode()
    found = re.search("<UploadId>(.*?)</UploadId>", answer)
    if not found:
        die(f"no upload was begun: {answer[:500]}")
    return urllib.parse.quote(html.unescape(found[1]), safe="-_.~")


def chat_body(stream=False, messages=None, **more):
    """A request, by default of about 1 KiB. The origin looks for words in it, so it is written without spaces."""
    body = {
        "model": "bench",
        "messages": messages or [
            {"role": "system", "content": "You answer in one sentence. " * 12},
            {"role": "user", "content": "What does an aqueduct teach about software? " * 12},
        ],
        **({"stream": True} if stream else {}), **more,
    }
    return json.dumps(body, separators=(",", ":"))


def prompt(kind, delay_ms=0):
    """Messages of a given size: few words, a long text full of line ends and quotes, or an image."""
    text = "What does an aqueduct teach about software?" + (f" delay-ms={delay_ms}" if delay_ms else "")
    if kind == "100 KB":
        text += '\n"Water" flows, and the channel holds.\n' * (100_000 // 40)
    content = text
    if kind == "1 MB image":
        image = base64.b64encode(random.Random(1).randbytes(750_000)).decode()
        url = {"url": f"data:image/png;base64,{image}"}
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]
    return [{"role": "user", "content": content}]


def nginx_binary():
    """Where nginx is; installs Debian's package where that may be done. None where it is not to be had."""
    places = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
    if not shutil.which("nginx", path=places) and os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing nginx (Debian package)")
        install = ["apt-get", "-qq", "-y", "--no-install-recommends", "install", "nginx-light"]
        if subprocess.run(install, stdout=sys.stderr).returncode:
            subprocess.run(["apt-get", "-qq", "update"], stdout=sys.stderr)
            subprocess.run(install, stdout=sys.stderr)
    return shutil.which("nginx", path=places)
