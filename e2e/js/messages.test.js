// Anthropic's own client, set up as a program that knows nothing of Sluice would: by
// ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, which the Go test sets.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ maxRetries: 0 });
const say = (model, content, more = {}) => ({ model, max_tokens: 500, messages: [{ role: "user", content }], ...more });
const text = (m) => m.content.filter((b) => b.type === "text").map((b) => b.text).join("");
const tool = { name: "get_weather", description: "The weather", input_schema: {
  type: "object", required: ["city"], properties: { city: { type: "string" } } } };

test("chat", async () => {
  const got = await client.messages.create(say("sim-echo", "Good morning ☀"));
  assert.equal(text(got), "Good morning ☀");
  assert.equal(got.type, "message");
  assert.equal(got.role, "assistant");
  assert.equal(got.stop_reason, "end_turn");
  assert.ok(got.usage.input_tokens > 0 && got.usage.output_tokens > 0);
});

test("a system prompt, blocks and an image", async () => {
  const got = await client.messages.create(say("sim-echo", [
    { type: "text", text: "What is this?" },
    { type: "image", source: { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" } },
  ], { system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }] }));
  assert.ok(text(got).startsWith("What is this?"));
});

test("stream, with the SDK's own accumulator", async () => {
  const want = await client.messages.create(say("sim-chat", "Tell me something"));
  const stream = client.messages.stream(say("sim-chat", "Tell me something"));
  let pieces = "";
  stream.on("text", (t) => { pieces += t; });
  const got = await stream.finalMessage();
  assert.equal(text(got), text(want));
  assert.equal(pieces, text(want));
  assert.equal(got.stop_reason, "end_turn");
  assert.equal(got.usage.output_tokens, want.usage.output_tokens);
  assert.equal(got.usage.input_tokens, want.usage.input_tokens);
});

test("the limit of tokens", async () => {
  const got = await client.messages.create(say("sim-chat", "x", { max_tokens: 5 }));
  assert.equal(got.stop_reason, "max_tokens");
});

test("thinking", async () => {
  const got = await client.messages.create(say("sim-reasoner", "Think"));
  assert.equal(got.content[0].type, "thinking");
  assert.ok(got.content[0].thinking.length > 0);
  const streamed = await client.messages.stream(say("sim-reasoner", "Think")).finalMessage();
  assert.equal(streamed.content[0].thinking, got.content[0].thinking);
  assert.equal(text(streamed), text(got));
});

test("tools: a call, its result, and the answer", async () => {
  const first = say("sim-chat", "Use get_weather for Paris", { tools: [tool] });
  const got = await client.messages.create(first);
  assert.equal(got.stop_reason, "tool_use");
  const use = got.content.find((b) => b.type === "tool_use");
  assert.equal(use.name, "get_weather");
  assert.equal(typeof use.input.city, "string");
  const streamed = await client.messages.stream(first).finalMessage();
  assert.deepEqual(streamed.content.find((b) => b.type === "tool_use").input, use.input);
  const answer = await client.messages.create({ ...first, messages: [...first.messages,
    { role: "assistant", content: got.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "21 degrees" }] }] });
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(text(answer).length > 0);
});

test("a tool that has to be called", async () => {
  const got = await client.messages.create(say("sim-chat", "Hello", { tools: [tool], tool_choice: { type: "tool", name: "get_weather" } }));
  assert.equal(got.content.at(-1).name, "get_weather");
});

test("models", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.ok(ids.includes("sim-chat"), `${ids}`);
  const got = await client.models.retrieve("sim-chat");
  assert.equal(got.type, "model");
  assert.equal(got.id, "sim-chat");
});

test("token counting", async () => {
  const got = await client.messages.countTokens({ model: "sim-chat", messages: [{ role: "user", content: "Hello ".repeat(100) }] });
  assert.ok(got.input_tokens > 50 && got.input_tokens < 400, `${got.input_tokens}`);
});

test("errors have the classes that the SDK gives Anthropic's", async () => {
  await assert.rejects(client.messages.create(say("no-such-model", "x")), Anthropic.NotFoundError);
  await assert.rejects(client.messages.create({ ...say("sim-chat", "x"), messages: [{ role: "nobody", content: "x" }] }), Anthropic.BadRequestError);
  const failing = "simulator/sim-chat";
  await assert.rejects(client.messages.create(say(`${failing}?status=429&retry-after=40`, "x")), Anthropic.RateLimitError);
  await assert.rejects(client.messages.create(say(`${failing}?status=401`, "x")), Anthropic.AuthenticationError);
  await assert.rejects(client.messages.create(say(`${failing}?status=500`, "x")), Anthropic.InternalServerError);
});

test("a cut stream is an error", async () => {
  const failing = "simulator/sim-chat";
  await assert.rejects(client.messages.stream(say(`${failing}?cut=3`, "x")).finalMessage());
});

test("abort", async () => {
  const slow = "simulator/sim-chat";
  const stream = client.messages.stream(say(`${slow}?pace=20ms&tokens=10000`, "x", { max_tokens: 20000 }));
  let n = 0;
  stream.on("text", () => { if (++n === 3) stream.abort(); });
  await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
});

test("time-out", async () => {
  const slow = "simulator/sim-chat";
  await assert.rejects(client.messages.create(say(`${slow}?latency=20s`, "x"), { timeout: 200 }), Anthropic.APIConnectionTimeoutError);
});
