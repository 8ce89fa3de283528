// Checks an OpenAI endpoint with the unmodified openai package for Node.
//
//   AQUEDUCT_AI_URL=http://127.0.0.1:8080/v1 AQUEDUCT_AI_KEY=sk-... MODEL=tiny node check_openai.mjs
//
// The variables are those of check_openai.py. The package is looked for from the working directory, or from the
// directory that SDK_DIR names.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.SDK_DIR ?? process.cwd()}/`);
const OpenAI = require("openai").default;

const url = process.env.AQUEDUCT_AI_URL;
const key = process.env.AQUEDUCT_AI_KEY;
const model = process.env.MODEL;
const isDirect = process.env.DIRECT === "1";
const embeddingModel = process.env.EMBEDDING_MODEL;
const embeddingUrl = process.env.AQUEDUCT_AI_EMBEDDING_URL ?? url;

const client = new OpenAI({ baseURL: url, apiKey: key, timeout: 60_000 });
const messages = [{ role: "user", content: "Grüße, 世界 🌍" }];
const maxTokens = 16;

const chat = (options = {}) =>
  client.chat.completions.create({ model, messages, max_tokens: maxTokens, ...options });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function refused(kind, call) {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof kind, String(error));
    return error;
  }
  throw new Error(`${kind.name} was not thrown`);
}

const checks = {
  async "the model is listed"() {
    const ids = (await collect(client.models.list())).map((one) => one.id);
    assert.ok(isDirect || ids.includes(model), String(ids));
  },

  async "a chat is answered whole"() {
    const answer = await chat();
    assert.ok(["stop", "length"].includes(answer.choices[0].finish_reason));
    assert.ok(answer.usage.prompt_tokens > 0);
  },

  async "a stream without usage has none"() {
    const chunks = await collect(await chat({ stream: true }));
    assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
    assert.ok(["stop", "length"].includes(chunks.at(-1).choices[0].finish_reason));
  },

  async "a stream with usage ends with it"() {
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = await collect(await chat(options));
    assert.equal(chunks.at(-1).choices.length, 0);
    assert.ok(chunks.at(-1).usage.completion_tokens <= maxTokens);
    assert.ok(chunks.slice(0, -1).every((chunk) => chunk.choices.length === 1));
  },

  async "text is completed"() {
    const stream = await client.completions.create({
      model, prompt: "Once", max_tokens: maxTokens, stream: true,
    });
    const chunks = await collect(stream);
    assert.ok(["stop", "length"].includes(chunks.at(-1).choices[0].finish_reason));
  },

  async "embeddings come as base64 and as floats"() {
    if (!embeddingModel) return "skipped: EMBEDDING_MODEL is not set";
    const embedder = new OpenAI({ baseURL: embeddingUrl, apiKey: key });
    const options = { model: embeddingModel, input: "one" };
    const packed = await embedder.embeddings.create(options);
    const plain = await embedder.embeddings.create({ ...options, encoding_format: "float" });
    const pairs = packed.data[0].embedding.map((one, at) => [one, plain.data[0].embedding[at]]);
    assert.ok(pairs.length > 0 && pairs.every(([one, other]) => Math.abs(one - other) < 1e-3));
  },

  async "a response is streamed to its last event"() {
    const stream = await client.responses.create({
      model, input: "Hi", max_output_tokens: maxTokens, stream: true,
    });
    const events = await collect(stream);
    assert.equal(events[0].type, "response.created");
    assert.ok(["response.completed", "response.incomplete"].includes(events.at(-1).type));
  },

  async "bodies of megabytes pass"() {
    const answer = await chat({ padding: 'é\\" '.repeat(400_000), max_tokens: 1 });
    assert.equal(answer.choices.length, 1);
  },

  async "a stream that is left harms nothing"() {
    const stream = await chat({ stream: true, max_tokens: 700 });
    for await (const _ of stream) break;
    stream.controller.abort();
    assert.equal((await chat({ max_tokens: 1 })).choices.length, 1);
  },

  async "streams run beside each other"() {
    const streams = Array.from({ length: 16 }, async () => collect(await chat({ stream: true })));
    for (const chunks of await Promise.all(streams)) {
      assert.ok(["stop", "length"].includes(chunks.at(-1).choices[0].finish_reason));
    }
  },
};

const aqueductChecks = {
  async "unknown models are not found"() {
    const error = await refused(OpenAI.NotFoundError, () => chat({ model: "no-such-model" }));
    assert.equal(error.code, "model_not_found");
    assert.ok(error.requestID);
  },

  async "wrong keys are refused"() {
    const other = new OpenAI({ baseURL: url, apiKey: "sk-wrong" });
    const error = await refused(OpenAI.AuthenticationError, () => other.models.list());
    assert.equal(error.code, "invalid_api_key");
  },

  async "paths that are not served say so"() {
    const error = await refused(OpenAI.InternalServerError, () => client.files.list());
    assert.equal(error.status, 501);
  },

  async "stateful responses are refused"() {
    const call = () =>
      client.responses.create({ model, input: "Hi", previous_response_id: "resp_1" });
    const error = await refused(OpenAI.BadRequestError, call);
    assert.equal(error.param, "previous_response_id");
  },

  async "every answer has a request id"() {
    assert.ok((await chat({ max_tokens: 1 }))._request_id);
  },
};

let failed = 0;
const all = Object.entries({ ...checks, ...(isDirect ? {} : aqueductChecks) });
for (const [name, run] of all) {
  try {
    const note = await run();
    console.log(`ok      ${name}${note ? ` (${note})` : ""}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
console.log(`${all.length - failed} of ${all.length} passed`);
process.exitCode = failed ? 1 : 0;
