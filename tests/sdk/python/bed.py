"""What the suites share: the bed's description, clients, and a runner that prints one line a test.

`tests/sdk/run` writes the description to a JSON file and names it in AQUEDUCT_BED: the same suite runs over each store
that it serves, and what only one of them does is skipped over the others, each time by name (`unless`). In the mode "direct" the
endpoint is the store itself: it proves a suite before Aqueduct stands in between, and what only Aqueduct
does is skipped, each time by name.
"""

import base64
import json
import os
import socket
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BED = json.load(open(os.environ["AQUEDUCT_BED"]))
DIRECT = BED["mode"] == "direct"
MIB = 1 << 20

# What the buckets are at: "s3", "gcs" or "azure".
STORE = BED["store"]

through_aqueduct = unittest.skipIf(DIRECT, "only Aqueduct does this")


def unless(*stores, why):
    """Skips a test over these stores."""
    return unittest.skipIf(STORE in stores, f"{STORE}: {why}")


# Names below `localhost` are loopback by RFC 6761, but not every resolver knows.
_resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: _resolve(
    "127.0.0.1" if isinstance(host, str) and host.endswith(".localhost") else host, *rest, **more
)


def client(key="admin", scheme="http", style="path", endpoint=None, **config):
    """A boto3 client with one of the bed's keys; `key` may also be an (id, secret) pair."""
    key_id, secret = BED["keys"][key] if isinstance(key, str) else key
    settings = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": style},
        "retries": {"max_attempts": 1},
        "connect_timeout": 5,
        "read_timeout": 60,
    }
    settings.update(config)
    return boto3.client(
        "s3",
        endpoint_url=endpoint or url(scheme, style),
        region_name=BED["region"],
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        verify=BED["ca"] if scheme == "https" else None,
        config=Config(**settings),
    )


def url(scheme="http", style="path"):
    """The endpoint; the virtual-host style needs a name instead of an address."""
    base = BED[scheme]
    return base.replace("127.0.0.1", BED["domain"]) if style == "virtual" else base


def store():
    """A client of the S3 store, past Aqueduct: what is really there."""
    upstream = BED["upstream"]
    return client((upstream["access_key"], upstream["secret_key"]), endpoint=upstream["endpoint"])


def schemes():
    return [scheme for scheme in ("http", "https") if BED[scheme]]


def fresh(name="t"):
    """A key prefix that no other test uses."""
    return f"{name}-{uuid.uuid4().hex[:10]}/"


def random_bytes(size, seed=7):
    """Bytes that repeat only after 1 MiB, made cheaply and the same each time."""
    import random

    block = random.Random(seed).randbytes(min(size, MIB))
    return (block * (size // max(len(block), 1) + 1))[:size]


def stored(bucket, key):
    """The object's bytes at the store, or None."""
    place = BED["buckets"][bucket]
    return {"s3": _in_s3, "gcs": _in_gcs, "azure": _in_azure}[STORE](place["upstream"], place["prefix"] + key)


def put_past(bucket, key, body):
    """Stores an object past Aqueduct, outside the bucket's prefix."""
    upstream = BED["buckets"][bucket]["upstream"]
    if STORE == "s3":
        store().put_object(Bucket=upstream, Key=key, Body=body)
    elif STORE == "gcs":
        gcs("seed", [{"name": key, "body": body.decode()}], bucket=upstream)
    else:
        azure(upstream, key).upload_blob(body)


def _in_s3(bucket, key):
    try:
        return store().get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def gcs(what, given=None, **query):
    """Asks the GCS server itself; None where it knows of nothing."""
    url = f"{BED['gcs']}/.control/{what}?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
    body = None if given is None else json.dumps(given).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def _in_gcs(bucket, key):
    found = gcs("body", bucket=bucket, name=key)
    return None if found is None else base64.b64decode(found)


def azure(container, key):
    """A client of one blob, past Aqueduct."""
    from azure.storage.blob import BlobClient

    at = BED["azure"]
    return BlobClient(at["endpoint"], container, key, credential={"account_name": at["account"], "account_key": at["key"]})


def azure_names(container):
    """What is in it, past Aqueduct."""
    from azure.storage.blob import ContainerClient

    at = BED["azure"]
    inside = ContainerClient(at["endpoint"], container, credential={"account_name": at["account"], "account_key": at["key"]})
    return list(inside.list_blob_names())


def _in_azure(container, key):
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return azure(container, key).download_blob().readall()
    except ResourceNotFoundError:
        return None


def name(bucket):
    """The name that clients use for one of the bed's buckets."""
    return BED["buckets"][bucket]["name"]


class Case(unittest.TestCase):
    maxDiff = 2000

    def refused(self, codes, call, *args, status=None, **kwargs):
        """Asserts that the call is answered by one of the codes."""
        codes = {codes} if isinstance(codes, str) else set(codes)
        with self.assertRaises(ClientError) as caught:
            call(*args, **kwargs)
        answer = caught.exception.response
        self.assertIn(answer["Error"]["Code"], codes)
        if status:
            self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], status)
        return answer


class _Lines(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.broken = []

    def addSuccess(self, test):
        super().addSuccess(test)
        if not self.broken:
            print(f"ok   {title(test)} ({time.monotonic() - self.started:.2f}s)", flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.fail(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.fail(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.broken.append(subtest)
            self.fail(subtest, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"skip {title(test)}: {reason}", flush=True)

    def fail(self, test, err):
        text = str(err[1]).strip().splitlines()
        print(f"FAIL {title(test)}: {err[0].__name__}: {' | '.join(text)[:600]}", flush=True)
        if os.environ.get("AQUEDUCT_TRACE"):
            print(self._exc_info_to_string(err, test), flush=True)


def title(test):
    return test.id().replace("__main__.", "")


def main():
    """Runs the module's tests; arguments are parts of names to choose by."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    chosen = unittest.TestSuite(
        test
        for group in suite
        for test in group
        if not sys.argv[1:] or any(part in test.id() for part in sys.argv[1:])
    )
    result = _Lines()
    chosen.run(result)
    sys.exit(0 if result.wasSuccessful() else 1)
