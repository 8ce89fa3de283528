// The unmodified openai package for Node over every lane.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { embedders, failed, key, main, says, schema, taken, url } from "./runner.mjs";

const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0, timeout: 30_000 });
const user = (content) => [{ role: "user", content }];
const tools = ["sdk_weather", "sdk_time"].map((name) => ({
  type: "function",
  function: { name, description: "Tells.", parameters: { type: "object", properties: { city: { type: "string" } } } },
}));

await main(
  {
    async "a chat is answered"(model) {
      const messages = [{ role: "developer", content: "Be brief." }, ...user("sdk says")];
      const { data, response } = await client.chat.completions.create({ model, messages, max_tokens: 400 }).withResponse();
      assert.deepEqual([data.choices[0].message.content, data.choices[0].finish_reason], [says, "stop"]);
      assert.ok(data.usage && data._request_id);
      assert.equal(response.headers.get("x-aqueduct-attempts"), "1");
    },

    async "a chat is streamed"(model) {
      const asked = { model, messages: user("sdk says"), stream: true, stream_options: { include_usage: true } };
      const chunks = [];
      for await (const chunk of await client.chat.completions.create(asked)) chunks.push(chunk);
      assert.equal(chunks.flatMap((chunk) => chunk.choices).map((choice) => choice.delta.content ?? "").join(""), says);
      assert.deepEqual(chunks.flatMap((it) => it.choices).map((it) => it.finish_reason).filter(Boolean), ["stop"]);
      assert.ok(chunks.at(-1).usage && chunks.at(-1).choices.length === 0);
      assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
    },

    async "tools are called and their results answered, by its own runner"(model) {
      const called = [];
      const runnable = tools.map((tool) => ({
        type: "function",
        function: { ...tool.function, parse: JSON.parse, function: (given) => (called.push([tool.function.name, given]), "7") },
      }));
      for (const stream of [false, true]) {
        const runner = client.chat.completions.runTools({ model, messages: user("sdk tools please"), tools: runnable, stream });
        assert.equal(await runner.finalContent(), "It is 7 degrees.");
      }
      const once = [["sdk_weather", { city: "Zürich" }], ["sdk_time", {}]];
      assert.deepEqual(called, [...once, ...once]);
    },

    async "a schema is kept to"(model) {
      const response_format = { type: "json_schema", json_schema: { name: "weather", schema, strict: true } };
      const answer = await client.chat.completions.parse({ model, messages: user("sdk schema"), response_format });
      assert.deepEqual(JSON.parse(answer.choices[0].message.content), { city: "Zürich", degrees: 7 });
    },

    async "errors are its own and sent once"(model) {
      for (const [text, kind] of [["sdk limited", OpenAI.RateLimitError], ["sdk broken", OpenAI.InternalServerError]])
        for (const stream of [false, true]) {
          await taken();
          const error = await failed(() => client.chat.completions.create({ model, messages: user(text), stream }));
          assert.ok(error instanceof kind, String(error));
          assert.equal((await taken()).length, 1);
        }
    },

    async "a stream that breaks off throws"(model) {
      const error = await failed(async () => {
        for await (const _ of await client.chat.completions.create({ model, messages: user("sdk cut"), stream: true }));
      });
      assert.ok(error.code !== "ERR_ASSERTION", String(error));
    },
  },
  {
    async "texts are embedded"() {
      for (const model of embedders)
        for (const encoding_format of [undefined, "float"]) {
          const answer = await client.embeddings.create({ model, input: ["a", "bcd"], encoding_format });
          assert.deepEqual(answer.data.map((one) => one.embedding), [[1, 0.5], [3, 0.5]], model);
        }
    },
  },
);
