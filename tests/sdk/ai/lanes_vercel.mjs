// The Vercel AI SDK over every lane, by both of its providers for this dialect, and over llama.cpp's server.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from "ai";
import { embedders, failed, key, main, says, schema, taken, url } from "./runner.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const openai = createOpenAI({ baseURL: url, apiKey: key });
const compatible = createOpenAICompatible({ name: "aqueduct", baseURL: url, apiKey: key, includeUsage: true, supportsStructuredOutputs: true });
const both = (model) => [openai.chat(model), compatible.chatModel(model)];

/** Text and end of a stream; what breaks it is thrown. */
async function heard(stream) {
  let text = "";
  let finish;
  for await (const part of stream.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") text += part.text;
    if (part.type === "finish") finish = part;
  }
  return { text, reason: finish?.finishReason, usage: finish?.totalUsage };
}

function weatherTools(called) {
  const one = (name) =>
    tool({
      description: "Tells.",
      inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }),
      execute: (given) => (called.push([name, given]), "7"),
    });
  return { sdk_weather: one("sdk_weather"), sdk_time: one("sdk_time") };
}

await main(
  {
    async "a text is generated"(id) {
      for (const model of both(id)) {
        const answer = await generateText({ model, system: "Be brief.", prompt: "sdk says", maxOutputTokens: 400, maxRetries: 0 });
        assert.deepEqual([answer.text, answer.finishReason], [says, "stop"]);
        assert.equal(typeof answer.usage.outputTokens, "number");
      }
    },

    async "a text is streamed"(id) {
      for (const model of both(id)) {
        const got = await heard(streamText({ model, prompt: "sdk says", maxRetries: 0 }));
        assert.deepEqual([got.text, got.reason], [says, "stop"]);
        assert.equal(typeof got.usage.outputTokens, "number");
      }
    },

    async "tools are called and their results answered, by its own loop"(id) {
      for (const model of both(id)) {
        const called = [];
        const asked = { model, prompt: "sdk tools please", tools: weatherTools(called), stopWhen: stepCountIs(3), maxRetries: 0 };
        assert.equal((await generateText(asked)).text, "It is 7 degrees.");
        assert.equal((await heard(streamText(asked))).text, "It is 7 degrees.");
        const once = [["sdk_weather", { city: "Zürich" }], ["sdk_time", {}]];
        assert.deepEqual(called, [...once, ...once]);
      }
    },

    async "a schema is kept to"(id) {
      for (const model of both(id)) {
        const asked = { model, prompt: "sdk schema", schema: jsonSchema(schema), maxRetries: 0 };
        assert.deepEqual((await generateObject(asked)).object, { city: "Zürich", degrees: 7 });
        const stream = streamObject(asked);
        for await (const _ of stream.partialObjectStream);
        assert.deepEqual(await stream.object, { city: "Zürich", degrees: 7 });
      }
    },

    async "errors keep their status"(id) {
      for (const model of both(id))
        for (const [prompt, statuses] of [["sdk limited", [429]], ["sdk broken", [500, 502]]]) {
          await taken();
          const whole = await failed(() => generateText({ model, prompt, maxRetries: 0 }));
          const streamed = await failed(() => heard(streamText({ model, prompt, maxRetries: 0, onError() {} })));
          for (const error of [whole, streamed]) assert.ok(statuses.includes(error.statusCode), String(error));
          assert.equal((await taken()).length, 2);
        }
    },

    async "a stream that breaks off is an error"(id) {
      for (const model of both(id)) {
        const error = await failed(async () => {
          const got = await heard(streamText({ model, prompt: "sdk cut", maxRetries: 0, onError() {} }));
          // It may also say so by the reason to finish.
          if (got.reason !== "stop") throw new Error(`finished by ${got.reason}`);
        });
        assert.ok(error.code !== "ERR_ASSERTION", String(error));
      }
    },
  },
  {
    async "texts are embedded"() {
      for (const id of embedders)
        for (const model of [openai.embeddingModel(id), compatible.embeddingModel(id)]) {
          const answer = await embedMany({ model, values: ["a", "bcd"], maxRetries: 0 });
          assert.deepEqual(answer.embeddings, [[1, 0.5], [3, 0.5]], id);
        }
    },

    async "its default API is served where the provider has it, and refused elsewhere"() {
      assert.equal((await generateText({ model: openai("gpt-4o"), prompt: "sdk says", maxRetries: 0 })).text, says);
      const error = await failed(() => generateText({ model: openai("gemini-2.5-flash"), prompt: "sdk says", maxRetries: 0 }));
      assert.equal(error.statusCode, 501);
    },

    async "a real server answers"() {
      const llama = createOpenAICompatible({ name: "llama", baseURL: url, apiKey: process.env.AQUEDUCT_AI_KEY, includeUsage: true });
      const asked = { model: llama.chatModel("tiny"), prompt: "Grüße", maxOutputTokens: 12, maxRetries: 0 };
      assert.ok((await generateText(asked)).usage.outputTokens > 0);
      const got = await heard(streamText(asked));
      assert.ok(got.usage.outputTokens > 0 && ["stop", "length"].includes(got.reason), got.reason);
      const model = llama.embeddingModel("tiny-embedding");
      assert.equal((await embedMany({ model, values: ["Grüße"], maxRetries: 0 })).embeddings[0].length, 64);
    },
  },
);
