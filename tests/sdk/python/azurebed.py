"""What the suites over Azure Blob Storage share: a look behind Aqueduct, with the service's own SDK."""

import hashlib
import os
import unittest

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

import bed
from bed import BED, Case, client, fresh, name

SERVICE = BlobServiceClient(
    os.environ["TESTBED_AZURE_ENDPOINT"],
    {"account_name": os.environ["TESTBED_AZURE_ACCOUNT"], "account_key": os.environ["TESTBED_AZURE_KEY"]},
)


def blob(bucket, key):
    """A client of the blob itself, past Aqueduct."""
    place = BED["buckets"][bucket]
    return SERVICE.get_blob_client(place["upstream"], place["prefix"] + key)


def stored(bucket, key):
    """The bytes that the service has, or None."""
    try:
        return blob(bucket, key).download_blob().readall()
    except ResourceNotFoundError:
        return None


def names(bucket, prefix=""):
    """What is there by the service's own account, the bucket's prefix taken off."""
    place = BED["buckets"][bucket]
    container = SERVICE.get_container_client(place["upstream"])
    found = container.list_blob_names(name_starts_with=place["prefix"] + prefix)
    return [one.removeprefix(place["prefix"]) for one in found]


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def md5(body):
    return hashlib.md5(body).hexdigest()


@unittest.skipIf(bed.DIRECT, "only over Aqueduct")
class AzureCase(Case):
    bucket = "z-one"

    def setUp(self):
        self.s3 = client("azure")
        self.name = name(self.bucket)
        self.at = fresh("azure")
        self.where = {"Bucket": self.name, "Key": self.at + "k"}

    def put(self, key="k", body=b"body", **more):
        return self.s3.put_object(Bucket=self.name, Key=self.at + key, Body=body, **more)

    def get(self, key="k", **more):
        return self.s3.get_object(Bucket=self.name, Key=self.at + key, **more)

    def head(self, key="k", **more):
        return self.s3.head_object(Bucket=self.name, Key=self.at + key, **more)

    def stored(self, key="k"):
        return stored(self.bucket, self.at + key)
