package front

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/front/engine"
	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

// fieldList is a header as an engine without maps might have it.
type fieldList []string // name, value

func (l fieldList) Values(name string) (values []string) {
	for i := 0; i < len(l); i += 2 {
		if l[i] == name {
			values = append(values, l[i+1])
		}
	}
	return values
}

func (l fieldList) Each(visit func(name string, values []string) bool) bool {
	for i := 0; i < len(l); i += 2 {
		if !visit(l[i], l.Values(l[i])) {
			return false
		}
	}
	return true
}

// invented is an exchange of an engine that only this test has: it writes at once
// what it is given.
type invented struct {
	q     engine.Request
	ctx   context.Context
	leave context.CancelFunc
	fail  error         // of writing, from the second write on
	stuck chan struct{} // closed when its client is given up, which takes nothing; nil for another one

	status   int
	fields   []string // "name: value"
	length   int64
	closes   bool
	body     bytes.Buffer
	writes   int
	givenUp  atomic.Bool
	follower engine.Follower
}

func (i *invented) Request() *engine.Request           { return &i.q }
func (i *invented) Context() context.Context           { return i.ctx }
func (i *invented) SetReadDeadline(time.Time)          {}
func (i *invented) Duplex()                            {}
func (i *invented) Forget(func(string, []string) bool) { i.q.Header = fieldList{} }
func (i *invented) Flush() error                       { return nil }
func (i *invented) Holds(int) bool                     { return false }
func (i *invented) Hijack() (net.Conn, []byte, error)  { return nil, nil, errors.ErrUnsupported }
func (i *invented) Follow(f engine.Follower)           { i.follower = f }
func (i *invented) GivenUp() bool                      { return i.givenUp.Load() }
func (i *invented) Whole(h *engine.Head, b []byte) (int, error) {
	i.Begin(h)
	i.length = int64(len(b))
	return i.Write(b)
}

func (i *invented) GiveUp() {
	if !i.givenUp.Swap(true) && i.stuck != nil {
		close(i.stuck)
	}
}

func (i *invented) Begin(h *engine.Head) {
	i.status, i.length, i.closes = h.Status, h.Length, h.Close
	for at := 0; at < h.Fields.Len(); {
		name, values := h.Fields.Run(at)
		for _, v := range values {
			i.fields = append(i.fields, name+": "+v)
		}
		at += len(values)
	}
}

func (i *invented) Write(b []byte) (int, error) {
	if i.stuck != nil {
		<-i.stuck
		return 0, os.ErrDeadlineExceeded
	}
	if i.writes++; i.writes > 1 && i.fail != nil {
		i.leave()
		return 0, i.fail
	}
	if i.follower != nil {
		i.follower.Moved()
	}
	return i.body.Write(b)
}

