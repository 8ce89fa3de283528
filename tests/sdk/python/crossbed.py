"""What the suites over buckets of several clouds share: what each has of an object, past Aqueduct."""

import unittest

import azurebed
import bed
import gcsbed
from bed import BED, Case, client, fresh, name

S3 = ("x-s3", "x-s3-other")
GCS = ("x-gcs", "x-gcs-other")
AZURE = ("x-azure", "x-azure-same", "x-azure-other")
ALL = (*S3, *GCS, *AZURE)


def sha256_at(bucket, key):
    """The digest of what the store itself has, or None."""
    if bucket in GCS:
        found = gcsbed.stored(bucket, key)
        return found and found["sha256"]
    found = azurebed.stored(bucket, key) if bucket in AZURE else bed.stored(bucket, key)
    return None if found is None else gcsbed.sha256(found)


@unittest.skipIf(bed.DIRECT, "only over Aqueduct")
class CrossCase(Case):
    def setUp(self):
        self.s3 = client("cross")
        self.at = fresh("cross")
        before = gcsbed.control("requests", since=1 << 60)
        self.known = len(before["violations"])
        self.addCleanup(self.no_violations)
        self.addCleanup(gcsbed.control, "faults", [])

    def no_violations(self):
        new = gcsbed.control("requests", since=1 << 60)["violations"][self.known:]
        self.assertEqual(new, [], "the server was sent what Google refuses")

    def put(self, bucket, key="k", body=b"body", **more):
        return self.s3.put_object(Bucket=name(bucket), Key=self.at + key, Body=body, **more)

    def get(self, bucket, key="k", **more):
        return self.s3.get_object(Bucket=name(bucket), Key=self.at + key, **more)

    def head(self, bucket, key="k", **more):
        return self.s3.head_object(Bucket=name(bucket), Key=self.at + key, **more)

    def tags(self, bucket, key="k"):
        found = self.s3.get_object_tagging(Bucket=name(bucket), Key=self.at + key)["TagSet"]
        return {tag["Key"]: tag["Value"] for tag in found}

    def source(self, bucket, key="k"):
        return {"Bucket": name(bucket), "Key": self.at + key}

    def copy(self, source, target, key="copy", source_key="k", **more):
        return self.s3.copy_object(
            Bucket=name(target), Key=self.at + key, CopySource=self.source(source, source_key), **more
        )

    def at_store(self, bucket, key="copy"):
        return sha256_at(bucket, self.at + key)
