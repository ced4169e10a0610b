package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"

	"sluice/internal/testkit"
)

// attempts are what a page can have its browser send to another site without
// asking first. AT stands for the gateway's address.
const attempts = `<!doctype html><title>page</title><img src="AT/v1/files/x/content"><iframe name="frame"></iframe>
<form method="post" action="AT/v1/images/generations" enctype="text/plain" target="frame"><input name='{"model":"m","prompt":"' value='"}'></form><script>
const at = "AT", body = JSON.stringify({model: "m", messages: []}), chat = at + "/v1/chat/completions", seen = [];
const note = async (p) => { try { const r = await p; seen.push(r.type + " " + r.status + " " + await r.text()); } catch (e) { seen.push("failed"); } };
(async () => {
  await note(fetch(chat, {method: "POST", mode: "no-cors", body: new Blob([body])}));
  await note(fetch(chat, {method: "POST", mode: "no-cors", body}));
  await note(fetch(at + "/v1/batches/b/cancel", {method: "POST", mode: "no-cors"}));
  await note(fetch(at + "/v1/models"));
  await note(fetch(at + "/metrics"));
  await note(fetch(chat, {method: "POST", headers: {"Content-Type": "application/json", Authorization: "Bearer sk-page"}, body}));
  navigator.sendBeacon(chat, new Blob([body]));
  document.forms[0].submit();
  window.seen = seen;
})();
</script>`

// TestPagesOfOthers: whatever a page of another site has a browser on this machine
// send, no upstream sees it, also where the page's name was made to lead to the
// gateway; one that is named, and has a key, is served.
func TestPagesOfOthers(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	model := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/models" {
			reached.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		fmt.Fprint(w, `{"object":"list","data":[{"id":"m","object":"model"}],"answer":"read"}`)
	}))
	env := []string{"OPENAI_API_KEY=sk-upstream", "OPENAI_BASE_URL=" + model + "/v1"}
	pages := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, strings.ReplaceAll(attempts, "AT", r.URL.Query().Get("at")))
	}))
	port := func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return u.Port()
	}
	browser := newBrowser(t)
	open := func(address string) *browserPage {
		p := &browserPage{t: t}
		ctx, end := chromedp.NewContext(browser)
		t.Cleanup(end)
		p.ctx = ctx
		p.do(chromedp.Navigate(address))
		return p
	}
	in := start(t, "", env...)
	refused := func() int { return strings.Count(in.log.String(), "code=web_page_refused") }
	for _, site := range []string{"http://127.0.0.1:", "http://localhost:", "http://evil.test:"} { // same-site, cross-site, cross-site
		before := refused()
		p := open(site + port(pages) + "/?at=" + in.url)
		p.await("the page has tried", "window.seen")
		// Seven: /metrics, and what a browser asks first, are not in the log.
		testkit.Until(t, site+": all were refused", func() bool { return refused()-before == 7 })
		if seen := p.js("window.seen.join('|')"); strings.Contains(seen, "read") || strings.Count(seen, "opaque 0 ") != 3 || strings.Count(seen, "failed") != 3 {
			t.Errorf("%s saw %s", site, seen)
		}
	}
	if p := open("http://evil.test:" + port(in.url) + "/v1/models"); !strings.Contains(p.text("body"), "host_refused") {
		t.Errorf("under another name: %s", p.text("body"))
	}
	if p := open(in.url + "/v1/models"); !strings.Contains(p.text("body"), `"object"`) {
		t.Errorf("typed: %s", p.text("body"))
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("%d requests of pages reached the upstream", n)
	}

	named := start(t, fmt.Sprintf("server: {cors_origins: [%q], api_keys: [{name: a, hash: %q}]}", "http://localhost:"+port(pages), hashOf(t, "sk-page")), env...)
	p := open("http://localhost:" + port(pages) + "/?at=" + named.url)
	p.await("the page has tried", "window.seen")
	if seen := p.js("window.seen[5]"); !strings.HasPrefix(seen, "cors 200 ") || !strings.Contains(seen, "read") {
		t.Errorf("with a key: %s", p.js("window.seen.join('|')"))
	}
	if seen := p.js("window.seen[3]"); !strings.HasPrefix(seen, "cors 401 ") {
		t.Errorf("without a key: %s", seen)
	}
	p = open("http://evil.test:" + port(pages) + "/?at=" + named.url)
	p.await("the page has tried", "window.seen")
	if seen := p.js("window.seen[5]"); seen != "failed" {
		t.Errorf("a page that is not named: %s", seen)
	}
}
