"""boto3 over Azure Blob Storage: deletions of many objects, which the service does one by one."""

import bed
from azurebed import AzureCase, blob, names


class Deletes(AzureCase):
    def delete(self, *entries, **more):
        objects = [entry if isinstance(entry, dict) else {"Key": self.at + entry} for entry in entries]
        return self.s3.delete_objects(Bucket=self.name, Delete={"Objects": objects, **more})

    def test_each_is_deleted_and_told_in_order(self):
        keys = [f"k{number:03}" for number in range(100)]
        for key in keys:
            blob(self.bucket, self.at + key).upload_blob(key.encode())
        asked = [*reversed(keys), "never there"]
        answer = self.delete(*asked)
        self.assertEqual([one["Key"] for one in answer["Deleted"]], [self.at + key for key in asked])
        self.assertNotIn("Errors", answer)
        self.assertEqual(names(self.bucket, self.at), [])

    def test_a_thousand_at_once(self):
        keys = [f"{number:04}" for number in range(1000)]
        for key in keys[::25]:
            self.put(key)
        answer = self.delete(*keys)
        self.assertEqual(len(answer["Deleted"]), 1000)
        self.assertEqual(names(self.bucket, self.at), [])

    def test_quiet_tells_failures_alone(self):
        self.put("a")
        self.put("b")
        answer = self.delete("a", {"Key": self.at + "b", "ETag": '"00"'}, Quiet=True)
        self.assertNotIn("Deleted", answer)
        self.assertEqual([(one["Key"], one["Code"]) for one in answer["Errors"]], [(self.at + "b", "PreconditionFailed")])
        self.assertEqual(names(self.bucket, self.at), [self.at + "b"])

    def test_conditions_hold_for_their_own_entry(self):
        etag = self.put("same")["ETag"]
        self.put("other", b"another")
        self.put("size", b"four")
        modified = self.head("size")["LastModified"]
        answer = self.delete(
            {"Key": self.at + "same", "ETag": etag},
            {"Key": self.at + "other", "ETag": etag},
            {"Key": self.at + "size", "Size": 4, "LastModifiedTime": modified},
            {"Key": self.at + "none", "ETag": etag},
        )
        self.assertEqual([one["Key"] for one in answer["Deleted"]], [self.at + key for key in ("same", "size", "none")])
        self.assertEqual([(one["Key"], one["Code"]) for one in answer["Errors"]], [(self.at + "other", "PreconditionFailed")])
        self.assertEqual(names(self.bucket, self.at), [self.at + "other"])

    def test_versions_and_names_that_cannot_be(self):
        self.put("k")
        answer = self.delete(
            {"Key": self.at + "k", "VersionId": "null"},
            {"Key": self.at + "j", "VersionId": "another"},
            {"Key": self.at + "dot./x"},
        )
        self.assertEqual([(one["Key"], one["VersionId"]) for one in answer["Deleted"]], [(self.at + "k", "null")])
        self.assertEqual([(one["Key"], one["Code"]) for one in answer["Errors"]],
                         [(self.at + "j", "InvalidArgument"), (self.at + "dot./x", "InvalidArgument")])

    def test_a_bucket_with_tags_snapshots_and_the_like(self):
        self.put("k", Tagging="a=1")
        blob(self.bucket, self.at + "k").create_snapshot()
        answer = self.delete("k")
        self.assertEqual([one["Key"] for one in answer["Deleted"]], [self.at + "k"])
        self.assertEqual(names(self.bucket, self.at), [])

    def test_a_reader_deletes_none(self):
        self.put("k")
        entries = {"Objects": [{"Key": self.at + "k"}]}
        self.refused("AccessDenied", bed.client("azure_read").delete_objects, Bucket=self.name, Delete=entries, status=403)
        self.assertEqual(names(self.bucket, self.at), [self.at + "k"])


if __name__ == "__main__":
    bed.main()
