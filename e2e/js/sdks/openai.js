// OpenAI's own client, set up by OPENAI_BASE_URL and OPENAI_API_KEY, by both of its APIs.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { drained, errors, number, parameters, picture, script } from "./common.js";

const client = new OpenAI({ maxRetries: 0 });
const classes = { 400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 404: OpenAI.NotFoundError, 429: OpenAI.RateLimitError, 500: OpenAI.InternalServerError };
const image = `data:image/png;base64,${picture}`;

// Each API as what it takes to ask it and to read its replies.
const chat = {
  of: (client) => client.chat.completions,
  say: (model, content, more = {}) => ({ model, messages: [{ role: "user", content }], ...more }),
  content: [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url: image } }],
  tool: (name) => ({ type: "function", function: { name, description: "Tells it", parameters } }),
  streamed: (request, options) => {
    const runner = client.chat.completions.stream({ stream_options: { include_usage: true }, ...request }, options);
    return { runner, first: "chunk", final: () => runner.finalChatCompletion() };
  },
  text: (reply) => reply.choices[0].message.content,
  ended: (reply) => reply.choices[0].finish_reason,
  usage: (reply) => reply.usage.total_tokens === reply.usage.prompt_tokens + reply.usage.completion_tokens && reply.usage.total_tokens,
  calls: (reply) => (reply.choices[0].message.tool_calls ?? []).map(({ id, function: f }) => ({ id, name: f.name, args: JSON.parse(f.arguments) })),
  next: (request, reply, results) => ({ ...request, messages: [...request.messages, reply.choices[0].message, ...results.map(({ id, text }) => ({ role: "tool", tool_call_id: id, content: text }))] }),
  thoughts: (reply) => reply.choices[0].message.reasoning_content,
  limit: { max_completion_tokens: 5 }, limited: (reply) => reply.choices[0].finish_reason === "length",
  schema: { response_format: { type: "json_schema", json_schema: { name: "number", strict: true, schema: number } } },
  ends: ["stop", "tool_calls"],
};
const responses = {
  of: (client) => client.responses,
  say: (model, content, more = {}) => ({ model, input: [{ role: "user", content }], ...more }),
  content: [{ type: "input_text", text: "What is this?" }, { type: "input_image", image_url: image, detail: "auto" }],
  tool: (name) => ({ type: "function", name, description: "Tells it", parameters, strict: true }),
  streamed: (request, options) => {
    const runner = client.responses.stream(request, options);
    return { runner, first: "response.output_text.delta", final: () => runner.finalResponse() };
  },
  text: (reply) => reply.output_text,
  ended: (reply) => reply.status,
  usage: (reply) => reply.usage.total_tokens === reply.usage.input_tokens + reply.usage.output_tokens && reply.usage.total_tokens,
  calls: (reply) => reply.output.filter((item) => item.type === "function_call").map((c) => ({ id: c.call_id, name: c.name, args: JSON.parse(c.arguments) })),
  next: (request, reply, results) => ({ ...request, input: [...request.input, ...reply.output, ...results.map(({ id, text }) => ({ type: "function_call_output", call_id: id, output: text }))] }),
  thoughts: (reply) => reply.output.filter((item) => item.type === "reasoning").flatMap((item) => [...item.summary, ...item.content ?? []]).map((part) => part.text).join(""),
  limit: { max_output_tokens: 5 }, limited: (reply) => reply.status === "incomplete" && reply.incomplete_details.reason === "max_output_tokens",
  schema: { text: { format: { type: "json_schema", name: "number", strict: true, schema: number } } },
  ends: ["completed", "completed"],
};

