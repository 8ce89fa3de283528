// Many chat streams at a time: every one whole, from its first word to [DONE]. k6 reads a body as one, so it knows
// nothing of the time of an event; `load/compare` does.
import { at, chat, options as of, seconds, summary } from "../lib/common.js";

const streams = Number(__ENV.STREAMS);
const hold = { executor: "constant-vus", exec: "run", vus: streams, duration: `${seconds}s`, gracefulStop: "30s" };

export const options = of({ sse: hold }, ["via:aqueduct"]);
export const handleSummary = summary();

export function run() {
  chat(at.ai, { stream: true, max_tokens: 40, user: "delay-ms=20" }, { via: "aqueduct" });
}
