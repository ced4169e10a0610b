// Reading a report: figures by name, wherever they are, with undefined for what
// is not there.

const windows = ["1m", "5m", "1h"];

// summaries are the headlines that are histograms of several series.
const summaries = { request_duration_seconds: "response_seconds", request_overhead_seconds: "overhead_seconds", stream_first_event_seconds: "first_event_seconds" };

class Report {
  constructor(json) {
    this.json = json;
    this.time = Date.parse(json.time) || Date.now();
    this.figures = new Map();
    for (const [system, figures] of Object.entries(json.systems || {})) {
      for (const [name, f] of Object.entries(figures)) {
        const before = this.figures.get(name);
        const series = (f.series || []).map((s) => ({ ...s, labels: s.labels || {} }));
        this.figures.set(name, before ? { ...before, series: before.series.concat(series) } : { ...f, name, system, series });
      }
    }
  }

  // all gives the series of a figure that have these labels.
  all(name, labels) {
    const f = this.figures.get(name);
    if (!f) return [];
    return f.series.filter((s) => Object.entries(labels || {}).every(([k, v]) => s.labels[k] === v));
  }

  // values lists what a label stands for.
  values(name, label) {
    return [...new Set(this.all(name).map((s) => s.labels[label]).filter((v) => v !== undefined))].sort();
  }

  gauge(name, labels) { return sum(this.all(name, labels).map((s) => s.value)); }
  total(name, labels) { return sum(this.all(name, labels).map((s) => s.total ?? s.count)); }
  rate(name, labels, window) { return sum(this.all(name, labels).map((s) => s.windows?.[window]?.per_second)); }
  counted(name, labels, window) { return sum(this.all(name, labels).map((s) => s.windows?.[window]?.count)); }

  // since is a counter's increase per second after an earlier report; where the
  // counter began anew or there is no earlier one, that of the last minute.
  since(before, name, labels) {
    const now = this.total(name, labels);
    const then = before?.total(name, labels);
    const time = before ? (this.time - before.time) / 1000 : 0;
    if (now === undefined) return undefined;
    if (then === undefined || time <= 0 || time > 20 || now < then) return this.rate(name, labels, "1m");
    return (now - then) / time;
  }

  // ratio is a part of a whole; over several series, of the sum of the wholes.
  ratio(name, labels, window) {
    const list = this.all(name, labels).map((s) => s.windows?.[window]).filter((w) => known(w?.value));
    if (list.length === 1) return list[0].value;
    const whole = sum(list.map((w) => w.whole));
    return whole ? sum(list.map((w) => w.value * w.whole)) / whole : undefined;
  }

  // spread gives a histogram's window. Percentiles of several series cannot be
  // added up, so there is one only where one series has these labels.
  spread(name, labels, window) {
    const list = this.all(name, labels);
    const whole = list.length > 1 ? list.filter((s) => Object.keys(s.labels).length === Object.keys(labels || {}).length) : list;
    return whole.length === 1 ? whole[0].windows?.[window] : undefined;
  }

  // summary is the histogram of all series together, which the gateway adds up.
  summary(window, name) { return this.json.summary?.[summaries[name]]?.[window] ?? this.spread(name, {}, window); }
}

// sum adds what is known; of nothing it is undefined.
function sum(list) {
  const there = list.filter(known);
  return there.length ? there.reduce((a, b) => a + b, 0) : undefined;
}

// first gives the first that is known.
const first = (...list) => list.find(known);

const labelText = (labels) => Object.entries(labels).map(([k, v]) => k + "=" + v).join(" ");
