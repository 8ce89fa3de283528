"""boto3: objects. Names, ranges, conditions, metadata, copies, tags, batch deletes, lists."""

import unittest
import urllib.parse
from datetime import datetime, timedelta, timezone

import bed
from bed import MIB, Case, client, fresh, name, stored, through_aqueduct

# Legal names that proxies are known to damage. SeaweedFS itself cannot hold some of them; those are
# proven against our own origin (tests/it).
ODD_KEYS = [
    "plain",
    "with space",
    "plus+sign",
    "percent%2Fslash",
    "percent%41letter",
    "equals=and&amp;semi;colon",
    "quotes'\"and`ticks",
    "brackets[]{}()<>",
    "caret^pipe|tilde~",
    "at@colon:comma,dollar$bang!star*",
    "question?hash#",
    "ünïcödé/дом/日本語/🌍",
    "combining-e\u0301-vs-\u00e9",
    "trailing-dot.",
    "dots...dots",
    "dir/sub/leaf",
    ".hidden",
]


# Azure drops a dot at the end of a name: such a key is refused, before it could come back as another.
MANGLED = {"trailing-dot."} if bed.STORE == "azure" else set()
# Azure takes no letters beyond ASCII in tags.
CITY = "Zurich" if bed.STORE == "azure" else "Zürich"


