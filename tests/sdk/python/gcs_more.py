"""boto3 over Cloud Storage: copies, tags, attributes, presigned requests, what is refused and what failures become."""

import urllib.error
import urllib.request
from datetime import datetime, timezone

import bed
from bed import client, name
from gcsbed import HOUR, GcsCase, control, seed, sha256, stored, user


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
        self.assertEqual(status, 204, answer)
        found = self.stored()
        self.assertEqual((found["sha256"], found["content"], user(found)),
                         (sha256(b"by form"), {"content-type": "text/form"}, {"m": "1"}))
        # Longer than the policy allows.
        large = out + b"x" * 1001 + f"\r\n--{boundary}--\r\n".encode()
        self.assertEqual(self.ask("POST", form["url"], large, headers)[0], 400)
        self.assertEqual(self.stored()["sha256"], sha256(b"by form"))


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
        self.assertEqual([one for one in control("names", bucket="g-upstream-one") if not one.startswith(("team/g one/", "cross/"))], [])

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


if __name__ == "__main__":
    bed.main()
