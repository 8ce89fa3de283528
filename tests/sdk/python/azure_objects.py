"""boto3 over Azure Blob Storage: objects, as far as the other suites do not have them."""

import bed
from azurebed import AzureCase, md5


class Objects(AzureCase):
    def test_there_and_back(self):
        etag = self.put(body=b"hello", Metadata={"m": "1"}, ContentType="text/plain")["ETag"]
        self.assertEqual(etag, f'"{md5(b"hello")}"')
        got = self.get()
        self.assertEqual((got["Body"].read(), got["ETag"], got["Metadata"], got["ContentType"]),
                         (b"hello", etag, {"m": "1"}, "text/plain"))
        self.assertEqual(self.stored(), b"hello")
        self.s3.delete_object(**self.where)
        self.refused("404", self.head, status=404)
        self.assertIsNone(self.stored())


if __name__ == "__main__":
    bed.main()
