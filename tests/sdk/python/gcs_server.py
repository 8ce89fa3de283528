"""The server that the other suites believe: that it refuses what Google refuses, and notes it.

Signed by hand after Google's manual; only the steps that server and test share (the canonical request and the key) are
the server's, and Aqueduct proves those.
"""

import base64
import hashlib
import hmac
import http.client
import pathlib
import re
import sys
import unittest
import urllib.parse
from datetime import datetime, timezone

import bed
from bed import BED, Case, fresh
from gcsbed import control

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "servers"))
import gcs_auth  # noqa: E402
import gcs_store  # noqa: E402
import wire  # noqa: E402

BUCKET = "g-upstream-two"


def crc32c(body):
    return "crc32c=" + gcs_store.crc32c(body)


@unittest.skipIf(bed.DIRECT, "only beside Aqueduct")
class Server(Case):
    def setUp(self):
        self.path = f"/{BUCKET}/{fresh('server')}k"
        self.known = len(control("requests", since=1 << 60)["violations"])

    def ask(self, method="PUT", path=None, headers=(), body=b"", secret=None, at=None):
        """Answers (status, headers, body)."""
        key_id, right = BED["gcs_key"]
        target, at = path or self.path, at or datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        place = urllib.parse.urlsplit(BED["gcs"]).netloc
        lines = {"host": place, "x-goog-date": at, "x-goog-content-sha256": "UNSIGNED-PAYLOAD", **dict(headers)}
        signed = sorted(name for name in lines if name == "host" or name.startswith("x-"))
        request = wire.Request(method, target, list(lines.items()))
        request.parse()
        digest = hashlib.sha256(gcs_auth.canonical(request, signed, "UNSIGNED-PAYLOAD")).hexdigest()
        scope = f"{at[:8]}/auto/storage/goog4_request"
        key = gcs_auth.derive(secret or right, *scope.split("/"))
        made = hmac.new(key, f"GOOG4-HMAC-SHA256\n{at}\n{scope}\n{digest}".encode(), hashlib.sha256).hexdigest()
        lines["authorization"] = (
            f"GOOG4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={';'.join(signed)}, Signature={made}"
        )
        connection = http.client.HTTPConnection(place, timeout=20)
        try:
            connection.request(method, target, body, lines)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def noted(self):
        return len(control("requests", since=1 << 60)["violations"]) - self.known

    def assert_refused(self, answer, status, code, noted=1):
        self.assertEqual((answer[0], re.search(b"<Code>(.*?)</Code>", answer[2]).group(1).decode()), (status, code))
        self.assertEqual(self.noted(), noted)

    def test_sound_requests_are_carried_out(self):
        body = b"123456789"
        status, headers, _ = self.ask(headers={"x-goog-hash": "crc32c=4waSgw==", "x-goog-meta-a": "1"}, body=body)
        self.assertEqual((status, headers["etag"]), (200, '"25f9e794323b453885f5181f1b624d0b"'))
        self.assertEqual(headers.get_all("x-goog-hash"), ["crc32c=4waSgw==", "md5=JfnnlDI7RTiF9RgfG2JNCw=="])
        status, headers, read = self.ask("GET")
        self.assertEqual((status, read, headers["x-goog-meta-a"]), (200, body, "1"))
        self.assertEqual(self.ask("DELETE")[0], 204)
        self.assertEqual(self.ask("GET")[0], 404)
        self.assertEqual(self.noted(), 0)

    def test_another_secret(self):
        self.assert_refused(self.ask(secret="x"), 403, "SignatureDoesNotMatch")

    def test_another_time(self):
        self.assert_refused(self.ask(at="20200101T000000Z"), 403, "RequestTimeTooSkewed")

    def test_a_header_outside_the_signature(self):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(BED["gcs"]).netloc, timeout=20)
        connection.request("GET", self.path)
        answer = connection.getresponse()
        self.assert_refused((answer.status, answer.headers, answer.read()), 401, "AuthenticationRequired")

    def test_unknown_headers_and_parameters(self):
        for headers in ({"x-goog-unknown": "1"}, {"if-match": '"a"'}, {"content-encoding": "aws-chunked"}):
            self.known = len(control("requests", since=1 << 60)["violations"])
            self.assert_refused(self.ask(headers=headers, body=b"x"), 400, "InvalidArgument")
        self.known += 1
        self.assert_refused(self.ask(headers={"x-amz-checksum-crc32": "AAAAAA=="}), 400, "ExcessHeaderValues")
        self.known += 1
        self.assert_refused(self.ask(path=self.path + "?x-id=PutObject"), 400, "InvalidArgument")

    def test_other_bytes_than_were_told_are_not_stored(self):
        wrong_md5 = "md5=" + base64.b64encode(bytes(16)).decode()
        for told in (crc32c(b"y"), wrong_md5, f"{crc32c(b'x')},{wrong_md5}"):
            self.assert_refused(self.ask(headers={"x-goog-hash": told}, body=b"x"), 400, "BadDigest", noted=0)
        self.assertEqual(self.ask("GET")[0], 404)

    def test_conditions_on_generations(self):
        first = self.ask(headers={"x-goog-if-generation-match": "0"}, body=b"x")[1]["x-goog-generation"]
        self.assertEqual(self.ask(headers={"x-goog-if-generation-match": "0"}, body=b"y")[0], 412)
        self.assertEqual(self.ask(headers={"x-goog-if-generation-match": first}, body=b"z")[0], 200)
        self.assertEqual(self.ask("DELETE", headers={"x-goog-if-generation-match": first})[0], 412)

    def test_a_batch_without_a_hash(self):
        body = b"<Delete><Object><Key>k</Key></Object></Delete>"
        self.assert_refused(self.ask("POST", f"/{BUCKET}?delete", body=body), 400, "MissingContentMD5")

    def test_conditions_on_uploads_in_parts(self):
        answer = self.ask("POST", self.path + "?uploads", {"x-goog-if-generation-match": "0"})
        self.assert_refused(answer, 400, "InvalidArgument")

    def test_buckets_of_others(self):
        self.assertEqual(self.ask("GET", "/g-upstream-one/k")[0], 403)

    def test_hmac_keys_in_the_json_api(self):
        body = b'{"metadata":{}}'
        answer = self.ask("PATCH", f"/storage/v1/b/{BUCKET}/o/k", {"content-type": "application/json"}, body)
        self.assertEqual((answer[0], self.noted()), (401, 1))


if __name__ == "__main__":
    bed.main()
