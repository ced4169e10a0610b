// Anthropic's own client, set up by ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { drained, errors, number, parameters, picture, script } from "./common.js";

const client = new Anthropic({ maxRetries: 0 });
const say = (model, content, more = {}) => ({ model, max_tokens: 500, messages: [{ role: "user", content }], ...more });
const text = (m) => m.content.filter((b) => b.type === "text").map((b) => b.text).join("");
const uses = (m) => m.content.filter((b) => b.type === "tool_use");
const tool = (name) => ({ name, description: "Tells it", input_schema: parameters });
const whole = (request) => client.messages.create(request);
const streamed = (request) => client.messages.stream(request).finalMessage();

async function tools(model, origin, names) {
  const first = say(model("chat"), `Use ${names.join(" and ")} for Paris`, { tools: names.map(tool) });
  const got = await whole(first);
  assert.equal(got.stop_reason, "tool_use");
  const calls = uses(got);
  assert.deepEqual(calls.map((c) => c.name), names);
  for (const c of calls) assert.equal(typeof c.input.city, "string");
  assert.deepEqual(uses(await streamed(first)).map((c) => [c.name, c.input]), calls.map((c) => [c.name, c.input]));
  const answer = await whole({ ...first, messages: [...first.messages, { role: "assistant", content: got.content },
    { role: "user", content: calls.map((c) => ({ type: "tool_result", tool_use_id: c.id, content: `The result of ${c.name}` })) }] });
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(text(answer).length > 0);
  const asked = await origin.asked();
  for (const name of names) assert.ok(asked.includes(`The result of ${name}`), asked);
}

export const sdks = {
  "`@anthropic-ai/sdk`": {
    async chat(model) {
      const got = await whole(say(model("echo"), "Good morning ☀", { system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }] }));
      assert.equal(text(got), "Good morning ☀");
      assert.deepEqual([got.type, got.role, got.stop_reason], ["message", "assistant", "end_turn"]);
      assert.ok(got.usage.input_tokens > 0 && got.usage.output_tokens > 0);
    },
    async stream(model) {
      const want = await whole(say(model("chat"), "Tell me something"));
      const stream = client.messages.stream(say(model("chat"), "Tell me something"));
      let pieces = "";
      stream.on("text", (t) => { pieces += t; });
      const got = await stream.finalMessage();
      assert.equal(text(got), text(want));
      assert.equal(pieces, text(want));
      assert.equal(got.stop_reason, "end_turn");
      assert.deepEqual([got.usage.input_tokens, got.usage.output_tokens], [want.usage.input_tokens, want.usage.output_tokens]);
    },
    tools: (model, origin) => tools(model, origin, ["get_weather"]),
    "parallel calls": (model, origin) => tools(model, origin, ["get_weather", "get_time"]),
    // Its turns go on from what the service has kept, until one is told that there is nothing.
    async "tool runner"(model) {
      const cities = [];
      const run = async ({ city }) => { cities.push(city); return [{ type: "text", text: "A picture" }, { type: "image", source: { type: "base64", media_type: "image/png", data: picture } }]; };
      for (const stream of [false, true]) {
        const runner = client.beta.messages.toolRunner(say(model("script"), script,
          { tools: [{ ...tool("get_weather"), run, parse: (input) => input }], stream }));
        assert.equal(text(await runner.runUntilDone()), "Rain in both.");
      }
      assert.deepEqual(cities, ["Oslo", "Bergen", "Oslo", "Bergen"]);
    },
    async "a forced call"(model) {
      const got = await whole(say(model("chat"), "Hello", { tools: [tool("get_weather")], tool_choice: { type: "tool", name: "get_weather" } }));
      assert.equal(got.content.at(-1).name, "get_weather");
    },
    async images(model, origin) {
      const got = await whole(say(model("echo"), [{ type: "text", text: "What is this?" },
        { type: "image", source: { type: "base64", media_type: "image/png", data: picture } }]));
      assert.ok(text(got).startsWith("What is this?"));
      assert.ok((await origin.asked()).includes(picture));
    },
    async thinking(model) {
      const got = await whole(say(model("reasoner"), "Think"));
      assert.equal(got.content[0].type, "thinking");
      assert.ok(got.content[0].thinking.length > 0);
      const again = await streamed(say(model("reasoner"), "Think"));
      assert.equal(again.content[0].thinking, got.content[0].thinking);
      assert.equal(text(again), text(got));
    },
    async "structured output"(model) {
      const got = await whole(say(model("chat"), "A number", { output_config: { format: { type: "json_schema", schema: number } } }));
      assert.ok(Number.isInteger(JSON.parse(text(got)).n));
    },
    async "token limit"(model) {
      assert.equal((await whole(say(model("chat"), "x", { max_tokens: 5 }))).stop_reason, "max_tokens");
    },
    async "token count"(model) {
      const got = await client.messages.countTokens({ model: model("chat"), messages: [{ role: "user", content: "Hello ".repeat(100) }] });
      assert.ok(got.input_tokens > 50 && got.input_tokens < 400, `${got.input_tokens}`);
    },
    async models(model) {
      assert.equal((await client.models.retrieve(model("chat"))).id, model("chat"));
    },
    async errors(model) {
      const classes = { 400: Anthropic.BadRequestError, 401: Anthropic.AuthenticationError, 404: Anthropic.NotFoundError, 429: Anthropic.RateLimitError, 500: Anthropic.InternalServerError };
      await errors(model, classes, (name) => whole(say(name, "x")), (name) => streamed(say(name, "x")));
      await assert.rejects(whole({ ...say(model("chat"), "x"), messages: [{ role: "nobody", content: "x" }] }), Anthropic.BadRequestError);
      await assert.rejects(new Anthropic({ apiKey: "sk-wrong", maxRetries: 0 }).messages.create(say(model("chat"), "x")), Anthropic.AuthenticationError);
    },
    async cut(model) {
      await assert.rejects(streamed(say(model("cut"), "x")), Anthropic.APIError);
    },
    async abort(model, origin) {
      const stream = client.messages.stream(say(model("endless"), "x", { max_tokens: 20000 }));
      let busy;
      stream.once("text", async () => { busy = await origin.busy(); stream.abort(); });
      await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
      await drained(busy, origin);
    },
    async "SDK's time-out"(model, origin) {
      await assert.rejects(client.messages.create(say(model("late"), "x"), { timeout: 200 }), Anthropic.APIConnectionTimeoutError);
      await drained(true, origin);
    },
    async "gateway's time-out"(model, origin) {
      await assert.rejects(whole(say(model("hasty-late"), "x")), (e) => e instanceof Anthropic.InternalServerError && e.status === 504);
      await assert.rejects(streamed(say(model("hasty-stalled"), "x")), Anthropic.APIError);
      await drained(true, origin);
    },
  },
};
