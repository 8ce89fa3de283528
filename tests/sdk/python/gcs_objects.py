"""boto3 over Cloud Storage: objects. Round trips, names, metadata, ranges, conditions, races, deletes, versions."""

import base64
import gzip
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

from botocore.exceptions import ClientError

import bed
import sigv4
from bed import MIB, client, name
from gcsbed import HOUR, GcsCase, control, quoted_md5, seed, sha256, stored, user
from s3_objects import ODD_KEYS


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
