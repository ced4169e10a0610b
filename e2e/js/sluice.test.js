// OpenAI's own client, set up as a program that knows nothing of Sluice would:
// by OPENAI_BASE_URL and OPENAI_API_KEY, which the Go test sets.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const say = (model, content, more = {}) => ({ model, messages: [{ role: "user", content }], ...more });

test("chat", async () => {
  const got = await client.chat.completions.create(say("sim-echo", "Good morning ☀"));
  assert.equal(got.choices[0].message.content, "Good morning ☀");
  assert.equal(got.usage.total_tokens, got.usage.prompt_tokens + got.usage.completion_tokens);
});

test("stream", async () => {
  const want = await client.chat.completions.create(say("sim-chat", "Tell me something"));
  const stream = await client.chat.completions.create(
    say("sim-chat", "Tell me something", { stream: true, stream_options: { include_usage: true } }));
  let text = "", usage, finish;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, want.choices[0].message.content);
  assert.equal(finish, "stop");
  assert.deepEqual(usage, want.usage);
});

test("tools, with the SDK's own accumulator", async () => {
  const tools = [{ type: "function", function: { name: "get_weather", parameters: {
    type: "object", required: ["city"], properties: { city: { type: "string" } } } } }];
  const runner = client.chat.completions.stream(say("sim-chat", "Weather in Paris?", { tools, tool_choice: "required" }));
  const { choices } = await runner.finalChatCompletion();
  const call = choices[0].message.tool_calls[0].function;
  assert.equal(call.name, "get_weather");
  assert.equal(typeof JSON.parse(call.arguments).city, "string");
});

test("structured output", async () => {
  const schema = { type: "object", additionalProperties: false, required: ["n"], properties: { n: { type: "integer" } } };
  const got = await client.chat.completions.parse(say("sim-chat", "A number", {
    response_format: { type: "json_schema", json_schema: { name: "number", strict: true, schema } } }));
  assert.ok(Number.isInteger(JSON.parse(got.choices[0].message.content).n));
});

test("embeddings: base64, which the SDK asks for by itself, equals floats", async () => {
  const req = { model: "sim-embed", input: ["one", "two"], dimensions: 16 };
  const asBase64 = await client.embeddings.create(req);
  const asFloat = await client.embeddings.create({ ...req, encoding_format: "float" });
  assert.equal(asBase64.data.length, 2);
  for (const i of [0, 1]) {
    assert.deepEqual([...asBase64.data[i].embedding], asFloat.data[i].embedding.map(Math.fround));
  }
});

test("responses, whole and streamed", async () => {
  const req = { model: "sim-echo", input: "Hello there" };
  assert.equal((await client.responses.create(req)).output_text, "Hello there");
  const stream = client.responses.stream(req);
  assert.equal((await stream.finalResponse()).output_text, "Hello there");
});

test("models", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.ok(ids.includes("sim-chat"));
  assert.equal((await client.models.retrieve("sim-chat")).id, "sim-chat");
});

test("errors have the classes that the SDK gives OpenAI's", async () => {
  await assert.rejects(client.chat.completions.create(say("no-such-model", "x")), OpenAI.NotFoundError);
  await assert.rejects(client.chat.completions.create(say("simulator/sim-chat?status=429&retry-after=40", "x")), OpenAI.RateLimitError);
  await assert.rejects(client.chat.completions.create(say("simulator/sim-chat?status=401", "x")), OpenAI.AuthenticationError);
  await assert.rejects(client.chat.completions.create(say("simulator/sim-chat?status=500", "x")), OpenAI.InternalServerError);
  await assert.rejects(client.get("/nothing/here"), OpenAI.NotFoundError);
});

test("a cut stream is an error", async () => {
  await assert.rejects(async () => {
    const stream = await client.chat.completions.create(say("simulator/sim-chat?cut=3", "x", { stream: true }));
    for await (const _ of stream);
  });
});

test("abort", async () => {
  const stream = await client.chat.completions.create(
    say("simulator/sim-chat?pace=20ms&tokens=10000", "x", { stream: true }));
  let n = 0;
  for await (const _ of stream) if (++n === 3) stream.controller.abort();
  assert.equal(n, 3);
});

test("time-out", async () => {
  await assert.rejects(
    client.chat.completions.create(say("simulator/sim-chat?latency=20s", "x"), { timeout: 200 }),
    OpenAI.APIConnectionTimeoutError);
});

test("file upload passes as multipart", async () => {
  const file = await OpenAI.toFile(Buffer.from("0123456789".repeat(100_000)), "a.wav");
  const got = await client.audio.transcriptions.create({ file, model: "sim-chat" });
  assert.ok(got.text.length > 0);
});
