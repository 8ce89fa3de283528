// Ordinary requests, first alone and then while `load/k6` holds hundreds of connections that send a head or a body
// byte by byte or do not read: the ordinary ones notice nothing.
import exec from "k6/execution";
import { arrivals, at, get, options as of, seconds, summary } from "../lib/common.js";

export const options = of({
  baseline: arrivals("run", { lasts: seconds, tags: { phase: "baseline" } }),
  slow: arrivals("run", { start: seconds, lasts: seconds, tags: { phase: "slow" } }),
}, ["phase:baseline", "phase:slow"]);
export const handleSummary = summary([{ what: "p(99)", of: "took{phase:slow}", less: "took{phase:baseline}", times: 2, plus: 2 }]);

export function run() {
  get(at.aqueduct, "/bench/4KiB", 4096, { phase: exec.scenario.name });
}
