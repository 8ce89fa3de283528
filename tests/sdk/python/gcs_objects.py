"""boto3 over Cloud Storage: objects. Round trips, metadata, ranges, conditions, copies, deletes, tags, refusals."""

import base64
import gzip
import hashlib
import io
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

from botocore.exceptions import ClientError

import bed
import sigv4
from bed import MIB, client, name
from gcsbed import GcsCase, control, place, seed, sha256, stored, user
from s3_objects import ODD_KEYS
from s3_streaming import SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, BODY, Upload, flip

HOUR = timedelta(hours=1)
ALGORITHMS = ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]


def quoted_md5(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


class Objects(GcsCase):
    def test_put_get_head_delete(self):
        body = bed.random_bytes(70_000)
        self.put(body=body, ContentType="text/x-test")
        got = self.get()
        self.assertEqual((got["Body"].read(), got["ContentType"]), (body, "text/x-test"))
        head = self.head()
        self.assertEqual((head["ContentLength"], head["ContentType"]), (70_000, "text/x-test"))
        self.assertEqual(self.stored()["sha256"], sha256(body))
        self.s3.delete_object(**self.where)
        self.assertIsNone(self.stored())
        self.refused("NoSuchKey", self.get, status=404)
        self.refused("404", self.head, status=404)

    def test_empty_object(self):
        self.put(body=b"")
        got = self.get()
        self.assertEqual((got["Body"].read(), got["ContentLength"], got["ETag"]), (b"", 0, quoted_md5(b"")))

    def test_put_is_one_request(self):
        self.put()
        self.assertEqual([one["method"] for one in self.sent()], ["PUT"])
        self.get()
        self.assertEqual([one["method"] for one in self.sent()], ["GET"])

    def test_every_resource_by_its_own_credential(self):
        for bucket in ("g-one", "g-two", "g-account"):
            with self.subTest(bucket):
                where = {"Bucket": name(bucket), "Key": self.at + "k"}
                self.s3.put_object(**where, Body=bucket.encode())
                self.assertEqual(self.s3.get_object(**where)["Body"].read(), bucket.encode())
                self.assertEqual(stored(bucket, where["Key"])["sha256"], sha256(bucket.encode()))

    def test_over_tls(self):
        s3, body = client("gcs", scheme="https"), bed.random_bytes(3 * MIB)
        s3.put_object(**self.where, Body=body)
        self.assertEqual(s3.get_object(**self.where)["Body"].read(), body)
        self.assertEqual(self.stored()["sha256"], sha256(body))

    def test_etag_is_the_md5_everywhere(self):
        body = bed.random_bytes(5000)
        expected = quoted_md5(body)
        self.assertEqual(self.put(body=body)["ETag"], expected)
        self.assertEqual(self.head()["ETag"], expected)
        self.assertEqual(self.get()["ETag"], expected)
        self.assertEqual(self.get(Range="bytes=1-2")["ETag"], expected)
        listed = self.s3.list_objects_v2(Bucket=self.name, Prefix=self.where["Key"])["Contents"]
        self.assertEqual([entry["ETag"] for entry in listed], [expected])
        copied = self.s3.copy_object(Bucket=self.name, Key=self.at + "copy", CopySource=self.where)
        self.assertEqual(copied["CopyObjectResult"]["ETag"], expected)
        self.assertEqual(self.head("copy")["ETag"], expected)

    def test_odd_keys_are_kept_byte_for_byte(self):
        for index, key in enumerate([*ODD_KEYS, "a//b", "/lead", "dir/", "back\\slash", "tab\tkey"]):
            with self.subTest(key):
                body = f"body {index}".encode()
                self.put(key, body)
                self.assertEqual(self.get(key)["Body"].read(), body)
                self.assertEqual(self.stored(key)["sha256"], sha256(body))

    def test_key_of_1024_bytes_with_the_prefix(self):
        prefix = bed.BED["buckets"][self.bucket]["prefix"]
        key = "k" * (1024 - len(prefix) - len(self.at))
        self.put(key)
        self.assertEqual(self.get(key)["Body"].read(), b"body")
        self.refused("KeyTooLongError", self.put, key + "k", status=400)

    def test_keys_that_the_store_cannot_hold_are_refused_before_it(self):
        self.refused("InvalidArgument", self.put, "line\nbreak", status=400)
        where = {"Bucket": name("g-two"), "Body": b"x"}
        self.refused("InvalidArgument", self.s3.put_object, Key=".well-known/acme-challenge/x", **where, status=400)
        self.assert_nothing_sent()

    def test_content_headers_are_kept(self):
        sent = {
            "ContentType": "text/html; charset=utf-8",
            "CacheControl": "max-age=60, public",
            "ContentDisposition": 'attachment; filename="a b.txt"',
            "ContentEncoding": "x-own",
            "ContentLanguage": "de-CH",
            "WebsiteRedirectLocation": "/elsewhere",
        }
        self.put(**sent, Expires=datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc))
        for answer in (self.get(), self.head()):
            for field, value in sent.items():
                with self.subTest(field):
                    self.assertEqual(answer[field], value)
            self.assertEqual(answer["ResponseMetadata"]["HTTPHeaders"]["expires"], "Wed, 02 Jan 2030 03:04:05 GMT")

    def test_content_headers_are_the_stores_own(self):
        self.put(ContentType="text/html", CacheControl="no-cache", ContentLanguage="de")
        content = self.stored()["content"]
        self.assertEqual(
            content, {"content-type": "text/html", "cache-control": "no-cache", "content-language": "de"}
        )

    def test_an_object_without_a_type_has_s3s_default(self):
        self.put()
        self.assertEqual(self.head()["ContentType"], "binary/octet-stream")

    def test_user_metadata_of_any_name(self):
        metadata = {"plain": "value", "with-dash": "1", "with_underscore": "2", "dot.ted": "3", "odd!#$%&'*+^`|~": "4",
                    "123": "5", "empty": ""}
        self.put(Metadata=metadata)
        self.assertEqual(self.get()["Metadata"], metadata)
        self.assertEqual(self.head()["Metadata"], metadata)
        self.assertEqual(user(self.stored()), metadata)

    def test_user_metadata_in_utf8(self):
        # botocore sends ASCII only: signed by hand.
        key_id, secret = bed.BED["keys"]["gcs"]
        signer = sigv4.Signer(key_id, secret, bed.BED["region"])
        host = urllib.parse.urlsplit(bed.BED["http"]).netloc
        path = f"/{self.name}/{self.where['Key']}"
        headers = signer.head("PUT", host, path, [], {"x-amz-meta-city": "Zürich 🌍"}, "UNSIGNED-PAYLOAD")
        headers = {name: value.encode() for name, value in headers.items()}
        self.assertEqual(sigv4.send(bed.BED["http"], None, "PUT", path, headers, b"x")[0], 200)
        self.assertEqual(self.stored()["metadata"], {"city": "Zürich 🌍"})
        encoded = "=?UTF-8?B?" + base64.b64encode("Zürich 🌍".encode()).decode() + "?="
        self.assertEqual(self.get()["Metadata"], {"city": encoded})
        self.put("again", Metadata={"city": encoded})
        self.assertEqual(user(self.stored("again")), {"city": "Zürich 🌍"})

    def test_metadata_of_two_kilobytes_and_no_more(self):
        self.put(Metadata={"n": "v" * 2047})
        self.assertEqual(self.head()["Metadata"], {"n": "v" * 2047})
        self.sent()
        self.refused("MetadataTooLarge", self.put, "more", Metadata={"n": "v" * 2048}, status=400)
        self.assert_nothing_sent()

    def test_compressed_objects_are_sent_as_they_are_stored(self):
        body = gzip.compress(bed.random_bytes(50_000))
        self.put(body=body, ContentEncoding="gzip")
        got = self.get()
        self.assertEqual((got["ContentEncoding"], got["ETag"], got["ContentLength"]), ("gzip", quoted_md5(body), len(body)))
        # urllib3 decompresses below boto3; what came is asked for as it was.
        self.assertEqual(got["Body"]._raw_stream.read(decode_content=False), body)
        self.assertEqual(self.get(Range="bytes=0-9")["ContentLength"], 10)

    def test_response_overrides(self):
        self.put()
        got = self.get(ResponseContentType="text/override", ResponseCacheControl="no-cache",
                       ResponseContentDisposition="inline", ResponseContentLanguage="fr")
        self.assertEqual(
            (got["ContentType"], got["CacheControl"], got["ContentDisposition"], got["ContentLanguage"]),
            ("text/override", "no-cache", "inline", "fr"),
        )

    def test_storage_classes_there_and_back(self):
        for s3_class, gcs_class, back in [
            ("STANDARD", "STANDARD", None),
            ("STANDARD_IA", "NEARLINE", "STANDARD_IA"),
            ("ONEZONE_IA", "NEARLINE", "STANDARD_IA"),
            ("GLACIER_IR", "COLDLINE", "GLACIER_IR"),
        ]:
            with self.subTest(s3_class):
                self.put(s3_class, StorageClass=s3_class)
                self.assertEqual(self.stored(s3_class)["class"], gcs_class)
                self.assertEqual(self.head(s3_class).get("StorageClass"), back)
                listed = self.s3.list_objects_v2(Bucket=self.name, Prefix=self.at + s3_class)["Contents"]
                self.assertEqual([entry["StorageClass"] for entry in listed], [back or "STANDARD"])

    def test_foreign_objects_are_read(self):
        seed(self.bucket, [self.at + "k"], content={"content-type": "text/foreign"}, metadata={"m": "1"})
        got = self.get()
        self.assertEqual(got["Body"].read(), (self.at + "k").encode())
        self.assertEqual((got["ContentType"], got["Metadata"]), ("text/foreign", {"m": "1"}))


