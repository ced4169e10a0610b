package front

import (
	"context"
	"slices"
	"testing"
	"time"

	"sluice/internal/front/nethttp"
	"sluice/internal/llm"
)

func TestCachePolicy(t *testing.T) {
	age := func(d time.Duration) llm.CachePolicy { return llm.CachePolicy{HasMaxAge: true, MaxAge: d} }
	stale := func(d time.Duration) llm.CachePolicy { return llm.CachePolicy{MaxStale: d} }
	for _, c := range []struct {
		lines []string
		want  llm.CachePolicy
	}{
		{nil, llm.CachePolicy{}},
		{[]string{""}, llm.CachePolicy{}},
		{[]string{" ,, ,"}, llm.CachePolicy{}},
		{[]string{"no-store"}, llm.CachePolicy{NoStore: true}},
		{[]string{"No-Cache"}, llm.CachePolicy{NoCache: true}},
		{[]string{`no-cache="X-A, X-B"`}, llm.CachePolicy{NoCache: true}},
		{[]string{"\tonly-if-cached ,no-store"}, llm.CachePolicy{OnlyIfCached: true, NoStore: true}},
		{[]string{"no-store", "no-cache"}, llm.CachePolicy{NoStore: true, NoCache: true}},
		{[]string{"nostore, no-store2, public, max-age-x=1"}, llm.CachePolicy{}},

		{[]string{"max-age=60"}, age(time.Minute)},
		{[]string{"MAX-AGE=0"}, age(0)},
		{[]string{"max-age = 60 , x"}, age(time.Minute)},
		{[]string{`max-age="60"`}, age(time.Minute)},
		{[]string{`max-age="6\0"`}, age(time.Minute)},
		{[]string{"max-age"}, age(0)},
		{[]string{"max-age="}, age(0)},
		{[]string{`max-age=""`}, age(0)},
		{[]string{`max-age="`}, age(0)},
		{[]string{`max-age="60`}, age(0)},
		{[]string{`max-age="60"1`}, age(0)},
		{[]string{`max-age="6\\0"`}, age(0)},
		{[]string{"max-age=-1"}, age(0)},
		{[]string{"max-age=1.5"}, age(0)},
		{[]string{"max-age=6 0"}, age(0)},
		{[]string{"max-age=2147483647"}, age((1<<31 - 1) * time.Second)},
		{[]string{"max-age=2147483649"}, age(maxDelta)},
		{[]string{"max-age=99999999999999999999999999"}, age(maxDelta)},
		{[]string{"max-age=99999999999999999999999999x"}, age(0)},
		{[]string{"max-age=60, max-age=30"}, age(30 * time.Second)},
		{[]string{"max-age=30", "max-age=60"}, age(30 * time.Second)},

		{[]string{"max-stale"}, stale(llm.AnyStale)},
		{[]string{"max-stale=10"}, stale(10 * time.Second)},
		{[]string{"max-stale=x"}, llm.CachePolicy{}},
		{[]string{"max-stale="}, llm.CachePolicy{}},
		{[]string{"max-stale, max-stale=10"}, stale(10 * time.Second)},
		{[]string{"max-stale=0, max-stale"}, llm.CachePolicy{}},

		{[]string{"min-fresh=10"}, llm.CachePolicy{MinFresh: 10 * time.Second}},
		{[]string{"min-fresh=10, min-fresh=20, min-fresh=5"}, llm.CachePolicy{MinFresh: 20 * time.Second}},
		{[]string{"min-fresh=soon"}, llm.CachePolicy{MinFresh: maxDelta}},

		{[]string{`x="a, no-store", no-cache`}, llm.CachePolicy{NoCache: true}},
		{[]string{`x="a\", no-store", no-cache`}, llm.CachePolicy{NoCache: true}},
		{[]string{`x="a, no-store`}, llm.CachePolicy{NoStore: true}},
		{[]string{`x=a", no-store, y="`}, llm.CachePolicy{NoStore: true}},
	} {
		if got := cachePolicy(nethttp.Header{"Cache-Control": c.lines}); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.lines, got, c.want)
		}
	}
}

