"""The command-line clients between buckets of several clouds: aws, s5cmd and rclone copy within one endpoint."""

import bed
from bed import name
from crossbed import CrossCase
from gcsbed import sha256
from s3_tools import Tool as AnyTool

DIRECTIONS = [("x-s3", "x-gcs"), ("x-gcs", "x-azure"), ("x-azure", "x-s3"), ("x-azure", "x-gcs")]


class Tools(CrossCase):
    """One test a client. The tools' own case is used, not inherited: its tests are those over S3."""

    def setUp(self):
        super().setUp()
        self.tool = AnyTool("run_tool")
        self.tool.setUp()
        self.addCleanup(self.tool.doCleanups)
        self.big = (self.tool.dir / "big").read_bytes()

    def run_tool(self, *arguments):
        return self.tool.run_tool(*arguments, key="cross")

    def each(self):
        """Every direction, with a source that is there and where the copy of it is to be."""
        for source, target in DIRECTIONS:
            with self.subTest(source=source, target=target):
                self.put(source, "big", self.big)
                to = f"by tool from {source}"
                yield f"{name(source)}/{self.at}big", f"{name(target)}/{self.at}{to}"
                self.assertEqual(self.at_store(target, to), sha256(self.big))

    def test_aws(self):
        for source, target in self.each():
            self.run_tool("aws", "--endpoint-url", bed.BED["http"], "s3", "cp", f"s3://{source}", f"s3://{target}")

    def test_s5cmd(self):
        for source, target in self.each():
            self.run_tool("s5cmd", "--endpoint-url", bed.BED["http"], "--retry-count", "0", "cp",
                          f"s3://{source}", f"s3://{target}")

    def test_rclone(self):
        key_id, secret = bed.BED["keys"]["cross"]
        config = self.tool.dir / "rclone.conf"
        config.write_text(
            f"[r]\ntype = s3\nprovider = Other\naccess_key_id = {key_id}\nsecret_access_key = {secret}\n"
            f"endpoint = {bed.BED['http']}\nregion = {bed.BED['region']}\nforce_path_style = true\n"
        )
        for source, target in self.each():
            self.run_tool("rclone", "--config", config, "--retries", "1", "--low-level-retries", "1",
                          "copyto", f"r:{source}", f"r:{target}")


if __name__ == "__main__":
    bed.main()
