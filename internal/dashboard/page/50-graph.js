// Graph draws lines over time into a picture of its own. Its legend names the
// values: those of now, or of the moment under the pointer or the arrow keys.

const plot = { height: 190, left: 58, right: 10, top: 10, bottom: 22 };

class Graph {
  // def is {title, help, unit, log, stacked, most}: most fixes the scale's end.
  constructor(def) {
    this.def = def;
    this.colours = new Map();
    this.points = [];
    this.legend = el("ul", { class: "legend" });
    this.when = el("small", { class: "when" });
    this.picture = svg("svg", { role: "img", tabindex: "0", height: plot.height, onpointermove: (e) => this.point(e.offsetX),
      onpointerleave: () => this.pick(null), onkeydown: (e) => this.key(e), onblur: () => this.pick(null) });
    this.node = el("figure", { class: "card graph" },
      el("figcaption", null, el("h3", null, def.title), this.when, el("p", { class: "help" }, def.help)),
      this.picture, this.legend);
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  // show takes points {t, values}, values being [label, number] pairs, over the
  // time from begin to end, in ms. A gap longer than hole breaks the lines.
  show(points, begin, end, hole) {
    this.points = points.filter((p) => p.t >= begin && p.t <= end && p.values.length);
    // While there is little, it is drawn large.
    this.begin = Math.max(begin, Math.min(this.points[0]?.t ?? begin, end - 7 * hole));
    Object.assign(this, { end, hole });
    this.labels = [];
    for (const p of this.points) {
      for (const [label] of p.values) {
        if (this.labels.includes(label)) continue;
        this.labels.push(label);
        if (!this.colours.has(label)) this.colours.set(label, this.def.colours?.[label] ?? this.colours.size % 8);
      }
    }
    this.node.hidden = this.labels.length === 0;
    this.draw();
  }

  draw() {
    const width = this.picture.clientWidth || this.node.clientWidth - 32;
    if (this.node.hidden || width < 80 || !this.points.length) return;
    this.width = width;
    this.x = (t) => plot.left + ((t - this.begin) / (this.end - this.begin)) * (width - plot.left - plot.right);
    const scale = scaleOf(this.def, this.points);
    this.y = (v) => plot.top + (1 - scale.place(v)) * (plot.height - plot.top - plot.bottom);
    this.cursor = svg("line", { class: "cursor", y1: plot.top, y2: plot.height - plot.bottom, visibility: "hidden" });
    this.picture.replaceChildren(...this.axes(scale), ...this.lines(), this.cursor);
    this.read();
  }

  axes(scale) {
    const out = [];
    for (const v of scale.ticks) {
      const y = this.y(v).toFixed(1);
      out.push(svg("line", { class: "grid", x1: plot.left, x2: this.width - plot.right, y1: y, y2: y }),
        svg("text", { x: plot.left - 6, y, "text-anchor": "end", "dominant-baseline": "middle" }, this.def.names?.[v] ?? inUnit(this.def.unit)(v)));
    }
    const steps = this.width < 420 ? 2 : 4;
    for (let i = 0; i <= steps; i++) {
      const t = this.begin + ((this.end - this.begin) * i) / steps;
      const text = new Date(t).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: this.end - this.begin < 480e3 ? "2-digit" : undefined });
      out.push(svg("text", { x: this.x(t).toFixed(1), y: plot.height - 6, "text-anchor": i === 0 ? "start" : i === steps ? "end" : "middle" }, text));
    }
    return out;
  }

  lines() {
    const below = this.points.map(() => 0); // of stacked ones
    return this.labels.map((label) => {
      let path = "";
      let last = null;
      const area = [];
      const close = () => {
        if (area.length > 1 && this.def.stacked) path += area.slice().reverse().map(([x, , low]) => `L${x},${low}`).join("") + "Z";
        area.length = 0;
      };
      this.points.forEach((p, i) => {
        const v = p.values.find(([l]) => l === label)?.[1];
        if (!known(v)) return;
        if (last !== null && p.t - last > this.hole) { close(); last = null; }
        const low = this.y(below[i]).toFixed(1);
        if (this.def.stacked) below[i] += v;
        const x = this.x(p.t).toFixed(1), y = this.y(this.def.stacked ? below[i] : v).toFixed(1);
        path += (last === null ? "M" : "L") + x + "," + y;
        if (last === null && !this.def.stacked) path += "h0.01"; // a lone point shows as a dot
        area.push([x, y, low]);
        last = p.t;
      });
      close();
      return svg("path", { class: (this.def.stacked ? "area" : "line") + " c" + this.colours.get(label), d: path });
    });
  }

  point(offset) {
    if (!this.x || !this.points.length) return;
    let best = 0;
    this.points.forEach((p, i) => {
      if (Math.abs(this.x(p.t) - offset) < Math.abs(this.x(this.points[best].t) - offset)) best = i;
    });
    this.pick(this.points[best].t);
  }

  key(e) {
    const at = this.picked === undefined || this.picked === null ? this.points.length - 1 : this.points.findIndex((p) => p.t >= this.picked);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.points.length - 1 }[e.key];
    if (e.key === "Escape") this.pick(null);
    if (to === undefined) return;
    e.preventDefault();
    this.pick(this.points[Math.max(0, Math.min(this.points.length - 1, to))]?.t ?? null);
  }

  pick(t) {
    this.picked = t;
    this.read();
  }

  // read writes the legend, and the picture's name with its numbers of now.
  read() {
    if (!this.points.length || !this.cursor) return;
    const now = this.points[this.points.length - 1];
    const picked = this.picked ? this.points.find((p) => p.t >= this.picked) : null;
    const p = picked || now;
    const text = inUnit(this.def.unit);
    const rate = this.def.rate ? "/s" : "";
    const of = (point, label) => {
      const v = point.values.find(([l]) => l === label)?.[1];
      return known(v) ? (this.def.names?.[v] ?? text(v) + rate) : "–";
    };
    if (picked) for (const end of ["x1", "x2"]) set(this.cursor, end, this.x(p.t).toFixed(1));
    set(this.cursor, "visibility", picked ? "visible" : "hidden");
    say(this.when, picked ? "at " + clock(new Date(p.t)) : "");
    keyed(this.legend, this.labels, (l) => l, (l) => el("li", { class: "c" + this.colours.get(l) }, el("span"), el("b")), (li, l) => {
      say(li.firstChild, l);
      say(li.lastChild, of(p, l));
    });
    set(this.picture, "aria-label", this.def.title + ", now: " + this.labels.map((l) => l + " " + of(now, l)).join(", "));
  }
}

