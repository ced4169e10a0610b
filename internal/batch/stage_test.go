package batch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/admit"
	"sluice/internal/llm"
)

// Calls that come while one of their kind is under way share the next, and each gets
// the reply that a call of its own would have had: its items in its order, counted
// from 0, and its part of the usage.
func TestShared(t *testing.T) {
	reverse := func(n int) []int {
		list := make([]int, n)
		for i := range list {
			list[i] = n - 1 - i
		}
		return list
	}
	for _, test := range []struct {
		name  string
		op    llm.Operation
		more  string
		items []string
		order func(int) []int
		bare  bool
	}{
		{"embeddings", llm.Embedding, `, "encoding_format":"float"`, []string{`"a"`, `["b", "c"]`, `[1,2,3]`, `[[4,5],"d\"]"]`, `"a"`}, nil, false},
		{"embeddings, other order", llm.Embedding, ``, []string{`"a"`, `["b", "c"]`, `["d"]`}, reverse, false},
		{"embeddings, no index", llm.Embedding, ``, []string{`"a"`, `["b", "c"]`, `["d"]`}, nil, true},
		{"completions", llm.Completion, `, "max_tokens":5`, []string{`"a"`, `["b", "c, which is longer"]`, `[1,2,3]`, `""`}, nil, false},
		{"completions, choices", llm.Completion, `, "n":3, "best_of":4, "logprobs":2`, []string{`"a"`, `["b", "c"]`, `[[1],[2,3]]`}, nil, false},
		{"completions, other order", llm.Completion, `, "n": 2`, []string{`"a"`, `["b", "c"]`, `"d"`}, reverse, false},
		{"moderations", llm.Passthrough, ``, []string{`"a"`, `["b", "c"]`, `"d"`}, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				f.up.order, f.up.bare = test.order, test.bare
				reqs := []*llm.Request{newRequest(test.op, `"first"`, test.more)}
				n := 0
				for _, items := range test.items {
					req := newRequest(test.op, items, test.more)
					reqs = append(reqs, req)
					all, _, _ := itemsOf(req.Body)
					n += len(all)
				}
				clients := f.all(t.Context(), reqs...)
				if got := sizes(f.up.asked()); !slices.Equal(got, []int{1, n}) {
					t.Fatalf("calls of %v items", got)
				}
				var sum telling
				ids := map[string]bool{}
				for i, c := range clients {
					wrong, v := c.check(reqs[i])
					if wrong != "" {
						t.Errorf("caller %d: %s", i, wrong)
					}
					batch, queued := n, 20*time.Millisecond-time.Duration(i)*time.Microsecond
					if i == 0 {
						batch, queued = 1, 0
					}
					if h := c.head; h.Batch != batch || h.Queued != queued || h.Attempts != 1 || h.Waited != 20*time.Millisecond {
						t.Errorf("caller %d: %+v", i, h)
					}
					if (c.head.Get("Etag") != "") != (i == 0) {
						t.Errorf("caller %d: a digest of another body: %v", i, c.head.Header)
					}
					if i == 0 {
						continue
					}
					if ids[v.ID] && v.ID != "" {
						t.Errorf("two have the id %s", v.ID)
					}
					ids[v.ID] = true
					u := v.Usage
					if test.op != llm.Passthrough && (u.Prompt < 1 || u.Total != u.Prompt+u.Completion || (u.Completion > 0) != (test.op == llm.Completion)) {
						t.Errorf("caller %d counts %+v", i, u)
					}
					sum.Usage.Prompt += u.Prompt
					sum.Usage.Completion += u.Completion
					sum.Usage.Total += u.Total
					sum.Usage.Details.Cached += u.Details.Cached
					sum.Usage.Cost += u.Cost
				}
				in, out := 0, 0
				for _, req := range reqs[1:] {
					items, n, _ := itemsOf(req.Body)
					for _, item := range items {
						in += tokensIn(item)
						for j := range n {
							out += len(choice(item, j))
						}
					}
				}
				u := sum.Usage
				switch {
				case test.op == llm.Embedding && (u.Prompt != in || u.Total != in),
					test.op == llm.Completion && (u.Prompt != in || u.Completion != out || u.Total != in+out || u.Details.Cached != in/2 || u.Cost < 0.1249999 || u.Cost > 0.1250001):
					t.Errorf("all count %+v, the upstream %d and %d", u, in, out)
				}
				f.Close()
			})
		})
	}
}

// Arrays of tokens are counted to each as they are.
func TestTokensAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		reqs := []*llm.Request{newRequest(llm.Embedding, `"first"`, ""), newRequest(llm.Embedding, `[1,2,3,4,5,6,7]`, ""), newRequest(llm.Embedding, `"abc"`, ""), newRequest(llm.Embedding, `[[1],[2,3]]`, "")}
		for i, c := range f.all(t.Context(), reqs...) {
			if _, v := c.check(reqs[i]); v.Usage.Prompt != []int{7, 7, 5, 3}[i] {
				t.Errorf("caller %d counts %+v", i, v.Usage)
			}
		}
		f.Close()
	})
}

