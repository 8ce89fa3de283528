"""What the suites over Cloud Storage share: a look behind Aqueduct, and a case that fails where the server was sent
anything that Google does not take."""

import hashlib
import unittest
from datetime import timedelta

from botocore.exceptions import ClientError

import bed
from bed import BED, Case, client, fresh, name
from bed import gcs as control

HOUR = timedelta(hours=1)


def place(bucket, key):
    upstream = BED["buckets"][bucket]
    return {"bucket": upstream["upstream"], "name": upstream["prefix"] + key}


def stored(bucket, key):
    """What the server has of an object, or None."""
    return control("object", **place(bucket, key))


def user(found):
    """The metadata without what Aqueduct keeps there."""
    return {name: value for name, value in found["metadata"].items() if not name.startswith("aqueduct_")}


def seed(bucket, keys, **more):
    """Puts objects there past Aqueduct; each holds its own key."""
    things = [{"name": place(bucket, key)["name"], "body": key, **more} for key in keys]
    control("seed", things, bucket=BED["buckets"][bucket]["upstream"])


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def quoted_md5(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


@unittest.skipIf(bed.DIRECT, "only over Aqueduct")
class GcsCase(Case):
    bucket = "g-one"

    def setUp(self):
        self.s3 = client("gcs")
        self.name = name(self.bucket)
        self.at = fresh("gcs")
        self.where = {"Bucket": self.name, "Key": self.at + "k"}
        before = control("requests", since=1 << 60)
        self.mark, self.known = before["next"], len(before["violations"])
        self.addCleanup(self.no_violations)
        self.addCleanup(control, "faults", [])

    def no_violations(self):
        new = control("requests", since=1 << 60)["violations"][self.known:]
        self.assertEqual(new, [], "the server was sent what Google refuses")

    def sent(self):
        """What went upstream since the last time that this was asked."""
        came = control("requests", since=self.mark)
        self.mark = came["next"]
        return came["requests"]

    def assert_nothing_sent(self):
        self.assertEqual([(one["method"], one["target"]) for one in self.sent()], [])

    def carried_out(self, call, *args, **kwargs):
        """What the call answers. Where it is refused as not implemented, and before anything went upstream, the test is
        skipped by name: that is sound, and all that can be said."""
        self.sent()
        try:
            return call(*args, **kwargs)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NotImplemented":
                raise
        self.assert_nothing_sent()
        self.skipTest("not implemented, and refused before anything was sent")

    def put(self, key="k", body=b"body", **more):
        return self.s3.put_object(Bucket=self.name, Key=self.at + key, Body=body, **more)

    def get(self, key="k", **more):
        return self.s3.get_object(Bucket=self.name, Key=self.at + key, **more)

    def head(self, key="k", **more):
        return self.s3.head_object(Bucket=self.name, Key=self.at + key, **more)

    def stored(self, key="k"):
        return stored(self.bucket, self.at + key)