// scaleOf gives where a value is between 0 and 1, and the values to name.
function scaleOf(def, points) {
  const all = points.flatMap((p) => (def.stacked ? [sum(p.values.map(([, v]) => v)) || 0] : p.values.map(([, v]) => v)));
  const most = Math.max(def.most || 0, ...all);
  if (def.log) {
    const there = all.filter((v) => v > 0);
    if (!there.length) return { place: () => 0, ticks: [] };
    const low = Math.floor(Math.log10(Math.min(...there)));
    const high = Math.max(low + 1, Math.ceil(Math.log10(most)));
    const step = Math.ceil((high - low) / 6);
    const ticks = [];
    for (let e = low; e <= high; e += step) ticks.push(10 ** e);
    return { place: (v) => (v > 0 ? (Math.log10(v) - low) / (high - low) : 0), ticks };
  }
  const step = stepOf(most / 4, def.unit === "bytes", def.whole);
  const top = def.most || Math.max(step, Math.ceil(most / step) * step);
  const ticks = [];
  for (let v = 0; v <= top * 1.001; v += step) ticks.push(v);
  return { place: (v) => Math.min(1, v / top), ticks };
}

// stepOf is the round number at or above v: 1, 2 or 5 of its power.
function stepOf(v, binary, whole) {
  if (!(v > 0)) return 1;
  if (binary) return 2 ** Math.ceil(Math.log2(v));
  const power = 10 ** Math.floor(Math.log10(v));
  const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= v * 0.999);
  return whole ? Math.max(1, Math.ceil(step)) : step;
}
