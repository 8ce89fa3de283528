"""boto3: copies between buckets of S3, Cloud Storage and Azure in every direction."""

import hashlib

import bed
from bed import MIB, name
from crossbed import ALL, AZURE, GCS, CrossCase
from gcsbed import HOUR, control, sha256

# What a pair of stores does by itself or over one credential is tested with the store; all others go through us.
PAIRS = [(one, other) for one in ALL for other in ALL if one != other]


class Objects(CrossCase):
    def test_everything_is_kept_in_every_direction(self):
        body = bed.random_bytes(300_000)
        for source in ALL:
            self.put(source, body=body, Metadata={"a": "1", "umlaut": "=?UTF-8?B?esO8cmljaA==?="}, ContentType="text/one",
                     CacheControl="no-cache", ContentDisposition="inline", ContentLanguage="de", Tagging="k=v&n=2")
        for source, target in PAIRS:
            with self.subTest(source=source, target=target):
                key = f"from {source} to {target}"
                result = self.copy(source, target, key)["CopyObjectResult"]
                got = self.get(target, key)
                self.assertEqual(hashlib.sha256(got["Body"].read()).digest(), hashlib.sha256(body).digest())
                self.assertEqual(self.at_store(target, key), sha256(body))
                self.assertEqual(got["Metadata"], {"a": "1", "umlaut": "=?UTF-8?B?esO8cmljaA==?="})
                self.assertEqual((got["ContentType"], got["CacheControl"], got["ContentDisposition"], got["ContentLanguage"]),
                                 ("text/one", "no-cache", "inline", "de"))
                self.assertEqual(result["ETag"], got["ETag"])
                self.assertEqual(got["ETag"].strip('"'), hashlib.md5(body).hexdigest())
                self.assertLess(abs((result["LastModified"] - got["LastModified"]).total_seconds()), 3)
                if target != "x-gcs":
                    self.assertEqual(self.tags(target, key), {"k": "v", "n": "2"})

    def test_empty_objects(self):
        for source, target in PAIRS:
            with self.subTest(source=source, target=target):
                self.put(source, "empty", b"")
                self.copy(source, target, source_key="empty")
                got = self.get(target, "copy")
                self.assertEqual((got["ContentLength"], got["Body"].read()), (0, b""))

    def test_metadata_and_tags_are_replaced_apart(self):
        for source, target in (("x-gcs", "x-azure"), ("x-azure", "x-s3"), ("x-s3", "x-gcs-other")):
            with self.subTest(source=source, target=target):
                self.put(source, Metadata={"a": "1"}, ContentType="text/one", Tagging="k=v")
                self.copy(source, target, "m", MetadataDirective="REPLACE", Metadata={"b": "2"}, ContentType="text/two")
                got = self.head(target, "m")
                self.assertEqual((got["Metadata"], got["ContentType"]), ({"b": "2"}, "text/two"))
                self.assertEqual(self.tags(target, "m"), {"k": "v"})
                self.copy(source, target, "t", TaggingDirective="REPLACE", Tagging="n=1")
                got = self.head(target, "t")
                self.assertEqual((got["Metadata"], got["ContentType"]), ({"a": "1"}, "text/one"))
                self.assertEqual(self.tags(target, "t"), {"n": "1"})

    def test_class_and_checksums_go_along(self):
        checksum = self.put("x-gcs", ChecksumAlgorithm="SHA256")["ChecksumSHA256"]
        self.copy("x-gcs", "x-azure", StorageClass="STANDARD_IA", ChecksumAlgorithm="SHA256")
        got = self.head("x-azure", "copy", ChecksumMode="ENABLED")
        self.assertEqual((got["StorageClass"], got["ChecksumSHA256"]), ("STANDARD_IA", checksum))

    def test_a_checksum_that_nobody_knows_is_refused(self):
        self.put("x-gcs", ChecksumAlgorithm="SHA256")
        for target in ("x-azure", "x-s3"):
            self.refused("NotImplemented", self.copy, "x-gcs", target, ChecksumAlgorithm="SHA1", status=501)
            self.assertIsNone(self.at_store(target))

    def test_conditions_on_the_source(self):
        for source, target in (("x-gcs", "x-azure"), ("x-azure", "x-s3"), ("x-s3", "x-gcs"), ("x-azure", "x-azure-other")):
            etag = self.put(source)["ETag"]
            now = self.head(source)["LastModified"]
            with self.subTest(source=source, target=target):
                for condition in (
                    {"CopySourceIfMatch": '"00"'}, {"CopySourceIfNoneMatch": etag},
                    {"CopySourceIfModifiedSince": now + HOUR}, {"CopySourceIfUnmodifiedSince": now - HOUR},
                ):
                    self.refused("PreconditionFailed", self.copy, source, target, status=412, **condition)
                    self.assertIsNone(self.at_store(target))
                self.copy(source, target, CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=now + HOUR)
                self.assertEqual(self.at_store(target), sha256(b"body"))

    def test_conditions_on_the_target(self):
        for source, target in (("x-gcs", "x-azure"), ("x-azure", "x-gcs"), ("x-s3", "x-azure"), ("x-gcs", "x-s3")):
            with self.subTest(source=source, target=target):
                self.put(source, body=b"new")
                to = (source, target, f"of {source}")
                self.copy(*to, IfNoneMatch="*")
                self.refused("PreconditionFailed", self.copy, *to, IfNoneMatch="*", status=412)
                etag = self.put(target, to[2], b"old")["ETag"]
                self.refused("PreconditionFailed", self.copy, *to, IfMatch='"00"', status=412)
                self.assertEqual(self.at_store(target, to[2]), sha256(b"old"))
                self.copy(*to, IfMatch=etag)
                self.assertEqual(self.at_store(target, to[2]), sha256(b"new"))

    def test_what_is_not_there(self):
        for source, target in (("x-gcs", "x-azure"), ("x-azure", "x-s3"), ("x-s3", "x-gcs")):
            self.refused("NoSuchKey", self.copy, source, target, source_key="none", status=404)
            self.assertIsNone(self.at_store(target))

    def test_a_key_that_may_not_read_the_source_copies_nothing(self):
        self.put("x-gcs")
        with self.assertRaises(bed.ClientError) as caught:
            bed.client("azure").copy_object(Bucket=name("z-one"), Key=self.at + "copy", CopySource=self.source("x-gcs"))
        self.assertIn(caught.exception.response["Error"]["Code"], ("NoSuchBucket", "AccessDenied"))