// What differs in anything but its items, or asks for a call of its own, gets one.
func TestNotShared(t *testing.T) {
	plain := func() *llm.Request { return newRequest(llm.Embedding, `"a"`, "") }
	completion := func() *llm.Request { return newRequest(llm.Completion, `"a"`, "") }
	field := func(name, value string) func(*llm.Request) {
		return func(r *llm.Request) { r.Header = append(r.Header, llm.Field{Name: name, Value: value}) }
	}
	body := func(b string) func(*llm.Request) {
		return func(r *llm.Request) {
			r.Body, r.ModelSpan = []byte(b), llm.Span{Start: strings.Index(b, `"m"`), End: strings.Index(b, `"m"`) + 3}
		}
	}
	for _, test := range []struct {
		name   string
		make   func() *llm.Request
		change func(*llm.Request)
		both   bool // change both
		shared bool
	}{
		{"nothing", plain, func(*llm.Request) {}, false, true},
		{"tenant", plain, func(r *llm.Request) { r.Tenant = "b" }, false, false},
		{"query", plain, func(r *llm.Request) { r.RawQuery = "v=2" }, false, false},
		{"model", plain, func(r *llm.Request) { r.Model = "n"; r.Body[10] = 'n' }, false, false},
		{"dimensions", plain, body(`{"model":"m", "input": "a","dimensions":3}`), false, false},
		{"user", plain, body(`{"model":"m", "input": "a","user":"u"}`), false, false},
		{"the same user", plain, body(`{"model":"m", "input": "a","user":"u"}`), true, true},
		{"space", plain, body(`{"model":"m", "input": "a" }`), false, false},
		{"header", plain, field("Openai-Beta", "x"), false, false},
		{"the same header", plain, field("Openai-Beta", "x"), true, true},
		{"trace", plain, field("Traceparent", "x"), false, true},
		{"gateways", plain, field(llm.LoopField, "sluice-a"), false, false},
		{"the same gateways", plain, field(llm.LoopField, "sluice-a"), true, true},
		{"idempotency key", plain, field("Idempotency-Key", "x"), true, false},
		{"id", plain, func(r *llm.Request) { r.ID = "2" }, false, true},
		{"two inputs", plain, body(`{"model":"m", "input": "a", "input": "b"}`), true, false},
		{"escaped name", plain, body(`{"model":"m", "input": "a", "\u0069nput": "b"}`), true, false},
		{"no input", plain, body(`{"model":"m", "input": {"text":"a"}}`), true, false},
		{"no items", plain, body(`{"model":"m", "input": []}`), true, false},
		{"images", func() *llm.Request { return newRequest(llm.Passthrough, `"a"`, "") }, body(`{"model":"m", "input": [{"type":"image_url"}]}`), true, false},
		{"moderated tokens", func() *llm.Request { return newRequest(llm.Passthrough, `"a"`, "") }, body(`{"model":"m", "input": [1]}`), true, false},
		{"moderations", func() *llm.Request { return newRequest(llm.Passthrough, `"a"`, "") }, func(*llm.Request) {}, true, true},
		{"no JSON", func() *llm.Request { return newRequest(llm.Passthrough, `"a"`, "") }, body(`{"model":"m", "input": "a"`), true, false},
		{"another route", func() *llm.Request { return newRequest(llm.Passthrough, `"a"`, "") }, func(r *llm.Request) { r.Path = "/v1/rerank" }, true, false},
		{"chat", completion, func(r *llm.Request) { r.Op = llm.Chat }, true, false},
		{"stream", completion, func(r *llm.Request) { r.Stream = true }, true, false},
		{"seed", completion, body(`{"model":"m", "prompt": "a","seed":1}`), true, false},
		{"no seed", completion, body(`{"model":"m", "prompt": "a","seed":null}`), true, true},
		{"odd n", completion, body(`{"model":"m", "prompt": "a","n":1e0}`), true, false},
		{"much beside the items", completion, body(`{"model":"m", "prompt": "a","suffix":"` + strings.Repeat("x", 9000) + `"}`), true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			up := &service{takes: 20 * time.Millisecond, fail: func([]string) error { return nil }}
			b, err := New(Default(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			calls := 0
			stage := b.Stage(llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
				mu.Lock()
				calls++
				mu.Unlock()
				if up.Serve(ctx, req, out) != nil {
					time.Sleep(up.takes)
				}
				return nil
			}))
			begun := time.Now()
			var all sync.WaitGroup
			for i := range 3 {
				req := test.make()
				if i == 2 || test.both {
					test.change(req)
				}
				all.Go(func() {
					time.Sleep(time.Duration(i) * time.Microsecond)
					_ = stage.Serve(t.Context(), req, &client{})
				})
			}
			all.Wait()
			want := 2 // the first, and the others
			if !test.shared {
				want = 3
			}
			if calls != want || !test.shared && test.both && time.Since(begun) > 21*time.Millisecond {
				t.Errorf("%s: %d calls, want %d, after %v", test.name, calls, want, time.Since(begun))
			}
			b.Close()
		})
	}
}

// Of the scope that says so, keys share calls.
func TestGlobalScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Scope = ScopeGlobal })
		reqs := make([]*llm.Request, 4)
		for i := range reqs {
			reqs[i] = newRequest(llm.Embedding, fmt.Sprintf(`"%d"`, i), "")
			reqs[i].Tenant = fmt.Sprint(i)
		}
		for i, c := range f.all(t.Context(), reqs...) {
			if wrong, _ := c.check(reqs[i]); wrong != "" {
				t.Error(wrong)
			}
		}
		if n := sizes(f.up.asked()); !slices.Equal(n, []int{1, 3}) {
			t.Errorf("calls of %v", n)
		}
		f.Close()
	})
}

