"""Signed by hand: every payload mode, right and wrong. A refused body leaves nothing at the store.

Straight at SeaweedFS 4.48 only the first two hold and a wrong chunk signature is a 500: it does not compare
the payload's hash, the decoded length or the trailer's signature, and calls a wrong checksum InvalidDigest. So
the rest proves what Aqueduct does itself.
"""

import hashlib
import re
import socket
import urllib.parse
from datetime import datetime, timedelta, timezone

import bed
import sigv4
from bed import Case, fresh, name, stored

BODY = bed.random_bytes(200_000)
CUTS = [BODY[:65536], BODY[65536:131072], BODY[131072:]]
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class Upload:
    """One PUT in one payload mode; each test bends one part of it."""

    def __init__(self, payload, scheme="http", bucket="two", when=None, region=None):
        self.payload, self.scheme, self.bucket = payload, scheme, bucket
        key_id, secret = bed.BED["keys"]["admin"]
        self.signer = sigv4.Signer(key_id, secret, region or bed.BED["region"], when)
        self.key = fresh("stream") + "k"
        self.headers = {}
        if payload.startswith("STREAMING"):
            self.headers["x-amz-decoded-content-length"] = len(BODY)
            self.headers["content-encoding"] = "aws-chunked"
        if payload.endswith("TRAILER"):
            self.headers["x-amz-trailer"] = "x-amz-checksum-crc32"

    def sign(self):
        host = urllib.parse.urlsplit(bed.BED[self.scheme]).netloc
        self.path = f"/{name(self.bucket)}/{self.key}"
        return self.signer.head("PUT", host, self.path, [], self.headers, self.payload)

    def body(self, cuts=CUTS, bend=lambda index, signature: signature, checksum=None):
        """The coded body; `bend` may change a chunk's signature, `checksum` the trailer."""
        out = b""
        signed = self.payload in (SIGNED, SIGNED_TRAILER)
        for index, data in enumerate(cuts):
            out += sigv4.frame(data, bend(index, self.signer.chunk(data)) if signed else None)
        if not self.payload.endswith("TRAILER"):
            return out + sigv4.frame(b"", bend(len(cuts), self.signer.chunk(b"")))
        out += f"0;chunk-signature={bend(len(cuts), self.signer.chunk(b''))}\r\n".encode() if signed else b"0\r\n"
        line = f"x-amz-checksum-crc32:{checksum or sigv4.crc32(b''.join(cuts))}"
        out += line.encode() + b"\r\n"
        if signed:
            signature = bend("trailer", self.signer.trailer(line.encode() + b"\n"))
            out += f"x-amz-trailer-signature:{signature}\r\n".encode()
        return out + b"\r\n"

    def send(self, head, body, length=None):
        return sigv4.send(bed.BED[self.scheme], bed.BED["ca"], "PUT", self.path, head, body, length)


def flip(where):
    """Corrupts one signature by its last digit."""
    return lambda index, text: text[:-1] + ("0" if text[-1] != "0" else "1") if index == where else text


