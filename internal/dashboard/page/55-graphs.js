// Which graphs there are. now(report, before) gives their [label, value] pairs from a
// live report; past(figures) from a point of the history, whose figures are summed up
// over labels; recent(figures), where it is another, from a point of the minutes before
// the page was opened. A pair without a value is left out, and a graph without pairs.

const statusColours = { ok: 2, redirected: 0, "client's error": 1, failed: 3, "broken off": 4, "client left": 7, all: 0 };
const statusWords = { "2xx": "ok", "3xx": "redirected", "4xx": "client's error", "5xx": "failed", broken: "broken off", client_left: "client left" };

// both gives P50 and P99 of a histogram over the last minute.
function both(r, name, label) {
  const d = r.summary("1m", name);
  return [[label + " P50", d?.p50], [label + " P99", d?.p99]];
}

const bothPast = (f, name, label) => [[label + " P50", f[name + ".p50"]], [label + " P99", f[name + ".p99"]]];

// perUpstream gives a gauge for each upstream. One is not named.
function perUpstream(r, name, label) {
  const all = r.values(name, "upstream");
  return all.map((upstream) => [all.length > 1 ? upstream + (label ? " " + label : "") : label || upstream, r.gauge(name, { upstream })]);
}

// labelled gives [value, number] pairs of a figure that a recent point has by a label.
function labelled(f, name, label, end) {
  const begin = name + "{" + label + '="', close = '"}' + (end || "");
  return Object.keys(f).filter((k) => k.startsWith(begin) && k.endsWith(close)).map((k) => [k.slice(begin.length, -close.length), f[k]]);
}

// perUpstreamRecent is perUpstream of a recent point.
function perUpstreamRecent(f, name, label) {
  const all = labelled(f, name, "upstream");
  return all.map(([upstream, v]) => [all.length > 1 ? upstream + (label ? " " + label : "") : label || upstream, v]);
}

const graphs = [
  {
    title: "Requests", help: "Requests per second, by status.", rate: true, stacked: true, colours: statusColours,
    now: (r, before) => r.values("requests_total", "status").map((status) => [statusWords[status] || status, r.since(before, "requests_total", { status })]),
    past: (f) => {
      const failed = (f["request_error_ratio"] ?? 0) * f["requests_total.rate"];
      return known(failed) ? [["ok", f["requests_total.rate"] - failed], ["failed", failed]] : [];
    },
    recent: (f) => labelled(f, "requests_total", "status", ".rate").map(([status, v]) => [statusWords[status] || status, v]),
  },
  {
    title: "Response time", help: "To the end of the reply, and what the gateway itself added to it. The scale is logarithmic.", unit: "seconds", log: true,
    now: (r) => [...both(r, "request_duration_seconds", "Response"), ...both(r, "request_overhead_seconds", "Gateway")],
    past: (f) => [...bothPast(f, "request_duration_seconds", "Response"), ...bothPast(f, "request_overhead_seconds", "Gateway")],
  },
  {
    title: "Hits", help: "Part of what was asked for that was there already.", unit: "ratio", most: 1,
    now: (r) => [...r.figures.keys()].filter(isHitRatio).map((name) => [hitLabel(name), first(r.ratio(name, {}, "1m"), mean(r.all(name).map((s) => s.value)))]),
    past: (f) => Object.keys(f).filter(isHitRatio).map((name) => [hitLabel(name), f[name]]),
  },
  {
    title: "Waiting for upstreams", help: "Time until the upstream's reply, of streams until the first event. P99; the scale is logarithmic.", unit: "seconds", log: true,
    now: (r) => r.values("upstream_wait_seconds", "upstream").map((upstream) => [upstream, r.spread("upstream_wait_seconds", { upstream }, "1m")?.p99]),
    past: (f) => bothPast(f, "upstream_wait_seconds", "All"),
    recent: (f) => labelled(f, "upstream_wait_seconds", "upstream", ".p99"),
  },
  {
    title: "Streams", help: "Event streams under way.", whole: true,
    now: (r) => [["active", r.gauge("streams_active")]],
    past: (f) => [["active", f["streams_active"]]],
  },
  {
    title: "First event", help: "Time to a stream's first event, and between its events. The scale is logarithmic.", unit: "seconds", log: true,
    now: (r) => [...both(r, "stream_first_event_seconds", "First"), ...both(r, "stream_between_events_seconds", "Between")],
    past: (f) => [...bothPast(f, "stream_first_event_seconds", "First"), ...bothPast(f, "stream_between_events_seconds", "Between")],
  },
  {
    title: "Memory", help: "Of the process, and of it what the cache and Go's heap hold.", unit: "bytes",
    now: (r) => memoryFigures.map(([name, label]) => [label, r.gauge(name)]),
    past: (f) => memoryFigures.map(([name, label]) => [label, f[name]]),
  },
  {
    title: "Garbage collection", help: "How long the program was paused. The scale is logarithmic.", unit: "seconds", log: true,
    now: (r) => both(r, "go_gc_pause_seconds", "Pause"),
    past: (f) => bothPast(f, "go_gc_pause_seconds", "Pause"),
  },
  {
    title: "Processor", help: "Processors that were busy with the gateway, and of that with collecting garbage.",
    now: (r, before) => cpuFigures.map(([name, label]) => [label, r.since(before, name)]),
    past: (f) => cpuFigures.map(([name, label]) => [label, f[name + ".rate"]]),
  },
  {
    title: "Goroutines", help: "What runs or waits in the program at the same time.", whole: true,
    now: (r) => [["goroutines", r.gauge("go_goroutines")]],
    past: (f) => [["goroutines", f["go_goroutines"]]],
  },
  {
    title: "Connections", help: "To upstreams: open, of these idle, and calls that wait for one.", whole: true,
    now: (r) => connectionFigures.flatMap(([name, label]) => perUpstream(r, name, label)),
    past: (f) => connectionFigures.map(([name, label]) => [label, f[name]]),
    recent: (f) => connectionFigures.flatMap(([name, label]) => perUpstreamRecent(f, name, label)),
  },
  {
    title: "Circuit breakers", help: "Open: the upstream failed and is left alone. Half open: one request tries it.", most: 2, whole: true, names: { 0: "closed", 1: "half open", 2: "open" },
    now: (r) => perUpstream(r, "route_breaker_state", ""),
    past: (f) => [["worst", f["route_breaker_state"]]],
    recent: (f) => perUpstreamRecent(f, "route_breaker_state", ""),
  },
  {
    title: "Tokens", help: "Tokens per second that upstreams took, and that were saved by answers from memory.", rate: true,
    now: (r, before) => [...["input", "output"].map((type) => [type, r.since(before, "tokens_total", { type })]), ["saved", r.since(before, "tokens_saved_total")]],
    past: (f) => [["all", f["tokens_total.rate"]], ["saved", f["tokens_saved_total.rate"]]],
    recent: (f) => [...labelled(f, "tokens_total", "type", ".rate").filter(([type]) => type !== "cached"), ["saved", f["tokens_saved_total.rate"]]],
  },
];

