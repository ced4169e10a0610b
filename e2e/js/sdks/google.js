// Google's own client, set up by its base URL and a key.
import assert from "node:assert/strict";
import { ApiError, GoogleGenAI } from "@google/genai";
import { drained, errors, number, parameters, picture, script } from "./common.js";

const baseUrl = process.env.GEMINI_URL;
const client = new GoogleGenAI({ apiKey: process.env.GEMINI_API_KEY, httpOptions: { baseUrl } });
const say = (model, contents, config = {}) => ({ model, contents, config });
const tool = (names) => ({ functionDeclarations: names.map((name) => ({ name, description: "Tells it", parametersJsonSchema: parameters })) });
const whole = (request) => client.models.generateContent(request);
async function streamed(request) {
  const got = { text: "", calls: [], last: undefined };
  for await (const chunk of await client.models.generateContentStream(request)) {
    got.text += chunk.text ?? "";
    got.calls.push(...chunk.functionCalls ?? []);
    got.last = chunk;
  }
  return got;
}

async function tools(model, origin, names) {
  const ask = { role: "user", parts: [{ text: `Use ${names.join(" and ")} for Paris` }] };
  const config = { tools: [tool(names)] };
  const got = await whole(say(model("chat"), [ask], config));
  const calls = got.functionCalls;
  assert.deepEqual(calls.map((c) => c.name), names);
  for (const c of calls) assert.equal(typeof c.args.city, "string");
  assert.deepEqual((await streamed(say(model("chat"), [ask], config))).calls.map((c) => [c.name, c.args]), calls.map((c) => [c.name, c.args]));
  const answer = await whole(say(model("chat"), [ask, got.candidates[0].content,
    { role: "user", parts: calls.map((c) => ({ functionResponse: { id: c.id, name: c.name, response: { output: `The result of ${c.name}` } } })) }], config));
  assert.ok(answer.text.length > 0);
  assert.equal(answer.functionCalls, undefined);
  const asked = await origin.asked();
  for (const name of names) assert.ok(asked.includes(`The result of ${name}`), asked);
}

