// What the suites of SDKs share: the lanes, what was asked of their providers, and a runner that prints a line a test.
import assert from "node:assert/strict";

export const url = process.env.AQUEDUCT_AI_URL;
export const key = process.env.AQUEDUCT_TAPED_KEY;
export const lanes = {
  openai: "gpt-4o",
  other: "served",
  anthropic: "claude-sonnet-4-5",
  google: "gemini-2.5-flash",
  aws: "anthropic.claude-sonnet-4-5-20250929-v1:0",
};
export const embedders = ["text-embedding-3-large", "gemini-embedding-001", "amazon.titan-embed-text-v2:0", "cohere.embed-v4:0"];
export const says = "Grüße 世界 🌍! Grüße 世界 🌍! Grüße 世界 🌍!";
export const schema = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "integer" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};

/** The requests that reached providers since the last call. */
export async function taken() {
  const answer = await fetch(`http://127.0.0.1:${process.env.AQUEDUCT_TAPE_PORT}/.tape`);
  return answer.json();
}

/** The error of what must fail. */
export const failed = (call) => call().then(() => assert.fail("did not fail"), (error) => error);

/** Runs every test on every lane, and the others once. */
export async function main(onEachLane, once = {}) {
  if (!key) {
    console.log("skip all: only Aqueduct has lanes");
    process.exit(0);
  }
  let failures = 0;
  const run = async (title, test) => {
    const started = performance.now();
    try {
      await test();
      console.log(`ok   ${title} (${((performance.now() - started) / 1000).toFixed(2)}s)`);
    } catch (error) {
      failures += 1;
      console.log(`FAIL ${title}: ${String(error?.message ?? error).split("\n").join(" | ").slice(0, 600)}`);
      if (process.env.AQUEDUCT_TRACE) console.log(error);
    }
  };
  for (const [title, test] of Object.entries(onEachLane))
    for (const [lane, model] of Object.entries(lanes)) await run(`${title} [${lane}]`, () => test(model, lane));
  for (const [title, test] of Object.entries(once)) await run(title, test);
  process.exit(failures ? 1 : 0);
}