const memoryFigures = [["process_resident_bytes", "process"], ["go_heap_live_bytes", "heap"], ["cache_bytes", "cache"], ["process_memory_limit_bytes", "limit"]];
const cpuFigures = [["process_cpu_time_seconds_total", "all"], ["go_gc_cpu_seconds_total", "garbage collection"]];
const connectionFigures = [["upstream_connections_open", "open"], ["upstream_connections_idle", "idle"], ["upstream_pool_waiting", "waiting"]];
const isHitRatio = (name) => name.endsWith("hit_ratio") || name.endsWith("reuse_ratio");
const hitLabel = (name) => words(name.replace(/_hit_ratio$/, "").replace(/_reuse_ratio$/, " reuse")).trim();
const mean = (list) => (list.length ? (sum(list) ?? NaN) / list.length : undefined);

const minutes = 60e3;
const spans = { "10 min": 10 * minutes, "24 h": 24 * 60 * minutes };

// Graphs keeps what the live reports said, what the gateway knows of the minutes in
// which nobody looked, and the history.
class Graphs {
  constructor(parent) {
    this.live = [];
    this.past = [];
    this.recent = [];
    this.reports = []; // of the last ten seconds
    this.interval = 5 * minutes;
    this.all = graphs.map((def) => new Graph(def));
    parent.append(...this.all.map((g) => g.node));
  }

  // add takes a live report. One that is hardly newer than the last one is none: the
  // gateway counts up every two seconds.
  add(report) {
    const last = this.reports[this.reports.length - 1];
    if (last && report.time - last.time < 1000) return;
    const clean = (pairs) => pairs.filter(([, v]) => known(v));
    // Rates are over some seconds, since two reports may have the same counts.
    while (this.reports.length > 1 && this.reports[1].time <= report.time - 9e3) this.reports.shift();
    this.live.push({ t: report.time, values: graphs.map((def) => clean(def.now(report, this.reports[0]))) });
    this.reports.push(report);
    while (this.live.length && this.live[0].t < report.time - spans["10 min"]) this.live.shift();
  }

  // history takes what a whole report says of the time before it.
  history(json) {
    const read = (list, of) => (list?.points || []).map((p) => ({ t: Date.parse(p.time), values: graphs.map((def) => of(def)(p.figures || {}).filter(([, v]) => known(v))) }));
    this.interval = (json.history?.interval_seconds || 300) * 1000;
    this.past = read(json.history, (def) => def.past);
    this.recent = read(json.recent, (def) => def.recent || def.past);
  }

  // minutes gives the live points, and where there is none, those of the gateway.
  minutes() {
    const missing = this.recent.filter((p) => !this.live.some((l) => Math.abs(l.t - p.t) < 10e3));
    return missing.concat(this.live).sort((a, b) => a.t - b.t);
  }

  show(span) {
    const day = span === "24 h";
    const points = day ? this.past : this.minutes();
    const end = Math.max(this.reports[this.reports.length - 1]?.time || Date.now(), points.length ? points[points.length - 1].t : 0);
    const hole = day ? this.interval * 2.5 : 25e3;
    byId("no-history").hidden = !day || points.length > 0;
    this.all.forEach((g, i) => g.show(points.map((p) => ({ t: p.t, values: p.values[i] })), end - spans[span], end, hole));
  }
}