class Ranges(GcsCase):
    def test_every_form(self):
        body = bed.random_bytes(10_000)
        self.put(body=body)
        for asked, part, content_range in [
            ("bytes=0-0", body[:1], "bytes 0-0/10000"),
            ("bytes=100-199", body[100:200], "bytes 100-199/10000"),
            ("bytes=9990-", body[9990:], "bytes 9990-9999/10000"),
            ("bytes=-10", body[-10:], "bytes 9990-9999/10000"),
            ("bytes=-20000", body, "bytes 0-9999/10000"),
            ("bytes=9990-20000", body[9990:], "bytes 9990-9999/10000"),
        ]:
            with self.subTest(asked):
                got = self.get(Range=asked)
                self.assertEqual((got["Body"].read(), got["ContentRange"]), (part, content_range))
                self.assertEqual(got["ResponseMetadata"]["HTTPStatusCode"], 206)
                head = self.head(Range=asked)
                self.assertEqual((head["ContentLength"], head["ContentRange"]), (len(part), content_range))

    def test_beyond_the_end(self):
        self.put(body=b"0123456789")
        self.refused("InvalidRange", self.get, Range="bytes=10-", status=416)
        self.refused("InvalidRange", self.get, Range="bytes=-0", status=416)
        self.refused("416", self.head, Range="bytes=10-", status=416)

    def test_of_an_empty_object(self):
        self.put(body=b"")
        self.refused("InvalidRange", self.get, Range="bytes=0-", status=416)
        self.refused("InvalidRange", self.get, Range="bytes=-1", status=416)

    def test_what_is_no_range_is_the_whole(self):
        self.put(body=b"0123456789")
        for asked in ("bytes=5-2", "lines=1-2", "bytes=abc", "bytes=0-1,4-5"):
            with self.subTest(asked):
                got = self.get(Range=asked)
                self.assertEqual((got["Body"].read(), got["ResponseMetadata"]["HTTPStatusCode"]), (b"0123456789", 200))

    def test_the_first_part_of_a_whole_object(self):
        self.put(body=b"0123456789")
        got = self.get(PartNumber=1)
        self.assertEqual((got["Body"].read(), got["ETag"]), (b"0123456789", quoted_md5(b"0123456789")))
        self.refused(("InvalidPartNumber", "InvalidRange"), self.get, PartNumber=2, status=416)


