"""The command-line clients: aws, s5cmd and rclone, over http and https."""

import filecmp
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import bed
from bed import Case, MIB, fresh, name

BIN = pathlib.Path(sys.executable).parent


class Tool(Case):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="aqueduct-tools-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.at = fresh("tools")
        (self.dir / "tree/deep er").mkdir(parents=True)
        for index, path in enumerate(("a.txt", "b ü.txt", "deep er/c+d.bin", "deep er/empty")):
            (self.dir / "tree" / path).write_bytes(bed.random_bytes(index * 1000 if path != "deep er/empty" else 0))
        (self.dir / "big").write_bytes(bed.random_bytes(20 * MIB + 5))

    def run_tool(self, *arguments, scheme="http", key="admin", fails=False, **more):
        key_id, secret = bed.BED["keys"][key]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "RCLONE_"))
        }
        environment.update(
            HOME=str(self.dir),
            LC_ALL="C.UTF-8",
            AWS_ACCESS_KEY_ID=key_id,
            AWS_SECRET_ACCESS_KEY=secret,
            AWS_DEFAULT_REGION=bed.BED["region"],
            AWS_REGION=bed.BED["region"],
            AWS_EC2_METADATA_DISABLED="true",
            AWS_MAX_ATTEMPTS="1",
        )
        if scheme == "https":
            # Old Go SDKs refuse to start at all where AWS_CA_BUNDLE is set, so only where it is needed.
            environment.update(AWS_CA_BUNDLE=bed.BED["ca"], SSL_CERT_FILE=bed.BED["ca"])
        environment.update(more)
        done = subprocess.run(
            [str(BIN / arguments[0]), *map(str, arguments[1:])], env=environment, capture_output=True, timeout=120
        )
        output = (done.stdout + done.stderr).decode(errors="replace")
        self.assertEqual(done.returncode != 0, fails, output[-800:])
        return output

    def assert_same_tree(self, other):
        compared = filecmp.dircmp(self.dir / "tree", other)
        self.assertEqual((compared.left_only, compared.right_only, compared.diff_files), ([], [], []))
        deeper = filecmp.dircmp(self.dir / "tree/deep er", pathlib.Path(other) / "deep er")
        self.assertEqual((deeper.left_only, deeper.right_only, deeper.diff_files), ([], [], []))

    def assert_same_file(self, one, other):
        self.assertTrue(filecmp.cmp(one, other, shallow=False))


class AwsCli(Tool):
    def aws(self, *arguments, scheme="http", **more):
        return self.run_tool("aws", "--endpoint-url", bed.BED[scheme], *arguments, scheme=scheme, **more)

    def test_big_file_and_tree(self):
        if bed.DIRECT:
            # A server that answers `Expect: 100-continue` of an empty body with the final head alone, as Go's
            # does, makes botocore stall on the reused connection now and then.
            (self.dir / "tree/deep er/empty").unlink()
            (self.dir / "tree/a.txt").write_bytes(b"not empty")
        for scheme in bed.schemes():
            with self.subTest(scheme):
                to = f"s3://{name('one')}/{self.at}{scheme}/"
                self.aws("s3", "cp", self.dir / "big", to + "big", scheme=scheme)
                self.aws("s3", "cp", to + "big", self.dir / f"big-{scheme}", scheme=scheme)
                self.assert_same_file(self.dir / "big", self.dir / f"big-{scheme}")
                self.aws("s3", "sync", self.dir / "tree", to + "tree", scheme=scheme)
                listed = self.aws("s3", "ls", "--recursive", to, scheme=scheme)
                self.assertIn(f"{self.at}{scheme}/tree/b ü.txt", listed)
                self.aws("s3", "sync", to + "tree", self.dir / f"tree-{scheme}", scheme=scheme)
                self.assert_same_tree(self.dir / f"tree-{scheme}")
                self.aws("s3", "rm", "--recursive", to, scheme=scheme)
                self.assertEqual(self.aws("s3", "ls", "--recursive", to, scheme=scheme, fails=True).strip(), "")

    def test_copy_and_move_within_a_bucket(self):
        at = f"s3://{name('one')}/{self.at}"
        self.aws("s3", "cp", self.dir / "big", at + "big")
        self.aws("s3", "cp", at + "big", at + "copied")
        self.aws("s3", "mv", at + "copied", at + "moved")
        self.aws("s3", "cp", at + "moved", self.dir / "moved")
        self.assert_same_file(self.dir / "big", self.dir / "moved")

    @bed.through_aqueduct
    def test_copy_and_sync_between_two_accounts(self):
        one, two = (f"s3://{name(bucket)}/{self.at}" for bucket in ("one", "two"))
        self.aws("s3", "cp", self.dir / "big", one + "big")
        self.aws("s3", "cp", one + "big", two + "big")
        self.aws("s3", "cp", two + "big", self.dir / "back")
        self.assert_same_file(self.dir / "big", self.dir / "back")
        self.aws("s3", "sync", self.dir / "tree", one + "tree")
        self.aws("s3", "sync", one + "tree", two + "tree")
        self.aws("s3", "sync", two + "tree", self.dir / "synced")
        self.assert_same_tree(self.dir / "synced")
        self.aws("s3", "mv", two + "big", one + "moved")
        self.assertEqual(bed.client().head_object(Bucket=name("one"), Key=self.at + "moved")["ContentLength"], 20 * MIB + 5)

    @bed.through_aqueduct
    def test_buckets_and_refusals(self):
        listed = self.aws("s3", "ls")
        self.assertEqual(
            sorted(line.split()[-1] for line in listed.splitlines()), sorted(name(b) for b in ("one", "two", "three"))
        )
        refused = self.aws("s3", "cp", self.dir / "big", f"s3://{name('one')}/{self.at}big", key="read", fails=True)
        self.assertIn("AccessDenied", refused)


