// OpenAI's own client with models that are services of gRPC: it gets what it would get
// from OpenAI. The Go test says which models there are.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const names = (list) => (process.env[list] ?? "").split(",").filter(Boolean);
const ask = (model, content, more = {}) => ({ model, messages: [{ role: "user", content }], ...more });
const usage = { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 };
const has = (got, want) => { for (const k in want) assert.equal(got[k], want[k], k); };

for (const model of names("CHATS")) {
  test(`${model}: chat and stream`, async () => {
    const got = await client.chat.completions.create(ask(model, "Say hello"));
    assert.equal(got.choices[0].message.content, "Hello, wörld");
    assert.equal(got.choices[0].finish_reason, "stop");
    has(got.usage, usage);
    const runner = client.chat.completions.stream(ask(model, "Say hello", { stream_options: { include_usage: true } }));
    const whole = await runner.finalChatCompletion();
    assert.equal(whole.choices[0].message.content, "Hello, wörld");
    has(await runner.totalUsage(), usage);
  });

  test(`${model}: two calls at once`, async () => {
    const tools = ["look", "ask"].map((name) => ({ type: "function", function: { name, parameters: { type: "object", properties: {} } } }));
    const got = await client.chat.completions.stream(ask(model, "How is the weather?", { tools })).finalChatCompletion();
    const calls = got.choices[0].message.tool_calls.map((c) => [c.function.name, JSON.parse(c.function.arguments)]);
    assert.deepEqual(calls, [["look", { at: "sky" }], ["ask", {}]]);
    assert.equal(got.choices[0].finish_reason, "tool_calls");
  });

  test(`${model}: an error has its class`, async () => {
    await assert.rejects(client.chat.completions.create(ask(model, "This is too much")), OpenAI.RateLimitError);
    const stream = client.chat.completions.create(ask(model, "This is too much", { stream: true }));
    await assert.rejects(stream, OpenAI.RateLimitError);
  });
}

for (const model of names("COMPLETIONS")) {
  test(`${model}: completion`, async () => {
    const got = await client.completions.create({ model, prompt: "Say hello" });
    assert.equal(got.choices[0].text, "Hello, wörld");
    has(got.usage, usage);
  });
}

for (const model of names("EMBEDDINGS")) {
  test(`${model}: embeddings, which the client asks for as base64, equal floats`, async () => {
    const request = { model, input: ["text-0", "text-1"] };
    const coded = await client.embeddings.create(request);
    const floats = await client.embeddings.create({ ...request, encoding_format: "float" });
    assert.equal(coded.data.length, 2);
    for (const i of [0, 1]) {
      assert.deepEqual([...coded.data[i].embedding], floats.data[i].embedding.map(Math.fround));
      assert.deepEqual(floats.data[i].embedding.map(Math.fround), [i + 0.5, Math.fround(-0.1)]);
    }
  });
}
