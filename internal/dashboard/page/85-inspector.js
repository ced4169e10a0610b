// The last requests, asked for only while somebody looks.

class Inspector {
  constructor(refused) {
    this.refused = refused;
    this.list = [];
    const number = true;
    this.table = new Table("Requests, the last one on top", [{ title: "Time" }, { title: "Operation" }, { title: "Model" }, { title: "Upstream" },
      { title: "Status", number }, { title: "Cache" }, { title: "Duration", number },
      { title: "Gateway", number, help: "What the gateway itself added, until the reply began." },
      { title: "Tokens in", number }, { title: "Tokens out", number }, { title: "Request id" }], true);
    byId("requests").append(this.table.node);
    this.panel = byId("inspector");
    this.panel.addEventListener("toggle", () => this.poll());
    byId("filter").addEventListener("input", () => this.show());
    byId("errors").addEventListener("change", () => this.show());
    document.addEventListener("visibilitychange", () => this.poll());
  }

  async poll() {
    clearTimeout(this.timer);
    if (!this.panel.open || document.hidden) return;
    const mine = (this.turn = {});
    try {
      this.list = (await askJSON("v1/performance/requests")).data || [];
      this.show();
    } catch (err) {
      if (err.needsKey) { this.refused(err); return; }
      say(byId("shown"), err instanceof Refused ? err.message : "the gateway cannot be reached");
    }
    if (mine === this.turn) this.timer = setTimeout(() => this.poll(), 2000);
  }

  show() {
    const wanted = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const onlyErrors = byId("errors").checked;
    const rows = this.list.filter((q) => {
      if (onlyErrors && !q.error) return false;
      const text = [q.operation, q.model, q.upstream, q.status, q.error, q.code, q.aborted, q.cache, q.tenant, q.id, q.trace].join(" ").toLowerCase();
      return wanted.every((word) => text.includes(word));
    });
    say(byId("shown"), this.list.length ? rows.length + " of " + this.list.length : "No request yet.");
    this.table.update(rows.map((q, i) => ({
      key: q.id + " " + q.time + " " + (q.id ? "" : i),
      cells: [clock(q.time), q.operation + (q.stream ? " (stream)" : ""), q.model, q.upstream,
        { text: statusOf(q), title: [q.code, q.aborted].filter(Boolean).join(", "), mark: q.error ? "bad" : "" },
        q.cache, seconds(q.duration_seconds), seconds(q.overhead_seconds), count(q.input_tokens), count(q.output_tokens),
        { text: q.id, title: q.trace ? "trace " + q.trace : "" }],
    })));
  }
}

// statusOf is the status, and in words what a status does not say: how a reply that
// began well ended.
const statusOf = (q) => [q.status || "", q.status < 400 && q.error ? words(q.error) : ""].filter(Boolean).join(" ");
