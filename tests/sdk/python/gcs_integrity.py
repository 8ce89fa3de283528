"""boto3 over Cloud Storage: checksums, customer's keys, payload modes signed by hand, and bytes that arrive otherwise."""

import base64
import hashlib
import io

from botocore.exceptions import ClientError

import bed
import sigv4
from bed import MIB, client, name
from gcsbed import GcsCase, control, place, quoted_md5, seed, sha256, stored
from s3_streaming import BODY, SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, Upload, flip
from s3_uploads import ALGORITHMS


class Checksums(GcsCase):
    def test_every_algorithm_and_mode(self):
        # Over https botocore sends the checksum as a trailer, over http as a header.
        for scheme in bed.schemes():
            for mode in ("when_supported", "when_required"):
                s3 = client("gcs", scheme=scheme, request_checksum_calculation=mode, response_checksum_validation=mode)
                for algorithm in [None, *ALGORITHMS]:
                    with self.subTest(f"{scheme} {mode} {algorithm}"):
                        body = bed.random_bytes(150_001)
                        asked = {"ChecksumAlgorithm": algorithm} if algorithm else {}
                        put = s3.put_object(**self.where, Body=io.BytesIO(body), **asked)
                        got = s3.get_object(**self.where, ChecksumMode="ENABLED")
                        self.assertEqual(got["Body"].read(), body)
                        self.assertNotIn("ContentEncoding", got)
                        self.assertEqual(put["ETag"], quoted_md5(body))

    def test_what_was_compared_is_told(self):
        for scheme in bed.schemes():
            for algorithm in ALGORITHMS:
                with self.subTest(f"{scheme} {algorithm}"):
                    put = client("gcs", scheme=scheme).put_object(**self.where, Body=b"x", ChecksumAlgorithm=algorithm)
                    self.assertIn(f"Checksum{algorithm}", sorted(put))

    def test_one_told_beforehand_is_kept(self):
        for algorithm in ALGORITHMS:
            with self.subTest(algorithm):
                put = self.put(ChecksumAlgorithm=algorithm)
                head = self.head(ChecksumMode="ENABLED")
                self.assertEqual(head[f"Checksum{algorithm}"], put[f"Checksum{algorithm}"])

    def test_crc32c_of_any_object_is_told(self):
        seed(self.bucket, [self.where["Key"]])
        self.assertIn("ChecksumCRC32C", self.head(ChecksumMode="ENABLED"))

    def test_wrong_header_leaves_the_old_object(self):
        self.put(body=b"old")
        wrong = {"ChecksumCRC32": "AAAAAA==", "ChecksumCRC32C": "AAAAAA==", "ChecksumSHA1": "A" * 27 + "=",
                 "ChecksumSHA256": "A" * 43 + "=", "ChecksumCRC64NVME": "AAAAAAAAAAA="}
        for scheme in bed.schemes():
            for field, value in wrong.items():
                with self.subTest(f"{scheme} {field}"):
                    self.refused(("BadDigest", "InvalidRequest"), client("gcs", scheme=scheme).put_object, **self.where,
                                 Body=b"new", **{field: value}, status=400)
                    self.assertEqual(self.stored()["sha256"], sha256(b"old"))

    def test_wrong_header_of_an_empty_object_leaves_nothing(self):
        self.refused("BadDigest", self.put, body=b"", ChecksumSHA256="A" * 43 + "=", status=400)
        self.assertIsNone(self.stored())

    def test_wrong_md5_leaves_nothing(self):
        s3 = client("gcs", request_checksum_calculation="when_required")
        for md5, code in {"1B2M2Y8AsgTpgAmY7PhCfg==": "BadDigest", "nonsense": "InvalidDigest"}.items():
            with self.subTest(code):
                self.refused(code, s3.put_object, **self.where, Body=b"x", ContentMD5=md5, status=400)
        self.assertIsNone(self.stored())


class Corruption(GcsCase):
    def setUp(self):
        super().setUp()
        self.s3 = client("gcs", retries={"total_max_attempts": 1})

    def test_what_arrived_otherwise_than_it_was_sent_does_not_stay(self):
        for bucket in ("g-one", "g-account"):
            with self.subTest(bucket):
                where = {"Bucket": name(bucket), "Key": self.at + "k"}
                control("corrupt")
                with self.assertRaises(ClientError) as caught:
                    self.s3.put_object(**where, Body=bed.random_bytes(1000))
                self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 500)
                self.assertIsNone(stored(bucket, where["Key"]))
                there = place(bucket, where["Key"])
                self.assertNotIn(there["name"], control("names", bucket=there["bucket"]), "kept as an older version")

    def test_a_part_that_arrived_otherwise_is_refused(self):
        upload = dict(self.where, UploadId=self.s3.create_multipart_upload(**self.where)["UploadId"])
        control("corrupt")
        with self.assertRaises(ClientError) as caught:
            self.s3.upload_part(**upload, PartNumber=1, Body=b"12345")
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 500)
        self.s3.abort_multipart_upload(**upload)


