"""boto3, s3cmd and rclone with Signature Version 2, where a repository takes it: heads, presigned URLs, forms."""

import configparser
import http.client
import time
import urllib.parse

import bed
import urllib3
from bed import MIB, Case, client, fresh, name, stored, through_aqueduct
from s3_access import fetch
from s3_tools import Tool

# The S3 store's first repository refuses it, as by default.
KEY, PLACE = ("elsewhere", "elsewhere") if bed.STORE == "s3" else ("admin", "one")


def old(scheme="http", style="path", key=KEY, **more):
    return client(key, scheme, style, signature_version="s3", **more)


def presigner():
    return client(KEY, signature_version="s3-query")


@through_aqueduct
class Heads(Case):
    def setUp(self):
        self.bucket, self.at = name(PLACE), fresh("v2")

    def where(self, key="k"):
        return {"Bucket": self.bucket, "Key": self.at + key}

    def test_objects(self):
        for scheme in bed.schemes():
            for style in ("path", "virtual"):
                with self.subTest(scheme=scheme, style=style):
                    s3, where, body = old(scheme, style), self.where(f"{scheme} {style} ü+~!'.bin"), bed.random_bytes(70_000)
                    made = s3.put_object(**where, Body=body, ContentType="text/x-old", Metadata={"colour": "blue"})
                    self.assertEqual(stored(PLACE, where["Key"]), body)
                    found = s3.head_object(**where)
                    self.assertEqual((found["ETag"], found["ContentType"], found["Metadata"]),
                                     (made["ETag"], "text/x-old", {"colour": "blue"}))
                    self.assertEqual(s3.get_object(**where, Range="bytes=10-29")["Body"].read(), body[10:30])
                    shown = s3.get_object(**where, ResponseContentType="text/plain; charset=x", ResponseExpires="7")
                    self.assertEqual(shown["ContentType"], "text/plain; charset=x")
                    listed = s3.list_objects_v2(Bucket=self.bucket, Prefix=where["Key"])["Contents"]
                    self.assertEqual([one["Key"] for one in listed], [where["Key"]])
                    listed = s3.list_objects(Bucket=self.bucket, Prefix=self.at, Delimiter="/", MaxKeys=1)
                    self.assertEqual(len(listed["Contents"]), 1)
                    s3.head_bucket(Bucket=self.bucket)
                    copy = self.where("copy")
                    s3.copy_object(**copy, CopySource=where)
                    gone = [{"Key": where["Key"]}, {"Key": copy["Key"]}]
                    self.assertEqual(len(s3.delete_objects(Bucket=self.bucket, Delete={"Objects": gone})["Deleted"]), 2)
                    self.refused("NoSuchKey", s3.get_object, **where)

    def test_buckets(self):
        self.assertIn(self.bucket, [one["Name"] for one in old().list_buckets()["Buckets"]])

    def test_upload_in_parts(self):
        s3, where, body = old(), self.where(), bed.random_bytes(5 * MIB + 9)
        upload = dict(where, UploadId=s3.create_multipart_upload(**where)["UploadId"])
        cuts = [body[: 5 * MIB], body[5 * MIB :]]
        parts = [{"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=cut)["ETag"]}
                 for n, cut in enumerate(cuts, 1)]
        self.assertEqual([part["Size"] for part in s3.list_parts(**upload)["Parts"]], [5 * MIB, 9])
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        self.assertEqual(stored(PLACE, where["Key"]), body)
        self.assertNotIn("Uploads", s3.list_multipart_uploads(Bucket=self.bucket, Prefix=where["Key"]))

    def test_a_body_that_was_changed_is_not_stored(self):
        # It is not signed, so its own checksum alone can tell.
        s3, where = old(), self.where()
        def bend(request, **_):
            request.body = b"changed"
        s3.meta.events.register("before-send.s3.PutObject", bend)
        self.refused({"BadDigest", "InvalidDigest"}, s3.put_object, **where, Body=b"content", ChecksumAlgorithm="SHA256")
        self.assertIsNone(stored(PLACE, where["Key"]))

    def test_refusals(self):
        where = self.where()
        key_id = bed.BED["keys"][KEY][0]
        bad = old(key=(key_id, "x" * 40))
        self.refused("SignatureDoesNotMatch", bad.put_object, **where, Body=b"x", status=403)
        unknown = old(key=("AQDTAAAAAAAAAAAAAAAA", "x" * 40))
        self.refused("InvalidAccessKeyId", unknown.put_object, **where, Body=b"x", status=403)
        # What this version does not sign must not be chosen by somebody else.
        self.refused("InvalidRequest", old().get_object_attributes, **where, ObjectAttributes=["ETag"], status=400)
        late = old()
        late.meta.events.register("before-call.s3.PutObject", lambda params, **_: params["headers"].update(
            {"x-amz-date": "Tue, 06 Jul 2010 21:53:04 GMT"}))
        self.refused("RequestTimeTooSkewed", late.put_object, **where, Body=b"x", status=403)
        self.assertIsNone(stored(PLACE, where["Key"]))

    @bed.unless("gcs", "azure", why="the repository of all clouds is asked once")
    def test_over_tls_alone(self):
        where = {"Bucket": name("x-s3"), "Key": self.at + "k"}
        self.refused("AccessDenied", old(key="cross").put_object, **where, Body=b"x", status=403)
        old("https", key="cross").put_object(**where, Body=b"over TLS")
        self.assertEqual(stored("x-s3", where["Key"]), b"over TLS")
        url = client("cross", signature_version="s3-query").generate_presigned_url("get_object", Params=where)
        status, body = fetch(url)
        self.assertEqual((status, b"AccessDenied" in body), (403, True))


@through_aqueduct
class Presigned(Case):
    def setUp(self):
        self.where = {"Bucket": name(PLACE), "Key": fresh("v2") + "k ü+"}

    def test_get_and_put(self):
        s3 = presigner()
        put = s3.generate_presigned_url("put_object", Params=self.where, ExpiresIn=60)
        self.assertIn("AWSAccessKeyId=", put)
        self.assertEqual(fetch(put, "PUT", b"presigned")[0], 200)
        self.assertEqual(stored(PLACE, self.where["Key"]), b"presigned")
        get = s3.generate_presigned_url("get_object", Params=self.where, ExpiresIn=60)
        self.assertEqual(fetch(get), (200, b"presigned"))
        shown = dict(self.where, ResponseContentType="text/override; a=b", ResponseCacheControl="no-store")
        link = urllib.parse.urlsplit(s3.generate_presigned_url("get_object", Params=shown))
        connection = http.client.HTTPConnection(link.netloc, timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", f"{link.path}?{link.query}")
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/override; a=b"))
        delete = s3.generate_presigned_url("delete_object", Params=self.where)
        self.assertEqual(fetch(delete, "DELETE")[0], 204)
        self.assertIsNone(stored(PLACE, self.where["Key"]))

    def test_headers_in_the_query(self):
        # botocore signs them as headers, and puts them into the URL.
        params = dict(self.where, Metadata={"colour": "light blue"}, ContentType="text/x-old")
        put = presigner().generate_presigned_url("put_object", Params=params)
        self.assertIn("x-amz-meta-colour=", put)
        status, body = fetch(put, "PUT", b"x")
        self.assertEqual((status, b"SignatureDoesNotMatch" in body), (403, True), "the type is signed")
        self.assertEqual(fetch(put, "PUT", b"x", {"Content-Type": "text/x-old"})[0], 200)
        found = client(KEY).head_object(**self.where)
        self.assertEqual((found["Metadata"], found["ContentType"]), ({"colour": "light blue"}, "text/x-old"))
        other = put.replace("light%20blue", "red")
        self.assertNotEqual(other, put)
        self.assertEqual(fetch(other, "PUT", b"x", {"Content-Type": "text/x-old"})[0], 403)

    def test_for_another_method_key_or_operation(self):
        client(KEY).put_object(**self.where, Body=b"there")
        get = presigner().generate_presigned_url("get_object", Params=self.where)
        for link, method, code, expected in (
            (get, "PUT", b"SignatureDoesNotMatch", 403),
            (get.replace("/k%20", "/other%20"), "GET", b"SignatureDoesNotMatch", 403),
            (get + "&acl", "GET", b"SignatureDoesNotMatch", 403),
            (get + "&x-amz-meta-a=b", "GET", b"SignatureDoesNotMatch", 403),
            (get + "&attributes", "GET", b"InvalidRequest", 400),
            (get + "&Expires=9999999999", "GET", b"InvalidArgument", 400),
        ):
            with self.subTest(link=link.partition("&Signature")[2], method=method):
                status, body = fetch(link, method, b"x" if method == "PUT" else None)
                self.assertEqual((status, code in body), (expected, True), body)
        self.assertEqual(stored(PLACE, self.where["Key"]), b"there")

    def test_expires(self):
        get = presigner().generate_presigned_url("get_object", Params=self.where, ExpiresIn=1)
        time.sleep(2.1)  # The expiry is what is tested.
        status, body = fetch(get)
        self.assertEqual((status, b"AccessDenied" in body, b"xpired" in body), (403, True, True), body)


@through_aqueduct
class Forms(Case):
    def setUp(self):
        self.at = fresh("v2-forms")

    def form(self, s3=None, **more):
        return (s3 or old()).generate_presigned_post(name(PLACE), self.at + "k", **more)

    def post(self, form):
        fields = [*form["fields"].items(), ("file", ("f.bin", b"content"))]
        return urllib3.request("POST", form["url"], fields=fields, redirect=False, retries=False, timeout=60)

    def refused_form(self, form, status, code):
        answer = self.post(form)
        self.assertEqual((answer.status, f"<Code>{code}</Code>" in answer.data.decode()), (status, True), answer.data)
        self.assertIsNone(stored(PLACE, self.at + "k"))

    def test_upload(self):
        form = self.form(Fields={"Content-Type": "text/x-old"}, Conditions=[{"Content-Type": "text/x-old"}])
        self.assertIn("AWSAccessKeyId", form["fields"])
        answer = self.post(form)
        self.assertEqual(answer.status, 204, answer.data)
        self.assertEqual(stored(PLACE, self.at + "k"), b"content")
        found = client(KEY).head_object(Bucket=name(PLACE), Key=self.at + "k")
        self.assertEqual(found["ContentType"], "text/x-old")

    def test_refusals(self):
        key_id = bed.BED["keys"][KEY][0]
        self.refused_form(self.form(old(key=(key_id, "x" * 40))), 403, "SignatureDoesNotMatch")
        self.refused_form(self.form(old(key=("AQDTAAAAAAAAAAAAAAAA", "x" * 40))), 403, "InvalidAccessKeyId")
        self.refused_form(self.form(ExpiresIn=-1), 403, "AccessDenied")
        form = self.form()
        form["fields"]["acl"] = "private"
        self.refused_form(form, 403, "AccessDenied")
        form = self.form()
        del form["fields"]["signature"]
        self.refused_form(form, 400, "InvalidArgument")
        form = self.form()
        form["fields"]["x-amz-signature"] = "0" * 64
        self.refused_form(form, 400, "InvalidArgument")


@through_aqueduct
class Tools(Tool):
    def test_s3cmd(self):
        key_id, secret = bed.BED["keys"][KEY]
        host = bed.BED["http"].partition("://")[2]
        config = configparser.ConfigParser(interpolation=None)
        config["default"] = {"access_key": key_id, "secret_key": secret, "host_base": host, "host_bucket": host,
                             "signature_v2": "True", "use_https": "False", "max_retries": "1"}
        with open(self.dir / "s3cfg", "w") as file:
            config.write(file)

        def s3cmd(*arguments):
            return self.run_tool("s3cmd", "-c", self.dir / "s3cfg", "--no-progress", "--signature-v2", *arguments, key=KEY)

        to = f"s3://{name(PLACE)}/{self.at}s3cmd"
        s3cmd("put", "--multipart-chunk-size-mb=6", self.dir / "big", f"{to}/big")
        s3cmd("get", f"{to}/big", self.dir / "back")
        self.assert_same_file(self.dir / "big", self.dir / "back")
        s3cmd("sync", f"{self.dir / 'tree'}/", f"{to}/tree/")
        self.assertEqual(len(s3cmd("ls", "--recursive", f"{to}/").strip().splitlines()), 5)
        link = s3cmd("signurl", f"{to}/tree/b ü.txt", str(int(time.time()) + 600)).strip()
        self.assertEqual(fetch(link), (200, (self.dir / "tree/b ü.txt").read_bytes()))
        s3cmd("del", "--recursive", "--force", f"{to}/")
        self.assertEqual(s3cmd("ls", "--recursive", f"{to}/").strip(), "")

    def test_rclone(self):
        key_id, secret = bed.BED["keys"][KEY]
        config = self.dir / "rclone.conf"
        config.write_text(
            f"[r]\ntype = s3\nprovider = Other\naccess_key_id = {key_id}\nsecret_access_key = {secret}\n"
            f"endpoint = {bed.BED['http']}\nregion = {bed.BED['region']}\nforce_path_style = true\nv2_auth = true\n"
        )

        def rclone(*arguments):
            return self.run_tool("rclone", "--config", config, "--retries", "1", "--low-level-retries", "1",
                                 "--s3-chunk-size", "5M", "--s3-upload-cutoff", "6M", *arguments, key=KEY)

        to = f"r:{name(PLACE)}/{self.at}rclone"
        rclone("sync", self.dir / "tree", to + "/tree")
        rclone("check", "--download", self.dir / "tree", to + "/tree")
        rclone("copy", self.dir / "big", to)
        rclone("check", "--one-way", "--include", "/big", self.dir, to)
        rclone("purge", to)
        self.assertEqual(rclone("lsf", "-R", to).strip(), "")


if __name__ == "__main__":
    bed.main()