// No text of the upstream's that may quote one key's items reaches another key: neither
// that of an error nor what else stands in a reply. Those of one key have it.
func TestKeysAreNotQuoted(t *testing.T) {
	const secret = "alice's secret"
	fail := func(fault llm.Fault, status int) func([]string) error {
		return func(items []string) error {
			if !slices.Contains(items, `"`+secret+`"`) {
				return nil
			}
			text := "cannot process " + strings.Join(items, "")
			return &llm.Error{
				Fault: fault, Status: status, Type: text, Code: text, Message: text, Param: text, Upstream: "up", RetryAfter: time.Second, Attempts: 1,
				Reply: &llm.ErrorReply{Header: []llm.Field{{Name: "X-Why", Value: text}}, Body: []byte(text)},
			}
		}
	}
	for name, test := range map[string]struct {
		fail   func([]string) error
		status int // that Bob gets
	}{
		"error":             {fail(llm.Answered, 501), 501},
		"failed item":       {fail(llm.Answered, 500), 200},
		"refused elsewhere": {fail(llm.Answered, 404), 404},
		"told":              {fail(llm.Told, 502), 502},
		"bad item":          {fail(llm.Answered, 400), 200},
		"sound":             {nil, 200},
	} {
		for _, bob := range []string{"bob", "alice"} { // alice: one key
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, func(c *Config) { c.Scope = ScopeGlobal })
				f.up.fail = test.fail
				f.up.header = []llm.Field{{Name: "X-Warning", Value: secret}}
				f.up.spoil = func(items []string, b string) string {
					quote := fmt.Sprintf("%q", strings.Join(items, ""))
					return strings.TrimSuffix(b, "}") + fmt.Sprintf(`,"warning":%s,"w":"","inputs":[%s], "more" : {"of":{"text":%s}},"k":7}`, quote, quote, quote)
				}
				reqs := make([]*llm.Request, 3)
				for i, item := range []string{`"first"`, `"` + secret + `"`, `"mine"`} {
					reqs[i] = newRequest(llm.Embedding, item, "")
					reqs[i].Tenant = []string{"alice", "alice", bob}[i]
				}
				c := f.all(t.Context(), reqs...)[2]
				got := fmt.Sprintf("%s %+v", c.body, c.head)
				status := c.head.Status
				if c.err != nil {
					e := asError(t, c.err)
					status = e.Status
					if e.RetryAfter != time.Second || e.Upstream != "up" || e.Message == "" || e.Queued == 0 {
						t.Errorf("%s: %+v", name, e)
					}
					got = fmt.Sprintf("%+v %+v", *e, e.Reply)
				} else if wrong, _ := c.check(reqs[2]); wrong != "" || !strings.Contains(string(c.body), `"k":7`) {
					t.Errorf("%s: %s", name, wrong)
				}
				if alone := strings.HasSuffix(name, " item"); status != test.status || !alone && strings.Contains(got, secret) != (bob == "alice") {
					t.Errorf("%s: %s gets %d %s", name, bob, status, got)
				}
				if n := sizes(f.up.asked()); n[1] != 2 {
					t.Errorf("%s: calls of %v", name, n)
				}
				f.Close()
			})
		}
	}
}

// A key whose items are refused when they are together, and not alone, does not end
// batching for others.
func TestRefusedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.fail = func(items []string) error {
			if len(items) > 1 && strings.Contains(items[0], "alice") {
				return refusal()
			}
			return nil
		}
		round := func(tenant string) int {
			reqs := make([]*llm.Request, 5)
			for i := range reqs {
				reqs[i] = newRequest(llm.Embedding, fmt.Sprintf(`"%s %d"`, tenant, i), "")
				reqs[i].Tenant = tenant
			}
			for i, c := range f.all(t.Context(), reqs...) {
				if wrong, _ := c.check(reqs[i]); wrong != "" {
					t.Error(wrong)
				}
			}
			return slices.Max(sizes(f.up.asked()))
		}
		for range 4 {
			round("alice")
		}
		if a, b := round("alice"), round("bob"); a != 1 || b != 4 {
			t.Errorf("calls of %d items of the key whose calls are refused, of %d of the other", a, b)
		}
		f.Close()
	})
}

// An input at which the upstream fails fails its caller, and nobody else; where it fails
// at everything, two more calls find that out, and all have its error. Such failures do
// not end batching.
func TestFailingInput(t *testing.T) {
	for _, test := range []struct {
		name  string
		fails func(item string) bool
		most  int // calls of a round
	}{
		{"one", func(i string) bool { return i == `"3"` }, 2 + 6},
		{"all", func(string) bool { return true }, 2 + 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				f.up.fail = func(items []string) error {
					if items[0] != `"0"` && slices.ContainsFunc(items, test.fails) {
						return &llm.Error{Status: 500, Fault: llm.Answered, Message: "ouch", Attempts: 1, Waited: f.up.takes}
					}
					return nil
				}
				for range 5 {
					reqs := make([]*llm.Request, 9)
					for i := range reqs {
						reqs[i] = newRequest(llm.Embedding, fmt.Sprintf(`"%d"`, i), "")
					}
					for i, c := range f.all(t.Context(), reqs...) {
						if i > 0 && test.fails(fmt.Sprintf(`"%d"`, i)) {
							if e := asError(t, c.err); e.Status != 500 || e.Message != "ouch" || e.Attempts < 2 {
								t.Errorf("caller %d: %+v", i, e)
							}
						} else if wrong, _ := c.check(reqs[i]); wrong != "" {
							t.Errorf("caller %d: %s", i, wrong)
						}
					}
					if n := sizes(f.up.asked()); len(n) > test.most || n[1] != 8 {
						t.Errorf("calls of %v, more than %d", n, test.most)
					}
				}
				f.Close()
			})
		})
	}
}

