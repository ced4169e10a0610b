package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"sluice/internal/testkit"
)

// load has clients send requests for models until the test ends, ten a second each at
// most. Each is the body's model; every third asks for a stream.
func (in *instance) load(t *testing.T, clients int, models ...string) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				time.Sleep(100 * time.Millisecond)
				send(ctx, in, fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":"%d says hello %d"}]}`,
					models[i%len(models)], i%3 == 2, c, i/(2*len(models))))
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// send asks for a chat. What comes is not of interest.
func send(ctx context.Context, in *instance, body string) {
	req, err := http.NewRequestWithContext(ctx, "POST", in.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
}

// TestDashboard: under load the figures move, an alarm shows, and what clients
// name is never more than text, on a phone as on a wide screen.
func TestDashboard(t *testing.T) {
	t.Parallel()
	in := start(t, "perf: {alarms: [{name: many_errors, figure: request_error_ratio, each: operation, window: 1m, above: 10%, for: 0s, min_samples: 5, advice: Ask the operator.}]}")
	const hostile = `simulator/sim-chat?key=<img src=x onerror=document.title='owned'>`
	file := strings.Repeat(`a line of a file, which is there twice\n`, 30)
	if got := request(t, "POST", in.url+"/v1/chat/completions", `{"model":"simulator/sim-chat","messages":[{"role":"user","content":"`+file+`"},{"role":"assistant","content":"`+file+`"},{"role":"user","content":"Go on."}]}`, "X-Sluice-Dedup", "blocks"); got.status != 200 {
		t.Fatal(got)
	}
	in.load(t, 2, "simulator/sim-chat", hostile, "simulator/sim-chat?latency=20ms", "simulator/sim-chat?status=500")
	testkit.Until(t, "points of what happened before the page is opened", func() bool {
		time.Sleep(500 * time.Millisecond) // the report costs much
		return strings.Count(request(t, "GET", in.url+"/v1/performance", "").body, `"requests_total{status=\"2xx\"}.rate"`) > 1
	})
	p := visit(t, newBrowser(t), in)
	p.await("live", `document.querySelector("#live").innerText === "live"`)
	p.await("a graph", `document.querySelector("svg path")`)
	before := p.js(`(() => { const s = document.querySelector("svg"); s.focus(); s.dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
		const [h, m, sec] = document.querySelector(".when").innerText.match(/\d+/g).map(Number), opened = new Date(performance.timeOrigin);
		s.blur(); return String((((opened.getHours() - h) * 60 + opened.getMinutes() - m) * 60 + opened.getSeconds() - sec + 86400) % 86400 > 5); })()`)
	if before != "true" {
		t.Error("the graphs begin when the page is opened")
	}

	p.await("requests", `document.querySelector("#tiles").innerText.includes("in the last 1m")`)
	first := p.text("#tiles")
	p.await("figures that move", fmt.Sprintf(`document.querySelector("#tiles").innerText !== %q`, first))
	for _, want := range []string{"Requests", "In flight", "Failed", "Response time", "Gateway's own time", "of the response time is the gateway", "Cache hits", "Tokens saved", "Memory", "Not sent twice", "), requests 1, messages 1"} {
		if !strings.Contains(p.text("#tiles"), want) {
			t.Errorf("tiles lack %q: %s", want, p.text("#tiles"))
		}
	}
	p.await("the alarm", `document.querySelector("#faults").innerText.includes("Many errors")`)
	for _, where := range []string{"#faults", "#alarms", "#announcer"} {
		if got := p.js(fmt.Sprintf(`document.querySelector(%q).textContent`, where)); !strings.Contains(strings.ToLower(got), "the part of requests that failed with operation “chat” over the last minute is ") {
			t.Errorf("%s does not tell of it: %s", where, got)
		}
	}

	// The inspector, every system's panel, and what a client named.
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach((d) => { d.open = true; })`))
	p.await("the last requests", `document.querySelectorAll("#requests tbody tr").length > 20`)
	for _, where := range []string{"#requests", "#tables", "#systems"} {
		p.await("a hostile name in "+where, fmt.Sprintf(`document.querySelector(%q).innerText.includes("onerror=")`, where))
	}
	if n := p.js(`document.querySelectorAll("img").length + " " + document.title`); !strings.HasPrefix(n, "0 ") || strings.Contains(n, "owned") {
		t.Errorf("a name became an element: %s", n)
	}
	p.do(chromedp.SendKeys(chromedp.ID("filter"), "onerror"), chromedp.Click(chromedp.ID("errors")))
	p.await("errors only", `!document.querySelector("#requests").innerText.includes("onerror")`)
	p.do(chromedp.Click(chromedp.ID("errors")))
	p.await("those of a name", `((text) => text.includes("onerror") && !text.includes("latency="))(document.querySelector("#requests tbody").innerText)`)
	p.accessible()
	p.narrow()
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach((d) => { d.open = false; })`))
	p.look()
	p.clean("")

	// What is shown is not taken for what is.
	in.stop(t)
	p.await("the end", `document.querySelector("#live").innerText.startsWith("stale since") && document.querySelector("#trouble").innerText.includes("No new figures")`)
}

