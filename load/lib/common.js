// What the scenarios share: where things are, what a right answer is, how long and how much.
//
// `load/k6` sets the environment. An answer is right or `wrong`; a scenario passes only with none wrong. What a
// request takes is in `took`, by the tags `via` (direct, aqueduct) and `phase`; k6 knows no difference of two
// trends, so `limits` of a scenario go into its summary and `load/k6` judges them.
import http from "k6/http";
import { Counter, Rate, Trend } from "k6/metrics";
import { signed } from "./sigv4.js";

export const at = { aqueduct: __ENV.S3, direct: __ENV.ORIGIN, ai: __ENV.AI, admin: __ENV.ADMIN };
export const key = { id: __ENV.KEY_ID, secret: __ENV.KEY_SECRET };
export const aiKey = __ENV.AI_KEY;
export const seconds = Number(__ENV.SECONDS);
export const rate = Number(__ENV.RATE);

export const wrong = new Rate("wrong");
export const took = new Trend("took", true);
export const answers = new Counter("answers");

/** An open model: so many a second, whatever the answers take. */
export function arrivals(exec, more = {}) {
  const { share = 1, start = 0, lasts = seconds, tags = {} } = more;
  return {
    executor: "constant-arrival-rate", exec, rate: Math.max(1, Math.round(rate * share)), timeUnit: "1s",
    startTime: `${start}s`, duration: `${lasts}s`, preAllocatedVUs: 50, maxVUs: 400, gracefulStop: "30s", tags,
  };
}

/** A judge for one answer: status, length, and what else `also` asks. */
export function judge(answer, tags, status, length, also = () => true) {
  const right = answer.status === status && (length === undefined || Number(answer.headers["Content-Length"]) === length) && also(answer);
  wrong.add(!right, tags);
  answers.add(1, tags);
  took.add(answer.timings.duration, tags);
  if (!right) {
    console.error(`${answer.request.method} ${answer.url} (${JSON.stringify(tags)}): ${answer.status} ${answer.error} ${String(answer.body).slice(0, 200)}`);
  }
  return right;
}

const discard = { responseType: "none", timeout: "30s" };

export function get(host, path, length, tags = {}, status = 200, who = key) {
  const { url, headers } = signed({ method: "GET", host, path, key: who });
  return judge(http.get(url, { ...discard, headers, tags }), tags, status, length);
}

export function put(host, path, body, payload, tags = {}) {
  const { url, headers } = signed({ method: "PUT", host, path, key, payload });
  return judge(http.put(url, body, { ...discard, headers, tags }), tags, 200, 0);
}

export function chat(host, body, tags = {}, length = undefined) {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${aiKey}` };
  const text = JSON.stringify({ model: "bench", messages: [{ role: "user", content: "What does an aqueduct teach?" }], ...body });
  return judge(http.post(`http://${host}/v1/chat/completions`, text, { headers, tags, timeout: "60s" }), tags, 200, length, body.stream ? whole(body.max_tokens) : (answer) => answer.json("object") === "chat.completion");
}

/** A stream of so many words, and then the finish and [DONE]; a count of tokens may stand between. */
function whole(words) {
  return ({ body }) => {
    const events = body.split("\n\n");
    const end = events.pop();
    return end === "" && events[events.length - 1] === "data: [DONE]" && events.filter((one) => one.includes('"content"')).length === words &&
      events.every((one) => one.startsWith("data: "));
  };
}

/** Options of a scenario: nothing wrong; sub-trends for what `limits` compare. */
export function options(scenarios, trends = [], more = {}) {
  const thresholds = { wrong: ["rate==0"], answers: ["count>0"], ...more };
  trends.forEach((tags) => { thresholds[`took{${tags}}`] = ["max>=0"]; });
  return {
    scenarios, thresholds, discardResponseBodies: false, noConnectionReuse: false, userAgent: "k6",
    summaryTrendStats: ["count", "med", "p(95)", "p(99)", "max"], systemTags: ["scenario"],
  };
}

/**
 * Writes the figures for `load/k6`. `limits` are { what, of, less, times, plus }: the quantile `what` of the trend
 * `of` may be at most that of `less` times `times` plus so many milliseconds.
 */
export function summary(limits = []) {
  return (data) => ({ [__ENV.SUMMARY]: JSON.stringify({ metrics: data.metrics, limits }) });
}