class Streaming(Case):
    def expect(self, upload, answer, status, codes):
        self.assertEqual(answer[0], status, answer[1][:300])
        code = re.search(rb"<Code>(\w+)</Code>", answer[1])
        self.assertIsNotNone(code, answer[1][:300])
        self.assertIn(code.group(1).decode(), codes)
        self.assertIsNone(stored(upload.bucket, upload.key), "stored although refused")

    def test_right_bodies_are_stored_decoded(self):
        whole = hashlib.sha256(BODY).hexdigest()
        for scheme in bed.schemes():
            for bucket in ("one", "two"):
                for payload in (whole, "UNSIGNED-PAYLOAD", SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
                    with self.subTest(f"{scheme} {bucket} {payload[:40]}"):
                        upload = Upload(payload, scheme, bucket)
                        head = upload.sign()
                        body = upload.body() if payload.startswith("STREAMING") else BODY
                        self.assertEqual(upload.send(head, body)[0], 200)
                        self.assertEqual(stored(bucket, upload.key), BODY)

    def test_one_chunk_and_no_bytes(self):
        for payload in (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
            with self.subTest(payload):
                upload = Upload(payload)
                upload.headers["x-amz-decoded-content-length"] = 0
                head = upload.sign()
                self.assertEqual(upload.send(head, upload.body([]))[0], 200)
                self.assertEqual(stored("two", upload.key), b"")

    @bed.through_aqueduct
    def test_wrong_chunk_signature(self):
        for payload in (SIGNED, SIGNED_TRAILER):
            for where in (0, 1, 2, 3):
                with self.subTest(f"{payload} chunk {where}"):
                    upload = Upload(payload)
                    head = upload.sign()
                    self.expect(upload, upload.send(head, upload.body(bend=flip(where))), 403, ["SignatureDoesNotMatch"])

    @bed.through_aqueduct
    def test_wrong_trailer_signature(self):
        upload = Upload(SIGNED_TRAILER)
        head = upload.sign()
        answer = upload.send(head, upload.body(bend=flip("trailer")))
        self.expect(upload, answer, 403, ["SignatureDoesNotMatch"])

    @bed.through_aqueduct
    def test_changed_chunk_data(self):
        upload = Upload(SIGNED)
        head = upload.sign()
        body = bytearray(upload.body())
        body[70_000] ^= 1
        self.expect(upload, upload.send(head, bytes(body)), 403, ["SignatureDoesNotMatch"])

    @bed.through_aqueduct
    def test_wrong_trailer_checksum(self):
        for payload in (SIGNED_TRAILER, UNSIGNED_TRAILER):
            with self.subTest(payload):
                upload = Upload(payload)
                head = upload.sign()
                answer = upload.send(head, upload.body(checksum="AAAAAA=="))
                self.expect(upload, answer, 400, ["BadDigest", "XAmzContentChecksumMismatch"])

    @bed.through_aqueduct
    def test_wrong_payload_hash(self):
        for bucket in ("one", "two"):
            with self.subTest(bucket):
                upload = Upload(hashlib.sha256(b"other").hexdigest(), bucket=bucket)
                answer = upload.send(upload.sign(), BODY)
                self.expect(upload, answer, 400, ["XAmzContentSHA256Mismatch"])

    def test_missing_trailer(self):
        upload = Upload(UNSIGNED_TRAILER)
        head = upload.sign()
        body = b"".join(sigv4.frame(data) for data in CUTS) + b"0\r\n\r\n"
        self.expect(upload, upload.send(head, body), 400, ["MalformedTrailerError", "InvalidRequest", "IncompleteBody"])

    def test_missing_last_chunk(self):
        for payload in (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
            with self.subTest(payload):
                upload = Upload(payload)
                head = upload.sign()
                body = upload.body()
                cut = body.rindex(b"\r\n0") + 2
                self.expect(upload, upload.send(head, body[:cut]), 400, ["IncompleteBody", "InvalidRequest"])

    @bed.through_aqueduct
    def test_decoded_length_that_lies(self):
        for lie in (len(BODY) - 1, len(BODY) + 1):
            for payload in (SIGNED, UNSIGNED_TRAILER):
                with self.subTest(f"{payload} {lie}"):
                    upload = Upload(payload)
                    upload.headers["x-amz-decoded-content-length"] = lie
                    head = upload.sign()
                    self.expect(upload, upload.send(head, upload.body()), 400, ["IncompleteBody", "InvalidRequest"])

    @bed.through_aqueduct
    def test_missing_decoded_length(self):
        upload = Upload(SIGNED)
        del upload.headers["x-amz-decoded-content-length"]
        head = upload.sign()
        answer = upload.send(head, upload.body())
        self.expect(upload, answer, 411, ["MissingContentLength"])

    @bed.through_aqueduct
    def test_broken_framing(self):
        bodies = {
            "size is not hexadecimal": b"zz\r\nabc\r\n0\r\n\r\n",
            "no line end": b"a" * 5000,
            "data longer than its size": b"3\r\nabcdef\r\n0\r\n\r\n",
            "sign before the size": b"+3\r\nabc\r\n0\r\n\r\n",
        }
        for what, body in bodies.items():
            with self.subTest(what):
                upload = Upload(UNSIGNED_TRAILER)
                answer = upload.send(upload.sign(), body)
                self.expect(upload, answer, 400, ["InvalidRequest", "IncompleteBody", "MalformedTrailerError"])

    def test_truncated_body(self):
        whole = hashlib.sha256(BODY).hexdigest()
        for payload in (whole, "UNSIGNED-PAYLOAD", SIGNED, UNSIGNED_TRAILER):
            with self.subTest(payload[:40]):
                upload = Upload(payload)
                head = upload.sign()
                body = upload.body() if payload.startswith("STREAMING") else BODY
                try:
                    status, answer = upload.send(head, body[:150_000], length=len(body))
                    self.assertNotIn(status, (200, 204), answer[:300])
                except (OSError, socket.timeout, Exception) as error:
                    # Closing without an answer is right as well: nobody is left to read one.
                    self.assertIn(type(error).__name__, ("RemoteDisconnected", "ConnectionResetError", "BadStatusLine"))
                self.assertIsNone(stored("two", upload.key))

    def test_clock_skew(self):
        for minutes in (-16, 16):
            with self.subTest(minutes):
                upload = Upload("UNSIGNED-PAYLOAD", when=datetime.now(timezone.utc) + timedelta(minutes=minutes))
                self.expect(upload, upload.send(upload.sign(), BODY), 403, ["RequestTimeTooSkewed"])

    def test_wrong_scope(self):
        upload = Upload("UNSIGNED-PAYLOAD")
        upload.signer.scope = upload.signer.scope.replace("/s3/", "/sts/")
        answer = upload.send(upload.sign(), BODY)
        self.expect(
            upload, answer, answer[0], ["AuthorizationHeaderMalformed", "SignatureDoesNotMatch", "InvalidRequest"]
        )
        self.assertIn(answer[0], (400, 403))

    def test_a_signed_header_that_changed(self):
        upload = Upload("UNSIGNED-PAYLOAD")
        upload.headers["x-amz-meta-a"] = "signed"
        head = upload.sign()
        head["x-amz-meta-a"] = "changed"
        self.expect(upload, upload.send(head, BODY), 403, ["SignatureDoesNotMatch"])

    @bed.through_aqueduct
    def test_an_amz_header_outside_the_signature(self):
        upload = Upload("UNSIGNED-PAYLOAD")
        head = upload.sign()
        head["x-amz-meta-extra"] = "1"
        self.expect(upload, upload.send(head, BODY), 403, ["AccessDenied"])

    @bed.through_aqueduct
    def test_unknown_payload_mode(self):
        for payload in ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "not-a-hash", "A" * 64):
            with self.subTest(payload):
                upload = Upload(payload)
                answer = upload.send(upload.sign(), BODY)
                self.expect(upload, answer, answer[0], ["InvalidArgument", "InvalidRequest", "NotImplemented",
                                                        "XAmzContentSHA256Mismatch"])
                self.assertIn(answer[0], (400, 501))


if __name__ == "__main__":
    bed.main()
