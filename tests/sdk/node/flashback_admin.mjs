// Checks the admin API as Flashback's own client for JavaScript meets it. The client is not to be had as a package, so
// its request function is written out here, with what decides on the wire: the base URL and a path joined by "/", a
// content type only with a body, an error's data only where its content type is JSON, `null` for an empty body.
//
//   AQUEDUCT_ADMIN_URL=http://127.0.0.1:9901 AQUEDUCT_ADMIN_TOKEN=aqadm_... AQUEDUCT_REPOSITORY_ID=... \
//   AQUEDUCT_AI_URL=http://127.0.0.1:9003/v1 node flashback_admin.mjs

import assert from "node:assert/strict";

const { AQUEDUCT_ADMIN_URL: baseUrl, AQUEDUCT_ADMIN_TOKEN: token, AQUEDUCT_REPOSITORY_ID: repoId, AQUEDUCT_AI_URL: aiUrl } = process.env;
if (!baseUrl) {
  console.log("skip flashback_admin: no admin API here");
  process.exit(0);
}

class HttpError extends Error {
  constructor(response, data) {
    super(`${response.status} ${response.statusText} ${JSON.stringify(data)}`);
    Object.assign(this, { status: response.status, data });
  }
}

async function request(method, path, body, bearer = token) {
  const headers = { Authorization: `Bearer ${bearer}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(`${baseUrl}/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (!response.ok) {
    const isJson = response.headers.get("content-type")?.includes("application/json");
    throw new HttpError(response, isJson ? await response.json() : null);
  }
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

async function refused(status, code, call) {
  const error = await call().then(() => assert.fail(`not refused with ${status}`), (error) => error);
  assert.ok(error instanceof HttpError, String(error));
  assert.deepEqual([error.status, error.data?.success, error.data?.error_code], [status, false, code]);
  assert.ok(error.data.message && error.data.message === error.data.error_message);
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const unknown = "11111111-1111-4111-8111-111111111111";

/** A key's change must be in force on the data port within a second. */
async function soon(secret, status) {
  const asked = Date.now();
  for (;;) {
    const answer = await fetch(`${aiUrl}/models`, { headers: { Authorization: `Bearer ${secret}` } });
    await answer.text();
    if (answer.status === status) return;
    assert.ok(Date.now() - asked < 1000, `still ${answer.status}, not ${status}`);
  }
}

const tests = {
  async storage_keys() {
    const path = `repo/${repoId}/apikey`;
    const made = await request("POST", path, { repoId, name: "CI Bot", accessType: "READ", walletAddress: null, bucket: { a: [1] } });
    assert.equal(made.success, true);
    assert.match(made.id, uuid);
    assert.match(made.key, /^AQDT[A-Z2-7]{16}$/);
    assert.equal(made.secret.length, 40);
    const find = async () => (await request("GET", path)).keys.find((key) => key.id === made.id);
    const listed = await find();
    assert.deepEqual([listed.name, listed.accessType, listed.key, "secret" in listed], ["CI Bot", "READ", made.key, false]);
    assert.match(listed.createdAt, time);
    await request("PUT", `${path}/${made.id}`, { repoId, name: "CI Bot v2", accessType: "WRITE" });
    assert.deepEqual([(await find()).name, (await find()).accessType], ["CI Bot v2", "WRITE"]);
    assert.equal((await request("DELETE", `${path}/${made.id}`)).success, true);
    assert.equal(await find(), undefined);
    await refused(404, "NOT_FOUND", () => request("DELETE", `${path}/${made.id}`));
    await refused(400, "INVALID_REQUEST", () => request("POST", path, { repoId: unknown, name: "x", accessType: "READ" }));
    await refused(404, "NOT_FOUND", () => request("POST", `repo/${unknown}/apikey`, { name: "x", accessType: "READ" }));
  },

  async ai_keys_work_within_a_second() {
    const path = `repo/${repoId}/ai/apikey`;
    const made = await request("POST", path, { name: "Production AI Key", aiType: "OPENAI" });
    assert.match(made.key, /^FB_AI_/);
    assert.match(made.secret, /^sk-/);
    await soon(made.secret, 200);
    const find = async () => (await request("GET", path)).apiKeys.find((key) => key.id === made.id);
    const { name, aiType, repoId: owner, deletedAt, secret } = await find();
    assert.deepEqual({ name, aiType, owner, deletedAt, secret }, { name: "Production AI Key", aiType: "OPENAI", owner: repoId, deletedAt: null, secret: undefined });
    await request("PUT", `${path}/${made.id}`, { name: "n" });
    assert.equal((await find()).name, "n");
    await request("DELETE", `${path}/${made.id}`);
    await soon(made.secret, 401);
    assert.equal(await find(), undefined);
  },

  async repositories() {
    const { repos } = await request("GET", "repo?workspaceId=undefined&walletAddress=undefined");
    assert.ok(repos.length > 0);
    const one = (await request("GET", `repo?repoId=${repoId}%2C${unknown}`)).repos;
    assert.deepEqual(one.map((repo) => repo.id), [repoId]);
    assert.ok(["buckets", "aiLlms", "apiKeys", "aiApiKeys"].every((member) => Array.isArray(one[0][member])));
    assert.ok(!JSON.stringify(repos).includes('"secret"'));
    assert.deepEqual((await request("GET", `repo?repoId=${unknown}`)).repos, []);
  },

  async ai_resources_and_what_was_spent_at_them() {
    const { aiLlms } = await request("GET", "ai/llm?workspaceId=undefined");
    assert.ok(aiLlms.length > 0 && aiLlms.every((one) => one.key === null && one.endpoint && one.aiType));
    const { stats } = await request("GET", `ai/llm/stats?aiLlmId=${aiLlms[0].id}`);
    const { aiLlmId, ...totals } = stats[0];
    assert.equal(aiLlmId, aiLlms[0].id);
    for (const name of ["ApiCalls", "TokensIn", "TokensOut", "LlmTokensIn", "LlmTokensOut", "PolicyViolations", "Alerts", "Blocks"]) {
      assert.match(totals[`total${name}`], /^\d+$/, name);
    }
    assert.equal((await request("GET", "ai/llm/stats")).stats.length, aiLlms.length);
    const { models } = await request("POST", "ai/models", { repoId });
    assert.ok(models.some(({ id, aiType }) => id === "tiny" && aiType === "OTHER"));
  },

  async events_tell_what_was_changed() {
    const made = await request("POST", `repo/${repoId}/apikey`, { name: "seen", accessType: "READ" });
    await request("DELETE", `repo/${repoId}/apikey/${made.id}`);
    const { events, total, skip, take } = await request("POST", "systemevent", { contextId: made.id, skip: 0, take: 20 });
    assert.deepEqual([total, skip, take], [2, 0, 20]);
    assert.deepEqual(events.map((event) => [event.context, event.event]), [["apikey", "deleted"], ["apikey", "created"]]);
    assert.match(events[0].timestamp, time);
    await refused(400, "INVALID_REQUEST", () => request("POST", "systemevent", { skip: 0, take: 1000 }));
  },

  async every_refusal_is_json() {
    await refused(401, "UNAUTHORIZED", () => request("GET", "repo", undefined, "wrong"));
    await refused(404, "NOT_FOUND", () => request("GET", "nothing"));
    await refused(404, "NOT_IMPLEMENTED", () => request("POST", "auth/login", {}));
    await refused(405, "METHOD_NOT_ALLOWED", () => request("PATCH", "repo", {}));
    // No body, and so no content type: not to be refused for that.
    await refused(403, "FORBIDDEN", () => request("POST", `ai/llm/${unknown}/validate`));
    await refused(501, "NOT_IMPLEMENTED", () => request("DELETE", "systemevent/read", { ids: [1] }));
    await refused(413, "INVALID_REQUEST", () => request("POST", `repo/${repoId}/apikey`, { name: "x".repeat(1 << 20) }));
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log(`ok flashback_admin ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL flashback_admin ${name}: ${error.stack}`);
  }
}
process.exit(failed ? 1 : 0);