// Bodies that are kept for callers are bounded by their bytes, whatever these are, and
// until the callers are answered.
func TestBodiesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1 << 20
		b, err := bounded(Default(), nil, most)
		if err != nil {
			t.Fatal(err)
		}
		f := &fixture{Batch: b, up: &service{takes: 20 * time.Millisecond}}
		f.stage = b.Stage(f.up)
		reqs := []*llm.Request{newRequest(llm.Embedding, `"first"`, "")}
		large := newRequest(llm.Embedding, `["a",`+strings.Repeat(" ", most*2/5)+`"b"]`, "")
		for range 4 {
			reqs = append(reqs, large)
		}
		begun := time.Now()
		var all sync.WaitGroup
		alone := 0
		var mu sync.Mutex
		for i, req := range reqs {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 8 * time.Millisecond) // the last while the shared call is under way
				c := &client{}
				c.err = f.stage.Serve(t.Context(), req, c)
				if wrong, _ := c.check(req); wrong != "" {
					t.Errorf("caller %d: %.100s", i, wrong)
				}
				if mu.Lock(); c.head.Batch == 2 && c.head.Queued == 0 {
					alone++
				}
				mu.Unlock()
			})
		}
		all.Wait()
		if n := sizes(f.up.asked()); alone != 2 || !slices.Equal(n, []int{1, 4, 2, 2}) {
			t.Errorf("after %v: %d were alone, calls of %v", time.Since(begun), alone, n)
		}
		f.Close()
	})
}

// Two chains share no call: each has upstreams of its own.
func TestChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		other := &service{takes: 20 * time.Millisecond}
		stages := []llm.Handler{f.stage, f.Stage(other)}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				req, c := newRequest(llm.Embedding, fmt.Sprintf(`"%d"`, i), ""), &client{}
				c.err = stages[i%2].Serve(t.Context(), req, c)
				if wrong, _ := c.check(req); wrong != "" {
					t.Error(wrong)
				}
			})
		}
		all.Wait()
		if a, b := sizes(f.up.asked()), sizes(other.asked()); !slices.Equal(a, []int{1, 3}) || !slices.Equal(b, a) {
			t.Errorf("calls of %v and %v", a, b)
		}
		f.Close()
	})
}

// A bad input fails its caller, with the upstream's own words, and nobody else.
func TestBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.up.fail = refuse(`"2"`)
		reqs := make([]*llm.Request, 6)
		for i := range reqs {
			reqs[i] = newRequest(llm.Embedding, fmt.Sprintf(`"%d"`, i), "")
		}
		for i, c := range f.all(t.Context(), reqs...) {
			wrong, _ := c.check(reqs[i])
			switch {
			case i == 2:
				if e := asError(t, c.err); e.Status != 400 || e.Message != "bad input" || e.Attempts < 3 || e.Queued == 0 || e.Waited < 60*time.Millisecond {
					t.Errorf("%+v", e)
				}
			case wrong != "":
				t.Errorf("caller %d: %s", i, wrong)
			case i > 0 && (c.head.Attempts < 2 || c.head.Waited < 40*time.Millisecond):
				t.Errorf("caller %d: %+v", i, c.head)
			}
		}
		f.Close()
	})
}

// What is no fault of an input is everybody's, and is not sent again: that is for
// routing.
func TestFailure(t *testing.T) {
	for _, failure := range []*llm.Error{
		{Status: 501, Fault: llm.Answered}, {Status: 503, Fault: llm.Answered}, {Status: 429, Fault: llm.Answered, RetryAfter: time.Second}, {Status: 404, Fault: llm.Answered},
		{Status: 502, Fault: llm.Cut}, {Status: 500, Fault: llm.Internal}, {Status: 504, Fault: llm.TimedOut}, {Status: 400, Fault: llm.Declined},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, nil)
			f.up.fail = func(items []string) error {
				if len(items) > 1 {
					return failure
				}
				return nil
			}
			reqs := make([]*llm.Request, 4)
			for i := range reqs {
				reqs[i] = newRequest(llm.Embedding, fmt.Sprintf(`"%d"`, i), "")
			}
			for i, c := range f.all(t.Context(), reqs...) {
				if i == 0 {
					continue
				}
				if e := asError(t, c.err); e.Status != failure.Status || e.RetryAfter != failure.RetryAfter || e.Queued == 0 || e == failure {
					t.Errorf("caller %d: %+v", i, e)
				}
			}
			if n := sizes(f.up.asked()); !slices.Equal(n, []int{1, 3}) {
				t.Errorf("%v: calls of %v", failure, n)
			}
			f.Close()
		})
	}
}

