// Chat completions, straight at the origin and through Aqueduct.
import { arrivals, at, chat, options as of, summary } from "../lib/common.js";

export const options = of({ chat: arrivals("run") }, ["via:direct", "via:aqueduct"]);
export const handleSummary = summary([{ what: "p(95)", of: "took{via:aqueduct}", less: "took{via:direct}", plus: 5 }]);

export function run() {
  chat(at.direct, {}, { via: "direct" });
  chat(at.ai, { temperature: 0 }, { via: "aqueduct" });
}