export const sdks = {
  "`@google/genai`": {
    async chat(model) {
      const got = await whole(say(model("echo"), "Good morning ☀", { systemInstruction: "Be brief." }));
      assert.equal(got.text, "Good morning ☀");
      assert.equal(got.candidates[0].finishReason, "STOP");
      const u = got.usageMetadata;
      assert.ok(u.candidatesTokenCount > 0);
      assert.equal(u.totalTokenCount, u.promptTokenCount + u.candidatesTokenCount);
    },
    async stream(model) {
      const want = await whole(say(model("chat"), "Tell me something"));
      const got = await streamed(say(model("chat"), "Tell me something"));
      assert.equal(got.text, want.text);
      assert.equal(got.last.candidates[0].finishReason, "STOP");
      assert.equal(got.last.usageMetadata.totalTokenCount, want.usageMetadata.totalTokenCount);

      // The client always asks for events; to other programs a stream is an array.
      const ask = (name) => fetch(`${baseUrl}/v1beta/models/${name}:streamGenerateContent`, { method: "POST",
        headers: { "Content-Type": "application/json", "x-goog-api-key": process.env.GEMINI_API_KEY }, body: JSON.stringify({ contents: [{ parts: [{ text: "Tell me something" }] }] }) });
      const list = await (await ask(model("chat"))).json();
      assert.ok(list.length > 1);
      assert.equal(list.map((chunk) => chunk.candidates[0].content?.parts?.map((p) => p.text).join("") ?? "").join(""), want.text);
      const [{ error }] = await (await ask("no-such-model")).json();
      assert.equal(error.code, 404);
    },
    tools: (model, origin) => tools(model, origin, ["get_weather"]),
    "parallel calls": (model, origin) => tools(model, origin, ["get_weather", "get_time"]),
    async "tool runner"(model) {
      const cities = [];
      const callable = {
        tool: async () => tool(["get_weather"]),
        callTool: async (calls) => calls.map(({ id, name, args }) => { cities.push(args.city); return { functionResponse: { id, name, response: { output: "Rain." } } }; }),
      };
      const request = say(model("script"), script, { tools: [callable] });
      assert.equal((await whole(request)).text, "Rain in both.");
      assert.equal((await streamed(request)).text, "Rain in both.");
      assert.deepEqual(cities, ["Oslo", "Bergen", "Oslo", "Bergen"]);
    },
    async "a forced call"(model) {
      const got = await whole(say(model("chat"), "Hello", { tools: [tool(["get_weather"])], toolConfig: { functionCallingConfig: { mode: "ANY", allowedFunctionNames: ["get_weather"] } } }));
      assert.equal(got.functionCalls[0].name, "get_weather");
    },
    async images(model, origin) {
      const got = await whole(say(model("echo"), [{ role: "user", parts: [{ text: "What is this?" }, { inlineData: { mimeType: "image/png", data: picture } }] }]));
      assert.ok(got.text.startsWith("What is this?"));
      assert.ok((await origin.asked()).includes(picture));
    },
    async thinking(model) {
      const request = say(model("reasoner"), "Think", { thinkingConfig: { includeThoughts: true } });
      const thoughts = (reply) => (reply.candidates[0].content?.parts ?? []).filter((part) => part.thought).map((part) => part.text).join("");
      const want = thoughts(await whole(request));
      assert.ok(want.length > 0);
      let got = "";
      for await (const chunk of await client.models.generateContentStream(request)) got += thoughts(chunk);
      assert.equal(got, want);
    },
    async "structured output"(model) {
      const got = await whole(say(model("chat"), "A number", { responseMimeType: "application/json", responseJsonSchema: number }));
      assert.ok(Number.isInteger(JSON.parse(got.text).n));
    },
    async "token limit"(model) {
      assert.equal((await whole(say(model("chat"), "x", { maxOutputTokens: 5 }))).candidates[0].finishReason, "MAX_TOKENS");
    },
    async "token count"(model) {
      const got = await client.models.countTokens({ model: model("chat"), contents: "Hello ".repeat(100) });
      assert.ok(got.totalTokens > 50 && got.totalTokens < 400, `${got.totalTokens}`);
    },
    async embeddings(model) {
      const ask = (contents) => client.models.embedContent({ model: model("embed"), contents, config: { outputDimensionality: 8 } });
      const both = await ask(["one", "two"]).catch((e) => e);
      if (both instanceof ApiError && both.status === 501) return "refused"; // some services have none
      assert.deepEqual(both.embeddings.map((e) => e.values.length), [8, 8]);
      assert.deepEqual((await ask("one")).embeddings[0].values, both.embeddings[0].values);
    },
    async models(model) {
      assert.equal((await client.models.get({ model: model("chat") })).name, `models/${model("chat")}`);
    },
    async errors(model) {
      const classes = Object.fromEntries([400, 401, 404, 429, 500].map((status) => [status, ApiError]));
      await errors(model, classes, (name) => whole(say(name, "x")), (name) => streamed(say(name, "x")));
      const status = (n) => (e) => e instanceof ApiError && e.status === n;
      await assert.rejects(whole(say(model("chat"), [{ role: "nobody", parts: [{ text: "x" }] }])), status(400));
      await assert.rejects(new GoogleGenAI({ apiKey: "sk-wrong", httpOptions: { baseUrl } }).models.generateContent(say(model("chat"), "x")), status(401));
    },
    async cut(model) {
      await assert.rejects(streamed(say(model("cut"), "x")));
    },
    async abort(model, origin) {
      const leave = new AbortController();
      let busy;
      await assert.rejects(async () => {
        for await (const _ of await client.models.generateContentStream(say(model("endless"), "x", { abortSignal: leave.signal }))) {
          busy ??= await origin.busy();
          leave.abort();
        }
      }, (e) => leave.signal.aborted && e.name === "AbortError");
      await drained(busy, origin);
    },
    async "SDK's time-out"(model, origin) {
      await assert.rejects(whole(say(model("late"), "x", { httpOptions: { timeout: 200 } })), /abort/i);
      await drained(true, origin);
    },
    async "gateway's time-out"(model, origin) {
      await assert.rejects(whole(say(model("hasty-late"), "x")), (e) => e instanceof ApiError && e.status === 504);
      await assert.rejects(streamed(say(model("hasty-stalled"), "x")));
      await drained(true, origin);
    },
  },
};
