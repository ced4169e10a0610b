package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"sluice/internal/llm"
	"sluice/internal/memory"
	"sluice/internal/monotonic"
	"sluice/internal/spool"
)

func streamed(req *llm.Request) *llm.Request { req.Stream = true; return req }

// Only what cannot have been processed, or what the upstream said was not, is
// sent again.
func TestWhatIsRepeated(t *testing.T) {
	get := func(req *llm.Request) *llm.Request { req.Op, req.Method = llm.Passthrough, "GET"; return req }
	same := func(req *llm.Request) *llm.Request { return req }
	once := func(req *llm.Request) *llm.Request {
		req.BodyReader = strings.NewReader("body")
		return req
	}
	for _, c := range []struct {
		name  string
		fail  func() error
		as    func(*llm.Request) *llm.Request
		calls int
	}{
		{"connect error", refused, same, 3},
		{"429", status(429), same, 3}, {"502", status(502), same, 3}, {"503", status(503), same, 3}, {"504", status(504), same, 3},
		{"400", status(400), same, 1}, {"401", status(401), same, 1}, {"404", status(404), same, 1},
		{"500", status(500), same, 1}, {"501", status(501), same, 1}, {"529", status(529), same, 1},
		{"cut", transport(502, codeCut, false), same, 1},
		{"cut stream", transport(502, codeCut, false), streamed, 1},
		{"malformed stream", transport(502, codeBadReply, false), streamed, 1},
		{"stream with a huge event", transport(502, "upstream_event_too_large", false), streamed, 1},
		{"empty stream", transport(502, "upstream_empty", false), streamed, 1},
		{"redirected stream", transport(502, "upstream_redirect", false), streamed, 1},
		{"stream whose first event is an error", inStream(500), streamed, 1},
		{"stream whose first event is a limit", inStream(429), streamed, 1},
		{"stream whose first event says what is wrong", inStream(400), streamed, 1},
		{"refused stream", refused, streamed, 3},
		{"502 for a stream", status(502), streamed, 3},
		{"500 for a stream", status(500), streamed, 1},
		{"502 that is another protocol's", settled(llm.Answered, 502), same, 1},
		{"502 that is another protocol's for a stream", settled(llm.Answered, 502), streamed, 1},
		{"stream whose end is another protocol's 503", settled(llm.Told, 503), streamed, 1},
		{"read with a status", status(500), get, 1},
		{"cut read", transport(502, codeCut, false), get, 3},
		{"malformed", transport(502, codeBadReply, false), same, 1},
		{"refused stream of HTTP/2", transport(502, "upstream_refused", true), same, 3},
		// It has waited long enough for this upstream.
		{"stall", transport(504, codeTimeout, false), same, 1},
		{"stalled stream", transport(504, codeTimeout, false), streamed, 1},
		{"stalled read", transport(504, codeTimeout, false), get, 1},
		{"stalled connect", transport(504, codeTimeout, true), same, 1},
		{"no free descriptor", lacks, same, 3},
		{"no free descriptor for a stream", lacks, streamed, 3},
		{"no free connection", transport(503, codeBusy, true), same, 1},
		{"reconfigured", transport(503, codeClosed, true), same, 1},
		{"foreign error", func() error { return io.ErrUnexpectedEOF }, same, 1},
		{"body not touched", refused, once, 3},
		// What the upstream itself says under our names is a reply.
		{"timeout in a reply", func() error {
			e := status(504)().(*llm.Error)
			e.Code = codeTimeout
			return e
		}, same, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &fake{name: "a", serve: always(c.fail)}
			r := serving(t, Default(), a)
			err := r.Serve(t.Context(), c.as(chat("m")), &recorder{})
			if a.count() != c.calls || err == nil || err.Error() != c.fail().Error() {
				t.Errorf("%s: %d calls, want %d, %v", c.name, a.count(), c.calls, err)
			}
			// Another upstream is asked in the same cases, and where this one
			// must not be asked twice.
			a, b := &fake{name: "a", serve: always(c.fail)}, &fake{name: "b"}
			r = serving(t, Default(), a, b)
			over := c.calls > 1 || slices.Contains([]string{
				"cut stream", "malformed stream", "stream with a huge event", "empty stream", "redirected stream",
				"stream whose first event is an error", "stream whose first event is a limit",
				"stalled stream", "stalled read", "stalled connect", "no free connection", "reconfigured",
			}, c.name)
			err = r.Serve(t.Context(), c.as(chat("m")), &recorder{})
			if (err == nil) != over || a.count() != 1 || b.count() == 1 != over {
				t.Errorf("%s: calls %d, %d, %v", c.name, a.count(), b.count(), err)
			}
		})
	}
}