class Conditions(GcsCase):
    def setUp(self):
        super().setUp()
        self.etag = self.put(body=b"first")["ETag"]
        self.now = datetime.now(timezone.utc)

    def test_reads_that_hold(self):
        for condition in (
            {"IfMatch": self.etag}, {"IfMatch": self.etag.strip('"')}, {"IfMatch": "*"},
            {"IfMatch": f'"00", {self.etag}'}, {"IfNoneMatch": '"00"'}, {"IfModifiedSince": self.now - HOUR},
            {"IfUnmodifiedSince": self.now + HOUR}, {"IfMatch": self.etag, "IfUnmodifiedSince": self.now - HOUR},
            {"IfNoneMatch": '"00"', "IfModifiedSince": self.now + HOUR},
        ):
            with self.subTest(condition):
                self.assertEqual(self.get(**condition)["Body"].read(), b"first")
                self.assertEqual(self.head(**condition)["ContentLength"], 5)

    def test_reads_of_another_object(self):
        for condition in ({"IfMatch": '"00"'}, {"IfUnmodifiedSince": self.now - HOUR}):
            with self.subTest(condition):
                self.refused("PreconditionFailed", self.get, **condition, status=412)
                self.refused("412", self.head, **condition, status=412)

    def test_reads_of_what_the_client_has(self):
        for condition in (
            {"IfNoneMatch": self.etag}, {"IfNoneMatch": "*"}, {"IfModifiedSince": self.now + HOUR},
            {"IfMatch": self.etag, "IfNoneMatch": self.etag},
        ):
            with self.subTest(condition):
                self.refused("304", self.get, **condition, status=304)
                answer = self.refused("304", self.head, **condition, status=304)
                self.assertEqual(answer["ResponseMetadata"]["HTTPHeaders"]["etag"], self.etag)

    def test_ranges_under_a_condition(self):
        self.assertEqual(self.get(IfMatch=self.etag, Range="bytes=-2")["Body"].read(), b"st")
        self.refused("PreconditionFailed", self.get, IfMatch='"00"', Range="bytes=0-1", status=412)

    def test_put_where_nothing_is(self):
        self.put("new", b"second", IfNoneMatch="*")
        self.assertEqual(self.get("new")["Body"].read(), b"second")
        self.refused("PreconditionFailed", self.put, "new", b"third", IfNoneMatch="*", status=412)
        self.assertEqual(self.get("new")["Body"].read(), b"second")

    def test_put_where_nothing_is_takes_one_request(self):
        self.sent()
        self.put("new", IfNoneMatch="*")
        self.assertEqual([one["headers"].get("x-goog-if-generation-match") for one in self.sent()], ["0"])

    def test_put_over_the_object_that_is_meant(self):
        self.refused("PreconditionFailed", self.put, body=b"second", IfMatch='"00"', status=412)
        self.assertEqual(self.get()["Body"].read(), b"first")
        generation = self.stored()["generation"]
        self.sent()
        self.put(body=b"third", IfMatch=self.etag)
        self.assertEqual(self.get()["Body"].read(), b"third")
        writes = [one["headers"].get("x-goog-if-generation-match") for one in self.sent() if one["method"] == "PUT"]
        self.assertEqual(writes, [generation], "not pinned to what was looked at")

    def test_put_over_an_object_that_is_not_there(self):
        self.refused("NoSuchKey", self.put, "none", IfMatch=self.etag, status=404)
        self.assertIsNone(self.stored("none"))

    def test_put_over_an_object_that_changes_meanwhile(self):
        control("faults", [{"method": "PUT", "status": 412, "code": "PreconditionFailed"}])
        self.refused("PreconditionFailed", self.put, body=b"second", IfMatch=self.etag, status=412)

    def test_delete_of_the_object_that_is_meant(self):
        self.refused("PreconditionFailed", self.s3.delete_object, **self.where, IfMatch='"00"', status=412)
        self.assertIsNotNone(self.stored())
        self.s3.delete_object(**self.where, IfMatch=self.etag)
        self.assertIsNone(self.stored())