// A reply that does not answer every item is used for those whose it is, and the rest
// get one of their own; after that items go alone for a while.
func TestUnfitReplies(t *testing.T) {
	for name, test := range map[string]struct {
		op    llm.Operation
		spoil func(string) string
		calls []int
	}{
		"an element is missing": {llm.Embedding, func(b string) string {
			return strings.Replace(b, `{"object":"embedding", "index": 1, "embedding":["\"2\"",1.50]}, `, "", 1)
		}, []int{1, 3, 1}},
		"the last choice is missing": {llm.Completion, func(b string) string {
			at := strings.LastIndex(b, `, {"index"`)
			return b[:at] + "]}"
		}, []int{1, 3, 1}},
		"a result is missing": {llm.Passthrough, func(b string) string { return strings.Replace(b, `, {"flagged":false,"of":"\"3\""}`, "", 1) }, []int{1, 3, 1, 1, 1}},
		"an index stands twice": {llm.Embedding, func(b string) string {
			return strings.Replace(b, `"index": 1`, `"index": 2`, 1)
		}, []int{1, 3, 1, 1, 1}},
		"an index is too large": {llm.Embedding, func(b string) string { return strings.Replace(b, `"index": 2`, `"index": 3`, 1) }, []int{1, 3, 1, 1, 1}},
		"an index is none":      {llm.Embedding, func(b string) string { return strings.Replace(b, `"index": 2`, `"index": -1`, 1) }, []int{1, 3, 1, 1, 1}},
		"no list":               {llm.Embedding, func(b string) string { return strings.Replace(b, `"data"`, `"date"`, 1) }, []int{1, 3, 1, 1, 1}},
		"two lists":             {llm.Embedding, func(b string) string { return strings.Replace(b, `"data"`, `"data":[],"data"`, 1) }, []int{1, 3, 1, 1, 1}},
		"no JSON":               {llm.Embedding, func(b string) string { return b[:len(b)-1] }, []int{1, 3, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				f.up.spoil = func(items []string, b string) string {
					if items[0] == `"1"` && len(items) > 1 {
						spoilt := test.spoil(b)
						if spoilt == b {
							t.Errorf("%s was not spoilt", b)
						}
						return spoilt
					}
					return b
				}
				round := func(want []int) {
					t.Helper()
					reqs := make([]*llm.Request, 4)
					for i := range reqs {
						reqs[i] = newRequest(test.op, fmt.Sprintf(`"%d"`, i), "")
					}
					for i, c := range f.all(t.Context(), reqs...) {
						if wrong, _ := c.check(reqs[i]); wrong != "" {
							t.Errorf("caller %d: %s", i, wrong)
						}
					}
					if n := sizes(f.up.asked()); !slices.Equal(n, want) {
						t.Errorf("calls of %v, want %v", n, want)
					}
				}
				round(test.calls)
				f.up.spoil = nil
				round([]int{1, 1, 1, 1})
				f.Close()
			})
		})
	}
}

// A call that is more than the upstream takes becomes several, and its reply one.
func TestSplit(t *testing.T) {
	for _, op := range []llm.Operation{llm.Embedding, llm.Completion, llm.Passthrough} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, func(c *Config) { c.MaxBatchSize, c.MaxItems, c.MaxTokens = 2, 4, 1000 })
			items := make([]string, 11)
			for i := range items {
				items[i] = fmt.Sprintf(`"%d"`, i)
			}
			req := newRequest(op, "["+strings.Join(items, ",")+"]", "")
			c := f.all(t.Context(), req)[0]
			wrong, v := c.check(req)
			if wrong != "" {
				t.Error(wrong)
			}
			n := sizes(f.up.asked())
			slices.Sort(n)
			if !slices.Equal(n, []int{3, 4, 4}) || c.head.Batch != 4 || c.head.Attempts != 3 || c.head.Waited != 20*time.Millisecond {
				t.Errorf("calls of %v, %+v", n, c.head)
			}
			in := 0
			for _, item := range items {
				in += tokensIn(item)
			}
			if u := v.Usage; op != llm.Passthrough && (u.Prompt != in || u.Total != in+u.Completion || op == llm.Completion && (u.Cost < 0.374 || u.Cost > 0.376)) {
				t.Errorf("counts %+v", u)
			}
			// By tokens, of which one item may have more.
			req = newRequest(op, `["`+strings.Repeat("x", 6000)+`","b","`+strings.Repeat("y", 3000)+`","c"]`, "")
			c = f.all(t.Context(), req)[0]
			if wrong, _ := c.check(req); wrong != "" {
				t.Error(wrong)
			}
			if n = sizes(f.up.asked()); len(n) != 2 || n[0]+n[1] != 4 {
				t.Errorf("calls of %v", n)
			}
			// One that fails is the reply, and ends the others.
			f.up.fail = refuse(`"5"`)
			if c = f.all(t.Context(), newRequest(op, "["+strings.Join(items, ",")+"]", ""))[0]; asError(t, c.err).Status != 400 {
				t.Errorf("%+v", c)
			}
			// One that cannot be read has the call go as it is.
			f.up.asked()
			f.up.fail, f.up.spoil = nil, func(_ []string, b string) string { return strings.Replace(b, `[`, ` [`, 1) + " !" }
			c = f.all(t.Context(), newRequest(op, "["+strings.Join(items, ",")+"]", ""))[0]
			if n = sizes(f.up.asked()); c.err != nil || n[len(n)-1] != 11 || !strings.HasSuffix(string(c.body), "!") {
				t.Errorf("calls of %v, %v", n, c.err)
			}
			if f.split.Load() != 4 {
				t.Errorf("%d were split", f.split.Load())
			}
			f.Close()
		})
	}
}

