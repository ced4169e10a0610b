// Alarms: every threshold with its state.

const raised = (a) => a.state === "firing" || a.state === "clearing";

// alarmLabels names what an alarm is of, as text: “a” of upstream.
const alarmLabels = (a) => Object.entries(a.labels || {}).map(([k, v]) => k + " “" + v + "”").join(", ");

const statWords = { value: "", rate: "rate per second", count: "number", mean: "mean", max: "most" };

// alarmFigure says what is watched.
function alarmFigure(a) {
  const stat = statWords[a.stat] ?? a.stat.toUpperCase();
  return (stat ? stat + " of " + lower(words(a.figure)) : words(a.figure)) + (a.stat === "value" && a.unit !== "ratio" ? "" : " over " + a.window);
}

// lower begins a text small, but for an abbreviation.
const lower = (text) => (/^[A-Z]{2}/.test(text) ? text : text.charAt(0).toLowerCase() + text.slice(1));

function alarmValue(a, value) {
  if (a.stat === "count") return count(value);
  const unit = unitOf(a.figure, a.unit);
  return a.stat === "rate" ? rateOf(unit, value) : inUnit(unit)(value);
}

class Alarms {
  constructor(parent) {
    const number = true;
    this.table = new Table("Thresholds", [{ title: "Alarm", note: true }, { title: "State" }, { title: "Figure", note: true }, { title: "Value", number },
      { title: "Threshold", number }, { title: "Since" }], true);
    this.card = el("div", { class: "card" }, this.table.node);
    parent.append(this.card);
  }

  update(report) {
    const rank = { firing: 0, clearing: 1, pending: 2 };
    const list = (report.json.alarms || []).slice().sort((a, b) => (rank[a.state] ?? 3) - (rank[b.state] ?? 3) || a.name.localeCompare(b.name));
    byId("no-alarms").hidden = list.length > 0;
    this.card.hidden = list.length === 0;
    this.table.update(list.map((a) => ({
      key: a.name + " " + labelText(a.labels || {}),
      cells: [{ text: a.name, note: alarmLabels(a) }, { text: a.state, mark: raised(a) ? "bad" : "" }, { text: alarmFigure(a), note: a.message || a.note },
        alarmValue(a, a.value), known(a.threshold) ? a.direction + " " + alarmValue(a, a.threshold) : "", a.since ? ago(a.since, report.time) : ""],
    })));
  }
}