class Objects(Case):
    def setUp(self):
        self.s3 = client()
        self.bucket = name("one")
        self.at = fresh("objects")

    def put(self, key, body=b"body", **more):
        return self.s3.put_object(Bucket=self.bucket, Key=self.at + key, Body=body, **more)

    def get(self, key, **more):
        return self.s3.get_object(Bucket=self.bucket, Key=self.at + key, **more)

    def test_put_get_head_delete(self):
        body = bed.random_bytes(70_000)
        etag = self.put("a", body, ContentType="text/x-test")["ETag"]
        got = self.get("a")
        self.assertEqual(got["Body"].read(), body)
        self.assertEqual((got["ETag"], got["ContentType"]), (etag, "text/x-test"))
        head = self.s3.head_object(Bucket=self.bucket, Key=self.at + "a")
        self.assertEqual((head["ContentLength"], head["ETag"]), (70_000, etag))
        self.assertEqual(stored("one", self.at + "a"), body)
        self.s3.delete_object(Bucket=self.bucket, Key=self.at + "a")
        self.refused("NoSuchKey", self.get, "a", status=404)
        self.refused("404", self.s3.head_object, Bucket=self.bucket, Key=self.at + "a", status=404)
        self.assertIsNone(stored("one", self.at + "a"))

    def test_deleting_what_is_not_there_succeeds(self):
        answer = self.s3.delete_object(Bucket=self.bucket, Key=self.at + "none")
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 204)

    def test_empty_object(self):
        self.put("empty", b"")
        self.assertEqual(self.get("empty")["Body"].read(), b"")
        self.assertEqual(self.get("empty")["ContentLength"], 0)

    def test_all_buckets_of_the_repository(self):
        for bucket in ("one", "two", "three"):
            with self.subTest(bucket):
                self.s3.put_object(Bucket=name(bucket), Key=self.at + "k", Body=bucket.encode())
                got = self.s3.get_object(Bucket=name(bucket), Key=self.at + "k")["Body"].read()
                self.assertEqual(got, bucket.encode())
                self.assertEqual(stored(bucket, self.at + "k"), bucket.encode())

    def test_odd_keys_are_kept_byte_for_byte(self):
        kept = [key for key in ODD_KEYS if key not in MANGLED]
        for key in MANGLED:
            self.refused("InvalidArgument", self.put, key, b"x", status=400)
        for index, key in enumerate(kept):
            with self.subTest(key):
                body = f"body {index}".encode()
                self.put(key, body)
                self.assertEqual(self.get(key)["Body"].read(), body)
                self.assertEqual(stored("one", self.at + key), body)
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.at)["Contents"]
        self.assertEqual(sorted(entry["Key"] for entry in found), sorted(self.at + key for key in kept))

    def test_key_of_1024_bytes(self):
        prefix = bed.BED["buckets"]["one"]["prefix"]
        # Segments stay below 255 bytes, which is what a file system below the store takes.
        key = "/".join("k" * 200 for _ in range(6))[: 1023 - len(prefix) - len(self.at)] + "z"
        self.put(key, b"long")
        self.assertEqual(self.get(key)["Body"].read(), b"long")

    @through_aqueduct
    def test_key_over_1024_bytes_is_refused(self):
        self.refused("KeyTooLongError", self.put, "k" * 1024, status=400)

    def test_double_slash_is_not_collapsed(self):
        # Written and read back only: SeaweedFS keeps it as `a/b`. Our own origin proves the bytes (tests/it).
        self.put("a//b", b"double")
        self.assertEqual(self.get("a//b")["Body"].read(), b"double")

    def test_ranges(self):
        body = bed.random_bytes(10_000)
        self.put("r", body)
        for asked, part, content_range in [
            ("bytes=0-0", body[:1], "bytes 0-0/10000"),
            ("bytes=100-199", body[100:200], "bytes 100-199/10000"),
            ("bytes=9990-", body[9990:], "bytes 9990-9999/10000"),
            ("bytes=-10", body[-10:], "bytes 9990-9999/10000"),
            ("bytes=9990-20000", body[9990:], "bytes 9990-9999/10000"),
        ]:
            with self.subTest(asked):
                got = self.get("r", Range=asked)
                self.assertEqual(got["Body"].read(), part)
                self.assertEqual(got["ContentRange"], content_range)
                self.assertEqual(got["ResponseMetadata"]["HTTPStatusCode"], 206)
        self.refused("InvalidRange", self.get, "r", Range="bytes=10000-", status=416)

    def test_conditional_get_and_head(self):
        etag = self.put("c", b"conditional")["ETag"]
        hour = timedelta(hours=1)
        now = datetime.now(timezone.utc)
        self.assertEqual(self.get("c", IfMatch=etag)["Body"].read(), b"conditional")
        self.refused("PreconditionFailed", self.get, "c", IfMatch='"00"', status=412)
        self.refused("304", self.get, "c", IfNoneMatch=etag, status=304)
        self.assertEqual(self.get("c", IfNoneMatch='"00"')["Body"].read(), b"conditional")
        self.refused("304", self.get, "c", IfModifiedSince=now + hour, status=304)
        self.refused("PreconditionFailed", self.get, "c", IfUnmodifiedSince=now - hour, status=412)
        head = {"Bucket": self.bucket, "Key": self.at + "c"}
        self.refused("304", self.s3.head_object, **head, IfNoneMatch=etag, status=304)
        self.refused("412", self.s3.head_object, **head, IfMatch='"00"', status=412)

    def test_conditional_put(self):
        self.put("p", b"first", IfNoneMatch="*")
        self.refused("PreconditionFailed", self.put, "p", b"second", IfNoneMatch="*", status=412)
        etag = self.get("p")["ETag"]
        self.refused("PreconditionFailed", self.put, "p", b"third", IfMatch='"00"', status=412)
        self.put("p", b"fourth", IfMatch=etag)
        self.assertEqual(self.get("p")["Body"].read(), b"fourth")

    def test_metadata_and_standard_headers(self):
        sent = {
            "ContentType": "text/html; charset=utf-8",
            "CacheControl": "max-age=60, public",
            "ContentDisposition": 'attachment; filename="a b.txt"',
            "ContentEncoding": "identity",
            "ContentLanguage": "de-CH",
            "Metadata": {"plain": "value", "with-dash": "a  b", "encoded": urllib.parse.quote("zürich 🌍")},
        }
        self.put("m", b"meta", **sent)
        for answer in (self.get("m"), self.s3.head_object(Bucket=self.bucket, Key=self.at + "m")):
            for field, value in sent.items():
                with self.subTest(field):
                    if field == "Metadata":
                        value = dict(value, **{"with-dash": answer["Metadata"].get("with-dash")})
                        self.assertEqual(answer["Metadata"]["with-dash"].split(), ["a", "b"])
                    self.assertEqual(answer[field], value)

    def test_response_overrides(self):
        self.put("o", b"override")
        got = self.get("o", ResponseContentType="text/override", ResponseCacheControl="no-cache")
        self.assertEqual((got["ContentType"], got["CacheControl"]), ("text/override", "no-cache"))

    def test_copy_within_a_bucket(self):
        self.put("src +ü", b"to be copied", Metadata={"a": "1"}, ContentType="text/one")
        source = {"Bucket": self.bucket, "Key": self.at + "src +ü"}
        answer = self.s3.copy_object(Bucket=self.bucket, Key=self.at + "dst", CopySource=source)
        self.assertTrue(answer["CopyObjectResult"]["ETag"])
        got = self.get("dst")
        self.assertEqual(got["Body"].read(), b"to be copied")
        self.assertEqual((got["Metadata"], got["ContentType"]), ({"a": "1"}, "text/one"))
        self.s3.copy_object(
            Bucket=self.bucket,
            Key=self.at + "dst2",
            CopySource=source,
            MetadataDirective="REPLACE",
            Metadata={"b": "2"},
            ContentType="text/two",
        )
        got = self.get("dst2")
        self.assertEqual((got["Metadata"], got["ContentType"]), ({"b": "2"}, "text/two"))
        missing = dict(source, Key=self.at + "nothing")
        self.refused("NoSuchKey", self.s3.copy_object, Bucket=self.bucket, Key=self.at + "x", CopySource=missing)
        self.refused(
            "PreconditionFailed",
            self.s3.copy_object,
            Bucket=self.bucket,
            Key=self.at + "x",
            CopySource=source,
            CopySourceIfMatch='"00"',
        )

    @through_aqueduct
    def test_copy_between_two_accounts(self):
        body = bed.random_bytes(3 * MIB + 1)
        self.put("src +ü", body, Metadata={"a": "1"}, ContentType="text/one", Tagging=urllib.parse.urlencode({"k": "v", "city": CITY}))
        source = {"Bucket": self.bucket, "Key": self.at + "src +ü"}
        target = {"Bucket": name("two"), "Key": self.at + "dst"}
        done = self.s3.copy_object(**target, CopySource=source)
        got = self.s3.get_object(**target)
        self.assertEqual(got["Body"].read(), body)
        self.assertEqual((got["Metadata"], got["ContentType"]), ({"a": "1"}, "text/one"))
        self.assertEqual(done["CopyObjectResult"]["ETag"], got["ETag"])
        self.assertLess(abs((done["CopyObjectResult"]["LastModified"] - got["LastModified"]).total_seconds()), 60)
        tags = self.s3.get_object_tagging(**target)["TagSet"]
        self.assertEqual({t["Key"]: t["Value"] for t in tags}, {"k": "v", "city": CITY})
        # And back, over TLS, with attributes of its own.
        back = {"Bucket": self.bucket, "Key": self.at + "back"}
        replaced = {"MetadataDirective": "REPLACE", "Metadata": {"b": "2"}, "ContentType": "text/two"}
        client(scheme="https").copy_object(**back, **replaced, CopySource=target, TaggingDirective="REPLACE")
        got = self.get("back")
        self.assertEqual((got["Metadata"], got["ContentType"]), ({"b": "2"}, "text/two"))
        self.assertEqual(got["Body"].read(), body)
        self.assertEqual(self.s3.get_object_tagging(**back)["TagSet"], [])

    @through_aqueduct
    def test_conditions_between_two_accounts(self):
        tag = self.put("src", b"x")["ETag"]
        source = {"Bucket": self.bucket, "Key": self.at + "src"}
        target = {"Bucket": name("two"), "Key": self.at + "dst"}
        for condition in ({"CopySourceIfMatch": '"00"'}, {"CopySourceIfNoneMatch": tag}):
            self.refused("PreconditionFailed", self.s3.copy_object, **target, CopySource=source, **condition, status=412)
        missing = dict(source, Key=self.at + "nothing")
        self.refused("NoSuchKey", self.s3.copy_object, **target, CopySource=missing, status=404)
        self.assertIsNone(stored("two", target["Key"]))
        self.s3.copy_object(**target, CopySource=source, CopySourceIfMatch=tag)
        self.assertEqual(stored("two", target["Key"]), b"x")

    @through_aqueduct
    def test_empty_objects_are_copied_between_two_accounts(self):
        self.put("empty", b"")
        source = {"Bucket": self.bucket, "Key": self.at + "empty"}
        self.s3.copy_object(Bucket=name("two"), Key=self.at + "empty", CopySource=source)
        self.assertEqual(stored("two", self.at + "empty"), b"")

    @through_aqueduct
    def test_copy_from_another_repository_is_refused(self):
        source = {"Bucket": name("elsewhere"), "Key": "secret"}
        self.refused(
            ("NoSuchBucket", "AccessDenied"),
            self.s3.copy_object,
            Bucket=self.bucket,
            Key=self.at + "dst",
            CopySource=source,
        )

    def test_tagging(self):
        # At GCS tags are metadata, which HMAC keys cannot change; the third bucket has a service account.
        bucket = name("three") if bed.STORE == "gcs" else self.bucket
        where = {"Bucket": bucket, "Key": self.at + "t"}
        self.s3.put_object(**where, Body=b"tagged", Tagging=urllib.parse.urlencode({"kind": "test", "city": CITY}))
        tags = self.s3.get_object_tagging(**where)["TagSet"]
        self.assertEqual({t["Key"]: t["Value"] for t in tags}, {"kind": "test", "city": CITY})
        self.s3.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
        self.assertEqual(self.s3.get_object_tagging(**where)["TagSet"], [{"Key": "k", "Value": "v"}])
        self.s3.delete_object_tagging(**where)
        self.assertEqual(self.s3.get_object_tagging(**where)["TagSet"], [])

    def test_batch_delete(self):
        keys = [self.at + key for key in ("a", "b c", "d+e", "ü/ñ", "amp&lt;")]
        for key in keys:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"x")
        answer = self.s3.delete_objects(
            Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in keys + [self.at + "missing"]]}
        )
        self.assertEqual(sorted(d["Key"] for d in answer["Deleted"]), sorted(keys + [self.at + "missing"]))
        self.assertNotIn("Errors", answer)
        self.assertEqual(self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.at)["KeyCount"], 0)

    def test_batch_delete_quiet(self):
        self.put("q")
        answer = self.s3.delete_objects(
            Bucket=self.bucket, Delete={"Quiet": True, "Objects": [{"Key": self.at + "q"}]}
        )
        self.assertNotIn("Deleted", answer)
        self.assertIsNone(stored("one", self.at + "q"))

    def test_object_attributes(self):
        self.put("attr", b"12345")
        answer = self.s3.get_object_attributes(
            Bucket=self.bucket, Key=self.at + "attr", ObjectAttributes=["ObjectSize", "ETag"]
        )
        self.assertEqual(answer["ObjectSize"], 5)


