// PUT of 4 KiB, with its hash signed or not, straight at the origin and through Aqueduct.
import crypto from "k6/crypto";
import exec from "k6/execution";
import { arrivals, at, options as of, put, summary } from "../lib/common.js";
import { UNSIGNED } from "../lib/sigv4.js";

export const options = of({ put: arrivals("run") }, ["via:direct", "via:aqueduct"]);
export const handleSummary = summary([{ what: "p(95)", of: "took{via:aqueduct}", less: "took{via:direct}", plus: 8 }]);

const body = "x".repeat(4096);
const hash = crypto.sha256(body, "hex");

export function run() {
  const number = exec.scenario.iterationInTest;
  const payload = number % 2 ? UNSIGNED : hash;
  put(at.direct, `/bench/put/${number}`, body, payload, { via: "direct" });
  put(at.aqueduct, `/bench/put/${number}`, body, payload, { via: "aqueduct" });
}
