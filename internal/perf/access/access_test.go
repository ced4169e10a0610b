package access

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
	"sluice/internal/perf"
	"sluice/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func exchange() *perf.Exchange {
	return &perf.Exchange{
		Begun: time.Now(), ID: "r1", Tenant: "team", Client: "127.0.0.1:4", Method: "POST", Path: "/v1/chat/completions", Op: llm.Chat, Stream: true,
		Model: "m", Upstream: "up", Attempts: 2, Cache: llm.CacheMiss, Status: 200, First: 1500 * time.Millisecond, Total: 2 * time.Second,
		Waiting: time.Second, Queued: 12 * time.Millisecond, HasOverhead: true, Overhead: 34567 * time.Nanosecond, BytesIn: 7, BytesOut: 9,
		Usage: perf.Usage{Known: true, Input: 3, Output: 4}, Trace: perf.Trace{ID: perf.TraceID{0xab}},
		Body: []byte(`{"model":"m","messages":[{"role":"user","content":"secret"}]}`), Reply: []byte("data: x"),
	}
}

func lines(cfg Config, level slog.Level, asJSON bool, list ...*perf.Exchange) string {
	var out testkit.Buffer
	l := New(cfg, level, Options{Out: &out, JSON: asJSON})
	for _, x := range list {
		l.Observe(x)
	}
	l.Close()
	l.Observe(list[0]) // too late, and no harm
	return out.String()
}

func TestLine(t *testing.T) {
	got := lines(Config{Access: true}, slog.LevelInfo, false, exchange())
	_, rest, _ := strings.Cut(got, " ")
	want := `level=INFO msg=request request_id=r1 trace_id=ab000000000000000000000000000000 tenant=team client=127.0.0.1:4 method=POST ` +
		`path=/v1/chat/completions operation=chat model=m upstream=up status=200 cache=MISS stream=true attempts=2 input_tokens=3 output_tokens=4 ` +
		"bytes_in=7 bytes_out=9 duration_us=2000000 first_event_us=1500000 upstream_us=1000000 queue_us=12000 overhead_us=34\n"
	if rest != want {
		t.Errorf("got  %swant %s", rest, want)
	}
	cut := exchange()
	cut.Aborted, cut.Code = perf.AbortUpstream, "upstream_cut"
	if got := lines(Config{Access: true}, slog.LevelInfo, false, cut); !strings.Contains(got, " status=200 error=cut code=upstream_cut aborted=upstream ") {
		t.Errorf("of a cut reply it says %s", got)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(lines(Config{Access: true, Bodies: true}, slog.LevelInfo, true, exchange())), &fields); err != nil {
		t.Fatal(err)
	}
	if fields["request_body"] != `{"model":"m","messages":[{"role":"user","content":"<6 bytes>"}]}` || fields["reply_body"] != "<7 bytes>" || fields["overhead_us"] != 34.0 {
		t.Errorf("the fields are %v", fields)
	}
}

func TestLevels(t *testing.T) {
	hostile := exchange()
	hostile.Model, hostile.Path = "m\n\"level=ERROR\x1b[31m"+strings.Repeat("x", 1000), "/"+strings.Repeat("y", 1000)
	if got := lines(Config{Access: true}, slog.LevelInfo, false, hostile); strings.Count(got, "\n") != 1 || len(got) > 1000 || strings.Contains(got, "\x1b") {
		t.Errorf("a hostile name gives %q", got)
	}
	read, purge := exchange(), exchange()
	read.Own, read.Method, purge.Own, purge.Method = true, "GET", true, "DELETE"
	for _, c := range []struct {
		cfg   Config
		level slog.Level
		want  int
	}{
		{Config{Access: true}, slog.LevelInfo, 2},
		{Config{Access: true}, slog.LevelDebug, 3},
		{Config{Access: true}, slog.LevelWarn, 0},
		{Config{Bodies: true}, slog.LevelInfo, 0},
	} {
		if got := strings.Count(lines(c.cfg, c.level, false, exchange(), read, purge), "\n"); got != c.want {
			t.Errorf("%+v at %v: %d lines, want %d", c.cfg, c.level, got, c.want)
		}
	}
}

// stuck is a log that nobody reads.
type stuck struct{ free chan struct{} }

func (s stuck) Write(p []byte) (int, error) { <-s.free; return len(p), nil }

// A log that takes nothing costs no request its time and bounded memory, what
// does not fit is counted, and it does not hold up the end.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := stuck{make(chan struct{})}
		l := New(Config{Access: true}, slog.LevelInfo, Options{Out: out})
		x := exchange()
		begun := time.Now()
		for range 20_000 {
			l.Observe(x)
		}
		synctest.Wait()
		if n := l.out.dropped.Load(); n < 10_000 || len(l.out.pending) > maxPending {
			t.Errorf("%d lines dropped, %d bytes wait", n, len(l.out.pending))
		}
		if time.Since(begun) != 0 {
			t.Error("lines waited")
		}
		l.Close()
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("closing took %v", d)
		}
		close(out.free)
		synctest.Wait()
	})
}

// broken is a log whose disk is full.
type broken struct{ n int }

func (b *broken) Write([]byte) (int, error) { b.n++; return 0, errors.New("no space left on device") }

// Lines that come together are written together. A write that fails is not the last
// one, and its lines are counted.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out broken
		l := New(Config{Access: true}, slog.LevelInfo, Options{Out: &out})
		for range 3 {
			for range 100 {
				l.Observe(exchange())
			}
			time.Sleep(time.Second)
		}
		l.Close()
		if out.n != 3 {
			t.Errorf("%d writes", out.n)
		}
		if n := l.out.dropped.Load(); n != 300 {
			t.Errorf("%d lines of 300 are told to be lost", n)
		}
	})
}

func TestObserveAllocs(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	l := New(Config{Access: true}, slog.LevelInfo, Options{Out: io.Discard, JSON: true})
	defer l.Close()
	x := exchange()
	for range 1000 {
		l.Observe(x)
	}
	if n := testing.AllocsPerRun(1000, func() { l.Observe(x) }); n >= 1 {
		t.Errorf("Observe allocates %v times", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, f := range []string{"text", "json"} {
		b.Run(f, func(b *testing.B) {
			l := New(Config{Access: true}, slog.LevelInfo, Options{Out: io.Discard, JSON: f == "json"})
			defer l.Close()
			x := exchange()
			for b.Loop() {
				l.Observe(x)
			}
		})
	}
}