class Parts(CrossCase):
    def upload(self, target, *parts):
        at = {"Bucket": name(target), "Key": self.at + "whole"}
        upload = self.s3.create_multipart_upload(**at, Metadata={"m": "1"})["UploadId"]
        done = []
        for number, part in enumerate(parts, 1):
            answer = self.s3.upload_part_copy(**at, UploadId=upload, PartNumber=number, **part)["CopyPartResult"]
            done.append({"PartNumber": number, "ETag": answer["ETag"]})
        self.s3.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": done})
        return self.get(target, "whole")

    def test_parts_are_ranges_of_other_clouds_objects(self):
        body = bed.random_bytes(11 * MIB)
        for source in ("x-azure", "x-s3", "x-gcs"):
            self.put(source, body=body)
        for source, target in (
            ("x-azure", "x-gcs"), ("x-s3", "x-gcs"), ("x-gcs", "x-s3"), ("x-azure", "x-s3"), ("x-gcs", "x-gcs"),
            ("x-gcs", "x-azure"), ("x-s3", "x-azure"), ("x-azure", "x-azure-other"), ("x-azure", "x-azure-same"),
        ):
            with self.subTest(source=source, target=target):
                first = {"CopySource": self.source(source), "CopySourceRange": f"bytes=0-{6 * MIB - 1}"}
                last = {"CopySource": self.source(source), "CopySourceRange": f"bytes={6 * MIB}-{11 * MIB - 1}"}
                got = self.upload(target, first, last)
                self.assertEqual(sha256(got["Body"].read()), sha256(body))
                self.assertEqual(got["Metadata"], {"m": "1"})
                self.assertTrue(got["ETag"].endswith('-2"'))

    def test_a_range_outside_the_source_is_refused(self):
        self.put("x-azure", body=b"short")
        for target in ("x-gcs", "x-s3", "x-azure-other"):
            outside = {"CopySource": self.source("x-azure"), "CopySourceRange": "bytes=0-5"}
            self.refused("InvalidArgument", self.upload, target, outside, status=400)

    def test_boto3_copies_large_objects_in_parts(self):
        body = bed.random_bytes(20 * MIB)
        self.put("x-azure", body=body)
        config = bed.boto3.s3.transfer.TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
        for target in ("x-gcs", "x-s3", "x-azure-other"):
            self.s3.copy(self.source("x-azure"), name(target), self.at + "managed", Config=config)
            self.assertEqual(self.at_store(target, "managed"), sha256(body))