class Lists(Case):
    @classmethod
    def setUpClass(cls):
        cls.s3 = client()
        cls.bucket = name("one")
        cls.at = fresh("lists")
        cls.keys = [f"{cls.at}{key}" for key in ("a", "b/1", "b/2", "b/c/3", "d e", "f+g", "ü", "z")]
        for key in cls.keys:
            cls.s3.put_object(Bucket=cls.bucket, Key=key, Body=b"12345")

    def pages(self, operation, **more):
        pages = self.s3.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=self.at, **more)
        contents, prefixes, count = [], [], 0
        for page in pages:
            count += 1
            contents += [entry["Key"] for entry in page.get("Contents", [])]
            prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        return contents, prefixes, count

    def test_flat(self):
        for operation in ("list_objects_v2", "list_objects"):
            with self.subTest(operation):
                contents, prefixes, _ = self.pages(operation)
                self.assertEqual((contents, prefixes), (sorted(self.keys), []))

    def test_delimiter(self):
        for operation in ("list_objects_v2", "list_objects"):
            with self.subTest(operation):
                contents, prefixes, _ = self.pages(operation, Delimiter="/")
                self.assertEqual(contents, [k for k in sorted(self.keys) if "/" not in k[len(self.at) :]])
                self.assertEqual(prefixes, [self.at + "b/"])

    def test_pages(self):
        for operation in ("list_objects_v2", "list_objects"):
            for delimiter in ({}, {"Delimiter": "/"}):
                with self.subTest(operation, **delimiter):
                    whole = self.pages(operation, **delimiter)
                    paged = self.pages(operation, PaginationConfig={"PageSize": 2}, **delimiter)
                    # Asked for by the URL coding, SeaweedFS leaves `+` as it is in NextMarker, and so repeats it.
                    self.assertEqual(sorted(set(paged[0])), whole[0])
                    self.assertEqual(paged[1], whole[1])
                    self.assertGreater(paged[2], 2)

    def test_start_after_and_marker(self):
        after = self.at + "b/2"
        rest = [key for key in sorted(self.keys) if key > after]
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.at, StartAfter=after)
        self.assertEqual([entry["Key"] for entry in found["Contents"]], rest)
        self.assertEqual(found["StartAfter"], after)
        found = self.s3.list_objects(Bucket=self.bucket, Prefix=self.at, Marker=after)
        self.assertEqual([entry["Key"] for entry in found["Contents"]], rest)

    def test_encoding_type_url(self):
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.at, EncodingType="url")
        self.assertEqual(found["EncodingType"], "url")
        keys = [urllib.parse.unquote_plus(entry["Key"]) for entry in found["Contents"]]
        self.assertEqual(keys, sorted(self.keys))

    def test_answer_speaks_the_exposed_names(self):
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.at, Delimiter="/", MaxKeys=1)
        self.assertEqual((found["Name"], found["Prefix"]), (self.bucket, self.at))
        self.assertTrue(found["IsTruncated"])
        entry = found["Contents"][0]
        self.assertEqual((entry["Key"], entry["Size"]), (self.keys[0], 5))

    def test_nothing_found(self):
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.at + "nothing")
        self.assertEqual((found["KeyCount"], found["IsTruncated"]), (0, False))

    def test_whole_bucket_hides_what_is_outside_the_prefix(self):
        outside = fresh("outside") + "x"
        place = bed.BED["buckets"]["one"]
        if not place["prefix"]:
            self.skipTest("no prefix in direct mode")
        bed.put_past("one", outside, b"hidden")
        contents = []
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            contents += [entry["Key"] for entry in page.get("Contents", [])]
        self.assertTrue(set(self.keys) <= set(contents))
        self.assertFalse([key for key in contents if "outside" in key or place["prefix"] in key])


