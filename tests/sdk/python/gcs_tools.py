"""The command-line clients over Cloud Storage: aws, s5cmd and rclone, each there and back."""

import bed
from gcsbed import GcsCase
from s3_tools import Tool as AnyTool


class Tools(GcsCase):
    """One test a client. The tools' own case is used, not inherited: its tests are those over S3."""

    def setUp(self):
        super().setUp()
        self.tool = AnyTool("run_tool")
        self.tool.setUp()
        self.addCleanup(self.tool.doCleanups)
        self.dir, self.to = self.tool.dir, f"s3://{self.name}/{self.at}"

    def run_tool(self, *arguments):
        return self.tool.run_tool(*arguments, key="gcs")

    def left(self):
        return self.s3.list_objects_v2(Bucket=self.name, Prefix=self.at)["KeyCount"]

    def test_aws(self):
        def aws(*arguments):
            return self.run_tool("aws", "--endpoint-url", bed.BED["http"], "s3", *arguments)

        aws("cp", self.dir / "big", self.to + "big")
        aws("cp", self.to + "big", self.dir / "back")
        self.tool.assert_same_file(self.dir / "big", self.dir / "back")
        aws("sync", self.dir / "tree", self.to + "tree")
        self.assertIn(f"{self.at}tree/b ü.txt", aws("ls", "--recursive", self.to))
        aws("sync", self.to + "tree", self.dir / "synced")
        self.tool.assert_same_tree(self.dir / "synced")
        aws("rm", "--recursive", self.to)
        self.assertEqual(self.left(), 0)

    def test_s5cmd(self):
        def s5cmd(*arguments):
            return self.run_tool("s5cmd", "--endpoint-url", bed.BED["http"], "--retry-count", "0", *arguments)

        s5cmd("cp", "--part-size", "5", self.dir / "big", self.to + "big")
        s5cmd("cp", self.to + "big", self.dir / "back")
        self.tool.assert_same_file(self.dir / "big", self.dir / "back")
        s5cmd("cp", f"{self.dir}/tree/*", self.to + "tree/")
        s5cmd("cp", self.to + "tree/*", f"{self.dir}/copied/")
        self.tool.assert_same_tree(self.dir / "copied")
        s5cmd("rm", self.to + "*")
        self.assertEqual(self.left(), 0)

    def test_rclone(self):
        key_id, secret = bed.BED["keys"]["gcs"]
        config = self.dir / "rclone.conf"
        config.write_text(
            f"[r]\ntype = s3\nprovider = Other\naccess_key_id = {key_id}\nsecret_access_key = {secret}\n"
            f"endpoint = {bed.BED['http']}\nregion = {bed.BED['region']}\nforce_path_style = true\n"
        )

        def rclone(*arguments):
            return self.run_tool("rclone", "--config", config, "--retries", "1", "--low-level-retries", "1",
                                 "--s3-chunk-size", "5M", "--s3-upload-cutoff", "6M", *arguments)

        to = f"r:{self.name}/{self.at}"
        rclone("sync", self.dir / "tree", to + "tree")
        rclone("check", "--download", self.dir / "tree", to + "tree")
        rclone("copy", self.dir / "big", to)
        rclone("check", "--one-way", "--include", "/big", self.dir, to)
        rclone("moveto", to + "big", to + "moved")
        self.assertIn("moved", rclone("lsf", to))
        rclone("purge", to)
        self.assertEqual(self.left(), 0)


if __name__ == "__main__":
    bed.main()
