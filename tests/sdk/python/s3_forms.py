"""boto3's presigned posts, sent by urllib3: uploads as browsers make them."""

import base64
import json
import urllib.parse

import bed
import urllib3
from bed import Case, client, fresh, name, random_bytes, stored, through_aqueduct

MIB = bed.MIB


class Forms(Case):
    def setUp(self):
        self.at = fresh("forms")
        self.bucket = name("one")

    def form(self, key="k", fields=None, conditions=None, s3=None, bucket=None, expires=60):
        fields = fields or {}
        covered = [{field: value} for field, value in fields.items()]
        return (s3 or client()).generate_presigned_post(
            bucket or self.bucket, self.at + key, Fields=dict(fields), Conditions=covered + (conditions or []),
            ExpiresIn=expires,
        )

    def post(self, form, content=b"content", filename="f.bin", **more):
        return self.send(form, [*form["fields"].items(), ("file", (filename, content))], **more)

    def send(self, form, fields, **more):
        return urllib3.request("POST", form["url"], fields=fields, redirect=False, retries=False, timeout=60, **more)

    def code(self, answer):
        return self.text(answer).split("<Code>")[1].split("</Code>")[0]

    def text(self, answer):
        return answer.data.decode()

    def test_small_and_large_files(self):
        for size in (0, 1, 1000, 64 * 1024, 5 * MIB + 1):
            with self.subTest(size):
                content = random_bytes(size)
                answer = self.post(self.form(), content)
                self.assertEqual(answer.status, 204, self.text(answer))
                self.assertTrue(answer.headers["ETag"])
                self.assertEqual(stored("one", self.at + "k"), content)

    def test_every_bucket_and_style(self):
        for bucket in ("one", "two", "three"):
            for style in ("path", "virtual"):
                if bucket == "three" and style == "virtual":
                    continue  # Dots in names: SDKs do not put these into hosts.
                with self.subTest(bucket=bucket, style=style):
                    form = self.form(s3=client(style=style), bucket=name(bucket))
                    base = urllib.parse.urlsplit(bed.url())
                    host = urllib.parse.urlsplit(form["url"]).netloc
                    form["url"] = form["url"].replace(host, base.netloc)
                    answer = self.post(form, headers={"Host": host})
                    self.assertEqual(answer.status, 204, self.text(answer))
                    self.assertEqual(stored(bucket, self.at + "k"), b"content")

    def test_headers_metadata_and_tags(self):
        fields = {
            "Content-Type": "text/x-test", "Cache-Control": "max-age=7", "x-amz-meta-a": "b",
            "tagging": "<Tagging><TagSet><Tag><Key>k 1</Key><Value>v&amp;</Value></Tag></TagSet></Tagging>",
        }
        answer = self.post(self.form(fields=fields))
        self.assertEqual(answer.status, 204, self.text(answer))
        where = {"Bucket": self.bucket, "Key": self.at + "k"}
        head = client().head_object(**where)
        self.assertEqual((head["ContentType"], head["CacheControl"]), ("text/x-test", "max-age=7"))
        self.assertEqual(head["Metadata"], {"a": "b"})
        self.assertEqual(client().get_object_tagging(**where)["TagSet"], [{"Key": "k 1", "Value": "v&"}])

    def test_name_of_the_file_and_answers(self):
        for status, expected in (("200", 200), ("201", 201), ("204", 204), ("500", 204)):
            with self.subTest(status):
                form = self.form("${filename}", fields={"success_action_status": status})
                answer = self.post(form, filename=f"a {status}.txt")
                self.assertEqual(answer.status, expected, self.text(answer))
                self.assertEqual(stored("one", f"{self.at}a {status}.txt"), b"content")
                self.assertTrue(answer.headers["Location"].endswith(f"/{self.at}a%20{status}.txt"))
                self.assertEqual("<PostResponse>" in self.text(answer), expected == 201)
        form = self.form(fields={"success_action_redirect": "http://127.0.0.1:9/done?x=1"})
        answer = self.post(form)
        self.assertEqual(answer.status, 303)
        to = urllib.parse.urlsplit(answer.headers["Location"])
        query = dict(urllib.parse.parse_qsl(to.query))
        self.assertEqual((query["x"], query["bucket"], query["key"]), ("1", self.bucket, self.at + "k"))
        self.assertTrue(query["etag"])

    @through_aqueduct
    def test_conditions(self):
        for conditions, change, status, code in [
            ([["content-length-range", 1, 7]], {}, 204, None),
            ([["content-length-range", 8, 9]], {}, 400, "EntityTooSmall"),
            ([["content-length-range", 1, 6]], {}, 400, "EntityTooLarge"),
            ([["starts-with", "$x-amz-meta-a", "b"]], {"x-amz-meta-a": "bc"}, 204, None),
            ([["starts-with", "$x-amz-meta-a", "b"]], {"x-amz-meta-a": "cb"}, 403, "AccessDenied"),
            ([], {"x-amz-meta-a": "b"}, 403, "AccessDenied"),
            ([], {"key": "elsewhere"}, 403, "AccessDenied"),
            ([], {"x-ignore-me": "1"}, 204, None),
        ]:
            with self.subTest(conditions=conditions, change=change):
                form = self.form(conditions=conditions)
                form["fields"].update(change)
                answer = self.post(form)
                self.assertEqual(answer.status, status, self.text(answer))
                if code:
                    self.assertEqual(self.code(answer), code)
                if code == "AccessDenied":
                    self.assertIn("Invalid according to Policy", self.text(answer))

    @through_aqueduct
    def test_a_form_for_another_bucket(self):
        form = self.form()
        form["url"] = form["url"].replace(self.bucket, name("two"))
        answer = self.post(form)
        self.assertEqual((answer.status, self.code(answer)), (403, "AccessDenied"))
        self.assertIsNone(stored("two", self.at + "k"))

    @through_aqueduct
    def test_signatures(self):
        bad = client((bed.BED["keys"]["admin"][0], "x" * 40))
        answer = self.post(self.form(s3=bad))
        self.assertEqual((answer.status, self.code(answer)), (403, "SignatureDoesNotMatch"))
        unknown = client(("AQDTZZZZZZZZZZZZZZZZ", "x" * 40))
        self.assertEqual(self.code(self.post(self.form(s3=unknown))), "InvalidAccessKeyId")
        form = self.form()
        policy = json.loads(base64.b64decode(form["fields"]["policy"]))
        policy["conditions"] = [["starts-with", "$" + field, ""] for field in [*form["fields"], "bucket"]]
        form["fields"]["policy"] = base64.b64encode(json.dumps(policy).encode()).decode()
        self.assertEqual(self.code(self.post(form)), "SignatureDoesNotMatch")
        version_2 = self.form(s3=client(signature_version="s3"))
        self.assertIn("AWSAccessKeyId", version_2["fields"])
        answer = self.post(version_2)
        self.assertEqual((answer.status, self.code(answer)), (400, "InvalidRequest"))
        answer = self.post(self.form(expires=-1))
        self.assertEqual((answer.status, self.code(answer)), (403, "AccessDenied"))
        self.assertIn("Policy expired", self.text(answer))
        form = self.form()
        form["fields"] = {"key": form["fields"]["key"]}
        answer = self.post(form)
        self.assertEqual((answer.status, self.code(answer)), (403, "AccessDenied"))
        self.assertIsNone(stored("one", self.at + "k"))

    @through_aqueduct
    def test_keys_and_their_limits(self):
        self.assertEqual(self.post(self.form(s3=client("write_only"))).status, 204)
        for key, code in (("read", "AccessDenied"), ("prefix", "AccessDenied"), ("bucket", "AccessDenied"),
                          ("elsewhere", "NoSuchBucket"), ("expired", None), ("disabled", None)):
            with self.subTest(key):
                answer = self.post(self.form("refused", s3=client(key)))
                self.assertIn(answer.status, (403, 404))
                if code:
                    self.assertEqual(self.code(answer), code)
        self.at, outside = "inside/" + self.at, self.at
        self.assertEqual(self.post(self.form(s3=client("prefix"))).status, 204)
        answer = self.post(self.form("../k", s3=client("prefix")))
        self.assertEqual(answer.status, 403)
        # More than an upload needs more than WRITE.
        answer = self.post(self.form("public", fields={"acl": "public-read"}, s3=client("write")))
        self.assertEqual((answer.status, self.code(answer)), (403, "AccessDenied"))
        for key in (outside + "refused", self.at + "public"):
            self.assertIsNone(stored("one", key))

    @through_aqueduct
    def test_forms_of_other_shapes(self):
        form = self.form()
        answer = urllib3.request("POST", form["url"], body=urllib.parse.urlencode(form["fields"]), timeout=60,
                                 headers={"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(answer.status, 403)  # Not multipart/form-data, so without a signature.
        answer = self.send(form, form["fields"])
        self.assertEqual((answer.status, self.code(answer)), (400, "IncorrectNumberOfFilesInPostRequest"))
        # All fields as files with names, as some clients write them, and a button behind the file.
        files = [(field, (field, value)) for field, value in form["fields"].items()]
        files += [("file", ("f", b"content")), ("submit", "Upload")]
        answer = self.send(form, files)
        self.assertEqual(answer.status, 204, self.text(answer))
        self.assertEqual(stored("one", self.at + "k"), b"content")


if __name__ == "__main__":
    bed.main()