class Races(GcsCase):
    def together(self, call, count=8):
        """The outcomes of calls at once: what was answered, or the code of the refusal."""
        def one(index):
            try:
                return call(client("gcs", retries={"total_max_attempts": 1}), index)["ResponseMetadata"]["HTTPStatusCode"]
            except ClientError as error:
                return error.response["Error"]["Code"]

        with ThreadPoolExecutor(count) as pool:
            return sorted(map(str, pool.map(one, range(count))))

    def test_one_of_many_creates_an_object(self):
        outcomes = self.together(lambda s3, index: s3.put_object(**self.where, Body=str(index).encode(), IfNoneMatch="*"))
        self.assertEqual(outcomes, ["200"] + ["PreconditionFailed"] * 7)

    def test_one_of_many_replaces_an_object(self):
        etag = self.put()["ETag"]
        outcomes = self.together(lambda s3, index: s3.put_object(**self.where, Body=str(index).encode(), IfMatch=etag))
        self.assertEqual(outcomes, ["200"] + ["PreconditionFailed"] * 7)

    def test_many_write_many_keys(self):
        outcomes = self.together(lambda s3, index: s3.put_object(Bucket=self.name, Key=f"{self.at}{index}", Body=b"x" * index))
        self.assertEqual(outcomes, ["200"] * 8)
        found = self.s3.list_objects_v2(Bucket=self.name, Prefix=self.at)["Contents"]
        self.assertEqual([entry["Size"] for entry in found], list(range(8)))


class Presigned(GcsCase):
    def ask(self, method, url, body=None, headers=None):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers or {}, method=method), timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def test_reads_and_writes(self):
        put = self.s3.generate_presigned_url("put_object", Params=self.where)
        self.assertEqual(self.ask("PUT", put, b"by url", {"content-type": "binary/octet-stream"})[0], 200)
        self.assertEqual(self.stored()["sha256"], sha256(b"by url"))
        get = self.s3.generate_presigned_url("get_object", Params=dict(self.where, ResponseContentType="text/x"))
        self.assertEqual(self.ask("GET", get), (200, b"by url"))
        self.assertEqual(self.ask("GET", get, headers={"range": "bytes=-3"}), (206, b"url"))

    def test_forged_urls_are_refused_before_anything_is_sent(self):
        url = self.s3.generate_presigned_url("get_object", Params=self.where)
        self.assertEqual(self.ask("GET", url[:-1] + ("0" if url[-1] != "0" else "1"))[0], 403)
        self.assert_nothing_sent()

    def test_forms(self):
        fields = {"Content-Type": "text/form", "x-amz-meta-m": "1"}
        conditions = [{name: value} for name, value in fields.items()] + [["content-length-range", 1, 1000]]
        form = self.s3.generate_presigned_post(self.name, self.where["Key"], Fields=fields, Conditions=conditions)
        boundary, out = "boundary", b""
        for field, value in form["fields"].items():
            out += f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
        whole = out + b"by form" + f"\r\n--{boundary}--\r\n".encode()
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        status, answer = self.ask("POST", form["url"], whole, headers)
        if status == 501:
            self.assert_nothing_sent()
            self.skipTest("not implemented, and refused before anything was sent")
        self.assertEqual(status, 204, answer)
        found = self.stored()
        self.assertEqual((found["sha256"], found["content"], user(found)),
                         (sha256(b"by form"), {"content-type": "text/form"}, {"m": "1"}))
        # Longer than the policy allows.
        large = out + b"x" * 1001 + f"\r\n--{boundary}--\r\n".encode()
        self.assertEqual(self.ask("POST", form["url"], large, headers)[0], 400)
        self.assertEqual(self.stored()["sha256"], sha256(b"by form"))


