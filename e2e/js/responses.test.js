// OpenAI's client goes on with conversations that the gateway keeps for services that keep none.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, tool } from "ai";

const client = new OpenAI({ maxRetries: 0 });
// What the model does in each turn, which is known to it as long as the first message is.
const script = 'script: [{"call":"weather","arguments":{"city":"Bergen"}},{"call":"weather","arguments":{"city":"Oslo"}},{"say":"Rain in both."}]';
const parameters = { type: "object", required: ["city"], properties: { city: { type: "string" } }, additionalProperties: false };
const tools = [{ type: "function", name: "weather", description: "Tells the weather.", strict: true, parameters }];

async function ask(streamed, more) {
  const request = { model: "sim-script", tools, ...more };
  return streamed ? client.responses.stream(request).finalResponse() : client.responses.create(request);
}

for (const streamed of [false, true]) {
  test(`a conversation goes on, ${streamed ? "streamed" : "whole"}`, async () => {
    let response = await ask(streamed, { input: script, instructions: "Be brief." });
    assert.equal(response.store, true);
    for (const city of ["Bergen", "Oslo"]) {
      const call = response.output.find((item) => item.type === "function_call");
      assert.deepEqual(JSON.parse(call.arguments), { city });
      const before = response.id;
      response = await ask(streamed, { previous_response_id: before, input: [{ type: "function_call_output", call_id: call.call_id, output: "Rain." }] });
      assert.equal(response.previous_response_id, before);
    }
    assert.equal(response.output_text, "Rain in both.");

    const again = await client.responses.retrieve(response.id);
    assert.deepEqual(again.output.map((item) => item.id), response.output.map((item) => item.id));
    assert.equal(again.output_text, response.output_text);
    assert.deepEqual(again.usage, response.usage);

    const seen = [];
    for await (const item of client.responses.inputItems.list(response.id, { limit: 2, order: "asc" })) seen.push(item);
    assert.deepEqual(seen.map((item) => item.type), ["message", "function_call", "function_call_output", "function_call", "function_call_output"]);
    assert.equal(seen[0].content[0].text, script);
    const last = await client.responses.inputItems.list(response.id);
    assert.deepEqual(last.data, seen.toReversed());

    await client.responses.delete(response.id);
    for (const gone of [() => client.responses.retrieve(response.id), () => client.responses.inputItems.list(response.id), () => client.responses.delete(response.id)]) {
      await assert.rejects(gone, OpenAI.NotFoundError);
    }
    await assert.rejects(ask(false, { previous_response_id: response.id, input: "And?" }),
      (e) => e instanceof OpenAI.BadRequestError && e.code === "previous_response_not_found" && e.param === "previous_response_id");
  });
}

test("store: false keeps nothing, and what is thought comes back encrypted", async () => {
  const first = await client.responses.create({ model: "sim-reasoner", input: "Hm?", store: false, include: ["reasoning.encrypted_content"] });
  assert.equal(first.store, false);
  await assert.rejects(client.responses.create({ model: "sim-echo", input: "And?", previous_response_id: first.id }), OpenAI.BadRequestError);
  const next = await client.responses.create({ model: "sim-echo", store: false, input: [{ role: "user", content: "Hm?" }, ...first.output, { role: "user", content: "And?" }] });
  assert.equal(next.output_text, "And?");
});

test("what runs in the background, and conversations, are refused", async () => {
  await assert.rejects(client.responses.create({ model: "sim-echo", input: "a", background: true }), OpenAI.BadRequestError);
  await assert.rejects(client.responses.create({ model: "sim-echo", input: "a", conversation: "conv_1" }), OpenAI.BadRequestError);
  const kept = await client.responses.create({ model: "sim-echo", input: "a" });
  await assert.rejects(client.responses.cancel(kept.id), OpenAI.BadRequestError);
});

// The AI SDK says what it knows to be kept by its id.
test("a tool loop, and what is referred to", async () => {
  const cities = [], bodies = [];
  const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: "unused", fetch: (url, init) => { bodies.push(init.body); return fetch(url, init); } });
  const asked = {
    model: openai.responses("sim-script"), stopWhen: stepCountIs(5),
    tools: { weather: tool({ description: "Tells the weather.", inputSchema: jsonSchema(parameters), execute: async ({ city }) => { cities.push(city); return "Rain."; } }) },
  };
  const first = await generateText({ ...asked, prompt: script });
  assert.deepEqual(cities, ["Bergen", "Oslo"]);
  assert.equal(first.text, "Rain in both.");
  // Of its turns this SDK hands on the last, the text of which it refers to.
  const next = await generateText({ ...asked, messages: [{ role: "user", content: script }, ...first.response.messages, { role: "user", content: "And now?" }] });
  assert.match(bodies.at(-1), /"item_reference"/);
  const { data } = await client.responses.inputItems.list(next.response.id);
  const said = data.filter((item) => item.type === "message").map((item) => item.content[0].text);
  assert.deepEqual(said, ["And now?", "Rain in both.", script]);
});
