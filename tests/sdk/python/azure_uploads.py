"""boto3 over Azure Blob Storage: uploads in parts."""

import base64
import hashlib
import io
import os
import tempfile
import threading
import time
import unittest

from azure.storage.blob import BlobBlock
from botocore.exceptions import ClientError

import bed
from azurebed import AzureCase, blob, md5, names, sha256
from bed import BED, MIB, client, name

CHECKSUMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


def etag_of(*parts):
    return f'"{hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"'


class UploadsCase(AzureCase):
    def setUp(self):
        super().setUp()
        self.where["Key"] = self.at + "big ü+.bin"

    def stored(self, key="big ü+.bin"):
        return super().stored(key)

    def start(self, **more):
        upload = self.s3.create_multipart_upload(**self.where, **more)
        self.assertEqual((upload["Bucket"], upload["Key"]), (self.name, self.where["Key"]))
        return dict(self.where, UploadId=upload["UploadId"])

    def part(self, upload, number, body, s3=None, **more):
        return number, (s3 or self.s3).upload_part(**upload, PartNumber=number, Body=body, **more)["ETag"]

    def finish(self, upload, parts, s3=None, **more):
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return (s3 or self.s3).complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **more)

    def body(self):
        return self.s3.get_object(**self.where)["Body"].read()

    def journals(self):
        return names(self.bucket, ".aqueduct/")