class Copies(GcsCase):
    def setUp(self):
        super().setUp()
        self.body = bed.random_bytes(100_000)
        self.put("src +ü", self.body, Metadata={"a": "1"}, ContentType="text/one", CacheControl="no-cache",
                 Tagging="k=v&city=Z%C3%BCrich")
        self.source = {"Bucket": self.name, "Key": self.at + "src +ü"}
        self.sent()

    def copy(self, key="dst", **more):
        return self.s3.copy_object(**{"Bucket": self.name, "Key": self.at + key, "CopySource": self.source, **more})

    def test_copy_keeps_everything(self):
        answer = self.copy()["CopyObjectResult"]
        self.assertEqual([one["method"] for one in self.sent()], ["PUT"])
        got = self.get("dst")
        self.assertEqual(got["Body"].read(), self.body)
        self.assertEqual((got["Metadata"], got["ContentType"], got["CacheControl"]), ({"a": "1"}, "text/one", "no-cache"))
        self.assertEqual(answer["ETag"], got["ETag"])
        self.assertLess(abs((answer["LastModified"] - got["LastModified"]).total_seconds()), 2)
        tags = self.s3.get_object_tagging(Bucket=self.name, Key=self.at + "dst")["TagSet"]
        self.assertEqual({tag["Key"]: tag["Value"] for tag in tags}, {"k": "v", "city": "Zürich"})

    def test_copy_replaces_metadata_and_keeps_tags(self):
        self.copy(MetadataDirective="REPLACE", Metadata={"b": "2"}, ContentType="text/two")
        got = self.get("dst")
        self.assertEqual((got["Metadata"], got["ContentType"]), ({"b": "2"}, "text/two"))
        self.assertNotIn("CacheControl", got)
        self.assertEqual(got["TagCount"], 2)

    def test_copy_replaces_tags_and_keeps_metadata(self):
        self.copy(TaggingDirective="REPLACE", Tagging="n=1")
        got = self.get("dst")
        self.assertEqual((got["Metadata"], got["ContentType"], got["CacheControl"]), ({"a": "1"}, "text/one", "no-cache"))
        tags = self.s3.get_object_tagging(Bucket=self.name, Key=self.at + "dst")["TagSet"]
        self.assertEqual(tags, [{"Key": "n", "Value": "1"}])

    def test_copy_replaces_both(self):
        self.copy(MetadataDirective="REPLACE", Metadata={"b": "2"}, TaggingDirective="REPLACE", Tagging="n=1")
        got = self.get("dst")
        self.assertEqual((got["Metadata"], got["TagCount"]), ({"b": "2"}, 1))

    def test_copy_onto_itself_replaces_metadata(self):
        self.copy("src +ü", MetadataDirective="REPLACE", Metadata={"b": "2"})
        got = self.get("src +ü")
        self.assertEqual((got["Metadata"], got["Body"].read()), ({"b": "2"}, self.body))

    def test_copy_onto_itself_without_a_change_is_refused(self):
        self.refused("InvalidRequest", self.copy, "src +ü", status=400)

    def test_copy_changes_the_class(self):
        self.copy(StorageClass="STANDARD_IA")
        self.assertEqual((self.stored("dst")["class"], self.stored("dst")["metadata"]["a"]), ("NEARLINE", "1"))

    def test_conditions_on_the_source(self):
        etag = self.head("src +ü")["ETag"]
        now = datetime.now(timezone.utc)
        for condition in (
            {"CopySourceIfMatch": '"00"'}, {"CopySourceIfNoneMatch": etag}, {"CopySourceIfModifiedSince": now + HOUR},
            {"CopySourceIfUnmodifiedSince": now - HOUR},
        ):
            with self.subTest(condition):
                self.refused("PreconditionFailed", self.copy, **condition, status=412)
        self.assertIsNone(self.stored("dst"))
        self.copy(CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=now + HOUR)
        self.assertEqual(self.stored("dst")["sha256"], sha256(self.body))

    def test_conditions_on_the_target(self):
        self.copy(IfNoneMatch="*")
        self.refused("PreconditionFailed", self.copy, IfNoneMatch="*", status=412)
        self.refused("PreconditionFailed", self.copy, IfMatch='"00"', status=412)
        self.copy(IfMatch=self.head("dst")["ETag"])

    def test_missing_sources(self):
        self.refused("NoSuchKey", self.copy, CopySource=dict(self.source, Key=self.at + "none"), status=404)
        self.refused("NoSuchBucket", self.copy, CopySource=dict(self.source, Bucket="nobodys"), status=404)

    def test_copy_to_another_resource(self):
        target = {"Bucket": name("g-two"), "Key": self.at + "dst"}
        self.carried_out(self.s3.copy_object, **target, CopySource=self.source)
        got = self.s3.get_object(**target)
        self.assertEqual((got["Body"].read(), got["Metadata"], got["ContentType"]), (self.body, {"a": "1"}, "text/one"))