class Buckets(Case):
    @through_aqueduct
    def test_list_buckets_shows_exposed_names_only(self):
        found = client().list_buckets()
        self.assertEqual(
            sorted(entry["Name"] for entry in found["Buckets"]), sorted(name(b) for b in ("one", "two", "three"))
        )
        self.assertTrue(all(entry["CreationDate"] for entry in found["Buckets"]))

    def test_head_bucket_and_location(self):
        for bucket in ("one", "two", "three"):
            with self.subTest(bucket):
                self.assertTrue(client().head_bucket(Bucket=name(bucket)))
                client().get_bucket_location(Bucket=name(bucket))

    def test_missing_bucket(self):
        missing = "no-such-bucket-here"
        self.refused("404", client().head_bucket, Bucket=missing, status=404)
        self.refused("NoSuchBucket", client().get_object, Bucket=missing, Key="k", status=404)
        self.refused("NoSuchBucket", client().list_objects_v2, Bucket=missing, status=404)

    def test_bucket_subresources_read(self):
        s3 = client()
        self.assertIn(s3.get_bucket_versioning(Bucket=name("two")).get("Status"), (None, "Suspended"))
        self.refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket=name("two"))
        self.refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket=name("two"))

    def test_error_documents_name_what_the_client_asked_for(self):
        answer = self.refused("NoSuchKey", client().get_object, Bucket=name("one"), Key="not/there")
        text = str(answer)
        if not bed.DIRECT:
            place = bed.BED["buckets"]["one"]
            self.assertNotIn(place["upstream"], text)
            self.assertNotIn(place["prefix"], text)
            self.assertTrue(answer["ResponseMetadata"]["RequestId"])


class VirtualHost(Case):
    def test_put_get_list(self):
        s3 = client(style="virtual")
        at = fresh("vhost")
        for bucket in ("one", "two"):
            with self.subTest(bucket):
                s3.put_object(Bucket=name(bucket), Key=at + "a b/ü", Body=b"virtual")
                self.assertEqual(s3.get_object(Bucket=name(bucket), Key=at + "a b/ü")["Body"].read(), b"virtual")
                self.assertEqual(stored(bucket, at + "a b/ü"), b"virtual")
                found = s3.list_objects_v2(Bucket=name(bucket), Prefix=at)
                self.assertEqual([entry["Key"] for entry in found["Contents"]], [at + "a b/ü"])

    def test_dotted_bucket(self):
        s3 = client(style="virtual")
        at = fresh("vhost")
        s3.put_object(Bucket=name("three"), Key=at + "k", Body=b"dotted")
        self.assertEqual(stored("three", at + "k"), b"dotted")


if __name__ == "__main__":
    bed.main()