// settled is a status of another protocol's, of which the HTTP status is no refusal.
func settled(f llm.Fault, code int) func() error {
	return func() error { return &llm.Error{Fault: f, Status: code, Final: true, Message: "it ended"} }
}

// A streamed call that an upstream may have acted on goes to one other upstream
// or fallback, never to the same one again, and the error says how often it was
// sent.
func TestStreamGoesElsewhereOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := transport(502, codeCut, false)
		for _, c := range []struct {
			name  string
			fail  [3]func() error
			calls [3]int
			want  string
		}{
			{"all cut", [3]func() error{cut, cut, cut}, [3]int{1, 1, 0}, "two upstreams may have acted on it"},
			{"the second cannot be reached", [3]func() error{cut, refused, nil}, [3]int{1, 1, 1}, ""},
			{"only the first can be reached", [3]func() error{cut, refused, refused}, [3]int{1, 1, 1}, "sent 3 times, and one upstream may"},
			{"the second answers", [3]func() error{cut, status(400), nil}, [3]int{1, 1, 0}, "status 400"},
		} {
			fakes := make([]*fake, 3)
			for i := range fakes {
				fakes[i] = &fake{name: string(rune('a' + i))}
				if c.fail[i] != nil {
					fakes[i].serve = always(c.fail[i])
				}
			}
			cfg := Default()
			cfg.Fallbacks = map[string][]string{"m": {"b/x", "c/x"}}
			r := setupStatic(t, cfg, map[string][]string{"a": {"m"}, "b": {"x"}, "c": {"x"}}, fakes...)
			err := r.Serve(t.Context(), streamed(chat("m")), &recorder{})
			got := ""
			if e, ok := errors.AsType[*llm.Error](err); ok {
				got = e.Message
				if sent := c.calls[0] + c.calls[1] + c.calls[2]; e.Attempts != sent {
					t.Errorf("%s: %d attempts", c.name, e.Attempts)
				}
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%s: got %q", c.name, got)
			}
			for i, f := range fakes {
				if f.count() != c.calls[i] {
					t.Errorf("%s: %s was asked %d times, want %d", c.name, f.name, f.count(), c.calls[i])
				}
			}
		}
	})
}

func TestTouchedBodyIsNotRepeated(t *testing.T) {
	a := &fake{name: "a", serve: func(_ context.Context, _ int, req *llm.Request, _ llm.Sink) error {
		if n, err := req.BodyReader.Read(make([]byte, 1)); n != 1 || err != nil {
			return fmt.Errorf("read %d bytes: %w", n, err)
		}
		return refused()
	}}
	r := serving(t, Default(), a, &fake{name: "b"})
	req := chat("m")
	req.BodyReader = strings.NewReader("body")
	is(t, "reply", ask(t, r, req), "502 upstream_unreachable")
	if a.count() != 1 {
		t.Errorf("%d calls", a.count())
	}
}