class S5cmd(Tool):
    def s5cmd(self, *arguments, scheme="http"):
        return self.run_tool("s5cmd", "--endpoint-url", bed.BED[scheme], "--retry-count", "0", *arguments, scheme=scheme)

    def test_tree_and_big_file(self):
        for scheme in bed.schemes():
            with self.subTest(scheme):
                to = f"s3://{name('two')}/{self.at}{scheme}/"
                self.s5cmd("cp", "--part-size", "5", self.dir / "big", to + "big", scheme=scheme)
                self.s5cmd("cp", to + "big", self.dir / f"big-{scheme}", scheme=scheme)
                self.assert_same_file(self.dir / "big", self.dir / f"big-{scheme}")
                self.s5cmd("cp", f"{self.dir}/tree/*", to + "tree/", scheme=scheme)
                self.s5cmd("cp", to + "tree/*", f"{self.dir}/tree-{scheme}/", scheme=scheme)
                self.assert_same_tree(self.dir / f"tree-{scheme}")
                self.assertIn("b ü.txt", self.s5cmd("ls", to + "tree/*", scheme=scheme))
                self.s5cmd("rm", to + "*", scheme=scheme)
                self.assertEqual(bed.client().list_objects_v2(
                    Bucket=name("two"), Prefix=f"{self.at}{scheme}/")["KeyCount"], 0)


class Rclone(Tool):
    def rclone(self, *arguments, scheme="http"):
        config = self.dir / f"rclone-{scheme}.conf"
        key_id, secret = bed.BED["keys"]["admin"]
        config.write_text(
            f"[r]\ntype = s3\nprovider = Other\naccess_key_id = {key_id}\nsecret_access_key = {secret}\n"
            f"endpoint = {bed.BED[scheme]}\nregion = {bed.BED['region']}\nforce_path_style = true\n"
        )
        extra = ["--ca-cert", bed.BED["ca"]] if scheme == "https" else []
        return self.run_tool("rclone", "--config", config, "--retries", "1", "--low-level-retries", "1",
                             "--s3-chunk-size", "5M", "--s3-upload-cutoff", "6M", *extra, *arguments)

    def test_sync_and_check(self):
        for scheme in bed.schemes():
            with self.subTest(scheme):
                to = f"r:{name('one')}/{self.at}{scheme}"
                self.rclone("sync", self.dir / "tree", to + "/tree", scheme=scheme)
                self.rclone("check", "--download", self.dir / "tree", to + "/tree", scheme=scheme)
                self.rclone("copy", self.dir / "big", to, scheme=scheme)
                self.rclone("check", "--one-way", "--include", "/big", self.dir, to, scheme=scheme)
                self.rclone("moveto", to + "/big", to + "/moved", scheme=scheme)
                self.assertIn("moved", self.rclone("lsf", to, scheme=scheme))
                self.rclone("purge", to, scheme=scheme)
                self.assertEqual(self.rclone("lsf", "-R", f"r:{name('one')}/{self.at}", scheme=scheme).strip(), "")

    @bed.through_aqueduct
    def test_server_side_copy_between_two_accounts(self):
        one, two = (f"r:{name(bucket)}/{self.at}copied" for bucket in ("one", "two"))
        self.rclone("copy", self.dir / "tree", one)
        self.rclone("copy", self.dir / "big", one)
        done = self.rclone("sync", "-vv", "--s3-copy-cutoff", "6M", one, two)
        self.assertIn("Copied (server-side copy)", done)
        self.assertNotIn("Copied (new)", done)
        self.rclone("check", "--download", one, two)


if __name__ == "__main__":
    bed.main()