class Faults(CrossCase):
    def test_a_source_that_breaks_off_is_read_on(self):
        body = bed.random_bytes(5 * MIB)
        self.put("x-gcs", body=body)
        for target in ("x-azure", "x-s3", "x-gcs-other"):
            with self.subTest(target=target):
                control("faults", [{"method": "GET", "target": "k", "cut": 1_000_000}, {"method": "GET", "target": "k", "cut": 2_000_000}])
                self.copy("x-gcs", target)
                self.assertEqual(self.at_store(target), sha256(body))

    def test_a_source_that_changed_meanwhile_leaves_nothing(self):
        self.put("x-gcs", body=bed.random_bytes(5 * MIB))
        for target in ("x-azure", "x-s3", "x-gcs-other"):
            with self.subTest(target=target):
                gone = {"method": "GET", "target": "k", "status": 412, "code": "PreconditionFailed"}
                control("faults", [{"method": "GET", "target": "k", "cut": 1_000_000}, gone])
                self.refused("PreconditionFailed", self.copy, "x-gcs", target, status=412)
                self.assertIsNone(self.at_store(target))

    def test_a_source_that_changes_before_the_first_byte_is_looked_at_again(self):
        self.put("x-gcs", body=b"first")
        control("faults", [{"method": "GET", "target": "k", "status": 412, "code": "PreconditionFailed"}])
        self.copy("x-gcs", "x-azure")
        self.assertEqual(self.at_store("x-azure"), sha256(b"first"))

    def test_a_source_that_breaks_off_again_and_again_leaves_nothing(self):
        self.put("x-gcs", body=bed.random_bytes(5 * MIB))
        for target in ("x-azure", "x-s3"):
            with self.subTest(target=target):
                control("faults", [{"method": "GET", "target": "k", "cut": 100_000}] * 9)
                self.refused(("InternalError", "ServiceUnavailable", "502", "503"), self.copy, "x-gcs", target)
                control("faults", [])
                self.assertIsNone(self.at_store(target))

    def test_a_target_that_refuses_has_nothing(self):
        self.put("x-azure", body=bed.random_bytes(3 * MIB))
        control("faults", [{"method": "PUT", "status": 403, "code": "AccessDenied"}])
        self.refused("AccessDenied", self.copy, "x-azure", "x-gcs", status=403)
        self.assertIsNone(self.at_store("x-gcs"))


class Itself(CrossCase):
    def test_metadata_changes_in_place(self):
        # Azurite has no Put Blob From URL: with a key it says so, and the bytes go through us; with a signature it fails.
        for bucket in (*AZURE[:2], *GCS):
            with self.subTest(bucket):
                etag = self.put(bucket, body=b"the same", Metadata={"a": "1"}, ContentType="text/one", Tagging="k=v")["ETag"]
                self.copy(bucket, bucket, "k", MetadataDirective="REPLACE", Metadata={"b": "2"}, ContentType="text/two")
                got = self.get(bucket)
                self.assertEqual((got["Metadata"], got["ContentType"], got["ETag"], got["Body"].read()),
                                 ({"b": "2"}, "text/two", etag, b"the same"))
                if bucket != "x-gcs":
                    self.assertEqual(self.tags(bucket), {"k": "v"})
                self.refused("InvalidRequest", self.copy, bucket, bucket, "k", status=400)


if __name__ == "__main__":
    bed.main()