class Deletes(GcsCase):
    def test_what_is_not_there(self):
        answer = self.s3.delete_object(**self.where)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 204)

    def test_batch(self):
        keys = [self.at + key for key in ("a", "b c", "d+e", "ü/ñ", "amp&lt;", "a//b")]
        for key in keys:
            self.s3.put_object(Bucket=self.name, Key=key, Body=b"x")
        self.sent()
        asked = [{"Key": key} for key in [*keys, self.at + "was never there"]]
        answer = self.s3.delete_objects(Bucket=self.name, Delete={"Objects": asked})
        self.assertEqual([one["method"] for one in self.sent()], ["POST"])
        self.assertEqual([entry["Key"] for entry in answer["Deleted"]], [entry["Key"] for entry in asked])
        self.assertNotIn("Errors", answer)
        self.assertEqual([key for key in keys if stored(self.bucket, key)], [])

    def test_quiet_batch(self):
        self.put()
        answer = self.s3.delete_objects(Bucket=self.name, Delete={"Objects": [{"Key": self.where["Key"]}], "Quiet": True})
        self.assertEqual((answer.get("Deleted"), answer.get("Errors")), (None, None))
        self.assertIsNone(self.stored())

    def test_batch_of_a_thousand(self):
        keys = [f"{self.at}{number:04}" for number in range(1000)]
        seed(self.bucket, keys)
        answer = self.s3.delete_objects(Bucket=self.name, Delete={"Objects": [{"Key": key} for key in keys]})
        self.assertEqual(len(answer["Deleted"]), 1000)
        self.assertNotIn("Contents", self.s3.list_objects_v2(Bucket=self.name, Prefix=self.at))


class Tags(GcsCase):
    def tags(self, **where):
        return {tag["Key"]: tag["Value"] for tag in self.s3.get_object_tagging(**(where or self.where))["TagSet"]}

    def test_of_an_upload(self):
        self.put(Tagging="kind=test&city=Z%C3%BCrich&empty=")
        self.assertEqual(self.tags(), {"kind": "test", "city": "Zürich", "empty": ""})
        self.assertEqual(self.head()["TagCount"], 3)
        self.assertEqual(self.head()["Metadata"], {}, "tags are shown as metadata")

    def test_of_an_object_without(self):
        self.put()
        self.assertEqual(self.tags(), {})
        self.refused("NoSuchKey", self.s3.get_object_tagging, Bucket=self.name, Key=self.at + "none", status=404)

    def test_change_without_the_object(self):
        where = {"Bucket": name("g-account"), "Key": self.at + "k"}
        self.s3.put_object(**where, Body=b"x", Metadata={"m": "1"}, Tagging="a=1")
        before = stored("g-account", where["Key"])
        self.s3.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "k &=", "Value": "v ü"}]})
        self.assertEqual(self.tags(**where), {"k &=": "v ü"})
        after = stored("g-account", where["Key"])
        self.assertEqual((after["generation"], after["metadata"]["m"]), (before["generation"], "1"))
        self.s3.delete_object_tagging(**where)
        self.assertEqual(self.tags(**where), {})
        left = stored("g-account", where["Key"])
        self.assertEqual((user(left), "aqueduct_tags" in left["metadata"]), ({"m": "1"}, False))

    def test_change_with_hmac_keys(self):
        # Google's JSON API, which alone changes metadata in place, takes none.
        self.put(Metadata={"m": "1"})
        self.carried_out(self.s3.put_object_tagging, **self.where, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
        self.assertEqual((self.tags(), self.head()["Metadata"]), ({"k": "v"}, {"m": "1"}))

    def test_of_what_is_not_there(self):
        where = {"Bucket": name("g-account"), "Key": self.at + "none"}
        self.refused("NoSuchKey", self.s3.put_object_tagging, **where, Tagging={"TagSet": []}, status=404)


class Attributes(GcsCase):
    def test_of_an_object(self):
        etag = self.put(body=b"12345", StorageClass="STANDARD_IA")["ETag"]
        asked = ["ETag", "ObjectSize", "StorageClass", "Checksum", "ObjectParts"]
        answer = self.s3.get_object_attributes(**self.where, ObjectAttributes=asked)
        self.assertEqual(
            (answer["ETag"], answer["ObjectSize"], answer["StorageClass"]), (etag.strip('"'), 5, "STANDARD_IA")
        )
        self.refused("NoSuchKey", self.s3.get_object_attributes, Bucket=self.name, Key=self.at + "none",
                     ObjectAttributes=["ETag"], status=404)

    def test_what_was_never_configured(self):
        self.put()
        s3, bucket = self.s3, {"Bucket": self.name}
        self.assertEqual(s3.head_bucket(**bucket)["ResponseMetadata"]["HTTPStatusCode"], 200)
        s3.get_bucket_location(**bucket)
        self.assertNotIn("Status", s3.get_bucket_versioning(**bucket))
        self.assertEqual([grant["Permission"] for grant in s3.get_bucket_acl(**bucket)["Grants"]], ["FULL_CONTROL"])
        self.assertEqual([grant["Permission"] for grant in s3.get_object_acl(**self.where)["Grants"]], ["FULL_CONTROL"])
        self.refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, **bucket, status=404)
        self.refused("NoSuchCORSConfiguration", s3.get_bucket_cors, **bucket, status=404)
        self.refused("NoSuchBucketPolicy", s3.get_bucket_policy, **bucket, status=404)
        self.refused("NoSuchTagSet", s3.get_bucket_tagging, **bucket, status=404)