// behind is a handler whose calls wait for their turn before they reach the next one,
// as in the queue of an upstream.
func behind(next llm.Handler, wait time.Duration) llm.Handler {
	return llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
		time.Sleep(wait)
		err := next.Serve(ctx, req, behindSink{out, wait})
		if e, ok := errors.AsType[*llm.Error](err); ok {
			more := *e
			more.Queued += wait
			return &more
		}
		return err
	})
}

type behindSink struct {
	llm.Sink
	wait time.Duration
}

func (s behindSink) Start(h *llm.Head) error {
	h.Queued += s.wait
	return s.Sink.Start(h)
}

// What a caller is told of its wait for a turn and of its wait for upstreams is, together,
// how long it took, however many calls that were.
func TestWaitsAddUp(t *testing.T) {
	const turn, takes = 3 * time.Second, time.Second
	items := func(n int) string { return `["x` + strings.Repeat(`","x`, n-1) + `"]` }
	split := func(c *Config) { c.MaxBatchSize, c.MaxItems = 2, 2 }
	for _, test := range []struct {
		name           string
		change         func(*Config)
		spoil          bool
		fail           func([]string) error
		items          []string
		of             int // whose reply it is
		queued, waited time.Duration
	}{
		{"split", split, false, nil, []string{items(3)}, 0, turn, takes},
		{"split, more than at once", split, false, nil, []string{items(2*splitAtOnce + 1)}, 0, 2 * turn, 2 * takes},
		{"split, and sent whole", split, true, nil, []string{items(3)}, 0, 2 * turn, 2 * takes},
		{"split, and refused", split, false, func(items []string) error {
			if len(items) == 1 {
				return &llm.Error{Status: 400, Fault: llm.Answered, Attempts: 1, Waited: takes}
			}
			return nil
		}, []string{items(2*splitAtOnce + 1)}, 0, 2 * turn, 2 * takes},
		{"shared", nil, false, nil, []string{`"a"`, `"b"`, `"c"`}, 1, 100*time.Millisecond + turn, takes},
		{"shared, and incomplete", nil, true, nil, []string{`"a"`, `"b"`, `"c"`}, 1, 100*time.Millisecond + 2*turn, 2 * takes},
		{"shared, and refused", nil, false, func(items []string) error {
			if len(items) > 1 {
				e := refusal()
				e.Waited = takes
				return e
			}
			return nil
		}, []string{`"a"`, `"b"`, `"c"`}, 1, 100*time.Millisecond + 2*turn, 2 * takes},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, test.change)
				f.up.takes, f.up.fail = takes, test.fail
				if test.spoil {
					f.up.spoil = func(items []string, b string) string {
						if len(test.items) == 1 && len(items) < 3 || len(test.items) > 1 && len(items) > 1 {
							return "{}"
						}
						return b
					}
				}
				f.stage = f.Stage(behind(f.up, turn))
				var all sync.WaitGroup
				for i, list := range test.items {
					all.Go(func() {
						req, c := newRequest(llm.Embedding, list, ""), &client{}
						begun := time.Now()
						err := f.stage.Serve(t.Context(), req, c)
						took := time.Since(begun)
						queued, waited := c.head.Queued, c.head.Waited
						if err != nil {
							e := asError(t, err)
							queued, waited = e.Queued, e.Waited
						}
						if i == test.of && (queued != test.queued || waited != test.waited || queued+waited != took) {
							t.Errorf("took %v, told that it waited %v for its turn and %v for the upstream, of %v and %v: %v", took, queued, waited, test.queued, test.waited, err)
						}
					})
					synctest.Wait()
				}
				all.Wait()
				f.Close()
			})
		})
	}
}

// A panic below ends its own call, and the next one waits for nothing.
func TestPanics(t *testing.T) {
	for _, test := range []struct {
		name, items string
		change      func(*Config)
	}{
		{"alone", `"a"`, nil},
		{"split", `["a","b","c","d","e"]`, func(c *Config) { c.MaxBatchSize, c.MaxItems = 2, 2 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, test.change)
				stage := f.Stage(llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
					if bytes.Contains(req.Body, []byte(`"a"`)) {
						panic("ouch")
					}
					return f.up.Serve(ctx, req, out)
				}))
				serve := func(items string) (fault any, err error) {
					defer func() { fault = recover() }()
					err = stage.Serve(t.Context(), newRequest(llm.Embedding, items, ""), &client{})
					return nil, err
				}
				// The panic of a call that is the caller's own is the caller's.
				if fault, err := serve(test.items); (fault == nil) == (err == nil) || !strings.Contains(fmt.Sprint(fault, err), "ouch") {
					t.Errorf("%v, %v", fault, err)
				}
				begun := time.Now()
				if fault, err := serve(`"b"`); fault != nil || err != nil || time.Since(begun) != f.up.takes {
					t.Errorf("after %v: %v, %v", time.Since(begun), fault, err)
				}
				f.Close()
			})
		})
	}
}