// A body that can be read once is sent again from its beginning where it was kept: by
// the rules that hold for any other, and never where it is not to be kept.
func TestKeptBodyIsRepeated(t *testing.T) {
	const body = "the whole body"
	for name, c := range map[string]struct {
		fail   func() error
		change func(*Config, *llm.Request)
		calls  int // that a gets; b answers, where there is more than one
		keeps  bool
	}{
		"unreachable":    {refused, nil, 1, true},
		"503":            {status(503), nil, 1, true},
		"400":            {status(400), nil, 1, true},
		"500":            {status(500), nil, 1, true},
		"cut":            {transport(502, codeCut, false), nil, 1, true},
		"no other":       {status(503), func(cfg *Config, req *llm.Request) { cfg.Retry.MaxAttempts = 1; req.Model = "x" }, 1, false},
		"the same again": {status(503), func(_ *Config, req *llm.Request) { req.Model = "x" }, 3, true},
		"live":           {status(503), func(_ *Config, req *llm.Request) { req.Live = true }, 1, false},
	} {
		g := memory.New(memory.Options{})
		g.Budget.Resize(1 << 20)
		held := int64(-1)
		take := func(_ context.Context, n int, req *llm.Request, _ llm.Sink) error {
			if got, err := io.ReadAll(req.BodyReader); string(got) != body || err != nil {
				t.Errorf("%s, attempt %d: %q, %v", name, n, got, err)
			}
			held = max(held, g.Budget.Used())
			if last := n == 3; last && g.Budget.Used() > 0 {
				t.Errorf("%s: something is kept while no attempt may follow", name)
			}
			return nil
		}
		a := &fake{name: "a", serve: func(ctx context.Context, n int, req *llm.Request, out llm.Sink) error {
			return errors.Join(take(ctx, n, req, out), c.fail())
		}}
		b := &fake{name: "b", serve: take}
		cfg, req := Default(), &llm.Request{Op: llm.Passthrough, ID: "id", Method: "POST", Path: "/v1/files", Model: "m", BodyReader: strings.NewReader(body), BodyLen: -1}
		cfg.Balance, cfg.Retry.BaseDelay = balanceWeighted, time.Millisecond
		if c.change != nil {
			c.change(&cfg, req)
		}
		var ups []Upstream
		for i, f := range []*fake{a, b} {
			ups = append(ups, Upstream{Name: f.name, Handler: f, Models: [][]string{{"m", "x"}, {"m"}}[i]})
		}
		r, err := New(cfg, ups, Options{Rand: func() float64 { return 0 }, Spools: spool.New(memory.Default(), g, slog.New(slog.DiscardHandler))})
		if err != nil {
			t.Fatal(err)
		}
		got := ask(t, r, req)
		again := name == "unreachable" || name == "503"
		if a.count() != c.calls || (b.count() == 1) != again || (got == "b:m") != again || (held > 0) != c.keeps || g.Budget.Used() > 0 {
			t.Errorf("%s: %q, a was asked %d times and b %d, %d bytes kept and %d afterwards", name, got, a.count(), b.count(), held, g.Budget.Used())
		}
	}
}