class Uploads(UploadsCase):
    def test_three_parts(self):
        body = bed.random_bytes(11 * MIB)
        upload = self.start(ContentType="text/parts", Metadata={"m": "1", "a-b": "2"}, Tagging="t=1", StorageClass="STANDARD_IA",
                            CacheControl="no-cache")
        cuts = [body[: 5 * MIB], body[5 * MIB : 10 * MIB], body[10 * MIB :]]
        parts = [self.part(upload, number, cut) for number, cut in enumerate(cuts, 1)]
        self.assertEqual([etag for _, etag in parts], [f'"{md5(cut)}"' for cut in cuts])
        self.assertIsNone(self.stored(), "nothing is there before it is complete")
        done = self.finish(upload, parts)
        self.assertEqual((done["Bucket"], done["Key"], done["ETag"]), (self.name, self.where["Key"], etag_of(*cuts)))
        got = self.s3.get_object(**self.where)
        self.assertEqual(sha256(got["Body"].read()), sha256(body))
        self.assertEqual((got["ContentType"], got["Metadata"], got["TagCount"], got["CacheControl"]),
                         ("text/parts", {"m": "1", "a-b": "2"}, 1, "no-cache"))
        self.assertEqual(self.s3.head_object(**self.where)["StorageClass"], "STANDARD_IA")
        self.assertEqual(sha256(self.stored()), sha256(body))
        self.assertEqual(self.s3.get_object_tagging(**self.where)["TagSet"], [{"Key": "t", "Value": "1"}])

    def test_etag_is_the_same_everywhere(self):
        upload = self.start()
        done = self.finish(upload, [self.part(upload, 1, b"x")])["ETag"]
        self.assertEqual(done, etag_of(b"x"))
        self.assertEqual(self.s3.head_object(**self.where)["ETag"], done)
        self.assertEqual(self.s3.get_object(**self.where)["ETag"], done)
        self.assertEqual(self.s3.list_objects_v2(Bucket=self.name, Prefix=self.at)["Contents"][0]["ETag"], done)
        self.assertEqual(self.s3.get_object(**self.where, IfMatch=done)["Body"].read(), b"x")
        self.refused("304", self.s3.head_object, **self.where, IfNoneMatch=done, status=304)

    def test_parts_are_read_by_their_number(self):
        upload = self.start()
        self.finish(upload, [self.part(upload, 1, b"1" * 5 * MIB), self.part(upload, 4, b"4")])
        got = self.s3.get_object(**self.where, PartNumber=2)
        self.assertEqual((got["Body"].read(), got["PartsCount"], got["ContentRange"]),
                         (b"4", 2, f"bytes {5 * MIB}-{5 * MIB}/{5 * MIB + 1}"))
        self.refused("416", self.s3.head_object, **self.where, PartNumber=3, status=416)

    def test_a_part_that_is_sent_again_replaces_the_first(self):
        upload = self.start()
        first = self.part(upload, 1, b"first")
        again = self.part(upload, 1, b"again")
        self.refused("InvalidPart", self.finish, upload, [first], status=400)
        self.finish(upload, [again])
        self.assertEqual(self.body(), b"again")

    def test_a_part_that_is_sent_twice_at_once_is_one_of_the_two(self):
        upload, bodies, etags = self.start(), [bytes([65 + n]) * 3 * MIB for n in range(4)], []
        clients = [client("azure") for _ in bodies]
        threads = [threading.Thread(target=lambda b=b, s3=s3: etags.append(self.part(upload, 1, b, s3)))
                   for b, s3 in zip(bodies, clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(etags), len(bodies))
        listed = self.s3.list_parts(**upload)["Parts"]
        self.assertEqual(len(listed), 1)
        done = self.finish(upload, [(1, listed[0]["ETag"])])
        body = self.body()
        self.assertIn(body, bodies)
        self.assertEqual(listed[0]["ETag"], f'"{md5(body)}"', "the bytes are those that the listing told of")
        self.assertEqual(done["ETag"], etag_of(body))

    def test_a_part_that_fails_leaves_the_one_before(self):
        upload = self.start()
        good = self.part(upload, 1, b"good")
        self.refused("BadDigest", self.part, upload, 1, b"evil", ContentMD5=base64.b64encode(hashlib.md5(b"x").digest()).decode())
        self.finish(upload, [good])
        self.assertEqual(self.body(), b"good")

    def test_list_parts(self):
        upload = self.start(StorageClass="STANDARD_IA")
        self.assertNotIn("Parts", self.s3.list_parts(**upload))
        sent = {number: self.part(upload, number, bytes(number))[1] for number in (7, 2, 300)}
        listed = self.s3.list_parts(**upload)
        self.assertEqual([(one["PartNumber"], one["Size"], one["ETag"]) for one in listed["Parts"]],
                         [(number, number, sent[number]) for number in (2, 7, 300)])
        self.assertEqual((listed["IsTruncated"], listed["StorageClass"]), (False, "STANDARD_IA"))
        first = self.s3.list_parts(**upload, MaxParts=2)
        self.assertEqual(([one["PartNumber"] for one in first["Parts"]], first["IsTruncated"], first["NextPartNumberMarker"]),
                         ([2, 7], True, 7))
        rest = self.s3.list_parts(**upload, MaxParts=2, PartNumberMarker=7)
        self.assertEqual(([one["PartNumber"] for one in rest["Parts"]], rest["IsTruncated"]), ([300], False))
        self.s3.abort_multipart_upload(**upload)

    def test_an_upload_is_completed_from_its_listing(self):
        upload = self.start()
        self.part(upload, 1, b"1" * 5 * MIB)
        self.part(upload, 2, b"2")
        listed = self.s3.list_parts(**upload)["Parts"]
        self.finish(upload, [(one["PartNumber"], one["ETag"]) for one in listed])
        self.assertEqual(self.s3.head_object(**self.where)["ContentLength"], 5 * MIB + 1)

    def test_abort_leaves_the_object(self):
        self.s3.put_object(**self.where, Body=b"live")
        upload = self.start()
        part = self.part(upload, 1, b"x")
        self.s3.abort_multipart_upload(**upload)
        self.assertEqual(self.body(), b"live")
        self.refused("NoSuchUpload", self.s3.list_parts, **upload, status=404)
        self.refused("NoSuchUpload", self.s3.upload_part, **upload, PartNumber=2, Body=b"x", status=404)
        self.refused("NoSuchUpload", self.finish, upload, [part], status=404)
        self.refused("NoSuchUpload", self.s3.abort_multipart_upload, **upload, status=404)

    def test_two_uploads_of_one_key_do_not_mix(self):
        one, two = self.start(), self.start()
        first, second = self.part(one, 1, b"one"), self.part(two, 1, b"two")
        self.refused("InvalidPart", self.finish, two, [first], status=400)
        self.finish(one, [first])
        self.assertEqual(self.body(), b"one")
        # The service drops the blocks of the slower one: its client begins anew.
        self.refused("NoSuchUpload", self.finish, two, [second], status=404)
        self.assertEqual(self.body(), b"one")
        self.refused("NoSuchUpload", self.s3.list_parts, **two, status=404)

    def test_wrong_etags_and_order(self):
        upload = self.start()
        one, two = self.part(upload, 1, b"1" * 5 * MIB), self.part(upload, 2, b"2")
        self.refused("InvalidPart", self.finish, upload, [(1, f'"{md5(b"other")}"')], status=400)
        self.refused("InvalidPart", self.finish, upload, [one, (3, two[1])], status=400)
        self.refused("InvalidPartOrder", self.finish, upload, [two, one], status=400)
        self.refused("MalformedXML", self.finish, upload, [], status=400)
        self.assertIsNone(self.stored())
        self.finish(upload, [one, two])
        self.assertEqual(len(self.stored()), 5 * MIB + 1)

    def test_parts_that_are_too_small(self):
        upload = self.start()
        parts = [self.part(upload, 1, b"small"), self.part(upload, 2, b"last")]
        self.refused("EntityTooSmall", self.finish, upload, parts, status=400)
        self.assertIsNone(self.stored())
        self.finish(upload, parts[1:])
        self.assertEqual(self.body(), b"last")

    def test_empty_parts(self):
        upload = self.start()
        self.finish(upload, [self.part(upload, 1, b"")])
        self.assertEqual((self.body(), self.s3.head_object(**self.where)["ETag"]), (b"", etag_of(b"")))
        upload = self.start()
        parts = [self.part(upload, 1, b"1" * 5 * MIB), self.part(upload, 2, b"")]
        self.finish(upload, parts)
        self.assertEqual(self.s3.head_object(**self.where)["ContentLength"], 5 * MIB)

    def test_completing_again_gives_the_same_answer(self):
        upload = self.start()
        parts = [self.part(upload, 1, b"x")]
        done = self.finish(upload, parts)
        again = self.finish(upload, parts)
        self.assertEqual((again["ETag"], again["Key"], again["Location"]), (done["ETag"], done["Key"], done["Location"]))
        self.refused("NoSuchUpload", self.s3.upload_part, **upload, PartNumber=2, Body=b"x", status=404)
        self.s3.put_object(**self.where, Body=b"another")
        self.refused("NoSuchUpload", self.finish, upload, parts, status=404)
        self.assertEqual(self.body(), b"another")

    def test_completion_under_conditions(self):
        upload = self.start()
        part = self.part(upload, 1, b"new")
        self.refused("NoSuchKey", self.finish, upload, [part], IfMatch='"0123456789abcdef0123456789abcdef"', status=404)
        done = self.finish(upload, [part], IfNoneMatch="*")
        # The journal's own memory of it counts, and not the condition.
        self.assertEqual(self.finish(upload, [part], IfNoneMatch="*")["ETag"], done["ETag"])
        upload = self.start()
        part = self.part(upload, 1, b"newer")
        self.refused("PreconditionFailed", self.finish, upload, [part], IfNoneMatch="*", status=412)
        self.refused("PreconditionFailed", self.finish, upload, [part], IfMatch='"0123456789abcdef0123456789abcdef"', status=412)
        self.assertEqual(self.body(), b"new")
        self.finish(upload, [part], IfMatch=done["ETag"])
        self.assertEqual(self.body(), b"newer")

    def test_part_numbers_out_of_range_are_refused(self):
        upload = self.start()
        for number in (0, 10_001):
            with self.subTest(number):
                self.refused("InvalidArgument", self.s3.upload_part, **upload, PartNumber=number, Body=b"x", status=400)
        self.finish(upload, [self.part(upload, 10_000, b"x")])
        self.assertEqual(self.body(), b"x")

    def test_ids_of_others_are_unknown(self):
        upload = self.start()
        for other in (dict(upload, UploadId="0123456789abcdef"), dict(upload, Key=self.at + "other"),
                      dict(upload, Bucket=name("z-two"))):
            with self.subTest(other["Key"] + other["Bucket"]):
                self.refused("NoSuchUpload", self.s3.upload_part, **other, PartNumber=1, Body=b"x", status=404)
                self.refused("NoSuchUpload", self.s3.abort_multipart_upload, **other, status=404)
        self.s3.abort_multipart_upload(**upload)

    def test_the_size_of_the_whole_is_compared(self):
        upload = self.start()
        part = self.part(upload, 1, b"four")
        self.refused("InvalidRequest", self.finish, upload, [part], MpuObjectSize=5, status=400)
        self.finish(upload, [part], MpuObjectSize=4)

    def test_what_could_not_be_kept_is_refused_when_it_begins(self):
        self.refused("MetadataTooLarge", self.start, Metadata={"m": "x" * 7000})
        self.refused("NotImplemented", self.start, SSECustomerAlgorithm="AES256", SSECustomerKey=b"k" * 32)

    def test_journals_are_hidden_and_no_names_for_clients(self):
        before = self.journals()
        upload = self.start()
        self.part(upload, 1, b"x")
        (journal,) = set(self.journals()) - set(before)
        for listing in (self.s3.list_objects_v2(Bucket=self.name), self.s3.list_objects(Bucket=self.name),
                        self.s3.list_objects_v2(Bucket=self.name, Prefix=".aqueduct/"),
                        self.s3.list_objects_v2(Bucket=self.name, Delimiter="/"),
                        self.s3.list_object_versions(Bucket=self.name, Prefix=".aq")):
            shown = [one["Key"] for one in listing.get("Contents", listing.get("Versions", []))]
            shown += [one["Prefix"] for one in listing.get("CommonPrefixes", [])]
            self.assertFalse([one for one in shown if one.startswith(".aqueduct")], shown)
        for call in (self.s3.get_object, self.s3.delete_object, self.s3.put_object, self.s3.create_multipart_upload):
            self.refused("AccessDenied", call, Bucket=self.name, Key=journal, status=403)
        self.refused("AccessDenied", self.s3.copy_object, **self.where, CopySource={"Bucket": self.name, "Key": journal}, status=403)
        self.s3.abort_multipart_upload(**upload)
        self.assertEqual(self.journals(), before)

    def test_two_nodes_serve_one_upload_in_turn(self):
        nodes = [self.s3, client("azure", endpoint=BED["second"])]
        body = bed.random_bytes(21 * MIB)
        upload, parts = self.start(), []
        for number in range(1, 6):
            parts.append(self.part(upload, number, body[(number - 1) * 5 * MIB : number * 5 * MIB], nodes[number % 2]))
        for node in nodes:
            self.assertEqual([(one["PartNumber"], one["ETag"]) for one in node.list_parts(**upload)["Parts"]], parts)
        done = self.finish(upload, parts, nodes[1])
        self.assertEqual(self.finish(upload, parts, nodes[0])["ETag"], done["ETag"])
        self.assertEqual(sha256(self.body()), sha256(body))

    def test_managed_transfer_of_a_stream(self):
        body = bed.random_bytes(20 * MIB + 17)
        for scheme in bed.schemes():
            with self.subTest(scheme):
                s3 = client("azure", scheme=scheme)
                s3.upload_fileobj(io.BytesIO(body), self.name, self.where["Key"])
                out = io.BytesIO()
                s3.download_fileobj(self.name, self.where["Key"], out)
                self.assertEqual(sha256(out.getvalue()), sha256(body))
                self.assertEqual(sha256(self.stored()), sha256(body))


class Others(UploadsCase):
    """What other tools do at the same key."""

    def leave_blocks(self):
        blob(self.bucket, self.where["Key"]).stage_block("short", b"left over")

    def test_blocks_that_another_tool_left_are_cleared_away(self):
        self.leave_blocks()
        upload = self.start()
        # The bytes are with the client: it is asked to send them again, which SDKs do by themselves.
        once = client("azure", retries={"total_max_attempts": 1})
        self.refused("SlowDown", self.part, upload, 1, b"x", once, status=503)
        self.assertIsNone(self.stored())
        self.finish(upload, [self.part(upload, 1, b"x")])
        self.assertEqual(self.body(), b"x")

    def test_an_object_at_such_a_key_is_left_alone(self):
        self.s3.put_object(**self.where, Body=b"live", Metadata={"m": "1"})
        self.leave_blocks()
        upload = self.start()
        self.refused("OperationAborted", self.part, upload, 1, b"x", status=409)
        got = self.s3.get_object(**self.where)
        self.assertEqual((got["Body"].read(), got["Metadata"]), (b"live", {"m": "1"}))
        self.s3.abort_multipart_upload(**upload)

    def test_an_object_stored_meanwhile_ends_the_upload_and_stays(self):
        upload = self.start()
        part = self.part(upload, 1, b"x")
        there = blob(self.bucket, self.where["Key"])
        there.stage_block("sixteen bytes id", b"other")
        there.commit_block_list([BlobBlock("sixteen bytes id")])
        self.refused("NoSuchUpload", self.finish, upload, [part], status=404)
        self.assertEqual(self.stored(), b"other")
        self.refused("NoSuchUpload", self.s3.list_parts, **upload, status=404)


class Listings(UploadsCase):
    def setUp(self):
        super().setUp()
        self.uploads = {}
        for key in ("a", "a", "b/x", "b/y", "c ü", "d/e/f"):
            upload = self.s3.create_multipart_upload(Bucket=self.name, Key=self.at + key, StorageClass="STANDARD_IA")
            self.uploads.setdefault(self.at + key, set()).add(upload["UploadId"])
        self.addCleanup(self.abort)

    def abort(self):
        for key, ids in self.uploads.items():
            for one in ids:
                self.s3.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=one)
        self.assertNotIn("Uploads", self.s3.list_multipart_uploads(Bucket=self.name, Prefix=self.at))

    def listing(self, **more):
        return self.s3.list_multipart_uploads(Bucket=self.name, **{"Prefix": self.at, **more})

    def test_all_of_them_are_listed_with_their_ids(self):
        found = self.listing()
        self.assertFalse(found["IsTruncated"])
        self.assertEqual([one["Key"].removeprefix(self.at) for one in found["Uploads"]], ["a", "a", "b/x", "b/y", "c ü", "d/e/f"])
        for one in found["Uploads"]:
            self.assertIn(one["UploadId"], self.uploads[one["Key"]])
            self.assertEqual(one["StorageClass"], "STANDARD_IA")
            self.assertLess(abs(one["Initiated"].timestamp() - time.time()), 60)
        # An id of the listing is one that parts are sent to.
        last = found["Uploads"][-1]
        self.s3.upload_part(Bucket=self.name, Key=last["Key"], UploadId=last["UploadId"], PartNumber=1, Body=b"x")

    def test_pages_and_common_prefixes(self):
        for size in (1, 2, 3, 100):
            with self.subTest(size):
                shown, markers = [], {}
                while True:
                    page = self.listing(Delimiter="/", MaxUploads=size, **markers)
                    names = [one["Key"] for one in page.get("Uploads", [])] + [one["Prefix"] for one in page.get("CommonPrefixes", [])]
                    self.assertLessEqual(len(names), size)
                    shown += sorted(one.removeprefix(self.at) for one in names)
                    if not page["IsTruncated"]:
                        break
                    markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
                self.assertEqual(shown, ["a", "a", "b/", "c ü", "d/"])

    def test_markers_and_prefixes(self):
        def keys(**more):
            return [one["Key"].removeprefix(self.at) for one in self.listing(**more).get("Uploads", [])]

        self.assertEqual(keys(KeyMarker=self.at + "a"), ["b/x", "b/y", "c ü", "d/e/f"])
        self.assertEqual(keys(Prefix=self.at + "b/"), ["b/x", "b/y"])
        self.assertEqual(keys(Prefix=self.at + "none"), [])
        first = self.listing()["Uploads"][0]["UploadId"]
        self.assertEqual(keys(KeyMarker=self.at + "a", UploadIdMarker=first), ["a", "b/x", "b/y", "c ü", "d/e/f"])


