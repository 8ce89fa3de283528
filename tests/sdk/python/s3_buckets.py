"""boto3: buckets that clients create, next to those of the config."""

import uuid

import bed
from bed import Case, client, name, store, through_aqueduct

UPSTREAM_PREFIX = "made-"


def empty(s3, bucket):
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        if found:
            objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})


@through_aqueduct
class Created(Case):
    def setUp(self):
        self.s3 = client()
        self.bucket = f"t-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.addCleanup(self.remove)

    def remove(self):
        empty(self.s3, self.bucket)
        self.s3.delete_bucket(Bucket=self.bucket)

    def names(self, s3=None, **more):
        return [entry["Name"] for entry in (s3 or self.s3).list_buckets(**more)["Buckets"]]

    def test_is_listed_with_the_configured_ones(self):
        found = self.names()
        self.assertEqual(found, sorted(found))
        self.assertIn(self.bucket, found)
        self.assertIn(name("one"), found)
        self.assertFalse([entry for entry in found if entry.startswith(UPSTREAM_PREFIX)])
        self.assertIn(UPSTREAM_PREFIX + self.bucket, [entry["Name"] for entry in store().list_buckets()["Buckets"]])
        self.assertEqual(self.names(Prefix=self.bucket), [self.bucket])
        paged = []
        for page in self.s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1}):
            self.assertLessEqual(len(page["Buckets"]), 1)
            paged += [entry["Name"] for entry in page["Buckets"]]
        # Other tests make and remove buckets meanwhile.
        self.assertEqual(len(paged), len(set(paged)))
        self.assertLessEqual({self.bucket, name("one"), name("two")}, set(paged))

    def test_objects_multipart_and_listings(self):
        s3, bucket = self.s3, self.bucket
        s3.put_object(Bucket=bucket, Key="a/k ü", Body=b"content", Metadata={"m": "1"})
        self.assertEqual(s3.get_object(Bucket=bucket, Key="a/k ü")["Body"].read(), b"content")
        listed = s3.list_objects_v2(Bucket=bucket)
        self.assertEqual((listed["Name"], [entry["Key"] for entry in listed["Contents"]]), (bucket, ["a/k ü"]))
        self.assertEqual(s3.list_objects(Bucket=bucket)["Name"], bucket)
        upload = s3.create_multipart_upload(Bucket=bucket, Key="m")
        self.assertEqual(upload["Bucket"], bucket)
        part = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload["UploadId"], PartNumber=1, Body=b"part")
        uploads = s3.list_multipart_uploads(Bucket=bucket)
        self.assertEqual((uploads["Bucket"], uploads["Uploads"][0]["Key"]), (bucket, "m"))
        parts = s3.list_parts(Bucket=bucket, Key="m", UploadId=upload["UploadId"])
        self.assertEqual((parts["Bucket"], len(parts["Parts"])), (bucket, 1))
        done = s3.complete_multipart_upload(
            Bucket=bucket, Key="m", UploadId=upload["UploadId"],
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
        )
        self.assertEqual(done["Bucket"], bucket)
        self.assertNotIn(UPSTREAM_PREFIX, done["Location"])
        s3.put_object_tagging(Bucket=bucket, Key="m", Tagging={"TagSet": [{"Key": "t", "Value": "1"}]})
        self.assertEqual(s3.get_object_tagging(Bucket=bucket, Key="m")["TagSet"], [{"Key": "t", "Value": "1"}])

    def test_copies_within_and_between_buckets_of_one_credential(self):
        s3, bucket = self.s3, self.bucket
        s3.put_object(Bucket=bucket, Key="from", Body=b"copied")
        s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"})
        self.assertEqual(s3.get_object(Bucket=bucket, Key="to")["Body"].read(), b"copied")
        three = {"Bucket": name("three"), "Key": f"copied-{bucket}"}
        s3.copy_object(**three, CopySource={"Bucket": bucket, "Key": "from"})
        self.addCleanup(s3.delete_object, **three)
        self.assertEqual(s3.get_object(**three)["Body"].read(), b"copied")
        s3.copy_object(Bucket=bucket, Key="back", CopySource=three)
        self.assertEqual(s3.get_object(Bucket=bucket, Key="back")["Body"].read(), b"copied")

    def test_sub_resources(self):
        s3, bucket = self.s3, self.bucket
        s3.head_bucket(Bucket=bucket)
        self.assertIsNone(s3.get_bucket_location(Bucket=bucket)["LocationConstraint"])
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self.assertEqual(s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled")
        first = s3.put_object(Bucket=bucket, Key="v", Body=b"1")["VersionId"]
        s3.put_object(Bucket=bucket, Key="v", Body=b"22")
        versions = s3.list_object_versions(Bucket=bucket)
        self.assertEqual((versions["Name"], len(versions["Versions"])), (bucket, 2))
        self.assertEqual(s3.get_object(Bucket=bucket, Key="v", VersionId=first)["Body"].read(), b"1")
        rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 1}}
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
        self.assertEqual(len(s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]), 1)

    def test_other_keys_use_it_and_do_not_make_or_remove_any(self):
        where = {"Bucket": self.bucket, "Key": "k"}
        client("write").put_object(**where, Body=b"w")
        self.assertEqual(client("read").get_object(**where)["Body"].read(), b"w")
        self.refused("AccessDenied", client("read").put_object, **where, Body=b"x", status=403)
        self.refused("AccessDenied", client("write").delete_bucket, Bucket=self.bucket, status=403)
        self.refused("AccessDenied", client("write").create_bucket, Bucket=self.bucket + "-2", status=403)
        for key in ("bucket", "prefix"):
            with self.subTest(key):
                self.refused("AccessDenied", client(key).get_object, **where, status=403)
                self.assertNotIn(self.bucket, self.names(client(key)))
        self.refused("NoSuchBucket", client("elsewhere").get_object, **where, status=404)
        self.refused("AccessDenied", client("elsewhere").create_bucket, Bucket="anything", status=403)
        self.assertNotIn(self.bucket, self.names(client("elsewhere")))

    def test_a_bucket_with_objects_is_not_removed(self):
        self.s3.put_object(Bucket=self.bucket, Key="k", Body=b"x")
        self.refused("BucketNotEmpty", self.s3.delete_bucket, Bucket=self.bucket, status=409)

    def test_made_again_and_made_elsewhere(self):
        with self.assertRaises(self.s3.exceptions.ClientError) as caught:
            self.s3.create_bucket(Bucket=self.bucket)
        self.assertIn(caught.exception.response["Error"]["Code"], ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"))
        self.assertNotIn(UPSTREAM_PREFIX, str(caught.exception.response))
        place = {"LocationConstraint": "eu-north-1"}
        self.refused("IllegalLocationConstraintException", self.s3.create_bucket, Bucket=self.bucket + "-2",
                     CreateBucketConfiguration=place, status=400)

    def test_names_that_are_none(self):
        self.refused("NoSuchBucket", self.s3.get_object, Bucket=self.bucket + "-gone", Key="k", status=404)
        self.refused("404", self.s3.head_bucket, Bucket=self.bucket + "-gone", status=404)
        self.refused("NoSuchBucket", self.s3.delete_bucket, Bucket=self.bucket + "-gone", status=404)
        self.refused("NoSuchBucket", self.s3.get_bucket_location, Bucket=self.bucket + "-gone")
        self.refused("NoSuchBucket", self.s3.list_objects_v2, Bucket=UPSTREAM_PREFIX + self.bucket, status=404)

    def test_configured_buckets_are_made_in_the_config(self):
        for bucket in ("one", "two"):
            self.refused("BucketAlreadyOwnedByYou", self.s3.create_bucket, Bucket=name(bucket), status=409)
            self.refused("AccessDenied", self.s3.delete_bucket, Bucket=name(bucket), status=403)


if __name__ == "__main__":
    bed.main()
