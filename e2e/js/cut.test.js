// Streams that break off, read by what programs use: straight from the upstream and
// through sluice. A client that raises, or keeps its half of the answer, does so
// through sluice as well; none takes half for the whole.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { ChatOpenAI } from "@langchain/openai";
import { streamText } from "ai";
import OpenAI from "openai";
import { Portkey } from "portkey-ai";

const { DIRECT_URL, GATEWAY_URL, GO_URL } = process.env;
const key = { apiKey: "unused", maxRetries: 0 };
const said = (prompt) => [{ role: "user", content: prompt }];

// Each reads a stream, tells of its text as it comes, and throws where the client does.
const clients = {
  openai: {
    async chat(baseURL, prompt, signal, tell) {
      const stream = await new OpenAI({ baseURL, ...key }).chat.completions.create({ model: "m", messages: said(prompt), stream: true }, { signal });
      for await (const chunk of stream) tell(chunk.choices[0]?.delta?.content);
    },
    async responses(baseURL, prompt, signal, tell) {
      const stream = await new OpenAI({ baseURL, ...key }).responses.create({ model: "m", input: prompt, stream: true }, { signal });
      for await (const event of stream) {
        if (event.type === "response.output_text.delta") tell(event.delta);
        if (event.type === "response.failed") throw new Error("as its program is told by the event");
      }
    },
  },
  "openai, accumulating": {
    async chat(baseURL, prompt, signal, tell) {
      const runner = new OpenAI({ baseURL, ...key }).chat.completions.stream({ model: "m", messages: said(prompt) }, { signal });
      runner.on("content", (delta) => tell(delta));
      await runner.finalChatCompletion();
    },
    async responses(baseURL, prompt, signal, tell) {
      const runner = new OpenAI({ baseURL, ...key }).responses.stream({ model: "m", input: prompt }, { signal });
      runner.on("response.output_text.delta", (event) => tell(event.delta));
      const { status } = await runner.finalResponse();
      if (status !== "completed") throw new Error(status);
    },
  },
  ai: {
    chat: (baseURL, prompt, signal, tell) => vercel((m) => m.chat("m"), baseURL, prompt, signal, tell),
    responses: (baseURL, prompt, signal, tell) => vercel((m) => m.responses("m"), baseURL, prompt, signal, tell),
  },
  "@langchain/openai": {
    chat: (baseURL, prompt, signal, tell) => langchain(false, baseURL, prompt, signal, tell),
    responses: (baseURL, prompt, signal, tell) => langchain(true, baseURL, prompt, signal, tell),
  },
  "portkey-ai": {
    async chat(baseURL, prompt, signal, tell) {
      const stream = await new Portkey({ baseURL, ...key }).chat.completions.create({ model: "m", messages: said(prompt), stream: true });
      for await (const chunk of stream) {
        tell(chunk.choices?.[0]?.delta?.content);
        if (signal.aborted) break; // it has no way to be told
      }
    },
    async responses(baseURL, prompt, signal, tell) {
      const stream = await new Portkey({ baseURL, ...key }).responses.create({ model: "m", input: prompt, stream: true }, undefined, { signal });
      for await (const event of stream) {
        if (event.type === "response.output_text.delta") tell(event.delta);
        if (event.type === "response.failed") throw new Error("as its program is told by the event");
      }
    },
  },
};

async function vercel(model, baseURL, prompt, abortSignal, tell) {
  const { fullStream } = streamText({ model: model(createOpenAI({ baseURL, apiKey: "unused" })), prompt, abortSignal, maxRetries: 0, onError() {} });
  for await (const part of fullStream) {
    if (part.type === "text-delta") tell(part.text);
    if (part.type === "error") throw part.error;
    if (part.type === "abort") throw new Error("aborted");
    if (part.type === "finish" && part.finishReason !== "stop") throw new Error("finished by " + part.finishReason);
  }
}

async function langchain(useResponsesApi, baseURL, prompt, signal, tell) {
  const model = new ChatOpenAI({ model: "m", ...key, useResponsesApi, configuration: { baseURL } });
  for await (const chunk of await model.stream(prompt, { signal })) tell(chunk.text);
}

let ids = 0;

// outcome is what a program has of a stream in the end.
async function outcome(read, baseURL, how) {
  const id = "n" + ++ids, leaving = new AbortController();
  let text = "", raised;
  const tell = (delta) => {
    text += delta ?? "";
    if (delta && text === "Half an answer") {
      if (how === "left") leaving.abort();
      else fetch(GO_URL + id, { method: "POST" });
    }
  };
  await read(baseURL, `${how}#${id}`, leaving.signal, tell).catch((err) => { raised = err; });
  return { text, raised: raised !== undefined, error: raised };
}

for (const [name, api] of Object.entries(clients)) {
  for (const [route, read] of Object.entries(api)) {
    for (const how of ["whole", "cut", "told", "first", "left", ...(route === "responses" ? ["failed"] : [])]) {
      test(`${name}, ${route}: ${how}`, { timeout: 10_000 }, async () => {
        const [direct, through] = await Promise.all([outcome(read, DIRECT_URL, how), outcome(read, GATEWAY_URL, how)]);
        assert.equal(through.text, how === "first" ? "" : "Half an answer");
        assert.equal(through.text, direct.text);
        // An error that is the first event comes as a status, which all of them raise.
        assert.equal(through.raised, how === "first" || direct.raised, `straight: ${direct.error}, through sluice: ${through.error}`);
        if (how === "cut") assert.ok(through.raised, "half is taken for the whole");
      });
    }
  }
}
