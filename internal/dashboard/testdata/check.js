// Checks of what needs no browser. It stands behind the page's scripts, in one
// module with them.
import assert from "node:assert/strict";

const plain = (text) => text.replaceAll(nbsp, " ");

for (const [got, want] of [
  [seconds(0.0000431), "43.1 µs"], [seconds(0.2), "200 ms"], [seconds(1.5), "1.5 s"], [seconds(0.9996), "1 s"], [seconds(3e-10), "0.3 ns"],
  [seconds(0), "0 s"], [seconds(200), "3 min 20 s"], [seconds(undefined), ""], [seconds(NaN), ""], [seconds(null), ""],
  [bytes(0), "0 B"], [bytes(1023), "1023 B"], [bytes(1536), "1.5 KiB"], [bytes(2 ** 30), "1 GiB"], [bytes(-2048), "-2 KiB"],
  [percent(0), "0 %"], [percent(1), "100 %"], [percent(0.00001), "< 0.01 %"], [percent(0.99999), "> 99.99 %"], [percent(0.1234), "12.3 %"],
  [count(0), "0"], [count(12345), "12,345"], [count(123456), "123 k"], [count(0.5), "0.5"], [count(999999), "1 M"], [count("7"), ""],
  [duration(90061), "1 d 1 h"], [duration(59.9), "1 min"], [duration(0.2), "0 s"],
  [rateOf("seconds", 0.42), "0.42 s/s"], [rateOf("bytes", 2048), "2 KiB/s"], [rateOf("", undefined), ""],
  [words("cache_hit_ratio", "cache"), "Hit ratio"], [words("go_gc_pause_seconds", "process"), "Go GC pause"], [words("stored_bytes", "cache"), "Stored size"],
  [words("requests_total"), "Requests"], [words("x"), "X"],
]) assert.equal(plain(got), want);
assert.equal(unitOf("cpu_seconds_total", ""), "seconds");
assert.equal(unitOf("hit_ratio", ""), "ratio");
assert.equal(unitOf("tokens_total", "tokens"), "");

// An event stream says the same however it is cut.
const stream = ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata: one\ndata:two\n\ndata\r\rid: 4\n\ndata: cut off\n";
const whole = new EventReader().push(stream);
assert.deepEqual(whole, ['{"a":1}', "one\ntwo", ""]);
for (let i = 0; i <= stream.length; i++) {
  for (let j = i; j <= stream.length; j++) {
    const r = new EventReader();
    assert.deepEqual([...r.push(stream.slice(0, i)), ...r.push(stream.slice(i, j)), ...r.push(stream.slice(j))], whole);
  }
}

// What is not there is not zero, and what cannot be added up is not.
const report = new Report({
  time: "2026-01-01T00:00:10Z",
  summary: { response_seconds: { "1m": { p50: 7 } } },
  systems: { a: {
    n_total: { kind: "counter", series: [{ labels: { k: "x" }, total: 50, windows: { "1m": { count: 5, per_second: 1 } } }, { labels: { k: "y" }, total: 10 }] },
    r_ratio: { kind: "ratio", series: [{ windows: { "1m": { value: 0.5, whole: 10 } } }, { labels: { k: "z" }, windows: { "1m": { value: 1, whole: 30 } } }] },
    request_duration_seconds: { kind: "histogram", series: [{ labels: { o: "1" }, windows: { "1m": { p50: 1 } } }, { labels: { o: "2" } }] },
  } },
});
assert.equal(report.total("n_total"), 60);
assert.equal(report.rate("n_total", { k: "y" }, "1m"), undefined);
assert.equal(report.gauge("nothing"), undefined);
assert.equal(report.ratio("r_ratio", {}, "1m"), 0.875);
assert.equal(report.ratio("r_ratio", {}, "5m"), undefined);
assert.equal(report.spread("request_duration_seconds", {}, "1m"), undefined);
assert.equal(report.spread("request_duration_seconds", { o: "1" }, "1m").p50, 1);
assert.equal(report.summary("1m", "request_duration_seconds").p50, 7);
const earlier = (total) => new Report({ time: "2026-01-01T00:00:00Z", systems: { a: { n_total: { kind: "counter", series: [{ total }] } } } });
assert.equal(report.since(earlier(40), "n_total"), 2);
assert.equal(report.since(earlier(90), "n_total"), 1, "a counter that began anew");
assert.equal(report.since(undefined, "n_total"), 1);
assert.equal(new Report({}).gauge("x"), undefined);

// What requests did not say twice is told by mode; a mode that did nothing is left out.
{
  const figure = (safe, blocks, windows) => ({ kind: "counter", series: [{ labels: { mode: "safe" }, total: safe, windows }, { labels: { mode: "blocks" }, total: blocks }] });
  const tile = (figures) => tilesOf(new Report({ systems: { dedup: figures } }), "1m").filter((t) => t.title === "Not sent twice").map((t) => plain(t.value + " | " + t.note));
  assert.deepEqual(tile({}), []);
  assert.deepEqual(tile({ dedup_changed_total: figure(0, 0), dedup_saved_bytes_total: figure(0, 0) }), ["0 B | what requests said again, since the start"]);
  assert.deepEqual(tile({ dedup_changed_total: figure(0, 2), dedup_messages_total: figure(0, 3), dedup_saved_bytes_total: figure(0, 4096, { "1m": { count: 1024 } }), dedup_saved_tokens_total: figure(0, 1077) }),
    ["4 KiB | what requests said again, since the start, 1 KiB in the last 1m; blocks: 4 KiB (about 1,077 tokens), requests 2, messages 3"]);
}

