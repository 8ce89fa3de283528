// @aws-sdk v3: objects, streams by lib-storage, lists, presigned URLs, virtual hosts, refusals.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { bed, bytes, client, direct, fresh, main, name, refused, schemes, sha256 } from "./bed.mjs";

const MIB = 1 << 20;
const each = (values, test) => async () => {
  for (const value of values) await test(value);
};

await main({
  "node: put, get, head, delete": each(schemes, async (scheme) => {
    const s3 = client({ scheme });
    const where = { Bucket: name("one"), Key: `${fresh("node")}a b+ü/日本.txt` };
    const body = randomBytes(100_000);
    const put = await s3.send(new PutObjectCommand({ ...where, Body: body, Metadata: { one: "1" } }));
    const got = await s3.send(new GetObjectCommand(where));
    assert.equal(sha256(await bytes(got)), sha256(body));
    assert.deepEqual([got.ETag, got.Metadata], [put.ETag, { one: "1" }]);
    const head = await s3.send(new HeadObjectCommand(where));
    assert.equal(head.ContentLength, 100_000);
    const part = await s3.send(new GetObjectCommand({ ...where, Range: "bytes=-7" }));
    assert.deepEqual(await bytes(part), body.subarray(-7));
    await s3.send(new DeleteObjectCommand(where));
    await refused(s3.send(new GetObjectCommand(where)), "NoSuchKey", 404);
  }),

  "node: checksum modes": each(schemes, async (scheme) => {
    for (const requestChecksumCalculation of ["WHEN_SUPPORTED", "WHEN_REQUIRED"]) {
      for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]) {
        const s3 = client({ scheme, requestChecksumCalculation });
        const where = { Bucket: name("two"), Key: fresh("node-sum") + ChecksumAlgorithm };
        const body = randomBytes(70_000);
        await s3.send(new PutObjectCommand({ ...where, Body: body, ChecksumAlgorithm }));
        const got = await s3.send(new GetObjectCommand({ ...where, ChecksumMode: "ENABLED" }));
        assert.equal(sha256(await bytes(got)), sha256(body), `${scheme} ${requestChecksumCalculation}`);
        assert.ok(got[`Checksum${ChecksumAlgorithm}`], ChecksumAlgorithm);
      }
    }
  }),

  "node: a stream of known length as a trailer upload": each(schemes, async (scheme) => {
    const where = { Bucket: name("two"), Key: `${fresh("node")}stream` };
    const body = randomBytes(3 * MIB + 1);
    const chunks = Readable.from(
      (function* () {
        for (let at = 0; at < body.length; at += 10_000) yield body.subarray(at, at + 10_000);
      })(),
    );
    const s3 = client({ scheme });
    await s3.send(new PutObjectCommand({ ...where, Body: chunks, ContentLength: body.length }));
    const got = await s3.send(new GetObjectCommand(where));
    assert.equal(sha256(await bytes(got)), sha256(body));
    // SeaweedFS itself keeps the transfer's coding as the object's.
    if (!direct) assert.ok(!(got.ContentEncoding ?? "").includes("aws-chunked"));
  }),

  "node: lib-storage uploads a stream of unknown length": each(schemes, async (scheme) => {
    const where = { Bucket: name("one"), Key: `${fresh("node")}unknown` };
    const body = randomBytes(12 * MIB + 3);
    const s3 = client({ scheme });
    const upload = new Upload({
      client: s3,
      params: { ...where, Body: Readable.from([body.subarray(0, 7 * MIB), body.subarray(7 * MIB)]) },
      partSize: 5 * MIB,
      queueSize: 2,
    });
    const done = await upload.done();
    assert.deepEqual([done.Bucket, done.Key], [where.Bucket, where.Key]);
    assert.equal(sha256(await bytes(await s3.send(new GetObjectCommand(where)))), sha256(body));
  }),

  "node: lists and batch delete": async () => {
    const s3 = client();
    const at = fresh("node-list");
    const keys = ["a", "b/1", "b/2", "c d", "e+f", "ü"].map((key) => at + key);
    for (const Key of keys) await s3.send(new PutObjectCommand({ Bucket: name("one"), Key, Body: "x" }));
    const found = [];
    for await (const page of paginateListObjectsV2({ client: s3, pageSize: 2 }, { Bucket: name("one"), Prefix: at }))
      found.push(...(page.Contents ?? []).map((entry) => entry.Key));
    assert.deepEqual(found, [...keys].sort());
    const folders = await s3.send(new ListObjectsV2Command({ Bucket: name("one"), Prefix: at, Delimiter: "/" }));
    assert.deepEqual(folders.CommonPrefixes, [{ Prefix: `${at}b/` }]);
    const Delete = { Objects: keys.map((Key) => ({ Key })) };
    const deleted = await s3.send(new DeleteObjectsCommand({ Bucket: name("one"), Delete }));
    assert.equal(deleted.Deleted.length, keys.length);
  },

  "node: copy": async () => {
    const s3 = client();
    const at = fresh("node-copy");
    await s3.send(new PutObjectCommand({ Bucket: name("one"), Key: `${at}ü src`, Body: "copied" }));
    const CopySource = encodeURIComponent(`${name("one")}/${at}ü src`);
    // Within one account, and from one to another.
    for (const Bucket of [name("one"), name("two")]) {
      await s3.send(new CopyObjectCommand({ Bucket, Key: `${at}dst`, CopySource }));
      const got = await s3.send(new GetObjectCommand({ Bucket, Key: `${at}dst` }));
      assert.equal((await bytes(got)).toString(), "copied");
    }
  },

  "node: presigned PUT and GET": async () => {
    const s3 = client({ requestChecksumCalculation: "WHEN_REQUIRED" });
    const where = { Bucket: name("one"), Key: `${fresh("node")}pre ü` };
    const put = await fetch(await getSignedUrl(s3, new PutObjectCommand(where)), { method: "PUT", body: "presigned" });
    assert.equal(put.status, 200, await put.text());
    const get = await fetch(await getSignedUrl(s3, new GetObjectCommand(where)));
    assert.equal(await get.text(), "presigned");
  },

  "node: virtual-host style": each(["one", "two"], async (bucket) => {
    const s3 = client({ style: "virtual" });
    const where = { Bucket: name(bucket), Key: `${fresh("node")}v h/ü` };
    await s3.send(new PutObjectCommand({ ...where, Body: "virtual" }));
    assert.equal((await bytes(await s3.send(new GetObjectCommand(where)))).toString(), "virtual");
    const found = await s3.send(new ListObjectsV2Command({ Bucket: where.Bucket, Prefix: where.Key }));
    assert.deepEqual(found.Contents.map((entry) => entry.Key), [where.Key]);
  }),

  "node: buckets and refusals": async () => {
    if (direct) return "only Aqueduct does this";
    const { Buckets } = await client().send(new ListBucketsCommand({}));
    assert.deepEqual(Buckets.map((bucket) => bucket.Name).sort(), ["one", "two", "three"].map(name).sort());
    const where = { Bucket: name("one"), Key: `${fresh("node")}x` };
    await refused(client({ key: "read" }).send(new PutObjectCommand({ ...where, Body: "x" })), "AccessDenied", 403);
    bed.keys.wrong = [bed.keys.admin[0], "x".repeat(40)];
    await refused(client({ key: "wrong" }).send(new GetObjectCommand(where)), "SignatureDoesNotMatch", 403);
  },
});
