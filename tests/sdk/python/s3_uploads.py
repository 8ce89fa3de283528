"""boto3: multipart, and every checksum algorithm in every mode over http and https."""

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError

import bed
from bed import MIB, Case, client, fresh, name, stored, through_aqueduct

ALGORITHMS = ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]


class Multipart(Case):
    def setUp(self):
        self.s3 = client()
        self.where = {"Bucket": name("one"), "Key": fresh("multipart") + "big ü+.bin"}

    def start(self, **more):
        upload = self.s3.create_multipart_upload(**self.where, **more)
        self.assertEqual((upload["Bucket"], upload["Key"]), (self.where["Bucket"], self.where["Key"]))
        return dict(self.where, UploadId=upload["UploadId"])

    def finish(self, upload, parts):
        answer = self.s3.complete_multipart_upload(
            **upload, MultipartUpload={"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in parts]}
        )
        self.assertEqual((answer["Bucket"], answer["Key"]), (self.where["Bucket"], self.where["Key"]))
        return answer

    def test_three_parts(self):
        body = bed.random_bytes(11 * MIB)
        upload = self.start(ContentType="text/parts", Metadata={"m": "1"})
        cuts = [body[: 5 * MIB], body[5 * MIB : 10 * MIB], body[10 * MIB :]]
        etags = [
            (n, self.s3.upload_part(**upload, PartNumber=n, Body=part)["ETag"]) for n, part in enumerate(cuts, 1)
        ]
        listed = self.s3.list_parts(**upload)
        self.assertEqual((listed["Bucket"], listed["Key"]), (self.where["Bucket"], self.where["Key"]))
        self.assertEqual([(p["PartNumber"], p["Size"]) for p in listed["Parts"]], list(enumerate(map(len, cuts), 1)))
        page = self.s3.list_parts(**upload, MaxParts=2)
        self.assertTrue(page["IsTruncated"])
        uploads = self.s3.list_multipart_uploads(Bucket=self.where["Bucket"], Prefix=self.where["Key"])
        self.assertEqual(
            [(u["Key"], u["UploadId"]) for u in uploads["Uploads"]], [(self.where["Key"], upload["UploadId"])]
        )
        done = self.finish(upload, etags)
        got = self.s3.get_object(**self.where)
        self.assertEqual((got["ContentType"], got["Metadata"], got["ETag"]), ("text/parts", {"m": "1"}, done["ETag"]))
        self.assertEqual(hashlib.sha256(got["Body"].read()).digest(), hashlib.sha256(body).digest())
        self.assertEqual(stored("one", self.where["Key"]), body)

    def test_abort(self):
        upload = self.start()
        self.s3.upload_part(**upload, PartNumber=1, Body=b"x")
        self.s3.abort_multipart_upload(**upload)
        self.refused("NoSuchUpload", self.s3.list_parts, **upload, status=404)
        self.refused("NoSuchKey", self.s3.get_object, **self.where)

    def test_copied_part(self):
        body = bed.random_bytes(6 * MIB, seed=3)
        source = dict(self.where, Key=self.where["Key"] + ".source")
        self.s3.put_object(**source, Body=body)
        upload = self.start()
        one = self.s3.upload_part_copy(
            **upload, PartNumber=1, CopySource=source, CopySourceRange=f"bytes=0-{5 * MIB - 1}"
        )["CopyPartResult"]["ETag"]
        two = self.s3.upload_part(**upload, PartNumber=2, Body=b"tail")["ETag"]
        self.finish(upload, [(1, one), (2, two)])
        self.assertEqual(self.s3.get_object(**self.where)["Body"].read(), body[: 5 * MIB] + b"tail")

    @through_aqueduct
    def test_parts_copied_from_another_account(self):
        body = bed.random_bytes(11 * MIB + 3, seed=5)
        source = {"Bucket": name("two"), "Key": self.where["Key"] + ".source"}
        self.s3.put_object(**source, Body=body)
        upload = self.start()
        for wrong in ("bytes=0-99999999", "bytes=5-", "bytes=9-5"):
            part = {"PartNumber": 1, "CopySource": source, "CopySourceRange": wrong}
            self.refused(("InvalidArgument", "InvalidRange"), self.s3.upload_part_copy, **upload, **part)
        parts = []
        for number, (first, last) in enumerate(((0, 5 * MIB - 1), (5 * MIB, 11 * MIB + 2)), 1):
            part = self.s3.upload_part_copy(
                **upload, PartNumber=number, CopySource=source, CopySourceRange=f"bytes={first}-{last}"
            )["CopyPartResult"]
            self.assertEqual(part["ETag"].strip('"'), hashlib.md5(body[first : last + 1]).hexdigest())
            parts.append((number, part["ETag"]))
        self.finish(upload, parts)
        self.assertEqual(self.s3.get_object(**self.where)["Body"].read(), body)

    @through_aqueduct
    def test_managed_copy_from_another_account(self):
        body = bed.random_bytes(20 * MIB + 17, seed=6)
        source = {"Bucket": name("two"), "Key": self.where["Key"] + ".source"}
        self.s3.upload_fileobj(io.BytesIO(body), source["Bucket"], source["Key"], ExtraArgs={"ContentType": "text/m"})
        self.s3.copy(source, self.where["Bucket"], self.where["Key"])
        got = self.s3.get_object(**self.where)
        self.assertTrue(got["ETag"].strip('"').partition("-")[2], "not a copy by parts")
        self.assertEqual(got["Body"].read(), body)

    def test_wrong_etag_and_unknown_upload(self):
        upload = self.start()
        self.s3.upload_part(**upload, PartNumber=1, Body=b"x")
        self.refused("InvalidPart", self.finish, upload, [(1, '"' + "0" * 32 + '"')], status=400)
        unknown = dict(upload, UploadId="0123456789abcdef0123456789abcdef")
        self.refused("NoSuchUpload", self.s3.upload_part, **unknown, PartNumber=1, Body=b"x", status=404)
        self.s3.abort_multipart_upload(**upload)

    def test_managed_transfer_of_a_stream(self):
        body = bed.random_bytes(20 * MIB + 17)
        self.s3.upload_fileobj(io.BytesIO(body), self.where["Bucket"], self.where["Key"])
        out = io.BytesIO()
        self.s3.download_fileobj(self.where["Bucket"], self.where["Key"], out)
        self.assertEqual(out.getvalue(), body)

    def test_managed_transfer_over_tls(self):
        if not bed.BED["https"]:
            self.skipTest("no TLS in direct mode")
        s3 = client(scheme="https")
        body = bed.random_bytes(12 * MIB + 3)
        s3.upload_fileobj(io.BytesIO(body), self.where["Bucket"], self.where["Key"])
        out = io.BytesIO()
        s3.download_fileobj(self.where["Bucket"], self.where["Key"], out)
        self.assertEqual(out.getvalue(), body)


class Concurrent(Case):
    """Many uploads of one key at once."""

    COUNT = 200

    def setUp(self):
        self.where = {"Bucket": name("one"), "Key": fresh("concurrent") + "k"}
        # Without retries: each answer is looked at.
        self.s3 = client(max_pool_connections=self.COUNT, retries={"total_max_attempts": 1})
        self.open = threading.Barrier(self.COUNT, timeout=60)

    def parts(self, number):
        """One in 25 has two, of which the first has S3's least size; no two uploads have a byte in common."""
        unit = f"<{number:06}>".encode()
        tail = unit * 8192
        return [unit * (5 * MIB // len(unit)), tail] if number % 25 == 0 else [tail]

    def upload(self, number):
        """The ETag of the completed upload, or the code of its refusal."""
        upload = dict(self.where, UploadId=self.s3.create_multipart_upload(**self.where)["UploadId"])
        sent = [{"PartNumber": at, "ETag": self.s3.upload_part(**upload, PartNumber=at, Body=part)["ETag"]}
                for at, part in enumerate(self.parts(number), 1)]
        self.open.wait()
        try:
            return self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": sent})["ETag"]
        except ClientError as error:
            return error.response["Error"]["Code"]

    def left_over(self):
        """What is at the store under names of Aqueduct's own."""
        place = bed.BED["buckets"]["one"]
        bucket, roots = place["upstream"], (".aqueduct/", place["prefix"] + ".aqueduct/")
        if bed.STORE == "gcs":
            names = bed.gcs("names", bucket=bucket)
        elif bed.STORE == "azure":
            names = bed.azure_names(bucket)
        else:
            pages = bed.store().get_paginator("list_objects_v2").paginate(Bucket=bucket)
            names = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return {one for one in names if one.startswith(roots)}

    def test_uploads_of_one_key(self):
        before = self.left_over()
        with ThreadPoolExecutor(self.COUNT) as pool:
            outcomes = dict(enumerate(pool.map(self.upload, range(self.COUNT))))
        done = {number: outcome for number, outcome in outcomes.items() if outcome.startswith('"')}
        if bed.STORE == "azure":
            # The service drops all blocks that wait at a key when some are committed: their clients begin anew.
            self.assertEqual(set(outcomes.values()) - set(done.values()) - {"NoSuchUpload"}, set())
            self.assertTrue(done)
        else:
            self.assertEqual(len(done), self.COUNT, outcomes)
        got = self.s3.get_object(**self.where)
        body = got["Body"].read()
        winner = int(body[1:7])
        self.assertIn(winner, done, "an upload whose client was refused")
        self.assertTrue(body == b"".join(self.parts(winner)), "not one upload's content, whole")
        self.assertEqual(got["ETag"], done[winner])
        self.assertNotIn("Uploads", self.s3.list_multipart_uploads(Bucket=self.where["Bucket"], Prefix=self.where["Key"]))
        self.assertEqual(self.left_over() - before, set())


class Checksums(Case):
    def test_every_algorithm_and_mode(self):
        # Over https botocore sends the checksum as a trailer, over http as a header.
        for scheme in bed.schemes():
            for mode in ("when_supported", "when_required"):
                s3 = client(
                    scheme=scheme, request_checksum_calculation=mode, response_checksum_validation=mode
                )
                for algorithm in [None, *ALGORITHMS]:
                    with self.subTest(f"{scheme} {mode} {algorithm}"):
                        # Where a checksum is metadata, one that comes behind the body is checked, but too late to be kept.
                        self.round_trip(s3, algorithm, kept=bed.STORE == "s3" or scheme == "http")

    def round_trip(self, s3, algorithm, kept):
        body = bed.random_bytes(150_001)
        where = {"Bucket": name("two"), "Key": fresh("sum") + "k"}
        asked = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        put = s3.put_object(**where, Body=io.BytesIO(body), **asked)
        got = s3.get_object(**where, ChecksumMode="ENABLED")
        self.assertEqual(got["Body"].read(), body)
        self.assertNotIn("aws-chunked", got.get("ContentEncoding", ""))
        if algorithm:
            field = f"Checksum{algorithm}"
            self.assertTrue(put[field])
            # CRC32C is Cloud Storage's own.
            if kept or field in got:
                self.assertEqual(got[field], put[field])

    def test_wrong_checksum_header_stores_nothing(self):
        where = {"Bucket": name("two"), "Key": fresh("sum") + "bad"}
        for scheme in bed.schemes():
            with self.subTest(scheme):
                self.refused(
                    ("BadDigest", "InvalidRequest", "XAmzContentChecksumMismatch"),
                    client(scheme=scheme).put_object,
                    **where,
                    Body=b"x",
                    ChecksumCRC32="AAAAAA==",
                    status=400,
                )
                self.assertIsNone(stored("two", where["Key"]))

    def test_wrong_md5_stores_nothing(self):
        where = {"Bucket": name("two"), "Key": fresh("sum") + "bad"}
        s3 = client(request_checksum_calculation="when_required")
        wrong = {"1B2M2Y8AsgTpgAmY7PhCfg==": "BadDigest", "nonsense": "InvalidDigest"}
        for md5, code in wrong.items():
            # SeaweedFS mixes the two up.
            codes = wrong.values() if bed.DIRECT else code
            self.refused(codes, s3.put_object, **where, Body=b"x", ContentMD5=md5, status=400)
        self.assertIsNone(stored("two", where["Key"]))


if __name__ == "__main__":
    bed.main()
