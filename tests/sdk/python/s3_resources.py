"""What `aqueduct check --online` finds out about resources at real servers: Azurite, which checks every signature, and
fake-gcs-server, which checks none."""

import datetime
import json
import os
import pathlib
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import AccountSasPermissions, BlobServiceClient, ResourceTypes, generate_account_sas
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bed import main, through_aqueduct

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("AQUEDUCT_BIN", str(ROOT / "target/debug/aqueduct"))
AZURE = os.environ["TESTBED_AZURE_ENDPOINT"]
ACCOUNT = os.environ["TESTBED_AZURE_ACCOUNT"]
KEY = os.environ["TESTBED_AZURE_KEY"]
GCS = os.environ["TESTBED_GCS_ENDPOINT"]
NOBODY = "http://127.0.0.1:9"


def seed():
    service = BlobServiceClient(AZURE, credential=KEY)
    for name in ("check-full", "check-empty"):
        try:
            service.create_container(name)
        except ResourceExistsError:
            pass
    service.get_blob_client("check-full", "dir/a b+ü.txt").upload_blob(b"hello", overwrite=True)
    post("/storage/v1/b?project=test", b'{"name": "check-bucket"}', "application/json")
    post("/upload/storage/v1/b/check-bucket/o?uploadType=media&name=dir%2Fa%20b", b"hello", "text/plain")


def post(path, body, kind):
    request = urllib.request.Request(GCS + path, body, {"Content-Type": kind})
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise


def sas(resources, permissions):
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
    return generate_account_sas(ACCOUNT, KEY, resources, permissions, until)


def service_account():
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps({
        "type": "service_account", "project_id": "test", "private_key_id": "kid", "private_key": pem.decode(),
        "client_email": "a@test.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token",
    })


class Config:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "conf.d").mkdir()
        (self.folder / "aqueduct.toml").write_text(
            f'version = 1\n[process]\nstate_dir = "{folder}/state"\n[listen]\ns3 = ["127.0.0.1:0"]\n'
        )
        self.tables = []

    def secret(self, name, text):
        (self.folder / name).write_text(text)
        return f'"file:{self.folder}/{name}"'

    def add(self, kind, name, endpoint, **fields):
        lines = "".join(f"{field} = {value}\n" for field, value in fields.items())
        self.tables.append(
            f'[[{kind}]]\nname = "{name}"\nendpoint = "{endpoint}"\nallow_http = true\nallow_private = true\n{lines}'
        )

    def azure(self, name, container, **fields):
        self.add("azure", name, AZURE, account=f'"{ACCOUNT}"', container=f'"{container}"', **fields)

    def gcs(self, name, bucket, **fields):
        self.add("gcs", name, GCS, bucket=f'"{bucket}"', **fields)

    def check(self):
        (self.folder / "conf.d/a.toml").write_text("\n".join(self.tables))
        return subprocess.run(
            [BINARY, "check", "--online", "--config", str(self.folder)], capture_output=True, text=True, timeout=60
        )


@through_aqueduct
class CheckOnline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        seed()

    def found(self, fill):
        """The lines about each resource, the exit code, and everything that was printed."""
        with tempfile.TemporaryDirectory(prefix="aqueduct-check-") as folder:
            config = Config(folder)
            fill(config)
            ran = config.check()
        lines = dict(line.split(": ", 1) for line in ran.stdout.splitlines() if "): " in line)
        return lines, ran.returncode, ran.stdout + ran.stderr

    def test_azure_takes_our_shared_key(self):
        def fill(config):
            key = config.secret("key", KEY + "\n")
            config.azure("full", "check-full", account_key=key)
            config.azure("empty", "check-empty", account_key=key)

        lines, code, said = self.found(fill)
        self.assertEqual(lines, {
            "full (azure)": "list yes, read yes",
            "empty (azure)": "list yes, read yes (there is nothing to read)",
        }, said)
        self.assertEqual(code, 0, said)

    def test_azure_takes_a_signature_as_it_was_given(self):
        def fill(config):
            may = sas(ResourceTypes(container=True, object=True), AccountSasPermissions(read=True, list=True))
            config.azure("both", "check-full", sas=config.secret("both", f"?{may}\n"))
            may = sas(ResourceTypes(object=True), AccountSasPermissions(read=True))
            config.azure("read", "check-full", sas=config.secret("read", may))

        lines, code, said = self.found(fill)
        self.assertEqual(lines["both (azure)"], "list yes, read yes", said)
        self.assertRegex(lines["read (azure)"], r"^list no \(403 \w+\), read yes \(there is nothing to read\)$")
        self.assertEqual(code, 0, said)

    def test_what_does_not_open_is_told_from_what_is_not_there(self):
        def fill(config):
            config.azure("wrong", "check-full", account_key=config.secret("wrong", "d3Jvbmc="))
            config.azure("absent", "check-absent", account_key=config.secret("key", KEY))

        lines, code, said = self.found(fill)
        self.assertRegex(lines["wrong (azure)"], r"^list no \(403 \w+\), read no \(403 \w+\)$")
        self.assertEqual(lines["absent (azure)"], "list no (404 ContainerNotFound), read no (404 ContainerNotFound)")
        self.assertEqual(code, 1, said)
        self.assertNotIn("d3Jvbmc=", said)

    def test_a_token_that_cannot_be_had_is_told_without_the_secret(self):
        def fill(config):
            config.azure(
                "entra", "check-full", tenant_id='"t"', client_id='"c"', authority=f'"{NOBODY}"',
                client_secret=config.secret("secret", "canary-secret"),
            )

        lines, code, said = self.found(fill)
        self.assertIn("cannot be used", lines["entra (azure)"])
        self.assertEqual(code, 1, said)
        self.assertNotIn("canary-secret", said)

    def test_google_is_asked_by_a_claim_and_by_keys(self):
        def fill(config):
            account = config.secret("account.json", service_account())
            config.gcs("account", "check-bucket", credentials=account)
            config.gcs("absent", "check-absent", credentials=account)
            config.gcs(
                "keys", "check-bucket", access_key_id='"GOOGEXAMPLE"', secret_access_key=config.secret("keys", "secret")
            )

        lines, code, said = self.found(fill)
        self.assertEqual(lines["account (gcs)"], "list yes, read yes", said)
        self.assertEqual(lines["keys (gcs)"], "list yes, read yes", said)
        self.assertRegex(lines["absent (gcs)"], r"^list no \(404.*\), read no \(404.*\)$")
        self.assertEqual(code, 1, said)


if __name__ == "__main__":
    main()
