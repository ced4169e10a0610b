// The tables per model, upstream and operation.

const timeColumns = [
  { title: "Requests", number: true, help: "per second", first: true },
  { title: "P50", number: true, help: "Half of the requests took no longer, from their head to the end of the reply." },
  { title: "P90", number: true }, { title: "P95", number: true, first: true }, { title: "P99", number: true },
  { title: "Gateway P50", number: true, help: "What the gateway itself added, until the reply began." },
  { title: "Gateway P99", number: true },
  { title: "Failed", number: true, first: true, help: "Part that failed: a status of 500 or above, or a reply that broke off or told of an error." },
];

// alarming marks a part that failed which nobody should take for chance.
const alarming = (part) => part > 0.01;

// timeCells gives the cells of timeColumns for figures that begin with prefix.
function timeCells(r, prefix, labels, w) {
  const d = r.spread(prefix + "_duration_seconds", labels, w);
  const o = r.spread(prefix + "_overhead_seconds", labels, w);
  const failed = r.ratio(prefix + "_error_ratio", labels, w);
  return [perSecond(d?.per_second), seconds(d?.p50), seconds(d?.p90), seconds(d?.p95), seconds(d?.p99), seconds(o?.p50), seconds(o?.p99),
    { text: percent(failed), mark: alarming(failed) ? "bad" : "" }];
}

class Tables {
  constructor(parent) {
    const number = true;
    this.models = new Table("Per model", [{ title: "Model" }, { title: "Operation" }, ...timeColumns,
      { title: "First event P50", number, help: "Of streams: the time to the first event." },
      { title: "Tokens in", number, help: "of one request, on average" }, { title: "Tokens out", number, help: "of one request, on average" }], false, true);
    this.upstreams = new Table("Per upstream", [{ title: "Upstream" }, ...timeColumns,
      { title: "Waiting P50", number, help: "Time that the upstream took: to the whole reply, or to a stream's first event." },
      { title: "Waiting P99", number }, { title: "Breaker" }, { title: "Connections", number, help: "open, and of these idle" }], false, true);
    this.operations = new Table("Per operation", [{ title: "Operation" }, ...timeColumns], false, true);
    this.none = el("p", { class: "card quiet" }, "No request in this time.");
    parent.append(this.none, ...[this.models, this.upstreams, this.operations].map((t) => el("div", { class: "card" }, t.node)));
    this.all = [this.models, this.upstreams, this.operations];
  }

  update(r, w) {
    this.models.update(busiest(r.all("model_request_duration_seconds"), w).map((s) => {
      const tokens = (type) => r.spread("model_tokens", { ...s.labels, type }, w)?.mean;
      const known = r.spread("model_first_event_seconds", s.labels, w);
      return { key: labelText(s.labels), cells: [s.labels.model, s.labels.operation, ...timeCells(r, "model_request", s.labels, w),
        seconds(known?.p50), count(round(tokens("input"))), count(round(tokens("output")))] };
    }));
    const names = new Set(["upstream_request_duration_seconds", "route_breaker_state", "upstream_connections_open"].flatMap((f) => r.values(f, "upstream")));
    this.upstreams.update([...names].map((upstream) => {
      const labels = { upstream };
      const wait = r.spread("upstream_wait_seconds", labels, w);
      const breaker = breakerStates[r.gauge("route_breaker_state", labels)];
      const open = r.gauge("upstream_connections_open", labels);
      const idle = r.gauge("upstream_connections_idle", labels);
      return { key: upstream, cells: [upstream, ...timeCells(r, "upstream_request", labels, w), seconds(wait?.p50), seconds(wait?.p99),
        { text: breaker || "", mark: breaker && breaker !== "closed" ? "bad" : "" }, known(open) ? count(open) + (known(idle) ? " (" + count(idle) + " idle)" : "") : ""] };
    }));
    this.operations.update(busiest(r.all("request_duration_seconds").filter((s) => s.labels.operation), w).map((s) =>
      ({ key: labelText(s.labels), cells: [s.labels.operation, ...timeCells(r, "request", { operation: s.labels.operation }, w)] })));
    let empty = true;
    for (const t of this.all) {
      t.node.parentNode.hidden = t.node.hidden;
      empty = empty && t.node.hidden;
    }
    this.none.hidden = !empty;
  }
}

const breakerStates = { 0: "closed", 1: "half open", 2: "open" };
const round = (v) => (known(v) ? Math.round(v) : v);

// busiest gives the series that observed something in a window, those that observed
// most on top; those of the same number stay in the order of their names.
function busiest(series, w) {
  const n = (s) => s.windows?.[w]?.count || 0;
  return series.filter((s) => n(s) > 0).sort((a, b) => n(b) - n(a) || labelText(a.labels).localeCompare(labelText(b.labels)));
}