// A call is split whatever it has of items, up to as many as are looked into; and one
// whose replies are too large to be put together passes as it is.
func TestSplitLargeCalls(t *testing.T) {
	for _, test := range []struct {
		items, most int
		calls       int // 0 where it passes as it is
	}{
		{51, 50, 2}, {2048, 50, 41}, {2049, 50, 41}, {3000, 50, 60}, {5000, 2048, 3}, {maxInputs, 2048, 8}, {maxInputs + 1, 2048, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, func(c *Config) { c.MaxItems = test.most })
			req := newRequest(llm.Embedding, `["`+strings.Repeat(`x","`, test.items-1)+`y"]`, "")
			c := f.all(t.Context(), req)[0]
			if wrong, _ := c.check(req); wrong != "" {
				t.Errorf("%d items: %.200s", test.items, wrong)
			}
			n := sizes(f.up.asked())
			whole := test.calls == 0
			if whole && (!slices.Equal(n, []int{test.items}) || c.head.Batch != 0) || !whole && (len(n) != test.calls || slices.Max(n) != test.most || c.head.Batch != test.most) {
				t.Errorf("%d items: calls of %v, %d", test.items, n, c.head.Batch)
			}
			f.Close()
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.MaxBatchSize, c.MaxItems = 2, 4 })
		huge := strings.Repeat(" ", maxReply)
		f.up.spoil = func(items []string, b string) string {
			if len(items) == 1 { // the last piece
				return b + huge
			}
			return b
		}
		req := newRequest(llm.Embedding, `["a","b","c","d","e"]`, "")
		c := f.all(t.Context(), req)[0]
		if wrong, _ := c.check(req); wrong != "" || c.head.Attempts != 3 {
			t.Errorf("%.200s, %+v", wrong, c.head)
		}
		if n := sizes(f.up.asked()); len(n) != 3 || n[2] != 5 {
			t.Errorf("calls of %v", n)
		}
		f.Close()
	})
}

// A call of many items is a batch by itself and passes as it is, whatever is under way.
func TestLargeCallPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		many := `["` + strings.Repeat(`x","`, 11) + `y"]`
		begun := time.Now()
		long := `"` + strings.Repeat("x", bytesPerToken*f.cfg.MaxTokens) + `"`
		reqs := []*llm.Request{newRequest(llm.Embedding, `"a"`, ""), newRequest(llm.Embedding, many, ""), newRequest(llm.Embedding, many, ""), newRequest(llm.Embedding, long, "")}
		for i, c := range f.all(t.Context(), reqs...) {
			if wrong, _ := c.check(reqs[i]); wrong != "" || c.head.Batch != []int{1, 12, 12, 1}[i] {
				t.Errorf("%.100s, %+v", wrong, c.head)
			}
		}
		if took := time.Since(begun); took > 21*time.Millisecond {
			t.Errorf("after %v", took)
		}
		f.Close()
	})
}

// A caller that leaves takes its request with it; the call goes on for the others.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Microsecond)
				req, c := newRequest(llm.Embedding, fmt.Sprintf(`"%d"`, i), ""), &client{}
				copied := *req
				copied.Body = slices.Clone(req.Body)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				switch i {
				case 1: // whose request the shared call would be
					time.AfterFunc(25*time.Millisecond, cancel)
				case 2:
					time.AfterFunc(5*time.Millisecond, cancel)
				}
				c.err = f.stage.Serve(ctx, req, c)
				for j := range req.Body { // it is the caller's again
					req.Body[j] = 'X'
				}
				req.Model, req.Path = "", ""
				if i == 1 || i == 2 {
					if !errors.Is(c.err, context.Canceled) {
						t.Errorf("caller %d: %v", i, c.err)
					}
					return
				}
				if wrong, _ := c.check(&copied); wrong != "" {
					t.Errorf("caller %d: %s", i, wrong)
				}
			})
		}
		all.Wait()
		if n := sizes(f.up.asked()); !slices.Equal(n, []int{1, 3}) || f.up.cut != 0 {
			t.Errorf("calls of %v, %d were cancelled", n, f.up.cut)
		}
		f.Close()
	})
}

// A request that cannot be answered in time is told so before it is sent.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.all(t.Context(), newRequest(llm.Embedding, `"learn"`, ""))
		late := newRequest(llm.Embedding, `"late"`, "")
		late.Deadline = time.Now().Add(5 * time.Millisecond)
		clients := f.all(t.Context(), newRequest(llm.Embedding, `"first"`, ""), late)
		if e := asError(t, clients[1].err); e.Status != 504 || e.Code != "deadline_exceeded" {
			t.Errorf("%+v", e)
		}
		if calls := f.up.asked(); len(calls) != 2 {
			t.Errorf("%v", calls)
		}
		f.Close()
	})
}