// Whether an attempt may follow does not take one that does.
func TestMayFollow(t *testing.T) {
	const never = "other"
	for _, c := range []struct {
		most, round, sent int
		others            []target
		want              bool
	}{
		{1, 1, 1, nil, false}, {1, 1, 1, []target{{}}, true}, {1, 1, 1, []target{{tried: true}}, false}, {1, 1, 1, []target{{spent: true}}, false},
		{3, 1, 1, nil, true}, {3, 2, 2, nil, true}, {3, 3, 3, []target{{}}, false}, {3, 2, 3, []target{{}}, false}, {3, 1, 3, []target{{}}, true},
		{3, 3, 2, nil, false}, {3, 3, 2, []target{{}}, true}, // what was not sent does not count
	} {
		cfg := Default()
		cfg.Retry.MaxAttempts = c.most
		call := &call{router: &Router{cfg: cfg}, round: c.round, sent: c.sent, targets: append(c.others, target{model: never, tried: true})}
		if got := call.mayFollow(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A body of which the beginning was kept before it came here is kept once.
func TestBodyThatIsKept(t *testing.T) {
	const body = "the whole body"
	g := memory.New(memory.Options{})
	g.Budget.Resize(1 << 20)
	store := spool.New(memory.Default(), g, slog.New(slog.DiscardHandler))
	for _, again := range []bool{true, false} {
		kept := store.Spool(strings.NewReader(body), -1)
		if _, err := io.ReadFull(kept.Peek(), make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		before := g.Budget.Used()
		a := &fake{name: "a", serve: func(_ context.Context, n int, req *llm.Request, out llm.Sink) error {
			if got, err := io.ReadAll(req.BodyReader); string(got) != body || err != nil {
				t.Errorf("attempt %d: %q, %v", n, got, err)
			}
			if used := g.Budget.Used(); again && n == 1 && used != before || !again && used > 0 {
				t.Errorf("again %v, attempt %d: %d bytes are kept, %d before", again, n, used, before)
			}
			return status(503)()
		}}
		cfg := Default()
		if cfg.Retry.BaseDelay = time.Millisecond; !again {
			cfg.Retry.MaxAttempts = 1
		}
		r, err := New(cfg, []Upstream{{Name: "a", Handler: a, Models: []string{"m"}}}, Options{Spools: store})
		if err != nil {
			t.Fatal(err)
		}
		ask(t, r, &llm.Request{Op: llm.Passthrough, ID: "id", Method: "POST", Path: "/v1/files", Model: "m", BodyReader: kept.Reader(false), BodyLen: -1})
		if a.count() != cfg.Retry.MaxAttempts || g.Budget.Used() > 0 {
			t.Errorf("again %v: asked %d times, %d bytes kept", again, a.count(), g.Budget.Used())
		}
	}
}

// Nothing is kept from when the reply begins, or when a handler panics.
func TestBodyIsDropped(t *testing.T) {
	g := memory.New(memory.Options{})
	g.Budget.Resize(1 << 20)
	for _, panics := range []bool{false, true} {
		a := &fake{name: "a", serve: func(_ context.Context, _ int, req *llm.Request, out llm.Sink) error {
			if _, err := io.ReadAll(req.BodyReader); err != nil || g.Budget.Used() == 0 {
				t.Errorf("%v, %d bytes kept", err, g.Budget.Used())
			}
			if panics {
				panic("as it should")
			}
			err := out.Start(&llm.Head{Status: 200})
			if g.Budget.Used() > 0 {
				t.Error("kept when the reply has begun")
			}
			return err
		}}
		r, err := New(Default(), []Upstream{{Name: "a", Handler: a}}, Options{Spools: spool.New(memory.Default(), g, slog.New(slog.DiscardHandler))})
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if (recover() != nil) != panics {
					t.Error("no panic, or one")
				}
			}()
			_ = r.Serve(t.Context(), &llm.Request{Op: llm.Passthrough, Method: "POST", Path: "/v1/files", BodyReader: strings.NewReader("x"), BodyLen: 1}, ignored{})
		}()
		if g.Budget.Used() > 0 {
			t.Error("kept afterwards")
		}
	}
}

type ignored struct{}

func (ignored) Start(*llm.Head) error  { return nil }
func (ignored) Send([]llm.Event) error { return nil }

// Where what was kept is lost before it was read again, the client is told what it
// would have been told without another attempt.
func TestLostBody(t *testing.T) {
	a := &fake{name: "a", serve: always(status(503))}
	b := &fake{name: "b", serve: always(func() error { return fmt.Errorf("read request body: %w", spool.ErrLost) })}
	r := serving(t, Default(), a, b)
	req := chat("m")
	got, e := askErr(t, r, req)
	for got != "503 upstream_error" || e.Message != "status 503" || b.count() == 0 { // whichever is asked first
		if a.count()+b.count() > 100 {
			t.Fatalf("%q, %v", got, e)
		}
		got, e = askErr(t, r, req)
	}
}

// Nothing is repeated after the first byte, or when the client failed.
func TestNotRepeatedAfterStart(t *testing.T) {
	cut := &fake{name: "a", serve: func(_ context.Context, _ int, _ *llm.Request, out llm.Sink) error {
		if err := out.Start(&llm.Head{Status: 200, Kind: llm.EventStream}); err != nil {
			return err
		}
		return status(503)()
	}}
	b := &fake{name: "b"}
	r := serving(t, Default(), cut, b)
	var out recorder
	err := r.Serve(t.Context(), streamed(chat("m")), &out)
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Status != 503 || out.starts != 1 || b.count() != 0 {
		t.Errorf("%v, %d starts", err, out.starts)
	}
	// A client that fails says nothing about the upstream.
	gone := &recorder{fail: refused()}
	r = serving(t, Default(), &fake{name: "a"}, b)
	for range 10 {
		if err := r.Serve(t.Context(), chat("m"), gone); err == nil || b.count() != 0 {
			t.Errorf("%v, %d calls", err, b.count())
		}
	}
	if h := r.Health()[0]; h.Failures != 0 {
		t.Errorf("health %+v", h)
	}
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			random float64
			want   []time.Duration // before the second, third, … call
		}{
			{0, []time.Duration{50, 100, 200, 250, 250}},
			{0.5, []time.Duration{75, 150, 300, 375, 375}},
		} {
			cfg := Default()
			cfg.Retry.MaxAttempts, cfg.Retry.MaxDelay = 6, 500*time.Millisecond
			cfg.Breaker.Failures = 100
			a := &fake{name: "a", serve: always(refused)}
			r, err := New(cfg, []Upstream{{Name: "a", Handler: a, Models: []string{"m"}}}, Options{Rand: func() float64 { return c.random }})
			if err != nil {
				t.Fatal(err)
			}
			is(t, "reply", ask(t, r, chat("m")), "502 upstream_unreachable")
			for i, want := range c.want {
				if got := a.at[i+1].Sub(a.at[i]); got != want*time.Millisecond {
					t.Errorf("random %v, pause %d: %v, want %v ms", c.random, i+1, got, int(want))
				}
			}
		}
	})
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Retry.MaxAttempts = 1
		a := &fake{name: "a", serve: first(1, refused)}
		is(t, "one attempt", ask(t, serving(t, cfg, a), chat("m")), "502 upstream_unreachable")
		a = &fake{name: "a", serve: first(2, refused)}
		is(t, "third time", ask(t, serving(t, Default(), a), chat("m")), "a:m")
		// Every upstream is asked once, and only then one of them again.
		var all []*fake
		for i := range 5 {
			all = append(all, &fake{name: fmt.Sprint("u", i), serve: always(refused)})
		}
		begin := time.Now()
		is(t, "five upstreams", ask(t, serving(t, cfg, all...), chat("m")), "502 upstream_unreachable")
		for _, f := range all {
			if f.count() != 1 {
				t.Errorf("%s: %d calls", f.name, f.count())
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("going elsewhere took %v", d)
		}
		two := []*fake{{name: "a", serve: always(refused)}, {name: "b", serve: always(refused)}}
		ask(t, serving(t, Default(), two...), chat("m"))
		if n := two[0].count() + two[1].count(); n != 3 {
			t.Errorf("%d calls of two upstreams", n)
		}
	})
}

