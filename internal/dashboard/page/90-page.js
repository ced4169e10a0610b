// The page: what is asked when, and what is shown of it.

const state = { report: null, window: "1m", span: "10 min", stop: null, at: 0 };
const wrong = new Wrong();
const graphsView = new Graphs(byId("graphs"));
const tables = new Tables(byId("tables"));
const systems = new Systems(byId("systems"));
const alarms = new Alarms(byId("alarms"));
const inspector = new Inspector(askKey);

function show() {
  const { report, window } = state;
  if (!report) return;
  byId("content").hidden = false;
  wrong.update(report);
  showTiles(report, window);
  graphsView.show(state.span);
  tables.update(report, window);
  alarms.update(report);
  systems.update(report, window);
}

function take(json) {
  if (json.object !== "performance") return;
  state.report = new Report(json);
  state.at = Date.now();
  graphsView.add(state.report);
  byId("trouble").hidden = true;
  show();
}

// mark says how old what is shown is.
function mark(name, why) {
  const live = byId("live");
  if (name === "live" && live.dataset.state === "reconnecting") refresh(true); // of the time between
  const text = { connecting: "connecting", live: "live", reconnecting: state.at ? "stale since " + clock(new Date(state.at)) + ", reconnecting" : "reconnecting", out: "no key" }[name];
  set(live, "data-state", name);
  set(live, "title", why || "");
  say(live.lastChild, text);
  if (name === "reconnecting" && why) trouble("No new figures: " + why + ". Trying again.");
}

function trouble(text) {
  byId("trouble").hidden = false;
  say(byId("trouble"), text);
}

// begin asks for everything, until a key is needed.
async function begin() {
  state.stop?.abort();
  state.stop = new AbortController();
  const { signal } = state.stop;
  mark("connecting");
  try {
    const json = await askJSON("v1/performance", signal);
    graphsView.history(json);
    byId("gate").hidden = true;
    byId("forget").hidden = !adminKey;
    take(json);
  } catch (err) {
    if (signal.aborted) return;
    if (err.needsKey) { askKey(err); return; }
    // The stream tries again and again, and says what is wrong meanwhile.
    trouble(err instanceof Refused ? err.message : "The gateway cannot be reached.");
  }
  live({ report: take, state: mark, refused: askKey }, signal);
}

// askKey hides what an older key has shown, and asks for another.
function askKey(err) {
  state.stop?.abort();
  state.report = null;
  byId("content").hidden = true;
  byId("trouble").hidden = true;
  byId("state").hidden = true;
  byId("forget").hidden = true;
  byId("inspector").open = false;
  say(byId("version"), "");
  say(byId("gate-why"), err ? err.message : "");
  byId("gate").hidden = false;
  mark("out");
  byId("key").focus();
}

byId("gate-form").addEventListener("submit", (e) => {
  e.preventDefault();
  const key = byId("key").value.trim();
  byId("key").value = "";
  // A field of HTTP takes visible ASCII only.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    say(byId("gate-why"), "That is no key: it has characters that a key cannot have.");
    return;
  }
  useKey(key);
  begin();
});
byId("forget").addEventListener("click", () => {
  useKey(null);
  location.reload();
});

// choice makes a group of radio buttons.
function choice(fieldset, names, chosen, change) {
  for (const name of names) {
    const id = fieldset.id + "-" + name.replace(/\W/g, "");
    fieldset.append(el("input", { type: "radio", id, name: fieldset.id, checked: name === chosen, onchange: () => change(name) }), el("label", { for: id }, name));
  }
}

choice(byId("window"), windows, state.window, (w) => { state.window = w; show(); });
choice(byId("span"), Object.keys(spans), state.span, (s) => { state.span = s; refresh(); show(); });

// refresh reads the history anew: it grows while nobody looks.
async function refresh(now) {
  if (!now && (state.span !== "24 h" || document.hidden) || !state.report) return;
  try {
    graphsView.history(await askJSON("v1/performance", state.stop.signal));
    show();
  } catch { /* the live stream says what is wrong */ }
}
setInterval(() => refresh(), 60e3);

const dark = matchMedia("(prefers-color-scheme: dark)");
function theme() {
  const is = (saved.get("localStorage", "sluice-theme") || (dark.matches ? "dark" : "light")) === "dark";
  set(document.documentElement, "data-theme", is ? "dark" : "light");
  set(byId("theme"), "aria-pressed", String(is));
}
byId("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  // What the system prefers needs no note, and is followed when it changes.
  saved.set("localStorage", "sluice-theme", next === (dark.matches ? "dark" : "light") ? null : next);
  set(document.documentElement, "data-theme", next);
  set(byId("theme"), "aria-pressed", String(next === "dark"));
});
dark.addEventListener("change", theme);
theme();
begin();
