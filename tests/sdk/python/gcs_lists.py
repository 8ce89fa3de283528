"""boto3 over Cloud Storage: listings, V1 and V2, against what S3's manual has them answer."""

import urllib.parse

import bed
import sigv4
from bed import client, name
from gcsbed import GcsCase, seed
from s3_objects import ODD_KEYS

KEYS = ["a", "b/1", "b/2", "b/c/3", "b/c/4", "d e/f+g", "d e/ü", "x&y<z>", "z"]


class Listing(GcsCase):
    def setUp(self):
        super().setUp()
        self.keys = [self.at + key for key in KEYS]
        for bucket in ("g-one", "g-two"):
            seed(bucket, self.keys)

    def v2(self, **more):
        return self.s3.list_objects_v2(**{"Bucket": self.name, "Prefix": self.at, **more})

    def v1(self, **more):
        return self.s3.list_objects(**{"Bucket": self.name, "Prefix": self.at, **more})

    def found(self, page):
        """Keys and prefixes of a page, without what all begin with."""
        keys = [entry["Key"].removeprefix(self.at) for entry in page.get("Contents", [])]
        prefixes = [entry["Prefix"].removeprefix(self.at) for entry in page.get("CommonPrefixes", [])]
        return keys, prefixes

    def each(self):
        """Both versions, in the bucket with a prefix and in the one without."""
        for bucket in ("g-one", "g-two"):
            self.name = name(bucket)
            yield from (("V1", self.v1), ("V2", self.v2))

    def test_everything_in_order(self):
        for _, call in self.each():
            page = call()
            self.assertEqual(self.found(page), (sorted(KEYS), []))
            self.assertEqual((page["Name"], page["Prefix"], page["IsTruncated"]), (self.name, self.at, False))

    def test_entries_tell_of_objects(self):
        put = self.put("told", b"12345")
        for call in (self.v1, self.v2):
            entry = call(Prefix=self.at + "told")["Contents"][0]
            head = self.head("told")
            self.assertEqual((entry["ETag"], entry["Size"], entry["StorageClass"]), (put["ETag"], 5, "STANDARD"))
            self.assertLess(abs((entry["LastModified"] - head["LastModified"]).total_seconds()), 1)

    def test_by_directories(self):
        for _, call in self.each():
            self.assertEqual(self.found(call(Delimiter="/")), (["a", "x&y<z>", "z"], ["b/", "d e/"]))
            self.assertEqual(self.found(call(Delimiter="/", Prefix=self.at + "b/")), (["b/1", "b/2"], ["b/c/"]))

    def test_by_a_delimiter_of_several_characters(self):
        for _, call in self.each():
            self.assertEqual(self.found(call(Delimiter="/c/"))[1], ["b/c/"])

    def test_behind_a_key(self):
        for bucket in ("g-one", "g-two"):
            self.name = name(bucket)
            with self.subTest(bucket):
                for page in (self.v2(StartAfter=self.at + "b/2"), self.v1(Marker=self.at + "b/2")):
                    self.assertEqual(self.found(page)[0], ["b/c/3", "b/c/4", "d e/f+g", "d e/ü", "x&y<z>", "z"])
                # Between two keys, and behind the last.
                self.assertEqual(self.found(self.v2(StartAfter=self.at + "b/20"))[0][0], "b/c/3")
                self.assertEqual(self.found(self.v2(StartAfter=self.at + "zz")), ([], []))

    def test_behind_a_directory(self):
        for _, call in self.each():
            after = {"Marker": self.at + "b/"} if call == self.v1 else {"StartAfter": self.at + "b/"}
            self.assertEqual(self.found(call(Delimiter="/", **after)), (["x&y<z>", "z"], ["d e/"]))

    def test_behind_a_key_within_a_directory(self):
        for _, call in self.each():
            after = {"Marker": self.at + "b/1"} if call == self.v1 else {"StartAfter": self.at + "b/1"}
            self.assertEqual(self.found(call(Delimiter="/", **after))[1], ["b/", "d e/"])

    def test_of_nothing(self):
        for _, call in self.each():
            page = call(Prefix=self.at + "none")
            self.assertEqual((self.found(page), page["IsTruncated"]), (([], []), False))

    def test_no_keys_at_all_are_asked_of_nobody(self):
        self.sent()
        for call in (self.v1, self.v2):
            page = call(MaxKeys=0)
            self.assertEqual((self.found(page), page["IsTruncated"], page["MaxKeys"]), (([], []), False, 0))
        self.assert_nothing_sent()

    def test_max_keys_that_are_none_are_refused(self):
        for call in (self.v1, self.v2):
            self.refused("InvalidArgument", call, MaxKeys=-1, status=400)

    def test_more_than_a_thousand_are_asked_for(self):
        self.assertEqual(self.v2(MaxKeys=5000)["KeyCount"], len(KEYS))

    def test_pages_of_v2(self):
        for bucket in ("g-one", "g-two"):
            self.name = name(bucket)
            with self.subTest(bucket):
                seen, token = [], {}
                for _ in range(5):
                    page = self.v2(MaxKeys=2, **token)
                    seen += self.found(page)[0]
                    if not page["IsTruncated"]:
                        break
                    self.assertEqual(page["KeyCount"], 2)
                    token = {"ContinuationToken": page["NextContinuationToken"]}
                self.assertEqual(seen, sorted(KEYS))

    def test_pages_of_directories(self):
        for what, _ in self.each():
            paginator = self.s3.get_paginator("list_objects_v2" if what == "V2" else "list_objects")
            keys, prefixes, pages = [], [], 0
            for page in paginator.paginate(Bucket=self.name, Prefix=self.at, Delimiter="/", PaginationConfig={"PageSize": 1}):
                pages += 1
                keys += self.found(page)[0]
                prefixes += self.found(page)[1]
            self.assertEqual((keys, prefixes, pages), (["a", "x&y<z>", "z"], ["b/", "d e/"], 5))

    def test_markers_of_v1(self):
        page = self.v1(MaxKeys=2, Delimiter="/")
        self.assertEqual((self.found(page), page["NextMarker"]), ((["a"], ["b/"]), self.at + "b/"))
        self.assertNotIn("NextMarker", self.v1(MaxKeys=2))

    def test_2500_keys(self):
        many = self.at + "many/"
        seed(self.bucket, [f"{many}{number:05}" for number in range(2500)])
        for paginator in ("list_objects", "list_objects_v2"):
            with self.subTest(paginator):
                self.sent()
                keys, pages = [], 0
                for page in self.s3.get_paginator(paginator).paginate(Bucket=self.name, Prefix=many):
                    keys += [entry["Key"] for entry in page["Contents"]]
                    pages += 1
                self.assertEqual((keys, pages), ([f"{many}{number:05}" for number in range(2500)], 3))
                self.assertEqual(len(self.sent()), 3)

    def test_encoding(self):
        page = self.v2(EncodingType="url", Prefix=self.at + "d", Delimiter="+")
        self.assertEqual(page["EncodingType"], "url")
        keys = [urllib.parse.unquote_plus(entry["Key"]) for entry in page["Contents"]]
        self.assertEqual(keys, [self.at + "d e/ü"])
        self.assertIn("%C3%BC", page["Contents"][0]["Key"])
        self.assertEqual(urllib.parse.unquote_plus(page["CommonPrefixes"][0]["Prefix"]), self.at + "d e/f+")
        # boto3 asks for it by itself, and decodes; without it, names are in XML.
        self.assertNotIn("EncodingType", self.raw("list-type=2&prefix=" + urllib.parse.quote(self.at, safe="")))

    def raw(self, query):
        """A listing without boto3's encoding."""
        host = urllib.parse.urlsplit(bed.BED["http"]).netloc
        signer = sigv4.Signer(*bed.BED["keys"]["gcs"], bed.BED["region"])
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
        headers = signer.head("GET", host, f"/{self.name}", pairs, {}, "UNSIGNED-PAYLOAD")
        status, body = sigv4.send(bed.BED["http"], None, "GET", f"/{self.name}?{query}", headers, b"")
        self.assertEqual(status, 200, body[:300])
        return body.decode()

    def test_without_encoding_names_are_text(self):
        document = self.raw("list-type=2&prefix=" + urllib.parse.quote(self.at, safe=""))
        self.assertIn(f"<Key>{self.at}d e/ü</Key>", document)
        self.assertIn(f"<Key>{self.at}x&amp;y&lt;z&gt;</Key>", document)

    def test_odd_keys(self):
        odd = self.at + "odd/"
        seed(self.bucket, [odd + key for key in ODD_KEYS])
        for call in (self.v1, self.v2):
            self.assertEqual([entry["Key"] for entry in call(Prefix=odd)["Contents"]], sorted(odd + key for key in ODD_KEYS))

    def test_tokens_of_others_are_refused(self):
        self.refused("InvalidArgument", self.v2, ContinuationToken="bm9uc2Vuc2U=", status=400)
        token = self.v2(MaxKeys=2)["NextContinuationToken"]
        self.refused("InvalidArgument", self.s3.list_objects_v2, Bucket=name("g-two"), Prefix=self.at,
                     ContinuationToken=token, status=400)

    def test_versions_of_a_bucket_without(self):
        page = self.s3.list_object_versions(Bucket=self.name, Prefix=self.at, Delimiter="/")
        self.assertEqual([entry["Key"] for entry in page["Versions"]], [self.at + key for key in ("a", "x&y<z>", "z")])
        self.assertTrue(all(entry["IsLatest"] for entry in page["Versions"]))
        self.assertEqual([entry["Prefix"] for entry in page["CommonPrefixes"]], [self.at + "b/", self.at + "d e/"])

    def test_owners_where_they_are_asked_for(self):
        self.assertNotIn("Owner", self.v2()["Contents"][0])
        self.assertIn("Owner", self.v2(FetchOwner=True)["Contents"][0])

    def test_buckets(self):
        listed = [entry["Name"] for entry in client("gcs").list_buckets()["Buckets"]]
        self.assertEqual(listed, sorted(name(bucket) for bucket in ("g-one", "g-two", "g-account")))


if __name__ == "__main__":
    bed.main()