class CustomerKeys(GcsCase):
    def setUp(self):
        super().setUp()
        # Keys are sent over TLS alone.
        self.s3 = client("gcs", scheme="https")
        self.key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": bytes(range(32))}
        self.other = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": bytes(32)}

    def test_objects_are_read_with_the_key_they_were_stored_with(self):
        put = self.put(**self.key)
        got = self.get(**self.key)
        self.assertEqual(got["Body"].read(), b"body")
        for answer in (put, got, self.head(**self.key)):
            self.assertEqual(answer["SSECustomerAlgorithm"], "AES256")
            self.assertEqual(answer["SSECustomerKeyMD5"], base64.b64encode(hashlib.md5(self.key["SSECustomerKey"]).digest()).decode())

    def test_other_keys_and_none_are_refused(self):
        self.put(**self.key)
        self.put("plain")
        for what, call in {
            "get without": lambda: self.get(), "get with another": lambda: self.get(**self.other),
            "head without": lambda: self.head(), "head with another": lambda: self.head(**self.other),
            "get of a plain one": lambda: self.get("plain", **self.key),
        }.items():
            with self.subTest(what):
                with self.assertRaises(ClientError) as caught:
                    call()
                self.assertIn(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], (400, 403))

    def test_uploads_in_parts(self):
        upload = dict(self.where, UploadId=self.s3.create_multipart_upload(**self.where, **self.key)["UploadId"])
        part = self.s3.upload_part(**upload, PartNumber=1, Body=b"part", **self.key)
        done = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        self.s3.complete_multipart_upload(**upload, MultipartUpload=done, **self.key)
        self.assertEqual(self.get(**self.key)["Body"].read(), b"part")


class Payloads(GcsCase):
    """Every payload mode, signed by hand."""

    bucket = "g-two"

    def upload(self, payload, scheme="http"):
        upload = Upload(payload, scheme, self.bucket)
        upload.signer = sigv4.Signer(*bed.BED["keys"]["gcs"], bed.BED["region"])
        return upload

    def refused_upload(self, upload, answer, code):
        self.assertEqual(answer[0] // 100, 4, answer[1][:300])
        self.assertIn(f"<Code>{code}</Code>".encode(), answer[1])
        self.assertIsNone(stored(self.bucket, upload.key), "stored although refused")

    def test_right_bodies_are_stored_decoded(self):
        for scheme in bed.schemes():
            for payload in (sha256(BODY), "UNSIGNED-PAYLOAD", SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
                with self.subTest(f"{scheme} {payload[:40]}"):
                    upload = self.upload(payload, scheme)
                    head = upload.sign()
                    body = upload.body() if payload.startswith("STREAMING") else BODY
                    self.assertEqual(upload.send(head, body)[0], 200)
                    found = stored(self.bucket, upload.key)
                    self.assertEqual((found["sha256"], found["content"]),
                                     (sha256(BODY), {"content-type": "binary/octet-stream"}))

    def test_wrong_payload_hash_leaves_nothing(self):
        upload = self.upload(sha256(b"other"))
        self.refused_upload(upload, upload.send(upload.sign(), BODY), "XAmzContentSHA256Mismatch")

    def test_wrong_chunk_signature_leaves_nothing(self):
        for payload in (SIGNED, SIGNED_TRAILER):
            for where in (0, 2, 3):
                with self.subTest(f"{payload} {where}"):
                    upload = self.upload(payload)
                    head = upload.sign()
                    self.refused_upload(upload, upload.send(head, upload.body(bend=flip(where))), "SignatureDoesNotMatch")

    def test_wrong_trailer_checksum_leaves_nothing(self):
        for payload in (SIGNED_TRAILER, UNSIGNED_TRAILER):
            with self.subTest(payload):
                upload = self.upload(payload)
                head = upload.sign()
                self.refused_upload(upload, upload.send(head, upload.body(checksum="AAAAAA==")), "BadDigest")

    def test_a_body_that_ends_early_leaves_nothing(self):
        for payload in ("UNSIGNED-PAYLOAD", SIGNED, UNSIGNED_TRAILER):
            with self.subTest(payload):
                upload = self.upload(payload)
                head = upload.sign()
                body = upload.body() if payload.startswith("STREAMING") else BODY
                try:
                    self.assertNotIn(upload.send(head, body[:150_000], length=len(body))[0], (200, 204))
                except (OSError, bed.socket.timeout, Exception) as error:
                    self.assertIn(type(error).__name__, ("RemoteDisconnected", "ConnectionResetError", "BadStatusLine"))
                self.assertIsNone(stored(self.bucket, upload.key))


class Large(GcsCase):
    def test_64_mib_streamed_up_and_down(self):
        body = bed.random_bytes(64 * MIB, seed=11)
        for scheme in bed.schemes():
            with self.subTest(scheme):
                s3 = client("gcs", scheme=scheme)
                put = s3.put_object(**self.where, Body=io.BytesIO(body))
                self.assertEqual(put["ETag"], quoted_md5(body))
                self.assertEqual(self.stored()["sha256"], sha256(body))
                digest, got = hashlib.sha256(), s3.get_object(**self.where)["Body"]
                for block in got.iter_chunks(MIB):
                    digest.update(block)
                self.assertEqual(digest.hexdigest(), sha256(body))


if __name__ == "__main__":
    bed.main()
