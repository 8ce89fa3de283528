// What a store sees: reads of several sizes, writes, HEADs, listings, presigned URLs. In a soak one request in a
// hundred asks the origin for a fault, and exactly that must come out of it.
import crypto from "k6/crypto";
import exec from "k6/execution";
import http from "k6/http";
import { arrivals, at, get, judge, key, options as of, put, summary } from "../lib/common.js";
import { presigned, signed, UNSIGNED } from "../lib/sigv4.js";

export const options = of({ mixed: arrivals("run") }, ["op:get", "op:put", "op:head", "op:list", "op:presigned", ...(__ENV.FAULTS === "1" ? ["op:fault"] : [])]);
export const handleSummary = summary();

const body = "x".repeat(65536);
const hash = crypto.sha256(body, "hex");
const faults = __ENV.FAULTS === "1";

export function run() {
  const number = exec.scenario.iterationInTest;
  if (faults && number % 100 === 99) return fault(number);
  switch (number % 10) {
    case 0: case 1: return put(at.aqueduct, `/bench/put/${number}`, body, number % 2 ? UNSIGNED : hash, { op: "put" });
    case 2: return head();
    case 3: return list();
    case 4: return link();
    case 5: return get(at.aqueduct, "/bench/1MiB", 1048576, { op: "get" });
    default: return get(at.aqueduct, "/bench/64KiB", 65536, { op: "get" });
  }
}

function head() {
  const { url, headers } = signed({ method: "HEAD", host: at.aqueduct, path: "/bench/64KiB", key });
  judge(http.head(url, { headers }), { op: "head" }, 200, 65536);
}

function list() {
  const query = { "list-type": "2", prefix: "" };
  const { url, headers } = signed({ method: "GET", host: at.aqueduct, path: "/bench", key, query });
  judge(http.get(url, { headers }), { op: "list" }, 200, undefined, (answer) => answer.body.split("<Contents>").length === 5);
}

function link() {
  const url = presigned({ method: "GET", host: at.aqueduct, path: "/bench/1KiB", key });
  judge(http.get(url, { responseType: "none" }), { op: "presigned" }, 200, 1024);
}

/** A store's error comes out as one, and an object that broke off is not a whole one. */
function fault(number) {
  const tags = { op: "fault" };
  if (number % 200 === 99) return get(at.aqueduct, "/bench/503/1KiB", undefined, tags, 503);
  const { url, headers } = signed({ method: "GET", host: at.aqueduct, path: "/bench/cut/1MiB", key });
  // k6 gives what broke off the status 0.
  judge(http.get(url, { headers, responseType: "none" }), tags, 0);
}