// Each kind of figure has its cells; of one that is not known what it has.
const cells = (f, s) => cellsOf("novel_bytes", f, s, "1m").filter(Boolean).map(plain);
assert.deepEqual(cells({ kind: "sketch" }, { value: 2048 }), ["2 KiB"]);
assert.deepEqual(cells({ kind: "ratio" }, { windows: {} }), []);
assert.deepEqual(cells({ kind: "histogram" }, { count: 3, windows: { "1m": { count: 1, p50: 1024 } } }), ["1", "1 KiB"]);
assert.deepEqual(cells({ kind: "counter" }, { total: 1 }), ["1 B"]);
assert.deepEqual(scaleOf({ log: true }, [{ values: [["a", 0.002], ["b", 3]] }]).ticks.map((v) => plain(seconds(v))), ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
assert.deepEqual(scaleOf({}, [{ values: [["a", 0]] }]).ticks, [0, 1]);

// Of nothing there is no graph; the history has its own names.
const shown = (pairs) => Object.fromEntries(pairs.filter(([, v]) => known(v)));
assert.deepEqual(shown(graphs[0].recent({ 'requests_total{status="2xx"}.rate': 10, 'requests_total{status="5xx"}.rate': 1, "requests_total.rate": 11 })), { ok: 10, failed: 1 });
assert.deepEqual(labelled({ 'n{k="a"}': 1, 'n{k="a"}.rate': 2, 'nn{k="b"}.rate': 3 }, "n", "k", ".rate"), [["a", 2]]);
assert.deepEqual(shown(perUpstreamRecent({ 'n{upstream="a"}': 1 }, "n", "open")), { open: 1 });
assert.deepEqual(shown(perUpstreamRecent({ 'n{upstream="a"}': 1, 'n{upstream="b"}': 2 }, "n", "open")), { "a open": 1, "b open": 2 });

// Where the page has no report of its own the gateway's points stand in.
{
  const view = Object.assign(Object.create(Graphs.prototype), { live: [{ t: 60e3, values: [] }, { t: 62e3, values: [] }, { t: 120e3, values: [] }] });
  view.history({ recent: { points: [10, 51, 60, 71.9, 80, 110, 111].map((s) => ({ time: new Date(s * 1e3).toISOString(), figures: { streams_active: s } })) } });
  assert.deepEqual(view.minutes().map((p) => p.t / 1e3), [10, 60, 62, 80, 110, 120]);
  view.history({});
  assert.deepEqual(view.minutes().map((p) => p.t / 1e3), [60, 62, 120]);
}

// Who had no traffic in the window is not in a table.
assert.deepEqual(busiest([{ labels: { m: "a" }, windows: { "1m": { count: 1 } } }, { labels: { m: "b" } }, { labels: { m: "c" }, windows: { "1m": { count: 2 }, "1h": { count: 9 } } }], "1m").map((s) => s.labels.m), ["c", "a"]);

for (const def of graphs) {
  assert.deepEqual(shown(def.now(new Report({}), undefined)), {}, def.title);
  assert.deepEqual(shown(def.past({})), {}, def.title);
}
assert.deepEqual(shown(graphs[0].past({ "requests_total.rate": 10, request_error_ratio: 0.1 })), { ok: 9, failed: 1 });
assert.deepEqual(shown(graphs[1].past({ "request_duration_seconds.p99": 2 })), { "Response P99": 2 });
assert.deepEqual(shown(graphs[2].past({ cache_hit_ratio: 0.5, novel_hit_ratio: 0.2, upstream_connection_reuse_ratio: 1 })), { Cache: 0.5, Novel: 0.2, "Upstream connection reuse": 1 });

// The stream is asked for again after every failure, later and later, until a key
// is needed.
{
  const waits = [], seen = [];
  const later = globalThis.setTimeout;
  globalThis.setTimeout = (f, ms) => {
    if (ms !== silence) { waits.push(ms); queueMicrotask(f); }
    return 0;
  };
  const down = () => { throw new TypeError("fetch failed"); };
  const replies = [down, down, down, down, down, down, down, () => new Response('{"error":{"message":"draining"}}', { status: 503, headers: { "Retry-After": "50" } }),
    () => new Response('data: {"n":1}\n\n: beat\n\ndata: {"n":2}\n\n'), () => new Response("data: {\n\n"),
    () => new Response('{"error":{"message":"no such key"}}', { status: 401 })];
  globalThis.fetch = async (path, options) => {
    assert.equal(path, "v1/performance/live");
    assert.equal(options.headers.Authorization, "Bearer sk");
    return replies.shift()();
  };
  adminKey = "sk";
  await live({ report: (r) => seen.push(r.n), state: (name, why) => seen.push(why || name), refused: (err) => seen.push(err.message) }, new AbortController().signal);
  globalThis.setTimeout = later;
  assert.deepEqual(seen, [...Array(7).fill("the gateway cannot be reached"), "draining", "live", 1, "live", 2, "the connection ended", "an update could not be read", "no such key"]);
  for (const [i, least] of [1, 2, 4, 8, 16, 30, 30, 50, 1, 2].entries()) {
    assert.ok(waits[i] >= least * 750 && waits[i] <= least * 1250, "wait " + i + ": " + waits[i]);
  }
}