func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // as on a clock that goes on the slower one would get fewer
		a, b, c := &fake{name: "a"}, &fake{name: "b"}, &fake{name: "c"}
		i := 0
		r, err := New(Default(), []Upstream{
			{Name: "a", Handler: a, Weight: 7, Models: []string{"m"}}, {Name: "b", Handler: b, Weight: 2, Models: []string{"*"}},
			{Name: "c", Handler: c, Models: []string{"m"}},
		}, Options{Rand: func() float64 { i++; return float64(i%100) / 100 }})
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			ask(t, r, chat("m"))
		}
		if a.count() != 700 || b.count() != 200 || c.count() != 100 {
			t.Errorf("calls %d, %d, %d", a.count(), b.count(), c.count())
		}
	})
}

func TestFallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Aliases = map[string]string{"alias": "a/m", "spare": "c/x"}
		cfg.Fallbacks = map[string][]string{"m": {"b/y", "spare", "absent"}, "a/m": {"spare"}, "none": {"b/y"}, "z": {"z2", "c/z"}}
		a, b, c := &fake{name: "a"}, &fake{name: "b"}, &fake{name: "c"}
		r := setupStatic(t, cfg, map[string][]string{"a": {"m", "z"}, "b": {"y"}, "c": {"x", "z"}}, a, b, c)
		is(t, "healthy", ask(t, r, chat("m")), "a:m")
		a.serve = always(refused)
		is(t, "first", ask(t, r, chat("m")), "b:y")
		is(t, "of what an alias stands for", ask(t, r, chat("alias")), "c:x")
		is(t, "model that nobody serves", ask(t, r, chat("none")), "b:y")
		is(t, "a fallback that serves the model anyway", ask(t, r, chat("z")), "c:z")
		if n := c.count(); n != 2 {
			t.Errorf("c was asked %d times", n)
		}
		b.serve = always(status(503))
		is(t, "in order", ask(t, r, chat("m")), "c:x")
		// The client is told of the model that it named.
		c.serve = always(status(429))
		r = setupStatic(t, cfg, map[string][]string{"a": {"m"}, "b": {"y"}, "c": {"x"}}, a, b, c)
		is(t, "all fail", ask(t, r, chat("m")), "502 upstream_unreachable")
		b.serve = always(status(400))
		is(t, "an error that is the request's", ask(t, r, chat("m")), "400 upstream_error")
	})
}