class Copies(UploadsCase):
    """Parts of other objects' bytes, which the service takes by itself."""

    def setUp(self):
        super().setUp()
        self.content = bed.random_bytes(6 * MIB, seed=3)
        self.source = dict(self.where, Key=self.at + "source")
        self.etag = self.s3.put_object(**self.source, Body=self.content)["ETag"]

    def copied(self, upload, number, **more):
        try:
            return self.s3.upload_part_copy(**upload, PartNumber=number, **{"CopySource": self.source, **more})["CopyPartResult"]["ETag"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NotImplemented":
                self.skipTest("this Azurite makes no blocks of other blobs")
            raise

    def test_copied_parts(self):
        upload = self.start()
        one = self.copied(upload, 1, CopySourceRange=f"bytes=1-{5 * MIB}")
        whole = self.copied(upload, 2)
        tail = self.part(upload, 3, b"tail")
        self.assertEqual(whole, self.etag)
        listed = self.s3.list_parts(**upload)["Parts"]
        self.assertEqual([(part["ETag"], part["Size"]) for part in listed], [(one, 5 * MIB), (whole, 6 * MIB), (tail[1], 4)])
        self.finish(upload, [(1, one), (2, whole), tail])
        self.assertEqual(sha256(self.body()), sha256(self.content[1 : 5 * MIB + 1] + self.content + b"tail"))

    def test_sources_between_buckets_of_one_account(self):
        other = {"Bucket": name("z-two"), "Key": self.at + "there"}
        self.s3.put_object(**other, Body=b"there")
        upload = self.start()
        self.finish(upload, [(1, self.copied(upload, 1, CopySource=other))])
        self.assertEqual(self.body(), b"there")

    def test_ranges_and_conditions_are_those_of_the_source(self):
        upload = self.start()
        self.copied(upload, 1)
        for code, more in (("InvalidArgument", {"CopySourceRange": f"bytes=0-{6 * MIB}"}),
                           ("PreconditionFailed", {"CopySourceIfMatch": '"0123456789abcdef0123456789abcdef"'}),
                           ("PreconditionFailed", {"CopySourceIfNoneMatch": self.etag}),
                           ("NoSuchKey", {"CopySource": dict(self.source, Key=self.at + "none")})):
            with self.subTest(str(more)):
                self.refused(code, self.copied, upload, 2, **more)
        self.assertEqual(len(self.s3.list_parts(**upload)["Parts"]), 1)
        self.s3.abort_multipart_upload(**upload)
        self.refused("NoSuchUpload", self.copied, upload, 1, status=404)

    def test_an_empty_source(self):
        self.s3.put_object(**self.source, Body=b"")
        upload = self.start()
        self.finish(upload, [(1, self.copied(upload, 1))])
        self.assertEqual(self.body(), b"")


@unittest.skipUnless(os.environ.get("AQUEDUCT_LARGE"), "5 GiB: set AQUEDUCT_LARGE=1")
class Large(UploadsCase):
    """More than one request of the service takes; nothing of it is held here."""

    SIZE = (5000 << 20) + 5

    def setUp(self):
        super().setUp()
        self.s3 = client("azure", read_timeout=600, request_checksum_calculation="when_required",
                         s3={"addressing_style": "path", "payload_signing_enabled": False})

    def send(self, call, **more):
        with tempfile.TemporaryFile() as file:
            file.truncate(self.SIZE)
            file.seek(self.SIZE - 1)
            file.write(b"x")
            file.seek(0)
            return call(**self.where, Body=file, **more)

    def check(self):
        self.assertEqual(self.s3.head_object(**self.where)["ContentLength"], self.SIZE)
        tail = self.s3.get_object(**self.where, Range="bytes=-3")["Body"].read()
        self.assertEqual(tail, b"\0\0x")

    def test_an_object_in_one_request(self):
        done = self.send(self.s3.put_object, Metadata={"m": "1"}, IfNoneMatch="*")
        self.check()
        head = self.s3.head_object(**self.where)
        self.assertEqual((head["ETag"], head["Metadata"]), (done["ETag"], {"m": "1"}))
        self.assertRegex(done["ETag"], r'^"[0-9a-f]{32}"$')
        copy = dict(self.where, Key=self.at + "copy")
        try:
            self.s3.copy_object(**copy, CopySource=self.where)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NotImplemented":
                raise
            self.skipTest("the object is there; this Azurite makes no blocks of it")
        copied = self.s3.head_object(**copy)
        self.assertEqual((copied["ETag"], copied["ContentLength"], copied["Metadata"]), (done["ETag"], self.SIZE, {"m": "1"}))

    def test_a_part_of_it(self):
        upload = self.start()
        etag = self.send(self.s3.upload_part, UploadId=upload["UploadId"], PartNumber=1)["ETag"]
        self.finish(upload, [(1, etag)])
        self.check()


class Integrity(UploadsCase):
    def test_every_checksum_algorithm_of_the_parts(self):
        for scheme in bed.schemes():
            s3 = client("azure", scheme=scheme)
            for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256"):
                with self.subTest(f"{scheme} {algorithm}"):
                    field = f"Checksum{algorithm}"
                    upload = self.start(ChecksumAlgorithm=algorithm)
                    parts = []
                    for number, body in ((1, b"1" * 5 * MIB), (2, b"2")):
                        part = s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
                        parts.append({"PartNumber": number, "ETag": part["ETag"], field: part[field]})
                    listed = s3.list_parts(**upload)["Parts"]
                    self.assertEqual([one[field] for one in listed], [one[field] for one in parts])
                    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
                    self.assertRegex(done[field], r"-2$")
                    self.assertEqual(done["ChecksumType"], "COMPOSITE")
                    head = s3.head_object(**self.where, ChecksumMode="ENABLED")
                    self.assertEqual(head[field], done[field])

    def test_the_checksum_of_the_whole_is_computed_and_compared(self):
        bodies = [b"1" * 5 * MIB, b"2" * 100]
        s3 = client("azure", scheme="https")
        for algorithm in ("CRC32", "CRC32C", "CRC64NVME"):
            with self.subTest(algorithm):
                field = f"Checksum{algorithm}"
                whole = s3.put_object(Bucket=self.name, Key=self.at + "whole", Body=b"".join(bodies), ChecksumAlgorithm=algorithm)[field]
                upload = self.start(ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
                parts = []
                for number, body in enumerate(bodies, 1):
                    part = s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
                    parts.append({"PartNumber": number, "ETag": part["ETag"]})
                complete = dict(upload, MultipartUpload={"Parts": parts}, ChecksumType="FULL_OBJECT")
                wrong = base64.b64encode(bytes(len(base64.b64decode(whole)))).decode()
                self.refused("BadDigest", s3.complete_multipart_upload, **complete, **{field: wrong}, status=400)
                self.assertIsNone(self.stored())
                done = s3.complete_multipart_upload(**complete, **{field: whole})
                self.assertEqual((done[field], done["ChecksumType"]), (whole, "FULL_OBJECT"))
                got = s3.get_object(**self.where, ChecksumMode="ENABLED")
                self.assertEqual((got[field], got["Body"].read()), (whole, b"".join(bodies)))
                s3.delete_object(**self.where)

    def test_an_object_has_a_checksum_without_being_asked(self):
        s3 = client("azure", scheme="https")
        whole = s3.put_object(Bucket=self.name, Key=self.at + "whole", Body=b"1" * 5 * MIB + b"2", ChecksumAlgorithm="CRC64NVME")
        upload = self.start()
        done = self.finish(upload, [self.part(upload, 1, b"1" * 5 * MIB), self.part(upload, 2, b"2")])
        self.assertEqual(done["ChecksumCRC64NVME"], whole["ChecksumCRC64NVME"])

    def test_a_checksum_that_a_part_lacks_or_has_otherwise_is_refused(self):
        upload = self.start(ChecksumAlgorithm="SHA256")
        part = self.s3.upload_part(**upload, PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA256")
        named = {"PartNumber": 1, "ETag": part["ETag"]}
        wrong = dict(named, ChecksumSHA256=base64.b64encode(bytes(32)).decode())
        for given, code in ((named, "InvalidRequest"), (wrong, "InvalidPart")):
            self.refused(code, self.s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": [given]}, status=400)
        self.assertIsNone(self.stored())

    def test_wrong_checksums_of_parts_store_nothing(self):
        upload = self.start()
        for wrong in ({"ChecksumCRC32": "AAAAAA=="}, {"ChecksumCRC32C": "AAAAAA=="}, {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}):
            with self.subTest(wrong):
                self.refused("BadDigest", self.part, upload, 1, b"x", **wrong, status=400)
        self.assertNotIn("Parts", self.s3.list_parts(**upload))
        self.s3.abort_multipart_upload(**upload)

    def test_checksum_modes_of_the_sdks(self):
        for mode in ("when_supported", "when_required"):
            for scheme in bed.schemes():
                with self.subTest(f"{mode} {scheme}"):
                    s3 = client("azure", scheme=scheme, request_checksum_calculation=mode, response_checksum_validation=mode)
                    upload = self.start()
                    self.finish(upload, [self.part(upload, 1, b"1" * 5 * MIB, s3), self.part(upload, 2, b"2", s3)], s3)
                    self.assertEqual(len(s3.get_object(**self.where)["Body"].read()), 5 * MIB + 1)


class Plain(Uploads):
    """The same in a container of its own name, without a prefix."""

    bucket = "z-two"

    def test_ids_of_others_are_unknown(self):
        upload = self.start()
        self.refused("NoSuchUpload", self.s3.upload_part, **dict(upload, Bucket=name("z-one")), PartNumber=1, Body=b"x", status=404)
        self.s3.abort_multipart_upload(**upload)


if __name__ == "__main__":
    bed.main()