// TestAnotherEngine: whatever engine has an exchange is told the same of it, and how
// its reply ends.
func TestAnotherEngine(t *testing.T) {
	answered := errors.New("cut")
	left, leave := context.WithCancel(context.Background())
	leave()
	for _, c := range []struct {
		name, method, path, body, model string

		ctx    context.Context
		fail   error
		length int64 // that is announced

		ending  engine.Ending
		status  int
		want    string // in the body
		code    string // that observers are told
		aborted string
	}{
		{name: "whole", model: "whole", ending: engine.Whole, status: 200, want: `{"answer":1}`},
		{name: "stream", model: "stream", ending: engine.Whole, status: 200, want: "data: 1\n\n"},
		{name: "fault", model: "fault", ending: engine.Whole, status: 429, want: `"code":"x"`, code: "x"},
		{name: "no key", path: "/v1/models", method: "GET", ending: engine.Whole, status: 401, want: "no_api_key", code: "no_api_key"},
		{name: "cut stream", model: "cut stream", ending: engine.Cut, status: 200, want: "data: 1\n\ndata: {\"error\"", code: "internal_error", aborted: perf.AbortInternal},
		{name: "cut pieces", model: "cut pieces", ending: engine.Cut, status: 200, want: "piece", code: "internal_error", aborted: perf.AbortInternal},
		{name: "cut upload", path: "/v1/files", length: 1 << 20, ending: engine.Broken, status: 200, want: "data: 1\n\ndata: {\"error\"", code: "internal_error", aborted: perf.AbortInternal},
		{name: "panic", model: "panic", ending: engine.Whole, status: 500, want: "internal_error", code: "internal_error"},
		{name: "late panic", model: "late panic", ending: engine.Cut, status: 200, want: "piece", code: "internal_error", aborted: perf.AbortInternal},
		{name: "left", model: "left", ctx: left, ending: engine.Cut},
		{name: "takes nothing", model: "two pieces", fail: os.ErrDeadlineExceeded, ending: engine.Cut, status: 200, want: "piece", aborted: perf.AbortSlow},
		{name: "breaks", model: "two pieces", fail: io.ErrClosedPipe, ending: engine.Cut, status: 200, want: "piece", aborted: perf.AbortClient},
		{name: "probe", path: "/healthz", method: "GET", ending: engine.Whole, status: 200, want: "ok\n"},
	} {
		for major := 1; major <= 2; major++ {
			t.Run(fmt.Sprintf("%s over HTTP/%d", c.name, major), func(t *testing.T) {
				seen := make(seen, 1)
				cfg, sc := testConfig(func(c *Config, _ *StreamConfig) { c.APIKeys = []APIKey{{Name: "a", Hash: HashKey("sk-a")}} })
				s, err := New(cfg, sc, llm.HandlerFunc(func(ctx context.Context, req *llm.Request, out llm.Sink) error {
					pieces := llm.Head{Status: 200, Kind: llm.Pieces, Length: -1, Header: []llm.Field{{Name: "Content-Type", Value: "text/plain"}}}
					switch {
					case req.Path == "/v1/files", req.Model == "cut stream", req.Model == "stream":
						if err := startStream(out); err != nil {
							return err
						}
						if err := out.Send(events("data: 1\n\n")); err != nil || req.Model == "stream" {
							return err
						}
						return answered
					case req.Model == "fault":
						return llm.Errorf(429, "x", "Not now.")
					case req.Model == "left":
						return ctx.Err()
					case req.Model == "panic":
						panic("at once")
					case req.Model == "whole":
						return sendUnary(out, `{"answer":1}`)
					}
					if err := errors.Join(out.Start(&pieces), out.Send(events("piece"))); err != nil {
						return err
					}
					switch req.Model {
					case "cut pieces":
						return answered
					case "late panic":
						panic("late")
					}
					return out.Send(events("piece"))
				}), Options{Observers: []perf.Observer{seen}})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				e := &invented{fail: c.fail, q: engine.Request{
					Method: "POST", Path: chatPath, Host: "localhost", Remote: "127.0.0.1:5", Major: major, Minor: 2 - major,
					Header: fieldList{"Authorization", "Bearer sk-a", "X-Request-Id", "one"},
				}}
				e.ctx, e.leave = context.WithCancel(cmp.Or(c.ctx, t.Context()))
				defer e.leave()
				if c.path != "" {
					e.q.Path = c.path
				}
				if c.method != "" {
					e.q.Method, e.q.Header = c.method, fieldList{"X-Request-Id", "one"}
				} else if body := `{"model":"` + c.model + `"}`; c.length > 0 {
					e.q.Body, e.q.Length = strings.NewReader(strings.Repeat("x", 10)), c.length
					e.q.Header = append(e.q.Header.(fieldList), "Content-Type", "text/plain")
				} else {
					e.q.Body, e.q.Length = strings.NewReader(body), int64(len(body))
				}
				if got := s.Answer(e); got != c.ending {
					t.Errorf("it ends as %d", got)
				}
				if e.status != c.status || !strings.Contains(e.body.String(), c.want) {
					t.Errorf("%d %q", e.status, e.body.String())
				}
				if c.path == "/healthz" {
					return
				}
				if x := seen.next(t); x.Code != c.code || x.Aborted != c.aborted || x.BytesOut != int64(e.body.Len()) || x.Client != e.q.Remote {
					t.Errorf("observers were told %+v", x)
				}
				if c.status != 0 && !slices.Contains(e.fields, "X-Request-Id: one") {
					t.Errorf("%q", e.fields)
				}
				if early := c.length > 0 && major == 1; e.closes != early {
					t.Errorf("the connection closes: %v", e.closes)
				}
			})
		}
	}
}

// TestAnotherEngineGivesUp: where there are as many replies without a key as may be,
// whoever takes nothing of one is given up for the next, whichever engine has it.
func TestAnotherEngineGivesUp(t *testing.T) {
	for major := 1; major <= 2; major++ {
		cfg, sc := testConfig(func(c *Config, _ *StreamConfig) { c.MaxConnections = 2 })
		s, err := New(cfg, sc, unary(`{}`), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		probe := func(stuck bool) *invented {
			e := &invented{ctx: t.Context(), q: engine.Request{
				Method: "GET", Path: "/healthz", Host: "localhost", Remote: "127.0.0.1:5", Major: major, Minor: 2 - major, Header: fieldList{},
			}}
			if stuck {
				e.stuck = make(chan struct{})
			}
			return e
		}
		var list []*invented
		ended := make(chan engine.Ending, 3)
		for n := range 3 { // the third has the first one's place
			e := probe(true)
			list = append(list, e)
			go func() { ended <- s.Answer(e) }()
			testkit.Until(t, "it is in the crowd", func() bool {
				s.strangers.mu.Lock()
				defer s.strangers.mu.Unlock()
				return s.strangers.list.Len() == min(n+1, 2) && (n < 2 || list[0].GivenUp())
			})
		}
		if <-ended; list[1].GivenUp() || list[2].GivenUp() {
			t.Errorf("given up: %v, %v, %v", list[0].GivenUp(), list[1].GivenUp(), list[2].GivenUp())
		}
		if e := probe(false); s.Answer(e) != engine.Whole || e.status != 200 || e.follower == nil || !list[1].GivenUp() {
			t.Errorf("the fourth is answered %d", e.status)
		}
		list[2].GiveUp()
		<-ended
		<-ended
		if n := s.stats.aborts[abortSlow].Load(); n != 3 {
			t.Errorf("%d are counted as slow", n)
		}
	}
}