func TestPragma(t *testing.T) {
	for _, c := range []struct {
		pragma, control string
		want            llm.CachePolicy
	}{
		{"no-cache", "", llm.CachePolicy{NoCache: true}},
		{"x, NO-CACHE", "", llm.CachePolicy{NoCache: true}},
		{"no-store, max-age=1", "", llm.CachePolicy{}},
		{"no-cache", "no-store", llm.CachePolicy{NoStore: true}},
	} {
		h := nethttp.Header{"Pragma": {c.pragma}}
		if c.control != "" {
			h["Cache-Control"] = []string{c.control}
		}
		if got := cachePolicy(h); got != c.want {
			t.Errorf("%q, %q: %+v, want %+v", c.pragma, c.control, got, c.want)
		}
	}
}

// TestPolicyOfRequest: every operation's handler is told, and no upstream.
func TestPolicyOfRequest(t *testing.T) {
	for _, e := range engines {
		var got llm.Request
		s := start(t, func(_ context.Context, req *llm.Request, out llm.Sink) error {
			got = *req
			got.Header = slices.Clone(req.Header)
			return sendUnary(out, `{}`)
		})
		client := e.client(t, s)
		for _, c := range []struct{ method, path, body string }{{"POST", chatPath, chatBody}, {"GET", "/v1/models", ""}, {"POST", "/v1/moderations", chatBody}} {
			req := newRequest(t, t.Context(), c.method, s.url(c.path), c.body)
			req.Header["Cache-Control"] = []string{"max-age=9", "min-fresh=2"}
			do(t, client, req)
			if got.Cache != (llm.CachePolicy{HasMaxAge: true, MaxAge: 9 * time.Second, MinFresh: 2 * time.Second}) || got.Get("Cache-Control") != "" {
				t.Errorf("%s %s: %+v, forwarded %v", e.name, c.path, got.Cache, got.Header)
			}
		}
		req := newRequest(t, t.Context(), "POST", s.url(chatPath), chatBody)
		req.Header.Set("Pragma", "no-cache")
		do(t, client, req)
		if got.Cache != (llm.CachePolicy{NoCache: true}) || got.Get("Pragma") != "" {
			t.Errorf("%s: %+v, forwarded %v", e.name, got.Cache, got.Header)
		}
	}
}

// FuzzCachePolicy: a line never takes back what another asks for, wherever it
// stands, and hides nothing that follows it.
func FuzzCachePolicy(f *testing.F) {
	f.Add("no-store, max-age=5", `x="a, b", min-fresh=3`)
	f.Add(`max-stale="1`, `max-stale`)
	f.Add("max-age=99999999999", `no-cache="\",`)
	f.Fuzz(func(t *testing.T, a, b string) {
		one := cachePolicy(nethttp.Header{"Cache-Control": {a}})
		both := cachePolicy(nethttp.Header{"Cache-Control": {a, b}})
		if turned := cachePolicy(nethttp.Header{"Cache-Control": {b, a}}); turned != both {
			t.Errorf("%+v or %+v by the order of the lines", both, turned)
		}
		if one.NoStore && !both.NoStore || one.NoCache && !both.NoCache || one.OnlyIfCached && !both.OnlyIfCached ||
			one.HasMaxAge && (!both.HasMaxAge || both.MaxAge > one.MaxAge) || one.MaxStale > 0 && both.MaxStale > one.MaxStale || both.MinFresh < one.MinFresh {
			t.Errorf("%+v became %+v", one, both)
		}
		if both.MaxAge < 0 || both.MaxAge > maxDelta || both.MinFresh < 0 || both.MinFresh > maxDelta ||
			both.MaxStale < 0 || both.MaxStale > maxDelta && both.MaxStale != llm.AnyStale {
			t.Errorf("out of range: %+v", both)
		}
		if !cachePolicy(nethttp.Header{"Cache-Control": {a + ", no-store"}}).NoStore {
			t.Errorf("%q hides no-store", a)
		}
	})
}

func BenchmarkCachePolicy(b *testing.B) {
	h := nethttp.Header{"Cache-Control": {`max-age=60, max-stale="30"`}}
	b.ReportAllocs()
	for b.Loop() {
		if !cachePolicy(h).HasMaxAge {
			b.Fatal("not read")
		}
	}
}