// A short Retry-After is waited for; other requests keep away meanwhile.
func TestRetryAfterShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", serve: first(1, status(429, 2*time.Second))}
		r := serving(t, Default(), a)
		begin := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { is(t, "reply", ask(t, r, chat("m")), "a:m") })
			synctest.Wait()
		}
		wg.Wait()
		if d := time.Since(begin); d != 2*time.Second || a.count() != 4 {
			t.Errorf("%v, %d calls", d, a.count())
		}
		for i, at := range a.at[1:] {
			if d := at.Sub(begin); d != 2*time.Second {
				t.Errorf("call %d came after %v", i+2, d)
			}
		}
	})
}

// With a long one the client gets the upstream's own error, and until it is
// over the next ones are told without asking.
func TestRetryAfterLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", serve: first(1, status(429, time.Minute))}
		r := serving(t, Default(), a)
		_, e := askErr(t, r, chat("m"))
		if e == nil || e.Reply == nil || e.RetryAfter != time.Minute {
			t.Fatalf("got %+v", e)
		}
		time.Sleep(10500 * time.Millisecond)
		_, e = askErr(t, r, chat("m"))
		if e == nil || e.Status != 429 || e.RetryAfter != 50*time.Second || a.count() != 1 {
			t.Errorf("got %+v, %d calls", e, a.count())
		}
		// 429 is about the model, not about the upstream.
		r.ups[0].models = append(r.ups[0].models, object{id: "n"})
		is(t, "other model", ask(t, r, chat("a/m")), "429 rate_limit_exceeded")
		time.Sleep(50 * time.Second)
		is(t, "later", ask(t, r, chat("m")), "a:m")
	})
}

func TestRetryAfterScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// It is the model's, as the failure is: one that is being loaded is no
		// reason to ask for no other.
		for _, code := range []int{429, 503} {
			a := &fake{name: "a", serve: first(1, status(code, time.Minute))}
			r := setupStatic(t, Default(), map[string][]string{"a": {"m", "n"}}, a)
			ask(t, r, chat("m"))
			is(t, fmt.Sprint("other model after ", code), ask(t, r, chat("n")), "a:n")
			time.Sleep(10 * time.Second)
			_, e := askErr(t, r, chat("m"))
			if want := "Upstream `a` asked for no requests for `m` for another 50s."; e == nil || e.Code != "rate_limit_exceeded" || !strings.Contains(e.Message, want) {
				t.Errorf("got %+v, want %s", e, want)
			}
		}
		// Another upstream takes over at once.
		a, b := &fake{name: "a", serve: always(status(429, time.Hour))}, &fake{name: "b"}
		r := serving(t, Default(), a, b)
		begin := time.Now()
		for range 3 {
			is(t, "failover", ask(t, r, chat("m")), "b:m")
		}
		if a.count() != 1 || time.Since(begin) != 0 {
			t.Errorf("%d calls, %v", a.count(), time.Since(begin))
		}
	})
}

func TestRetryAfterOdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, d := range []time.Duration{-time.Hour, 0, -1 << 63} {
			a := &fake{name: "a", serve: first(1, status(429, d))}
			begin := time.Now()
			is(t, d.String(), ask(t, serving(t, Default(), a), chat("m")), "a:m")
			if w := time.Since(begin); w != 50*time.Millisecond {
				t.Errorf("%v: waited %v", d, w)
			}
		}
		// An upstream is not lost for the rest of its life.
		a := &fake{name: "a", serve: first(1, status(503, 1<<63-1))}
		r := serving(t, Default(), a)
		is(t, "huge", ask(t, r, chat("m")), "503 upstream_error")
		is(t, "huge, again", ask(t, r, chat("m")), "429 rate_limit_exceeded")
		time.Sleep(maxCooling)
		is(t, "after the longest", ask(t, r, chat("m")), "a:m")
	})
}

// A name that is remembered keeps no request in memory: it may be a piece of one.
func TestCoolingKeepsNoRequest(t *testing.T) {
	c := cooling{clock: monotonic.New()}
	body := strings.Repeat("x", 1<<20)
	for range 2 {
		c.start(body[:5], time.Minute)
		c.start(body, time.Minute)
	}
	for name := range c.until {
		if len(name) > maxModelName || unsafe.StringData(name) == unsafe.StringData(body) {
			t.Errorf("%d bytes of a request are kept", len(body))
		}
	}
	if c.left("xxxxx") == 0 {
		t.Error("it is not remembered")
	}
}

func TestCoolingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cooling{clock: monotonic.New()}
		for i := range 3 * maxCooled {
			c.start(fmt.Sprint(i), time.Minute)
		}
		if len(c.until) != maxCooled || c.left("0") != time.Minute || c.left(fmt.Sprint(2*maxCooled)) != 0 {
			t.Errorf("%d models are remembered", len(c.until))
		}
		time.Sleep(time.Minute)
		if c.start("x", time.Second); len(c.until) != 1 || c.left("0") != 0 {
			t.Errorf("%d models are remembered", len(c.until))
		}
	})
}

func TestClientLeavesInBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", serve: always(status(429, 3*time.Second))}
		r := serving(t, Default(), a)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		err := r.Serve(ctx, chat("m"), &recorder{})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second || a.count() != 1 {
			t.Errorf("%v after %v, %d calls", err, time.Since(begin), a.count())
		}
		// One that leaves while an upstream works is not taken elsewhere, and
		// is no failure of the upstream.
		b := &fake{name: "a", serve: func(ctx context.Context, _ int, _ *llm.Request, _ llm.Sink) error {
			<-ctx.Done()
			return refused()
		}}
		other := &fake{name: "b"}
		r = serving(t, Default(), b, other)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Serve(ctx, chat("m"), &recorder{}); err == nil || other.count() != 0 {
			t.Errorf("%v, %d calls", err, other.count())
		}
		if h := r.Health()[0]; h.Failures != 0 {
			t.Errorf("health %+v", h)
		}
	})
}

// A reply that Sluice could not use was processed and paid for, whatever the
// status that Sluice gives it.
func TestUnusableReplyNotRepeated(t *testing.T) {
	for _, code := range []string{"upstream_reply_too_large", "upstream_redirect", "upstream_cut", "upstream_bad_reply"} {
		a, b := &fake{name: "a", serve: func(context.Context, int, *llm.Request, llm.Sink) error {
			return transport(502, code, false)()
		}}, &fake{name: "b", serve: func(context.Context, int, *llm.Request, llm.Sink) error {
			return transport(502, code, false)()
		}}
		r := serving(t, Default(), a, b)
		is(t, code, ask(t, r, chat("m")), "502 "+code)
		if n := a.count() + b.count(); n != 1 {
			t.Errorf("%s: %d calls", code, n)
		}
	}
}