function deeds(api) {
  const whole = (request, options) => api.of(client).create(request, options);
  const streamed = (request) => api.streamed(request).final();

  async function tools(model, origin, names) {
    const first = api.say(model("chat"), `Use ${names.join(" and ")} for Paris`, { tools: names.map(api.tool) });
    const got = await whole(first);
    assert.equal(api.ended(got), api.ends[1]);
    const calls = api.calls(got);
    assert.deepEqual(calls.map((c) => c.name), names);
    for (const c of calls) assert.equal(typeof c.args.city, "string");
    const again = api.calls(await streamed(first));
    assert.deepEqual(again.map((c) => [c.name, c.args]), calls.map((c) => [c.name, c.args]));
    const answer = await whole(api.next(first, got, calls.map((c) => ({ id: c.id, text: `The result of ${c.name}` }))));
    assert.equal(api.ended(answer), api.ends[0]);
    assert.ok(api.text(answer).length > 0);
    const asked = await origin.asked();
    for (const name of names) assert.ok(asked.includes(`The result of ${name}`), asked);
  }

  return {
    async chat(model) {
      const got = await whole(api.say(model("echo"), "Good morning ☀"));
      assert.equal(api.text(got), "Good morning ☀");
      assert.equal(api.ended(got), api.ends[0]);
      assert.ok(api.usage(got) > 0);
    },
    async stream(model) {
      const want = await whole(api.say(model("chat"), "Tell me something"));
      const got = await streamed(api.say(model("chat"), "Tell me something"));
      assert.equal(api.text(got), api.text(want));
      assert.equal(api.ended(got), api.ends[0]);
      assert.equal(api.usage(got), api.usage(want));
    },
    tools: (model, origin) => tools(model, origin, ["get_weather"]),
    "parallel calls": (model, origin) => tools(model, origin, ["get_weather", "get_time"]),
    async "a forced call"(model) {
      const got = await whole(api.say(model("chat"), "Hello", { tools: [api.tool("get_weather")], tool_choice: "required" }));
      assert.equal(api.calls(got)[0].name, "get_weather");
    },
    async images(model, origin) {
      const got = await whole(api.say(model("echo"), api.content));
      assert.ok(api.text(got).startsWith("What is this?"));
      assert.ok((await origin.asked()).includes(picture));
    },
    async thinking(model) {
      const got = await whole(api.say(model("reasoner"), "Think"));
      assert.ok(api.thoughts(got).length > 0);
      assert.ok(api.text(got).length > 0);
    },
    async "structured output"(model) {
      const got = await api.of(client).parse(api.say(model("chat"), "A number", api.schema));
      assert.ok(Number.isInteger(JSON.parse(api.text(got)).n));
    },
    async "token limit"(model) {
      assert.ok(api.limited(await whole(api.say(model("chat"), "x", api.limit))));
    },
    async errors(model) {
      await errors(model, classes, (name) => whole(api.say(name, "x")), (name) => streamed(api.say(name, "x")));
      await assert.rejects(api.of(new OpenAI({ apiKey: "sk-wrong", maxRetries: 0 })).create(api.say(model("chat"), "x")), OpenAI.AuthenticationError);
    },
    async cut(model) {
      await assert.rejects(streamed(api.say(model("cut"), "x")), OpenAI.OpenAIError);
    },
    async abort(model, origin) {
      const { runner, first, final } = api.streamed(api.say(model("endless"), "x"));
      let busy;
      runner.once(first, async () => { busy = await origin.busy(); runner.abort(); });
      await assert.rejects(final(), OpenAI.APIUserAbortError);
      await drained(busy, origin);
    },
    async "SDK's time-out"(model, origin) {
      await assert.rejects(whole(api.say(model("late"), "x"), { timeout: 200 }), OpenAI.APIConnectionTimeoutError);
      await drained(true, origin);
    },
    async "gateway's time-out"(model, origin) {
      await assert.rejects(whole(api.say(model("hasty-late"), "x")), (e) => e instanceof OpenAI.InternalServerError && e.status === 504);
      await assert.rejects(streamed(api.say(model("hasty-stalled"), "x")), OpenAI.OpenAIError);
      await drained(true, origin);
    },
  };
}

export const sdks = {
  "`openai`, chat": { ...deeds(chat),
    async "tool runner"(model) {
      const cities = [];
      const get_weather = async ({ city }) => { cities.push(city); return "Rain."; };
      for (const stream of [false, true]) {
        const runner = client.chat.completions.runTools(chat.say(model("script"), script,
          { tools: [{ type: "function", function: { name: "get_weather", function: get_weather, parse: JSON.parse, parameters } }], stream }));
        assert.equal(await runner.finalContent(), "Rain in both.");
      }
      assert.deepEqual(cities, ["Oslo", "Bergen", "Oslo", "Bergen"]);
    },
    async embeddings(model) {
      const ask = (more) => client.embeddings.create({ model: model("embed"), input: ["one", "two"], dimensions: 8, ...more });
      const floats = await ask({ encoding_format: "float" }).catch((e) => e);
      if (floats instanceof OpenAI.APIError && floats.status === 501) return "refused"; // some services have none
      assert.deepEqual(floats.data.map((d) => d.embedding.length), [8, 8]);
      const coded = await ask(); // as base64, by itself
      for (const i of [0, 1]) assert.deepEqual([...coded.data[i].embedding], floats.data[i].embedding.map(Math.fround));
    },
    async models(model) {
      assert.equal((await client.models.retrieve(model("chat"))).id, model("chat"));
    },
  },
  "`openai`, responses": { ...deeds(responses),
    async "token count"(model) {
      const got = await client.responses.inputTokens.count({ model: model("chat"), input: "Hello ".repeat(100) });
      assert.equal(got.object, "response.input_tokens");
      assert.ok(got.input_tokens > 50 && got.input_tokens < 400, `${got.input_tokens}`);
    },
  },
};
