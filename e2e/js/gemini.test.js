// Google's own client, set up by its base URL and a key, which the Go test sets.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, GoogleGenAI } from "@google/genai";

const client = new GoogleGenAI({ apiKey: "unused", httpOptions: { baseUrl: process.env.GEMINI_URL } });
const say = (model, contents, config = {}) => ({ model, contents, config });
const tool = { functionDeclarations: [{ name: "get_weather", description: "The weather",
  parametersJsonSchema: { type: "object", required: ["city"], properties: { city: { type: "string" } } } }] };

test("chat", async () => {
  const got = await client.models.generateContent(say("sim-echo", "Good morning ☀"));
  assert.equal(got.text, "Good morning ☀");
  assert.equal(got.candidates[0].finishReason, "STOP");
  const u = got.usageMetadata;
  assert.equal(u.totalTokenCount, u.promptTokenCount + u.candidatesTokenCount);
});

test("a system prompt and an image", async () => {
  const got = await client.models.generateContent(say("sim-echo", [
    { role: "user", parts: [{ text: "What is this?" }, { inlineData: { mimeType: "image/png", data: "iVBORw0KGgo=" } }] },
  ], { systemInstruction: "Be brief." }));
  assert.ok(got.text.startsWith("What is this?"));
});

test("stream", async () => {
  const want = await client.models.generateContent(say("sim-chat", "Tell me something"));
  let text = "", last;
  for await (const chunk of await client.models.generateContentStream(say("sim-chat", "Tell me something"))) {
    text += chunk.text ?? "";
    last = chunk;
  }
  assert.equal(text, want.text);
  assert.equal(last.candidates[0].finishReason, "STOP");
  assert.equal(last.usageMetadata.totalTokenCount, want.usageMetadata.totalTokenCount);
});

// The client always asks for events; other programs do not.
test("a stream as an array", async () => {
  const want = await client.models.generateContent(say("sim-chat", "Tell me something"));
  const ask = (model) => fetch(`${process.env.GEMINI_URL}/v1beta/models/${model}:streamGenerateContent`, { method: "POST",
    headers: { "Content-Type": "application/json", "x-goog-api-key": "unused" }, body: JSON.stringify({ contents: [{ parts: [{ text: "Tell me something" }] }] }) });
  const list = await (await ask("sim-chat")).json();
  assert.ok(list.length > 1);
  assert.equal(list.map((chunk) => chunk.candidates[0].content?.parts?.map((p) => p.text).join("") ?? "").join(""), want.text);
  const [{ error }] = await (await ask("none")).json();
  assert.equal(error.code, 404);
});

test("the limit of tokens", async () => {
  const got = await client.models.generateContent(say("sim-chat", "x", { maxOutputTokens: 5 }));
  assert.equal(got.candidates[0].finishReason, "MAX_TOKENS");
});

test("tools: a call, its result, and the answer", async () => {
  const ask = { role: "user", parts: [{ text: "Use get_weather for Paris" }] };
  const got = await client.models.generateContent(say("sim-chat", [ask], { tools: [tool] }));
  const [call] = got.functionCalls;
  assert.equal(call.name, "get_weather");
  assert.equal(typeof call.args.city, "string");
  const calls = [];
  for await (const chunk of await client.models.generateContentStream(say("sim-chat", [ask], { tools: [tool] }))) calls.push(...chunk.functionCalls ?? []);
  assert.deepEqual(calls.map((c) => c.args), [call.args]);
  const answer = await client.models.generateContent(say("sim-chat", [ask, got.candidates[0].content,
    { role: "user", parts: [{ functionResponse: { id: call.id, name: call.name, response: { output: "21 degrees" } } }] }], { tools: [tool] }));
  assert.ok(answer.text.length > 0);
  assert.equal(answer.functionCalls, undefined);
});

// Anthropic's API has none.
test("embeddings", async () => {
  if (process.env.SERVICE === "messages") {
    await assert.rejects(client.models.embedContent({ model: "sim-embed", contents: "one" }), (e) => e instanceof ApiError && e.status === 501);
    return;
  }
  const ask = (contents) => client.models.embedContent({ model: "sim-embed", contents, config: { outputDimensionality: 8 } });
  const both = await ask(["one", "two"]);
  assert.deepEqual(both.embeddings.map((e) => e.values.length), [8, 8]);
  const one = await ask("one");
  assert.deepEqual(one.embeddings[0].values, both.embeddings[0].values);
});

test("structured output", async () => {
  const got = await client.models.generateContent(say("sim-chat", "A number", { responseMimeType: "application/json",
    responseJsonSchema: { type: "object", required: ["n"], properties: { n: { type: "integer" } }, additionalProperties: false } }));
  assert.ok(Number.isInteger(JSON.parse(got.text).n));
});

test("token counting", async () => {
  const got = await client.models.countTokens({ model: "sim-chat", contents: "Hello ".repeat(100) });
  assert.ok(got.totalTokens > 50 && got.totalTokens < 400, `${got.totalTokens}`);
});

test("errors", async () => {
  const status = (n) => (e) => e instanceof ApiError && e.status === n;
  await assert.rejects(client.models.generateContent(say("no-such-model", "x")), status(404));
  await assert.rejects(client.models.generateContent(say("sim-chat", [{ role: "nobody", parts: [{ text: "x" }] }])), status(400));
});

test("abort", async () => {
  const leave = new AbortController();
  let n = 0;
  await assert.rejects(async () => {
    const stream = await client.models.generateContentStream(say("sim-chat", "Tell me something long", { abortSignal: leave.signal }));
    for await (const _ of stream) if (++n === 2) leave.abort();
    if (n < 3) throw new Error("it ended");
  });
});
