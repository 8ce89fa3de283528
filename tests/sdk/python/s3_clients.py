"""Clients that are nobody's official SDK: minio-py, s3cmd, and OpenDAL through its Python binding."""

import configparser
import io
from datetime import timedelta

import minio
import opendal
import urllib3
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject

import bed
from bed import MIB, Case, fresh, name
from s3_tools import Tool


class Minio(Case):
    def setUp(self):
        self.bucket, self.at = name("one"), fresh("minio")

    def client(self, scheme):
        key_id, secret = bed.BED["keys"]["admin"]
        pool = urllib3.PoolManager(ca_certs=bed.BED["ca"], retries=False) if scheme == "https" else None
        return minio.Minio(bed.BED[scheme].partition("://")[2], key_id, secret, secure=scheme == "https",
                           region=bed.BED["region"], http_client=pool)

    def test_objects(self):
        for scheme in bed.schemes():
            with self.subTest(scheme):
                s3, key, body = self.client(scheme), f"{self.at}{scheme}/ü +.bin", bed.random_bytes(70_000)
                made = s3.put_object(self.bucket, key, io.BytesIO(body), len(body), "text/x-minio", {"colour": "blue"})
                found = s3.stat_object(self.bucket, key)
                self.assertEqual((found.etag, found.size, found.content_type), (made.etag, len(body), "text/x-minio"))
                self.assertEqual(found.metadata["x-amz-meta-colour"], "blue")
                self.assertEqual(s3.get_object(self.bucket, key, offset=10, length=20).read(), body[10:30])
                link = s3.presigned_get_object(self.bucket, key, timedelta(minutes=5))
                with urllib3.PoolManager(ca_certs=bed.BED["ca"]) as pool:
                    self.assertEqual(pool.request("GET", link).data, body)
                s3.remove_object(self.bucket, key)
                with self.assertRaises(minio.S3Error) as missing:
                    s3.stat_object(self.bucket, key)
                self.assertEqual(missing.exception.code, "NoSuchKey")

    def test_upload_in_parts_of_unknown_length(self):
        s3, body = self.client("http"), bed.random_bytes(12 * MIB + 3)
        made = s3.put_object(self.bucket, self.at + "big", io.BytesIO(body), -1, part_size=5 * MIB)
        self.assertTrue(made.etag.endswith("-3"), made.etag)
        self.assertEqual(s3.get_object(self.bucket, self.at + "big").read(), body)

    def test_copy_list_and_delete(self):
        s3 = self.client("http")
        keys = [f"{self.at}{n:02}/{part}" for n in range(4) for part in ("a", "b")]
        for key in keys:
            s3.put_object(self.bucket, key, io.BytesIO(b"x"), 1)
        self.assertEqual([one.object_name for one in s3.list_objects(self.bucket, self.at, recursive=True)], keys)
        self.assertEqual([one.object_name for one in s3.list_objects(self.bucket, self.at)],
                         [f"{self.at}{n:02}/" for n in range(4)])
        s3.copy_object(self.bucket, self.at + "copy", CopySource(self.bucket, keys[0]))
        gone = [DeleteObject(key) for key in [*keys, self.at + "copy"]]
        self.assertEqual(list(s3.remove_objects(self.bucket, gone)), [])
        # Without delimiter: SeaweedFS keeps the folders.
        self.assertEqual(list(s3.list_objects(self.bucket, self.at, recursive=True)), [])


class S3cmd(Tool):
    def s3cmd(self, *arguments, scheme="http"):
        key_id, secret = bed.BED["keys"]["admin"]
        host = bed.BED[scheme].partition("://")[2]
        config = configparser.ConfigParser(interpolation=None)
        config["default"] = {
            "access_key": key_id, "secret_key": secret, "host_base": host, "host_bucket": host, "signature_v2": "False",
            "bucket_location": bed.BED["region"], "use_https": str(scheme == "https"), "max_retries": "1",
            **({"ca_certs_file": bed.BED["ca"]} if scheme == "https" else {}),
        }
        with open(self.dir / "s3cfg", "w") as file:
            config.write(file)
        return self.run_tool("s3cmd", "-c", self.dir / "s3cfg", "--no-progress", *arguments, scheme=scheme)

    def test_big_file_and_tree(self):
        for scheme in bed.schemes():
            with self.subTest(scheme):
                to = f"s3://{name('two')}/{self.at}{scheme}"
                self.s3cmd("put", "--multipart-chunk-size-mb=6", self.dir / "big", f"{to}/big", scheme=scheme)
                self.s3cmd("get", f"{to}/big", self.dir / f"big {scheme}", scheme=scheme)
                self.assert_same_file(self.dir / "big", self.dir / f"big {scheme}")
                self.s3cmd("sync", f"{self.dir / 'tree'}/", f"{to}/tree/", scheme=scheme)
                (self.dir / f"back {scheme}").mkdir()
                self.s3cmd("sync", f"{to}/tree/", f"{self.dir / f'back {scheme}'}/", scheme=scheme)
                self.assert_same_tree(self.dir / f"back {scheme}")
                listed = self.s3cmd("ls", "--recursive", f"{to}/", scheme=scheme)
                self.assertEqual(len(listed.strip().splitlines()), 5, listed)
                self.assertIn("MD5 sum", self.s3cmd("info", f"{to}/tree/a.txt", scheme=scheme))
                if bed.STORE != "s3":
                    # Sets an ACL too, which SeaweedFS's identities may not.
                    self.s3cmd("cp", f"{to}/tree/a.txt", f"{to}/copied", scheme=scheme)
                self.s3cmd("del", "--recursive", "--force", f"{to}/", scheme=scheme)
                self.assertEqual(self.s3cmd("ls", "--recursive", f"{to}/", scheme=scheme).strip(), "")


class OpenDal(Case):
    def setUp(self):
        key_id, secret = bed.BED["keys"]["admin"]
        self.store = opendal.Operator("s3", bucket=name("one"), endpoint=bed.BED["http"], region=bed.BED["region"],
                                      access_key_id=key_id, secret_access_key=secret, disable_config_load="true",
                                      root=f"/{fresh('opendal')}")

    def test_objects(self):
        self.store.write("a/k ü+.txt", b"body", content_type="text/x-opendal")
        found = self.store.stat("a/k ü+.txt")
        self.assertEqual((found.content_length, found.content_type), (4, "text/x-opendal"))
        self.assertEqual(self.store.read("a/k ü+.txt"), b"body")
        self.assertTrue(self.store.exists("a/k ü+.txt"))
        self.store.copy("a/k ü+.txt", "b/copy")
        self.assertEqual([entry.path for entry in self.store.scan("")], ["a/k ü+.txt", "b/copy"])
        self.store.remove_all("")
        self.assertFalse(self.store.exists("b/copy"))

    def test_written_in_chunks(self):
        body = bed.random_bytes(13 * MIB + 1)
        with self.store.open("big", "wb", chunk=5 * MIB, concurrent=3) as file:
            file.write(body)
        with self.store.open("big", "rb") as file:
            file.seek(6 * MIB)
            self.assertEqual(file.read(1000), body[6 * MIB:6 * MIB + 1000])
        self.assertEqual(self.store.read("big"), body)


if __name__ == "__main__":
    bed.main()
