"""boto3: who may do what. Signatures, presigned URLs, and each kind of key."""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request

import bed
from bed import Case, client, fresh, name, stored, through_aqueduct


def fetch(url, method="GET", body=None, headers=None):
    """A plain HTTP request: status and body, with no SDK in between."""
    target = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=30)
    try:
        connection.request(method, f"{target.path}?{target.query}" if target.query else target.path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Signatures(Case):
    def setUp(self):
        self.where = {"Bucket": name("one"), "Key": fresh("access") + "k ü"}

    def test_wrong_secret(self):
        key_id = bed.BED["keys"]["admin"][0]
        bad = client((key_id, "x" * 40))
        self.refused("SignatureDoesNotMatch", bad.put_object, **self.where, Body=b"x", status=403)
        self.refused("SignatureDoesNotMatch", bad.list_objects_v2, Bucket=name("one"), status=403)
        self.assertIsNone(stored("one", self.where["Key"]))

    def test_unknown_key(self):
        bad = client(("AQDTAAAAAAAAAAAAAAAA", "x" * 40))
        self.refused("InvalidAccessKeyId", bad.get_object, **self.where, status=403)
        self.refused("InvalidAccessKeyId", bad.list_buckets, status=403)

    def test_anonymous(self):
        status, body = fetch(f"{bed.url()}/{name('one')}/k")
        self.assertEqual(status, 403)
        self.assertIn(b"<Code>AccessDenied</Code>", body)

    def test_presigned_get_and_put(self):
        s3 = client()
        put = s3.generate_presigned_url("put_object", Params=self.where, ExpiresIn=60)
        self.assertEqual(fetch(put, "PUT", b"presigned")[0], 200)
        self.assertEqual(stored("one", self.where["Key"]), b"presigned")
        get = s3.generate_presigned_url("get_object", Params=self.where, ExpiresIn=60)
        self.assertEqual(fetch(get), (200, b"presigned"))
        override = dict(self.where, ResponseContentType="text/override")
        self.assertEqual(fetch(s3.generate_presigned_url("get_object", Params=override)), (200, b"presigned"))
        delete = s3.generate_presigned_url("delete_object", Params=self.where)
        self.assertEqual(fetch(delete, "DELETE")[0], 204)
        self.assertIsNone(stored("one", self.where["Key"]))

    def test_presigned_url_for_another_method_or_key(self):
        get = client().generate_presigned_url("get_object", Params=self.where)
        status, body = fetch(get, "PUT", b"x")
        self.assertEqual((status, b"SignatureDoesNotMatch" in body), (403, True))
        status, body = fetch(get.replace("/k%20", "/other%20"))
        self.assertEqual((status, b"SignatureDoesNotMatch" in body), (403, True))
        self.assertIsNone(stored("one", self.where["Key"]))

    def test_presigned_url_expires(self):
        get = client().generate_presigned_url("get_object", Params=self.where, ExpiresIn=1)
        time.sleep(2.1)  # The expiry is what is tested: the store's clock cannot be turned.
        status, body = fetch(get)
        self.assertEqual(status, 403)
        self.assertIn(b"<Code>AccessDenied</Code>", body)
        self.assertIn(b"xpired", body)

    @through_aqueduct
    def test_presigned_url_for_more_than_a_week(self):
        get = client().generate_presigned_url("get_object", Params=self.where, ExpiresIn=604_801)
        status, body = fetch(get)
        self.assertEqual(status, 400)
        self.assertIn(b"AuthorizationQueryParametersError", body)

    @through_aqueduct
    def test_two_credentials_at_once(self):
        get = client().generate_presigned_url("get_object", Params=self.where)
        status, body = fetch(get, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x"})
        self.assertEqual(status, 400)
        self.assertIn(b"<Error>", body)

    @through_aqueduct
    def test_unsigned_amz_header(self):
        put = client().generate_presigned_url("put_object", Params=self.where)
        status, body = fetch(put, "PUT", b"x", {"x-amz-acl": "public-read"})
        self.assertEqual((status, b"AccessDenied" in body), (403, True))
        self.assertIsNone(stored("one", self.where["Key"]))

    def test_signature_version_two_is_named(self):
        s3 = client(signature_version="s3")
        if bed.DIRECT:
            self.skipTest("only Aqueduct does this")
        self.refused(("InvalidRequest", "InvalidArgument"), s3.list_objects_v2, Bucket=name("one"), status=400)


@through_aqueduct
class Keys(Case):
    @classmethod
    def setUpClass(cls):
        cls.at = fresh("keys")
        client().put_object(Bucket=name("one"), Key=cls.at + "there", Body=b"there")

    def here(self, key="there", bucket="one"):
        return {"Bucket": name(bucket), "Key": self.at + key}

    def test_read_key(self):
        s3 = client("read")
        self.assertEqual(s3.get_object(**self.here())["Body"].read(), b"there")
        s3.head_object(**self.here())
        s3.list_objects_v2(Bucket=name("one"), Prefix=self.at)
        s3.get_object_tagging(**self.here())
        where = self.here("new")
        for call, more in [
            (s3.put_object, {"Body": b"x"}),
            (s3.delete_object, {}),
            (s3.create_multipart_upload, {}),
            (s3.put_object_tagging, {"Tagging": {"TagSet": []}}),
            (s3.copy_object, {"CopySource": self.here()}),
        ]:
            with self.subTest(call.__name__):
                self.refused("AccessDenied", call, **where, **more, status=403)
        self.refused(
            "AccessDenied",
            s3.delete_objects,
            Bucket=name("one"),
            Delete={"Objects": [{"Key": self.at + "there"}]},
            status=403,
        )
        self.assertEqual(stored("one", self.at + "there"), b"there")
        self.assertIsNone(stored("one", self.at + "new"))

    def test_write_key(self):
        s3 = client("write")
        s3.put_object(**self.here("w"), Body=b"w")
        self.assertEqual(s3.get_object(**self.here("w"))["Body"].read(), b"w")
        s3.delete_object(**self.here("w"))
        self.refused("AccessDenied", s3.put_bucket_versioning, Bucket=name("one"),
                     VersioningConfiguration={"Status": "Enabled"}, status=403)
        self.refused("AccessDenied", s3.create_bucket, Bucket="a-new-bucket", status=403)
        self.refused("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket=name("one"), status=409)
        self.refused("AccessDenied", s3.delete_bucket, Bucket=name("one"), status=403)

    def test_write_only_key(self):
        s3 = client("write_only")
        s3.put_object(**self.here("wo"), Body=b"wo")
        self.refused("AccessDenied", s3.get_object, **self.here("wo"), status=403)
        self.refused("403", s3.head_object, **self.here("wo"), status=403)
        self.refused("AccessDenied", s3.list_objects_v2, Bucket=name("one"), status=403)
        upload = s3.create_multipart_upload(**self.here("wo2"))["UploadId"]
        s3.abort_multipart_upload(**self.here("wo2"), UploadId=upload)
        s3.delete_object(**self.here("wo"))

    def test_key_confined_to_a_prefix(self):
        s3 = client("prefix")
        inside = {"Bucket": name("one"), "Key": "inside/" + self.at + "k"}
        s3.put_object(**inside, Body=b"in")
        self.assertEqual(s3.get_object(**inside)["Body"].read(), b"in")
        s3.list_objects_v2(Bucket=name("one"), Prefix="inside/")
        self.refused("AccessDenied", s3.get_object, **self.here(), status=403)
        self.refused("AccessDenied", s3.put_object, **self.here("x"), Body=b"x", status=403)
        self.refused("AccessDenied", s3.list_objects_v2, Bucket=name("one"), status=403)
        self.refused("AccessDenied", s3.list_objects_v2, Bucket=name("one"), Prefix="insid", status=403)
        self.refused("AccessDenied", s3.get_object, Bucket=name("one"), Key="inside/../x", status=403)
        self.refused("AccessDenied", s3.get_object, Bucket=name("two"), Key="inside/k", status=403)
        copy = dict(inside, Key="inside/" + self.at + "copy")
        self.refused("AccessDenied", s3.copy_object, **copy, CopySource=self.here(), status=403)

    def test_batch_delete_is_authorised_entry_by_entry(self):
        s3 = client("prefix")
        inside = "inside/" + self.at + "victim"
        s3.put_object(Bucket=name("one"), Key=inside, Body=b"x")
        outside = [self.at + "there", "inside/../" + self.at + "there"]
        denied = [(key, "AccessDenied") for key in outside]
        for quiet in (False, True):
            with self.subTest(quiet=quiet):
                s3.put_object(Bucket=name("one"), Key=inside, Body=b"x")
                mixed = {"Objects": [{"Key": key} for key in (inside, *outside)], "Quiet": quiet}
                answer = s3.delete_objects(Bucket=name("one"), Delete=mixed)
                self.assertEqual([(entry["Key"], entry["Code"]) for entry in answer["Errors"]], denied)
                self.assertEqual([entry["Key"] for entry in answer.get("Deleted", [])], [] if quiet else [inside])
                self.assertIsNone(stored("one", inside))
        only = {"Objects": [{"Key": key} for key in outside]}
        answer = s3.delete_objects(Bucket=name("one"), Delete=only)
        self.assertEqual([(entry["Key"], entry["Code"]) for entry in answer["Errors"]], denied)
        self.assertNotIn("Deleted", answer)
        self.assertEqual(stored("one", self.at + "there"), b"there")
        self.refused("AccessDenied", s3.delete_objects, Bucket=name("two"), Delete=only, status=403)
        s3.put_object(Bucket=name("one"), Key=inside, Body=b"x")
        s3.delete_objects(Bucket=name("one"), Delete={"Objects": [{"Key": inside}]})
        self.assertIsNone(stored("one", inside))

    def test_key_confined_to_a_bucket(self):
        s3 = client("bucket")
        s3.put_object(**self.here("b", "two"), Body=b"b")
        self.refused("AccessDenied", s3.get_object, **self.here(), status=403)
        self.assertEqual([entry["Name"] for entry in s3.list_buckets()["Buckets"]], [name("two")])

    def test_expired_and_disabled_keys(self):
        for key in ("expired", "disabled"):
            with self.subTest(key):
                codes = ("InvalidAccessKeyId", "AccessDenied", "ExpiredToken")
                self.refused(codes, client(key).get_object, **self.here(), status=403)

    def test_another_repository_cannot_be_reached(self):
        mine, other = client(), client("elsewhere")
        other.put_object(Bucket=name("elsewhere"), Key=self.at + "k", Body=b"theirs")
        self.refused("NoSuchBucket", mine.get_object, Bucket=name("elsewhere"), Key=self.at + "k", status=404)
        self.refused("NoSuchBucket", other.get_object, **self.here(), status=404)
        self.assertEqual([entry["Name"] for entry in other.list_buckets()["Buckets"]], [name("elsewhere")])
        upload = other.create_multipart_upload(Bucket=name("elsewhere"), Key="m")["UploadId"]
        self.refused("NoSuchUpload", mine.upload_part, **self.here("m"), UploadId=upload, PartNumber=1, Body=b"x")
        other.abort_multipart_upload(Bucket=name("elsewhere"), Key="m", UploadId=upload)

    def test_upstream_names_are_not_names_of_ours(self):
        self.refused("NoSuchBucket", client().get_object, Bucket="upstream-one", Key="k", status=404)


if __name__ == "__main__":
    bed.main()
