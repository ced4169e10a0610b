// The figures of first interest. A tile whose figure is missing is not there.

function tilesOf(r, w) {
  const time = r.summary(w, "request_duration_seconds");
  const overhead = r.summary(w, "request_overhead_seconds");
  const share = time?.mean > 0 && known(overhead?.mean) ? Math.min(1, overhead.mean / time.mean) : undefined;
  const saved = r.total("tokens_saved_total");
  const lately = r.counted("requests_total", {}, w);
  const failed = r.ratio("request_error_ratio", {}, w);
  const used = r.gauge("process_memory_used_ratio");
  const limit = r.gauge("process_memory_limit_bytes");
  const pair = (d) => (d && known(d.p50) ? seconds(d.p50) + nbsp + "/ " + seconds(d.p99) : "");
  return [
    { title: "Requests", value: perSecond(r.rate("requests_total", {}, w)), note: known(lately) ? count(lately) + " in the last " + w : "" },
    { title: "In flight", value: count(r.gauge("requests_in_flight")), note: "being answered now" },
    { title: "Failed", value: percent(failed), note: "status 500 and above, or broken off", mark: alarming(failed) ? "bad" : "" },
    { title: "Response time", value: pair(time), note: (known(time?.p95) ? "P95 " + seconds(time.p95) + "; " : "") + "P50 / P99: half of the requests, and 99 of 100, took no longer" },
    { title: "Gateway's own time", value: pair(overhead), note: "P50 / P99" +
      (known(share) ? "; " + percent(share) + " of the response time is the gateway, the rest is the model service" : ", added by the gateway") },
    { title: "Cache hits", value: percent(r.ratio("cache_hit_ratio", {}, w)), note: "hits of hits and misses" },
    { title: "Tokens saved", value: count(saved), note: savedNote(r, w) },
    { title: "Not sent twice", value: bytes(r.total("dedup_saved_bytes_total")), note: dedupNote(r, w) },
    { title: "Memory", value: bytes(r.gauge("process_resident_bytes")), mark: used > 0.9 ? "bad" : "",
      note: known(used) && known(limit) ? "in RAM; the limit, " + bytes(limit) + ", is " + percent(used) + " used" : "in RAM" },
  ].filter((t) => t.value !== "");
}

function savedNote(r, w) {
  const lately = r.counted("tokens_saved_total", {}, w);
  return "answered from memory since the start" + (known(lately) ? "; " + count(lately) + " in the last " + w : "");
}

// dedupNote tells of each mode of the de-duplication that made a request shorter.
function dedupNote(r, w) {
  const modes = [];
  for (const mode of r.values("dedup_changed_total", "mode")) {
    const total = (name) => r.total(name, { mode });
    if (!total("dedup_changed_total")) continue;
    modes.push(mode + ": " + bytes(total("dedup_saved_bytes_total")) + " (about " + count(total("dedup_saved_tokens_total")) + " tokens), requests " +
      count(total("dedup_changed_total")) + ", messages " + count(total("dedup_messages_total")));
  }
  const lately = r.counted("dedup_saved_bytes_total", {}, w);
  return ["what requests said again, since the start" + (known(lately) ? ", " + bytes(lately) + " in the last " + w : ""), ...modes].join("; ");
}

function showTiles(report, window) {
  keyed(byId("tiles"), tilesOf(report, window), (t) => t.title, () => el("div", { class: "card tile" }, el("dt"), el("dd", { class: "big" }), el("dd", { class: "quiet" })), (div, t) => {
    say(div.children[0], t.title);
    say(div.children[1], t.value);
    say(div.children[2], t.note);
    set(div, "data-mark", t.mark || "");
  });
}
