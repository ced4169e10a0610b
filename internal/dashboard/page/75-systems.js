// All figures of all systems, known here or not: a system that joins the gateway
// later has its panel with no change in this file.

class Systems {
  constructor(parent) {
    this.parent = parent;
    this.panels = new Map();
  }

  update(report, w) {
    this.report = report;
    this.window = w;
    const systems = Object.entries(report.json.systems || {}).map(([name, figures]) => ({ name, figures })).sort((a, b) => a.name.localeCompare(b.name));
    keyed(this.parent, systems, (s) => s.name, (s) => this.make(s.name), (node, s) => {
      const n = Object.keys(s.figures).length;
      say(node.querySelector("summary small"), n + (n === 1 ? " figure" : " figures"));
      if (node.open) this.fill(s.name);
    });
  }

  make(name) {
    const number = true;
    const panel = {
      values: new Table(name + ": values", [{ title: "Figure", note: true }, { title: "Of" }, { title: "Value", number },
        { title: "Per second", number, help: "over the chosen time" }, { title: "In the time", number, help: "over the chosen time" }], true),
      spreads: new Table(name + ": distributions", [{ title: "Distribution", note: true }, { title: "Of" }, { title: "Count", number, help: "over the chosen time" }, { title: "Mean", number },
        { title: "P50", number }, { title: "P90", number }, { title: "P95", number }, { title: "P99", number }, { title: "Most", number }], true),
    };
    this.panels.set(name, panel);
    return el("details", { class: "card panel", "data-system": name, ontoggle: (e) => e.target.open && this.fill(name) },
      el("summary", null, el("span", null, words(name)), " ", el("small", { class: "quiet" })), panel.values.node, panel.spreads.node);
  }

  fill(name) {
    const values = [], spreads = [];
    for (const [figure, f] of Object.entries(this.report.json.systems?.[name] || {}).sort(([a], [b]) => a.localeCompare(b))) {
      for (const s of f.series || []) {
        const of = labelText(s.labels || {});
        const cells = cellsOf(figure, f, s, this.window);
        if (!cells.some(Boolean)) continue; // nothing is known of it
        const row = { key: figure + " " + of, cells: [{ text: words(figure, name), note: f.help, title: figure }, of, ...cells] };
        (f.kind === "histogram" ? spreads : values).push(row);
      }
    }
    // What a figure is for is said once, not with each of its series.
    for (const rows of [values, spreads]) {
      rows.forEach((row, i) => { if (i && rows[i - 1].cells[0].title === row.cells[0].title) row.cells[0].note = ""; });
    }
    const panel = this.panels.get(name);
    panel.values.update(values);
    panel.spreads.update(spreads);
  }
}

// cellsOf writes a series by its kind; of a kind that is not known, what it has
// as numbers.
function cellsOf(figure, f, s, w) {
  const unit = unitOf(figure, f.unit);
  const text = inUnit(unit);
  const last = s.windows?.[w];
  switch (f.kind) {
    case "ratio":
      return [percent(last?.value), "", known(last?.whole) ? "of " + count(last.whole) : ""];
    case "counter":
      return [text(s.total), rateOf(unit, last?.per_second), text(last?.count)];
    case "histogram":
      return [count(last?.count), ...["mean", "p50", "p90", "p95", "p99", "max"].map((k) => text(last?.[k]))];
    default:
      return [text(first(s.value, s.total, s.count)), "", ""];
  }
}
