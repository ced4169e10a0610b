// Asking the gateway. The key is kept for this tab only, and never in an address.

const keyName = "sluice-admin-key";
const saved = { // storage may be forbidden: then things last as long as the page
  get(store, name) { try { return window[store].getItem(name); } catch { return null; } },
  set(store, name, value) {
    try {
      if (value === null) window[store].removeItem(name); else window[store].setItem(name, value);
    } catch { /* kept in memory alone */ }
  },
};
let adminKey = saved.get("sessionStorage", keyName);

function useKey(key) {
  adminKey = key;
  saved.set("sessionStorage", keyName, key);
}

// Refused is a reply other than 200, in the gateway's own words.
class Refused extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
  get needsKey() { return this.status === 401 || this.status === 403; }
}

async function ask(path, options) {
  const headers = { Accept: options?.accept || "application/json" };
  if (adminKey) headers.Authorization = "Bearer " + adminKey;
  // Relative to /dashboard, so that a proxy may put something before both.
  const reply = await fetch(path, { headers, signal: options?.signal, cache: "no-store", credentials: "omit", redirect: "error" });
  if (reply.ok) return reply;
  const text = (await reply.text()).slice(0, 4096);
  let message = text.trim() || reply.statusText || "no reason given";
  try { message = JSON.parse(text).error.message || message; } catch { /* not the gateway's, shown as it is */ }
  throw new Refused(reply.status, message, Number(reply.headers.get("Retry-After")) || 0);
}

const silence = 15e3; // without a byte for so long, in ms, a reply is given up

async function askJSON(path, signal) {
  const late = AbortSignal.timeout(silence);
  return (await ask(path, { signal: signal ? AbortSignal.any([signal, late]) : late })).json();
}

// EventReader takes pieces of an event stream and gives the data of its events
// (HTML, section 9.2.6). Lines end in LF, CR LF or CR.
class EventReader {
  constructor() {
    this.rest = "";
    this.data = [];
  }
  push(piece) {
    const out = [];
    let text = this.rest + piece;
    // The second half of a CR LF may be in the next piece.
    const held = text.endsWith("\r") ? "\r" : "";
    text = text.slice(0, text.length - held.length);
    const lines = text.split(/\r\n|\n|\r/);
    this.rest = lines.pop() + held;
    for (const line of lines) {
      if (line === "") {
        if (this.data.length) out.push(this.data.join("\n"));
        this.data = [];
      } else if (line === "data" || line.startsWith("data:")) {
        this.data.push(line.slice(5).replace(/^ /, ""));
      }
    }
    return out;
  }
}

// live reads the reports as they come, for ever. on has the methods report(r),
// state(name, detail) and refused(error); it ends when a key is needed.
async function live(on, signal) {
  for (let failures = 0; !signal.aborted;) {
    const stop = new AbortController();
    const end = () => stop.abort();
    signal.addEventListener("abort", end);
    let timer = setTimeout(end, silence);
    let why = "the connection ended";
    let least = 0; // to wait, in ms
    try {
      const reply = await ask("v1/performance/live", { accept: "text/event-stream", signal: stop.signal });
      const events = new EventReader();
      const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(end, silence);
        for (const data of events.push(value)) {
          const report = JSON.parse(data);
          if (report.error) throw new Error(report.error.message);
          failures = 0;
          on.state("live");
          on.report(report);
        }
      }
    } catch (err) {
      if (signal.aborted) return;
      if (err.needsKey) return on.refused(err);
      least = Math.min(err.retryAfter * 1000 || 0, 60e3);
      why = err instanceof Refused ? err.message : stop.signal.aborted ? "nothing came for " + silence / 1000 + " s" : "the gateway cannot be reached";
      if (err instanceof SyntaxError) why = "an update could not be read";
    } finally {
      clearTimeout(timer);
      stop.abort();
      signal.removeEventListener("abort", end);
    }
    const wait = Math.max(least, Math.min(30e3, 1e3 * 2 ** Math.min(failures++, 5)) * (0.75 + Math.random() / 2));
    on.state("reconnecting", why);
    await new Promise((resolve) => {
      const t = setTimeout(resolve, wait);
      signal.addEventListener("abort", () => { clearTimeout(t); resolve(); }, { once: true });
    });
  }
}
