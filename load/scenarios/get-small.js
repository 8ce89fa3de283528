// GET of 4 KiB, straight at the origin and through Aqueduct in turns: what verifying and signing again adds.
import { arrivals, at, get, options as of, summary } from "../lib/common.js";

export const options = of({ get: arrivals("run") }, ["via:direct", "via:aqueduct"]);
export const handleSummary = summary([{ what: "p(95)", of: "took{via:aqueduct}", less: "took{via:direct}", plus: 5 }]);

export function run() {
  get(at.direct, "/bench/4KiB", 4096, { via: "direct" });
  get(at.aqueduct, "/bench/4KiB", 4096, { via: "aqueduct" });
}