class Refusals(GcsCase):
    def test_what_cannot_be_expressed_is_refused_before_anything_is_sent(self):
        self.put()
        s3, bucket, where = self.s3, {"Bucket": self.name}, self.where
        rules = {"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
        cors = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}
        until = datetime.now(timezone.utc) + HOUR
        calls = {
            "object acl": lambda: s3.put_object_acl(**where, ACL="public-read"),
            "bucket acl": lambda: s3.put_bucket_acl(**bucket, ACL="public-read"),
            "acl of an upload": lambda: self.put(ACL="public-read"),
            "grants of an upload": lambda: self.put(GrantRead='uri="http://acs.amazonaws.com/groups/global/AllUsers"'),
            "versioning": lambda: s3.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Enabled"}),
            "lock configuration": lambda: s3.put_object_lock_configuration(
                **bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}),
            "retention": lambda: s3.put_object_retention(
                **where, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until}),
            "legal hold": lambda: s3.put_object_legal_hold(**where, LegalHold={"Status": "ON"}),
            "lock of an upload": lambda: self.put(ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until),
            "policy": lambda: s3.put_bucket_policy(**bucket, Policy="{}"),
            "lifecycle": lambda: s3.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration=rules),
            "cors": lambda: s3.put_bucket_cors(**bucket, CORSConfiguration=cors),
            "bucket tags": lambda: s3.put_bucket_tagging(**bucket, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]}),
            "website": lambda: s3.put_bucket_website(
                **bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "i"}}),
            "restore": lambda: s3.restore_object(**where, RestoreRequest={"Days": 1}),
            "key service": lambda: self.put(ServerSideEncryption="aws:kms", SSEKMSKeyId="k"),
            "unknown class": lambda: self.put(StorageClass="OUTPOSTS"),
            "torrent": lambda: s3.get_object_torrent(**where),
        }
        self.sent()
        for what, call in calls.items():
            with self.subTest(what):
                self.refused("NotImplemented", call, status=501)
                self.assert_nothing_sent()
        self.assertEqual(self.get()["Body"].read(), b"body")

    def test_wrong_bucket(self):
        self.refused("NoSuchBucket", self.s3.get_object, Bucket="nobodys", Key="k", status=404)
        self.refused("NoSuchBucket", self.s3.list_objects_v2, Bucket=name("one"), status=404)
        self.assert_nothing_sent()

    def test_wrong_key(self):
        key_id, secret = bed.BED["keys"]["gcs"]
        unknown = client(("AQDTNOBODYNOBODYNOBO", secret))
        self.refused("InvalidAccessKeyId", unknown.get_object, **self.where, status=403)
        forged = client((key_id, "x" * 40))
        self.refused("SignatureDoesNotMatch", forged.get_object, **self.where, status=403)
        self.refused(("AccessDenied", "NoSuchBucket"), client("admin").get_object, **self.where)
        self.assert_nothing_sent()

    def test_key_that_may_only_read(self):
        self.put()
        self.sent()
        reader = client("gcs_read")
        self.assertEqual(reader.get_object(**self.where)["Body"].read(), b"body")
        self.sent()
        self.refused("AccessDenied", reader.put_object, **self.where, Body=b"x", status=403)
        self.refused("AccessDenied", reader.delete_object, **self.where, status=403)
        self.assert_nothing_sent()

    def test_out_of_the_prefix(self):
        self.refused(("AccessDenied", "InvalidArgument", "InvalidURI"), self.put, "../../outside")
        self.assertEqual([one for one in control("names", bucket="g-upstream-one") if not one.startswith("team/g one/")], [])

    def test_names_of_our_own_are_refused_and_hidden(self):
        where = {"Bucket": self.name, "Key": ".aqueduct/x"}
        seed(self.bucket, [".aqueduct/x", self.at + "shown"])
        self.sent()
        self.refused(("AccessDenied", "InvalidArgument"), self.s3.put_object, **where, Body=b"x")
        self.refused(("AccessDenied", "NoSuchKey", "InvalidArgument"), self.s3.get_object, **where)
        self.assert_nothing_sent()
        for prefix, shown in ((".aq", []), (self.at, [self.at + "shown"])):
            listed = self.s3.list_objects_v2(Bucket=self.name, Prefix=prefix)
            self.assertEqual([entry["Key"] for entry in listed.get("Contents", [])], shown)
        self.assertNotIn("CommonPrefixes", self.s3.list_objects_v2(Bucket=self.name, Prefix=".a", Delimiter="/"))