// narrow checks that a phone shows of each model what matters most, without being
// moved sideways.
func (p *browserPage) narrow() {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(390, 844))
	got := p.js(`(() => {
		const rows = [...document.querySelectorAll("#tables tbody tr")].filter((r) => r.checkVisibility());
		const bad = [];
		for (const row of rows) {
			for (const title of ["Requests", "P95", "Failed"]) {
				const cell = row.querySelector('td[data-title="' + title + '"] span'), box = cell.getBoundingClientRect();
				if (!cell.checkVisibility() || !cell.innerText || box.left < 0 || box.right > 390) bad.push(row.innerText + ": " + title);
			}
		}
		return rows.length > 3 ? bad.join("; ") : "only " + rows.length + " rows";
	})()`)
	if got != "" {
		p.t.Errorf("at 390 pixels these are not to be seen: %s", got)
	}
	p.shoot("dashboard-390-tables")
}

// look has the page shown on screens of all kinds.
func (p *browserPage) look() {
	p.t.Helper()
	for _, width := range []int64{360, 1600} {
		for _, scheme := range []string{"light", "dark"} {
			p.do(chromedp.EmulateViewport(width, 900))
			prefers := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
			if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, prefers); err != nil {
				p.t.Fatal(err)
			}
			p.await(scheme, fmt.Sprintf(`document.documentElement.dataset.theme === %q`, scheme))
			if wide := p.js(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide != "0" {
				p.t.Errorf("at %d the page is %s pixels too wide", width, wide)
			}
			if got := p.js(poorContrast); got != "" {
				p.t.Errorf("%s, hard to read: %s", scheme, got)
			}
			p.shoot(fmt.Sprintf("dashboard-%d-%s", width, scheme))
		}
	}
	p.do(chromedp.Click(chromedp.ID("theme")))
	p.await("the other theme", `document.documentElement.dataset.theme === "light" && document.querySelector("#theme").ariaPressed === "false"`)
}

// poorContrast lists the texts whose contrast with what is behind them is below
// 4.5, the AA of WCAG 2.2, section 1.4.3.
const poorContrast = `(() => {
	const part = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
	const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
	const rgba = (text) => text.match(/[\d.]+/g).map(Number);
	const bad = new Set();
	for (const e of document.querySelectorAll("body *")) {
		const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		if (!text || !e.checkVisibility() || e.closest(".hidden, .skip, script")) continue;
		const style = getComputedStyle(e);
		let behind = e;
		while (behind && rgba(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
		const pair = [light(rgba(e instanceof SVGElement ? style.fill : style.color)), light(rgba(getComputedStyle(behind || document.body).backgroundColor))].sort((a, b) => b - a);
		const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
		if (ratio < 4.5) bad.add(e.tagName + "." + e.getAttribute("class") + " " + ratio.toFixed(1));
	}
	return [...bad].join(", ");
})()`

