// What the suites share: the bed's description, a client, and a runner that prints one line a test.
import assert from "node:assert/strict";
import { randomBytes, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { S3Client } from "@aws-sdk/client-s3";
import { NodeHttpHandler } from "@smithy/node-http-handler";

export const bed = JSON.parse(readFileSync(process.env.AQUEDUCT_BED, "utf8"));
export const direct = bed.mode === "direct";
export const schemes = ["http", "https"].filter((scheme) => bed[scheme]);
export const name = (bucket) => bed.buckets[bucket].name;
export const fresh = (label) => `${label}-${randomBytes(5).toString("hex")}/`;
export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

// Names below `localhost` are loopback by RFC 6761, but not every resolver knows.
const lookup = (_host, options, done) =>
  options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);

export function client({ key = "admin", scheme = "http", style = "path", ...more } = {}) {
  const [accessKeyId, secretAccessKey] = bed.keys[key];
  const endpoint = style === "virtual" ? bed[scheme].replace("127.0.0.1", bed.domain) : bed[scheme];
  const ca = scheme === "https" ? readFileSync(bed.ca) : undefined;
  return new S3Client({
    endpoint,
    region: bed.region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: style !== "virtual",
    maxAttempts: 1,
    requestHandler: new NodeHttpHandler({
      httpAgent: new http.Agent({ keepAlive: true, lookup }),
      httpsAgent: new https.Agent({ keepAlive: true, lookup, ca }),
    }),
    ...more,
  });
}

/// The bytes of a body that an SDK answered.
export const bytes = async (answer) => Buffer.from(await answer.Body.transformToByteArray());

export async function refused(promise, code, status) {
  const error = await promise.then(
    () => assert.fail(`not refused; expected ${code}`),
    (error) => error,
  );
  assert.ok([code].flat().includes(error.name), `${error.name}: ${error.message}`);
  if (status) assert.equal(error.$metadata?.httpStatusCode, status);
  return error;
}

/// Runs `{ name: test }` one after the other and exits with the verdict.
export async function main(tests) {
  let failed = false;
  for (const [title, test] of Object.entries(tests)) {
    const started = performance.now();
    try {
      const skipped = await test();
      const took = ((performance.now() - started) / 1000).toFixed(2);
      console.log(typeof skipped === "string" ? `skip ${title}: ${skipped}` : `ok   ${title} (${took}s)`);
    } catch (error) {
      failed = true;
      console.log(`FAIL ${title}: ${String(error?.message ?? error).split("\n").join(" | ").slice(0, 600)}`);
      if (process.env.AQUEDUCT_TRACE) console.log(error);
    }
  }
  process.exit(failed ? 1 : 0);
}
