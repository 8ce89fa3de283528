// AWS Signature Version 4 for S3, for k6, which has no such module without the network: headers and presigned
// URLs. S3 means that a path is encoded once.
import crypto from "k6/crypto";

export const UNSIGNED = "UNSIGNED-PAYLOAD";

/** `20260102T030405Z`. */
export function amzDate(time = new Date()) {
  return time.toISOString().replace(/[-:]|\.\d{3}/g, "");
}

export function encode(text) {
  return encodeURIComponent(text).replace(/[!'()*]/g, (one) => "%" + one.charCodeAt(0).toString(16).toUpperCase());
}

const encodePath = (path) => path.split("/").map(encode).join("/");

function canonicalQuery(query) {
  const pairs = Object.keys(query).map((name) => [encode(name), encode(query[name])]);
  // Encoded text is ASCII, so this is the order of bytes.
  return pairs.sort(([a], [b]) => (a < b ? -1 : 1)).map((pair) => pair.join("=")).join("&");
}

// A derived key is good for its day: HMAC in JavaScript is what costs a generator most.
const derived = {};

function signature(key, scope, date, canonical) {
  const name = `${key.secret}/${scope}`;
  if (!derived[name]) {
    derived[name] = scope.split("/").reduce((from, part) => crypto.hmac("sha256", from, part, "binary"), `AWS4${key.secret}`);
  }
  const text = ["AWS4-HMAC-SHA256", date, scope, crypto.sha256(canonical, "hex")].join("\n");
  return crypto.hmac("sha256", derived[name], text, "hex");
}

/**
 * Gives { url, headers } for `method` on `path` (not encoded) at `host`. `payload` is the body's SHA-256 in hex or
 * UNSIGNED; `headers` are signed too; `date` is an amzDate.
 */
export function signed({ method, host, path, key, query = {}, payload = UNSIGNED, headers = {}, region = "us-east-1", date = amzDate() }) {
  const all = { ...headers, "x-amz-content-sha256": payload, "x-amz-date": date };
  const values = { host };
  Object.keys(all).forEach((name) => { values[name.toLowerCase()] = String(all[name]).trim(); });
  const names = Object.keys(values).sort();
  const scope = `${date.slice(0, 8)}/${region}/s3/aws4_request`;
  const lines = names.map((name) => `${name}:${values[name]}\n`).join("");
  const canonical = [method, encodePath(path), canonicalQuery(query), lines, names.join(";"), payload].join("\n");
  all.Authorization = `AWS4-HMAC-SHA256 Credential=${key.id}/${scope}, SignedHeaders=${names.join(";")}, ` +
    `Signature=${signature(key, scope, date, canonical)}`;
  const question = canonicalQuery(query);
  return { url: `http://${host}${encodePath(path)}${question ? `?${question}` : ""}`, headers: all };
}

/** A presigned URL. */
export function presigned({ method, host, path, key, query = {}, region = "us-east-1", date = amzDate(), expires = 900 }) {
  const scope = `${date.slice(0, 8)}/${region}/s3/aws4_request`;
  const all = {
    ...query, "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": `${key.id}/${scope}`, "X-Amz-Date": date,
    "X-Amz-Expires": String(expires), "X-Amz-SignedHeaders": "host",
  };
  const question = canonicalQuery(all);
  const canonical = [method, encodePath(path), question, `host:${host}\n`, "host", UNSIGNED].join("\n");
  return `http://${host}${encodePath(path)}?${question}&X-Amz-Signature=${signature(key, scope, date, canonical)}`;
}