// X-Should-Retry goes before the status, and the client is told not to try again
// where the tries are used up, and only there.
func TestShouldRetry(t *testing.T) {
	advising := func(code int, advice llm.Advice, after ...time.Duration) func() error {
		return func() error {
			e := status(code, after...)().(*llm.Error)
			e.Advice = advice
			return e
		}
	}
	for _, c := range []struct {
		name  string
		fail  func() error
		edit  func(*Config)
		calls int
		told  llm.Advice
	}{
		{"429", status(429), nil, 3, llm.DoNotRetry},
		{"429 false", advising(429, llm.DoNotRetry), nil, 1, llm.DoNotRetry},
		{"503 false", advising(503, llm.DoNotRetry), nil, 1, llm.DoNotRetry},
		{"500 true", advising(500, llm.SendAgain), nil, 3, llm.DoNotRetry},
		{"409 true", advising(409, llm.SendAgain), nil, 3, llm.DoNotRetry},
		{"400 false", advising(400, llm.DoNotRetry), nil, 1, llm.DoNotRetry},
		{"500", status(500), nil, 1, llm.NoAdvice},
		{"short Retry-After", status(429, time.Second), nil, 3, llm.DoNotRetry},
		{"long Retry-After", status(429, time.Minute), nil, 1, llm.NoAdvice},
		{"long Retry-After, true", advising(429, llm.SendAgain, time.Minute), nil, 1, llm.SendAgain},
		{"one attempt", status(429), func(c *Config) { c.Retry.MaxAttempts = 1 }, 1, llm.NoAdvice},
		{"not to be told", status(429), func(c *Config) { c.Retry.TellClients = false }, 3, llm.NoAdvice},
		{"not to be told, but the upstream says so", advising(429, llm.DoNotRetry), func(c *Config) { c.Retry.TellClients = false }, 1, llm.DoNotRetry},
		{"unreachable", refused, nil, 3, llm.DoNotRetry},
		{"cut", transport(502, codeCut, false), nil, 1, llm.DoNotRetry}, // it may have acted on it
		{"no answer", transport(504, codeTimeout, false), nil, 1, llm.DoNotRetry},
		{"not to be used", transport(502, codeBadReply, false), nil, 1, llm.DoNotRetry},
		{"cut, not to be told", transport(502, codeCut, false), func(c *Config) { c.Retry.TellClients = false }, 1, llm.NoAdvice},
		{"the gateway's own lack", lacks, nil, 3, llm.NoAdvice},
		{"the gateway's own lack, of room for the reply", func() error { return &llm.Error{Fault: llm.Lacking, Status: 503} }, nil, 1, llm.DoNotRetry},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Default()
			if c.edit != nil {
				c.edit(&cfg)
			}
			a := &fake{name: "a", serve: always(c.fail)}
			_, e := askErr(t, serving(t, cfg, a), chat("m"))
			if e == nil || a.count() != c.calls || e.Advice != c.told {
				t.Errorf("%s: %d calls, %+v", c.name, a.count(), e)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		// Another upstream is asked at once; the first one never again.
		a, b := &fake{name: "a", serve: always(advising(429, llm.DoNotRetry))}, &fake{name: "b", serve: first(1, refused)}
		is(t, "elsewhere", ask(t, serving(t, Default(), a, b), chat("m")), "b:m")
		if a.count() != 1 || b.count() != 2 {
			t.Errorf("calls %d, %d", a.count(), b.count())
		}
		// A refusal without asking is no used-up try.
		a = &fake{name: "a", serve: always(refused)}
		cfg := oneAttempt()
		cfg.Breaker.Failures = 1
		r := serving(t, cfg, a)
		ask(t, r, chat("m"))
		if _, e := askErr(t, r, chat("m")); e == nil || e.Status != 503 || e.Advice != llm.NoAdvice || e.RetryAfter == 0 {
			t.Errorf("got %+v", e)
		}
	})
}
