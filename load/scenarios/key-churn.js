// Keys are made and revoked by the admin API under load: a new one is accepted and a revoked one refused within a
// second, and the others notice nothing.
import http from "k6/http";
import { sleep } from "k6";
import { Trend } from "k6/metrics";
import { arrivals, at, get, options as of, seconds, summary, wrong } from "../lib/common.js";
import { signed } from "../lib/sigv4.js";

const accepted = new Trend("accepted_after", true);
const refused = new Trend("refused_after", true);

export const options = of({
  others: arrivals("others"),
  churn: { executor: "constant-vus", exec: "churn", vus: 2, duration: `${seconds}s`, gracefulStop: "30s" },
}, [], { accepted_after: ["max<1000"], refused_after: ["max<1000"] });
export const handleSummary = summary();

const admin = { headers: { Authorization: `Bearer ${__ENV.ADMIN_TOKEN}`, "Content-Type": "application/json" } };
const keys = `http://${at.admin}/repo/${__ENV.REPOSITORY}/apikey`;

export function others() {
  get(at.aqueduct, "/bench/1KiB", 1024);
}

export function churn() {
  const made = http.post(keys, JSON.stringify({ name: "churn", accessType: "READ" }), admin);
  wrong.add(made.status !== 201);
  if (made.status !== 201) {
    console.error(`a key was not made: ${made.status}`);
    return sleep(1);
  }
  const one = made.json();
  const key = { id: one.key, secret: one.secret };
  accepted.add(until(200, key));
  const ended = http.del(`${keys}/${one.id}`, null, admin);
  wrong.add(ended.status !== 200);
  refused.add(until(403, key));
}

/** Milliseconds until the key's requests have this status; two seconds at most. */
function until(status, key) {
  const started = Date.now();
  while (Date.now() - started < 2000) {
    const { url, headers } = signed({ method: "GET", host: at.aqueduct, path: "/bench/1KiB", key });
    if (http.get(url, { headers, responseType: "none" }).status === status) break;
    sleep(0.005);
  }
  return Date.now() - started;
}
