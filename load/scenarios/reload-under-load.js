// Reads, writes and streams while `load/k6` edits the config all the time, every second edit broken: no request may
// notice. The first half is without edits, to compare with.
import exec from "k6/execution";
import { arrivals, at, chat, get, options as of, put, seconds, summary } from "../lib/common.js";
import { UNSIGNED } from "../lib/sigv4.js";

export const options = of({
  baseline: arrivals("run", { lasts: seconds, tags: { phase: "baseline" } }),
  reload: arrivals("run", { start: seconds, lasts: seconds, tags: { phase: "reload" } }),
}, ["phase:baseline", "phase:reload"]);
export const handleSummary = summary([{ what: "p(99)", of: "took{phase:reload}", less: "took{phase:baseline}", times: 1.2, plus: 5 }]);

const body = "x".repeat(16384);

export function run() {
  const phase = exec.scenario.name;
  switch (exec.scenario.iterationInTest % 10) {
    case 0: case 1: return put(at.aqueduct, "/bench/put", body, UNSIGNED, { phase });
    // A stream outlives several edits; its time is its own and not compared.
    case 2: return chat(at.ai, { stream: true, max_tokens: 20, user: "delay-ms=50" }, { phase: "streams" });
    default: return get(at.aqueduct, "/bench/16KiB", 16384, { phase });
  }
}
