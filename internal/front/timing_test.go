package front

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
	"sluice/internal/perf"
)

func TestTimingText(t *testing.T) {
	gatewayTime, upstreamTime := timings{prefix: "gateway;dur="}, timings{prefix: "upstream;dur="}
	for d, want := range map[time.Duration]string{
		-time.Second: "0.000", 0: "0.000", 499: "0.000", 500: "0.001", 34 * time.Microsecond: "0.034", 999499: "0.999", 999500: "1.00",
		1234 * time.Microsecond: "1.23", 9995 * time.Microsecond: "10.0", 102 * time.Millisecond: "102", 99950 * time.Millisecond: "100000",
		1234567 * time.Millisecond: "1230000", 24 * time.Hour: "9990000",
	} {
		for range 2 {
			if got := gatewayTime.text(d); got != "gateway;dur="+want {
				t.Errorf("%v: %q, want %q", d, got, want)
			}
		}
	}
	for d := time.Microsecond; d < time.Hour; d *= 10 { // each is three digits off by at most half of the last
		ms, err := strconv.ParseFloat(strings.TrimPrefix(upstreamTime.text(d+d/3), "upstream;dur="), 64)
		if got := time.Duration(ms * float64(time.Millisecond)); err != nil || (got-d-d/3).Abs() > max((d+d/3)/200, time.Microsecond) {
			t.Errorf("%v became %v, %v", d+d/3, got, err)
		}
	}
}

// flushing is a ResponseWriter that can be flushed.
type flushing struct {
	discard
	head http.Header
}

func (*flushing) FlushError() error { return nil }
func (f *flushing) WriteHeader(int) { f.head = f.h.Clone() }

// TestOverhead has replies come by a clock that stands still while the gateway
// works.
func TestOverhead(t *testing.T) {
	const wait, work = 100 * time.Millisecond, 3 * time.Millisecond
	head := llm.Head{Status: 200, Kind: llm.Unary, Length: 2, Upstream: "up", Attempts: 2}
	stream := head
	stream.Kind, stream.Length = llm.EventStream, -1
	theirs := head
	theirs.Header = []llm.Field{{Name: "Server-Timing", Value: "db;dur=5"}}
	refusal := head
	refusal.Status = 404
	for _, c := range []struct {
		name   string
		head   llm.Head
		queued time.Duration
		waited time.Duration
		work   time.Duration // of the gateway
		upload bool
		known  bool
		timing string
	}{
		{"whole", head, 0, wait, 0, false, true, "gateway;dur=0.000|upstream;dur=100"},
		{"work", head, 0, wait, work, false, true, "gateway;dur=3.00|upstream;dur=100"},
		{"stream", stream, 0, wait, work, false, true, "gateway;dur=3.00|upstream;dur=100"},
		{"hit", head, 0, 0, work, false, true, "gateway;dur=3.00"},
		{"too much", head, 0, wait, -work, false, true, "gateway;dur=0.000|upstream;dur=100"},
		{"coalesced", head, 0, -1, work, false, false, ""},
		{"theirs", theirs, 0, wait, work, false, true, "gateway;dur=3.00|upstream;dur=100|db;dur=5"},
		{"refusal", refusal, 0, wait, work, false, false, "upstream;dur=100"},
		{"queued refusal", refusal, 2 * wait, wait, work, false, false, "upstream;dur=100|queue;dur=200"},
		{"upload", head, 0, wait, work, true, false, ""},
		{"queued upload", head, 2 * wait, wait, work, true, false, "queue;dur=200"},
		{"queued", head, 2 * wait, wait, work, false, true, "gateway;dur=3.00|upstream;dur=100|queue;dur=200"},
		{"queued by another", head, wait, -1, work, false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := make(seen, 1)
				queued := c.queued
				if c.waited < 0 {
					queued = 0
				}
				cfg, sc := testConfig()
				s, err := New(cfg, sc, llm.HandlerFunc(func(_ context.Context, _ *llm.Request, out llm.Sink) error {
					time.Sleep(queued + max(c.waited, 0) + c.work)
					h := c.head
					h.Waited, h.Queued = c.waited, c.queued
					if err := out.Start(&h); err != nil {
						return err
					}
					return out.Send(events("{}"))
				}), Options{Observers: []perf.Observer{seen}})
				if err != nil {
					t.Fatal(err)
				}
				path, body := chatPath, chatBody
				r := newRequest(t, t.Context(), "POST", path, body)
				r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost"
				if c.upload {
					r.URL.Path = "/v1/files"
					r.Header.Set("Content-Type", "text/plain")
				}
				w := &flushing{discard: discard{make(http.Header)}}
				serve(s, w, r)
				x := seen.next(t)
				want := max(c.work, 0)
				if !c.known {
					want = 0
				}
				if x.HasOverhead != c.known || x.Overhead != want || x.Waiting != max(c.waited, 0) || x.Queued != queued || x.Receiving != 0 || x.Attempts != 2 ||
					x.First != queued+max(c.waited, 0)+c.work {
					t.Errorf("%+v", x)
				}
				if got := strings.Join(w.head["Server-Timing"], "|"); got != c.timing {
					t.Errorf("Server-Timing %q, want %q", got, c.timing)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestErrorsTiming: an error says what went before it, as far as that was in the time of
// the request.
func TestErrorsTiming(t *testing.T) {
	const ms = time.Millisecond
	theirs := &llm.ErrorReply{Header: []llm.Field{{Name: "Server-Timing", Value: "db;dur=5"}}, Body: []byte("{}")}
	for _, c := range []struct {
		name   string
		err    llm.Error
		timing string
	}{
		{"queued", llm.Error{Queued: 200 * ms}, "queue;dur=200"},
		{"asked", llm.Error{Queued: 200 * ms, Waited: 100 * ms, Reply: theirs}, "upstream;dur=100|queue;dur=200|db;dur=5"},
		{"at once", llm.Error{}, ""},
		{"another's wait", llm.Error{Queued: time.Hour}, "queue;dur=300"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, sc := testConfig()
				s, err := New(cfg, sc, llm.HandlerFunc(func(context.Context, *llm.Request, llm.Sink) error {
					time.Sleep(300 * ms)
					e := c.err
					e.Status, e.Fault = 503, llm.Busy
					return &e
				}), Options{})
				if err != nil {
					t.Fatal(err)
				}
				r := newRequest(t, t.Context(), "POST", chatPath, chatBody)
				r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost"
				w := &flushing{discard: discard{make(http.Header)}}
				serve(s, w, r)
				if got := strings.Join(w.head["Server-Timing"], "|"); got != c.timing {
					t.Errorf("Server-Timing %q, want %q", got, c.timing)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
