// Requests that must be refused, among as many that must not: all of them are, and no slower than the others.
import exec from "k6/execution";
import http from "k6/http";
import { arrivals, at, get, judge, key, options as of, summary } from "../lib/common.js";
import { amzDate, presigned, signed } from "../lib/sigv4.js";

export const options = of({ auth: arrivals("run") }, ["via:refused", "via:aqueduct"]);
export const handleSummary = summary([{ what: "p(99)", of: "took{via:refused}", less: "took{via:aqueduct}", times: 1.2, plus: 2 }]);

const path = "/bench/1KiB";
const tags = { via: "refused" };
const old = () => amzDate(new Date(Date.now() - 3600e3));
const ask = (more) => {
  const { url, headers } = signed({ method: "GET", host: at.aqueduct, path, key, ...more });
  return http.get(url, { headers });
};

const refusals = [
  () => judge(ask({ key: { ...key, secret: "wrong" } }), tags, 403),
  () => judge(ask({ key: { ...key, id: "AQDTAAAAAAAAAAAAAAAA" } }), tags, 403),
  () => judge(ask({ date: old() }), tags, 403),
  () => judge(http.get(presigned({ method: "GET", host: at.aqueduct, path, key, date: old(), expires: 60 })), tags, 403),
  () => judge(http.get(`http://${at.aqueduct}${path}`), tags, 403),
  () => {
    const headers = { "Content-Type": "application/json", Authorization: "Bearer aq-wrong" };
    judge(http.post(`http://${at.ai}/v1/chat/completions`, '{"model":"bench","messages":[]}', { headers }), tags, 401);
  },
];

export function run() {
  refusals[exec.scenario.iterationInTest % refusals.length]();
  get(at.aqueduct, path, 1024, { via: "aqueduct" });
}