class Failures(GcsCase):
    """What the store answers, and what the client hears."""

    def expect(self, fault, code, status, call=None):
        control("faults", [fault] * 5)
        answer = self.refused(code, call or self.put, status=status)
        control("faults", [])
        return answer

    def test_throttling_is_slow_down(self):
        fault = {"status": 429, "code": "SlowDown", "headers": {"Retry-After": "7"}}
        answer = self.expect(fault, "SlowDown", 503)
        self.assertEqual(answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"], "7")

    def test_a_refused_credential_is_not_the_clients(self):
        for status, code in ((401, "AuthenticationRequired"), (403, "SignatureDoesNotMatch"), (403, "InvalidAccessKeyId")):
            with self.subTest(code):
                answer = self.expect({"status": status, "code": code}, "AccessDenied", 403)
                self.assertNotIn("ordered by the suite", answer["Error"]["Message"])

    def test_a_missing_bucket_is_told(self):
        self.expect({"status": 404, "code": "NoSuchBucket"}, "NoSuchBucket", 404, self.get)

    def test_a_store_that_is_down(self):
        self.expect({"status": 503, "code": "ServiceUnavailable"}, ("ServiceUnavailable", "SlowDown"), 503)

    def test_a_read_is_tried_again(self):
        self.put()
        control("faults", [{"method": "GET", "status": 503, "code": "ServiceUnavailable"}])
        self.assertEqual(self.get()["Body"].read(), b"body")


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


class Versions(GcsCase):
    bucket = "g-account"

    def setUp(self):
        super().setUp()
        self.ids = []
        for body in (b"one", b"two!", b"three"):
            self.put(body=body)
            self.ids.append(self.stored()["generation"])

    def test_are_read_by_their_ids(self):
        for version, body in zip(self.ids, (b"one", b"two!", b"three")):
            got = self.get(VersionId=version)
            self.assertEqual((got["Body"].read(), got["VersionId"]), (body, version))
            self.assertEqual(self.head(VersionId=version)["ContentLength"], len(body))
        self.refused("NoSuchVersion", self.get, VersionId="1", status=404)
        self.refused("InvalidArgument", self.get, VersionId="nonsense", status=400)

    def test_are_listed_with_the_latest_marked(self):
        found = self.s3.list_object_versions(Bucket=self.name, Prefix=self.at)["Versions"]
        latest = {entry["VersionId"]: entry["IsLatest"] for entry in found}
        self.assertEqual(latest, {self.ids[0]: False, self.ids[1]: False, self.ids[2]: True})
        self.assertEqual({entry["Key"] for entry in found}, {self.where["Key"]})

    def test_are_listed_the_newest_first(self):
        found = self.s3.list_object_versions(Bucket=self.name, Prefix=self.at)["Versions"]
        self.assertEqual([entry["VersionId"] for entry in found], self.ids[::-1])

    def test_of_odd_keys_are_listed(self):
        keys = ["a b+c", "ü%2F", "x/y z"]
        for key in keys:
            self.put(key)
        found = self.s3.list_object_versions(Bucket=self.name, Prefix=self.at)["Versions"]
        self.assertEqual(sorted({entry["Key"] for entry in found}), sorted(self.at + key for key in [*keys, "k"]))

    def test_are_listed_by_pages(self):
        for number in range(3):
            self.put(f"k{number}")
        seen = []
        for page in self.s3.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix=self.at, PaginationConfig={"PageSize": 2}
        ):
            self.assertLessEqual(len(page["Versions"]), 2)
            seen += [(entry["Key"], entry["VersionId"]) for entry in page["Versions"]]
        self.assertEqual((len(seen), len(set(seen))), (6, 6))

    def test_are_deleted_alone(self):
        self.s3.delete_object(**self.where, VersionId=self.ids[0])
        self.refused("NoSuchVersion", self.get, VersionId=self.ids[0], status=404)
        self.assertEqual(self.get()["Body"].read(), b"three")
        self.s3.delete_object(**self.where)
        self.refused("NoSuchKey", self.get, status=404)
        self.assertEqual(self.get(VersionId=self.ids[1])["Body"].read(), b"two!")

    def test_are_deleted_in_a_batch(self):
        asked = [{"Key": self.where["Key"], "VersionId": version} for version in self.ids]
        answer = self.s3.delete_objects(Bucket=self.name, Delete={"Objects": asked})
        self.assertEqual({entry["VersionId"] for entry in answer["Deleted"]}, set(self.ids))
        self.assertNotIn("Versions", self.s3.list_object_versions(Bucket=self.name, Prefix=self.at))

    def test_are_copied(self):
        source = dict(self.where, VersionId=self.ids[0])
        self.s3.copy_object(Bucket=self.name, Key=self.at + "copy", CopySource=source)
        self.assertEqual(self.get("copy")["Body"].read(), b"one")


if __name__ == "__main__":
    bed.main()
