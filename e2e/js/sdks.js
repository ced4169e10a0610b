// The official SDKs of npm over every upstream: each does all its deeds over each, and what
// became of one is a line of JSON. The Go test has the gateway, names the upstreams, and
// reads the lines.
import * as anthropic from "./sdks/anthropic.js";
import * as google from "./sdks/google.js";
import * as openai from "./sdks/openai.js";

// A model's name says what its upstream is to do with the request.
async function over(upstream) {
  const model = (does) => `${upstream}-${does}`;
  const ask = async (what) => (await fetch(`${process.env.ORIGIN_URL}/${what}/${upstream}`)).text();
  // What an upstream was sent last, and the wait until it has nothing to do any more.
  const origin = { asked: () => ask("asked"), busy: async () => (await ask("busy")) === "true", idle: () => ask("idle") };
  for (const [sdk, deeds] of Object.entries({ ...anthropic.sdks, ...google.sdks, ...openai.sdks })) {
    for (const [deed, does] of Object.entries(deeds)) {
      let error, refused, late;
      try {
        const tooLong = new Promise((_, reject) => { late = setTimeout(() => reject(new Error("it takes too long")), 30_000); });
        refused = await Promise.race([does(model, origin), tooLong]) === "refused";
      } catch (e) {
        error = e.stack ?? String(e);
      }
      clearTimeout(late);
      console.log(JSON.stringify({ sdk, upstream, deed, refused, error }));
    }
  }
}

await Promise.all(process.env.UPSTREAMS.split(",").map(over));