// What is refused for a deadline below is no loss of a caller who
// shares the call and has longer. Who has less is told when its time is
// over.
func TestUrgencyOfAll(t *testing.T) {
	for _, test := range []struct {
		name      string
		deadlines []time.Duration // of callers, the first of whom the call is made after; 0 for none
		late      bool
	}{
		{"none for some", []time.Duration{time.Second, 0, 0}, false},
		{"a later one", []time.Duration{time.Second, 4 * time.Second, time.Second}, false},
		{"all too early", []time.Duration{time.Second, time.Second}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				cfg := admit.Default()
				cfg.MaxConcurrency, cfg.MinConcurrency = 1, 1
				limiter := admit.New(cfg, "up", 1)
				stage := f.Stage(limiter.Stage(f.up))
				var all sync.WaitGroup
				serve := func(h llm.Handler, op llm.Operation, p llm.Priority, deadline time.Duration) {
					all.Go(func() {
						req := newRequest(op, `"a"`, "")
						if req.Priority = p; deadline > 0 {
							req.Deadline = time.Now().Add(deadline)
						}
						err := h.Serve(t.Context(), req, &client{})
						late := deadline > 0 && deadline < 2*time.Second
						if e, _ := errors.AsType[*llm.Error](err); (err != nil) != late || e != nil && (e.Code != "deadline_exceeded" || time.Now().After(req.Deadline)) {
							t.Errorf("with a deadline in %v, %v after it: %v", deadline, time.Since(req.Deadline), err)
						}
					})
					synctest.Wait()
				}
				waits := func(d time.Duration) llm.Handler {
					return limiter.Stage(llm.HandlerFunc(func(context.Context, *llm.Request, llm.Sink) error {
						time.Sleep(d)
						return nil
					}))
				}
				serve(stage, llm.Embedding, 5, 0)
				serve(waits(2*time.Second), llm.Chat, 9, 0) // has the turn before the call that is shared
				for _, d := range test.deadlines {
					serve(stage, llm.Embedding, 5, d)
				}
				all.Wait()
				f.Close()
				if n := sizes(f.up.asked()); !test.late && !slices.Equal(n, []int{1, len(test.deadlines)}) {
					t.Errorf("calls of %v", n)
				}
			})
		})
	}
}

// TestProperties sends crowds of all kinds through services of all kinds: each call
// has its own reply, whole, and all that is counted adds up.
func TestProperties(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			f := newFixture(t, func(c *Config) {
				c.Strategy = []string{StrategyAdaptive, StrategySize, StrategyTime}[rnd.IntN(3)]
				c.MaxBatchSize = 1 + rnd.IntN(15)
				c.MaxItems = c.MaxBatchSize + rnd.IntN(10)
				c.MaxTokens = []int{0, 40}[rnd.IntN(2)]
			})
			if rnd.IntN(2) == 0 {
				f.up.order = func(n int) []int { return rand.New(rand.NewPCG(seed, uint64(n))).Perm(n) }
			}
			if seed%4 == 0 {
				f.up.order, f.up.bare = nil, true
			}
			op := []llm.Operation{llm.Embedding, llm.Completion, llm.Passthrough}[seed%3]
			if op == llm.Passthrough {
				f.up.order = nil
			}
			more := ""
			if op == llm.Completion {
				f.up.bare = false
				more = fmt.Sprintf(`,"n":%d`, 1+rnd.IntN(3))
			}
			var all sync.WaitGroup
			var mu sync.Mutex
			sum := 0
			for i := range 120 {
				items := make([]string, 1+rnd.IntN(4))
				for j := range items {
					items[j] = fmt.Sprintf(`"%d.%d %s"`, i, j, strings.Repeat("x", rnd.IntN(20)))
				}
				req, c := newRequest(op, "["+strings.Join(items, ",")+"]", more), &client{}
				after := time.Duration(rnd.IntN(200)) * time.Millisecond
				all.Go(func() {
					time.Sleep(after)
					c.err = f.stage.Serve(t.Context(), req, c)
					wrong, v := c.check(req)
					mu.Lock()
					defer mu.Unlock()
					sum += v.Usage.Total
					if wrong != "" || c.head.Queued > f.cfg.MaxWaitTime {
						t.Errorf("seed %d, caller %d: queued %v: %s", seed, i, c.head.Queued, wrong)
					}
				})
			}
			all.Wait()
			total := 0
			seen := map[string]bool{}
			for _, c := range f.up.asked() {
				_, n, _ := itemsOf([]byte(c.body))
				for _, item := range c.items {
					if seen[item] {
						t.Errorf("seed %d: %s was sent twice", seed, item)
					}
					seen[item] = true
					if op == llm.Passthrough {
						continue
					}
					total += tokensIn(item)
					for j := range n {
						if op == llm.Completion {
							total += len(choice(item, j))
						}
					}
				}
			}
			if sum != total {
				t.Errorf("seed %d: %d tokens are counted of %d", seed, sum, total)
			}
			f.Close()
		})
	}
}

// TestPartsEnd: where one part of a call fails the others end, and not as calls do whose
// client has left.
func TestPartsEnd(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, func(c *Config) { c.MaxBatchSize, c.MaxItems = 2, 2 })
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			var ended atomic.Int32
			f.stage = f.Stage(llm.HandlerFunc(func(ctx context.Context, req *llm.Request, _ llm.Sink) error {
				if items, _, err := itemsOf(req.Body); err != nil || len(items) == 1 && !leaves {
					return refusal()
				}
				<-ctx.Done()
				if left := errors.Is(context.Cause(ctx), context.Canceled); left != leaves {
					t.Errorf("leaves: %v; a part ended with %v", leaves, context.Cause(ctx))
				}
				ended.Add(1)
				return ctx.Err()
			}))
			if leaves {
				time.AfterFunc(time.Second, leave)
			}
			err := f.stage.Serve(ctx, newRequest(llm.Embedding, `["a","b","c","d","e"]`, ""), &client{})
			if want := map[bool]int32{false: 2, true: 3}[leaves]; ended.Load() != want || errors.Is(err, context.Canceled) != leaves {
				t.Errorf("leaves: %v; %d parts ended, want %d: %v", leaves, ended.Load(), want, err)
			}
		})
	}
}
