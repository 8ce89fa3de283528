"""The stores that the suite runs over: SeaweedFS, Azurite, and our own strict server of Google's XML API.

Each is a context that is started empty; `resource` writes it down as the resource `store` of Aqueduct's config.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BED = pathlib.Path(os.environ.get("TESTBED_DIR", ROOT / ".testbed")).resolve() / "s3-tests"
REGION = "us-east-1"
# Section of the suite's config, id and name of its SeaweedFS account, key at SeaweedFS.
USERS = [
    ("s3 main", "testid", "M. Tester", "tester@example.com", "0555b35654ad1656d804", "mainsecret" + "0" * 30),
    ("s3 alt", "altid", "john.doe", "john.doe@example.com", "NOPQRSTUVWXYZABCDEFG", "altsecret" + "1" * 31),
    ("s3 tenant", "tenantid", "tenanteduser", "tenant@example.com", "HIJKLMNOPQRSTUVWXYZA", "tenantsecret" + "2" * 28),
]


def say(text):
    print(f"s3-tests: {text}", file=sys.stderr, flush=True)


def sh(*command, **more):
    """Runs a command to its end; its output is shown only when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if done.returncode:
        raise SystemExit(f"s3-tests: {command[0]} failed ({done.returncode})\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_free(port):
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) != 0


class OfTestbed:
    """A store by testbed/up.sh, in a bed of its own."""

    service = ""

    def __init__(self, keep):
        self.keep = keep
        self.environment = dict(os.environ, TESTBED_DIR=str(BED), TESTBED_SERVICES=self.service, **self.settings())
        # One that was kept may hold buckets of a run that broke off.
        sh(ROOT / "testbed/down.sh", env=self.environment)
        self.environment.setdefault("TESTBED_PORT_BASE", str(self.free_base()))

    def settings(self):
        return {}

    @staticmethod
    def free_base():
        bases = (b for b in range(18500, 22000, 100) if all(is_free(b + n) for n in (0, 1, 10, 11, 12, 10001)))
        return next(bases, 18500)

    def __enter__(self):
        text = subprocess.run([ROOT / "testbed/up.sh"], env=self.environment, stdout=subprocess.PIPE, text=True)
        if text.returncode:
            raise SystemExit(f"s3-tests: {self.service} did not start")
        self.started(dict(line.split("=", 1) for line in text.stdout.splitlines()))
        return self

    def __exit__(self, *_):
        if not self.keep:
            subprocess.run([ROOT / "testbed/down.sh"], env=self.environment, stderr=subprocess.DEVNULL)

    def faults(self):
        """What the store has to complain of."""
        return []


class SeaweedFs(OfTestbed):
    """With the suite's three users."""

    service = "seaweedfs"

    def settings(self):
        users = BED / "users"
        users.write_text("".join(
            json.dumps({
                "name": name.removeprefix("s3 "), "account": {"id": account, "displayName": shown, "emailAddress": mail},
                "credentials": [{"accessKey": key, "secretKey": secret}],
                "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            }) + ",\n"
            for name, account, shown, mail, key, secret in USERS
        ))
        return {"TESTBED_S3_USERS": str(users)}

    def started(self, told):
        self.endpoint = told["TESTBED_S3_ENDPOINT"]

    def keys(self):
        return {name: (key, secret) for name, _, _, _, key, secret in USERS}

    def owner(self):
        return None

    def version(self):
        return sh(BED / "py/seaweedfs/bin/weed", "version").split()[2]

    def resource(self, secret):
        key_id, text = self.keys()["s3 main"]
        return f"""[[s3]]
name = "store"
bucket = "testbucket"
region = "{REGION}"
endpoint = "{self.endpoint}"
access_key_id = "{key_id}"
secret_access_key = "{secret('upstream', text)}"
provider = "seaweedfs"
"""


class Azurite(OfTestbed):
    service = "azurite"

    def started(self, told):
        self.endpoint, self.account, self.key = (told[f"TESTBED_AZURE_{what}"] for what in ("ENDPOINT", "ACCOUNT", "KEY"))

    def resource(self, secret):
        return f"""[[azure]]
name = "store"
account = "{self.account}"
container = "testbucket"
endpoint = "{self.endpoint}"
account_key = "{secret('upstream', self.key)}"
"""


class Gcs:
    """tests/sdk/servers/gcs.py, with a service account."""

    ACCOUNT = "suite@aqueduct-test.iam.gserviceaccount.com"
    PROJECT = "aqueduct-test"

    def __init__(self, keep):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="aqueduct-s3-tests-gcs-"))
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        key = self.dir / "account.pem"
        sh("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
        modulus = sh("openssl", "rsa", "-in", key, "-noout", "-modulus").strip().partition("=")[2]
        self.credentials = json.dumps({
            "type": "service_account", "project_id": self.PROJECT, "private_key_id": "suite", "client_email": self.ACCOUNT,
            "private_key": key.read_text(), "token_uri": self.endpoint + "/token",
        })
        config = self.dir / "gcs.json"
        config.write_text(json.dumps({
            "buckets": {}, "keys": {}, "accounts": {self.ACCOUNT: {"modulus": modulus, "buckets": []}},
            "project": self.PROJECT,
        }))
        command = [sys.executable, str(ROOT / "tests/sdk/servers/gcs.py"), str(self.port), str(config)]
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        with open(BED / "out/gcs.log", "wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(100):
            if not is_free(self.port):
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.__exit__()
        raise SystemExit(f"s3-tests: the GCS server did not start, see {BED / 'out/gcs.log'}")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def faults(self):
        """What no sound client would have sent."""
        with urllib.request.urlopen(f"{self.endpoint}/.control/requests?since={1 << 40}", timeout=10) as answer:
            return json.load(answer)["violations"]

    def resource(self, secret):
        return f"""[[gcs]]
name = "store"
bucket = "testbucket"
endpoint = "{self.endpoint}"
credentials = "{secret('upstream', self.credentials)}"
"""


STORES = {"seaweedfs": SeaweedFs, "azurite": Azurite, "gcs": Gcs}