// accessible checks what a screen reader and a keyboard need.
func (p *browserPage) accessible() {
	p.t.Helper()
	for what, expression := range map[string]string{
		"not one h1":                 `document.querySelectorAll("h1").length !== 1 || !document.documentElement.lang || !document.title`,
		"no landmarks":               `!document.querySelector("main") || !document.querySelector("header") || document.querySelectorAll("main section:not([aria-labelledby])").length > 0`,
		"headings that skip a level": `[...document.querySelectorAll("h1, h2, h3")].some((h, i, all) => i && Number(h.tagName[1]) - Number(all[i - 1].tagName[1]) > 1)`,
		"an input without a label":   `[...document.querySelectorAll("input")].some((i) => !i.labels.length)`,
		"a button without a name":    `[...document.querySelectorAll("button")].some((b) => !b.textContent.trim())`,
		"a graph without its numbers": `document.querySelectorAll("svg").length < 5 || [...document.querySelectorAll("svg")].some((s) => s.checkVisibility() &&
			(s.getAttribute("role") !== "img" || !/, now: .*\d|closed/.test(s.getAttribute("aria-label"))))`,
		"a table without a caption":    `[...document.querySelectorAll("table")].some((t) => !t.caption?.textContent || t.querySelector("thead th:not([scope])"))`,
		"a box that no key can scroll": `[...document.querySelectorAll(".scroll")].some((s) => s.tabIndex !== 0 || !s.ariaLabel)`,
		"the same id twice":            `new Set([...document.querySelectorAll("[id]")].map((e) => e.id)).size !== document.querySelectorAll("[id]").length`,
		"live regions beside alarms'":  `document.querySelectorAll("[aria-live]").length !== 1`,
	} {
		if got := p.js(`Boolean(` + expression + `)`); got != "false" {
			p.t.Errorf("the page has %s", what)
		}
	}
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("svg").focus()`), chromedp.KeyEvent(kb.ArrowLeft))
	p.await("a moment of a graph, which an arrow key reads", `document.querySelector(".when").innerText.startsWith("at ")`)
	// The first key leads past the header, and is to be seen.
	p.do(chromedp.Evaluate[chromedp.Void](`document.body.tabIndex = -1; document.body.focus()`), chromedp.KeyEvent("\t"))
	p.await("the link that the first tab leads to", `document.activeElement.className + " " + getComputedStyle(document.activeElement).outlineStyle === "skip solid"`)
}

// TestDashboardKey: with keys configured the page shows nothing before it has an
// administrator's, and says in the gateway's words what was wrong with another.
func TestDashboardKey(t *testing.T) {
	t.Parallel()
	in := start(t, fmt.Sprintf("server: {api_keys: [{name: a, hash: %q}, {name: boss, hash: %q, admin: true}]}", hashOf(t, "sk-a"), hashOf(t, "sk-boss")))
	p := visit(t, newBrowser(t), in)
	try := func(key, want string) {
		t.Helper()
		p.do(chromedp.SendKeys(chromedp.ID("key"), key+"\r"))
		p.await("the answer to "+key, fmt.Sprintf(`document.querySelector("#gate-why").innerText.includes(%q)`, want))
		if got := p.text("#content"); got != "" {
			t.Errorf("with %s it shows %s", key, got)
		}
	}
	p.await("the form", `document.activeElement?.id === "key" && document.querySelector("#gate-why").innerText.includes("API key")`)
	p.shoot("key")
	try("sk-wrong", "is not one that this gateway knows")
	try("sk-a", "administrator")
	try("ключ", "is no key")
	p.do(chromedp.SendKeys(chromedp.ID("key"), "sk-boss\r"))
	p.await("figures", `document.querySelector("#live").innerText === "live" && document.querySelector("#tiles").checkVisibility()`)
	if got := p.text("#gate"); got != "" {
		t.Errorf("the form stays: %s", got)
	}
	if got := p.js(`JSON.stringify(localStorage) + document.cookie + location.href`); strings.Contains(got, "sk-") {
		t.Errorf("the key is kept: %s", got)
	}
	p.do(chromedp.Reload())
	p.await("figures after a reload", `document.querySelector("#tiles").checkVisibility()`)
	p.do(chromedp.Click(chromedp.ID("forget")))
	p.await("the form again", `document.activeElement?.id === "key" && sessionStorage.length === 0`)
	p.clean("Failed to load resource: the server responded with a status of 40")
}

// TestDashboardFaults: who has never seen Sluice reads from the page alone which
// of three faults there is, and of no other.
func TestDashboardFaults(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	for name, fault := range map[string]struct {
		says   []string
		inject func(t *testing.T, in *instance, r *redisServer)
	}{
		"slow upstream": {[]string{"Slow upstream", "“simulator”", "The P95 of the time that requests wait for the reply at upstream “simulator” over the last minute is", "The model service answers slowly."}, func(t *testing.T, in *instance, _ *redisServer) {
			in.load(t, 8, "simulator/sim-chat?latency=1500ms")
		}},
		"dead Redis": {[]string{"Redis", "the cache that machines share", "Check that the server of cache.redis_url runs"}, func(t *testing.T, in *instance, r *redisServer) {
			r.end()
			in.load(t, 1, "simulator/sim-chat")
		}},
		"memory pressure": {[]string{"memory limit", "Lower cache.max_bytes"}, func(t *testing.T, in *instance, _ *redisServer) {
			in.hold(t, 10, 4<<20)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRedis(t)
			// A test's machine is slow at times, which is no fault of Redis.
			// The simulator is not in the process, or it would be what memory is first refused to.
			_, model := simulate(t)
			in := start(t, fmt.Sprintf("cache: {redis_url: %q, redis_timeout: 1s}\nupstreams: [{name: simulator, base_url: %q}]", r.url, model)+`
perf: {alarms: [{name: memory, figure: process_memory_used_ratio, window: 1m, above: 40%, for: 0s, min_samples: 1,
  advice: Lower cache.max_bytes.}, {name: slow_upstream, figure: upstream_wait_seconds, each: upstream, stat: p95, window: 1m, above: 1s, for: 0s, min_samples: 5,
  advice: The model service answers slowly. See its status page.}]}`, "GOMEMLIMIT=96MiB")
			in.l2up(t, "1")
			p := visit(t, browser, in)
			p.await("no fault", `document.querySelector("#well").checkVisibility() && document.querySelector("#state").innerText === "healthy"`)
			fault.inject(t, in, r)
			p.await("the fault", `document.querySelector("#faults li") && document.querySelector("#state").innerText === "degraded"`)
			got := p.text("#wrong")
			t.Log(got)
			p.shoot(strings.ReplaceAll(name, " ", "-"))
			for _, want := range fault.says {
				if !strings.Contains(got, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			for other, not := range map[string]string{"slow upstream": "upstream", "dead Redis": "Redis", "memory pressure": "memory limit"} {
				if other != name && strings.Contains(got, not) {
					t.Errorf("it also says %q", not)
				}
			}
			p.clean("")
		})
	}
}

// hold has n requests of so many bytes wait for their replies until the test
// ends.
func (in *instance) hold(t *testing.T, n, size int) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			send(ctx, in, fmt.Sprintf(`{"model":"simulator/sim-chat?latency=1h","messages":[{"role":"user","content":"%d%s"}]}`, i, strings.Repeat("x", size)))
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
}
