"""boto3 over Cloud Storage: uploads in parts."""

import io

import bed
from bed import MIB, client, name
from gcsbed import GcsCase, control, place, quoted_md5, sha256


class Uploads(GcsCase):
    def setUp(self):
        super().setUp()
        self.where["Key"] = self.at + "big ü+.bin"

    def stored(self, key="big ü+.bin"):
        return super().stored(key)

    def start(self, **more):
        upload = self.s3.create_multipart_upload(**self.where, **more)
        self.assertEqual((upload["Bucket"], upload["Key"]), (self.name, self.where["Key"]))
        return dict(self.where, UploadId=upload["UploadId"])

    def part(self, upload, number, body, **more):
        return number, self.s3.upload_part(**upload, PartNumber=number, Body=body, **more)["ETag"]

    def finish(self, upload, parts, **more):
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **more)

    def test_three_parts(self):
        body = bed.random_bytes(11 * MIB)
        upload = self.start(ContentType="text/parts", Metadata={"m": "1"}, Tagging="t=1", StorageClass="STANDARD_IA")
        cuts = [body[: 5 * MIB], body[5 * MIB : 10 * MIB], body[10 * MIB :]]
        parts = [self.part(upload, number, cut) for number, cut in enumerate(cuts, 1)]
        self.assertEqual([etag for _, etag in parts], [quoted_md5(cut) for cut in cuts])
        done = self.finish(upload, parts)
        self.assertEqual((done["Bucket"], done["Key"]), (self.name, self.where["Key"]))
        got = self.s3.get_object(**self.where)
        self.assertEqual(sha256(got["Body"].read()), sha256(body))
        self.assertEqual((got["ContentType"], got["Metadata"], got["TagCount"], got["StorageClass"]),
                         ("text/parts", {"m": "1"}, 1, "STANDARD_IA"))
        self.assertEqual(self.stored()["sha256"], sha256(body))

    def test_etag_is_the_same_everywhere(self):
        upload = self.start()
        done = self.finish(upload, [self.part(upload, 1, b"x")])["ETag"]
        self.assertEqual(self.s3.head_object(**self.where)["ETag"], done)
        self.assertEqual(self.s3.get_object(**self.where)["ETag"], done)
        self.assertEqual(self.s3.list_objects_v2(Bucket=self.name, Prefix=self.at)["Contents"][0]["ETag"], done)
        self.assertRegex(done, r'^"[^"]*-[^"]*"$', "taken for an MD5")
        self.assertEqual(self.s3.get_object(**self.where, IfMatch=done)["Body"].read(), b"x")
        self.refused("304", self.s3.head_object, **self.where, IfNoneMatch=done, status=304)

    def test_a_part_that_is_sent_again_replaces_the_first(self):
        upload = self.start()
        first = self.part(upload, 1, b"first")
        again = self.part(upload, 1, b"again")
        self.refused("InvalidPart", self.finish, upload, [first], status=400)
        self.finish(upload, [again])
        self.assertEqual(self.s3.get_object(**self.where)["Body"].read(), b"again")

    def test_parts_that_are_not_named_are_left_out(self):
        upload = self.start()
        one, _, three = (self.part(upload, number, bytes([number]) * 5 * MIB) for number in (1, 2, 3))
        self.finish(upload, [one, three])
        self.assertEqual(self.stored()["sha256"], sha256(b"\1" * 5 * MIB + b"\3" * 5 * MIB))

    def test_parts_are_listed(self):
        upload = self.start()
        made = [self.part(upload, number, bytes(number)) for number in (1, 5, 9)]
        listed = self.s3.list_parts(**upload)
        self.assertEqual((listed["Bucket"], listed["Key"], listed["UploadId"]),
                         (self.name, self.where["Key"], upload["UploadId"]))
        self.assertEqual([(part["PartNumber"], part["ETag"], part["Size"]) for part in listed["Parts"]],
                         [(number, etag, number) for number, etag in made])
        page = self.s3.list_parts(**upload, MaxParts=2)
        self.assertEqual(([part["PartNumber"] for part in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]),
                         ([1, 5], True, 5))
        page = self.s3.list_parts(**upload, PartNumberMarker=5)
        self.assertEqual(([part["PartNumber"] for part in page["Parts"]], page["IsTruncated"]), ([9], False))
        self.s3.abort_multipart_upload(**upload)

    def test_uploads_are_listed(self):
        uploads = []
        for key in ("a", "b/1", "b/2", "c d+ü"):
            where = {"Bucket": self.name, "Key": self.at + key}
            uploads.append(dict(where, UploadId=self.s3.create_multipart_upload(**where)["UploadId"]))
        listed = self.s3.list_multipart_uploads(Bucket=self.name, Prefix=self.at)
        # An id is told as it was when the upload began, or as another that means the same.
        self.assertEqual([one["Key"] for one in listed["Uploads"]], [one["Key"] for one in uploads])
        by_directory = self.s3.list_multipart_uploads(Bucket=self.name, Prefix=self.at, Delimiter="/")
        self.assertEqual([one["Key"] for one in by_directory["Uploads"]], [self.at + "a", self.at + "c d+ü"])
        self.assertEqual([one["Prefix"] for one in by_directory["CommonPrefixes"]], [self.at + "b/"])
        pages = [[one["Key"] for one in page["Uploads"]] for page in self.s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.name, Prefix=self.at, PaginationConfig={"PageSize": 3})]
        self.assertEqual([len(page) for page in pages], [3, 1])
        for one in listed["Uploads"]:
            self.s3.abort_multipart_upload(Bucket=self.name, Key=one["Key"], UploadId=one["UploadId"])
        self.assertNotIn("Uploads", self.s3.list_multipart_uploads(Bucket=self.name, Prefix=self.at))

    def test_abort_leaves_the_object(self):
        self.s3.put_object(**self.where, Body=b"live")
        upload = self.start()
        part = self.part(upload, 1, b"x")
        self.s3.abort_multipart_upload(**upload)
        self.assertEqual(self.s3.get_object(**self.where)["Body"].read(), b"live")
        self.refused("NoSuchUpload", self.s3.list_parts, **upload, status=404)
        self.refused("NoSuchUpload", self.s3.upload_part, **upload, PartNumber=2, Body=b"x", status=404)
        self.refused("NoSuchUpload", self.finish, upload, [part], status=404)

    def test_two_uploads_of_one_key_do_not_mix(self):
        one, two = self.start(), self.start()
        first, second = self.part(one, 1, b"one"), self.part(two, 1, b"two")
        self.refused("InvalidPart", self.finish, two, [first], status=400)
        self.finish(one, [first])
        self.assertEqual(self.s3.get_object(**self.where)["Body"].read(), b"one")
        self.finish(two, [second])
        self.assertEqual(self.s3.get_object(**self.where)["Body"].read(), b"two")

    def test_wrong_etags_and_order(self):
        upload = self.start()
        one, two = self.part(upload, 1, b"1" * 5 * MIB), self.part(upload, 2, b"2")
        self.refused("InvalidPart", self.finish, upload, [(1, quoted_md5(b"other"))], status=400)
        self.refused("InvalidPart", self.finish, upload, [one, (3, two[1])], status=400)
        self.refused("InvalidPartOrder", self.finish, upload, [two, one], status=400)
        self.refused("MalformedXML", self.finish, upload, [], status=400)
        self.assertIsNone(self.stored())
        self.finish(upload, [one, two])
        self.assertEqual(self.stored()["size"], 5 * MIB + 1)

    def test_parts_that_are_too_small(self):
        upload = self.start()
        parts = [self.part(upload, 1, b"small"), self.part(upload, 2, b"last")]
        self.refused("EntityTooSmall", self.finish, upload, parts, status=400)
        self.assertIsNone(self.stored())
        self.s3.abort_multipart_upload(**upload)

    def test_part_numbers_out_of_range_are_refused_before_anything_is_sent(self):
        upload = self.start()
        self.sent()
        for number in (0, 10_001):
            with self.subTest(number):
                self.refused("InvalidArgument", self.s3.upload_part, **upload, PartNumber=number, Body=b"x", status=400)
        self.assert_nothing_sent()
        self.part(upload, 10_000, b"x")
        self.s3.abort_multipart_upload(**upload)

    def test_ids_of_others_are_unknown(self):
        upload = self.start()
        self.sent()
        for other in (dict(upload, UploadId="0123456789abcdef"), dict(upload, Key=self.at + "other"),
                      dict(upload, Bucket=name("g-two"))):
            with self.subTest(other["Key"] + other["Bucket"]):
                self.refused("NoSuchUpload", self.s3.upload_part, **other, PartNumber=1, Body=b"x", status=404)
                self.refused("NoSuchUpload", self.s3.abort_multipart_upload, **other, status=404)
        self.assert_nothing_sent()
        upstream = place(self.bucket, self.where["Key"])
        self.assertIn(upstream["name"], control("uploads", bucket=upstream["bucket"]))
        self.s3.abort_multipart_upload(**upload)

    def test_wrong_checksums_of_parts_store_nothing(self):
        upload = self.start()
        for wrong in ({"ChecksumCRC32": "AAAAAA=="}, {"ChecksumCRC32C": "AAAAAA=="}, {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}):
            with self.subTest(wrong):
                self.refused("BadDigest", self.part, upload, 1, b"x", **wrong, status=400)
        self.assertNotIn("Parts", self.s3.list_parts(**upload))
        self.s3.abort_multipart_upload(**upload)

    def test_every_checksum_algorithm(self):
        for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256"):
            with self.subTest(algorithm):
                upload = self.start(ChecksumAlgorithm=algorithm)
                part = self.s3.upload_part(**upload, PartNumber=1, Body=b"x", ChecksumAlgorithm=algorithm)
                field = f"Checksum{algorithm}"
                named = {"PartNumber": 1, "ETag": part["ETag"], field: part[field]}
                self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [named]})
                self.assertEqual(self.s3.get_object(**self.where)["Body"].read(), b"x")

    def test_completion_under_a_condition_is_refused_before_anything_is_sent(self):
        upload = self.start()
        part = self.part(upload, 1, b"x")
        self.sent()
        self.refused("NotImplemented", self.finish, upload, [part], IfNoneMatch="*", status=501)
        self.assert_nothing_sent()
        self.s3.abort_multipart_upload(**upload)

    def test_copied_parts(self):
        body = bed.random_bytes(6 * MIB, seed=3)
        source = dict(self.where, Key=self.at + "source")
        self.s3.put_object(**source, Body=body)
        upload = self.start()
        one = self.carried_out(
            self.s3.upload_part_copy, **upload, PartNumber=1, CopySource=source, CopySourceRange=f"bytes=0-{5 * MIB - 1}")
        two = self.part(upload, 2, b"tail")
        self.finish(upload, [(1, one["CopyPartResult"]["ETag"]), two])
        self.assertEqual(self.stored()["sha256"], sha256(body[: 5 * MIB] + b"tail"))

    def test_managed_transfer_of_a_stream(self):
        body = bed.random_bytes(20 * MIB + 17)
        for scheme in bed.schemes():
            with self.subTest(scheme):
                s3 = client("gcs", scheme=scheme)
                s3.upload_fileobj(io.BytesIO(body), self.name, self.where["Key"])
                out = io.BytesIO()
                s3.download_fileobj(self.name, self.where["Key"], out)
                self.assertEqual(sha256(out.getvalue()), sha256(body))
                self.assertEqual(self.stored()["sha256"], sha256(body))

    def test_copy_of_what_was_uploaded_in_parts(self):
        upload = self.start(Metadata={"m": "1"})
        self.finish(upload, [self.part(upload, 1, b"1" * 5 * MIB), self.part(upload, 2, b"2")])
        copied = self.s3.copy_object(Bucket=self.name, Key=self.at + "copy", CopySource=self.where)
        head = self.head("copy")
        self.assertEqual((head["ETag"], head["ContentLength"], head["Metadata"]),
                         (copied["CopyObjectResult"]["ETag"], 5 * MIB + 1, {"m": "1"}))


if __name__ == "__main__":
    bed.main()
