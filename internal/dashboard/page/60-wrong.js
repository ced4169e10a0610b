// What is wrong, in words for somebody who sees the gateway for the first time.

// A component's name is the gateway's own; these say what it is. One that is not
// here shows by its name.
const parts = [
  [/^upstream\/(.+)\/connections$/, (name) => "Connections to upstream “" + name + "”", "requests that wait for a connection to the model service"],
  [/^upstream\/(.+)$/, (name) => "Upstream “" + name + "”", "the model service that answers requests"],
  [/^cache\/redis$/, () => "Redis", "the cache that machines share; without it each has its own memory only"],
  [/^process\/memory$/, () => "Memory", "what the process uses of what it may"],
  [/^process\/files$/, () => "Open files", "file descriptors of the process"],
  [/^process\/goroutines$/, () => "Goroutines", "what runs or waits in the program at the same time"],
  [/^process\/clock$/, () => "Clock", "the wall clock of this machine"],
  [/^connections$/, () => "Client connections", "connections from clients"],
  [/^state_dir(\/.*)?$/, () => "State directory", "the folder for what survives a restart"],
  [/^webhook\/(.+)$/, (name) => "Webhook “" + name + "”", "where alarms are told"],
];

function partOf(component) {
  for (const [pattern, title, what] of parts) {
    const m = pattern.exec(component);
    if (m) return { title: title(m[1]), what };
  }
  return { title: component, what: "" };
}

// faultsOf lists what is not well: components first, the worst on top, then
// alarms, which are components too and told once.
function faultsOf(report) {
  const json = report.json;
  const rank = { unhealthy: 0, degraded: 1 };
  const firing = (json.alarms || []).filter(raised);
  const components = (json.components || []).filter((c) => c.status !== "healthy" && !(firing.length && c.name.startsWith("alarm/")))
    .sort((a, b) => (rank[a.status] ?? 2) - (rank[b.status] ?? 2))
    .map((c) => ({ key: "c " + c.name, mark: c.status, ...partOf(c.name), error: c.last_error, since: c.since, advice: c.advice }));
  return components.concat(firing.map((a) => ({
    key: "a " + a.name + " " + labelText(a.labels || {}), mark: a.severity === "critical" ? "critical alarm" : "alarm",
    title: words(a.name) + (alarmLabels(a) ? ": " + alarmLabels(a) : ""), what: report.figures.get(a.figure)?.help || "",
    error: a.message || a.note || "", since: a.raised_at || a.since, advice: a.advice,
  })));
}

class Wrong {
  constructor() {
    this.told = null;
  }

  update(report) {
    const json = report.json;
    const faults = faultsOf(report);
    byId("well").hidden = faults.length > 0;
    keyed(byId("faults"), faults, (f) => f.key, () => el("li", { class: "card fault" },
      el("h3", null, el("span", { class: "pill" }), " ", el("span"), " ", el("small", { class: "quiet" })),
      el("p", { class: "error" }), el("p", { class: "advice" }), el("p", { class: "quiet" })), (li, f) => {
      const [head, error, advice, since] = li.children;
      set(li, "data-mark", f.mark);
      say(head.children[0], f.mark);
      say(head.children[1], f.title);
      say(head.children[2], f.what);
      say(error, f.error || "");
      say(advice, f.advice ? "What to do: " + f.advice : "");
      say(since, f.since ? "Since " + ago(f.since, report.time) : "");
      for (const p of [error, advice, since]) p.hidden = p.textContent === "";
    });
    const state = byId("state");
    state.hidden = !json.status;
    say(state, json.status || "");
    set(state, "data-mark", json.status || "");
    say(byId("version"), ["version " + (json.version || "?"), json.uptime_seconds >= 0 ? "up " + duration(json.uptime_seconds) : ""].filter(Boolean).join(" · "));
    document.title = (faults.length ? "(" + faults.length + ") " : "") + "Sluice – " + (json.status || "");
    this.announce(faults);
  }

  // announce reads out what began and what ended, once.
  announce(faults) {
    const now = new Map(faults.map((f) => [f.key, f.title + (f.error ? ": " + f.error : "")]));
    if (this.told) {
      const begun = [...now].filter(([k]) => !this.told.has(k)).map(([, t]) => t);
      const ended = [...this.told].filter(([k]) => !now.has(k)).map(([, t]) => t.split(": ")[0] + " is well again");
      if (begun.length + ended.length) say(byId("announcer"), begun.concat(ended).join(". "));
    } else if (faults.length) {
      say(byId("announcer"), [...now.values()].join(". "));
    }
    this.told = now;
  }
}
