// Numbers as people read them. Each function gives "" for what is not known,
// since a figure that is missing is not zero.

const known = (v) => typeof v === "number" && Number.isFinite(v);

// digits writes three significant ones, and no more after the point than tell
// something.
function digits(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  const after = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size)));
  const text = v.toFixed(after);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function scaled(v, steps) {
  for (const [size, unit] of steps) {
    // 0.9995 of a step would be written as 1000 of the one below.
    if (Math.abs(v) >= size * 0.9995) return digits(v / size) + unit;
  }
  const [size, unit] = steps[steps.length - 1];
  return digits(v / size) + unit;
}

const nbsp = "\u00a0";

function count(v) {
  if (!known(v)) return "";
  if (Math.abs(v) < 1e5) return Number.isInteger(v) ? v.toLocaleString("en") : digits(v);
  return scaled(v, [[1e12, nbsp + "T"], [1e9, nbsp + "G"], [1e6, nbsp + "M"], [1e3, nbsp + "k"]]);
}

function bytes(v) {
  if (!known(v)) return "";
  return scaled(v, [[2 ** 40, nbsp + "TiB"], [2 ** 30, nbsp + "GiB"], [2 ** 20, nbsp + "MiB"], [2 ** 10, nbsp + "KiB"], [1, nbsp + "B"]]);
}

function seconds(v) {
  if (!known(v)) return "";
  if (v === 0) return "0" + nbsp + "s";
  if (Math.abs(v) >= 180) return duration(v);
  return scaled(v, [[1, nbsp + "s"], [1e-3, nbsp + "ms"], [1e-6, nbsp + "µs"], [1e-9, nbsp + "ns"]]);
}

// duration writes what lasts, in its two largest parts.
function duration(v) {
  if (!known(v)) return "";
  const s = Math.max(0, Math.round(v));
  const parts = [[Math.floor(s / 86400), "d"], [Math.floor(s / 3600) % 24, "h"], [Math.floor(s / 60) % 60, "min"], [s % 60, "s"]];
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return "0" + nbsp + "s";
  return parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, unit]) => n + nbsp + unit).join(" ");
}

// percent keeps a small part apart from none, and nearly all from all.
function percent(v) {
  if (!known(v)) return "";
  const p = v * 100;
  if (p > 0 && p < 0.01) return "< 0.01" + nbsp + "%";
  if (p > 99.99 && p < 100) return "> 99.99" + nbsp + "%";
  return digits(p) + nbsp + "%";
}

const perSecond = (v) => (known(v) ? count(v) + "/s" : "");

// unitOf tells what a figure is counted in, by what it says or by its name.
function unitOf(name, unit) {
  if (unit === "seconds" || unit === "bytes") return unit;
  if (name.endsWith("_ratio") || unit === "ratio") return "ratio";
  const base = name.replace(/_total$/, "");
  return ["seconds", "bytes"].find((u) => base.endsWith("_" + u)) || "";
}

// inUnit gives the function that writes a value of a unit.
const inUnit = (unit) => ({ seconds, bytes, ratio: percent })[unit] || count;

// rateOf writes a counter's increase per second. Seconds per second are a load:
// 1 is one processor or one waiter all the time.
function rateOf(unit, v) {
  if (!known(v)) return "";
  return unit === "seconds" ? digits(v) + nbsp + "s/s" : inUnit(unit)(v) + "/s";
}

// words makes a figure's name readable: the unit shows in its values.
function words(name, system) {
  let text = name;
  if (system && text.startsWith(system + "_") && text.length > system.length + 1) text = text.slice(system.length + 1);
  text = text.replace(/_total$/, "").replace(/_(seconds|bytes|ratio)$/, (all, unit) => (unit === "ratio" ? " ratio" : unit === "bytes" ? " size" : ""));
  text = text.replaceAll("_", " ").trim();
  for (const short of ["gc", "cpu", "l2", "tls", "http2", "sse", "id", "url"]) {
    text = text.replace(new RegExp("\\b" + short + "\\b", "g"), short.toUpperCase());
  }
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// clock writes a moment of today, or of another day with its date, in the
// reader's own time.
function clock(at) {
  const t = at instanceof Date ? at : new Date(at);
  if (Number.isNaN(t.getTime())) return "";
  const time = t.toLocaleTimeString("en-GB");
  return t.toDateString() === new Date().toDateString() ? time : t.toLocaleDateString("en-GB", { day: "numeric", month: "short" }) + " " + time;
}

// ago says since when, with how long that is.
function ago(at, now) {
  const t = new Date(at).getTime();
  if (Number.isNaN(t)) return "";
  return clock(at) + " (for " + duration(Math.max(0, (now - t) / 1000)) + ")";
}
