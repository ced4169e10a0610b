// What the programs of several SDKs do alike.
import assert from "node:assert/strict";

export const picture = "iVBORw0KGgo=";
export const parameters = { type: "object", required: ["city"], properties: { city: { type: "string" } }, additionalProperties: false };
// What a model does that is told to: it calls twice, and then answers.
export const script = 'script: [{"call":"get_weather","arguments":{"city":"Oslo"}},{"call":"get_weather","arguments":{"city":"Bergen"}},{"say":"Rain in both."}]';
export const number = { type: "object", additionalProperties: false, required: ["n"], properties: { n: { type: "integer" } } };

// What the upstream says with each status has to reach the program, in an error of the
// class that its SDK has for it.
const said = { 400: "maximum context length", 401: "Incorrect API key", 404: "does not exist", 429: "Rate limit reached", 500: "had an error" };

export async function errors(model, classes, ...ways) {
  for (const ask of ways) {
    for (const [status, kind] of Object.entries(classes)) {
      await assert.rejects(ask(model(status)), (e) => {
        assert.ok(e instanceof kind, `${status}: ${e.name}: ${e.message}`);
        assert.equal(e.status, Number(status));
        assert.ok(e.message.includes(said[status]), `${status}: ${e.message}`);
        return true;
      });
    }
    await assert.rejects(ask("no-such-model"), (e) => e instanceof classes[404] && e.message.includes("no-such-model"));
  }
}

// An upstream that had something to do stops when nobody waits for it any more.
export async function drained(busy, origin) {
  assert.ok(busy, "the upstream had nothing to do");
  assert.equal(await origin.idle(), "true", "the upstream goes on");
}
